"""What views made of plots share: a plot, a line of text below it, a message where there is nothing to draw.

And what ties them together: a place under the cursor of one is marked in all, and so are selection and zoom.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from PySide6.QtCore import QPointF, QSize, Qt, QTimer
from PySide6.QtGui import QAction, QKeyEvent, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QStackedLayout, QToolButton, QVBoxLayout, QWidget

from qinspect import analysis
from qinspect.errors import printable
from qinspect.gui.axes import small_font
from qinspect.gui.comparing import Comparing, Side
from qinspect.gui.frame import ElidedLabel
from qinspect.gui.image import ImagePlot
from qinspect.gui.linked import Extent, Linked, Spot
from qinspect.gui.plain import PlainLabel
from qinspect.gui.plots import Plot
from qinspect.gui.probe import Probe
from qinspect.gui.theme import Theme
from qinspect.gui.views.view import View
from qinspect.session import Inspection
from qinspect.versus import Versus

if TYPE_CHECKING:
    from qinspect.gui.controller import Controller
    from qinspect.gui.details import Details

GROUP = "group"
"""The view that a selected place is looked at in more closely."""

REST_MS = 60
"""Zooming and panning have come to rest when they pause so long."""

NOT_QUANTIZED = "B holds the weights as they were before they were packed: there are no codes and no scales to see."

NO_REFERENCE = "This file holds codes only; attach the original to see errors."


class PlotView(View):
    """A view of one or several plots, of which one is seen. A subclass says what it wants to know, and draws it.

    It also tells what a place on its plot means (`locate`), what it has to say of a place (`tell`), and marks it.
    """

    shows_plain: ClassVar[bool] = False
    """Whether the view has something to show of weights that are not quantized."""

    def __init__(self, *plots: Plot) -> None:
        super().__init__()
        self.inspection: Inspection | None = None
        self.probe: Probe | None = None
        self.plots = plots
        self.hint = ""
        self.linked = Linked(self)  # of its own, until it is attached
        self.versus: Versus | None = None
        """Both sides, where more than one of them is drawn."""
        self.comparing: Comparing | None = None
        self._details: Details | None = None
        self._coming: Inspection | None = None  # drawn as soon as enough is known of it
        self._keep, self._pending = True, False
        self._drawn: tuple[Side, Inspection | None] = Side.A, None
        self._spot: Spot | None = None
        self._wanted_next: dict[Inspection, analysis.Question] = {}
        self._asked_last: dict[Inspection, analysis.Question] = {}
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._on_rest)
        self._pointing = False
        self.readout = ElidedLabel()
        self.readout.setObjectName("muted")
        self.readout.setFont(small_font())
        self.readout.setFixedHeight(18)
        self.message = PlainLabel()
        self.message.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.message.setObjectName("muted")
        self.message.setWordWrap(True)
        self.message.setMargin(16)
        self._plots = QStackedLayout()
        drawing = QWidget()
        self.column = QVBoxLayout(drawing)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(0)
        self.column.addLayout(self._plots, 1)
        self.foot = QHBoxLayout()
        self.foot.setContentsMargins(6, 0, 6, 0)
        self.foot.addWidget(self.readout)
        self._to_group = self._make_to_group()
        self.foot.addWidget(self._to_group)
        self.column.addLayout(self.foot)
        self._pages = QStackedLayout(self)
        self._pages.setContentsMargins(0, 0, 0, 0)
        self._pages.addWidget(self.message)
        self._pages.addWidget(drawing)
        for plot in plots:
            self.add(plot)
            plot.hovered.connect(self._on_hovered)
            plot.clicked.connect(self._on_clicked)
            plot.moved.connect(self._on_moved)
            plot.setAccessibleName(f"{self.title} plot")
            plot.set_theme(plot.theme)
        self.setAccessibleName(self.title)
        self.choose(plots[0])
        self._follow(self.linked)

    def _make_to_group(self) -> QToolButton:
        button = QToolButton(self)
        button.setText("group ▸")
        button.setFont(small_font())
        button.setFixedHeight(18)
        button.setAccessibleName("Show the selected group")
        button.setToolTip("Show the weights and bytes of the selected group (Return)")
        button.clicked.connect(lambda: self.linked.open(GROUP))
        button.hide()
        return button

    def attach(self, controller: Controller) -> None:
        """Share places with the other views, and have questions answered in the background."""
        self.linked = controller.linked
        self._follow(controller.linked)
        self._details = controller.details
        controller.details.join(lambda: self.questions(None) if self.isVisible() else ())
        controller.details.answered.connect(self._on_answered)
        self._join(controller.comparing)
        controller.linked.opened.connect(lambda name: self.wanted.emit() if name == self.name else None)

    def _join(self, comparing: Comparing) -> None:
        """Draw the other side too, while there is one."""
        self.comparing = comparing
        comparing.join(
            lambda: self.questions(None) if self.isVisible() else (),
            lambda: self.gap_questions() if self.isVisible() else (),
        )
        comparing.updated.connect(self._on_compared)
        for details in (comparing.details, comparing.gaps):
            details.answered.connect(self._on_answered)
        for plot in (plot for plot in self.plots if isinstance(plot, ImagePlot)):
            plot.swiped.connect(comparing.swipe)
            comparing.swiped.connect(plot.set_split)

    def _on_compared(self) -> None:
        """Draw what is known now of both sides, unless that was drawn before, or comes with A's next look."""
        comparing, both = self.comparing, self.both()
        if comparing is None or not self.isVisible() or (comparing.versus is not None and both is None):
            return
        if self.side != Side.A or self._drawn != (Side.A, None if both is None else both.b):
            self.redraw()

    def _follow(self, linked: Linked) -> None:
        linked.pointed.connect(self._on_pointed)
        linked.pinned.connect(self._on_pinned)
        linked.zoomed.connect(self._on_zoomed)

    # What a subclass says.

    @abstractmethod
    def questions(self, inspection: Inspection | None) -> tuple[analysis.Question, ...]:
        """What must be known of a layer before it can be drawn, as the view is set now; None is any layer."""

    @abstractmethod
    def draw(self, inspection: Inspection, keep: bool) -> str:
        """Draw a layer that has weights; the sentence that says what is seen. With `keep` the range in view stays."""

    def versus_questions(self, versus: Versus) -> list[tuple[Inspection, analysis.Question]]:
        """What must be known of which side before both are drawn together."""
        return [(side, question) for side in (versus.a, versus.b) for question in self.questions(side)]

    def gap_questions(self) -> tuple[analysis.Question, ...]:
        """What must be known of A as it decodes against what B decodes to, before A − B is drawn; it may be nothing."""
        return ()

    def draw_versus(self, versus: Versus, side: Side, keep: bool) -> str:
        """Draw A − B, or both; what a view has no way for it draws of A alone."""
        return self.draw(versus.a, keep)

    @abstractmethod
    def locate(self, plot: Plot, at: QPointF) -> Spot | None:
        """The place in the layer that lies at these coordinates."""

    @abstractmethod
    def tell(self, spot: Spot) -> str:
        """What this view has to say of a place, in one short line; nothing, if it means nothing here."""

    @abstractmethod
    def mark(self, spot: Spot | None) -> None:
        """Show where the place lies, wherever the cursor is; None takes the marks away."""

    def show_pin(self, spot: Spot | None) -> None:
        """Show what is selected."""

    def extent(self, plot: Plot) -> Extent | None:
        """The part of the layer that is in view; None if that is no matter of rows and columns."""
        return None

    def zoom_to(self, extent: Extent) -> None:
        """Bring the same part into view."""

    def actions_offered(self) -> list[QAction]:
        """Colours and levels of an image."""
        plot = self.plot_in_front
        if not isinstance(plot, ImagePlot):
            return []
        action = QAction("Colours and &levels…", self)
        action.triggered.connect(lambda _=False: plot.open_levels())
        return [action]

    def subject(self) -> str:
        """Layer and scheme, or both schemes."""
        if self.inspection is None:
            return ""
        schemes = self.inspection.scheme.label
        if self.versus is not None:
            joint = "−" if self.side == Side.DIFFERENCE else "and"
            schemes = f"{schemes} {joint} {self.versus.b.scheme.label}"
        return f"{printable(self.inspection.info.name, 80)} {schemes}"

    # Showing.

    @property
    def plot_in_front(self) -> QWidget:
        """The plot, or what else is seen in its place."""
        widget = self._plots.currentWidget()
        assert widget is not None
        return widget

    def sizeHint(self) -> QSize:
        """The same for every view, whatever it holds."""
        return QSize(380, 260)

    def minimumSizeHint(self) -> QSize:
        """Small: four views share a window."""
        return QSize(140, 120)

    def add(self, widget: QWidget) -> None:
        """One more thing that can be seen in the plot's place."""
        self._plots.addWidget(widget)

    def choose(self, widget: QWidget) -> None:
        """Bring a plot, or another widget added, to the front."""
        self._plots.setCurrentWidget(widget)
        self.setFocusProxy(widget)

    def set_theme(self, theme: Theme) -> None:
        """Take over colours, also in what is drawn."""
        for plot in self.plots:
            plot.set_theme(theme)
        self.redraw()

    def show_inspection(self, inspection: Inspection | None, message: str = "") -> None:
        """Draw a layer; None empties the view and shows `message` in it, with no sentence beside."""
        if inspection is not None and not math.prod(inspection.quantized.shape):
            inspection, message = None, "This tensor has no weights."
        self._coming = inspection
        if inspection is None:
            self._show_message(message)
            self.setAccessibleDescription(message)
            self.summarised.emit("")
        elif not self._shows_b_already():
            self._draw_if_known(inspection)

    def _shows_b_already(self) -> bool:
        """Whether B is drawn, which another look at A leaves as it is."""
        both = self.both() if self.side == Side.B else None
        return both is not None and self.inspection is both.b

    def _show_message(self, message: str) -> None:
        """In place of what was drawn, which is forgotten."""
        self.inspection = self.probe = None
        for plot in self.plots:
            plot.forget()
        self.message.setText(message)
        self._pages.setCurrentIndex(0)

    def redraw(self, *, keep: bool = True) -> None:
        """Draw the same layer anew, after a choice has changed."""
        if self._coming is not None:
            self._draw_if_known(self._coming, keep=keep)

    def answer(self, question: analysis.Question) -> Any:
        """What is known of the layer that is drawn."""
        assert self.inspection is not None
        return self.inspection.answers[question]

    @property
    def side(self) -> Side:
        """What is shown: A, as long as nothing is attached."""
        return Side.A if self.comparing is None else self.comparing.side

    def both(self) -> Versus | None:
        """Both sides of the layer, as soon as B's is known."""
        if self.comparing is None or self._coming is None:
            return None
        return self.comparing.of(self._coming)

    def details_of(self, inspection: Inspection) -> Details | None:
        """Who finds out more of it."""
        comparing, both = self.comparing, self.both()
        if comparing is not None and inspection is comparing.gap:
            return comparing.gaps
        return comparing.details if comparing is not None and both and inspection is both.b else self._details

    def _draw_if_known(self, inspection: Inspection, *, keep: bool = True) -> None:
        """Draw, or first find out what is missing; meanwhile what was drawn before stays, if it is the same layer."""
        same = self.inspection is not None and self.inspection.info == inspection.info
        side, both = self.side, self.both()
        if side != Side.A and both is None:
            self._wait_for_b(same=same, keep=keep)
            return
        if both is not None and both.plain is not None and not self.shows_plain:
            if side == Side.B:
                self._show_message(NOT_QUANTIZED)
                self.summarised.emit("")
                return
            both, side = None, Side.A
        shown = both.b if side == Side.B and both is not None else inspection
        versus = both if side in (Side.DIFFERENCE, Side.SWIPE) else None
        needed = [(shown, each) for each in self.questions(shown)] if versus is None else self.versus_questions(versus)
        if self._asks(needed) or (side == Side.DIFFERENCE and self._lacks_gap()):
            if not same:
                self._show_message("Looking at the weights …")
            self._keep, self._pending = self._keep and keep, True
            return
        self._pages.setCurrentIndex(1)
        keep, self._keep, self._pending = keep and self._keep and same, True, False
        if shown is not self.inspection:
            self.inspection, self.probe = shown, Probe(shown)
        self.versus = versus
        self._drawn = side, None if both is None else both.b
        around = [plot.around for plot in self.plots]
        said = self.draw(shown, keep) if versus is None else self.draw_versus(versus, side, keep)
        self.summarise(f"B: {said}" if side == Side.B else said)
        for plot, before in zip(self.plots, around, strict=True):
            if plot.around != before:
                plot.viewport().update()
        self.show_pin(self.linked.pin)
        self.readout.setText(self.hint)
        for plot in self.plots:
            plot.follow()
            plot.settle()

    def _wait_for_b(self, *, same: bool, keep: bool) -> None:
        """Say why there is no B; while it is still to come, what was drawn before stays."""
        why = "" if self.comparing is None else self.comparing.message
        if why or not same:
            self._show_message(why or "Looking at B …")
            self.summarised.emit("")
        self._keep, self._pending = self._keep and keep, not why

    def _asks(self, needed: list[tuple[Inspection, analysis.Question]]) -> bool:
        """Have found out what is missing; whether that takes a job."""
        missing: dict[Inspection, list[analysis.Question]] = {}
        for inspection, question in needed:
            if question not in inspection.answers:
                missing.setdefault(inspection, []).append(question)
        for inspection, questions in missing.items():
            details = self.details_of(inspection)
            if details is None:
                inspection.answers.update(analysis.answer(inspection.subject, questions))
            else:
                details.ask(inspection, questions)
        return bool(missing) and self._details is not None

    def _lacks_gap(self) -> bool:
        """Whether A − B is still to be found out; what is asked of it is asked at once."""
        questions = self.gap_questions()
        if not questions or self.comparing is None:
            return False
        self.comparing.subtract()
        gap = self.comparing.gap
        return gap is None or self._asks([(gap, question) for question in questions])

    def ask(self, questions: Iterable[analysis.Question]) -> None:
        """Have more found out of the layer that is drawn; `learned` follows."""
        if self.inspection is not None and (details := self.details_of(self.inspection)) is not None:
            details.ask(self.inspection, questions)

    def ask_at_rest(self, question: analysis.Question, of: Inspection | None = None) -> None:
        """The same once zooming and panning have come to rest; it takes the place of what was asked so before.

        `of` is another side than that which is drawn first.
        """
        inspection = self.inspection if of is None else of
        if inspection is not None:
            self._wanted_next[inspection] = question
            self._rest.start()

    def _on_rest(self) -> None:
        """Ask, and forget the answer to what was asked before: parts of a layer that are no longer in view."""
        wanted, self._wanted_next = self._wanted_next, {}
        self._asked_last = {of: asked for of, asked in self._asked_last.items() if of in wanted}
        for inspection, question in wanted.items():
            details, before = self.details_of(inspection), self._asked_last.get(inspection)
            if details is None or question in inspection.answers or not self._is_shown(inspection):
                continue
            if before is not None:
                inspection.answers.pop(before, None)
            details.ask(inspection, [question], instead_of=before)
            self._asked_last[inspection] = question

    def _is_shown(self, inspection: Inspection) -> bool:
        sides = () if self.versus is None else (self.versus.a, self.versus.b)
        gap = None if self.comparing is None else self.comparing.gap
        return any(inspection is one for one in (self.inspection, *sides, gap))

    def _on_answered(self, _: Inspection) -> None:
        if self._coming is None or not self.isVisible():
            return
        if self._pending:
            self._draw_if_known(self._coming)
        elif self.inspection is not None:
            self.learned()

    def learned(self) -> None:
        """More is known of the layer that is drawn, perhaps because another view has asked."""

    def summarise(self, sentence: str) -> None:
        """Emit the sentence, marked while it comes from a sample of rows."""
        if self.inspection is not None and self.inspection.part < 1:
            sentence = f"≈ {sentence}"
        self.setAccessibleDescription(sentence)
        self.summarised.emit(sentence)

    # Following.

    def _sender(self) -> Plot | None:
        """The plot that a signal comes from, while there is something drawn."""
        drawn = self.inspection is not None
        return next((plot for plot in self.plots if drawn and plot is self.sender()), None)

    def _on_hovered(self, at: QPointF | None) -> None:
        plot = self._sender()
        if plot is None or plot is not self.plot_in_front:
            return
        if at is not None:
            self.point_at(self.locate(plot, at))
        elif self._pointing:
            self.point_at(None)
        else:
            self._point(self._spot)  # what was drawn anew is marked anew

    def point_at(self, spot: Spot | None) -> None:
        """The cursor is over a place in this view; None when it leaves."""
        self._pointing = spot is not None
        self._point(spot)
        self.linked.point(spot, self)

    def _on_pointed(self, spot: Spot | None, view: object) -> None:
        if view is not self and self.isVisible():
            self._point(spot)

    def _point(self, spot: Spot | None) -> None:
        self._spot = spot
        if self.inspection is None:
            return
        self.mark(spot)
        self.readout.setText((self.tell(spot) if spot is not None else "") or self.hint)

    def _on_clicked(self, at: QPointF) -> None:
        plot = self._sender()
        spot = None if plot is None else self.locate(plot, at)
        if spot is not None:
            self.linked.select(spot)

    def _on_pinned(self, spot: Spot | None) -> None:
        self._to_group.setVisible(spot is not None and self.name != GROUP)
        if self.inspection is not None and self.isVisible():
            self.show_pin(spot)

    def showEvent(self, event: QShowEvent) -> None:
        """Show what has been selected meanwhile."""
        super().showEvent(event)
        self._on_pinned(self.linked.pin)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Return opens the group under the cursor, or the selected one."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.name != GROUP:
            if self._spot is not None and self._spot.row is not None:
                self.linked.select(self._spot)
            self.linked.open(GROUP)
        else:
            super().keyPressEvent(event)

    def _on_moved(self) -> None:
        plot = self._sender()
        extent = None if plot is None else self.extent(plot)
        if extent is not None:
            self.linked.zoom(extent, self)

    def _on_zoomed(self, extent: Extent, view: object) -> None:
        if view is not self and self.inspection is not None:
            self.zoom_to(extent)

"""One group from weights to bytes: every weight with its code and error, the levels, and what a device will read."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QLabel, QSpinBox, QToolButton, QVBoxLayout, QWidget

from qinspect import analysis
from qinspect import figures as fmt
from qinspect.gui.axes import number
from qinspect.gui.byte_table import NOTHING, Bytes, ByteTable
from qinspect.gui.comparing import Side
from qinspect.gui.level_plot import Group, LevelPlot
from qinspect.gui.linked import Extent, Spot
from qinspect.gui.plots import Plot, translucent
from qinspect.gui.probe import Probe
from qinspect.gui.theme import Theme
from qinspect.gui.views.plot_view import PlotView
from qinspect.gui.views.view import TAB
from qinspect.quant.metrics import decibels
from qinspect.quant.places import held, parameters
from qinspect.session import Inspection
from qinspect.tables import Column, Table
from qinspect.versus import Versus

MOST = 1 << 13
"""Weights shown of a longer run, around the one that is selected."""

MOST_LEVELS = 64
"""More levels than this are not drawn as lines."""


class GroupView(PlotView):
    """The selected group; Ctrl+arrows go to its neighbours, W to the worst one."""

    name: ClassVar[str] = "group"
    title: ClassVar[str] = "Group"
    order: ClassVar[int] = 50
    place: ClassVar[str] = TAB

    def __init__(self) -> None:
        self.plot = LevelPlot()
        super().__init__(self.plot)
        self._levels = pg.PlotCurveItem(connect="pairs")
        self._ends = pg.PlotCurveItem(connect="pairs")
        self._errors = pg.PlotCurveItem(connect="pairs")
        self._decoded, self._other = pg.PlotCurveItem(connect="pairs"), pg.PlotCurveItem(connect="pairs")
        self._dots, self._clipped = pg.ScatterPlotItem(pxMode=True), pg.ScatterPlotItem(pxMode=True)
        self._ring = pg.ScatterPlotItem(pxMode=True)
        for item in (
            self._levels,
            self._ends,
            self._errors,
            self._decoded,
            self._other,
            self._dots,
            self._clipped,
            self._ring,
        ):
            self.plot.addItem(item)
        self.table = ByteTable()
        self.table.pointed.connect(self._on_bytes)
        self._no_bytes = QLabel("", alignment=Qt.AlignmentFlag.AlignCenter)
        self._no_bytes.setObjectName("muted")
        self._no_bytes.setWordWrap(True)
        below = QVBoxLayout()
        below.setContentsMargins(6, 4, 6, 0)
        below.addWidget(self.table)
        below.addWidget(self._no_bytes)
        self.column.setStretch(0, 3)
        self.column.addLayout(below, 2)
        self._row, self._group = _spin("row "), _spin("group ")
        self._row.valueChanged.connect(lambda row: self.go(row, self._group.value()))
        self._group.valueChanged.connect(lambda group: self.go(self._row.value(), group))
        self._steps = [
            _button("◀", "Previous group", "Previous group (Ctrl+Left)", lambda: self.step(0, -1)),
            _button("▶", "Next group", "Next group (Ctrl+Right)", lambda: self.step(0, 1)),
            _button(
                "▲", "Same group of the row above", "Same group of the row above (Ctrl+Up)", lambda: self.step(-1, 0)
            ),
            _button(
                "▼", "Same group of the row below", "Same group of the row below (Ctrl+Down)", lambda: self.step(1, 0)
            ),
        ]
        self._worst = _button(
            "worst", "Worst group", "The group of the lowest SQNR; again, the next to it (W)", self.go_to_worst
        )
        self._shown: Group | None = None
        self._others: np.ndarray | None = None
        self._ranking: np.ndarray | None = None
        self._rank = -1
        self._wanted_worst = False

    def controls(self) -> list[QWidget]:
        """Where one is, and ways to go."""
        return [self._row, self._group, *self._steps, self._worst]

    def questions(self, inspection: Inspection | None) -> tuple[analysis.Question, ...]:
        """A group is read when it is drawn."""
        return ()

    def set_theme(self, theme: Theme) -> None:
        """Take over colours."""
        self.table.theme = theme
        super().set_theme(theme)

    # Drawing.

    def draw(self, inspection: Inspection, keep: bool) -> str:
        """The group that is selected, or the first."""
        self._others = None
        self._other.setData([], [])
        return self._draw_selected(inspection, keep)

    def draw_versus(self, versus: Versus, side: Side, keep: bool) -> str:
        """A's group with what its weights decode to in B; the difference between both, or the errors of A."""
        self._draw_selected(versus.a, keep)
        group, probe = self._shown, self.probe
        assert group is not None and probe is not None
        theirs = Probe(versus.b)
        row = theirs.row(theirs.index(probe.number(group.index)))
        others = self._others = row.decoded[group.start : group.stop]
        theme, x = self.plot.theme, np.arange(group.start, group.stop, dtype=np.float64)
        wide = np.column_stack([x - 0.4, x + 0.4]).ravel()
        self._other.setData(wide, np.repeat(others.astype(np.float64), 2), pen=pg.mkPen(theme.other, width=2))
        if side == Side.DIFFERENCE:
            self._errors.setVisible(True)
            self._errors.setData(np.repeat(x, 2), np.column_stack([others, group.decoded]).ravel())
            self._errors.setPen(pg.mkPen(translucent(theme.error, 170)))
        marks = {"decoded": "A", "error": "A − B" if side == Side.DIFFERENCE else "error of A"}
        entries = [(marks.get(name, name), colour, form) for name, colour, form in self.plot.legend]
        if group.weights is None and side == Side.DIFFERENCE:
            entries.insert(0, (marks["error"], theme.error, "mark"))
        self.plot.legend = [*entries, ("B", theme.other, "line")]
        worst = int(np.argmax(np.abs(group.decoded - others)))
        gap = number(float(group.decoded[worst] - others[worst]), 3)
        where = f"Row {probe.number(group.index)}, columns {group.start} … {group.stop - 1}"
        sides = ""
        if group.weights is not None:
            errors = f"{_sqnr(group.weights, group.decoded)}, B {_sqnr(group.weights, others)}"
            sides = f"SQNR A {errors}; "
        return f"{where}: {sides}largest A − B {gap} at column {group.start + worst}."

    def _draw_selected(self, inspection: Inspection, keep: bool) -> str:
        probe = self.probe
        assert probe is not None
        if analysis.GroupErrors() not in inspection.answers:
            self._ranking, self._rank = None, -1
        self._offer(probe)
        before, self._shown = self._shown, self._read(inspection, probe, self.linked.pin)
        group = self._shown
        same = before is not None and (before.index, before.start) == (group.index, group.start)
        self._draw_group(group, keep and same)
        self._show_bytes(inspection, probe, group)
        return self._sentence(inspection, probe, group)

    def _read(self, inspection: Inspection, probe: Probe, pin: Spot | None) -> Group:
        index = probe.index(pin.row or 0) if pin is not None else 0
        col = min(pin.cols[0], probe.cols - 1) if pin is not None and pin.cols else 0
        found, start, stop = probe.run_of(index, col)
        start, stop = max(0, start), min(stop, probe.cols)
        if stop - start > MOST:
            start = max(start, min(col - MOST // 2, stop - MOST))
            stop = start + MOST
        row, cols = probe.row(index), slice(start, stop)
        levels = inspection.scheme.level_values(inspection.quantized, found)
        weights = None if row.weights is None else row.weights[cols]
        return Group(index, found, start, stop, row.codes[cols], row.decoded[cols], weights, levels)

    def _draw_group(self, group: Group, keep: bool) -> None:
        theme = self.plot.theme
        x = np.arange(group.start, group.stop, dtype=np.float64)
        known = group.decoded if group.weights is None else group.weights
        values = np.concatenate([known, group.decoded]).astype(np.float64)
        few = group.levels.size <= MOST_LEVELS
        span = group.levels if few and group.levels.size else values
        low, high = min(float(values.min()), float(span.min())), max(float(values.max()), float(span.max()))
        room = 0.04 * (high - low) or max(abs(high) * 0.1, 1e-6)
        content = QRectF(group.start - 1, low - room, group.stop - group.start + 1, high - low + 2 * room)
        self.plot.set_content(content, least=(min(8, content.width()), content.height() / 1000), keep=keep)
        self.plot.left.describe("weight" if group.weights is not None else "decoded weight")
        self._draw_levels(group, content, few)
        ends = np.column_stack([x, x]).ravel()
        self._errors.setVisible(group.weights is not None)
        if group.weights is not None:
            self._errors.setData(ends, np.column_stack([group.weights, group.decoded]).ravel())
            self._errors.setPen(pg.mkPen(translucent(theme.error, 170)))
        wide = np.column_stack([x - 0.4, x + 0.4]).ravel()
        self._decoded.setData(wide, np.repeat(group.decoded.astype(np.float64), 2))
        self._decoded.setPen(pg.mkPen(theme.decoded, width=2))
        inside = ~group.outside
        size = 6 if x.size <= 512 else 3
        none = np.zeros(0)
        shown = group.weights is not None
        self._dots.setData(
            x[inside] if shown else none, known[inside] if shown else none, size=size, pen=None, brush=theme.weights
        )
        self._clipped.setData(x[~inside], known[~inside], size=size + 3, symbol="x", pen=None, brush=theme.bad)
        self.plot.legend = [
            *([("weight", theme.weights, "bar"), ("error", theme.error, "mark")] if shown else []),
            ("decoded", theme.decoded, "line"),
            *([("clipped", theme.bad, "bar")] if not inside.all() else []),
            *([("level", theme.level, "dashes")] if few else []),
        ]  # fmt: skip

    def _draw_levels(self, group: Group, content: QRectF, few: bool) -> None:
        """All levels, or only the ends where there are too many."""
        theme, levels = self.plot.theme, group.levels.astype(np.float64)
        first = 0 if self.inspection is None else self.inspection.scheme.code_range[0]
        drawn = levels if few else np.zeros(0)
        across = np.tile([content.left(), content.right()], drawn.size)
        self._levels.setData(across, np.repeat(drawn, 2))
        self._levels.setPen(pg.mkPen(translucent(theme.level, 90), style=Qt.PenStyle.DashLine))
        ends = np.array([levels.min(), levels.max()]) if levels.size else np.zeros(0)
        self._ends.setData(np.tile([content.left(), content.right()], ends.size), np.repeat(ends, 2))
        self._ends.setPen(pg.mkPen(translucent(theme.level, 220)))
        self.plot.levels = [(first + at, float(value)) for at, value in enumerate(levels)] if few else []

    def _show_bytes(self, inspection: Inspection, probe: Probe, group: Group) -> None:
        q = inspection.quantized
        if q.scheme.decode_only:
            self.table.show_bytes(NOTHING)
        else:
            row_bytes = q.data[group.index : group.index + 1].size
            found = held(q, group.index, group.start, group.stop)
            stored = tuple(parameters(q, group.number))
            origin = probe.number(group.index) * row_bytes
            self.table.show_bytes(Bytes(stored, tuple(found), group.start, group.stop, origin))
        self.table.setVisible(not q.scheme.decode_only)
        self._no_bytes.setVisible(q.scheme.decode_only)
        self._no_bytes.setText(
            f"{q.scheme.label} was packed by another program, and its bytes are not taken apart here: "
            "shown are the codes that decoding reads from them."
        )

    # Words.

    def _sentence(self, inspection: Inspection, probe: Probe, group: Group) -> str:
        where = f"Row {probe.number(group.index)}, columns {group.start} … {group.stop - 1}"
        used = np.unique(group.codes).size
        parts = [f"{used} of {fmt.counted(inspection.scheme.n_codes, 'code')} used"]
        errors = group.errors
        if errors is not None and group.weights is not None:
            parts.insert(0, f"SQNR {_sqnr(group.weights, group.decoded)}{self._ranked(group)}")
            worst = int(np.argmax(np.abs(errors)))
            parts.append(f"largest error {number(abs(float(errors[worst])))} at column {group.start + worst}")
            clipped = int(group.outside.sum())
            parts.append(f"{clipped} clipped" if clipped else "none clipped")
        low, high = (float(group.levels.min()), float(group.levels.max())) if group.levels.size else (0.0, 0.0)
        self.hint = (
            f"Minimum {number(low, 4)}, range {number(high - low, 4)}, {fmt.counted(group.codes.size, 'weight')}."
        )
        return f"{where}: {', '.join(parts)}."

    def _ranked(self, group: Group) -> str:
        """By what a group is the worst, where someone asked for it."""
        if self._ranking is None or self._rank < 0 or self._ranking[self._rank] != group.number:
            return ""
        return " (the lowest)" if self._rank == 0 else f" (number {self._rank + 1} from the lowest)"

    def tables(self) -> tuple[Table, ...]:
        """The weights, and the bytes."""
        group = self._shown
        if group is None or self.inspection is None:
            return ()
        columns = [Column("column", "Column", "d"), Column("code", "Code", "d"), Column("decoded", "Decoded", ".6g")]
        values = [range(group.start, group.stop), group.codes.tolist(), group.decoded.tolist()]
        errors = group.errors
        if group.weights is not None and errors is not None:
            columns += [Column("weight", "Weight", ".6g"), Column("error", "Error", ".4g")]
            values += [group.weights.tolist(), errors.tolist()]
        if self._others is not None:
            columns.append(Column("b", "B decoded", ".6g"))
            values.append(self._others.tolist())
        weights = Table("Weights of the group", tuple(columns), tuple(zip(*values, strict=True)))
        return (weights, self.table.bytes.table()) if self.table.bytes.rowCount() else (weights,)

    # Going elsewhere.

    def _groups(self, probe: Probe) -> int:
        """Groups in a row."""
        return max(1, probe.layout.runs_per_row)

    def _offer(self, probe: Probe) -> None:
        groups = self._groups(probe)
        pin = self.linked.pin
        index = probe.index(pin.row or 0) if pin is not None else 0
        col = min(pin.cols[0], probe.cols - 1) if pin is not None and pin.cols else 0
        for spin, most, value in (
            (self._row, probe.layer_rows - 1, probe.number(index)),
            (self._group, groups - 1, self._group_of(probe, index, col)),
        ):
            spin.blockSignals(True)
            spin.setRange(0, most)
            spin.setValue(value)
            spin.blockSignals(False)
        for control in (self._group, *self._steps[:2]):
            control.setEnabled(groups > 1)
        for control in (self._row, *self._steps[2:]):
            control.setEnabled(probe.layer_rows > 1)
        known = self.inspection is not None and self.inspection.weights is not None
        self._worst.setEnabled(known and probe.layout.sets > 1)

    def _group_of(self, probe: Probe, index: int, col: int) -> int:
        layout = probe.layout
        line, within = divmod(index * layout.cols + col, layout.line)
        return (line - index * layout.cols // layout.line) * layout.runs_per_line + within // layout.run

    def go(self, row: int, group: int) -> None:
        """To a group by its numbers."""
        probe = self.probe
        if probe is None:
            return
        layout = probe.layout
        line, number = divmod(group, layout.runs_per_line)
        first = line * layout.line + number * layout.run
        stop = min(first + layout.run, (line + 1) * layout.line, layout.cols)
        self.linked.select(Spot(row, (first, stop)))

    def step(self, rows: int, groups: int) -> None:
        """To a neighbour; beyond the end of a row is the next one."""
        if self.probe is None:
            return
        per_row = self._groups(self.probe)
        place = (self._row.value() + rows) * per_row + self._group.value() + groups
        if 0 <= place < self.probe.layer_rows * per_row:
            self.go(*divmod(place, per_row))

    def learned(self) -> None:
        """Which group is the worst."""
        if self._wanted_worst:
            self.go_to_worst()

    def go_to_worst(self) -> None:
        """To the set of the lowest SQNR, once it is known which; then to the next to it."""
        inspection, probe, question = self.inspection, self.probe, analysis.GroupErrors()
        if inspection is None or probe is None or inspection.weights is None:
            return
        if question not in inspection.answers and self._details is None:
            inspection.answers.update(analysis.answer(inspection.subject, [question]))
        self._wanted_worst = question not in inspection.answers
        if self._wanted_worst:
            self.ask([question])
            return
        if self._ranking is None:
            quality: analysis.GroupQuality = inspection.answers[question]
            self._ranking = np.argsort(np.where(np.isnan(quality.sqnr_db), np.inf, quality.sqnr_db), kind="stable")
        self._rank = (self._rank + 1) % self._ranking.size
        spot = _first_of(probe, int(self._ranking[self._rank]))
        self.linked.select(spot)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Ctrl and an arrow: a neighbour; W: the worst."""
        ways = {
            Qt.Key.Key_Left: (0, -1), Qt.Key.Key_Right: (0, 1), Qt.Key.Key_Up: (-1, 0), Qt.Key.Key_Down: (1, 0),
        }  # fmt: skip
        key = Qt.Key(event.key())
        if event.modifiers() == Qt.KeyboardModifier.ControlModifier and key in ways:
            self.step(*ways[key])
        elif event.modifiers() == Qt.KeyboardModifier.NoModifier and key == Qt.Key.Key_W:
            self.go_to_worst()
        else:
            super().keyPressEvent(event)

    # Places.

    def show_pin(self, spot: Spot | None) -> None:
        """Draw what is selected now."""
        if self.inspection is None or self.probe is None or self._shown is None:
            return
        now = self._read(self.inspection, self.probe, spot)
        if (now.index, now.start, now.stop) != (self._shown.index, self._shown.start, self._shown.stop):
            self.redraw(keep=False)
        elif spot is not None and spot.cols is not None and spot.cols[1] - spot.cols[0] == 1:
            self._offer(self.probe)
            self._put_ring(spot.cols[0])

    def locate(self, plot: Plot, at: QPointF) -> Spot | None:
        """The weight nearest in the plot."""
        group, probe = self._shown, self.probe
        assert group is not None and probe is not None
        col = min(max(round(at.x()), group.start), group.stop - 1)
        return probe.spot(group.index, col)

    def mark(self, spot: Spot | None) -> None:
        """A ring around the weight, its digit among the bytes; or the columns of several."""
        group = self._shown
        here = spot is not None and group is not None and self.probe is not None and spot.row is not None
        if not here or self.probe.index(spot.row) != group.index or spot.cols is None:  # type: ignore[union-attr,arg-type]
            self.table.mark(None)
            self.plot.mark()
            self._put_ring(None)
            return
        first, stop = max(spot.cols[0], group.start), min(spot.cols[1], group.stop)  # type: ignore[union-attr,index]
        single = stop - first == 1
        self.table.mark((first, stop) if first < stop else None)
        self.plot.mark(first if single else None)
        self._put_ring(first if single else None)

    def _put_ring(self, col: int | None) -> None:
        group = self._shown
        if col is None or group is None or not group.start <= col < group.stop:
            self._ring.setData([], [])
            return
        values = group.decoded if group.weights is None else group.weights
        pen = pg.mkPen(self.plot.theme.accent, width=2)
        self._ring.setData([col], [float(values[col - group.start])], size=13, pen=pen, brush=None)

    def tell(self, spot: Spot) -> str:
        """The weight, its code, its error in steps."""
        group, probe = self._shown, self.probe
        if group is None or probe is None or spot.row is None or spot.cols is None:
            return ""
        if probe.index(spot.row) != group.index or not group.start <= spot.cols[0] < group.stop:
            return ""
        if spot.cols[1] - spot.cols[0] > 1:
            return f"columns {spot.cols[0]} … {min(spot.cols[1], group.stop) - 1}"
        found = probe.spot(group.index, spot.cols[0])
        decoded = float(group.decoded[spot.cols[0] - group.start])
        code = f"column {spot.cols[0]}:  code {found.code}".replace("-", "−")
        if self._others is not None:
            theirs = float(self._others[spot.cols[0] - group.start])
            return f"{code}, A {number(decoded, 4)}, B {number(theirs, 4)}  (A − B {number(decoded - theirs, 3)})"
        if found.error is None:
            return f"{code} = {number(decoded, 4)}"
        steps = f", {number(abs(found.steps), 2)} steps" if found.steps is not None else ""
        sign = "+" if found.error > 0 else ""
        assert found.value is not None
        return f"{code}, {number(found.value, 4)} → {number(decoded, 4)}  (error {sign}{number(found.error, 3)}{steps})"

    def extent(self, plot: Plot) -> Extent | None:
        """Zooming among the weights of a group is a matter of this view alone."""
        return None

    def _on_bytes(self, cols: tuple[int, int] | None) -> None:
        """The cursor is over the bytes of some weights."""
        group, probe = self._shown, self.probe
        if group is None or probe is None or self.inspection is None:
            return
        if cols is None:
            self.point_at(None)
        elif cols[1] - cols[0] == 1:
            self.point_at(probe.spot(group.index, cols[0]))
        else:
            self.point_at(Spot(probe.number(group.index), cols))


def _sqnr(weights: np.ndarray, decoded: np.ndarray) -> str:
    noise = float(np.square(decoded - weights, dtype=np.float64).sum())
    return fmt.decibels(decibels(float(np.square(weights, dtype=np.float64).sum()), noise))


def _first_of(probe: Probe, number: int) -> Spot:
    """The first weights of a parameter set."""
    layout = probe.layout
    run = number
    line, within = divmod(run, layout.runs_per_line)
    flat = line * layout.line + within * layout.run
    row, col = divmod(flat, layout.cols)
    return Spot(probe.number(row), probe.run_of(row, col)[1:])


def _spin(prefix: str) -> QSpinBox:
    spin = QSpinBox()
    spin.setPrefix(prefix)
    spin.setRange(0, 0)
    spin.setKeyboardTracking(False)
    spin.setFixedWidth(96)
    spin.lineEdit().setTextMargins(4, 0, 0, 0)
    spin.setAccessibleName(prefix.strip().capitalize())
    spin.setToolTip(f"The {prefix.strip()} that is shown; type another")
    return spin


def _button(text: str, title: str, tip: str, slot: object) -> QToolButton:
    button = QToolButton()
    button.setText(text)
    button.setAccessibleName(title)
    button.setToolTip(tip)
    button.clicked.connect(slot)
    return button

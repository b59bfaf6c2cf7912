"""The main window: layers on the left, the views of the selected one in the centre, scheme and figures on the right."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QPoint, QSettings, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent, QGuiApplication, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QMainWindow,
    QMenu,
    QSplitter,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from qinspect.assets import resource
from qinspect.errors import printable
from qinspect.findings import Finding
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.gui import dialogs, layer_menu, menus, panels, panes, resume
from qinspect.gui import theme as themes
from qinspect.gui.centre import Centre
from qinspect.gui.compare_bar import CompareBar
from qinspect.gui.controller import Controller
from qinspect.gui.export_pane import ExportPane
from qinspect.gui.first_layer import FirstLayer
from qinspect.gui.jobs import COMPILED
from qinspect.gui.layer_table import LayerTable
from qinspect.gui.linked import Spot
from qinspect.gui.notice import NoticeBar
from qinspect.gui.preferences import Preferences
from qinspect.gui.readout import FindingsList, Readout
from qinspect.gui.scheme_form import SchemeForm
from qinspect.gui.scope_box import ScopeBox
from qinspect.gui.status import StatusBar
from qinspect.gui.trouble import TroubleBar
from qinspect.gui.versus_figures import VersusFigures
from qinspect.gui.watch import FileWatch
from qinspect.gui.welcome import Welcome
from qinspect.planning.budget import Limit
from qinspect.recipe import Recipe
from qinspect.session import Inspection, LayerReport

LOOKS = {"weights": "histogram", "codes": "occupancy", "scales": "scales", "error": "error"}
"""The views in which findings can be seen."""

UNSEEN_MS = 500
"""When views are made at the latest, also if nobody sees the window."""

LOW = 860
"""Height in pixels below which figures give way to findings."""

LEFT_ALONE = "An export leaves this tensor as it is. Shown is what {scheme} would do to it."
EMPTY = "This tensor has no weights; an export writes it as it is."


class MainWindow(QMainWindow):
    """The whole program in one window. Work is the controller's; this asks and shows."""

    ready = Signal()
    """The views are made."""

    def __init__(self, settings: QSettings) -> None:
        super().__init__()
        self.preferences = Preferences(settings)
        self.controller = Controller(self)
        self.setWindowTitle("qinspect")
        self.setAcceptDrops(True)
        self.setMinimumSize(900, 600)
        self.welcome = Welcome(self)
        self.table = LayerTable(self)
        self.compare_bar = CompareBar(self.controller, self)
        self.centre = Centre(self.compare_bar, self)
        self.grid, self.tabs, self.frames = self.centre.grid, self.centre.tabs, self.centre.frames
        self.views_menu: QMenu
        self.form = SchemeForm(self)
        self.scope = ScopeBox(self.controller, self)
        self.readout = Readout(self)
        self.figures = VersusFigures(self.controller.comparing, self)
        self.findings = FindingsList(self)
        self.export_pane = ExportPane(self.controller, self)
        self.status = StatusBar(self.controller, self)
        self.notice = NoticeBar(self)
        self.trouble = TroubleBar(self)
        self.watch = FileWatch(self)
        self._wanted_layer: str | None = None
        self._first = FirstLayer(self.table, self.controller, self)
        self._build()
        menus.build(self)
        self._connect()
        self.set_theme(self._preferred_theme())
        self.welcome.show_recent(self.preferences.recent())
        if not self.preferences.restore_layout(self, self.splitter):
            self.resize(1600, 1000)
        self._views_due = QTimer(self)
        self._views_due.setSingleShot(True)
        self._views_due.timeout.connect(self.build_views)
        self._views_due.start(UNSEEN_MS)

    # Building.

    def _build(self) -> None:
        left = panels.card(self.table)
        left.setMinimumWidth(240)
        self._panels = QTabWidget(self)
        self._panels.setDocumentMode(True)
        self._panels.tabBar().setDrawBase(False)
        self._panels.tabBar().setAccessibleName("Panels")
        parts = self.scope, self.form, self.figures, self.readout, self.findings
        self._panels.addTab(panels.quantize(*parts), "Quantize")
        self._panels.addTab(self.export_pane, "Export")
        dock = QDockWidget("Panels", self)
        dock.setObjectName("panels")
        dock.setFeatures(QDockWidget.DockWidgetFeature.NoDockWidgetFeatures)
        dock.setTitleBarWidget(QWidget(dock))
        holder = panels.card(self._panels)
        holder.setFixedWidth(316)
        dock.setWidget(holder)
        self._dock = dock
        self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
        self.splitter = QSplitter(Qt.Orientation.Horizontal, self)
        self.splitter.setHandleWidth(8)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.addWidget(left)
        self.splitter.addWidget(self.centre)
        self.splitter.setStretchFactor(0, 3)
        self.splitter.setStretchFactor(1, 5)
        self.splitter.setSizes([300, 500])
        self.pages = QStackedWidget(self)
        self.pages.addWidget(self.welcome)
        self.pages.addWidget(self.splitter)
        content = QWidget(self)
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.notice)
        column.addWidget(self.trouble)
        column.addWidget(self.pages, 1)
        self.setCentralWidget(content)
        self.setContentsMargins(8, 0, 8, 0)
        self.setStatusBar(self.status)
        dock.hide()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Once the window can be seen, its views follow."""
        super().paintEvent(event)
        if self._views_due.isActive():
            self._views_due.start(0)

    def build_views(self) -> None:
        """Import the plotting library and make the views: after the window has been painted, not before."""
        if self.frames:
            return
        self._views_due.stop()
        self.centre.build(self.controller, self.theme)
        for frame in self.frames:
            frame.told.connect(self.status.say)
            frame.failed.connect(self.show_error)
        menus.add_views(self)
        self.ready.emit()

    def _connect(self) -> None:
        controller = self.controller
        self.welcome.open_requested.connect(self.choose_file)
        self.welcome.sample_requested.connect(self.open_sample)
        self.welcome.recent_requested.connect(self.open)
        self.table.picked.connect(controller.select)
        self.table.selection_changed.connect(controller.set_selection)
        self.table.menu_requested.connect(self._on_menu)
        self.form.changed.connect(lambda scheme: controller.choose(scheme, self.form.gesture))
        self.export_pane.reopen_requested.connect(self.open)
        self.export_pane.fit_requested.connect(self._on_fit)
        controller.opened.connect(self._on_opened)
        controller.failed.connect(self.show_error)
        controller.selected.connect(self._on_selected)
        controller.recipe_changed.connect(self._on_recipe)
        controller.chosen.connect(self.form.show_scheme)
        controller.inspected.connect(self._on_inspected)
        controller.uninspectable.connect(self._on_uninspectable)
        controller.reported.connect(self._on_reported)
        controller.analysed.connect(self._first.settle)
        controller.attached.connect(self._on_attached)
        comparing = controller.comparing
        comparing.compared.connect(self.table.compare)
        comparing.reported.connect(self.table.show_other)
        comparing.attached.connect(lambda other: self.table.compare({}, {}) if other is None else None)
        controller.interrupted.connect(self._on_interrupted)
        controller.exported.connect(lambda _: self.clear_error())
        self.findings.asked.connect(self.show_place)
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._on_system_theme)
        self.watch.changed.connect(self._on_file_changed)
        self.table.view.pressed.connect(self._on_touched)
        self.form.changed.connect(self._on_touched)

    # Opening.

    def open(
        self,
        path: str | Path,
        *,
        layer: str | None = None,
        recipe: Recipe | None = None,
        reference: str | Path | None = None,
    ) -> None:
        """Open a checkpoint; `layer` is selected once its rows are there."""
        self._wanted_layer = layer
        if self.controller.exporting:
            self.status.say(f"{printable(Path(path).name)} is opened when the export is done.")
        self.controller.open(path, recipe=recipe, reference=reference)

    def reload(self) -> None:
        """Open the same file once more, and look at the same layer."""
        checkpoint, info = self.controller.session.checkpoint, self.controller.info
        if checkpoint is not None:
            self.open(checkpoint.path, layer=None if info is None else info.name)

    def open_sample(self) -> None:
        """Open the network that ships with the program."""
        self.open(resource("samples/digits.safetensors"))

    def choose_file(self) -> None:
        """Ask for a checkpoint to open."""
        path = dialogs.checkpoint_path(self, "Open a checkpoint")
        if path:
            self.open(path)

    def choose_originals(self) -> None:
        """Ask for the originals of the packed file that is open."""
        path = dialogs.checkpoint_path(self, "Attach the originals")
        if path:
            self.controller.attach(path)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files that are dropped anywhere."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open the first file dropped."""
        local = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        if local:
            event.acceptProposedAction()
            self.open(local[0])

    def _on_opened(self, checkpoint: Checkpoint) -> None:
        self.setWindowTitle(f"{printable(checkpoint.path.name)} — qinspect")
        self.preferences.remember(checkpoint.path)
        self.watch.watch(checkpoint.files)
        self.notice.hide()
        self.trouble.clear()
        if self.pages.currentWidget() is not self.splitter:
            self.pages.setCurrentWidget(self.splitter)
            self.table.view.setFocus()  # so that keys step through layers, and [ and ] change bits
        self._dock.show()
        self.form.name_none(stored=bool(self.controller.packed_infos))
        self.table.show_infos(checkpoint.infos)
        self._clear_layer("Select a layer in the table.")
        if self._wanted_layer is not None and self._wanted_layer in {info.name for info in checkpoint.infos}:
            self.table.select(self._wanted_layer)
        elif self._wanted_layer is not None:
            self.show_error(f"{printable(str(checkpoint.path))}: there is no layer {printable(self._wanted_layer)!r}")
        if checkpoint.notes:
            self.status.say("  ".join(map(printable, checkpoint.notes)), important=True)
        self._first.wait()

    def _on_file_changed(self, path: Path) -> None:
        self.notice.show_notice(f"{printable(path.name)} has changed on disk.", "Reload", self.reload)

    def _on_interrupted(self) -> None:
        self._first.settle()
        self.status.say("Stopped. F5, or another scheme, measures the layers that have no figures.")

    def _on_touched(self) -> None:
        """A person has done something: what was chosen for them stays, an error has been read."""
        self._first.keep()
        self.clear_error()

    def _on_attached(self, reference: Checkpoint, matched: int, packed: int) -> None:
        text = f"{printable(reference.path.name)} holds the originals of {matched} of {packed} packed layers"
        lacking = "; the others show no errors, as none there has their name and shape" if matched < packed else ""
        self.status.say(f"{text}{lacking}.", important=bool(lacking))

    # Showing.

    def _on_selected(self, info: TensorInfo | None) -> None:
        if info is None:
            self._clear_layer("Select a layer in the table.")
            return
        if not COMPILED.is_set():
            self._clear_layer("Kernels are made ready for this processor; figures follow.")
        self.table.select(info.name)
        self.centre.show_layer(info)
        self.form.name_none(stored=info.qtype is not None)
        self.form.set_shape(info.shape)

    def _on_fit(self, target: str, limit: Limit) -> None:
        """The tab Budget takes a limit of the export over."""
        frame = self.centre.bring_up("budget")
        if frame is not None:
            frame.view.fit(target, limit)  # type: ignore[attr-defined]

    def _on_menu(self, at: QPoint, value: str | None) -> None:
        layer_menu.build(self.table, self.controller, value).popup(at)

    def _on_recipe(self, recipe: Recipe) -> None:
        session = self.controller.session
        self.table.show_schemes(session.decided(recipe).schemes, session.reports_under(recipe))

    def _on_inspected(self, inspection: Inspection) -> None:
        info = inspection.info
        self.readout.show_inspection(inspection)
        taken = self.controller.recipe.scheme_for(info) is not None or info.qtype is not None
        alone = "" if taken else LEFT_ALONE.format(scheme=inspection.scheme.label) if info.size else EMPTY
        if alone == EMPTY:
            self.readout.clear()
        self.findings.show_findings(inspection.findings, alone)
        self.centre.show_inspection(inspection)

    def _on_uninspectable(self, sentence: str) -> None:
        self.readout.clear()
        self.findings.show_text(sentence)
        self.centre.show_inspection(None, "Nothing to draw: the findings say why.")

    def _on_reported(self, report: LayerReport) -> None:
        self.table.show_report(report)

    def _clear_layer(self, message: str) -> None:
        self.centre.show_layer(None)
        self.readout.clear()
        self.findings.show_text(message)
        self.centre.show_inspection(None, message)

    def show_error(self, sentence: str, details: str = "") -> None:
        """Tell what went wrong, in the status bar, where it stays until something else happens.

        What has no room there, or has details, stands above the content as well.
        """
        self.status.say(sentence, error=True)
        if details or not self.status.has_room_for(sentence):
            self.trouble.tell(sentence, details)
        else:
            self.trouble.clear()

    def clear_error(self) -> None:
        """An error has been read: something else was done since."""
        self.status.clear_error()
        self.trouble.clear()

    def find_layers(self) -> None:
        """Let a name be typed that the table is filtered by."""
        self.table.filter.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.table.filter.selectAll()

    def panes(self) -> list[tuple[QWidget, QWidget]]:
        """The parts of the window in the order in which F6 goes through them, and what is first in each."""
        if self.pages.currentWidget() is self.welcome:
            return [(self.welcome, self.welcome)]
        tab, panel = self.tabs.currentWidget(), self._panels.currentWidget()
        shown = [frame for frame in self.frames if frame.isVisible()]
        return [(self.table, self.table.view), (tab, shown[0].view if shown else tab), (panel, panel)]

    def show_panel(self, number: int) -> None:
        """Bring a panel at the right to the front, and the keys to it."""
        self._panels.setCurrentIndex(number)
        panes.enter(self._panels.currentWidget())

    def shown(self) -> dict[str, Any]:
        """What is in front, for the next start."""
        header = self.table.view.horizontalHeader()
        return self.centre.shown() | {
            "blocks": self.table.group.isChecked(),
            "sorted": [header.sortIndicatorSection(), header.sortIndicatorOrder().value],
        }

    def show_again(self, before: Mapping[str, Any]) -> None:
        """Bring to the front what `shown` told, as far as it is still there."""
        self.centre.show_again(before)
        self.table.group.setChecked(before.get("blocks") is True)
        match before.get("sorted"):
            case [int(column), int(order)] if 0 <= column < self.table.model.columnCount() and order in (0, 1):
                self.table.view.sortByColumn(column, Qt.SortOrder(order))

    def toggle_full_screen(self) -> None:
        """Fill the screen, or no more."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    def show_place(self, finding: Finding) -> None:
        """Bring up what a finding speaks of, and select the weights that it means."""
        place = finding.place
        if place is None:
            return
        if place.look == "scheme":
            panes.enter(self.form)
            return
        frame = self.centre.bring_up(LOOKS[place.look])
        if frame is not None:
            panes.enter(frame.view)
        if place.row is not None:
            self.controller.linked.select(Spot(place.row, place.cols or (0, 1)))

    def show_export(self) -> None:
        """Bring the export pane to the front."""
        if self.controller.session.checkpoint is None:
            self.show_error("Open a checkpoint first: there is nothing to export yet.")
            return
        self._panels.setCurrentWidget(self.export_pane)
        self.export_pane.target.setFocus()

    # Settings.

    def choose_theme(self, name: str) -> None:
        """Use a theme from now on; "system" follows the desktop."""
        self.preferences.theme = name
        self.set_theme(self._preferred_theme())

    def _preferred_theme(self) -> themes.Theme:
        return themes.THEMES.get(self.preferences.theme, themes.system_theme())

    def _on_system_theme(self) -> None:
        """Follow the desktop, unless someone chose otherwise."""
        if self.preferences.theme not in themes.THEMES:
            self.set_theme(self._preferred_theme())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """In a low window what matters less gives way, so that findings are seen without scrolling."""
        super().resizeEvent(event)
        for part in (self.readout, self.form, self.figures):
            part.set_compact(self.height() < LOW)

    def set_theme(self, theme: themes.Theme) -> None:
        """Recolour everything."""
        self.theme = theme
        app = QApplication.instance()
        if isinstance(app, QApplication):
            themes.apply(app, theme)
        for part in (self.table, self.figures, self.readout, self.findings, self.export_pane, self.status):
            part.set_theme(theme)
        self.centre.set_theme(theme)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Keep the layout and end all work before any widget dies."""
        self._first.stop()
        self.preferences.save_layout(self, self.splitter)
        self.preferences.session = resume.kept(self)
        self.controller.shutdown()
        super().closeEvent(event)

"""Starting the window: from the command line, and offscreen for a picture."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from PySide6.QtCore import QEventLoop, QSettings, QStandardPaths, QTimer
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from qinspect.assets import resource
from qinspect.errors import ExportError, QInspectError, UnsupportedError
from qinspect.gui import resume
from qinspect.gui import theme as themes
from qinspect.gui.comparing import Side
from qinspect.gui.main_window import MainWindow
from qinspect.gui.trouble import catch_unexpected
from qinspect.quant.scheme import Scheme

SETTLE_MS = 60
SWITCH_S = 0.001
"""How long a job may keep the interpreter from the window: with 2,000 small layers stalls shrink to a fifth."""


def run(path: str | None, *, scheme: Scheme | None = None) -> int:
    """Open the window, with a checkpoint if `path` is given, until it is closed; the exit code."""
    app = application()
    window = MainWindow(_settings())
    catch_unexpected(window.show_error)
    window.show()
    if scheme is not None:
        window.controller.choose(scheme)
    if path is not None:
        window.open(path)
    elif window.preferences.restores:
        window.ready.connect(lambda: resume.restore(window))
    window.controller.warm_up()
    code = app.exec()
    window.deleteLater()
    app.processEvents()
    return code


def screenshot(
    path: str | None,
    out: Path,
    *,
    layer: str | None = None,
    size: tuple[int, int] = (1600, 1000),
    theme: str = "dark",
    scheme: Scheme | None = None,
    view: str | None = None,
    compare: str | None = None,
    side: str = "a",
    arrange: Callable[[MainWindow], None] | None = None,
) -> None:
    """Write a PNG of the real window with `path` open and its figures there; `arrange` may click first.

    A `view` of this name comes to the front: it fills the centre, or its tab is chosen. With `compare`, a checkpoint or
    a recipe, a `side` is shown: a, b, difference or swipe.
    """
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    application()
    with TemporaryDirectory() as folder:
        settings = QSettings(str(Path(folder) / "window.ini"), QSettings.Format.IniFormat)
        settings.setValue("theme", theme)
        window = MainWindow(settings)
        try:
            window.resize(*size)
            window.show()
            _prepare(window, path, layer, scheme)
            if compare is not None:
                _compare(window, compare, side)
            if view is not None:
                _bring_up(window, view)
                settle(window)
            if arrange is not None:
                arrange(window)
                settle(window)
            if not window.grab().save(str(out), "PNG"):  # type: ignore[call-overload]
                raise ExportError("the picture could not be written; choose another folder", path=out)
        finally:
            window.close()
            window.deleteLater()
            QApplication.processEvents()


def _prepare(window: MainWindow, path: str | None, layer: str | None, scheme: Scheme | None) -> None:
    """Open and choose as asked, and wait until all figures are there."""
    errors: list[str] = []
    window.controller.failed.connect(errors.append)
    window.build_views()
    if path is None:
        return
    window.open(path, layer=layer)
    settle(window)
    if scheme is not None:
        window.controller.choose(scheme)
        settle(window)
        if layer is None:  # another is the worst now
            window.table.resort()
            window.table.select_first()
            settle(window)
    if errors:
        raise QInspectError(errors[0])


def _compare(window: MainWindow, other: str, side: str) -> None:
    """Attach what is compared with, and show one side of it."""
    errors: list[str] = []
    window.controller.failed.connect(errors.append)
    window.controller.comparing.open(other)
    settle(window)
    if errors:
        raise QInspectError(errors[0])
    window.controller.comparing.show(Side(side))
    settle(window)


def _bring_up(window: MainWindow, name: str) -> None:
    frames = {frame.view.name: frame for frame in window.frames}
    if name not in frames:
        raise UnsupportedError(f"there is no view {name!r}; choose one of {', '.join(frames)}")
    if frames[name] in window.grid.frames:
        window.centre.enlarge(frames[name])
    else:
        window.tabs.setCurrentWidget(frames[name])


def settle(window: MainWindow) -> None:
    """Let the window work until it has nothing left to do."""
    loop = QEventLoop()
    timer = QTimer()
    timer.setInterval(SETTLE_MS)
    timer.timeout.connect(lambda: None if window.controller.busy or window.export_pane.planning else loop.quit())
    timer.start()
    loop.exec()
    QApplication.processEvents()


def application() -> QApplication:
    """The one QApplication, with the program's name, icon and fonts."""
    existing = QApplication.instance()
    if isinstance(existing, QApplication):
        return existing
    sys.setswitchinterval(SWITCH_S)
    app = QApplication(sys.argv[:1])
    app.setApplicationName("qinspect")
    app.setApplicationDisplayName("qinspect")
    app.setDesktopFileName("qinspect")
    app.setStyle("Fusion")
    app.setWindowIcon(QIcon(str(resource("icons/qinspect.svg"))))
    themes.load_fonts(app)
    return app


def _settings() -> QSettings:
    folder = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.AppConfigLocation)
    return QSettings(str(Path(folder) / "window.ini"), QSettings.Format.IniFormat)

"""One window that closes cleanly, with settings of its own."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QEvent, QSettings
from PySide6.QtWidgets import QApplication

from qinspect.gui import app as gui_app
from qinspect.gui.views.view import registry


@pytest.fixture(scope="session")
def qapp_cls():
    return QApplication


@pytest.fixture(scope="session")
def qapp(qapp_args, qapp_cls, pytestconfig):
    return gui_app.application()


@pytest.fixture
def settings(tmp_path):
    return QSettings(str(tmp_path / "settings" / "window.ini"), QSettings.Format.IniFormat)


@pytest.fixture
def window(qapp, qtbot, settings):
    from qinspect.gui.main_window import MainWindow

    window = MainWindow(settings)
    window.resize(1600, 1000)
    window.show()
    window.build_views()
    yield window
    window.close()
    window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    qapp.processEvents()


@pytest.fixture
def settle(qtbot):
    """Waits until a window has nothing left to do, and shows what it did."""

    def wait(window, timeout=30_000):
        qtbot.waitUntil(lambda: not window.controller.busy and not window.export_pane.planning, timeout=timeout)
        QApplication.processEvents()  # widgets that the last result made are shown a turn of the event loop later

    return wait


@pytest.fixture
def show(qapp, qtbot):
    """Shows a view of a name with an inspection in it, 420 × 300 pixels; all it said is in `view.said`."""
    made = []

    def make(name, inspection, *, size=(420, 300)):
        view = registry[name]()
        made.append(view)
        view.said = []
        view.summarised.connect(view.said.append)
        view.resize(*size)
        view.show()
        qtbot.waitExposed(view)
        view.show_inspection(inspection, "Select a layer.")
        return view

    yield make
    for view in made:
        view.close()
        view.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    qapp.processEvents()

"""Opening and closing over and over: nothing is left behind, nothing crashes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication, QWidget
from safetensors.numpy import save_file

from qinspect.gui.main_window import MainWindow

CYCLES = int(os.environ.get("QINSPECT_CYCLES", "6"))
"""200 where there is time: `QINSPECT_CYCLES=200 pytest tests/gui/test_cycles.py`."""


def resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files():
    links = Path("/proc/self/fd").iterdir()
    return {str(link.readlink()) for link in links if link.is_symlink()}


def weights(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def files(tmp_path):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.npz"
    save_file({f"l.{n}.weight": weights(64, 256, seed=n) for n in range(4)} | {"l.bias": weights(64)}, first)
    odd = {"one.row": weights(1, 64), "empty": weights(0, 4), "flat": np.ones((8, 8), np.float32), "vector": weights(9)}
    nan = weights(8, 8)
    nan[0, 0] = np.nan
    np.savez(second, nan=nan, **odd)
    return first, second


@pytest.mark.skipif(sys.platform != "linux", reason="memory and files are read from /proc")
def test_files_open_and_close_in_one_window_without_a_leak(window, settle, files):
    def cycle(number):
        window.open(files[number % 2])
        settle(window)
        window.table.select(window.table.names()[number % len(window.table.names())])
        settle(window)

    warm = 4
    for number in range(warm):
        cycle(number)
    widgets, memory = len(window.findChildren(QWidget)), resident_bytes()
    for number in range(CYCLES):
        cycle(number)
    QApplication.processEvents()
    assert len(window.findChildren(QWidget)) <= widgets + 30  # entries of findings come and go
    assert resident_bytes() - memory < 40e6 + 0.2e6 * CYCLES
    assert str(files[CYCLES % 2]) not in open_files()  # the other one is open


def test_every_odd_layer_is_shown_or_told_in_every_tab(window, settle, files):
    window.open(files[1])
    settle(window)
    for name in list(window.table.names()):
        window.table.select(name)
        for tab in range(window.tabs.count()):
            window.tabs.setCurrentIndex(tab)
            settle(window)
            assert not window.grab().isNull()
        assert window.controller.info.name == name


def test_a_closed_window_leaves_no_widget(qapp, settings):
    before = len(qapp.allWidgets())
    window = MainWindow(settings)
    window.show()
    window.build_views()
    assert len(qapp.allWidgets()) > before + 500
    window.close()
    window.deleteLater()
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert len(qapp.allWidgets()) <= before

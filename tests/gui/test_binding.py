"""The Qt binding keeps its references: where it drops those of None and True, Python before 3.12 soon aborts."""

from __future__ import annotations

import sys

from PySide6.QtCore import QObject


def test_calls_that_return_nothing_keep_none_alive(qapp):
    thing, before = QObject(), sys.getrefcount(None)
    for _ in range(500):
        thing.setObjectName("x")
    assert sys.getrefcount(None) > before - 100


def test_calls_that_return_true_keep_it_alive(qapp):
    thing, before = QObject(), sys.getrefcount(True)
    for _ in range(500):
        thing.blockSignals(False)
        thing.signalsBlocked()
    assert sys.getrefcount(True) > before - 100

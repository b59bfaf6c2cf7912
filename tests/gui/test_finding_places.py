"""A finding leads to the place it speaks of; a low window keeps findings in sight."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from safetensors.numpy import save_file

from qinspect.findings import Case, Finding, Place, find
from qinspect.gui.readout import Entry
from qinspect.quant.scheme import make_scheme

ROW, COL = 37, 300


def spiky():
    """Gaussian weights, but for one outlier in row 37."""
    weights = np.random.default_rng(2).standard_normal((64, 512)).astype(np.float32)
    weights[ROW, COL] = 400.0
    return weights


def found(weights, scheme):
    metrics = scheme.measure(weights)
    case = Case(weights.shape, scheme, metrics, float(weights.min()), float(weights.max()), weights)
    return {finding.rule: finding for finding in find(case)}


def test_the_group_that_stretches_is_named():
    finding = found(spiky(), make_scheme("base11"))["heavy-tails"]
    first = COL // 128 * 128
    assert finding.place == Place("scales", ROW, (first, first + 128))
    assert finding.to_json()["place"] == {"look": "scales", "row": ROW, "cols": (first, first + 128)}


def test_a_scale_per_channel_has_no_neighbours_to_name():
    across = make_scheme("asymmetric", granularity="channel", axis=1)
    finding = found(spiky(), across).get("heavy-tails")
    assert finding is None or finding.place.row is None


@pytest.fixture
def opened(window, settle, tmp_path):
    path = tmp_path / "spiky.safetensors"
    save_file({"spiky.weight": spiky()}, path)
    window.open(path)
    settle(window)
    return window


def entry(window, rule):
    entries = [each for each in window.findings.findChildren(Entry) if each.isVisible()]
    return next(each for each in entries if each._finding.rule == rule)


@pytest.mark.parametrize("by_key", [False, True])
def test_a_click_or_return_selects_the_group_and_shows_the_views_of_the_layer(opened, settle, qtbot, by_key):
    window = opened
    window.tabs.setCurrentIndex(window.tabs.count() - 1)
    clicked = entry(window, "heavy-tails")
    if by_key:
        clicked.setFocus()
        qtbot.keyClick(clicked, Qt.Key.Key_Return)
    else:
        qtbot.mouseClick(clicked, Qt.MouseButton.LeftButton)
    settle(window)
    assert window.tabs.currentIndex() == 0
    pin = window.controller.linked.pin
    assert (pin.row, pin.cols) == (ROW, (256, 384))


def test_another_view_that_fills_the_centre_gives_way(opened, settle, qtbot):
    window = opened
    window.centre.enlarge(window.grid.frames[0])
    qtbot.mouseClick(entry(window, "heavy-tails"), Qt.MouseButton.LeftButton)
    settle(window)
    assert window.grid.enlarged.view.name == "scales"


def test_a_finding_about_the_scheme_leads_to_the_form_and_is_copied(opened, settle, qtbot):
    window = opened
    window.show_place(Finding("group-size", "info", "x", "y", place=Place("scheme")))
    assert window.form.isAncestorOf(QGuiApplication.focusObject())
    shown = entry(window, "heavy-tails")
    shown.actions()[0].trigger()
    assert QGuiApplication.clipboard().text().startswith(shown._finding.text)


def test_a_low_window_keeps_findings_in_sight(opened, settle, qtbot):
    window = opened
    window.resize(1100, 700)
    settle(window)
    shown = entry(window, "heavy-tails")
    bottom = shown.mapTo(window, shown.rect().bottomLeft()).y()
    assert bottom < window.height()
    assert not window.readout.values["cosine"].isVisible()
    window.resize(1600, 1000)
    qtbot.waitUntil(window.readout.values["cosine"].isVisible)

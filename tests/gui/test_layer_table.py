"""The table of layers by itself: names, order, filter, copying."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication

from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui.layer_rows import LARGEST_FIRST, NAME, NOTES, RMSE, SIZE, SQNR
from qinspect.gui.layer_table import LayerTable
from qinspect.gui.names import clauses, shortened
from qinspect.quant.scheme import make_scheme
from qinspect.session import LayerReport


def info(name, *shape):
    size = 1
    for dim in shape:
        size *= dim
    return TensorInfo(name, shape, "F32", 4 * size)


def report(of, weights):
    scheme = make_scheme("base11")
    return LayerReport(of, scheme, scheme.measure(weights))


@pytest.fixture
def table(qtbot):
    table = LayerTable()
    qtbot.addWidget(table)
    table.resize(700, 400)
    table.show()
    return table


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (99, "encoder.layer.10.output.weight"),
        (24, "e.layer.10.output.weight"),
        (23, "e.l.10.output.weight"),
        (16, "e.l.10.output.w"),
        (13, "e.l.10.output"),
        (9, "10.output"),
        (5, "10…output"),
    ],
)
def test_names_shrink_from_the_left_and_keep_numbers_and_what_it_is(room, expected):
    assert shortened("encoder.layer.10.output.weight", room, len) == expected


@pytest.mark.parametrize(
    ("name", "room", "expected"),
    [
        ("model.layers.3.mlp.down_proj.weight", 12, "3…down_proj"),
        ("model.layers.3.mlp.experts.7.w1.weight", 9, "3.7…w1"),
        ("conv1.weight", 6, "conv1"),
        ("weight", 3, "weight"),
    ],
)
def test_numbers_stay_longest(name, room, expected):
    assert shortened(name, room, len) == expected


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (99, "Scale 0.1 … 0.8, median 0.264; 256 × 4 groups."),
        (40, "Scale 0.1 … 0.8, median 0.264"),
        (20, "Scale 0.1 … 0.8"),
        (5, "Scale 0.1 … 0.8, median 0.264; 256 × 4 groups."),
    ],
)
def test_sentences_lose_whole_clauses(room, expected):
    assert clauses("Scale 0.1 … 0.8, median 0.264; 256 × 4 groups.", lambda text: len(text) <= room) == expected


def test_what_has_no_figure_stays_below_whichever_way_it_is_sorted(table):
    rng = np.random.default_rng(0)
    good, bad = rng.uniform(-1, 1, (8, 128)).astype(np.float32), rng.standard_t(2, (8, 128)).astype(np.float32)
    infos = info("bad", 8, 128), info("bias", 8), info("good", 8, 128), info("waiting", 8, 128)
    table.show_infos(infos)
    table.show_report(report(infos[0], bad))
    table.show_report(report(infos[2], good))
    table.show_report(LayerReport(info("waiting", 8, 128), None, None, error="it holds NaN"))
    table.resort()
    assert table.names() == ["waiting", "bad", "good", "bias"]  # what could not be measured is the worst
    table.view.sortByColumn(SQNR, Qt.SortOrder.DescendingOrder)
    assert table.names() == ["good", "bad", "waiting", "bias"]
    table.view.sortByColumn(RMSE, Qt.SortOrder.AscendingOrder)
    assert table.names()[-1] == "bias"


def test_a_first_click_puts_the_largest_on_top_where_large_is_what_one_looks_for(table, qtbot):
    table.show_infos((info("small", 2, 2), info("large", 64, 64), info("middle", 8, 8)))
    header = table.view.horizontalHeader()
    at = QPoint(header.sectionViewportPosition(SIZE) + 20, header.height() // 2)
    qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert table.names() == ["large", "middle", "small"]
    assert NOTES in LARGEST_FIRST
    at.setX(header.sectionViewportPosition(NAME) + 20)
    qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=at)
    assert table.names() == ["large", "middle", "small"]  # by name, from a on


def test_numbers_in_names_count_as_numbers(table):
    table.show_infos(tuple(info(f"layer.{n}.weight", 2, 2) for n in (10, 2, 1)))
    table.view.sortByColumn(NAME, Qt.SortOrder.AscendingOrder)
    assert table.names() == [f"layer.{n}.weight" for n in (1, 2, 10)]


def test_a_filter_keeps_the_layer_that_is_looked_at(table, qtbot):
    table.show_infos(tuple(info(f"layer.{n}.weight", 2, 2) for n in range(5)))
    table.select("layer.3.weight")
    picked = []
    table.picked.connect(picked.append)
    qtbot.keyClicks(table.filter, "layer.1")
    assert table.names() == ["layer.1.weight"]
    table.filter.clear()
    assert table.view.currentIndex().data() == "layer.3.weight"
    assert set(picked) <= {"layer.3.weight"}


def test_ctrl_c_copies_the_row(table, qtbot):
    table.show_infos((info("a.weight", 8, 128), info("b.weight", 4, 4)))
    table.select("b.weight")
    table.view.setFocus()
    qtbot.keyClick(table.view, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    copied = QGuiApplication.clipboard().text().split("\t")
    assert copied == ["b.weight", "", "32.00", "64 B", "", "", "", "4 × 4", "F32"]
    table.copy_table()
    assert [line.split("\t")[0] for line in QGuiApplication.clipboard().text().splitlines()] == [
        "Layer",
        "a.weight",
        "b.weight",
    ]

"""Blocks in the table of layers: their figures, folding, selecting, and the table as CSV."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt

from qinspect.formats.checkpoint import TensorInfo
from qinspect.gui.layer_rows import BPW, MAX_ERROR, NAME, NOTES, RMSE, SCHEME, SHAPE, SIZE, SQNR, Block, LayerRows
from qinspect.gui.layer_table import LayerTable
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import block_of
from qinspect.session import LayerReport

SCHEMES = {"h.0.q": make_scheme("base11"), "h.0.k": make_scheme("symmetric", bits=4), "h.1.q": make_scheme("base11")}
RNG = np.random.default_rng(4)
WEIGHTS = {
    "h.0.q": RNG.standard_normal((16, 128)).astype(np.float32),
    "h.0.k": RNG.standard_t(3, (8, 128)).astype(np.float32),
    "h.1.q": RNG.uniform(-1, 1, (16, 128)).astype(np.float32),
}
MATRICES = [TensorInfo(name, w.shape, "F32", w.nbytes) for name, w in WEIGHTS.items()]
INFOS = (*MATRICES, TensorInfo("head.bias", (8,), "F32", 32))
REPORTS = [LayerReport(info, SCHEMES[info.name], SCHEMES[info.name].measure(WEIGHTS[info.name])) for info in MATRICES]


@pytest.fixture
def table(qtbot):
    table = LayerTable()
    qtbot.addWidget(table)
    table.resize(900, 400)
    table.show()
    table.show_infos(INFOS)
    table.show_schemes(SCHEMES | {"head.bias": None}, REPORTS)
    table.resort()
    return table


def texts(table, column=NAME):
    return [table.model.index(row, column).data() for row in range(table.model.rowCount())]


def press(table, qtbot, key):
    table.view.setFocus()
    qtbot.keyClick(table.view, key)


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("encoder.layer.11.output.dense.weight", "encoder.layer.11"),
        ("layer1.0.conv1.weight", "layer1.0"),
        ("embeddings.word_embeddings.weight", "embeddings"),
        ("lm_head.weight", "lm_head"),
        ("0.weight", "0"),
        ("weight", "weight"),
        ("3", "3"),
    ],
)
def test_the_block_of_a_tensor(name, block):
    assert block_of(name) == block


def test_the_figures_of_a_block_are_those_of_its_layers_as_one():
    reports = {report.info.name: report for report in REPORTS}
    rows = LayerRows({info.name: info for info in INFOS}, dict(SCHEMES), reports)
    block = Block("h.0", ("h.0.q", "h.0.k"))
    decoded = {name: SCHEMES[name].dequantize(SCHEMES[name].quantize(WEIGHTS[name])) for name in block.members}
    w = np.concatenate([WEIGHTS[name].ravel() for name in block.members]).astype(np.float64)
    error = np.concatenate([decoded[name].ravel() for name in block.members]) - w
    nbytes = sum(SCHEMES[name].quantize(WEIGHTS[name]).nbytes for name in block.members)
    assert rows.value(block, SQNR) == pytest.approx(10 * np.log10((w**2).sum() / (error**2).sum()), abs=1e-3)
    assert rows.value(block, RMSE) == pytest.approx(np.sqrt((error**2).mean()), rel=1e-4)
    assert rows.value(block, MAX_ERROR) == pytest.approx(np.abs(error).max(), rel=1e-5)
    assert rows.value(block, SIZE) == nbytes
    assert rows.value(block, BPW) == 8 * nbytes / w.size
    assert rows.text(block, SHAPE) == "2 tensors"
    assert rows.text(block, SCHEME) == "mixed"
    assert rows.text(Block("h.1", ("h.1.q",)), SCHEME) == "base11 g128"
    assert rows.text(Block("head", ("head.bias",)), SQNR) == "·"


def test_blocks_are_sorted_as_layers_are_and_hold_them(table, qtbot):
    flat = table.names()
    qtbot.mouseClick(table.group, Qt.MouseButton.LeftButton)
    shown = texts(table)
    assert [entry.name for entry in map(table.model.entry, range(7)) if isinstance(entry, Block)] == [
        "h.0",
        "h.1",
        "head",
    ]
    worst = min(("h.0.q", "h.0.k"), key=lambda name: table.model.rows.value(name, SQNR))
    assert shown == ["h.0", worst, *({"h.0.q", "h.0.k"} - {worst}), "h.1", "h.1.q", "head", "head.bias"]
    assert sorted(table.names()) == sorted(flat)
    qtbot.mouseClick(table.group, Qt.MouseButton.LeftButton)
    assert texts(table) == flat


def test_keys_and_clicks_fold(table, qtbot):
    table.group.setChecked(True)
    table.select("h.0.k")
    press(table, qtbot, Qt.Key.Key_Left)
    assert texts(table) == ["h.0", "h.1", "h.1.q", "head", "head.bias"]
    assert table.view.currentIndex().data() == "h.0"
    press(table, qtbot, Qt.Key.Key_Right)
    assert len(texts(table)) == 7
    arrow = table.view.visualRect(table.model.index(0, NAME)).topLeft() + QPoint(8, 8)
    qtbot.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=arrow)
    assert "h.0.k" not in texts(table)
    table.select("h.0.k")  # what is looked at is unfolded
    assert table.view.currentIndex().data() == "h.0.k"
    middle = table.view.visualRect(table.model.index(0, NAME)).center()
    qtbot.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=middle)
    qtbot.mouseDClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=middle)
    assert "h.0.k" not in texts(table)
    table.filter.setText("k")  # what is looked for is not hidden
    assert texts(table) == ["h.0", "h.0.k"]


def test_a_block_stands_for_its_layers_and_is_stepped_over(table, qtbot):
    table.group.setChecked(True)
    picked, chosen = [], []
    table.picked.connect(picked.append)
    table.selection_changed.connect(chosen.append)
    middle = table.view.visualRect(table.model.index(0, NAME)).center()
    qtbot.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, pos=middle)
    assert set(chosen[-1]) == {"h.0.q", "h.0.k"}
    assert picked == []  # no layer is looked at instead
    table.select_first()
    assert picked == [texts(table)[1]]
    table.step(1)
    table.step(1)
    assert picked[-1] == "h.1.q"
    table.step(-1)
    assert picked[-1] == texts(table)[2]


def test_new_figures_reach_the_row_of_the_block(table):
    table.group.setChecked(True)
    table.show_schemes(SCHEMES | {"head.bias": None}, [])
    assert texts(table, SQNR)[0] == ""
    for report in REPORTS:
        table.show_report(report)
    table.resort()
    assert texts(table, SQNR)[0].endswith("dB")
    assert texts(table, NOTES) == [""] * 6 + ["·"]


def test_the_table_as_csv_has_numbers_in_full(table):
    table.filter.setText("q|bias")
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert [row["name"] for row in rows] == ["h.0.q", "h.1.q", "head.bias"]
    metrics = REPORTS[0].metrics
    assert float(rows[0]["sqnr_db"]) == metrics.sqnr_db
    assert (rows[0]["shape"], rows[0]["scheme"], rows[0]["nbytes"]) == ("16x128", "base11 g128", str(metrics.nbytes))
    assert (rows[2]["sqnr_db"], rows[2]["scheme"], rows[2]["bpw"]) == ("", "left alone", "32")

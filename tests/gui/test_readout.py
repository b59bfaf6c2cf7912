"""The readout: how far a layer is from the best its number of levels could do."""

import numpy as np

from qinspect.formats.open import open_checkpoint
from qinspect.gui.readout import Readout
from qinspect.quant.scheme import make_scheme
from qinspect.session import Request, inspect


def shown(qtbot, tmp_path, scheme):
    w = np.random.default_rng(0).standard_normal((128, 512)).astype(np.float32)
    np.savez(tmp_path / "layer.npz", w=w)
    readout = Readout()
    qtbot.addWidget(readout)
    with open_checkpoint(tmp_path / "layer.npz") as checkpoint:
        inspection = inspect(Request(checkpoint, checkpoint.infos[0], scheme))
    readout.show_inspection(inspection)
    return readout, inspection.metrics.sqnr_db


def test_the_gap_to_the_best_levels_for_the_layer(qtbot, tmp_path):
    readout, sqnr_db = shown(qtbot, tmp_path, make_scheme("symmetric", bits=4))
    label = readout.values["gap"]
    assert readout.titles["gap"].text() == "Against the best 16 levels"
    gap = float(label.text().removesuffix(" dB under"))
    assert abs(gap - (20.22 - sqnr_db)) < 0.1  # Lloyd and Max on Gaussian weights, 16 levels
    assert f"{gap:.1f} dB under the best 16 fixed levels for the whole layer." in label.toolTip()
    assert "Best 16 levels on Gaussian weights: 20.2 dB; evenly spaced: 19.4 dB" in label.toolTip()
    assert "6.02 dB a bit: 24.1 dB for the codes" in label.toolTip()


def test_groups_that_follow_the_weights_are_above(qtbot, tmp_path):
    readout, sqnr_db = shown(qtbot, tmp_path, make_scheme("base11", group_size=16, param_dtype="float32"))
    assert readout.titles["gap"].text() == "Against the best 11 levels"
    gap = float(readout.values["gap"].text().removesuffix(" dB above"))
    assert abs(gap - (sqnr_db - 17.16)) < 0.1


def test_no_gap_where_the_layer_is_exact(qtbot, tmp_path):
    readout, _ = shown(qtbot, tmp_path, make_scheme("base11", group_size=1, param_dtype="float32"))
    label = readout.values["gap"]
    assert label.text() == "–"
    assert label.toolTip().startswith("Exact: no levels could do better.")

"""Importance in the window: figures, sweeps and exports heed it, and it goes with the file."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from qinspect.gui import weighing
from qinspect.quant.scheme import make_scheme

LEAST = make_scheme("symmetric", bits=3, granularity="group", group_size=32, calibration="mse")


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    save_file({"a.weight": rng.standard_normal((48, 128)).astype(np.float32)}, tmp_path / "model.safetensors")
    np.savez(tmp_path / "energies.npz", a=np.exp(3 * rng.standard_normal(128)))
    np.savez(tmp_path / "wrong.npz", a=np.ones(5))
    return tmp_path


def test_it_is_heeded_until_it_is_forgotten(window, files, settle):
    window.open(files / "model.safetensors")
    settle(window)
    controller = window.controller
    controller.apply(LEAST)
    settle(window)
    plain = controller.session.reports[("a.weight", LEAST)]
    weighing.load(window, files / "energies.npz")
    settle(window)
    heeded = controller.session.reports[("a.weight", LEAST)]
    assert "energies.npz says what errors of each input channel count in 1 layer" in window.status.message.text()
    assert heeded.metrics.sqnr_db < plain.metrics.sqnr_db
    assert heeded.weighted_sqnr_db > heeded.metrics.sqnr_db
    planned = []
    controller.planned.connect(planned.append)
    controller.plan("fp32")
    settle(window)
    out = files / "out.safetensors"
    controller.export("fp32", planned[-1], out)
    settle(window)
    w, energy = load_file(files / "model.safetensors")["a.weight"], controller.session.importance["a.weight"]
    expected = LEAST.dequantize(LEAST.quantize(w, importance=energy))
    np.testing.assert_array_equal(load_file(out)["a.weight"], expected)
    weighing.forget(window)
    settle(window)
    assert controller.session.reports[("a.weight", LEAST)].metrics.sqnr_db == plain.metrics.sqnr_db
    assert controller.session.reports[("a.weight", LEAST)].weighted_sqnr_db is None


def test_one_that_does_not_fit_is_refused_and_nothing_changes(window, files, settle):
    weighing.load(window, files / "energies.npz")
    assert "open the checkpoint first" in window.status.message.text()
    window.open(files / "model.safetensors")
    settle(window)
    weighing.load(window, files / "wrong.npz")
    settle(window)
    assert "the importance has 5 values, the layer 128 input channels" in window.status.message.text()
    assert not window.controller.session.importance

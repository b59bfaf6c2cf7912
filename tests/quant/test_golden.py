"""Golden vectors: inputs and outputs of an exact implementation, made before this one existed."""

from pathlib import Path

import numpy as np
import pytest

from qinspect.quant.scheme import QTensor, make_scheme

DATA = Path(__file__).parent.parent / "data"
BASE11 = sorted(path.name for path in DATA.glob("base11_*.npz"))


def near_a_boundary(position):
    """Within 1e-4 of a step from the middle between two levels, where both neighbours are right."""
    return np.abs(position - np.floor(position) - 0.5) < 1e-4


def digits(packed, group):
    """Codes `[rows, groups · group]` of nine base-11 digits a little-endian word, by plain integer arithmetic."""
    words = packed.view("<u4").astype(np.uint64)
    codes = np.stack([words // np.uint64(11**i) % np.uint64(11) for i in range(9)], axis=-1)
    return codes.reshape(*packed.shape[:2], -1)[:, :, :group].reshape(len(packed), -1).astype(np.int64)


def test_all_files_are_here():
    assert len(BASE11) == 7


@pytest.mark.parametrize("name", BASE11)
class TestBase11:
    @pytest.fixture
    def golden(self, name):
        return np.load(DATA / name)

    @pytest.fixture
    def scheme(self, golden):
        return make_scheme("base11", group_size=int(golden["group_size"]))

    def test_quantize(self, golden, scheme):
        w, group = golden["weight"], scheme.group_size
        q = scheme.quantize(w)
        for mine, theirs in ((q.params["min_val"], golden["min_val"]), (q.params["scale"], golden["scale"])):
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs)
        assert q.data.shape == golden["quant_packed"].shape
        mine, theirs = digits(q.data, group), digits(golden["quant_packed"], group)
        minimum, span = (np.repeat(golden[key].astype(np.float64), group, axis=1) for key in ("min_val", "scale"))
        position = np.clip((w - minimum) / span, 0, 1) * 10
        differs = mine != theirs
        assert (np.abs(mine - theirs)[differs] == 1).all()
        assert near_a_boundary(position[differs]).all()
        assert np.array_equal(scheme.codes(q), mine)

    def test_dequantize(self, golden, scheme):
        params = {"min_val": golden["min_val"], "scale": golden["scale"]}
        q = QTensor(scheme, golden["weight"].shape, golden["quant_packed"], params)
        size = np.abs(golden["min_val"].astype(np.float64)) + golden["scale"].astype(np.float64)
        tolerance = 5e-7 * np.repeat(size, scheme.group_size, axis=1)
        assert (np.abs(scheme.dequantize(q) - golden["dequantized"].astype(np.float64)) <= tolerance).all()


AFFINE = [
    *(("sentinel", bits, {}) for bits in (2, 4, 8)),
    *(("symmetric", bits, {}) for bits in (2, 4, 8, 16)),
    *(("per_channel", bits, {"granularity": "channel", "axis": 0}) for bits in (2, 4, 8, 16)),
    *(("asymmetric", bits, {}) for bits in (2, 4, 8)),
]


@pytest.mark.parametrize(("key", "bits", "parameters"), AFFINE, ids=[f"{key}{bits}" for key, bits, _ in AFFINE])
def test_affine(key, bits, parameters):
    golden = np.load(DATA / "affine.npz")
    scheme = make_scheme("symmetric" if key == "per_channel" else key, bits=bits, **parameters)
    q = scheme.quantize(golden["weight"])
    scale = np.asarray(golden[f"{key}{bits}_scale"]).reshape(-1)
    assert np.array_equal(q.params["scale"], scale.astype(np.float32))
    if key == "asymmetric":
        assert q.params["zero_point"] == golden[f"asymmetric{bits}_zero_point"]
    assert np.array_equal(scheme.codes(q), golden[f"{key}{bits}_codes"])
    decoded = golden[f"{key}{bits}_dequantized"]
    assert np.allclose(scheme.dequantize(q), decoded, rtol=0, atol=2e-7 * np.abs(decoded).max())

"""Which weights are taken and which are refused, and what is said then."""

import ml_dtypes
import numpy as np
import pytest
import torch

from qinspect.errors import SchemeError
from qinspect.quant import engine
from qinspect.quant.layout import Granularity
from qinspect.quant.scheme import make_scheme, registry

DEFAULTS = [cls() for cls in registry]
ALL = pytest.mark.parametrize("scheme", DEFAULTS, ids=lambda scheme: scheme.name)


FLOATS = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
]  # fmt: skip


def weights(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


class TestTorch:
    @ALL
    @pytest.mark.parametrize("dtype", FLOATS)
    def test_types(self, scheme, dtype):
        w = torch.from_numpy(weights(8, 200)).to(dtype)
        assert np.array_equal(scheme.quantize(w).data, scheme.quantize(w.float().numpy()).data)

    def test_parameters_of_a_module(self):
        layer = torch.nn.Linear(200, 8)
        scheme = make_scheme("base11")
        q = scheme.quantize(layer.weight)
        assert layer.weight.requires_grad
        assert np.array_equal(q.data, scheme.quantize(layer.weight.detach().numpy()).data)

    def test_transposed(self):
        w = weights(8, 200)
        scheme = make_scheme("base11")
        assert np.array_equal(scheme.quantize(torch.from_numpy(w).T).data, scheme.quantize(w.T.copy()).data)

    def test_weights_are_not_copied(self):
        w = torch.from_numpy(weights(8, 200))
        assert np.shares_memory(engine.Matrix(w).block(2, 5), w.numpy())

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_types_that_numpy_lacks_are_not_copied_whole(self, dtype):
        tensor = torch.from_numpy(weights(8, 200)).to(dtype)
        matrix = engine.Matrix(tensor)
        tensor.fill_(2)
        assert (matrix.block(2, 5) == 2).all()

    def test_negated_lazily(self):
        w = torch.randn(8, 200, dtype=torch.complex64).conj().imag
        assert w.is_neg()
        scheme = make_scheme("base11")
        assert np.array_equal(scheme.quantize(w).data, scheme.quantize(w.resolve_neg().numpy()).data)

    @pytest.mark.parametrize("tensor", [torch.ones(3, 3).to_sparse(), torch.ones(3, 3, device="meta")])
    def test_what_has_no_array_is_refused(self, tensor):
        with pytest.raises(SchemeError, match="torch has no plain array of these weights"):
            make_scheme("base11").quantize(tensor)

    def test_whole_numbers_are_refused(self):
        with pytest.raises(SchemeError, match="int64 weights cannot be quantized"):
            make_scheme("symmetric").quantize(torch.arange(5))


@ALL
@pytest.mark.parametrize("dtype", [np.int8, np.int64, bool, np.complex64, "S4", "V4", ml_dtypes.int4, ml_dtypes.uint2])
def test_other_types_are_refused(scheme, dtype):
    with pytest.raises(SchemeError, match="weights cannot be quantized; choose a floating-point tensor"):
        scheme.quantize(np.zeros((2, 4), dtype))


class TestNotFinite:
    @ALL
    @pytest.mark.parametrize("shape", [(300, 1000), (20,), (4, 3, 3, 3)])
    def test_all_are_counted(self, scheme, shape):
        w = weights(*shape)
        flat = w.reshape(-1)
        flat[[0, 7, -1]] = np.nan
        flat[5], flat[-2] = np.inf, -np.inf
        message = f"3 NaN and 2 infinite of {w.size} weights"
        for act in (scheme.quantize, scheme.measure, engine.extremes):
            with pytest.raises(SchemeError, match=message):
                act(w)
        with pytest.raises(SchemeError, match=message):
            scheme.compare(w, scheme.quantize(np.zeros(shape, np.float32)))

    @ALL
    @pytest.mark.parametrize("pattern", [0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF])
    def test_every_kind_of_nan(self, scheme, pattern):
        w = weights(3, 100)
        w.view(np.uint32)[1, 50] = pattern
        with pytest.raises(SchemeError, match="1 NaN of 300 weights"):
            scheme.quantize(w)

    @ALL
    @pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
    def test_infinity_in_any_type(self, scheme, value):
        w = weights(3, 100).astype(np.float64)
        w[2, 3] = value
        with pytest.raises(SchemeError, match="1 infinite of 300 weights"):
            scheme.quantize(w)


class TestRange:
    def test_half_precision_overflow_names_the_group_and_the_remedy(self):
        w = weights(300, 1000)
        w[200, 700], w[250, 3] = 70000, -70000
        with pytest.raises(SchemeError, match=r"scale does not fit float16 in row 200, group 5, .*param_dtype=float32"):
            make_scheme("base11").quantize(w)
        wide = make_scheme("base11", param_dtype="float32")
        assert wide.dequantize(wide.quantize(w))[200, 700] == 70000

    def test_a_minimum_that_overflows(self):
        w = np.linspace(-70000, -69000, 500, dtype=np.float32)
        with pytest.raises(
            SchemeError, match=r"min_val does not fit float16 in row 0, group 0, where weights run from -7"
        ):
            make_scheme("base11").quantize(w)

    @pytest.mark.parametrize(
        ("granularity", "place"), [("tensor", "the tensor"), ("channel", "channel 2"), ("group", "row 2, group 1")]
    )
    def test_a_scale_that_overflows(self, granularity, place):
        w = weights(4, 200)
        w[2, 150] = 1e7
        scheme = make_scheme("symmetric", granularity=granularity, param_dtype="float16")
        with pytest.raises(SchemeError, match=f"scale does not fit float16 in {place}, .*choose param_dtype=float32"):
            scheme.measure(w)
        make_scheme("symmetric", granularity=granularity).measure(w)

    @ALL
    def test_near_the_end_of_float32(self, scheme):
        w = np.linspace(-3e38, 3e38, 64, dtype=np.float32)
        for bits in (2, 8):
            changed = {"bits": bits} if "bits" in scheme.to_json() else {}
            if "param_dtype" in scheme.to_json():
                changed["param_dtype"] = "float32"
            same = type(scheme)(**changed)
            try:
                q = same.quantize(w)
            except SchemeError as error:
                assert "levels overflow float32" in str(error)
                assert "param_dtype" not in str(error)
            else:
                assert np.isfinite(same.dequantize(q)).all()
                assert same.measure(w).sqnr_db > 5

    @pytest.mark.parametrize("granularity", Granularity)
    @pytest.mark.parametrize("name", ["symmetric", "asymmetric"])
    def test_huge_but_fine(self, name, granularity):
        w = np.linspace(-1.6e38, 1.6e38, 256, dtype=np.float32).reshape(2, 128)
        scheme = make_scheme(name, granularity=str(granularity))
        error = np.abs(scheme.dequantize(scheme.quantize(w)).astype(np.float64) - w)
        assert error.max() < 3.2e38 / 255

    @ALL
    def test_denormal_weights(self, scheme):
        w = (weights(4, 200) * 1e-40).astype(np.float32)
        q = scheme.quantize(w)
        decoded = scheme.dequantize(q)
        assert np.isfinite(decoded).all()
        if scheme.name in ("symmetric", "asymmetric"):
            assert np.abs(decoded - w).max() <= np.abs(w).max() / 100
        assert scheme.measure(w).max_error == np.abs(decoded - w).max()

    @pytest.mark.parametrize("bits", [2, 8, 16])
    @pytest.mark.parametrize("name", ["symmetric", "asymmetric"])
    def test_the_smallest_numbers_there_are(self, name, bits):
        w = np.array([1e-45, -1e-45, 0], np.float32)
        scheme = make_scheme(name, bits=bits)
        assert np.array_equal(scheme.dequantize(scheme.quantize(w)), w)

    def test_one_weight(self):
        for scheme in (make_scheme("base11"), make_scheme("symmetric"), make_scheme("asymmetric", offset="minimum")):
            assert scheme.dequantize(scheme.quantize(np.float32(0.375))) == 0.375


class TestRangeFloor:
    def test_narrow_groups_decode_as_given(self):
        """The stored range is fp16(1e-5), wider than the group's own."""
        w = np.array([[0, 1e-6, 2e-6, 4e-6]], np.float32)
        scheme = make_scheme("base11")
        q = scheme.quantize(w)
        assert q.params["scale"][0, 0] == np.float16(1e-5)
        assert scheme.codes(q).tolist() == [[0, 1, 2, 4]]

    def test_rounding_the_ends_clips(self):
        """float16 has no 1.0006 and no 2.9987: they are stored as 1.001 and about 2.998, inside the extremes."""
        m = make_scheme("base11").measure(np.array([[1.0006, 2, 2.9987]], np.float32))
        assert float(m.params["min_val"][0, 0]) == 1 + 2**-10
        assert float(m.params["scale"][0, 0]) == 2 - 3 * 2**-10
        assert m.counts[[0, 10]].tolist() == [1, 1]
        assert m.clipped == pytest.approx(2 / 3)

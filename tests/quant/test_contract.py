"""What every scheme must keep, for all values of its parameters; a new scheme file is picked up by itself."""

import dataclasses
import functools
import itertools

import ml_dtypes
import numpy as np
import pytest

from qinspect.errors import SchemeError
from qinspect.quant import codec
from qinspect.quant.affine import Affine
from qinspect.quant.scheme import make_scheme, registry, scheme_from_json
from qinspect.quant.schemes.sentinel import C1, Sentinel

VALUES = {"group_size": (7, 64), "axis": (0, 1), "levels": (2, 3, 11, 16, 256), "percentile": (90.0,)}
CALIBRATED = {"bits": (2, 4), "levels": (3, 16), "param_dtype": ("float32",), "group_size": (7,), "axis": (0,)}
"""With other calibrations than the default, these are enough."""


def enough(scheme):
    plain = getattr(scheme, "calibration", None) == getattr(type(scheme), "calibration", None)
    return plain or all(getattr(scheme, name, few[0]) in few for name, few in CALIBRATED.items())


def variants(cls):
    """Instances with every combination of parameter values that matters."""
    parameters = cls.parameters()
    for values in itertools.product(*(p.choices or [v for v in VALUES[p.name] if v >= p.low] for p in parameters)):
        scheme = cls(**dict(zip((p.name for p in parameters), values, strict=True)))
        idle = set(parameters) - set(scheme.active_parameters())
        if enough(scheme) and all(getattr(scheme, p.name) == VALUES[p.name][0] for p in idle):
            yield scheme


FEW = [
    *(cls() for cls in registry),
    make_scheme("base_n", levels=5, group_size=33, param_dtype="float32"),
    make_scheme("sentinel", bits=4),
    *(
        make_scheme("symmetric", bits=b, granularity=g, axis=1)
        for b, g in ((8, "tensor"), (3, "channel"), (4, "group"))
    ),
    *(make_scheme("asymmetric", bits=b, granularity="group", param_dtype="bfloat16") for b in (5, 16)),
    make_scheme("normal_float", levels=100, group_size=16),
    make_scheme("asymmetric", bits=4, offset="minimum", granularity="channel", axis=1, calibration="percentile"),
    make_scheme("base11", calibration="percentile", percentile=99),
    make_scheme("symmetric_n", levels=7, granularity="group", group_size=20, calibration="mse"),
    make_scheme("learned", levels=11, granularity="group", group_size=32, param_dtype="float16"),
    make_scheme("ternary", granularity="channel", axis=1, calibration="minmax"),
    make_scheme("asymmetric", bits=6, offset="minimum", granularity="channel", axis=0),
]


def each(schemes):
    return pytest.mark.parametrize("scheme", schemes, ids=lambda s: "-".join(str(v) for v in s.to_json().values()))


def weights(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def sets_of(q):
    """The parameter set of every weight, shaped like the matrix, by brute force."""
    layout = q.scheme.layout(q.shape)
    line = np.arange(layout.line) // max(layout.run, 1)
    runs = np.concatenate([line + i * layout.runs_per_line for i in range(layout.rows * layout.cols // layout.line)])
    return (runs % layout.sets).reshape(layout.rows, layout.cols)


def levels_of(q):
    """All level values of every weight's set, float64: `[rows, cols, codes]`."""
    sets = sets_of(q)
    tables = np.stack([q.scheme.level_values(q, i) for i in range(q.scheme.layout(q.shape).sets)])
    return tables.astype(np.float64)[sets]


def every(check):
    """A test a scheme of the registry, over all its variants: as tests of their own they would take minutes to set up.

    The variant that fails is named in a note on its error.
    """

    @functools.wraps(check)
    def test(name):
        for scheme in variants(registry[name]):
            try:
                check(scheme)
            except BaseException as error:
                error.add_note(f"under {scheme}")
                raise

    del test.__wrapped__  # pytest would ask for the arguments of `check`
    return pytest.mark.parametrize("name", registry.names())(test)


SHAPE = (6, 45)  # ragged at 7 and at 64
GAUSSIAN = weights(*SHAPE)


@functools.lru_cache(maxsize=4096)
def quantized(scheme):
    """The Gaussian weights under a scheme, once for all tests."""
    return scheme.quantize(GAUSSIAN)


@every
def test_codes_name_the_levels(scheme):
    q = quantized(scheme)
    codes = scheme.codes(q)
    low, high = scheme.code_range
    assert codes.shape == q.shape
    assert low <= codes.min() <= codes.max() <= high
    first = scheme.level_values(q, 0)
    here = sets_of(q) == 0
    assert np.array_equal(scheme.dequantize(q)[here], first[codes[here] - low])


@every
def test_encoding_the_decoded_weights_gives_the_same_codes(scheme):
    q = quantized(scheme)
    layout = scheme.layout(q.shape)
    grid = scheme.grid({name: array.reshape(-1) for name, array in q.params.items()})
    again = codec.encode(scheme, scheme.dequantize(q), layout, 0, grid).astype(np.int32) + scheme.code_range[0]
    assert np.array_equal(again, scheme.codes(q))


@every
def test_error_is_half_a_step_where_not_clipped(scheme):
    w, q = GAUSSIAN, quantized(scheme)
    grid = scheme.grid_of(q.params)
    sets = sets_of(q)
    inside = (grid.low[sets] <= w) & (w <= grid.high[sets])
    error = np.abs(scheme.dequantize(q).astype(np.float64) - w)
    half = grid.step[sets].astype(np.float64) / 2
    nearest = half if grid.even else np.abs(levels_of(q) - w[..., None]).min(axis=-1)
    # In float32 a weight's position among 65536 levels is known to 1/256 of a step.
    assert (error <= nearest * 1.01 + 2e-7 * np.abs(w))[inside].all()
    # Levels placed for least error, or at mean magnitudes, leave up to half of the weights outside.
    within = scheme.name in ("ternary", "learned") or getattr(scheme, "calibration", "").startswith("mse")
    assert inside.mean() > (0.5 if within else 0.7)


@every
def test_codes_are_monotone(scheme):
    q = quantized(scheme)
    codes, sets = scheme.codes(q).astype(np.int64), sets_of(q)
    order = np.lexsort((GAUSSIAN.reshape(-1), sets.reshape(-1)))
    steps, same = np.diff(codes.reshape(-1)[order]), np.diff(sets.reshape(-1)[order]) == 0
    assert (steps[same] >= 0).all()


@every
def test_rows_may_be_permuted(scheme):
    q = quantized(scheme)
    order = np.random.default_rng(1).permutation(len(GAUSSIAN))
    permuted = scheme.quantize(GAUSSIAN[order])
    assert np.array_equal(permuted.data, q.data[order])
    by_row = scheme.layout(q.shape).local
    for name, array in q.params.items():
        own = by_row and name not in scheme.tensor_params()
        assert np.array_equal(permuted.params[name], array[order] if own else array)


@every
def test_size_is_known_before(scheme):
    q = quantized(scheme)
    assert q.nbytes == scheme.nbytes(q.shape) == q.data.nbytes + sum(a.nbytes for a in q.params.values())
    assert q.bpw == scheme.bpw(q.shape) == 8 * q.nbytes / 270
    assert {n: (a.dtype, a.shape) for n, a in {"data": q.data, **q.params}.items()} == scheme.stored(q.shape)


@every
def test_counts(scheme):
    q = quantized(scheme)
    low, high = scheme.code_range
    counts = scheme.count(q)
    assert np.array_equal(counts, np.bincount(scheme.codes(q).reshape(-1) - low, minlength=high - low + 1))


@every
def test_json(scheme):
    again = scheme_from_json(scheme.to_json())
    assert again == scheme
    assert hash(again) == hash(scheme)


@every
def test_zeros(scheme):
    q = scheme.quantize(np.zeros(SHAPE, np.float32))
    decoded = scheme.dequantize(q)
    if isinstance(scheme, Sentinel):  # the last code, at the smallest scale there is
        assert decoded == pytest.approx(C1 + 1e-8 * scheme.code_range[1], rel=1e-6)
    else:
        assert (decoded == 0).all()
    if isinstance(scheme, Affine):
        assert (q.params["scale"] == 1).all()


@every
def test_constants(scheme):
    if getattr(scheme, "param_dtype", "") != "float32":
        return  # a scale in fewer bits does not name every constant
    for value in (0.1, -3.7, 12345.678, 1e-30):
        w = np.full((6, 45), value, np.float32)
        decoded = scheme.dequantize(scheme.quantize(w))
        assert (np.abs(decoded.astype(np.float64) - w) <= np.spacing(np.abs(w))).all()


@each(FEW)
class TestHowWeightsAreHeld:
    def assert_same(self, scheme, w, reference):
        q, other = scheme.quantize(w), scheme.quantize(reference)
        assert np.array_equal(q.data, other.data)
        assert all(np.array_equal(q.params[name], other.params[name]) for name in q.params)
        assert scheme.measure(w).to_json() == scheme.measure(reference).to_json()

    def test_memory_order(self, scheme):
        w = weights(40, 66)
        self.assert_same(scheme, np.asfortranarray(w), w)
        self.assert_same(scheme, w[::-1, ::-2], w[::-1, ::-2].copy())

    @pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float64", ">f4", "longdouble"])
    def test_types(self, scheme, dtype):
        w = weights(20, 66).astype(dtype)
        self.assert_same(scheme, w, w.astype(np.float32))

    def test_read_only_and_unaligned(self, scheme):
        w = weights(20, 66)
        unaligned = np.frombuffer(b"\0" + w.tobytes(), np.float32, offset=1).reshape(w.shape)
        assert not unaligned.flags.aligned
        self.assert_same(scheme, unaligned, w)

    def test_mapped_file(self, scheme, tmp_path):
        w = weights(20, 66)
        w.tofile(tmp_path / "w")
        self.assert_same(scheme, np.memmap(tmp_path / "w", np.float32, "r", shape=w.shape), w)

    def test_negative_zero_is_zero(self, scheme):
        w = np.array([[-0.0, 0.0, -0.0, 1.0] * 16], np.float32)
        self.assert_same(scheme, w, np.abs(w))

    def test_number_of_threads(self, scheme, monkeypatch):
        w = weights(601, 1001)  # three blocks
        q, figures = scheme.quantize(w), scheme.measure(w).to_json()
        for threads in (1, 5):
            monkeypatch.setattr("os.cpu_count", lambda threads=threads: threads)
            again = scheme.quantize(w)
            assert np.array_equal(again.data, q.data)
            assert all(np.array_equal(again.params[name], q.params[name]) for name in q.params)
            assert scheme.measure(w).to_json() == figures
        assert scheme.compare(w, q).to_json() == figures

    @pytest.mark.parametrize(
        "shape", [(), (1,), (70,), (0,), (0, 66), (66, 0), (3, 1), (1, 66), (3, 5, 7), (2, 3, 3, 3), (2, 0, 3)]
    )
    def test_shapes(self, scheme, shape):
        w = weights(*shape)
        if getattr(scheme, "granularity", "") == "channel" and scheme.axis >= len(shape):
            with pytest.raises(SchemeError, match=f"axis {scheme.axis} does not exist"):
                scheme.quantize(w)
            return
        q = scheme.quantize(w)
        assert q.shape == shape == scheme.dequantize(q).shape == scheme.codes(q).shape
        assert q.nbytes == scheme.nbytes(shape)
        assert scheme.count(q).sum() == w.size
        m = scheme.measure(w)
        assert m.exact == bool((scheme.dequantize(q) == w).all())
        assert scheme.compare(w, q).to_json() == m.to_json()

    def test_four_dimensions_are_a_matrix(self, scheme):
        w = weights(8, 3, 5, 5)
        if getattr(scheme, "granularity", "") == "channel" and scheme.axis == 1:
            flat = dataclasses.replace(scheme, axis=0)
            expected = flat.dequantize(flat.quantize(np.moveaxis(w, 1, 0).reshape(3, -1)))
            expected = np.moveaxis(expected.reshape(3, 8, 5, 5), 0, 1)
        else:
            expected = scheme.dequantize(scheme.quantize(w.reshape(8, -1))).reshape(w.shape)
        assert np.array_equal(scheme.dequantize(scheme.quantize(w)), expected)


@pytest.mark.parametrize("axis", range(4))
def test_channels_of_any_axis(axis):
    w = weights(4, 3, 5, 6) * np.arange(1, 7, dtype=np.float32)
    q = make_scheme("symmetric", granularity="channel", axis=axis).quantize(w)
    others = tuple(i for i in range(4) if i != axis)
    assert np.array_equal(q.params["scale"], np.abs(w).max(axis=others) / np.float32(127))
    expected = np.rint(w / np.expand_dims(q.params["scale"], others))
    assert np.array_equal(q.scheme.codes(q), expected)


@pytest.mark.parametrize("scheme", [make_scheme("base11"), make_scheme("symmetric", bits=8, granularity="group")])
def test_a_ragged_tail_is_a_group_of_its_own(scheme):
    w = weights(4, 300)
    q, whole, tail = scheme.quantize(w), scheme.quantize(w[:, :256]), scheme.quantize(w[:, 256:])
    for name in q.params:
        assert np.array_equal(q.params[name], np.hstack([whole.params[name], tail.params[name]]))
    parts = np.hstack([part.scheme.dequantize(part) for part in (whole, tail)])
    assert np.array_equal(scheme.dequantize(q), parts)
    groups = q.data[:, : whole.data.shape[1]]
    assert np.array_equal(groups, whole.data)

"""Schemes as data, and packed tensors that do not fit theirs."""

import dataclasses
import json
import math

import numpy as np
import pytest

from qinspect.errors import FormatError, SchemeError
from qinspect.quant.scheme import QTensor, make_scheme, registry, scheme_from_json
from qinspect.quant.schemes.base_n import codebook

NAMES = registry.names()


def test_the_schemes():
    assert NAMES == [
        "base11", "base_n", "symmetric", "symmetric_n", "asymmetric", "sentinel", "ternary", "normal_float", "fp4",
        "mxfp4", "learned",
    ]  # fmt: skip


class TestDefaults:
    """The defaults that the schemes' description states."""

    @pytest.mark.parametrize("name", ["symmetric", "asymmetric"])
    def test_affine(self, name):
        values = make_scheme(name).to_json()
        assert (values["granularity"], values["bits"], values["param_dtype"]) == ("tensor", 8, "float32")

    def test_base11(self):
        assert make_scheme("base11").to_json() == {
            "scheme": "base11",
            "group_size": 128,
            "param_dtype": "float16",
            "calibration": "minmax",
            "percentile": 99.9,
        }

    def test_asymmetric_extends_the_range(self):
        assert make_scheme("asymmetric").to_json()["offset"] == "zero_point"

    def test_sentinel(self):
        assert make_scheme("sentinel").to_json() == {"scheme": "sentinel", "bits": 8}


@pytest.mark.parametrize("name", NAMES)
class TestAsData:
    def test_json_text(self, name):
        scheme = make_scheme(name)
        assert scheme_from_json(json.loads(json.dumps(scheme.to_json()))) == scheme

    def test_frozen(self, name):
        scheme = make_scheme(name)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(scheme, scheme.parameters()[0].name, 4)

    def test_every_field_is_described(self, name):
        for parameter in registry[name].parameters():
            assert parameter.help.endswith(".")
            parameter.check(parameter.default)
            assert parameter.choices or parameter.high

    def test_text(self, name):
        cls = registry[name]
        assert cls.title and cls.summary.endswith(".") and cls.__doc__


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("base12", {}, "there is no scheme 'base12'; choose one of base11, base_n,"),
        ("base11", {"levels": 12}, "base11 has no parameter 'levels'; it has group_size, param_dtype"),
        ("base11", {"group_size": 0}, "group_size must be 1 to 1048576, not 0"),
        ("base11", {"group_size": 1 << 21}, "group_size must be 1 to 1048576"),
        ("base11", {"group_size": 12.0}, "group_size must be a whole number, not 12.0"),
        ("base11", {"group_size": True}, "group_size must be a whole number, not True"),
        ("base11", {"param_dtype": 16}, "param_dtype must be text, not 16"),
        ("base11", {"param_dtype": "float64"}, "param_dtype must be one of float16, bfloat16, float32, not 'float64'"),
        ("base_n", {"levels": 1}, "levels must be 2 to 256, not 1"),
        ("base_n", {"levels": 257}, "levels must be 2 to 256, not 257"),
        ("symmetric", {"bits": 9}, "bits must be one of 2, 3, 4, 5, 6, 7, 8, 16, not 9"),
        ("symmetric", {"axis": -1}, "axis must be 0 to 7, not -1"),
        ("symmetric", {"granularity": "row"}, "granularity must be one of tensor, channel, group"),
        ("sentinel", {"bits": None}, "bits must be a whole number, not None"),
        ("base11", {"percentile": "99"}, "percentile must be a number, not '99'"),
        ("base11", {"percentile": 49}, "percentile must be 50.0 to 100.0, not 49"),
        ("base11", {"percentile": math.nan}, "percentile must be 50.0 to 100.0, not nan"),
    ],
)
def test_what_is_not_allowed(name, parameters, message):
    with pytest.raises(SchemeError, match=message):
        make_scheme(name, **parameters)


@pytest.mark.parametrize("value", [{}, {"scheme": 3}, {"scheme": None}, {"group_size": 128}, [], 5, None, "base11"])
def test_json_that_is_no_scheme(value):
    with pytest.raises(SchemeError, match="a scheme is written"):
        scheme_from_json(value)


def test_equality_is_by_class_and_parameters():
    assert make_scheme("base11") == make_scheme("base11", group_size=128)
    assert make_scheme("base11") != make_scheme("base11", group_size=64)
    assert make_scheme("base11") != make_scheme("base_n", levels=11)
    assert len({make_scheme("base11"), make_scheme("base11"), make_scheme("base_n", levels=11)}) == 2


@pytest.mark.parametrize(
    ("name", "parameters", "label"),
    [
        ("base11", {}, "base11 g128"),
        ("base_n", {"levels": 5, "group_size": 64}, "base_n N=5 g64"),
        ("symmetric", {"bits": 4, "granularity": "group", "group_size": 64}, "symmetric 4-bit g64"),
        ("symmetric", {"granularity": "channel", "axis": 1}, "symmetric 8-bit channel axis 1"),
        ("symmetric", {"granularity": "tensor", "axis": 1}, "symmetric 8-bit"),
        ("asymmetric", {"offset": "minimum", "param_dtype": "float16"}, "asymmetric 8-bit float16 minimum"),
        ("symmetric", {"calibration": "percentile", "percentile": 99}, "symmetric 8-bit percentile 99"),
    ],
)
def test_labels(name, parameters, label):
    assert make_scheme(name, **parameters).label == label


def test_base_n_with_11_levels_is_base11():
    w = np.random.default_rng(0).standard_normal((4, 300))
    mine, other = make_scheme("base_n", levels=11).quantize(w), make_scheme("base11").quantize(w)
    assert np.array_equal(mine.data, other.data)


def test_codebook():
    assert np.array_equal(codebook(11), np.linspace(-1, 1, 11).astype(np.float32))


class TestLevelValues:
    def test_symmetric(self):
        q = make_scheme("symmetric", bits=3).quantize(np.array([3.0, -1.0]))
        assert q.scheme.level_values(q).tolist() == [-4, -3, -2, -1, 0, 1, 2, 3]

    def test_base11(self):
        q = make_scheme("base11", group_size=4).quantize(np.array([[0, 10, 0, 0, 20, 30.0]]))
        assert q.scheme.level_values(q, 1) == pytest.approx(np.arange(20, 31))

    def test_a_set_that_is_not_there(self):
        q = make_scheme("base11").quantize(np.zeros((0, 5)))
        assert q.scheme.level_values(q).size == 0


class TestQTensor:
    @pytest.fixture
    def q(self):
        return make_scheme("base11").quantize(np.random.default_rng(0).standard_normal((4, 300)))

    def test_arrays_are_read_only(self, q):
        for array in (q.data, *q.params.values()):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0

    def test_arrays_of_another_shape(self, q):
        with pytest.raises(
            FormatError, match=r"data is uint8 \[3, 3, 60\], where base11 g128 of shape \[4, 300\] takes"
        ):
            QTensor(q.scheme, q.shape, q.data[1:], q.params)
        with pytest.raises(FormatError, match=r"scale is float16 \[12\], where .* takes float16 \[4, 3\]"):
            QTensor(q.scheme, q.shape, q.data, {**q.params, "scale": q.params["scale"].reshape(-1)})

    def test_arrays_of_another_type(self, q):
        with pytest.raises(FormatError, match="scale is float32"):
            QTensor(q.scheme, q.shape, q.data, {**q.params, "scale": q.params["scale"].astype(np.float32)})
        with pytest.raises(FormatError, match="data is int8"):
            QTensor(q.scheme, q.shape, q.data.view(np.int8), q.params)

    def test_arrays_that_are_missing_or_unknown(self, q):
        with pytest.raises(FormatError, match="a base11 tensor needs scale, which is missing"):
            QTensor(q.scheme, q.shape, q.data, {"min_val": q.params["min_val"]})
        with pytest.raises(FormatError, match="a base11 tensor has no zero_point"):
            QTensor(q.scheme, q.shape, q.data, {**q.params, "zero_point": q.params["scale"]})

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("name", ["min_val", "scale"])
    def test_parameters_that_are_not_finite(self, q, name, value):
        array = q.params[name].copy()
        array[2, 1] = value
        with pytest.raises(FormatError, match="min_val or scale holds values that cannot be: the file is corrupt"):
            QTensor(q.scheme, q.shape, q.data, {**q.params, name: array})

    def test_parameters_whose_levels_overflow(self):
        with pytest.raises(FormatError, match="scale holds values that cannot be"):
            QTensor(make_scheme("symmetric"), (1, 1), np.ones((1, 1), np.uint8), {"scale": np.float32([3.4e38])})


class TestDequantize:
    @pytest.fixture
    def q(self):
        return make_scheme("base11", group_size=50).quantize(np.random.default_rng(0).standard_normal((1400, 6, 50)))

    @pytest.mark.parametrize(
        "rows", [slice(0, 3), slice(650, None), slice(-5, -2), slice(600, 9000), slice(5, 5), slice(9, 4), slice(None)]
    )
    def test_rows(self, q, rows):
        assert np.array_equal(q.scheme.dequantize(q, rows=rows), q.scheme.dequantize(q)[rows])
        assert np.array_equal(q.scheme.codes(q, rows=rows), q.scheme.codes(q)[rows])

    def test_rows_of_shared_parameters(self):
        q = make_scheme("symmetric", granularity="channel", axis=2).quantize(np.random.default_rng(0).random((9, 4, 5)))
        assert np.array_equal(q.scheme.dequantize(q, rows=slice(3, 8)), q.scheme.dequantize(q)[3:8])

    def test_rows_that_cannot_be_taken(self, q):
        with pytest.raises(SchemeError, match="step 1"):
            q.scheme.dequantize(q, rows=slice(0, 9, 2))
        vector = make_scheme("symmetric").quantize(np.ones(5))
        with pytest.raises(SchemeError, match=r"a tensor of shape \[5\] has no rows"):
            vector.scheme.dequantize(vector, rows=slice(0, 2))

    def test_out_is_filled_and_returned(self, q):
        out = np.empty(q.shape, np.float32)
        assert q.scheme.dequantize(q, out=out) is out
        assert np.array_equal(out, q.scheme.dequantize(q))
        part = np.empty((10, 6, 50), np.float32)
        assert np.array_equal(q.scheme.dequantize(q, rows=slice(20, 30), out=part), out[20:30])

    @pytest.mark.parametrize("case", ["shape", "type", "order", "read-only"])
    def test_out_that_does_not_fit(self, q, case):
        out = {
            "shape": np.empty((1400, 300), np.float32),
            "type": np.empty(q.shape, np.float64),
            "order": np.empty(q.shape, np.float32, order="F"),
            "read-only": np.frombuffer(bytes(4 * 1400 * 300), np.float32).reshape(q.shape),
        }[case]
        with pytest.raises(
            SchemeError, match=r"out must be a writeable C-contiguous float32 array of shape \[1400, 6, 50\]"
        ):
            q.scheme.dequantize(q, out=out)

    def test_packed_bytes_of_a_mapped_file(self, q, tmp_path):
        (tmp_path / "data").write_bytes(b"\0" + q.data.tobytes())
        mapped = np.memmap(tmp_path / "data", np.uint8, "r", offset=1, shape=q.data.shape)
        again = QTensor(q.scheme, q.shape, mapped, q.params)
        assert np.array_equal(q.scheme.dequantize(again), q.scheme.dequantize(q))

    def test_a_reference_of_another_shape(self, q):
        with pytest.raises(
            SchemeError, match=r"the reference has shape \[1400, 300\], the packed tensor \[1400, 6, 50\]"
        ):
            q.scheme.compare(np.zeros((1400, 300)), q)

"""Findings: each rule on a layer made for it, and none on ordinary weights."""

import dataclasses
import itertools
import json
import math

import ml_dtypes
import numpy as np
import pytest

from qinspect.findings import RULES, SEVERITIES, Case, find
from qinspect.formats.open import open_checkpoint
from qinspect.quant import engine
from qinspect.quant.metrics import without_reference
from qinspect.quant.scheme import QTensor, make_scheme, registry


def gaussian(*shape, std=0.02, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * std).astype(np.float32)


def findings(w, scheme):
    low, high = engine.extremes(w)
    rows = w[:: max(1, w.size >> 18)] if np.ndim(w) > 1 else w
    return find(Case(w.shape, scheme, scheme.measure(w), low, high, rows, w))


def the(w, scheme, rule):
    found = [finding for finding in findings(w, scheme) if finding.rule == rule]
    assert len(found) == 1, f"{rule} is not among {[finding.rule for finding in findings(w, scheme)]}"
    return found[0]


SHAPES = [
    (16, 16), (64, 768), (768, 768), (384, 1536), (10, 128), (8, 4096), (30000, 64), (4096, 16), (256, 32),
    (64, 3, 3, 3), (32, 1, 5, 5), (1, 512), (1024, 1280),
]  # fmt: skip
ORDINARY = [
    *(make_scheme("base11", group_size=group) for group in (128, 256)),
    *(make_scheme("base_n", levels=levels, group_size=64) for levels in (16, 64, 256)),
    *(make_scheme(name, bits=bits) for name in ("symmetric", "asymmetric") for bits in (4, 8, 16)),
    *(make_scheme(name, bits=bits, granularity="channel") for name in ("symmetric", "asymmetric") for bits in (3, 8)),
    *(
        make_scheme("symmetric", bits=bits, granularity="group", group_size=group, param_dtype="float16")
        for bits in (3, 4, 5, 6, 7, 8)
        for group in (32, 64, 128)
    ),
    *(
        make_scheme("asymmetric", bits=bits, granularity="group", group_size=32, offset=offset)
        for bits in (3, 4, 16)
        for offset in ("zero_point", "minimum")
    ),
]


DRAWN = {
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
    "small": lambda rng, shape: 0.02 * rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.uniform(-0.05, 0.05, shape),
    "laplacian": lambda rng, shape: rng.laplace(size=shape),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("drawn", DRAWN)
def test_ordinary_weights_have_no_findings(shape, drawn):
    w = DRAWN[drawn](np.random.default_rng(1), shape).astype(np.float32)
    wrong = {scheme.label: f.text for scheme in ORDINARY for f in findings(w, scheme) if f.severity != "info"}
    assert wrong == {}


class TestNoBetterThanZeros:
    def test_weights_below_the_smallest_scale(self):
        finding = the(
            gaussian(64, 64, std=1e-9), make_scheme("symmetric", param_dtype="float16"), "no-better-than-zeros"
        )
        assert finding.severity == "error"
        assert finding.text.startswith("At 0.0 dB the decoded weights are no better than zeros")

    def test_zeros_that_are_no_longer_zero(self):
        assert the(np.zeros((4, 50)), make_scheme("sentinel"), "no-better-than-zeros").text.startswith("At −∞ dB")

    def test_exact_zeros_are_fine(self):
        assert [f.rule for f in findings(np.zeros((4, 50)), make_scheme("symmetric"))] == ["constant"]


class TestSentinel:
    def test_few_codes_are_used(self):
        finding = the(gaussian(512, 512, std=1), make_scheme("sentinel"), "unused-codes")
        assert finding.severity == "warning"
        assert " of 256 codes used; 3 bits would hold this losslessly; " in finding.text
        assert finding.remedy.startswith("3 bits a code would do")

    @pytest.mark.parametrize(("bits", "limit"), [(8, 0.0217 / 127), (4, 0.0217 / 7)])
    def test_saturation(self, bits, limit):
        scheme = make_scheme("sentinel", bits=bits)
        under, over = (np.array([[size, -size / 2]], np.float32) for size in (0.99 * limit, 1.02 * limit))
        assert the(under, scheme, "saturated").severity == "error"
        assert "saturated" not in [finding.rule for finding in findings(over, scheme)]

    def test_zeros(self):
        finding = the(np.zeros((3, 4)), make_scheme("sentinel"), "saturated")
        assert finding.text == "All weights are zero, and would decode to C1."


class TestConstant:
    def test_says_the_value(self):
        finding = the(np.full((4, 9), 2.5), make_scheme("symmetric"), "constant")
        assert (finding.severity, finding.text) == ("info", "Every weight is 2.5.")

    def test_one_weight_is_no_constant(self):
        assert findings(np.full((1, 1), 2.5), make_scheme("symmetric")) == ()


class TestRangeFloor:
    def test_a_tiny_layer(self):
        w = gaussian(8, 256, std=1e-6)
        finding = the(w, make_scheme("base11"), "range-floor")
        assert finding.severity == "warning"
        assert finding.text.startswith("16 of 16 groups span less than 1e-05")

    def test_a_row_of_zeros_is_no_warning(self):
        w = gaussian(8, 256)
        w[0] = 0
        finding = the(w, make_scheme("base11", param_dtype="float32"), "range-floor")
        assert finding.severity == "info"
        assert finding.text.startswith("2 of 16 groups")


class TestClipping:
    def test_the_cost_is_the_difference_of_both_figures(self):
        w = gaussian(1, 1000, std=1)
        w[0, :10] = 20
        scale = np.float32(np.quantile(np.abs(w), 0.99) / 127)
        codes = np.clip(np.rint(w / scale), -128, 127) + 128
        q = QTensor(make_scheme("symmetric"), w.shape, codes.astype(np.uint8), {"scale": scale[None]})
        m = q.scheme.compare(w, q)
        (finding,) = (f for f in find(Case(w.shape, q.scheme, m, *engine.extremes(w))) if f.rule == "clipped")
        assert finding.text.startswith("1.00% of the weights lie beyond the end codes")
        assert finding.gain_db == pytest.approx(m.sqnr_in_range_db - m.sqnr_db)


class TestZeroOutside:
    W = 1 + gaussian(768)

    def test_bits_that_are_wasted(self):
        finding = the(self.W, make_scheme("asymmetric"), "zero-outside-range")
        wasted = math.log2(self.W.max() / np.ptp(self.W))
        assert finding.severity == "warning"
        assert f"spends {wasted:.1f} bits" in finding.text
        minimum, zero_point = (
            make_scheme("asymmetric", offset=offset).measure(self.W).sqnr_db for offset in ("minimum", "zero_point")
        )
        assert finding.gain_db == pytest.approx(minimum - zero_point, abs=1.5)

    def test_negative_weights(self):
        assert the(-self.W, make_scheme("asymmetric"), "zero-outside-range")

    def test_a_minimum_wastes_nothing(self):
        found = findings(self.W, make_scheme("asymmetric", offset="minimum"))
        assert [finding.rule for finding in found] == ["better-left-alone"]


class TestOutliers:
    def test_one_in_a_tensor(self):
        w = gaussian(100, 1000)
        w[5, 5] = 40 * 0.02
        finding = the(w, make_scheme("symmetric"), "outlier")
        assert (
            f"The largest weight is {0.8 / np.sqrt(np.mean(np.square(w.astype(np.float64)))):.0f} times" in finding.text
        )
        assert "all 100,000 weights" in finding.text

    @pytest.mark.parametrize(
        "scheme", [make_scheme("base11"), make_scheme("symmetric", bits=4, granularity="group")], ids=lambda s: s.label
    )
    def test_heavy_tails_in_groups(self, scheme):
        w = np.random.default_rng(0).standard_t(2.2, (64, 4096)).astype(np.float32)
        finding = the(w, scheme, "heavy-tails")
        assert finding.severity == "warning"
        assert "of 2,048 groups make" in finding.text

    def test_range_against_gaussian_weights(self):
        """Groups whose range is twice that of Gaussian weights of the same energy cost 6.02 dB."""
        w = gaussian(64, 4096, std=1)
        wide = w.copy()
        wide.reshape(-1, 128)[:, 0], wide.reshape(-1, 128)[:, 1] = 5.35, -5.35
        wide *= 1 / np.sqrt(np.mean(np.square(wide)))
        span = np.sqrt(np.mean(np.square(np.ptp(wide.reshape(-1, 128), axis=1))))
        usual = np.sqrt(np.mean(np.square(np.ptp(w.reshape(-1, 128), axis=1))))
        text = the(wide, make_scheme("base11"), "heavy-tails").text
        told = float(text.split("cost about ")[1].split(" dB")[0])
        assert told == pytest.approx(20 * math.log10(span / usual), abs=0.4)

    @pytest.mark.parametrize("name", ["symmetric", "asymmetric"])
    @pytest.mark.parametrize("granularity", ["channel", "group"])
    def test_dead_channels_are_no_outliers(self, name, granularity):
        w = gaussian(256, 512)
        w[::8] = 0
        found = findings(w, make_scheme(name, bits=4, granularity=granularity))
        assert [finding.rule for finding in found] == ["constant-rows"]


def rounded(w, bits, axis=None):
    """What symmetric codes make of `w`: one scale a slice along `axis`, or one for all."""
    top = 2 ** (bits - 1) - 1
    scale = np.abs(w).max(axis=axis, keepdims=True).astype(np.float64) / top
    return np.rint(w / scale) * scale


def gain_db(w, before, after):
    return 10 * math.log10(np.square(before - w).mean() / np.square(after - w).mean())


class TestOutlierInAGroup:
    GROUPED = (
        make_scheme("base11"),
        make_scheme("symmetric", bits=4, granularity="group", group_size=64),
        make_scheme("normal_float"),
        make_scheme("fp4"),
        make_scheme("symmetric_n", granularity="group", group_size=128),
    )

    @pytest.mark.parametrize("scheme", GROUPED, ids=lambda scheme: scheme.label)
    def test_one_weight_is_named_with_what_helps(self, scheme):
        w = gaussian(256, 1024)
        w[77, 500] = 1.5
        finding = the(w, scheme, "outlier")
        assert finding.text.startswith("The weight 1.5 (row 77, column 500) is ")
        size = scheme.group_size
        group = w[77:78, 500 // size * size : (500 // size + 1) * size]
        rest = np.delete(group, 500 % size)
        assert f"is {1.5 / np.sqrt(np.square(rest, dtype=np.float64).mean()):.0f} times the RMS" in finding.text
        # What it makes of the layer's error, and what is gained, from decoding both ways.
        noise = {}
        for part, weights, chosen in (
            ("group", group, scheme),
            ("layer", w, scheme),
            ("finer", group, dataclasses.replace(scheme, group_size=size // 4)),
        ):
            decoded = chosen.dequantize(chosen.quantize(weights)).astype(np.float64)
            noise[part] = np.square(decoded - weights).sum()
        assert f"and their error {noise['group'] / noise['layer']:.1%} of the layer's" in finding.text
        assert f"groups of {size // 4} {10 * np.log10(noise['group'] / noise['finer']):.1f} dB" in finding.remedy

    def test_a_channel(self):
        w = gaussian(64, 500)
        w[3, 7] = -2
        finding = the(w, make_scheme("symmetric", granularity="channel"), "outlier")
        assert finding.severity == "warning"
        assert finding.text.startswith("The weight -2 (row 3, column 7) is 97 times")

    def test_kernels_are_found_in_flattened_rows(self):
        w = gaussian(32, 16, 3, 3)
        w[5, 6, 1, 2] = 3
        finding = the(w, make_scheme("base11", group_size=72), "outlier")
        assert f"(row 5, column {6 * 9 + 5})" in finding.text

    def test_it_is_no_warning_where_the_layer_hardly_notices(self):
        w = gaussian(1024, 1024)
        w[9, 9] = 0.5
        assert the(w, make_scheme("base11"), "outlier").severity == "info"

    def test_groups_of_different_sizes_have_none(self):
        w = gaussian(64, 512)
        w[7] *= 30
        assert "outlier" not in [finding.rule for finding in findings(w, make_scheme("base11"))]

    def test_without_the_weights_nothing_is_said(self):
        w, scheme = gaussian(64, 512), make_scheme("base11")
        w[7, 7] = 3
        assert "outlier" not in [f.rule for f in find(Case(w.shape, scheme, scheme.measure(w), -1, 3))]


def sensible(cls):
    """Settings that someone may choose for Gaussian weights: three bits or more, every calibration."""
    values = {
        "group_size": (32, 128), "axis": (0,), "levels": (8, 11, 16, 100), "percentile": (99.9,),
        "bits": (3, 4, 8), "param_dtype": ("float32",),
    }  # fmt: skip
    named = [values.get(p.name) or p.choices for p in cls.parameters()]
    for chosen in itertools.product(*named):
        scheme = cls(**dict(zip((p.name for p in cls.parameters()), chosen, strict=True)))
        idle = set(cls.parameters()) - set(scheme.active_parameters())
        if all(getattr(scheme, p.name) == (values.get(p.name) or p.choices)[0] for p in idle):
            yield scheme


TRUE = {
    ("sentinel", "unused-codes"): "that is its fault",
    ("percentile", "clipped"): "with many levels, cutting off 0.1 % costs more than it gains",
    ("minmax", "no-better-than-zeros"): "ternary by the largest weight makes nearly everything zero",
}


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("shape", [(64, 768), (256, 32), (16, 3, 5, 5)], ids=str)
def test_gaussian_weights_have_no_findings_under_any_scheme_and_calibration(name, shape):
    w = gaussian(*shape, seed=1)
    wrong = {
        (scheme.label, finding.rule): finding.text
        for scheme in sensible(registry[name])
        for finding in findings(w, scheme)
        if finding.severity != "info"
        and finding.rule != "group-size"  # of the row, whatever the weights
        and not {(name, finding.rule), (getattr(scheme, "calibration", ""), finding.rule)} & set(TRUE)
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("scheme", "remedy"),
    [
        (make_scheme("symmetric", calibration="percentile", percentile=99), "Raise the percentile"),
        (make_scheme("asymmetric", bits=16, param_dtype="float16"), "Choose param_dtype=float32"),
    ],
)
def test_the_remedy_for_clipping_is_what_caused_it(scheme, remedy):
    finding = the(gaussian(64, 768, seed=1), scheme, "clipped")
    assert finding.remedy.startswith(remedy)


class TestRemedies:
    """Gains against plain numpy, on all weights where the rules look at some rows."""

    @pytest.mark.parametrize("axis", [0, 1])
    def test_a_channel_that_ruins_the_scale_of_all(self, axis):
        w = gaussian(64, 512)
        w = w if axis == 0 else np.ascontiguousarray(w.T)
        w[(slice(None),) * axis + (5,)] *= 50
        finding = the(w, make_scheme("symmetric"), "channel")
        assert finding.gain_db == pytest.approx(gain_db(w, rounded(w, 8), rounded(w, 8, 1 - axis)), abs=0.05)
        rms = np.sqrt(np.square(w.astype(np.float64)).mean(axis=1 - axis))
        assert f"1 of 64 channels looked at (axis {axis}) is more than 4 times" in finding.text
        assert f"at most {rms[5] / np.median(rms):.0f} times" in finding.text
        assert finding.remedy == f"A scale per channel (axis {axis})."

    def test_few_weights_of_each_channel_prove_nothing(self):
        """Of rows this long only a few are looked at; by chance some columns are large in them."""
        w = np.random.default_rng(0).laplace(size=(64, 14336)).astype(np.float32)
        w[1, 1] = 60
        assert the(w, make_scheme("symmetric", bits=4), "outlier")

    def test_an_outlier_in_a_tensor(self):
        w = gaussian(100, 1024)
        w[5, 5] = 0.8
        finding = the(w, make_scheme("symmetric"), "outlier")
        groups = w.reshape(-1, 128)
        expected = gain_db(groups, rounded(groups, 8), rounded(groups, 8, 1))
        assert expected - 0.2 <= finding.gain_db
        told = float(finding.remedy.split("groups of 128 ")[1].split(" dB")[0])
        assert told == pytest.approx(expected, abs=0.3)
        assert "a scale per channel " in finding.remedy

    def test_smaller_groups_for_heavy_tails(self):
        w = np.random.default_rng(0).standard_t(2.2, (64, 4096)).astype(np.float32)
        scheme = make_scheme("symmetric", bits=4, granularity="group", group_size=128)
        finding = the(w, scheme, "heavy-tails")
        large, small = (w.reshape(-1, size) for size in (128, 32))
        expected = gain_db(w, rounded(large, 4, 1).reshape(w.shape), rounded(small, 4, 1).reshape(w.shape))
        told, price = finding.remedy.split("groups of 32 ")[1].split(" dB for ")
        assert float(told) == pytest.approx(expected, abs=1)
        assert price.startswith("0.75 bits a weight more")  # 32/32 − 32/128

    def test_without_the_weights_there_is_no_figure(self):
        w = gaussian(100, 1000)
        w[5, 5] = 0.8
        scheme = make_scheme("symmetric")
        found = find(Case(w.shape, scheme, scheme.measure(w), *engine.extremes(w)))
        (finding,) = (f for f in found if f.rule == "outlier")
        assert finding.gain_db is None
        assert finding.remedy == "Share scales among fewer weights: per channel or per group."


class TestEndCodes:
    @staticmethod
    def stored(codes):
        scheme = make_scheme("symmetric", bits=4, granularity="channel")
        arrays = {"data": None, "scale": np.ones(len(codes), np.float32)}
        nibbles = (codes + 8).astype(np.uint8)
        arrays["data"] = nibbles[:, ::2] | nibbles[:, 1::2] << 4
        q = QTensor(scheme, codes.shape, arrays["data"], {"scale": arrays["scale"]})
        return find(Case(codes.shape, scheme, engine.stored_metrics(q), -8.0, 7.0))

    def test_weights_that_were_cut_off(self):
        codes = np.clip(np.rint(gaussian(64, 512, std=6)), -8, 7).astype(int)
        (finding,) = self.stored(codes)
        ends = np.isin(codes, (-8, 7)).sum() - 2 * 64
        beside = np.isin(codes, (-7, 6)).sum()
        assert finding.text.startswith(f"{ends / codes.size:.1%} of the codes are the two end codes")
        assert f"those beside them {beside / codes.size:.1%}" in finding.text

    @pytest.mark.parametrize("std", [1, 2.33, 3])
    def test_the_best_clipping_is_no_fault(self, std):
        """A step of 0.335 standard deviations or more is what suits 16 even levels."""
        assert self.stored(np.clip(np.rint(gaussian(64, 512, std=std)), -8, 7).astype(int)) == ()

    def test_dead_channels_at_one_end_are_no_clipping(self):
        codes = np.clip(np.rint(gaussian(64, 512, std=2.33)), -8, 7).astype(int)
        codes[::4, ::2] = -8
        assert "end-codes" not in [finding.rule for finding in self.stored(codes)]

    def test_the_packed_sample_network_has_none(self, digits):
        with open_checkpoint(digits) as checkpoint:
            w = np.asarray(checkpoint.load("mix.weight"))
        q = make_scheme("base11").quantize(w)
        measured = engine.stored_metrics(q)
        assert measured.counts[0] > 4 * measured.counts[1]
        found = find(Case(w.shape, q.scheme, measured, float(w.min()), float(w.max())))
        assert "end-codes" not in [finding.rule for finding in found]

    def test_two_values_are_no_clipping(self):
        found = self.stored(np.where(gaussian(64, 512) > 0, 7, -8))
        assert [finding.rule for finding in found] == ["unused-codes"]


class TestRounding:
    def test_zeros_between_two_levels(self):
        rng = np.random.default_rng(3)
        w = rng.uniform(-1, 1, (64, 512)) * (rng.random((64, 512)) < 0.2)
        w[:, ::64], w[:, 1::64] = -1, 1
        w = w.astype(np.float32)
        finding = the(w, make_scheme("base_n", levels=16, group_size=64), "rounding")
        step = 2 / 15
        error = (np.rint((w + 1.0) / step) * step - 1 - w) / step
        error[w == 0] = 0.5
        ratio = math.sqrt(np.square(error).mean())
        assert finding.text.startswith(f"The RMSE is {ratio:.3f} steps")
        assert finding.gain_db == pytest.approx(20 * math.log10(ratio * math.sqrt(12)), abs=0.01)

    def test_zeros_on_a_level(self):
        w = gaussian(64, 512) * (gaussian(64, 512, seed=1) > 0.02)
        finding = the(w, make_scheme("symmetric"), "rounding")
        scale = np.abs(w).max() / 127
        ratio = math.sqrt(np.square(np.rint(w / scale) - w / scale).mean())
        assert finding.severity == "info"
        assert finding.text.startswith(f"The RMSE is {ratio:.3f} steps")


VECTOR = "A vector, as biases and norms are"


class TestWeights:
    def test_constant_and_repeated_rows(self):
        w = gaussian(96, 256)
        w[10:16] = 0
        w[20:23] = 0.5
        w[40] = w[50] = w[60] = w[3]
        texts = {
            finding.rule: finding.text for finding in findings(w, make_scheme("symmetric", bits=4, granularity="group"))
        }
        assert texts == {
            "constant-rows": "9 of 96 rows looked at are constant (6 of them zero).",
            "duplicate-rows": "3 of 96 rows looked at repeat another one.",
        }

    @pytest.mark.parametrize("name", ["float16", "bfloat16"])
    def test_half_precision_is_not_quantized_before(self, name):
        w = gaussian(256, 1024).astype(np.dtype(getattr(ml_dtypes, name, name)))
        assert findings(w, make_scheme("base11", group_size=117)) == ()

    @pytest.mark.parametrize(
        "scheme",
        [
            make_scheme("symmetric", bits=8),
            make_scheme("symmetric", bits=4, granularity="channel"),
            make_scheme("symmetric", bits=4, granularity="group", group_size=64),
            make_scheme("base11", group_size=256),
        ],
        ids=lambda s: s.label,
    )
    def test_quantized_before(self, scheme):
        w = scheme.dequantize(scheme.quantize(gaussian(256, 1024)))
        finding = the(w, make_scheme("asymmetric", bits=3, granularity="group", group_size=48), "quantized-before")
        told = int(finding.text.split("only ")[1].split(" ")[0])
        assert told <= np.unique(w[w != 0]).size
        assert told <= scheme.n_codes

    def test_float8_counts_as_quantized(self):
        w = gaussian(256, 1024).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
        assert the(w, make_scheme("base11"), "quantized-before")

    def test_the_same_codes_again_are_no_fault(self):
        scheme = make_scheme("symmetric", bits=4, granularity="channel")
        w = scheme.dequantize(scheme.quantize(gaussian(256, 1024)))
        assert findings(w, scheme) == ()

    @pytest.mark.parametrize(
        ("shape", "what"), [((768,), VECTOR), ((1, 1024), VECTOR), ((9, 40), "A tensor of 360 weights")]
    )
    def test_better_left_alone(self, shape, what):
        finding = the(gaussian(*shape), make_scheme("symmetric"), "better-left-alone")
        saved = 3 * math.prod(shape) - 4
        assert finding.text == f"{what}: quantizing it saves {saved:,} bytes."


class TestGroupSize:
    def test_what_a_ragged_group_costs(self):
        w = gaussian(16, 384)
        finding = the(w, make_scheme("base11", group_size=126), "group-size")
        assert finding.severity == "warning"
        assert "Groups of 126 on rows of 384 leave a last group of 6 weights and take 5.00 bits" in finding.text
        # Eleven words and two parameters, as small as 128 but finer.
        gained = self.sqnr_db(w, 96) - self.sqnr_db(w, 126)
        assert gained > 0.05
        assert finding.remedy == (
            f"Groups of 96 instead of 126 save 1.00 bits a weight of a packed file and gain {gained:.1f} dB."
        )

    def test_what_larger_groups_cost(self):
        w = gaussian(24, 320)
        lost = self.sqnr_db(w, 128) - self.sqnr_db(w, 160)
        assert lost > 0.05
        remedy = the(w, make_scheme("base11", group_size=128), "group-size").remedy
        assert (
            remedy == f"Groups of 160 instead of 128 save 1.00 bits a weight of a packed file and cost {lost:.1f} dB."
        )

    @staticmethod
    def sqnr_db(w, size):
        scheme = make_scheme("base11", group_size=size)
        error = scheme.dequantize(scheme.quantize(w)).astype(np.float64) - w
        return 10 * math.log10((w.astype(np.float64) ** 2).sum() / (error**2).sum())

    def test_packing_digits_that_are_wasted(self):
        """256 weights take 29 words of nine digits, 252 take 28: on a row of 16128 all groups of 252 are full."""
        finding = the(gaussian(2, 16128), make_scheme("base11", group_size=256), "group-size")
        now, better = 63 * (29 * 32 + 32) / 16128, 64 * (28 * 32 + 32) / 16128
        assert finding.severity == "info"
        assert f"Groups of 252 instead of 256 save {now - better:.2f} bits a weight of a packed file" in finding.remedy
        assert f"{now - better:.2f}" == "0.07"

    def test_where_the_group_suits_the_row(self):
        for group, cols in ((126, 4096), (128, 384), (252, 4032)):
            rules = {f.rule for f in findings(gaussian(8, cols), make_scheme("base11", group_size=group))}
            assert "group-size" not in rules

    @pytest.mark.parametrize("cols", [1280, 1000])
    def test_fewer_parameters_are_no_waste(self, cols):
        """Groups of 40 have fewer scales than groups of 32, but 32 wastes next to nothing."""
        rules = {
            f.rule for f in findings(gaussian(8, cols), make_scheme("symmetric", granularity="group", group_size=32))
        }
        assert "group-size" not in rules


def test_the_gravest_first():
    found = findings(np.zeros((4, 50)), make_scheme("sentinel"))
    assert [f.severity for f in found] == sorted((f.severity for f in found), key=SEVERITIES.index)
    assert len(found) == 3


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0,), (), (1,)])
def test_few_weights_or_none(shape):
    for name in ("base11", "symmetric", "asymmetric"):
        found = findings(np.ones(shape), make_scheme(name))
        assert [f for f in found if f.severity != "info"] == []


def test_without_a_reference_only_codes_are_judged():
    w = gaussian(512, 512, std=1)
    scheme = make_scheme("sentinel")
    q = scheme.quantize(w)
    m = without_reference(scheme.count(q), w.size, q.nbytes, q.params)
    assert [f.rule for f in find(Case(w.shape, scheme, m, -4, 4))] == ["unused-codes"]
    base11 = make_scheme("base11").quantize(w)
    assert find(Case(w.shape, base11.scheme, engine.stored_metrics(base11), -4, 4)) == ()


def test_json():
    finding = the(np.zeros((4, 50)), make_scheme("sentinel"), "saturated")
    value = json.loads(json.dumps(finding.to_json()))
    assert set(value) == {"rule", "severity", "text", "remedy", "gain_db", "place"}


def test_every_rule_is_one_sentence_of_documentation():
    assert all(rule.__doc__ and rule.__doc__.endswith(".") for rule in RULES)


def test_laplacian_weights_are_told_to_stretch_groups_but_not_warned_of():
    w = np.random.default_rng(3).laplace(size=(512, 1024)).astype(np.float32)
    scheme = make_scheme("base11")
    case = Case(w.shape, scheme, scheme.measure(w), float(w.min()), float(w.max()))
    told = {finding.rule: finding.severity for finding in find(case)}
    assert told["heavy-tails"] == "info"

"""What the views draw, against numpy and brute force."""

import math

import numpy as np
import pytest

from qinspect import analysis
from qinspect.analysis import Pooled, Pooling, Quantity
from qinspect.quant.scheme import make_scheme
from qinspect.quant.scheme import registry as schemes
from qinspect.task import Cancelled, Token

SCHEMES = [
    make_scheme("base11", group_size=50),
    make_scheme("sentinel"),
    make_scheme("symmetric", bits=4, granularity="channel", axis=1),
    make_scheme("asymmetric", bits=5, granularity="group", group_size=64),
    make_scheme("normal_float", group_size=96),
]
EACH = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.label)
EVEN = pytest.mark.parametrize("scheme", SCHEMES[:4], ids=lambda scheme: scheme.label)


@pytest.fixture(scope="module")
def w():
    return (0.01 + np.random.default_rng(0).standard_normal((600, 700)) * 0.02).astype(np.float32)


def limits(w):
    return float(w.min()), float(w.max())


def subject(q, w=None, span=None):
    decoded = q.scheme.dequantize(q)
    known = decoded if w is None else w
    span = span or (limits(known) if known.size else (0.0, 0.0))
    error = math.nan if w is None else float(np.abs(decoded - w).max(initial=0))
    return analysis.Subject(q, w, span, error)


def ask(question, scheme, w, **more):
    return analysis.answer(subject(scheme.quantize(w), w, **more), [question])[question]


def steps_of(scheme, q):
    """The step of every weight, from the layout alone."""
    layout = scheme.layout(q.shape)
    flat = np.arange(math.prod(q.shape))
    line, within = np.divmod(flat, layout.line)
    sets = (line * layout.runs_per_line + within // layout.run) % layout.sets
    return scheme.grid_of(q.params).step[sets].reshape(q.shape)


def close_counts(mine, values, edges):
    """Whether counts are numpy's; a value on an edge, within rounding, may fall on either side of it."""
    expected, _ = np.histogram(values, edges)
    ordered, rounding = np.sort(values, axis=None), 1e-11 * (edges[-1] - edges[0])
    on_edge = np.searchsorted(ordered, edges[1:] + rounding) - np.searchsorted(ordered, edges[1:] - rounding)
    return bool((np.abs(np.cumsum(mine - expected)) <= on_edge).all())


class TestHistogram:
    @EACH
    def test_as_numpy_counts(self, scheme, w):
        q = scheme.quantize(w)
        found = ask(analysis.WeightCounts(limits=limits(w)), scheme, w)
        decoded = scheme.dequantize(q)
        kinds = {"original": w, "decoded": decoded, "error": decoded - w}
        assert list(found.counts) == list(kinds)
        for name, values in kinds.items():
            values = values.astype(np.float64)
            assert np.allclose(found.edges, np.linspace(*limits(w), analysis.BINS + 1))
            assert close_counts(found.counts[name], values, found.edges)
            assert found.total(name) == values.size
        assert found.outside["original"] == (0, 0)
        assert found.mean == pytest.approx(w.mean(dtype=np.float64), rel=1e-9)
        assert found.std == pytest.approx(w.std(dtype=np.float64), rel=1e-6)

    def test_what_lies_outside_is_counted_apart(self, w):
        found = ask(analysis.WeightCounts(limits=(-0.01, 0.03)), make_scheme("base11"), w)
        below, above = found.outside["original"]
        assert below == (w < -0.01).sum()
        assert above == (w > np.float32(0.03)).sum()
        assert found.counts["original"].sum() == w.size - below - above

    def test_the_whole_range_with_room_for_the_end_levels(self, w):
        found = ask(analysis.WeightCounts(), make_scheme("base11"), w)
        assert found.outside == {"original": (0, 0), "decoded": (0, 0), "error": (0, 0)}
        assert found.edges[0] < w.min() and found.edges[-1] > w.max()

    def test_without_a_reference(self, w):
        q = make_scheme("base11").quantize(w)
        decoded = q.scheme.dequantize(q)
        question = analysis.WeightCounts()
        found = analysis.answer(subject(q), [question])[question]
        assert list(found.counts) == ["decoded"]
        assert found.counts["decoded"].sum() == w.size
        assert found.mean == pytest.approx(decoded.mean(dtype=np.float64), rel=1e-9)

    @EACH
    def test_code_units(self, scheme, w):
        """Decoded weights lie on whole codes; weights round to their code."""
        q = scheme.quantize(w)
        low, high = scheme.code_range
        found = ask(analysis.CodeCounts(), scheme, w)
        assert (found.edges[0], found.edges[-1]) == (low - 0.5, high + 0.5)
        centres = (found.edges[:-1] + found.edges[1:]) / 2
        decoded = found.counts["decoded"]
        counts = np.zeros(scheme.n_codes, np.int64)
        np.add.at(counts, np.rint(centres[decoded > 0]).astype(int) - low, decoded[decoded > 0])
        assert np.array_equal(counts, scheme.count(q))
        assert found.total("original") == w.size
        assert np.abs(centres[decoded > 0] - np.rint(centres[decoded > 0])).max() < 2 * (high - low + 1) / analysis.BINS

    @EVEN
    def test_errors_as_they_are_and_in_steps(self, scheme, w):
        q = scheme.quantize(w)
        error = scheme.dequantize(q) - w
        found = ask(analysis.ErrorCounts(), scheme, w)
        assert found.outside == {"error": (0, 0)}
        assert found.edges[-1] == pytest.approx(np.abs(error).max(), rel=1e-3)
        assert close_counts(found.counts["error"], error.astype(np.float64), found.edges)
        in_steps = ask(analysis.ErrorCounts(steps=True), scheme, w)
        ratio = (error / steps_of(scheme, q)).astype(np.float64)
        assert close_counts(in_steps.counts["error"], ratio, in_steps.edges)
        assert sum(in_steps.outside["error"]) == (np.abs(ratio) > 1).sum()
        assert in_steps.std == pytest.approx(0.2887, rel=0.15)

    def test_of_some_rows_and_columns_alone(self, w):
        scheme = make_scheme("base11", group_size=50)
        found = ask(analysis.WeightCounts(limits=limits(w), rows=(17, 18), cols=(100, 150)), scheme, w)
        part = w[17, 100:150].astype(np.float64)
        assert found.total("original") == 50
        assert close_counts(found.counts["original"], part, found.edges)
        assert found.mean == pytest.approx(part.mean())
        units = ask(analysis.CodeCounts(rows=(17, 18), cols=(100, 150)), scheme, w)
        codes = scheme.codes(scheme.quantize(w))[17, 100:150]
        centres = (units.edges[:-1] + units.edges[1:]) / 2
        assert set(np.rint(centres[units.counts["decoded"] > 0])) == set(codes)

    @pytest.mark.parametrize("value", [0.0, 3.5, -1e-30])
    def test_a_constant(self, value):
        w = np.full((4, 50), value, np.float32)
        found = ask(analysis.WeightCounts(), make_scheme("symmetric"), w)
        assert found.counts["original"].sum() == w.size
        assert found.std == pytest.approx(0, abs=1e-9)
        assert (np.diff(found.edges) > 0).all()

    def test_no_weights(self):
        w = np.zeros((0, 5), np.float32)
        for question in (analysis.WeightCounts(), analysis.CodeCounts(), analysis.ErrorCounts()):
            found = ask(question, make_scheme("symmetric"), w)
            assert all(counts.sum() == 0 for counts in found.counts.values())


class TestCodeUsage:
    def usage(self, *counts):
        return analysis.CodeUsage(0, np.array(counts, np.int64))

    def test_in_words(self):
        counts = np.zeros(256, np.int64)
        counts[125:131] = 1, 4, 16, 8, 2, 1  # of 32: the entropy is 1.9375
        usage = analysis.CodeUsage(-128, counts)
        assert usage.sentence == "6 of 256 codes used; 3 bits would hold this losslessly; 1.9 bits of entropy"

    def test_where_fewer_bits_would_not_do(self):
        assert self.usage(*[1] * 11).sentence == "11 of 11 codes used; 3.5 bits of entropy"
        assert self.usage(9, 9, 0).sentence.startswith("2 of 3 codes used; 1 bit would hold this losslessly")

    @pytest.mark.parametrize(("used", "bits"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (128, 7), (129, 8)])
    def test_bits_needed(self, used, bits):
        assert self.usage(*[1] * used, *[0] * (256 - used)).bits_needed == bits


def entropy(codes):
    p = np.unique(codes, return_counts=True)[1] / codes.size
    return -(p * np.log2(p)).sum()


class TestCodeMaps:
    def test_every_row_counts_its_codes(self, w):
        scheme = make_scheme("symmetric", bits=4)
        found = ask(analysis.RowCodes(), scheme, w)
        codes = scheme.codes(scheme.quantize(w))
        expected = np.array([np.bincount(row + 8, minlength=16) for row in codes])
        assert np.array_equal(found.counts, expected)
        assert np.array_equal(found.used, (expected > 0).sum(axis=1))
        assert found.entropy == pytest.approx([entropy(row) for row in codes], abs=1e-5)
        assert (found.first, found.per_column, found.pieces, found.by_group) == (-8, 1, 1, False)

    def test_every_group_counts_its_codes_also_the_short_last_one(self, w):
        scheme = make_scheme("base11", group_size=128)  # 700 = 5 · 128 + 60
        found = ask(analysis.RowCodes(groups=True), scheme, w)
        usage = ask(analysis.GroupCodes(), scheme, w)
        codes = scheme.codes(scheme.quantize(w))
        groups = [row[at : at + 128] for row in codes for at in range(0, 700, 128)]
        assert np.array_equal(found.counts, [np.bincount(group, minlength=11) for group in groups])
        assert (found.by_group, found.pieces, found.groups_per_piece) == (True, 6, 1)
        for either in (found, usage):
            assert np.array_equal(either.used, [np.unique(group).size for group in groups])
            assert either.entropy == pytest.approx([entropy(group) for group in groups], abs=1e-5)

    def test_a_group_of_three_codes_is_found(self, w):
        w = w.copy()
        w[123, 200:250] = np.tile([0.0, 0.5, 1.0, 0.5, 1.0], 10)
        usage = ask(analysis.GroupCodes(), make_scheme("base11", group_size=50), w)
        assert int(np.argmin(usage.used)) == 123 * 14 + 4
        assert usage.used.min() == 3

    def test_many_groups_are_counted_together_and_none_is_lost(self):
        w = np.random.default_rng(1).standard_normal((1500, 1030)).astype(np.float32)
        scheme = make_scheme("symmetric", bits=8, granularity="group", group_size=64)
        found = ask(analysis.RowCodes(groups=True), scheme, w)
        assert found.groups_per_piece == 2 and found.pieces == 9  # 17 groups a row
        codes = scheme.codes(scheme.quantize(w)) + 128
        assert np.array_equal(found.counts[5 * 9 + 3], np.bincount(codes[5, 384:512], minlength=256))
        assert found.counts.sum() == w.size

    def test_many_rows_are_counted_together_and_none_is_lost(self):
        w = np.random.default_rng(1).standard_normal((40_001, 7)).astype(np.float32)
        scheme = make_scheme("symmetric", bits=8)
        for groups in (False, True):
            found = ask(analysis.RowCodes(groups=groups), scheme, w)
            assert (found.rows_per_piece, found.by_group) == (4, False)
            assert len(found.counts) == 10_001
            codes = scheme.codes(scheme.quantize(w)) + 128
            assert np.array_equal(found.counts[77], np.bincount(codes[308:312].ravel(), minlength=256))
            assert found.counts[-1].sum() == 7

    def test_many_codes_share_columns(self, w):
        scheme = make_scheme("symmetric", bits=16)
        found = ask(analysis.RowCodes(), scheme, w)
        assert (found.per_column, found.counts.shape) == (256, (600, 256))
        codes = scheme.codes(scheme.quantize(w)) + (1 << 15)
        assert np.array_equal(found.counts[9], np.bincount(codes[9] // 256, minlength=256))
        assert found.used[9] == np.unique(codes[9]).size


class TestScaleMap:
    @pytest.mark.parametrize(
        ("parameters", "shape", "expected", "across"),
        [
            ({"granularity": "tensor"}, (6, 100), (1, 1), "tensor"),
            ({"granularity": "group", "group_size": 32}, (6, 100), (6, 4), "group along the row"),
            ({"granularity": "group", "group_size": 32}, (2, 3, 5, 7), (2, 4), "group along the row"),
            ({"granularity": "channel", "axis": 0}, (6, 100), (6, 1), "group along the row"),
            ({"granularity": "channel", "axis": 1}, (6, 100), (1, 100), "channel"),
            ({"granularity": "channel", "axis": 1}, (2, 3, 5, 7), (1, 3), "channel"),
        ],
    )
    def test_shape(self, parameters, shape, expected, across):
        w = np.random.default_rng(0).standard_normal(shape)
        q = make_scheme("asymmetric", offset="minimum", **parameters).quantize(w)
        found = analysis.scale_map(q)
        assert found.across == across
        assert found.shape == expected
        assert {name: array.shape for name, array in found.values.items()} == dict.fromkeys(
            ("scale", "minimum", "range", "step"), expected
        )
        assert np.array_equal(found.values["scale"].reshape(-1), q.params["scale"].reshape(-1))
        assert np.array_equal(found.values["minimum"].reshape(-1), q.params["minimum"].reshape(-1))

    def test_scale_of_base11_is_the_range(self):
        q = make_scheme("base11", group_size=10).quantize(np.arange(20.0).reshape(1, 20))
        found = analysis.scale_map(q)
        assert found.values["scale"].tolist() == [[9, 9]]
        assert found.values["range"].tolist() == [[9, 9]]
        assert found.values["minimum"].tolist() == [[0, 10]]
        assert found.values["step"] == pytest.approx(0.9)


class TestGroupErrors:
    @EACH
    def test_every_set_against_its_own_weights(self, scheme, w):
        q = scheme.quantize(w)
        layout, grid = scheme.layout(w.shape), scheme.grid_of(q.params)
        flat = np.arange(w.size)
        line, within = np.divmod(flat, layout.line)
        sets = (line * layout.runs_per_line + within // layout.run) % layout.sets
        error = (scheme.dequantize(q) - w).astype(np.float64).reshape(-1)
        signal = np.bincount(sets, w.astype(np.float64).reshape(-1) ** 2, layout.sets)
        noise, size = np.bincount(sets, error**2, layout.sets), np.bincount(sets, minlength=layout.sets)
        found = ask(analysis.GroupErrors(), scheme, w)
        np.testing.assert_allclose(found.sqnr_db, 10 * np.log10(signal / noise), rtol=1e-5)
        np.testing.assert_allclose(found.rmse, np.sqrt(noise / size), rtol=1e-5)
        largest = np.zeros(layout.sets)
        np.maximum.at(largest, sets, np.abs(error))
        np.testing.assert_allclose(found.max_error, largest, rtol=1e-6)
        low, high = grid.low[sets], grid.high[sets]
        rounding = 5e-7 * (np.maximum(abs(low), abs(high)) + (high - low))
        outside = np.maximum(low - w.reshape(-1), w.reshape(-1) - high) > rounding
        assert np.array_equal(found.clipped, np.bincount(sets, outside, layout.sets))
        assert found.clipped.sum() == pytest.approx(scheme.measure(w).clipped * w.size)

    def test_exact_and_empty_sets(self):
        w = np.zeros((2, 64), np.float32)
        w[0, 40:] = 1.0
        found = ask(analysis.GroupErrors(), make_scheme("symmetric", granularity="group", group_size=32), w)
        assert np.isnan(found.sqnr_db[[0, 2, 3]]).all()
        assert np.isinf(found.sqnr_db[1])
        assert found.rmse.tolist() == [0, 0, 0, 0]


class TestMarginals:
    @EACH
    def test_root_mean_squares_of_rows_and_columns(self, scheme, w):
        found = ask(analysis.Marginals(), scheme, w)
        error = (scheme.dequantize(scheme.quantize(w)) - w).astype(np.float64)
        for mine, values, axis in (
            (found.rows, error, 1), (found.cols, error, 0), (found.weight_rows, w, 1), (found.weight_cols, w, 0),
        ):  # fmt: skip
            expected = np.sqrt(np.mean(np.square(values, dtype=np.float64), axis=axis))
            np.testing.assert_allclose(mine, expected, rtol=1e-6)


def cells(x, factor):
    """The values of every `factor × factor` cell, NaN beyond the edge: by padding and plain numpy."""
    padded = np.full([-(-n // factor) * factor for n in x.shape], np.nan)
    padded[: x.shape[0], : x.shape[1]] = x
    rows, cols = padded.shape[0] // factor, padded.shape[1] // factor
    return padded.reshape(rows, factor, cols, factor).swapaxes(1, 2).reshape(rows, cols, -1)


def extreme(x, factor):
    """Of equal magnitudes the negative one."""
    found = np.nan_to_num(cells(x, factor))
    low, high = found.min(axis=2), found.max(axis=2)
    return np.where(-low >= high, low, high)


POOLS = {
    Pooling.LARGEST: extreme,
    Pooling.RMS: lambda x, f: np.sqrt(np.nanmean(cells(x, f) ** 2, axis=2)),
    Pooling.MEAN: lambda x, f: np.nanmean(cells(x, f), axis=2),
    Pooling.MEAN_MAGNITUDE: lambda x, f: np.nanmean(np.abs(cells(x, f)), axis=2),
}


class TestPyramid:
    @pytest.mark.parametrize("shape", [(600, 700), (1, 3000), (5, 3, 9, 9), (40,), (3, 2500)])
    @pytest.mark.parametrize("pooling", Pooling)
    def test_every_level_of_every_pooling(self, pooling, shape):
        w = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        scheme = make_scheme("symmetric", bits=4)
        q = scheme.quantize(w)
        decoded = scheme.dequantize(q)
        expected = {
            Quantity.ERROR: decoded - w,
            Quantity.WEIGHT: w,
            Quantity.DECODED: decoded,
            Quantity.STEPS: (decoded - w) / steps_of(scheme, q),
        }
        questions = {quantity: Pooled(quantity, pooling) for quantity in expected}
        answers = analysis.answer(subject(q, w), questions.values())
        for quantity, values in expected.items():
            found = answers[questions[quantity]]
            matrix = values.reshape(found.shape).astype(np.float64)
            assert found.finest == 1
            assert max(found.levels[max(found.levels)].shape) <= 256
            for factor, pooled in found.levels.items():
                np.testing.assert_allclose(pooled, POOLS[pooling](matrix, factor), rtol=2e-5, atol=2e-7)

    def test_errors_relative_to_weights(self, w):
        scheme = make_scheme("symmetric", bits=4)
        error = (scheme.dequantize(scheme.quantize(w)) - w).astype(np.float64)
        found = ask(Pooled(Quantity.RELATIVE), scheme, w)
        np.testing.assert_allclose(found.levels[2], extreme(np.abs(error / w), 2), rtol=1e-4)
        found = ask(Pooled(Quantity.RELATIVE, Pooling.RMS), scheme, w)
        rms = POOLS[Pooling.RMS]
        np.testing.assert_allclose(found.levels[4], rms(error, 4) / rms(w, 4), rtol=1e-4)
        found = ask(Pooled(Quantity.RELATIVE, Pooling.MEAN), scheme, w)
        mean = POOLS[Pooling.MEAN_MAGNITUDE]
        np.testing.assert_allclose(found.levels[4], mean(error, 4) / mean(w, 4), rtol=1e-4)

    def test_zeros_have_no_relative_error_unless_they_decode_to_something(self):
        w = np.array([[0.0, 1.0, -2.0, 0.0]], np.float32)
        found = ask(Pooled(Quantity.RELATIVE), make_scheme("symmetric", bits=8), w)
        assert found.levels[1][0, [0, 3]].tolist() == [0, 0]
        found = ask(Pooled(Quantity.RELATIVE), make_scheme("sentinel"), w)
        assert np.isinf(found.levels[1][0, [0, 3]]).all()

    def test_an_outlier_is_kept_in_a_large_matrix(self):
        rng = np.random.default_rng(0)
        w = rng.uniform(-1, 1, (2500, 2011)).astype(np.float32)
        w[1234, 2010] = 50
        q = make_scheme("base11").quantize(w)
        changed = q.scheme.dequantize(q)
        changed[77, 5] += 9
        errors, weights = Pooled(Quantity.ERROR), Pooled(Quantity.WEIGHT)
        answers = analysis.answer(analysis.Subject(q, changed, (-1, 50)), [errors, weights])
        assert answers[errors].finest == 2
        assert answers[errors].levels[2].shape == (1250, 1006)
        for level in answers[errors].levels.values():
            assert level.min() == pytest.approx(-9, rel=1e-6)
            assert level.max() == 0
        for level in answers[weights].levels.values():
            assert level.max() == pytest.approx(50, rel=1e-3)
        finest = answers[errors].levels[2]
        assert np.unravel_index(np.argmin(finest), finest.shape) == (38, 2)

    def test_one_level_of_some_rows(self, w):
        scheme = make_scheme("base11", group_size=50)
        error = (scheme.dequantize(scheme.quantize(w)) - w).astype(np.float64)
        found = ask(Pooled(Quantity.ERROR, rows=(128, 300), factor=4), scheme, w)
        assert found.start == (128, 0)
        assert list(found.levels) == [4]
        np.testing.assert_allclose(found.levels[4], extreme(error[128:300], 4), rtol=1e-6)
        part = ask(Pooled(Quantity.ERROR, Pooling.MEAN, rows=(128, 300), cols=(40, 91), factor=4), scheme, w)
        assert part.start == (128, 40)
        np.testing.assert_allclose(part.levels[4], POOLS[Pooling.MEAN](error[128:300, 40:91], 4), rtol=1e-4, atol=1e-8)

    def test_without_a_reference_weights_are_what_they_decode_to(self, w):
        q = make_scheme("base11").quantize(w)
        question = Pooled(Quantity.WEIGHT)
        found = analysis.answer(subject(q), [question])[question]
        assert np.array_equal(found.levels[1], q.scheme.dequantize(q))

    @pytest.mark.parametrize("shape", [(0, 600), (600, 0), (0,), ()])
    def test_few_weights_or_none(self, shape):
        found = ask(Pooled(Quantity.ERROR), make_scheme("symmetric"), np.ones(shape, np.float32))
        assert math.prod(found.shape) == math.prod(shape)

    def test_level_for(self):
        pyramid = analysis.Pyramid((100, 100), Pooling.LARGEST, {f: np.zeros((1, 1)) for f in (2, 4, 8)})
        assert [pyramid.level_for(scale) for scale in (0.1, 1, 2, 3.9, 4, 7, 100)] == [2, 2, 2, 2, 4, 4, 8]


class TestAnswers:
    @pytest.mark.parametrize("name", schemes.names())
    @pytest.mark.parametrize("shape", [(48, 160), (77,), (1, 5), (5, 1), (8, 3, 3, 3), (0, 4)])
    def test_every_question_to_every_scheme_and_shape(self, name, shape):
        w = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
        q = make_scheme(name).quantize(w)
        for original in (w, None):
            found = analysis.answer(subject(q, original), analysis.EVERYTHING)
            assert set(found) == set(analysis.EVERYTHING)
            assert all(value is not None for value in found.values())

    def test_asked_together_or_one_by_one_answers_are_the_same(self, w):
        about = subject(SCHEMES[0].quantize(w), w)
        together = analysis.answer(about, analysis.EVERYTHING)
        alone = {question: analysis.answer(about, [question])[question] for question in analysis.EVERYTHING}
        assert np.array_equal(
            together[analysis.WeightCounts()].counts["error"], alone[analysis.WeightCounts()].counts["error"]
        )
        for question in (analysis.GroupErrors(), analysis.GroupCodes(), analysis.Marginals()):
            for name, array in vars(together[question]).items():
                assert np.array_equal(array, getattr(alone[question], name), equal_nan=True)
        for question in analysis.EVERYTHING:
            if isinstance(question, Pooled):
                for factor, level in together[question].levels.items():
                    assert np.array_equal(level, alone[question].levels[factor], equal_nan=True)

    def test_the_work_can_be_stopped(self, w):
        token = Token()
        token.cancel()
        with pytest.raises(Cancelled):
            analysis.answer(subject(SCHEMES[0].quantize(w), w), [analysis.WeightCounts()], token)


class TestSampleRows:
    def test_a_small_matrix_is_itself(self, w):
        sample, numbers = analysis.numbered_rows(w)
        assert sample is w
        assert numbers is None

    @pytest.mark.parametrize("shape", [(4000, 1000), (1001, 3, 40, 40), (3, 1 << 20), (1, 1 << 21), (1 << 21, 2)])
    def test_about_the_limit_in_whole_rows_whose_numbers_are_told(self, shape):
        w = np.broadcast_to(np.arange(shape[0], dtype=np.float32).reshape(-1, *[1] * (len(shape) - 1)), shape)
        sample, numbers = analysis.numbered_rows(w, 1 << 20)
        rows = sample.reshape(len(sample), -1)[:, 0]
        assert sample.shape[1:] == shape[1:]
        assert (np.diff(rows) > 0).all()
        assert np.array_equal(rows, numbers)
        assert sample.size <= max(1 << 20, math.prod(shape[1:]))
        assert sample.size >= (1 << 20) * 2 // 3 or len(sample) == 1

    def test_rows_are_spread(self):
        w = np.arange(1 << 22, dtype=np.float32).reshape(4096, 1024)
        rows = analysis.sample_rows(w, 1 << 20)[:, 0] // 1024
        assert rows[-1] > 0.9 * 4096
        assert np.ptp(np.diff(rows)) == 0

    @pytest.mark.parametrize("row", [0, 1, 2001, 4093, 4095])
    def test_a_row_of_interest_is_among_them(self, row):
        w = np.arange(1 << 22, dtype=np.float32).reshape(4096, 1024)
        sample, numbers = analysis.numbered_rows(w, 1 << 20, row)
        place = numbers.tolist().index(row)
        assert np.array_equal(sample[place], w[row])
        assert (np.diff(numbers) > 0).all()
        assert np.array_equal(sample[:, 0], w[numbers, 0])

    def test_a_vector_is_itself(self):
        w = np.zeros(1 << 21, np.float32)
        assert analysis.sample_rows(w) is w


class TestWeightPatterns:
    """Weights, decoded values and errors as distributions: any histogram follows."""

    def test_every_kind_is_counted(self, w):
        scheme = make_scheme("base11")
        q = scheme.quantize(w)
        decoded = scheme.dequantize(q)
        found = ask(analysis.WeightPatterns(), scheme, w).found
        for name, values in (("original", w), ("decoded", decoded), ("error", decoded - w)):
            edges = found[name].patterns.edges
            edges = edges[np.isfinite(edges)]
            before = np.searchsorted(np.sort(values, axis=None).astype(np.float64), edges, "left")
            np.testing.assert_array_equal(found[name].below(edges), before)
            assert (found[name].low, found[name].high) == (values.min(), values.max())

    def test_histograms_are_those_of_a_pass_of_their_own(self, w):
        """But for what lies within a half-precision step of an edge."""
        known = ask(analysis.WeightPatterns(), SCHEMES[0], w)
        for low, high in ((-0.03, 0.05), (-0.001, 0.002)):
            own = ask(analysis.WeightCounts(limits=(low, high)), SCHEMES[0], w)
            found = known.histogram(low, high, own.counts)
            np.testing.assert_array_equal(found.edges, own.edges)
            assert (found.mean, found.std) == (pytest.approx(own.mean, rel=1e-9), pytest.approx(own.std, rel=1e-9))
            for name, counts in own.counts.items():
                assert found.total(name) == own.total(name) == w.size
                ordered, step = np.sort(np.abs(w), axis=None), 2.0**-10
                near = np.abs(own.edges[1:])
                room = np.searchsorted(ordered, near * (1 + step)) - np.searchsorted(ordered, near * (1 - step))
                if name == "original":
                    assert (np.abs(np.cumsum(found.counts[name] - counts)) <= room + 1).all()

    def test_without_a_reference(self, w):
        q = make_scheme("base11").quantize(w)
        found = analysis.answer(subject(q), [analysis.WeightPatterns()])[analysis.WeightPatterns()].found
        assert list(found) == ["decoded"]
        assert found["decoded"].size == w.size

    def test_where_steps_are_fine_enough(self):
        assert analysis.WeightPatterns.resolve(-1, 1, 2000)
        assert not analysis.WeightPatterns.resolve(-1, 1, 4096)
        assert analysis.WeightPatterns.resolve(0, 0.01, 1000)

"""The session: measuring and inspecting layers of a checkpoint, and summing them up."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import qinspect
from qinspect import analysis, session
from qinspect.errors import FormatError, SchemeError
from qinspect.formats.checkpoint import Checkpoint, TensorInfo
from qinspect.quant.scheme import QTensor, make_scheme
from qinspect.recipe import Recipe, Rule
from qinspect.task import Cancelled, Token

BASE11 = make_scheme("base11", group_size=64)
SHORT = {np.dtype("f4"): "F32", np.dtype("f2"): "F16", np.dtype("i8"): "I64"}


class Held(Checkpoint):
    """A checkpoint of arrays and packed tensors in memory."""

    format = "memory"

    def __init__(self, name="model", **tensors):
        self.metadata = {}
        self.path = Path(name)
        self.tensors = tensors
        self.infos = tuple(self.header(key, value) for key, value in tensors.items())
        self.closed = False

    def header(self, name, value):
        if isinstance(value, QTensor):
            return TensorInfo(name, value.shape, "F32", value.nbytes, value.scheme.label)
        return TensorInfo(name, value.shape, SHORT[value.dtype], value.nbytes)

    def load(self, name, rows=None):
        return self.tensors[name]

    def close(self):
        self.closed = True


def gaussian(*shape, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * 0.02).astype(np.float32)


@pytest.fixture
def w():
    return gaussian(300, 640)


@pytest.fixture
def plain(w):
    return Held(
        weight=w,
        half=gaussian(64, 128).astype(np.float16),
        bias=gaussian(300),
        broken=np.where(np.eye(4, 9) > 0, np.nan, gaussian(4, 9)).astype(np.float32),
        positions=np.arange(12).reshape(3, 4),
        empty=np.zeros((0, 4), np.float32),
    )


@pytest.fixture
def packed(w):
    return Held("packed", weight=BASE11.quantize(w), bias=gaussian(300))


def opened(checkpoint, reference=None):
    current = session.Session()
    current.open(checkpoint)
    current.attach(reference)
    return current


def report_of(checkpoint, name, scheme, reference=None):
    return session.measure(opened(checkpoint, reference).request(checkpoint.info(name), scheme))


class TestMeasure:
    @pytest.mark.parametrize("name", ["weight", "half", "bias"])
    def test_a_layer(self, plain, name):
        report = report_of(plain, name, BASE11)
        assert report.error is None
        assert report.scheme == BASE11
        assert report.metrics.to_json() == BASE11.measure(plain.load(name)).to_json()

    def test_weights_that_cannot_be_measured_are_told_not_raised(self, plain):
        report = report_of(plain, "broken", BASE11)
        assert report.metrics is None
        assert report.error.startswith("model: broken: 4 NaN of 36 weights")
        report = report_of(plain, "positions", BASE11)
        assert report.error.startswith("model: positions: int64 weights cannot be quantized")

    @pytest.mark.parametrize("scheme", [BASE11, make_scheme("symmetric", bits=4, param_dtype="float16")])
    def test_parameters_beyond_half_precision_come_with_the_remedy(self, scheme):
        report = report_of(Held(weight=gaussian(8, 64) * np.float32(1e8)), "weight", scheme)
        assert "float16" in report.error
        assert "choose param_dtype=float32" in report.error
        (finding,) = report.findings
        assert (finding.rule, finding.severity) == ("parameter-overflow", "error")
        assert finding.remedy == "Choose param_dtype=float32."

    def test_no_scheme_for_a_layer_that_is_not_packed(self, plain):
        assert "choose a scheme" in report_of(plain, "weight", None).error

    def test_as_stored(self, packed, w):
        report = report_of(packed, "weight", None)
        assert report.scheme == BASE11
        assert math.isnan(report.metrics.sqnr_db)
        assert report.metrics.exact is None
        assert np.array_equal(report.metrics.counts, BASE11.measure(w).counts)

    def test_as_stored_against_a_reference(self, packed, plain, w):
        report = report_of(packed, "weight", None, plain)
        assert report.metrics.to_json() == BASE11.measure(w).to_json()

    def test_a_reference_of_another_shape_is_none(self, packed):
        report = report_of(packed, "weight", None, Held(weight=gaussian(640, 300)))
        assert math.isnan(report.metrics.sqnr_db)

    def test_a_packed_layer_under_another_scheme(self, packed, plain, w):
        """The originals where they are known, else what was decoded."""
        other = make_scheme("symmetric", bits=4)
        assert report_of(packed, "weight", other, plain).metrics.to_json() == other.measure(w).to_json()
        decoded = BASE11.dequantize(packed.load("weight"))
        assert report_of(packed, "weight", other).metrics.to_json() == other.measure(decoded).to_json()

    def test_findings_come_along(self, plain):
        report = report_of(plain, "weight", make_scheme("sentinel"))
        assert "unused-codes" in [finding.rule for finding in report.findings]

    def test_how_good_the_layer_could_be(self, plain, packed):
        """Gaussian weights: eleven fixed levels reach 17.16 dB, as the published table has it."""
        for report in (report_of(plain, "weight", BASE11), report_of(packed, "weight", None, plain)):
            assert report.limits.own_db == pytest.approx(17.16, abs=0.05)
            assert report.limits.gap_db == pytest.approx(report.limits.own_db - report.metrics.sqnr_db)
        assert report_of(plain, "weight", make_scheme("symmetric")).limits.own_db is None

    def test_json(self, plain, packed):
        names = {
            "name", "shape", "sqnr_db", "sqnr_in_range_db", "rmse", "mse", "rmse_per_step", "snr_db_eps", "cosine",
            "max_error", "mean_error", "exact", "bpw", "nbytes", "levels", "levels_used", "entropy_bits", "clipped",
            "findings", "limits",
        }  # fmt: skip
        whole = json.loads(json.dumps(report_of(plain, "weight", BASE11).to_json(), allow_nan=False))
        assert set(whole) == names
        assert (whole["name"], whole["shape"]) == ("weight", [300, 640])
        stored = json.loads(json.dumps(report_of(packed, "weight", None).to_json(), allow_nan=False))
        assert set(stored) == names
        assert stored["sqnr_db"] is None
        assert (stored["limits"]["own_db"], stored["limits"]["gap_db"]) == (None, None)
        broken = report_of(plain, "broken", BASE11).to_json()
        assert broken["limits"] is None
        assert set(broken) == {*names, "error"}
        assert broken["bpw"] is None


class TestMeasureAll:
    def test_layers_in_order_and_progress_once_from_start_to_end(self, plain, monkeypatch):
        monkeypatch.setattr("os.cpu_count", lambda: 1)
        told = []
        requests = opened(plain).layers(Recipe.of(make_scheme("symmetric")))
        reports = list(session.measure_all(requests, Token(told.append)))
        assert [report.info.name for report in reports] == ["weight", "half", "broken"]
        assert [report.error is None for report in reports] == [True, True, False]
        assert told == sorted(told)
        assert told[-1] == 1

    def test_cancel(self, plain):
        token = Token()
        reports = session.measure_all(opened(plain).layers(Recipe.of(BASE11)), token)
        next(reports)
        token.cancel()
        with pytest.raises(Cancelled):
            next(reports)


class TestInspect:
    def test_everything_agrees(self, plain, w):
        weights, errors = analysis.WeightCounts(), analysis.Pooled(analysis.Quantity.ERROR)
        request = replace(opened(plain).request(plain.info("weight"), BASE11), questions=(weights, errors))
        found = session.inspect(request)
        q = BASE11.quantize(w)
        assert np.array_equal(found.quantized.data, q.data)
        assert found.weights is w
        assert found.metrics.to_json() == BASE11.measure(w).to_json()
        assert np.array_equal(found.usage.counts, BASE11.count(q))
        assert found.answers[weights].counts["original"].sum() == w.size
        assert found.scales.values["scale"].shape == (300, 10)
        assert np.array_equal(found.answers[errors].levels[1], BASE11.dequantize(q) - w)
        assert found.unanswered([errors, analysis.GroupErrors()]) == [analysis.GroupErrors()]
        assert found.part == 1
        assert found.rows is None

    def test_preview_of_a_sample(self):
        w = gaussian(3000, 1000)
        checkpoint = Held(weight=w)
        request = opened(checkpoint).request(checkpoint.info("weight"), BASE11)
        found, whole = session.inspect(request, preview=True), session.inspect(request)
        assert len(found.weights) == round(found.part * 3000) < 1100
        assert found.quantized.shape == found.weights.shape
        assert found.metrics.sqnr_db == pytest.approx(whole.metrics.sqnr_db, abs=0.1)
        assert found.metrics.bpw == whole.metrics.bpw
        assert np.array_equal(found.weights, w[found.rows])

    def test_a_preview_has_the_row_that_is_looked_at(self):
        w = gaussian(3000, 1000)
        checkpoint = Held(weight=w)
        request = replace(opened(checkpoint).request(checkpoint.info("weight"), BASE11), row=1234)
        found = session.inspect(request, preview=True)
        place = found.rows.tolist().index(1234)
        exact = BASE11.dequantize(BASE11.quantize(w), rows=slice(1234, 1235))
        assert np.array_equal(BASE11.dequantize(found.quantized, rows=slice(place, place + 1)), exact)

    def test_as_stored(self, packed, w):
        found = session.inspect(opened(packed).request(packed.info("weight"), None), preview=True)
        assert found.quantized is packed.load("weight")
        assert found.weights is None
        assert math.isnan(found.subject.largest_error)
        assert found.subject.span == pytest.approx(np.array([found.scales.values["minimum"].min(), w.max()]), rel=1e-2)

    def test_an_empty_layer(self, plain):
        found = session.inspect(opened(plain).request(plain.info("empty"), BASE11))
        assert found.quantized.shape == (0, 4)
        assert found.usage.used == 0

    def test_errors_name_file_and_tensor(self, plain):
        with pytest.raises(SchemeError, match="model: broken: 4 NaN of 36 weights"):
            session.inspect(opened(plain).request(plain.info("broken"), BASE11))


class TestTotal:
    def test_energies_add_up(self, plain, w):
        reports = list(session.measure_all(opened(plain).layers(Recipe.of(BASE11))))
        total = session.total(reports)
        x = [w.astype(np.float64), plain.load("half").astype(np.float64)]
        e = [BASE11.dequantize(BASE11.quantize(part)) - part for part in x]
        ratio = sum((part**2).sum() for part in x) / sum((part**2).sum() for part in e)
        assert total.sqnr_db == pytest.approx(10 * math.log10(ratio), abs=1e-6)
        assert total.nbytes == BASE11.nbytes((300, 640)) + BASE11.nbytes((64, 128))
        assert total.bpw == 8 * total.nbytes / (300 * 640 + 64 * 128)
        assert total.original_nbytes == 4 * 300 * 640 + 2 * 64 * 128

    def test_nothing_measured(self):
        assert session.total([]).to_json() == {"sqnr_db": None, "bpw": 0, "nbytes": 0, "original_nbytes": 0}

    def test_packed_layers_without_originals(self, packed):
        total = session.total(session.measure_all(opened(packed).layers(Recipe.of(None))))
        assert total.sqnr_db is None
        assert total.nbytes == BASE11.nbytes((300, 640))
        assert total.original_nbytes == 4 * 300 * 640

    def test_no_error_at_all(self):
        checkpoint = Held(weight=np.ones((2, 2), np.float32))
        total = session.total(session.measure_all(opened(checkpoint).layers(Recipe.of(make_scheme("symmetric")))))
        assert total.sqnr_db == math.inf
        assert total.to_json()["sqnr_db"] is None


class TestSession:
    def test_layers(self, plain, packed):
        assert [r.info.name for r in opened(plain).layers(Recipe.of(BASE11))] == ["weight", "half", "broken"]
        assert opened(plain).layers(Recipe.of(None)) == []
        assert [r.info.name for r in opened(packed).layers(Recipe.of(None))] == ["weight"]
        assert [r.info.name for r in opened(packed).layers(Recipe.of(BASE11))] == ["weight"]

    def test_reports_are_kept_by_layer_and_scheme(self, plain):
        current = opened(plain)
        first = current.missing(Recipe.of(BASE11))[0]
        report = session.measure(first)
        current.reports[first.key] = report
        assert first.key not in [request.key for request in current.missing(Recipe.of(BASE11))]
        assert current.reports_under(Recipe.of(BASE11)) == [report]
        assert len(current.missing(Recipe.of(make_scheme("base11")))) == 3

    def test_layers_each_under_their_own_scheme(self, plain, packed):
        int4 = make_scheme("symmetric", bits=4)
        recipe = Recipe((Rule("half", int4), Rule("bias", int4), Rule("broken", None), Rule("*", BASE11)))
        found = {request.info.name: request.scheme for request in opened(plain).layers(recipe)}
        assert found == {"weight": BASE11, "half": int4, "bias": int4}
        assert [r.scheme for r in opened(packed).layers(Recipe((Rule("weight", int4),)))] == [int4]
        assert [r.scheme for r in opened(packed).layers(Recipe((Rule("weight", None),)))] == [None]

    def test_a_total_counts_what_is_left_alone(self, plain):
        current, recipe = opened(plain), Recipe((Rule("weight", BASE11), Rule("*", None)))
        report = report_of(plain, "weight", BASE11)
        current.reports["weight", BASE11] = report
        total = current.total(recipe)
        rest = sum(info.nbytes for info in plain.infos if info.name != "weight")
        assert total.nbytes == BASE11.quantize(plain.load("weight")).nbytes + rest
        assert total.bpw == 8 * total.nbytes / sum(info.size for info in plain.infos)
        assert total.sqnr_db == report.metrics.sqnr_db
        assert current.total(Recipe.of(BASE11)).sqnr_db == report.metrics.sqnr_db  # of what is measured so far

    def test_what_was_open_is_closed(self, plain, packed):
        current = opened(packed, plain)
        other = Held()
        current.open(other)
        assert packed.closed and plain.closed and not other.closed
        assert current.reference is None
        current.close()
        assert other.closed

    def test_another_reference_forgets_figures(self, plain, packed):
        current = opened(packed)
        current.reports[("weight", None)] = report_of(packed, "weight", None)
        current.attach(plain)
        assert current.reports == {}
        current.attach(None)
        assert plain.closed

    def test_nothing_open(self, plain):
        current = session.Session()
        assert current.layers(Recipe.of(BASE11)) == []
        with pytest.raises(FormatError, match="no checkpoint is open"):
            current.request(plain.infos[0], BASE11)


class TestRealFile:
    def test_the_sample(self, digits):
        with qinspect.open_checkpoint(digits) as checkpoint:
            reports = list(session.measure_all(opened(checkpoint).layers(Recipe.of(make_scheme("base11")))))
            assert len(reports) > 2
            for report in reports:
                w = np.array(checkpoint.load(report.info.name))
                assert report.metrics.to_json() == make_scheme("base11").measure(w).to_json()

"""The published demonstrations of the schemes: each recipe's own table, computed anew from its own inputs.

Inputs are drawn as torch draws them after `manual_seed(42)`. KB are 1024 bytes, and SNR is `snr_db_eps`, as published;
where a figure is not what it seems, the true one stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qinspect.quant.metrics import decibels
from qinspect.quant.product import multiply
from qinspect.quant.scheme import Scheme, make_scheme
from qinspect.quant.torch_random import TorchRandom
from qinspect.tables import Column, Table

SEED = 42
KB = 1024


@dataclass(frozen=True)
class Demonstration:
    """What one recipe shows: the `inputs` it draws, its tables, and in one sentence what to learn."""

    name: str
    title: str
    inputs: str
    tables: tuple[Table, ...]
    lesson: str

    @property
    def code(self) -> str:
        """How torch draws the inputs."""
        return f"torch.manual_seed({SEED}); {self.inputs}"

    def to_json(self) -> dict[str, Any]:
        """One entry of `reproduce --json`."""
        tables = [table.to_json() for table in self.tables]
        return {"name": self.name, "title": self.title, "inputs": self.code, "tables": tables, "lesson": self.lesson}


SCHEME = Column("scheme", "scheme")
MAX_ERROR = Column("max_error", "max error", ".4f")
MEAN_ERROR = Column("mean_error", "mean error", ".4f")
SNR = Column("snr_db_eps", "SNR dB", ".2f")
SIZE = Column("size_kb", "KB", ".2f")


def _range(values: np.ndarray) -> tuple[Any, Any]:
    """The least and the greatest, as plain numbers."""
    return values.min().item(), values.max().item()


def _integers(w: np.ndarray, *schemes: Scheme) -> Table:
    """A row a scheme that has one scale for all of `w`."""
    columns = (
        SCHEME,
        Column("weights", "weights", ".2f"),
        Column("scale", "scale", ".6f"),
        Column("zero_point", "zero", "d"),
        Column("codes", "codes", "d"),
        MAX_ERROR,
        MEAN_ERROR,
        SNR,
    )
    rows = []
    for scheme in schemes:
        m = scheme.measure(w)
        zero = m.params["zero_point"].item() if "zero_point" in m.params else 0
        codes = _range(np.flatnonzero(m.counts) + scheme.code_range[0])
        errors = m.max_error, m.mean_error, m.snr_db_eps
        rows.append((scheme.label, _range(w), m.params["scale"].item(), zero, codes, *errors))
    return Table("", columns, tuple(rows))


def _symmetric() -> Demonstration:
    w = TorchRandom(SEED).randn(1000) * 10
    table = _integers(w, make_scheme("symmetric", bits=8), make_scheme("symmetric", bits=4))
    (fine, coarse), (snr_8, snr_4) = table.column("scale"), table.column("snr_db_eps")
    return Demonstration(
        "symmetric",
        "Symmetric integers",
        "randn(1000) * 10",
        (table,),
        f"Four bits fewer make the step {coarse / fine:.0f} times as coarse and cost {snr_8 - snr_4:.1f} dB: "
        "a bit is worth about 6 dB.",
    )


def _asymmetric() -> Demonstration:
    w = np.maximum(TorchRandom(SEED).randn(1000) * 5 + 2, 0)
    table = _integers(w, make_scheme("symmetric", bits=8), make_scheme("asymmetric", bits=8))
    symmetric, asymmetric = table.column("snr_db_eps")
    return Demonstration(
        "asymmetric",
        "Asymmetric integers on one-sided values",
        "relu(randn(1000) * 5 + 2)",
        (table,),
        "Values on one side of zero leave half of the symmetric codes unused; a range of their own gives that bit "
        f"back, {asymmetric - symmetric:.1f} dB.",
    )


def _per_channel() -> Demonstration:
    w = TorchRandom(SEED).randn(256, 512)
    w[:64] *= 10
    w[64:128] *= np.float32(0.1)
    columns = (
        SCHEME,
        Column("scales", "scales", ".6f"),
        SIZE,
        MAX_ERROR,
        SNR,
        Column("improvement_db", "improvement dB", ".2f"),
        Column("sqnr_small_rows_db", "SQNR dB, rows 64–127", ".2f"),
    )
    rows: list[tuple[Any, ...]] = []
    for granularity in ("tensor", "channel"):
        scheme = make_scheme("symmetric", bits=8, granularity=granularity)
        q = scheme.quantize(w)
        m = scheme.compare(w, q)
        gained = m.snr_db_eps - rows[0][4] if rows else None
        small = _sqnr_db(w[64:128], scheme.dequantize(q, rows=slice(64, 128)))
        scales = _range(q.params["scale"])
        rows.append((f"per {granularity}", scales, q.nbytes / KB, m.max_error, m.snr_db_eps, gained, small))
    table = Table("8-bit symmetric", columns, tuple(rows))
    (tensor, channel), (lost, kept) = table.column("snr_db_eps"), table.column("sqnr_small_rows_db")
    return Demonstration(
        "per-channel",
        "A scale per channel against one per tensor",
        "w = randn(256, 512); w[:64] *= 10; w[64:128] *= 0.1",
        (table,),
        f"One scale follows the largest rows, which costs {channel - tensor:.1f} dB on the whole and "
        f"{kept - lost:.0f} dB in the smallest rows, where it leaves next to nothing; a scale a row costs 4 bytes.",
    )


def _sqnr_db(w: np.ndarray, decoded: np.ndarray) -> float:
    exact = w.astype(np.float64)
    return decibels(float(np.sum(exact**2)), float(np.sum((exact - decoded) ** 2)))


def _bit_depth() -> Demonstration:
    w = TorchRandom(SEED).randn(10_000) * 5
    columns = (
        Column("bits", "bits", "d"),
        SIZE,
        SNR,
        Column("compression", "compression", ".2f"),
        Column("sqnr_db", "true SQNR dB", ".2f"),
    )
    rows = []
    for bits in (2, 4, 8, 16):
        m = make_scheme("symmetric", bits=bits).measure(w)
        rows.append((bits, m.nbytes / KB, m.snr_db_eps, w.nbytes / m.nbytes, m.sqnr_db))
    return Demonstration(
        "bit-depth",
        "Bit depth",
        "randn(10000) * 5",
        (Table(f"Symmetric with one float32 scale; {w.nbytes / KB:.2f} KB in float32", columns, tuple(rows)),),
        "Size follows the bits, and each adds about 6 dB; two bits are three levels that the largest value alone "
        "places, so that hardly anything is left of the others.",
    )


def _calibration() -> Demonstration:
    random = TorchRandom(SEED)
    w = random.randn(1000) * 2
    outliers = random.randn(10) * 50
    w[random.randint(1000, 10)] = outliers
    columns = (
        Column("calibration", "calibration"),
        Column("clip", "± clip", ".2f"),
        Column("clipped", "values clipped", "d"),
        SNR,
        Column("sqnr_db", "true SQNR dB", ".2f"),
    )
    scheme, magnitude = make_scheme("symmetric", bits=8), np.abs(w)
    rows = []
    for name, clip in (("min–max", magnitude.max()), ("99th percentile", np.quantile(magnitude, 0.99))):
        kept = np.clip(w, -clip, clip).astype(np.float32)
        published, true = scheme.measure(kept).snr_db_eps, scheme.compare(w, scheme.quantize(kept)).sqnr_db
        rows.append((name, float(clip), int(np.count_nonzero(magnitude > clip)), published, true))
    table = Table("8-bit symmetric; SNR, as published, is in range: against what was clipped", columns, tuple(rows))
    (whole, in_range), (minmax, percentile) = table.column("snr_db_eps"), table.column("sqnr_db")
    return Demonstration(
        "calibration",
        "Calibration by percentile",
        "w = randn(1000) * 2; w[randint(0, 1000, (10,))] = randn(10) * 50",
        (table,),
        f"Held against the clipped values, clipping seems to gain {in_range - whole:.0f} dB; held against the weights "
        f"as they are, it loses {minmax - percentile:.0f} dB.",
    )


def _matmul() -> Demonstration:
    random = TorchRandom(SEED)
    a, b = random.randn(64, 128) * 2, random.randn(128, 256) * 3
    scheme = make_scheme("symmetric", bits=8)
    qa, qb = scheme.quantize(a), scheme.quantize(b)
    product, exact = multiply(qa, qb), a @ b
    e = product.errors(exact)
    matrices = (
        Column("matrix", "matrix"),
        Column("float32", "float32", ".2f"),
        Column("scale", "scale", ".6f"),
        Column("integers", "integers", "d"),
        Column("decoded", "decoded", ".2f"),
    )
    rows = [
        (name, _range(w), q.params["scale"].item(), _range(scheme.codes(q)), _range(scheme.dequantize(q)))
        for name, w, q in (("A", a, qa), ("B", b, qb))
    ]
    rows.append(("A·B", _range(exact), product.scale.item(), product.accumulator_range, _range(product.values)))
    result = (
        Column("max_error", "max error", ".3f"),
        MEAN_ERROR,
        Column("mean_relative_error", "mean relative error", ".2%"),
        Column("original_nbytes", "bytes", ",d"),
        Column("nbytes", "quantized", ",d"),
        Column("saved", "saved", ".1%"),
    )
    sizes = product.original_nbytes, product.nbytes, 1 - product.nbytes / product.original_nbytes
    figures = (e.max_error, e.mean_error, e.mean_relative, *sizes)
    return Demonstration(
        "matmul",
        "A product of integers",
        "A = randn(64, 128) * 2; B = randn(128, 256) * 3",
        (
            Table("8-bit symmetric operands; sums in int32, scaled once", matrices, tuple(rows)),
            Table("A·B in float32 against that of the weights; bytes of all three and the scales", result, (figures,)),
        ),
        "The integers are multiplied exactly, so that all error is the rounding of the operands; its energy lies "
        f"{e.sqnr_db:.1f} dB under the result's, and the mean relative error is larger only for results near zero.",
    )


def _sentinel() -> Demonstration:
    random, scheme = TorchRandom(SEED), make_scheme("sentinel", bits=8)
    rows: list[tuple[Any, ...]] = []
    size, nbytes, error, most = 0, 0, 0.0, 0
    for layer, inputs, outputs in (("fc1", 784, 256), ("fc2", 256, 10)):
        for name, shape in (("weight", (outputs, inputs)), ("bias", (outputs,))):
            w = random.uniform(*shape, bound=1 / math.sqrt(inputs))
            m = scheme.measure(w)
            sizes = w.nbytes / KB, m.nbytes / KB, w.nbytes / m.nbytes
            rows.append((f"{layer}.{name}", *sizes, m.mean_error, m.snr_db_eps, m.levels_used))
            size, nbytes, error = size + w.nbytes, nbytes + m.nbytes, error + w.nbytes * m.mean_error
            most = max(most, m.levels_used)
    rows.append(("network", size / KB, nbytes / KB, size / nbytes, error / size, None, most))
    columns = (
        Column("tensor", "tensor"),
        Column("original_kb", "KB float32", ".2f"),
        SIZE,
        Column("ratio", "ratio", ".2f"),
        Column("mean_error", "mean error", ".6f"),
        SNR,
        Column("codes_used", "of 256 codes used", "d"),
    )
    return Demonstration(
        "sentinel",
        "Sentinel on a network of 784-256-10",
        "Sequential(Linear(784, 256), ReLU(), Linear(256, 10))",
        (Table("All parameters as torch begins with them, each with one float32 scale", columns, tuple(rows), True),),
        f"It is {size / nbytes:.2f} times smaller than float32, but of 256 codes at most {most} are ever used: "
        f"{math.ceil(math.log2(most))} bits would hold the same.",
    )


def _base11() -> Demonstration:
    w = TorchRandom(SEED).randn(64, 4096)
    columns = (
        Column("group_size", "group", "d"),
        Column("words", "words a group", "d"),
        Column("bpw", "bpw", ".3f"),
        Column("sqnr_db", "SQNR dB", ".2f"),
        MAX_ERROR,
        MEAN_ERROR,
    )
    found = {g: make_scheme("base11", group_size=g).measure(w) for g in (32, 64, 126, 128, 252, 256, 1152)}
    rows = [(g, -(-g // 9), m.bpw, m.sqnr_db, m.max_error, m.mean_error) for g, m in found.items()]
    return Demonstration(
        "base11",
        "Base-11: eleven levels, nine weights to a word",
        "randn(64, 4096)",
        (Table("Rows of 4096 weights, a ragged last group counted whole", columns, tuple(rows)), _base11_layout(w)),
        f"Groups of 126 fill their 14 words and take {found[126].bpw:.3f} bits a weight, groups of 128 leave seven "
        f"digits of 15 words empty and take {found[128].bpw:.3f}; but a row's last group is paid for, full or not.",
    )


def _base11_layout(w: np.ndarray) -> Table:
    """The words of the first group of 128, as a file holds them."""
    scheme = make_scheme("base11", group_size=128)
    q = scheme.quantize(w[:1])
    minimum, scale = q.params["min_val"][0, 0], q.params["scale"][0, 0]
    columns = (
        Column("word", "word", "d"),
        Column("uint32", "uint32"),
        Column("bytes", "bytes"),
        Column("codes", "codes, least significant digit first"),
    )
    codes, words = scheme.codes(q)[0, :128], np.asarray(q.data)[0, 0].reshape(-1, 4)
    rows = [
        (i, f"{word.view('<u4').item():#010x}", word.tobytes().hex(" "), " ".join(map(str, codes[9 * i : 9 * i + 9])))
        for i, word in enumerate(words)
    ]
    parameters = f"min_val {minimum:.4f} and scale {scale:.4f} in float16".replace("-", "−")
    return Table(f"The first group of 128: {words.nbytes} bytes of codes, {parameters}", columns, tuple(rows))


RECIPES: dict[str, Callable[[], Demonstration]] = {
    "symmetric": _symmetric,
    "asymmetric": _asymmetric,
    "per-channel": _per_channel,
    "bit-depth": _bit_depth,
    "calibration": _calibration,
    "matmul": _matmul,
    "sentinel": _sentinel,
    "base11": _base11,
}
"""What computes each demonstration, under the name that the command line knows it by."""

"""How far decoded weights are from the original ones, and how well the codes are used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

SUMS = ("ww", "dd", "wd", "ee", "abs_e", "inside_ww", "inside_ee", "ee_steps", "clipped", "max_e")
"""What `error_kernels.error_sums` fills: `w` weights, `d` decoded, `e` their difference; all are sums but `max_e`."""

ERRORS = (
    "sqnr_db", "sqnr_in_range_db", "rmse", "mse", "rmse_per_step", "snr_db_eps", "cosine", "max_error", "mean_error",
    "clipped", "signal", "noise",
)  # fmt: skip
"""The fields of `Metrics` that need the original weights."""


@dataclass(frozen=True, eq=False)
class Metrics:
    """Error figures of one tensor under one scheme. Decibels are 10·log10 of energy ratios; `inf` where the error is 0.

    `sqnr_in_range_db` and nothing else compares with the weights clipped to what the codes can express. `mean_error`
    is the mean of |e|. `rmse_per_step` is √mean((e/step)²): 0.289 for uniform rounding, NaN where levels are uneven.
    `clipped` is a fraction. `bpw` and `nbytes` count every stored byte. Without a reference, errors are NaN and `exact`
    is None. `signal` and `noise` are the sums Σw² and Σe²; `counts` holds one count a code; `params` what was fitted.
    """

    sqnr_db: float
    sqnr_in_range_db: float
    rmse: float
    mse: float
    rmse_per_step: float
    snr_db_eps: float
    cosine: float
    max_error: float
    mean_error: float
    exact: bool | None
    bpw: float
    nbytes: int
    levels: int
    levels_used: int
    entropy_bits: float
    clipped: float
    signal: float = field(repr=False)
    noise: float = field(repr=False)
    counts: np.ndarray = field(repr=False)
    params: Mapping[str, np.ndarray] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values: what is infinite or undefined is null."""
        hidden = ("counts", "params", "signal", "noise")
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in hidden}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def decibels(signal: float, noise: float) -> float:
    """10·log10(signal/noise): `inf` for no noise, `-inf` for noise without signal."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 and signal / noise > 0 else -math.inf


def entropy_bits(counts: np.ndarray) -> float:
    """Shannon entropy of the distribution `counts`, in bits a code."""
    used = counts[counts > 0]
    p = used / used.sum() if used.size else used
    return float(-(p * np.log2(p)).sum()) + 0.0


def combine(parts: list[np.ndarray]) -> np.ndarray:
    """The `SUMS` of a whole from those of its parts, added in order."""
    total = np.zeros(len(SUMS))
    for part in parts:
        total[:-1] += part[:-1]
        total[-1] = max(total[-1], part[-1])
    return total


def from_sums(
    sums: np.ndarray, counts: np.ndarray, size: int, nbytes: int, params: Mapping[str, np.ndarray]
) -> Metrics:
    """Metrics of `size` weights stored in `nbytes`, from combined `SUMS` and code counts."""
    s = dict(zip(SUMS, sums.tolist(), strict=True))
    n = max(size, 1)
    mse = s["ee"] / n
    norms = math.sqrt(s["ww"]) * math.sqrt(s["dd"])
    return Metrics(
        sqnr_db=decibels(s["ww"], s["ee"]),
        sqnr_in_range_db=decibels(s["inside_ww"], max(0.0, s["inside_ee"])),
        rmse=math.sqrt(mse),
        mse=mse,
        rmse_per_step=math.sqrt(s["ee_steps"] / n),
        snr_db_eps=decibels(s["ww"] / n, mse + 1e-10),
        cosine=s["wd"] / norms if norms else float(s["ww"] == s["dd"]),
        max_error=s["max_e"],
        mean_error=s["abs_e"] / n,
        exact=s["ee"] == 0,
        bpw=8 * nbytes / n if size else 0.0,
        nbytes=nbytes,
        levels=counts.size,
        levels_used=int(np.count_nonzero(counts)),
        entropy_bits=entropy_bits(counts),
        clipped=s["clipped"] / n,
        signal=s["ww"],
        noise=s["ee"],
        counts=counts,
        params=params,
    )


def without_reference(counts: np.ndarray, size: int, nbytes: int, params: Mapping[str, np.ndarray]) -> Metrics:
    """Metrics of a packed tensor whose original weights are not at hand: what does not need them."""
    known = from_sums(np.zeros(len(SUMS)), counts, size, nbytes, params)
    errors: dict[str, Any] = dict.fromkeys(ERRORS, math.nan)
    return replace(known, exact=None, **errors)

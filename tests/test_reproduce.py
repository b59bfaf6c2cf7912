"""The published demonstrations print the published figures, to the last printed digit."""

import json
import math

import pytest
import torch
from commandline import run

from qinspect.reproduce import RECIPES

NAMES = ["symmetric", "asymmetric", "per-channel", "bit-depth", "calibration", "matmul", "sentinel", "base11"]


def reproduce(*arguments):
    done = run("reproduce", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def printed(name, *keys, table=0):
    """The text of some columns of a demonstration, row by row."""
    found = RECIPES[name]().tables[table]
    at = [[column.key for column in found.columns].index(key) for key in keys]
    return [tuple(row[i] for i in at) for row in found.cells()]


def test_symmetric():
    assert printed("symmetric", "scale", "zero_point", "codes", "snr_db_eps") == [
        ("0.244221", "0", "−127 … 124", "43.07"),
        ("4.430866", "0", "−7 … 7", "18.23"),
    ]
    assert printed("symmetric", "max_error", "mean_error")[0] == ("0.1221", "0.0612")


def test_asymmetric():
    (_, symmetric), (scale, asymmetric) = printed("asymmetric", "scale", "snr_db_eps")
    assert (symmetric, scale, asymmetric) == ("43.61", "0.067158", "49.76")
    assert printed("asymmetric", "zero_point")[1] == ("0",)


def test_per_channel():
    assert printed("per-channel", "snr_db_eps") == [("34.03",), ("42.62",)]
    assert printed("per-channel", "scales")[1] == ("0.002055 … 0.361456",)
    assert float(printed("per-channel", "improvement_db")[1][0]) == pytest.approx(42.62 - 34.03, abs=0.011)


def test_bit_depth():
    assert printed("bit-depth", "bits", "size_kb", "snr_db_eps") == [
        ("2", "2.45", "0.46"),
        ("4", "4.89", "15.20"),
        ("8", "9.77", "40.35"),
        ("16", "19.54", "88.61"),
    ]
    assert printed("bit-depth", "sqnr_db")[3] == ("88.62",)
    for bits, compression in RECIPES["bit-depth"]().tables[0].rows[0][0:4:3], (8, 40_000 / 10_004):
        assert compression == pytest.approx(40_000 / (10_000 * bits / 8 + 4))


def test_calibration():
    rows = RECIPES["calibration"]().tables[0].rows
    assert [f"{row[3]:.1f}" for row in rows] == ["26.8", "43.7"]
    assert f"{rows[1][4]:.2f}" == "0.85"
    torch.manual_seed(42)
    w = torch.randn(1000) * 2
    w[torch.randint(0, 1000, (10,))] = torch.randn(10) * 50
    assert rows[0][1] == w.abs().max().item()
    assert rows[1][1] == pytest.approx(torch.quantile(w.abs(), 0.99).item(), rel=1e-6)
    assert [row[2] for row in rows] == [0, 10]


def test_matmul():
    assert printed("matmul", "max_error", "mean_error", "mean_relative_error", table=1) == [
        ("3.584", "0.7345", "7.98%")
    ]
    assert printed("matmul", "original_nbytes", "nbytes", "saved", table=1) == [("229,376", "106,504", "53.6%")]
    torch.manual_seed(42)
    exact = (torch.randn(64, 128) * 2) @ (torch.randn(128, 256) * 3)
    assert printed("matmul", "float32")[2] == (f"{exact.min():.2f} … {exact.max():.2f}".replace("-", "−"),)


def sentinel(w):
    """The recipe's formula in torch: codes, and what they decode to."""
    c1 = -0.007994021805953
    scale = max(w.abs().max().item() / math.e, 1e-8)
    codes = torch.round((w.double() - c1) / scale).clamp(-128, 127)
    return codes, codes * scale + c1


def test_sentinel():
    torch.manual_seed(42)
    network = torch.nn.Sequential(torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    *tensors, whole = RECIPES["sentinel"]().tables[0].rows
    error = 0.0
    for row, w in zip(tensors, network.parameters(), strict=True):
        codes, decoded = sentinel(w.detach())
        assert row[1:4] == (4 * w.numel() / 1024, (w.numel() + 4) / 1024, 4 * w.numel() / (w.numel() + 4))
        assert row[4] == pytest.approx((decoded - w).abs().mean().item(), rel=1e-5)
        assert row[6] == len(codes.unique())
        error += (decoded - w).abs().sum().item()
    size = 784 * 256 + 256 + 256 * 10 + 10
    assert whole[1:4] == (4 * size / 1024, (size + 16) / 1024, 4 * size / (size + 16))
    assert whole[4] == pytest.approx(error / size, rel=1e-5)


def test_base11_takes_the_published_bits():
    """On rows of 4096, where 126, 252 and 1152 end in a group that is not full."""
    assert printed("base11", "group_size", "bpw") == [
        ("32", "5.000"), ("64", "4.500"), ("126", "3.867"), ("128", "4.000"),
        ("252", "3.852"), ("256", "3.750"), ("1152", "4.031"),
    ]  # fmt: skip


def test_base11_words_are_what_their_digits_make():
    rows = RECIPES["base11"]().tables[1].rows
    assert [row[0] for row in rows] == list(range(15))
    torch.manual_seed(42)
    group = torch.randn(64, 4096)[0, :128]
    low = group.min().half().float()
    scale = (group.max().half().float() - low).half().float()
    codes = torch.round((group - low) / scale * 10).int().tolist()
    for word, text, stored, digits in rows:
        assert digits == " ".join(map(str, codes[9 * word : 9 * word + 9]))
        value = sum(int(digit) * 11**i for i, digit in enumerate(digits.split()))
        assert int(text, 16) == value
        assert bytes.fromhex(stored) == value.to_bytes(4, "little")


def test_the_command_prints_all():
    out = reproduce()
    at = [out.index(RECIPES[name]().title) for name in NAMES]
    assert at == sorted(at)
    assert "−31.02 … 30.25  0.244221" in out
    assert "→ Four bits fewer" in out


@pytest.mark.parametrize("name", NAMES)
def test_one_by_one(name):
    one = json.loads(reproduce(name, "--json"))["demonstrations"]
    assert [list(entry) for entry in one] == [["name", "title", "inputs", "tables", "lesson"]]
    assert one[0]["name"] == name
    assert one[0]["inputs"].startswith("torch.manual_seed(42); ")
    assert one[0]["lesson"].endswith(".")
    for table in one[0]["tables"]:
        assert set(table) == {"caption", "rows"}
        assert all(row.keys() == table["rows"][0].keys() for row in table["rows"])


def test_json_holds_numbers():
    (entry,) = json.loads(reproduce("symmetric", "--json"))["demonstrations"]
    row = entry["tables"][0]["rows"][0]
    assert row["scheme"] == "symmetric 8-bit"
    assert row["scale"] == pytest.approx(0.244221, abs=5e-7)
    assert row["codes"] == [-127, 124]
    assert list(row) == [
        "scheme", "weights", "scale", "zero_point", "codes", "max_error", "mean_error", "snr_db_eps"
    ]  # fmt: skip


def test_an_unknown_recipe_is_wrong_usage():
    done = run("reproduce", "base12")
    assert done.returncode == 2
    assert "base11" in done.stderr

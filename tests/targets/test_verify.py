"""Verification finds every kind of difference, and nothing where there is none."""

import math
import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from qinspect.errors import SchemeError
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import make_scheme
from qinspect.quant.scheme import registry as schemes
from qinspect.recipe import Recipe
from qinspect.targets.target import registry
from qinspect.targets.verify import verify
from qinspect.task import Cancelled, Token

SCHEMES = [
    make_scheme("base11", group_size=100),
    make_scheme("asymmetric", bits=5, granularity="group", group_size=64, param_dtype="bfloat16"),
    make_scheme("sentinel"),
]
EVERY = [
    *SCHEMES,
    *(cls() for cls in schemes if cls.name != "sentinel"),
    make_scheme("symmetric", bits=3, granularity="channel", axis=1, param_dtype="float16", calibration="mse"),
    make_scheme("symmetric_n", levels=7, granularity="group", group_size=50, calibration="percentile"),
    make_scheme("asymmetric", bits=4, granularity="group", offset="minimum", calibration="mse_ends"),
    make_scheme("normal_float", levels=11, calibration="mse"),
    make_scheme("learned", levels=5, granularity="group", group_size=64),
    make_scheme("ternary", granularity="group", group_size=64, param_dtype="bfloat16", calibration="mse"),
]


def export(source, out, scheme, target="safetensors"):
    with open_checkpoint(source) as checkpoint:
        made = registry[target]()
        made.write(checkpoint, made.plan(checkpoint, Recipe.of(scheme)), out)
    return out


def mismatches(packed, against):
    with open_checkpoint(packed) as a, open_checkpoint(against) as b:
        return {mismatch.name: mismatch.text for mismatch in verify(a, b).mismatches}


def edited(path, out, change, *, keep_sums=False):
    """A copy whose arrays `change` has edited, written by the reference library."""
    with safe_open(path, "pt") as opened:
        metadata = opened.metadata()
    arrays = {name: array.clone() for name, array in load_file(path).items()}
    change(arrays)
    if not keep_sums:
        metadata.pop("qinspect.crc32", None)
    save_file(arrays, out, metadata=metadata)
    return out


@pytest.mark.parametrize("scheme", EVERY, ids=lambda scheme: scheme.label)
def test_an_export_matches_its_source(source, tmp_path, scheme):
    assert mismatches(export(source, tmp_path / "packed", scheme), source) == {}


def test_a_packed_pt_matches_and_so_does_a_second_export(source, tmp_path):
    first = export(source, tmp_path / "first.pt", SCHEMES[0], "pt")
    second = export(first, tmp_path / "second", SCHEMES[0])
    assert mismatches(first, source) == mismatches(second, source) == mismatches(second, first) == {}


@pytest.mark.parametrize("golden", [9, 32, 64, 126, 128, 256], indirect=True)
def test_the_golden_layer_matches_also_where_a_tie_went_the_other_way(golden, tmp_path):
    """The vectors of group 64 hold such a tie. Nothing but the arrays is in this file."""
    weight = torch.from_numpy(golden["weight"])
    torch.save({"fc.weight": weight}, tmp_path / "plain.pt")
    packed = {f"fc.{name}": torch.from_numpy(golden[name]) for name in ("quant_packed", "min_val", "scale")}
    torch.save(packed, tmp_path / "packed.pt")
    with (
        open_checkpoint(tmp_path / "packed.pt", int(golden["group_size"])) as a,
        open_checkpoint(tmp_path / "plain.pt") as b,
    ):
        assert verify(a, b).mismatches == ()


@pytest.mark.parametrize("scheme", EVERY, ids=lambda scheme: scheme.label)
def test_one_changed_code_is_found(source, tmp_path, scheme):
    def change(arrays):
        name = "fc1.quant_packed" if "fc1.quant_packed" in arrays else "fc1.codes"
        arrays[name].view(-1)[0] ^= 1

    packed = export(source, tmp_path / "packed", scheme)
    found = mismatches(edited(packed, tmp_path / "edited", change), source)
    assert set(found) == {"fc1.weight"}
    assert re.fullmatch("[12] of 3600 codes differ", found["fc1.weight"])  # the next digit where there is a carry


@pytest.mark.parametrize("scheme", EVERY, ids=lambda scheme: scheme.label)
def test_each_changed_parameter_is_found(source, tmp_path, scheme):
    packed = export(source, tmp_path / "packed", scheme)
    for param in scheme.param_names:

        def change(arrays, param=param):
            values = arrays[f"fc1.{param}"].view(-1)
            values[-1] = values[-1] * 1.25 if values.dtype.is_floating_point else values[-1] ^ 1

        found = mismatches(edited(packed, tmp_path / "edited", change), source)
        size = math.prod(scheme.stored((12, 300))[param][1])
        assert found == {"fc1.weight": f"1 of {size} values of {param} differ"}


def test_changed_parameters_are_found(source, tmp_path):
    def change(arrays):
        arrays["fc1.scale"][2, 1] *= 1.25
        arrays["table.min_val"][:3] += 1

    packed = export(source, tmp_path / "packed", SCHEMES[0])
    found = mismatches(edited(packed, tmp_path / "edited", change), source)
    assert found == {"fc1.weight": "1 of 36 values of scale differ", "table": "3 of 20 values of min_val differ"}


def test_tensors_that_are_not_packed_are_compared_bit_by_bit(source, tmp_path):
    def change(arrays):
        arrays["fc1.bias"][3] = -arrays["fc1.bias"][3]
        arrays["norm.weight"] = arrays["norm.weight"].float()
        arrays["half.ids"] = arrays["half.ids"][:4]
        arrays["extra"] = torch.ones(1)
        del arrays["steps"]

    packed = export(source, tmp_path / "packed", SCHEMES[0])
    assert mismatches(edited(packed, tmp_path / "edited", change), source) == {
        "fc1.bias": "holds other bytes than the original",
        "norm.weight": "is float32 [9], the original float16 [9]",
        "half.ids": "has shape [4], the original [5]",
        "extra": "is not among the originals",
        "steps": "is not in the packed file",
    }


def test_changed_originals_are_found(source, tensors, tmp_path):
    changed = {**tensors, "conv.weight": tensors["conv.weight"] * 1.5, "table": tensors["table"].T.contiguous()}
    save_file(changed, tmp_path / "changed")
    found = mismatches(export(source, tmp_path / "packed", SCHEMES[0]), tmp_path / "changed")
    assert set(found) == {"conv.weight", "table"}
    assert found["table"] == "has shape [20, 33], the original [33, 20]"


@pytest.mark.parametrize("target", ["safetensors", "pt"])
def test_a_flipped_bit_contradicts_the_stored_sum(source, tmp_path, target):
    packed = export(source, tmp_path / "packed", SCHEMES[0], target)
    with open_checkpoint(packed) as checkpoint:
        bias = np.asarray(checkpoint.load("fc1.bias")).tobytes()
    data = packed.read_bytes()
    at = data.index(bias)
    packed.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    found = mismatches(packed, source)
    assert found["fc1.bias"] == "holds other bytes than the original"
    assert sum("CRC-32" in text for text in found.values()) <= 1
    with open_checkpoint(packed) as a, open_checkpoint(source) as b:
        assert any("CRC-32" in mismatch.text for mismatch in verify(a, b).mismatches)


def test_a_changed_pickle_contradicts_the_stored_sum(source, tmp_path):
    packed = export(source, tmp_path / "packed", SCHEMES[0], "pt")
    packed.write_bytes(packed.read_bytes().replace(b"\3\0\0\0F32", b"\3\0\0\0F64", 1))
    (text,) = mismatches(packed, source).values()
    assert "CRC-32" in text


def test_an_impossible_word_is_a_mismatch(source, tmp_path):
    def change(arrays):
        arrays["fc1.quant_packed"][0, 0, :4] = 255

    packed = export(source, tmp_path / "packed", SCHEMES[0])
    assert "corrupt" in mismatches(edited(packed, tmp_path / "edited", change), source)["fc1.weight"]


def test_an_original_that_cannot_be_quantized_is_named(source, tensors, tmp_path):
    save_file({**tensors, "table": tensors["table"] * float("nan")}, tmp_path / "bad")
    packed = export(source, tmp_path / "packed", SCHEMES[0])
    with pytest.raises(SchemeError, match=r"bad: table: .*NaN"):
        mismatches(packed, tmp_path / "bad")


def test_a_negative_zero_is_no_difference(tmp_path):
    save_file({"a.weight": torch.tensor([[0.0, 1.0, 0.5]])}, tmp_path / "in")

    def change(arrays):
        arrays["a.min_val"][0, 0] = -0.0

    packed = export(tmp_path / "in", tmp_path / "packed", SCHEMES[0])
    assert mismatches(edited(packed, tmp_path / "edited", change), tmp_path / "in") == {}


def test_it_can_be_stopped(source, tmp_path):
    packed = export(source, tmp_path / "packed", SCHEMES[0])
    token = Token(lambda fraction: token.cancel() if fraction > 0.5 else None)
    with open_checkpoint(packed) as a, open_checkpoint(source) as b, pytest.raises(Cancelled):
        verify(a, b, token)

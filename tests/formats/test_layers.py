"""Packed layers of other programs against what those decode them to, on files that they wrote (tests/fixtures)."""

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qinspect.errors import FormatError, QInspectError
from qinspect.formats.layer import registry
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import QTensor
from qinspect.session import Request, measure
from qinspect.targets.unpack import unpack

DATA = Path(__file__).parents[1] / "data" / "packed"
FIXTURES = sorted(folder.name for folder in DATA.iterdir())
ROUNDED = {"bnb_int8": 1.2e-7}
"""Where weights are rounded in another order than the program does: the last bit of float32."""


def expected(name):
    with np.load(DATA / name / "expected.npz") as arrays:
        return dict(arrays)


def stored(name):
    """The stored arrays, and the text of the metadata."""
    path = DATA / name / "model.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    return safetensors.torch.load_file(path), metadata


def decoded(held):
    return held.scheme.dequantize(held) if isinstance(held, QTensor) else held


@pytest.mark.parametrize("name", FIXTURES)
class TestFixtures:
    @pytest.fixture
    def checkpoint(self, name):
        with open_checkpoint(DATA / name) as opened:
            yield opened

    def test_every_layer_is_found_and_decodes_to_the_same_weights(self, name, checkpoint):
        weights = expected(name)
        packed = {info.name: info for info in checkpoint.infos if info.qtype}
        assert set(packed) == set(weights)
        for layer, known in weights.items():
            held = checkpoint.load(layer)
            assert packed[layer].shape == held.shape == known.shape
            found = held.scheme.dequantize(held)
            if name in ROUNDED:
                np.testing.assert_allclose(found, known, rtol=ROUNDED[name], atol=0)
            else:
                np.testing.assert_array_equal(found, known, err_msg=layer)

    def test_any_rows(self, name, checkpoint):
        for layer in expected(name):
            whole = decoded(checkpoint.load(layer))
            held = checkpoint.lazy(layer)
            for rows in (slice(0, 1), slice(1, 4), slice(3, None), slice(2, 2)):
                np.testing.assert_array_equal(decoded(checkpoint.load(layer, rows)), whole[rows], err_msg=layer)
                np.testing.assert_array_equal(held.scheme.dequantize(held, rows=rows), whole[rows], err_msg=layer)

    def test_every_stored_byte_belongs_to_a_tensor(self, name, checkpoint):
        arrays, _ = stored(name)
        assert sum(info.nbytes for info in checkpoint.infos) == sum(array.nbytes for array in arrays.values())
        for layer in expected(name):
            held = checkpoint.load(layer)
            assert held.nbytes == checkpoint.info(layer).nbytes

    def test_codes_name_levels(self, name, checkpoint):
        for layer in expected(name):
            held = checkpoint.load(layer)
            weights = held.scheme.dequantize(held).reshape(held.scheme.layout(held.shape).rows, -1)
            codes = held.scheme.codes(held).reshape(weights.shape).astype(np.int64) - held.scheme.code_range[0]
            layout = held.scheme.layout(held.shape)
            for row, col in ((0, 0), (len(weights) - 1, weights.shape[1] - 1), (len(weights) // 2, 3)):
                number = (layout.runs_per_row * row + col // layout.run) % layout.sets
                assert held.scheme.level_values(held, number)[codes[row, col]] == weights[row, col]

    def test_it_is_measured_and_unpacked(self, name, checkpoint, tmp_path):
        for info in checkpoint.infos:
            if info.qtype:
                report = measure(Request(checkpoint, info, None))
                assert report.error is None
                assert report.metrics.nbytes == info.nbytes
        out = tmp_path / "unpacked.safetensors"
        unpack(checkpoint, out)
        with open_checkpoint(out) as again:
            assert [info.name for info in again.infos if info.qtype] == []
            for info in checkpoint.infos:
                assert again.info(info.name).shape == info.shape
                assert again.info(info.name).dtype == info.dtype


def test_a_layer_that_is_looked_at_is_read_once(tmp_path):
    shutil.copytree(DATA / "awq", tmp_path, dirs_exist_ok=True)
    with open_checkpoint(tmp_path) as checkpoint:
        first, second = [info.name for info in checkpoint.infos if info.qtype][:2]
        held = checkpoint.recent(first)
        assert checkpoint.recent(first) is held
        assert checkpoint.recent(second) is not held
        assert checkpoint.recent(first) is not held
        path = tmp_path / "model.safetensors"
        path.write_bytes(path.read_bytes() + b"x")
        with pytest.raises(FormatError, match="has changed on disk; open it again"):
            checkpoint.recent(first)


def test_every_format_has_a_fixture():
    titles = set()
    for name in FIXTURES:
        with open_checkpoint(DATA / name) as checkpoint:
            titles |= {info.metadata["format"] for info in checkpoint.infos if info.qtype}
    assert {kind.title for kind in registry} == titles


def test_the_documentation_names_every_format():
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    for kind in registry:
        assert kind.title in page or kind.name == "scaled"


def test_scales_that_are_powers_of_two(tmp_path):
    """MXFP8: E4M3 codes, and bytes that are exponents plus 127 for 32 weights."""
    rng = np.random.default_rng(1)
    codes = torch.from_numpy(rng.standard_normal((4, 64)).astype(np.float32)).to(torch.float8_e4m3fn)
    scales = torch.from_numpy(rng.integers(120, 130, (4, 2), np.uint8))
    safetensors.torch.save_file({"w": codes, "w_scale": scales}, tmp_path / "model.safetensors")
    known = codes.float().numpy() * np.repeat(2.0 ** (scales.numpy().astype(np.float32) - 127), 32, axis=1)
    with open_checkpoint(tmp_path) as checkpoint:
        np.testing.assert_array_equal(decoded(checkpoint.load("w")), known)


def test_scales_of_scales(tmp_path):
    """NVFP4 of ModelOpt: E2M1 codes two to a byte, E4M3 scales for 16 weights, times one for all."""
    rng = np.random.default_rng(2)
    codes = torch.from_numpy(rng.integers(0, 256, (4, 32), np.uint8))
    scales = torch.from_numpy(rng.random((4, 4)).astype(np.float32)).to(torch.float8_e4m3fn)
    whole = torch.tensor(0.37)
    arrays = {"fc.weight": codes, "fc.weight_scale": scales, "fc.weight_scale_2": whole}
    safetensors.torch.save_file(arrays, tmp_path / "model.safetensors")
    levels = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    patterns = np.stack([codes.numpy() & 15, codes.numpy() >> 4], axis=-1).reshape(4, 64)
    values = np.where(patterns > 7, -levels[patterns & 7], levels[patterns & 7])
    known = values * np.repeat(scales.float().numpy() * whole.numpy(), 16, axis=1)
    with open_checkpoint(tmp_path) as checkpoint:
        np.testing.assert_array_equal(decoded(checkpoint.load("fc.weight")), known)


# What is not as it should be.


def rewritten(folder, name, change=lambda arrays: None, config=None):
    """A copy of a fixture with its arrays changed, and another configuration (None: without one)."""
    arrays, metadata = stored(name)
    change(arrays)
    safetensors.torch.save_file({k: v.contiguous() for k, v in arrays.items()}, folder / "model.safetensors", metadata)
    (folder / "config.json").unlink(missing_ok=True)
    if config is not None:
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder / "model.safetensors"


def config_of(name):
    return json.loads((DATA / name / "config.json").read_text())


def read_everything(path):
    """Load every tensor; what could not be read, in errors of ours. Little memory is taken."""
    said = []
    tracemalloc.start()
    try:
        with open_checkpoint(path) as checkpoint:
            for info in checkpoint.infos:
                try:
                    for rows in (None, slice(0, 2)):
                        held = checkpoint.load(info.name, rows if len(info.shape) > 1 else None)
                        if isinstance(held, QTensor):
                            assert held.scheme.dequantize(held).shape == held.shape
                            assert held.scheme.count(held).sum() == held.scheme.dequantize(held).size
                except QInspectError as error:
                    said.append(str(error))
    except QInspectError as error:
        said.append(str(error))
    finally:
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
        tracemalloc.stop()
    return said


def assert_told(said, folder):
    """Errors name the file; what a layer decodes to is known when its file is out of sight."""
    for text in said:
        assert text.startswith(str(folder)) or "the file is corrupt" in text
        assert text.isprintable()


WITHOUT = [name for name in FIXTURES if name not in ("ct_packed_older", "gptq_planar", "mlx", "gptq_v2", "fp8_tiles")]
"""Fixtures that tell by their arrays alone what they are."""


@pytest.mark.parametrize("name", WITHOUT)
def test_layers_are_found_without_a_configuration(tmp_path, name):
    with open_checkpoint(rewritten(tmp_path, name)) as checkpoint:
        for layer, known in expected(name).items():
            np.testing.assert_allclose(decoded(checkpoint.load(layer)), known, rtol=1.2e-7, atol=0)


def raw(array):
    return array.reshape(-1).view(torch.uint8)


DAMAGE = {
    "missing": None,
    "one row less": lambda array: array[:-1] if array.ndim else array.reshape(1)[:0],
    "one column less": lambda array: array[..., :-1] if array.ndim else array.repeat(2),
    "transposed": lambda array: array.transpose(0, -1) if array.ndim > 1 else array.reshape(1, -1),
    "flat": lambda array: array.reshape(-1),
    "empty": lambda array: array.reshape(-1)[:0],
    "wider": lambda array: array.to(torch.int64) if array.ndim else array.reshape(1, 1),
    "of floats": lambda array: array.to(torch.float64),
    "bytes": raw,
    "all bits set": lambda array: torch.full_like(raw(array), 255).view(array.dtype).reshape(array.shape),
}


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_arrays_end_in_our_own_errors(tmp_path, name, damage):
    layer = next(iter(expected(name))).removesuffix("weight")
    ours = [part for part in stored(name)[0] if part.startswith(layer)]
    for part in ours:

        def change(arrays, part=part):
            for other in arrays.keys() - set(ours):
                del arrays[other]
            whole = arrays.pop(part)
            if DAMAGE[damage] is not None:
                arrays[part] = DAMAGE[damage](whole).clone()

        said = read_everything(rewritten(tmp_path, name, change, config_of(name)))
        assert_told(said, tmp_path)


CONTRADICTIONS = {
    "gptq_v1": ("q_proj.qzeros", lambda a: a[:-1], "its qzeros .* are not those of 3 groups of 24 outputs"),
    "gptq_v2": ("v_proj.g_idx", lambda a: a * 9, "does not name groups|do not name groups"),
    "awq": ("q_proj.scales", lambda a: a[:, :-8], "do not go with its codes"),
    "ct_packed": ("int4_sym.weight_packed", lambda a: a[:, :-1], "its 11 words a row do not hold 96 codes"),
    "ct_scaled": ("int8_channel.weight_scale", lambda a: a[:5], "its scales .* do not go with weights"),
    "ct_floats": ("nvfp4.weight_global_scale", lambda a: a.repeat(2), "weight_global_scale is not one number"),
    "fp8_tiles": ("q_proj.weight_scale_inv", lambda a: a.repeat(2, 1)[:5], "its scales .* do not go with weights"),
    "bnb_4bit": ("nf4.weight.absmax", lambda a: a[:-1], "it has 47 scales for 48 blocks of 64"),
    "bnb_int8": ("fc.SCB", lambda a: a[:-1], r"SCB has shape \[11\], where \[12\] belongs"),
    "mlx": ("model.layers.4.g64.biases", lambda a: a[:, :-1], r"biases has shape \[6, 3\], where \[6, 4\] belongs"),
    "mxfp4": ("down_proj_scales", lambda a: a[:, :, :-1], r"where \[3, 5, 4\] belongs"),
    "hqq": ("bits_4_axis_1.shape", lambda a: a * 2, "W_q .* does not hold 4-bit codes"),
    "torchao": ("int8._weight_scale", lambda a: a[:-1], "scale has 15 entries; there are 16 blocks"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_name_the_layer_and_what_was_expected(tmp_path, name):
    part, change, text = CONTRADICTIONS[name]

    def changed(arrays):
        (found,) = [array for array in arrays if array.endswith(part)]
        arrays[found] = change(arrays[found])

    path = rewritten(tmp_path, name, changed, config_of(name))
    with pytest.raises(FormatError, match=text) as caught:
        open_checkpoint(path)
    layer = part.rpartition(".")[0] or part.removesuffix("_scales")
    assert str(caught.value).startswith(f"{path}: ")
    assert layer.removesuffix(".weight") in str(caught.value).removeprefix(f"{path}: ").partition(": ")[0]


@pytest.mark.parametrize(
    ("name", "said", "text"),
    [
        ("gptq_v1", {"checkpoint_format": "marlin"}, "the layout marlin is not decoded here"),
        ("gptq_v1", {"is_marlin_format": True}, "the layout marlin is not decoded here"),
        ("awq", {"version": "gemv"}, "the layout gemv of I32 words is not decoded here"),
        ("mlx", {"model.mxfp4": {"mode": "new"}}, "the mode new is not decoded here"),
    ],
)
def test_what_is_not_decoded_is_called_by_its_name_and_shown_as_stored(tmp_path, name, said, text):
    config = config_of(name)
    key = "quantization" if name == "mlx" else "quantization_config"
    config[key] |= said
    with open_checkpoint(rewritten(tmp_path, name, config=config)) as checkpoint:
        assert any(text in note for note in checkpoint.notes)
        assert any(info.name.endswith(("qweight", "mxfp4.weight")) for info in checkpoint.infos)


def test_an_unknown_way_of_quantizing_is_called_by_its_name(tmp_path):
    safetensors.torch.save_file({"w": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "aqlm"}}))
    with open_checkpoint(tmp_path) as checkpoint:
        assert "quantized with aqlm" in checkpoint.notes[0]


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"quantization_config": 5}', "\x00", '{"a": 1e999}'])
def test_a_damaged_configuration_is_none(tmp_path, text):
    with open_checkpoint(rewritten(tmp_path, "awq", config=text)) as checkpoint:
        assert sum(info.qtype is not None for info in checkpoint.infos) == 2


def test_shards_of_a_model(tmp_path):
    """Arrays of a layer may lie in several files."""
    arrays, _ = stored("gptq_v1")
    places = {}
    for number, (name, array) in enumerate(arrays.items()):
        file = f"model-{number % 3}.safetensors"
        places[name] = file
        both = {name: array}
        if (tmp_path / file).exists():
            both |= safetensors.torch.load_file(tmp_path / file)
        safetensors.torch.save_file(both, tmp_path / file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    shutil.copy(DATA / "gptq_v1" / "config.json", tmp_path)
    with open_checkpoint(tmp_path) as checkpoint:
        for layer, known in expected("gptq_v1").items():
            np.testing.assert_array_equal(decoded(checkpoint.load(layer)), known)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def changes(draw, name):
    """Some arrays left out, cut, turned, of another type, or with other content; a configuration that says anything."""
    arrays, _ = stored(name)
    for part in draw(st.lists(st.sampled_from(sorted(arrays)), min_size=1, max_size=3, unique=True)):
        array = arrays[part]
        match draw(st.integers(0, 5)):
            case 0:
                del arrays[part]
            case 1:
                arrays[part] = array[: draw(st.integers(0, len(array)))] if array.ndim else array.reshape(1)
            case 2:
                arrays[part] = array.reshape(-1).view(torch.uint8) if array.element_size() else array
            case 3:
                arrays[part] = array.transpose(0, -1).contiguous() if array.ndim > 1 else array.reshape(-1, 1)
            case 4:
                kind = draw(st.sampled_from([torch.uint8, torch.int32, torch.int64, torch.float16, torch.float64]))
                arrays[part] = array.to(kind)
            case 5:
                data = array.reshape(-1).view(torch.uint8).clone()
                noise = draw(st.binary(min_size=1, max_size=16))
                at = draw(st.integers(0, max(0, data.numel() - len(noise))))
                held = torch.frombuffer(bytearray(noise), dtype=torch.uint8)[: data.numel()]
                data[at : at + len(held)] = held
                arrays[part] = data.view(array.dtype).reshape(array.shape)
    config = config_of(name)
    key = next(key for key in config if key.startswith("quantization"))
    for said in draw(st.lists(st.sampled_from(sorted(config[key])), max_size=2)):
        config[key][said] = draw(JSON)
    return arrays, json.dumps(config)


@pytest.mark.parametrize("name", FIXTURES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_damage_gives_only_our_own_errors(tmp_path_factory, name, data):
    arrays, config = data.draw(changes(name))
    folder = tmp_path_factory.mktemp("damaged")
    _, metadata = stored(name)
    safetensors.torch.save_file(arrays, folder / "model.safetensors", metadata)
    (folder / "config.json").write_text(config)
    said = read_everything(folder / "model.safetensors")
    assert_told(said, folder)

"""Exported C compiled and run: it decodes and computes what the Python side does, everywhere and without warnings."""

import ctypes
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from c_tools import GCC, GXX, STRICT, library, needs_gcc, pointer, run
from safetensors.numpy import save_file

from qinspect import network
from qinspect.assets import resource
from qinspect.errors import ExportError
from qinspect.formats.open import open_checkpoint
from qinspect.network import Network
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe, Rule
from qinspect.targets.c import C
from qinspect.targets.mcu import compiled
from qinspect.targets.mcu.parsed import Parsed

GROUPED = {"granularity": "group", "group_size": 32}
SCHEMES = {
    "base11": make_scheme("base11", group_size=45),
    "base11.f32": make_scheme("base11", group_size=7, param_dtype="float32"),
    "base11.bf16": make_scheme("base11", group_size=300, param_dtype="bfloat16"),
    "base23": make_scheme("base_n", levels=23, group_size=64),
    "base13": make_scheme("base_n", levels=13, group_size=64),
    "base84": make_scheme("base_n", levels=84, group_size=32),
    "base252": make_scheme("base_n", levels=252, group_size=32),
    "int8": make_scheme("symmetric"),
    "int8.channel": make_scheme("symmetric", granularity="channel", param_dtype="float16"),
    "int4": make_scheme("symmetric", bits=4, param_dtype="float16", **GROUPED),
    "int3": make_scheme("symmetric", bits=3, granularity="group", group_size=48, param_dtype="bfloat16"),
    "int7": make_scheme("symmetric", bits=7, **GROUPED),
    "int16": make_scheme("symmetric", bits=16, granularity="group", group_size=33),
    "uint5": make_scheme("asymmetric", bits=5, **GROUPED),
    "uint2.minimum": make_scheme("asymmetric", bits=2, offset="minimum", **GROUPED),
    "uint16": make_scheme("asymmetric", bits=16, granularity="channel"),
    "sentinel": make_scheme("sentinel"),
    "nf4": make_scheme("normal_float", group_size=50),
    "fp4": make_scheme("fp4", group_size=32),
    "mxfp4": make_scheme("mxfp4"),
    "learned": make_scheme("learned", levels=11, granularity="group", group_size=32, param_dtype="float16"),
    "ternary": make_scheme("ternary", **GROUPED),
}


def export(source, out, recipe, *, compiled=False):
    """Compiled only where that is the point: the tests that run it compile it themselves."""
    with open_checkpoint(source) as checkpoint, pytest.MonkeyPatch.context() as patch:
        if not compiled:
            patch.setattr("qinspect.targets.c.find_compiler", lambda token: None)
        plan = C().plan(checkpoint, recipe)
        return plan, C().write(checkpoint, plan, out)


@pytest.fixture(scope="module")
def weights():
    """One tensor for each scheme, of rows that no group divides, with a row of zeros."""
    rng = np.random.default_rng(5)
    found = {f"{name}.weight": rng.standard_normal((9, 111), np.float32) / 3 for name in SCHEMES}
    for array in found.values():
        array[3] = 0
    return found


@pytest.fixture(scope="module")
def every_scheme(weights, tmp_path_factory):
    """An export with a layer of each scheme: source and folder."""
    place = tmp_path_factory.mktemp("c")
    save_file(weights, place / "in.safetensors")
    recipe = Recipe(tuple(Rule(f"{name}.weight", scheme) for name, scheme in SCHEMES.items()))
    plan, report = export(place / "in.safetensors", place / "out", recipe, compiled=True)
    return plan, report, place / "out"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A network with every operator that is compiled in no time."""
    operators = [
        {"op": "linear", "prefix": "a"},
        {"op": "residual", "body": [{"op": "relu"}, {"op": "linear", "prefix": "b"}]},
        {"op": "layernorm", "prefix": "n"},
        {"op": "linear", "prefix": "c"},
    ]
    rng, shapes = np.random.default_rng(3), {"a": (24, 100), "b": (24, 24), "c": (10, 24)}
    tensors = {f"{name}.weight": rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    tensors |= {"a.bias": rng.standard_normal(24, np.float32), "n.weight": rng.standard_normal(24, np.float32)}
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    save_file(tensors, path, {"qinspect.network": json.dumps(operators)})
    return path


@pytest.fixture(scope="module")
def small_folder(small):
    """It in base-11, exported."""
    export(small, small.with_name("folder"), Recipe.of(make_scheme("base11", group_size=64)))
    return small.with_name("folder")


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory):
    """The sample network in base-11, exported."""
    folder = tmp_path_factory.mktemp("digits") / "digits"
    export(resource("samples/digits.safetensors"), folder, Recipe.of(make_scheme("base11", group_size=64)))
    return folder


def decoded(w, scheme):
    return scheme.dequantize(scheme.quantize(w))


def test_every_scheme_is_held_packed_and_decodes_the_same(every_scheme, weights):
    plan, report, folder = every_scheme
    assert {row.stored_as for row in plan.rows} == {"matrix"}
    assert {row.max_difference for row in report.rows} == {0.0}
    parsed = Parsed(folder / "model.bin")
    for name, scheme in SCHEMES.items():
        found = parsed.tensor(f"{name}.weight")
        np.testing.assert_array_equal(found, decoded(weights[f"{name}.weight"], scheme), err_msg=name)


@needs_gcc
def test_the_compiled_runtime_decodes_every_scheme(every_scheme, weights):
    plan, report, folder = every_scheme
    assert report.proof.startswith("compiled with")
    assert "PASS" in report.proof
    lib = library(folder, folder / "model.c", _wrapper(folder))
    data = ctypes.c_void_p.in_dll(lib, "model_data")
    for row in plan.rows:
        scheme = SCHEMES[row.name.removesuffix(".weight")]
        matrix = ctypes.c_char.in_dll(lib, f"model_{row.name.replace('.', '_')}")
        out = np.empty((9, 111), np.float32)
        for number in range(9):
            lib.decode(ctypes.byref(matrix), ctypes.byref(data), number, pointer(out[number]))
        np.testing.assert_array_equal(out, decoded(weights[row.name], scheme), err_msg=row.name)


def _wrapper(folder):
    source = folder.parent / "wrapper.c"
    source.write_text(
        '#include "qinspect.h"\n'
        "void decode(const qi_matrix *m, const uint32_t *data, uint32_t row, float *out);\n"
        "void decode(const qi_matrix *m, const uint32_t *data, uint32_t row, float *out)\n"
        "{ qi_decode_row(m, data, row, out); }\n"
    )
    return source


@needs_gcc
@pytest.mark.parametrize("short", [0, 1], ids=["64-bit products", "32-bit products"])
@pytest.mark.parametrize("which", ["every_scheme", "small_folder"])
def test_it_compiles_without_warnings_and_passes_under_sanitizers(request, which, short, tmp_path):
    found = request.getfixturevalue(which)
    folder = found if isinstance(found, Path) else found[2]
    define = f"-DQI_SHORT_MULTIPLY={short}"
    sources = sorted(folder.glob("*.c"))
    checked = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    run(GCC, "-std=c99", *STRICT, *checked, define, f"-I{folder}", *sources, "-o", tmp_path / "c")
    assert run(tmp_path / "c").splitlines()[-1] == "PASS"
    run(GXX, "-x", "c++", "-std=c++11", *STRICT, define, f"-I{folder}", *sources, "-o", tmp_path / "cpp")
    assert run(tmp_path / "cpp").splitlines()[-1] == "PASS"


@needs_gcc
def test_the_folder_builds_with_the_documented_line(digits_folder, tmp_path):
    shutil.copytree(digits_folder, tmp_path / "there")
    subprocess.run("gcc -std=c99 -I. *.c && ./a.out", shell=True, cwd=tmp_path / "there", check=True, timeout=60)


def test_it_needs_no_library(digits_folder):
    text = (digits_folder / "qinspect.h").read_text() + (digits_folder / "model.c").read_text()
    included = {line.split()[1] for line in text.splitlines() if line.startswith("#include")}
    assert included == {"<stddef.h>", "<stdint.h>", "<string.h>", '"model.h"'}
    assert "malloc" not in text


@needs_gcc
def test_no_division_in_the_products(digits_folder, tmp_path):
    (tmp_path / "products.c").write_text(
        '#include "qinspect.h"\n'
        "int32_t f(const qi_matrix *m, const uint32_t *w, const int8_t *x, uint32_t n);\n"
        "int32_t f(const qi_matrix *m, const uint32_t *w, const int8_t *x, uint32_t n)\n"
        "{ return qi_dot_i8(m, w, x, n); }\n"
    )
    assembly = run(GCC, "-std=c99", "-O0", f"-I{digits_folder}", "-S", tmp_path / "products.c", "-o", "-")
    assert "imul" in assembly
    assert "div" not in assembly


def forward(lib, function, x, outputs, data=None):
    data = ctypes.byref(ctypes.c_uint32.in_dll(lib, "model_data")) if data is None else pointer(data)
    getattr(lib, function).restype = None
    scratch, y = np.empty(1 << 16, np.float32), np.empty((len(x), outputs), np.float32)
    for row, out in zip(np.ascontiguousarray(x, np.float32), y, strict=True):
        getattr(lib, function)(data, pointer(row), pointer(out), pointer(scratch))
    return y


@needs_gcc
@pytest.mark.parametrize(
    "scheme",
    [
        make_scheme("base11", group_size=64),
        make_scheme("symmetric", bits=4, **GROUPED),
        make_scheme("asymmetric", granularity="channel"),
        make_scheme("normal_float"),
        None,
    ],
    ids=lambda scheme: scheme.label if scheme else "float32",
)
def test_the_sample_network_computes_what_python_does(tmp_path, digits, scheme):
    export(digits, tmp_path / "c", Recipe.of(scheme))
    lib = library(tmp_path / "c", tmp_path / "c" / "model.c")
    x, y = network.load_test_set(network.find_test_set(digits))
    with open_checkpoint(digits) as checkpoint:
        tensors, net = network.decoded(checkpoint), Network.of(checkpoint)

        def quantized(name):
            w = tensors(name)
            return decoded(w, scheme) if w is not None and w.ndim == 2 and scheme else w

        meant = net.forward(x, quantized)
    found = forward(lib, "model_forward", x, 10)
    assert np.abs(found - meant).max() < 1e-5 * np.abs(meant).max()
    assert network.accuracy(found, y) == network.accuracy(meant, y)
    rounded = forward(lib, "model_forward_i8", x, 10)
    assert (rounded.argmax(1) == meant.argmax(1)).mean() > 0.99
    assert np.abs(rounded - meant).max() < 0.05 * np.abs(meant).max()
    uses_int8 = scheme is not None and scheme.name != "normal_float"
    assert (np.abs(rounded - found).max() > 0) == uses_int8


@needs_gcc
def test_big_net_computes_what_torch_does(tmp_path):
    torch.manual_seed(0)

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            linear = [torch.nn.Linear(48, 48) for _ in range(3)]
            self.model = torch.nn.Sequential(linear[0], torch.nn.ReLU(), linear[1], torch.nn.ReLU(), linear[2])

        def forward(self, x):
            return self.model(x) + x

    big = torch.nn.Module()
    big.model = torch.nn.Sequential(*[layer for _ in range(6) for layer in (Block(), torch.nn.LayerNorm(48))][:-1])
    torch.save(big.state_dict(), tmp_path / "big.pt")
    scheme = make_scheme("base11", group_size=36)
    plan, _ = export(tmp_path / "big.pt", tmp_path / "c", Recipe.of(scheme))
    assert plan.remark == ""
    with torch.no_grad():
        for parameter in big.parameters():
            if parameter.ndim == 2:
                parameter.copy_(torch.from_numpy(decoded(parameter.detach().numpy(), scheme)))
        x = torch.randn(20, 48)
        meant = big.model(x).numpy()
    lib = library(tmp_path / "c", tmp_path / "c" / "model.c")
    found = forward(lib, "model_forward", x.numpy(), 48)
    assert np.abs(found - meant).max() < 1e-5 * np.abs(meant).max()


@needs_gcc
def test_every_operator_in_every_order(tmp_path):
    """Residual blocks within residual blocks, operators without weights first, layers without bias."""
    operators = [
        {"op": "relu"},
        {"op": "residual", "body": [{"op": "relu"}, {"op": "residual", "body": [{"op": "linear", "prefix": "a"}]}]},
        {"op": "layernorm", "prefix": "n", "eps": 0.5},
        {"op": "residual", "body": [{"op": "layernorm", "prefix": "n"}]},
        {"op": "linear", "prefix": "b"},
        {"op": "residual", "body": [{"op": "residual", "body": [{"op": "relu"}]}]},
        {"op": "relu"},
    ]
    rng = np.random.default_rng(3)
    tensors = {
        "a.weight": rng.standard_normal((7, 7), np.float32),
        "a.bias": rng.standard_normal(7, np.float32),
        "n.weight": rng.standard_normal(7, np.float32),
        "b.weight": rng.standard_normal((12, 7), np.float32),
        "unused.weight": np.ones((3, 3), np.float32),
    }
    save_file(tensors, tmp_path / "in.safetensors", {"qinspect.network": json.dumps(operators)})
    plan, _ = export(tmp_path / "in.safetensors", tmp_path / "c", Recipe(()))
    assert {row.name for row in plan.rows if row.stored_as == "left out"} == {"unused.weight"}
    x = rng.standard_normal((6, 7), np.float32)
    meant = Network.parse(json.dumps(operators)).forward(x, tensors.get)
    found = forward(library(tmp_path / "c", tmp_path / "c" / "model.c"), "model_forward", x, 12)
    np.testing.assert_allclose(found, meant, atol=1e-5)


# `model.bin` on a device that has another model of the same layout.


@pytest.fixture(scope="module")
def device(small_folder):
    (small_folder.parent / "check.c").write_text(
        '#include "model.h"\n'
        "int check(const uint32_t *data, uint32_t words) { return qi_check(data, words, MODEL_LAYOUT); }\n"
    )
    return library(small_folder, small_folder / "model.c", small_folder.parent / "check.c")


@pytest.fixture
def words(small_folder):
    return words_of(small_folder / "model.bin")


def words_of(path):
    data = np.fromfile(path, np.uint8)
    return np.pad(data, (0, -data.size % 4)).view("<u4")


@needs_gcc
def test_its_own_is_accepted(device, words):
    assert device.check(pointer(words), words.size) == 0
    assert device.check(pointer(words), int(words[3])) == 0


@needs_gcc
def test_other_weights_run(device, small, tmp_path):
    with open_checkpoint(small) as checkpoint:
        tensors = {info.name: np.multiply(checkpoint.load(info.name), np.float32(0.5)) for info in checkpoint.infos}
        save_file(tensors, tmp_path / "half.safetensors", dict(checkpoint.metadata))
    export(tmp_path / "half.safetensors", tmp_path / "half", Recipe.of(make_scheme("base11", group_size=64)))
    received = words_of(tmp_path / "half" / "model.bin")
    assert device.check(pointer(received), received.size) == 0
    x = np.random.default_rng(1).standard_normal((9, 100), np.float32)
    new = library(tmp_path / "half", tmp_path / "half" / "model.c")
    np.testing.assert_array_equal(
        forward(device, "model_forward", x, 10, received), forward(new, "model_forward", x, 10)
    )


@needs_gcc
def test_what_is_not_whole_is_refused(device, words):
    for at in (8, int(words[3]) // 2, int(words[3]) - 1):
        damaged = words.copy()
        damaged[at] ^= 1 << 17
        assert device.check(pointer(damaged), damaged.size) == 4
    assert device.check(pointer(words), int(words[3]) - 1) == 4
    long = words.copy()
    long[3] = 0xFFFFFFFF
    assert device.check(pointer(long), long.size) == 4


@needs_gcc
def test_what_is_another_is_refused(device, words, tmp_path, small):
    for at, code in ((0, 1), (1, 2), (2, 3)):
        other = words.copy()
        other[at] += 1
        assert device.check(pointer(other), other.size) == code
    assert device.check(pointer(words), 7) == 1
    export(small, tmp_path / "c", Recipe.of(make_scheme("base11", group_size=63)))
    other = words_of(tmp_path / "c" / "model.bin")
    assert device.check(pointer(other), other.size) == 3


@needs_gcc
def test_the_figures_for_the_device_are_what_a_compiler_finds(digits, digits_folder, tmp_path):
    (tmp_path / "sizes.c").write_text(
        '#include "model.h"\n#include <stdio.h>\n'
        'int main(void) { printf("%zu %zu %zu", sizeof model_data, sizeof(qi_matrix), sizeof(model_scratch)); }\n'
    )
    run(GCC, f"-I{digits_folder}", tmp_path / "sizes.c", digits_folder / "model.c", "-o", tmp_path / "sizes")
    data, matrix, scratch = map(int, run(tmp_path / "sizes").split())
    with open_checkpoint(digits) as checkpoint:
        needs = C().plan(checkpoint, Recipe.of(make_scheme("base11", group_size=64))).needs
    assert needs.flash == data + 5 * matrix
    assert needs.ram == scratch
    readme = (digits_folder / "README.md").read_text()
    assert f"| flash, constants | {needs.flash} |" in readme
    assert f"| RAM while it runs | {scratch} |" in readme


HOSTILE = [
    "a.weight", "A.weight", "a_weight", "Ä", "日本", "*/ int x; /*", "x??/", "line\nbreak\\", "`|$(", "forward", "data",
    "scratch", "int", "9", "", " ", "\x1b[2J", "x" * 300, "words",
]  # fmt: skip


@needs_gcc
def test_names_do_no_harm(tmp_path):
    tensors = {name: np.full((2, 3), i, np.float32) for i, name in enumerate(HOSTILE)}
    tensors |= {f"{name}.v": np.full(3, i, np.float32) for i, name in enumerate(HOSTILE)}
    save_file(tensors, tmp_path / "in ?? *⁄.safetensors")
    export(tmp_path / "in ?? *⁄.safetensors", tmp_path / "c", Recipe(()))
    sources = sorted((tmp_path / "c").glob("*.c"))
    run(GCC, "-std=c99", *STRICT, f"-I{tmp_path / 'c'}", *sources, "-o", tmp_path / "t")
    assert run(tmp_path / "t").splitlines()[-1] == "PASS"
    parsed = Parsed(tmp_path / "c" / "model.bin")
    for name, array in tensors.items():
        np.testing.assert_array_equal(parsed.tensor(name), array)
    for file in ("model.c", "model.h", "main_test.c"):
        (tmp_path / "c" / file).read_text(encoding="ascii")


def test_what_the_runtime_does_not_hold_is_written_decoded_and_said(tmp_path):
    scheme = make_scheme("symmetric", granularity="channel", axis=1)
    w = np.random.default_rng(0).standard_normal((4, 6), np.float32)
    save_file({"a.weight": w, "b": np.zeros((0, 3), np.float32), "c": np.ones(3, np.float16)}, tmp_path / "in")
    plan, _ = export(tmp_path / "in", tmp_path / "c", Recipe.of(scheme))
    rows = {row.name: row for row in plan.rows}
    assert "shares parameters across rows: written decoded" in rows["a.weight"].note
    assert rows["a.weight"].stored_as == "float32"
    assert C().refusal(scheme, (4, 6)) is not None
    assert C().refusal(make_scheme("base11"), (4, 6)) is None
    assert "left out" in rows["b"].note
    assert rows["c"].note == "F16 becomes float32"
    parsed = Parsed(tmp_path / "c" / "model.bin")
    np.testing.assert_array_equal(parsed.tensor("a.weight"), decoded(w, scheme))
    np.testing.assert_array_equal(parsed.tensor("c"), np.ones(3, np.float32))
    assert "does not describe a network" in plan.remark


def test_vectors_that_a_network_needs_stay_float(tmp_path):
    tensors = {"f.weight": np.ones((4, 4), np.float32), "f.bias": np.linspace(0, 1, 4, dtype=np.float32)}
    save_file(tensors, tmp_path / "in", {"qinspect.network": '[{"op": "linear", "prefix": "f"}]'})
    recipe = Recipe((Rule("f.bias", make_scheme("symmetric", bits=2)),))
    plan, _ = export(tmp_path / "in", tmp_path / "c", recipe)
    assert "the network needs it as float32: written decoded" in {row.name: row.note for row in plan.rows}["f.bias"]
    scheme = make_scheme("symmetric", bits=2)
    found = Parsed(tmp_path / "c" / "model.bin").tensor("f.bias")
    np.testing.assert_array_equal(found, decoded(tensors["f.bias"], scheme))


def test_a_network_that_cannot_run_leaves_the_layers(tmp_path):
    save_file({"f.weight": np.ones((4, 4), np.float32)}, tmp_path / "in", {"qinspect.network": '[{"op": "relu"}]'})
    plan, _ = export(tmp_path / "in", tmp_path / "c", Recipe(()))
    assert "no forward pass" in plan.remark
    assert "model_forward" not in (tmp_path / "c" / "model.h").read_text()


def test_without_a_compiler_a_second_decoder_reads_back_and_nothing_is_claimed(small, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", str(tmp_path / "none"))
    _, report = export(small, tmp_path / "c", Recipe.of(make_scheme("base11")), compiled=True)
    assert "not compiled: no C compiler was found" in report.proof
    assert "run on" not in report.proof
    assert {row.max_difference for row in report.rows} == {0.0}


@pytest.mark.parametrize("compiler", [True, False])
def test_a_wrong_weight_is_found(small, tmp_path, monkeypatch, compiler):
    import qinspect.targets.c as module

    def wrong(q, matrix):
        first, *rest = module_arrays(q, matrix)
        first = first.copy()
        first[1, 2] ^= 1
        return [first, *rest]

    module_arrays = module.device_arrays
    monkeypatch.setattr(module, "device_arrays", wrong)
    with pytest.raises(ExportError, match=r"weight: it decodes to weights that are up to"):
        export(small, tmp_path / "c", Recipe.of(make_scheme("base11")), compiled=compiler)
    assert [*tmp_path.iterdir()] == []


@needs_gcc
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("SUM sum = 0;", "SUM sum = 1;", "self-test failed"), ("float value;", "flaot value;", "does not compile")],
)
def test_c_that_is_wrong_is_not_handed_out(small, tmp_path, monkeypatch, old, new, message):
    from qinspect.targets.mcu import texts

    template = texts._template
    monkeypatch.setattr(texts, "_template", lambda name: template(name).replace(old, new))
    with pytest.raises(ExportError, match=message):
        export(small, tmp_path / "c", Recipe.of(make_scheme("base11")), compiled=True)
    assert [*tmp_path.iterdir()] == []


def test_a_compiler_that_makes_nothing_is_none(tmp_path, monkeypatch):
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    assert compiled.find_compiler(compiled.Token()) is None

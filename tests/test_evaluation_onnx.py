"""Outputs of ONNX models before and after quantization, against products computed here."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import qinspect
from qinspect.errors import FormatError, UnsupportedError
from qinspect.evaluation import InputSet, evaluate
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe, Rule

INT4 = make_scheme("symmetric", bits=4, granularity="channel")
RNG = np.random.default_rng(0)
UP = RNG.standard_normal((8, 20), np.float32)
DOWN = RNG.standard_normal((3, 20), np.float32)
BIAS = RNG.standard_normal(20, np.float32)


def saved(path, batch="n", sides=(8,), dtype=np.float32, external=False):
    """x → (Reshape) → MatMul [inputs, outputs] → Add → Relu → Gemm [outputs, inputs] → y."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    weights = {"up.weight": UP, "down.weight": DOWN, "bias": BIAS}
    initializers = [numpy_helper.from_array(w.astype(dtype), name) for name, w in weights.items()]
    initializers.append(numpy_helper.from_array(np.array([-1, 8]), "flat"))
    nodes = [
        helper.make_node("Reshape", ["x", "flat"], ["rows"]),
        helper.make_node("MatMul", ["rows", "up.weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "down.weight"], ["y"], transB=1),
    ]
    ends = [helper.make_tensor_value_info(name, kind, [batch, *dims]) for name, dims in (("x", sides), ("y", (3,)))]
    graph = helper.make_graph(nodes, "two layers", ends[:1], ends[1:], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(model, path, save_as_external_data=external, size_threshold=0, location="weights.bin")
    return path


def decoded(w):
    return INT4.dequantize(INT4.quantize(w))


def relative(before, after):
    return np.linalg.norm(after - before) / np.linalg.norm(before)


@pytest.fixture
def x():
    return np.random.default_rng(1).standard_normal((300, 8), np.float32)


@pytest.mark.parametrize("external", [False, True])
def test_outputs_and_layers_are_those_of_the_weights(tmp_path, x, external):
    hidden = np.maximum(x @ UP + BIAS, 0)
    before, after = hidden @ DOWN.T, np.maximum(x @ decoded(UP.T).T + BIAS, 0) @ decoded(DOWN).T
    labels = before.argmax(1)
    labels[:30] = 0
    with qinspect.open_checkpoint(saved(tmp_path / "m.onnx", external=external)) as checkpoint:
        found = evaluate(checkpoint, Recipe.of(INT4), InputSet({"x": x}, labels))
    errors = {one.name: (one.samples, one.error) for one in found.layers}
    up = relative(x @ UP, x @ decoded(UP.T).T)
    down = relative(hidden @ DOWN.T, hidden @ decoded(DOWN).T)
    assert errors == {
        "up.weight": (300, pytest.approx(up, rel=1e-4)), "down.weight": (300, pytest.approx(down, rel=1e-4)),
    }  # fmt: skip
    assert found.samples == 300
    assert found.output_error == pytest.approx(relative(before, after), rel=1e-4)
    assert found.agreement == (before.argmax(1) == after.argmax(1)).mean()
    assert found.before == (before.argmax(1) == labels).mean() < 1
    assert found.after == (after.argmax(1) == labels).mean()
    assert found.remark.startswith("run in onnxruntime ")


def test_what_is_left_alone_changes_nothing(tmp_path, x):
    with qinspect.open_checkpoint(saved(tmp_path / "m.onnx")) as checkpoint:
        found = evaluate(checkpoint, Recipe((Rule("*", None),)), InputSet({"x": x}))
        one = evaluate(checkpoint, Recipe((Rule("down*", INT4), Rule("*", None))), InputSet({"x": x}))
    assert (found.layers, found.output_error, found.agreement, found.before) == ((), 0, 1, None)
    assert [layer.name for layer in one.layers] == ["down.weight"]
    assert one.output_error > 0


@pytest.mark.parametrize(("batch", "sides"), [(7, (8,)), (1, (8,)), ("n", (2, 2, 2)), (16, (2, 4))])
def test_models_insist_on_batches_and_shapes(tmp_path, x, batch, sides):
    with qinspect.open_checkpoint(saved(tmp_path / "a.onnx")) as checkpoint:
        free = evaluate(checkpoint, Recipe.of(INT4), InputSet({"x": x}))
    with qinspect.open_checkpoint(saved(tmp_path / "b.onnx", batch, sides)) as checkpoint:
        found = evaluate(checkpoint, Recipe.of(INT4), InputSet({"x": x}))
    assert found.samples == 300
    assert found.output_error == pytest.approx(free.output_error, rel=1e-5)
    assert [one.samples for one in found.layers] == [300, 300]


def test_half_precision_models(tmp_path, x):
    with qinspect.open_checkpoint(saved(tmp_path / "m.onnx", dtype=np.float16)) as checkpoint:
        found = evaluate(checkpoint, Recipe.of(INT4), InputSet({"x": x}))
    with qinspect.open_checkpoint(saved(tmp_path / "m.onnx")) as checkpoint:
        single = evaluate(checkpoint, Recipe.of(INT4), InputSet({"x": x}))
    assert found.output_error == pytest.approx(single.output_error, rel=0.05)


def test_layers_without_a_product_have_no_error_of_their_own(tmp_path):
    kernel = RNG.standard_normal((4, 2, 3, 3), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "kernel"], ["y"])], "conv",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 2, 5, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 3, 3])],
        [numpy_helper.from_array(kernel, "kernel")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), tmp_path / "m.onnx")
    with qinspect.open_checkpoint(tmp_path / "m.onnx") as checkpoint:
        x = RNG.standard_normal((3, 2, 5, 5), np.float32)
        found = evaluate(checkpoint, Recipe.of(INT4), InputSet({"x": x}))
    (layer,) = found.layers
    assert (layer.samples, np.isnan(layer.error)) == (0, True)
    assert 0 < found.output_error < 1


def test_what_is_missing_is_named(tmp_path, x, monkeypatch):
    with qinspect.open_checkpoint(saved(tmp_path / "m.onnx")) as checkpoint:
        with pytest.raises(FormatError, match=r"m\.onnx: the model takes x .*and the input set has a, b"):
            evaluate(checkpoint, Recipe.of(INT4), InputSet({"a": x, "b": x}))
        with pytest.raises(UnsupportedError, match="onnxruntime does not run this model with these inputs"):
            evaluate(checkpoint, Recipe.of(INT4), InputSet({"x": x[:, :5]}))
        monkeypatch.setattr("qinspect.targets.graph.runtime.version", lambda: None)
        with pytest.raises(UnsupportedError, match=r"pip install qinspect\[verify\]"):
            evaluate(checkpoint, Recipe.of(INT4), InputSet({"x": x}))

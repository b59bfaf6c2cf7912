"""ONNX exports in onnxruntime and the onnx library: networks of our own, and users' models with other weights."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from qinspect import network
from qinspect.errors import ExportError, UnsupportedError
from qinspect.formats.open import open_checkpoint
from qinspect.network import Network
from qinspect.quant.scheme import make_scheme
from qinspect.recipe import Recipe, Rule
from qinspect.targets.graph import runtime
from qinspect.targets.target import registry

GROUPED = {"granularity": "group", "group_size": 32}
INT4 = make_scheme("symmetric", bits=4, **GROUPED)
BASE11 = make_scheme("base11", group_size=64)
# Scheme, then the forms in which the two targets hold it in rows of 96.
FORMS = [
    (BASE11, "digits", "MatMulNBits"),
    (make_scheme("base11", group_size=32), "digits", "MatMulNBits"),
    (make_scheme("base11", group_size=128), "digits", "MatMulNBits"),
    (make_scheme("base11", group_size=7, param_dtype="bfloat16"), "digits", "digits"),
    (make_scheme("base_n", levels=23, group_size=32), "digits", "digits"),
    (make_scheme("base_n", levels=4, group_size=32, param_dtype="float32"), "digits", "MatMulNBits"),
    (INT4, "DequantizeLinear", "MatMulNBits"),
    (make_scheme("symmetric", bits=2, **GROUPED), "digits", "MatMulNBits"),
    (make_scheme("symmetric", bits=3, **GROUPED), "digits", "MatMulNBits"),
    (make_scheme("symmetric", bits=8, **GROUPED), "DequantizeLinear", "MatMulNBits"),
    (make_scheme("symmetric", bits=16, **GROUPED), "DequantizeLinear", "DequantizeLinear"),
    (make_scheme("symmetric", bits=8), "DequantizeLinear", "DequantizeLinear"),
    (make_scheme("symmetric", bits=4, granularity="channel"), "DequantizeLinear", "MatMulNBits"),
    (make_scheme("symmetric", bits=4, granularity="group", group_size=40), "digits", "digits"),
    (make_scheme("asymmetric", bits=8, granularity="channel"), "DequantizeLinear", "MatMulNBits"),
    (make_scheme("asymmetric", bits=4, **GROUPED), "DequantizeLinear", "MatMulNBits"),
    (make_scheme("asymmetric", bits=2, **GROUPED), "digits", "MatMulNBits"),
    (make_scheme("asymmetric", bits=4, offset="minimum", **GROUPED), "digits", "MatMulNBits"),
    (make_scheme("asymmetric", bits=8, offset="minimum", **GROUPED), "digits", "digits"),
    (make_scheme("sentinel"), "digits", "digits"),
    (make_scheme("normal_float", group_size=50), "digits", "digits"),
    (make_scheme("mxfp4"), "digits", "digits"),
    (make_scheme("learned", levels=11, **GROUPED), "digits", "digits"),
    (make_scheme("ternary", **GROUPED), "digits", "MatMulNBits"),
]
NETWORK = [
    {"op": "linear", "prefix": "a"},
    {"op": "residual", "body": [{"op": "layernorm", "prefix": "n", "eps": 0.25}, {"op": "linear", "prefix": "b"}]},
    {"op": "relu"},
    {"op": "linear", "prefix": "c"},
]


def export(source, out, recipe, target="onnx"):
    with open_checkpoint(source) as checkpoint:
        plan = registry[target]().plan(checkpoint, recipe)
        report = registry[target]().write(checkpoint, plan, out)
    assert plan.nbytes == out.stat().st_size == report.nbytes
    onnx.checker.check_model(str(out), full_check=True)
    return plan, report


def decoded(w, scheme):
    return scheme.dequantize(scheme.quantize(w))


def run(path, **inputs):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


@pytest.fixture(scope="module")
def tensors():
    rng = np.random.default_rng(4)
    return {
        "a.weight": rng.standard_normal((24, 96), np.float32),
        "a.bias": rng.standard_normal(24, np.float32),
        "n.weight": rng.standard_normal(24, np.float32),
        "b.weight": rng.standard_normal((24, 24), np.float32),
        "b.bias": rng.standard_normal(24, np.float32),
        "c.weight": rng.standard_normal((5, 24), np.float32),
        "ids": np.arange(3),
    }


@pytest.fixture(scope="module")
def described(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "net.safetensors"
    save_file(tensors, path, {"qinspect.network": json.dumps(NETWORK), "note": "kept"})
    return path


@pytest.mark.parametrize("target", ["onnx", "onnxruntime"])
@pytest.mark.parametrize(("scheme", "standard", "packed"), FORMS, ids=lambda value: getattr(value, "label", ""))
def test_every_scheme_in_the_graph_of_a_network(tensors, described, tmp_path, scheme, standard, packed, target):
    recipe = Recipe((Rule("a.weight", scheme), Rule("*", None)))
    plan, report = export(described, tmp_path / "net.onnx", recipe, target)
    rows = {row.name: row for row in plan.rows}
    assert rows["a.weight"].stored_as == (standard if target == "onnx" else packed)
    assert rows["ids"].stored_as == "left out"
    exact = target == "onnx" or packed != "MatMulNBits"
    for row in report.rows:
        assert row.max_difference <= (0 if exact else 2e-6 * np.abs(tensors["a.weight"]).max()), row
    assert f"onnxruntime {onnxruntime.__version__}" in report.proof
    x = np.random.default_rng(0).standard_normal((7, 96), np.float32)
    meant = Network.parse(json.dumps(NETWORK)).forward(
        x, (tensors | {"a.weight": decoded(tensors["a.weight"], scheme)}).get
    )
    (found,) = run(tmp_path / "net.onnx", x=x)
    assert np.abs(found - meant).max() < 2e-6 * np.abs(meant).max()
    with open_checkpoint(tmp_path / "net.onnx") as again:
        held = again.load("a.weight")
        assert held.shape == tensors["a.weight"].shape
        read, wanted = held.scheme.dequantize(held), decoded(tensors["a.weight"], scheme)
        if rows["a.weight"].stored_as == "digits":
            np.testing.assert_array_equal(read, wanted)
            part = again.load("a.weight", slice(5, 9))
            np.testing.assert_array_equal(part.scheme.dequantize(part), wanted[5:9])
        assert np.abs(read - wanted).max() <= 2e-6 * np.abs(wanted).max()


def test_digits_use_standard_operators_only(described, tmp_path):
    export(described, tmp_path / "net.onnx", Recipe.of(BASE11))
    model = onnx.load(tmp_path / "net.onnx")
    assert {entry.domain for entry in model.opset_import} == {""}
    assert {node.domain for node in model.graph.node} == {""}
    words = next(i for i in model.graph.initializer if i.name == "a.weight_quantized")
    assert words.data_type == TensorProto.UINT32
    with open_checkpoint(described) as checkpoint:
        q = BASE11.quantize(checkpoint.load("a.weight"))
    np.testing.assert_array_equal(numpy_helper.to_array(words), q.data.view("<u4"))


def test_four_bits_take_half_a_byte(described, tmp_path):
    plan, _ = export(described, tmp_path / "net.onnx", Recipe((Rule("a.weight", INT4),)))
    model = onnx.load(tmp_path / "net.onnx")
    codes = next(i for i in model.graph.initializer if i.name == "a.weight_quantized")
    assert (codes.data_type, list(codes.dims), len(codes.raw_data)) == (TensorProto.INT4, [96, 24], 96 * 24 // 2)
    assert {row.name: row.nbytes for row in plan.rows}["a.weight"] == 96 * 24 // 2 + 4 * 3 * 24
    assert {entry.key: entry.value for entry in model.metadata_props}["note"] == "kept"


def test_the_sample_network_reads_as_many_digits(digits, tmp_path):
    export(digits, tmp_path / "digits.onnx", Recipe.of(INT4))
    x, y = network.load_test_set(network.find_test_set(digits))
    (found,) = run(tmp_path / "digits.onnx", x=x)
    with open_checkpoint(digits) as checkpoint:
        tensors = network.decoded(checkpoint)

        def quantized(name):
            w = tensors(name)
            return decoded(w, INT4) if w is not None and w.ndim == 2 else w

        meant = Network.of(checkpoint).forward(x, quantized)
    assert network.accuracy(found, y) == network.accuracy(meant, y)


def test_a_checkpoint_without_a_network_has_no_graph(tmp_path):
    save_file({"a.weight": np.ones((4, 8), np.float32)}, tmp_path / "in.safetensors")
    with pytest.raises(UnsupportedError, match=r"in\.safetensors: there is no graph"):
        export(tmp_path / "in.safetensors", tmp_path / "out.onnx", Recipe.of(BASE11))


def test_vectors_that_a_network_needs_stay_float(described, tmp_path):
    plan, _ = export(described, tmp_path / "net.onnx", Recipe((Rule("n.weight", make_scheme("symmetric")),)))
    row = {row.name: row for row in plan.rows}["n.weight"]
    assert row.note == "the network needs it as float32: written decoded"


# Users' models.


def users_model(opset=21, dtype=np.float32, **more):
    """Every way in which weights are taken: left and right of products, turned, convolved, gathered, shared, inside."""
    rng = np.random.default_rng(8)

    def tensor(name, *shape):
        return numpy_helper.from_array((rng.standard_normal(shape) / 4).astype(dtype), name)

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    branch = helper.make_graph(
        [helper.make_node("MatMul", ["h6", "inner"], ["inside"])], "then", [],
        [helper.make_tensor_value_info("inside", kind, [64, 64])],
        [tensor("inner", 64, 64)],
    )  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("MatMul", ["h6", "square"], ["outside"])], "else", [],
        [helper.make_tensor_value_info("outside", kind, [64, 64])],
    )  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["embed", "ids"], ["h0"]),
        helper.make_node("MatMul", ["h0", "up"], ["h1"], name="/up/MatMul"),
        helper.make_node("Gemm", ["h1", "down", "bias"], ["h2"], transB=1, name="/down/Gemm"),
        helper.make_node("Gemm", ["h2", "scaled", "bias"], ["h3"], alpha=0.5),
        helper.make_node("Add", ["h3", "square"], ["h4"]),
        helper.make_node("Reshape", ["h4", "shape"], ["image"]),
        helper.make_node("Conv", ["image", "kernel"], ["h5"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["h5", "back"], ["h6"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=other),
    ]
    initializers = [
        tensor("embed", 20, 64), tensor("up", 64, 96), tensor("down", 64, 96), tensor("bias", 64),
        tensor("scaled", 64, 64), tensor("square", 64, 64), tensor("kernel", 1, 1, 3, 3),
        numpy_helper.from_array(np.array([1, 1, 64, 64]), "shape"),
        numpy_helper.from_array(np.array([64, 64]), "back"),
    ]  # fmt: skip
    inputs = [
        helper.make_tensor_value_info("ids", TensorProto.INT64, [64]),
        helper.make_tensor_value_info("yes", TensorProto.BOOL, []),
        helper.make_tensor_value_info("up", kind, [64, 96]),  # as models of old have it
    ]
    graph = helper.make_graph(
        nodes, "users", inputs, [helper.make_tensor_value_info("y", kind, [64, 64])], initializers, doc_string="ж",
        value_info=[helper.make_tensor_value_info("h1", kind, [64, 96])],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10, producer_name="someone"
    )
    helper.set_model_props(model, {"author": "a person"})
    return model


def without_inner_graphs():
    model = users_model()
    del model.graph.node[-1], model.graph.output[:], model.graph.input[1]
    model.graph.output.append(helper.make_tensor_value_info("h6", TensorProto.FLOAT, [64, 64]))
    return model


def substituted(model, names, scheme, turned=("up", "scaled")):
    """The model with decoded weights in place of the originals."""
    changed = onnx.ModelProto.FromString(model.SerializeToString())
    for initializer in changed.graph.initializer:
        if initializer.name in names:
            w = numpy_helper.to_array(initializer)
            turn = initializer.name in turned
            values = decoded((w.T if turn else w).astype(np.float32), scheme)
            values = (values.T if turn else values).astype(w.dtype)
            initializer.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), initializer.name))
    return changed


NAMES = {"embed", "up", "down", "scaled", "square", "kernel"}


@pytest.mark.parametrize("target", ["onnx", "onnxruntime"])
@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    "scheme", [BASE11, INT4, make_scheme("symmetric", granularity="channel"), make_scheme("normal_float")],
    ids=lambda scheme: scheme.label,
)  # fmt: skip
def test_a_users_model_computes_with_decoded_weights(tmp_path, target, opset, dtype, scheme):
    model = users_model(opset, dtype)
    onnx.save(model, tmp_path / "in.onnx")
    plan, report = export(tmp_path / "in.onnx", tmp_path / "out.onnx", Recipe.of(scheme), target)
    packed = {row.name for row in plan.rows if row.scheme is not None}
    assert packed == NAMES
    assert "it loads the whole model" in report.proof
    onnx.save(substituted(model, NAMES, scheme), tmp_path / "meant.onnx")
    ids = np.random.default_rng(0).integers(0, 20, 64)
    for yes in (True, False):
        (found,), (meant,) = (run(tmp_path / f"{name}.onnx", ids=ids, yes=np.array(yes)) for name in ("out", "meant"))
        assert found.dtype == dtype
        exact = 2e-6 if dtype == np.float32 else 2e-3
        assert np.abs(found.astype(np.float64) - meant).max() < exact * np.abs(meant).max()


def test_products_are_replaced_and_nothing_else(tmp_path):
    onnx.save(users_model(), tmp_path / "in.onnx")
    export(tmp_path / "in.onnx", tmp_path / "out.onnx", Recipe.of(INT4), "onnxruntime")
    old, new = onnx.load(tmp_path / "in.onnx"), onnx.load(tmp_path / "out.onnx")
    products = [node for node in new.graph.node if node.op_type == "MatMulNBits"]
    assert [node.name for node in products] == ["/up/MatMul", "/down/Gemm"]
    assert {entry.domain: entry.version for entry in new.opset_import} == {"": 21, "com.microsoft": 1}
    for field in ("producer_name", "ir_version", "metadata_props"):
        assert getattr(old, field) == getattr(new, field)
    for field in ("name", "doc_string", "output", "value_info"):
        assert getattr(old.graph, field) == getattr(new.graph, field)
    assert [i.name for i in new.graph.input] == ["ids", "yes"]
    kept = {node.SerializeToString() for node in new.graph.node}
    gone = [node.op_type for node in old.graph.node if node.SerializeToString() not in kept]
    assert gone == ["MatMul", "Gemm"]
    stays = {i.name: i for i in old.graph.initializer if i.name not in NAMES}
    assert {i.name: i for i in new.graph.initializer if i.name in stays} == stays


def test_a_recipe_on_the_names_that_the_table_shows(tmp_path):
    onnx.save(users_model(), tmp_path / "in.onnx")
    plan, _ = export(tmp_path / "in.onnx", tmp_path / "out.onnx", Recipe((Rule("up", BASE11), Rule("kernel", INT4))))
    packed = {row.name: row.stored_as for row in plan.rows if row.scheme}
    assert packed == {"up": "digits", "kernel": "DequantizeLinear"}
    rows = {row.name: row for row in plan.rows}
    assert rows["down"].stored_as == "unchanged"
    assert rows["down"].nbytes == 4 * 64 * 96


def test_weights_of_inner_graphs_stay_and_say_so(tmp_path):
    onnx.save(users_model(), tmp_path / "in.onnx")
    plan, _ = export(tmp_path / "in.onnx", tmp_path / "out.onnx", Recipe.of(INT4))
    (inner,) = [row for row in plan.rows if row.name.endswith("inner")]
    assert inner.scheme is None
    assert inner.note.startswith("stays as it is: it is no initializer of the outer graph")


def test_weights_in_other_files_come_into_this_one(tmp_path):
    several = {"save_as_external_data": True, "location": "in.data", "size_threshold": 100}
    onnx.save(users_model(), tmp_path / "in.onnx", **several)
    with pytest.raises(UnsupportedError, match=r"inner: .*save the model as one file"):
        export(tmp_path / "in.onnx", tmp_path / "out.onnx", Recipe((Rule("up", INT4),)))
    onnx.save(without_inner_graphs(), tmp_path / "in.onnx", **several)
    export(tmp_path / "in.onnx", tmp_path / "out.onnx", Recipe((Rule("up", INT4),)))
    (tmp_path / "in.data").unlink()
    onnx.save(substituted(without_inner_graphs(), {"up"}, INT4), tmp_path / "meant.onnx")
    (found,), (meant,) = (run(tmp_path / f"{name}.onnx", ids=np.arange(64) % 20) for name in ("out", "meant"))
    np.testing.assert_allclose(found, meant, rtol=1e-4, atol=1e-5)


def test_a_model_that_is_rewritten_twice(tmp_path):
    onnx.save(users_model(), tmp_path / "in.onnx")
    export(tmp_path / "in.onnx", tmp_path / "one.onnx", Recipe((Rule("up", INT4),)))
    plan, _ = export(tmp_path / "one.onnx", tmp_path / "two.onnx", Recipe.of(INT4))
    rows = {row.name: row for row in plan.rows}
    assert "quantized there already" in rows["up"].note
    assert rows["down"].stored_as == "DequantizeLinear"
    ids = np.arange(64) % 20
    onnx.save(substituted(users_model(), NAMES, INT4), tmp_path / "meant.onnx")
    (found,), (meant,) = (run(tmp_path / f"{n}.onnx", ids=ids, yes=np.array(True)) for n in ("two", "meant"))
    np.testing.assert_allclose(found, meant, rtol=1e-4, atol=1e-5)


def test_names_that_are_taken_are_refused(tmp_path):
    model = users_model()
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "up_scale"))
    onnx.save(model, tmp_path / "in.onnx")
    with pytest.raises(UnsupportedError, match="up: the model has up_scale already"):
        export(tmp_path / "in.onnx", tmp_path / "out.onnx", Recipe.of(INT4))


def test_an_old_operator_set_is_refused(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "old",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.ones((8, 4), np.float32), "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)]), tmp_path / "in.onnx")
    with pytest.raises(UnsupportedError, match=r"in\.onnx: the model is of operator set 11; convert it"):
        export(tmp_path / "in.onnx", tmp_path / "out.onnx", Recipe.of(BASE11))


def test_more_than_readers_take_is_refused(described, monkeypatch, tmp_path):
    from qinspect.targets.graph import layout

    monkeypatch.setattr(layout, "LIMIT", 4000)
    with pytest.raises(UnsupportedError, match="at most 4000 bytes"):
        export(described, tmp_path / "out.onnx", Recipe.of(BASE11))


def test_without_onnxruntime_nothing_is_claimed(described, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "version", lambda: None)
    _, report = export(described, tmp_path / "net.onnx", Recipe.of(BASE11))
    assert "not run: onnxruntime is not installed" in report.proof
    assert {row.max_difference for row in report.rows} == {0.0}


@pytest.mark.parametrize("installed", [True, False])
def test_a_wrong_weight_is_found(described, tmp_path, monkeypatch, installed):
    from qinspect.targets.graph.digits import Digits

    right = Digits.arrays

    def wrong(form, q):
        first, *rest = right(form, q)
        first = first.copy()
        first[1, 0, 0] ^= 1
        return [first, *rest]

    monkeypatch.setattr(Digits, "arrays", wrong)
    if not installed:
        monkeypatch.setattr(runtime, "version", lambda: None)
    with pytest.raises(ExportError, match=r"weight: it decodes to weights that are up to"):
        export(described, tmp_path / "net.onnx", Recipe.of(BASE11))
    assert [*tmp_path.iterdir()] == []


def test_a_wrong_graph_is_found(described, tmp_path, monkeypatch):
    from qinspect.targets.graph.digits import Digits

    def wrong(form):
        nodes, constants = right(form)
        swapped = [[b"Add" if piece == b"Mul" else piece for piece in node] for node in nodes]
        return swapped, constants

    right = Digits.nodes
    monkeypatch.setattr(Digits, "nodes", wrong)
    with pytest.raises(ExportError, match="onnxruntime decodes it to weights"):
        export(described, tmp_path / "net.onnx", Recipe.of(BASE11))


def test_a_model_of_operators_that_onnxruntime_lacks(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Strange", ["x", "w"], ["y"], domain="somewhere")], "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.ones((64, 4), np.float32), "w")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("somewhere", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "in.onnx")
    with open_checkpoint(tmp_path / "in.onnx") as checkpoint:
        plan = registry["onnx"]().plan(checkpoint, Recipe.of(BASE11))
        report = registry["onnx"]().write(checkpoint, plan, tmp_path / "out.onnx")
    assert "the whole model, as the original, needs operators that it lacks" in report.proof


def test_digits_in_a_users_model_are_opened_as_the_weights_they_hold(tmp_path):
    """Whatever takes them: products from either side, turned, convolved, gathered, shared."""
    onnx.save(users_model(), tmp_path / "in.onnx")
    export(tmp_path / "in.onnx", tmp_path / "out.onnx", Recipe.of(BASE11))
    with open_checkpoint(tmp_path / "in.onnx") as source, open_checkpoint(tmp_path / "out.onnx") as written:
        held = {info.metadata["initializer"].removesuffix("_quantized"): info for info in written.infos if info.qtype}
        assert set(held) == NAMES
        for info in source.infos:
            if (packed := held.get(info.metadata["initializer"])) is not None:
                assert packed.shape == info.shape
                found = written.load(packed.name)
                expected = decoded(np.asarray(source.load(info.name)), BASE11)
                np.testing.assert_array_equal(found.scheme.dequantize(found), expected, err_msg=info.name)

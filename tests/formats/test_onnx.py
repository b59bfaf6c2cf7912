"""The ONNX reader against the onnx library and onnxruntime, on models built here."""

import os

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from qinspect.errors import FormatError
from qinspect.formats.open import open_checkpoint
from qinspect.quant.scheme import QTensor

RNG = np.random.default_rng(0)
MS = "com.microsoft"
FLOAT = TensorProto.FLOAT


def model(nodes, tensors, outputs=(), inputs=(), opset=25):
    """A model; `tensors` are arrays by name, or finished tensors."""
    made = [t if isinstance(t, TensorProto) else numpy_helper.from_array(t, name) for name, t in dict(tensors).items()]
    describe = [[helper.make_tensor_value_info(name, FLOAT, None) for name in names] for names in (inputs, outputs)]
    graph = helper.make_graph(list(nodes), "g", *describe, made)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=13, producer_name="tests")


@pytest.fixture
def opened(tmp_path):
    """Opens a model, or the arguments of `model`."""
    made = []

    def save(built, *more, **options):
        path = tmp_path / f"{len(made)}.onnx"
        onnx.save(built if isinstance(built, onnx.ModelProto) else model(built, *more, **options), path)
        made.append(open_checkpoint(path))
        return made[-1]

    yield save
    for checkpoint in made:
        checkpoint.close()


def decoded(checkpoint, name, rows=None):
    loaded = checkpoint.load(name, rows)
    return loaded.scheme.dequantize(loaded) if isinstance(loaded, QTensor) else loaded


def names(checkpoint):
    return [info.name for info in checkpoint.infos]


def run(built, feeds, outputs=None):
    """What onnxruntime computes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(built.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(outputs, feeds)


PLAIN = {
    "F32": np.float32, "F64": np.float64, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "I64": np.int64,
    "I32": np.int32, "I16": np.int16, "I8": np.int8, "U64": np.uint64, "U32": np.uint32, "U16": np.uint16,
    "U8": np.uint8, "BOOL": np.bool_, "C64": np.complex64, "C128": np.complex128, "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz, "F8_E8M0": ml_dtypes.float8_e8m0fnu, "F4": ml_dtypes.float4_e2m1fn,
    "I4": ml_dtypes.int4, "U4": ml_dtypes.uint4, "I2": ml_dtypes.int2, "U2": ml_dtypes.uint2,
}  # fmt: skip


class TestPlainTensors:
    @pytest.mark.parametrize("raw", [True, False])
    def test_every_type(self, opened, raw):
        proto = {}
        for name, dtype in PLAIN.items():
            values = np.array([[1, 1, 1], [2, 1, 3], [0, 2, 1]][: 2 if name == "F8_E8M0" else 3]).astype(dtype)
            if name.startswith(("I", "F8_E4M3", "F4")) and name != "F8_E8M0":
                values[0] = np.array([-1, 1, -2]).astype(dtype)
            tensor = numpy_helper.from_array(values, name)
            proto[name] = tensor if raw else typed(tensor)
            np.testing.assert_array_equal(numpy_helper.to_array(proto[name]), values)
        checkpoint = opened([], proto)
        assert names(checkpoint) == list(PLAIN)
        for name, tensor in proto.items():
            expected, loaded = numpy_helper.to_array(tensor), checkpoint.load(name)
            assert (checkpoint.info(name).dtype, loaded.shape) == (name, expected.shape)
            assert loaded.dtype == expected.dtype
            np.testing.assert_array_equal(loaded.astype(np.complex128), expected.astype(np.complex128))
            assert checkpoint.load(name, slice(1, 3)).tobytes() == loaded[1:3].tobytes()
            assert not loaded.flags.writeable
        assert checkpoint.info("I4").nbytes == (5 if raw else checkpoint.info("I4").nbytes)

    def test_texts_are_listed_and_not_loaded(self, opened):
        checkpoint = opened([], {"s": helper.make_tensor("s", TensorProto.STRING, [2], [b"a", b"b"])})
        assert checkpoint.info("s").dtype == "STRING"
        with pytest.raises(Exception, match="STRING cannot be read"):
            checkpoint.load("s")

    def test_metadata_and_constants(self, opened):
        w = RNG.standard_normal((3, 4)).astype(np.float32)
        nodes = [
            helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(w)),
            helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([1, 2]))),
            helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.float32(1))),
        ]
        built = model(nodes, {"b": w[0]})
        helper.set_model_props(built, {"license": "mit"})
        checkpoint = opened(built)
        assert names(checkpoint) == ["w", "b"]
        np.testing.assert_array_equal(checkpoint.load("w"), w)
        said = {"license": "mit", "onnx.producer_name": "tests", "onnx.opset.ai.onnx": "25", "onnx.ir_version": "13"}
        assert said.items() <= checkpoint.metadata.items()

    def test_graphs_in_nodes(self, opened):
        w = RNG.standard_normal((2, 2)).astype(np.float32)
        inner = helper.make_graph([], "i", [], [], [numpy_helper.from_array(w, "w")])
        branches = {"then_branch": inner, "else_branch": inner}
        nodes = [helper.make_node("If", ["c"], ["y"], name="choose", **branches)]
        checkpoint = opened(nodes, {"w": 2 * w, "c": np.array(True)})
        assert sorted(names(checkpoint)) == ["c", "choose.else_branch.w", "choose.then_branch.w", "w"]
        np.testing.assert_array_equal(checkpoint.load("choose.then_branch.w"), w)
        np.testing.assert_array_equal(checkpoint.load("w"), 2 * w)

    def test_weights_lie_as_torch_has_them_and_have_the_names_of_layers(self, opened):
        w, square = RNG.standard_normal((6, 4)).astype(np.float32), np.eye(4, dtype=np.float32)
        nodes = [
            helper.make_node("MatMul", ["x", "onnx::MatMul_7"], ["a"], name="/encoder/layer.0/query/MatMul"),
            helper.make_node("Gemm", ["a", "fc.weight"], ["b"], name="/fc/Gemm", transB=1),
            helper.make_node("Gemm", ["b", "columns"], ["c"], name="/fc2/Gemm"),
            helper.make_node("MatMul", ["c", "both"], ["d"]),
            helper.make_node("MatMul", ["both", "d"], ["e"]),
            helper.make_node("Add", ["e", "val_3"], ["f"]),
        ]
        tensors = {"onnx::MatMul_7": w, "fc.weight": w.T, "columns": w.T[:, :4], "both": square, "val_3": w[0, :4]}
        checkpoint = opened(nodes, tensors)
        assert names(checkpoint) == ["encoder.layer.0.query.weight", "fc.weight", "columns", "both", "val_3"]
        np.testing.assert_array_equal(checkpoint.load("encoder.layer.0.query.weight"), w.T)
        np.testing.assert_array_equal(checkpoint.load("encoder.layer.0.query.weight", slice(1, 3)), w.T[1:3])
        np.testing.assert_array_equal(checkpoint.load("fc.weight"), w.T)
        np.testing.assert_array_equal(checkpoint.load("columns"), w[:4])
        assert checkpoint.info("encoder.layer.0.query.weight").metadata["initializer"] == "onnx::MatMul_7"
        assert any("[outputs, inputs]" in note for note in checkpoint.notes)

    def test_made_up_names_that_would_clash_stay(self, opened):
        w = np.ones((2, 2), np.float32)
        nodes = [helper.make_node("Add", ["x", f"onnx::Add_{i}"], [f"y{i}"], name="/a/Add") for i in range(2)]
        assert names(opened(nodes, {"onnx::Add_0": w, "onnx::Add_1": w})) == ["onnx::Add_0", "onnx::Add_1"]


def typed(tensor):
    """The same tensor with its values in the field of their type, as the library writes them there."""
    values = numpy_helper.to_array(tensor)
    if values.dtype.kind == "V" or values.dtype.name.startswith(("float8", "float4", "int4", "uint4", "int2", "uint2")):
        made = TensorProto(data_type=tensor.data_type, dims=tensor.dims, name=tensor.name)
        width = 2 if values.dtype == ml_dtypes.bfloat16 else 1
        made.int32_data.extend(np.frombuffer(tensor.raw_data, f"<u{width}").tolist())
        return made
    flat = values.reshape(-1)
    return helper.make_tensor(tensor.name, tensor.data_type, tensor.dims, flat.tolist())


class TestExternalData:
    @pytest.fixture
    def folder(self, tmp_path):
        """A model whose weights lie in `w.bin` beside it, and those weights."""
        w = RNG.standard_normal((300, 200)).astype(np.float32)
        built = model([], {"w": w, "v": w[:7] * 2})
        (tmp_path / "m").mkdir()
        onnx.save(built, tmp_path / "m" / "a.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
        return tmp_path / "m", w

    def test_is_read_where_it_lies(self, folder):
        path, w = folder
        with open_checkpoint(path / "a.onnx") as checkpoint:
            np.testing.assert_array_equal(checkpoint.load("w"), w)
            np.testing.assert_array_equal(checkpoint.load("v", slice(2, 4)), 2 * w[2:4])
            assert checkpoint.files == (path / "a.onnx", path / "w.bin")
        with pytest.raises(FormatError, match="closed"):
            checkpoint.load("w")

    def test_links_of_the_hub_cache_are_followed(self, folder, tmp_path):
        path, w = folder
        repo = tmp_path / "models--a--b"
        snapshot = repo / "snapshots" / "0123" / "onnx"
        snapshot.mkdir(parents=True)
        (repo / "blobs").mkdir()
        for name, blob in (("a.onnx", "111"), ("w.bin", "222")):
            (path / name).rename(repo / "blobs" / blob)
            (snapshot / name).symlink_to(repo / "blobs" / blob)
        with open_checkpoint(snapshot / "a.onnx") as checkpoint:
            np.testing.assert_array_equal(checkpoint.load("w"), w)

    def test_a_link_to_the_model_finds_what_lies_beside_the_model(self, folder, tmp_path):
        path, w = folder
        (tmp_path / "link.onnx").symlink_to(path / "a.onnx")
        with open_checkpoint(tmp_path / "link.onnx") as checkpoint:
            np.testing.assert_array_equal(checkpoint.load("w"), w)

    def test_links_that_leave_the_folder_are_refused(self, folder, tmp_path):
        path, _ = folder
        (path / "w.bin").rename(tmp_path / "elsewhere")
        (path / "w.bin").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(FormatError, match=r"w\.bin, a link out of the model's folder"):
            open_checkpoint(path / "a.onnx")

    def test_blobs_that_are_a_link_themselves_are_refused(self, folder, tmp_path):
        path, _ = folder
        snapshot = tmp_path / "evil" / "snapshots" / "1"
        snapshot.mkdir(parents=True)
        (tmp_path / "outside").mkdir()
        (tmp_path / "evil" / "blobs").symlink_to(tmp_path / "outside")
        (path / "w.bin").rename(tmp_path / "outside" / "w")
        (snapshot / "w.bin").symlink_to(tmp_path / "outside" / "w")
        (path / "a.onnx").rename(snapshot / "a.onnx")
        with pytest.raises(FormatError, match="a link out of the model's folder"):
            open_checkpoint(snapshot / "a.onnx")

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"location": "../m/w.bin"}, "no file below"),
            ({"location": "/etc/passwd"}, "no file below"),
            ({"location": "a\\..\\..\\w"}, "no file below"),
            ({"location": "C:\\w"}, "no file below"),
            ({"location": ""}, "no file below"),
            ({"location": "w\x00"}, "no file below"),
            ({"location": "missing.bin"}, "missing: put that file beside the model"),
            ({"location": "."}, "not a regular file|cannot be read"),
            ({"offset": "-4"}, "no count"),
            ({"offset": "1e3"}, "no count"),
            ({"offset": "99999999999999999999999"}, "no count"),
            ({"offset": "18446744073709551612"}, "truncated"),
            ({"length": "16"}, "16 bytes are kept for it"),
            ({"length": "-1"}, "no count"),
            ({"offset": "240000"}, r"w\.bin: w: the file is truncated"),
        ],
    )
    def test_lies_are_refused(self, folder, change, text):
        path, _ = folder
        built = onnx.load(path / "a.onnx", load_external_data=False)
        tensor = built.graph.initializer[0]
        told = {entry.key: entry.value for entry in tensor.external_data} | change
        del tensor.external_data[:]
        for key, value in told.items():
            tensor.external_data.add(key=key, value=value)
        (path / "b.onnx").write_bytes(built.SerializeToString())
        with pytest.raises(FormatError, match=text) as caught:
            open_checkpoint(path / "b.onnx")
        assert str(caught.value).isprintable()

    def test_a_file_that_changes_is_an_error(self, folder):
        path, _ = folder
        with open_checkpoint(path / "a.onnx") as checkpoint:
            assert checkpoint.recent("v") is checkpoint.recent("v")
            os.truncate(path / "w.bin", 1000)
            with pytest.raises(FormatError, match="has changed"):
                checkpoint.recent("v")
            with pytest.raises(FormatError, match=r"w\.bin: v: the file has changed|w\.bin.*has changed"):
                checkpoint.load("v")


INTEGERS = {
    "int8": np.int8, "uint8": np.uint8, "int16": np.int16, "uint16": np.uint16, "int4": ml_dtypes.int4,
    "uint4": ml_dtypes.uint4, "int2": ml_dtypes.int2, "uint2": ml_dtypes.uint2,
}  # fmt: skip


def some_codes(kind, shape):
    bits, signed = int(kind.lstrip("uint")), kind.startswith("i")
    low = -(1 << bits - 1) if signed else 0
    return RNG.integers(low, low + (1 << bits), shape).astype(INTEGERS[kind])


def some_scales(shape):
    return RNG.uniform(0.01, 0.1, shape).astype(np.float32)


def dequantize(codes, scale, zero=None, **attributes):
    """The node, its tensors, and what the reference evaluator of onnx makes of them."""
    tensors = {"w_quantized": codes, "w_scale": scale} | ({} if zero is None else {"w_zero_point": zero})
    node = helper.make_node("DequantizeLinear", [*tensors], ["w_dq"], name="dq", **attributes)
    (expected,) = ReferenceEvaluator(model([node], tensors, ["w_dq"])).run(None, {})
    return node, tensors, expected


SHARING = {
    "tensor": ((6, 8), (), {}),
    "one": ((6, 8), (1,), {}),
    "rows": ((6, 8), (6,), {"axis": 0}),
    "columns": ((6, 8), (8,), {"axis": 1}),
    "last": ((6, 8), (8,), {"axis": -1}),
    "default axis": ((6, 8), (8,), {}),
    "blocks along rows": ((6, 8), (6, 2), {"axis": 1, "block_size": 4}),
    "blocks down columns": ((6, 8), (2, 8), {"axis": 0, "block_size": 3}),
    "convolution": ((6, 4, 3, 3), (6,), {"axis": 0}),
    "input channels": ((6, 4, 3, 3), (4,), {"axis": 1}),
    "inner axis": ((6, 4, 3, 5), (3,), {"axis": 2}),
    "vector": ((24,), (), {}),
    "vector by element": ((24,), (24,), {"axis": 0}),
    "experts": ((3, 4, 8), (3, 4, 2), {"axis": 2, "block_size": 4}),
}


class TestDequantizeLinear:
    @pytest.mark.parametrize("case", SHARING)
    @pytest.mark.parametrize("kind", ["int8", "uint4", "int16"])
    @pytest.mark.parametrize("with_zero", [False, True])
    def test_decodes_as_the_reference(self, opened, case, kind, with_zero):
        shape, params, attributes = SHARING[case]
        codes, scale = some_codes(kind, shape), some_scales(params)
        zero = some_codes(kind, params) if with_zero else None
        node, tensors, expected = dequantize(codes, scale, zero, **attributes)
        checkpoint = opened([node], tensors)
        (info,) = checkpoint.infos
        assert (info.name, info.shape, info.dtype) == ("w", shape, "F32")
        assert info.qtype.startswith(kind)
        stored = sum(len(tensor.raw_data) for tensor in model([node], tensors).graph.initializer)
        assert info.nbytes == stored
        np.testing.assert_array_equal(decoded(checkpoint, "w"), expected)
        if len(shape) > 1:
            np.testing.assert_array_equal(decoded(checkpoint, "w", slice(1, 3)), expected[1:3])

    @pytest.mark.parametrize("kind", INTEGERS)
    @pytest.mark.parametrize("case", ["tensor", "rows", "columns", "blocks along rows", "blocks down columns"])
    def test_weights_of_a_matmul_are_turned(self, opened, case, kind):
        shape, params, attributes = SHARING[case]
        node, tensors, expected = dequantize(
            some_codes(kind, shape), some_scales(params), some_codes(kind, params), **attributes
        )
        taker = helper.make_node("MatMul", ["x", "w_dq"], ["y"], name="/fc/MatMul")
        checkpoint = opened([node, taker], tensors)
        np.testing.assert_array_equal(decoded(checkpoint, "w"), expected.T)
        np.testing.assert_array_equal(decoded(checkpoint, "w", slice(2, 5)), expected.T[2:5])
        scheme = checkpoint.load("w").scheme
        if case.startswith("blocks down"):
            assert scheme.block == (1, 3)

    @pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"])
    @pytest.mark.parametrize("case", ["tensor", "rows", "blocks along rows"])
    def test_small_floats(self, opened, dtype, case):
        shape, params, attributes = SHARING[case]
        codes = RNG.standard_normal(shape).astype(getattr(ml_dtypes, dtype))
        node, tensors, expected = dequantize(codes, some_scales(params), **attributes)
        checkpoint = opened([node], tensors)
        np.testing.assert_array_equal(decoded(checkpoint, "w"), expected)

    def test_not_a_number_among_small_floats_is_an_error(self, opened):
        codes = np.array([[1, np.nan]]).astype(ml_dtypes.float8_e4m3fn)
        node, tensors, _ = dequantize(codes, some_scales(()))
        with pytest.raises(FormatError, match="stand for no number"):
            decoded(opened([node], tensors), "w")

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_scales(self, opened, dtype):
        dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
        codes, scale = some_codes("int8", (6, 8)), some_scales((6,)).astype(dtype)
        node, tensors, _ = dequantize(codes, scale, axis=0)
        checkpoint = opened([node], tensors)
        expected = codes.astype(np.float32) * scale.astype(np.float32)[:, None]
        np.testing.assert_array_equal(decoded(checkpoint, "w"), expected)
        assert checkpoint.info("w").dtype == {"float16": "F16", "bfloat16": "BF16"}[dtype.name]

    def test_biases_of_32_bits_are_decoded(self, opened):
        codes = RNG.integers(-(1 << 20), 1 << 20, 5, np.int32)
        node, tensors, expected = dequantize(codes, some_scales((5,)), axis=0)
        checkpoint = opened([node], tensors)
        (info,) = checkpoint.infos
        assert (info.qtype, info.dtype, info.nbytes) == (None, "F32", 40)
        np.testing.assert_array_equal(checkpoint.load("w"), expected)

    @pytest.mark.parametrize("kind", ["int8", "uint8", "int4"])
    @pytest.mark.parametrize("case", ["tensor", "rows", "blocks along rows"])
    def test_weights_that_the_graph_rounds_are_shown_as_rounded(self, opened, kind, case):
        shape, params, attributes = SHARING[case]
        w, scale, zero = RNG.standard_normal(shape).astype(np.float32), some_scales(params), some_codes(kind, params)
        nodes = [
            helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"], **attributes),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], **attributes),
        ]
        tensors = {"w": w, "s": scale, "z": zero}
        (expected,) = ReferenceEvaluator(model(nodes, tensors, ["d"])).run(None, {})
        checkpoint = opened(nodes, tensors)
        assert names(checkpoint) == ["w"]
        np.testing.assert_array_equal(decoded(checkpoint, "w"), expected)
        assert checkpoint.info("w").nbytes > w.nbytes

    @pytest.mark.parametrize(
        ("scale", "zero", "attributes", "text"),
        [
            ((5,), None, {"axis": 0}, r"scale has shape \[5\] where \[6\]"),
            ((6,), (5,), {"axis": 0}, r"zero point has shape \[5\] where \[6\]"),
            ((6, 3), None, {"axis": 1, "block_size": 4}, r"scale has shape \[6, 3\] where \[6, 2\]"),
            ((8,), None, {"axis": 2}, "along axis 2"),
            ((8,), None, {"axis": 1, "block_size": -1}, "block_size.*no count"),
        ],
    )
    def test_parts_that_do_not_fit_are_an_error(self, opened, scale, zero, attributes, text):
        tensors = {"q": some_codes("int8", (6, 8)), "s": some_scales(scale)}
        tensors |= {} if zero is None else {"z": some_codes("int8", zero)}
        with pytest.raises(FormatError, match=text) as caught:
            opened([helper.make_node("DequantizeLinear", [*tensors], ["d"], name="dq", **attributes)], tensors)
        assert "q" in str(caught.value)

    def test_what_cannot_be_decoded_is_shown_as_it_is(self, opened):
        tensors = {"q": some_codes("int8", (3, 4, 8)), "s": some_scales((3, 2, 8))}
        node = helper.make_node("DequantizeLinear", ["q", "s"], ["d"], axis=1, block_size=2)
        checkpoint = opened([node], tensors)
        assert checkpoint.info("q").dtype == "I8"
        assert any("q is shown as it is stored: blocks of 2 along axis 1" in note for note in checkpoint.notes)


def n_bits(rows, cols, block, bits, zero):
    """A `MatMulNBits` with random codes and its tensors; `zero` is None, "packed" or "float"."""
    across = -(-cols // block)
    tensors = {
        "w_Q4": RNG.integers(0, 256, (rows, across, block * bits // 8), np.uint8),
        "w_scales": some_scales((rows, across)),
    }
    if zero == "packed":
        tensors["w_zp"] = RNG.integers(0, 256, (rows, -(-across * bits // 8)), np.uint8)
    elif zero == "float":
        tensors["w_zp"] = RNG.uniform(0, 1 << bits, (rows, across)).astype(np.float32)
    attributes = {"K": cols, "N": rows, "block_size": block, "bits": bits}
    return helper.make_node(
        "MatMulNBits", ["x", *tensors], ["y"], name="/fc/MatMul_Q4", domain=MS, **attributes
    ), tensors


class TestOperatorsOfOnnxruntime:
    @pytest.mark.parametrize("bits", [2, 4, 8])
    @pytest.mark.parametrize("zero", [None, "packed", "float"])
    @pytest.mark.parametrize(("rows", "cols", "block"), [(24, 64, 16), (5, 96, 32), (8, 80, 32)])
    def test_matmul_n_bits(self, opened, bits, zero, rows, cols, block):
        if bits == 8 and zero == "float":
            pytest.skip("onnxruntime does not run it")
        node, tensors = n_bits(rows, cols, block, bits, zero)
        built = model([node], tensors, ["y"], ["x"])
        checkpoint = opened(built)
        (info,) = checkpoint.infos
        assert (info.name, info.shape, info.qtype) == ("w", (rows, cols), f"MatMulNBits {bits}-bit g{block}")
        assert info.nbytes == sum(array.nbytes for array in tensors.values())
        (expected,) = run(built, {"x": np.eye(cols, dtype=np.float32)})
        np.testing.assert_allclose(decoded(checkpoint, "w"), expected.T, rtol=2e-6, atol=2e-7)
        np.testing.assert_array_equal(decoded(checkpoint, "w", slice(2, 4)), decoded(checkpoint, "w")[2:4])

    def test_matmul_n_bits_with_columns_in_another_order(self, opened):
        node, tensors = n_bits(4, 64, 32, 4, "packed")
        node.input.append("g_idx")
        for order, shown in ((np.arange(64) // 32, ["w"]), (np.arange(64) % 2, ["w_Q4", "w_scales", "w_zp", "g_idx"])):
            checkpoint = opened([node], tensors | {"g_idx": order.astype(np.int32)})
            assert names(checkpoint) == shown

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"K": 128}, "its node needs"),
            ({"N": 5}, "its node needs"),
            ({"block_size": 16}, "its node needs"),
            ({"N": -1}, "attribute N of its MatMulNBits is no count"),
            ({"K": 1 << 62}, "no count"),
        ],
    )
    def test_matmul_n_bits_that_lies(self, opened, change, text):
        node, tensors = n_bits(4, 64, 32, 4, None)
        for attribute in node.attribute:
            attribute.i = change.get(attribute.name, attribute.i)
        with pytest.raises(FormatError, match=text):
            opened([node], tensors)

    @pytest.mark.parametrize("kind", [0, 1])
    def test_matmul_bnb4(self, opened, kind):
        tensors = {"w": RNG.integers(0, 256, 24 * 64 // 2, np.uint8), "absmax": some_scales(24 * 64 // 16)}
        attributes = {"K": 64, "N": 24, "block_size": 16, "quant_type": kind}
        node = helper.make_node("MatMulBnb4", ["x", "w", "absmax"], ["y"], name="m", domain=MS, **attributes)
        built = model([node], tensors, ["y"], ["x"])
        checkpoint = opened(built)
        assert checkpoint.info("w").qtype == ("FP4 g16", "NF4 g16")[kind]
        (expected,) = run(built, {"x": np.eye(64, dtype=np.float32)})
        np.testing.assert_allclose(decoded(checkpoint, "w"), expected.T, rtol=2e-6, atol=1e-9)

    @pytest.mark.parametrize("zero", [False, True])
    @pytest.mark.parametrize("dtype", ["uint8", "int4", "uint4"])
    def test_gather_block_quantized(self, opened, dtype, zero):
        packed = dtype == "uint8"
        codes = some_codes(dtype, (20, 32 if packed else 64))
        tensors = {"w": codes, "s": some_scales((20, 4))}
        if zero:
            tensors["z"] = some_codes(dtype, (20, 2 if packed else 4))
        inputs = ["w", "ids", "s", *(["z"] if zero else [])]
        attributes = {"block_size": 16, "quantize_axis": 1, "gather_axis": 0} | ({"bits": 4} if packed else {})
        node = helper.make_node("GatherBlockQuantized", inputs, ["y"], domain=MS, **attributes)
        built = model([node], tensors, ["y"])
        built.graph.input.append(helper.make_tensor_value_info("ids", TensorProto.INT64, [None]))
        checkpoint = opened(built)
        (expected,) = run(built, {"ids": np.arange(20)})
        assert checkpoint.info("w").shape == (20, 64)
        np.testing.assert_allclose(decoded(checkpoint, "w"), expected, rtol=1e-6, atol=1e-7)


class TestQuantizersOfOnnxruntime:
    """Whole models as its quantizers write them; fed with the unit matrix, a layer's output is its weights."""

    K, N = 48, 20

    @pytest.fixture
    def source(self, tmp_path):
        """A model of two layers; its path, and its weights."""
        w = RNG.standard_normal((self.K, self.N)).astype(np.float32)
        kernel = RNG.standard_normal((8, 3, 3, 3)).astype(np.float32)
        nodes = [
            helper.make_node("MatMul", ["x", "onnx::MatMul_12"], ["y"], name="/encoder/query/MatMul"),
            helper.make_node("Conv", ["img", "conv.weight"], ["z"], name="/conv/Conv"),
        ]
        built = model(nodes, {"onnx::MatMul_12": w, "conv.weight": kernel}, ["y", "z"], opset=21)
        for name, shape in (("x", ["n", self.K]), ("img", [1, 3, 8, 8])):
            built.graph.input.append(helper.make_tensor_value_info(name, FLOAT, shape))
        onnx.save(built, tmp_path / "f.onnx")
        return tmp_path / "f.onnx", w, kernel

    @pytest.mark.parametrize("per_channel", [False, True])
    @pytest.mark.parametrize("kind", [QuantType.QInt8, QuantType.QUInt8])
    def test_dynamic(self, source, per_channel, kind):
        path, _, kernel = source
        out = path.with_name("q.onnx")
        quantize_dynamic(path, out, per_channel=per_channel, weight_type=kind)
        with open_checkpoint(out) as checkpoint:
            assert {"encoder.query.weight", "conv.weight"} <= set(names(checkpoint))
            weights = decoded(checkpoint, "encoder.query.weight")
            feeds = {"x": np.eye(self.K, dtype=np.float32), "img": np.zeros((1, 3, 8, 8), np.float32)}
            np.testing.assert_allclose(weights.T, run(onnx.load(out), feeds, ["y"])[0], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(decoded(checkpoint, "conv.weight"), kernel, atol=0.02)
            assert checkpoint.info("encoder.query.weight").qtype == kind.name[1:].lower() + " channel" * per_channel

    @pytest.mark.parametrize("per_channel", [False, True])
    @pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
    def test_static(self, source, form, per_channel):
        path, w, kernel = source
        out = path.with_name("q.onnx")

        class Samples(CalibrationDataReader):
            left = 2

            def get_next(self):
                self.left -= 1
                feeds = {"x": np.eye(TestQuantizersOfOnnxruntime.K, dtype=np.float32)}
                return (feeds | {"img": np.ones((1, 3, 8, 8), np.float32)}) if self.left >= 0 else None

        quantize_static(path, out, Samples(), quant_format=form, per_channel=per_channel)
        with open_checkpoint(out) as checkpoint:
            assert sorted(names(checkpoint)) == ["conv.weight", "encoder.query.weight"]
            np.testing.assert_allclose(decoded(checkpoint, "encoder.query.weight"), w.T, atol=0.02)
            np.testing.assert_allclose(decoded(checkpoint, "conv.weight"), kernel, atol=0.02)
            assert any("scales and zero points of activations" in note for note in checkpoint.notes)


class TestDamage:
    def test_half_a_file_says_so(self, tmp_path):
        onnx.save(model([], {"w": np.ones((50, 50), np.float32)}), tmp_path / "a.onnx")
        data = (tmp_path / "a.onnx").read_bytes()
        (tmp_path / "a.onnx").write_bytes(data[: len(data) // 2])
        with pytest.raises(FormatError, match=rf"truncated: expected 10030 bytes, has {len(data) // 2}"):
            open_checkpoint(tmp_path / "a.onnx")  # what follows the graph is not known

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            (lambda t: t.dims.__setitem__(0, -1), "no short list of counts"),
            (lambda t: t.dims.__setitem__(0, 1 << 62), "do not hold"),
            (lambda t: t.dims.extend([1] * 100), "no short list of counts"),
            (lambda t: setattr(t, "raw_data", b"123"), "3 bytes do not hold F32"),
            (lambda t: t.ClearField("raw_data"), "0 bytes do not hold F32"),
            (lambda t: setattr(t, "name", ""), "has no name"),
        ],
    )
    def test_tensors_that_lie(self, tmp_path, change, text):
        built = model([], {"w": np.ones((5, 5), np.float32)})
        change(built.graph.initializer[0])
        (tmp_path / "a.onnx").write_bytes(built.SerializeToString())
        with pytest.raises(FormatError, match=text):
            open_checkpoint(tmp_path / "a.onnx")

    def test_two_of_one_name(self, opened):
        built = model([], {"w": np.ones(2, np.float32)})
        built.graph.initializer.append(built.graph.initializer[0])
        with pytest.raises(FormatError, match="w: two tensors have this name"):
            opened(built)

    def test_values_that_are_too_few(self, opened):
        tensor = helper.make_tensor("w", TensorProto.INT8, [4], [1, 2, 3, 4])
        tensor.dims[0] = 5
        with pytest.raises(FormatError, match="4 values where its shape has 5"):
            opened([], {"w": tensor}).load("w")

    def test_graphs_without_end(self, opened):
        graph = helper.make_graph([], "g", [], [])
        for _ in range(30):
            graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=graph)], "g", [], [])
        with pytest.raises(FormatError, match="nests more than 16 graphs"):
            opened(helper.make_model(graph))

"""Codes and decoded weights of integer schemes against onnxruntime, torch and gguf-py, which know nothing of ours.

Another order of rounding may give a weight that lies between two levels the other one: within 1e-4 of a step from the
middle either is right. Everything else must be equal, decoded weights to the last bit.
"""

import numpy as np
import onnxruntime
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf import quants
from onnx import TensorProto, helper

from qinspect.quant.product import multiply
from qinspect.quant.scheme import make_scheme

MS = "com.microsoft"


@pytest.fixture(scope="module")
def w():
    return np.random.default_rng(3).standard_normal((48, 256)).astype(np.float32)


def same_codes(scheme, q, w, found):
    """All codes are equal, but for weights in the very middle of two levels."""
    codes, found = scheme.codes(q).astype(np.int64), np.asarray(found, np.int64)
    differ = codes != found
    step = np.broadcast_to(steps(q), w.shape)[differ]
    ours = scheme.dequantize(q)[differ]
    theirs = ours + (found - codes)[differ] * step
    # In float32 a weight's position among 65536 levels is known to 1/256 of a step.
    near = 1 / 256 if scheme.bits == 16 else 1e-4
    assert (np.abs(np.abs(w[differ] - ours) - np.abs(w[differ] - theirs)) <= 2 * near * step).all()
    assert differ.mean() < 4 * near


def steps(q):
    """The scale of every weight of a matrix: of the tensor, of a channel, or of its group."""
    scale, scheme = q.params["scale"].astype(np.float32), q.scheme
    if scheme.granularity == "group":
        return np.repeat(scale, scheme.group_size, axis=1)[:, : q.shape[1]]
    return scale if scheme.granularity == "tensor" else np.expand_dims(scale, 1 - scheme.axis)


def run(op, inputs, outputs, *, domain="", opset=21, **attributes):
    """What onnxruntime makes of one operator; `inputs` are (type, array), `outputs` types."""
    names = [f"in{i}" for i in range(len(inputs))]
    node = helper.make_node(op, names, [f"out{i}" for i in range(len(outputs))], domain=domain, **attributes)
    taken = [helper.make_tensor_value_info(n, t, a.shape) for n, (t, a) in zip(names, inputs, strict=True)]
    given = [helper.make_tensor_value_info(f"out{i}", t, None) for i, t in enumerate(outputs)]
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    model = helper.make_model(helper.make_graph([node], "one", taken, given), opset_imports=imports, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, (array for _, array in inputs), strict=True)))


INTEGERS = [
    ("symmetric", {"bits": 8}),
    ("symmetric", {"bits": 8, "granularity": "channel", "axis": 0}),
    ("symmetric", {"bits": 8, "granularity": "channel", "axis": 1}),
    ("symmetric", {"bits": 8, "granularity": "group", "group_size": 32}),
    ("symmetric", {"bits": 16}),
    ("symmetric", {"bits": 8, "calibration": "mse"}),
    ("asymmetric", {"bits": 8}),
    ("asymmetric", {"bits": 8, "granularity": "channel", "axis": 0}),
    ("asymmetric", {"bits": 8, "granularity": "group", "group_size": 64}),
    ("asymmetric", {"bits": 16, "granularity": "channel", "axis": 1}),
]


@pytest.mark.parametrize(("name", "parameters"), INTEGERS)
def test_onnx_quantizes_and_dequantizes_alike(w, name, parameters):
    scheme = make_scheme(name, **parameters)
    q = scheme.quantize(w)
    types = {("symmetric", 8): TensorProto.INT8, ("symmetric", 16): TensorProto.INT16}
    types |= {("asymmetric", 8): TensorProto.UINT8, ("asymmetric", 16): TensorProto.UINT16}
    kind = types[name, scheme.bits]
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    scale = q.params["scale"]
    zero = q.params.get("zero_point", np.zeros(scale.shape)).astype(dtype)
    if scheme.granularity == "tensor":
        scale, zero = scale.reshape(()), zero.reshape(())
    axis = {"group": 1, "channel": scheme.axis}.get(scheme.granularity, 1)
    block = {"block_size": scheme.group_size} if scheme.granularity == "group" else {}
    shared = [(TensorProto.FLOAT, scale), (kind, zero)]
    (codes,) = run("QuantizeLinear", [(TensorProto.FLOAT, w), *shared], [kind], axis=axis, **block)
    same_codes(scheme, q, w, codes)
    ours = scheme.codes(q).astype(dtype)
    (decoded,) = run("DequantizeLinear", [(kind, ours), *shared], [TensorProto.FLOAT], axis=axis, **block)
    assert np.array_equal(decoded, scheme.dequantize(q))


@pytest.mark.parametrize("group", [16, 32, 128])
@pytest.mark.parametrize("name", ["symmetric", "asymmetric"])
def test_onnx_multiplies_with_our_four_bit_bytes_as_they_are(w, name, group):
    """The blocks of `MatMulNBits` are ours, byte by byte: low nibble first, 8 standing for zero."""
    scheme = make_scheme(name, bits=4, granularity="group", group_size=group)
    q, x = scheme.quantize(w), np.random.default_rng(4).standard_normal((5, w.shape[1])).astype(np.float32)
    blocks = w.shape[1] // group
    inputs = [
        (TensorProto.FLOAT, x),
        (TensorProto.UINT8, np.asarray(q.data).reshape(len(w), blocks, group // 2)),
        (TensorProto.FLOAT, q.params["scale"].reshape(-1)),
    ]
    if name == "asymmetric":
        zero = q.params["zero_point"].reshape(len(w), -1)
        inputs.append((TensorProto.UINT8, (zero[:, 0::2] | zero[:, 1::2] << 4).astype(np.uint8).reshape(-1)))
    attributes = {"K": w.shape[1], "N": len(w), "bits": 4, "block_size": group}
    (y,) = run("MatMulNBits", inputs, [TensorProto.FLOAT], domain=MS, **attributes)
    exact = x.astype(np.float64) @ scheme.dequantize(q).astype(np.float64).T
    np.testing.assert_allclose(y, exact, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("a", "b"), [("symmetric", "symmetric"), ("asymmetric", "symmetric"), ("asymmetric",) * 2])
def test_integer_products_are_those_of_onnx(w, a, b):
    """Both as bytes with a zero point, whose sums no processor saturates."""
    qa = make_scheme(a, bits=8).quantize(w)
    qb = make_scheme(b, bits=8).quantize(np.random.default_rng(5).standard_normal((256, 30)).astype(np.float32))
    inputs, zeros = [], []
    for q in (qa, qb):
        low = q.scheme.code_range[0]
        inputs.append((TensorProto.UINT8, (q.scheme.codes(q) - low).astype(np.uint8)))
        zeros.append((TensorProto.UINT8, (q.params.get("zero_point", np.array([-low]))).astype(np.uint8).reshape(())))
    (sums,) = run("MatMulInteger", [*inputs, *zeros], [TensorProto.INT32])
    assert np.array_equal(multiply(qa, qb).accumulator, sums)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")  # it will move to another package
@pytest.mark.parametrize(("name", "dtype"), [("symmetric", torch.qint8), ("asymmetric", torch.quint8)])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_torch_quantizes_and_dequantizes_alike(w, name, dtype, granularity):
    scheme = make_scheme(name, bits=8, granularity=granularity)
    q, x = scheme.quantize(w), torch.from_numpy(w)
    scale = torch.from_numpy(q.params["scale"].copy())
    zero = torch.from_numpy(q.params.get("zero_point", np.zeros(scale.shape)).astype(np.int64))
    if granularity == "tensor":
        theirs = torch.quantize_per_tensor(x, float(scale), int(zero), dtype)
    else:
        theirs = torch.quantize_per_channel(x, scale.double(), zero, 0, dtype)
    codes = theirs.int_repr().numpy()
    same_codes(scheme, q, w, codes)
    equal = codes == scheme.codes(q)
    assert np.array_equal(theirs.dequantize().numpy()[equal], scheme.dequantize(q)[equal])


def halves(codes):
    """As blocks of ggml have nibbles: the first half of the block in the low ones."""
    codes = codes.astype(np.uint8).reshape(-1, 2, 16)
    return codes[:, 0] | codes[:, 1] << 4


GGML = {
    Type.Q8_0: ({"bits": 8}, "symmetric", lambda codes: codes.astype(np.int8).view(np.uint8).reshape(-1, 32)),
    Type.Q4_0: ({"bits": 4}, "symmetric", lambda codes: halves(codes + 8)),
    Type.Q4_1: ({"bits": 4, "offset": "minimum"}, "asymmetric", halves),
}


@pytest.mark.parametrize("kind", GGML, ids=lambda kind: kind.name)
def test_our_codes_and_scales_decode_alike_in_blocks_of_ggml(w, kind):
    parameters, name, packed = GGML[kind]
    scheme = make_scheme(name, granularity="group", group_size=32, param_dtype="float16", **parameters)
    q = scheme.quantize(w)
    scales = np.stack([array.reshape(-1) for array in q.params.values()], axis=1)
    blocks = np.concatenate([scales.view(np.uint8), packed(scheme.codes(q))], axis=1)
    assert blocks.size == q.nbytes
    decoded = quants.dequantize(blocks.reshape(len(w), -1), kind)
    np.testing.assert_allclose(decoded, scheme.dequantize(q), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [Type.Q8_0, Type.Q4_1], ids=lambda kind: kind.name)
def test_the_error_is_that_of_ggml(w, kind):
    """It rounds with the scale that has not been rounded to half precision; the error is the same."""
    parameters, name, _ = GGML[kind]
    scheme = make_scheme(name, granularity="group", group_size=32, param_dtype="float16", **parameters)
    theirs = quants.dequantize(quants.quantize(w, kind), kind)
    noise = np.square(w.astype(np.float64) - theirs).sum()
    their_db = 10 * np.log10(np.square(w, dtype=np.float64).sum() / noise)
    assert scheme.measure(w).sqnr_db == pytest.approx(their_db, abs=0.02)


@pytest.mark.parametrize("kind", [Type.TQ1_0, Type.TQ2_0], ids=lambda kind: kind.name)
def test_ternary_by_the_largest_weight_is_that_of_ggml(w, kind):
    scheme = make_scheme("ternary", calibration="minmax", granularity="group", group_size=256, param_dtype="float16")
    theirs = quants.dequantize(quants.quantize(w, kind), kind)
    assert np.array_equal(scheme.dequantize(scheme.quantize(w)), theirs)

"""Quantized weights in an ONNX graph: which nodes decode them, and how.

A weight is what `DequantizeLinear` makes of constants, or the second operand of an operator that takes it quantized.
The formulas are in the operators' own documents: onnx/docs/Operators.md and onnxruntime/docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from qinspect.errors import FormatError, QInspectError, UnsupportedError
from qinspect.formats.affine import FLOATS, INTEGERS, SCALES, Packed, Sharing, decoded, packed_affine, spread
from qinspect.formats.dtypes import numpy_dtype
from qinspect.formats.onnx_digits import digits
from qinspect.formats.onnx_graph import TYPES, Graph, Node, Tensor
from qinspect.formats.onnx_uses import Uses, takes_columns
from qinspect.formats.onnx_weight import Weight, stored_input
from qinspect.formats.stored import Derived, Given, Source, Span
from qinspect.quant.decode_only import Blocked
from qinspect.quant.floats import ascending
from qinspect.quant.schemes.normal_float import NF4

OPERANDS = {
    "QLinearMatMul": (3, 4, 5, -1), "QLinearConv": (3, 4, 5, 0), "QGemm": (3, 4, 5, -1), "QAttention": (1, 4, 7, -1),
    "MatMulIntegerToFloat": (1, 3, 5, -1), "DynamicQuantizeMatMul": (1, 2, 3, -1),
    "MatMulInteger": (1, None, 3, -1), "ConvInteger": (1, None, 3, 0),
}  # fmt: skip
"""Operators with a quantized weight: which inputs are weight, scale and zero point, and the axis that scales go along.

Without an input for the scale it is what the result is multiplied with.
"""

_FP4 = (0.0, 5.208333333e-03, 0.66666667, 1.0, 0.33333333, 0.5, 0.16666667, 0.25)
"""The magnitudes of bitsandbytes' FP4 by the lower three bits of the pattern; the fourth is the sign."""


def weight_of(graph: Graph, node: Node, uses: Uses) -> Weight | None:
    """The quantized weight of a node, if it has one; FormatError where its parts contradict each other.

    UnsupportedError, which names the tensor, for a weight that cannot be decoded here.
    """
    if node.op not in _FINDERS:
        return None
    find, index = _FINDERS[node.op]
    try:
        return find(graph, node, uses)
    except QInspectError as error:
        raise error.within(tensor=node.inputs[index] if index < len(node.inputs) else node.name) from None


def _integer(node: Node, name: str, default: int | None = None) -> int:
    """An attribute; FormatError if it is no count."""
    value = node.attributes.get(name, default)
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise FormatError(f"the attribute {name} of its {node.op} is no count")
    return value


# Integers with a scale.


def _dequantized(graph: Graph, node: Node, uses: Uses) -> Weight | None:
    """What `DequantizeLinear` makes of constants, or of weights that the graph itself quantizes (trained so)."""
    codes, scale, zero = (stored_input(graph, node, index) for index in range(3))
    takers = uses.of(graph, node.outputs[0]) if node.outputs else []
    taker = takers[0][0] if takers else node
    if scale is None:
        return None
    if codes is None:
        codes = _rounded_in_graph(graph, node, scale, zero, uses)
    if codes is None or not codes.size:
        return None
    sharing = _sharing(node, codes.shape, scale)
    turned = len(codes.shape) == 2 and takes_columns(takers)
    if codes.dtype not in (*INTEGERS, *FLOATS):
        return _wide(codes, scale, zero, sharing, taker)
    return _affine(codes, scale, zero, sharing, taker, turned)


def _sharing(node: Node, shape: tuple[int, ...], scale: Tensor) -> Sharing:
    block = _integer(node, "block_size", 0)
    if scale.size == 1 and not block:
        return Sharing()
    axis = node.attributes.get("axis", 1)
    if type(axis) is not int or not -len(shape) <= axis < len(shape):
        raise FormatError(f"its {node.op} goes along axis {axis}, which {list(shape)} has not")
    return Sharing(axis % len(shape), block)


def _affine(codes: Tensor, scale: Tensor, zero: Tensor | None, sharing: Sharing, taker: Node, turned: bool) -> Weight:
    packed = packed_affine(codes, scale, zero, sharing, order=(1, 0) if turned else None)
    parts = (scale,) if zero is None else (scale, zero)
    return Weight(codes, parts, taker, packed.scheme.whole, scale.dtype, packed.scheme.label, packed, turned)


def _wide(codes: Tensor, scale: Tensor, zero: Tensor | None, sharing: Sharing, taker: Node) -> Weight | None:
    """Codes of 32 bits, as biases have."""
    if codes.dtype != "I32" or scale.dtype not in SCALES:
        return None
    parts = (scale,) if zero is None else (scale, zero)
    return Weight(codes, parts, taker, codes.shape, scale.dtype, None, decoded(codes, scale, zero, sharing))


def _rounded_in_graph(graph: Graph, node: Node, scale: Tensor, zero: Tensor | None, uses: Uses) -> Tensor | None:
    """The codes that a `QuantizeLinear` of stored weights will give to `node`."""
    maker = uses.maker(graph, node.inputs[0]) if node.inputs else None
    weights = stored_input(graph, maker, 0) if maker is not None and maker.op == "QuantizeLinear" else None
    if maker is None or weights is None or weights.dtype not in SCALES:
        return None
    dtype = zero.dtype if zero is not None else TYPES.get(maker.attributes.get("output_dtype", 0), "U8")
    if dtype not in INTEGERS:
        raise UnsupportedError(f"it is rounded to {dtype} in the graph")
    sharing = _sharing(maker, weights.shape, scale)

    def rounded(array: np.ndarray) -> np.ndarray:
        low = 0 if zero is None else spread(zero.source.read(None), sharing, weights.shape).astype(np.float32)
        steps = spread(scale.source.read(None), sharing, weights.shape).astype(np.float32)
        least, most = _limits(dtype)
        with np.errstate(divide="ignore", invalid="ignore"):
            codes = np.clip(np.rint(array.astype(np.float32) / steps) + low, least, most)
        return np.asarray(codes.astype(np.int32), numpy_dtype(dtype))

    return Tensor(weights.name, dtype, weights.shape, weights.nbytes, Derived(weights.source, rounded))


def _limits(dtype: str) -> tuple[int, int]:
    width = int(dtype[1:])
    return (-(1 << width - 1), (1 << width - 1) - 1) if dtype.startswith("I") else (0, (1 << width) - 1)


def _operand(graph: Graph, node: Node, uses: Uses) -> Weight | None:
    """The weight of an operator that computes with integers."""
    weight, scale_at, zero_at, axis = OPERANDS[node.op]
    codes, zero = stored_input(graph, node, weight), stored_input(graph, node, zero_at)
    scale = uses.factor(graph, node) if scale_at is None else stored_input(graph, node, scale_at)
    if codes is None or scale is None or codes.dtype not in INTEGERS or not codes.size or not codes.shape:
        return None
    turned = axis == -1 and len(codes.shape) == 2 and takes_columns([(node, weight)])
    axis = 0 if node.op == "QGemm" and not turned else axis % len(codes.shape)
    alone = scale.size == 1 and (zero is None or zero.size == 1)
    return _affine(codes, scale, zero, Sharing() if alone else Sharing(axis), node, turned)


# Blocks of few bits.


def _n_bits(graph: Graph, node: Node, uses: Uses) -> Weight | None:
    """`MatMulNBits`: B [N, blocks, bytes of a block], low bits first; zero points packed alike, or floats."""
    codes, scale, zero, order = (stored_input(graph, node, index) for index in (1, 2, 3, 4))
    if codes is None or scale is None:
        return None
    cols, rows, block = (_integer(node, name) for name in ("K", "N", "block_size"))
    bits = _integer(node, "bits", 4)
    if bits not in (2, 4, 8) or not block or block * bits % 8:
        raise UnsupportedError(f"{bits} bits in blocks of {block} are not decoded here")
    if order is not None:
        _check_order(order, cols, block)
    across = -(-cols // block)
    row_bytes = across * (block * bits // 8)
    _check_size(codes, "U8", rows * row_bytes)
    _check_size(scale, None, rows * across)
    held = [("data", np.dtype(np.uint8), (rows, row_bytes)), ("scale", numpy_dtype(scale.dtype), (rows * across,))]
    zeros, dtype = _zero_points(zero, rows, across, bits)
    scheme = Blocked(
        kind=f"MatMulNBits {bits}-bit g{block}",
        whole=(rows, cols),
        stored_bytes=codes.nbytes + scale.nbytes + (zero.nbytes if zero else 0),
        bits=bits,
        block=(1, block),
        held=(*held, ("zero_point", dtype, (rows * across,))),
        row_bits=8 * row_bytes,
    )
    sources = ("data", _bytes(codes, (rows, row_bytes))), ("scale", _flat(scale.source)), ("zero_point", zeros)
    parts = tuple(part for part in (scale, zero, order) if part is not None)
    return Weight(codes, parts, node, (rows, cols), scale.dtype, scheme.label, Packed(scheme, sources))


def _zero_points(zero: Tensor | None, rows: int, across: int, bits: int) -> tuple[Source, np.dtype]:
    """One a block; in the middle of the codes where there are none."""
    count = rows * across
    if zero is None:
        return _middle(bits, count), np.dtype(np.uint8)
    if zero.dtype != "U8":
        _check_size(zero, None, count)
        return _flat(zero.source), numpy_dtype(zero.dtype)
    row_bytes = -(-across * bits // 8)
    _check_size(zero, "U8", rows * row_bytes)

    def unpacked(array: np.ndarray) -> np.ndarray:
        places = array.reshape(rows, row_bytes, 1) >> np.arange(0, 8, bits, dtype=np.uint8)
        codes = (places & np.uint8((1 << bits) - 1)).reshape(rows, -1)
        return np.ascontiguousarray(codes[:, :across]).reshape(-1)

    return Derived(zero.source, unpacked), np.dtype(np.uint8)


def _middle(bits: int, count: int) -> Source:
    """The middle of the codes, so many times, in one byte."""
    return Given(np.broadcast_to(np.uint8(1 << bits - 1), (count,)))


def _check_order(order: Tensor, cols: int, block: int) -> None:
    """Blocks must be of neighbouring columns."""
    groups = np.asarray(order.source.read(None)).reshape(-1)
    if groups.size != cols or not np.array_equal(groups, np.arange(cols) // block):
        raise UnsupportedError("its columns are in another order than its blocks (g_idx)")


def _check_size(tensor: Tensor, dtype: str | None, count: int) -> None:
    """FormatError unless a part of a weight has so many elements, of a type that it can have."""
    fits = tensor.dtype == dtype if dtype else tensor.dtype in SCALES
    if not fits or tensor.size != count:
        text = f"it is {tensor.dtype} {list(tensor.shape)}, its node needs {count} elements of type {dtype or 'float'}"
        raise FormatError(text, tensor=tensor.name)


def _bytes(tensor: Tensor, shape: tuple[int, ...]) -> Source:
    """The bytes of a tensor in another shape, left in the file where they can be."""
    if isinstance(tensor.source, Span):
        return replace(tensor.source, dtype="U8", shape=shape)
    return Derived(tensor.source, lambda array: array.view(np.uint8).reshape(shape))


def _flat(source: Source) -> Source:
    return Derived(source, lambda array: array.reshape(-1))


def _bnb4(graph: Graph, node: Node, uses: Uses) -> Weight | None:
    """`MatMulBnb4`: NF4 or FP4 over the flattened [N, K], the first of two in the high half of a byte."""
    codes, scale = stored_input(graph, node, 1), stored_input(graph, node, 2)
    if codes is None or scale is None:
        return None
    cols, rows, block = (_integer(node, name) for name in ("K", "N", "block_size"))
    kind = _integer(node, "quant_type", 1)
    if not block or cols % block or kind > 1:
        raise UnsupportedError(f"blocks of {block} do not divide rows of {cols} weights")
    _check_size(codes, "U8", -(-rows * cols // 2))
    _check_size(scale, None, rows * cols // block)
    table, patterns = ascending([*_FP4, *(-value for value in _FP4)]) if kind == 0 else (NF4, None)
    scheme = Blocked(
        kind=f"{('FP4', 'NF4')[kind]} g{block}",
        whole=(rows, cols),
        stored_bytes=codes.nbytes + scale.nbytes,
        bits=4,
        block=(1, block),
        held=(("data", np.dtype(np.uint8), codes.shape), ("scale", numpy_dtype(scale.dtype), (scale.size,))),
        table=table,
        patterns=patterns,
    )
    swapped = Derived(codes.source, lambda array: array << 4 | array >> 4)
    packed = Packed(scheme, (("data", swapped), ("scale", _flat(scale.source))))
    return Weight(codes, (scale,), node, (rows, cols), scale.dtype, scheme.label, packed)


def _gathered(graph: Graph, node: Node, uses: Uses) -> Weight | None:
    """`GatherBlockQuantized`: rows of an embedding in blocks, as four-bit integers or several to a byte."""
    codes, scale, zero = (stored_input(graph, node, index) for index in (0, 2, 3))
    if codes is None or scale is None or not codes.size:
        return None
    block, axis = _integer(node, "block_size", 128), node.attributes.get("quantize_axis", 1)
    if codes.dtype == "U8":
        codes, zero = _split(codes, zero, _integer(node, "bits", 4), scale)
    if type(axis) is not int or not -len(codes.shape) <= axis < len(codes.shape) or not block:
        raise FormatError(f"its {node.op} has blocks of {block} along axis {axis}")
    return _affine(codes, scale, zero, Sharing(axis % len(codes.shape), block), node, turned=False)


def _split(codes: Tensor, zero: Tensor | None, bits: int, scale: Tensor) -> tuple[Tensor, Tensor | None]:
    """Codes of several to a byte along the last axis as what they are; without zero points these are the middle."""
    if bits not in (2, 4, 8) or not isinstance(codes.source, Span):
        raise UnsupportedError(f"{bits} bits in bytes are not decoded here")
    shape = *codes.shape[:-1], codes.shape[-1] * 8 // bits
    dtype = f"U{bits}"
    wide = replace(codes, dtype=dtype, shape=shape, source=replace(codes.source, dtype=dtype, shape=shape))
    if zero is None:
        return wide, Tensor("", "U8", scale.shape, 0, _middle(bits, scale.size))
    across = scale.shape[-1]
    rows = scale.size // max(1, across)
    zeros, _ = _zero_points(zero, rows, across, bits)
    return wide, replace(zero, dtype="U8", shape=scale.shape, source=zeros)


_FINDERS: dict[str, tuple[Callable[[Graph, Node, Uses], Weight | None], int]] = {
    "DequantizeLinear": (_dequantized, 0),
    "MatMulNBits": (_n_bits, 1),
    "MatMulBnb4": (_bnb4, 1),
    "GatherBlockQuantized": (_gathered, 0),
    "Unsqueeze": (digits, 0),
    **{op: (_operand, inputs[0]) for op, inputs in OPERANDS.items()},
}
"""How the weight of an operator is found, and which input it is."""

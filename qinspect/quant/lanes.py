"""Eight numbers at once, for the loops that touch every weight.

Left to itself the compiler finds vectors in simple loops alone, checks at each run of a few weights whether arrays
overlap, and falls back to single numbers at the ends of runs. Here a kernel says what it means: `Lanes` are values of
numba functions, with operators that also take a single number for all lanes. On processors with shorter vectors the
compiler divides them. Bytes are little-endian, as everywhere that numba compiles for. Nothing checks bounds.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

WIDTH = 8
"""How many lanes there are."""

BYTES = 32
"""How many bytes `count_equal` has."""

_INDEX = ir.IntType(32)
_ELEMENTS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.uint32: ir.IntType(32)}


class Lanes(types.Type):  # type: ignore[misc]
    """Eight float32, float64 or uint32."""

    def __init__(self, element: Any) -> None:
        super().__init__(name=f"{WIDTH} {element}")
        self.element = element


FLOATS, DOUBLES, WORDS = Lanes(types.float32), Lanes(types.float64), Lanes(types.uint32)
_OF = {lanes.element: lanes for lanes in (FLOATS, DOUBLES, WORDS)}


@register_model(Lanes)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, _vector(_ELEMENTS[lanes.element]))


def _vector(element: Any, width: int = WIDTH) -> Any:
    return ir.VectorType(element, width)


def _splat(builder: Any, value: Any, width: int = WIDTH) -> Any:
    none = ir.Constant(_vector(value.type, width), ir.Undefined)
    first = builder.insert_element(none, value, ir.Constant(_INDEX, 0))
    return builder.shuffle_vector(first, none, ir.Constant(_vector(_INDEX, width), [0] * width))


def _place(context: Any, builder: Any, sign: Any, args: Any, number: int, kind: Any) -> Any:
    """A pointer to `kind` at the entry of array argument `number` that the next argument counts to."""
    array = context.make_array(sign.args[number])(context, builder, args[number])
    return builder.bitcast(builder.gep(array.data, [args[number + 1]]), kind.as_pointer())


# Memory.


@intrinsic
def load(_: Any, array: Any, at: Any) -> Any:
    """Eight entries of a vector; uint8 and uint16 become words."""

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        held = builder.load(_place(context, builder, sign, args, 0, _vector(_entry(array))), align=1)
        return _as_word(builder, held)

    return _lanes_of(array)(array, at), code


@intrinsic
def load_some(_: Any, array: Any, at: Any, count: Any) -> Any:
    """`count` entries of such a vector, 1 to 7, and the last of them again in the lanes that are left."""

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        held = context.make_array(sign.args[0])(context, builder, args[0])
        last = builder.sub(args[2], ir.Constant(args[2].type, 1))
        value = ir.Constant(_vector(_entry(array)), ir.Undefined)
        for lane in range(WIDTH):
            number = ir.Constant(args[2].type, lane)
            number = builder.select(builder.icmp_signed("<", number, last), number, last)
            entry = builder.load(builder.gep(held.data, [builder.add(args[1], number)]))
            value = builder.insert_element(value, entry, ir.Constant(_INDEX, lane))
        return _as_word(builder, value)

    return _lanes_of(array)(array, at, at), code


@intrinsic
def put(_: Any, array: Any, at: Any, lanes: Any) -> Any:
    """Store into eight entries of such a vector; of words its type keeps the low bits."""

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        value = _as_entry(builder, args[2], array)
        builder.store(value, _place(context, builder, sign, args, 0, value.type), align=1)
        return context.get_dummy_value()

    return types.void(array, at, lanes), code


@intrinsic
def put_some(_: Any, array: Any, at: Any, count: Any, lanes: Any) -> Any:
    """Store the first `count` lanes, 1 to 7."""

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        value = _as_entry(builder, args[3], array)
        held = context.make_array(sign.args[0])(context, builder, args[0])
        # The last lane that is to be stored goes where it belongs, and those after it go there before it.
        last = builder.sub(args[2], ir.Constant(args[2].type, 1))
        for lane in reversed(range(WIDTH)):
            number = ir.Constant(args[2].type, lane)
            number = builder.select(builder.icmp_signed("<", number, last), number, last)
            entry = builder.extract_element(value, ir.Constant(_INDEX, lane))
            builder.store(entry, builder.gep(held.data, [builder.add(args[1], number)]))
        return context.get_dummy_value()

    return types.void(array, at, at, lanes), code


def _entry(array: Any) -> Any:
    """The compiler's type of an array's entries."""
    return _ELEMENTS.get(array.dtype) or ir.IntType(array.dtype.bitwidth)


def _lanes_of(array: Any) -> Lanes:
    return _OF.get(array.dtype, WORDS)


def _as_word(builder: Any, value: Any) -> Any:
    narrow = isinstance(value.type.element, ir.IntType) and value.type.element.width < 32
    return builder.zext(value, _vector(_INDEX)) if narrow else value


def _as_entry(builder: Any, value: Any, array: Any) -> Any:
    narrow = isinstance(value.type.element, ir.IntType) and array.dtype.bitwidth < 32
    return builder.trunc(value, _vector(_entry(array))) if narrow else value


@intrinsic
def put_pattern(_: Any, array: Any, at: Any, pattern: Any) -> Any:
    """Set an entry of a float32 array to the number with this pattern (uint32)."""

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, sign, args, 0, _INDEX), align=4)
        return context.get_dummy_value()

    return types.void(array, at, types.uint32), code


@intrinsic
def load8(_: Any, array: Any, at: Any) -> Any:
    """The eight bytes of the uint8 vector `array` from `at` on as one uint64, the first least significant."""

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, sign, args, 0, ir.IntType(64)), align=1)

    return types.uint64(array, at), code


@intrinsic
def store(_: Any, array: Any, at: Any, value: Any) -> Any:
    """Put the bytes of `value` (uint32 or uint64) into the uint8 vector `array` from `at` on, the least one first."""

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, sign, args, 0, args[2].type), align=1)
        return context.get_dummy_value()

    return types.void(array, at, value), code


@intrinsic
def fetch(_: Any, array: Any, at: Any) -> Any:
    """Ask for the cache line with entry `at`, which may lie behind the end: it will be read soon."""

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        place = _place(context, builder, sign, args, 0, ir.IntType(8))
        kinds = [place.type, _INDEX, _INDEX, _INDEX]
        function = ir.FunctionType(ir.VoidType(), kinds)
        prefetch = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0i8")
        builder.call(prefetch, [place, *(ir.Constant(_INDEX, n) for n in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, at), code


@intrinsic
def stretch4(_: Any, array: Any, at: Any, table: Any, entry: Any, scale: Any, offset: Any) -> Any:
    """Into four entries of `array` from `at` on those of `table` from `entry` on, times `scale` plus `offset`."""
    four = _vector(ir.FloatType(), 4)

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        levels = builder.load(_place(context, builder, sign, args, 2, four), align=4)
        values = builder.fadd(builder.fmul(levels, _splat(builder, args[4], 4)), _splat(builder, args[5], 4))
        builder.store(values, _place(context, builder, sign, args, 0, four), align=4)
        return context.get_dummy_value()

    return types.void(array, at, table, entry, types.float32, types.float32), code


@intrinsic
def count_equal(_: Any, tallies: Any, at: Any, codes: Any, begin: Any, code: Any) -> Any:
    """To each of `BYTES` bytes of `tallies` from `at` on, add how many of eight codes are `code`, `BYTES` apart."""
    vector = _vector(ir.IntType(8), BYTES)

    def emit(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        place = _place(context, builder, sign, args, 0, vector)
        sum_, wanted = builder.load(place, align=1), _splat(builder, args[4], BYTES)
        for row in range(8):
            first = builder.add(args[3], ir.Constant(args[3].type, row * BYTES))
            found = builder.load(_place(context, builder, sign, [*args[:3], first], 2, vector), align=1)
            sum_ = builder.sub(sum_, builder.sext(builder.icmp_unsigned("==", found, wanted), vector))
        builder.store(sum_, place, align=1)
        return context.get_dummy_value()

    return types.void(tallies, at, codes, begin, types.uint8), emit


# Arithmetic.


@intrinsic
def fill(_: Any, value: Any) -> Any:
    """The same number in all lanes."""
    return _OF[value](value), lambda context, builder, sign, args: _splat(builder, args[0])


def _is_float(lanes: Any) -> bool:
    return bool(lanes.element != types.uint32)


def _both(x: Any, y: Any) -> tuple[Lanes, Any, Any] | None:
    """The lanes of an operation between lanes, or lanes and a number; what its arguments are converted to."""
    lanes = x if isinstance(x, Lanes) else y
    fitting = all(given == lanes or isinstance(given, types.Number) for given in (x, y))
    if not isinstance(lanes, Lanes) or not fitting:
        return None
    first, second = (given if isinstance(given, Lanes) else lanes.element for given in (x, y))
    return lanes, first, second


def _spread(builder: Any, kinds: Any, args: Any) -> list[Any]:
    return [v if isinstance(t, Lanes) else _splat(builder, v) for v, t in zip(args, kinds, strict=True)]


def _operator(symbol: Any, floats: str, words: str) -> None:
    """Let `symbol` take lanes, compiled to the builder's instruction for floats or words."""

    @infer_global(symbol)
    class _Template(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            found = _both(*args) if len(args) == 2 else None
            return None if found is None else signature(found[0], *found[1:])

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        name = floats if _is_float(sign.return_type) else words
        return getattr(builder, name)(*_spread(builder, sign.args, args))

    for pair in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(symbol, *pair)(code)


_operator(operator.add, "fadd", "add")
_operator(operator.sub, "fsub", "sub")
_operator(operator.mul, "fmul", "mul")
_operator(operator.truediv, "fdiv", "udiv")
_operator(operator.and_, "", "and_")
_operator(operator.or_, "", "or_")
_operator(operator.rshift, "", "lshr")


def _chosen(comparison: Callable[..., Any]) -> Any:
    """The lanes of `x` where `comparison(builder, is_float, x, y)`, else those of `y`."""

    def choose(_: Any, x: Any, y: Any) -> Any:
        found = _both(x, y)
        if found is None:
            return None

        def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
            a, b = _spread(builder, sign.args, args)
            return builder.select(comparison(builder, _is_float(sign.return_type), a, b), a, b)

        return found[0](*found[1:]), code

    return choose


def _less(builder: Any, is_float: bool, a: Any, b: Any) -> Any:
    return builder.fcmp_ordered("<", a, b) if is_float else builder.icmp_unsigned("<", a, b)


def _more(builder: Any, is_float: bool, a: Any, b: Any) -> Any:
    return builder.fcmp_ordered(">", a, b) if is_float else builder.icmp_unsigned(">", a, b)


least = intrinsic(_chosen(_less))
most = intrinsic(_chosen(_more))
most_signed = intrinsic(_chosen(lambda builder, _, a, b: builder.icmp_signed(">", a, b)))


def _conversion(source: Lanes, target: Lanes, instruction: str) -> Any:
    def convert(_: Any, x: Any) -> Any:
        kind = _vector(_ELEMENTS[target.element])
        return target(source), lambda context, builder, sign, args: getattr(builder, instruction)(args[0], kind)

    return intrinsic(convert)


bits = _conversion(FLOATS, WORDS, "bitcast")
from_bits = _conversion(WORDS, FLOATS, "bitcast")
truncated = _conversion(FLOATS, WORDS, "fptosi")
as_floats = _conversion(WORDS, FLOATS, "sitofp")
widened = _conversion(FLOATS, DOUBLES, "fpext")


@intrinsic
def magnitudes(_: Any, x: Any) -> Any:
    """Without their signs."""
    width = 32 if x == FLOATS else 64

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        words = _vector(ir.IntType(width))
        mask = ir.Constant(words, [(1 << width - 1) - 1] * WIDTH)
        return builder.bitcast(builder.and_(builder.bitcast(args[0], words), mask), args[0].type)

    return x(x), code


@intrinsic
def above(_: Any, x: Any, y: Any) -> Any:
    """1 where a float is larger than the other, or than the number `y`, else 0 (words)."""

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        return builder.zext(builder.fcmp_ordered(">", *_spread(builder, sign.args, args)), _vector(_INDEX))

    return WORDS(*(_both(x, y) or (None, x, y))[1:]), code


@intrinsic
def where_below(_: Any, x: Any, y: Any, then: Any, otherwise: Any) -> Any:
    """`then` where `x` is less than the number `y`, else `otherwise`; compared as floats or as unsigned words."""

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        a, b = _spread(builder, sign.args[:2], args[:2])
        return builder.select(_less(builder, _is_float(x), a, b), *_spread(builder, sign.args[2:], args[2:]))

    result = next(given for given in (then, otherwise) if isinstance(given, Lanes))
    kinds = [given if isinstance(given, Lanes) else result.element for given in (then, otherwise)]
    return result(x, x.element, *kinds), code


@intrinsic
def multiply_add(_: Any, x: Any, y: Any, z: Any) -> Any:
    """`x·y + z`, rounded once or twice as the processor likes: for sums alone."""

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        product = builder.fmul(args[0], args[1], flags=("contract",))
        return builder.fadd(product, args[2], flags=("contract",))

    return x(x, x, x), code


@intrinsic
def first_lanes(_: Any, x: Any, count: Any) -> Any:
    """`x` with 0 in all lanes from `count` on."""

    def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
        numbers = ir.Constant(_vector(_INDEX), list(range(WIDTH)))
        kept = builder.icmp_unsigned("<", numbers, _splat(builder, builder.trunc(args[1], _INDEX)))
        return builder.select(kept, args[0], ir.Constant(args[0].type, [0] * WIDTH))

    return x(x, types.int64), code


def _folded(join: Callable[[Any, bool, Any, Any], Any]) -> Any:
    """One number of all lanes: halves are joined, then halves of that, in an order that is always the same."""

    def fold(_: Any, x: Any) -> Any:
        def code(context: Any, builder: Any, sign: Any, args: Any) -> Any:
            value, width = args[0], WIDTH
            while width > 1:
                width //= 2
                parts = []
                for first in (0, width):
                    places = ir.Constant(_vector(_INDEX, width), [first + i for i in range(width)])
                    parts.append(builder.shuffle_vector(value, value, places))
                value = join(builder, _is_float(x), *parts)
            return builder.extract_element(value, ir.Constant(_INDEX, 0))

        return x.element(x), code

    return intrinsic(fold)


total = _folded(lambda b, is_float, p, q: b.fadd(p, q) if is_float else b.add(p, q))
least_of = _folded(lambda b, is_float, p, q: b.select(_less(b, is_float, p, q), p, q))
most_of = _folded(lambda b, is_float, p, q: b.select(_more(b, is_float, p, q), p, q))
most_signed_of = _folded(lambda b, _, p, q: b.select(b.icmp_signed(">", p, q), p, q))

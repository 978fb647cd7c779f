"""Shapes that are computed from data: their elements become sizes that the graph tells while it runs.

What is known of a shape stays an expression of sizes; only an element that depends on data becomes a symbol.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.backends.onnx.node import Given, undecided
from chainrule.errors import ModelError
from chainrule.ir.dims import Dim, DimExpr, dim_max, dim_min, dim_product, floordiv
from chainrule.ir.graph import Value
from chainrule.ir.types import i64
from chainrule.ops import elementwise as el
from chainrule.ops import shaping as sh
from chainrule.ops.arithmetic import ceil, floor_divide
from chainrule.ops.basic import Constant, SizeOf, constant, size_of
from chainrule.ops.compare import eq, lt
from chainrule.ops.declared import sized_as
from chainrule.ops.elementwise import Cast
from chainrule.ops.ranges import iota
from chainrule.ops.shape_rules import axis_of, broadcast_shapes

Element = Dim | Value


def elements(given: Given, position: int) -> list[Element]:
    """The numbers of a vector (or a scalar): sizes where they are known, else i64 scalars of the graph."""
    if given.known(position) is not None:
        return list(given.dims(position))
    value = given.value(position)
    if not value.dtype.is_int:
        raise ModelError(f"{given.op_type}: input {position} is {value.type}, not whole numbers")
    count = value.tensor.size
    if value.rank > 1 or isinstance(count, DimExpr):
        raise undecided(f"{given.op_type}: input {position} has an unknown number of elements", value)
    return _parts(value, count)


def _parts(value: Value, count: int) -> list[Element]:
    """The elements of a value, seen through what only puts them together."""
    found: list[Element] = []
    waiting: list[Value] = [value]
    while waiting:
        part = waiting.pop()
        match part.op:
            case Constant(data=data):
                found += [int(n) for n in data.array.reshape(-1).tolist()]
            case SizeOf(dim=dim):
                found.append(dim)
            case sh.Concat() if part.rank == 1:
                waiting += reversed(part.inputs)
            case sh.Reshape() if part.inputs[0].tensor.size == 1 or part.inputs[0].rank == 1:
                waiting.append(part.inputs[0])
            case Cast() if part.inputs[0].dtype.is_int and part.inputs[0].rank <= 1:
                waiting.append(part.inputs[0])
            case _:
                flat = el.cast(sh.reshape(part, (part.tensor.size,)), i64)
                length = part.tensor.size
                assert isinstance(length, int)
                found += [sh.reshape(sh.narrow(flat, 0, i, 1), ()) for i in range(length)]
    assert len(found) == count
    return found


def sizes(given: Given, position: int) -> tuple[Dim, ...]:
    """The numbers of a vector as sizes: those that depend on data are told while the graph runs."""
    if given.known(position) is not None:
        return given.dims(position)
    return tuple(_size(given, e) for e in elements(given, position))


def _size(given: Given, element: Element) -> Dim:
    return given.told(element, given.op_type.lower()) if isinstance(element, Value) else element


def _number(element: Element) -> Value:
    return element if isinstance(element, Value) else constant(element, i64) if isinstance(element, int) else size_of(
        element)  # fmt: skip


def reshaped(given: Given) -> Value:
    """Reshape by a shape that depends on data; -1 and 0 mean what they mean in any shape."""
    x, wanted = given.value(0), elements(given, 1)
    copies = not given.attribute("allowzero", 0)
    for i, part in enumerate(wanted):
        if copies and i < x.rank:
            wanted[i] = _or_else(part, 0, size_of_dim(x.shape[i]))
    dims = _without_unknown(given, x, wanted)
    flat = sized_as(sh.reshape(x, (x.tensor.size,)), (dim_product(dims),))
    return sh.reshape(flat, dims)


def size_of_dim(dim: Dim) -> Value:
    """A size as an i64 scalar."""
    return constant(dim, i64) if isinstance(dim, int) else size_of(dim)


def _or_else(part: Element, special: int, instead: Value) -> Element:
    """Another number where an element is the special one."""
    if isinstance(part, Value):
        return el.where(eq(part, constant(special, i64)), instead, part)
    if part != special:
        return part
    return instead.op.dim if isinstance(instead.op, SizeOf) else _only(instead)


def _only(value: Value) -> Dim:
    assert isinstance(value.op, Constant)
    return int(value.op.data.array)


def _without_unknown(given: Given, x: Value, wanted: Sequence[Element]) -> tuple[Dim, ...]:
    """The sizes, the one that is -1 found from the others."""
    fixed = [i for i, part in enumerate(wanted) if part == -1]
    if fixed:
        dims = [1 if i in fixed else _size(given, part) for i, part in enumerate(wanted)]
        dims[fixed[0]] = floordiv(x.tensor.size, dim_product(dims))
        return tuple(dims)
    product = constant(-1, i64)
    for part in wanted:
        product = el.mul(product, _number(part))
    rest = el.div(size_of_dim(x.tensor.size), product)  # of as many as the others leave, if one of them is -1
    return tuple(_size(given, _or_else(part, -1, rest)) if isinstance(part, Value) else part for part in wanted)


def expanded(given: Given) -> Value:
    """Expand to a shape that depends on data."""
    x, wanted = given.value(0), elements(given, 1)
    rank = max(x.rank, len(wanted))
    have: list[Dim] = [*[1] * (rank - x.rank), *x.shape]
    asked: list[Element] = [*[1] * (rank - len(wanted)), *wanted]
    own, result = list(have), list(have)
    for axis, (dim, part) in enumerate(zip(have, asked, strict=True)):
        if not isinstance(part, Value):
            result[axis] = broadcast_shapes((dim,), (part,))[0]
        elif dim == 1:
            result[axis] = _size(given, part)
        else:
            result[axis] = own[axis] = _size(given, _or_else(part, 1, size_of_dim(dim)))
    found = sh.expand(sized_as(sh.reshape(x, have), own), result)
    return sized_as(found, [dim if isinstance(dim, int) and dim != 1 else n for dim, n in zip(have, result)])


def clamped_start(start: Dim, step: int, dim: Dim) -> Dim:
    """A slice's start as Python has it: backwards, one in front of the axis is its first element, there nothing.

    Source: ONNX Slice-13, "for negative stepping: [0, dims[axes[i]]-1]".
    """
    if step > 0 or not isinstance(start, int) or start >= -1:
        return start
    if isinstance(dim, int):
        return max(start, -dim) if dim else start
    return dim - 1 - dim_max(0, dim_min(-1 - start, dim - 1))


def sliced(given: Given) -> Value:
    """Slice with bounds that depend on data, by steps that are known and go forwards."""
    x, starts, ends = given.value(0), elements(given, 1), elements(given, 2)
    axes = given.ints(3) if given.has(3) else tuple(range(len(starts)))
    steps = given.ints(4) if given.has(4) else (1,) * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not isinstance(start, Value) and not isinstance(end, Value):
            start = clamped_start(start, step, x.shape[axis_of(axis, x.rank)])
            x = sh.slice_(x, [start], [end], [step], [axis])
        elif step < 1:
            bound = start if isinstance(start, Value) else _number(end)
            raise undecided(f"Slice: a step of {step} between bounds that depend on data is not built", bound)
        else:
            x = _cut(given, x, start, end, axis_of(axis, x.rank), step)
    return x


def _cut(given: Given, x: Value, start: Element, end: Element, axis: int, step: int) -> Value:
    dim = x.shape[axis]
    low, high = _clamped(start, dim), _clamped(end, dim)
    room = el.add(el.sub(high, low), constant(step - 1, i64))
    count = el.maximum(el.div(room, constant(step, i64)), constant(0, i64))
    begin = start if isinstance(start, int) and start == 0 else _size(given, low)
    begins: list[Dim] = [0] * x.rank
    counts, strides = list(x.shape), [1] * x.rank
    begins[axis], counts[axis], strides[axis] = begin, _size(given, count), step
    return sh.slice_sized(x, begins, counts, strides)


def _clamped(position: Element, dim: Dim) -> Value:
    """A position from the front, inside of the axis."""
    at, size = _number(position), size_of_dim(dim)
    zero = constant(0, i64)
    return el.minimum(el.maximum(el.where(lt(at, zero), el.add(at, size), at), zero), size)


def ranged(given: Given) -> Value:
    """Range with bounds that depend on data."""
    start, stop, step = (sh.reshape(given.value(i), ()) for i in range(3))
    if start.dtype.is_float:
        count = el.cast(ceil(el.div(el.sub(stop, start), step)), i64)
    else:
        count = el.neg(floor_divide(el.cast(el.sub(start, stop), i64), el.cast(step, i64)))
    size = given.told(el.maximum(count, constant(0, i64)), "range")
    return el.add(el.mul(el.cast(iota((size,)), start.dtype), step), start)

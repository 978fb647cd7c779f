"""Reductions, positions, filled arrays and products that ONNX lacks or restricts, in terms of those it has."""

from __future__ import annotations

from chainrule.ir.graph import Value, build, get
from chainrule.ir.types import f32, i32, i64
from chainrule.ops import reduce as red
from chainrule.ops.arithmetic import isnan
from chainrule.ops.basic import Full, constant, full, ones_like, zeros_like
from chainrule.ops.compare import bitwise_xor, gt
from chainrule.ops.cumulative import CumProd
from chainrule.ops.elementwise import cast, where
from chainrule.ops.indexing import Gather, IndexAdd, Scatter, ScatterAdd, TakeAlongAxis, gather_elements, scatter_add
from chainrule.ops.indexing_nd import GatherND, ScatterND, scatter_nd
from chainrule.ops.matmul import MatMul, matmul
from chainrule.ops.ranges import Iota, iota, tril
from chainrule.ops.repeating import PadBorder
from chainrule.ops.shape_rules import axis_of
from chainrule.ops.shaping import Expand, Pad, expand, reshape, transpose, unsqueeze
from chainrule.ops.sorting import Argsort, TopK

Parts = Value | tuple[Value, ...] | None


def filled(node: Value) -> Parts:
    """One number is a constant; bf16, which ONNX does not fill with, is converted."""
    op = node.op
    assert isinstance(op, Full)
    if op.shape == ():
        return constant(op.value, op.dtype)
    return cast(full(op.value, op.shape, f32), op.dtype) if op.dtype.name == "bf16" else None


def positions(node: Value) -> Parts:
    """Counted as i64 along one axis, then converted, aligned and repeated."""
    op = node.op
    assert isinstance(op, Iota)
    if op.dtype == i64 and len(op.shape) == 1:
        return None
    axis = axis_of(op.axis, len(op.shape))
    line = cast(iota((op.shape[axis],), 0, i64), op.dtype)
    return expand(reshape(line, [d if i == axis else 1 for i, d in enumerate(op.shape)]), op.shape)


def any_or_all(node: Value) -> Parts:
    """The largest or smallest of 0 and 1."""
    assert isinstance(node.op, red.Any | red.All)
    if not node.op.axes:
        return node.inputs[0]
    ones, zero = cast(node.inputs[0], i32), constant(0, i32)
    reduce = red.amax if isinstance(node.op, red.Any) else red.amin
    return gt(reduce(ones, node.op.axes, node.op.keepdims), zero)  # of nothing: the type's smallest, or largest


def extremum(node: Value) -> Parts:
    """Of u64: the order of i64 after the highest bit is turned."""
    op = node.op
    assert isinstance(op, red.AMax | red.AMin)
    if not op.axes:
        return node.inputs[0]
    if node.dtype.name != "u64":
        return None
    highest = constant(1 << 63, node.dtype)
    found = build(op, cast(bitwise_xor(node.inputs[0], highest), i64))
    return bitwise_xor(cast(found, node.dtype), highest)


def position_of_extremum(node: Value) -> Parts:
    """Of u64: as for the extremum. Of half precision: in f32."""
    (x,) = node.inputs
    if x.dtype.name == "u64":
        return build(node.op, cast(bitwise_xor(x, constant(1 << 63, x.dtype)), i64))
    return None


def reduction_over_none(node: Value) -> Parts:
    """Over no axes sum, mean and product are x itself."""
    return node.inputs[0] if not getattr(node.op, "axes", ()) else None


def mean(node: Value) -> Parts:
    """Of nothing it is 0 / 0."""
    assert isinstance(node.op, red.Mean)
    return node.op.decompose(*node.inputs) if 0 in node.inputs[0].shape else reduction_over_none(node)


def pad(node: Value) -> Parts:
    """A number has no axes to pad."""
    return None if node.rank else node.inputs[0]


def repeated(node: Value) -> Parts:
    """Nothing is nothing; onnxruntime would leave one element."""
    nothing = 0 in node.shape and 0 not in node.inputs[0].shape
    return full(0 if not node.dtype.is_float else 0.0, node.shape, node.dtype) if nothing else None


def running_product(node: Value) -> Parts:
    """Element i is the product of row i of a triangle of copies of x, filled up with ones."""
    assert isinstance(node.op, CumProd)
    (x,) = node.inputs
    axis = axis_of(node.op.axis, x.rank)
    n = x.shape[axis]
    rows = unsqueeze(x, axis)
    wide = expand(rows, (*x.shape[:axis], n, *x.shape[axis:]))
    square = tril(full(1, (n, n), i32))
    inside = reshape(cast(square, "bool"), (*(1,) * axis, n, n, *(1,) * (x.rank - axis - 1)))
    return red.prod(where(inside, wide, ones_like(wide)), axis + 1)


def argsort(node: Value) -> Parts:
    """TopK of the whole axis, which is stable; then, of floats, once more by whether they are NaN."""
    op = node.op
    assert isinstance(op, Argsort)
    (x,) = node.inputs
    if x.rank == 0:
        return constant(0, i64)
    axis = axis_of(op.axis, x.rank)
    if x.dtype.name == "u64":
        x = cast(bitwise_xor(x, constant(1 << 63, x.dtype)), i64)
    if x.dtype.is_bool or (x.dtype.is_int and x.dtype.bits < 64):
        x = cast(x, i64)
    if not x.dtype.is_float:
        return get(build(TopK(x.shape[axis], axis, op.descending), x), 1)
    if x.dtype.bits == 16:
        x = cast(x, f32)
    missing = isnan(x)
    by_number = build(TopK(x.shape[axis], axis, op.descending), where(missing, zeros_like(x), x))
    order = get(by_number, 1)
    last = gather_elements(cast(missing, i64), order, axis)
    return gather_elements(order, get(build(TopK(x.shape[axis], axis, False), last), 1), axis)


def top_k(node: Value) -> Parts:
    """Through argsort where NaN may occur or the type is not one that onnxruntime orders."""
    op = node.op
    assert isinstance(op, TopK)
    (x,) = node.inputs
    if x.dtype.name in ("u16", "u32", "u64", "bool"):
        return op.decompose(x)
    return None


def index_add(node: Value) -> Parts:
    """Slices added to zeros: at index tuples along axis 0, else element by element."""
    op = node.op
    assert isinstance(op, IndexAdd)
    indices, updates = node.inputs
    if updates.dtype.is_float and updates.dtype.bits == 16:
        return cast(build(op, indices, cast(updates, f32)), node.dtype)
    axis, count = axis_of(op.axis, len(op.shape)), indices.tensor.size
    zeros = full(0 if updates.dtype.is_int else 0.0, op.shape, updates.dtype)
    rows = reshape(updates, (*op.shape[:axis], count, *op.shape[axis + 1 :]))
    flat = reshape(cast(indices, i64), (count,))
    if axis == 0:
        return scatter_nd(zeros, reshape(flat, (count, 1)), rows, "add")
    aligned = reshape(flat, [count if i == axis else 1 for i in range(rows.rank)])
    return scatter_add(zeros, expand(aligned, rows.shape), rows, axis)


def looked_up(node: Value) -> Parts:
    """Indices as i64."""
    x, indices, *rest = node.inputs
    narrow = isinstance(node.op, GatherND | ScatterND)
    if indices.dtype == i64 or (indices.dtype == i32 and not narrow):
        return None
    return build(node.op, x, cast(indices, i64), *rest)


def scattered(node: Value) -> Parts:
    """Indices as i64; sums of half precision in f32."""
    x, indices, updates = node.inputs
    adds = isinstance(node.op, ScatterAdd) or getattr(node.op, "mode", "") == "add"
    if adds and node.dtype.is_float and node.dtype.bits == 16:
        return cast(build(node.op, cast(x, f32), indices, cast(updates, f32)), node.dtype)
    return looked_up(node)


def product(node: Value) -> Parts:
    """Operands that are not flat are transposed first."""
    op = node.op
    assert isinstance(op, MatMul)
    if not (op.transpose_a or op.transpose_b):
        return None
    if node.rank == 2 and node.dtype.is_float:
        return None
    a, b = node.inputs
    return matmul(_swapped(a) if op.transpose_a else a, _swapped(b) if op.transpose_b else b)


def _swapped(x: Value) -> Value:
    return transpose(x, (*range(x.rank - 2), x.rank - 1, x.rank - 2))


LOWERINGS = {
    Full: filled, Iota: positions, red.Any: any_or_all, red.All: any_or_all, red.AMax: extremum, red.AMin: extremum,
    red.ArgMax: position_of_extremum, red.ArgMin: position_of_extremum, red.Sum: reduction_over_none,
    red.Mean: mean, Pad: pad, PadBorder: pad, red.Prod: reduction_over_none, CumProd: running_product, Expand: repeated,
    Argsort: argsort,
    TopK: top_k, IndexAdd: index_add, Gather: looked_up, TakeAlongAxis: looked_up, GatherND: looked_up,
    ScatterAdd: scattered, Scatter: scattered, ScatterND: scattered, MatMul: product,
}  # fmt: skip


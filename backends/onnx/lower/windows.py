"""The gradients of convolutions and pools, in terms of the convolutions and pools that ONNX has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from chainrule.backends.onnx.raw import MaxPoolPlaces
from chainrule.ir.dims import Dim, dim_max, dim_product, lower_bound
from chainrule.ir.graph import Value, build, get
from chainrule.ir.types import f32, f64, i64
from chainrule.ops.basic import constant, full, zeros_like
from chainrule.ops.compare import eq, ge, gt, logical_and, logical_not, logical_or
from chainrule.ops.conv import Conv, ConvTranspose, ConvWeightGrad, kernel_of, reach, taps
from chainrule.ops.elementwise import add, cast, div, maximum, where
from chainrule.ops.indexing import gather, scatter_add
from chainrule.ops.matmul import matmul
from chainrule.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad, MaxPoolTake, MaxWindow
from chainrule.ops.ranges import iota
from chainrule.ops.reduce import lowest_of
from chainrule.ops.shaping import concat, pad_constant, reshape, slice_sized, transpose, unsqueeze

Parts = Value | tuple[Value, ...] | None


def in_f32(node: Value, lower: Callable[[Value], Parts]) -> Parts:
    """A node of half precision computed in f32 and rounded once; any other as `lower` says."""
    if node.dtype.bits != 16 or not node.dtype.is_float:
        return lower(node)
    wide = [cast(v, f32) if v.dtype == node.dtype else v for v in node.inputs]
    return cast(build(node.op, *wide), node.dtype)


def conv(node: Value) -> Parts:
    """In f64, for which onnxruntime has no convolution: one product of matrices for each place in the kernel."""
    op = node.op
    assert isinstance(op, Conv)
    if node.dtype != f64:
        return None
    x, w, *bias = node.inputs
    kernel, groups = kernel_of(w.tensor), op.groups
    weight = reshape(w, (groups, w.shape[0] // groups, *w.shape[1:]))
    lead = (x.shape[0], groups, x.shape[1] // groups)
    area = dim_product(node.shape[2:])
    total: Value | None = None
    for tap, part in windows(padded(x, op.pad), kernel, node.shape[2:], op.stride, op.dilation):
        product = matmul(_at(weight, 3, tap), reshape(part, (*lead, area)))
        total = product if total is None else add(total, product)
    assert total is not None
    return _biased(reshape(total, node.shape), bias)


def conv_transpose(node: Value) -> Parts:
    """Any size of the result that ONNX's output_padding cannot say, by cutting or padding a larger or smaller one."""
    op = node.op
    assert isinstance(op, ConvTranspose)
    x, w, *bias = node.inputs
    rank, wanted = len(op.stride), node.shape[2:]
    spans = reach(kernel_of(w.tensor), op.dilation)
    whole = [(x.shape[2 + i] - 1) * op.stride[i] + spans[i] for i in range(rank)]
    if node.dtype == f64:
        y = _transposed_by_taps(op, x, w, whole)
        return _biased(fitted(y, op.pad, wanted), bias)
    extra = [wanted[i] + op.pad[i] + op.pad[i + rank] - whole[i] for i in range(rank)]
    if all(isinstance(e, int) and 0 <= e < op.stride[i] for i, e in enumerate(extra)):
        if op.output_size is None:
            return None
        exact = ConvTranspose(op.stride, op.pad, op.dilation, op.groups, tuple(int(e) for e in extra))  # type: ignore[arg-type]
        return build(exact, x, w, *bias)
    no_pad, room = (0,) * (2 * rank), tuple(s - 1 for s in op.stride)
    y = build(ConvTranspose(op.stride, no_pad, op.dilation, op.groups, room), x, w)
    return _biased(fitted(y, op.pad, wanted), bias)


def fitted(y: Value, pad: Sequence[int], wanted: Sequence[Dim]) -> Value:
    """The part of y [N, C, *S] from the begins of pad on, of the wanted sizes, zeros where y ends before."""
    rank = len(wanted)
    after = [wanted[i] + pad[i] - y.shape[2 + i] for i in range(rank)]
    if not all((low := lower_bound(0 - a)) is not None and low >= 0 for a in after):
        return pad_constant(y, (0, 0, *(-b for b in pad[:rank])), (0, 0, *after))
    return slice_sized(y, (0, 0, *pad[:rank]), (*y.shape[:2], *wanted))


def _transposed_by_taps(op: ConvTranspose, x: Value, w: Value, whole: Sequence[Dim]) -> Value:
    """The uncut result: for each place in the kernel one product of matrices, spread by the stride and shifted."""
    groups = op.groups
    weight = reshape(w, (groups, w.shape[0] // groups, *w.shape[1:]))
    area = dim_product(x.shape[2:])
    flat = reshape(x, (x.shape[0], groups, x.shape[1] // groups, area))
    parts = []
    for tap, _ in taps(kernel_of(w.tensor), (1,) * len(op.stride), op.stride, op.dilation):
        product = matmul(transpose(_at(weight, 3, tap), (0, 2, 1)), flat)
        parts.append((tap, reshape(product, (x.shape[0], w.shape[1] * groups, *x.shape[2:]))))
    return gathered(parts, op.stride, op.dilation, whole)


def conv_weight_grad(node: Value) -> Parts:
    """A convolution of the image with dy as the kernel, batch and channels exchanged, strides and dilations too."""
    return in_f32(node, _conv_weight_grad)


def _conv_weight_grad(node: Value) -> Parts:
    op = node.op
    assert isinstance(op, ConvWeightGrad)
    x, dy = node.inputs
    static = all(isinstance(d, int) for d in dy.shape[2:])
    if node.dtype == f64 or not static or x.shape[0] == 0 or dy.tensor.size == 0:
        return _weight_grad_by_taps(op, x, dy)
    rank, groups = len(op.stride), op.groups
    n, parts = x.shape[0], x.shape[1] // groups
    axes = range(3, 3 + rank)
    image = transpose(reshape(x, (n, groups, parts, *x.shape[2:])), (2, 1, 0, *axes))
    image = reshape(image, (parts, groups * n, *x.shape[2:]))
    slopes = transpose(dy, (1, 0, *range(2, 2 + rank)))
    found = build(Conv(op.dilation, op.pad, op.stride, groups), image, slopes)
    kept = slice_sized(found, (0,) * (2 + rank), (*found.shape[:2], *op.kernel))
    return transpose(kept, (1, 0, *range(2, 2 + rank)))


def _weight_grad_by_taps(op: ConvWeightGrad, x: Value, dy: Value) -> Value:
    groups, n, area = op.groups, x.shape[0], dim_product(dy.shape[2:])
    outs, ins = dy.shape[1] // groups, x.shape[1] // groups
    slope = reshape(transpose(reshape(dy, (n, groups, outs, area)), (1, 2, 0, 3)), (groups, outs, n * area))
    found = []
    for _, part in windows(padded(x, op.pad), op.kernel, dy.shape[2:], op.stride, op.dilation):
        flat = transpose(reshape(part, (n, groups, ins, area)), (1, 0, 3, 2))
        found.append(unsqueeze(matmul(slope, reshape(flat, (groups, n * area, ins))), 3))
    return reshape(concat(found, 3), (dy.shape[1], ins, *op.kernel))


def max_pool(node: Value) -> Parts:
    """Of integers that onnxruntime does not pool: the largest over the places in the window."""
    op, x = node.op, node.inputs[0]
    assert isinstance(op, MaxPool)
    if not (node.dtype.is_float or node.dtype.name in ("i8", "u8")) or not _is_plain(op):
        return _max_by_taps(op, x, node.shape[2:])
    if not drops_windows(op, x, node.shape[2:], op.dilation):
        return None
    room = _room(x, node.shape[2:], reach(op.window, op.dilation), op.stride, op.pad)
    if not all(isinstance(r, int) and r < op.window[i % len(op.window)] for i, r in enumerate(room)):
        return _max_by_taps(op, x, node.shape[2:])
    return build(MaxPool(op.window, op.stride, tuple(int(r) for r in room), op.dilation), x)  # type: ignore[arg-type]


def drops_windows(op: MaxWindow | AvgPool, x: Value, sizes: Sequence[Dim], dilation: Sequence[int]) -> bool:
    """True when ceil_mode leaves out a window that starts beyond the image, which onnx's shape inference counts."""
    rank, spans = len(op.window), reach(op.window, dilation)
    room = (x.shape[2 + i] + op.pad[i] + op.pad[i + rank] - spans[i] for i in range(rank))
    counted = [-(-r // op.stride[i]) + 1 if isinstance(r, int) else sizes[i] for i, r in enumerate(room)]
    return op.ceil_mode and counted != list(sizes)


def _is_plain(op: MaxWindow) -> bool:
    """onnxruntime takes the window: its pads are smaller, and every place of it meets an element."""
    return all(p < op.window[i % len(op.window)] for i, p in enumerate(op.pad)) and not _may_miss(op)


def max_pool_grad(node: Value) -> Parts:
    """dy added at the places of the maxima, which ONNX's MaxPool tells."""
    return in_f32(node, _max_pool_grad)


def _max_pool_grad(node: Value) -> Parts:
    assert isinstance(node.op, MaxPoolGrad)
    x, dy = node.inputs
    total = x.tensor.size
    places, inside = _places(node.op, x, dy.shape[2:])
    if inside is not None:
        dy = where(inside, dy, zeros_like(dy))
    count = dy.tensor.size
    found = scatter_add(full(0.0, (total,), dy.dtype), reshape(places, (count,)), reshape(dy, (count,)), 0)
    return reshape(found, x.shape)


def max_pool_take(node: Value) -> Parts:
    """The elements of v at the places of the maxima."""
    assert isinstance(node.op, MaxPoolTake)
    x, v = node.inputs
    places, inside = _places(node.op, x, node.shape[2:])
    taken = gather(reshape(v, (v.tensor.size,)), places, 0)
    return taken if inside is None else where(inside, taken, zeros_like(taken))


def _places(op: MaxWindow, x: Value, sizes: Sequence[Dim]) -> tuple[Value, Value | None]:
    """The place of each window's maximum in the whole of x, and which windows have one (None: all)."""
    if x.dtype.is_float and _is_plain(op) and not drops_windows(op, x, sizes, op.dilation):
        both = build(MaxPoolPlaces(op.window, op.stride, op.pad, op.dilation, op.ceil_mode), x)
        return get(both, 1), None
    _, places = _best_by_taps(op, x, sizes)
    return maximum(places, constant(0, i64)), ge(places, constant(0, i64))


def _may_miss(op: MaxWindow) -> bool:
    """True when a window may meet no element: its places are apart and lie in padding, or it sticks out."""
    return any(d > 1 for d in op.dilation) and (op.ceil_mode or any(op.pad))


def _max_by_taps(op: MaxPool, x: Value, sizes: Sequence[Dim]) -> Value:
    """The largest element of each window; what lies around x is the smallest there is."""
    room = _room(x, sizes, reach(op.window, op.dilation), op.stride, op.pad)
    wide = pad_spatial(x, room, lowest_of(x.dtype.numpy))
    parts = [part for _, part in windows(wide, op.window, sizes, op.stride, op.dilation)]
    best = parts[0]
    for part in parts[1:]:
        best = maximum(best, part)
    return best


def _best_by_taps(op: MaxWindow, x: Value, sizes: Sequence[Dim]) -> tuple[Value, Value]:
    """The largest element of each window, the first NaN before all, and its place in x (-1: it meets none)."""
    lowest = lowest_of(x.dtype.numpy)
    room = _room(x, sizes, reach(op.window, op.dilation), op.stride, op.pad)
    numbers = reshape(iota((x.tensor.size,), 0, i64), x.shape)
    elements = pad_spatial(x, room, lowest)
    places = pad_spatial(numbers, room, -1)
    best = full(lowest, (*x.shape[:2], *sizes), x.dtype)
    found = full(-1, (*x.shape[:2], *sizes), i64)
    zero = constant(0, i64)
    form = (op.window, sizes, op.stride, op.dilation)
    for (_, value), (_, place) in zip(windows(elements, *form), windows(places, *form), strict=True):
        better = gt(value, best)
        if x.dtype.is_float:
            better = logical_or(better, logical_and(logical_not(eq(value, value)), eq(best, best)))
        better = logical_and(ge(place, zero), logical_or(better, logical_not(ge(found, zero))))
        best, found = where(better, value, best), where(better, place, found)
    return best, found


def avg_pool(node: Value) -> Parts:
    """The sum of the places in the window by the number it meets: f64, and sizes on which onnx differs."""
    op = node.op
    assert isinstance(op, AvgPool)
    sizes = node.shape[2:]
    if node.dtype.bits == 16:
        return None
    if node.dtype != f64 and not drops_windows(op, node.inputs[0], sizes, (1,) * len(op.window)):
        return None
    return div(_window_sum(op, node.inputs[0], sizes), _divisors(op, node.inputs[0], sizes))


def avg_pool_grad(node: Value) -> Parts:
    """Each dy by its divisor, added to every element of its window: a transposed convolution with ones."""
    return in_f32(node, _avg_pool_grad)


def _avg_pool_grad(node: Value) -> Parts:
    op = node.op
    assert isinstance(op, AvgPoolGrad)
    (dy,) = node.inputs
    rank, sizes = len(op.window), dy.shape[2:]
    share = div(dy, _divisors(op, node, sizes))
    whole = [(sizes[i] - 1) * op.stride[i] + op.window[i] for i in range(rank)]
    if node.dtype == f64:
        ones = (1,) * rank
        spread = gathered([(tap, share) for tap, _ in taps(op.window, ones, op.stride, ones)], op.stride, ones, whole)
        return fitted(spread, op.pad, op.size)
    flat = reshape(share, (dy.shape[0] * dy.shape[1], 1, *sizes))
    kernel = full(1.0, (1, 1, *op.window), dy.dtype)
    zeros = (0,) * rank
    y = build(ConvTranspose(op.stride, (0,) * (2 * rank), (1,) * rank, 1, zeros), flat, kernel)
    return fitted(reshape(y, (*dy.shape[:2], *whole)), op.pad, op.size)


def _divisors(op: AvgPool | AvgPoolGrad, x: Value, sizes: Sequence[Dim]) -> Value:
    """What the sum of each window is divided by: [1, 1, *sizes]."""
    ones = full(1.0, (1, 1, *x.shape[2:]), x.dtype)
    if op.count_include_pad:
        ones = pad_spatial(ones, op.pad, 1.0)
        return _window_sum(op, ones, sizes, (0,) * len(op.pad))
    return _window_sum(op, ones, sizes)


def _window_sum(op: AvgPool | AvgPoolGrad, x: Value, sizes: Sequence[Dim], pad: Sequence[int] | None = None) -> Value:
    pad = op.pad if pad is None else pad
    inside = pad_spatial(x, _room(x, sizes, op.window, op.stride, pad), 0.0)
    total: Value | None = None
    for _, part in windows(inside, op.window, sizes, op.stride, (1,) * len(op.window)):
        total = part if total is None else add(total, part)
    assert total is not None
    return total


def _room(x: Value, sizes: Sequence[Dim], spans: Sequence[int], stride: Sequence[int],
          pad: Sequence[int]) -> tuple[Dim, ...]:  # fmt: skip
    """The padding, begins then ends, that holds every window, also those that ceil_mode lets stick out."""
    rank = len(sizes)
    ends = (dim_max(pad[i + rank], (sizes[i] - 1) * stride[i] + spans[i] - pad[i] - x.shape[2 + i])
            for i in range(rank))  # fmt: skip
    return (*pad[:rank], *ends)


def padded(x: Value, pad: Sequence[Dim]) -> Value:
    """x [N, C, *S] with zeros around its spatial axes: begins, then ends."""
    return pad_spatial(x, pad, 0.0)


def pad_spatial(x: Value, pad: Sequence[Dim], value: float) -> Value:
    """x [N, C, *S] with a value around its spatial axes: begins, then ends."""
    rank = len(pad) // 2
    return pad_constant(x, (0, 0, *pad[:rank]), (0, 0, *pad[rank:]), value)


def windows(x: Value, kernel: Sequence[int], sizes: Sequence[Dim], stride: Sequence[int],
            dilation: Sequence[int]) -> Iterator[tuple[tuple[int, ...], Value]]:  # fmt: skip
    """For each place in the kernel, the elements of x [N, C, *S] that lie there in each window: [N, C, *sizes]."""
    for tap, _ in taps(kernel, (1,) * len(kernel), stride, dilation):
        starts = (0, 0, *(k * d for k, d in zip(tap, dilation, strict=True)))
        yield tap, slice_sized(x, starts, (*x.shape[:2], *sizes), (1, 1, *stride))


def gathered(parts: Sequence[tuple[tuple[int, ...], Value]], stride: Sequence[int], dilation: Sequence[int],
             whole: Sequence[Dim]) -> Value:  # fmt: skip
    """The sum of parts [N, C, *T], each spread by the stride and moved to its place in the kernel: [N, C, *whole]."""
    total: Value | None = None
    for tap, part in parts:
        for axis, step in enumerate(stride, start=2):
            part = _spread(part, axis, step)
        before = [k * d for k, d in zip(tap, dilation, strict=True)]
        after = [w - b - d for w, b, d in zip(whole, before, part.shape[2:], strict=True)]
        part = pad_constant(part, (0, 0, *before), (0, 0, *after))
        total = part if total is None else add(total, part)
    assert total is not None
    return total


def _spread(x: Value, axis: int, step: int) -> Value:
    """x with step - 1 zeros between the elements of an axis."""
    if step == 1:
        return x
    apart = unsqueeze(x, axis + 1)
    after = [step - 1 if i == axis + 1 else 0 for i in range(apart.rank)]
    wide = list(x.shape)
    wide[axis] = wide[axis] * step
    spread = reshape(pad_constant(apart, [0] * apart.rank, after), wide)
    wide[axis] = (x.shape[axis] - 1) * step + 1
    return slice_sized(spread, [0] * x.rank, wide)


def _at(weight: Value, lead: int, tap: Sequence[int]) -> Value:
    """weight[..., tap], the first `lead` axes kept."""
    starts = (*(0,) * lead, *tap)
    sizes = (*weight.shape[:lead], *(1,) * len(tap))
    return reshape(slice_sized(weight, starts, sizes), weight.shape[:lead])


def _biased(y: Value, bias: Sequence[Value]) -> Value:
    if not bias:
        return y
    return add(y, reshape(bias[0], (1, *bias[0].shape, *(1,) * (y.rank - 2))))


LOWERINGS = {
    Conv: conv, ConvTranspose: conv_transpose, ConvWeightGrad: conv_weight_grad, MaxPool: max_pool,
    MaxPoolGrad: max_pool_grad, MaxPoolTake: max_pool_take, AvgPool: avg_pool, AvgPoolGrad: avg_pool_grad,
}  # fmt: skip

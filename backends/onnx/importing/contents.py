"""What is known of integers before a model runs: sizes, and what is computed from them, as arrays of dims.

Models compute shapes with ordinary ops: Shape, Gather, Concat, Mul. Here that arithmetic is done on symbolic sizes, so
that a Reshape sees [N, 64*H] and not data. A rule returns None where it cannot tell; then the op becomes a node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from chainrule.backends.onnx.dtypes import dtype_of
from chainrule.backends.onnx.node import Given as Node
from chainrule.backends.onnx.told import clamped_start
from chainrule.errors import ChainruleError
from chainrule.ir.dims import Dim, dim_max, dim_min, dim_product, floordiv, lower_bound, mod
from chainrule.ir.op import Array
from chainrule.ir.types import DType, as_dtype, bool_, i64

LARGEST = 4096  # elements: shapes and axes are short

Rule = Callable[[Node], "Array | None"]


def fold(node: Node) -> Array | None:
    """The content of a node's first output, if it follows from what is known; None otherwise."""
    rule = RULES.get(node.op_type)
    if rule is None:
        return None
    try:
        found = rule(node)
    except (IndexError, ValueError, TypeError, ZeroDivisionError, OverflowError, ChainruleError):
        return None  # the node itself, when it is built, says what is wrong with it
    return None if found is None or found.size > LARGEST or not _fits(found, type_of_content(node)) else found


def _fits(found: Array, dtype: DType) -> bool:
    """True when the type holds every whole number: what does not fit wraps, and is left to the node itself."""
    if dtype == bool_:
        return True
    least, largest = np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max
    return all(not isinstance(n, int) or least <= n <= largest for n in found.reshape(-1).tolist())


def type_of_content(node: Node) -> DType:
    """The element type of a node's first output, whose content is known."""
    if node.op_type in BOOLEAN:
        return bool_
    if node.op_type in ("Shape", "Size"):
        return i64
    if node.op_type == "Cast":
        return dtype_of(node.whole("to"))
    if node.op_type == "ConstantOfShape":
        value = node.attribute("value")
        return as_dtype(value.dtype) if isinstance(value, np.ndarray) else i64
    return node.entry(1 if node.op_type == "Where" else 0).dtype


def as_dims(values: Sequence[Dim]) -> Array:
    """A vector of sizes."""
    found = np.empty(len(values), object)
    found[:] = list(values)
    return found


def _shape(node: Node) -> Array | None:
    shape = node.value(0).shape
    start, end = node.attribute("start", 0), node.attribute("end", len(shape))
    assert isinstance(start, int) and isinstance(end, int)
    return as_dims(shape[slice(start, end)])


def _size(node: Node) -> Array | None:
    return _scalar(dim_product(node.value(0).shape))


def _scalar(value: Dim) -> Array:
    found = np.empty((), object)
    found[()] = value
    return found


def _known(node: Node, *positions: int) -> list[Array] | None:
    """The integer contents of some inputs, all or nothing."""
    found = [node.known(i) for i in positions]
    return None if any(x is None or not _is_whole(x) for x in found) else [_objects(x) for x in found if x is not None]


def _is_whole(x: Array) -> bool:
    return x.dtype == object or x.dtype.kind in "iub"


def _objects(x: Array) -> Array:
    return x if x.dtype == object else x.astype(object)


def _each(function: Callable[..., object]) -> Rule:
    """A rule that applies a function of two sizes element by element."""

    def rule(node: Node) -> Array | None:
        known = _known(node, 0, 1)
        if known is None or len(node.entries) != 2:
            return None
        found = np.empty(np.broadcast_shapes(known[0].shape, known[1].shape), object)
        left, right = np.broadcast_to(known[0], found.shape), np.broadcast_to(known[1], found.shape)
        for at in np.ndindex(found.shape):
            value = function(left[at], right[at])
            if value is None:
                return None
            found[at] = value
        return found

    return rule


def _quotient(a: Dim, b: Dim) -> Dim | None:
    """a / b without its fraction; None where a negative symbolic size would make it differ from the floor."""
    if isinstance(a, int) and isinstance(b, int):
        return None if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    exact = floordiv(a, b)
    if exact * b == a:
        return exact
    low, positive = lower_bound(a), lower_bound(b)
    if low is None or positive is None or positive < 0:
        return None
    if low >= 0:
        return exact
    return floordiv(dim_max(a, 0), b) if isinstance(b, int) and low > -b else None  # between -b and 0 it is 0


def _remainder(node: Node) -> Array | None:
    return _each(_rest if node.attribute("fmod", 0) else _modulus)(node)


def _modulus(a: Dim, b: Dim) -> Dim | None:
    return None if isinstance(b, int) and b == 0 else mod(a, b)


def _rest(a: Dim, b: Dim) -> Dim | None:
    """What a / b without its fraction leaves: it has the sign of a."""
    whole = _quotient(a, b)
    return None if whole is None else a - whole * b


def _equal(a: Dim, b: Dim) -> bool | None:
    """Whether two sizes are equal; None where that depends on the symbols."""
    if a == b:
        return True
    apart = a - b
    if isinstance(apart, int):
        return False
    low, high = lower_bound(apart), lower_bound(0 - apart)
    return False if (low is not None and low > 0) or (high is not None and high > 0) else None


def _less(a: Dim, b: Dim) -> bool | None:
    apart = b - a
    if isinstance(apart, int):
        return apart > 0
    low, high = lower_bound(apart), lower_bound(0 - apart)
    return True if low is not None and low > 0 else False if high is not None and high >= 0 else None


def _not(node: Node) -> Array | None:
    known = _known(node, 0)
    return None if known is None else _objects(np.asarray(np.logical_not(known[0])))


def _gather(node: Node) -> Array | None:
    known, at = _known(node, 0), node.known(1)
    axis = node.attribute("axis", 0)
    if known is None or at is None or (at.dtype == object and not _all_ints(at)) or not isinstance(axis, int):
        return None
    found = np.take(known[0], at.astype(np.int64), axis)
    return found if isinstance(found, np.ndarray) else _scalar(found)


def _all_ints(x: Array) -> bool:
    return all(isinstance(d, int) for d in x.reshape(-1).tolist())


def _slice(node: Node) -> Array | None:
    known = _known(node, 0)
    if known is None or node.opset < 10:
        return None
    starts, ends = node.ints(1), node.ints(2)
    axes = node.ints(3) if node.has(3) else tuple(range(len(starts)))
    steps = node.ints(4) if node.has(4) else (1,) * len(starts)
    cut = [slice(None)] * known[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        start = clamped_start(start, step, known[0].shape[axis])
        cut[axis] = slice(start, None if step < 0 and end < -LARGEST else end, step)
    return known[0][tuple(cut)]


def _concat(node: Node) -> Array | None:
    known = _known(node, *range(len(node.entries)))
    axis = node.attribute("axis", 0)
    return None if known is None or not isinstance(axis, int) else np.concatenate(known, axis)


def _unsqueeze(node: Node) -> Array | None:
    known = _known(node, 0)
    axes = node.axes(13)
    if known is None or axes is None:
        return None
    rank = known[0].ndim + len(axes)
    rest = iter(known[0].shape)
    return known[0].reshape([1 if i in {a % rank for a in axes} else next(rest) for i in range(rank)])


def _squeeze(node: Node) -> Array | None:
    known = _known(node, 0)
    if known is None:
        return None
    axes = node.axes(13)
    shape = known[0].shape
    gone = [i for i, d in enumerate(shape) if d == 1] if axes is None else [a % len(shape) for a in axes]
    if any(shape[i] != 1 for i in gone):
        return None
    return known[0].reshape([d for i, d in enumerate(shape) if i not in gone])


def _cast(node: Node) -> Array | None:
    known = _known(node, 0)
    return known[0] if known is not None and node.attribute("to") in (6, 7) else None


def _same(node: Node) -> Array | None:
    known = _known(node, 0)
    return None if known is None else known[0]


def _neg(node: Node) -> Array | None:
    known = _known(node, 0)
    return None if known is None else _objects(np.asarray(0 - known[0], object))


def _range(node: Node) -> Array | None:
    known = _known(node, 0, 1, 2)
    if known is None or not all(_all_ints(x) for x in known):
        return None
    start, stop, step = (int(x.reshape(-1)[0]) for x in known)
    count = len(range(start, stop, step))
    return as_dims(list(range(start, stop, step))) if count <= LARGEST else None


def _constant_of_shape(node: Node) -> Array | None:
    value = node.attribute("value")
    if not node.has(0) or not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or value.size != 1:
        return None
    shape = node.ints(0)
    if int(np.prod(shape, dtype=object)) > LARGEST:
        return None
    return np.full(shape, int(value.reshape(-1)[0]), object)


def _reshape(node: Node) -> Array | None:
    known = _known(node, 0)
    if known is None:
        return None
    shape = list(node.ints(1))
    if not node.attribute("allowzero", 0):
        shape = [known[0].shape[i] if d == 0 else d for i, d in enumerate(shape)]
    return known[0].reshape(shape)


def _expand(node: Node) -> Array | None:
    known = _known(node, 0)
    if known is None:
        return None
    shape = np.broadcast_shapes(known[0].shape, node.ints(1))
    return np.broadcast_to(known[0], shape) if int(np.prod(shape, dtype=object)) <= LARGEST else None


def _where(node: Node) -> Array | None:
    known = _known(node, 0, 1, 2)
    if known is None:
        return None
    condition, a, b = np.broadcast_arrays(*known)
    if not all(isinstance(c, bool | int) for c in condition.reshape(-1).tolist()):
        return None
    found = np.empty(condition.shape, object)
    for at in np.ndindex(found.shape):
        found[at] = a[at] if condition[at] else b[at]
    return found


def _reduce_prod(node: Node) -> Array | None:
    known = _known(node, 0)
    if known is None or known[0].ndim != 1:
        return None
    total = _scalar(dim_product(known[0].tolist()))
    return total.reshape(1) if node.attribute("keepdims", 1) else total


RULES: Mapping[str, Rule] = {
    "Shape": _shape, "Size": _size, "Gather": _gather, "Slice": _slice, "Concat": _concat, "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze, "Cast": _cast, "Identity": _same, "Neg": _neg, "Range": _range, "Expand": _expand,
    "ConstantOfShape": _constant_of_shape, "Reshape": _reshape, "Where": _where, "ReduceProd": _reduce_prod,
    "Add": _each(lambda a, b: a + b), "Sub": _each(lambda a, b: a - b), "Mul": _each(lambda a, b: a * b),
    "Div": _each(_quotient), "Mod": _remainder, "Min": _each(dim_min), "Max": _each(dim_max),
    "Equal": _each(_equal), "Less": _each(_less), "Greater": _each(lambda a, b: _less(b, a)), "Not": _not,
    "And": _each(lambda a, b: a and b), "Or": _each(lambda a, b: a or b), "Xor": _each(lambda a, b: a != b),
}  # fmt: skip

# Their results are bools: known ones stay contents, but as data they are bool, not i64.
BOOLEAN = frozenset({"Equal", "Less", "Greater", "Not", "And", "Or", "Xor"})


"""ONNX reductions that are no op here: of integers and bools, logarithms of sums, the last of equal extrema."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import NotSupported
from chainrule.ir.graph import Value
from chainrule.ir.types import f64, i64
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.basic import scalar_like
from chainrule.ops.statistics import logsumexp
from chainrule.ops.transcendental import log, sqrt


def log_of_sum(given: Given) -> Read:
    """log(sum(x))."""
    x, axes = given.value(0), given.axes(18)
    wide = x if x.dtype.is_float else el.cast(x, f64)
    if not axes and given.whole("noop_with_empty_axes", 0):
        return el.cast(log(wide), x.dtype)
    return el.cast(log(red.sum(wide, axes or None, bool(given.whole("keepdims", 1)))), x.dtype)


def extremum_of_bools(function: Callable[..., Value]) -> Reader:
    """Of bools the largest is any, the smallest all."""

    def read(given: Given) -> Read:
        return function(given.value(0), given.axes(18) or None, bool(given.whole("keepdims", 1)))

    return read


def last_position(function: Callable[[Value, int, bool], Value]) -> Reader:
    """The last of equal extrema: the first from the other end."""

    def read(given: Given) -> Read:
        x, axis = given.value(0), given.whole("axis", 0)
        found = function(sh.flip(x, axis), axis, bool(given.whole("keepdims", 1)))
        return el.sub(scalar_like(x.shape[axis] - 1, found), found)

    return read


def reduction_of_integers(function: Callable[[Value, Sequence[int] | None, bool], Value]) -> Reader:
    """In i64, of which the low bits count, or in f64 where there are fractions on the way."""

    def read(given: Given) -> Read:
        x, axes = given.value(0), given.axes(18)
        if not x.dtype.is_int:
            raise NotSupported(f"{given.op_type}: of {x.dtype} is not built")
        none = not axes and given.whole("noop_with_empty_axes", 0)
        return el.cast(function(x, () if none else axes or None, bool(given.whole("keepdims", 1))), x.dtype)

    return read


def _mean(x: Value, axes: Sequence[int] | None, keepdims: bool) -> Value:
    total = red.sum(el.cast(x, i64), axes, keepdims)
    return el.div(total, scalar_like(red.count_of(x, range(x.rank) if axes is None else axes), total))


def _norm(x: Value, axes: Sequence[int] | None, keepdims: bool) -> Value:
    wide = el.cast(x, f64)
    return sqrt(red.sum(el.mul(wide, wide), axes, keepdims))


def _log_sum_exp(x: Value, axes: Sequence[int] | None, keepdims: bool) -> Value:
    return logsumexp(el.cast(x, f64), axes, keepdims)


def _sum_square(x: Value, axes: Sequence[int] | None, keepdims: bool) -> Value:
    return red.sum(el.mul(x, x), axes, keepdims)


def _sum_absolute(x: Value, axes: Sequence[int] | None, keepdims: bool) -> Value:
    return red.sum(el.abs(x), axes, keepdims)


READERS: Mapping[str, Reader] = {
    "ReduceLogSum": log_of_sum, "ReduceMax": extremum_of_bools(red.any_), "ReduceMin": extremum_of_bools(red.all_),
    "ArgMax": last_position(red.argmax), "ArgMin": last_position(red.argmin),
    "ReduceMean": reduction_of_integers(_mean), "ReduceL2": reduction_of_integers(_norm),
    "ReduceL1": reduction_of_integers(_sum_absolute), "ReduceSumSquare": reduction_of_integers(_sum_square),
    "ReduceLogSumExp": reduction_of_integers(_log_sum_exp),
}  # fmt: skip

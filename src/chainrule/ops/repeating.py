"""Ops that repeat what is there: pads that continue the border, tile, repeat, roll."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim, as_dim
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, i64
from chainrule.ops.arithmetic import remainder
from chainrule.ops.basic import constant, size_of
from chainrule.ops.elementwise import add, expect_inputs
from chainrule.ops.indexing import gather
from chainrule.ops.ranges import iota
from chainrule.ops.shape_rules import axis_of
from chainrule.ops.shaping import concat, expand, flip, known_negative, narrow, pad_constant, reshape, unsqueeze

_BORDERS = ("reflect", "edge", "wrap")  # numpy.pad's names too


@dataclass(frozen=True)
class PadBorder(Op):
    """x continued past its border. x: [d, ...] -> [before + d + after, ...].

    mode "reflect" mirrors without repeating the border (at most d - 1), "edge" repeats the border (d >= 1), "wrap"
    goes on at the other end (at most d). Amounts are not negative. Raises ShapeError when a pad asks for more than the
    axis has, ArgumentError for another mode. Source: ONNX Pad-19, reflect, edge and wrap.
    """

    name: ClassVar[str] = "pad_border"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "decompose"
    before: tuple[Dim, ...]
    after: tuple[Dim, ...]
    mode: str

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        if self.mode not in _BORDERS:
            raise ArgumentError(f"{self.mode!r} is not a way to continue a border",
                                help="modes: constant, " + ", ".join(_BORDERS))  # fmt: skip
        if not len(self.before) == len(self.after) == x.rank:
            raise ArgumentError(f"x has {x.rank} axes, {len(self.before)} and {len(self.after)} amounts are given",
                                help="give one amount before and one after for every axis")  # fmt: skip
        for axis, dim in enumerate(x.shape):
            self._check(axis, dim)
        return x.with_shape(b + d + a for b, d, a in zip(self.before, x.shape, self.after, strict=True))

    def _check(self, axis: int, dim: Dim) -> None:
        for amount in (self.before[axis], self.after[axis]):
            if amount == 0:
                continue
            if known_negative(amount):
                raise ArgumentError(f"a {self.mode} pad of {amount} is negative", help="slice to cut off")
            room = {"reflect": dim - 1 - amount, "edge": dim - 1, "wrap": dim - amount}[self.mode]
            if known_negative(room):
                raise ShapeError(f"axis {axis} of size {dim} is too short for a {self.mode} pad of {amount}",
                                 help="reflect has size - 1 to give, wrap size; edge needs one element")  # fmt: skip

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        for axis, dim in enumerate(x.shape):
            self._check(axis, dim)
        widths = [(int(b), int(a)) for b, a in zip(self.before, self.after, strict=True)]
        return np.pad(x, widths, self.mode) if widths else x  # type: ignore[call-overload]

    def decompose(self, *inputs: Value) -> Value:
        (x,) = inputs
        for axis, (before, after) in enumerate(zip(self.before, self.after, strict=True)):
            parts = [_border(x, axis, before, self.mode, True), x, _border(x, axis, after, self.mode, False)]
            x = concat([part for part in parts if part is not None], axis)
        return x


def _border(x: Value, axis: int, amount: Dim, mode: str, first: bool) -> Value | None:
    """What stands before (first) or after x along an axis; None for nothing."""
    if amount == 0:
        return None
    dim = x.shape[axis]
    if mode == "reflect":
        return flip(narrow(x, axis, 1 if first else dim - 1 - amount, amount), axis)
    if mode == "wrap":
        return narrow(x, axis, dim - amount if first else 0, amount)
    shape = list(x.shape)
    shape[axis] = amount
    return expand(narrow(x, axis, 0 if first else dim - 1, 1), shape)


@dataclass(frozen=True)
class Tile(Op):
    """x laid side by side, repeats[i] times along axis i. x: [d, ...] -> [d * repeats, ...].

    0 repeats give an empty result. Raises ArgumentError when not every axis is given or a number is negative.
    Source: ONNX Tile-13; numpy.tile.
    """

    name: ClassVar[str] = "tile"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "decompose"
    repeats: tuple[Dim, ...]

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        if len(self.repeats) != x.rank or any(known_negative(r) for r in self.repeats):
            raise ArgumentError(f"the repeats {self.repeats} do not fit the {x.rank} axes of x",
                                help="give one non-negative number for every axis")  # fmt: skip
        return x.with_shape(d * r for d, r in zip(x.shape, self.repeats, strict=True))

    def ref(self, *arrays: Array) -> Array:
        return np.tile(arrays[0], [int(r) for r in self.repeats])

    def decompose(self, *inputs: Value) -> Value:
        (x,) = inputs
        apart: list[Dim] = [part for dim in x.shape for part in (1, dim)]
        wide: list[Dim] = [part for pair in zip(self.repeats, x.shape, strict=True) for part in pair]
        shape = [d * r for d, r in zip(x.shape, self.repeats, strict=True)]
        return reshape(expand(reshape(x, apart), wide), shape)


def pad(x: Value, before: Sequence[Dim], after: Sequence[Dim], mode: str = "constant", value: float = 0.0) -> Value:
    """x with `before` and `after` elements added to each axis, negative amounts cut off.

    mode: "constant" (puts value), "reflect", "edge" or "wrap"; these cut off first.
    """
    if mode == "constant":
        return pad_constant(x, before, after, value)
    zero = [0] * x.rank
    if len(before) == len(after) == x.rank:
        x = pad_constant(x, [b if known_negative(b) else 0 for b in before],
                         [a if known_negative(a) else 0 for a in after])  # fmt: skip
        before = [0 if known_negative(b) else b for b in before]
        after = [0 if known_negative(a) else a for a in after]
        if list(before) == zero and list(after) == zero and mode in _BORDERS:
            return x
    return build(PadBorder(tuple(before), tuple(after), mode), x)


def tile(x: Value, repeats: int | Sequence[Dim]) -> Value:
    """x laid side by side; as numpy.tile, missing numbers and missing axes count as 1 in front."""
    counts = [repeats] if isinstance(repeats, int) else list(repeats)
    counts = [1] * (x.rank - len(counts)) + counts
    x = reshape(x, [1] * (len(counts) - x.rank) + list(x.shape))
    if all(c == 1 for c in counts):
        return x
    return build(Tile(tuple(c if isinstance(c, int) else as_dim(c) for c in counts)), x)


def repeat(x: Value, repeats: Dim, axis: int) -> Value:
    """Every element of an axis repeats times in a row (numpy.repeat, torch.repeat_interleave)."""
    axis = axis_of(axis, x.rank)
    wide: list[Dim] = [*x.shape[: axis + 1], as_dim(repeats), *x.shape[axis + 1 :]]
    shape = list(x.shape)
    shape[axis] = shape[axis] * repeats
    return reshape(expand(unsqueeze(x, axis + 1), wide), shape)


def roll(x: Value, shift: int | Sequence[int], axis: int | Sequence[int]) -> Value:
    """x moved round along axes: element i goes to (i + shift) mod size (numpy.roll)."""
    shifts = [shift] if isinstance(shift, int) else list(shift)
    axes = [axis] if isinstance(axis, int) else list(axis)
    if len(shifts) != len(axes):
        raise ArgumentError(f"roll: {len(shifts)} shifts for {len(axes)} axes", help="give one shift for every axis")
    for amount, at in zip(shifts, axes, strict=True):
        x = _rolled(x, amount, axis_of(at, x.rank))
    return x


def _rolled(x: Value, shift: int, axis: int) -> Value:
    dim = x.shape[axis]
    if isinstance(dim, int):
        by = shift % dim if dim else 0
        return concat([narrow(x, axis, dim - by, by), narrow(x, axis, 0, dim - by)], axis) if by else x
    # The shift modulo a symbolic size is known at run time only, and the size may be 0: take by computed positions.
    at = add(iota((dim,), 0, i64), constant(-shift, i64))
    return gather(x, remainder(at, size_of(dim)), axis)


OPS: tuple[type[Op], ...] = (PadBorder, Tile)

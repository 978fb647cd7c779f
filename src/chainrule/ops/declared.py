"""Sizes that are known to agree although their expressions differ: checked when they are bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.errors import ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType
from chainrule.ops.elementwise import expect_inputs


@dataclass(frozen=True)
class SizedAs(Op):
    """x itself; its sizes are those of `shape` in every run, which a call checks before it runs.

    x: [d0, ...] -> shape, of the same rank. It stands where a model's parts fit together only for some sizes: the half
    of an odd image, doubled again, does not fit the image. Raises ShapeError for another rank or number.
    Source: torch._check of two sizes; ONNX Identity-16.
    """

    name: ClassVar[str] = "sized_as"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "vjp"
    shape: tuple[Dim, ...]

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        apart = [(a, b) for a, b in zip(x.shape, self.shape, strict=False) if isinstance(a - b, int) and a != b]
        if x.rank != len(self.shape) or apart:
            raise ShapeError(f"{x} is never of the shape [{','.join(map(str, self.shape))}]",
                             help="only sizes with symbols may turn out to be equal")  # fmt: skip
        return x.with_shape(self.shape)

    def claims(self, *types: TensorType) -> tuple[tuple[Dim, Dim], ...]:
        return tuple((a, b) for a, b in zip(types[0].shape, self.shape, strict=True) if a != b)

    def ref(self, *arrays: Array) -> Array:
        if arrays[0].shape != self.shape:
            raise ShapeError(f"the shape is {list(arrays[0].shape)}, {list(self.shape)} was declared")
        return arrays[0]

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (sized_as(grads[0], inputs[0].shape),)


def sized_as(x: Value, shape: Sequence[Dim]) -> Value:
    """x with sizes that are checked to be these when a call binds them."""
    return x if tuple(shape) == x.shape else build(SizedAs(tuple(shape)), x)


OPS: tuple[type[Op], ...] = (SizedAs,)

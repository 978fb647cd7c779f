"""What is known of sizes and numbers although nothing in the graph says so: checked in every call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.shape_rules import require


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


@dataclass(frozen=True)
class Within(Op):
    """x itself, whose integers all lie in low to high: a call with another raises ArgumentError.

    x: integers [...] -> the same. what: what the numbers are, in the plural, for the error's text. It stands where a
    number beyond would be taken for another one in silence, as a length beyond the steps there are. Raises DTypeError
    for numbers that are no integers. Source: torch.nn.utils.rnn.pack_padded_sequence checks lengths; ONNX Identity-16.
    """

    name: ClassVar[str] = "within"
    args: ClassVar[tuple[str, ...]] = ("x",)
    gradient: ClassVar[str] = "zero"
    low: int
    high: Dim
    what: str = "numbers"

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        require("iu", types[0])
        return types[0]

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        beyond = [int(n) for n in x.flat if not self.low <= int(n) <= int(self.high)]
        if beyond:
            raise ArgumentError(f"{self.what} lie in {self.low} to {self.high}, {beyond[0]} is given")
        return x.copy()


def within(x: Value, low: int, high: Dim, what: str) -> Value:
    """x, whose integers are checked to lie in low to high when a call knows them."""
    return build(Within(low, high, what), x)


OPS: tuple[type[Op], ...] = (SizedAs, Within)

"""Small graphs as quantisers write them: dequantize, an op in floats, quantize.

Scales are powers of two unless said otherwise, so that every float on the way is exact and so is the result.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Graph, Value, build, new_input
from chainrule.ir.types import TensorType, as_dtype, f32, type_of
from chainrule.ops.basic import Fuse, constant
from chainrule.ops.conv import Conv
from chainrule.ops.quantise import Dequantize, Quantize
from chainrule.ops.shaping import reshape

Array = np.ndarray


def numbers(dtype: np.dtype | type, *shape: int, seed: int = 0) -> Array:
    """Bytes of the whole range, the ends often."""
    rng, limits = np.random.default_rng((seed, *shape)), np.iinfo(dtype)
    found = rng.integers(limits.min, limits.max + 1, shape)
    return np.where(rng.random(shape) < 0.2, rng.choice([limits.min, limits.max], shape), found).astype(dtype)


@dataclass
class Writer:
    """A graph in the making. weights: of its params, in their order."""

    inputs: list[Value] = field(default_factory=list[Value])
    weights: list[Array] = field(default_factory=list[Array])

    def input(self, *shape: Dim) -> Value:
        """A float input."""
        self.inputs.append(new_input(f"x{len(self.inputs)}", TensorType(f32, shape)))
        return self.inputs[-1]

    def param(self, array: Array) -> Value:
        """A weight of the graph."""
        self.weights.append(array)
        self.inputs.append(new_input(f"w{len(self.weights)}", type_of(array), "param"))
        return self.inputs[-1]

    def quantised(self, x: Value, dtype: type, scale: float, zero: int) -> Value:
        """x as bytes."""
        kind = as_dtype(np.dtype(dtype))
        return build(Quantize(kind), x, constant(scale, f32), constant(zero, kind))

    def real(self, x: Value, scale: float, zero: int) -> Value:
        """Bytes as floats."""
        return build(Dequantize(), x, constant(scale, f32), constant(zero, x.dtype))

    def through(self, x: Value, dtype: type, scale: float, zero: int) -> Value:
        """x as bytes and back."""
        return self.real(self.quantised(x, dtype, scale, zero), scale, zero)

    def weight(self, w: Array, scales: Array, axis: int = 0) -> Value:
        """A stored weight of bytes with a scale for each position of an axis, its zero point the middle of its type."""
        shape = [1] * w.ndim
        shape[axis] = w.shape[axis]
        middle = 0 if w.dtype == np.int8 else 128
        zero = constant(np.full(shape, middle, w.dtype))
        return build(Dequantize(), constant(w), reshape(self.param(scales), tuple(shape)), zero)

    def bias(self, numbers: Array, scales: Array) -> Value:
        """A stored bias of 32-bit integers."""
        return build(Dequantize(), constant(numbers.astype(np.int32)), self.param(scales), constant(np.zeros_like(
            numbers, np.int32)))  # fmt: skip

    def graph(self, *outputs: Value) -> Graph:
        return Graph("quantised", tuple(self.inputs), outputs)


def ops_of(made: LlvmExecutable) -> list[type]:
    """The ops that a call computes."""
    nodes = list(made.main.program.graph.nodes)
    return [type(inner.op) for n in nodes for inner in (n.op.body.nodes if isinstance(n.op, Fuse) else (n,))]


def powers(count: int, low: int = -9, high: int = -6) -> Array:
    """Powers of two, another for each channel."""
    return np.float32(2.0) ** (low + np.arange(count, dtype=np.float32) % (high - low + 1))


@dataclass(frozen=True)
class ConvCase:
    """A convolution between bytes. zeros: of what it reads and of its result."""

    kernel: tuple[int, ...]
    channels: int
    outs: int
    image: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    dtype: type = np.uint8
    zeros: tuple[int, int] = (128, 3)
    weight: type = np.int8

    def written(self, batch: Dim) -> tuple[Graph, list[Array]]:
        """The graph of quantize, convolution with bias, quantize, and its weights."""
        w, rank = Writer(), len(self.kernel)
        x = w.through(w.input(batch, self.channels, *self.image), self.dtype, 0.25, self.zeros[0])
        weight = numbers(self.weight, self.outs, self.channels // self.groups, *self.kernel)
        scales = powers(self.outs)
        bias = np.random.default_rng(1).integers(-3000, 3000, self.outs)
        y = build(Conv(self.stride, self.pad, self.dilation, self.groups), x, w.weight(weight, scales),
                  w.bias(bias, scales * np.float32(0.25)))  # fmt: skip
        assert y.rank == rank + 2
        return w.graph(w.quantised(y, self.dtype, 16.0, self.zeros[1])), w.weights


CASES = {
    "3x3, odd channels": ConvCase((3, 3), 5, 7, (9, 8), (1, 1), (1, 1, 1, 1), (1, 1)),
    "zero points at the ends": ConvCase((3, 3), 8, 17, (5, 7), (1, 1), (1, 0, 2, 1), (1, 1), 1, np.uint8, (255, 0)),
    "i8, the lowest": ConvCase((3, 2), 6, 33, (7, 6), (2, 1), (0, 1, 1, 0), (1, 1), 1, np.int8, (-128, -128)),
    "i8, the highest": ConvCase((1, 1), 12, 65, (6, 5), (1, 1), (0,) * 4, (1, 1), 1, np.int8, (127, 127)),
    "one tap, seven channels": ConvCase((1, 1), 7, 9, (6, 5), (1, 1), (0,) * 4, (1, 1), 1, np.uint8, (0, 255)),
    "one tap, stride 2": ConvCase((1, 1), 16, 40, (7, 7), (2, 2), (0,) * 4, (1, 1), 1, np.uint8, (7, 7)),
    "groups": ConvCase((3, 3), 6, 8, (6, 6), (1, 2), (1, 1, 1, 1), (1, 1), 2),
    "by channels": ConvCase((3, 3), 19, 19, (9, 7), (1, 1), (1, 1, 1, 1), (1, 1), 19),
    "by channels, stride": ConvCase((5, 5), 16, 16, (9, 9), (2, 2), (2, 1, 2, 3), (1, 1), 16, np.int8, (-5, 100)),
    "two for each channel": ConvCase((3, 3), 4, 8, (6, 6), (1, 1), (0,) * 4, (1, 1), 4),
    "dilation": ConvCase((3, 3), 4, 8, (11, 9), (1, 1), (2, 3, 2, 1), (2, 3)),
    "one axis": ConvCase((7,), 3, 20, (40,), (2,), (3, 2), (1,)),
    "three axes": ConvCase((2, 3, 3), 3, 9, (4, 5, 6), (1, 1, 2), (1, 0, 1, 0, 1, 1), (1, 1, 1)),
    "an unsigned weight": ConvCase((3, 3), 4, 8, (5, 5), (1, 1), (1, 1, 1, 1), (1, 1), weight=np.uint8),
    "a deep one": ConvCase((3, 3), 300, 8, (4, 4), (1, 1), (1, 1, 1, 1), (1, 1)),
}  # fmt: skip

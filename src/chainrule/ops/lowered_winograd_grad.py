"""The gradient of a convolution for its weight by Winograd's tiles: the transposed algorithm of lowered_winograd.py.

With y = A((G w G') * (B x B'))A' the gradient of w is G'(sum over tiles of (A' dy A) * (B x B'))G, and takes as few
products. Only the compiler makes this op. Errors are of class W. Source: Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", 2016, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.lowered import MADE_LATE, WeightGradLast, padded_room
from chainrule.ops.lowered_winograd import transformed
from chainrule.ops.matmul import accumulator
from chainrule.ops.toom_cook import Matrix, has_points, short_convolution


@dataclass(frozen=True)
class WinogradWeightGrad(Op):
    """WeightGradLast of two axes, stride 1, one group and no dilation, by whole tiles.

    x: [N, *S, C], dy: [N, *T, O] -> [*kernel, C, O]; T are multiples of the tile's sizes, pad: the begin of each axis.
    An infinity or NaN may make every element of its channel NaN. Raises ArgumentError where there are no points for a
    tile, ShapeError for a T that tiles do not cover. Source: Lavin and Gray, 2016.
    """

    name: ClassVar[str] = "winograd_weight_grad"
    args: ClassVar[tuple[str, ...]] = ("x", "dy")
    tolerance: ClassVar[str] = "W"
    gradient: ClassVar[str] = MADE_LATE
    kernel: tuple[int, ...]
    tile: tuple[int, ...]
    pad: tuple[int, ...]

    @property
    def direct(self) -> WeightGradLast:
        """The same by direct sums."""
        ones = (1,) * len(self.kernel)
        return WeightGradLast(self.kernel, ones, self.pad, ones)

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        if len(self.kernel) != 2 or len(self.tile) != 2 or not all(map(has_points, self.tile, self.kernel)):
            raise ArgumentError(f"there are no points for tiles of {self.tile} and kernels of {self.kernel}")
        result = self.direct.infer(*types)
        assert isinstance(result, TensorType)
        for size, m in zip(types[1].shape[1:-1], self.tile, strict=True):
            if size // m * m != size:
                raise ShapeError(f"tiles of {self.tile} do not cover {types[1]}")
        return result

    def ref(self, *arrays: Array) -> Array:
        return self._made(arrays, False).astype(arrays[0].dtype, copy=False)

    def magnitude(self, *arrays: Array) -> Array:
        """What the errors are in proportion to: the same sums over the sizes of all that is added up."""
        return self._made([np.abs(a) for a in arrays], True)

    def _made(self, arrays: Sequence[Array], absolute: bool) -> Array:
        x, dy = (a.astype(accumulator(a.dtype), copy=False) for a in arrays)
        ones = (1, 1)
        room, _ = padded_room(x, self.kernel, ones, self.pad, ones, dy.shape[1:-1], ones)
        counts = [n // m for n, m in zip(dy.shape[1:-1], self.tile, strict=True)]
        rules = [short_convolution(m, k) for m, k in zip(self.tile, self.kernel, strict=True)]
        with np.errstate(all="ignore"):
            left = _tiles(room, counts, self.tile, [len(r.inputs) for r in rules])
            right = _tiles(dy, counts, self.tile, self.tile)
            for axis, rule in enumerate(rules):
                left = transformed(left, axis, rule.inputs, absolute)
                right = transformed(right, axis, turned(rule.outputs), absolute)
            sums = np.einsum("pqnijc,pqnijo->pqco", left, right)
            for axis, rule in enumerate(rules):
                sums = transformed(sums, axis, turned(rule.weights), absolute)
        return np.ascontiguousarray(sums)


def turned(matrix: Matrix) -> Matrix:
    """The matrix with rows and columns exchanged."""
    return tuple(zip(*matrix, strict=True))


def _tiles(image: Array, counts: Sequence[int], tile: Sequence[int], reach: Sequence[int]) -> Array:
    """[*reach, N, *counts, C]: the pixels of each tile, which begin a tile's size apart."""
    rows = [image[:, i : i + (counts[0] - 1) * tile[0] + 1 : tile[0]] for i in range(reach[0])]
    return np.stack([np.stack([row[:, :, j : j + (counts[1] - 1) * tile[1] + 1 : tile[1]] for j in range(reach[1])])
                     for row in rows])  # fmt: skip


OPS: tuple[type[Op], ...] = (WinogradWeightGrad,)

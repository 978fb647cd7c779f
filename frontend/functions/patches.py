"""Images as columns of their patches, and back: what a convolution does before and after its product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions.windows import Ints, expect_rank
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, value_of, wrap
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value
from chainrule.ir.types import i64
from chainrule.ops import elementwise, indexing, shaping
from chainrule.ops.basic import constant
from chainrule.ops.ranges import iota


@dataclass(frozen=True)
class Windows:
    """The places of a window along one axis."""

    size: int
    dilation: int
    padding: int
    stride: int

    def count(self, dim: Dim) -> Dim:
        """How many windows an axis of this size holds."""
        return (dim + (2 * self.padding - self.dilation * (self.size - 1) - 1)) // self.stride + 1

    def positions(self, dim: Dim) -> Value:
        """Where each element of each window lies on the padded axis: [size, count]."""
        first = elementwise.mul(iota((self.count(dim),)), constant(self.stride, i64))
        within = elementwise.mul(iota((self.size, 1)), constant(self.dilation, i64))
        return elementwise.add(within, first)


def unfold(x: Operand, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1) -> Tensor:
    """The patches of x [N, C, H, W] as columns: [N, C*KH*KW, PATCHES], row by row. Outside of x are zeros.

    Source: torch.nn.functional.unfold.
    """
    with located():
        value, (rows, columns) = _image("unfold", x), _windows("unfold", kernel_size, dilation, padding, stride)
        n, c, height, width = value.shape
        edge = (0, 0, rows.padding, columns.padding)
        _expect_room("unfold", value, (rows.count(height), columns.count(width)))
        padded = shaping.pad_constant(value, edge, edge)
        tall = indexing.gather(padded, rows.positions(height), 2)  # [N, C, KH, OH, W]
        parts = indexing.gather(tall, columns.positions(width), 4)  # [N, C, KH, OH, KW, OW]
        ordered = shaping.transpose(parts, (0, 1, 2, 4, 3, 5))
        size = rows.size * columns.size
        return wrap(shaping.reshape(ordered, (n, c * size, rows.count(height) * columns.count(width))))


def fold(x: Operand, output_size: Ints, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0,
         stride: Ints = 1) -> Tensor:  # fmt: skip
    """Columns of patches [N, C*KH*KW, PATCHES] added up to an image [N, C, *output_size]: unfold's transpose.

    Source: torch.nn.functional.fold.
    """
    with located():
        value, (rows, columns) = value_of(x, "fold"), _windows("fold", kernel_size, dilation, padding, stride)
        expect_rank("fold", "x", value, 3, "[N, C*KH*KW, PATCHES]")
        height, width = _two("fold", "output_size", output_size)
        down, across, size = rows.count(height), columns.count(width), rows.size * columns.size
        n, depth, patches = value.shape
        if isinstance(depth, int) and (depth % size or patches != down * across):
            raise error(ShapeError, "fold: the columns are not those of this image", notes=[f"x: {value.type}"],
                        help=f"x is [N, C*{size}, {down * across}] for these arguments")  # fmt: skip
        c = depth // size
        parts = shaping.reshape(value, (n, c, rows.size, columns.size, down, across))
        ordered = shaping.transpose(parts, (0, 1, 2, 4, 3, 5))
        tall = (n, c, rows.size, down, width + 2 * columns.padding)
        wide = indexing.index_add(tall, columns.positions(width), ordered, 4)
        full = (n, c, height + 2 * rows.padding, tall[-1])
        image = indexing.index_add(full, rows.positions(height), wide, 2)
        inner = shaping.slice_sized(image, (0, 0, rows.padding, columns.padding), (n, c, height, width))
        return wrap(inner)


def _image(what: str, x: Operand) -> Value:
    value = value_of(x, what)
    expect_rank(what, "x", value, 4, "[N, C, H, W]")
    return value


def _windows(what: str, size: Ints, dilation: Ints, padding: Ints, stride: Ints) -> tuple[Windows, Windows]:
    """The windows along rows and columns. Raises ArgumentError for numbers that make none."""
    given = {"kernel_size": size, "dilation": dilation, "padding": padding, "stride": stride}
    pairs = {name: _two(what, name, value) for name, value in given.items()}
    for name, pair in pairs.items():
        least = 0 if name == "padding" else 1
        if min(pair) < least:
            raise error(ArgumentError, f"{what}: {name}={given[name]!r}", help=f"{least} or more")
    height, width = zip(*pairs.values(), strict=True)
    return Windows(*height), Windows(*width)


def _two(what: str, name: str, value: Ints) -> tuple[Any, Any]:
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2:
        raise error(ArgumentError, f"{what}: {name}={value!r} is not for two axes", help="one int, or one per axis")
    return pair[0], pair[1]


def _expect_room(what: str, x: Value, counts: Sequence[Dim]) -> None:
    if any(isinstance(count, int) and count < 1 for count in counts):
        raise error(ShapeError, f"{what}: the window does not fit into the image", notes=[f"x: {x.type}"],
                    help="take a smaller kernel_size, or more padding")  # fmt: skip

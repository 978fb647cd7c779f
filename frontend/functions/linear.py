"""Matrix products, with numpy's names."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.errors import ArgumentError
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, values_of, wrap
from chainrule.ops import einsum as sums
from chainrule.ops import elementwise, reduce, shaping
from chainrule.ops import matmul as products
from chainrule.ops.shape_rules import axes_in_order


def matmul(x: Operand, y: Operand) -> Tensor:
    """The product of matrices in the last two axes; others broadcast, a 1-d operand is a row (x) or column (y)."""
    with located():
        a, b = values_of("matmul", x, y)
        return wrap(products.matmul(a, b))


def dot(x: Operand, y: Operand) -> Tensor:
    """The inner product of two vectors."""
    with located():
        a, b = values_of("dot", x, y)
        return wrap(products.dot(a, b))


def outer(x: Operand, y: Operand) -> Tensor:
    """Every product of an element of x with one of y. [M], [N] -> [M, N]."""
    with located():
        a, b = values_of("outer", x, y)
        return wrap(products.outer(a, b))


def linear(x: Operand, weight: Operand, bias: Operand | None = None) -> Tensor:
    """x @ weight.T + bias. x: [..., IN], weight: [OUT, IN], bias: [OUT] -> [..., OUT]."""
    with located():
        if bias is None:
            value, matrix = values_of("linear", x, weight)
            return wrap(products.linear(value, matrix))
        value, matrix, offset = values_of("linear", x, weight, bias)
        return wrap(elementwise.add(products.linear(value, matrix), offset))


def bilinear(x1: Operand, x2: Operand, weight: Operand, bias: Operand | None = None) -> Tensor:
    """x1 weight x2 + bias. x1: [..., A], x2: [..., B], weight: [OUT, A, B] -> [..., OUT]."""
    with located():
        a, b, cube = values_of("bilinear", x1, x2, weight)
        out, rows, columns = cube.shape
        flat = shaping.reshape(cube, (out * rows, columns))
        across = products.linear(b, flat)  # [..., OUT*A]
        parts = shaping.reshape(across, (*b.shape[:-1], out, rows))
        y = reduce.sum(elementwise.mul(parts, shaping.unsqueeze(a, a.rank - 1)), -1)
        return wrap(y if bias is None else elementwise.add(y, values_of("bilinear", bias, wrap(y))[0]))


def einsum(equation: str, *operands: Operand) -> Tensor:
    """numpy.einsum: "bij,bjk->bik" multiplies along shared labels and sums those that the result leaves out."""
    with located():
        return wrap(sums.einsum(equation, *values_of("einsum", *operands)))


def tensordot(x: Operand, y: Operand, axes: int | tuple[int | Sequence[int], int | Sequence[int]] = 2) -> Tensor:
    """The product of x and y summed over axes: the last `axes` of x and the first of y, or these of x and y."""
    with located():
        a, b = values_of("tensordot", x, y)
        if isinstance(axes, int):
            axes = (range(a.rank - axes, a.rank), range(axes))
        over_a, over_b = axes_in_order(axes[0], a.rank), axes_in_order(axes[1], b.rank)
        if len(over_a) != len(over_b):
            raise error(ArgumentError, f"tensordot: {len(over_a)} axes of x and {len(over_b)} of y",
                        help="give as many of one as of the other")  # fmt: skip
        names = [chr(ord("a") + i) for i in range(a.rank + b.rank)]
        left, right = names[: a.rank], names[a.rank :]
        for i, j in zip(over_a, over_b, strict=True):
            right[j] = left[i]
        kept = [name for name in left if name not in right] + [name for name in right if name not in left]
        return wrap(sums.einsum(f"{''.join(left)},{''.join(right)}->{''.join(kept)}", a, b))

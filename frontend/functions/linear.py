"""Matrix products, with numpy's names."""

from __future__ import annotations

from chainrule.frontend.places import located
from chainrule.frontend.tensor import Operand, Tensor, values_of, wrap
from chainrule.ops import einsum as sums
from chainrule.ops import elementwise, reduce, shaping
from chainrule.ops import matmul as products


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


def tensordot(x: Operand, y: Operand, axes: int = 2) -> Tensor:
    """The product of x and y summed over the last `axes` axes of x and the first of y."""
    with located():
        a, b = values_of("tensordot", x, y)
        names = [chr(ord("a") + i) for i in range(a.rank + b.rank - axes)]
        left, right = names[: a.rank], names[a.rank - axes :]
        kept = left[: a.rank - axes] + right[axes:]
        return wrap(sums.einsum(f"{''.join(left)},{''.join(right)}->{''.join(kept)}", a, b))

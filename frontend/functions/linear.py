"""Matrix products, with numpy's names."""

from __future__ import annotations

from chainrule.frontend.places import located
from chainrule.frontend.tensor import Operand, Tensor, value_of, values_of, wrap
from chainrule.ir.graph import Value
from chainrule.ir.types import i64
from chainrule.ops import compare, elementwise, ranges, reduce, shaping
from chainrule.ops import einsum as sums
from chainrule.ops import matmul as products
from chainrule.ops.basic import constant, full, scalar_like
from chainrule.ops.softmax import softmax
from chainrule.ops.transcendental import rsqrt


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


def scaled_dot_product_attention(
    query: Operand,
    key: Operand,
    value: Operand,
    attn_mask: Operand | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(query key^T * scale + mask) value.

    query: [..., L, E], key: [..., S, E], value: [..., S, V] -> [..., L, V].
    attn_mask: bools (True takes part) or numbers that are added, broadcast to [..., L, S]. is_causal lets position i
    see positions up to i. scale is 1/sqrt(E) by default. Source: Vaswani et al. 2017, equation 1.
    """
    with located():
        q, k, v = values_of("attention", query, key, value)
        factor = scalar_like(scale, q) if scale is not None else rsqrt(scalar_like(q.shape[-1], q))
        scores = elementwise.mul(products.matmul(q, k, transpose_b=True), factor)
        if is_causal:
            ahead = ranges.tril(full(1, scores.shape[-2:], i64))
            scores = _masked(scores, compare.ne(ahead, constant(0, i64)))
        if attn_mask is not None:
            mask = value_of(attn_mask, "attention")
            scores = _masked(scores, mask) if mask.dtype.is_bool else elementwise.add(
                scores, elementwise.cast(mask, scores.dtype))  # fmt: skip
        return wrap(products.matmul(softmax(scores, -1), v))


def _masked(scores: Value, keep: Value) -> Value:
    return elementwise.where(keep, scores, scalar_like(float("-inf"), scores))

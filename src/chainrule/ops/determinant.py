"""The determinant of square matrices, by elimination with the largest pivot of each column."""

from __future__ import annotations

from chainrule.errors import NotSupported, ShapeError
from chainrule.ir.graph import Value
from chainrule.ops.basic import constant, ones_like, scalar_like, zeros_like
from chainrule.ops.compare import eq
from chainrule.ops.elementwise import abs, div, mul, neg, sub, where
from chainrule.ops.indexing import gather_elements
from chainrule.ops.ranges import iota
from chainrule.ops.reduce import argmax
from chainrule.ops.shaping import expand, listed, narrow, reshape, unsqueeze

LARGEST = 32  # the steps are unrolled


def determinant(x: Value) -> Value:
    """The determinants of the matrices in the last two axes. x: [.., n, n] -> [..]. n is a number up to 32.

    NaN where a matrix holds one. Raises ShapeError unless square. Source: ONNX Det-22; numpy.linalg.det.
    """
    if x.rank < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"determinant: x is {listed(x.shape)}, not [.., n, n]", help="matrices are square")
    n = x.shape[-1]
    if not isinstance(n, int) or n > LARGEST:
        raise NotSupported(f"determinant: of matrices of {n} rows", help=f"up to {LARGEST} rows are built")
    lead = x.shape[:-2]
    found = expand(scalar_like(1.0, x), lead)
    rest = x
    for size in range(n, 0, -1):
        column = reshape(narrow(rest, rest.rank - 1, 0, 1), (*lead, size))
        place = unsqueeze(argmax(abs(column), column.rank - 1), (len(lead), len(lead) + 1))  # [.., 1, 1]
        row = gather_elements(rest, expand(place, (*lead, 1, size)), rest.rank - 2)
        first = narrow(rest, rest.rank - 2, 0, 1)
        pivot = narrow(row, row.rank - 1, 0, 1)
        swapped = reshape(eq(place, constant(0, place.dtype)), lead)
        found = mul(found, where(swapped, reshape(pivot, lead), neg(reshape(pivot, lead))))
        if size == 1:
            break
        # The first row takes the place of the pivot's; the pivot's leaves.
        moved = where(eq(iota((size, 1), 0), place), first, rest)
        below = narrow(moved, moved.rank - 2, 1, size - 1)
        safe = where(eq(pivot, zeros_like(pivot)), ones_like(pivot), pivot)
        factor = div(narrow(below, below.rank - 1, 0, 1), safe)
        right = narrow(below, below.rank - 1, 1, size - 1)
        rest = sub(right, mul(factor, narrow(row, row.rank - 1, 1, size - 1)))
    return found

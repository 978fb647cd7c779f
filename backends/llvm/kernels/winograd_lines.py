"""The one-axis transforms of Winograd's tiles on vectors: each is a small constant matrix times a line of values.

Points come in pairs +-p (ops/toom_cook.py), so that two neighbouring rows (for inputs and weights) or columns (for
outputs) of a matrix differ only in the signs of their odd places. Pairs share their halves: 12 multiply-adds instead of
24 for the inputs of F(4, 3). A transform of several axes is this along one axis after the other, through a patch of
scratch memory that stays in the first-level cache.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.backends.loops import Builder
from chainrule.backends.loops import Value as LoopValue
from chainrule.ops.toom_cook import Matrix

Term = tuple[float, LoopValue]


def from_inputs(k: Builder, matrix: Matrix, values: Sequence[LoopValue]) -> list[LoopValue]:
    """The matrix (of inputs or weights, its rows in pairs) times the values."""
    found: list[LoopValue] = []
    while len(found) < len(matrix):
        row = matrix[len(found)]
        after = matrix[len(found) + 1] if len(found) + 1 < len(matrix) else ()
        if any(row[1::2]) and tuple(c if j % 2 == 0 else -c for j, c in enumerate(row)) == after:
            found += _pair(k, row, values)
        else:
            found.append(_sum(k, list(zip(row, values, strict=True))))
    return found


def _pair(k: Builder, row: Sequence[float], values: Sequence[LoopValue]) -> list[LoopValue]:
    """Even half + odd half, and even half - odd half. The odd half is scaled so that its last place counts once."""
    even = _sum(k, list(zip(row[::2], values[::2], strict=True)))
    lead = next(c for c in reversed(row[1::2]) if c)
    odd = _sum(k, [(c / lead, v) for c, v in zip(row[1::2], values[1::2], strict=True)])
    return [_added(k, even, lead, odd), _added(k, even, -lead, odd)]


def to_outputs(k: Builder, matrix: Matrix, values: Sequence[LoopValue]) -> list[LoopValue]:
    """The matrix of outputs, its columns in pairs, times the values."""
    count = len(values)
    halves = [(k.add(values[j], values[j + 1]), k.sub(values[j], values[j + 1])) for j in range(1, count - 1, 2)]
    found: list[LoopValue] = []
    for i, row in enumerate(matrix):
        terms: list[Term] = [(row[0], values[0])]
        terms += [(row[2 * j + 1], pair[i % 2]) for j, pair in enumerate(halves)]
        found.append(_sum(k, [*terms, (row[-1], values[-1])]))
    return found


def _sum(k: Builder, terms: Sequence[Term]) -> LoopValue:
    """The sum of factor * value, those of factor 1 first; zeros are left out."""
    ordered = sorted((t for t in terms if t[0]), key=lambda t: t[0] != 1.0)
    (factor, value), *rest = ordered
    total = value if factor == 1.0 else k.mul(value, factor)
    for factor, value in rest:
        total = _added(k, total, factor, value)
    return total


def _added(k: Builder, total: LoopValue, factor: float, value: LoopValue) -> LoopValue:
    if abs(factor) == 1.0:
        return k.add(total, value) if factor > 0 else k.sub(total, value)
    return k.fma(value, factor, total)

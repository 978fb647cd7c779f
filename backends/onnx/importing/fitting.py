"""Sizes whose expressions differ where a node needs them equal: the model's author knew that they are.

Two names of free sizes become one. Where an expression is concerned the node reads its inputs as `sized_as` what they
must be, and a call checks that before it runs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from chainrule.backends.onnx.node import Entry, Given
from chainrule.errors import ChainruleError
from chainrule.ir.dims import Dim, DimExpr, dim_product, dim_symbols, floordiv
from chainrule.ir.graph import Value
from chainrule.ops.declared import sized_as

MOST_CLAIMS = 16  # for one node


class SameSize(Exception):
    """Two free sizes of the inputs are one: the model is read again with `names` for them."""

    def __init__(self, symbol: str, other: Dim) -> None:
        super().__init__(symbol)
        self.symbol = symbol
        self.other = other


def fitted(given: Given, error: ChainruleError, free: Collection[str]) -> Given | None:
    """The node with inputs whose sizes fit as the error asks; None where no declaration would help.

    free: the symbols that the model's inputs introduce. Raises SameSize where two of them are one.
    """
    sizes = [d for d in error.apart or () if isinstance(d, int | DimExpr)]
    if len(sizes) != 2 or isinstance(sizes[0] - sizes[1], int):
        return None
    wanted, other = sorted(sizes, key=_weight)
    for symbol, size in ((other, wanted), (wanted, other)):
        name = symbol.symbol_name() if isinstance(symbol, DimExpr) else None
        if name is not None and name in free and isinstance(size, DimExpr) and size.symbol_name() in free:
            raise SameSize(name, size)
    entries = tuple(_fitted_entry(e, other, wanted) for e in given.entries)
    changed = any(a is not b for a, b in zip(entries, given.entries, strict=True))
    return replace(given, entries=entries) if changed else None


def _weight(dim: Dim) -> tuple[bool, int, str]:
    """Numbers before expressions, short before long."""
    return isinstance(dim, DimExpr), len(str(dim)), str(dim)


def _fitted_entry(entry: Entry | None, other: Dim, wanted: Dim) -> Entry | None:
    if entry is None or not entry.is_node:
        return entry
    value = entry.value()
    shape = tuple(wanted if d == other else d for d in value.shape)
    if shape == value.shape and value.tensor.size in (other, wanted):
        shape = _resized(value, wanted if value.tensor.size == other else other)
    return entry if shape == value.shape else Entry(sized_as(value, shape), entry.content, entry.dtype)


def _resized(value: Value, wanted: Dim) -> tuple[Dim, ...]:
    """The shape with the one axis changed that makes the number of elements what is wanted."""
    for axis, dim in enumerate(value.shape):
        rest = dim_product((*value.shape[:axis], *value.shape[axis + 1 :]))
        size = wanted if rest == 1 else floordiv(wanted, rest) if rest != 0 else 0
        if isinstance(dim, DimExpr) and dim_symbols(dim) and size * rest == wanted:
            return (*value.shape[:axis], size, *value.shape[axis + 1 :])
    return value.shape


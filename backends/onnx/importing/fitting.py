"""Sizes whose expressions differ where a node needs them equal: the model's author knew that they are.

Two names of free sizes become one. Where an expression is concerned the node reads its inputs as `sized_as` what they
must be, and a call checks that before it runs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from chainrule.backends.onnx.importing.contents import as_dims
from chainrule.backends.onnx.node import Entry, Given
from chainrule.errors import ChainruleError
from chainrule.ir.dims import Dim, DimExpr, dim_product, dim_symbols, dim_value, floordiv
from chainrule.ir.graph import Value
from chainrule.ir.types import i64
from chainrule.ops.declared import sized_as
from chainrule.ops.indexing import gather
from chainrule.ops.ranges import iota
from chainrule.ops.shaping import reshape

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
    single = next((d for d in sizes if isinstance(d, DimExpr) and _is_one(d)), None)
    wanted, other = sorted(sizes, key=_weight) if single is None else (1, single)
    for symbol, size in ((other, wanted), (wanted, other)):
        name = symbol.symbol_name() if isinstance(symbol, DimExpr) else None
        if name is not None and name in free and isinstance(size, DimExpr) and size.symbol_name() in free:
            raise SameSize(name, size)
    for fit in (_with_axes, _with_elements):
        for before, after in ((other, wanted), (wanted, other)):
            entries = tuple(e if e is None or not e.is_node else _as(e, fit(e.value(), before, after))
                            for e in given.entries)  # fmt: skip
            if any(a is not b for a, b in zip(entries, given.entries, strict=True)):
                return replace(given, entries=entries)
    if given.op_type == "Expand" and single is not None:
        return _expanded(given, single)
    return _regrouped(given, other, wanted) if given.op_type == "Reshape" else None


def _expanded(given: Given, one: Dim) -> Given | None:
    """An Expand to a size that is 1 for all but empty arrays: along that axis nothing is repeated."""
    x, shape = given.value(0), given.known(1)
    if shape is None or one not in shape.tolist():
        return None
    dims = [1 if d == one else d for d in given.dims(1)]
    first = sized_as(iota((one,), 0, i64), (1,))  # a call with another size is refused
    checked = gather(reshape(x, (1, *x.shape)), reshape(first, ()), 0)
    return replace(given, entries=(Entry(checked, None, x.dtype), Entry(None, as_dims(dims), i64)))


def _regrouped(given: Given, other: Dim, wanted: Dim) -> Given | None:
    """A Reshape of the elements as a vector that is as long as asked, where no one axis can be resized for it."""
    x, shape = given.value(0), given.known(1)
    if shape is None or x.tensor.size not in (other, wanted):
        return None
    length = wanted if x.tensor.size == other else other
    copies = not given.attribute("allowzero", 0)
    dims = [x.shape[i] if copies and isinstance(d, int) and d == 0 else d for i, d in enumerate(given.dims(1))]
    flat = sized_as(reshape(x, (x.tensor.size,)), (length,))
    return replace(given, entries=(Entry(flat, None, x.dtype), Entry(None, as_dims(dims), i64)))


def _is_one(dim: DimExpr) -> bool:
    """True for an expression that is 1 for all sizes but perhaps 0: that axis is repeated along the other one."""
    names = sorted(dim_symbols(dim))
    return all(dim_value(dim, {name: low + step * i for i, name in enumerate(names)}) == 1
               for low, step in ((1, 0), (2, 3), (50, 7), (7, -1 if len(names) < 7 else 0)))  # fmt: skip


def _weight(dim: Dim) -> tuple[bool, int, str]:
    """Numbers before expressions, short before long."""
    return isinstance(dim, DimExpr), len(str(dim)), str(dim)


def _as(entry: Entry, shape: tuple[Dim, ...]) -> Entry:
    value = entry.value()
    return entry if shape == value.shape else Entry(sized_as(value, shape), entry.content, entry.dtype)


def _with_axes(value: Value, other: Dim, wanted: Dim) -> tuple[Dim, ...]:
    """The shape with the axes changed that have the other size."""
    return tuple(wanted if d == other else d for d in value.shape)


def _with_elements(value: Value, other: Dim, wanted: Dim) -> tuple[Dim, ...]:
    """The shape with an axis changed where the number of elements is one of the two sizes: it becomes the other one."""
    size = value.tensor.size
    return _resized(value, wanted if size == other else other) if size in (other, wanted) else value.shape


def _resized(value: Value, wanted: Dim) -> tuple[Dim, ...]:
    """The shape with the one axis changed that makes the number of elements what is wanted."""
    for axis, dim in enumerate(value.shape):
        rest = dim_product((*value.shape[:axis], *value.shape[axis + 1 :]))
        size = wanted if rest == 1 else floordiv(wanted, rest) if rest != 0 else 0
        if isinstance(dim, DimExpr) and dim_symbols(dim) and size * rest == wanted:
            return (*value.shape[:axis], size, *value.shape[axis + 1 :])
    return value.shape


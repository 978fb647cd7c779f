"""Einstein sums: one equation for products, sums, transposes and diagonals of any number of arrays."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, f32
from chainrule.ops.elementwise import cast, mul
from chainrule.ops.matmul import product, require_product
from chainrule.ops.ranges import diagonal
from chainrule.ops.reduce import sum
from chainrule.ops.shape_rules import same_dtype
from chainrule.ops.shaping import reshape, transpose

# An axis of a term: a letter, or an axis of the ellipsis, counted from its end (-1 is the last).
Label = str | int


@dataclass(frozen=True)
class Einsum(Op):
    """y[out] = sum over all other labels of the product of the operands, each indexed by its own labels.

    equation: "ij,jk->ik"; letters name axes, "..." stands for the axes in front of, between or behind them, a
    letter twice in a term takes the diagonal. Without an arrow the result has the ellipsis, then every letter that
    occurs once, in alphabetical order. Axes of size 1 stretch to the size that their label has elsewhere. Sums of
    nothing are 0; f16 and bf16 compute in f32; i32, i64, u32, u64 wrap. Raises ArgumentError for an equation that
    does not fit the number of operands or their axes, ShapeError where one label has two sizes. Source: ONNX
    Einsum-12; numpy.einsum.
    """

    name: ClassVar[str] = "einsum"
    args: ClassVar[tuple[str, ...]] = ("x*",)
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "decompose"
    equation: str

    def infer(self, *types: TensorType) -> TensorType:
        terms, out = labels_of(self.equation, [t.rank for t in types])
        dtype = same_dtype(*types)
        require_product(dtype)
        sizes = _sizes(terms, [t.shape for t in types])
        return TensorType(dtype, tuple(sizes[label] for label in out))

    def ref(self, *arrays: Array) -> Array:
        dtype = arrays[0].dtype
        sums = dtype if dtype.kind in "iu" else np.dtype(np.float64)
        with np.errstate(all="ignore"):
            found = np.einsum(self.equation, *(x.astype(sums, copy=False) for x in arrays), optimize=False)
        return np.asarray(found).astype(dtype)

    def decompose(self, *inputs: Value) -> Value:
        terms, out = labels_of(self.equation, [v.rank for v in inputs])
        dtype = inputs[0].dtype
        half = dtype.is_float and dtype.bits < 32
        rest = [_without_repeats(cast(v, f32) if half else v, term) for v, term in zip(inputs, terms, strict=True)]
        done = rest.pop(0)
        while rest:
            partner = rest.pop(0)
            wanted = {*out, *(label for _, term in rest for label in term)}
            done = _contract(done, partner, wanted, () if rest else out)
        y, term = _summed(*done, set(out))
        return cast(transpose(y, [term.index(label) for label in out]), dtype)


Term = tuple[Value, tuple[Label, ...]]


def labels_of(equation: str, ranks: Sequence[int]) -> tuple[list[tuple[Label, ...]], tuple[Label, ...]]:
    """The labels of each operand's axes, and of the result's. Raises ArgumentError for a malformed equation."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(ranks):
        raise ArgumentError(f"{equation!r} has {len(parts)} terms, {len(ranks)} operands were given",
                            help="terms are separated by commas")  # fmt: skip
    terms = [_term(part, equation, rank) for part, rank in zip(parts, ranks, strict=True)]
    found = [label for term in terms for label in term]
    widest = max((-label for label in found if isinstance(label, int)), default=0)
    if arrow:
        if widest and "..." not in right:
            raise ArgumentError(f"{equation!r}: the result leaves the axes of the ellipsis out",
                                help="put ... into the result; name axes by letters to sum over them")  # fmt: skip
        out = _term(right, equation, None, widest)
    else:
        once = sorted(label for label in set(found) if isinstance(label, str) and found.count(label) == 1)
        out = (*range(-widest, 0), *once)
    for label in out:
        if out.count(label) > 1 or label not in found:
            raise ArgumentError(f"{equation!r}: {label!r} of the result " +
                                ("occurs twice" if out.count(label) > 1 else "is in no operand"),
                                help="each letter of the result occurs in it once, and in an operand")  # fmt: skip
    return terms, out


def _term(text: str, equation: str, rank: int | None, ellipsis: int = 0) -> tuple[Label, ...]:
    """The labels of one term: of an operand of this rank, or (rank None) of the result, whose ellipsis is known."""
    front, dots, back = text.partition("...")
    if not all(c in string.ascii_letters for c in front + back):
        raise ArgumentError(f"{equation!r}: the term {text!r} is not made of letters and one ellipsis",
                            help='as in "...ij,jk->...ik"')  # fmt: skip
    if rank is not None:
        ellipsis = rank - len(front) - len(back)
        if ellipsis < 0 or (ellipsis > 0 and not dots):
            raise ArgumentError(f"{equation!r}: the term {text!r} names {len(front + back)} axes, "
                                f"its operand has {rank}",
                                help="a letter for each axis, or ... for some of them")  # fmt: skip
    return (*front, *(range(-ellipsis, 0) if dots else ()), *back)


def _sizes(terms: Sequence[Sequence[Label]], shapes: Sequence[Sequence[Dim]]) -> dict[Label, Dim]:
    """The size of every label. Raises ShapeError where one has two; 1 stretches between operands, not within one."""
    sizes: dict[Label, Dim] = {}
    for term, shape in zip(terms, shapes, strict=True):
        own: dict[Label, Dim] = {}
        for label, size in zip(term, shape, strict=True):
            if own.setdefault(label, size) != size:
                raise ShapeError(f"the diagonal {label!r} runs over axes of sizes {own[label]} and {size}")
        for label, size in own.items():
            known = sizes.get(label, 1)
            if known != size and known != 1 and size != 1:
                name = "an axis of the ellipsis" if isinstance(label, int) else repr(label)
                raise ShapeError(f"{name} has the sizes {known} and {size}", help="one label, one size",
                                 apart=(known, size))  # fmt: skip
            sizes[label] = size if known == 1 else known
    return sizes


def _without_repeats(x: Value, term: tuple[Label, ...]) -> Term:
    """The operand with diagonals in place of labels that it has twice."""
    labels = list(term)
    for label in dict.fromkeys(term):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            x = diagonal(x, 0, first, second)
            del labels[second], labels[first]
            labels.append(label)
    return x, tuple(labels)


def _summed(x: Value, term: tuple[Label, ...], wanted: set[Label]) -> Term:
    """The operand with the labels that nobody wants summed away."""
    gone = tuple(i for i, label in enumerate(term) if label not in wanted)
    if not gone:
        return x, term
    return sum(x, gone), tuple(label for label in term if label in wanted)


def _squeezed(x: Value, term: tuple[Label, ...], other: Term) -> Term:
    """The operand without the axes of size 1 that the other has in full: they would only stretch."""
    sizes = dict(zip(other[1], other[0].shape, strict=True))
    kept = [i for i, label in enumerate(term) if x.shape[i] != 1 or sizes.get(label, 1) == 1]
    return reshape(x, [x.shape[i] for i in kept]), tuple(term[i] for i in kept)


def _contract(left: Term, right: Term, wanted: set[Label], out: tuple[Label, ...]) -> Term:
    """The product of two operands, summed over the labels that nobody wants any more.

    out: the labels of the whole result when this is the last product, for their order.
    """
    left, right = _squeezed(*left, right), _squeezed(*right, left)
    left, right = _summed(*left, wanted | set(right[1])), _summed(*right, wanted | set(left[1]))
    shared = [label for label in left[1] if label in right[1]]
    inner = [label for label in shared if label not in wanted]
    batch = [label for label in shared if label in wanted]
    rows, columns = ([label for label in own[1] if label not in shared] for own in (left, right))
    if out and [label for label in out if label in rows + columns] == columns + rows and rows and columns:
        left, right, rows, columns = right, left, columns, rows
    term = (*batch, *rows, *columns)
    if not inner:
        a = _arranged(left, batch, rows, [], len(columns))
        b = _arranged(right, batch, [], columns, len(rows))
        return mul(a, b), term
    a, turned_a = _matrix(left, batch, rows, inner)
    b, turned_b = _matrix(right, batch, columns, inner)
    y = product(a, b, turned_a, not turned_b)
    sizes = _sizes([left[1], right[1]], [left[0].shape, right[0].shape])
    return reshape(y, [sizes[label] for label in term]), term


def _arranged(operand: Term, batch: Sequence[Label], rows: Sequence[Label], columns: Sequence[Label],
              ones: int) -> Value:  # fmt: skip
    """The operand with axes [batch, rows, columns], with `ones` axes of size 1 where the other has its own."""
    x, term = operand
    x = transpose(x, [term.index(label) for label in (*batch, *rows, *columns)])
    at = len(batch) + len(rows)
    return reshape(x, (*x.shape[:at], *(1,) * ones, *x.shape[at:]))


def _matrix(operand: Term, batch: Sequence[Label], own: Sequence[Label], inner: Sequence[Label]) -> tuple[Value, bool]:
    """The operand as [batch, own, inner], or as [batch, inner, own] and True where its axes lie so already."""
    x, term = operand
    turned = term == (*batch, *inner, *own) and term != (*batch, *own, *inner)
    order = (*batch, *inner, *own) if turned else (*batch, *own, *inner)
    x = transpose(x, [term.index(label) for label in order])
    sizes = dict(zip(order, x.shape, strict=True))
    m, k = (dim_product(sizes[label] for label in part) for part in (own, inner))
    lead = tuple(sizes[label] for label in batch)
    return reshape(x, (*lead, k, m) if turned else (*lead, m, k)), turned


def einsum(equation: str, *operands: Value) -> Value:
    """The Einstein sum of the operands (numpy.einsum): einsum("bij,bjk->bik", a, b)."""
    return build(Einsum(equation.replace(" ", "")), *operands)


OPS: tuple[type[Op], ...] = (Einsum,)

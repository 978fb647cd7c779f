"""Gradients that a loop sums up over its steps, as one product over all steps behind the loop.

The gradient of a weight in a recurrent net is a sum of products, a thin one for each step: summed in the loop, each
step reads and writes the whole weight. One product of the stacked operands does the same work once. The operands are
stacked for it, unless they are larger than the weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value, build
from chainrule.ops.elementwise import Add, add
from chainrule.ops.matmul import MatMul
from chainrule.ops.reduce import Sum, sum
from chainrule.ops.shaping import reshape

Stacks = Callable[[Value], Value]  # a value of a step -> that of all steps, stacked


@dataclass(frozen=True)
class Term:
    """A part of a gradient: a product a.T @ b, or the sum of one operand over its first axis."""

    value: Value
    operands: tuple[Value, ...]

    def over_all(self, stacks: Stacks) -> Value:
        """The sum of the term over all steps."""
        rows = [_rows(stacks(v)) for v in self.operands]
        return build(MatMul(True, False), *rows) if len(rows) == 2 else sum(rows[0], (0,))


@dataclass(frozen=True)
class Split:
    """A gradient as terms that are summed behind the loop, and the rest, which the loop sums; None for nothing."""

    late: tuple[Term, ...]
    rest: Value | None


def split(grads: Sequence[Value], at_hand: Iterable[Value], varies: Callable[[Value], bool]) -> list[Split]:
    """The gradients, each split. at_hand: values that are stacked in any case; varies: not the same in every step."""
    terms = [_terms(grad) for grad in grads]
    products = {t: p for part in terms for t in part if (p := _product(t, varies)) is not None}
    stacked = {*at_hand, *(v for p in products.values() for v in p.operands)}
    found: list[Split] = []
    for part in terms:
        late: list[Term] = []
        rest: Value | None = None
        for term in part:
            kept = products.get(term) or _row_sum(term, stacked)
            if kept is not None:
                late.append(kept)
            else:
                rest = term if rest is None else add(rest, term)
        found.append(Split(tuple(late), rest))
    return found


def _terms(grad: Value) -> list[Value]:
    """The parts of a sum, of the sum's own type."""
    found: list[Value] = []
    stack = [grad]
    while stack:
        value = stack.pop()
        if isinstance(value.op, Add) and all(v.type == grad.type for v in value.inputs):
            stack += reversed(value.inputs)
        else:
            found.append(value)
    return found


def _product(value: Value, varies: Callable[[Value], bool]) -> Term | None:
    """a.T @ b of two matrices that vary and are smaller together than their product."""
    if value.op != MatMul(True, False) or any(v.rank != 2 or not varies(v) for v in value.inputs):
        return None
    a, b = value.inputs
    sizes: list[Dim] = [a.tensor.size, b.tensor.size, value.tensor.size]
    if all(isinstance(n, int) for n in sizes) and int(sizes[0]) + int(sizes[1]) > int(sizes[2]):  # type: ignore[arg-type]
        return None
    return Term(value, (a, b))


def _row_sum(value: Value, stacked: set[Value]) -> Term | None:
    """The sum over the rows of what is stacked in any case."""
    if value.op != Sum((0,)) or value.inputs[0] not in stacked:
        return None
    return Term(value, value.inputs)


def _rows(x: Value) -> Value:
    """[T, M, ...] -> [T * M, ...]."""
    return reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))

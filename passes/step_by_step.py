"""Makes a loop of recurrent steps where a single step is work enough for several threads.

A kernel of all steps gives each thread rows of its own. Few rows of many units would all be one thread's: there each
step is a kernel, whose panels of units the threads share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from chainrule.ir.graph import Get, Graph, Value, build, get, new_input, results, rewrite
from chainrule.ir.op import Op
from chainrule.ir.types import TensorType, i64
from chainrule.ops.control import scan
from chainrule.ops.elementwise import cast, sub
from chainrule.ops.ranges import iota
from chainrule.ops.recurrent_steps import Forward, GruSteps, LstmSteps
from chainrule.ops.shaping import reshape
from chainrule.passes.base import Notes, Pass


@dataclass(frozen=True)
class StepByStep(Pass):
    """Steps of less than few_rows rows, and at least `weights` recurrent weights, become a scan of single steps.

    The numbers of both ways are the same to the last bit. By default one step is some 10 microseconds of one thread.
    """

    name: ClassVar[str] = "step-by-step"
    few_rows: int = 8
    weights: int = 1 << 18

    def run(self, graph: Graph, notes: Notes) -> Graph:
        def rule(node: Value, inputs: tuple[Value, ...]) -> Value | None:
            if isinstance(node.op, Get) and self._suits(node.inputs[0]):
                return get(inputs[0], _place(node.inputs[0].op, node.op.index))
            if not self._suits(node):
                return None
            notes.count(node.op.name)
            return _loop(node, inputs)

        return rewrite(graph, rule)

    def _suits(self, node: Value) -> bool:
        op = node.op
        if not isinstance(op, Forward) or (isinstance(op, GruSteps) and not op.reset_after):
            return False
        (steps, n, _), (_, size) = node.inputs[0].shape, node.inputs[2].shape
        if not isinstance(n, int) or not isinstance(size, int) or steps == 1:
            return False
        return 0 < n < self.few_rows and op.gate_count * size * size >= self.weights


def _states(op: Op) -> int:
    """How many states go from step to step."""
    return 2 if isinstance(op, LstmSteps) else 1


def _place(op: Op, index: int) -> int:
    """Where the scan has a result of the steps: its last states come first."""
    count = _states(op)
    return index if index > count else (index - 1) % (count + 1)


def _loop(node: Value, inputs: tuple[Value, ...]) -> Value:
    """The scan of single steps."""
    op = node.op
    assert isinstance(op, Forward)
    count = _states(op)
    (x, r, *states), extra, lengths = op.split(inputs)
    slice_ = new_input("x", x.tensor.with_shape(x.shape[1:]))
    carried = [new_input(f"state{i}", s.tensor) for i, s in enumerate(states)]
    time = new_input("time", TensorType(i64, ()))
    captured = [v for v in (r, extra, lengths) if v is not None]
    own = [new_input(f"captured{i}", v.tensor) for i, v in enumerate(captured)]
    weights, *rest = own
    if lengths is not None:  # one step of its own: how many there are from here on
        rest[-1] = sub(rest[-1], cast(time, rest[-1].dtype))
    one = reshape(slice_, (1, *slice_.shape))
    found = results(build(replace(op, reverse=False), one, weights, *carried, *rest))
    ys, after, kept = found[0], found[1 : 1 + count], found[1 + count :]
    stacked = [reshape(v, v.shape[1:]) for v in (ys, *kept)]
    times = [] if lengths is None else [time]
    body = Graph("step", (*carried, slice_, *times, *own), (*after, *stacked))
    arrays = [x] if lengths is None else [x, iota((x.shape[0],), 0, i64)]
    return scan(body, states, arrays, captured, x.shape[0], op.reverse)[0].inputs[0]

"""Recurrent steps as a loop over single steps: what they decompose into, forwards and backwards.

The body of the loop is the same op on one step, which decomposes into simple ops; so the number of steps may be a
symbol, and gradients of gradients are those of loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from chainrule.ir.graph import Graph, Value, build, new_input, results
from chainrule.ir.types import TensorType, i64
from chainrule.ops.control import scan
from chainrule.ops.elementwise import cast, sub
from chainrule.ops.ranges import iota
from chainrule.ops.shaping import reshape

if TYPE_CHECKING:
    from chainrule.ops.recurrent_base import Recurrence


def looped(op: Recurrence, carried: Sequence[Value], stacked: Sequence[Value], captured: Sequence[Value | None],
           arranged: Sequence[str], backwards: bool = False) -> tuple[Value, ...]:  # fmt: skip
    """The results of a loop, the last carried values first, then what every step gives.

    carried: states. stacked: arrays [T, N, ...], of which a step sees [1, N, ...]. captured: r, peepholes or bias, and
    lengths, None where there are none. arranged: where the inputs of the op on one step come from, in its order, as
    "carried0", "stacked1", "captured0"; a slice that stands for a state is "state1". The op's results are first those
    of every step, then states, then again those of every step.
    """
    count = stacked[0].shape[0]
    places: dict[str, Value] = {}
    states = [new_input(f"carried{i}", v.tensor) for i, v in enumerate(carried)]
    slices = [new_input(f"stacked{i}", v.tensor.with_shape(v.shape[1:])) for i, v in enumerate(stacked)]
    time = new_input("time", TensorType(i64, ()))
    given = [v for v in captured if v is not None]
    own = iter([new_input(f"captured{i}", v.tensor) for i, v in enumerate(given)])
    held = [None if v is None else next(own) for v in captured]
    inside = [v for v in held if v is not None]
    *_, lengths = held
    if lengths is not None:  # one step of its own: how many there are from here on
        held[-1] = sub(lengths, cast(time, lengths.dtype))
    places |= {f"carried{i}": v for i, v in enumerate(states)}
    places |= {f"stacked{i}": reshape(v, (1, *v.shape)) for i, v in enumerate(slices)}
    places |= {f"state{i}": v for i, v in enumerate(slices)}
    places |= {f"captured{i}": v for i, v in enumerate(held) if v is not None}
    found = results(build(replace(op, reverse=False), *(places[name] for name in arranged if name in places)))
    whole = [v for v in found if v.rank == 3]
    last = [v for v in found if v.rank == 2]
    made = [reshape(v, v.shape[1:]) for v in whole]
    ragged = lengths is not None
    body = Graph("step", (*states, *slices, *([time] if ragged else []), *inside), (*last, *made))
    arrays = [*stacked, *([iota((count,), 0, i64)] if ragged else [])]
    return scan(body, carried, arrays, given, count, op.reverse != backwards)


def forwards(op: Recurrence, inputs: Sequence[Value]) -> tuple[Value, ...]:
    """The results of a forward op, in its order."""
    (x, r, *states), extra, lengths = op.split(inputs)
    names = ["stacked0", "captured0", *(f"carried{i}" for i in range(len(states))), "captured1", "captured2"]
    found = looped(op, states, [x], [r, extra, lengths], names)
    last, every = found[: len(states)], found[len(states) :]
    return (every[0], *last, *every[1:])

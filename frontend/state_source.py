"""State of a training step: an input of its graph, and the array that it is read from and written to."""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.frontend.scope import Scope, Stored
from chainrule.ir.graph import Value, new_input
from chainrule.ir.memory import aligned_copy
from chainrule.ir.op import Array
from chainrule.ir.types import type_of


@dataclass(frozen=True, eq=False)
class StateSource:
    """Where a param or state input of a step lives: an array that is read before and replaced after each call.

    name: its key in a checkpoint ("params.conv1.weight", "buffers.bn.running_mean", "slots.exp_avg.conv1.weight",
    "accumulated.conv1.weight", "ema.conv1.weight", "step", "rng.key"). stored: the Parameter or Buffer whose `data` the
    array is, if it is one.
    """

    value: Value
    name: str
    array: Array
    stored: Stored | None = None


States = list[tuple[StateSource, Value]]


def source(scope: Scope, name: str, array: Array) -> StateSource:
    """State of the step itself, with the numbers it starts from."""
    return StateSource(new_input(scope.take_name(name), type_of(array), "state"), name, aligned_copy(array))

"""An ONNX graph as a list of calls, for the runtimes that are given their models node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

Attributes = dict[str, Any]

# The inputs that hold sizes, axes or bounds. They become plain numbers: no compiler has to guess a tensor's contents.
NUMBERS = {"Reshape": (1,), "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,), "Unsqueeze": (1,), "Expand": (1,),
           "ReduceMean": (1,), "ReduceSum": (1,), "ReduceMax": (1,), "Resize": (2, 3), "Pad": (1,), "Range": (0, 1, 2),
           "Clip": (1, 2)}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One node: function(attributes, *inputs) gives its results."""

    function: Callable[..., Any]
    attributes: Attributes
    inputs: tuple[str, ...]
    results: tuple[str, ...]


@dataclass(frozen=True)
class Steps:
    """A graph. weights: its arrays by name; numbers: what NUMBERS says, as plain numbers."""

    steps: tuple[Step, ...]
    weights: dict[str, np.ndarray]
    numbers: dict[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, weights: Mapping[str, Any], given: Sequence[Any]) -> list[Any]:
        """The outputs, for weights and inputs in the runtime's own form."""
        held: dict[str, Any] = {**weights, **self.numbers, **dict(zip(self.inputs, given, strict=True)), "": None}
        for step in self.steps:
            found = step.function(step.attributes, *(held[name] for name in step.inputs))
            held.update(zip(step.results, found if isinstance(found, tuple) else (found,), strict=False))
        return [held[name] for name in self.outputs]


def read_steps(path: Path, ops: Mapping[str, Callable[..., Any]]) -> Steps:
    """The graph of a file, whose ops are all in the table."""
    graph = onnx.load(str(path)).graph
    unknown = sorted({n.op_type for n in graph.node} - set(ops))
    if unknown:
        raise NotImplementedError(f"no form for {', '.join(unknown)}")
    weights = {t.name: np.array(numpy_helper.to_array(t)) for t in graph.initializer}
    names = tuple(i.name for i in graph.input if i.name not in weights)
    numbers: dict[str, Any] = {}
    for node in graph.node:
        for position in NUMBERS.get(node.op_type, ()):
            name = node.input[position] if position < len(node.input) else ""
            if name in weights:
                numbers[name] = weights[name].tolist()
    steps = tuple(Step(ops[n.op_type], _attributes(n), tuple(n.input), tuple(n.output)) for n in graph.node)
    kept = {name: array for name, array in weights.items() if name not in numbers}
    return Steps(steps, kept, numbers, names, tuple(o.name for o in graph.output))


def _attributes(node: onnx.NodeProto) -> Attributes:
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}

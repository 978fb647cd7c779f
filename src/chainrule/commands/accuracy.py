"""How far a model of reduced precision is from the float one: signal to noise, largest error, equal first places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.ir.graph import Graph, Value, build, rewrite
from chainrule.ir.op import Array
from chainrule.ops.basic import full
from chainrule.ops.elementwise import maximum, minimum
from chainrule.ops.quantise import Dequantize, Quantize, limits
from chainrule.ops.tolerance import signal_to_noise
from chainrule.passes.check import largest_difference

SCORES = 3  # of a row, from which on its largest one is taken for an answer


@dataclass(frozen=True)
class Accuracy:
    """decibels: the least of any output; largest: error of any number; equal of rows: where the largest of the scores
    is at the same place, None where no output is rows of scores."""

    decibels: float
    largest: float
    equal: int | None
    rows: int | None

    def __str__(self) -> str:
        first = "" if self.equal is None else f", top-1 equal in {self.equal} of {self.rows}"
        return f"{self.decibels:.1f} dB signal to noise, largest error {self.largest:.3g}{first}"

    def facts(self) -> dict[str, object]:
        """For JSON."""
        return {"decibels": self.decibels, "largest_error": self.largest, "top1_equal": self.equal, "rows": self.rows}


def accuracy(outputs: Sequence[Array], exact: Sequence[Array]) -> Accuracy:
    """Outputs against those of the float model."""
    pairs = [(np.asarray(y, np.float64), np.asarray(e, np.float64)) for y, e in zip(outputs, exact, strict=True)]
    scores = [(y, e) for y, e in pairs if e.ndim == 2 and e.shape[-1] >= SCORES and e.size]
    equal = [int(np.count_nonzero(y.argmax(-1) == e.argmax(-1))) for y, e in scores]
    return Accuracy(
        min((signal_to_noise(y, e) for y, e in pairs), default=float("inf")),
        max((largest_difference(e, y) for y, e in pairs), default=0.0),
        sum(equal) if scores else None,
        sum(len(e) for _, e in scores) if scores else None,
    )


def without_rounding(graph: Graph) -> Graph | None:
    """The graph without its rounding to integers and back; None where there is none.

    Bounds stay, as quantisers leave a ReLU to them; and so do stored weights.
    """

    def rule(node: Value, inputs: tuple[Value, ...]) -> Value | None:
        source = inputs[0] if isinstance(node.op, Dequantize) else None
        if source is None or not isinstance(source.op, Quantize) or source.inputs[1:] != inputs[1:]:
            return None
        x, scale, zero = source.inputs
        low, high = (build(Dequantize(), full(n, scale.shape, zero.dtype), scale, zero)
                     for n in limits(source.op.dtype, source.op.bits))  # fmt: skip
        return minimum(maximum(x, low), high) if x.type == node.type and zero.rank <= scale.rank else None

    found = rewrite(graph, rule)
    return None if found is graph else found

"""New numbers for the parameters and buffers of a traced model, checked as a whole before any is taken over."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend.checkpoint import module_names
from chainrule.frontend.places import error
from chainrule.frontend.stored import Stored
from chainrule.frontend.trace import Traced
from chainrule.ir.graph import input_name


def load_weights(traced: Traced, weights: Mapping[str, object], strict: bool = True) -> None:
    """Copies arrays into the parameters and buffers that a trace reads, by their names in the graph.

    The names are those of the model's state_dict, or of a training step's file ("params." and "buffers." before them).
    Raises ArgumentError, which lists them, for names that are missing or (unless strict is False) unknown; ShapeError
    or DTypeError, naming the array, where it does not fit.
    """
    own = {input_name(value): stored for value, stored in traced.sources if isinstance(stored, Stored)}
    given = module_names({name: np.asarray(array) for name, array in weights.items()})
    missing = [name for name in own if name not in given]
    unknown = [name for name in given if name not in own]
    if strict and (missing or unknown):
        notes = [f"missing: {name}" for name in missing[:5]]
        for name in unknown[:5]:
            close = difflib.get_close_matches(name, own, 1)
            notes.append(f"unknown: {name}" + (f"; did you mean {close[0]}?" if close else ""))
        what = f"{len(missing)} missing and {len(unknown)} unknown names"
        raise error(ArgumentError, f"load_weights: {what}", notes=notes,
                    help="load_weights(weights, strict=False) takes what fits")  # fmt: skip
    fitting = {name: stored for name, stored in own.items() if name in given}
    for name, stored in fitting.items():
        stored.check(given[name], name)
    for name, stored in fitting.items():
        stored.data[...] = given[name]

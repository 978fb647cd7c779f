"""onnx's own cases for single ops: whatever of them loads gives the results that onnx states."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import onnx
from onnx.backend.test.loader import load_model_tests

from chainrule.backends.onnx.importing import import_model
from chainrule.backends.reference import run
from chainrule.errors import ChainruleError
from chainrule.ir.graph import Graph, input_name

# What loads today; a form or a reader that breaks makes it fewer.
LOADED_AT_LEAST = 780
ATOL = 1e-7  # onnx's own cases state none for results near 0

DIFFERS = {
    # A count below 0 is 0 here.
    **dict.fromkeys((f"test_bitshift_{side}_{kind}_negative_shift" for side in ("left", "right")
                     for kind in ("int8", "int32")), "onnx shifts the other way"),
    "test_l2normalization_axis_0": "a line of zeros over its norm is NaN here",
}  # fmt: skip


@cache
def loaded() -> list[tuple[object, Graph]]:
    """The cases that load, with their graphs."""
    found = []
    with np.errstate(all="ignore"):  # onnx makes the data of its cases anew, with overflows that are meant
        cases = load_model_tests(kind="node")
    for case in cases:
        if case.model is None or any(i.type.WhichOneof("value") != "tensor_type" for i in case.model.graph.input):
            continue
        try:
            found.append((case, import_model(case.model).graph))
        except ChainruleError:
            continue
    return found


def test_most_cases_of_the_ops_that_are_built_load() -> None:
    assert len(loaded()) >= LOADED_AT_LEAST


def test_cases_that_load_give_what_onnx_states() -> None:
    wrong = [case.name for case, graph in loaded() if not all(agreements(case, graph))]  # type: ignore[attr-defined]
    assert sorted(set(wrong) - DIFFERS.keys()) == []


def agreements(case: object, graph: Graph) -> Iterator[bool]:
    """For each data set of a case whether every output agrees."""
    model: onnx.ModelProto = case.model  # type: ignore[attr-defined]
    for given, wanted in case.data_sets:  # type: ignore[attr-defined]
        by_name = dict(zip([i.name for i in model.graph.input], given, strict=True))
        if not all(isinstance(x, np.ndarray | np.generic) for x in given):
            continue  # element types that numpy lacks come as messages
        found = run(graph, [np.asarray(by_name[input_name(v)]) for v in graph.inputs])
        yield all(agrees(y, np.asarray(w), case.rtol) for y, w in zip(found, wanted, strict=True))  # type: ignore[attr-defined]


def agrees(found: np.ndarray, wanted: np.ndarray, rtol: float) -> bool:
    if found.dtype != wanted.dtype or found.shape != wanted.shape:
        return False
    if found.dtype.kind in "iub":
        return np.array_equal(found, wanted)
    return np.allclose(found.astype(np.float64), wanted.astype(np.float64), rtol=rtol, atol=ATOL, equal_nan=True)

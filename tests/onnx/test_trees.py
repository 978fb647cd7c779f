"""Ensembles of decision trees give what onnxruntime gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import chainrule as cr
from chainrule.backends.onnx.executable import session_of
from chainrule.errors import ModelError
from chainrule.ops.tolerance import OTHER_FRAMEWORK, models_agree

Array = np.ndarray
TREES, DEPTH, FEATURES = 5, 3, 4


def attributes(dtype: type[np.generic], targets: int = 1, seed: int = 0) -> dict[str, Any]:
    """Full trees of one depth with random questions; each leaf adds to one target."""
    rng = np.random.default_rng(seed)
    inner = 2**DEPTH - 1
    child = [2 * i + 1 for i in range(inner)]
    yes = [t * inner + c if c < inner else t * (inner + 1) + c - inner for t in range(TREES) for c in child]
    no = [place + 1 for place in yes]
    ends = [int(c >= inner) for _ in range(TREES) for c in child]
    leaves, count = TREES * (inner + 1), TREES * inner

    def stored(array: Array) -> onnx.TensorProto:
        return numpy_helper.from_array(array)

    return {
        "n_targets": targets, "tree_roots": [t * inner for t in range(TREES)], "nodes_truenodeids": yes,
        "nodes_falsenodeids": no, "nodes_trueleafs": ends, "nodes_falseleafs": ends,
        "nodes_featureids": rng.integers(0, FEATURES, count).tolist(), "nodes_modes": stored(np.zeros(count, np.uint8)),
        "nodes_splits": stored(rng.standard_normal(count).astype(dtype)),
        "leaf_weights": stored(rng.standard_normal(leaves).astype(dtype)),
        "leaf_targetids": rng.integers(0, targets, leaves).tolist(),
        "nodes_missing_value_tracks_true": rng.integers(0, 2, count).tolist(),
    }  # fmt: skip


def ensemble(given: dict[str, Any], elements: int = TensorProto.FLOAT) -> onnx.ModelProto:
    node = helper.make_node("TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", **given)
    graph = helper.make_graph([node], "trees", [helper.make_tensor_value_info("x", elements, ["N", FEATURES])],
                              [helper.make_tensor_value_info("y", elements, ["N", None])])  # fmt: skip
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("ai.onnx.ml", 5),
                                                                  helper.make_opsetid("", 21)])  # fmt: skip


def agrees(proto: onnx.ModelProto, x: Array) -> None:
    (wanted,) = session_of(proto.SerializeToString(), 1, ["CPUExecutionProvider"]).run(None, {"x": x})
    loaded = cr.load_onnx(proto)
    for backend in ("reference", "llvm"):
        found = cr.compile(loaded, backend=backend)(x)
        assert found.dtype == wanted.dtype
        assert models_agree(found, wanted.astype(np.float64), OTHER_FRAMEWORK)


def rows(dtype: type[np.generic]) -> Array:
    x = np.random.default_rng(1).standard_normal((9, FEATURES)).astype(dtype)
    x[0, 1] = x[3, 2] = np.nan
    return x


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize(("dtype", "elements"), [(np.float32, TensorProto.FLOAT), (np.float64, TensorProto.DOUBLE)])
def test_the_leaves_that_rows_reach_are_summed(dtype: type[np.generic], elements: int, targets: int) -> None:
    agrees(ensemble(attributes(dtype, targets), elements), rows(dtype))


def test_every_comparison_of_numbers_is_made() -> None:
    given = attributes(np.float32)
    count = len(given["nodes_featureids"])
    for mode in range(6):
        agrees(ensemble({**given, "nodes_modes": numpy_helper.from_array(np.full(count, mode, np.uint8))}),
               rows(np.float32))  # fmt: skip
    mixed = numpy_helper.from_array((np.arange(count) % 4).astype(np.uint8))
    agrees(ensemble({**given, "nodes_modes": mixed}), rows(np.float32))


@pytest.mark.parametrize("how", [0, 1, 2, 3])
def test_trees_are_put_together_in_every_way(how: int) -> None:
    agrees(ensemble({**attributes(np.float32), "aggregate_function": how}), rows(np.float32))


def test_a_tree_may_be_a_leaf() -> None:
    leaf = {"tree_roots": [0], "nodes_truenodeids": [0], "nodes_falsenodeids": [0], "nodes_trueleafs": [1],
            "nodes_falseleafs": [1], "nodes_featureids": [0], "leaf_targetids": [0], "n_targets": 1}  # fmt: skip
    tensors = {"nodes_modes": np.zeros(1, np.uint8), "nodes_splits": np.zeros(1, np.float32),
               "leaf_weights": np.float32([2.5])}  # fmt: skip
    agrees(ensemble({**leaf, **{k: numpy_helper.from_array(v) for k, v in tensors.items()}}), rows(np.float32))


@pytest.mark.parametrize(("name", "value", "said"), [
    ("nodes_truenodeids", 10**6, "there is no node"), ("nodes_falsenodeids", -7, "there is no node"),
    ("tree_roots", 10**6, "there is no root"), ("nodes_featureids", FEATURES, "there is no feature"),
    ("leaf_targetids", 1, "a leaf's target is none of the 1"),
])  # fmt: skip
def test_numbers_that_point_nowhere_are_refused(name: str, value: int, said: str) -> None:
    given = attributes(np.float32)
    given[name] = [value, *given[name][1:]]
    with pytest.raises(ModelError, match=said):
        cr.load_onnx(ensemble(given))


def test_a_walk_that_never_ends_is_refused() -> None:
    given = attributes(np.float32)
    given["nodes_truenodeids"] = [0, *given["nodes_truenodeids"][1:]]
    with pytest.raises(ModelError, match="does not end within"):
        cr.load_onnx(ensemble(given))

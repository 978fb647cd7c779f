"""Tree ensembles of ai.onnx.ml 1 and 3, as exporters of scikit-learn and boosting libraries write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import chainrule as cr
from chainrule.backends.onnx.executable import session_of
from chainrule.errors import ModelError, NotSupported
from chainrule.ops.tolerance import OTHER_FRAMEWORK, models_agree

Array = np.ndarray
TREES, DEPTH, FEATURES = 6, 3, 4
INNER, COUNT = 2**DEPTH - 1, 2 ** (DEPTH + 1) - 1


def forest(what: str, scores: int, seed: int = 0, sign: float = 0.0) -> dict[str, Any]:
    """Full trees. what: "target" or "class"; leaves add to every score, or, for boosting, to that of their tree.

    sign: what is added to each weight of a leaf, so that all are positive.
    """
    rng = np.random.default_rng(seed)
    nodes = list(range(COUNT))
    inner = [n < INNER for n in nodes]
    adds = [(t, n, c) for t in range(TREES) for n in nodes[INNER:] for c in range(scores)]
    return {
        "nodes_treeids": [t for t in range(TREES) for _ in nodes], "nodes_nodeids": nodes * TREES,
        "nodes_featureids": rng.integers(0, FEATURES, COUNT * TREES).tolist(),
        "nodes_values": rng.standard_normal(COUNT * TREES).astype(np.float32).tolist(),
        "nodes_modes": ["BRANCH_LEQ" if i else "LEAF" for i in inner] * TREES,
        "nodes_truenodeids": [2 * n + 1 if i else 0 for n, i in zip(nodes, inner, strict=True)] * TREES,
        "nodes_falsenodeids": [2 * n + 2 if i else 0 for n, i in zip(nodes, inner, strict=True)] * TREES,
        "nodes_missing_value_tracks_true": rng.integers(0, 2, COUNT * TREES).tolist(),
        f"{what}_treeids": [t for t, _, _ in adds], f"{what}_nodeids": [n for _, n, _ in adds],
        f"{what}_ids": [c for _, _, c in adds],
        f"{what}_weights": (rng.standard_normal(len(adds)) + sign).astype(np.float32).tolist(),
    }  # fmt: skip


def model(op: str, given: dict[str, Any], outputs: int, version: int = 1, elements: int = TensorProto.FLOAT
          ) -> onnx.ModelProto:  # fmt: skip
    names = ["y", "scores"][:outputs]
    node = helper.make_node(op, ["x"], names, domain="ai.onnx.ml", **given)
    info = helper.make_tensor_value_info
    types = [TensorProto.INT64, TensorProto.FLOAT] if outputs == 2 else [TensorProto.FLOAT]
    graph = helper.make_graph([node], "trees", [info("x", elements, ["N", FEATURES])],
                              [info(n, t, None) for n, t in zip(names, types, strict=True)])  # fmt: skip
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("ai.onnx.ml", version),
                                                                 helper.make_opsetid("", 18)])  # fmt: skip


def agrees(proto: onnx.ModelProto, x: Array) -> None:
    wanted = session_of(proto.SerializeToString(), 1, ["CPUExecutionProvider"]).run(None, {"x": x})
    loaded = cr.load_onnx(proto)
    for backend in ("reference", "llvm"):
        for y, expected in zip(cr.compile(loaded, backend=backend).run([x]), wanted, strict=True):
            assert y.dtype == expected.dtype and y.shape == expected.shape
            assert models_agree(y, expected.astype(np.float64), OTHER_FRAMEWORK)


def rows(dtype: type[np.generic] = np.float32) -> Array:
    x = np.random.default_rng(1).standard_normal((50, FEATURES)).astype(dtype)
    x[0, 1] = x[3, 2] = np.nan
    return x


@pytest.mark.parametrize("how", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("base", [None, [0.5]])
def test_regressors_put_trees_together(how: str, base: list[float] | None) -> None:
    given = {**forest("target", 1), "n_targets": 1, "aggregate_function": how}
    agrees(model("TreeEnsembleRegressor", {**given, "base_values": base} if base else given, 1), rows())


def test_regressors_have_several_targets_and_take_whole_numbers() -> None:
    given = {**forest("target", 3), "n_targets": 3}
    agrees(model("TreeEnsembleRegressor", given, 1), rows())
    whole = np.arange(-8, 8).reshape(4, 4)
    of_whole = cr.compile(cr.load_onnx(model("TreeEnsembleRegressor", given, 1, elements=TensorProto.INT64)))(whole)
    of_floats = cr.compile(cr.load_onnx(model("TreeEnsembleRegressor", given, 1)))(whole.astype(np.float32))
    assert of_whole.dtype == np.float32 and np.array_equal(of_whole, of_floats)


@pytest.mark.parametrize("mode", ["BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"])
def test_every_comparison_is_made(mode: str) -> None:
    given = {**forest("target", 1), "n_targets": 1}
    given["nodes_modes"] = [mode if m != "LEAF" else m for m in given["nodes_modes"]]
    given["nodes_values"] = np.round(given["nodes_values"]).tolist()
    agrees(model("TreeEnsembleRegressor", given, 1), np.round(rows()))


def test_doubles_stand_in_tensors_from_version_3_on() -> None:
    given = {**forest("target", 2), "n_targets": 2}
    for name in ("nodes_values", "target_weights"):
        given[f"{name}_as_tensor"] = numpy_helper.from_array(np.asarray(given.pop(name), np.float64) * (1 + 2.0**-40))
    agrees(model("TreeEnsembleRegressor", given, 1, 3, TensorProto.DOUBLE), rows(np.float64))


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
@pytest.mark.parametrize("base", [None, [0.25, -0.5, 0.0]])
def test_classifiers_take_the_largest_score(transform: str, base: list[float] | None) -> None:
    given = {**forest("class", 3), "classlabels_int64s": [7, -1, 9], "post_transform": transform}
    agrees(model("TreeEnsembleClassifier", {**given, "base_values": base} if base else given, 2), rows())


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("sign", [0.0, 9.0])
def test_two_classes_may_have_one_score(transform: str, sign: float) -> None:
    given = {**forest("class", 1, sign=sign), "classlabels_int64s": [4, 5], "post_transform": transform}
    agrees(model("TreeEnsembleClassifier", given, 2), rows())
    if not sign:
        agrees(model("TreeEnsembleClassifier", {**given, "base_values": [0.75]}, 2), rows())


def test_of_two_classes_with_a_score_each_the_larger_one_is_taken() -> None:
    """onnxruntime says 1 or 0 there by the sign of the second score; the scores are the same."""
    proto = model("TreeEnsembleClassifier", {**forest("class", 2), "classlabels_int64s": [4, 5]}, 2)
    label, scores = cr.compile(cr.load_onnx(proto))(rows())
    wanted = session_of(proto.SerializeToString(), 1, ["CPUExecutionProvider"]).run(None, {"x": rows()})[1]
    assert models_agree(scores, wanted.astype(np.float64), OTHER_FRAMEWORK)
    assert np.array_equal(label, np.where(scores[:, 1] > scores[:, 0], 5, 4))


def test_members_of_sets_are_asked_for_in_version_5() -> None:
    """A tree of one question: is the second column one of 1.5, 2.5, 4? Its other node asks for 0."""
    floats = {"nodes_splits": np.zeros(2, np.float32), "leaf_weights": np.float32([1, 2, 4]),
              "membership_values": np.float32([1.5, 2.5, 4, np.nan, 0, np.nan]),
              "nodes_modes": np.uint8([6, 6])}  # fmt: skip
    given = {"n_targets": 1, "tree_roots": [0], "nodes_featureids": [1, 0], "nodes_truenodeids": [0, 1],
             "nodes_trueleafs": [1, 1], "nodes_falsenodeids": [1, 2], "nodes_falseleafs": [0, 1],
             "leaf_targetids": [0, 0, 0], **{k: numpy_helper.from_array(v) for k, v in floats.items()}}  # fmt: skip
    x = np.float32([[0, 1.5, 0, 0], [0, 4, 0, 0], [0, 3, 0, 0], [1, 3, 0, 0], [0, np.nan, 0, 0], [np.nan, 2.5, 0, 0]])
    loaded = cr.load_onnx(model("TreeEnsemble", given, 1, 5))
    for backend in ("reference", "llvm"):
        assert cr.compile(loaded, backend=backend)(x)[:, 0].tolist() == [1, 1, 2, 4, 2, 1]


def broken(**changes: Any) -> onnx.ModelProto:
    return model("TreeEnsembleRegressor", {**forest("target", 1), "n_targets": 1, **changes}, 1)


@pytest.mark.parametrize(("proto", "said"), [
    (broken(nodes_truenodeids=[99] * COUNT * TREES), "the tree 0 has no node 99"),
    (broken(nodes_truenodeids=[0] * COUNT * TREES), "a tree has no root|does not end"),
    (broken(nodes_nodeids=[0] * COUNT * TREES), "occurs twice"),
    (broken(nodes_modes=["WHAT"] * COUNT * TREES), "the mode 'WHAT' is unknown"),
    (broken(target_nodeids=[99] * TREES * (INNER + 1)), "the tree 0 has no node 99"),
    (broken(target_ids=[3] * TREES * (INNER + 1)), "none of the 1"),
    (broken(nodes_featureids=[FEATURES] * COUNT * TREES), "there is no feature 4"),
    (broken(aggregate_function="MEDIAN"), "'MEDIAN' is unknown"),
])  # fmt: skip
def test_numbers_that_point_nowhere_are_refused(proto: onnx.ModelProto, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        cr.load_onnx(proto)


def test_classes_that_are_texts_are_refused() -> None:
    given = {**forest("class", 2), "classlabels_strings": ["a", "b"]}
    with pytest.raises(NotSupported, match="classes that are texts are not built"):
        cr.load_onnx(model("TreeEnsembleClassifier", given, 2))

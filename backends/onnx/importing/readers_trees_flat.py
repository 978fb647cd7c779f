"""Tree ensembles as ai.onnx.ml had them before version 5, for targets and for classes.

Nodes stand in flat lists, each with the number of its tree and its own, and what leaves add in lists beside them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chainrule.backends.onnx.importing.readers_ml import Labels, floats_as_f32, labels_of
from chainrule.backends.onnx.importing.readers_trees import (
    MOST_TARGETS,
    SUMS,
    Table,
    as_long,
    evaluated,
    finished,
    ints,
)
from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.graph import Value
from chainrule.ir.op import Array
from chainrule.ops import elementwise as el
from chainrule.ops import shaping as sh
from chainrule.ops.basic import scalar_like
from chainrule.ops.compare import gt
from chainrule.ops.transcendental import sigmoid

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")  # in the order of COMPARED
LEAF = "LEAF"


def regressor(given: Given) -> Read:
    """The targets of each row: f32[N, n_targets]."""
    x, targets = floats_as_f32(given.value(0)), given.whole("n_targets", 1)
    table = _table(given, x, "target", "target_ids", targets)
    how = given.word("aggregate_function", "SUM")
    if how not in SUMS:
        raise ModelError(f"TreeEnsembleRegressor: the aggregate_function {how!r} is unknown")
    y = evaluated(given, table, x, how, _base(given, targets))
    return el.cast(finished(given, y, given.word("post_transform", "NONE")), "f32")


def classifier(given: Given) -> Read:
    """The class of each row, and its scores: [N], f32[N, classes].

    Where two classes have one score, of the second of them, that of the first follows from it.
    """
    x, labels = floats_as_f32(given.value(0)), labels_of(given, "classlabels_int64s", "classlabels_strings")
    table = _table(given, x, "class", "class_ids", labels.count)
    transform = given.word("post_transform", "NONE")
    one_score = labels.count == 2 and not ints(given, "class_ids").any()
    y = evaluated(given, table, x, "SUM", _base(given, 1 if one_score else labels.count))
    if one_score:
        return _of_two(labels, y, transform, bool((table.weights >= 0).all()))
    return labels.largest(y), el.cast(finished(given, y, transform), "f32")


def _of_two(labels: Labels, y: Value, transform: str, is_probability: bool) -> Read:
    """Two classes out of one score: a probability where no leaf takes from it, else positive for the second class."""
    score = sh.narrow(y, 1, 0, 1)
    second = gt(score, scalar_like(0.5 if is_probability else 0.0, score))
    other = el.sub(scalar_like(1.0, score), score) if is_probability else el.neg(score)
    if transform == "LOGISTIC":
        other, score = sigmoid(el.neg(score)), sigmoid(score)
    elif transform == "PROBIT":
        raise NotSupported("TreeEnsembleClassifier: post_transform PROBIT is not built")
    return labels.chosen(sh.squeeze(second, 1)), el.cast(sh.concat([other, score], 1), "f32")


def _base(given: Given, count: int) -> Array | None:
    """What every row begins with."""
    found = _floats(given, "base_values")
    if found is None or not len(found):
        return None
    if len(found) not in (1, count):
        raise NotSupported(f"{given.op_type}: {len(found)} base_values for {count} scores are not built")
    return found


def _floats(given: Given, name: str) -> Array | None:
    """A list of floats, or the tensor that may stand in its place from version 3 on."""
    found = given.attribute(f"{name}_as_tensor", given.attribute(name))
    if found is not None and not isinstance(found, np.ndarray | tuple):
        raise ModelError(f"{given.op_type}: the attribute {name} is no list of numbers")
    return None if found is None else np.asarray(found, None if isinstance(found, np.ndarray) else np.float32)


def _table(given: Given, x: Value, what: str, ids: str, targets: int) -> Table:
    """The trees. what, ids: the names of the lists of what leaves add."""
    dtype = x.dtype.numpy
    modes, split = given.attribute("nodes_modes"), _floats(given, "nodes_values")
    weight = _floats(given, f"{what}_weights")
    if not isinstance(modes, tuple) or split is None or weight is None:
        raise ModelError(f"{given.op_type}: nodes_modes, nodes_values and {what}_weights are needed")
    count, asked = len(modes), np.asarray([_mode(given, mode) for mode in modes], np.int64)
    trees, nodes = ints(given, "nodes_treeids", count), ints(given, "nodes_nodeids", count)
    place = {key: i for i, key in enumerate(zip(trees.tolist(), nodes.tolist(), strict=True))}
    leaves = np.asarray([mode == LEAF for mode in modes], bool)
    if len(place) != count or not count:
        raise ModelError(f"{given.op_type}: a node of a tree occurs twice, or there is none")
    sides = [_children(given, name, place, trees, leaves) for name in ("nodes_truenodeids", "nodes_falsenodeids")]
    roots = np.setdiff1d(np.arange(count), np.concatenate([side[~leaves] for side in sides]))
    owners = trees[roots]
    if len(owners) != len(set(trees.tolist())) or len(set(owners.tolist())) != len(owners):
        raise ModelError(f"{given.op_type}: a tree has no root, or several")
    feature = np.where(leaves, 0, ints(given, "nodes_featureids", count))
    split = as_long(given, "nodes_values", split, count).astype(dtype)
    missing = ints(given, "nodes_missing_value_tracks_true", count) != 0
    weights = _weights(given, what, ids, place, weight.astype(dtype), targets)
    return Table(feature, split, asked, missing, sides[0], sides[1], weights, roots, leaves)


def _mode(given: Given, mode: object) -> int:
    if mode == LEAF:
        return 0
    if mode not in MODES:
        raise ModelError(f"{given.op_type}: the mode {mode!r} is unknown")
    return MODES.index(str(mode))


def _children(given: Given, name: str, place: Mapping[tuple[int, int], int], trees: Array, leaves: Array) -> Array:
    """Where each node leads to on one side; a leaf leads to itself."""
    found = np.arange(len(leaves))
    child = ints(given, name, len(leaves)).tolist()
    for i in np.flatnonzero(~leaves).tolist():
        key = (int(trees[i]), child[i])
        if key not in place:
            raise ModelError(f"{given.op_type}: the tree {key[0]} has no node {key[1]}")
        found[i] = place[key]
    return found


def _weights(given: Given, what: str, ids: str, place: Mapping[tuple[int, int], int], weight: Array, targets: int
             ) -> Array:  # fmt: skip
    """What each place adds to each target."""
    count = len(weight)
    tree, node, target = (ints(given, name, count) for name in (f"{what}_treeids", f"{what}_nodeids", ids))
    if not 0 < targets <= MOST_TARGETS or (count and not 0 <= target.min() <= target.max() < targets):
        raise ModelError(f"{given.op_type}: one of {ids} is none of the {targets}")
    keys = list(zip(tree.tolist(), node.tolist(), strict=True))
    missing = next((key for key in keys if key not in place), None)
    if missing is not None:
        raise ModelError(f"{given.op_type}: the tree {missing[0]} has no node {missing[1]}")
    found = np.zeros((len(place), targets), weight.dtype)
    np.add.at(found, (np.asarray([place[key] for key in keys], np.int64), target), weight)
    return found


READERS: Mapping[str, Reader] = {"TreeEnsembleRegressor": regressor, "TreeEnsembleClassifier": classifier}

"""Ensembles of decision trees of ai.onnx.ml: every row walks all trees at once, level by level.

Nodes and leaves stand in one table; a leaf leads to itself, so that a walk of as many steps as the deepest tree has
levels ends at leaves. What a leaf adds to each target is a row of a second table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.op import Array
from chainrule.ir.types import i64
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.arithmetic import isnan
from chainrule.ops.basic import constant
from chainrule.ops.compare import (
    bitwise_and,
    eq,
    ge,
    gt,
    le,
    logical_and,
    logical_or,
    lt,
    ne,
    shift_right,
)
from chainrule.ops.control import scan
from chainrule.ops.indexing import gather, take_along_axis
from chainrule.ops.softmax import softmax
from chainrule.ops.transcendental import sigmoid

MOST_LEVELS = 1024
MOST_FEATURES = 1 << 31  # whose numbers are packed with that of a place
MOST_TARGETS = 4096
MOST_MEMBERS = 1 << 24
MEMBER = 6  # the mode that asks for membership of a set
COMPARED = (le, lt, ge, gt, eq, ne)  # by mode
SUMS = ("AVERAGE", "SUM", "MIN", "MAX")
TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


@dataclass(frozen=True, eq=False)
class Table:
    """Trees: of each place what it asks (feature, split, mode, whether NaN is a yes) and where yes and no lead.

    leaves: at which places a walk ends; weights: what a leaf adds to each target, a row for each place. members: the
    set that a place of the mode MEMBER asks for, a row for each place, filled up with NaN, which equals nothing.
    """

    feature: Array
    split: Array
    mode: Array
    missing: Array
    yes: Array
    no: Array
    weights: Array
    roots: Array
    leaves: Array
    members: Array | None = None

    def levels(self) -> int:
        """Steps from a root to the farthest leaf. Raises ModelError where walks do not end."""
        here, steps = np.unique(self.roots), 0
        while not self.leaves[here].all():
            here = np.unique(np.concatenate([self.yes[here], self.no[here]]))
            steps += 1
            if steps > MOST_LEVELS:
                raise ModelError(f"a walk through its trees does not end within {MOST_LEVELS} steps")
        return steps

    def side_by_side(self) -> Table | None:
        """The same trees, level by level, where the place of a no follows that of the yes.

        None where a place belongs to several trees or has several parents, or a feature has too large a number.
        """
        level, order, count = self.roots, [self.roots], len(self.roots)
        while len(level := level[~self.leaves[level]]):
            level = np.stack([self.yes[level], self.no[level]], 1).reshape(-1)
            order.append(level)
            count += len(level)
            if count > len(self.yes):
                return None
        kept = np.concatenate(order)
        if len(np.unique(kept)) != len(kept) or (self.feature[kept] >= MOST_FEATURES).any():
            return None
        place = np.zeros(len(self.yes), np.int64)
        place[kept] = np.arange(len(kept))
        members = None if self.members is None else self.members[kept]
        return Table(self.feature[kept], self.split[kept], self.mode[kept], self.missing[kept], place[self.yes[kept]],
                     place[self.no[kept]], self.weights[kept], place[self.roots], self.leaves[kept], members)

    def check(self, features: Dim) -> None:
        """Raises ModelError where a number points at nothing."""
        size = len(self.yes)
        for what, found, end in (("node", self.yes, size), ("node", self.no, size), ("root", self.roots, size),
                                 ("mode", self.mode, MEMBER + 1), ("feature", self.feature, features)):  # fmt: skip
            low, high = (int(found.min()), int(found.max())) if found.size else (0, -1)
            if low < 0 or (not isinstance(end, DimExpr) and high >= end):
                raise ModelError(f"there is no {what} {low if low < 0 else high}: there are {end}")


def _walked(table: Table, x: Value) -> Value:
    """What the leaves that each row of x reaches in each tree add. [N, trees, targets]"""
    own = x.tensor
    rows, trees = x.shape[0], len(table.roots)
    levels = table.levels()
    beside = table.side_by_side()
    table = beside or table
    start = sh.expand(constant(table.roots.reshape(1, -1)), (rows, trees))
    at, seen = new_input("at", start.tensor), new_input("x", own)
    step = Graph("level", (at, seen), (_next_beside(table, at, seen) if beside else _next(table, at, seen),))
    (end,) = scan(step, [start], [], [x], levels)
    return gather(constant(table.weights), end, 0)


def _next(table: Table, at: Value, x: Value) -> Value:
    """Where each walk goes on."""
    goes = _answers(table, at, take_along_axis(x, _looked_up(table.feature, at), 1))
    return el.where(goes, _looked_up(table.yes, at), _looked_up(table.no, at))


def _next_beside(table: Table, at: Value, x: Value) -> Value:
    """Where each walk goes on, in a table side by side: what a place says of its children is one number.

    yes in the upper half, below it the feature, and a bit that says whether the place has children at all.
    """
    number = _looked_up(table.yes << 32 | table.feature << 1 | ~table.leaves, at)
    feature = bitwise_and(shift_right(number, constant(1, i64)), constant(MOST_FEATURES - 1, i64))
    goes = _answers(table, at, take_along_axis(x, feature, 1))
    other = bitwise_and(number, constant(1, i64))
    return el.add(shift_right(number, constant(32, i64)), el.where(goes, constant(0, i64), other))


def _looked_up(column: Array, at: Value) -> Value:
    return gather(constant(column), at, 0)


def _answers(table: Table, at: Value, value: Value) -> Value:
    """Whether the answer is yes, by the comparison that each place makes."""
    split = _looked_up(table.split, at)
    modes = sorted(set(table.mode[~table.leaves].tolist())) or [0]
    found = _answer(table, modes[0], at, value, split)
    for mode in modes[1:]:
        found = el.where(_looked_up(table.mode == mode, at), _answer(table, mode, at, value, split), found)
    if not table.missing.any():
        return found
    return logical_or(found, logical_and(isnan(value), _looked_up(table.missing, at)))


def evaluated(given: Given, table: Table, x: Value, how: str, base: Array | None = None) -> Value:
    """The targets of each row: what the leaves that it reaches in all trees add, put together."""
    if x.rank != 2:
        raise ModelError(f"{given.op_type}: {x.type} is no table of rows")
    table.check(x.shape[1])
    reached = _walked(table, x)
    match how:
        case "SUM":
            y = red.sum(reached, (1,))
        case "AVERAGE":
            y = red.mean(reached, (1,))
        case _ if table.weights.shape[1] == 1:
            y = (red.amin if how == "MIN" else red.amax)(reached, (1,))
        case _:
            raise NotSupported(f"{given.op_type}: the {how} over trees of several targets is not built")
    return y if base is None else el.add(y, constant(base.astype(y.dtype.numpy)))


def finished(given: Given, y: Value, transform: str) -> Value:
    """Scores, and what is done to them at the end."""
    match transform:
        case "NONE":
            return y
        case "SOFTMAX":
            return softmax(y, -1)
        case "LOGISTIC":
            return sigmoid(y)
        case _:
            raise NotSupported(f"{given.op_type}: post_transform {transform} is not built")


def _answer(table: Table, mode: int, at: Value, value: Value, split: Value) -> Value:
    """Whether the answer is yes at places of one mode."""
    if mode != MEMBER:
        return COMPARED[mode](value, split)
    assert table.members is not None
    same = eq(sh.unsqueeze(value, -1), _looked_up(table.members, at))
    return gt(red.sum(el.cast(same, i64), (-1,)), constant(0, i64))


def ints(given: Given, name: str, count: int | None = None) -> Array:
    """A list of whole numbers, as long as it must be; zeros where it is left out."""
    found = np.asarray(given.vector(name) or (), np.int64)
    if not found.size and count is not None:
        return np.zeros(count, np.int64)
    return as_long(given, name, found, count)


def _floats(given: Given, name: str, count: int | None = None) -> Array:
    """A tensor, or a list of floats, with as many elements as it must have."""
    found = given.attribute(name)
    if not isinstance(found, np.ndarray | tuple):
        raise ModelError(f"{given.op_type}: the attribute {name} is missing")
    return as_long(given, name, np.asarray(found).reshape(-1), count)


def as_long(given: Given, name: str, found: Array, count: int | None) -> Array:
    if count is not None and len(found) != count:
        raise ModelError(f"{given.op_type}: {name} has {len(found)} entries, not {count}")
    return found


def ensemble(given: Given) -> Read:
    """TreeEnsemble (version 5): interior nodes and leaves in lists of their own."""
    x, how, end = given.value(0), given.whole("aggregate_function", 1), given.whole("post_transform", 0)
    if not 0 <= how < len(SUMS) or not 0 <= end < len(TRANSFORMS):
        raise ModelError(f"TreeEnsemble: aggregate_function {how} or post_transform {end} is unknown")
    mode = _floats(given, "nodes_modes").astype(np.int64)
    count, leaf = len(mode), _floats(given, "leaf_weights")
    ends = np.arange(len(leaf)) + count
    weights = _weights(given, ends, ints(given, "leaf_targetids"), leaf)
    yes, no = (np.concatenate([ints(given, f"nodes_{side}nodeids", count)
                               + count * (ints(given, f"nodes_{side}leafs", count) != 0), ends])
               for side in ("true", "false"))  # fmt: skip
    table = Table(
        _padded(ints(given, "nodes_featureids", count), leaf), _padded(_floats(given, "nodes_splits", count), leaf),
        _padded(mode, leaf), _padded(ints(given, "nodes_missing_value_tracks_true", count), leaf) != 0, yes, no,
        weights, ints(given, "tree_roots"), np.arange(count + len(leaf)) >= count,
        _members(given, _padded(mode, leaf)))  # fmt: skip
    return finished(given, evaluated(given, table, x, SUMS[how]), TRANSFORMS[end])


def _members(given: Given, mode: Array) -> Array | None:
    """The sets that places of the mode MEMBER ask for: stored one behind the other, each ended by a NaN."""
    places = np.flatnonzero(mode == MEMBER)
    if not len(places):
        return None
    stored = _floats(given, "membership_values")
    ends = np.flatnonzero(np.isnan(stored))
    if len(ends) != len(places) or (len(stored) and not np.isnan(stored[-1])):
        raise ModelError(f"TreeEnsemble: membership_values has {len(ends)} sets for {len(places)} nodes")
    starts = np.concatenate([[0], ends[:-1] + 1])
    found = np.full((len(mode), max(1, int((ends - starts).max()))), np.nan, stored.dtype)
    if found.size > MOST_MEMBERS:
        raise NotSupported(f"TreeEnsemble: sets of up to {found.shape[1]} members at {len(mode)} nodes are not built")
    for place, start, end in zip(places, starts, ends, strict=True):
        found[place, : end - start] = stored[start:end]
    return found


def _padded(column: Array, leaves: Array) -> Array:
    return np.concatenate([column, np.zeros(len(leaves), column.dtype)])


def _weights(given: Given, places: Array, target: Array, weight: Array) -> Array:
    """What each place adds to each target. places: of the leaves, the last ones of all."""
    targets = given.whole("n_targets", 1)
    if len(target) != len(weight):
        raise ModelError(f"{given.op_type}: its leaves have {len(target)} targets and {len(weight)} weights")
    if not 0 < targets <= MOST_TARGETS or (target.size and not 0 <= target.min() <= target.max() < targets):
        raise ModelError(f"{given.op_type}: a leaf's target is none of the {targets}")
    found = np.zeros((int(places.max(initial=-1)) + 1, targets), weight.dtype)
    found[places, target] = weight
    return found


READERS: Mapping[str, Reader] = {"TreeEnsemble": ensemble}

"""Non-maximum suppression: of boxes that overlap, the one with the highest score stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Graph, Value, build, new_input, results
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, TupleType, bool_, i64
from chainrule.ops import elementwise as el
from chainrule.ops.basic import constant, full, scalar_like
from chainrule.ops.compare import gt, logical_and, logical_not, logical_or, lt
from chainrule.ops.control import scan
from chainrule.ops.elementwise import expect_inputs
from chainrule.ops.indexing import gather, take_along_axis
from chainrule.ops.ranges import iota
from chainrule.ops.selecting import expect_count, nonzero
from chainrule.ops.shaping import narrow, reshape, stack, transpose
from chainrule.ops.sorting import argsort, stable_order


@dataclass(frozen=True)
class BoxesKept(Op):
    """Which boxes stay, in the order of falling scores. boxes: [B, N, 4], scores: [B, C, N] -> bool, i64[B, C, N].

    The second result is that order. A box stays when its score is above `score` (None: always), it overlaps no box that
    stays before it by more than `iou` (intersection by union), and fewer than `most` of its class stayed. Boxes are two
    opposite corners (y, x, y, x), or with center (x, y, width, height). Boxes without area overlap nothing.
    Raises ShapeError or DTypeError for other boxes. Source: ONNX NonMaxSuppression-11.
    """

    name: ClassVar[str] = "boxes_kept"
    args: ClassVar[tuple[str, ...]] = ("boxes", "scores")
    gradient: ClassVar[str] = "zero"
    most: int
    iou: float = 0.0
    score: float | None = None
    center: bool = False

    def infer(self, *types: TensorType) -> TupleType:
        _check_boxes(types)
        scores = types[1]
        return TupleType((scores.with_dtype(bool_), scores.with_dtype(i64)))

    def ref(self, *arrays: Array) -> tuple[Array, ...]:
        boxes, scores = (x.astype(np.float32) for x in arrays)
        order = stable_order(scores, 2, True)
        kept = np.zeros(scores.shape, np.bool_)
        for b, c in np.ndindex(scores.shape[:2]):
            corners = _corners_of(boxes[b][order[b, c]], self.center)
            for i, at in enumerate(order[b, c]):
                fits = self.score is None or scores[b, c, at] > np.float32(self.score)
                mine = np.flatnonzero(kept[b, c])
                if fits and len(mine) < self.most:
                    kept[b, c, i] = not _overlaps(corners[i], corners[mine], self.iou).any()
        return kept, order

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        boxes, scores = inputs
        order = argsort(scores, 2, True)
        sides = [take_along_axis(reshape(side, (side.shape[0], 1, side.shape[1])), order, 2)
                 for side in _sides(boxes, self.center)]  # fmt: skip
        ordered = take_along_axis(scores, order, 2)
        fits = full(True, scores.shape, bool_)
        if self.score is not None:
            fits = gt(ordered, constant(self.score, scores.dtype))
        return build(InTurn(self.most, self.iou), *sides, fits), order


@dataclass(frozen=True)
class InTurn(Op):
    """Which boxes stay, in the order given. top, left, bottom, right: [B, C, N], fits: bool[B, C, N] -> bool[B, C, N].

    A box stays when it fits, fewer than `most` of its row stay before it, and it overlaps none of these by more than
    `iou` (intersection by union). NaN overlaps nothing. Raises ShapeError or DTypeError for inputs that do not match.
    Source: the loop of ONNX NonMaxSuppression-11.
    """

    name: ClassVar[str] = "in_turn"
    args: ClassVar[tuple[str, ...]] = ("top", "left", "bottom", "right", "fits")
    gradient: ClassVar[str] = "zero"
    most: int
    iou: float = 0.0

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(5, types)
        *sides, fits = types
        if fits.dtype != bool_ or not sides[0].dtype.is_float or any(t.dtype != sides[0].dtype for t in sides):
            raise DTypeError(f"sides of {sides[0].dtype} and fits of {fits.dtype}",
                             help="the sides are of one float type, fits is of bool")  # fmt: skip
        if fits.rank != 3 or any(t.shape != fits.shape for t in sides):
            raise ShapeError(f"sides {sides[0]} do not match {fits}", help="all are [B,C,N]")
        return fits

    def ref(self, *arrays: Array) -> Array:
        *sides, fits = arrays
        corners = np.stack(sides, -1)
        kept = np.zeros(fits.shape, np.bool_)
        for b, c in np.ndindex(fits.shape[:2]):
            for i in np.flatnonzero(fits[b, c]):
                mine = np.flatnonzero(kept[b, c])
                if len(mine) < self.most:
                    kept[b, c, i] = not _overlaps(corners[b, c, i], corners[b, c, mine], self.iou).any()
        return kept

    def decompose(self, *inputs: Value) -> Value:
        """A loop over the boxes of all classes at once: each that stays strikes out those it overlaps."""
        *sides, fits = inputs
        count = fits.shape[2]
        outside = [*sides, el.mul(el.sub(sides[2], sides[0]), el.sub(sides[3], sides[1])), fits]
        captured = [new_input(f"outer{i}", v.tensor, "param") for i, v in enumerate(outside)]
        struck, stayed = new_input("struck", fits.tensor), new_input("stayed", TensorType(i64, fits.shape[:2]))
        at = new_input("at", TensorType(i64, ()))
        mine = logical_and(gather(captured[5], at, 2), logical_not(gather(struck, at, 2)))
        mine = logical_and(mine, lt(stayed, constant(self.most, i64)))
        hit = logical_and(reshape(mine, (*mine.shape, 1)), self._overlap(captured, at))
        body = Graph("strike", (struck, stayed, at, *captured),
                     (logical_or(struck, hit), el.add(stayed, el.cast(mine, i64)), mine))  # fmt: skip
        none = full(False, fits.shape, bool_)
        *_, kept = scan(body, [none, full(0, fits.shape[:2], i64)], [iota((count,))], outside, count)
        return transpose(kept, (1, 2, 0))

    def _overlap(self, boxes: Sequence[Value], at: Value) -> Value:
        """Whether each box overlaps the one at a position by more than the limit."""
        top, left, bottom, right, area = boxes[:5]
        own = [reshape(gather(v, at, 2), (*v.shape[:2], 1)) for v in (top, left, bottom, right, area)]
        zero = constant(0.0, area.dtype)
        height = el.maximum(el.sub(el.minimum(own[2], bottom), el.maximum(own[0], top)), zero)
        width = el.maximum(el.sub(el.minimum(own[3], right), el.maximum(own[1], left)), zero)
        shared = el.mul(height, width)
        union = el.sub(el.add(own[4], area), shared)
        return logical_and(gt(shared, zero), gt(el.div(shared, union), constant(self.iou, area.dtype)))


def _check_boxes(types: Sequence[TensorType]) -> None:
    expect_inputs(2, types)
    boxes, scores = types
    if boxes.dtype != scores.dtype or not boxes.dtype.is_float:
        raise DTypeError(f"boxes of {boxes.dtype} and scores of {scores.dtype}", help="both are of one float type")
    fit = boxes.rank == 3 and scores.rank == 3 and boxes.shape[2] == 4
    if not fit or (boxes.shape[0], boxes.shape[1]) != (scores.shape[0], scores.shape[2]):
        raise ShapeError(f"boxes {boxes} do not fit scores {scores}", help="they are [B,N,4] and [B,C,N]")


def _corners_of(boxes: Array, center: bool) -> Array:
    """Top, left, bottom, right of each box."""
    if center:
        x, y, w, h = boxes.T
        return np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], 1)
    return np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1)


def _overlaps(box: Array, others: Array, limit: float) -> Array:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.maximum(high - low, 0).prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    with np.errstate(all="ignore"):
        return (shared > 0) & (shared / union > np.float32(limit))


def _sides(boxes: Value, center: bool) -> list[Value]:
    """Top, left, bottom, right of each box, [B, N] each."""
    a, b, c, d = (reshape(narrow(boxes, 2, i, 1), boxes.shape[:2]) for i in range(4))
    if not center:
        return [el.minimum(a, c), el.minimum(b, d), el.maximum(a, c), el.maximum(b, d)]
    half = constant(2.0, boxes.dtype)
    w, h = el.div(c, half), el.div(d, half)
    return [el.sub(b, h), el.sub(a, w), el.add(b, h), el.add(a, w)]


@dataclass(frozen=True)
class NonMaxSuppression(Op):
    """The boxes that stay: batch, class and number of each. boxes: [B, N, 4], scores: [B, C, N] -> i64[count, 3].

    Ordered by batch, class, falling score. count: how many stay, the number of true elements of BoxesKept, whose other
    attributes these are. Raises as BoxesKept, and ShapeError when the reference finds another number.
    Source: ONNX NonMaxSuppression-11.
    """

    name: ClassVar[str] = "non_max_suppression"
    args: ClassVar[tuple[str, ...]] = ("boxes", "scores")
    gradient: ClassVar[str] = "zero"
    tells: ClassVar[str] = "count"
    count: Dim
    most: int
    iou: float = 0.0
    score: float | None = None
    center: bool = False

    @property
    def keeping(self) -> BoxesKept:
        """The op that says which boxes stay."""
        return BoxesKept(self.most, self.iou, self.score, self.center)

    def infer(self, *types: TensorType) -> TensorType:
        _check_boxes(types)
        return TensorType(i64, (self.count, 3))

    def ref(self, *arrays: Array) -> Array:
        kept, order = self.keeping.ref(*arrays)
        found = np.stack(np.nonzero(kept), 1).astype(np.int64)
        expect_count(len(found), self.count)
        found[:, 2] = order[kept]
        return found

    def decompose(self, *inputs: Value) -> Value:
        kept, order = results(build(self.keeping, *inputs))
        places = nonzero(kept, self.count)
        batch, row, rank = (reshape(narrow(places, 0, i, 1), (self.count,)) for i in range(3))
        classes, boxes = (scalar_like(d, batch) for d in order.shape[1:])
        at = el.add(el.mul(el.add(el.mul(batch, classes), row), boxes), rank)
        number = gather(reshape(order, (dim_product(order.shape),)), at, 0)
        return transpose(stack([batch, row, number]), (1, 0))


def with_count(op: NonMaxSuppression, count: Dim) -> NonMaxSuppression:
    """The op with the size of its result."""
    return replace(op, count=count)


OPS: tuple[type[Op], ...] = (BoxesKept, InTurn, NonMaxSuppression)

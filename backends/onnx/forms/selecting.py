"""Forms of ops whose results are as large as the data says."""

from __future__ import annotations

import numpy as np

from chainrule.backends.onnx.forms.form import Attr, Call, Form, Given, Numbers, Plain
from chainrule.errors import ModelError
from chainrule.ir.graph import Value, build, results
from chainrule.ops import selecting as ops
from chainrule.ops.suppression import NonMaxSuppression, with_count


def _read_nonzero(given: Given) -> Value:
    x = given.value(0)
    return ops.nonzero(x, given.told(ops.nonzero_count(x), "nonzero"))


def _read_unique(given: Given) -> Value:
    x = given.value(0)
    flat = ops.flattened(x)
    count = given.told(ops.unique_count(flat), "unique")
    return build(ops.Unique(count, bool(given.whole("sorted", 1))), flat)


def _write_suppression(node: Value, opset: int) -> Call:
    op = node.op
    assert isinstance(op, NonMaxSuppression)
    iou = Numbers(array=np.asarray([op.iou], np.float32))
    score = None if op.score is None else Numbers(array=np.asarray([op.score], np.float32))
    return Call((*node.inputs, Numbers((op.most,)), iou, score), {"center_point_box": int(op.center)})


def _read_suppression(given: Given) -> Value:
    boxes, scores = given.value(0), given.value(1)
    most = int(given.number(2)) if given.has(2) else 0
    iou = float(given.number(3)) if given.has(3) else 0.0
    score = float(given.number(4)) if given.has(4) else None
    if not 0.0 <= iou <= 1.0:
        raise ModelError(f"NonMaxSuppression: the iou_threshold {iou} is not between 0 and 1")
    op = NonMaxSuppression(0, max(0, most), iou, score, bool(given.whole("center_point_box", 0)))
    kept, _ = results(build(op.keeping, boxes, scores))
    return build(with_count(op, given.told(ops.nonzero_count(kept), "boxes")), boxes, scores)


FORMS: tuple[Form, ...] = (
    Form(ops.NonZero, "NonZero", since=9, write=lambda node, opset: Call(node.inputs, {}), read=_read_nonzero),
    Form(ops.Unique, "Unique", (Attr("sorted", "sorted", 1), Plain("axis", None)), since=11, read=_read_unique,
         results=4),
    Form(NonMaxSuppression, "NonMaxSuppression", since=10, write=_write_suppression, read=_read_suppression),
)  # fmt: skip

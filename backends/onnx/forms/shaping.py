"""Forms of ops that make, rearrange and look up elements."""

from __future__ import annotations

import numpy as np

from chainrule.backends.onnx import told
from chainrule.backends.onnx.forms.form import Attr, Call, Fixed, Form, Given, Numbers, Operand
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr
from chainrule.ir.graph import Value, build
from chainrule.ir.types import as_dtype, bool_, i64
from chainrule.ops import indexing as ix
from chainrule.ops import shaping as sh
from chainrule.ops.basic import Full, full
from chainrule.ops.declared import SizedAs, Within
from chainrule.ops.elementwise import where
from chainrule.ops.indexing_nd import GatherND, ScatterND, gather_nd
from chainrule.ops.indexing_reduce import ScatterReduce
from chainrule.ops.ranges import Iota, Trilu, arange
from chainrule.ops.repeating import PadBorder, Tile, pad
from chainrule.ops.shape_rules import axis_of, broadcast_shapes
from chainrule.ops.sorting import TopK

FAR = 2**63 - 1  # "to the end" of a slice; -FAR is "to the front" of a reversed one


def _write_full(node: Value, opset: int) -> Call:
    assert isinstance(node.op, Full)
    return Call((Numbers(node.op.shape),), {"value": np.full(1, node.op.value, node.op.dtype.numpy)})


def _read_full(given: Given) -> Value:
    value = given.attribute("value")
    filler = np.zeros(1, np.float32) if value is None else np.asarray(value).reshape(-1)
    if filler.size != 1:
        raise ModelError(f"{given.op_type}: the value holds {filler.size} numbers, not one")
    return full(filler[0].item(), told.sizes(given, 0), as_dtype(filler.dtype))


def _write_iota(node: Value, opset: int) -> Call:
    assert isinstance(node.op, Iota)
    zero, one = (Numbers(array=np.asarray(n, np.int64)) for n in (0, 1))
    return Call((zero, Numbers(node.op.shape, scalar=True), one), {})


def _is_count(node: Value) -> bool:
    assert isinstance(node.op, Iota)
    return node.op.dtype == i64 and len(node.op.shape) == 1


def _read_range(given: Given) -> Value:
    dtype = given.value(0).dtype
    if any(given.known(i) is None for i in range(3)):
        return told.ranged(given)
    if dtype.is_float:
        start, stop, step = (given.number(i) for i in range(3))
        return arange(float(start), float(stop), float(step), dtype)
    (start,), (stop,), (step,) = (given.dims(i) for i in range(3))
    if isinstance(step, DimExpr):
        raise NotSupported(f"Range: the step {step} is a symbolic size")
    return arange(start, stop, step, dtype)


def _write_reshape(node: Value, opset: int) -> Call:
    assert isinstance(node.op, sh.Reshape)
    x, wanted = node.inputs[0], node.op.shape
    if any(d == 0 for d in wanted):
        return Call((x, Numbers(wanted)), {"allowzero": 1})
    # 0 copies an axis, which keeps the shape a constant for any batch size; -1 stands for the one size that is left.
    shape: list[Dim] = [0 if isinstance(d, DimExpr) and i < x.rank and d == x.shape[i] else d
                        for i, d in enumerate(wanted)]  # fmt: skip
    left = [i for i, d in enumerate(shape) if isinstance(d, DimExpr)]
    if len(left) == 1 and 0 not in shape:
        shape[left[0]] = -1
    return Call((x, Numbers(tuple(shape))), {})


def _read_reshape(given: Given) -> Value:
    x = given.value(0)
    if given.known(1) is None:
        return told.reshaped(given)
    dims: list[Dim] = list(given.dims(1))
    if not given.attribute("allowzero", 0):
        if any(d == 0 and i >= x.rank for i, d in enumerate(dims)):
            raise ModelError(f"Reshape: the shape {dims} copies an axis that {x.type} does not have")
        dims = [x.shape[i] if isinstance(d, int) and d == 0 else d for i, d in enumerate(dims)]
    return sh.reshape(x, dims)  # type: ignore[arg-type]


def _write_expand(node: Value, opset: int) -> Call:
    assert isinstance(node.op, sh.Expand)
    x, wanted = node.inputs[0], node.op.shape
    lead = len(wanted) - x.rank
    kept = tuple(1 if isinstance(d, DimExpr) and i >= lead and d == x.shape[i - lead] else d
                 for i, d in enumerate(wanted))  # fmt: skip
    return Call((x, Numbers(kept)), {})


def _read_expand(given: Given) -> Value:
    x = given.value(0)
    if given.known(1) is None:
        return told.expanded(given)
    return sh.expand(x, broadcast_shapes(x.shape, given.dims(1)))


def _write_slice(node: Value, opset: int) -> Call:
    assert isinstance(node.op, sh.Slice)
    x, op = node.inputs[0], node.op
    starts: list[Dim] = []
    ends: list[Dim] = []
    axes: list[int] = []
    for axis, (start, size, step) in enumerate(zip(op.starts, op.sizes, op.steps, strict=True)):
        if start == 0 and size == x.shape[axis] and step == 1:
            continue
        axes.append(axis)
        starts.append(0 if size == 0 else start)
        to_end = step == 1 and start + size == x.shape[axis]
        ends.append(0 if size == 0 else FAR if to_end else start + (size - 1) * step + 1)
    steps = tuple(op.steps[axis] for axis in axes)
    return Call((x, *(Numbers(tuple(part)) for part in (starts, ends, axes, steps))), {})


def _write_flip(node: Value, opset: int) -> Call:
    assert isinstance(node.op, sh.Flip)
    axes = node.op.axes
    back = (-1,) * len(axes)
    return Call((node.inputs[0], Numbers(back), Numbers((-FAR,) * len(axes)), Numbers(axes), Numbers(back)), {})


def _read_slice(given: Given) -> Value:
    x = given.value(0)
    if given.opset < 10:
        starts, ends = given.vector("starts") or (), given.vector("ends") or ()
        return sh.slice_(x, starts, ends, None, given.vector("axes"))
    if given.known(1) is None or given.known(2) is None:
        return told.sliced(given)
    starts, ends = given.dims(1), given.dims(2)
    axes = given.ints(3) if given.has(3) else tuple(range(len(starts)))
    steps = given.ints(4) if given.has(4) else (1,) * len(starts)
    if len(starts) == len(axes) == len(steps):
        starts = tuple(told.clamped_start(start, step, x.shape[axis_of(axis, x.rank)])
                       for start, step, axis in zip(starts, steps, axes, strict=True))  # fmt: skip
    return sh.slice_(x, starts, ends, steps, axes)


def _write_pad(node: Value, opset: int) -> Call:
    assert isinstance(node.op, sh.Pad)
    with np.errstate(all="ignore"):
        value = np.asarray(node.op.value).astype(node.dtype.numpy)
    pads = Numbers(node.op.before + node.op.after)
    plain = not value.any() and not np.signbit(value.astype(np.float64))
    return Call((node.inputs[0], pads) if plain else (node.inputs[0], pads, Numbers(array=value)), {})


def _write_pad_border(node: Value, opset: int) -> Call:
    assert isinstance(node.op, PadBorder)
    return Call((node.inputs[0], Numbers(node.op.before + node.op.after)), {"mode": node.op.mode})


def _is_old_border(node: Value) -> bool:
    return getattr(node.op, "mode", "") != "wrap"


def _read_pad(given: Given) -> Value:
    x = given.value(0)
    mode = given.word("mode", "constant")
    if given.opset < 11:
        amounts, fill = given.vector("pads") or (), given.fraction("value", 0.0)
    else:
        amounts, fill = told.sizes(given, 1), _fill(given) if mode == "constant" else 0.0
    axes = given.ints(3) if given.has(3) else tuple(range(x.rank))
    before: list[Dim] = [0] * x.rank
    after: list[Dim] = [0] * x.rank
    if len(amounts) != 2 * len(axes):
        raise ModelError(f"Pad: {len(amounts)} amounts for {len(axes)} axes")
    for i, axis in enumerate(axes):
        before[axis], after[axis] = amounts[i], amounts[i + len(axes)]
    if fill is not None:
        return pad(x, before, after, mode, float(fill))
    inside = pad(full(1, x.shape, bool_), before, after, mode, 0.0)
    return where(inside, pad(x, before, after, mode, 0.0), sh.reshape(given.value(2), ()))


def _fill(given: Given) -> float | None:
    """What a padded array has around it; None where the graph computes it."""
    if not given.has(2):
        return 0.0
    return None if given.known(2) is None else float(given.number(2))


def _write_top_k(node: Value, opset: int) -> Call:
    assert isinstance(node.op, TopK)
    return Call((node.inputs[0], Numbers((node.op.k,))), {"axis": node.op.axis, "largest": node.op.largest})


def _read_top_k(given: Given) -> Value:
    x, axis = given.value(0), given.whole("axis", -1)
    k = given.whole("k") if given.opset < 10 else told.sizes(given, 1)[0]
    return build(TopK(k, axis, bool(given.whole("largest", 1))), x)


def _read_transpose(given: Given) -> Value:
    return sh.transpose(given.value(0), given.vector("perm"))


def _read_gather_nd(given: Given) -> Value:
    return gather_nd(given.value(0), given.value(1), given.whole("batch_dims", 0))


def _assigns(node: Value) -> bool:
    return getattr(node.op, "mode", "") == "assign"


def _adds(node: Value) -> bool:
    return getattr(node.op, "mode", "") == "add"


def _multiplies(node: Value) -> bool:
    return getattr(node.op, "mode", "") == "mul"


def _compares(node: Value) -> bool:
    return getattr(node.op, "mode", "") in ("max", "min")


def _is_wide(node: Value) -> bool:
    """onnxruntime has no such kernel for half precision."""
    return node.dtype.bits != 16 or not node.dtype.is_float


def _read_scatter_reduce(given: Given) -> Value:
    return build(ScatterReduce(given.whole("axis", 0), given.word("reduction", "none")), *given.values())


def _read_scatter_nd(given: Given) -> Value:
    mode = given.word("reduction", "none")
    return build(ScatterND("assign" if mode == "none" else mode), *given.values())


FORMS: tuple[Form, ...] = (
    Form(Full, "ConstantOfShape", since=9, write=_write_full, read=_read_full),
    Form(Iota, "Range", since=11, when=_is_count, write=_write_iota, read=_read_range),
    Form(SizedAs, "Identity", reads=False),
    Form(Within, "Identity", reads=False),  # what the numbers mean is the node's own matter there
    Form(sh.Reshape, "Reshape", write=_write_reshape, read=_read_reshape),
    Form(sh.Transpose, "Transpose", (Attr("perm", "perm"),), read=_read_transpose),
    Form(sh.Expand, "Expand", since=8, write=_write_expand, read=_read_expand),
    Form(sh.Concat, "Concat", (Attr("axis", "axis"),)),
    Form(sh.Slice, "Slice", write=_write_slice, read=_read_slice),
    Form(sh.Flip, "Slice", since=10, write=_write_flip, reads=False),
    Form(sh.Pad, "Pad", write=_write_pad, read=_read_pad),
    Form(PadBorder, "Pad", write=_write_pad_border, when=_is_old_border, reads=False),
    Form(PadBorder, "Pad", write=_write_pad_border, since=19, reads=False),
    Form(Tile, "Tile", (Operand("repeats", 1, "dims"),), since=6),
    Form(Trilu, "Trilu", (Operand("diagonal", 1, "axis"), Attr("upper", "upper", 1)), since=14),
    Form(ix.Gather, "Gather", (Attr("axis", "axis", 0),)),
    Form(ix.TakeAlongAxis, "GatherElements", (Attr("axis", "axis", 0),), since=11),
    Form(ix.ScatterAdd, "ScatterElements", (Fixed("reduction", "add", "none"), Attr("axis", "axis", 0)), since=16,
         kinds="fiu"),
    Form(ix.Scatter, "ScatterElements", (Fixed("reduction", "none", "none"), Attr("axis", "axis", 0)), since=11),
    Form(ScatterReduce, "ScatterElements", (Fixed("reduction", "mul"), Attr("axis", "axis", 0)), since=16,
         when=lambda node: _multiplies(node) and _is_wide(node), read=_read_scatter_reduce, kinds="fiu"),
    Form(ScatterReduce, "ScatterElements", (Attr("mode", "reduction"), Attr("axis", "axis", 0)), since=18,
         when=_is_wide, kinds="fiu"),
    # PyTorch writes max and min into opset 16, too, and onnxruntime takes them there.
    Form(ScatterReduce, "ScatterElements", (Attr("mode", "reduction"), Attr("axis", "axis", 0)), since=16,
         writes=False, kinds="fiu"),
    Form(GatherND, "GatherND", since=11, read=_read_gather_nd),
    Form(ScatterND, "ScatterND", (Fixed("reduction", "none", "none"),), since=11,
         when=_assigns, read=_read_scatter_nd),
    Form(ScatterND, "ScatterND", (Fixed("reduction", "add", "none"),), since=16,
         when=_adds, read=_read_scatter_nd, kinds="fiu"),
    Form(ScatterND, "ScatterND", (Fixed("reduction", "mul"),), since=16, when=_multiplies, read=_read_scatter_nd,
         kinds="fiu"),
    Form(ScatterND, "ScatterND", (Attr("mode", "reduction"),), since=18, when=_compares, read=_read_scatter_nd,
         kinds="fiu"),
    Form(TopK, "TopK", since=10, results=2, write=_write_top_k, read=_read_top_k),
)  # fmt: skip


"""Forms of reductions, running sums, softmax and products of matrices."""

from __future__ import annotations

from chainrule.backends.onnx.forms.form import Attr, Fixed, Form, Given, Operand
from chainrule.ir.graph import Value
from chainrule.ir.op import Op
from chainrule.ops import reduce as red
from chainrule.ops import statistics as stat
from chainrule.ops.cumulative import CumSum
from chainrule.ops.matmul import MatMul, matmul
from chainrule.ops.softmax import LogSoftmax, Softmax


def _has_axes(node: Value) -> bool:
    """Without axes ONNX reduces all of them, or none and does not even take the absolute value."""
    return bool(getattr(node.op, "axes", ()))


def _reduction(op: type[Op], name: str, axes_are_input_since: int = 18, kinds: str = "fiu",
               writes: bool = True) -> Form:  # fmt: skip
    axes = Operand("axes", 1, "axes", "axes", attribute_before=axes_are_input_since)
    return Form(op, name, (axes, Attr("keepdims", "keepdims", 1)), when=_has_axes, kinds=kinds,
                writes=writes)  # fmt: skip


def _position(op: type[Op], name: str) -> Form:
    return Form(op, name, (Attr("axis", "axis", 0), Attr("keepdims", "keepdims", 1), Fixed("select_last_index", 0, 0)))


def _is_plain(node: Value) -> bool:
    assert isinstance(node.op, MatMul)
    return not (node.op.transpose_a or node.op.transpose_b)


def _is_flat(node: Value) -> bool:
    return node.dtype.is_float and node.inputs[0].rank == 2 == node.inputs[1].rank


def _read_matmul(given: Given) -> Value:
    return matmul(given.value(0), given.value(1))


FORMS: tuple[Form, ...] = (
    _reduction(red.Sum, "ReduceSum", axes_are_input_since=13),
    _reduction(red.Mean, "ReduceMean", kinds="f"),
    _reduction(red.AMax, "ReduceMax"),
    _reduction(red.AMin, "ReduceMin"),
    _reduction(red.Prod, "ReduceProd"),
    _reduction(stat.LogSumExp, "ReduceLogSumExp", kinds="f", writes=False),  # some runtimes overflow
    _reduction(stat.L1Norm, "ReduceL1", kinds="f"),
    _reduction(stat.L2Norm, "ReduceL2", kinds="f"),
    _reduction(stat.SumSquare, "ReduceSumSquare", kinds="f"),
    _position(red.ArgMax, "ArgMax"),
    _position(red.ArgMin, "ArgMin"),
    Form(Softmax, "Softmax", (Attr("axis", "axis", -1),), since=13),
    Form(LogSoftmax, "LogSoftmax", (Attr("axis", "axis", -1),), since=13),
    Form(CumSum, "CumSum", (Operand("axis", 1, "axis"), Attr("exclusive", "exclusive", 0),
                            Attr("reverse", "reverse", 0)), since=11),
    Form(MatMul, "MatMul", when=_is_plain, read=_read_matmul),
    Form(MatMul, "Gemm", (Attr("transpose_a", "transA", 0), Attr("transpose_b", "transB", 0)), since=11, when=_is_flat,
         reads=False),
)  # fmt: skip

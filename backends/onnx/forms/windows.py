"""Forms of convolutions, pools and normalisations."""

from __future__ import annotations

from chainrule.backends.onnx.forms.form import Attr, Call, Derived, Form, Given, Plain
from chainrule.backends.onnx.raw import MaxPoolPlaces
from chainrule.ir.graph import Value, build
from chainrule.ir.types import f32, f64
from chainrule.ops.conv import Conv, ConvTranspose
from chainrule.ops.elementwise import cast
from chainrule.ops.norm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from chainrule.ops.pool import AvgPool, MaxPool


def _kernel(node: Value) -> tuple[int, ...]:
    return tuple(int(k) for k in node.inputs[1].shape[2:])  # type: ignore[arg-type]


def _has_output_padding(node: Value) -> bool:
    """An output size that is given otherwise, or that reaches beyond a whole stride, is lowered."""
    assert isinstance(node.op, ConvTranspose)
    return node.op.output_size is None and all(
        extra < max(stride, dilation)
        for extra, stride, dilation in zip(node.op.output_padding, node.op.stride, node.op.dilation, strict=True)
    )


_CONV = (Attr("stride", "strides", "ones"), Attr("pad", "pads", "zeros2"), Attr("dilation", "dilations", "ones"),
         Attr("groups", "group", 1), Derived("kernel_shape", _kernel),
         Plain("auto_pad", "NOTSET"), Plain("output_shape", None))  # fmt: skip
_POOL = (Attr("window", "kernel_shape"), Attr("stride", "strides", "ones"), Attr("pad", "pads", "zeros2"),
         Plain("auto_pad", "NOTSET"))  # fmt: skip
_MAX_POOL = (*_POOL, Attr("dilation", "dilations", "ones"), Attr("ceil_mode", "ceil_mode", 0))


def _write_trailing(node: Value, opset: int) -> Call:
    assert isinstance(node.op, LayerNorm | RMSNorm)
    return Call(node.inputs, {"axis": -node.op.trailing, "epsilon": node.op.eps})


def _read_trailing(given: Given) -> Value:
    x, axis = given.value(0), given.whole("axis", -1)
    op = LayerNorm if given.op_type == "LayerNormalization" else RMSNorm
    made = op(-axis if axis < 0 else x.rank - axis, given.fraction("epsilon", 1e-5))
    values = given.values()
    if len({v.dtype for v in values}) == 1:
        return build(made, *values)
    wide = f64 if any(v.dtype == f64 for v in values) else f32  # the result has the type of the scale
    return cast(build(made, *(cast(v, wide) for v in values)), values[1].dtype)


def _read_batch_norm(given: Given) -> Value:
    values = [given.value(i, "state" if i > 2 else "param") for i in range(5)]
    made, x = BatchNorm(given.fraction("epsilon", 1e-5)), values[0]
    if len({v.dtype for v in values}) == 1:
        return build(made, *values)
    wide = f64 if any(v.dtype == f64 for v in values) else f32  # the result has the type of x
    return cast(build(made, *(cast(v, wide) for v in values)), x.dtype)


def _has_rows_of_f32(node: Value) -> bool:
    """With a scale, which ONNX asks for, and elements; f64 is normalised in f32 by default, and so by onnxruntime."""
    return len(node.inputs) > 1 and node.dtype != f64 and 0 not in node.shape


FORMS: tuple[Form, ...] = (
    Form(Conv, "Conv", _CONV),
    Form(ConvTranspose, "ConvTranspose", (*_CONV, Attr("output_padding", "output_padding", "zeros")),
         when=_has_output_padding),
    Form(MaxPool, "MaxPool", _MAX_POOL),
    Form(MaxPoolPlaces, "MaxPool", _MAX_POOL, reads=False),
    Form(AvgPool, "AveragePool", (*_POOL, Attr("ceil_mode", "ceil_mode", 0),
                                  Attr("count_include_pad", "count_include_pad", 0),
                                  Plain("dilations", None))),
    Form(BatchNorm, "BatchNormalization", (Attr("eps", "epsilon", 1e-5), Plain("training_mode", 0),
                                           Plain("spatial", 1)), since=7,
         state=(3, 4), read=_read_batch_norm),
    Form(InstanceNorm, "InstanceNormalization", (Attr("eps", "epsilon", 1e-5),),
         when=lambda node: len(node.inputs) == 3 and node.rank > 2),
    Form(GroupNorm, "GroupNormalization", (Attr("groups", "num_groups"), Attr("eps", "epsilon", 1e-5)), since=21,
         writes=False),  # runtimes expand it in one pass, which loses the digits of a large mean
    Form(LayerNorm, "LayerNormalization", since=17, when=_has_rows_of_f32, write=_write_trailing,
         read=_read_trailing),
    Form(RMSNorm, "RMSNormalization", since=23, when=_has_rows_of_f32, write=_write_trailing,
         read=_read_trailing),
)  # fmt: skip

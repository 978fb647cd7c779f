"""Forms of quantised numbers: QuantizeLinear, DequantizeLinear and the products of bytes. The importer reads these by
functions (importing/readers_quantised.py), as parameters there lie along an axis that an attribute names."""

from __future__ import annotations

from chainrule.backends.onnx.forms.form import Attr, Derived, Form
from chainrule.backends.onnx.raw import DequantizeAlong, QuantizeAlong
from chainrule.ir.graph import Value
from chainrule.ops.conv import kernel_of
from chainrule.ops.integer_products import IntegerConv, IntegerMatMul


def _kernel(node: Value) -> tuple[int, ...]:
    return kernel_of(node.inputs[1].tensor)


def _has_depth(node: Value) -> bool:
    """True where something is certainly added up: onnxruntime leaves sums of nothing as they lay in memory."""
    depth = node.inputs[0].shape[-1]
    return isinstance(depth, int) and depth > 0


FORMS: tuple[Form, ...] = (
    Form(QuantizeAlong, "QuantizeLinear", (Attr("axis", "axis"),), reads=False),
    Form(DequantizeAlong, "DequantizeLinear", (Attr("axis", "axis"),), reads=False),
    Form(IntegerMatMul, "MatMulInteger", when=_has_depth, reads=False),
    Form(IntegerConv, "ConvInteger",
         (Attr("stride", "strides"), Attr("pad", "pads"), Attr("dilation", "dilations"), Attr("groups", "group"),
          Derived("kernel_shape", _kernel)), reads=False),
)  # fmt: skip

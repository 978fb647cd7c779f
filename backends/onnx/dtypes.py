"""Element types of chainrule and of ONNX."""

from __future__ import annotations

from onnx import TensorProto

from chainrule.errors import NotSupported
from chainrule.ir.types import DType, bf16, bool_, f16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64

ONNX_OF: dict[DType, int] = {
    f32: TensorProto.FLOAT, f64: TensorProto.DOUBLE, f16: TensorProto.FLOAT16, bf16: TensorProto.BFLOAT16,
    i8: TensorProto.INT8, i16: TensorProto.INT16, i32: TensorProto.INT32, i64: TensorProto.INT64,
    u8: TensorProto.UINT8, u16: TensorProto.UINT16, u32: TensorProto.UINT32, u64: TensorProto.UINT64,
    bool_: TensorProto.BOOL,
}  # fmt: skip
_OF_ONNX = {code: dtype for dtype, code in ONNX_OF.items()}


def dtype_of(code: int) -> DType:
    """The element type of an ONNX type code. Raises NotSupported for one without counterpart (strings, complex)."""
    found = _OF_ONNX.get(code)
    if found is None:
        known = code in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(code) if known else f"number {code}"
        raise NotSupported(f"the element type {name} is not built", help="numbers and bool are")
    return found

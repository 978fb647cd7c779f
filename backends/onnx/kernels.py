"""Which element types stock onnxruntime's CPU kernels take, by ONNX op type, and what to compute in instead.

Found by loading one-node models into onnxruntime 1.32, opset 18 and up (f16 counts where onnxruntime itself casts). An
op type that is not listed takes all. Where a type is missing the exporter casts to a wider one and back, which is
exact: small integers wrap to the same result, and a half precision result is rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.ir.types import BY_NAME, DType

_REAL = "f32 f64 f16"
_NUMBERS = "f32 f64 f16 i8 i16 i32 i64 u8 u16 u32 u64"
_SUMS = "f32 f64 f16 i32 i64"
_EXTREMA = "f32 f64 f16 i8 i32 i64 u8"
_INTEGERS = "i8 i16 i32 i64 u8 u16 u32 u64"
_SINGLE = "f32 f16"

_TABLE: Mapping[str, str] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "Abs", "Less", "LessOrEqual", "Greater", "GreaterOrEqual",
                     "Shrink"), _NUMBERS),
    "Equal": f"{_NUMBERS} bool", "Neg": "f32 f64 f16 i8 i16 i32 i64", "Sign": f"{_NUMBERS} bf16",
    **dict.fromkeys(("Reciprocal", "Exp", "Log", "Sqrt", "Sin", "Cos", "Tanh", "Sigmoid", "Floor", "Ceil", "Round",
                     "IsNaN", "Softmax", "LogSoftmax", "LpNormalization", "Gemm",
                     "BatchNormalization", "LayerNormalization", "RMSNormalization"), _REAL),
    "IsInf": "f32 f64", "Relu": "f32 f64 f16 i8 i32 i64", "Celu": "f32", "PRelu": "f32 f64 f16 i32 i64 u32",
    "Pow": _SUMS, **dict.fromkeys(("LSTM", "GRU", "RNN"), "f32"),
    **dict.fromkeys(("Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Erf", "Conv",
                     "ConvTranspose", "AveragePool", "InstanceNormalization", "Softsign", "Selu", "Mish",
                     "HardSwish", "LeakyRelu", "Elu", "HardSigmoid", "Softplus", "Gelu"), _SINGLE),
    **dict.fromkeys(("Max", "Min", "Clip"), "f32 f64 f16 i8 i32 i64 u8 u32 u64"),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot"), _INTEGERS), "BitShift": "u8 u16 u32 u64",
    "Where": "f32 f64 f16 i8 i32 i64 u8 u32",
    # onnxruntime's sums of i32 do not wrap: they are taken as i64, of which the low bits count.
    **dict.fromkeys(("ReduceSum", "ReduceProd"), "f32 f64 f16 i64"),
    **dict.fromkeys(("ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "CumSum",
                     "ReduceLogSumExp", "Einsum"), _SUMS),
    **dict.fromkeys(("ReduceMax", "ReduceMin", "ArgMax", "ArgMin"), _EXTREMA),
    "MatMul": "f32 f64 f16 i32 i64 u32 u64", "MaxPool": "f32 f64 f16 i8 u8", "TopK": "f32 f64 f16 i8 i16 i32 i64 u8",
    "Unique": "f32 f64 i8 i64",
    **dict.fromkeys(("Expand", "Tile"), f"{_NUMBERS} bool"),
    "Pad": "f32 f64 f16 i8 i32 i64 u8 u32 u64 bool", "Trilu": "f32 f64 f16 i32 i64 bool",
    "ConstantOfShape": f"{_NUMBERS} bool",
}  # fmt: skip

KERNELS: Mapping[str, frozenset[DType]] = {
    name: frozenset(BY_NAME[t] for t in types.split()) for name, types in _TABLE.items()
}

# What to compute in instead, the nearest first. u64 only fits where nothing but the low 64 bits counts: see WRAPPING.
_WIDER: Mapping[str, str] = {
    "f16": "f32", "bf16": "f32", "bool": "u8 i32", "i8": "i32 i64", "i16": "i32 i64", "u8": "i32 i64",
    "u16": "i32 i64", "i32": "i64", "u32": "i64 u64",
}  # fmt: skip

# Op types that treat an unsigned number like the signed one of the same bits.
WRAPPING = frozenset({"Add", "Sub", "Mul", "Neg", "ReduceSum", "ReduceProd", "CumSum", "Where", "Expand", "Tile", "Pad",
                      "Trilu", "Equal", "ConstantOfShape"})  # fmt: skip


def wider(op_type: str, dtype: DType) -> DType | None:
    """The element type to compute in where the kernel lacks this one; None where there is none."""
    known = KERNELS.get(op_type)
    assert known is not None
    if dtype.name == "u64" and op_type in WRAPPING:
        return BY_NAME["i64"]
    return next((BY_NAME[n] for n in _WIDER.get(dtype.name, "").split() if BY_NAME[n] in known), None)


def has_kernel(op_type: str, dtype: DType) -> bool:
    """True when stock onnxruntime computes this op type in this element type."""
    known = KERNELS.get(op_type)
    return known is None or dtype in known

"""Element types and tensor types.

A tensor type is an element type and a tuple of dims; a dim is an int or a symbolic integer expression (ir/dims.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from chainrule.errors import DTypeError
from chainrule.ir.dims import Dim, DimExpr, as_dim, dim_product, dim_value


@dataclass(frozen=True, slots=True)
class DType:
    """An element type. kind is "f" (float), "i" (signed), "u" (unsigned) or "b" (bool)."""

    name: str
    kind: str
    bits: int

    @property
    def itemsize(self) -> int:
        """Bytes of one element in memory (bool takes one)."""
        return max(1, self.bits // 8)

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_int(self) -> bool:
        """True for signed and unsigned integers, not for bool."""
        return self.kind in "iu"

    @property
    def is_signed(self) -> bool:
        return self.kind in "fi"

    @property
    def is_bool(self) -> bool:
        return self.kind == "b"

    @property
    def numpy(self) -> np.dtype:
        """The numpy dtype; bf16 is ml_dtypes.bfloat16."""
        return _numpy_dtype(self.name)

    def __repr__(self) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name


f16 = DType("f16", "f", 16)
bf16 = DType("bf16", "f", 16)
f32 = DType("f32", "f", 32)
f64 = DType("f64", "f", 64)
i8 = DType("i8", "i", 8)
i16 = DType("i16", "i", 16)
i32 = DType("i32", "i", 32)
i64 = DType("i64", "i", 64)
u8 = DType("u8", "u", 8)
u16 = DType("u16", "u", 16)
u32 = DType("u32", "u", 32)
u64 = DType("u64", "u", 64)
bool_ = DType("bool", "b", 1)

ALL_DTYPES: tuple[DType, ...] = (f32, f64, f16, bf16, i8, i16, i32, i64, u8, u16, u32, u64, bool_)
FLOATS: tuple[DType, ...] = (f32, f64, f16, bf16)
INTS: tuple[DType, ...] = (i8, i16, i32, i64, u8, u16, u32, u64)
BY_NAME: Mapping[str, DType] = {d.name: d for d in ALL_DTYPES}

_NUMPY_NAMES = {
    "f16": "float16", "f32": "float32", "f64": "float64",
    "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64", "bool": "bool",
}  # fmt: skip
_FROM_NUMPY = {numpy: BY_NAME[name] for name, numpy in _NUMPY_NAMES.items()} | {"bfloat16": bf16}


@cache
def _numpy_dtype(name: str) -> np.dtype:
    if name == "bf16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(_NUMPY_NAMES[name])


def as_dtype(value: object) -> DType:
    """The element type named by a DType, a chainrule or numpy name, a numpy dtype or a Python type.

    Raises DTypeError for what has no counterpart (complex, strings, objects).
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, str) and value in BY_NAME:
        return BY_NAME[value]
    if value is float:
        return f32
    if value is int:
        return i64
    try:
        name = np.dtype(value).name  # type: ignore[call-overload]
    except TypeError:
        name = str(value)
    found = _FROM_NUMPY.get(name)
    if found is None:
        raise DTypeError(f"{name} is not an element type", help="use one of " + ", ".join(BY_NAME))
    return found


@dataclass(frozen=True, slots=True)
class TensorType:
    """The type of a tensor: element type and dims, printed as f32[N,3,224,224]."""

    dtype: DType
    shape: tuple[Dim, ...] = ()

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def is_static(self) -> bool:
        """True when every dim is a number."""
        return all(isinstance(d, int) for d in self.shape)

    @property
    def size(self) -> Dim:
        """The number of elements."""
        return dim_product(self.shape)

    def nbytes(self, env: Mapping[str, int] | None = None) -> int:
        """Bytes of the array for given values of its symbols."""
        return int(dim_value(self.size, env or {})) * self.dtype.itemsize

    def with_shape(self, shape: Iterable[Dim]) -> TensorType:
        """The type with other dims."""
        return TensorType(self.dtype, tuple(shape))

    def with_dtype(self, dtype: DType) -> TensorType:
        """The type with another element type."""
        return TensorType(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"

    __repr__ = __str__


@dataclass(frozen=True, slots=True)
class TupleType:
    """The type of a node with several results; `get` takes one of them out."""

    items: tuple[TensorType, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.items))})"

    __repr__ = __str__


Type = TensorType | TupleType


def tensor(dtype: object, shape: Iterable[int | str | DimExpr] = ()) -> TensorType:
    """TensorType from loose parts: tensor("f32", ("N", 3, 2)). Strings are dim expressions."""
    return TensorType(as_dtype(dtype), tuple(as_dim(d) for d in shape))


def type_of(array: np.ndarray) -> TensorType:
    """The type of a numpy array."""
    return TensorType(as_dtype(array.dtype), tuple(int(d) for d in array.shape))

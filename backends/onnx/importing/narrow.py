"""Integers of 4 and 2 bits: they are read as bytes of the same numbers, so that every op on bytes takes them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import SparseTensorProto, TensorProto

from chainrule.ir.op import Array
from chainrule.ir.types import DType, i8, u8

# the code of an element type -> its bits and the type that holds it
NARROW: Mapping[int, tuple[int, DType]] = {
    TensorProto.INT4: (4, i8), TensorProto.UINT4: (4, u8), TensorProto.INT2: (2, i8), TensorProto.UINT2: (2, u8),
}  # fmt: skip


def narrow_bits(tensor: TensorProto | SparseTensorProto) -> int:
    """Bits of a number of the tensor; 0 where it is no narrow one."""
    return NARROW.get(tensor.data_type, (0, None))[0] if isinstance(tensor, TensorProto) else 0


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that so many numbers take, the last one filled up."""
    return (count * bits + 7) // 8


def spread(data: bytes | Array, count: int, code: int) -> Array:
    """The numbers out of bytes, the lowest bits first."""
    bits, dtype = NARROW[code]
    packed = np.frombuffer(data, np.uint8)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    found = ((packed[:, None] >> shifts) & np.uint8((1 << bits) - 1)).reshape(-1)[:count]
    if dtype == u8:
        return found
    sign = np.uint8(1 << bits - 1)
    return ((found ^ sign).astype(np.int8) - np.int8(sign)).astype(np.int8)

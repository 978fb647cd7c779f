"""Tensors in a file beside the model: a protobuf message ends at 2 GB."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto, external_data_helper

from chainrule.backends.onnx.dtypes import ONNX_OF
from chainrule.ir.op import Array
from chainrule.ir.types import as_dtype

ALIGNMENT = 4096  # of each tensor, so that a runtime can map it into memory


class External:
    """What goes into the file `location`, which lies in the model's own folder."""

    def __init__(self, location: str) -> None:
        self.location = location
        self._parts: list[tuple[int, Array]] = []
        self._end = 0

    def tensor(self, name: str, array: Array) -> TensorProto:
        """The entry of an array whose bytes are in the file."""
        offset = -(-self._end // ALIGNMENT) * ALIGNMENT
        self._parts.append((offset, array))
        self._end = offset + array.nbytes
        proto = TensorProto(name=name, data_type=ONNX_OF[as_dtype(array.dtype)], dims=array.shape)
        proto.raw_data = b""
        external_data_helper.set_external_data(proto, self.location, offset, array.nbytes)
        proto.ClearField("raw_data")
        return proto

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the file, in order, little-endian as ONNX has them."""
        end = 0
        for offset, array in self._parts:
            yield bytes(offset - end)
            little = array.astype(array.dtype.newbyteorder("<"), copy=False) if array.dtype.kind != "V" else array
            yield np.ascontiguousarray(little).tobytes()
            end = offset + array.nbytes

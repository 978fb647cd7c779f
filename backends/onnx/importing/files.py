"""Models and tensors out of files that nobody here wrote: everything is checked before it is used.

External data comes from one opener: regular files inside the model's own folder only, never through links, and only
bytes that are there.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, SparseTensorProto, TensorProto, numpy_helper

from chainrule.backends.onnx.dtypes import dtype_of
from chainrule.backends.onnx.importing.apart import read_apart
from chainrule.backends.onnx.importing.narrow import NARROW, packed_bytes, spread
from chainrule.errors import ArgumentError, ModelError, NotSupported
from chainrule.ir.memory import aligned_bytes, aligned_copy
from chainrule.ir.op import Array

LARGEST_MODEL = (1 << 31) - 1  # bytes of one protobuf message
MOST_AXES = 64  # what numpy has
LARGEST_DENSE = 1 << 28  # bytes that a few stated ones may become


@dataclass(frozen=True, eq=False)
class Source:
    """A model as it was given. label: what to call it in messages; folder: of its external data, None without one.

    apart: the bytes of large initializers, by their places among them, which the parsed model is without.
    """

    model: ModelProto
    label: str
    folder: Path | None = None
    apart: Mapping[int, Array] = field(default_factory=dict[int, Array])


def read_model(source: object) -> Source:
    """A model. source: a path, its bytes, or a ModelProto.

    Raises ArgumentError for a path that cannot be read, ModelError for bytes that are not a model.
    """
    if isinstance(source, ModelProto):
        return Source(source, source.graph.name or "model")
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        rest, apart = read_apart(BytesIO(data), len(data))
        return Source(_parsed(rest, "what was given"), "model", None, apart)
    if not isinstance(source, str | os.PathLike):
        raise ArgumentError(f"load_onnx: {type(source).__name__} is not a model",
                            help="give a path, the bytes of a model, or a ModelProto")  # fmt: skip
    place = Path(source)
    rest, apart = _file_contents(place)
    return Source(_parsed(rest, str(place)), place.name, place.parent, apart)


def _file_contents(place: Path) -> tuple[bytes, Mapping[int, Array]]:
    try:
        handle = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as problem:
        cause = f"load_onnx: {place} cannot be read: {problem.strerror}"
        raise ArgumentError(cause, help="check the path") from problem
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise ArgumentError(f"load_onnx: {place} is not a file", help="give the path of an .onnx file")
    with os.fdopen(handle, "rb") as file:
        if status.st_size > LARGEST_MODEL:
            raise ModelError(f"{place} has {status.st_size} bytes: more than one protobuf message can hold",
                             help="large weights belong into external data")  # fmt: skip
        return read_apart(file, status.st_size)


def _parsed(data: bytes, what: str) -> ModelProto:
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError, RecursionError) as problem:
        raise ModelError(f"{what} is not an ONNX model", notes=[f"it has {len(data)} bytes"],
                         help=_hint(data)) from problem  # fmt: skip
    if not model.HasField("graph") or not model.opset_import:
        raise ModelError(f"{what} is not an ONNX model: it has no graph or no operator set", help=_hint(data))
    if not all(isinstance(text, str) for text in _texts(model)):
        raise ModelError(f"{what} is not an ONNX model: it holds names that are not text", help=_hint(data))
    return model


def _texts(model: ModelProto) -> Iterator[object]:
    """The names of a model; protobuf gives bytes for those that are not UTF-8."""
    graph = model.graph
    yield graph.name
    yield from (text for entry in model.metadata_props for text in (entry.key, entry.value))
    yield from (entry.domain for entry in model.opset_import)
    for node in graph.node:
        yield from (node.op_type, node.domain, node.name, node.doc_string, *node.input, *node.output)
        yield from (item.name for item in node.attribute)
    for tensor in graph.initializer:
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
    for info in (*graph.input, *graph.output):
        yield info.name
        yield from (dim.dim_param for dim in info.type.tensor_type.shape.dim)


def _hint(data: bytes) -> str:
    if not data:
        return "it is empty"
    if data.lstrip()[:1] in (b"{", b"<") or b"ir_version:" in data[:200]:
        return "it looks like text; ONNX models are binary"
    return "it may be cut short or of another format"


class Tensors:
    """Reads the tensors of one model. folder: where its external data lies; None refuses external data.

    apart: the bytes of large initializers of the outermost graph (see Source).
    """

    def __init__(self, folder: Path | None, apart: Mapping[int, Array] | None = None) -> None:
        self.folder = folder
        self._apart = apart or {}

    def stored(self, graph: GraphProto) -> Iterator[tuple[TensorProto | SparseTensorProto, str, Array]]:
        """The initializers of the outermost graph, with their names and numbers."""
        for index, tensor in enumerate(graph.initializer):
            yield tensor, tensor.name, self.array(tensor, self._apart.get(index))
        yield from self.inner(graph.sparse_initializer)

    def inner(self, tensors: Iterable[TensorProto | SparseTensorProto]
              ) -> Iterator[tuple[TensorProto | SparseTensorProto, str, Array]]:  # fmt: skip
        """Initializers, with their names and numbers, sparse ones made dense."""
        for tensor in tensors:
            if isinstance(tensor, SparseTensorProto):
                yield tensor, tensor.values.name, self.dense(tensor)
            else:
                yield tensor, tensor.name, self.array(tensor)

    def dense(self, tensor: SparseTensorProto) -> Array:
        """The numbers of a sparse tensor: zeros but for those that are stated, at flat or at separate indices."""
        what = f"the sparse tensor {tensor.values.name!r}"
        shape, values, indices = tuple(tensor.dims), self.array(tensor.values), self.array(tensor.indices)
        if any(d < 0 for d in shape) or math.prod(shape) * values.dtype.itemsize > LARGEST_DENSE:
            raise ModelError(f"{what} has the shape {list(shape)}",
                             help=f"at most {LARGEST_DENSE} bytes are made dense")  # fmt: skip
        fitting = values.ndim == 1 and indices.shape in ((len(values),), (len(values), len(shape)))
        if not fitting or indices.dtype != np.int64:
            raise ModelError(f"{what} has {list(values.shape)} values at {list(indices.shape)} {indices.dtype} indices",
                             help="indices are i64[NNZ] or i64[NNZ,RANK]")  # fmt: skip
        limits = np.asarray(shape if indices.ndim == 2 else (math.prod(shape),), np.int64)
        places = indices.reshape(len(values), len(limits))
        if ((places < 0) | (places >= limits)).any():
            raise ModelError(f"{what} has an index outside of its shape {list(shape)}")
        found = np.zeros(shape, values.dtype)
        if len(values):
            found[tuple(places.T) if indices.ndim == 2 else np.unravel_index(indices, shape)] = values
        return found

    def array(self, tensor: TensorProto, apart: Array | None = None) -> Array:
        """The numbers of a tensor, in memory of their own. Raises ModelError where its bytes do not fit its shape.

        apart: its bytes, where they were read already; the array is made of this memory.
        """
        what = f"tensor {tensor.name!r}" if tensor.name else "a tensor"
        bits, held = NARROW.get(tensor.data_type, (0, None))
        try:
            dtype = held or dtype_of(tensor.data_type)
        except NotSupported as problem:
            raise NotSupported(f"{what}: {problem.cause}", help=problem.help) from None
        shape = tuple(tensor.dims)
        if any(d < 0 for d in shape):
            raise ModelError(f"{what} has the shape {list(shape)}", help="sizes are not negative")
        if len(shape) > MOST_AXES:
            raise NotSupported(f"{what} has {len(shape)} axes", help=f"at most {MOST_AXES} are built")
        count = math.prod(shape)
        size = packed_bytes(count, bits) if bits else count * dtype.itemsize
        if tensor.data_location == TensorProto.EXTERNAL:
            data = self._external(tensor, what, size)
        elif apart is not None:
            data = apart
        elif tensor.HasField("raw_data"):
            data = tensor.raw_data
        else:
            return _typed(tensor, what, shape)
        if len(data) != size:
            raise ModelError(f"{what} of {dtype}{list(shape)} has {len(data)} bytes, not {size}")
        if bits:
            return spread(data, count, tensor.data_type).reshape(shape)
        stored = dtype.numpy.newbyteorder("<") if dtype.numpy.kind != "V" else dtype.numpy
        found = np.frombuffer(data, stored).reshape(shape)
        own = found.flags.writeable and stored == dtype.numpy
        return found if own else aligned_copy(found, dtype.numpy)

    def _external(self, tensor: TensorProto, what: str, size: int) -> Array:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        place = self._place(entries.get("location", ""), what)
        offset = _whole(entries, "offset", 0, what)
        length = _whole(entries, "length", size, what)
        if length != size:
            raise ModelError(f"{what}: {length} external bytes are stated, its shape takes {size}")
        try:
            handle = os.open(place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except OSError as problem:
            raise ModelError(f"{what}: external data {place.name} cannot be read: {problem.strerror}") from problem
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(handle)
            raise ModelError(f"{what}: external data {place.name} is not a plain file of its own",
                             help="links and devices are not followed: copy the data beside the model")  # fmt: skip
        with os.fdopen(handle, "rb") as file:
            if offset + length > status.st_size:
                raise ModelError(f"{what}: {length} bytes at {offset} of {place.name} are asked for, of "
                                 f"{status.st_size}", help="it was cut short, or is of another model")  # fmt: skip
            file.seek(offset)
            found = aligned_bytes(length)
            if file.readinto(found.data) != length:
                raise ModelError(f"{what}: external data {place.name} was cut short while it was read")
            return found

    def _place(self, location: str, what: str) -> Path:
        if self.folder is None:
            raise ModelError(f"{what} has external data, and the model was not read from a file",
                             help="give load_onnx the path of the model")  # fmt: skip
        parts = PurePosixPath(location.replace("\\", "/"))
        outside = parts.is_absolute() or ".." in parts.parts or "\0" in location or ":" in location
        if not parts.parts or outside:
            raise ModelError(f"{what}: external data at {location!r} is outside of the model's folder",
                             help="only files in the model's own folder are read")  # fmt: skip
        folder = self.folder.resolve()
        place = folder.joinpath(*parts.parts)
        if place.parent.resolve() != place.parent:
            raise ModelError(f"{what}: external data at {location!r} is reached through a link",
                             help="only files in the model's own folder are read")  # fmt: skip
        return place


def _whole(entries: Mapping[str, str], key: str, default: int, what: str) -> int:
    text = entries.get(key, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ModelError(f"{what}: the {key} {text[:40]!r} of its external data is not a number")
    return int(text)


def _typed(tensor: TensorProto, what: str, shape: tuple[int, ...]) -> Array:
    """The numbers of a tensor that are protobuf fields, not bytes."""
    fields = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    present, (bits, held) = max(len(field) for field in fields), NARROW.get(tensor.data_type, (0, None))
    stored = packed_bytes(math.prod(shape), bits) if bits else math.prod(shape)  # a field holds a byte of narrow ones
    if present != stored:
        raise ModelError(f"{what} of shape {list(shape)} has {present} numbers, not {stored}")
    try:
        found = numpy_helper.to_array(tensor)
        found = found if held is None else found.astype(held.numpy)
    except (ValueError, TypeError, OverflowError) as problem:
        raise ModelError(f"{what} cannot be read: {problem}") from problem
    if found.shape != shape:
        raise ModelError(f"{what} of shape {list(shape)} holds an array of shape {list(found.shape)}")
    return np.ascontiguousarray(found).reshape(shape)

"""Reads a model's large initializers straight to where they stay; protobuf parses what is left of the file.

protobuf copies every byte that it parses, so weights would be copied twice more than they need to be. What is left
here to protobuf is the file with these bytes cut out: every length on the way is written anew. Nothing is decided about
a file that is not plain (fields that stand twice, lengths that do not fit): it is left to protobuf as a whole.
Source: the protobuf encoding, protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader, BytesIO

from onnx import GraphProto, ModelProto, TensorProto

from chainrule.errors import ModelError
from chainrule.ir.memory import aligned_arrays
from chainrule.ir.op import Array
from chainrule.ir.types import as_dtype

File = BufferedReader | BytesIO

LARGE = 1 << 16  # bytes of a tensor that are worth it
_GRAPH = ModelProto.GRAPH_FIELD_NUMBER
_INITIALIZER = GraphProto.INITIALIZER_FIELD_NUMBER
_RAW = TensorProto.RAW_DATA_FIELD_NUMBER
_LONGEST = 10  # bytes of a number
_VARYING, _LENGTH = 0, 2  # wire types: one number; a length, and so many bytes
_FIXED = {1: 8, 5: 4}  # bytes of a field, by its wire type


class _NotPlain(Exception):
    """The file is left to protobuf."""


@dataclass(frozen=True)
class _Span:
    """A field: its number, where it begins, and the bytes of its content (for one of stated length)."""

    number: int
    begin: int
    start: int
    end: int
    wire: int


@dataclass(frozen=True)
class _Large:
    """An initializer with many bytes. index: among the initializers; data: its raw_data."""

    index: int
    tensor: _Span
    data: _Span


def read_apart(file: File, size: int) -> tuple[bytes, Mapping[int, Array]]:
    """A model's bytes without those of its large initializers, and these, as u8, by their place among initializers."""
    try:
        graph, large = _large_ones(file, size) if size >= LARGE else (None, [])
    except _NotPlain:
        graph, large = None, []
    if graph is None or not large:
        file.seek(0)
        return file.read(), {}
    u8 = as_dtype("u8").numpy
    arrays = aligned_arrays(((span.data.end - span.data.start,), u8) for span in large)
    for span, array in zip(large, arrays, strict=True):
        file.seek(span.data.start)
        if file.readinto(array.data) != array.size:
            raise ModelError("the model was cut short while it was read")
    return _without(file, size, graph, large), {span.index: a for span, a in zip(large, arrays, strict=True)}


def _large_ones(file: File, size: int) -> tuple[_Span, list[_Large]]:
    """Where the graph and its large initializers lie."""
    graph = _only(file, 0, size, _GRAPH)
    if graph is None:
        raise _NotPlain
    found: list[_Large] = []
    tensors = (span for span in _fields(file, graph.start, graph.end) if span.number == _INITIALIZER)
    for index, tensor in enumerate(tensors):
        data = _only(file, tensor.start, tensor.end, _RAW) if tensor.end - tensor.start >= LARGE else None
        if data is not None and data.end - data.start >= LARGE:
            found.append(_Large(index, tensor, data))
    return graph, found


def _only(file: File, start: int, end: int, number: int) -> _Span | None:
    """The field of a number, which a plain message has once; None where it has none."""
    found = [span for span in _fields(file, start, end) if span.number == number]
    if len(found) > 1 or any(span.wire != _LENGTH for span in found):
        raise _NotPlain
    return found[0] if found else None


def _fields(file: File, start: int, end: int) -> Iterator[_Span]:
    """The fields of the message between two places of the file."""
    at = start
    while at < end:
        file.seek(at)
        data = file.read(2 * _LONGEST)
        key, read = _number(data)
        wire, begin, length = key & 7, at + read, _FIXED.get(key & 7, -1)
        if wire in (_VARYING, _LENGTH):
            stated, more = _number(data[read:])
            begin, length = (begin + more, stated) if wire == _LENGTH else (begin, more)
        if length < 0 or begin + length > end:
            raise _NotPlain
        yield _Span(key >> 3, at, begin, begin + length, wire)
        at = begin + length


def _number(data: bytes) -> tuple[int, int]:
    """The number that begins here, and how many bytes it takes."""
    value = 0
    for i, byte in enumerate(data[:_LONGEST]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, i + 1
    raise _NotPlain


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _without(file: File, size: int, graph: _Span, large: list[_Large]) -> bytes:
    """The file with the data of these tensors cut out, and the lengths of what holds them."""

    def part(start: int, end: int) -> bytes:
        file.seek(start)
        return file.read(end - start)

    inner, at = list[bytes](), graph.start
    for span in large:
        tensor, data = span.tensor, span.data
        rest = part(tensor.start, data.begin) + part(data.end, tensor.end)
        inner += [part(at, tensor.begin), _varint(_INITIALIZER << 3 | _LENGTH), _varint(len(rest)), rest]
        at = tensor.end
    whole = b"".join((*inner, part(at, graph.end)))
    head = _varint(_GRAPH << 3 | _LENGTH) + _varint(len(whole))
    return b"".join((part(0, graph.begin), head, whole, part(graph.end, size)))

"""PNG images decoded with zlib and numpy alone. Source: W3C, Portable Network Graphics, third edition."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ModelError, NotSupported
from chainrule.frontend.places import error

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
MAX_PIXELS = 1 << 28

Bytes = NDArray[np.uint8]
Predictor = Callable[[int, int, int], int]  # (left, up, corner) -> what a byte was thought to be


@dataclass(frozen=True)
class Header:
    """What the first chunk says. depth: bits of a channel."""

    width: int
    height: int
    depth: int
    colour: int

    @property
    def row_bytes(self) -> int:
        return (self.width * CHANNELS[self.colour] * self.depth + 7) // 8

    @property
    def pixel_bytes(self) -> int:
        """How far back the filters look; at least one byte."""
        return max(1, CHANNELS[self.colour] * self.depth // 8)


def decode_png(data: bytes, name: str = "image") -> Bytes:
    """u8 [C, H, W]: grey, grey and alpha, colour, or colour and alpha; palettes become colour.

    16 bits keep their upper 8; fewer than 8 are stretched to 0..255. Raises ModelError for a broken file, NotSupported
    for an interlaced one.
    """
    header: Header | None = None
    palette: Bytes | None = None
    packed: list[bytes] = []
    for kind, content in _chunks(data, name):
        if kind == b"IHDR":
            header = _header(content, name)
        elif kind == b"PLTE":
            palette = np.frombuffer(content[: len(content) // 3 * 3], np.uint8).reshape(-1, 3)
        elif kind == b"IDAT":
            packed.append(content)
    if header is None or not packed or (header.colour == 3 and palette is None):
        raise error(ModelError, f"{name} lacks a part that every PNG has", help="it was cut short")
    rows = _unfiltered(_unpacked(b"".join(packed), header, name), header, name)
    pixels = _channels(rows, header)
    if palette is not None and header.colour == 3:
        if int(pixels.max(initial=0)) >= len(palette):
            raise error(ModelError, f"{name} uses a colour that its palette has not")
        pixels = palette[pixels[..., 0]]
    return np.ascontiguousarray(np.moveaxis(pixels, 2, 0))


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 8 <= len(data):
        (size,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        content = data[at + 8 : at + 8 + size]
        check = data[at + 8 + size : at + 12 + size]
        if len(check) < 4 or zlib.crc32(kind + content) != int.from_bytes(check, "big"):
            raise error(ModelError, f"{name} is broken in its chunk {kind!r}", help="it was cut short or changed")
        yield kind, content
        if kind == b"IEND":
            return
        at += 12 + size


def _header(content: bytes, name: str) -> Header:
    if len(content) != 13:
        raise error(ModelError, f"{name} has a header of {len(content)} bytes")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content)
    if colour not in CHANNELS or depth not in DEPTHS[colour] or not 0 < width * height <= MAX_PIXELS:
        raise error(ModelError, f"{name}: {width}x{height} pixels of {depth} bits, colour type {colour}, are no PNG")
    if interlaced:
        raise error(NotSupported, f"{name} is interlaced", help="save it without interlacing")
    return Header(width, height, depth, colour)


def _unpacked(packed: bytes, header: Header, name: str) -> Bytes:
    """A filter byte and a row's bytes for each row."""
    wanted = header.height * (1 + header.row_bytes)
    try:
        found = zlib.decompressobj().decompress(packed, wanted + 1)
    except zlib.error as problem:
        raise error(ModelError, f"{name} cannot be unpacked: {problem}", help="it was changed") from problem
    if len(found) != wanted:
        raise error(ModelError, f"{name} has {len(found)} bytes of pixels, {wanted} were expected")
    return np.frombuffer(found, np.uint8).reshape(header.height, 1 + header.row_bytes)


def _unfiltered(rows: Bytes, header: Header, name: str) -> Bytes:
    """The rows with the filters undone: each byte was kept as its difference to bytes before and above."""
    step = header.pixel_bytes
    result = np.zeros((header.height + 1, header.row_bytes), np.uint8)
    for y, row in enumerate(rows):
        result[y + 1] = _row(int(row[0]), row[1:], result[y], step, name)
    return result[1:]


def _row(kind: int, row: Bytes, above: Bytes, step: int, name: str) -> Bytes:
    match kind:
        case 0:
            return row
        case 1:
            whole = np.zeros(-(-len(row) // step) * step, np.uint8)
            whole[: len(row)] = row
            return np.cumsum(whole.reshape(-1, step), axis=0, dtype=np.uint8).reshape(-1)[: len(row)]
        case 2:
            return row + above
        case 3 | 4:
            return _predicted(row.tolist(), above.tolist(), step, _average if kind == 3 else _paeth)
        case _:
            raise error(ModelError, f"{name} has a filter {kind}, which PNG has not")


def _predicted(row: list[int], above: list[int], step: int, predict: Predictor) -> Bytes:
    """A row whose bytes follow from those before them, one by one."""
    for i, value in enumerate(row):
        left, corner = (row[i - step], above[i - step]) if i >= step else (0, 0)
        row[i] = (value + predict(left, above[i], corner)) & 255
    return np.array(row, np.uint8)


def _average(left: int, up: int, corner: int) -> int:
    return (left + up) // 2


def _paeth(left: int, up: int, corner: int) -> int:
    """That of the three which is nearest to left + up - corner; of equals the first."""
    near_left, near_up, near_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    if near_left <= near_up and near_left <= near_corner:
        return left
    return up if near_up <= near_corner else corner


def _channels(rows: Bytes, header: Header) -> Bytes:
    """[H, W, C] in 0..255; of a palette, its places as they are."""
    channels, count = CHANNELS[header.colour], header.width * CHANNELS[header.colour]
    if header.depth == 16:
        values = rows[:, ::2]
    elif header.depth == 8:
        values = rows
    else:
        bits = np.unpackbits(rows, axis=1)[:, : count * header.depth].reshape(header.height, count, header.depth)
        values = (bits * (1 << np.arange(header.depth - 1, -1, -1, dtype=np.uint8))).sum(2, dtype=np.uint8)
        if header.colour != 3:
            values = values * np.uint8(255 // ((1 << header.depth) - 1))
    return values[:, :count].reshape(header.height, header.width, channels)

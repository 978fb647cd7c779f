"""Data files as numpy arrays: IDX, CIFAR, WAV, folders of images, text. Nothing is fetched.

Sizes that a file claims are compared with the bytes it has before anything is allocated; what does not fit raises
ModelError, which names the file.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chainrule.errors import ArgumentError, ModelError, ShapeError
from chainrule.frontend.places import error
from chainrule.frontend.png import decode_png
from chainrule.ir.op import Array

PathLike = str | os.PathLike[str]

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MAX_BYTES = 1 << 34  # of an unpacked file
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def idx(path: PathLike) -> Array:
    """The array of an IDX file (the format of MNIST), also packed by gzip.

    Source: Y. LeCun, http://yann.lecun.com/exdb/mnist/: two zero bytes, a type, the number of axes, big-endian sizes.
    """
    data = _bytes(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES:
        raise error(ModelError, f"idx: {path} is no IDX file", help="it begins with two zero bytes and a type")
    dtype, axes = np.dtype(IDX_TYPES[data[2]]), data[3]
    start = 4 + 4 * axes
    shape = struct.unpack_from(f">{axes}I", data, 4) if len(data) >= start else ()
    if len(data) < start or len(data) != start + math.prod(shape) * dtype.itemsize:
        raise error(ModelError, f"idx: {path} has {len(data)} bytes, its header says {dtype}{list(shape)}",
                    help="it was cut short")  # fmt: skip
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def cifar(*paths: PathLike, labels: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images u8 [N, 3, 32, 32] and labels i64 [N] of CIFAR's binary files, one after another.

    labels: the label bytes of a record; 1 for CIFAR-10, 2 for CIFAR-100 (coarse and fine), and then labels are [N, 2].
    Source: A. Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html, binary version.
    """
    if not paths:
        raise error(ArgumentError, "cifar: no file was given", help='cifar("data_batch_1.bin", "data_batch_2.bin")')
    records: list[NDArray[np.uint8]] = []
    for path in paths:
        data, size = _bytes(path), labels + 3072
        if not data or len(data) % size:
            raise error(ModelError, f"cifar: {path} has {len(data)} bytes, no multiple of {size}",
                        help="a record is its labels and 3072 bytes; CIFAR-100 has labels=2")  # fmt: skip
        records.append(np.frombuffer(data, np.uint8).reshape(-1, size))
    whole = np.concatenate(records)
    found = whole[:, :labels].astype(np.int64)
    return np.ascontiguousarray(whole[:, labels:]).reshape(-1, 3, 32, 32), found[:, 0] if labels == 1 else found


def wav(path: PathLike) -> tuple[NDArray[np.float32], int]:
    """The samples of a PCM WAV file, f32 [CHANNELS, T] in -1..1, and how many there are in a second."""
    place = _file(path)
    try:
        with wave.open(str(place), "rb") as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(min(file.getnframes(), place.stat().st_size))
    except (wave.Error, EOFError, RuntimeError) as problem:  # the last where a part ends beyond the file
        raise error(ModelError, f"wav: {path} is no PCM WAV file: {problem or 'it is cut short'}",
                    help="convert it to PCM") from problem  # fmt: skip
    if width not in (1, 2, 3, 4):
        raise error(ModelError, f"wav: {path} has samples of {width} bytes", help="1 to 4 are read")
    data = data[: len(data) // (channels * width) * channels * width]
    return np.ascontiguousarray(_samples(data, width).reshape(-1, channels).T), rate


def _samples(data: bytes, width: int) -> NDArray[np.float32]:
    """Little-endian integers of so many bytes as shares of the largest; one byte is unsigned."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    if width == 3:  # as the upper bytes of four
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return (wide.reshape(-1).view("<i4").astype(np.float64) / 2**31).astype(np.float32)
    return (np.frombuffer(data, f"<i{width}").astype(np.float64) / 2 ** (8 * width - 1)).astype(np.float32)


def image(path: PathLike) -> NDArray[np.uint8]:
    """An image, u8 [C, H, W]: 1 channel of grey, 3 of colour, one more for transparency.

    PNG is read here; other formats need the library Pillow. Raises NotSupported where it is missing.
    """
    data = _bytes(path)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return decode_png(data, str(path))
    return _by_pillow(path)


def _by_pillow(path: PathLike) -> NDArray[np.uint8]:
    from chainrule.errors import NotSupported

    try:
        from PIL import Image  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
    except ImportError:
        raise error(NotSupported, f"image: {path} is no PNG file", help="pip install pillow") from None
    try:
        with Image.open(path) as opened:  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            wanted = "L" if opened.mode in ("1", "L") else "RGB"  # pyright: ignore[reportUnknownMemberType]
            array = np.asarray(opened.convert(wanted), np.uint8)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    except (OSError, ValueError) as problem:
        raise error(ModelError, f"image: {path} cannot be read: {problem}") from problem
    return np.ascontiguousarray(array[None] if array.ndim == 2 else np.moveaxis(array, 2, 0))


def image_folder(path: PathLike) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """Images u8 [N, C, H, W], labels i64 [N] and the names of the classes: a folder of images for each class.

    Classes and files are in the order of their names. Raises ShapeError, naming the file, where sizes differ.
    """
    place = Path(path)
    classes = sorted(p.name for p in place.iterdir() if p.is_dir()) if place.is_dir() else []
    files = [(file, label) for label, name in enumerate(classes) for file in sorted((place / name).iterdir())
             if file.suffix.lower() in IMAGES]  # fmt: skip
    if not files:
        raise error(ArgumentError, f"image_folder: {path} holds no folders of images", help="one folder for each class")
    first = image(files[0][0])
    images = np.empty((len(files), *first.shape), np.uint8)
    for i, (file, _) in enumerate(files):
        found = image(file)
        if found.shape != first.shape:
            raise error(ShapeError, f"image_folder: {file} is {list(found.shape)}, the first is {list(first.shape)}",
                        help="images of one size and kind are expected: scale them first")  # fmt: skip
        images[i] = found
    return images, np.array([label for _, label in files], np.int64), classes


def text(path: PathLike, alphabet: str | None = None) -> tuple[NDArray[np.int64], str]:
    """The characters of a UTF-8 file as places in an alphabet, i64 [T], and the alphabet: its characters in order.

    alphabet: that of other text, which must hold every character.
    """
    try:
        content = _bytes(path).decode("utf-8")
    except UnicodeDecodeError as problem:
        raise error(ModelError, f"text: {path} is not UTF-8: {problem.reason} at byte {problem.start}",
                    help="convert it to UTF-8") from problem  # fmt: skip
    letters = alphabet if alphabet is not None else "".join(sorted(set(content)))
    places = {letter: i for i, letter in enumerate(letters)}
    unknown = sorted(set(content) - set(places))
    if unknown:
        raise error(ArgumentError, f"text: {path} has {unknown[0]!r}, which the alphabet has not",
                    help="make the alphabet of all texts together")  # fmt: skip
    return np.fromiter((places[letter] for letter in content), np.int64, len(content)), letters


def _bytes(path: PathLike) -> bytes:
    """The contents of a file, unpacked if gzip packed it."""
    data = _file(path).read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        with gzip.open(path, "rb") as file:
            unpacked = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, ValueError) as problem:
        raise error(ModelError, f"{path} is packed by gzip, and broken: {problem}") from problem
    if len(unpacked) > MAX_BYTES:
        raise error(ModelError, f"{path} unpacks to more than {MAX_BYTES >> 30} GiB")
    return unpacked


def _file(path: PathLike) -> Path:
    place = Path(path)
    if not place.is_file():
        raise error(ArgumentError, f"there is no file {path}", help="check the path")
    return place

"""Data files come back as the arrays they were made of; broken ones are typed errors."""

from __future__ import annotations

import gzip
import struct
import wave
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from chainrule.errors import ArgumentError, ModelError, NotSupported, ShapeError
from chainrule.frontend import readers

RNG = np.random.default_rng(0)


def write_idx(path: Path, array: np.ndarray) -> None:
    kind = {"u1": 8, "i1": 9, "i2": 0xB, "i4": 0xC, "f4": 0xD, "f8": 0xE}[array.dtype.str[1:]]
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.astype(array.dtype.newbyteorder(">")).tobytes())


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4, 2), (0, 7)])
def test_idx_comes_back(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.array(RNG.standard_normal(shape) * 50).astype(dtype)
    write_idx(tmp_path / "a.idx", array)
    (tmp_path / "a.idx.gz").write_bytes(gzip.compress((tmp_path / "a.idx").read_bytes()))
    for name in ("a.idx", "a.idx.gz"):
        found = readers.idx(tmp_path / name)
        assert found.dtype == array.dtype and found.dtype.isnative
        np.testing.assert_array_equal(found, array)


def test_cifar_comes_back_from_several_files(tmp_path: Path) -> None:
    records = RNG.integers(0, 256, (7, 3073)).astype(np.uint8)
    (tmp_path / "a.bin").write_bytes(records[:4].tobytes())
    (tmp_path / "b.bin").write_bytes(records[4:].tobytes())
    images, labels = readers.cifar(tmp_path / "a.bin", tmp_path / "b.bin")
    np.testing.assert_array_equal(images.reshape(7, -1), records[:, 1:])
    np.testing.assert_array_equal(labels, records[:, 0])
    (tmp_path / "c.bin").write_bytes(RNG.bytes(2 * 3074))
    assert readers.cifar(tmp_path / "c.bin", labels=2)[1].shape == (2, 2)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav_gives_shares_of_the_largest_sample(tmp_path: Path, width: int) -> None:
    most = 2 ** (8 * width - 1)
    samples = np.array([[0, most - 1], [-most, -1], [most // 2, -most // 2]])
    raw = b"".join(int(v + 128 if width == 1 else v).to_bytes(width, "little", signed=width > 1) for v in samples.flat)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(raw)
    found, rate = readers.wav(tmp_path / "a.wav")
    assert rate == 8000
    np.testing.assert_array_equal(found, (samples.T / most).astype(np.float32))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def paeth(a: int, b: int, c: int) -> int:
    return min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]


def filtered(rows: np.ndarray, step: int, kinds: list[int]) -> bytes:
    """The rows with these filters, written as the standard says it."""
    result = bytearray()
    for y, row in enumerate(rows.tolist()):
        above = rows[y - 1].tolist() if y else [0] * len(row)
        kind = kinds[y % len(kinds)]
        result.append(kind)
        for i, value in enumerate(row):
            a, b, c = (row[i - step] if i >= step else 0, above[i], above[i - step] if i >= step else 0)
            result.append((value - (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]) & 255)
    return bytes(result)


def png(rows: np.ndarray, width: int, depth: int, colour: int, palette: bytes = b"", interlaced: int = 0) -> bytes:
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    data = zlib.compress(filtered(rows, max(1, channels * depth // 8), [0, 1, 2, 3, 4]))
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, interlaced)
    parts = [chunk(b"IHDR", header)] + ([chunk(b"PLTE", palette)] if palette else [])
    parts += [chunk(b"IDAT", data[:10]), chunk(b"IDAT", data[10:]), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("depth", [8, 16])
def test_png_comes_back_through_every_filter(tmp_path: Path, colour: int, channels: int, depth: int) -> None:
    pixels = RNG.integers(0, 256, (11, 7, channels, depth // 8)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png(pixels.reshape(11, -1), 7, depth, colour))
    np.testing.assert_array_equal(readers.image(tmp_path / "a.png"), np.moveaxis(pixels[..., 0], 2, 0))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_png_of_few_bits_is_stretched_and_palettes_become_colours(tmp_path: Path, depth: int) -> None:
    values = RNG.integers(0, 1 << depth, (6, 13)).astype(np.uint8)
    bits = (values[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    rows = np.packbits(bits.reshape(6, -1), axis=1)
    (tmp_path / "grey.png").write_bytes(png(rows, 13, depth, 0))
    np.testing.assert_array_equal(readers.image(tmp_path / "grey.png")[0], values * (255 // ((1 << depth) - 1)))
    palette = RNG.integers(0, 256, (1 << depth, 3)).astype(np.uint8)
    (tmp_path / "palette.png").write_bytes(png(rows, 13, depth, 3, palette.tobytes()))
    np.testing.assert_array_equal(readers.image(tmp_path / "palette.png"), np.moveaxis(palette[values], 2, 0))


def test_a_folder_of_images_gives_images_labels_and_class_names(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (5, 4, 6)).astype(np.uint8)
    for i, name in enumerate(["dog", "cat", "dog", "cat", "cat"]):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / f"{i}.png").write_bytes(png(pixels[i], 6, 8, 0))
    images, labels, classes = readers.image_folder(tmp_path)
    assert classes == ["cat", "dog"] and labels.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_array_equal(images[:, 0], pixels[[1, 3, 4, 0, 2]])
    (tmp_path / "dog" / "9.png").write_bytes(png(pixels[0][:2], 6, 8, 0))
    with pytest.raises(ShapeError, match=r"9\.png is \[1, 2, 6\], the first is \[1, 4, 6\]"):
        readers.image_folder(tmp_path)


def test_text_becomes_places_in_its_alphabet(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("banana é", encoding="utf-8")
    codes, alphabet = readers.text(tmp_path / "a.txt")
    assert alphabet == " abné" and "".join(alphabet[c] for c in codes) == "banana é"
    np.testing.assert_array_equal(readers.text(tmp_path / "a.txt", " abcné")[0][:3], [2, 1, 4])
    with pytest.raises(ArgumentError, match="has 'b', which the alphabet has not"):
        readers.text(tmp_path / "a.txt", "an é")


WAV = (b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\4\0\0\0"
       b"\0\0\0\0")  # fmt: skip
GOOD_PNG = png(np.zeros((2, 2), np.uint8), 2, 8, 0)
BROKEN: list[tuple[Callable[..., object], bytes, type[Exception], str]] = [
    (readers.idx, b"\0\0\x08\x01\0\0\0\x05abc", ModelError, r"has 11 bytes, its header says uint8\[5\]"),
    (readers.idx, b"\0\0\x08\xff", ModelError, "its header says"),
    (readers.idx, b"\x89PN", ModelError, "is no IDX file"),
    (readers.idx, b"\x1f\x8bxx", ModelError, "packed by gzip, and broken"),
    (readers.cifar, b"x" * 3000, ModelError, "no multiple of 3073"),
    (readers.wav, b"RIFF", ModelError, "is no PCM WAV file"),
    (readers.wav, WAV[:16] + b"\xff\xff\xff\x7f" + WAV[20:], ModelError, "is no PCM WAV file"),
    (readers.wav, WAV[:34] + b"\x80\0" + WAV[36:], ModelError, "has samples of 16 bytes"),
    (readers.text, b"\xff\xfe", ModelError, "is not UTF-8"),
    (readers.image, GOOD_PNG[:-20], ModelError, "broken in its chunk|lacks a part"),
    (readers.image, GOOD_PNG[:40] + b"!" + GOOD_PNG[41:], ModelError, "broken in its chunk"),
    (readers.image, png(np.zeros((3, 2), np.uint8), 9, 8, 0), ModelError, "bytes of pixels"),
    (readers.image, png(np.full((1, 1), 7, np.uint8), 1, 8, 3, b"abc"), ModelError, "its palette has not"),
    (readers.image, png(np.zeros((2, 2), np.uint8), 2, 8, 0, interlaced=1), NotSupported, "is interlaced"),
]


@pytest.mark.parametrize("index", range(len(BROKEN)))
def test_a_broken_file_is_a_typed_error(tmp_path: Path, index: int) -> None:
    read, data, kind, what = BROKEN[index]
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(kind, match=what):
        read(tmp_path / "file")
    with pytest.raises(ArgumentError, match="there is no file"):
        read(tmp_path / "none")

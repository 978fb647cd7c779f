"""A shared object (ELF, x86-64) made of one relocatable object, so that writing one needs no linker.

The object must be complete in itself: nothing undefined, and only relocations relative to the place of use, which is
what position-independent code of hidden functions has. Layout: headers, dynamic symbols and read-only data; then code;
then the dynamic section. Source: System V ABI, chapters 4 and 5, and its AMD64 supplement, section 4.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chainrule.errors import NotSupported

PAGE = 4096
_PROGBITS, _SYMTAB, _RELA, _HASH, _DYNAMIC, _STRTAB, _DYNSYM = 1, 2, 4, 5, 6, 3, 11
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4
_PC32, _PLT32 = 2, 4
_X86_64 = 62
_SEGMENTS = 5  # read-only, code, dynamic, twice described, and one that says the stack holds no code
_TEXT_PART = 4  # the number of .text among the result's sections
_LARGEST = (1 << 31) - (1 << 20)  # code reaches data by 32 bits with a sign


@dataclass(frozen=True, slots=True)
class _Section:
    """A section of the object: header fields and its bytes."""

    name: str
    kind: int
    flags: int
    data: bytes
    link: int
    info: int
    align: int


@dataclass(frozen=True, slots=True)
class _Symbol:
    """A symbol: where in which section of the object."""

    name: str
    info: int
    section: int
    value: int
    size: int


@dataclass(frozen=True, slots=True)
class _Part:
    """A section of the result: its place in the file, which is also its address."""

    name: str
    kind: int
    flags: int
    at: int
    size: int
    link: int = 0
    info: int = 0
    align: int = 8
    entry: int = 0


def shared_object(data: bytes, exports: Iterable[str], soname: str) -> bytes:
    """The bytes of a shared object that exports these functions of a relocatable object.

    Raises NotSupported for an object of another machine, one with writable data, with undefined symbols or with
    relocations that a loader would have to finish, and for one of two gigabytes.
    """
    sections, symbols = _read(data)
    names = sorted(exports)
    texts, numbers = _string_table([*names, soname])
    hash_at = 64 + 56 * _SEGMENTS
    dynsym_at = _up(hash_at + 4 * (4 + len(names)), 8)
    dynstr_at = dynsym_at + 24 * (1 + len(names))
    read_only = [i for i, s in enumerate(sections) if _loaded(s) and not s.flags & _EXECUTE]
    code = [i for i, s in enumerate(sections) if _loaded(s) and s.flags & _EXECUTE]
    places, read_end = _placed(sections, read_only, dynstr_at + len(texts))
    text_at = _up(read_end, PAGE)
    more, text_end = _placed(sections, code, text_at)
    places |= more
    dynamic_at = _up(text_end, PAGE)
    entries = [(14, numbers[soname]), (4, hash_at), (5, dynstr_at), (6, dynsym_at), (10, len(texts)), (11, 24), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    if dynamic_at > _LARGEST:
        raise NotSupported(f"a shared object of {dynamic_at / 1e9:.1f} GB", help='weights="file" keeps them apart')
    image = bytearray(dynamic_at + len(dynamic))
    for i, place in places.items():
        image[place : place + len(sections[i].data)] = sections[i].data
    _relocate(image, sections, symbols, places)
    found = {s.name: s for s in symbols if s.section}
    image[dynsym_at:dynstr_at] = _dynamic_symbols([(numbers[n], found[n]) for n in names], places)
    chain = _hash_table(len(names))
    image[hash_at : hash_at + len(chain)] = chain
    image[dynstr_at : dynstr_at + len(texts)] = texts
    image[dynamic_at:] = dynamic
    parts = (
        _Part(".hash", _HASH, _ALLOC, hash_at, len(chain), link=2, entry=4),
        _Part(".dynsym", _DYNSYM, _ALLOC, dynsym_at, dynstr_at - dynsym_at, link=3, info=1, entry=24),
        _Part(".dynstr", _STRTAB, _ALLOC, dynstr_at, len(texts), align=1),
        _Part(".text", _PROGBITS, _ALLOC | _EXECUTE, text_at, text_end - text_at, align=64),
        _Part(".rodata", _PROGBITS, _ALLOC, dynstr_at + len(texts), read_end - dynstr_at - len(texts), align=1),
        _Part(".dynamic", _DYNAMIC, _ALLOC | _WRITE, dynamic_at, len(dynamic), link=3, entry=16),
    )
    segments = (
        (1, 4, 0, read_end, PAGE), (1, 5, text_at, text_end - text_at, PAGE),
        (1, 6, dynamic_at, len(dynamic), PAGE), (2, 6, dynamic_at, len(dynamic), 8), (0x6474E551, 6, 0, 0, 16),
    )  # fmt: skip
    return _with_headers(image, parts, segments)


def _dynamic_symbols(symbols: Iterable[tuple[int, _Symbol]], places: Mapping[int, int]) -> bytes:
    """The table of exported functions: one of zeros, then each with the number of its name."""
    rows = [struct.pack("<IBBHQQ", name, s.info, 0, _TEXT_PART, places[s.section] + s.value, s.size)
            for name, s in symbols]  # fmt: skip
    return bytes(24) + b"".join(rows)


def _hash_table(count: int) -> bytes:
    """A table of one bucket, whose chain runs through all symbols."""
    words = [1, 1 + count, min(count, 1), 0, *range(2, count + 1), 0][: 4 + count]
    return struct.pack(f"<{len(words)}I", *words)


def _with_headers(
    image: bytearray, parts: Iterable[_Part], segments: Iterable[tuple[int, int, int, int, int]]
) -> bytes:
    """The image with its program headers in front and the section headers, which link editors read, behind."""
    listed = list(parts)
    texts, numbers = _string_table([*(p.name for p in listed), ".shstrtab"])
    names_at = len(image)
    headers_at = _up(names_at + len(texts), 8)
    rows = [struct.pack("<IIQQQQIIQQ", numbers[p.name], p.kind, p.flags, p.at, p.at, p.size, p.link, p.info, p.align,
                        p.entry) for p in listed]  # fmt: skip
    rows.append(struct.pack("<IIQQQQIIQQ", numbers[".shstrtab"], _STRTAB, 0, 0, names_at, len(texts), 0, 0, 1, 0))
    table = [struct.pack("<IIQQQQQQ", kind, flags, at, at, at, size, size, align)
             for kind, flags, at, size, align in segments]  # fmt: skip
    magic = b"\x7fELF\x02\x01\x01" + bytes(9)
    counts = (64, 56, len(table), 64, len(rows) + 1, len(rows))
    image[:64] = magic + struct.pack("<HHIQQQI6H", 3, _X86_64, 1, 0, 64, headers_at, 0, *counts)
    image[64 : 64 + 56 * len(table)] = b"".join(table)
    return bytes(image) + texts + bytes(headers_at - names_at - len(texts)) + bytes(64) + b"".join(rows)


def _read(data: bytes) -> tuple[list[_Section], list[_Symbol]]:
    """Sections and symbols of a relocatable object for x86-64."""
    kind, machine = struct.unpack_from("<HH", data, 16)
    if data[:6] != b"\x7fELF\x02\x01" or kind != 1 or machine != _X86_64:
        raise NotSupported("shared objects are written for x86-64", help="write an object file (.o) and link it")
    (start,) = struct.unpack_from("<Q", data, 40)
    count, names_index = struct.unpack_from("<HH", data, 60)
    rows = [struct.unpack_from("<IIQQQQIIQQ", data, start + 64 * i) for i in range(count)]
    names = _bytes(data, rows[names_index])
    sections = [_Section(_text(names, r[0]), r[1], r[2], _bytes(data, r), r[6], r[7], max(r[8], 1)) for r in rows]
    symbols: list[_Symbol] = []
    for section in sections:
        if section.kind == _SYMTAB:
            strings = sections[section.link].data
            for at in range(0, len(section.data), 24):
                name, info, _, where, value, size = struct.unpack_from("<IBBHQQ", section.data, at)
                symbols.append(_Symbol(_text(strings, name), info, where, value, size))
    return sections, symbols


def _bytes(data: bytes, row: tuple[int, ...]) -> bytes:
    return data[row[4] : row[4] + row[5]] if row[1] != 8 else b""  # 8: a section of zeros takes no bytes


def _text(table: bytes, at: int) -> str:
    return table[at : table.index(b"\0", at)].decode()


def _loaded(section: _Section) -> bool:
    """True for what must be in memory; unwinding tables are left out: nothing here throws."""
    if not section.flags & _ALLOC or not section.data or section.name.startswith(".eh_frame"):
        return False
    if section.flags & _WRITE:
        raise NotSupported(f"a shared object with writable data ({section.name})", help="write an object file (.o)")
    return True


def _placed(sections: list[_Section], indices: Iterable[int], start: int) -> tuple[dict[int, int], int]:
    """Where each section goes, one after the other, and where the last ends."""
    places: dict[int, int] = {}
    at = start
    for i in indices:
        places[i] = at = _up(at, sections[i].align)
        at += len(sections[i].data)
    return places, at


def _relocate(image: bytearray, sections: list[_Section], symbols: list[_Symbol], places: Mapping[int, int]) -> None:
    """Fills in the distances between places of use and what is used."""
    for section in sections:
        if section.kind != _RELA or section.info not in places:
            continue
        for offset, info, addend in struct.iter_unpack("<QQq", section.data):
            symbol, kind = symbols[info >> 32], info & 0xFFFFFFFF
            if symbol.section not in places:
                raise NotSupported(f"the object takes {symbol.name or 'something'} from outside")
            if kind not in (_PC32, _PLT32):
                raise NotSupported(f"the object has a relocation of kind {kind}", help="write an object file (.o)")
            at = places[section.info] + offset
            distance = places[symbol.section] + symbol.value + addend - at
            image[at : at + 4] = struct.pack("<i", distance)


def _string_table(texts: Iterable[str]) -> tuple[bytes, dict[str, int]]:
    table, numbers = b"\0", dict[str, int]()
    for text in texts:
        numbers[text] = len(table)
        table += text.encode() + b"\0"
    return table, numbers


def _up(at: int, align: int) -> int:
    return -(-at // align) * align

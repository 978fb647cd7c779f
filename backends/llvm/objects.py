"""What an ELF object needs from outside: its undefined symbols, read from the symbol table."""

from __future__ import annotations

import struct

from chainrule.errors import ModelError

_SYMTAB = 2


def undefined_symbols(data: bytes) -> list[str]:
    """Names of the symbols that a 64-bit little-endian ELF object uses but does not define.

    Raises ModelError for bytes that are no such object.
    """
    if data[:6] != b"\x7fELF\x02\x01" or len(data) < 64:
        raise ModelError("not a 64-bit little-endian ELF object")
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    if start + size * count > len(data):
        raise ModelError("the ELF object is cut short")
    found: list[str] = []
    for i in range(count):
        header = start + size * i
        kind, _, _, offset, length, link = struct.unpack_from("<IQQQQI", data, header + 4)
        if kind != _SYMTAB:
            continue
        (names,) = struct.unpack_from("<Q", data, start + size * link + 24)
        for entry in range(offset + 24, offset + length, 24):
            name, _, _, section = struct.unpack_from("<IBBH", data, entry)
            if section == 0 and name:
                end = data.index(b"\0", names + name)
                found.append(data[names + name : end].decode())
    return found

"""What LLVM text must not hold, checked line by line: undeclared fast-math, unguarded division, unknown outside
symbols,
over-long bodies. The suite lints every module that it compiles (jit.record_modules).
"""

from __future__ import annotations

import re
from collections.abc import Collection

MAX_BODY_LINES = 20_000  # of one function: straight-line code is super-linear in LLVM's passes from here on
_FAST = re.compile(r"(?<![%@\w.])(fast|nnan|ninf|nsz|arcp|afn|reassoc|contract)\b")
_DIVISION = re.compile(r"=\s*(?:exact\s+)?[su](?:div|rem)\s+(?:exact\s+)?(<[^>]*>|\S+)\s+([^,]+),\s*(.+?)(?:,\s*!.*)?$")
_DECLARE = re.compile(r"^declare\s.*?@([\w.$-]+)\(")
_DEFINE = re.compile(r"^define\s.*?@([\w.$-]+)\(")
_FLAGGED = re.compile(r"=\s*(?:tail\s+|musttail\s+)?(?:f(?:add|sub|mul|div|rem|neg|cmp)|call|select|phi)\b([^(@]*)")


def lint_ir(text: str, externs: Collection[str] = (), flags: Collection[str] = ()) -> list[str]:
    """Faults of an LLVM module, each as "line: what"; empty when there is none.

    externs: outside symbols that the module may declare besides intrinsics. flags: fast-math flags that it declares
    to use.
    Division is guarded when the divisor is a constant other than 0 and -1, or a value whose name begins with %safe.
    """
    found: list[str] = []
    lines_of_body = 0
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith(";"):
            continue
        if _DEFINE.match(stripped):
            lines_of_body = 0
        lines_of_body += 1
        if lines_of_body == MAX_BODY_LINES:
            found.append(f"{number}: a body of more than {MAX_BODY_LINES} lines")
        declared = _DECLARE.match(stripped)
        if declared and not declared[1].startswith("llvm.") and declared[1] not in externs:
            found.append(f"{number}: outside symbol {declared[1]}")
        flagged = _FLAGGED.search(stripped)
        if flagged:
            found += [f"{number}: fast-math flag {f}" for f in _FAST.findall(flagged[1]) if f not in flags]
        if re.search(r"=\s*frem\b", stripped):
            found.append(f"{number}: frem is a library call")
        found += _division_faults(number, stripped)
    return found


def _division_faults(number: int, line: str) -> list[str]:
    match = _DIVISION.search(line)
    if match is None:
        return []
    divisor = match[3].strip()
    if divisor.startswith("%safe") or _constants_are_safe(divisor, "= u" in line):
        return []
    return [f"{number}: unguarded division by {divisor}"]


def _constants_are_safe(text: str, unsigned: bool) -> bool:
    if "%" in text or text in ("zeroinitializer", "undef", "poison"):
        return False
    numbers = [int(n) for n in re.findall(r"(?:^|i\d+ )(-?\d+)", text)]
    return bool(numbers) and all(n != 0 and (unsigned or n != -1) for n in numbers)

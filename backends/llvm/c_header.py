"""The C header of a program that was written as native code: what to pass, how large, and what comes back."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from chainrule.backends.llvm.aot import Item, NativeProgram
from chainrule.backends.llvm.failures import INDEX_OUT_OF_RANGE, NUMBER_OUT_OF_BOUNDS, SLICE_LEAVES_AXIS

_C_TYPES = {
    "f32": "float", "f64": "double", "f16": "uint16_t", "bf16": "uint16_t", "bool": "uint8_t",
    "i8": "int8_t", "i16": "int16_t", "i32": "int32_t", "i64": "int64_t",
    "u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "u64": "uint64_t",
}  # fmt: skip
_RESERVED = frozenset((
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
    "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while",
))  # fmt: skip


def header_text(program: NativeProgram, weights_file: str = "") -> str:
    """The header. weights_file: the name of the file that holds the weights, where the code does not."""
    name, upper = program.name, program.name.upper()
    guard = f"{upper}_H"
    takes_weights = bool(program.weights) and (program.kept or not program.embedded)
    lines = [f"#ifndef {guard}", f"#define {guard}", "", "#include <stdint.h>", "",
             "/* Arrays are dense, the last axis fastest. arena and weights must lie at multiples of 64 bytes.",
             " * A call allocates nothing and keeps nothing: several threads may call at once, each with an arena",
             f" * {'and weights ' if program.kept else ''}of its own. */", "",
             f"#define {upper}_ARENA_BYTES {max(program.arena_bytes, 64)}"]  # fmt: skip
    if takes_weights:
        lines += ["", *_weights(program, weights_file)]
    lines += ["", "#ifdef __cplusplus", 'extern "C" {', "#endif", "", *_run(program, takes_weights)]
    if program.kept and program.embedded and program.weights:
        lines += ["", "/* Fills weights with what they were when this file was written. */",
                  f"void {name}_init(void *weights);"]  # fmt: skip
    lines += ["", "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
    return "\n".join(lines)


def _weights(program: NativeProgram, weights_file: str) -> list[str]:
    """The size of the block of weights, and where each array lies in it."""
    upper = program.name.upper()
    what = f"/* weights: the contents of {weights_file}" if weights_file else "/* weights: one block"
    what += ", which a call changes in place." if program.kept else "."
    lines = [f"{what} Offsets in bytes: */", f"#define {upper}_WEIGHTS_BYTES {len(program.weights)}"]
    names = c_names([item.name for item in program.items])
    lines += [f"#define {upper}_OFFSET_{c.upper()} {item.offset} /* {_type(item)}, {_comment(item.name)} */"
              for c, item in zip(names, program.items, strict=True) if not item.name.startswith("packed.")]  # fmt: skip
    return lines


def _run(program: NativeProgram, takes_weights: bool) -> list[str]:
    """The entry function with a comment on every argument."""
    items = [*program.inputs, *program.outputs]
    names = c_names([item.name for item in items], taken=("weights", "arena"))
    texts = [f"{'' if program.kept else 'const '}void *weights"] if takes_weights else []
    texts.append("void *arena")
    count = len(program.inputs)
    for i, (c, item) in enumerate(zip(names, items, strict=True)):
        texts.append(f"{'const ' if i < count else ''}{_C_TYPES[item.dtype]} *{c}")
    what = "a training step, which changes the weights" if program.kept else "from inputs to outputs"
    lines = [f"/* One call: {what}."]
    for i, (c, item) in enumerate(zip(names, items, strict=True)):
        half = ", the bits of each element" if item.dtype in ("f16", "bf16") else ""
        lines.append(f" *   {c}: {_type(item)}, {'in' if i < count else 'out'}{half}")
    if program.failures:
        lines += [f" * Returns 0, or the step that failed << 32 | why: {INDEX_OUT_OF_RANGE} an index is out of range, "
                  f"{SLICE_LEAVES_AXIS} a slice leaves its axis, {NUMBER_OUT_OF_BOUNDS} a number leaves its bounds.",
                  " * Steps that may fail:"]  # fmt: skip
        lines += [f" *   {step}: {_comment(what)}" for step, what in program.failures.items()]
    else:
        lines.append(" * Returns 0: no data makes it fail.")
    return [*lines, " */", f"int64_t {program.name}_run({', '.join(texts)});"]


def _type(item: Item) -> str:
    count = math.prod(item.shape)
    return f"{item.dtype}[{','.join(map(str, item.shape))}], {count} element{'s' * (count != 1)}"


def _comment(text: str) -> str:
    """A text that cannot end the comment it stands in."""
    return " ".join(text.split()).replace("*/", "* /")


def c_names(names: Iterable[str], taken: Sequence[str] = ()) -> list[str]:
    """The names as C identifiers, each once."""
    used = {*taken, *_RESERVED}
    found: list[str] = []
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "x"
        plain = f"x{plain}" if plain[0].isdigit() else plain
        free = plain
        number = 2
        while free in used:
            free, number = f"{plain}_{number}", number + 1
        used.add(free)
        found.append(free)
    return found

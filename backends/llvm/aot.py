"""A compiled program as native code that needs nothing of ours: one entry function in plain C, its kernels and weights.

What the driver does with a table of words (docs/design/0011) is written here as straight code, for one thread: a call
of each kernel on addresses inside an arena that the caller brings. Kernels are the same text as in this process, so
results have the same bits. Nothing is allocated, and nothing is called from outside: no C library, no loader.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chainrule.backends.llvm import runtime_steps as native
from chainrule.backends.llvm.codegen import linked_object
from chainrule.backends.llvm.executable import LlvmExecutable, Unit
from chainrule.backends.llvm.frames import Bound, native_steps
from chainrule.backends.llvm.jit import Module, function_module
from chainrule.backends.llvm.program import Program, Step
from chainrule.backends.llvm.target import Target
from chainrule.errors import ArgumentError, NotSupported
from chainrule.ir.graph import input_name
from chainrule.ir.plan import aligned
from chainrule.ir.types import as_dtype

_ASSEMBLED = 1 << 16  # data from this size on goes through a file: as LLVM text it would be three times as long


@dataclass(frozen=True)
class Item:
    """An array in a block of memory, or an argument of a call: its name for people, element type, shape and offset."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int = 0


@dataclass(frozen=True)
class NativeProgram:
    """A program as an object file, and what a caller must know of it.

    name: the prefix of its functions. weights: the block of weights, as it is at the start; items: what lies in it.
    kept: whether a call changes the block (a training step's state), so that the caller owns it. embedded: whether the
    object holds the block. failures: what the status of a failed call means, by step.
    """

    name: str
    code: bytes
    exports: tuple[str, ...]
    inputs: tuple[Item, ...]
    outputs: tuple[Item, ...]
    arena_bytes: int
    weights: bytes
    items: tuple[Item, ...]
    kept: bool
    embedded: bool
    failures: Mapping[int, str]


def native_program(made: LlvmExecutable, name: str, weight_names: Sequence[str], dims: Mapping[str, int],
                   embedded: bool = True) -> NativeProgram:  # fmt: skip
    """The main program of an executable at fixed sizes, as an object.

    weight_names: of the executable's params and state, in order. dims: a number for each symbolic size. Raises
    ArgumentError for a size that is missing or a name that C does not take.
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ArgumentError(f"{name!r} cannot be the name of a C function", help='give one: name="net"')
    unit = made.main
    missing = [s for s in unit.program.graph.symbols if s not in dims]
    if missing:
        raise ArgumentError(f"the size {missing[0]} has no value: native files have fixed sizes",
                            help=f'dims={{"{missing[0]}": 1}}')  # fmt: skip
    bound = unit.bound(dims)
    kept = bool(unit.program.graph.updates)
    items, block = _block(unit, weight_names)
    writer = _Writer(unit.program, bound, [item.offset for item in items], kept, embedded and bool(block))
    sources = [(text.text, text.optimise) for text in _kernels(unit.program, made.target)]
    with tempfile.TemporaryDirectory() as folder:
        data = [("weights", block)] if embedded and block else []
        text = writer.text(name, [*data, ("constants", writer.constants)], Path(folder), made.target)
        code = linked_object([(text, False), *sources], made.target)
    exports = (f"{name}_run", *((f"{name}_init",) if kept and embedded and block else ()))
    inputs = [input_name(v) for v in unit.program.graph.by_role("input")]
    return NativeProgram(
        name, code, exports, _items(unit.program, bound, "input", inputs), _items(unit.program, bound, "output", ()),
        aligned(bound.plan.total), block, items, kept, embedded, _failures(unit.program),
    )  # fmt: skip


def _block(unit: Unit, names: Sequence[str]) -> tuple[tuple[Item, ...], bytes]:
    """The weights of a unit one after the other, each at a multiple of 64 bytes; packed ones get a number as name."""
    items: list[Item] = []
    parts: list[bytes] = []
    at = 0
    for i, array in enumerate(unit.weights):
        name = names[i] if i < len(names) else f"packed.{i - len(names)}"
        items.append(Item(name, as_dtype(array.dtype).name, array.shape, at))
        size = aligned(array.nbytes)
        parts.append(array.tobytes() + bytes(size - array.nbytes))
        at += size
    return tuple(items), b"".join(parts)


def _items(program: Program, bound: Bound, kind: str, names: Sequence[str]) -> tuple[Item, ...]:
    """The inputs or outputs of a call, in order."""
    found = sorted((s.index, s.type.dtype.name, bound.shapes[i]) for i, s in enumerate(program.storages)
                   if s.kind == kind)  # fmt: skip
    given = list(names) or [program.graph.output_names[i] if i < len(program.graph.output_names) else
                            ("y" if len(found) == 1 else f"y{i}") for i, _, _ in found]  # fmt: skip
    return tuple(Item(given[i], dtype, shape) for i, dtype, shape in found)


def _kernels(program: Program, target: Target) -> list[Module]:
    """The modules of the distinct kernels, each with functions that nobody outside sees."""
    wanted = {code.symbol for code in program.codes}
    modules = dict(function_module(f, target) for f in program.functions)
    missing = wanted - modules.keys()
    assert not missing, f"kernels {missing} cannot be made again"
    return [modules[symbol] for symbol in sorted(wanted)]


def _failures(program: Program) -> dict[int, str]:
    """Of the steps whose kernel may find its data wrong: the op and the user's line."""
    return {
        i: step.node.op.mnemonic + (f" at {step.node.loc.short()}" if step.node.loc else "")
        for i, step in enumerate(program.items) if isinstance(step, Step) and step.code.fails
    }  # fmt: skip


class _Writer:
    """The LLVM text of a program's entry function."""

    def __init__(self, program: Program, bound: Bound, offsets: Sequence[int], kept: bool, embedded: bool) -> None:
        self.symbols: list[str] = []
        self.fails = {step.code.symbol for step in program.steps if step.code.fails}
        self.steps = native.flatten(native_steps(program, bound, self._number))
        self.inside = kept or not embedded  # whether the weights' address is an argument
        self.kept = kept
        self.embedded = embedded
        self.constants = b""
        self.places = self._places(program, bound, offsets)
        self.counts = tuple(sum(s.kind == kind for s in program.storages) for kind in ("input", "output"))
        self.lines: list[str] = []
        self.sizes: list[int] = []
        self.names = 0

    def _number(self, symbol: str) -> int:
        """A stand-in for an address, which no step may have as 0."""
        if symbol not in self.symbols:
            self.symbols.append(symbol)
        return self.symbols.index(symbol) + 1

    def _places(self, program: Program, bound: Bound, offsets: Sequence[int]) -> list[tuple[str, int]]:
        """Of every storage the block that it lies in, and where."""
        arena = dict(zip(bound.temps, bound.plan.offsets, strict=True))
        starts: list[int] = []
        for array in program.constants:
            starts.append(len(self.constants))
            self.constants += array.tobytes() + bytes(aligned(array.nbytes) - array.nbytes)
        weights = "%weights" if self.inside else "@weights"
        found: list[tuple[str, int]] = []
        for i, storage in enumerate(program.storages):
            match storage.kind:
                case "temp":
                    found.append(("%arena", arena[i]))
                case "constant":
                    found.append(("@constants", starts[storage.index]))
                case "weight":
                    found.append((weights, offsets[storage.index]))
                case kind:
                    found.append((f"%{kind}{storage.index}", 0))
        return found

    def text(self, name: str, data: Sequence[tuple[str, bytes]], folder: Path, target: Target) -> str:
        """The module: data, helpers, entry. folder: where large data is kept until the object is made."""
        inputs, outputs = self.counts
        arguments = ["ptr %weights"] * self.inside + ["ptr %arena"]
        arguments += [f"ptr %input{i}" for i in range(inputs)] + [f"ptr %output{i}" for i in range(outputs)]
        for i, step in enumerate(self.steps):
            self.lines += [f"  br label %step{i}", f"step{i}:"]
            self._step(i, step)
        counters = {s.counter for s in self.steps if isinstance(s, native.SetCounter | native.Advance)} | {0}
        arity = max((len(s.buffers) for s in self.steps if isinstance(s, native.Call)), default=0)
        parts = [_data(label, content, folder, target) for label, content in data if content]
        listed = ", ".join(f"i64 {n}" for n in self.sizes) or "i64 0"
        parts.append(f"@sizes = internal constant [{max(len(self.sizes), 1)} x i64] [{listed}], align 16")
        parts += [f"declare hidden void @{symbol}(ptr, ptr, i64, i64, ptr)" for symbol in self.symbols]
        parts += [_COPY, _ZERO, f"define i64 @{name}_run({', '.join(arguments)}) #0 {{", "entry:"]
        parts += [f"  %counter{c} = alloca i64\n  store i64 0, ptr %counter{c}" for c in sorted(counters)]
        parts += [f"  %args = alloca [{max(arity, 1)} x ptr], align 16", "  %status = alloca i64",
                  "  store i64 0, ptr %status", "  %failure = alloca i64", "  store i64 0, ptr %failure"]  # fmt: skip
        end = len(self.steps)
        parts += [*self.lines, f"  br label %step{end}", f"step{end}:", "  %result = load i64, ptr %failure",
                  "  ret i64 %result", "}"]  # fmt: skip
        if self.kept and self.embedded:
            nbytes = dict(data)["weights"]
            parts += [f"define void @{name}_init(ptr %to) #0 {{",
                      f"  call void @copy(ptr %to, ptr @weights, i64 {len(nbytes)})", "  ret void", "}"]  # fmt: skip
        return "\n".join([*parts, 'attributes #0 = { nounwind "no-builtins" }', ""])

    def _fresh(self) -> str:
        self.names += 1
        return f"%v{self.names}"

    def _address(self, ref: native.Ref) -> str:
        """The text of an address; may add lines in front of its use."""
        base, offset = self.places[ref.buffer if isinstance(ref, native.Slice) else ref]
        if isinstance(ref, native.Slice):
            offset += ref.offset
        at = self._fresh()
        self.lines.append(f"  {at} = getelementptr i8, ptr {base}, i64 {offset}")
        moves = [(ref.counter, ref.stride), *ref.more] if isinstance(ref, native.Slice) else []
        for counter, stride in moves:
            if stride:
                count, moved, place = self._fresh(), self._fresh(), self._fresh()
                self.lines += [f"  {count} = load i64, ptr %counter{counter}", f"  {moved} = mul i64 {count}, {stride}",
                               f"  {place} = getelementptr i8, ptr {at}, i64 {moved}"]  # fmt: skip
                at = place
        return at

    def _step(self, i: int, step: native.FlatStep) -> None:
        match step:
            case native.Call():
                self._call(i, step)
            case native.Copy(dst, src, nbytes):
                to, source = self._address(dst), self._address(src)
                self.lines.append(f"  call void @copy(ptr {to}, ptr {source}, i64 {nbytes})")
            case native.Zero(dst, nbytes):
                self.lines.append(f"  call void @zero(ptr {self._address(dst)}, i64 {nbytes})")
            case native.StoreCounter(dst, counter):
                to, count = self._address(dst), self._fresh()
                self.lines.append(f"  {count} = load i64, ptr %counter{counter}")
                self.lines.append(f"  store i64 {count}, ptr {to}, align 1")
            case native.SetCounter(counter, value):
                self.lines.append(f"  store i64 {value}, ptr %counter{counter}")
            case native.FlipCounter(counter):
                old, new = self._fresh(), self._fresh()
                self.lines += [f"  {old} = load i64, ptr %counter{counter}", f"  {new} = xor i64 {old}, 1",
                               f"  store i64 {new}, ptr %counter{counter}"]  # fmt: skip
            case native.Jump(target):
                self._leave(f"br label %step{target}", i)
            case native.JumpUnless(cond, target):
                at, byte, true = self._address(cond), self._fresh(), self._fresh()
                self.lines += [f"  {byte} = load i8, ptr {at}", f"  {true} = icmp ne i8 {byte}, 0"]
                self._leave(f"br i1 {true}, label %after{i}, label %step{target}", i)
            case native.Advance(counter, count, target):
                old, new, more = self._fresh(), self._fresh(), self._fresh()
                self.lines += [f"  {old} = load i64, ptr %counter{counter}", f"  {new} = add i64 {old}, 1",
                               f"  store i64 {new}, ptr %counter{counter}",
                               f"  {more} = icmp slt i64 {new}, {count}"]  # fmt: skip
                self._leave(f"br i1 {more}, label %step{target}, label %after{i}", i)
            case native.StopIfFailed():
                failed, some = self._fresh(), self._fresh()
                self.lines += [f"  {failed} = load i64, ptr %failure", f"  {some} = icmp ne i64 {failed}, 0"]
                self._leave(f"br i1 {some}, label %step{len(self.steps)}, label %after{i}", i)

    def _leave(self, jump: str, i: int) -> None:
        self.lines += [f"  {jump}", f"after{i}:"]

    def _call(self, i: int, step: native.Call) -> None:
        """Addresses into %args, then the kernel; the first failure of all is kept as step << 32 | code."""
        if step.extent <= 0:
            return
        symbol = self.symbols[step.address - 1]
        for number, ref in enumerate(step.buffers):
            at, place = self._address(ref), self._fresh()
            self.lines += [f"  {place} = getelementptr ptr, ptr %args, i64 {number}", f"  store ptr {at}, ptr {place}"]
        sizes = self._fresh()
        self.lines.append(f"  {sizes} = getelementptr i64, ptr @sizes, i64 {len(self.sizes)}")
        self.sizes += step.sizes
        self.lines.append(f"  call void @{symbol}(ptr %args, ptr {sizes}, i64 0, i64 {step.extent}, ptr %status)")
        if symbol not in self.fails:
            return
        code, before, both, bad, first, new, kept = (self._fresh() for _ in range(7))
        self.lines += [
            f"  {code} = load i64, ptr %status", f"  {before} = load i64, ptr %failure",
            f"  {both} = or i64 {code}, {i << 32}", f"  {bad} = icmp ne i64 {code}, 0",
            f"  {first} = icmp eq i64 {before}, 0", f"  {new} = and i1 {bad}, {first}",
            f"  {kept} = select i1 {new}, i64 {both}, i64 {before}", f"  store i64 {kept}, ptr %failure",
        ]  # fmt: skip


def _data(label: str, content: bytes, folder: Path, target: Target) -> str:
    """Read-only data at a multiple of 64 bytes."""
    if len(content) < _ASSEMBLED or not target.is_x86:
        text = "".join(f"\\{byte:02X}" for byte in content)
        return f'@{label} = internal constant [{len(content)} x i8] c"{text}", align 64'
    path = folder / f"{label}.bin"
    path.write_bytes(content)
    if '"' in str(path) or "\\" in str(path):
        raise NotSupported(f"the folder for temporary files is {folder}", help="set TMPDIR to one with a plain name")
    lines = [f".section .rodata.{label},\\22a\\22,@progbits", ".balign 64", f".hidden {label}", f"{label}:",
             f".incbin \\22{path}\\22", ".text"]  # fmt: skip
    assembly = "\n".join(f'module asm "{line}"' for line in lines)
    return f"{assembly}\n@{label} = external hidden constant [0 x i8], align 64"


_COPY = """
define internal void @copy(ptr %to, ptr %from, i64 %count) #0 {
entry:
  %whole = and i64 %count, -64
  br label %wide
wide:
  %i = phi i64 [ 0, %entry ], [ %i.next, %wide.one ]
  %more = icmp ult i64 %i, %whole
  br i1 %more, label %wide.one, label %narrow
wide.one:
  %a = getelementptr i8, ptr %from, i64 %i
  %b = getelementptr i8, ptr %to, i64 %i
  %v = load <64 x i8>, ptr %a, align 1
  store <64 x i8> %v, ptr %b, align 1
  %i.next = add i64 %i, 64
  br label %wide
narrow:
  %j = phi i64 [ %whole, %wide ], [ %j.next, %narrow.one ]
  %rest = icmp ult i64 %j, %count
  br i1 %rest, label %narrow.one, label %done
narrow.one:
  %c = getelementptr i8, ptr %from, i64 %j
  %d = getelementptr i8, ptr %to, i64 %j
  %w = load i8, ptr %c
  store i8 %w, ptr %d
  %j.next = add i64 %j, 1
  br label %narrow
done:
  ret void
}
"""

_ZERO = """
define internal void @zero(ptr %to, i64 %count) #0 {
entry:
  br label %next
next:
  %i = phi i64 [ 0, %entry ], [ %i.next, %one ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %one, label %done
one:
  %a = getelementptr i8, ptr %to, i64 %i
  store i8 0, ptr %a
  %i.next = add i64 %i, 1
  br label %next
done:
  ret void
}
"""

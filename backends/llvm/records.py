"""What is kept of a region's kernels between processes: all that a program needs of them, without their loops.

Building loops in Python and writing them as LLVM text takes longer than linking the object code that came of them
before. So the cache holds, beside the objects, one record per region: which kernels, on which buffers, of what extent.
A record's key is the region's text, the target, and the sources of everything that makes kernels; it is JSON, and one
that does not read back is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from chainrule.backends.llvm import jit
from chainrule.backends.llvm.cache import Cache
from chainrule.backends.llvm.kernels.region import KernelCall, Region, Temp
from chainrule.backends.llvm.kernels.table import template_of
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Int
from chainrule.backends.loops.ints import Atom, Pair, Size
from chainrule.backends.loops.nodes import may_fail
from chainrule.errors import ChainruleError
from chainrule.ir.dims import Dim, dim_max, dim_min, floordiv, mod, parse_dim
from chainrule.ir.text import text
from chainrule.ir.types import BY_NAME, TensorType

Place = tuple[str, int] | Temp


@dataclass(frozen=True)
class Code:
    """A kernel as a program sees it. extent, flops: in the names of its sizes; modes: of its buffers, in order.

    moved: the bytes that it reads and writes, None for all of its buffers.

    key: of its object code in the cache. fails: whether it may find its data wrong.
    """

    name: str
    symbol: str
    key: str
    extent: Dim
    flops: Dim
    modes: tuple[str, ...]
    fails: bool = False
    moved: Dim | None = None


@dataclass(frozen=True)
class Call:
    """One native call of a region's kernels: see KernelCall, whose function is here a Code."""

    code: Code
    buffers: tuple[Place, ...]
    dims: tuple[Dim, ...]
    why: str = ""


class Lowering:
    """Turns regions into calls, through the cache of records, and calls into machine code."""

    def __init__(self, target: Target, kept: Cache) -> None:
        self.target = target
        self.kept = kept
        self.regions: dict[str, Region] = {}
        self.modules: dict[str, jit.Module] = {}
        self.known: dict[str, list[Call]] = {}

    def calls(self, region: Region) -> list[Call]:
        """The calls of a region's kernels, from its record when there is one."""
        # Who records modules (the suite, to lint them) wants their text, which a record does not have.
        kept = Cache(None) if jit.recorder() is not None else self.kept
        key = record_key(region, self.target)
        if key in self.known:
            return self.known[key]
        found = _read(kept.get(key))
        if found is None:
            found = [self._made(call) for call in template_of(region)(region, self.target)]
            kept.put(key, _written(found))
        for call in found:
            self.regions.setdefault(call.code.symbol, region)
        self.known[key] = found
        return found

    def _made(self, call: KernelCall) -> Call:
        function = call.function
        symbol, module = jit.function_module(function, self.target)
        self.modules[symbol] = module
        sizes = dict(zip(function.sizes, call.dims, strict=True))
        extent = 1 if function.extent is None else in_sizes(function.extent, sizes)
        flops = 0 if function.flops is None else in_sizes(function.flops, sizes)
        moved = None if function.bytes is None else in_sizes(function.bytes, sizes)
        modes = tuple(buffer.mode for buffer in function.buffers)
        code = Code(function.name, symbol, module.key(self.target), extent, flops, modes, may_fail(function), moved)
        return Call(code, call.buffers, call.dims, call.why)

    def compiled(self, codes: Iterable[Code]) -> jit.Linked:
        """Machine code for kernels: already in this process, or linked from kept objects, or made."""
        wanted = {code.symbol: code for code in codes}
        objects = {s: data for s, code in wanted.items() if s not in self.modules and (data := self.kept.get(code.key))}
        for name in wanted:
            if name not in self.modules and name not in objects and not jit.is_loaded(name, self.target):
                self._remake(self.regions[name])
        modules = {s: self.modules[s] for s in wanted if s in self.modules}
        return jit.link_kernels(modules, objects, list(wanted), self.target, self.kept)

    def _remake(self, region: Region) -> None:
        """Builds a region's kernels although there is a record: an object it names has left the cache."""
        for call in template_of(region)(region, self.target):
            self._made(call)


def record_key(region: Region, target: Target) -> str:
    """Everything that a region's kernels depend on, as text."""
    return f"{_common_key(target)}\n{text(region.body, places=False)}"


@cache
def _common_key(target: Target) -> str:
    return f"region\n{_sources()}\n{target.key}"


@cache
def _sources() -> str:
    """A digest of the files that make kernels, so that a changed template never meets an old record."""
    folder = Path(__file__).resolve().parent
    files = [*folder.rglob("*.py"), *(folder.parent / "loops").rglob("*.py")]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def in_sizes(value: Int, sizes: Mapping[Size, Dim]) -> Dim:
    """An index expression over a kernel's sizes as a dim of the graph."""
    total: Dim = value.const
    for monomial, coefficient in value.terms.items():
        product: Dim = coefficient
        for atom in monomial:
            product = product * _atom(atom, sizes)
        total = total + product
    return total


def _atom(atom: Atom, sizes: Mapping[Size, Dim]) -> Dim:
    if isinstance(atom, Size):
        return sizes[atom]
    assert isinstance(atom, Pair), f"an extent depends on {atom}"
    a, b = in_sizes(atom.a, sizes), in_sizes(atom.b, sizes)
    return {"//": floordiv, "%": mod, "min": dim_min, "max": dim_max}[atom.kind](a, b)


def _written(calls: Sequence[Call]) -> bytes:
    temps: dict[Temp, int] = {}

    def place(item: Place) -> list[object]:
        if not isinstance(item, Temp):
            return list(item)
        number = temps.setdefault(item, len(temps))
        return ["temp", number, item.type.dtype.name, [str(d) for d in item.type.shape]]

    rows = [
        {
            "name": c.code.name, "symbol": c.code.symbol, "key": c.code.key, "extent": str(c.code.extent),
            "flops": str(c.code.flops), "moved": None if c.code.moved is None else str(c.code.moved),
            "modes": c.code.modes, "buffers": [place(b) for b in c.buffers], "dims": [str(d) for d in c.dims],
            "why": c.why, "fails": c.code.fails,
        }
        for c in calls
    ]  # fmt: skip
    return json.dumps(rows).encode()


def _read(data: bytes | None) -> list[Call] | None:
    if data is None:
        return None
    temps: dict[int, Temp] = {}

    def place(row: list[object]) -> Place:
        if row[0] != "temp":
            return str(row[0]), int(str(row[1]))
        number, dtype, shape = int(str(row[1])), str(row[2]), row[3]
        assert isinstance(shape, list)
        type = TensorType(BY_NAME[dtype], tuple(parse_dim(str(d)) for d in shape))
        return temps.setdefault(number, Temp(type))

    try:
        return [
            Call(
                Code(row["name"], row["symbol"], row["key"], parse_dim(row["extent"]), parse_dim(row["flops"]),
                     tuple(row["modes"]), bool(row["fails"]),
                     None if row["moved"] is None else parse_dim(row["moved"])),
                tuple(place(b) for b in row["buffers"]), tuple(parse_dim(d) for d in row["dims"]), row["why"],
            )
            for row in json.loads(data)
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError, IndexError, ChainruleError):
        return None

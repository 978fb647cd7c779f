"""The machine that code is made for: its instruction set as LLVM names it, register file and cache sizes.

A Target is plain data; nothing here needs LLVM except host_target(). Kernels ask it for their register tile.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from chainrule.errors import ArgumentError

_V2 = ("cx16", "sahf", "popcnt", "sse3", "sse4.1", "sse4.2", "ssse3")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_X86 = "x86_64-unknown-linux-gnu"
# What LLVM may use beyond a named level without changing any result; the rest of the host's list (AMX, key locker,
# shadow stacks, ...) is of no use to kernels and only makes cache keys differ.
_X86_EXTRAS = (
    "avx512vnni", "avx512bf16", "avx512vbmi", "avx512vbmi2", "avx512bitalg", "avx512vpopcntdq", "avx512ifma",
    "avxvnni", "avx512fp16", "gfni", "vpclmulqdq", "pclmul", "cx8", "cmov", "fxsr", "mmx", "sse", "sse2", "prfchw",
    "crc32", "64bit", "adx", "aes",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """name: how it was asked for. features: what LLVM may use, sorted. Sizes of registers in bits, of caches in
    bytes."""

    name: str
    triple: str
    cpu: str
    features: tuple[str, ...]
    vector_bits: int
    vector_registers: int
    l1: int = 32 * 1024
    l2: int = 1024 * 1024
    l3: int = 16 * 1024 * 1024

    def has(self, feature: str) -> bool:
        """True when the target has LLVM's feature of that name."""
        return feature in self.features

    @property
    def vector_names(self) -> tuple[str, ...]:
        """LLVM's names of the vector registers, at their common width."""
        return tuple(f"{'xmm' if self.is_x86 else 'v'}{i}" for i in range(self.vector_registers))

    @property
    def is_x86(self) -> bool:
        return self.triple.startswith("x86_64")

    @property
    def has_fma(self) -> bool:
        return self.has("fma") or not self.is_x86

    @property
    def converts_f16(self) -> bool:
        """True when f16 <-> f32 is an instruction."""
        return self.has("f16c") or not self.is_x86

    @property
    def multiplies_bytes(self) -> bool:
        """True when four products of bytes and their sum are one instruction."""
        return (self.has("avx512vnni") and self.has("avx512vl")) or self.has("avxvnni")

    @property
    def has_byte_products(self) -> bool:
        """True when products of bytes are worth their own kernels: by one instruction, or by pairs of words."""
        return self.is_x86

    @property
    def multiplies_pairs(self) -> bool:
        """True when two products of bf16 and their sum are one instruction."""
        return self.has("avx512bf16") and self.has("avx512vl")

    @property
    def feature_string(self) -> str:
        """The features as LLVM wants them: +a,+b."""
        return ",".join("+" + f for f in self.features)

    @property
    def key(self) -> str:
        """What machine code depends on, as text."""
        return f"{self.triple} {self.cpu} {self.feature_string} {self.l3}"

    @property
    def f32_lanes(self) -> int:
        """f32 numbers in one register."""
        return self.vector_bits // 32


TARGETS: tuple[Target, ...] = (
    Target("x86-64-v4", _X86, "x86-64-v4", tuple(sorted(_V4)), 512, 32),
    Target("x86-64-v3", _X86, "x86-64-v3", tuple(sorted(_V3)), 256, 16),
    Target("x86-64-v2", _X86, "x86-64-v2", tuple(sorted(_V2)), 128, 16),
    Target("aarch64", "aarch64-unknown-linux-gnu", "generic", ("fp-armv8", "neon"), 128, 32),
)


def named_target(name: str) -> Target:
    """A target by name: "host", "x86-64-v4", "x86-64-v3", "x86-64-v2" or "aarch64"."""
    if name == "host":
        return host_target()
    for target in TARGETS:
        if target.name == name:
            return target
    known = ", ".join(["host", *(t.name for t in TARGETS)])
    raise ArgumentError(f"target {name!r} is not known", help=f"use one of {known}")


@cache
def host_target() -> Target:
    """This machine. CHAINRULE_TARGET lowers it to a named one; an unknown CPU name falls back to the feature list."""
    asked = os.environ.get("CHAINRULE_TARGET", "")
    if asked and asked != "host":
        return _with_caches(named_target(asked))
    import llvmlite.binding as llvm

    features = {name for name, on in llvm.get_host_cpu_features().items() if on}
    cpu = llvm.get_host_cpu_name()
    triple = llvm.get_process_triple()
    if platform.machine().lower() in ("x86_64", "amd64"):
        return _with_caches(_x86_host(cpu, features, triple))
    return _with_caches(replace(named_target("aarch64"), name="host", cpu=cpu or "generic", triple=triple))


def _x86_host(cpu: str, features: set[str], triple: str) -> Target:
    # The features decide and the name only tunes: a virtual machine may hide instructions of the CPU it names.
    level = next((t for t in TARGETS if t.is_x86 and set(t.features) <= features), None)
    base = level or Target("x86-64", _X86, "x86-64", (), 128, 16)
    kept = sorted(set(base.features) | (features & set(_X86_EXTRAS)))
    if level is None or not level.name.endswith("v4"):
        kept = [f for f in kept if not f.startswith("avx512")]
    return replace(base, name="host", cpu=base.cpu, features=tuple(kept), triple=triple)


def _with_caches(target: Target) -> Target:
    return replace(
        target,
        l1=_cache_bytes(1) or target.l1,
        l2=_cache_bytes(2) or target.l2,
        l3=_cache_bytes(3) or target.l3,
    )


def _cache_bytes(level: int) -> int:
    """Size of the data cache of a level as Linux reports it; 0 when it does not."""
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            if int((folder / "level").read_text()) != level or (folder / "type").read_text().strip() == "Instruction":
                continue
            size = (folder / "size").read_text().strip()
            return int(size[:-1]) * {"K": 1024, "M": 1024 * 1024}[size[-1]]
        except (OSError, ValueError, KeyError):
            continue
    return 0


def gemm_tiles(target: Target) -> tuple[tuple[int, int], ...]:
    """(rows, columns) of the f32 register tiles of a matmul that fit the target, best first.

    Rows stay at most 8: the rows' base addresses must fit the integer registers, and lines of rows 4 KB apart the
    L1 cache's 8 ways (measured: 14x32 falls from 117 to 86 GFLOP/s at K = 1024). Accumulators, one row of B vectors and
    one broadcast fit the vector registers: 24 + 4 + 1 of 32 with AVX-512, 12 + 2 + 1 of 16 with AVX2.
    """
    lanes = target.f32_lanes
    if lanes == 16 and target.vector_registers >= 32:
        return (6, 64), (8, 48), (7, 32), (8, 16)
    if target.vector_registers >= 32:
        return (6, 4 * lanes), (8, 3 * lanes), (8, 2 * lanes), (8, lanes)
    return (6, 2 * lanes), (4, 3 * lanes), (8, lanes)

"""LLVM text for a float times a whole power of two: one instruction with AVX-512, elsewhere two products.

2^n is split into two normal powers, so that results below the smallest normal number are rounded once, by the second
product, and 2^(bias + 1) needs no branch. Both ways give the same bits.
"""

from __future__ import annotations

from chainrule.backends.llvm.emit_index import Writer, value_type
from chainrule.backends.loops.nodes import Value
from chainrule.ir.types import f32, i32, i64

_NATIVE = {32: "ps", 64: "pd"}  # by bits of an element: the instruction's suffix
_KEEP_MODE = 4  # rounding as the control register says


def scaled(w: Writer, ty: str, a: str, n: str, out: Value) -> str:
    """a * 2^n of vectors or scalars of LLVM type ty."""
    whole = 512 // out.dtype.bits
    if not w.target.has("avx512f") or out.lanes % whole:
        return _by_products(w, ty, a, n, out)
    if out.lanes == whole:
        return _native(w, ty, a, n, out)
    half = Value(-1, out.dtype, out.lanes // 2)
    part = value_type(half.dtype, half.lanes)

    def piece(start: int) -> str:
        return scaled(w, part, _half(w, ty, a, half.lanes, start), _half(w, ty, n, half.lanes, start), half)

    low, high = piece(0), piece(half.lanes)
    lanes = ", ".join(f"i32 {i}" for i in range(out.lanes))
    return w.put(f"shufflevector {part} {low}, {part} {high}, <{out.lanes} x i32> <{lanes}>", "v")


def _half(w: Writer, ty: str, value: str, count: int, start: int) -> str:
    lanes = ", ".join(f"i32 {i}" for i in range(start, start + count))
    return w.put(f"shufflevector {ty} {value}, {ty} poison, <{count} x i32> <{lanes}>", "v")


def _native(w: Writer, ty: str, a: str, n: str, out: Value) -> str:
    mask = f"i{out.lanes}"
    signature = f"{ty} ({ty}, {ty}, {ty}, {mask}, i32)"
    name = w.intrinsic(f"llvm.x86.avx512.mask.scalef.{_NATIVE[out.dtype.bits]}.512", signature)
    return w.put(f"call {ty} @{name}({ty} {a}, {ty} {n}, {ty} zeroinitializer, {mask} -1, i32 {_KEEP_MODE})", "v")


def _by_products(w: Writer, ty: str, a: str, n: str, out: Value) -> str:
    """1.5 * 2^fraction + 2 * bias + n has n + 2 * bias in its low bits; half of that is the first power's exponent."""
    fraction, bias, integer = (23, 127, i32) if out.dtype == f32 else (52, 1023, i64)
    magic, mask = 1.5 * 2.0**fraction + 2 * bias, -(1 << fraction)
    whole = value_type(integer, out.lanes)

    def number(value: float) -> str:
        return f"{value:.1f}" if out.lanes == 1 else f"splat ({value_type(out.dtype, 1)} {value:.1f})"

    def integral(value: int) -> str:
        return str(value) if out.lanes == 1 else f"splat ({value_type(integer, 1)} {value})"

    shifted = w.put(f"fadd {ty} {n}, {number(magic)}", "v")
    bits = w.put(f"bitcast {ty} {shifted} to {whole}", "v")
    halved = w.put(f"shl {whole} {bits}, {integral(fraction - 1)}", "v")
    first = w.put(f"and {whole} {halved}, {integral(mask)}", "v")
    exponents = w.put(f"shl {whole} {bits}, {integral(fraction)}", "v")
    second = w.put(f"sub {whole} {exponents}, {first}", "v")
    for power in (first, second):
        factor = w.put(f"bitcast {whole} {power} to {ty}", "v")
        a = w.put(f"fmul {ty} {a}, {factor}", "v")
    return a

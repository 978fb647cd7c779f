"""LLVM text for the products of a few narrow numbers and their sum (Dot): the best instructions that a target has.

Bytes: one instruction does it all with AVX512-VNNI or AVX-VNNI. Other x86 processors multiply words and add up pairs of
them (pmaddwd): the bytes at even and at odd places become words of their own, so that nothing saturates, which
pmaddubsw would do. Elsewhere it is byte after byte. Pairs of bf16: one instruction with AVX512-BF16, else two
multiplications of the widened halves.
"""

from __future__ import annotations

from chainrule.backends.llvm.emit_index import Writer, value_type
from chainrule.backends.llvm.emit_ops import constant
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops.nodes import Dot
from chainrule.ir.types import f32, i16, i32

_WORD_PAIRS = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd", 4: "llvm.x86.sse2.pmadd.wd"}
_UPPER_HALF = 0xFFFF0000


def dot_op(w: Writer, node: Dot) -> None:
    """c plus the products of each lane."""
    (_pairs_dot if node.out.dtype.is_float else _bytes_dot)(w, node)


def _pairs_dot(w: Writer, node: Dot) -> None:
    """The order is the instruction's, seen on a Zen 5: 1,600,032 random sums equal fma(even, fma(odd, c))."""
    lanes = node.out.lanes
    floats, words = value_type(f32, lanes), value_type(i32, lanes)
    source = value_type(node.a.dtype, node.a.lanes)
    total, left, right = (w.names[v.id] for v in (node.c, node.a, node.b))
    if w.target.multiplies_pairs and lanes in (4, 8, 16):
        pairs = f"<{2 * lanes} x bfloat>"
        name = w.intrinsic(f"llvm.x86.avx512bf16.dpbf16ps.{32 * lanes}", f"{floats} ({floats}, {pairs}, {pairs})")
        a, b = (w.put(f"bitcast {source} {x} to {pairs}") for x in (left, right))
        w.names[node.out.id] = w.put(f"call {floats} @{name}({floats} {total}, {pairs} {a}, {pairs} {b})", "v")
        return
    suffix = f"v{lanes}f32" if lanes > 1 else "f32"
    name = w.intrinsic(f"llvm.fmuladd.{suffix}", f"{floats} ({floats}, {floats}, {floats})")
    both = [w.put(f"bitcast {source} {x} to {words}") for x in (left, right)]
    upper, half = constant((_UPPER_HALF,), i32, lanes), constant((16,), i32, lanes)
    for op in (f"and {words} %s, {upper}", f"shl {words} %s, {half}"):
        a, b = (w.put(f"bitcast {words} {w.put(op % x)} to {floats}") for x in both)
        total = w.put(f"call {floats} @{name}({floats} {a}, {floats} {b}, {floats} {total})", "v")
    w.names[node.out.id] = total


def _bytes_dot(w: Writer, node: Dot) -> None:
    """The intrinsic is written with lanes of i32, which every version of LLVM reads; newer ones take bytes themselves.
    """
    lanes, target = node.out.lanes, w.target
    a, b, total = (w.names[v.id] for v in (node.a, node.b, node.c))
    ty, source = value_type(i32, lanes), value_type(node.a.dtype, node.a.lanes)
    if target.multiplies_bytes and lanes % 4 == 0:
        left, right = (w.put(f"bitcast {source} {x} to {ty}") for x in (a, b))
        most = _most(target, lanes)
        name = w.intrinsic(f"llvm.x86.avx512.vpdpbusd.{32 * most}", _signature(most, most))
        pieces = [w.put(f"call {value_type(i32, most)} @{name}({_three(w, at, most, lanes, total, left, right)})", "v")
                  for at in range(0, lanes, most)]  # fmt: skip
        w.names[node.out.id] = _joined(w, pieces, most)
    elif target.is_x86 and lanes % 4 == 0:
        w.names[node.out.id] = _by_words(w, lanes, a, b, total)
    else:
        left, right = (w.put(f"bitcast {source} {x} to {ty}") for x in (a, b))
        w.names[node.out.id] = _by_bytes(w, lanes, left, right, total)


def _most(target: Target, lanes: int) -> int:
    """Lanes of the widest instruction for so many."""
    full = target.has("avx512vnni" if target.multiplies_bytes else "avx512bw")
    widest = 16 if full else 8 if target.has("avx2") else 4
    return next(n for n in (16, 8, 4) if n <= widest and lanes % n == 0)


def _signature(lanes: int, words: int) -> str:
    ty, operand = value_type(i32, lanes), value_type(i32 if words == lanes else i16, words)
    return f"{ty} ({ty}, {operand}, {operand})" if words == lanes else f"{ty} ({operand}, {operand})"


def _three(w: Writer, at: int, count: int, lanes: int, *values: str) -> str:
    """Operands of a call: the lanes from one on of i32 vectors."""
    ty = value_type(i32, count)
    return ", ".join(f"{ty} {_part(w, value_type(i32, lanes), x, at, count, lanes)}" for x in values)


def _part(w: Writer, ty: str, value: str, at: int, count: int, lanes: int) -> str:
    """Some neighbouring lanes of a vector."""
    if count == lanes:
        return value
    order = ", ".join(f"i32 {j}" for j in range(at, at + count))
    return w.put(f"shufflevector {ty} {value}, {ty} poison, <{count} x i32> <{order}>", "v")


def _joined(w: Writer, pieces: list[str], lanes: int) -> str:
    """Vectors of i32 behind one another, twice as long in each round."""
    while len(pieces) > 1:
        ty, order = value_type(i32, lanes), ", ".join(f"i32 {j}" for j in range(2 * lanes))
        pieces = [w.put(f"shufflevector {ty} {x}, {ty} {y}, <{2 * lanes} x i32> <{order}>", "v")
                  for x, y in zip(pieces[::2], pieces[1::2], strict=True)]  # fmt: skip
        lanes *= 2
    return pieces[0]


def _by_words(w: Writer, lanes: int, a: str, b: str, total: str) -> str:
    """The products of bytes at even places and of those at odd ones, each a sum of two words' products."""
    ty, words = value_type(i32, lanes), value_type(i16, 2 * lanes)
    left, right = (w.put(f"bitcast <{4 * lanes} x i8> {x} to {words}") for x in (a, b))
    eight, low = constant((8,), i16, 2 * lanes), constant((255,), i16, 2 * lanes)
    moved = w.put(f"shl {words} {right}, {eight}")
    pairs = [(w.put(f"and {words} {left}, {low}", "v"), w.put(f"ashr {words} {moved}, {eight}", "v")),
             (w.put(f"lshr {words} {left}, {eight}", "v"), w.put(f"ashr {words} {right}, {eight}", "v"))]  # fmt: skip
    most = _most(w.target, lanes)
    name = w.intrinsic(_WORD_PAIRS[most], _signature(most, 2 * most))
    part = value_type(i16, 2 * most)
    for x, y in pairs:
        sums = [w.put(f"call {value_type(i32, most)} @{name}("
                      f"{part} {_part(w, words, x, 2 * at, 2 * most, 2 * lanes)}, "
                      f"{part} {_part(w, words, y, 2 * at, 2 * most, 2 * lanes)})", "v")
                for at in range(0, lanes, most)]  # fmt: skip
        total = w.put(f"add {ty} {total}, {_joined(w, sums, most)}", "v")
    return total


def _by_bytes(w: Writer, lanes: int, left: str, right: str, total: str) -> str:
    ty = value_type(i32, lanes)

    def shifted(op: str, x: str, bits: int) -> str:
        return w.put(f"{op} {ty} {x}, {constant((bits,), i32, lanes)}")

    for at in range(0, 32, 8):
        unsigned = shifted("lshr", shifted("shl", left, 24 - at), 24)
        signed = shifted("ashr", shifted("shl", right, 24 - at), 24)
        product = w.put(f"mul {ty} {unsigned}, {signed}")
        total = w.put(f"add {ty} {total}, {product}", "v")
    return total

"""LLVM text for operations on values: arithmetic, comparison, conversion, lanes. Their meaning: docs/numerics.md.

f16 and bf16 are i16 in LLVM text and are computed in f32, rounded once: conversions that the target lacks, and all of
bf16's (the instruction flushes subnormals), are integer arithmetic, so that no library call is ever made. Longer than
most files: one short function for each kind of node.
"""

from __future__ import annotations

import struct

from chainrule.backends.llvm import emit_fmod, emit_scale
from chainrule.backends.llvm.emit_index import Writer, value_type
from chainrule.backends.loops.nodes import (
    Bin,
    Bitcast,
    Cast,
    Cmp,
    Const,
    Fma,
    Iota,
    Reduce,
    Select,
    Shuffle,
    Un,
    Value,
)
from chainrule.ir.types import DType, f32, i32

_FLOAT_BIN = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_INT_BIN = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
_FLOAT_UN = {"abs": "fabs", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "rint": "rint"}


def literal(bits: int, dtype: DType) -> str:
    """One constant as LLVM writes it, without its type."""
    if dtype.is_bool:
        return "true" if bits else "false"
    if dtype == f32:
        if bits & 0x7F800000 == 0x7F800000:
            bits = (bits >> 31) << 63 | 0x7FF << 52 | (bits & 0x7FFFFF) << 29
            return f"0x{bits:016X}"
        (number,) = struct.unpack("<f", bits.to_bytes(4, "little"))
        return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
    if dtype.is_float and dtype.bits == 64:
        return f"0x{bits:016X}"
    return str(bits - (1 << dtype.bits) if bits >> (dtype.bits - 1) else bits)


def constant(bits: tuple[int, ...], dtype: DType, lanes: int) -> str:
    """A scalar or vector constant, without its type."""
    if lanes == 1:
        return literal(bits[0], dtype)
    scalar = value_type(dtype, 1)
    if len(bits) == 1:
        return f"splat ({scalar} {literal(bits[0], dtype)})" if bits[0] else "zeroinitializer"
    return "<" + ", ".join(f"{scalar} {literal(b, dtype)}" for b in bits) + ">"


def const_op(w: Writer, node: Const) -> None:
    out = node.out
    w.names[out.id] = constant(node.bits, out.dtype, out.lanes)
    w.constants[out.id] = node.bits


def iota_op(w: Writer, node: Iota) -> None:
    out = node.out
    w.names[out.id] = constant(tuple(range(out.lanes)), out.dtype, out.lanes)


def un_op(w: Writer, node: Un) -> None:
    out = node.out
    a = w.names[node.a.id]
    ty = value_type(out.dtype, out.lanes)
    if not out.dtype.is_float:
        w.names[out.id] = _int_un(w, node.op, a, ty, out)
        return
    wide, wide_ty = widened(w, node.a)
    if node.op == "neg":
        result = w.put(f"fneg {wide_ty} {wide}")
    else:
        result = _call(w, _FLOAT_UN[node.op], wide_ty, out, wide)
    w.names[out.id] = narrowed(w, result, out)


def bin_op(w: Writer, node: Bin) -> None:
    out = node.out
    dtype = out.dtype
    if dtype.kind == "f":
        plain = _FLOAT_BIN.get(node.op)
        if plain is not None and dtype.bits >= 32:
            names = w.names
            ty = value_type(dtype, out.lanes)
            names[out.id] = w.put(f"{plain} {ty} {names[node.a.id]}, {names[node.b.id]}", "v")
            return
        a, ty = widened(w, node.a)
        b, _ = widened(w, node.b)
        w.names[out.id] = narrowed(w, _float_bin(w, node.op, ty, a, b, out), out)
        return
    a, b = w.names[node.a.id], w.names[node.b.id]
    w.names[out.id] = _int_bin(w, node.op, a, b, node.a, node.b)


def fma_op(w: Writer, node: Fma) -> None:
    out = node.out
    a, ty = widened(w, node.a)
    b, _ = widened(w, node.b)
    c, _ = widened(w, node.c)
    name = w.intrinsic(f"llvm.fmuladd.{_suffix(out)}", f"{ty} ({ty}, {ty}, {ty})")
    w.names[out.id] = narrowed(w, w.put(f"call {ty} @{name}({ty} {a}, {ty} {b}, {ty} {c})", "v"), out)


def cmp_op(w: Writer, node: Cmp) -> None:
    dtype = node.a.dtype
    a, ty = widened(w, node.a)
    b, _ = widened(w, node.b)
    w.names[node.out.id] = w.put(f"{_compare(node.op, dtype)} {ty} {a}, {b}", "v")


def select_op(w: Writer, node: Select) -> None:
    out = node.out
    ty = value_type(out.dtype, out.lanes)
    cond = value_type(node.cond.dtype, out.lanes)
    n = w.names
    n[out.id] = w.put(f"select {cond} {n[node.cond.id]}, {ty} {n[node.a.id]}, {ty} {n[node.b.id]}", "v")


def splat_text(w: Writer, operand: str, dtype: DType, lanes: int) -> str:
    """The operand in every lane."""
    scalar, ty = value_type(dtype, 1), value_type(dtype, lanes)
    if not operand.startswith("%"):
        return f"splat ({scalar} {operand})"
    one = w.put(f"insertelement {ty} poison, {scalar} {operand}, i64 0")
    return w.put(f"shufflevector {ty} {one}, {ty} poison, <{lanes} x i32> zeroinitializer", "v")


def shuffle_op(w: Writer, node: Shuffle) -> None:
    ty = value_type(node.a.dtype, node.a.lanes)
    if node.a.lanes == 1:
        w.names[node.out.id] = _shuffle_scalars(w, node)
        return
    w.names[node.out.id] = _shuffle(w, ty, w.names[node.a.id], w.names[node.b.id], node.lanes)


def bitcast_op(w: Writer, node: Bitcast) -> None:
    source, out = value_type(node.a.dtype, node.a.lanes), value_type(node.out.dtype, node.out.lanes)
    name = w.names[node.a.id]
    w.names[node.out.id] = name if source == out else w.put(f"bitcast {source} {name} to {out}", "v")


def reduce_op(w: Writer, node: Reduce) -> None:
    """Halves the vector until one lane is left."""
    a, dtype = node.a, node.a.dtype
    name = w.names[a.id]
    if dtype.is_bool:
        w.names[node.out.id] = any_lane(w, name, a.lanes) if node.op == "or" else all_lanes(w, name, a.lanes)
        return
    name, _ = widened(w, a)
    wide = f32 if dtype.is_float and dtype.bits == 16 else dtype
    lanes = a.lanes
    while lanes > 1:
        ty = value_type(wide, lanes)
        half = Value(-1, dtype, lanes // 2)
        low = _shuffle(w, ty, name, name, tuple(range(lanes // 2)))
        high = _shuffle(w, ty, name, name, tuple(range(lanes // 2, lanes)))
        if lanes == 2:
            low = w.put(f"extractelement {ty} {name}, i64 0")
            high = w.put(f"extractelement {ty} {name}, i64 1")
        lanes //= 2
        if dtype.is_float:
            name = _float_bin(w, node.op, value_type(wide, lanes), low, high, half)
            if wide != dtype:
                name = _f16_to_f32(w, narrowed(w, name, half), half) if lanes > 0 else name
        else:
            name = _int_bin(w, node.op, low, high, half, half)
    w.names[node.out.id] = narrowed(w, name, node.out) if dtype.is_float else name


def any_lane(w: Writer, mask: str, lanes: int) -> str:
    """i1: some lane of a bool vector is set."""
    bits = w.put(f"bitcast <{lanes} x i1> {mask} to i{lanes}")
    return w.put(f"icmp ne i{lanes} {bits}, 0")


def all_lanes(w: Writer, mask: str, lanes: int) -> str:
    """i1: every lane of a bool vector is set."""
    bits = w.put(f"bitcast <{lanes} x i1> {mask} to i{lanes}")
    return w.put(f"icmp eq i{lanes} {bits}, -1")


# -- conversion ------------------------------------------------------------------------------------------------------


def cast_op(w: Writer, node: Cast) -> None:
    source, out = node.a.dtype, node.out.dtype
    if source.is_float and out.is_float:
        name = _float_to_float(w, node)
    elif source.is_float:
        wide, ty = widened(w, node.a)
        name = _float_to_int(w, wide, ty, node.a, node.out)
    elif out.is_float:
        name = narrowed(w, int_to_float(w, w.names[node.a.id], source, out, node.out.lanes), node.out)
    else:
        name = _int_to_int(w, w.names[node.a.id], source, out, node.out.lanes)
    w.names[node.out.id] = name


def int_to_float(w: Writer, name: str, source: DType, out: DType, lanes: int) -> str:
    """An integer or bool as float (f32 for the 16-bit floats)."""
    signed = "sitofp" if source.is_signed and source.is_int else "uitofp"
    wide = out if out.bits >= 32 else f32
    return w.put(f"{signed} {value_type(source, lanes)} {name} to {value_type(wide, lanes)}", "v")


def widened(w: Writer, value: Value) -> tuple[str, str]:
    """(operand, type) of a value; f16 and bf16 become f32."""
    name = w.names[value.id]
    if value.dtype.is_float and value.dtype.bits == 16:
        return _f16_to_f32(w, name, value), value_type(f32, value.lanes)
    return name, value_type(value.dtype, value.lanes)


def narrowed(w: Writer, name: str, out: Value) -> str:
    """An f32 result as out's dtype where that is f16 or bf16; else unchanged."""
    if not (out.dtype.is_float and out.dtype.bits == 16):
        return name
    if out.dtype.name == "bf16":
        return _f32_to_bf16(w, name, out.lanes)
    floats = value_type(f32, out.lanes)
    if w.target.converts_f16:
        halves = "half" if out.lanes == 1 else f"<{out.lanes} x half>"
        half = w.put(f"fptrunc {floats} {name} to {halves}")
        return w.put(f"bitcast {halves} {half} to {value_type(out.dtype, out.lanes)}", "v")
    return _f32_to_f16_by_bits(w, name, out.lanes)


def _f16_to_f32(w: Writer, name: str, value: Value) -> str:
    lanes = value.lanes
    shorts, words, floats = value_type(value.dtype, lanes), value_type(i32, lanes), value_type(f32, lanes)
    if value.dtype.name == "bf16":
        word = w.put(f"zext {shorts} {name} to {words}")
        high = w.put(f"shl {words} {word}, {_c(16, lanes)}")
        return w.put(f"bitcast {words} {high} to {floats}")
    if w.target.converts_f16:
        halves = "half" if lanes == 1 else f"<{lanes} x half>"
        half = w.put(f"bitcast {shorts} {name} to {halves}")
        return w.put(f"fpext {halves} {half} to {floats}")
    # Exponent and fraction moved into place, then scaled by 2^112: exact, subnormals included.
    word = w.put(f"zext {shorts} {name} to {words}")
    size = w.put(f"and {words} {word}, {_c(0x7FFF, lanes)}")
    sign = w.put(f"shl {words} {w.put(f'and {words} {word}, {_c(0x8000, lanes)}')}, {_c(16, lanes)}")
    moved = w.put(f"bitcast {words} {w.put(f'shl {words} {size}, {_c(13, lanes)}')} to {floats}")
    scale = constant((0x77800000,), f32, lanes)
    scaled = w.put(f"bitcast {floats} {w.put(f'fmul {floats} {moved}, {scale}')} to {words}")
    special = w.put(f"icmp uge {words} {size}, {_c(0x7C00, lanes)}")
    bools = "i1" if lanes == 1 else f"<{lanes} x i1>"
    top = w.put(f"select {bools} {special}, {words} {_c(0x7F800000, lanes)}, {words} {_c(0, lanes)}")
    joined = w.put(f"or {words} {w.put(f'or {words} {scaled}, {top}')}, {sign}")
    return w.put(f"bitcast {words} {joined} to {floats}")


def _f32_to_bf16(w: Writer, name: str, lanes: int) -> str:
    words, floats = value_type(i32, lanes), value_type(f32, lanes)
    bools = "i1" if lanes == 1 else f"<{lanes} x i1>"
    bits = w.put(f"bitcast {floats} {name} to {words}")
    high = w.put(f"lshr {words} {bits}, {_c(16, lanes)}")
    odd = w.put(f"and {words} {high}, {_c(1, lanes)}")
    more = w.put(f"add {words} {w.put(f'add {words} {bits}, {_c(0x7FFF, lanes)}')}, {odd}")
    rounded = w.put(f"lshr {words} {more}, {_c(16, lanes)}")
    quiet = w.put(f"or {words} {high}, {_c(0x40, lanes)}")
    nan = w.put(f"fcmp uno {floats} {name}, {name}")
    chosen = w.put(f"select {bools} {nan}, {words} {quiet}, {words} {rounded}")
    return w.put(f"trunc {words} {chosen} to {'i16' if lanes == 1 else f'<{lanes} x i16>'}", "v")


def _f32_to_f16_by_bits(w: Writer, name: str, lanes: int) -> str:
    """Round to nearest even by integer arithmetic: adding 0.5 aligns subnormal results, a biased add rounds the
    rest."""
    words, floats = value_type(i32, lanes), value_type(f32, lanes)
    bools = "i1" if lanes == 1 else f"<{lanes} x i1>"
    bits = w.put(f"bitcast {floats} {name} to {words}")
    size = w.put(f"and {words} {bits}, {_c(0x7FFFFFFF, lanes)}")
    sign = w.put(f"lshr {words} {w.put(f'xor {words} {bits}, {size}')}, {_c(16, lanes)}")
    magnitude = w.put(f"bitcast {words} {size} to {floats}")
    moved = w.put(f"fadd {floats} {magnitude}, {constant((0x3F000000,), f32, lanes)}")
    small = w.put(f"sub {words} {w.put(f'bitcast {floats} {moved} to {words}')}, {_c(0x3F000000, lanes)}")
    odd = w.put(f"and {words} {w.put(f'lshr {words} {size}, {_c(13, lanes)}')}, {_c(1, lanes)}")
    biased = w.put(f"add {words} {w.put(f'add {words} {size}, {_c(0xC8000FFF - (1 << 32), lanes)}')}, {odd}")
    normal = w.put(f"lshr {words} {biased}, {_c(13, lanes)}")
    is_small = w.put(f"icmp ult {words} {size}, {_c(0x38800000, lanes)}")
    finite = w.put(f"select {bools} {is_small}, {words} {small}, {words} {normal}")
    is_big = w.put(f"icmp uge {words} {size}, {_c(0x47800000, lanes)}")
    is_nan = w.put(f"icmp ugt {words} {size}, {_c(0x7F800000, lanes)}")
    big = w.put(f"select {bools} {is_nan}, {words} {_c(0x7E00, lanes)}, {words} {_c(0x7C00, lanes)}")
    chosen = w.put(f"select {bools} {is_big}, {words} {big}, {words} {finite}")
    joined = w.put(f"or {words} {chosen}, {sign}")
    return w.put(f"trunc {words} {joined} to {'i16' if lanes == 1 else f'<{lanes} x i16>'}", "v")


def _float_to_float(w: Writer, node: Cast) -> str:
    source, out = node.a, node.out
    if source.dtype.bits < 64:
        wide, ty = widened(w, source)
        if out.dtype.bits == 64:
            return w.put(f"fpext {ty} {wide} to {value_type(out.dtype, out.lanes)}", "v")
        return narrowed(w, wide, out)
    name = w.names[source.id]
    floats = value_type(f32, out.lanes)
    single = w.put(f"fptrunc {value_type(source.dtype, out.lanes)} {name} to {floats}", "v")
    if out.dtype.name == "f16":
        single = _round_to_odd(w, name, single, source)
    return narrowed(w, single, out)


def _round_to_odd(w: Writer, double: str, single: str, source: Value) -> str:
    """The f32 next to an f64 towards zero, last bit set if inexact: rounding it again to f16 is rounding once."""
    lanes = source.lanes
    doubles, words, floats = value_type(source.dtype, lanes), value_type(i32, lanes), value_type(f32, lanes)
    back = w.put(f"fpext {floats} {single} to {doubles}")
    size = w.intrinsic(f"llvm.fabs.{_suffix(source)}", f"{doubles} ({doubles})")
    above = w.put(
        f"fcmp ogt {doubles} {w.put(f'call {doubles} @{size}({doubles} {back})')}, "
        f"{w.put(f'call {doubles} @{size}({doubles} {double})')}"
    )
    inexact = w.put(f"fcmp one {doubles} {back}, {double}")
    bools = "i1" if lanes == 1 else f"<{lanes} x i1>"
    bits = w.put(f"bitcast {floats} {single} to {words}")
    lower = w.put(f"add {words} {bits}, {w.put(f'sext {bools} {above} to {words}')}")
    sticky = w.put(f"or {words} {lower}, {w.put(f'zext {bools} {inexact} to {words}')}")
    return w.put(f"bitcast {words} {sticky} to {floats}")


def _float_to_int(w: Writer, name: str, ty: str, source: Value, out: Value) -> str:
    """Saturating: clamped by comparison first, since the saturating intrinsic becomes one call per lane."""
    lanes, dtype = out.lanes, out.dtype
    if dtype.is_bool:
        return w.put(f"fcmp une {ty} {name}, {_zero(lanes)}", "v")
    wide = source.dtype if source.dtype.bits >= 32 else f32
    low, high = (-(1 << dtype.bits - 1), (1 << dtype.bits - 1) - 1) if dtype.is_signed else (0, (1 << dtype.bits) - 1)
    below, above = _float_constant(float(low), wide, lanes), _float_constant(float(high + 1), wide, lanes)
    bools = "i1" if lanes == 1 else f"<{lanes} x i1>"
    is_high = w.put(f"fcmp oge {ty} {name}, {above}")
    is_low = w.put(f"fcmp olt {ty} {name}, {below}")
    is_odd = w.put(f"fcmp uno {ty} {name}, {name}")
    outside = w.put(f"or {bools} {w.put(f'or {bools} {is_high}, {is_low}')}, {is_odd}")
    safe = w.put(f"select {bools} {outside}, {ty} {_zero(lanes)}, {ty} {name}")
    bits = 32 if dtype.bits < 32 else dtype.bits
    middle = f"i{bits}" if lanes == 1 else f"<{lanes} x i{bits}>"
    integer = value_type(dtype, lanes)
    result = w.put(f"{'fptosi' if dtype.is_signed or bits > dtype.bits else 'fptoui'} {ty} {safe} to {middle}")
    if bits > dtype.bits:
        result = w.put(f"trunc {middle} {result} to {integer}")
    result = w.put(f"select {bools} {is_high}, {integer} {_c(_signed(high, dtype), lanes, dtype)}, {integer} {result}")
    return w.put(f"select {bools} {is_low}, {integer} {_c(low, lanes, dtype)}, {integer} {result}", "v")


def _int_to_int(w: Writer, name: str, source: DType, out: DType, lanes: int) -> str:
    before, after = value_type(source, lanes), value_type(out, lanes)
    if out.is_bool:
        return w.put(f"icmp ne {before} {name}, {_zero(lanes, True)}", "v")
    if source.bits == out.bits:
        return name
    if source.bits > out.bits:
        return w.put(f"trunc {before} {name} to {after}", "v")
    widen = "sext" if source.is_int and source.is_signed else "zext"
    return w.put(f"{widen} {before} {name} to {after}", "v")


# -- arithmetic ------------------------------------------------------------------------------------------------------


def _float_bin(w: Writer, op: str, ty: str, a: str, b: str, out: Value) -> str:
    plain = _FLOAT_BIN.get(op)
    if plain is not None:
        return w.put(f"{plain} {ty} {a}, {b}", "v")
    if op in ("min", "max"):
        bools = "i1" if out.lanes == 1 else f"<{out.lanes} x i1>"
        test = w.put(f"fcmp {'olt' if op == 'min' else 'ogt'} {ty} {a}, {b}")
        return w.put(f"select {bools} {test}, {ty} {a}, {ty} {b}", "v")
    if op == "scale":
        return emit_scale.scaled(w, ty, a, b, out)
    if op in ("minimum", "maximum", "copysign"):
        return _call(w, op, ty, out, a, b)
    return _float_rem(w, ty, a, b, out)


def _float_rem(w: Writer, ty: str, a: str, b: str, out: Value) -> str:
    """Lane by lane through f64, by a function that goes into the module: frem would be a library call."""
    for symbol, signature in emit_fmod.INTRINSICS:
        w.intrinsic(symbol, signature)
    w.helpers.add(emit_fmod.TEXT)
    lanes, single = out.lanes, out.dtype.bits < 64
    scalar = "float" if single else "double"
    name = "poison"
    for lane in range(lanes):
        x, y = a, b
        if lanes > 1:
            x, y = w.put(f"extractelement {ty} {a}, i64 {lane}"), w.put(f"extractelement {ty} {b}, i64 {lane}")
        if single:
            x, y = w.put(f"fpext float {x} to double"), w.put(f"fpext float {y} to double")
        r = w.put(f"call double @{emit_fmod.NAME}(double {x}, double {y})")
        if single:
            r = w.put(f"fptrunc double {r} to float")
        name = r if lanes == 1 else w.put(f"insertelement {ty} {name}, {scalar} {r}, i64 {lane}", "v")
    return name


def _int_bin(w: Writer, op: str, a: str, b: str, x: Value, y: Value) -> str:
    ty = value_type(x.dtype, x.lanes)
    plain = _INT_BIN.get(op)
    if plain is not None:
        return w.put(f"{plain} {ty} {a}, {b}", "v")
    if op in ("min", "max", "minimum", "maximum"):
        kind = ("s" if x.dtype.is_signed else "u") + op[:3]
        name = w.intrinsic(f"llvm.{kind}.{_suffix(x)}", f"{ty} ({ty}, {ty})")
        return w.put(f"call {ty} @{name}({ty} {a}, {ty} {b})", "v")
    if op in ("shl", "shr"):
        return _shift(w, op, ty, a, b, x, w.constants.get(y.id))
    return _divide(w, op, ty, a, b, x, w.constants.get(y.id))


def _int_un(w: Writer, op: str, a: str, ty: str, out: Value) -> str:
    if op == "neg":
        return w.put(f"sub {ty} {_zero(out.lanes, True)}, {a}", "v")
    if op == "not":
        ones = "true" if out.dtype.is_bool else "-1"
        scalar = value_type(out.dtype, 1)
        return w.put(f"xor {ty} {a}, {ones if out.lanes == 1 else f'splat ({scalar} {ones})'}", "v")
    if not out.dtype.is_signed:
        return a
    name = w.intrinsic(f"llvm.abs.{_suffix(out)}", f"{ty} ({ty}, i1)")
    return w.put(f"call {ty} @{name}({ty} {a}, i1 false)", "v")


def _shift(w: Writer, op: str, ty: str, a: str, b: str, x: Value, known: tuple[int, ...] | None) -> str:
    bits, lanes, dtype = x.dtype.bits, x.lanes, x.dtype
    name = "shl" if op == "shl" else "ashr" if dtype.is_signed else "lshr"
    if known is not None and all(count < bits for count in known):
        return w.put(f"{name} {ty} {a}, {b}", "v")
    bools = "i1" if lanes == 1 else f"<{lanes} x i1>"
    fits = w.put(f"icmp ult {ty} {b}, {_c(bits, lanes, dtype)}")
    other = _c(bits - 1, lanes, dtype) if name == "ashr" else _zero(lanes, True)
    count = w.put(f"select {bools} {fits}, {ty} {b}, {ty} {other}")
    shifted = w.put(f"{name} {ty} {a}, {count}", "v")
    if name == "ashr":
        return shifted
    return w.put(f"select {bools} {fits}, {ty} {shifted}, {ty} {_zero(lanes, True)}", "v")


def _divide(w: Writer, op: str, ty: str, a: str, b: str, x: Value, known: tuple[int, ...] | None) -> str:
    """Total division: the divisors 0 and -1 are replaced by 1 before the instruction that would trap."""
    lanes, dtype = x.lanes, x.dtype
    sign = "s" if dtype.is_signed else "u"
    name = sign + ("div" if op == "div" else "rem")
    minus_one = (1 << dtype.bits) - 1
    if known is not None and all(d != 0 and (d != minus_one or sign == "u") for d in known):
        return w.put(f"{name} {ty} {a}, {b}", "v")
    bools = "i1" if lanes == 1 else f"<{lanes} x i1>"
    zero, one, ones = _zero(lanes, True), _c(1, lanes, dtype), _c(-1, lanes, dtype)
    is_zero = w.put(f"icmp eq {ty} {b}, {zero}")
    bad, is_minus = is_zero, ""
    if sign == "s":
        is_minus = w.put(f"icmp eq {ty} {b}, {ones}")
        bad = w.put(f"or {bools} {is_zero}, {is_minus}")
    safe = w.put(f"select {bools} {bad}, {ty} {one}, {ty} {b}", "safe")
    result = w.put(f"{name} {ty} {a}, {safe}", "v")
    if op == "div":
        if is_minus:
            negative = w.put(f"sub {ty} {zero}, {a}")
            result = w.put(f"select {bools} {is_minus}, {ty} {negative}, {ty} {result}")
        return w.put(f"select {bools} {is_zero}, {ty} {ones}, {ty} {result}", "v")
    return w.put(f"select {bools} {is_zero}, {ty} {a}, {ty} {result}", "v")


def _compare(op: str, dtype: DType) -> str:
    if dtype.is_float:
        return "fcmp " + ("une" if op == "ne" else "o" + op)
    if op in ("eq", "ne"):
        return "icmp " + op
    return "icmp " + ("s" if dtype.is_signed else "u") + op


def _call(w: Writer, op: str, ty: str, out: Value, *operands: str) -> str:
    name = w.intrinsic(f"llvm.{op}.{_suffix(out)}", f"{ty} ({', '.join([ty] * len(operands))})")
    return w.put(f"call {ty} @{name}({', '.join(f'{ty} {x}' for x in operands)})", "v")


def _suffix(value: Value) -> str:
    """The intrinsic's type suffix, where 16-bit floats are computed as f32."""
    dtype = value.dtype
    name = f"f{max(32, dtype.bits)}" if dtype.is_float else f"i{dtype.bits}"
    return name if value.lanes == 1 else f"v{value.lanes}{name}"


def _shuffle(w: Writer, ty: str, a: str, b: str, lanes: tuple[int, ...]) -> str:
    order = ", ".join(f"i32 {j}" for j in lanes)
    return w.put(f"shufflevector {ty} {a}, {ty} {b}, <{len(lanes)} x i32> <{order}>", "v")


def _shuffle_scalars(w: Writer, node: Shuffle) -> str:
    scalar, ty = value_type(node.a.dtype, 1), value_type(node.out.dtype, node.out.lanes)
    name = "poison"
    for place, lane in enumerate(node.lanes):
        source = w.names[(node.a if lane == 0 else node.b).id]
        name = w.put(f"insertelement {ty} {name}, {scalar} {source}, i64 {place}", "v")
    return name


def _c(number: int, lanes: int, dtype: DType = i32) -> str:
    """An integer constant (given as a signed number), without its type."""
    if lanes == 1:
        return str(number)
    return f"splat ({value_type(dtype, 1)} {number})" if number else "zeroinitializer"


def _zero(lanes: int, integer: bool = False) -> str:
    if lanes > 1:
        return "zeroinitializer"
    return "0" if integer else "0.0"


def _signed(number: int, dtype: DType) -> int:
    return number - (1 << dtype.bits) if number >> (dtype.bits - 1) else number


def _float_constant(number: float, dtype: DType, lanes: int) -> str:
    packed = struct.pack("<d" if dtype.bits == 64 else "<f", number)
    return constant((int.from_bytes(packed, "little"),), dtype, lanes)

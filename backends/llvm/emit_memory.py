"""LLVM text for loads, stores and gathers: whole, masked, strided. Nothing outside the addressed elements is
touched."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.backends.llvm.emit_index import Writer, memory_type, value_type
from chainrule.backends.llvm.emit_ops import constant, splat_text
from chainrule.backends.loops.ints import Int, as_int, bounds
from chainrule.backends.loops.nodes import Buffer, Gather, Load, Mask, Store, Value
from chainrule.backends.loops.prove import nonneg
from chainrule.ir.types import DType, bool_, i8, i32, i64

LINE = 64  # bytes of a cache line
NONTEMPORAL = "!0 = !{i32 1}\n"
_MAX_WIDE_STRIDE = 4  # up to here whole vectors are loaded and shuffled; beyond, the lanes one by one


def load_op(w: Writer, node: Load) -> None:
    out, buffer = node.out, node.buffer
    stride = w.resolved(node.stride)
    mask = _mask(w, node.mask, out.lanes)
    if mask == "none":
        w.names[out.id] = constant((0,), out.dtype, out.lanes)
        return
    if out.lanes > 1 and stride != 1:
        raw = _strided(w, node, stride, mask)
    elif mask:
        raw = _masked_load(w, out, buffer, w.pointer(buffer, node.index), mask)
    else:
        ty = memory_type(out.dtype, out.lanes)
        raw = w.put(f"load {ty}, ptr {w.pointer(buffer, node.index)}, align {buffer.dtype.itemsize}", "v")
    w.names[out.id] = _from_memory(w, raw, out.dtype, out.lanes)


def store_op(w: Writer, node: Store) -> None:
    value, buffer = node.value, node.buffer
    lanes = value.lanes
    mask = _mask(w, node.mask, lanes)
    if mask == "none":
        return
    stride = w.resolved(node.stride)
    ty = memory_type(value.dtype, lanes)
    name = _to_memory(w, w.names[value.id], value.dtype, lanes)
    align = buffer.dtype.itemsize
    if lanes > 1 and stride != 1:
        _strided_store(w, node, name, stride, mask)
        return
    place = w.pointer(buffer, node.index)
    if not mask:
        w.lines.append(f"  store {ty} {name}, ptr {place}, align {align}")
        return
    if lanes > 1 and mask.count("true") == 1 and mask.startswith("<i1 true"):
        # Masked to one lane of a narrowed vector, LLVM 22 writes the wide element on AVX-512, beyond the buffer.
        one = w.put(f"extractelement {ty} {name}, i64 0")
        w.lines.append(f"  store {memory_type(value.dtype, 1)} {one}, ptr {place}, align {align}")
        return
    ty, name = _as_vector(w, name, value.dtype, lanes)
    suffix = _memory_suffix(value.dtype, lanes)
    store = w.intrinsic(f"llvm.masked.store.{suffix}.p0", f"void ({ty}, ptr, i32, <{lanes} x i1>)")
    w.lines.append(f"  call void @{store}({ty} {name}, ptr {place}, i32 {align}, <{lanes} x i1> {mask})")


def bind_streams(w: Writer, buffers: Sequence[Buffer]) -> None:
    """Chooses the buffers whose whole lines are stored past the caches: those as large as the last cache, or larger.

    Such a store does not read the line first. Copying 64 MB: 57 GB/s instead of 41 on Zen 5, below the size of the
    cache nothing is gained. A buffer that is written over one that is read has its lines in the cache already: an
    update of Adam, 44 MB a tensor, takes 4.4 ms with plain stores and 4.8 past the caches, 2.1 and 2.4 on two cores.
    """
    if not w.target.is_x86:
        return
    for b in buffers:
        if not b.streams:
            continue
        size = as_int(b.dtype.itemsize)
        for extent in b.shape:
            size = size * extent
        if size.is_const and size.const < w.target.l3:
            continue
        kept = [w.put(f"icmp eq ptr %b{b.number}, %b{other.number}") for other in buffers if _may_be_under(b, other)]
        if not size.is_const:
            kept.append(w.put(f"icmp ult i64 {w.int(size)}, {w.target.l3}"))
        bits = str(LINE - 1)
        for holds in kept:
            bits = w.put(f"select i1 {holds}, i64 -1, i64 {bits}", "n")
        w.streams[b.number] = bits


def _may_be_under(b: Buffer, other: Buffer) -> bool:
    """True for a buffer that is read, over which b may be written."""
    return other is not b and "r" in other.mode and not (b.exclusive or other.exclusive)


def fence_streams(w: Writer) -> None:
    """Stores past the caches are seen by others after a fence only."""
    if w.streams:
        w.lines.append(f"  call void @{w.intrinsic('llvm.x86.sse.sfence', 'void ()')}()")


def passes_caches(w: Writer, node: Store) -> bool:
    """True for a store of whole lines that goes past the caches if its address begins a line."""
    if node.buffer.scratch or node.buffer.number not in w.streams:
        return False
    whole = node.value.lanes * node.buffer.dtype.itemsize >= LINE
    return whole and node.mask is None and w.resolved(node.stride) == 1


def lines_apart(a: Store, b: Store) -> bool:
    """True if two stores certainly lie whole lines apart: what the one's address tells is true of both."""
    if a.buffer != b.buffer or not a.index:
        return False
    apart, pitch = as_int(0), as_int(1)
    for extent, here, there in zip(reversed(a.buffer.shape), reversed(a.index), reversed(b.index), strict=True):
        apart, pitch = apart + (there - here) * pitch, pitch * extent
    return apart.is_const and apart.const * a.buffer.dtype.itemsize % LINE == 0


def stream_stores(w: Writer, run: Sequence[Store]) -> None:
    """Stores past the caches where the address of the first begins a line, else plain ones.

    One branch for all: between branches LLVM moves what is stored next to its store, one after the other again.
    """
    past: list[str] = []
    plain: list[str] = []
    places: list[str] = []
    for node in run:
        value, buffer = node.value, node.buffer
        name = _to_memory(w, w.names[value.id], value.dtype, value.lanes)
        places.append(w.pointer(buffer, node.index))
        store = f"  store {memory_type(value.dtype, value.lanes)} {name}, ptr {places[-1]}, align"
        past.append(f"{store} {LINE}, !nontemporal !0")
        plain.append(f"{store} {buffer.dtype.itemsize}")
    yes, no, done = w.label(), w.label(), w.label()
    address = w.put(f"ptrtoint ptr {places[0]} to i64")
    low = w.put(f"and i64 {address}, {w.streams[run[0].buffer.number]}")
    whole = w.put(f"icmp eq i64 {low}, 0")
    w.lines += [f"  br i1 {whole}, label %{yes}, label %{no}", f"{yes}:", *past, f"  br label %{done}",
                f"{no}:", *plain, f"  br label %{done}", f"{done}:"]  # fmt: skip
    w.scopes[-1].label = done


def gather_op(w: Writer, node: Gather) -> None:
    out, buffer = node.out, node.buffer
    lanes = out.lanes
    mask = _mask(w, node.mask, lanes)
    if mask == "none":
        w.names[out.id] = constant((0,), out.dtype, lanes)
        return
    longs = value_type(i64, lanes)
    offsets = w.names[node.offsets.id]
    if node.offsets.dtype == i32:
        offsets = w.put(f"sext {value_type(i32, lanes)} {offsets} to {longs}")
    extent = w.resolved(buffer.shape[-1])
    start, last = w.int(node.index[-1]), w.int(extent - 1)
    place = offsets
    if start != "0":
        place = w.put(f"add {longs} {offsets}, {_splat(w, start, lanes)}")
    suffix = "i64" if lanes == 1 else f"v{lanes}i64"
    least = w.intrinsic(f"llvm.smin.{suffix}", f"{longs} ({longs}, {longs})")
    most = w.intrinsic(f"llvm.smax.{suffix}", f"{longs} ({longs}, {longs})")
    place = w.put(f"call {longs} @{least}({longs} {place}, {longs} {_splat(w, last, lanes)})")
    zero = "0" if lanes == 1 else "zeroinitializer"
    place = w.put(f"call {longs} @{most}({longs} {place}, {longs} {zero})")
    low = bounds(extent)[0]
    if low is None or low < 1:
        some = w.put(f"icmp sgt i64 {w.int(extent)}, 0")
        all_some = some if lanes == 1 else splat_text(w, some, bool_, lanes)
        if lanes == 1:
            all_some = w.put(f"insertelement <1 x i1> poison, i1 {some}, i64 0")
        mask = w.put(f"and <{lanes} x i1> {mask}, {all_some}") if mask else all_some
    row = w.pointer(buffer, (*node.index[:-1], as_int(0)))
    raw = _gathered(w, out, buffer, row, place, mask)
    w.names[out.id] = _from_memory(w, raw, out.dtype, lanes)


def _gathered(w: Writer, out: Value, buffer: Buffer, row: str, places: str, mask: str) -> str:
    lanes = out.lanes
    scalar = memory_type(out.dtype, 1)
    align = buffer.dtype.itemsize
    if lanes == 1:
        place = w.put(f"getelementptr {scalar}, ptr {row}, i64 {places}", "p")
        if mask:
            return _masked_load(w, out, buffer, place, mask)
        return w.put(f"load {scalar}, ptr {place}, align {align}", "v")
    ty = memory_type(out.dtype, lanes)
    pointers = w.put(f"getelementptr {scalar}, ptr {row}, <{lanes} x i64> {places}", "p")
    suffix = _memory_suffix(out.dtype, lanes)
    bools = f"<{lanes} x i1>"
    name = w.intrinsic(f"llvm.masked.gather.{suffix}.v{lanes}p0", f"{ty} (<{lanes} x ptr>, i32, {bools}, {ty})")
    chosen = mask or "splat (i1 true)"
    return w.put(
        f"call {ty} @{name}(<{lanes} x ptr> {pointers}, i32 {align}, {bools} {chosen}, {ty} zeroinitializer)", "v"
    )


def _masked_load(w: Writer, out: Value, buffer: Buffer, place: str, mask: str) -> str:
    lanes = out.lanes
    ty = f"<{lanes} x {memory_type(out.dtype, 1)}>"
    name = w.intrinsic(
        f"llvm.masked.load.{_memory_suffix(out.dtype, lanes)}.p0", f"{ty} (ptr, i32, <{lanes} x i1>, {ty})"
    )
    align = buffer.dtype.itemsize
    raw = w.put(f"call {ty} @{name}(ptr {place}, i32 {align}, <{lanes} x i1> {mask}, {ty} zeroinitializer)", "v")
    return raw if lanes > 1 else w.put(f"extractelement {ty} {raw}, i64 0", "v")


def _strided(w: Writer, node: Load, stride: Int, mask: str) -> str:
    out, buffer = node.out, node.buffer
    lanes = out.lanes
    if mask:
        row = w.pointer(buffer, node.index)
        return _gathered(w, out, buffer, row, _steps(w, stride, lanes), mask)
    if stride == 0:
        one = w.put(f"load {memory_type(out.dtype, 1)}, ptr {w.pointer(buffer, node.index)}, align 1", "v")
        return splat_text(w, one, _byte(out.dtype), lanes)
    if stride.is_const and abs(stride.const) <= _MAX_WIDE_STRIDE:
        return _wide_loads(w, node, stride.const)
    ty, scalar = memory_type(out.dtype, lanes), memory_type(out.dtype, 1)
    name = "poison"
    for lane in range(lanes):
        place = w.pointer(buffer, (*node.index[:-1], node.index[-1] + stride * lane))
        one = w.put(f"load {scalar}, ptr {place}, align {buffer.dtype.itemsize}")
        name = w.put(f"insertelement {ty} {name}, {scalar} {one}, i64 {lane}", "v")
    return name


def _wide_loads(w: Writer, node: Load, stride: int) -> str:
    """Vectors that cover the span exactly (the last one ends on the last element), then shuffles that pick the
    lanes."""
    out, buffer = node.out, node.buffer
    lanes = out.lanes
    ty = memory_type(out.dtype, lanes)
    span = abs(stride) * (lanes - 1) + 1
    lowest = node.index[-1] if stride > 0 else node.index[-1] + stride * (lanes - 1)
    positions = [lane * stride + (0 if stride > 0 else span - 1) for lane in range(lanes)]
    parts = -(-span // lanes)
    name = "poison"
    for part in range(parts):
        start = min(lanes * part, span - lanes)
        place = w.pointer(buffer, (*node.index[:-1], lowest + start))
        piece = w.put(f"load {ty}, ptr {place}, align {buffer.dtype.itemsize}", "v")
        picks = [p - start + lanes if p // lanes == part else lane for lane, p in enumerate(positions)]
        order = ", ".join(f"i32 {pick}" for pick in picks)
        name = w.put(f"shufflevector {ty} {name}, {ty} {piece}, <{lanes} x i32> <{order}>", "v")
    return name


def _strided_store(w: Writer, node: Store, name: str, stride: Int, mask: str) -> None:
    value, buffer = node.value, node.buffer
    lanes = value.lanes
    ty, scalar = memory_type(value.dtype, lanes), memory_type(value.dtype, 1)
    align = buffer.dtype.itemsize
    if not mask:
        for lane in range(lanes):
            place = w.pointer(buffer, (*node.index[:-1], node.index[-1] + stride * lane))
            one = w.put(f"extractelement {ty} {name}, i64 {lane}")
            w.lines.append(f"  store {scalar} {one}, ptr {place}, align {align}")
        return
    row = w.pointer(buffer, node.index)
    pointers = w.put(f"getelementptr {scalar}, ptr {row}, <{lanes} x i64> {_steps(w, stride, lanes)}", "p")
    scatter = w.intrinsic(
        f"llvm.masked.scatter.{_memory_suffix(value.dtype, lanes)}.v{lanes}p0",
        f"void ({ty}, <{lanes} x ptr>, i32, <{lanes} x i1>)",
    )
    w.lines.append(
        f"  call void @{scatter}({ty} {name}, <{lanes} x ptr> {pointers}, i32 {align}, <{lanes} x i1> {mask})"
    )


def _steps(w: Writer, stride: Int, lanes: int) -> str:
    """The vector 0, stride, 2 * stride, ..."""
    if stride.is_const:
        return "<" + ", ".join(f"i64 {lane * stride.const}" for lane in range(lanes)) + ">"
    iota = constant(tuple(range(lanes)), i64, lanes)
    return w.put(f"mul <{lanes} x i64> {iota}, {_splat(w, w.int(stride), lanes)}")


def _splat(w: Writer, operand: str, lanes: int) -> str:
    return operand if lanes == 1 else splat_text(w, operand, i64, lanes)


def _mask(w: Writer, mask: Mask, lanes: int) -> str:
    """The mask as <lanes x i1>: "" when every lane is certainly valid, "none" when none is."""
    if mask is None:
        return ""
    if isinstance(mask, Value):
        name = w.names[mask.id]
        return name if lanes > 1 else w.put(f"insertelement <1 x i1> poison, i1 {name}, i64 0")
    count = w.resolved(mask)
    low, high = bounds(count)
    if low is not None and low >= lanes:
        return ""
    if high is not None and high <= 0:
        return "none"
    if count.is_const:
        return "<" + ", ".join(f"i1 {'true' if j < count.const else 'false'}" for j in range(lanes)) + ">"
    return w.hoisted(("mask", count, lanes), count, lambda: _count_mask(w, count, lanes))


def _count_mask(w: Writer, count: Int, lanes: int) -> str:
    low, high = bounds(count)
    name = w.int(count)
    if (low is None or low < 0) and not nonneg(count):
        most = w.intrinsic("llvm.smax.i64", "i64 (i64, i64)")
        name = w.put(f"call i64 @{most}(i64 {name}, i64 0)")
    if (high is None or high > lanes) and not nonneg(lanes - count):
        least = w.intrinsic("llvm.smin.i64", "i64 (i64, i64)")
        name = w.put(f"call i64 @{least}(i64 {name}, i64 {lanes})")
    dtype = i32 if lanes <= 16 else i8
    narrow = w.put(f"trunc i64 {name} to {value_type(dtype, 1)}")
    ty = f"<{lanes} x {value_type(dtype, 1)}>"
    if lanes == 1:
        one = w.put(f"icmp ne {value_type(dtype, 1)} {narrow}, 0")
        return w.put(f"insertelement <1 x i1> poison, i1 {one}, i64 0")
    iota = constant(tuple(range(lanes)), dtype, lanes)
    return w.put(f"icmp ult {ty} {iota}, {splat_text(w, narrow, dtype, lanes)}")


def _from_memory(w: Writer, raw: str, dtype: DType, lanes: int) -> str:
    if not dtype.is_bool:
        return raw
    zero = "0" if lanes == 1 else "zeroinitializer"
    return w.put(f"icmp ne {memory_type(dtype, lanes)} {raw}, {zero}", "v")


def _to_memory(w: Writer, name: str, dtype: DType, lanes: int) -> str:
    if not dtype.is_bool:
        return name
    return w.put(f"zext {value_type(dtype, lanes)} {name} to {memory_type(dtype, lanes)}", "v")


def _as_vector(w: Writer, name: str, dtype: DType, lanes: int) -> tuple[str, str]:
    scalar = memory_type(dtype, 1)
    ty = f"<{lanes} x {scalar}>"
    if lanes > 1:
        return ty, name
    return ty, w.put(f"insertelement {ty} poison, {scalar} {name}, i64 0")


def _memory_suffix(dtype: DType, lanes: int) -> str:
    scalar = memory_type(dtype, 1)
    return f"v{lanes}" + {"float": "f32", "double": "f64"}.get(scalar, scalar)


def _byte(dtype: DType) -> DType:
    """The dtype whose value type equals this one's memory type."""
    return i8 if dtype.is_bool else dtype

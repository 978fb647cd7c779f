"""Loop IR to LLVM text: one case per node, no op names. SSA is written directly, with a phi per register and loop.

Loops are bottom-tested behind a guard; the guard is left out where the loop certainly runs. See emit_index.py for
addresses and emit_ops.py for values. The only fast-math is llvm.fmuladd, the IR's fma.
"""

from __future__ import annotations

from chainrule.backends.llvm.emit_dot import dot_op
from chainrule.backends.llvm.emit_index import Writer, memory_type, value_type
from chainrule.backends.llvm.emit_memory import (
    NONTEMPORAL,
    bind_streams,
    fence_streams,
    gather_op,
    lines_apart,
    load_op,
    passes_caches,
    store_op,
    stream_stores,
)
from chainrule.backends.llvm.emit_ops import (
    any_lane,
    bin_op,
    bitcast_op,
    cast_op,
    cmp_op,
    const_op,
    constant,
    fma_op,
    int_to_float,
    iota_op,
    narrowed,
    reduce_op,
    select_op,
    shuffle_op,
    splat_text,
    un_op,
)
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops.ints import LoopError, as_int, bounds
from chainrule.backends.loops.nodes import (
    Bin,
    Bitcast,
    Cast,
    Cmp,
    Const,
    Declare,
    Dot,
    Extract,
    FailWhen,
    Fma,
    For,
    Forget,
    FromIndex,
    Function,
    Gather,
    Get,
    If,
    Insert,
    Iota,
    Load,
    Node,
    Prefetch,
    Reduce,
    Register,
    Select,
    Set,
    Shuffle,
    Splat,
    Store,
    ToIndex,
    Un,
    While,
    registers_set,
)

ATTRIBUTES = 'attributes #0 = { nounwind "no-builtins" }\nattributes #1 = { nounwind noinline "no-builtins" }\n'


def emit_function(fn: Function, target: Target, name: str) -> str:
    """A whole LLVM module that defines the kernel under a name. Its ABI: docs/design/0011."""
    w = Writer(target)
    inner = any(b.exclusive for b in fn.buffers)
    head = _open(w, fn, inner)
    if fn.parallel_loop is None:
        _guarded(w, fn)
    else:
        _body(w, fn.body)
    fence_streams(w)
    w.lines.append("  ret void")
    assert len(w.scopes) == 1
    parts = [_wrapper(fn, name) if inner else "", head.format(name=name)]
    parts += [line + "\n" for line in w.lines] + ["}\n"]
    parts += sorted(w.helpers)
    parts += [_declaration(symbol, signature) for symbol, signature in sorted(w.declarations.items())]
    return "".join([*parts, ATTRIBUTES, NONTEMPORAL if w.streams else ""])


def _declaration(symbol: str, signature: str) -> str:
    result, arguments = signature.split(" (", 1) if not signature.startswith("<") else signature.split("> (", 1)
    closing = ">" if signature.startswith("<") else ""
    return f"declare {result}{closing} @{symbol}({arguments}\n"


def _open(w: Writer, fn: Function, inner: bool) -> str:
    """Binds buffers and sizes and returns the function's first line."""
    if inner:
        # Only arguments can be noalias, so the body is a function of its own with one argument per buffer.
        arguments = [f"ptr {'noalias ' if b.exclusive else ''}%b{b.number}" for b in fn.buffers]
        listed = ", ".join([*arguments, "ptr %sizes", "i64 %lo", "i64 %hi", "ptr %status"])
        head = f"define internal void @body({listed}) #1 {{{{\n"
    else:
        head = "define void @{name}(ptr %bufs, ptr %sizes, i64 %lo, i64 %hi, ptr %status) #0 {{\n"
        w.lines.append("entry:")
    if inner:
        w.lines.append("entry:")
    for b in fn.buffers:
        if not inner:
            place = w.put(f"getelementptr ptr, ptr %bufs, i64 {b.number}") if b.number else "%bufs"
            w.lines.append(f"  %b{b.number} = load ptr, ptr {place}")
        w.bind_buffer(b, f"%b{b.number}")
    for s in fn.sizes:
        place = w.put(f"getelementptr i64, ptr %sizes, i64 {s.number}") if s.number else "%sizes"
        w.bind_atom(s, w.put(f"load i64, ptr {place}", "n"), 0)
    bind_streams(w, fn.buffers)
    for b in fn.scratch:
        count = 1
        for extent in b.shape:
            count *= int(extent)
        w.bind_buffer(b, w.put(f"alloca [{max(count, 1)} x {memory_type(b.dtype, 1)}], align {b.align}", "s"))
    return head


def _wrapper(fn: Function, name: str) -> str:
    lines = [f"define void @{name}(ptr %bufs, ptr %sizes, i64 %lo, i64 %hi, ptr %status) #0 {{"]
    for b in fn.buffers:
        lines.append(f"  %q{b.number} = getelementptr ptr, ptr %bufs, i64 {b.number}")
        lines.append(f"  %b{b.number} = load ptr, ptr %q{b.number}")
    arguments = [f"ptr {'noalias ' if b.exclusive else ''}%b{b.number}" for b in fn.buffers]
    call = ", ".join([*arguments, "ptr %sizes", "i64 %lo", "i64 %hi", "ptr %status"])
    return "\n".join([*lines, f"  call void @body({call})", "  ret void", "}", ""])


def _guarded(w: Writer, fn: Function) -> None:
    """A kernel without a parallel loop runs only when its one iteration is asked for."""
    some = w.put("icmp slt i64 %lo, %hi")
    run, done = w.label(), w.label()
    w.lines += [f"  br i1 {some}, label %{run}, label %{done}", f"{run}:"]
    w.scopes[-1].label = run
    _body(w, fn.body)
    w.lines += [f"  br label %{done}", f"{done}:"]
    w.scopes[-1].label = done


def _body(w: Writer, body: tuple[Node, ...]) -> None:
    run: list[Store] = []  # of stores that pass the caches together
    for node in body:
        streamed = node if isinstance(node, Store) and passes_caches(w, node) else None
        if run and (streamed is None or not lines_apart(run[0], streamed)):
            stream_stores(w, run)
            run = []
        if streamed is None:
            _node(w, node)
        else:
            run.append(streamed)
    if run:
        stream_stores(w, run)


def _node(w: Writer, node: Node) -> None:
    names = w.names
    match node:
        case Fma():
            fma_op(w, node)
        case Dot():
            dot_op(w, node)
        case Load():
            load_op(w, node)
        case Bin():
            bin_op(w, node)
        case Get(out, register):
            names[out.id] = w.registers[register.number]
        case Set(register, value) | Declare(register, value):
            w.registers[register.number] = names[value.id]
        case Const():
            const_op(w, node)
        case Splat(out, a):
            names[out.id] = splat_text(w, names[a.id], out.dtype, out.lanes)
        case Store():
            store_op(w, node)
        case Un():
            un_op(w, node)
        case Cmp():
            cmp_op(w, node)
        case Select():
            select_op(w, node)
        case Cast():
            cast_op(w, node)
        case For():
            _for(w, node)
        case _:
            _rare_node(w, node)


def _rare_node(w: Writer, node: Node) -> None:
    names = w.names
    match node:
        case If():
            _if(w, node)
        case While():
            _while(w, node)
        case Bitcast():
            bitcast_op(w, node)
        case Shuffle():
            shuffle_op(w, node)
        case Reduce():
            reduce_op(w, node)
        case Iota():
            iota_op(w, node)
        case Extract(out, a, lane):
            names[out.id] = w.put(f"extractelement {value_type(a.dtype, a.lanes)} {names[a.id]}, i64 {lane}", "v")
        case Insert(out, a, x, lane):
            scalar = f"{value_type(x.dtype, 1)} {names[x.id]}"
            ty = value_type(a.dtype, a.lanes)
            names[out.id] = w.put(f"insertelement {ty} {names[a.id]}, {scalar}, i64 {lane}", "v")
        case Gather():
            gather_op(w, node)
        case FromIndex():
            _from_index(w, node)
        case ToIndex():
            _to_index(w, node)
        case FailWhen():
            _fail_when(w, node)
        case Prefetch(buffer, index, write):
            place = w.pointer(buffer, index)
            name = w.intrinsic("llvm.prefetch.p0", "void (ptr, i32, i32, i32)")
            w.lines.append(f"  call void @{name}(ptr {place}, i32 {int(write)}, i32 3, i32 1)")
        case Forget():
            forgotten = ",".join(f"~{{{register}}}" for register in w.target.vector_names)
            w.lines.append(f'  call void asm sideeffect "", "{forgotten}"()')
        case _:
            raise LoopError(f"node {type(node).__name__} has no LLVM form")


# -- control ---------------------------------------------------------------------------------------------------------


def _for(w: Writer, node: For) -> None:
    if node.unroll:
        _unrolled(w, node)
        return
    lo = "%lo" if node.parallel else w.int(node.lo)
    hi = "%hi" if node.parallel else w.int(node.hi)
    step = w.int(node.step)
    types = _register_types(w, registers_set(node.body))
    carried = list(types)
    before = {r: w.registers[r] for r in carried}
    head, done = w.label(), w.label()
    it = w.fresh("i")
    phis = {r: w.fresh("r") for r in carried}
    scope = w.push(head)
    w.bind_atom(node.it, it, len(w.scopes) - 1)
    w.registers.update(phis)
    _body(w, node.body)
    after = {r: w.registers[r] for r in carried}
    following = w.put(f"add nsw i64 {it}, {step}", "i")
    again = w.put(f"icmp slt i64 {following}, {hi}")
    w.lines.append(f"  br i1 {again}, label %{head}, label %{done}")
    w.pop()
    entry = w.scopes[-1].label
    least = bounds(w.resolved(node.hi - node.lo))[0]
    sure = not node.parallel and least is not None and least >= 1
    if sure:
        w.lines.append(f"  br label %{head}")
    else:
        some = w.put(f"icmp slt i64 {lo}, {hi}")
        w.lines.append(f"  br i1 {some}, label %{head}, label %{done}")
    w.lines.append(f"{head}:")
    w.lines.append(f"  {it} = phi i64 [ {lo}, %{entry} ], [ {following}, %{scope.label} ]")
    for r in carried:
        w.lines.append(f"  {phis[r]} = phi {types[r]} [ {before[r]}, %{entry} ], [ {after[r]}, %{scope.label} ]")
    w.lines += scope.lines
    w.lines.append(f"{done}:")
    for r in carried:
        w.registers[r] = after[r]
        if not sure:
            both = f"[ {before[r]}, %{entry} ], [ {after[r]}, %{scope.label} ]"
            w.registers[r] = w.put(f"phi {types[r]} {both}", "r")
    w.scopes[-1].label = done


def _unrolled(w: Writer, node: For) -> None:
    for i in range(int(w.resolved(node.lo)), int(w.resolved(node.hi)), int(node.step)):
        parent = w.scopes[-1]
        w.env[node.it] = as_int(i)
        scope = w.push(parent.label)
        _body(w, node.body)
        w.pop()
        parent.lines += scope.lines
        parent.label = scope.label
        del w.env[node.it]


def _if(w: Writer, node: If) -> None:
    cond = w.names[node.cond.id]
    types = _register_types(w, registers_set(node.then) | registers_set(node.otherwise))
    before = dict(w.registers)
    yes, no, done = w.label(), w.label(), w.label()
    then = w.push(yes)
    _body(w, node.then)
    w.pop()
    after_then = dict(w.registers)
    w.registers = dict(before)
    otherwise = w.push(no)
    _body(w, node.otherwise)
    w.pop()
    after_else = dict(w.registers)
    w.registers = dict(before)
    w.lines.append(f"  br i1 {cond}, label %{yes}, label %{no}")
    for label, scope in ((yes, then), (no, otherwise)):
        w.lines += [f"{label}:", *scope.lines, f"  br label %{done}"]
    w.lines.append(f"{done}:")
    w.scopes[-1].label = done
    for r in types:
        both = f"[ {after_then[r]}, %{then.label} ], [ {after_else[r]}, %{otherwise.label} ]"
        w.registers[r] = w.put(f"phi {types[r]} {both}", "r")


def _while(w: Writer, node: While) -> None:
    types = _register_types(w, registers_set(node.body) | registers_set(node.test))
    carried = list(types)
    before = {r: w.registers[r] for r in carried}
    head, body, done = w.label(), w.label(), w.label()
    phis = {r: w.fresh("r") for r in carried}
    w.registers.update(phis)
    test = w.push(head)
    _body(w, node.test)
    tested = {r: w.registers[r] for r in carried}
    inside = w.push(body)
    _body(w, node.body)
    w.lines.append(f"  br label %{head}")
    w.pop()
    w.pop()
    after = {r: w.registers[r] for r in carried}
    entry = w.scopes[-1].label
    w.lines += [f"  br label %{head}", f"{head}:"]
    for r in carried:
        w.lines.append(f"  {phis[r]} = phi {types[r]} [ {before[r]}, %{entry} ], [ {after[r]}, %{inside.label} ]")
    w.lines += [*test.lines, f"  br i1 {w.names[node.cond.id]}, label %{body}, label %{done}"]
    w.lines += [f"{body}:", *inside.lines, f"{done}:"]
    w.registers.update(tested)
    w.scopes[-1].label = done


def _register_types(w: Writer, assigned: dict[int, Register]) -> dict[int, str]:
    """LLVM types, by number, of the registers that are assigned inside and live outside."""
    known = {number: assigned[number] for number in sorted(assigned) if number in w.registers}
    return {number: value_type(register.dtype, register.lanes) for number, register in known.items()}


# -- indices and status ----------------------------------------------------------------------------------------------


def _from_index(w: Writer, node: FromIndex) -> None:
    out = node.out
    index = w.resolved(node.index)
    if index.is_const:
        from chainrule.backends.loops.build import bits_of

        bits = (bits_of(index.const, out.dtype),)
        w.names[out.id] = constant(bits, out.dtype, 1)
        w.constants[out.id] = bits
        return
    name = w.int(index)
    ty = value_type(out.dtype, 1)
    if out.dtype.is_float:
        from chainrule.ir.types import i64

        name = narrowed(w, int_to_float(w, name, i64, out.dtype, 1), out)
    elif out.dtype.is_bool:
        name = w.put(f"icmp ne i64 {name}, 0", "v")
    elif out.dtype.bits < 64:
        name = w.put(f"trunc i64 {name} to {ty}", "v")
    w.names[out.id] = name


def _to_index(w: Writer, node: ToIndex) -> None:
    value, atom = node.value, node.atom
    name = w.names[value.id]
    if value.dtype.bits < 64:
        widen = "sext" if value.dtype.is_signed else "zext"
        name = w.put(f"{widen} {value_type(value.dtype, 1)} {name} to i64")
    elif not value.dtype.is_signed:
        least = w.intrinsic("llvm.umin.i64", "i64 (i64, i64)")
        name = w.put(f"call i64 @{least}(i64 {name}, i64 {(1 << 63) - 1})")
    least = w.intrinsic("llvm.smin.i64", "i64 (i64, i64)")
    most = w.intrinsic("llvm.smax.i64", "i64 (i64, i64)")
    name = w.put(f"call i64 @{least}(i64 {name}, i64 {w.int(atom.hi - 1)})")
    name = w.put(f"call i64 @{most}(i64 {name}, i64 {w.int(atom.lo)})", "x")
    name = w.put(f"freeze i64 {name}", "x")  # else strength reduction computes it anew in every step of inner loops
    w.bind_atom(atom, name, len(w.scopes) - 1)


def _fail_when(w: Writer, node: FailWhen) -> None:
    cond = w.names[node.cond.id]
    if node.cond.lanes > 1:
        cond = any_lane(w, cond, node.cond.lanes)
    failed, fine = w.label(), w.label()
    old = w.fresh()
    w.lines += [
        f"  br i1 {cond}, label %{failed}, label %{fine}",
        f"{failed}:",
        f"  {old} = cmpxchg ptr %status, i64 0, i64 {node.code} monotonic monotonic",
        f"  br label %{fine}",
        f"{fine}:",
    ]
    w.scopes[-1].label = fine

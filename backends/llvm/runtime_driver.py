"""The driver: LLVM text that walks a frame's steps, and the layout of the frame that it walks.

One interpreter is written four times, from one template (and so in one file, though a long one): for one thread and
for several, with and without taking times.
A frame is one block of i64 words; its header holds byte offsets into itself, so that it may lie anywhere.
"""

from __future__ import annotations

from chainrule.backends.llvm.runtime_steps import (
    ADVANCE,
    BARRIER,
    CALL,
    COPY,
    FLIP_COUNTER,
    JUMP,
    JUMP_UNLESS,
    SET_COUNTER,
    SOLO,
    STOP_IF_FAILED,
    STORE_COUNTER,
    ZERO,
)

STRAIN_FIELDS = ("alone_ns", "alone_calls", "slower", "sleeps")  # see runtime_strain
# The words of a frame's header. Those named _AT are byte offsets from the frame.
FRAME_FIELDS = (
    "busy", "threads", "flags", "api", "pool", "steps_at", "slices_at", "buffers_at", "ports_at", "counters",
    "max_args", "inputs", "outputs", "failed", *STRAIN_FIELDS,
)  # fmt: skip
FRAME_WORDS = 24
RELEASE_GIL, AS_TUPLE, STEADY = 1, 2, 4
# An input or output of a frame: what an array must be, the buffer id that its address goes to, and whether a new array
# takes its memory from the outputs that are kept (runtime_outputs).
PORT_FIELDS = ("buffer", "dtype", "type_number", "rank", "shape_at", "nbytes", "kept")
PORT_WORDS = 8
# What a run answers when another thread is inside the frame.
BUSY = -1

# Functions and objects that the text needs from outside, by their slot in a table of addresses: the object code then
# has no undefined symbol, and LLVM's linker need not search the process.
API_FIELDS = (
    "memcpy", "memset", "clock_gettime", "syscall", "pthread_create", "pthread_detach", "pthread_sigmask",
    "array_type", "array_new", "not_implemented", "step_failed",
    "Py_IncRef", "Py_DecRef", "PyEval_SaveThread", "PyEval_RestoreThread", "PyTuple_New", "PyTuple_SetItem",
    "PyLong_FromLongLong", "PyErr_SetObject", "PyErr_Clear", "mmap", "munmap", "madvise",
    "set_allocator", "default_allocator", "output_allocator",
)  # fmt: skip


def load(result: str, kind: str, base: str, offset: int | str) -> str:
    """Text: %result = the value of an LLVM type at %base + offset bytes (a number, or the name of an i64)."""
    at = f"%{offset}" if isinstance(offset, str) else str(offset)
    return f"  %{result}.at = getelementptr i8, ptr %{base}, i64 {at}\n  %{result} = load {kind}, ptr %{result}.at"


def field(result: str, name: str, kind: str = "i64") -> str:
    """Text: %result = a word of the header of %frame."""
    return load(result, kind, "frame", 8 * FRAME_FIELDS.index(name))


def section(result: str, name: str) -> str:
    """Text: %result = the address of a section of %frame, by the header's word for its offset."""
    return f"{field(result + '.offset', name)}\n  %{result} = getelementptr i8, ptr %frame, i64 %{result}.offset"


def api(result: str, name: str) -> str:
    """Text: %result = an address from the table %api."""
    return load(result, "ptr", "api", 8 * API_FIELDS.index(name))


def driver_text() -> str:
    """The interpreters @steps_serial, @steps_parallel and their _timed forms, and @call_frame for ctypes.

    They call @run and @barrier, which the pool's text defines.
    """
    bodies = [_steps_text(parallel, timed) for parallel in (False, True) for timed in (False, True)]
    return "\n".join([_HELPERS, *bodies, _RUN_SERIAL, _CALL_FRAME])


_HELPERS = f"""
define internal ptr @sliced(ptr %base, ptr %slices, ptr %counters, i64 %slice) nounwind {{
entry:
  br label %one
one:
  %at = phi ptr [ %base, %entry ], [ %result, %one ]
  %index = phi i64 [ %slice, %entry ], [ %follow, %one ]
  %offset.of = mul i64 %index, 32
  %entry.at = getelementptr i8, ptr %slices, i64 %offset.of
  %counter = load i64, ptr %entry.at
{load("stride", "i64", "entry.at", 8)}
{load("start", "i64", "entry.at", 16)}
{load("follow", "i64", "entry.at", 24)}
  %value.at = getelementptr i64, ptr %counters, i64 %counter
  %value = load i64, ptr %value.at
  %moved = mul i64 %value, %stride
  %offset = add i64 %moved, %start
  %result = getelementptr i8, ptr %at, i64 %offset
  %last = icmp eq i64 %follow, 0
  br i1 %last, label %done, label %one
done:
  ret ptr %result
}}

define internal ptr @address(ptr %buffers, ptr %slices, ptr %counters, i64 %ref) nounwind {{
  %id = and i64 %ref, 4294967295
  %base.at = getelementptr ptr, ptr %buffers, i64 %id
  %base = load ptr, ptr %base.at
  %slice = lshr i64 %ref, 32
  %result = call ptr @sliced(ptr %base, ptr %slices, ptr %counters, i64 %slice)
  ret ptr %result
}}

define internal i64 @nanoseconds(ptr %api) nounwind {{
  %time = alloca [2 x i64]
{api("clock", "clock_gettime")}
  %ignored = call i32 %clock(i32 1, ptr %time)
  %seconds = load i64, ptr %time
{load("rest", "i64", "time", 8)}
  %whole = mul i64 %seconds, 1000000000
  %result = add i64 %whole, %rest
  ret i64 %result
}}
"""


def steps_name(parallel: bool, timed: bool) -> str:
    return f"steps_{'parallel' if parallel else 'serial'}{'_timed' if timed else ''}"


_BARRIER = "  call void @barrier(ptr %pool, i64 %workers, ptr %open.at)"

# Runs have a worker at least: the division cannot fail, and the lint over all modules sees so.
_SAFE_WORKERS = """  %some.workers = icmp ne i64 %workers, 0
  %safe.workers = select i1 %some.workers, i64 %workers, i64 1"""


def _steps_text(parallel: bool, timed: bool) -> str:
    """void (frame, buffers, worker, workers, failure, times, arrived): one thread's walk through all steps.

    failure: three words, set at this thread's first failing step to (number of steps done so far, step, code); the
    code is 0 before. times: two words per step, to which worker 0 adds nanoseconds and 1. arrived: the barrier's count
    of arrivals before any thread of this run came.
    """
    name = steps_name(parallel, timed)
    return f"""
define void @{name}(ptr %frame, ptr %buffers, i64 %worker, i64 %workers,
    ptr %failure, ptr %times, i64 %arrived) nounwind {{
entry:
{field("api", "api", "ptr")}
{field("pool", "pool", "ptr")}
{section("steps", "steps_at")}
{section("slices", "slices_at")}
{field("n.counters", "counters")}
{field("n.args", "max_args")}
  %counters = alloca i64, i64 %n.counters, align 16
  %args = alloca ptr, i64 %n.args, align 16
  %status = alloca i64
  %open.at = alloca i64
  store i64 %arrived, ptr %open.at
{_SAFE_WORKERS if parallel else ""}
  store i64 0, ptr %counters
  store i64 0, ptr %status
  br label %step

step:
  %pc = phi ptr [ %steps, %entry ], [ %next, %finish ]
  %done = phi i64 [ 0, %entry ], [ %done.next, %finish ]
  %word = load i64, ptr %pc
{load("index", "i64", "pc", 8)}
  %length = lshr i64 %word, 16
  %follow = getelementptr i64, ptr %pc, i64 %length
  %code = and i64 %word, 255
{"  %begin = call i64 @nanoseconds(ptr %api)" if timed else ""}
  switch i64 %code, label %end [
    i64 {CALL}, label %call
    i64 {COPY}, label %copy
    i64 {ZERO}, label %zero
    i64 {STORE_COUNTER}, label %store.counter
    i64 {JUMP}, label %jump
    i64 {JUMP_UNLESS}, label %jump.unless
    i64 {SET_COUNTER}, label %set.counter
    i64 {FLIP_COUNTER}, label %flip.counter
    i64 {ADVANCE}, label %advance
    i64 {STOP_IF_FAILED}, label %stop
  ]
{_call_text(parallel)}
{_copy_text(parallel)}
{_zero_text(parallel)}
{_control_text(parallel)}
passed:
  br label %reached
reached:
  %next = phi ptr [ %follow, %passed ], [ %jump.to, %jump ], [ %unless.to, %jump.unless ], [ %advance.to, %advance ],
    [ %stop.to, %stop ]
  %done.next = add i64 %done, 1
{_meet_text(timed) if parallel else "  br label %met"}
met:
{_time_text() if timed else "  br label %finish"}
finish:
  br label %step
end:
{_BARRIER if parallel else ""}
  ret void
}}
"""


def _mine(prefix: str, parallel: bool) -> str:
    """Text: go on at prefix.mine if this thread has a part in the step, else pass it by. Sets %prefix.shared."""
    if not parallel:
        return f"  br label %{prefix}.mine"
    return f"""  %{prefix}.solo = and i64 %word, {SOLO}
  %{prefix}.shared = icmp eq i64 %{prefix}.solo, 0
  %{prefix}.first = icmp eq i64 %worker, 0
  %{prefix}.take = or i1 %{prefix}.shared, %{prefix}.first
  br i1 %{prefix}.take, label %{prefix}.mine, label %passed"""


def _range(prefix: str, extent: str, parallel: bool, grain: int) -> str:
    """Text: this thread's part [prefix.lo, prefix.hi) of [0, extent), cut at multiples of grain, a power of 2."""
    if not parallel:
        return f"  %{prefix}.lo = add i64 0, 0\n  %{prefix}.hi = add i64 %{extent}, 0"
    return f"""  %{prefix}.lo.times = mul i64 %{extent}, %worker
  %{prefix}.lo.even = udiv i64 %{prefix}.lo.times, %safe.workers
  %{prefix}.lo.part = and i64 %{prefix}.lo.even, {-grain}
  %{prefix}.lo = select i1 %{prefix}.shared, i64 %{prefix}.lo.part, i64 0
  %{prefix}.hi.times = add i64 %{prefix}.lo.times, %{extent}
  %{prefix}.hi.even = udiv i64 %{prefix}.hi.times, %safe.workers
  %{prefix}.hi.part = and i64 %{prefix}.hi.even, {-grain}
  %{prefix}.upto = add i64 %worker, 1
  %{prefix}.inner = icmp ult i64 %{prefix}.upto, %workers
  %{prefix}.cut = and i1 %{prefix}.inner, %{prefix}.shared
  %{prefix}.hi = select i1 %{prefix}.cut, i64 %{prefix}.hi.part, i64 %{extent}"""


def _call_text(parallel: bool) -> str:
    """The addresses of the arguments go to %args; the kernel runs if its part is not empty."""
    return f"""
call:
{_mine("call", parallel)}
call.mine:
{load("kernel", "ptr", "pc", 16)}
{load("extent", "i64", "pc", 24)}
{load("sizes.offset", "i64", "pc", 32)}
{load("args.count", "i64", "pc", 40)}
  %sizes = getelementptr i8, ptr %frame, i64 %sizes.offset
  %refs = getelementptr i8, ptr %pc, i64 48
{_range("call", "extent", parallel, 1)}
  %call.some = icmp slt i64 %call.lo, %call.hi
  br i1 %call.some, label %call.args, label %passed
call.args:
  %arg = phi i64 [ 0, %call.mine ], [ %arg.next, %arg.found ]
  %arg.more = icmp ult i64 %arg, %args.count
  br i1 %arg.more, label %arg.find, label %call.kernel
arg.find:
  %ref.at = getelementptr i64, ptr %refs, i64 %arg
  %ref = load i64, ptr %ref.at
  %ref.id = and i64 %ref, 4294967295
  %ref.base.at = getelementptr ptr, ptr %buffers, i64 %ref.id
  %ref.base = load ptr, ptr %ref.base.at
  %ref.slice = lshr i64 %ref, 32
  %ref.whole = icmp eq i64 %ref.slice, 0
  br i1 %ref.whole, label %arg.found, label %arg.sliced
arg.sliced:
  %ref.moved = call ptr @sliced(ptr %ref.base, ptr %slices, ptr %counters, i64 %ref.slice)
  br label %arg.found
arg.found:
  %arg.pointer = phi ptr [ %ref.base, %arg.find ], [ %ref.moved, %arg.sliced ]
  %arg.at = getelementptr ptr, ptr %args, i64 %arg
  store ptr %arg.pointer, ptr %arg.at
  %arg.next = add i64 %arg, 1
  br label %call.args
call.kernel:
  call void %kernel(ptr %args, ptr %sizes, i64 %call.lo, i64 %call.hi, ptr %status)
  %call.status = load i64, ptr %status
  %call.fine = icmp eq i64 %call.status, 0
  br i1 %call.fine, label %passed, label %call.bad
call.bad:
{load("call.before", "i64", "failure", 16)}
  %call.new = icmp eq i64 %call.before, 0
  br i1 %call.new, label %call.failed, label %passed
call.failed:
  %failed.at = getelementptr i8, ptr %frame, i64 {8 * FRAME_FIELDS.index("failed")}
  store atomic i64 1, ptr %failed.at monotonic, align 8
  store i64 %done, ptr %failure
  %failure.step.at = getelementptr i8, ptr %failure, i64 8
  store i64 %index, ptr %failure.step.at
  store i64 %call.status, ptr %call.before.at
  br label %passed
"""


def _copy_text(parallel: bool) -> str:
    return f"""
copy:
{_mine("copy", parallel)}
copy.mine:
{load("copy.dst.ref", "i64", "pc", 16)}
{load("copy.src.ref", "i64", "pc", 24)}
{load("copy.bytes", "i64", "pc", 32)}
{_range("copy", "copy.bytes", parallel, 64)}
  %copy.dst = call ptr @address(ptr %buffers, ptr %slices, ptr %counters, i64 %copy.dst.ref)
  %copy.src = call ptr @address(ptr %buffers, ptr %slices, ptr %counters, i64 %copy.src.ref)
  %copy.to = getelementptr i8, ptr %copy.dst, i64 %copy.lo
  %copy.from = getelementptr i8, ptr %copy.src, i64 %copy.lo
  %copy.count = sub i64 %copy.hi, %copy.lo
{api("memcpy", "memcpy")}
  %copy.result = call ptr %memcpy(ptr %copy.to, ptr %copy.from, i64 %copy.count)
  br label %passed
"""


def _zero_text(parallel: bool) -> str:
    return f"""
zero:
{_mine("zero", parallel)}
zero.mine:
{load("zero.dst.ref", "i64", "pc", 16)}
{load("zero.bytes", "i64", "pc", 24)}
{_range("zero", "zero.bytes", parallel, 64)}
  %zero.dst = call ptr @address(ptr %buffers, ptr %slices, ptr %counters, i64 %zero.dst.ref)
  %zero.to = getelementptr i8, ptr %zero.dst, i64 %zero.lo
  %zero.count = sub i64 %zero.hi, %zero.lo
{api("memset", "memset")}
  %zero.result = call ptr %memset(ptr %zero.to, i32 0, i64 %zero.count)
  br label %passed
"""


def _control_text(parallel: bool) -> str:
    """Every thread counts for itself, all alike; only storing a counter is the work of one."""
    return f"""
store.counter:
{_mine("store", parallel)}
store.mine:
{load("store.ref", "i64", "pc", 16)}
{load("store.of", "i64", "pc", 24)}
  %store.at = call ptr @address(ptr %buffers, ptr %slices, ptr %counters, i64 %store.ref)
  %stored.at = getelementptr i64, ptr %counters, i64 %store.of
  %stored = load i64, ptr %stored.at
  store i64 %stored, ptr %store.at, align 1
  br label %passed

jump:
{load("jump.offset", "i64", "pc", 16)}
  %jump.to = getelementptr i8, ptr %steps, i64 %jump.offset
  br label %reached

jump.unless:
{load("unless.ref", "i64", "pc", 16)}
{load("unless.offset", "i64", "pc", 24)}
  %unless.cond.at = call ptr @address(ptr %buffers, ptr %slices, ptr %counters, i64 %unless.ref)
  %unless.cond = load i8, ptr %unless.cond.at
  %unless.target = getelementptr i8, ptr %steps, i64 %unless.offset
  %unless.true = icmp ne i8 %unless.cond, 0
  %unless.to = select i1 %unless.true, ptr %follow, ptr %unless.target
  br label %reached

set.counter:
{load("set.counter.of", "i64", "pc", 16)}
{load("set.value", "i64", "pc", 24)}
  %set.at = getelementptr i64, ptr %counters, i64 %set.counter.of
  store i64 %set.value, ptr %set.at
  br label %passed

flip.counter:
{load("flip.counter.of", "i64", "pc", 16)}
  %flip.at = getelementptr i64, ptr %counters, i64 %flip.counter.of
  %flip.before = load i64, ptr %flip.at
  %flip.after = xor i64 %flip.before, 1
  store i64 %flip.after, ptr %flip.at
  br label %passed

stop:
{load("stop.offset", "i64", "pc", 16)}
  %stop.word.at = getelementptr i8, ptr %frame, i64 {8 * FRAME_FIELDS.index("failed")}
  %stop.word = load atomic i64, ptr %stop.word.at monotonic, align 8
  %stop.target = getelementptr i8, ptr %steps, i64 %stop.offset
  %stop.fine = icmp eq i64 %stop.word, 0
  %stop.to = select i1 %stop.fine, ptr %follow, ptr %stop.target
  br label %reached

advance:
{load("advance.of", "i64", "pc", 16)}
{load("advance.count", "i64", "pc", 24)}
{load("advance.offset", "i64", "pc", 32)}
  %advanced.at = getelementptr i64, ptr %counters, i64 %advance.of
  %advanced = load i64, ptr %advanced.at
  %advanced.next = add i64 %advanced, 1
  store i64 %advanced.next, ptr %advanced.at
  %advance.target = getelementptr i8, ptr %steps, i64 %advance.offset
  %advance.more = icmp slt i64 %advanced.next, %advance.count
  %advance.to = select i1 %advance.more, ptr %advance.target, ptr %follow
  br label %reached
"""


def _meet_text(timed: bool) -> str:
    """Text: the barrier after a step that has one; after every step when times are taken, which hold the wait."""
    if timed:
        return f"{_BARRIER}\n  br label %met"
    return f"""  %meet = and i64 %word, {BARRIER}
  %meet.not = icmp eq i64 %meet, 0
  br i1 %meet.not, label %met, label %meeting
meeting:
{_BARRIER}
  br label %met"""


def _time_text() -> str:
    return f"""  %time.mine = icmp eq i64 %worker, 0
  br i1 %time.mine, label %time, label %finish
time:
  %now = call i64 @nanoseconds(ptr %api)
  %spent = sub i64 %now, %begin
  %time.offset = mul i64 %index, 16
{load("time.sum", "i64", "times", "time.offset")}
  %time.new = add i64 %time.sum, %spent
  store i64 %time.new, ptr %time.sum.at
{load("runs", "i64", "time.sum.at", 8)}
  %runs.new = add i64 %runs, 1
  store i64 %runs.new, ptr %runs.at
  br label %finish"""


# A status: 0, or the code of the first failing step in the lower half and the step's index in the upper.
_RUN_SERIAL = f"""
define internal i64 @status(ptr %failure) nounwind {{
{load("step", "i64", "failure", 8)}
{load("code", "i64", "failure", 16)}
  %low = and i64 %code, 4294967295
  %high = shl i64 %step, 32
  %both = or i64 %low, %high
  %fine = icmp eq i64 %code, 0
  %result = select i1 %fine, i64 0, i64 %both
  ret i64 %result
}}

define internal i64 @run_serial(ptr %frame, ptr %buffers, ptr %times) nounwind {{
  %failure = alloca [3 x i64]
  store [3 x i64] zeroinitializer, ptr %failure
  %plain = icmp eq ptr %times, null
  %steps = select i1 %plain, ptr @{steps_name(False, False)}, ptr @{steps_name(False, True)}
  call void %steps(ptr %frame, ptr %buffers, i64 0, i64 1, ptr %failure, ptr %times, i64 0)
  %result = call i64 @status(ptr %failure)
  ret i64 %result
}}
"""

# i64 (frame, addresses of inputs then outputs, times or null). Takes the frame, or answers BUSY.
_CALL_FRAME = f"""
define i64 @call_frame(ptr %frame, ptr %addresses, ptr %times) nounwind {{
entry:
  %taken = cmpxchg ptr %frame, i64 0, i64 1 acquire monotonic
  %free = extractvalue {{ i64, i1 }} %taken, 1
  br i1 %free, label %fill, label %busy
busy:
  ret i64 {BUSY}
fill:
{field("inputs", "inputs")}
{field("outputs", "outputs")}
{field("threads", "threads")}
{section("ports", "ports_at")}
{section("buffers", "buffers_at")}
  %count = add i64 %inputs, %outputs
  br label %next
next:
  %i = phi i64 [ 0, %fill ], [ %i.next, %one ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %one, label %run
one:
  %port.of = mul i64 %i, {8 * PORT_WORDS}
{load("id", "i64", "ports", "port.of")}
  %address.at = getelementptr ptr, ptr %addresses, i64 %i
  %address = load ptr, ptr %address.at
  %buffer.at = getelementptr ptr, ptr %buffers, i64 %id
  store ptr %address, ptr %buffer.at
  %i.next = add i64 %i, 1
  br label %next
run:
  %status = call i64 @run(ptr %frame, ptr %buffers, i64 %threads, ptr %times)
  store atomic i64 0, ptr %frame release, align 8
  ret i64 %status
}}
"""

"""The thread pool: LLVM text made of atomics and futexes.

One pool serves a process. A run takes it by a try-lock; a second run at the same time goes through its steps on its own
thread instead of waiting. Workers are created when first needed, spin for a moment after their part and then sleep.

Every worker has its own word that the run's thread raises to call it, so a worker that takes no part in a run never
looks at that run's fields. All threads of a run meet at barriers, the last of them at its end: afterwards no worker
reads the run's fields any more, and the next run may set them. A frame that several threads slow down goes alone for a
while (runtime_strain).
"""

from __future__ import annotations

from chainrule.backends.llvm.runtime_driver import FRAME_FIELDS, STEADY, api, field, load, steps_name
from chainrule.backends.llvm.runtime_strain import strain_text

MAX_THREADS = 256
# How long a thread spins before it sleeps. At a barrier: just longer than waking a sleeper takes (30 us in a virtual
# machine), or else threads that once lost step would sleep in turns at every barrier from then on; but no longer: with
# a busy neighbour on two cores, spinning without end had a 90th percentile of 60 ms on a job of 5 ms, and 40 us had
# 14 ms. When idle: to be awake for the next call of a loop in Python.
BARRIER_NS, IDLE_NS = 40_000, 120_000

# The pool's memory in bytes; words written by several threads have cache lines of their own.
LOCK, API, CREATED, BARRIER_PAUSES, IDLE_PAUSES = range(0, 40, 8)
JOB_STEPS, JOB_FRAME, JOB_BUFFERS, JOB_WORKERS, JOB_TIMES, JOB_CONTROL, JOB_ARRIVED = range(64, 120, 8)
ARRIVED, SLEEPERS, SLEEPS = 128, 192, 200
SLOTS, SLOT_BYTES = 256, 128
# Within a slot: what calls the worker, whether it sleeps, its pool and number, its first failure (3 words).
CALLED, ASLEEP, SLOT_POOL, SLOT_INDEX, FAILURE = 0, 4, 8, 16, 64
POOL_BYTES = SLOTS + SLOT_BYTES * MAX_THREADS

_FUTEX_WAIT, _FUTEX_WAKE = 128, 129  # FUTEX_PRIVATE_FLAG | FUTEX_WAIT, FUTEX_WAKE
_SIG_SETMASK = 2


def has_pool(triple: str) -> bool:
    """True where the pool's text means something: Linux on x86-64 and aarch64."""
    return "linux" in triple and triple.split("-")[0] in ("x86_64", "aarch64")


def pool_text(triple: str) -> str:
    """@run, which runs a frame's steps on some threads, and all that it needs; on one where there is no pool."""
    if not has_pool(triple):
        return _RUN_WITHOUT_POOL
    arch = triple.split("-")[0]
    number = {"x86_64": 202, "aarch64": 98}[arch]
    return "\n".join([_ARCHITECTURES[arch], _PAUSES, _futex_text(number), _BARRIER, _WORKER, _HIRE, _RUN_POOL,
                      strain_text(), _RUN])  # fmt: skip


# pause, and the register that holds the rounding mode and the treatment of subnormals: a run's threads all use what its
# own thread has, so that the bits do not depend on who computes them.
_ARCHITECTURES = {
    "x86_64": """
declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define internal void @pause() nounwind {
  call void @llvm.x86.sse2.pause()
  ret void
}
define internal void @save_control(ptr %to) nounwind {
  call void @llvm.x86.sse.stmxcsr(ptr %to)
  ret void
}
define internal void @use_control(ptr %from) nounwind {
  call void @llvm.x86.sse.ldmxcsr(ptr %from)
  ret void
}
""",
    "aarch64": """
declare void @llvm.aarch64.hint(i32)
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
define internal void @pause() nounwind {
  call void @llvm.aarch64.hint(i32 1)
  ret void
}
define internal void @save_control(ptr %to) nounwind {
  %control = call i64 @llvm.aarch64.get.fpcr()
  store i64 %control, ptr %to
  ret void
}
define internal void @use_control(ptr %from) nounwind {
  %control = load i64, ptr %from
  call void @llvm.aarch64.set.fpcr(i64 %control)
  ret void
}
""",
}


# void (count): what the spinning loops do, to be timed: a pause takes from 3 ns to 50 ns, by the kind of CPU.
_PAUSES = """
define void @pauses(i64 %count) nounwind {
entry:
  br label %next
next:
  %left = phi i64 [ %count, %entry ], [ %left.next, %next ]
  call void @pause()
  %left.next = sub i64 %left, 1
  %done = icmp eq i64 %left.next, 0
  br i1 %done, label %end, label %next
end:
  ret void
}
"""


def _futex_text(number: int) -> str:
    """Sleeping on a word while it has a value, and waking its sleepers. Both may return early: callers look again."""
    return f"""
define internal void @futex_wait(ptr %api, ptr %word, i32 %value) nounwind {{
{api("syscall", "syscall")}
  %r = call i64 (i64, ...) %syscall(i64 {number}, ptr %word, i64 {_FUTEX_WAIT}, i32 %value, ptr null, ptr null, i64 0)
  ret void
}}
define internal void @futex_wake(ptr %api, ptr %word, i64 %count) nounwind {{
{api("syscall", "syscall")}
  %r = call i64 (i64, ...) %syscall(i64 {number}, ptr %word, i64 {_FUTEX_WAKE}, i64 %count, ptr null, ptr null, i64 0)
  ret void
}}
"""


# A count of arrivals that never goes back; each thread knows at which count a barrier opens (its own word, %open.at,
# raised by the number of threads each time), so that the last arrival itself opens it, and one cache line is all that
# moves. A sleeper counts itself before it looks at the arrivals again (at last inside the futex call), and the last
# arrival is counted before it looks for sleepers: all are sequentially consistent, so one of the two sees the other.
# A late leaver only leaves the count of sleepers too high for a moment, which costs a needless wake.
_BARRIER = f"""
define internal void @barrier(ptr %pool, i64 %workers, ptr %open.at) nounwind {{
entry:
{load("patience", "i64", "pool", BARRIER_PAUSES)}
  %arrived = getelementptr i8, ptr %pool, i64 {ARRIVED}
  %sleepers = getelementptr i8, ptr %pool, i64 {SLEEPERS}
  %opened.last = load i64, ptr %open.at
  %open = add i64 %opened.last, %workers
  store i64 %open, ptr %open.at
  %before = atomicrmw add ptr %arrived, i64 1 seq_cst
  %present = add i64 %before, 1
  %last = icmp eq i64 %present, %open
  br i1 %last, label %opened, label %spin
opened:
  %asleep = load atomic i32, ptr %sleepers seq_cst, align 4
  %none = icmp eq i32 %asleep, 0
  br i1 %none, label %through, label %wake
wake:
{load("api.wake", "ptr", "pool", API)}
  call void @futex_wake(ptr %api.wake, ptr %arrived, i64 2147483647)
  ret void
spin:
  %left = phi i64 [ %patience, %entry ], [ %left.next, %again ]
  %now = load atomic i64, ptr %arrived acquire, align 8
  %complete = icmp uge i64 %now, %open
  br i1 %complete, label %through, label %patient
patient:
  %tired = icmp eq i64 %left, 0
  br i1 %tired, label %doze, label %again
again:
  call void @pause()
  %left.next = sub i64 %left, 1
  br label %spin
doze:
{load("api", "ptr", "pool", API)}
  %sleeps = getelementptr i8, ptr %pool, i64 {SLEEPS}
  %counted = atomicrmw add ptr %sleeps, i64 1 monotonic
  %more = atomicrmw add ptr %sleepers, i32 1 seq_cst
  br label %look
look:
  %then = load atomic i64, ptr %arrived seq_cst, align 8
  %enough = icmp uge i64 %then, %open
  br i1 %enough, label %rise, label %sleep
sleep:
  %value = trunc i64 %then to i32
  call void @futex_wait(ptr %api, ptr %arrived, i32 %value)
  br label %look
rise:
  %fewer = atomicrmw sub ptr %sleepers, i32 1 seq_cst
  ret void
through:
  ret void
}}
"""

_WORKER = f"""
define internal ptr @worker(ptr %slot) nounwind {{
entry:
{load("pool", "ptr", "slot", SLOT_POOL)}
{load("index", "i64", "slot", SLOT_INDEX)}
{load("api", "ptr", "pool", API)}
{load("patience", "i64", "pool", IDLE_PAUSES)}
  %asleep = getelementptr i8, ptr %slot, i64 {ASLEEP}
  %failure = getelementptr i8, ptr %slot, i64 {FAILURE}
  br label %idle
idle:
  %seen = phi i32 [ 0, %entry ], [ %called, %work ]
  br label %spin
spin:
  %left = phi i64 [ %patience, %idle ], [ %left.next, %again ]
  %now = load atomic i32, ptr %slot acquire, align 4
  %new = icmp ne i32 %now, %seen
  br i1 %new, label %work, label %patient
patient:
  %tired = icmp eq i64 %left, 0
  br i1 %tired, label %doze, label %again
again:
  call void @pause()
  %left.next = sub i64 %left, 1
  br label %spin
doze:
  %was = atomicrmw xchg ptr %asleep, i32 1 seq_cst
  br label %look
look:
  %then = load atomic i32, ptr %slot seq_cst, align 4
  %wait = icmp eq i32 %then, %seen
  br i1 %wait, label %sleep, label %rise
sleep:
  call void @futex_wait(ptr %api, ptr %slot, i32 %seen)
  br label %look
rise:
  store atomic i32 0, ptr %asleep monotonic, align 4
  br label %work
work:
  %called = phi i32 [ %now, %spin ], [ %then, %rise ]
{load("steps", "ptr", "pool", JOB_STEPS)}
{load("frame", "ptr", "pool", JOB_FRAME)}
{load("buffers", "ptr", "pool", JOB_BUFFERS)}
{load("workers", "i64", "pool", JOB_WORKERS)}
{load("times", "ptr", "pool", JOB_TIMES)}
{load("arrived", "i64", "pool", JOB_ARRIVED)}
  %control = getelementptr i8, ptr %pool, i64 {JOB_CONTROL}
  call void @use_control(ptr %control)
  call void %steps(ptr %frame, ptr %buffers, i64 %index, i64 %workers, ptr %failure, ptr %times, i64 %arrived)
  br label %idle
}}
"""

# i64 (pool, wanted): how many workers there are, at most wanted, after creating those that lack. A system that refuses
# a thread gets fewer. Workers block all signals: those are for the threads that Python knows.
_HIRE = f"""
define internal i64 @hire(ptr %pool, i64 %wanted) nounwind {{
entry:
{load("created", "i64", "pool", CREATED)}
  %mask = alloca [128 x i8], align 16
  %old = alloca [128 x i8], align 16
  %thread = alloca i64
  %enough = icmp uge i64 %created, %wanted
  br i1 %enough, label %full, label %begin
full:
  ret i64 %wanted
begin:
{load("api", "ptr", "pool", API)}
{api("sigmask", "pthread_sigmask")}
{api("create", "pthread_create")}
{api("detach", "pthread_detach")}
  br label %fill
fill:
  %word = phi i64 [ 0, %begin ], [ %word.next, %fill ]
  %word.at = getelementptr i64, ptr %mask, i64 %word
  store i64 -1, ptr %word.at
  %word.next = add i64 %word, 1
  %filled = icmp eq i64 %word.next, 16
  br i1 %filled, label %block, label %fill
block:
  %blocked = call i32 %sigmask(i32 {_SIG_SETMASK}, ptr %mask, ptr %old)
  br label %next
next:
  %count = phi i64 [ %created, %block ], [ %index, %made ]
  %index = add i64 %count, 1
  %more = icmp ult i64 %count, %wanted
  br i1 %more, label %make, label %done
make:
  %slot.of = mul i64 %index, {SLOT_BYTES}
  %slot.from = add i64 %slot.of, {SLOTS}
  %slot = getelementptr i8, ptr %pool, i64 %slot.from
  %slot.pool = getelementptr i8, ptr %slot, i64 {SLOT_POOL}
  store ptr %pool, ptr %slot.pool
  %slot.index = getelementptr i8, ptr %slot, i64 {SLOT_INDEX}
  store i64 %index, ptr %slot.index
  %error = call i32 %create(ptr %thread, ptr null, ptr @worker, ptr %slot)
  %refused = icmp ne i32 %error, 0
  br i1 %refused, label %done, label %made
made:
  %id = load i64, ptr %thread
  %detached = call i32 %detach(i64 %id)
  br label %next
done:
  %have = phi i64 [ %count, %next ], [ %count, %make ]
  store i64 %have, ptr %created.at
  %unblocked = call i32 %sigmask(i32 {_SIG_SETMASK}, ptr %old, ptr null)
  ret i64 %have
}}
"""

# i64 (pool, frame, buffers, workers, times): the pool is ours, and has workers - 1 threads. The status is that of the
# failure which one thread alone would have met first: the earliest step done, and of that the lowest thread's.
_RUN_POOL = f"""
define internal i64 @run_pool(ptr %pool, ptr %frame, ptr %buffers, i64 %workers, ptr %times) nounwind {{
entry:
{load("api", "ptr", "pool", API)}
  %plain = icmp eq ptr %times, null
  %steps = select i1 %plain, ptr @{steps_name(True, False)}, ptr @{steps_name(True, True)}
  %job.steps = getelementptr i8, ptr %pool, i64 {JOB_STEPS}
  store ptr %steps, ptr %job.steps
  %job.frame = getelementptr i8, ptr %pool, i64 {JOB_FRAME}
  store ptr %frame, ptr %job.frame
  %job.buffers = getelementptr i8, ptr %pool, i64 {JOB_BUFFERS}
  store ptr %buffers, ptr %job.buffers
  %job.workers = getelementptr i8, ptr %pool, i64 {JOB_WORKERS}
  store i64 %workers, ptr %job.workers
  %job.times = getelementptr i8, ptr %pool, i64 {JOB_TIMES}
  store ptr %times, ptr %job.times
  %job.control = getelementptr i8, ptr %pool, i64 {JOB_CONTROL}
  call void @save_control(ptr %job.control)
{load("arrived", "i64", "pool", ARRIVED)}
  %job.arrived = getelementptr i8, ptr %pool, i64 {JOB_ARRIVED}
  store i64 %arrived, ptr %job.arrived
  %slots = getelementptr i8, ptr %pool, i64 {SLOTS}
  %own = getelementptr i8, ptr %slots, i64 {FAILURE}
  store [3 x i64] zeroinitializer, ptr %own
  br label %call
call:
  %w = phi i64 [ 1, %entry ], [ %w.next, %called ]
  %slot.of = mul i64 %w, {SLOT_BYTES}
  %slot = getelementptr i8, ptr %slots, i64 %slot.of
  %failure = getelementptr i8, ptr %slot, i64 {FAILURE}
  store [3 x i64] zeroinitializer, ptr %failure
  %before = atomicrmw add ptr %slot, i32 1 seq_cst
  %asleep.at = getelementptr i8, ptr %slot, i64 {ASLEEP}
  %asleep = load atomic i32, ptr %asleep.at seq_cst, align 4
  %awake = icmp eq i32 %asleep, 0
  br i1 %awake, label %called, label %wake
wake:
  call void @futex_wake(ptr %api, ptr %slot, i64 1)
  br label %called
called:
  %w.next = add i64 %w, 1
  %more = icmp ult i64 %w.next, %workers
  br i1 %more, label %call, label %work
work:
  call void %steps(ptr %frame, ptr %buffers, i64 0, i64 %workers, ptr %own, ptr %times, i64 %arrived)
  br label %compare
compare:
  %k = phi i64 [ 1, %work ], [ %k.next, %compare ]
  %best = phi ptr [ %own, %work ], [ %better, %compare ]
  %their.of = mul i64 %k, {SLOT_BYTES}
  %their.slot = getelementptr i8, ptr %slots, i64 %their.of
  %their = getelementptr i8, ptr %their.slot, i64 {FAILURE}
{load("their.code", "i64", "their", 16)}
{load("best.code", "i64", "best", 16)}
  %their.done = load i64, ptr %their
  %best.done = load i64, ptr %best
  %failed = icmp ne i64 %their.code, 0
  %none = icmp eq i64 %best.code, 0
  %earlier = icmp ult i64 %their.done, %best.done
  %first = or i1 %none, %earlier
  %take = and i1 %failed, %first
  %better = select i1 %take, ptr %their, ptr %best
  %k.next = add i64 %k, 1
  %k.more = icmp ult i64 %k.next, %workers
  br i1 %k.more, label %compare, label %done
done:
  %result = call i64 @status(ptr %better)
  ret i64 %result
}}
"""

_NOT_FAILED = f"""  %failed.at = getelementptr i8, ptr %frame, i64 {8 * FRAME_FIELDS.index("failed")}
  store i64 0, ptr %failed.at"""

# i64 (frame, buffers, threads, times)
_RUN = f"""
define i64 @run(ptr %frame, ptr %buffers, i64 %threads, ptr %times) nounwind {{
entry:
{_NOT_FAILED}
  %plain = icmp eq ptr %times, null
  %several = icmp sgt i64 %threads, 1
  br i1 %several, label %strained, label %alone
strained:
{field("api", "api", "ptr")}
{field("left", "alone_calls")}
  %rests = icmp ne i64 %left, 0
  %rest = and i1 %rests, %plain
  br i1 %rest, label %resting, label %try
resting:
  %left.next = sub i64 %left, 1
  store i64 %left.next, ptr %left.at
  %alone.from = call i64 @nanoseconds(ptr %api)
  %rested = call i64 @run_serial(ptr %frame, ptr %buffers, ptr %times)
  %alone.to = call i64 @nanoseconds(ptr %api)
  %alone.ns = sub i64 %alone.to, %alone.from
  call void @ran_alone(ptr %frame, i64 %alone.ns)
  ret i64 %rested
try:
{field("pool", "pool", "ptr")}
  %taken = cmpxchg ptr %pool, i32 0, i32 1 acquire monotonic
  %ours = extractvalue {{ i32, i1 }} %taken, 1
  br i1 %ours, label %hire, label %alone
hire:
  %wanted = sub i64 %threads, 1
  %hired = call i64 @hire(ptr %pool, i64 %wanted)
  %workers = add i64 %hired, 1
  %some = icmp ugt i64 %workers, 1
  br i1 %some, label %together, label %refused
together:
{load("sleeps.before", "i64", "pool", SLEEPS)}
  %from = call i64 @nanoseconds(ptr %api)
  %result = call i64 @run_pool(ptr %pool, ptr %frame, ptr %buffers, i64 %workers, ptr %times)
  %to = call i64 @nanoseconds(ptr %api)
  %sleeps.after = load i64, ptr %sleeps.before.at
  store atomic i32 0, ptr %pool release, align 4
  %slept = icmp ne i64 %sleeps.after, %sleeps.before
{field("flags", "flags")}
  %steady = and i64 %flags, {STEADY}
  %may.rest = icmp eq i64 %steady, 0
  %counts = and i1 %slept, %may.rest
  %judged = and i1 %counts, %plain
  br i1 %judged, label %judge, label %unjudged
unjudged:
  %calm = xor i1 %slept, true
  %awake = and i1 %calm, %plain
  br i1 %awake, label %forget, label %done
forget:
  call void @ran_awake(ptr %frame)
  ret i64 %result
judge:
  %ns = sub i64 %to, %from
  call void @ran_with_sleep(ptr %frame, i64 %ns)
  ret i64 %result
done:
  ret i64 %result
refused:
  store atomic i32 0, ptr %pool release, align 4
  br label %alone
alone:
  %serial = call i64 @run_serial(ptr %frame, ptr %buffers, ptr %times)
  ret i64 %serial
}}
"""

_RUN_WITHOUT_POOL = f"""
define void @pauses(i64 %count) nounwind {{
  ret void
}}
define internal void @barrier(ptr %pool, i64 %workers, ptr %open.at) nounwind {{
  ret void
}}
define i64 @run(ptr %frame, ptr %buffers, i64 %threads, ptr %times) nounwind {{
{_NOT_FAILED}
  %serial = call i64 @run_serial(ptr %frame, ptr %buffers, ptr %times)
  ret i64 %serial
}}
"""

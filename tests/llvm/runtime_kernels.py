"""Small kernels with the kernel ABI, as LLVM text, for tests of the runtime, and frames made of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from chainrule.backends.llvm.jit import Library, compile_text
from chainrule.backends.llvm.runtime import Call, Frame, Ref, Step

F32 = np.dtype(np.float32)
BOOL = np.dtype(np.bool_)
I64 = np.dtype(np.int64)


def _over_range(name: str, pointers: int, body: str) -> str:
    """A kernel whose body runs for lo <= %i < hi; %p0, %p1, ... are its buffers."""
    loads = "\n".join(
        f"  %p{i}.at = getelementptr ptr, ptr %bufs, i64 {i}\n  %p{i} = load ptr, ptr %p{i}.at" for i in range(pointers)
    )
    return f"""
define void @{name}(ptr %bufs, ptr %sizes, i64 %lo, i64 %hi, ptr %status) {{
entry:
{loads}
  br label %loop
loop:
  %i = phi i64 [ %lo, %entry ], [ %i.next, %next ]
  %more = icmp slt i64 %i, %hi
  br i1 %more, label %body, label %end
body:
{body}
  br label %next
next:
  %i.next = add i64 %i, 1
  br label %loop
end:
  ret void
}}
"""


def _float_map(operation: str) -> str:
    return f"""  %a = getelementptr float, ptr %p0, i64 %i
  %x = load float, ptr %a
{operation}
  %b = getelementptr float, ptr %p1, i64 %i
  store float %y, ptr %b"""


_TEXT = "\n".join(
    [
        "declare float @llvm.sqrt.f32(float)",
        # p1[i] = p0[i] * 1.0009765625 + 0.5, and its square root
        _over_range("scale", 2, _float_map("  %m = fmul float %x, 0x3FF0040000000000\n  %y = fadd float %m, 0.5")),
        _over_range("root", 2, _float_map("  %y = call float @llvm.sqrt.f32(float %x)")),
        # p1[i] = sum of p0[0..N), with N the first size, times i: needs all that other threads wrote before
        _over_range(
            "gather_sum",
            2,
            """  %n = load i64, ptr %sizes
  br label %sum
sum:
  %k = phi i64 [ 0, %body ], [ %k.next, %sum ]
  %s = phi float [ 0.0, %body ], [ %s.next, %sum ]
  %a = getelementptr float, ptr %p0, i64 %k
  %x = load float, ptr %a
  %s.next = fadd float %s, %x
  %k.next = add i64 %k, 1
  %again = icmp slt i64 %k.next, %n
  br i1 %again, label %sum, label %store
store:
  %f = sitofp i64 %i to float
  %y = fmul float %s.next, %f
  %b = getelementptr float, ptr %p1, i64 %i
  store float %y, ptr %b""",
        ),
        # sets the status to p0[i] (an i64) if that is not 0, keeping the first
        _over_range(
            "fail",
            1,
            """  %a = getelementptr i64, ptr %p0, i64 %i
  %code = load i64, ptr %a
  %before = load i64, ptr %status
  %clean = icmp eq i64 %before, 0
  %new = select i1 %clean, i64 %code, i64 %before
  store i64 %new, ptr %status""",
        ),
        # p0[0] (f32) += 1; p1[0] (bool) = p0[0] < p2[0]: the step of a while loop
        _over_range(
            "count_up",
            3,
            """  %x = load float, ptr %p0
  %y = fadd float %x, 1.0
  store float %y, ptr %p0
  %limit = load float, ptr %p2
  %less = fcmp olt float %y, %limit
  %byte = zext i1 %less to i8
  store i8 %byte, ptr %p1""",
        ),
        # p2[0] (bool) = p0[0] < p1[0]
        _over_range(
            "less",
            3,
            """  %x = load float, ptr %p0
  %y = load float, ptr %p1
  %less = fcmp olt float %x, %y
  %byte = zext i1 %less to i8
  store i8 %byte, ptr %p2""",
        ),
        # returns when p0[0] is no longer 0
        _over_range(
            "wait",
            1,
            """  br label %turn
turn:
  %x = load atomic i32, ptr %p0 acquire, align 4
  %zero = icmp eq i32 %x, 0
  br i1 %zero, label %turn, label %set
set:
  br label %set.end
set.end:""",
        ),
        # the caller's wish: spin for sizes[0] turns per iteration, doing nothing
        _over_range(
            "spin",
            0,
            """  %turns = load i64, ptr %sizes
  br label %turn
turn:
  %k = phi i64 [ 0, %body ], [ %k.next, %turn ]
  %k.next = add i64 %k, 1
  call void asm sideeffect "", ""()
  %again = icmp slt i64 %k.next, %turns
  br i1 %again, label %turn, label %spun
spun:
  br label %spun.end
spun.end:""",
        ),
    ]
)
NAMES = ("scale", "root", "gather_sum", "fail", "count_up", "less", "wait", "spin")


@cache
def kernels() -> Library:
    """The kernels, linked."""
    return compile_text(_TEXT, NAMES)


def call(name: str, extent: int, *buffers: Ref, sizes: tuple[int, ...] = (), serial: bool = False) -> Call:
    """A step that runs one of the kernels."""
    return Call(kernels().address(name), extent, serial, buffers, sizes)


def mapping_frame(n: int, *names: str, threads: int = 1, release_gil: bool = True, steady: bool = True) -> Frame:
    """A frame that applies float kernels one after the other, f32[n] -> f32[n], through buffers of its own."""
    temporaries = [np.zeros(n, np.float32) for _ in names[1:]]
    last = len(names)
    steps = [call(name, n, i, i + 1) for i, name in enumerate(names)]
    fixed = {i + 1: t.ctypes.data for i, t in enumerate(temporaries)}
    return Frame(
        steps, last + 1, fixed, [(0, F32, (n,))], [(last, F32, (n,))], None, threads,
        release_gil=release_gil, steady=steady, keep_alive=(kernels(), temporaries),
    )  # fmt: skip


def scaled(x: np.ndarray) -> np.ndarray:
    """What the kernel "scale" computes, bit for bit."""
    return x * np.float32(1.0009765625) + np.float32(0.5)


def run(steps: Sequence[Step], arrays: Sequence[np.ndarray], threads: int = 1) -> int:
    """The status of a program whose buffers are all given arrays, by id."""
    fixed = {i: a.ctypes.data for i, a in enumerate(arrays)}
    frame = Frame(steps, len(arrays), fixed, [], [], None, threads, steady=True, keep_alive=(kernels(), arrays))
    return frame.run([])

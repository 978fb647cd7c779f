"""When two threads are slower than one: LLVM text that lets a frame go alone for a while.

On a busy machine a thread may get no core for milliseconds, and all the others wait for it at every barrier.
The driver sees that a thread had to sleep at a barrier (as after an uneven split, so this alone says little) and then
compares two times that it took itself: of this run on several threads, and of the same frame on one. After two runs in
turn that were slower together by more than a quarter (the least time alone has no bad luck in it), the next calls go
alone, 8 of them, then 16, and so on to 1024 while nothing changes; one run together that is not slower ends it, and one
in which nobody slept takes half of the count away: the first run after a pause is slow, since its workers sleep, and
says nothing of those that follow. Results have the same bits either way. A child of fork() begins anew.

A frame's time alone is the least of those measured: the first call after a sleep measures it, one in 256 sleeps again.
A run without a sleep costs two looks at the clock.
"""

from __future__ import annotations

from chainrule.backends.llvm.runtime_driver import FRAME_FIELDS

PATIENCE = 2  # runs in turn that must be slower together than alone
FIRST_REST, MOST_DOUBLINGS = 8, 7
PROBED = 256  # sleeps between two measurements of a frame's time alone


def _word(result: str, name: str) -> str:
    """Text: %result = the address of a word of the header of %frame."""
    return f"  %{result} = getelementptr i8, ptr %frame, i64 {8 * FRAME_FIELDS.index(name)}"


# void (frame, nanoseconds): notes a run alone.
_ALONE = f"""
define internal void @ran_alone(ptr %frame, i64 %ns) nounwind {{
{_word("least.at", "alone_ns")}
  %least = load i64, ptr %least.at
  %unknown = icmp eq i64 %least, 0
  %less = icmp ult i64 %ns, %least
  %take = or i1 %unknown, %less
  %now = select i1 %take, i64 %ns, i64 %least
  store i64 %now, ptr %least.at
  ret void
}}
"""

# void (frame, nanoseconds): after a run on several threads in which one slept, says how many calls go alone next.
_SLEPT = f"""
define internal void @ran_with_sleep(ptr %frame, i64 %ns) nounwind {{
entry:
{_word("least.at", "alone_ns")}
{_word("alone.at", "alone_calls")}
{_word("slower.at", "slower")}
{_word("sleeps.at", "sleeps")}
  %least = load i64, ptr %least.at
  %slower = load i64, ptr %slower.at
  %sleeps = load i64, ptr %sleeps.at
  %sleeps.next = add i64 %sleeps, 1
  store i64 %sleeps.next, ptr %sleeps.at
  %turn = urem i64 %sleeps, {PROBED}
  %probe = icmp eq i64 %turn, 0
  br i1 %probe, label %measure, label %compare
measure:
  store i64 1, ptr %alone.at
  ret void
compare:
  %margin = lshr i64 %least, 2
  %most = add i64 %least, %margin
  %worse = icmp ugt i64 %ns, %most
  br i1 %worse, label %count, label %fine
fine:
  store i64 0, ptr %slower.at
  ret void
count:
  %slower.next = add i64 %slower, 1
  store i64 %slower.next, ptr %slower.at
  %enough = icmp uge i64 %slower.next, {PATIENCE}
  br i1 %enough, label %rest, label %bear
bear:
  ret void
rest:
  %over = sub i64 %slower.next, {PATIENCE}
  %many = icmp ugt i64 %over, {MOST_DOUBLINGS}
  %doublings = select i1 %many, i64 {MOST_DOUBLINGS}, i64 %over
  %calls = shl i64 {FIRST_REST}, %doublings
  store i64 %calls, ptr %alone.at
  ret void
}}
"""

# void (frame): after a run on several threads in which none slept.
_AWAKE = f"""
define internal void @ran_awake(ptr %frame) nounwind {{
{_word("slower.at", "slower")}
  %slower = load i64, ptr %slower.at
  %half = lshr i64 %slower, 1
  store i64 %half, ptr %slower.at
  ret void
}}
"""


def strain_text() -> str:
    """@ran_alone, @ran_with_sleep and @ran_awake, which @run calls with what it measured."""
    return _ALONE + _SLEPT + _AWAKE

"""Memory of large outputs that is kept when its array is dropped, and given to a later one: LLVM text of an allocator.

A fresh array of 64 MB costs more in page faults than a sweep over it. numpy lets an array bring its own allocator
(NEP 49): the array owns its memory as any other does, and hands it back when it and all its views are gone. So no two
live arrays ever share a block, and nothing of this is seen by the user of an array.

Blocks lie at multiples of 2 MB, of which huge pages are asked for from HUGE_BYTES on. A block that comes back is kept
if all kept ones together stay within the limit, the oldest making room; what is kept of LAZY_BYTES or more is marked so
that the kernel may take it when memory is short. The lock is only ever tried: who does not get it at once maps or
unmaps, so nobody waits, and a child of fork() has copies of its own.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from chainrule.backends.llvm.runtime_driver import api, load
from chainrule.errors import ArgumentError

LEAST_BYTES = 1 << 20  # smaller outputs: the C library keeps their memory itself
LIMIT_BYTES = 256 << 20
HUGE_BYTES = 4 << 20
LAZY_BYTES = 16 << 20  # marking smaller ones costs about 2 % of a sweep over them
_HUGE_PAGE = 2 << 20
_PAGE = 4096
_ROUND = 1 << 16
_MOST_BLOCKS = 16

# The allocator's own words: a lock, the table of outside functions, the limit, what is kept, and the blocks themselves.
LOCK, API, LIMIT, KEPT_BYTES, KEPT_BLOCKS, BLOCKS = 0, 8, 16, 24, 32, 64
STATE_BYTES = BLOCKS + 8 * _MOST_BLOCKS
# In front of a block: how many bytes it has, and what was mapped for it.
_CAPACITY, _MAP, _MAP_BYTES = -64, -56, -48
EXPORTS = ("block_new", "block_zeroed", "block_resized", "block_free")  # the order of numpy's allocator

_READ_WRITE, _PRIVATE_ANONYMOUS, _ADVISE_FREE, _ADVISE_HUGE = 3, 0x22, 8, 14  # Linux


def output_limit() -> int:
    """Bytes of dropped outputs that are kept; 0: none. CHAINRULE_KEPT_OUTPUT_BYTES, or 256 MB."""
    asked = os.environ.get("CHAINRULE_KEPT_OUTPUT_BYTES", "").strip()
    if not asked:
        return LIMIT_BYTES
    if not (asked.isascii() and asked.isdigit()):
        raise ArgumentError(f"CHAINRULE_KEPT_OUTPUT_BYTES is {asked!r}, not a number of bytes",
                            help="give it a number from 0 on, or unset it")  # fmt: skip
    return min(int(asked), 1 << 62)


def outputs_text() -> str:
    """The allocator's functions, EXPORTS; for Linux only, whose numbers they use."""
    return "\n".join([_TABLE, _MAPPING, _ALLOCATE, _FREE, _OTHERS])


# take: the lock, if it is free. removed: takes a block out of the table.
_TABLE = f"""
define internal i1 @blocks_taken(ptr %pool) nounwind {{
  %swapped = cmpxchg ptr %pool, i64 0, i64 1 acquire monotonic
  %taken = extractvalue {{ i64, i1 }} %swapped, 1
  ret i1 %taken
}}

define internal void @blocks_given(ptr %pool) nounwind {{
  store atomic i64 0, ptr %pool release, align 8
  ret void
}}

define internal ptr @block_removed(ptr %pool, i64 %index) nounwind {{
entry:
{load("count", "i64", "pool", KEPT_BLOCKS)}
{load("total", "i64", "pool", KEPT_BYTES)}
  %table = getelementptr i8, ptr %pool, i64 {BLOCKS}
  %at = getelementptr ptr, ptr %table, i64 %index
  %block = load ptr, ptr %at
{load("capacity", "i64", "block", _CAPACITY)}
  %left = sub i64 %count, 1
  store i64 %left, ptr %count.at
  %total.left = sub i64 %total, %capacity
  store i64 %total.left, ptr %total.at
  br label %next
next:
  %i = phi i64 [ %index, %entry ], [ %i.next, %one ]
  %more = icmp ult i64 %i, %left
  br i1 %more, label %one, label %done
one:
  %i.next = add i64 %i, 1
  %from = getelementptr ptr, ptr %table, i64 %i.next
  %to = getelementptr ptr, ptr %table, i64 %i
  %moved = load ptr, ptr %from
  store ptr %moved, ptr %to
  br label %next
done:
  ret ptr %block
}}
"""

_MAPPING = f"""
define internal ptr @block_mapped(ptr %pool, i64 %size) nounwind {{
entry:
{load("api", "ptr", "pool", API)}
{api("mmap", "mmap")}
{api("madvise", "madvise")}
  %size.up = add i64 %size, {_ROUND - 1}
  %capacity = and i64 %size.up, -{_ROUND}
  %length = add i64 %capacity, {_HUGE_PAGE + _PAGE}
  %map = call ptr %mmap(ptr null, i64 %length, i32 {_READ_WRITE}, i32 {_PRIVATE_ANONYMOUS}, i32 -1, i64 0)
  %map.word = ptrtoint ptr %map to i64
  %refused = icmp eq i64 %map.word, -1
  br i1 %refused, label %no, label %place
no:
  ret ptr null
place:
  %up = add i64 %map.word, {_HUGE_PAGE - 1 + _PAGE}
  %block.word = and i64 %up, -{_HUGE_PAGE}
  %shift = sub i64 %block.word, %map.word
  %block = getelementptr i8, ptr %map, i64 %shift
  %huge = icmp uge i64 %capacity, {HUGE_BYTES}
  br i1 %huge, label %advise, label %write
advise:
  %ignored = call i32 %madvise(ptr %block, i64 %capacity, i32 {_ADVISE_HUGE})
  br label %write
write:
  %capacity.at = getelementptr i8, ptr %block, i64 {_CAPACITY}
  store i64 %capacity, ptr %capacity.at
  %map.at = getelementptr i8, ptr %block, i64 {_MAP}
  store ptr %map, ptr %map.at
  %length.at = getelementptr i8, ptr %block, i64 {_MAP_BYTES}
  store i64 %length, ptr %length.at
  ret ptr %block
}}

define internal void @block_unmapped(ptr %pool, ptr %block) nounwind {{
{load("api", "ptr", "pool", API)}
{api("munmap", "munmap")}
{load("map", "ptr", "block", _MAP)}
{load("length", "i64", "block", _MAP_BYTES)}
  %ignored = call i32 %munmap(ptr %map, i64 %length)
  ret void
}}

; Gives kept blocks back to the system, the oldest first, until one more of so many bytes may be kept. Under the lock.
define internal void @blocks_dropped(ptr %pool, i64 %wanted) nounwind {{
entry:
  br label %next
next:
{load("count", "i64", "pool", KEPT_BLOCKS)}
{load("total", "i64", "pool", KEPT_BYTES)}
{load("limit", "i64", "pool", LIMIT)}
  %some = icmp ne i64 %count, 0
  %full = icmp eq i64 %count, {_MOST_BLOCKS}
  %room = sub i64 %limit, %total
  %tight = icmp ugt i64 %wanted, %room
  %over = or i1 %full, %tight
  %again = and i1 %some, %over
  br i1 %again, label %one, label %done
one:
  %oldest = call ptr @block_removed(ptr %pool, i64 0)
  call void @block_unmapped(ptr %pool, ptr %oldest)
  br label %next
done:
  ret void
}}
"""

# The smallest kept block that is large enough and at most a quarter too large; of equal ones the last, which the caches
# may still hold.
_ALLOCATE = f"""
define ptr @block_new(ptr %pool, i64 %size) nounwind {{
entry:
  %taken = call i1 @blocks_taken(ptr %pool)
  br i1 %taken, label %search, label %fresh
search:
{load("count", "i64", "pool", KEPT_BLOCKS)}
  %quarter = lshr i64 %size, 2
  %slack = add i64 %quarter, {_ROUND}
  %most = add i64 %size, %slack
  br label %next
next:
  %i = phi i64 [ 0, %search ], [ %i.next, %one ]
  %best = phi i64 [ -1, %search ], [ %best.next, %one ]
  %least = phi i64 [ %most, %search ], [ %least.next, %one ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %one, label %choose
one:
  %slot.offset = mul i64 %i, 8
  %slot.from = add i64 %slot.offset, {BLOCKS}
{load("block", "ptr", "pool", "slot.from")}
{load("capacity", "i64", "block", _CAPACITY)}
  %enough = icmp uge i64 %capacity, %size
  %smaller = icmp ule i64 %capacity, %least
  %better = and i1 %enough, %smaller
  %best.next = select i1 %better, i64 %i, i64 %best
  %least.next = select i1 %better, i64 %capacity, i64 %least
  %i.next = add i64 %i, 1
  br label %next
choose:
  %none = icmp eq i64 %best, -1
  br i1 %none, label %miss, label %hit
hit:
  %found = call ptr @block_removed(ptr %pool, i64 %best)
  call void @blocks_given(ptr %pool)
  ret ptr %found
miss:
  call void @blocks_given(ptr %pool)
  br label %fresh
fresh:
  %mapped = call ptr @block_mapped(ptr %pool, i64 %size)
  %refused = icmp eq ptr %mapped, null
  br i1 %refused, label %empty, label %done
done:
  ret ptr %mapped
empty:
  %retaken = call i1 @blocks_taken(ptr %pool)
  br i1 %retaken, label %drop, label %retry
drop:
  call void @blocks_dropped(ptr %pool, i64 -1)
  call void @blocks_given(ptr %pool)
  br label %retry
retry:
  %second = call ptr @block_mapped(ptr %pool, i64 %size)
  ret ptr %second
}}
"""

# The size that numpy tells is that of the array as it is now, so the block's own is used.
_FREE = f"""
define void @block_free(ptr %pool, ptr %block, i64 %size) nounwind {{
entry:
  %nothing = icmp eq ptr %block, null
  br i1 %nothing, label %done, label %look
look:
{load("capacity", "i64", "block", _CAPACITY)}
{load("limit", "i64", "pool", LIMIT)}
  %fits = icmp ule i64 %capacity, %limit
  br i1 %fits, label %advise, label %give.back
advise:
  %large = icmp uge i64 %capacity, {LAZY_BYTES}
  br i1 %large, label %lazily, label %lock
lazily:
{load("api", "ptr", "pool", API)}
{api("madvise", "madvise")}
  %ignored = call i32 %madvise(ptr %block, i64 %capacity, i32 {_ADVISE_FREE})
  br label %lock
lock:
  %taken = call i1 @blocks_taken(ptr %pool)
  br i1 %taken, label %keep, label %give.back
keep:
  call void @blocks_dropped(ptr %pool, i64 %capacity)
{load("count", "i64", "pool", KEPT_BLOCKS)}
{load("total", "i64", "pool", KEPT_BYTES)}
  %table = getelementptr i8, ptr %pool, i64 {BLOCKS}
  %slot = getelementptr ptr, ptr %table, i64 %count
  store ptr %block, ptr %slot
  %count.next = add i64 %count, 1
  store i64 %count.next, ptr %count.at
  %total.next = add i64 %total, %capacity
  store i64 %total.next, ptr %total.at
  call void @blocks_given(ptr %pool)
  br label %done
give.back:
  call void @block_unmapped(ptr %pool, ptr %block)
  br label %done
done:
  ret void
}}
"""

_OTHERS = f"""
declare {{ i64, i1 }} @llvm.umul.with.overflow.i64(i64, i64)

define ptr @block_zeroed(ptr %pool, i64 %count, i64 %each) nounwind {{
entry:
  %product = call {{ i64, i1 }} @llvm.umul.with.overflow.i64(i64 %count, i64 %each)
  %size = extractvalue {{ i64, i1 }} %product, 0
  %wrapped = extractvalue {{ i64, i1 }} %product, 1
  br i1 %wrapped, label %no, label %make
make:
  %block = call ptr @block_new(ptr %pool, i64 %size)
  %refused = icmp eq ptr %block, null
  br i1 %refused, label %no, label %clear
clear:
{load("api", "ptr", "pool", API)}
{api("memset", "memset")}
  %ignored = call ptr %memset(ptr %block, i32 0, i64 %size)
  ret ptr %block
no:
  ret ptr null
}}

define ptr @block_resized(ptr %pool, ptr %block, i64 %size) nounwind {{
entry:
  %nothing = icmp eq ptr %block, null
  br i1 %nothing, label %first, label %look
first:
  %only = call ptr @block_new(ptr %pool, i64 %size)
  ret ptr %only
look:
{load("capacity", "i64", "block", _CAPACITY)}
  %fits = icmp ule i64 %size, %capacity
  br i1 %fits, label %same, label %larger
same:
  ret ptr %block
larger:
  %new = call ptr @block_new(ptr %pool, i64 %size)
  %refused = icmp eq ptr %new, null
  br i1 %refused, label %no, label %copy
copy:
{load("api", "ptr", "pool", API)}
{api("memcpy", "memcpy")}
  %ignored = call ptr %memcpy(ptr %new, ptr %block, i64 %capacity)
  call void @block_free(ptr %pool, ptr %block, i64 0)
  ret ptr %new
no:
  ret ptr null
}}
"""


class Allocator(ctypes.Structure):
    """numpy's PyDataMem_Handler, version 1 (NEP 49), and the name of its capsule, which keeps a pointer to it."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", ctypes.c_void_p),
        ("functions", ctypes.c_void_p * len(EXPORTS)),
        ("capsule_name", ctypes.c_char * 16),
    )


def allocator(functions: Sequence[int], state: int) -> tuple[object, Allocator]:
    """numpy's capsule of the allocator with functions at these addresses, and what it points to: keep both for ever."""
    made = Allocator(b"chainrule outputs", 1, state, (ctypes.c_void_p * len(EXPORTS))(*functions), b"mem_handler")
    new = ctypes.pythonapi.PyCapsule_New
    new.restype = ctypes.py_object
    new.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    return new(ctypes.addressof(made), ctypes.addressof(made) + Allocator.capsule_name.offset, None), made


def reset_outputs(state: int, api: int, limit: int) -> None:
    """The allocator's words as they are before any block was kept."""
    ctypes.memset(state, 0, STATE_BYTES)
    for offset, word in ((API, api), (LIMIT, limit)):
        ctypes.c_int64.from_address(state + offset).value = word

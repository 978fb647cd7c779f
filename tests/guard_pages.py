"""Arrays between guard pages, and kernels run on them: an access one byte too far ends the process at once.

A guarded array ends (or begins) right at a page that may not be touched; the page before (or after) its own pages is
such
a page as well. Read-only arrays cannot be written; output arrays start as NaN (all bits set), so that what a kernel
leaves
out or reads too early shows. The bytes between the array and its far guard hold a pattern that is checked afterwards.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from chainrule.backends.llvm.jit import Compiled, compile_functions
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Function

Array = np.ndarray[Any, Any]

PAGE = mmap.PAGESIZE
PATTERN = 0xA5
ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
_NONE, _READ, _READ_WRITE = 0, 1, 3
_libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform != "win32" else None
if _libc is not None:
    _libc.mmap.restype = ctypes.c_void_p
    _libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    _libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    _libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Guarded:
    """One array between guard pages. side: at which guard it lies ("end" or "start"); align: of its address, in
    bytes."""

    def __init__(self, like: Array, mode: str, side: str = "end", align: int = 0) -> None:
        self.mode = mode
        size = like.nbytes
        self._inner = max(PAGE, -(-size // PAGE) * PAGE)
        self._length = self._inner + 2 * PAGE
        base = _libc.mmap(None, self._length, _READ_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if base in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), "mmap")
        self._base = int(base)
        step = max(align, like.dtype.itemsize)
        room = self._inner - size
        self._offset = room // step * step if side == "end" else 0
        inner = (ctypes.c_uint8 * self._inner).from_address(self._base + PAGE)
        self._bytes = np.frombuffer(inner, np.uint8)
        self._bytes[:] = PATTERN
        view = self._bytes[self._offset : self._offset + size]
        view[:] = 0xFF if mode == "w" else np.frombuffer(np.ascontiguousarray(like).tobytes(), np.uint8)
        if mode == "w" and like.dtype == np.bool_:
            view[:] = 1
        self.array: Array = view.view(like.dtype).reshape(like.shape)
        self._protect(self._base, PAGE, _NONE)
        self._protect(self._base + PAGE + self._inner, PAGE, _NONE)
        if mode == "r":
            self._protect(self._base + PAGE, self._inner, _READ)

    @property
    def address(self) -> int:
        return self._base + PAGE + self._offset

    def check(self) -> None:
        """Fails when bytes around the array have changed."""
        size = self.array.nbytes
        around = np.concatenate([self._bytes[: self._offset], self._bytes[self._offset + size :]])
        assert bool((around == PATTERN).all()), "bytes next to an array were written"

    def close(self) -> None:
        """Gives the pages back; the array must not be used any more."""
        _libc.munmap(self._base, self._length)

    def _protect(self, address: int, size: int, access: int) -> None:
        if _libc.mprotect(address, size, access):
            raise OSError(ctypes.get_errno(), "mprotect")


@contextmanager
def guarded(
    arrays: Sequence[Array], modes: Sequence[str], side: str = "end", align: Sequence[int] = ()
) -> Iterator[list[Guarded]]:
    """Copies of the arrays between guard pages ("r": read-only, "rw": copied, "w": filled with NaN), checked at the
    end."""
    if _libc is None:
        pytest.skip("needs mmap and mprotect")
    aligns = align or [0] * len(arrays)
    made: list[Guarded] = []
    try:
        for array, mode, step in zip(arrays, modes, aligns, strict=True):
            made.append(Guarded(array, mode, side, step))
        yield made
        for one in made:
            one.check()
    finally:
        for one in made:
            one.close()


def run_kernel(
    fn: Function,
    arrays: Sequence[Array],
    sizes: Sequence[int] = (),
    *,
    parts: int = 1,
    side: str = "end",
    target: Target | None = None,
    compiled: Compiled | None = None,
) -> int:
    """Runs a kernel natively between guard pages and copies what it wrote back into the arrays; returns its status.

    parts: into how many ranges of the parallel loop the call is split (in reverse order).
    """
    machine = compiled or compile_functions([fn], target)
    call = ENTRY(machine.address(fn))
    status = ctypes.c_int64(0)
    lengths = (ctypes.c_int64 * max(len(sizes), 1))(*sizes)
    extent = kernel_extent(fn, sizes)
    modes = [b.mode for b in fn.buffers]
    with guarded(arrays, modes, side, [b.align for b in fn.buffers]) as pages:
        pointers = (ctypes.c_void_p * max(len(pages), 1))(*(page.address for page in pages))
        for part in reversed(range(parts)):
            lo, hi = extent * part // parts, extent * (part + 1) // parts
            call(pointers, lengths, lo, hi, ctypes.byref(status))
        for array, page in zip(arrays, pages, strict=True):
            if page.mode != "r":
                array[...] = page.array
    return status.value


def kernel_extent(fn: Function, sizes: Sequence[int] = ()) -> int:
    """The number of parallel iterations for given sizes; 1 without a parallel loop."""
    if fn.extent is None:
        return 1
    from chainrule.backends.loops.ints import as_int, substitute

    return int(substitute(fn.extent, {s: as_int(v) for s, v in zip(fn.sizes, sizes, strict=True)}))


def run_everywhere(
    fn: Function, arrays: Sequence[Array], sizes: Sequence[int] = (), target: Target | None = None
) -> int:
    """run_kernel at both ends of the pages and in 1, 2 and 5 parts; the outputs must be equal to the last bit."""
    first: list[Array] | None = None
    status = 0
    originals = [a.copy() for a in arrays]
    for side, parts in (("end", 1), ("start", 2), ("end", 5)):
        again = [a.copy() for a in originals]
        status = run_kernel(fn, again, sizes, parts=parts, side=side, target=target)
        if first is None:
            first = again
        for one, other in zip(first, again, strict=True):
            assert one.tobytes() == other.tobytes(), f"{fn.name}: the result depends on how the work is split"
    assert first is not None
    for array, result in zip(arrays, first, strict=True):
        if array.flags.writeable:
            array[...] = result
    return status

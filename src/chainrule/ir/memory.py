"""Arrays whose memory begins with a cache line: a vector of 64 bytes then never lies in two lines.

numpy's own arrays begin 16 bytes behind one when they are large, and every access of a full vector then costs two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import accumulate

import numpy as np

from chainrule.ir.op import Array
from chainrule.ir.plan import ALIGNMENT, aligned


def aligned_bytes(nbytes: int) -> Array:
    """Uninitialised memory of some bytes, as u8."""
    block = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    return block[start:][:nbytes]


def aligned_copy(array: Array, dtype: np.dtype | None = None) -> Array:
    """A C-contiguous copy, of another element type where one is given."""
    kind = array.dtype if dtype is None else dtype
    made = aligned_bytes(array.size * kind.itemsize).view(kind).reshape(array.shape)
    made[...] = array
    return made


def is_own(array: Array) -> bool:
    """True for an array that can be kept as it is: writable, C-contiguous, from the start of a cache line on."""
    flags = array.flags
    return flags.writeable and flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0


def aligned_arrays(kinds: Iterable[tuple[tuple[int, ...], np.dtype]]) -> list[Array]:
    """Arrays of these shapes and element types, not filled, in one block: numpy asks for huge pages for large ones."""
    kinds = list(kinds)
    sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in kinds]
    starts = list(accumulate((aligned(size) for size in sizes), initial=0))
    block = aligned_bytes(starts[-1])
    return [block[start : start + size].view(dtype).reshape(shape)
            for (shape, dtype), start, size in zip(kinds, starts, sizes, strict=False)]  # fmt: skip

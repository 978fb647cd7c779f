"""Calls functions of a shared object on arrays, as a C program would."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np


def aligned(nbytes: int) -> np.ndarray:
    """Bytes at a multiple of 64, filled with what is no number."""
    block = np.full(nbytes + 64, 0xFF, np.uint8)
    return block[-block.ctypes.data % 64 :][:nbytes]


def macro(header: Path, name: str) -> int:
    """The number that a header defines a name as."""
    (line,) = [line for line in header.read_text().splitlines() if line.startswith(f"#define {name} ")]
    return int(line.split()[2])


class Native:
    """A loaded shared object with its header."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.library = ctypes.CDLL(str(path))
        self.header = path.with_suffix(".h")
        self.arena = aligned(macro(self.header, f"{self.name.upper()}_ARENA_BYTES"))

    def weights(self) -> np.ndarray:
        """A block for the weights."""
        return aligned(macro(self.header, f"{self.name.upper()}_WEIGHTS_BYTES"))

    def init(self, weights: np.ndarray) -> None:
        """Fills a block with the weights that the file holds."""
        self.library[f"{self.name}_init"](ctypes.c_void_p(weights.ctypes.data))

    def run(self, *arrays: np.ndarray, weights: np.ndarray | None = None) -> int:
        """One call on inputs and outputs; what it returns."""
        run = self.library[f"{self.name}_run"]
        run.restype = ctypes.c_int64
        leading = [self.arena] if weights is None else [weights, self.arena]
        return run(*(ctypes.c_void_p(a.ctypes.data) for a in (*leading, *arrays)))

"""Data sets that the package carries, read from its own files: nothing is fetched."""

from __future__ import annotations

from importlib import resources

import numpy as np
from numpy.typing import NDArray


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """1,797 real handwritten digits: images f32 [1797, 1, 8, 8] in 0..1 and labels i64 [1797] in 0..9.

    A pixel is the dark share of a 4x4 block of the scanned bitmap, a multiple of 1/16, so every value is exact in f32.
    The order is the original's; the last 360 were written by other people than most of those before, and are the
    usual test set. The arrays are new at each call and the caller's to change.

    Source: Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository,
    https://doi.org/10.24432/C50P49, CC BY 4.0 (chainrule/data/digits.LICENSE.txt).
    """
    with (resources.files("chainrule") / "data" / "digits.npz").open("rb") as file, np.load(file) as arrays:
        images = arrays["images"].astype(np.float32)[:, np.newaxis] / np.float32(16)
        labels = arrays["labels"].astype(np.int64)
    return images, labels

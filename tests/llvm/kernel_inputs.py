"""Designed inputs for operations on values, and the comparison that ignores NaN payloads."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.ir.types import DType

Array = np.ndarray[Any, Any]

_FLOATS = [
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.0, 7.0, -7.0, 1e-3, 127.5, 128.0, -128.0, -128.5, -129.0, 255.0,
    255.5, 256.0, 32767.5, 32768.0, -32769.0, 65503.9, 65504.0, 65519.9, 65520.0, 65536.0, 2147483520.0, 2147483648.0,
    -2147483648.0, -2147483904.0, 4294967296.0, 9.2233715e18, 9.223372e18, -9.223372e18, 1.8446744e19, 1e30, -1e30,
    6.1e-5, 6.0e-5, 5.9e-8, 3e-8, 2.9e-8, 1.2e-38, 1.1e-38, 1e-45, -1e-45, 3.3895314e38, 3.4028235e38, np.inf, -np.inf,
    np.nan, -np.nan, 0.1, 0.3, 1 / 3, np.pi, 1e10, 16777217.0, 1.0009765, 1.00048828125, 1.00146484375, 1.0078125,
    1.00390625, ]  # fmt: skip


def designed(dtype: DType, count: int, seed: int = 0) -> Array:
    """count values of the dtype: the hard ones first, in an order set by the seed, the rest random bits."""
    rng = np.random.default_rng(seed)
    if dtype.is_bool:
        return rng.integers(0, 2, count).astype(bool)
    raw = rng.integers(0, 256, count * dtype.itemsize, dtype=np.uint8).view(dtype.numpy)
    with np.errstate(all="ignore"):
        if dtype.is_float:
            hard = np.array(_FLOATS, np.float64).astype(dtype.numpy)
        else:
            low, high = (
                (-(1 << dtype.bits - 1), (1 << dtype.bits - 1) - 1) if dtype.is_signed else (0, (1 << dtype.bits) - 1)
            )
            numbers = [low, low + 1, high, high - 1, 0, 1, 2, 3, 5, 7, dtype.bits - 1, dtype.bits, dtype.bits + 1, 100]
            numbers += [-1, -2, -7] if dtype.is_signed else []
            hard = np.array([n for n in numbers if low <= n <= high], dtype.numpy)
    copies = np.resize(hard, max(count - 32, 0))
    mixed = np.concatenate([copies, raw])[:count]
    return mixed[rng.permutation(count)] if seed else mixed


def pairs(dtype: DType, count: int) -> tuple[Array, Array]:
    """Two arrays that meet the hard values of one with those of the other."""
    a = designed(dtype, count)
    return a, designed(dtype, count, seed=1)


def assert_same_bits(got: Array, expected: Array, what: str) -> None:
    """Equal bits, -0 included; any NaN equals any NaN."""
    assert got.dtype == expected.dtype and got.shape == expected.shape, what
    nan = expected != expected
    same_nan = (got != got) == nan
    unsigned = np.dtype(f"u{got.dtype.itemsize}")
    same = nan | (got.view(unsigned) == expected.view(unsigned))
    bad = np.flatnonzero(~(same & same_nan))
    assert not bad.size, f"{what}: at {bad[:8].tolist()} got {got[bad[:8]]} expected {expected[bad[:8]]}"

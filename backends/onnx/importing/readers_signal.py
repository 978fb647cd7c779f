"""ONNX's signal ops: windows, Fourier transforms, mel filters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.backends.onnx.dtypes import dtype_of
from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError
from chainrule.ir.dims import Dim, DimExpr, dim_max
from chainrule.ir.graph import Value
from chainrule.ir.types import f64, i64
from chainrule.ops import elementwise as el
from chainrule.ops import shaping as sh
from chainrule.ops.basic import constant, scalar_like, size_of
from chainrule.ops.fft import dft, mirrored, real_dft
from chainrule.ops.indexing import gather
from chainrule.ops.ranges import iota
from chainrule.ops.shape_rules import axis_of
from chainrule.ops.trigonometric import cos


def window(coefficients: Sequence[float]) -> Reader:
    """A sum of cosines: a0 - a1 cos(2 pi i / N) + a2 cos(4 pi i / N), N the size, or one less when symmetric."""

    def read(given: Given) -> Read:
        (size,) = given.dims(0)
        dtype = dtype_of(given.whole("output_datatype", 1))
        period = size if given.whole("periodic", 1) else dim_max(1, size - 1)
        turn = el.div(el.mul(iota((size,), 0, f64), constant(2.0 * math.pi, f64)), el.cast(size_of(period), f64))
        total = constant(coefficients[0], f64)
        for order, factor in enumerate(coefficients[1:], 1):
            wave = cos(el.mul(turn, constant(float(order), f64)))
            total = el.add(total, el.mul(wave, constant(factor * (-1.0) ** order, f64)))
        return el.cast(sh.expand(total, (size,)), dtype)

    return read


def fourier(given: Given) -> Read:
    """Forward or backward along an axis that is cut or padded to a length; one half only where onesided."""
    x = given.value(0)
    axis = given.whole("axis", 1) if given.opset < 20 else given.ints(2)[0] if given.has(2) else -2
    axis = axis_of(axis, x.rank)
    inverse, onesided = bool(given.whole("inverse", 0)), bool(given.whole("onesided", 0))
    if axis == x.rank - 1 or x.shape[-1] not in (1, 2):
        raise ModelError(f"DFT: along axis {axis} of {x.type}", help="the last axis holds real and imaginary parts")
    length = given.dims(1)[0] if given.has(1) else None
    perm = [*(i for i in range(x.rank) if i != axis and i != x.rank - 1), axis, x.rank - 1]
    y = sh.transpose(x, perm)
    if inverse and onesided:
        n = (y.shape[-2] - 1) * 2 if length is None else length
        y = sh.narrow(_inverse(mirrored(_fitted(y, n // 2 + 1), n)), y.rank - 1, 0, 1)
    else:
        y = _fitted(y, y.shape[-2] if length is None else length)
        y = _inverse(y) if inverse else _forward(y, onesided)
    return sh.transpose(y, [perm.index(i) for i in range(x.rank)])


def _fitted(y: Value, n: Dim) -> Value:
    """Cut, or padded with zeros, to n along the axis before the last."""
    return y if y.shape[-2] == n else sh.pad_constant(y, (0,) * y.rank, (*(0,) * (y.rank - 2), n - y.shape[-2], 0))


def _complex(y: Value) -> Value:
    if y.shape[-1] == 2:
        return y
    return sh.pad_constant(y, (0,) * y.rank, (*(0,) * (y.rank - 1), 1))


def _inverse(y: Value) -> Value:
    found = dft(_complex(y), 1)
    return el.div(found, scalar_like(y.shape[-2], found))


def _forward(y: Value, onesided: bool) -> Value:
    """The transform; of real numbers half of it is computed, and mirrored where the whole is asked for."""
    n = y.shape[-2]
    if y.shape[-1] == 1 and n != 0:
        half = real_dft(sh.reshape(y, y.shape[:-1]))
        return half if onesided else mirrored(half, n)
    found = dft(_complex(y))
    return sh.narrow(found, found.rank - 2, 0, n // 2 + 1) if onesided else found


def short_time_fourier(given: Given) -> Read:
    """The transforms of overlapping pieces of a signal, each times a window."""
    signal, (step,) = given.value(0), given.dims(1)
    signal = signal if signal.rank == 3 else sh.unsqueeze(signal, 2)
    shape = given.value(2) if given.has(2) else None
    if given.has(3):
        (length,) = given.dims(3)
    elif shape is not None:
        length = shape.shape[0]
    else:
        raise ModelError("STFT: neither a window nor a frame length is given")
    if isinstance(step, DimExpr) or step < 1:
        raise ModelError(f"STFT: the step {step} is no number above 0")
    frames = (signal.shape[1] - length) // step + 1
    places = el.add(el.mul(iota((frames, 1), 0), constant(step, i64)), iota((1, length), 1))
    pieces = gather(signal, places, 1)  # [batch, frames, length, 1 or 2]
    if shape is not None:
        pieces = el.mul(pieces, sh.reshape(shape, (length, 1)))
    return _forward(pieces, bool(given.whole("onesided", 1)))


def mel_weights(given: Given) -> Read:
    """Triangles that are even on the mel scale, over the frequencies of a transform: [bins, mels]."""
    mels, length, rate = (int(given.number(i)) for i in range(3))
    low, high = (float(given.number(i)) for i in (3, 4))
    bins = length // 2 + 1
    # The step is a part of mels + 2, not of mels + 1: so ONNX has it, and the last triangle ends below `high`.
    edges = _mel(low) + np.arange(mels + 2) * ((_mel(high) - _mel(low)) / (mels + 2))
    places = np.floor((length + 1) * (700.0 * (10.0 ** (edges / 2595.0) - 1.0)) / rate).astype(np.int64)
    found = np.zeros((bins, mels))
    at = np.arange(bins)[:, None]
    lower, centre, upper = places[:-2], places[1:-1], places[2:]
    with np.errstate(all="ignore"):
        rising, falling = (at - lower) / (centre - lower), (upper - at) / (upper - centre)
    found = np.where((at >= lower) & (at <= centre) & (lower < centre), rising, found)
    found = np.where((at >= centre) & (at < upper), falling, found)
    found = np.where((at == centre) & (lower == centre), 1.0, found)
    return constant(found, dtype_of(given.whole("output_datatype", 1)))


def _mel(hertz: float) -> float:
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


_WINDOWS: Mapping[str, Sequence[float]] = {
    "HannWindow": (0.5, 0.5), "HammingWindow": (25 / 46, 21 / 46), "BlackmanWindow": (0.42, 0.5, 0.08),
}  # fmt: skip

READERS: Mapping[str, Reader] = {
    **{name: window(coefficients) for name, coefficients in _WINDOWS.items()},
    "DFT": fourier, "STFT": short_time_fourier, "MelWeightMatrix": mel_weights,
}  # fmt: skip

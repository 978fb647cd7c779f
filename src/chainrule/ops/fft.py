"""The discrete Fourier transform, of complex numbers and of real ones. A complex number is a pair on the last axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import Dim, DimExpr
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import DType, TensorType, f32, f64, i64
from chainrule.ops.basic import constant, scalar_like
from chainrule.ops.elementwise import add, cast, div, expect_inputs, mul, sub
from chainrule.ops.matmul import matmul
from chainrule.ops.ranges import iota
from chainrule.ops.shape_rules import require
from chainrule.ops.shaping import concat, flip, listed, narrow, pad_constant, reshape, slice_sized, stack, transpose

DIRECT = 64  # up to this length one matrix product is the fastest: [rows, 2n] by [2n, 2n]
REAL_DIRECT = 512  # and this for real input: [rows, n] by [n, n + 2]


@dataclass(frozen=True)
class Dft(Op):
    """y[k] = sum over j of x[j] e^(sign 2 pi i j k / n), nothing divided. x: [.., n, 2] -> the same.

    The last axis holds real and imaginary parts. sign: -1 forward, 1 backward; one is the transpose of the other, and
    n times its inverse. f16 and bf16 are computed in f32. Lengths are split into factors up to 64; a larger prime
    factor is a convolution (Bluestein), and a symbolic length one product with a matrix of n^2 numbers. A NaN makes all
    of its line NaN, as every number is in every sum, times 0 too. Raises
    ShapeError without a last axis of 2, DTypeError unless floats, ArgumentError for another sign. Source: ONNX DFT-20;
    Cooley and Tukey, Math. Comp. 19 (1965) 297; Bluestein, IEEE Trans. Audio 18 (1970) 451.
    """

    name: ClassVar[str] = "dft"
    args: ClassVar[tuple[str, ...]] = ("x",)
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "vjp"
    sign: int = -1

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        require("f", x)
        if self.sign not in (-1, 1):
            raise ArgumentError(f"the sign {self.sign} is neither -1 nor 1", help="-1 is forward, 1 backward")
        if x.rank < 2 or x.shape[-1] != 2:
            raise ShapeError(f"x is {listed(x.shape)}, not [.., n, 2]",
                             help="the last axis holds real and imaginary parts")  # fmt: skip
        return x

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        if x.size == 0:
            return x.copy()
        wide = x.astype(np.float64)
        with np.errstate(all="ignore"):
            numbers = wide[..., 0] + 1j * wide[..., 1]
            found = np.fft.fft(numbers) if self.sign < 0 else np.fft.ifft(numbers) * x.shape[-2]
        lost = np.isnan(x).any((-2, -1), keepdims=True)
        return np.where(lost, np.nan, np.stack([found.real, found.imag], -1)).astype(x.dtype)

    def magnitude(self, *arrays: Array) -> Array:
        """The scale of rounding errors: the sum of the absolute values that each result is made of."""
        (x,) = arrays
        return np.broadcast_to(np.sum(np.abs(x), (-2, -1), keepdims=True), x.shape)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (dft(grads[0], -self.sign),)

    def decompose(self, *inputs: Value) -> Value:
        (x,) = inputs
        wide = cast(x, f32) if x.dtype.bits == 16 else x
        n = x.shape[-2]
        if isinstance(n, DimExpr):
            found = _direct(wide, _turns(n, n, self.sign, wide.dtype))
        elif n <= DIRECT:
            found = _direct(wide, _table(n, n, self.sign, wide.dtype))
        else:
            factor = next((f for f in range(DIRECT, 1, -1) if n % f == 0), 0)
            found = _split(wide, factor, self.sign) if factor else _bluestein(wide, n, self.sign)
        return cast(found, x.dtype)


@dataclass(frozen=True)
class RealDft(Op):
    """The first half of the transform of real numbers: the other half is its mirror. x: [.., n] -> [.., n // 2 + 1, 2].

    y[k] = sum over j of x[j] e^(-2 pi i j k / n), of which the last axis holds real and imaginary parts. f16 and bf16
    are computed in f32. Long even lengths cost half of Dft's. NaN spreads as in Dft. Raises ShapeError of a scalar or
    of nothing, DTypeError unless floats. Source: ONNX DFT-20, onesided.
    """

    name: ClassVar[str] = "real_dft"
    args: ClassVar[tuple[str, ...]] = ("x",)
    tolerance: ClassVar[str] = "D"
    gradient: ClassVar[str] = "decompose"

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        (x,) = types
        require("f", x)
        if not x.rank or x.shape[-1] == 0:
            raise ShapeError(f"x is {listed(x.shape)}: there is nothing to transform", help="x is [.., n], n above 0")
        return x.with_shape((*x.shape[:-1], x.shape[-1] // 2 + 1, 2))

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        shape = (*x.shape[:-1], x.shape[-1] // 2 + 1, 2)
        if x.size == 0:
            return np.zeros(shape, x.dtype)
        with np.errstate(all="ignore"):
            found = np.fft.rfft(x.astype(np.float64))
        lost = np.expand_dims(np.isnan(x).any(-1, keepdims=True), -1)
        return np.where(lost, np.nan, np.stack([found.real, found.imag], -1)).astype(x.dtype)

    def magnitude(self, *arrays: Array) -> Array:
        """The scale of rounding errors: the sum of the absolute values."""
        (x,) = arrays
        return np.broadcast_to(np.sum(np.abs(x), -1)[..., None, None], (*x.shape[:-1], x.shape[-1] // 2 + 1, 2))

    def decompose(self, *inputs: Value) -> Value:
        (x,) = inputs
        wide = cast(x, f32) if x.dtype.bits == 16 else x
        n = x.shape[-1]
        if isinstance(n, DimExpr):
            matrix = narrow(_turns(n, n // 2 + 1, -1, wide.dtype), 0, 0, 1)
            found = _product(wide, matrix)
        elif n <= REAL_DIRECT:
            found = _product(wide, narrow(_table(n, n // 2 + 1, -1, wide.dtype), 0, 0, 1))
        elif n % 2:
            pairs = pad_constant(reshape(wide, (*x.shape, 1)), (0,) * (x.rank + 1), (*(0,) * x.rank, 1))
            found = narrow(dft(pairs), x.rank - 1, 0, n // 2 + 1)
        else:
            found = _halved(wide, n)
        return cast(found, x.dtype)


def _angles(j: Array, k: Array, n: int) -> Array:
    """The angles 2 pi j k / n, reduced as whole numbers: large products lose no digits."""
    return 2.0 * math.pi * ((j[:, None] * k[None, :]) % n) / n


def _table(n: int, count: int, sign: int, dtype: DType) -> Value:
    """What the parts of x[j] add to those of y[k], for the first `count` k: [2, n, count, 2]."""
    angles = _angles(np.arange(n, dtype=np.int64), np.arange(count, dtype=np.int64), n)
    return constant(_rotations(np.cos(angles), sign * np.sin(angles)), dtype)


def _rotations(cosines: Array, sines: Array) -> Array:
    return np.stack([np.stack([cosines, sines], -1), np.stack([-sines, cosines], -1)])


def _turns(n: Dim, count: Dim, sign: int, dtype: DType) -> Value:
    """`_table` for sizes that are known at run time."""
    from chainrule.ops.arithmetic import remainder
    from chainrule.ops.trigonometric import cos, sin

    length = scalar_like(n, constant(0, i64))
    steps = remainder(mul(iota((n, 1), 0, i64), iota((1, count), 1, i64)), length)
    angles = div(mul(cast(steps, f64), constant(2.0 * math.pi, f64)), cast(length, f64))
    c, s = cast(cos(angles), dtype), cast(mul(sin(angles), constant(float(sign), f64)), dtype)
    return stack([stack([c, s], -1), stack([mul(s, scalar_like(-1.0, s)), c], -1)])


def _direct(x: Value, table: Value) -> Value:
    """x [.., n, 2] by a table [2, n, n, 2]."""
    _, n, count, _ = table.shape
    rows = reshape(x, (*x.shape[:-2], n * 2))
    matrix = reshape(transpose(table, (1, 0, 2, 3)), (n * 2, count * 2))
    return reshape(matmul(rows, matrix), (*x.shape[:-2], count, 2))


def _product(x: Value, table: Value) -> Value:
    """Real x [.., n] by the first part of a table: [1, n, count, 2]."""
    _, n, count, _ = table.shape
    return reshape(matmul(x, reshape(table, (n, count * 2))), (*x.shape[:-1], count, 2))


def _times(x: Value, cosines: Array, sines: Array) -> Value:
    """Complex numbers x [.., 2] times constants c + i s that broadcast against x without its last axis."""
    c, s = (constant(part[..., None], x.dtype) for part in (cosines, sines))
    # Turned by a right angle: (a, b) is i times (b, -a), so that x (c + i s) = x c + (-b, a) s.
    swapped = flip(x, x.rank - 1)
    signs = constant(np.array([-1.0, 1.0]), x.dtype)
    return add(mul(x, c), mul(mul(swapped, signs), s))


def _split(x: Value, factor: int, sign: int) -> Value:
    """n = factor * m: short transforms over steps of m, a turn each, then transforms of length m.

    j = j1 m + j2, k = k1 + factor k2: the turn is e^(sign 2 pi i j2 k1 / n).
    """
    lead = x.shape[:-2]
    n = x.shape[-2]
    assert isinstance(n, int)
    m, r = n // factor, len(lead)
    apart = reshape(x, (*lead, factor, m, 2))
    apart = transpose(apart, (*range(r), r + 1, r, r + 2))  # [.., j2, j1, 2]
    short = _direct(apart, _table(factor, factor, sign, x.dtype))  # [.., j2, k1, 2]
    angles = _angles(np.arange(m, dtype=np.int64), np.arange(factor, dtype=np.int64), n)
    turned = _times(short, np.cos(angles), sign * np.sin(angles))
    rest = dft(transpose(turned, (*range(r), r + 1, r, r + 2)), sign)  # [.., k1, k2, 2]
    return reshape(transpose(rest, (*range(r), r + 1, r, r + 2)), x.shape)


def _bluestein(x: Value, n: int, sign: int) -> Value:
    """j k = (j^2 + k^2 - (k - j)^2) / 2 makes the transform a convolution, done by transforms of a length 2^p."""
    size = 1 << (2 * n - 2).bit_length()
    squares = np.arange(n, dtype=np.int64) ** 2 % (2 * n)
    cosines: Array = np.cos(math.pi * squares / n)
    sines: Array = sign * np.sin(math.pi * squares / n)
    kernel: Array = np.zeros(size, np.complex128)
    kernel[:n] = cosines - 1j * sines
    kernel[size - n + 1 :] = kernel[1:n][::-1]
    spectrum: Array = np.fft.fft(kernel) / size
    rank = x.rank
    turned = _times(x, cosines, sines)
    padded = pad_constant(turned, (0,) * rank, (*(0,) * (rank - 2), size - n, 0))
    convolved = dft(_times(dft(padded), np.asarray(np.real(spectrum)), np.asarray(np.imag(spectrum))), 1)
    return _times(narrow(convolved, rank - 2, 0, n), cosines, sines)


def _halved(x: Value, n: int) -> Value:
    """Even and odd elements as one complex signal of half the length; its transform is taken apart by symmetry."""
    half, rank = n // 2, x.rank
    z = dft(reshape(x, (*x.shape[:-1], half, 2)))
    first = narrow(z, rank - 1, 0, 1)
    ahead = concat([z, first], rank - 1)  # z[0..half], where z[half] is z[0]
    mirror = concat([first, flip(z, rank - 1)], rank - 1)  # z[half - k]
    conjugate = mul(mirror, constant(np.array([1.0, -1.0]), x.dtype))
    even = mul(add(ahead, conjugate), constant(0.5, x.dtype))
    odd = sub(ahead, conjugate)
    # The odd elements' transform is odd / 2i, and turns by e^(-2 pi i k / n).
    angles = 2.0 * math.pi * np.arange(half + 1) / n + math.pi / 2
    return add(even, _times(odd, 0.5 * np.cos(angles), -0.5 * np.sin(angles)))


def dft(x: Value, sign: int = -1) -> Value:
    """The Fourier transform of complex numbers [.., n, 2], forward (-1) or backward (1) without the division by n."""
    return build(Dft(sign), x)


def real_dft(x: Value) -> Value:
    """The first half of the Fourier transform of real numbers: [.., n] -> [.., n // 2 + 1, 2]."""
    return build(RealDft(), x)


def mirrored(half: Value, n: Dim) -> Value:
    """The whole of a transform of real numbers from its first half: [.., n // 2 + 1, 2] -> [.., n, 2]."""
    axis, rank = half.rank - 2, half.rank
    count = (n + 1) // 2 - 1
    inner = slice_sized(half, (*(0,) * axis, 1, 0), (*half.shape[:axis], count, 2))
    conjugate = mul(flip(inner, axis), constant(np.array([1.0, -1.0]), half.dtype))
    return concat([half, conjugate], rank - 2)


OPS: tuple[type[Op], ...] = (Dft, RealDft)

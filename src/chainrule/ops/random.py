"""Random numbers as pure functions of a key: the same key gives the same bits on every backend, in any order of work.

Keys and the generator are those of ops/keys.py. Element i (row-major) of a draw is made of the block of counter i
alone, so the bits depend neither on the shape of a draw nor on how it is split over threads. A draw stays below 2**32
elements; with one key, draws of different kinds or sizes share their bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, DTypeError
from chainrule.ir.dims import Dim, as_dim, dim_product
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import DType, TensorType, as_dtype, bool_, f32, f64, i64, u32, u64
from chainrule.ops.basic import constant, full, scalar_like, zeros_like
from chainrule.ops.compare import ge, lt, shift_right
from chainrule.ops.elementwise import add, cast, expect_inputs, minimum, mul, sub, where
from chainrule.ops.keys import (
    DRAW,
    counters,
    expect_drawable,
    expect_key,
    fold_in,
    folded,
    threefry,
    threefry_values,
    word_value,
)
from chainrule.ops.ranges import iota
from chainrule.ops.shape_rules import require
from chainrule.ops.shaping import reshape
from chainrule.ops.sorting import argsort, stable_order
from chainrule.ops.transcendental import log, sqrt
from chainrule.ops.trigonometric import sin

_FRACTION_BITS = {"bf16": 8, "f16": 11, "f32": 24, "f64": 53}  # uniform numbers are k * 2**-bits, exactly


@dataclass(frozen=True)
class Draw(Op):
    """The form of an op that fills a shape with random elements. key: u32[2] -> shape. No gradient passes.

    Element i depends on the key and on its row-major position alone: every draw decomposes flat, then is reshaped.
    """

    args: ClassVar[tuple[str, ...]] = ("key",)
    gradient: ClassVar[str] = "zero"
    shape: tuple[Dim, ...]

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        expect_key(types[0])
        expect_drawable(self.shape)
        return TensorType(self.element_type(), self.shape)

    def element_type(self) -> DType:
        """The element type of the result. Raises for attributes that do not fit."""
        return u32

    def decompose(self, *inputs: Value) -> Value:
        if len(self.shape) != 1:
            return reshape(build(replace(self, shape=(dim_product(self.shape),)), *inputs), self.shape)
        return self.flat(inputs[0])

    def flat(self, key: Value) -> Value:
        """The decomposition for a shape of one axis."""
        raise NotImplementedError


@dataclass(frozen=True)
class RandomBits(Draw):
    """Random 32-bit words, uniform and independent. key: u32[2] -> u32[shape].

    Element i is word `word` (0 or 1) of the Threefry-2x32-20 block of counter (i, 0). Raises ShapeError from 2**32
    elements on, ArgumentError for another word. Source: Salmon et al., SC 2011.
    """

    name: ClassVar[str] = "random_bits"
    word: int = 0

    def element_type(self) -> DType:
        if self.word not in (0, 1):
            raise ArgumentError(f"there is no word {self.word}", help="a block has the words 0 and 1")
        return u32

    def ref(self, *arrays: Array) -> Array:
        return threefry(arrays[0], counters(self.shape), DRAW)[self.word]

    def flat(self, key: Value) -> Value:
        return threefry_values(key, iota(self.shape, 0, u32), DRAW)[self.word]


@dataclass(frozen=True)
class Uniform(Draw):
    """Uniform numbers in [low, high). key: u32[2] -> shape of floats.

    They are low + (high - low) * k * 2**-b with k uniform in [0, 2**b), b = 24 for f32, 53 for f64, 11 for f16, 8 for
    bf16, rounded in the element type and held below high. Raises DTypeError for other element types, ArgumentError
    unless low < high, both finite. Source: L'Ecuyer's fraction method as in numpy's Generator.random; ONNX
    RandomUniform-1 in meaning, not in bits.
    """

    name: ClassVar[str] = "uniform"
    tolerance: ClassVar[str] = "B"
    low: float = 0.0
    high: float = 1.0
    dtype: DType = f32

    def element_type(self) -> DType:
        _expect_float(self.dtype)
        low, high, width = (float(self.dtype.numpy.type(v)) for v in (self.low, self.high, self.high - self.low))
        if not (math.isfinite(width) and low < high):
            raise ArgumentError(f"[{self.low}, {self.high}) is not a range of {self.dtype}",
                                help="low < high, both and their difference finite")  # fmt: skip
        return self.dtype

    def ref(self, *arrays: Array) -> Array:
        units = _units(arrays[0], self.shape, self.dtype)
        if (self.low, self.high) == (0.0, 1.0):
            return units
        scalar = self.dtype.numpy.type
        return np.asarray(np.minimum(units * scalar(self.high - self.low) + scalar(self.low), self._last()))

    def _last(self) -> Array:
        """The largest number below high."""
        kind = self.dtype.numpy
        return np.nextafter(np.asarray(self.high, kind), np.asarray(-math.inf, kind))

    def flat(self, key: Value) -> Value:
        units = _unit_values(key, self.shape, self.dtype)
        if (self.low, self.high) == (0.0, 1.0):
            return units
        wide = add(mul(units, constant(self.high - self.low, self.dtype)), constant(self.low, self.dtype))
        return minimum(wide, constant(self._last()))


def _expect_float(dtype: DType) -> None:
    if not dtype.is_float:
        raise DTypeError(f"{dtype} does not hold fractions", help="take a float type; randint draws integers")


def _units(key: Array, shape: Sequence[Dim], dtype: DType) -> Array:
    """Uniform numbers in [0, 1) of a float type."""
    words, bits = threefry(key, counters(shape), DRAW), _FRACTION_BITS[dtype.name]
    if dtype == f64:
        high, low = (words[0] >> np.uint32(5)).astype(np.float64), (words[1] >> np.uint32(6)).astype(np.float64)
        return np.asarray((high * 2.0**26 + low) * 2.0**-53)
    kind = dtype.numpy
    return np.asarray((words[0] >> np.uint32(32 - bits)).astype(kind) * kind.type(2.0**-bits))


def _unit_values(key: Value, shape: tuple[Dim, ...], dtype: DType) -> Value:
    """The same as `_units`, built from elementwise ops."""
    bits = _FRACTION_BITS[dtype.name]
    words = [random_bits(key, shape, word) for word in (0, 1)]
    if dtype == f64:
        high, low = cast(shift_right(words[0], word_value(5)), f64), cast(shift_right(words[1], word_value(6)), f64)
        return mul(add(mul(high, constant(2.0**26, f64)), low), constant(2.0**-53, f64))
    return mul(cast(shift_right(words[0], word_value(32 - bits)), dtype), constant(2.0**-bits, dtype))


@dataclass(frozen=True)
class Normal(Draw):
    """Standard normal numbers. key: u32[2] -> shape of floats.

    z = sqrt(-2 ln u) * sin(pi t) with u uniform in (0, 1] and t uniform in (-1/2, 1/2), symmetric and never 0: half a
    turn gives the same distribution as the whole one and keeps small numbers exact to a few units in the last place.
    u and t have 24 bits (|z| <= 5.77); for f64 u has 53 and t 52 bits (|z| <= 8.58). f16 and bf16 are the f32 numbers,
    rounded. Raises DTypeError for other element types. Source: Box and Muller, Ann. Math. Stat. 29 (1958).
    """

    name: ClassVar[str] = "normal"
    tolerance: ClassVar[str] = "C"
    dtype: DType = f32

    def element_type(self) -> DType:
        _expect_float(self.dtype)
        return self.dtype

    def ref(self, *arrays: Array) -> Array:
        (key,) = arrays
        if self.dtype == f64:
            u = 1.0 - _units(key, self.shape, f64)
            words = threefry(folded(key, 0), counters(self.shape), DRAW)
            steps = (words[0] >> np.uint32(6)).astype(np.float64) * 2.0**26 + (words[1] >> np.uint32(6))
            t = (steps - 2.0**51 + 0.5) * 2.0**-52
        else:
            words = threefry(key, counters(self.shape), DRAW)
            u, steps = (((w >> np.uint32(8)).astype(np.float64)) for w in words)
            u, t = (u + 1.0) * 2.0**-24, (steps - 2.0**23 + 0.5) * 2.0**-24
        return np.asarray(np.sqrt(-2.0 * np.log(u)) * np.sin(np.pi * t), self.dtype.numpy)

    def magnitude(self, *arrays: Array) -> Array:
        """The scale of rounding errors: a logarithm, a root, a sine and two products, each off by its own class."""
        return 2.0 * np.abs(self.ref(*arrays).astype(np.float64))

    def flat(self, key: Value) -> Value:
        if self.dtype.bits == 16:
            return cast(build(replace(self, dtype=f32), key), self.dtype)
        u, t = self._wide(key) if self.dtype == f64 else self._narrow(key)
        radius = sqrt(mul(log(u), constant(-2.0, self.dtype)))
        return mul(radius, sin(mul(t, constant(math.pi, self.dtype))))

    def _narrow(self, key: Value) -> tuple[Value, Value]:
        u, steps = (cast(shift_right(random_bits(key, self.shape, w), word_value(8)), f32) for w in (0, 1))
        scale = constant(2.0**-24, f32)
        centred = add(sub(steps, constant(2.0**23, f32)), constant(0.5, f32))
        return mul(add(u, constant(1.0, f32)), scale), mul(centred, scale)

    def _wide(self, key: Value) -> tuple[Value, Value]:
        u = sub(constant(1.0, f64), _unit_values(key, self.shape, f64))
        other = fold_in(key, 0)
        high, low = (cast(shift_right(random_bits(other, self.shape, w), word_value(6)), f64) for w in (0, 1))
        steps = add(mul(high, constant(2.0**26, f64)), low)
        centred = add(sub(steps, constant(2.0**51, f64)), constant(0.5, f64))
        return u, mul(centred, constant(2.0**-52, f64))


def _threshold(p: float) -> int:
    """How many of the 2**32 words stand for an event of probability p."""
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"{p} is not a probability", help="it lies in [0, 1]")
    return round(p * 2.0**32)


@dataclass(frozen=True)
class Bernoulli(Draw):
    """True with probability p. key: u32[2] -> bool[shape].

    p is met to 2**-33; 0 and 1 are never and always. Raises ArgumentError unless 0 <= p <= 1.
    Source: ONNX Bernoulli-15 in meaning, not in bits.
    """

    name: ClassVar[str] = "bernoulli"
    p: float = 0.5

    def element_type(self) -> DType:
        _threshold(self.p)
        return bool_

    def ref(self, *arrays: Array) -> Array:
        words, _ = threefry(arrays[0], counters(self.shape), DRAW)
        return np.asarray(words.astype(np.uint64) < np.uint64(_threshold(self.p)))

    def flat(self, key: Value) -> Value:
        limit = _threshold(self.p)
        if limit == 2**32:
            return full(True, self.shape, bool_)
        return lt(random_bits(key, self.shape), word_value(limit))


@dataclass(frozen=True)
class RandInt(Draw):
    """Uniform integers in [low, high). key: u32[2] -> shape of integers.

    low + floor(w * (high - low) / 2**32) for a random word w: a number is off its probability by less than 2**-32.
    Raises DTypeError for other element types, ArgumentError unless low < high lie in the type at most 2**32 apart.
    Source: Lemire, "Fast random integer generation in an interval", TOMACS 29 (2019), without rejection.
    """

    name: ClassVar[str] = "randint"
    low: int = 0
    high: int = 2
    dtype: DType = i64

    def element_type(self) -> DType:
        if not self.dtype.is_int:
            raise DTypeError(f"{self.dtype} does not hold integers", help="take an integer type; uniform draws floats")
        limits = np.iinfo(self.dtype.numpy)
        if not (limits.min <= self.low < self.high <= int(limits.max) + 1 and self.high - self.low <= 2**32):
            raise ArgumentError(f"[{self.low}, {self.high}) is not a range of {self.dtype}",
                                help="low < high, in the element type, at most 2**32 apart")  # fmt: skip
        return self.dtype

    def ref(self, *arrays: Array) -> Array:
        words, _ = threefry(arrays[0], counters(self.shape), DRAW)
        steps = (words.astype(np.uint64) * np.uint64(self.high - self.low)) >> np.uint64(32)
        with np.errstate(over="ignore"):
            return np.asarray(steps.astype(self.dtype.numpy) + np.asarray(self.low, self.dtype.numpy))

    def flat(self, key: Value) -> Value:
        wide = mul(cast(random_bits(key, self.shape), u64), constant(self.high - self.low, u64))
        steps = cast(shift_right(wide, constant(32, u64)), self.dtype)
        return add(steps, constant(self.low, self.dtype))


@dataclass(frozen=True)
class Dropout(Op):
    """x with each element zeroed with probability rate, the others times 1 / (1 - rate). x: [d..], key: u32[2] -> x's.

    What is zeroed does not count, NaN neither. The gradient is dropped by the same key. rate 1 gives zeros.
    Raises DTypeError unless x is of floats, ArgumentError unless 0 <= rate <= 1.
    Source: Srivastava et al., JMLR 15 (2014), inverted; ONNX Dropout-13 in meaning, not in bits.
    """

    name: ClassVar[str] = "dropout"
    args: ClassVar[tuple[str, ...]] = ("x", "key")
    tolerance: ClassVar[str] = "B"
    gradient: ClassVar[str] = "vjp"
    rate: float = 0.5

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        x, key = types
        require("f", x)
        expect_key(key)
        expect_drawable(x.shape)
        _threshold(self.rate)
        return x

    def ref(self, *arrays: Array) -> Array:
        x, key = arrays
        words, _ = threefry(key, counters(x.shape), DRAW)
        kept = words.astype(np.uint64) >= np.uint64(_threshold(self.rate))
        with np.errstate(all="ignore"):
            return np.where(kept, x * x.dtype.type(self._scale()), np.zeros((), x.dtype))

    def _scale(self) -> float:
        return 1.0 / (1.0 - self.rate) if self.rate < 1.0 else 0.0

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        return (build(self, grads[0], inputs[1]), None)

    def decompose(self, *inputs: Value) -> Value:
        x, key = inputs
        limit = _threshold(self.rate)
        if limit == 2**32:
            return zeros_like(x)
        # Compared flat, so that the words are never stored: what is reshaped is one byte an element.
        words = random_bits(key, (x.tensor.size,))
        kept = reshape(ge(words, word_value(limit)), x.shape)
        return where(kept, mul(x, scalar_like(self._scale(), x)), zeros_like(x))


@dataclass(frozen=True)
class Permutation(Op):
    """The numbers 0 .. n-1 in random order. key: u32[2] -> i64[n].

    The order that sorts n random words, equal words (one pair in expectation from n = 92,682 on) by number.
    Raises ShapeError from 2**32 on. Source: random keys, Knuth TAOCP 2, 3.4.2; jax.random.permutation.
    """

    name: ClassVar[str] = "permutation"
    args: ClassVar[tuple[str, ...]] = ("key",)
    gradient: ClassVar[str] = "zero"
    n: Dim

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        expect_key(types[0])
        expect_drawable((self.n,))
        return TensorType(i64, (self.n,))

    def ref(self, *arrays: Array) -> Array:
        return stable_order(threefry(arrays[0], counters((self.n,)), DRAW)[0], 0, False)

    def decompose(self, *inputs: Value) -> Value:
        return argsort(random_bits(inputs[0], (self.n,)), 0)


def _dims(shape: Sequence[Dim]) -> tuple[Dim, ...]:
    return tuple(as_dim(d) for d in shape)


def random_bits(key: Value, shape: Sequence[Dim], word: int = 0) -> Value:
    """Random 32-bit words; words 0 and 1 of one key are independent."""
    return build(RandomBits(_dims(shape), word), key)


def uniform(key: Value, shape: Sequence[Dim], low: float = 0.0, high: float = 1.0, dtype: object = f32) -> Value:
    """Uniform numbers in [low, high)."""
    return build(Uniform(_dims(shape), float(low), float(high), as_dtype(dtype)), key)


def normal(key: Value, shape: Sequence[Dim], mean: float = 0.0, std: float = 1.0, dtype: object = f32) -> Value:
    """Normal numbers with a mean and a standard deviation."""
    z = build(Normal(_dims(shape), as_dtype(dtype)), key)
    if std != 1.0:
        z = mul(z, scalar_like(std, z))
    return add(z, scalar_like(mean, z)) if mean != 0.0 else z


def bernoulli(key: Value, p: float, shape: Sequence[Dim]) -> Value:
    """True with probability p."""
    return build(Bernoulli(_dims(shape), float(p)), key)


def randint(key: Value, shape: Sequence[Dim], low: int, high: int, dtype: object = i64) -> Value:
    """Uniform integers in [low, high)."""
    return build(RandInt(_dims(shape), low, high, as_dtype(dtype)), key)


def dropout(x: Value, key: Value, rate: float = 0.5) -> Value:
    """x with each element zeroed with probability rate, the others times 1 / (1 - rate); x itself for rate 0."""
    return x if rate == 0 else build(Dropout(float(rate)), x, key)


def permutation(key: Value, n: Dim) -> Value:
    """The numbers 0 .. n-1 in random order."""
    return build(Permutation(as_dim(n)), key)


OPS: tuple[type[Op], ...] = (
    RandomBits, Uniform, Normal, Bernoulli, RandInt, Dropout, Permutation,
)  # fmt: skip

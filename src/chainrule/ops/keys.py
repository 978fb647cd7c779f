"""Keys of random numbers, and the generator behind them: numbers are pure functions of a key.

The generator is Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2,
3", SC 2011): a counter is encrypted under the key by additions, rotations and exclusive ors of 32-bit words. It passes
BigCrush, has no state, and needs only what 32-bit vectors and standard ONNX ops (Add, BitShift, BitwiseOr, BitwiseXor
on uint32, opset 18) do exactly; a generator with wide multiplications would not.

A key is u32[2], a value like any other: an input, a state, or `key_from_seed`. A block is a counter (number, purpose)
encrypted under the key; draws, folded and split keys have purposes of their own, so that their bits never meet. Use a
key once; derive new ones with `fold_in` and `split_key`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.dims import Dim, DimExpr, as_dim, dim_product
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import TensorType, u32
from chainrule.ops.basic import constant
from chainrule.ops.compare import bitwise_or, bitwise_xor, shift_left, shift_right
from chainrule.ops.elementwise import add, cast, expect_inputs
from chainrule.ops.ranges import iota
from chainrule.ops.shape_rules import require
from chainrule.ops.shaping import known_negative, listed, narrow, reshape, stack

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # Salmon et al., table 2, for two words of 32 bits
_PARITY = 0x1BD11BDA  # the key schedule's constant, Skein 1.3, cut to 32 bits

DRAW, FOLD, SPLIT = 0, 1, 2  # the second counter word: what a block is used for


def threefry(key: Array, first: Array, second: int) -> tuple[Array, Array]:
    """The two encrypted words of each counter (first, second) under a key. key: u32[2]; first: u32[..]."""
    k0, k1 = (np.uint32(int(word)) for word in key)
    keys = (k0, k1, k0 ^ k1 ^ np.uint32(_PARITY))
    with np.errstate(over="ignore"):
        x0 = first.astype(np.uint32) + k0
        x1 = np.full_like(x0, second) + k1
        for group in range(5):
            for turn in _ROTATIONS[group % 2]:
                x0 = x0 + x1
                x1 = ((x1 << np.uint32(turn)) | (x1 >> np.uint32(32 - turn))) ^ x0
            x0 = x0 + keys[(group + 1) % 3]
            x1 = x1 + (keys[(group + 2) % 3] + np.uint32(group + 1))
    return np.asarray(x0), np.asarray(x1)


def threefry_values(key: Value, first: Value, second: int) -> tuple[Value, Value]:
    """The same as `threefry`, built from elementwise ops."""
    k0, k1 = (reshape(narrow(key, 0, word, 1), ()) for word in (0, 1))
    keys = (k0, k1, bitwise_xor(bitwise_xor(k0, k1), word_value(_PARITY)))
    x0 = add(first, k0)
    x1 = add(word_value(second), k1)
    for group in range(5):
        for turn in _ROTATIONS[group % 2]:
            x0 = add(x0, x1)
            turned = bitwise_or(shift_left(x1, word_value(turn)), shift_right(x1, word_value(32 - turn)))
            x1 = bitwise_xor(turned, x0)
        x0 = add(x0, keys[(group + 1) % 3])
        x1 = add(x1, add(keys[(group + 2) % 3], word_value(group + 1)))
    return x0, x1


def word_value(number: int) -> Value:
    """A 32-bit word as a constant."""
    return constant(number, u32)


def expect_key(key: TensorType) -> None:
    """The type is that of a key. Raises DTypeError or ShapeError."""
    if key.dtype != u32:
        raise DTypeError(f"the key is {key}", help="a key is u32[2]: key_from_seed, split_key or fold_in make one")
    if key.shape != (2,):
        raise ShapeError(f"the key is {key}", help="a key is u32[2]; take one row of split_key's result")


def expect_drawable(shape: Sequence[Dim]) -> None:
    """One key can fill the shape. Raises ShapeError."""
    count = dim_product(shape)
    if any(known_negative(d) for d in shape):
        raise ShapeError(f"{listed(shape)} has a negative size", help="give sizes of at least 0")
    if isinstance(count, int) and count >= 2**32:
        raise ShapeError(f"{listed(shape)} has {count} elements", help="one key draws less than 2**32; split the key")


def counters(shape: Sequence[Dim]) -> Array:
    """The row-major position of each element."""
    count = math.prod(int(d) for d in shape)
    return np.arange(count, dtype=np.uint32).reshape([int(d) for d in shape])


def folded(key: Array, data: int) -> Array:
    """The key that FoldIn makes, as an array."""
    return np.concatenate([np.atleast_1d(w) for w in threefry(key, np.asarray([data], np.uint32), FOLD)])


@dataclass(frozen=True)
class FoldIn(Op):
    """A new key from a key and a number. key: u32[2], data: [] integer -> u32[2].

    The block of counter (data mod 2**32, 1): numbers that differ there give independent keys. Raises DTypeError for
    data that is no integer, ShapeError for one that is not a scalar. Source: Salmon et al., SC 2011;
    jax.random.fold_in.
    """

    name: ClassVar[str] = "fold_in"
    args: ClassVar[tuple[str, ...]] = ("key", "data")
    gradient: ClassVar[str] = "zero"

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(2, types)
        key, data = types
        expect_key(key)
        require("iu", data)
        if data.rank:
            raise ShapeError(f"data is {data}", help="data is one integer; split_key makes many keys")
        return key

    def ref(self, *arrays: Array) -> Array:
        key, data = arrays
        return folded(key, int(data) % 2**32)

    def decompose(self, *inputs: Value) -> Value:
        key, data = inputs
        return stack(threefry_values(key, cast(data, u32), FOLD))


@dataclass(frozen=True)
class SplitKey(Op):
    """Independent keys from one key, a row each. key: u32[2] -> u32[count, 2]. Row i is the block of counter (i, 2).

    Raises ShapeError from 2**32 keys on. Source: Salmon et al., SC 2011; jax.random.split.
    """

    name: ClassVar[str] = "split_key"
    args: ClassVar[tuple[str, ...]] = ("key",)
    gradient: ClassVar[str] = "zero"
    count: Dim

    def infer(self, *types: TensorType) -> TensorType:
        expect_inputs(1, types)
        expect_key(types[0])
        expect_drawable((self.count,))
        return TensorType(u32, (self.count, 2))

    def ref(self, *arrays: Array) -> Array:
        return np.stack(threefry(arrays[0], counters((self.count,)), SPLIT), 1)

    def decompose(self, *inputs: Value) -> Value:
        return stack(threefry_values(inputs[0], iota((self.count,), 0, u32), SPLIT), 1)


def key_array(seed: int) -> Array:
    """The key of a seed, as an array u32[2]: the high and low word of the seed modulo 2**64."""
    return np.asarray([(seed >> 32) & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32)


def key_from_seed(seed: int) -> Value:
    """The key of a seed, as a constant."""
    return constant(key_array(seed))


def split_key(key: Value, count: Dim = 2) -> tuple[Value, ...]:
    """`count` independent keys. For a symbolic count build SplitKey, whose rows are the keys."""
    if isinstance(count, DimExpr):
        raise ArgumentError(f"split_key: the number of keys {count} is not known", help="give it as an int")
    rows = build(SplitKey(as_dim(count)), key)
    return tuple(reshape(narrow(rows, 0, i, 1), (2,)) for i in range(int(count)))


def fold_in(key: Value, data: Value | int) -> Value:
    """A new key from a key and a number (a step, a layer); only the number modulo 2**32 counts."""
    return build(FoldIn(), key, word_value(data % 2**32) if isinstance(data, int) else data)


OPS: tuple[type[Op], ...] = (FoldIn, SplitKey)

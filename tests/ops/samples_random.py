"""Samples of the ops in ops/random.py and ops/keys.py."""

from __future__ import annotations

import numpy as np
from ml_dtypes import bfloat16

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import bf16, f16, f32, f64, i8, i32, i64, tensor, u32
from chainrule.ops.keys import FoldIn, SplitKey, key_array
from chainrule.ops.random import Bernoulli, Dropout, Normal, Permutation, RandInt, RandomBits, Uniform
from tests.ops.sample import BadSample, Sample, normal

key = key_array(2026)
zero, ones = key_array(0), key_array(-1)
spoiled = np.full((40,), np.nan, np.float32)

SAMPLES = [
    Sample(RandomBits((7,)), (key,), "words 0"),
    Sample(RandomBits((2, 3, 2), 1), (key,), "words 1 of three axes"),
    Sample(RandomBits(()), (zero,), "a scalar, the key of seed 0"),
    Sample(RandomBits((0, 3)), (ones,), "empty, all bits of the key set"),
    Sample(Uniform((5, 3)), (key,), "f32"),
    Sample(Uniform((9,), 0.0, 1.0, f64), (key,), "f64"),
    Sample(Uniform((9,), 0.0, 1.0, f16), (key,), "f16"),
    Sample(Uniform((9,), 0.0, 1.0, bf16), (key,), "bf16"),
    Sample(Uniform((64,), -2.5, 4.0), (key,), "a range"),
    Sample(Uniform((64,), 1.0, 1.0009765625, f16), (key,), "a range of one f16 number"),
    Sample(Uniform((64,), 3.0, 5.0, bf16), (key,), "a range, bf16"),
    Sample(Uniform((), -1.0, 1.0), (key,), "a scalar"),
    Sample(Normal((4, 16)), (key,), "f32"),
    Sample(Normal((64,), f64), (key,), "f64"),
    Sample(Normal((16,), f16), (key,), "f16"),
    Sample(Normal((16,), bf16), (key,), "bf16"),
    Sample(Normal((0,)), (key,), "empty"),
    Sample(Normal(()), (key,), "a scalar"),
    Sample(Bernoulli((50,), 0.3), (key,), "sometimes"),
    Sample(Bernoulli((3, 4), 0.0), (key,), "never"),
    Sample(Bernoulli((3, 4), 1.0), (key,), "always"),
    Sample(Bernoulli((), 0.5), (key,), "a scalar"),
    Sample(RandInt((40,), 0, 10), (key,), "digits"),
    Sample(RandInt((3, 5), -128, 128, i8), (key,), "all of i8"),
    Sample(RandInt((9,), -(2**31), 2**31, i32), (key,), "all of i32"),
    Sample(RandInt((9,), 2**62, 2**62 + 1), (key,), "one number"),
    Sample(RandInt((9,), 0, 2**32, u32), (key,), "all of u32"),
    Sample(Dropout(0.5), (normal(4, 5), key), "half"),
    Sample(Dropout(0.1), (normal(30, dtype="float64"), key), "a tenth, f64"),
    Sample(Dropout(0.0), (normal(4), key), "nothing is dropped"),
    Sample(Dropout(1.0), (normal(2, 3), key), "all is dropped"),
    Sample(Dropout(0.9), (spoiled, key), "a dropped NaN is 0", grad=()),
    Sample(Dropout(0.25), (np.asarray(normal()), key), "a scalar"),
    Sample(Dropout(0.25), (normal(0, 2), key), "empty"),
    Sample(Dropout(0.3), (normal(8, dtype="float16"), key), "f16"),
    Sample(Dropout(0.3), (normal(8).astype(bfloat16), key), "bf16"),
    Sample(Permutation(20), (key,), "twenty"),
    Sample(Permutation(1), (key,), "one"),
    Sample(Permutation(0), (key,), "none"),
    Sample(FoldIn(), (key, np.array(3)), "i64"),
    Sample(FoldIn(), (key, np.array(-1)), "-1 folds as 2**32 - 1"),
    Sample(FoldIn(), (key, np.array(2**40 + 3)), "a far number folds as its low word"),
    Sample(FoldIn(), (key, np.array(200, np.uint8)), "u8"),
    Sample(SplitKey(3), (key,), "three"),
    Sample(SplitKey(0), (key,), "none"),
]

u32x2 = tensor("u32", (2,))
BAD = [
    BadSample(RandomBits((3,)), (tensor("i64", (2,)),), DTypeError, "a key is u32[2]"),
    BadSample(RandomBits((3,)), (tensor("u32", (4, 2)),), ShapeError, "take one row of split_key's result"),
    BadSample(RandomBits((3,), 2), (u32x2,), ArgumentError, "there is no word 2"),
    BadSample(RandomBits((2**16, 2**16)), (u32x2,), ShapeError, "one key draws less than 2**32"),
    BadSample(RandomBits((-1,)), (u32x2,), ShapeError, "negative size"),
    BadSample(Uniform((3,), 1.0, 1.0), (u32x2,), ArgumentError, "is not a range of f32"),
    BadSample(Uniform((3,), 0.0, float("inf")), (u32x2,), ArgumentError, "both and their difference finite"),
    BadSample(Uniform((3,), 0.0, 1.0, i64), (u32x2,), DTypeError, "randint draws integers"),
    BadSample(Normal((3,), i32), (u32x2,), DTypeError, "i32 does not hold fractions"),
    BadSample(Bernoulli((3,), 1.5), (u32x2,), ArgumentError, "1.5 is not a probability"),
    BadSample(RandInt((3,), 5, 5), (u32x2,), ArgumentError, "is not a range of i64"),
    BadSample(RandInt((3,), 0, 300, i8), (u32x2,), ArgumentError, "is not a range of i8"),
    BadSample(RandInt((3,), 0, 3, f32), (u32x2,), DTypeError, "uniform draws floats"),
    BadSample(Dropout(-0.1), (tensor("f32", (3,)), u32x2), ArgumentError, "-0.1 is not a probability"),
    BadSample(Dropout(0.1), (tensor("i64", (3,)), u32x2), DTypeError, "i64 is not among"),
    BadSample(Dropout(0.1), (tensor("f32", (3,)), tensor("u32", (3,))), ShapeError, "the key is u32[3]"),
    BadSample(Permutation(2**32), (u32x2,), ShapeError, "one key draws less than 2**32"),
    BadSample(Permutation(3), (tensor("u64", (2,)),), DTypeError, "the key is u64[2]"),
    BadSample(FoldIn(), (u32x2, tensor("f32", ())), DTypeError, "f32 is not among"),
    BadSample(FoldIn(), (u32x2, tensor("i64", (3,))), ShapeError, "data is one integer"),
    BadSample(SplitKey(2), (tensor("u32", (3,)),), ShapeError, "the key is u32[3]"),
    BadSample(SplitKey(2**32), (u32x2,), ShapeError, "elements"),
]

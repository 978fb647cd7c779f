"""The generator is Threefry, its numbers are where they should be, and every draw repeats."""

from __future__ import annotations

import math

import numpy as np
import pytest

from chainrule.backends.reference.interpreter import run
from chainrule.errors import ArgumentError
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import bf16, f16, f32, f64, i8, tensor
from chainrule.ops import random
from chainrule.ops.keys import FoldIn, SplitKey, fold_in, key_array, key_from_seed, split_key, threefry
from chainrule.ops.random import Bernoulli, Dropout, Normal, Permutation, RandInt, RandomBits, Uniform
from chainrule.passes.autodiff import gradients

Array = np.ndarray
COUNT = 1 << 18
KEY = key_array(20260101)

# Known answers of the authors' own implementation (Random123, kat_vectors, threefry2x32 with 20 rounds):
# counter, key, words.
KNOWN = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def beyond(statistic: float, mean: float, deviation: float) -> float:
    """How many standard deviations a statistic is from its mean. Seeds are fixed: a bound of 4 is met or is not."""
    return abs(statistic - mean) / deviation


@pytest.mark.parametrize("counter, key, words", KNOWN)
def test_the_generator_gives_the_known_answers(
    counter: tuple[int, int], key: tuple[int, int], words: tuple[int, int]
) -> None:
    found = threefry(np.array(key, np.uint32), np.array([counter[0]], np.uint32), counter[1])
    assert tuple(int(w[0]) for w in found) == words


def test_a_draw_does_not_depend_on_its_shape_or_on_what_is_drawn_beside_it() -> None:
    line = RandomBits((24,)).ref(KEY)
    np.testing.assert_array_equal(RandomBits((2, 3, 4)).ref(KEY).reshape(-1), line)
    np.testing.assert_array_equal(RandomBits((1000,)).ref(KEY)[:24], line)
    np.testing.assert_array_equal(Uniform((24,)).ref(KEY), (line >> 8).astype(np.float32) * np.float32(2.0**-24))


def test_equal_keys_repeat_and_all_other_keys_differ() -> None:
    keys = [key_array(seed) for seed in (0, 1, 2**32, 2**32 + 1, -1)]
    keys += [FoldIn().ref(KEY, np.array(i)) for i in range(4)]
    keys += list(SplitKey(4).ref(KEY))
    draws = [RandomBits((8,), word).ref(key).tobytes() for key in (KEY, *keys) for word in (0, 1)]
    assert len(set(draws)) == len(draws)
    assert draws[:2] == [RandomBits((8,), word).ref(KEY.copy()).tobytes() for word in (0, 1)]
    assert {k.tobytes() for k in keys}.isdisjoint(RandomBits((4, 2), word).ref(KEY).tobytes()[:8] for word in (0, 1))


@pytest.mark.parametrize("seed", [0, 1, 2**40])
@pytest.mark.parametrize("word", [0, 1])
def test_every_byte_of_the_words_is_uniform(seed: int, word: int) -> None:
    words = RandomBits((COUNT,), word).ref(key_array(seed))
    for shift in (0, 8, 16, 24):
        seen = np.bincount((words >> shift) & 0xFF, minlength=256)
        chi_square = float(np.sum((seen - COUNT / 256) ** 2) / (COUNT / 256))
        assert beyond(chi_square, 255.0, math.sqrt(2 * 255.0)) < 4


def test_neighbours_words_and_keys_are_not_correlated() -> None:
    first, second = (Uniform((COUNT,)).ref(key_array(seed)).astype(np.float64) - 0.5 for seed in (7, 8))
    other = RandomBits((COUNT,), 1).ref(key_array(7)) * 2.0**-32 - 0.5
    pairs = [(first[lag:], first[: COUNT - lag]) for lag in (1, 2, 3, 64, 1024)] + [(first, second), (first, other)]
    for a, b in pairs:
        assert beyond(float(np.sum(a * b)), 0.0, math.sqrt(len(a)) / 12) < 4


def test_one_bit_of_a_counter_or_a_key_changes_half_of_all_bits() -> None:
    words = RandomBits((1 << 14,)).ref(KEY)
    turned = [words.reshape(-1, 2)[:, 0] ^ words.reshape(-1, 2)[:, 1]]
    turned += [words ^ RandomBits((1 << 14,)).ref(KEY ^ np.array([0, 1 << bit], np.uint32)) for bit in (0, 13, 31)]
    for differences in turned:
        bits = np.unpackbits(differences.view(np.uint8)).size
        changed = int(np.unpackbits(differences.view(np.uint8)).sum())
        assert beyond(changed, bits / 2, math.sqrt(bits) / 2) < 4


@pytest.mark.parametrize("dtype, bits", [(f32, 24), (f64, 53), (f16, 11), (bf16, 8)])
def test_uniform_numbers_lie_on_their_grid_below_one(dtype: object, bits: int) -> None:
    u = Uniform((COUNT,), dtype=dtype).ref(KEY).astype(np.float64)  # type: ignore[arg-type]
    steps = u * 2.0**bits
    assert np.array_equal(steps, np.floor(steps))
    assert u.min() >= 0.0 and u.max() < 1.0
    assert beyond(float(u.mean()), 0.5 - 0.5 * 2.0**-bits, 1 / math.sqrt(12 * COUNT)) < 4


def test_a_range_never_gives_its_upper_end() -> None:
    u = Uniform((COUNT,), 1.0, 1.5, bf16).ref(KEY).astype(np.float32)
    assert u.min() == 1.0 and u.max() < 1.5
    one = Uniform((1000,), 1.0, 1.0 + 2.0**-23).ref(KEY)
    assert np.array_equal(one, np.ones(1000, np.float32))


@pytest.mark.parametrize("dtype", [f32, f64])
def test_normal_numbers_have_the_moments_and_tails_of_the_normal_distribution(dtype: object) -> None:
    z = Normal((COUNT,), dtype).ref(KEY).astype(np.float64)  # type: ignore[arg-type]
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert beyond(float(np.mean(z**power)), moment, math.sqrt(variance / COUNT)) < 4
    for limit in (0.5, 1.0, 2.0, 3.0, 4.0):
        p = math.erfc(limit / math.sqrt(2))
        assert beyond(float(np.sum(np.abs(z) > limit)), COUNT * p, math.sqrt(COUNT * p * (1 - p))) < 4
    assert np.all(z != 0) and np.isfinite(z).all()


@pytest.mark.parametrize("p", [0.0, 0.001, 0.3, 0.999, 1.0])
def test_events_happen_as_often_as_they_should(p: float) -> None:
    hits = int(Bernoulli((COUNT,), p).ref(KEY).sum())
    assert hits == COUNT * p if p in (0.0, 1.0) else beyond(hits, COUNT * p, math.sqrt(COUNT * p * (1 - p))) < 4


def test_integers_are_uniform_over_their_range() -> None:
    digits = RandInt((COUNT,), -3, 7).ref(KEY)
    seen = np.bincount(digits + 3, minlength=10)
    assert seen.size == 10
    assert beyond(float(np.sum((seen - COUNT / 10) ** 2) / (COUNT / 10)), 9.0, math.sqrt(18.0)) < 4
    assert set(np.unique(RandInt((COUNT,), -128, 128, i8).ref(KEY))) == set(range(-128, 128))


def test_dropout_keeps_the_mean_and_gives_its_gradient_the_same_mask() -> None:
    x, key = new_input("x", tensor("f32", ("N",))), new_input("key", tensor("u32", (2,)))
    y = random.dropout(x, key, 0.25)
    seed = new_input("g", y.tensor)
    (grad,) = gradients([y], [x], [seed])
    assert grad is not None
    ones = np.ones(COUNT, np.float32)
    found, back = run(Graph("dropout", (x, key, seed), (y, grad)), [ones, KEY, ones])
    np.testing.assert_array_equal(found, back)
    assert set(np.unique(found)) == {np.float32(0), np.float32(1 / 0.75)}
    assert beyond(float(np.sum(found == 0)), COUNT * 0.25, math.sqrt(COUNT * 0.25 * 0.75)) < 4
    assert random.dropout(x, key, 0) is x


def test_a_permutation_holds_every_number_once_and_favours_no_place() -> None:
    n, rounds = 8, 4096
    keys = SplitKey(rounds).ref(KEY)
    orders = np.stack([Permutation(n).ref(k) for k in keys])
    assert np.array_equal(np.sort(orders, 1), np.tile(np.arange(n), (rounds, 1)))
    seen = np.stack([np.bincount(orders[:, place], minlength=n) for place in range(n)])
    chi_square = float(np.sum((seen - rounds / n) ** 2) / (rounds / n))
    freedom = (n - 1.0) ** 2
    assert beyond(chi_square, freedom, math.sqrt(2 * freedom)) < 4


def test_the_builders_take_symbolic_sizes_and_keys_from_each_other() -> None:
    x = new_input("x", tensor("f32", ("N", 3)))
    step = new_input("step", tensor("i64", ()), "state")
    n = symbol("N")
    a, b = split_key(fold_in(key_from_seed(5), step))
    outputs: list[Value] = [
        random.uniform(a, (n, 3), -1.0, 1.0),
        random.normal(a, (3, n), 2.0, 0.5),
        random.bernoulli(b, 0.5, (n,)),
        random.randint(b, (n, 2), 0, 9),
        random.permutation(b, n),
        random.dropout(x, fold_in(b, 3), 0.5),
    ]
    arrays = [np.ones((4, 3), np.float32), np.array(17)]
    found = run(Graph("draws", (x, step), tuple(outputs)), arrays)
    assert [f.shape for f in found] == [(4, 3), (3, 4), (4,), (4, 2), (4,), (4, 3)]
    key_a, key_b = SplitKey(2).ref(FoldIn().ref(key_array(5), np.array(17)))
    np.testing.assert_array_equal(found[0], Uniform((4, 3), -1.0, 1.0).ref(key_a))
    np.testing.assert_array_equal(found[1], Normal((3, 4)).ref(key_a) * np.float32(0.5) + np.float32(2.0))
    np.testing.assert_array_equal(found[5], Dropout(0.5).ref(arrays[0], FoldIn().ref(key_b, np.array(3))))
    with pytest.raises(ArgumentError, match="the number of keys N is not known"):
        split_key(a, n)

"""Compiled random numbers are the reference's: the same words from the same keys."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.reference import run
from chainrule.ir.graph import Graph, new_input
from chainrule.ir.types import tensor
from chainrule.ops.keys import fold_in, key_array, split_key
from chainrule.ops.random import dropout, normal, permutation, random_bits, uniform
from tests.llvm.compiled import complaints, executable
from tests.ops.samples import SAMPLES

OPS = ("fold_in", "split_key", "random_bits", "uniform", "normal", "bernoulli", "randint", "dropout", "permutation")


@pytest.mark.parametrize("name", OPS)
def test_every_sample_compiles_to_what_the_reference_gives(name: str) -> None:
    assert complaints([s for s in SAMPLES if s.op.name == name]) == []


def test_words_are_the_same_for_every_size_and_number_of_threads() -> None:
    key = new_input("key", tensor("u32", (2,)))
    x = new_input("x", tensor("f32", ("N", 30)))
    first, second = split_key(key)
    outputs = (
        random_bits(first, ("N", 7)),
        uniform(second, (30, "N")),
        dropout(x, fold_in(key, 3), 0.25),
        permutation(key, 40),
    )
    graph = Graph("g", (key, x), outputs)
    for threads in (1, 2):
        made = executable(graph, threads=threads)
        for n in (1, 17, 600):
            arrays = [key_array(n), np.ones((n, 30), np.float32)]
            for got, expected in zip(made.run(arrays), run(graph, arrays), strict=True):
                np.testing.assert_array_equal(got, expected)


def test_a_normal_sample_has_mean_0_and_variance_1() -> None:
    key = new_input("key", tensor("u32", (2,)))
    count = 200_000
    (z,) = executable(Graph("g", (key,), (normal(key, (count,)),))).run([key_array(5)])
    assert abs(z.mean()) < 5 / count**0.5
    assert abs(z.var() - 1) < 5 * (2 / count) ** 0.5

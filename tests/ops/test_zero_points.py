"""Convolutions of bytes less their zero points, by every road that there is to them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chainrule.backends import reference
from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import type_of
from chainrule.ops.basic import constant
from chainrule.ops.conv import Conv
from chainrule.ops.integer_products import IntegerConv
from chainrule.ops.zero_points import shifted_conv

PADS = (1, 0, 2, 1)
KINDS = (np.int8, np.uint8)


def bytes_of(kind: type, *shape: int, seed: int = 0) -> np.ndarray:
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    return np.random.default_rng(seed).integers(low, high, shape, endpoint=True).astype(kind)


class Inputs:
    """A graph's inputs with what is given for them."""

    def __init__(self) -> None:
        self.values: dict[Value, np.ndarray] = {}

    def add(self, array: np.ndarray, role: str = "input") -> Value:
        value = new_input(f"v{len(self.values)}", type_of(array), role)
        self.values[value] = array
        return value

    def of(self, graph: Graph, *roles: str) -> list[np.ndarray]:
        return [self.values[v] for role in roles for v in graph.by_role(role)]


@pytest.mark.parametrize("groups", [1, 2, 6], ids=["one group", "two groups", "by channels"])
@pytest.mark.parametrize("told", [True, False], ids=["zero points known", "zero points told by the call"])
def test_a_convolution_less_zero_points_is_exact(groups: int, told: bool) -> None:
    given, x = Inputs(), bytes_of(np.uint8, 2, 6, 7, 6)
    image = given.add(x)
    outputs: list[Value] = []
    wanted: list[np.ndarray] = []
    ends = (np.array(0), np.array(255), np.arange(6) * 40)  # of a weight, moved by 128 where it has a sign
    for n, (kind, zeros) in enumerate(itertools.product(KINDS, ends)):
        w, point = bytes_of(kind, 6, 6 // groups, 3, 2, seed=n), (zeros - 128 * (kind is np.int8)).astype(kind)
        points = [constant(p) if told else given.add(np.asarray(p)) for p in (np.uint8(200), point)]
        bare = IntegerConv((2, 1), (0,) * 4, (1, 1), groups)
        outputs.append(shifted_conv(bare, PADS, image, given.add(w, "param"), *points))
        conv, column = Conv((2, 1), PADS, (1, 1), groups), point.astype(np.float64).reshape(-1, 1, 1, 1)
        wanted.append(np.asarray(conv.ref(x.astype(np.float64) - 200, w - column)))
    graph = Graph("convolutions", tuple(given.values), tuple(outputs))
    made = LlvmExecutable(graph, given.of(graph, "param"), threads=1)
    for got in (reference.run(graph, list(given.values.values())), made.run(given.of(graph, "input"))):
        assert all(np.array_equal(y, want) for y, want in zip(got, wanted, strict=True))

"""Random typed graphs mean the same on every way through the compiler, forward and backward.

A failure prints the smallest graph of its seed that fails, as a call of `check` to be pasted into test_pasted.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from chainrule.backends.reference import run
from chainrule.ir.dims import dim_value
from chainrule.ir.graph import Get, Graph, Input, Value, new_input
from chainrule.ir.op import Op
from chainrule.ir.text import text
from chainrule.ir.types import tensor
from chainrule.ops import (
    ALL_OPS,
    control,
    declared,
    lowered,
    lowered_bytes,
    lowered_pairs,
    lowered_pool,
    lowered_winograd,
    lowered_winograd_grad,
    recurrent_grad,
    recurrent_steps,
    selecting,
    suppression,
)
from chainrule.ops.basic import Fuse, scalar_like
from chainrule.ops.elementwise import add, mul
from chainrule.ops.tolerance import widened
from tests.random_graphs.checking import complaints, gradient_graph, split
from tests.random_graphs.judging import complaint, expected
from tests.random_graphs.making import ENV, arrays_for, random_graph, steps_of
from tests.random_graphs.slopes import Slope, complaint_of, has_no_slope, in_doubles, slope_of, weighted

FORWARD, BACKWARD, SLOPES = 140, 60, 100
SLOW_FORWARD, SLOW_BACKWARD, SLOW_SLOPES = 2000, 1000, 500
# Several graphs in one test: a test of its own for each would cost as much as the graph.
BATCH = 10

Make = Callable[[Graph], "Graph | None"]


def itself(graph: Graph) -> Graph:
    return graph


def smallest(seed: int, make: Make, ways: Sequence[str]) -> str:
    """The smallest graph of a seed that fails, as a call of `check` with what is wrong with it."""
    for steps in range(steps_of(seed) + 1):
        graph = make(random_graph(seed, steps))
        found = complaints(graph, seed, ways) if graph is not None else []
        if graph is not None and found:
            return "\n".join([*found, 'check("""', text(graph, places=False), f'""", seed={seed})'])
    return f"seed {seed} fails no more"


def fail_if_any(seeds: Sequence[int], make: Make, ways: Sequence[str]) -> None:
    for seed in seeds:
        graph = make(random_graph(seed))
        if graph is not None and complaints(graph, seed, ways):
            pytest.fail(smallest(seed, make, ways), pytrace=False)


def batches(first: int, last: int) -> list[object]:
    starts = range(first, last, BATCH)
    return [pytest.param(range(s, min(s + BATCH, last)), id=f"{s}-{min(s + BATCH, last) - 1}") for s in starts]


@pytest.mark.parametrize("seeds", batches(0, FORWARD))
def test_a_random_graph_means_the_same_everywhere(seeds: Sequence[int]) -> None:
    fail_if_any(seeds, itself, ("text", "passes", "llvm", "onnxruntime"))


@pytest.mark.parametrize("seeds", batches(10_000, 10_000 + BACKWARD))
def test_the_gradient_of_a_random_graph_means_the_same_everywhere(seeds: Sequence[int]) -> None:
    fail_if_any(seeds, gradient_graph, ("text", "passes", "llvm", "onnxruntime"))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", batches(20_000, 20_000 + SLOW_FORWARD))
def test_many_random_graphs_mean_the_same_everywhere(seeds: Sequence[int]) -> None:
    fail_if_any(seeds, itself, ("text", "passes", "llvm", "onnxruntime"))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", batches(30_000, 30_000 + SLOW_BACKWARD))
def test_the_gradients_of_many_random_graphs_mean_the_same_everywhere(seeds: Sequence[int]) -> None:
    fail_if_any(seeds, gradient_graph, ("text", "passes", "llvm", "onnxruntime"))


def claims(seed: int) -> Iterator[tuple[Slope, dict[Value, np.ndarray]]]:
    """What the compiler claims of the first and second derivative of a seed's graph, with arrays for the inputs."""
    graph = in_doubles(random_graph(seed))
    outputs = [v for v in graph.outputs if v.dtype.is_float]
    if not outputs or any(map(has_no_slope, graph.nodes)):
        return
    scalar, weights = weighted(outputs)
    rng = np.random.default_rng([seed, 4])
    given = dict(zip(graph.inputs, widened(arrays_for(graph, seed)), strict=True))
    given |= {w: rng.standard_normal([dim_value(d, ENV) for d in w.shape]) for w in weights}
    for order in (1, 2):
        claim = slope_of(scalar, [v for v in graph.inputs if v.dtype.is_float], weights, f"x_d{order}_")
        if claim is None:
            return
        given |= {d: rng.choice([-1.0, 1.0], given[x].shape) for x, d in zip(claim.floats, claim.ways, strict=True)}
        yield claim, given
        scalar = claim.slope


def told_slopes(seeds: Sequence[int]) -> float:
    """The share of slopes that difference quotients tell; fails where a gradient is not the slope."""
    told = count = 0
    for seed in seeds:
        for order, (claim, given) in enumerate(claims(seed), 1):
            wrong = complaint_of(claim, given, seed)
            assert not wrong, f"derivative {order}: {wrong}\n{text(random_graph(seed), places=False)}"
            told += wrong is not None
            count += 1
    return told / count


def test_the_gradients_of_a_random_graph_are_its_slopes() -> None:
    assert told_slopes(range(40_000, 40_000 + SLOPES)) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("first", range(50_000, 50_000 + SLOW_SLOPES, 100))
def test_the_gradients_of_many_random_graphs_are_their_slopes(first: int) -> None:
    assert told_slopes(range(first, first + 100)) > 0.6


def test_a_wrong_slope_is_told() -> None:
    """One that is a hundred-thousandth off is told from quotients and from its adjoint, nearly always."""
    seen = seen_by_adjoint = count = 0
    for seed in range(12):
        for claim, given in claims(seed):
            (slope,) = run(Graph("slope", tuple(given), (claim.slope,)), list(given.values()), precise=True)
            if slope == 0 or claim.pushed is None or complaint_of(claim, given, seed) is None:
                continue
            wrong = mul(claim.slope, scalar_like(1 + 1e-5, claim.slope))
            seen += bool(complaint_of(replace(claim, slope=wrong, pushed=None), given, seed))
            seen_by_adjoint += bool(complaint_of(replace(claim, slope=wrong), given, seed))
            count += 1
    assert count > 8 and min(seen, seen_by_adjoint) >= 0.9 * count


def test_a_slope_that_rounding_hides_is_not_told() -> None:
    x = new_input("x", tensor("f64", ()))
    claim = slope_of(add(x, scalar_like(1e18, x)), [x], [])
    assert claim is not None and complaint_of(claim, {x: np.array(0.5), claim.ways[0]: np.array(1.0)}, 0) is None


# What no model asks for by itself: parts of every graph, and what the compiler makes.
MADE_BY_THE_COMPILER: tuple[type[Op], ...] = (
    Input, Get, Fuse, *control.OPS, *lowered.OPS, *lowered_bytes.OPS, *lowered_pairs.OPS, *lowered_pool.OPS,
    *lowered_winograd.OPS, *lowered_winograd_grad.OPS, *recurrent_steps.OPS, *recurrent_grad.OPS,
)  # fmt: skip
# Sizes that data tells, and claims about sizes: a graph that has one is no longer one of any size.
OF_DATA: tuple[type[Op], ...] = (*selecting.OPS, *suppression.OPS, *declared.OPS)
# bitcast is for keys, sum_square stands inside of norms, random_bits under every drawn number; max_pool_take is the
# gradient of a gradient.
INSIDE_OTHERS = {"bitcast", "sum_square", "random_bits", "max_pool_take"}


def test_random_graphs_reach_every_op() -> None:
    met: set[str] = set()
    for seed in range(1200):
        graph = random_graph(seed)
        met |= {node.op.name for node in graph.nodes}
        gradient = gradient_graph(graph) if seed < 400 else None
        met |= {node.op.name for node in gradient.nodes} if gradient is not None else set()
    wanted = {op.name for op in ALL_OPS if op not in (*MADE_BY_THE_COMPILER, *OF_DATA)}
    assert wanted - met == INSIDE_OTHERS - met


@pytest.mark.parametrize("make", [itself, gradient_graph], ids=["forward", "backward"])
def test_the_judge_sees_one_wrong_element(make: Make) -> None:
    """A ten-thousandth of an output's size on one element is more than rounding does, nearly always."""
    seen = count = 0
    for seed in range(60):
        graph = make(random_graph(seed))
        if graph is None:
            continue
        arrays = arrays_for(graph, seed)
        want = expected(graph, arrays, seed)
        if not all(y.dtype.kind == "f" and np.isfinite(y).all() and y.size for y in want.exact):
            continue
        results = [y.astype(np.float32) for y in want.exact]
        assert not complaint(results, want)
        place = np.random.default_rng(seed).integers(results[-1].size)
        results[-1].flat[place] += np.float32(1e-4) * np.max(np.abs(results[-1])) + np.float32(1e-6)
        count += 1
        seen += bool(complaint(results, want))
    assert seen >= 0.9 * count and count > 40


def test_the_judge_lets_few_elements_go_unjudged() -> None:
    shares = []
    for seed in range(150):
        graph = random_graph(seed)
        shares.append(expected(graph, arrays_for(graph, seed), seed).judged)
    assert np.mean(shares) > 0.95


def test_weights_and_inputs_are_told_apart() -> None:
    graph = next(g for g in map(random_graph, range(100)) if g.by_role("param"))
    inputs, weights = split(graph, arrays_for(graph))
    assert len(inputs) == len(graph.by_role("input")) and len(weights) == len(graph.by_role("param"))

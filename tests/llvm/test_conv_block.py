"""Inverted residual blocks as one kernel: their rows, borders, strides and widths, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.kernels import conv_block
from chainrule.backends.llvm.target import named_target
from chainrule.backends.loops import verify
from chainrule.backends.reference import run
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.op import Array
from chainrule.ir.types import tensor
from chainrule.ops.activations import relu
from chainrule.ops.basic import scalar_like
from chainrule.ops.conv import conv
from chainrule.ops.elementwise import add, minimum
from chainrule.ops.tolerance import models_agree
from tests.llvm.guarded_programs import guarded_run
from tests.ops.sample import normal

# channels, wide channels (0: no first product), channels of the result, image, stride
BLOCKS = [(5, 20, 5, (9, 8), 1), (8, 70, 24, (10, 13), 2), (24, 144, 24, (7, 30), 1), (33, 0, 16, (12, 9), 1),
          (16, 0, 70, (5, 17), 2), (3, 16, 3, (1, 1), 1)]  # fmt: skip


def relu6(x: Value) -> Value:
    """x between 0 and 6."""
    return minimum(relu(x), scalar_like(6.0, x))


def block(ins: int, wide: int, outs: int, image: tuple[int | str, int | str], stride: int, batch: int | str = 2,
          role: str = "param") -> tuple[Graph, list[Array]]:  # fmt: skip
    """The graph and its weights."""
    x = new_input("x", tensor("f32", (batch, ins, *image)))
    shapes = [(wide, ins, 1, 1), (wide,)] if wide else []
    middle = wide or ins
    shapes += [(middle, 1, 3, 3), (middle,), (outs, middle, 1, 1), (outs,)]
    arrays = [normal(*s, seed=i) for i, s in enumerate(shapes)]
    weights = [new_input(f"w{i}", tensor("f32", s), role) for i, s in enumerate(shapes)]  # type: ignore[arg-type]
    rest = iter(weights)
    y = relu6(conv(x, next(rest), next(rest))) if wide else x
    y = relu6(conv(y, next(rest), next(rest), pad=1, stride=stride, groups=middle))
    y = conv(y, next(rest), next(rest))
    y = add(y, x) if stride == 1 and ins == outs else y
    return Graph("g", (x, *weights), (y,)), arrays


@pytest.fixture
def all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of any size are taken."""
    monkeypatch.setattr(conv_block, "WIDE_BYTES", 0)


@pytest.mark.usefixtures("all_blocks")
@pytest.mark.parametrize("target", ["host", "x86-64-v3", "x86-64-v2"])
@pytest.mark.parametrize("sizes", BLOCKS, ids=str)
def test_a_block_is_one_kernel_and_agrees_with_the_reference(
    sizes: tuple[int, int, int, tuple[int, int], int], target: str
) -> None:
    graph, weights = block(*sizes)
    made = LlvmExecutable(graph, weights, threads=1, target=named_target(target))
    assert sum(step.code.name.startswith("block") for step in made.steps) == 1
    assert not any(step.code.name.startswith(("conv", "matmul")) for step in made.steps)
    x = normal(2, sizes[0], *sizes[3], seed=9)
    (got,), (expected,) = made.run([x]), run(graph, [x, *weights], precise=True)
    assert models_agree(got, expected)


@pytest.mark.parametrize("sizes", BLOCKS, ids=str)
def test_it_gives_the_bits_of_three_kernels_on_any_number_of_threads(
    sizes: tuple[int, int, int, tuple[int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, weights = block(*sizes, batch="N")
    apart = LlvmExecutable(graph, weights, threads=1)
    monkeypatch.setattr(conv_block, "WIDE_BYTES", 0)
    one, two = (LlvmExecutable(graph, weights, threads=threads) for threads in (1, 2))
    for n in (0, 1, 3):
        x = normal(n, sizes[0], *sizes[3], seed=9)
        results = [made.run([x])[0] for made in (apart, one, two)]
        assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()


@pytest.mark.usefixtures("all_blocks")
@pytest.mark.parametrize("sizes", BLOCKS, ids=str)
def test_nothing_outside_of_the_arrays_is_touched(sizes: tuple[int, int, int, tuple[int, int], int]) -> None:
    graph, weights = block(*sizes, role="input")
    made = LlvmExecutable(graph, [], threads=1)
    for fn in (f for f in made.functions if f.name.startswith("block")):
        verify(fn)
    arrays = [normal(2, sizes[0], *sizes[3], seed=9), *weights]
    (got,) = guarded_run(made, arrays)
    assert np.array_equal(got, made.run(arrays)[0])


def test_small_images_stay_three_kernels() -> None:
    graph, weights = block(24, 144, 24, (14, 14), 1)
    made = LlvmExecutable(graph, weights, threads=1)
    assert not any(step.code.name.startswith("block") for step in made.steps)


@pytest.mark.usefixtures("all_blocks")
def test_what_is_read_elsewhere_too_is_not_hidden() -> None:
    graph, weights = block(5, 20, 5, (9, 8), 1)
    (y,) = graph.outputs
    wide = next(n for n in graph.nodes if n.op.mnemonic == "minimum")
    both = graph.replace(outputs=(y, wide))
    made = LlvmExecutable(both, weights, threads=1)
    x = normal(2, 5, 9, 8, seed=9)
    for got, expected in zip(made.run([x]), run(both, [x, *weights], precise=True), strict=True):
        assert models_agree(got, expected)


@pytest.mark.usefixtures("all_blocks")
@pytest.mark.parametrize(("ins", "wide", "outs", "stride"), [
    (5, 20, 5, 1), (24, 144, 24, 2), (33, 0, 16, 1), (16, 0, 70, 2)])  # fmt: skip
def test_one_kernel_serves_every_image_size(
    ins: int, wide: int, outs: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 48 * 4 * (wide or ins) * (9 if wide else 1)  # of stretches of 48 columns and more
    monkeypatch.setattr(conv_block, "SCRATCH_BYTES", room)
    graph, weights = block(ins, wide, outs, ("H", "W"), stride, batch="N", role="input")
    made = LlvmExecutable(graph, [], threads=2)
    assert sum(step.code.name.startswith("block") for step in made.steps) == 1
    for n, high, across in ((1, 9, 8), (2, 1, 1), (1, 30, 101), (0, 4, 4), (1, 2, 57), (1, 5, 3)):
        arrays = [normal(n, ins, high, across, seed=9), *weights]
        (got,), (expected,) = guarded_run(made, arrays), run(graph, arrays, precise=True)
        assert got.shape == expected.shape and models_agree(got, expected), (n, high, across)

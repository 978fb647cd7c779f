"""Products of bytes are exact in native code, whichever way their convolution is computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from chainrule.backends import reference
from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.jit import assembly, function_module, runs_here
from chainrule.backends.llvm.pipeline import pipeline
from chainrule.backends.llvm.target import Target, host_target, named_target
from chainrule.backends.loops import Builder
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Graph, Value, build, new_input
from chainrule.ir.types import TensorType, as_dtype, i32, type_of
from chainrule.ir.types import i8 as i8_type
from chainrule.ir.types import u8 as u8_type
from chainrule.ops.integer_products import IntegerConv, IntegerMatMul
from chainrule.ops.lowered_bytes import ByteConv, ByteMatMul
from chainrule.passes.base import Notes
from chainrule.passes.hoist import hoist
from chainrule.passes.pack_bytes import PackBytes
from tests.llvm.compiled import between_guards, executable, graph_of
from tests.llvm.guarded_programs import guarded_run
from tests.llvm.quantised_graphs import ops_of
from tests.ops.samples_integer_products import i8, u8
from tests.ops.samples_lowered_bytes import SAMPLES


@pytest.mark.parametrize("channels, outputs, size, kernel", [(28, 64, 112, 3), (10, 64, 112, 5), (64, 64, 28, 3),
                                                             (64, 32, 28, 1), (300, 16, 14, 1)])  # fmt: skip
def test_a_convolution_of_bytes_is_exact(channels: int, outputs: int, size: int, kernel: int) -> None:
    x, weight = u8(1, channels, size, size), i8(outputs, channels, kernel, kernel)
    op = IntegerConv((1, 1), (kernel // 2,) * 4, (1, 1))
    inputs = [new_input(name, type_of(array)) for name, array in (("x", x), ("weight", weight))]
    (found,) = executable(Graph("conv", tuple(inputs), (build(op, *inputs),))).run([x, weight])
    assert np.array_equal(found, op.ref(x, weight))


@pytest.mark.parametrize("depth", [100, 258, 259, 2000])
def test_a_product_of_matrices_of_bytes_is_exact(depth: int) -> None:
    a, b = np.full((33, depth), 255, np.uint8), np.full((depth, 17), 255, np.uint8)
    inputs = [new_input(name, type_of(array)) for name, array in (("a", a), ("b", b))]
    (found,) = executable(Graph("product", tuple(inputs), (build(IntegerMatMul(), *inputs),))).run([a, b])
    assert np.array_equal(found, np.full((33, 17), 255 * 255 * depth, np.int32))


SIGNS = [(np.uint8, np.int8), (np.int8, np.int8), (np.uint8, np.uint8), (np.int8, np.uint8)]
VNNI = Target("vnni", named_target("x86-64-v4").triple, "x86-64-v4",
              tuple(sorted((*named_target("x86-64-v4").features, "avx512vnni"))), 512, 32)  # fmt: skip


def numbers(dtype: type, *shape: int) -> np.ndarray:
    """Bytes of the whole range, the extremes often."""
    rng = np.random.default_rng(shape)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    found = rng.integers(low, high + 1, shape)
    return np.where(rng.random(shape) < 0.3, rng.choice([low, high], shape), found).astype(dtype)


def by_weights(a_type: TensorType, weights: Sequence[np.ndarray]) -> tuple[Graph, list[Value]]:
    """The products of one matrix with each of several weights."""
    a = new_input("a", a_type)
    params = [new_input(f"w{i}", type_of(w), "param") for i, w in enumerate(weights)]
    return Graph("products", (a, *params), tuple(build(IntegerMatMul(), a, w) for w in params)), params


V3 = named_target("x86-64-v3")
AVX_VNNI = Target("avx-vnni", V3.triple, "x86-64-v3", tuple(sorted((*V3.features, "avxvnni"))), 256, 16)


def targets() -> list[Target]:
    """Those that this machine runs, the best first: with the instruction and without."""
    known = (VNNI, AVX_VNNI, *map(named_target, ("x86-64-v4", "x86-64-v3", "x86-64-v2")))
    return [t for t in known if runs_here(t)] or [host_target()]


def products(a: np.ndarray, weights: Sequence[np.ndarray], target: Target) -> list[np.ndarray]:
    graph, _ = by_weights(type_of(a), weights)
    return list(LlvmExecutable(graph, list(weights), threads=1, target=target).run([a]))


@pytest.mark.parametrize("depth", range(1, 10))
def test_fixed_weights_of_every_depth_and_width_are_exact(depth: int) -> None:
    widths = (depth, 16 * (depth % 4) + 7, 61 + depth)
    for left, right in SIGNS if depth % 4 == 1 else SIGNS[depth % 4 :: 4]:
        a, weights = numbers(left, 7, depth), [numbers(right, depth, n) for n in widths]
        for w, y in zip(weights, products(a, weights, targets()[0]), strict=True):
            assert np.array_equal(y, IntegerMatMul().ref(a, w)), (depth, w.shape)


@pytest.mark.parametrize("signs", SIGNS)
def test_every_target_is_exact(signs: tuple[type, type]) -> None:
    a, w = numbers(signs[0], 9, 10), numbers(signs[1], 10, 39)
    for target in targets():
        (y,) = products(a, [w], target)
        assert np.array_equal(y, IntegerMatMul().ref(a, w)), target.name


@pytest.mark.parametrize("signs", SIGNS)
def test_rows_told_by_the_call_and_any_number_of_threads_give_equal_results(signs: tuple[type, type]) -> None:
    w = numbers(signs[1], 131, 150)
    graph, _ = by_weights(TensorType(as_dtype(signs[0]), (symbol("M"), 131)), [w])
    for threads in (1, 2, 3):
        made = LlvmExecutable(graph, [w], threads=threads, target=targets()[0])
        for rows in (0, 1, 2, 5, 64, 131):
            a = numbers(signs[0], rows, 131)
            assert np.array_equal(made.run([a])[0], IntegerMatMul().ref(a, w)), (rows, threads)


@pytest.mark.parametrize("signs", SIGNS)
def test_fixed_kernels_that_take_each_pixel_alone_are_exact(signs: tuple[type, type]) -> None:
    weights = {rank: numbers(signs[1], 21, 13, *(1,) * rank) for rank in (1, 2, 3)}
    for rank, w in weights.items():
        op = IntegerConv((1,) * rank, (0,) * (2 * rank), (1,) * rank)
        sizes = (symbol("N"), 13, *(symbol(f"S{i}") for i in range(rank)))
        x, param = new_input("x", TensorType(as_dtype(signs[0]), sizes)), new_input("w", type_of(w), "param")
        graph = Graph("conv", (x, param), (build(op, x, param),))
        made = LlvmExecutable(graph, [w], threads=1, target=targets()[0])
        assert ByteConv in ops_of(made)
        for shape in ((2, 13, 5, 6, 2)[: rank + 2], (1, 13, 1, 1, 1)[: rank + 2], (0, 13, 2, 2, 2)[: rank + 2]):
            image = numbers(signs[0], *shape)
            assert np.array_equal(made.run([image])[0], op.ref(image, w)), shape


@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize("stride, pad, kernel, groups", [(2, 0, 1, 1), (1, 1, 1, 1), (1, 1, 3, 1), (1, 0, 2, 2)])
def test_convolutions_of_bytes_of_any_sign_are_exact(
    stride: int, pad: int, kernel: int, groups: int, signs: tuple[type, type]
) -> None:
    x, w = numbers(signs[0], 1, 8, 7, 7), numbers(signs[1], 6, 8 // groups, kernel, kernel)
    op = IntegerConv((stride,) * 2, (pad,) * 4, (1, 1), groups, 5)
    image, param = new_input("x", type_of(x)), new_input("w", type_of(w), "param")
    graph = Graph("conv", (image, param), (build(op, image, param),))
    assert np.array_equal(LlvmExecutable(graph, [w], threads=1, target=targets()[0]).run([x])[0], op.ref(x, w))


@pytest.mark.parametrize("signs", SIGNS[:2])
def test_deep_products_and_batches_are_exact(signs: tuple[type, type]) -> None:
    a, w = numbers(signs[0], 2, 3, 2701), numbers(signs[1], 2701, 33)
    (y,) = products(a, [w], targets()[0])
    assert np.array_equal(y, IntegerMatMul().ref(a, w))


def test_kernels_of_bytes_are_proved_and_stay_between_guard_pages() -> None:
    for sample in (s for s in SAMPLES if s.inputs[0].size):
        for target in (t for t in targets() if t in (VNNI, V3)):
            (y,) = between_guards(graph_of([sample]), list(sample.inputs), target=target)
            assert np.array_equal(y, sample.op.ref(*sample.inputs)), (sample.id, target.name)


def test_a_kernel_for_any_number_of_rows_stays_between_guard_pages() -> None:
    panels = numbers(np.int8, 2, 5, 256)
    inputs = [new_input("a", TensorType(as_dtype("u8"), (symbol("M"), 20))), new_input("panels", type_of(panels))]
    op = ByteMatMul(70)
    made = executable(Graph("rows", tuple(inputs), (build(op, *inputs),)), target=targets()[0], verified=False)
    for rows in (1, 2, 6, 7, 50):
        a = numbers(np.uint8, rows, 20)
        assert np.array_equal(guarded_run(made, [a, panels])[0], op.ref(a, panels)), rows


def test_the_weight_is_packed_once_and_its_sums_are_made_once() -> None:
    a, w = numbers(np.int8, 9, 30), numbers(np.int8, 30, 20)
    graph, (param,) = by_weights(type_of(a), [w])
    packed = PackBytes().run(graph, Notes())
    (found,) = reference.run(packed, [a, w])
    assert np.array_equal(found, IntegerMatMul().ref(a, w))
    main = hoist(packed).main
    assert param not in main.inputs
    assert {n.op.name for n in main.nodes} & {"transpose", "sum"} == set()
    assert sum(isinstance(n.op, ByteMatMul) for n in main.nodes) == 1


def test_two_activations_and_other_processors_keep_the_decomposition() -> None:
    a, b = (new_input(name, TensorType(i8_type, (4, 4))) for name in "ab")
    graph = Graph("product", (a, b), (build(IntegerMatMul(), a, b),))
    assert PackBytes().run(graph, Notes()) is graph
    assert not any(isinstance(step, PackBytes) for step in pipeline(named_target("aarch64")).passes)
    assert any(isinstance(step, PackBytes) for step in pipeline(V3).passes)


@pytest.mark.parametrize("target, used, width", [
    (VNNI, "vpdpbusd", "zmm"), (AVX_VNNI, "vpdpbusd", "ymm"), (named_target("x86-64-v4"), "vpmaddwd", "zmm"),
    (V3, "vpmaddwd", "ymm"), (named_target("x86-64-v2"), "pmaddwd", "xmm"), (named_target("aarch64"), "mla", "v"),
], ids=lambda v: v.name if isinstance(v, Target) else "")  # fmt: skip
def test_the_processors_instruction_is_used_where_it_has_one(target: Target, used: str, width: str) -> None:
    k = Builder("dots")
    a, b, y = k.buffer("a", u8_type, (64,)), k.buffer("b", i8_type, (64,)), k.buffer("y", i32, (16,), "rw")
    k.store(y, (0,), k.dot(k.load(a, (0,), 64), k.load(b, (0,), 64), k.load(y, (0,), 16)))
    _, module = function_module(k.build(), target)
    lines = [line for line in assembly(module, target).splitlines() if used in line]
    assert lines and all(width in line for line in lines)
    assert "pmaddubsw" not in assembly(module, target)  # it saturates

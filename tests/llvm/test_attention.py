"""Compiled attention agrees with its reference: tiles, blocks of keys, masks, views, one query, free sizes."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.llvm.target import named_target
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Graph, Value, build, new_input
from chainrule.ir.types import TensorType, as_dtype, type_of
from chainrule.ops.attention import Attention, attention
from chainrule.ops.basic import Fuse
from chainrule.ops.shaping import narrow, reshape, transpose
from chainrule.ops.tolerance import judge
from tests.llvm.compiled import between_guards, bits_by_threads, complaints, executable, graph_of
from tests.ops.sample import Sample, normal
from tests.ops.samples import SAMPLES
from tests.ops.samples_attention import given

OWN = [s for s in SAMPLES if isinstance(s.op, Attention)]


def shaped(dtype: str = "float32") -> list[Sample]:
    """Ragged tiles, keys in one block and in several, wide and narrow features, every mask."""
    return [
        Sample(Attention(0.3), given((2, 3), 13, 130, 64, 64, dtype=dtype), "ragged"),
        Sample(Attention(0.3), given((2,), 7, 1100, 24, 70, dtype=dtype), "blocks of keys"),
        Sample(Attention(0.3, causal=True), given((2,), 70, 70, 16, 16, dtype=dtype), "causal"),
        Sample(Attention(0.3, causal=True, offset=500), given((1,), 90, 590, 16, 16, dtype=dtype), "causal in blocks"),
        Sample(Attention(0.3, softcap=5.0), (*given((2, 4), 9, 65, 8, 8, 2, dtype=dtype),
                                             normal(2, 1, 1, 65, seed=8) > 0), "shared heads, mask, cap"),
        Sample(Attention(0.3), (*given((2,), 9, 600, 8, 8, dtype=dtype), normal(9, 600, seed=7, dtype=dtype)), "bias"),
        Sample(Attention(0.3), given((3, 4), 1, 77, 64, 64, 2, dtype=dtype), "one query"),
        Sample(Attention(0.3, causal=True, offset=640), given((2,), 1, 1000, 20, 20, dtype=dtype), "one query, blocks"),
    ]


def test_samples_agree_with_the_reference() -> None:
    assert complaints(OWN) == []


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_shapes_of_every_kind_agree(dtype: str) -> None:
    assert complaints(shaped(dtype)) == []


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
def test_samples_agree_on_older_machines(target: str) -> None:
    assert complaints(OWN, target=named_target(target), verified=False) == []


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
def test_shapes_agree_on_older_machines(target: str) -> None:
    assert complaints(shaped(), target=named_target(target)) == []


def free(sample: Sample) -> Graph:
    """The sample with its batch, queries and keys known at run time only."""
    t, s = sample.inputs[0].shape[-2], sample.inputs[1].shape[-2]
    names = {t: symbol("T"), s: symbol("S")}
    inputs = [new_input(f"x{i}", TensorType(as_dtype(x.dtype), (
        *x.shape[:-2], *([names.get(x.shape[-2], x.shape[-2])] if x.ndim > 1 else []),
        names.get(x.shape[-1], x.shape[-1]) if i == 3 else x.shape[-1])))
        for i, x in enumerate(sample.inputs)]  # fmt: skip
    return Graph("free", tuple(inputs), (build(sample.op, *inputs),))


@pytest.mark.parametrize("sample", shaped(), ids=lambda s: s.label)
def test_lengths_known_at_run_time_agree(sample: Sample) -> None:
    (found,) = executable(free(sample)).run(list(sample.inputs))
    verdict = judge(sample.op, sample.inputs, found)
    assert verdict, verdict.reason


def test_bits_are_equal_for_any_number_of_threads() -> None:
    sample = Sample(Attention(0.125), given((4, 6), 70, 130, 64, 64))
    first, *others = bits_by_threads(lambda n: executable(graph_of([sample]), threads=n, verified=False), sample.inputs)
    assert all(other == first for other in others)


@pytest.mark.parametrize("symbolic", [False, True])
def test_nothing_outside_of_the_arrays_is_touched(symbolic: bool) -> None:
    for sample in shaped()[1:5:3] if symbolic else shaped()[::2]:
        graph = free(sample) if symbolic else graph_of([sample])
        dims = {"T": sample.inputs[0].shape[-2], "S": sample.inputs[1].shape[-2]} if symbolic else {}
        assert judge(sample.op, sample.inputs, between_guards(graph, sample.inputs, dims)).reason == ""


def heads_of(x: Value, heads: int) -> Value:
    batch, length, width = x.shape
    return transpose(reshape(x, (batch, length, heads, width // heads)), (0, 2, 1, 3))


@pytest.mark.parametrize("length", [10, "T"])
def test_heads_beside_each_other_are_read_and_written_where_they_lie(length: int | str) -> None:
    x = new_input("x", TensorType(as_dtype("f32"), (2, symbol(length) if isinstance(length, str) else length, 96)))
    q, k, v = (heads_of(narrow(x, -1, at, 32), 4) for at in (0, 32, 64))
    y = attention(q, k, v, causal=True)
    whole = reshape(transpose(y, (0, 2, 1, 3)), (2, x.shape[1], 32))
    made = executable(Graph("net", (x,), (whole,)))
    assert [type(n.op) for n in made.graph.nodes if n.inputs] == [Fuse]
    arrays = normal(2, 10, 96)
    parts = [arrays[..., at : at + 32].reshape(2, 10, 4, 8).transpose(0, 2, 1, 3) for at in (0, 32, 64)]
    op = Attention(8**-0.5, causal=True)
    (found,) = made.run([arrays])
    verdict = judge(op, parts, np.ascontiguousarray(found.reshape(2, 10, 4, 8).transpose(0, 2, 1, 3)))
    assert verdict, verdict.reason


def test_attention_of_an_attention_keeps_both() -> None:
    x = new_input("x", type_of(normal(2, 5, 8)))
    first = attention(*(heads_of(x, 2),) * 3)
    joined = reshape(transpose(first, (0, 2, 1, 3)), (2, 5, 8))
    second = attention(*(heads_of(joined, 4),) * 3)
    made = executable(Graph("net", (x,), (second, joined)))
    assert sum(isinstance(n.op, Fuse | Attention) for n in made.graph.nodes) == 2
    assert made.run([normal(2, 5, 8)])[0].shape == (2, 4, 5, 2)


def test_more_features_than_the_kernel_takes_are_decomposed() -> None:
    q = normal(2, 3, 600)
    net = cr.compile(cr.scaled_dot_product_attention, *(cr.spec(2, 3, 600),) * 3)
    verdict = judge(Attention(600**-0.5), (q, q, q), net(q, q, q))
    assert verdict, verdict.reason

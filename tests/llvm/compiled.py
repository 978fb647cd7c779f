"""Ops and small graphs compiled to native code and judged by the one table of tolerances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.pipeline import pipeline
from chainrule.backends.llvm.target import Target, host_target
from chainrule.backends.loops import verify
from chainrule.ir.dims import Dim, symbol
from chainrule.ir.graph import Graph, Value, build, new_input, results
from chainrule.ir.types import TensorType, as_dtype
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.norm import LayerNorm, RMSNorm
from chainrule.ops.tolerance import judge
from tests.ops.sample import Sample

Array = np.ndarray


def graph_of(samples: Sequence[Sample], symbolic: bool = False) -> Graph:
    """One graph of all samples, each with inputs of its own. symbolic: equal sizes above 1 become one symbol."""
    inputs: list[Value] = []
    outputs: list[Value] = []
    for n, sample in enumerate(samples):
        shapes = symbolic_shapes(sample) if symbolic else [x.shape for x in sample.inputs]
        own = [new_input(f"x{n}_{i}", TensorType(as_dtype(x.dtype), shape))
               for i, (x, shape) in enumerate(zip(sample.inputs, shapes, strict=True))]  # fmt: skip
        inputs += own
        outputs += results(build(sample.op, *own))
    return Graph("samples", tuple(inputs), tuple(outputs))


def symbolic_shapes(sample: Sample) -> list[tuple[Dim, ...]]:
    """The shapes of a sample's inputs with symbols for sizes above 1: one for each size and axis from the right.

    Where the op's inputs are not aligned at the right, one for each size.
    """
    ranks = {x.ndim for x in sample.inputs}
    aligned = len(ranks) == 1 or isinstance(sample.op, Elementwise | LayerNorm | RMSNorm)
    return [
        tuple(symbol(f"D{d}_{x.ndim - axis if aligned else 0}") if d > 1 else d for axis, d in enumerate(x.shape))
        for x in sample.inputs
    ]


def executable(graph: Graph, *, threads: int = 1, target: Target | None = None,
               verified: bool = True) -> LlvmExecutable:  # fmt: skip
    """A compiled graph without weights, every kernel of which the verifier has proved."""
    made = LlvmExecutable(graph, [], threads=threads, target=target or host_target(), passes=pipeline())
    if verified:
        for fn in made.main.program.functions:
            verify(fn)
    return made


def complaints(samples: Sequence[Sample], *, symbolic: bool = False, threads: int = 1,
               target: Target | None = None) -> list[str]:  # fmt: skip
    """What is wrong with the samples' compiled results, one line each."""
    own = [Sample(s.op, tuple(np.ascontiguousarray(x).reshape(x.shape) for x in s.inputs), s.label) for s in samples]
    made = executable(graph_of(own, symbolic), threads=threads, target=target)
    got = made.run([x for s in own for x in s.inputs])
    found: list[str] = []
    for sample in own:
        expected = sample.op.ref(*sample.inputs)
        count = len(expected) if isinstance(expected, tuple) else 1
        mine, got = got[:count], got[count:]
        verdict = judge(sample.op, sample.inputs, mine)
        if not verdict.ok:
            found.append(f"{sample.id}: {verdict.reason}")
    assert not got
    return found

"""Ops and small graphs compiled to native code and judged by the one table of tolerances."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.kernels.region import region_of
from chainrule.backends.llvm.kernels.table import template_of
from chainrule.backends.llvm.target import Target, host_target
from chainrule.backends.loops import verify
from chainrule.ir.dims import Dim, symbol
from chainrule.ir.graph import Graph, Value, build, new_input, results
from chainrule.ir.op import Op
from chainrule.ir.types import TensorType, as_dtype
from chainrule.ops import elementwise
from chainrule.ops.basic import Fuse, scalar_like
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.norm import LayerNorm, RMSNorm
from chainrule.ops.norm_grad import NormGrad
from chainrule.ops.tolerance import judge
from tests.guard_pages import run_everywhere
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
    aligned = len(ranks) == 1 or isinstance(sample.op, Elementwise | LayerNorm | NormGrad | RMSNorm)
    return [
        tuple(symbol(f"D{d}_{x.ndim - axis if aligned else 0}") if d > 1 else d for axis, d in enumerate(x.shape))
        for x in sample.inputs
    ]


def executable(graph: Graph, *, threads: int = 1, target: Target | None = None,
               verified: bool = True) -> LlvmExecutable:  # fmt: skip
    """A compiled graph without weights, every kernel of which the verifier has proved."""
    made = LlvmExecutable(graph, [], threads=threads, target=target or host_target())
    if verified:
        for fn in made.main.program.functions:
            verify(fn)
    return made


def complaints(samples: Sequence[Sample], *, symbolic: bool = False, threads: int = 1,
               target: Target | None = None, verified: bool = True) -> list[str]:  # fmt: skip
    """What is wrong with the samples' compiled results, one line each."""
    own = [Sample(s.op, tuple(np.ascontiguousarray(x).reshape(x.shape) for x in s.inputs), s.label) for s in samples]
    made = executable(graph_of(own, symbolic), threads=threads, target=target, verified=verified)
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


def fused_complaint(op: Op, shapes: Sequence[Sequence[Dim]], arrays: Sequence[Array], *,
                    target: Target | None = None) -> str:  # fmt: skip
    """What is wrong with op(x * scale + shift, others) * -2 compiled as one region; "" if nothing.

    arrays: x, scale, shift, others. The chain in front is IEEE and numpy rounds it alike; what follows is exact, so the
    op's own class bounds the error.
    """
    inputs = [new_input(f"x{i}", TensorType(as_dtype(a.dtype), tuple(s)))
              for i, (a, s) in enumerate(zip(arrays, shapes, strict=True))]  # fmt: skip
    value = build(op, elementwise.add(elementwise.mul(inputs[0], inputs[1]), inputs[2]), *inputs[3:])
    output = elementwise.mul(value, scalar_like(-2, value))
    made = executable(Graph("fused", tuple(inputs), (output,)), target=target)
    regions = [n for n in made.graph.nodes if isinstance(n.op, Fuse)]
    assert len(regions) == len([n for n in made.graph.nodes if n.inputs]) == 1, "the graph is not one region"
    (got,) = made.run(list(arrays))
    with np.errstate(all="ignore"):
        x = (arrays[0] * arrays[1] + arrays[2]).astype(arrays[0].dtype)
    verdict = judge(op, [x, *arrays[3:]], (got / -2).astype(got.dtype) if got.dtype.kind != "i" else got // -2)
    return verdict.reason


def between_guards(graph: Graph, arrays: Sequence[Array], dims: Mapping[str, int] | None = None,
                   target: Target | None = None) -> list[Array]:  # fmt: skip
    """The outputs of a program whose every kernel runs between guard pages, whole and in parts, with equal bits."""
    made = executable(graph, target=target)
    program, bound = made.main.program, made.bound(dims or {})
    found: list[Array] = []
    for storage, shape in zip(program.storages, bound.shapes, strict=True):
        if storage.kind == "input":
            found.append(arrays[storage.index])
        elif storage.kind == "constant":
            found.append(program.constants[storage.index])
        else:
            count = int(np.prod(shape)) * storage.type.dtype.itemsize
            found.append(np.full(count, 0xFF, np.uint8).view(storage.type.dtype.numpy).reshape(shape))
    calls = {s.node: iter(template_of(region_of(s.node))(region_of(s.node), made.target)) for s in program.steps}
    for step, numbers in zip(program.steps, bound.steps, strict=True):
        function = next(calls[step.node]).function
        assert run_everywhere(function, [found[i] for i in step.storages], numbers.sizes, made.target) == 0
    outputs = [(s.index, found[i]) for i, s in enumerate(program.storages) if s.kind == "output"]
    return [array for _, array in sorted(outputs, key=lambda pair: pair[0])]


def bits_by_threads(make: Callable[[int], LlvmExecutable], arrays: Sequence[Array]) -> list[bytes]:
    """The bytes of all outputs for 1, 2 and 3 threads."""
    return [b"".join(y.tobytes() for y in make(threads).run(list(arrays))) for threads in (1, 2, 3)]

"""A graph is run by every way there is, and each result is held against the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.kernels.table import keeps
from chainrule.backends.llvm.pipeline import pipeline
from chainrule.backends.llvm.target import Target
from chainrule.backends.reference import run
from chainrule.ir.graph import Graph, Input, new_input
from chainrule.ir.parse import parse
from chainrule.ir.text import text
from chainrule.ir.types import f32
from chainrule.ops import OP_BY_NAME
from chainrule.ops.tolerance import UNIT
from chainrule.passes.autodiff import gradients
from tests.onnx.witness import onnxruntime_bound
from tests.random_graphs.judging import FACTOR, Expected, complaint, expected
from tests.random_graphs.making import arrays_for

Array = np.ndarray[Any, Any]

# What passes may change in float64, as a share of an output's size, besides the rounding of f32 constants.
PASS_RTOL = 1e-9


def gradient_graph(graph: Graph) -> Graph | None:
    """Inputs and one seed per float output -> the gradients of all float inputs; None where none is reached."""
    outputs = [v for v in graph.outputs if v.dtype.is_float]
    floats = [v for v in graph.inputs if v.dtype.is_float]
    if not outputs or not floats:
        return None
    seeds = [new_input(f"x_s{i}", v.tensor) for i, v in enumerate(outputs)]
    found = [g for g in gradients(outputs, floats, seeds) if g is not None]
    return Graph(f"{graph.name}_grad", (*graph.inputs, *seeds), tuple(found)) if found else None


def split(graph: Graph, arrays: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """(call inputs, weights) of arrays in the order of the graph's inputs."""
    held = dict(zip(graph.inputs, arrays, strict=True))
    return [held[v] for v in graph.by_role("input")], [held[v].copy() for v in graph.by_role("param", "state")]


def text_complaint(graph: Graph) -> str:
    """The text of a graph reads back as a graph of the same text."""
    before = text(graph, places=False)
    after = text(parse(before, OP_BY_NAME), places=False)
    return "" if before == after else f"the text reads back as\n{after}"


def passes_complaint(graph: Graph, arrays: Sequence[Array], want: Expected) -> str:
    """Every pass of the pipeline means the same in float64, but for constants that it rounds to their type."""
    by_input = dict(zip(graph.inputs, arrays, strict=True))

    def check(before: Graph, after: Graph, step: str) -> None:
        found = run(after, [by_input[v] for v in after.inputs], precise=True)
        wanted = zip(found, want.exact, want.moved, want.strays, strict=True)
        for i, (y, exact, moved, strays) in enumerate(wanted):
            with np.errstate(all="ignore"):
                size = np.max(np.abs(exact), initial=0.0, where=np.isfinite(exact)) if exact.dtype.kind == "f" else 0.0
                room = PASS_RTOL * size + FACTOR * moved + UNIT[f32] * np.abs(exact)
                same = (y == exact) | ((y != y) & (exact != exact)) | strays
                near = np.abs(y.astype(np.float64) - exact) <= room
            assert y.shape == exact.shape and (same | near).all(), f"the pass {step} changes result {i}"

    try:
        pipeline().run(graph, check)
    except AssertionError as error:
        return str(error)
    return ""


def llvm_complaint(graph: Graph, arrays: Sequence[Array], want: Expected, target: Target | None = None,
                   threads: int = 1) -> str:  # fmt: skip
    """Native code gives what the reference gives."""
    inputs, weights = split(graph, arrays)
    return complaint(LlvmExecutable(graph, weights, threads=threads, target=target).run(inputs), want)


def onnxruntime_complaint(graph: Graph, arrays: Sequence[Array], seed: int) -> str:
    """The exported graph gives in onnxruntime what the reference gives."""
    from chainrule.backends.onnx import OnnxExecutable

    want = expected(graph, arrays, seed, onnxruntime_bound)

    inputs, weights = split(graph, arrays)
    return complaint(OnnxExecutable(graph, weights, threads=1).run(inputs), want)


def compiles(graph: Graph) -> list[str]:
    """The ops of a lowered graph for which there is no kernel."""
    lowered, _ = pipeline().run(graph)
    return sorted({n.op.mnemonic for n in lowered.nodes if not isinstance(n.op, Input) and not keeps(n)})


def complaints(graph: Graph, seed: int = 0, ways: Sequence[str] = ("text", "passes", "llvm")) -> list[str]:
    """All that is wrong with a graph, one line per way; its arrays are made of its inputs' names and the seed."""
    arrays = arrays_for(graph, seed)
    want = expected(graph, arrays, seed)
    found: list[str] = []
    for way in ways:
        match way:
            case "text":
                wrong = text_complaint(graph)
            case "passes":
                wrong = passes_complaint(graph, arrays, want)
            case "llvm":
                wrong = llvm_complaint(graph, arrays, want)
            case "onnxruntime":
                wrong = onnxruntime_complaint(graph, arrays, seed)
            case _:
                raise AssertionError(way)
        if wrong:
            found.append(f"{way}: {wrong}")
    return found

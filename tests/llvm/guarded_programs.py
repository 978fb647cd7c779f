"""Samples run kernel by kernel between guard pages: what a compiled program does, with every buffer watched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.kernels.region import region_of
from chainrule.backends.llvm.kernels.table import template_of
from chainrule.backends.llvm.program import Program
from chainrule.backends.loops import Function
from chainrule.ops.tolerance import judge
from tests.guard_pages import run_everywhere
from tests.llvm.compiled import executable, graph_of
from tests.ops.sample import Sample


def guarded_complaints(samples: Sequence[Sample], *, symbolic: bool = False) -> list[str]:
    """What is wrong with the samples' results when each kernel runs between guard pages, in 1, 2 and 5 parts."""
    found: list[str] = []
    for sample in samples:
        made = executable(graph_of([sample], symbolic))
        verdict = judge(sample.op, sample.inputs, guarded_run(made, sample.inputs))
        if not verdict.ok:
            found.append(f"{sample.id}: {verdict.reason}")
    return found


def guarded_run(made: LlvmExecutable, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a program without weights, step by step. Fails where a kernel sets its status."""
    program: Program = made.main.program
    dims = dict.fromkeys(program.graph.symbols, 0)
    for value, array in zip(program.graph.inputs, arrays, strict=True):
        for dim, size in zip(value.tensor.shape, array.shape, strict=True):
            if str(dim) in dims:
                dims[str(dim)] = size
    bound = made.bound(dims)
    memory: list[np.ndarray] = []
    for storage, shape in zip(program.storages, bound.shapes, strict=True):
        if storage.kind == "input":
            memory.append(np.array(arrays[storage.index], order="C"))
        elif storage.kind == "constant":
            memory.append(program.constants[storage.index])
        else:
            memory.append(np.zeros(shape, storage.type.dtype.numpy))
    for step, numbers, function in zip(program.steps, bound.steps, kernels_of(made), strict=True):
        status = run_everywhere(function, [memory[i] for i in step.storages], numbers.sizes)
        assert status == 0, f"{function.name} gave the status {status}"
    for copy in program.copies:
        memory[copy.target].reshape(-1)[...] = memory[copy.source].reshape(-1)
    outputs = sorted((s.index, i) for i, s in enumerate(program.storages) if s.kind == "output")
    return [memory[i] for _, i in outputs]


def kernels_of(made: LlvmExecutable) -> list[Function]:
    """The loops of every step of a program, in order."""
    found: list[Function] = []
    for node in dict.fromkeys(step.node for step in made.main.program.steps):
        region = region_of(node)
        found += [call.function for call in template_of(region)(region, made.target)]
    return found

"""Indices through views: where an element of a transpose, slice or split lies in what is viewed, and back."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.backends.llvm.kernels.region import Kernel
from chainrule.backends.loops import Buffer, Int, as_int
from chainrule.ir.graph import Input, Value
from chainrule.ops.shaping import Reshape, Slice, Transpose
from chainrule.passes.fuse_attention import axis_pairs

Index = Sequence[Int]


def source_of(value: Value) -> Value:
    """The region's input that a chain of views shows."""
    while not isinstance(value.op, Input):
        value = value.inputs[0]
    return value


def buffer_of(kernel: Kernel, value: Value) -> Buffer:
    """The buffer of the region's input that a chain of views shows."""
    return kernel.input(kernel.region.body.inputs.index(source_of(value)))


def source_index(kernel: Kernel, value: Value, index: Index) -> tuple[Int, ...]:
    """Where an element of a chain of views lies in the region's input behind it."""
    at = tuple(index)
    while not isinstance(value.op, Input):
        source = value.inputs[0]
        match value.op:
            case Transpose(perm=perm):
                at = tuple(at[perm.index(axis)] for axis in range(source.rank))
            case Slice(starts=starts):
                at = tuple(i + kernel.dim(start) for i, start in zip(at, starts, strict=True))
            case _:
                assert isinstance(value.op, Reshape)
                at = _joined(kernel, source, value, at)
        value = source
    return at


def result_index(kernel: Kernel, anchor: Value, index: Index) -> tuple[Int, ...]:
    """Where an element of the anchor's result lies in the region's output, which views it."""
    chain: list[Value] = []
    value = kernel.region.body.outputs[0]
    while value is not anchor:
        chain.append(value)
        value = value.inputs[0]
    at = tuple(index)
    for node in reversed(chain):
        if isinstance(node.op, Transpose):
            at = tuple(at[axis] for axis in node.op.perm)
        else:
            assert isinstance(node.op, Reshape)
            at = _joined(kernel, node, node.inputs[0], at)
    return at


def _joined(kernel: Kernel, joined: Value, split: Value, at: Index) -> tuple[Int, ...]:
    """The index into the side whose last axis is the product of several of the other."""
    pairs = axis_pairs(joined.shape, split.shape)
    assert pairs is not None
    found: list[Int] = []
    for axes in pairs:
        position = as_int(0)
        for axis in axes:
            position = position * kernel.dim(split.shape[axis]) + at[axis]
        found.append(position)
    return tuple(found)

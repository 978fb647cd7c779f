"""Computes at compile time what depends on constants only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.ir.graph import Get, Graph, Input, Value, rewrite, symbols_of
from chainrule.ir.op import Op
from chainrule.ir.types import TensorType
from chainrule.ops.basic import Constant, Data, Full, Fuse, SizeOf, constant
from chainrule.passes.base import Notes, Pass


@dataclass(frozen=True)
class FoldConstants(Pass):
    """A node whose inputs are all constants becomes a constant, if its result stays within max_bytes.

    Bit-exact: it evaluates the op's `ref`. Random ops and regions are left alone. max_bytes bounds the result of one
    node; max_total_bytes the sum, so that a chain of large constants cannot fill the memory; max_growth_bytes by how
    much a result may be larger than what it is made of (weights kept as bytes stay bytes in a file).
    """

    name: ClassVar[str] = "fold-constants"
    max_bytes: int = 1 << 20
    max_total_bytes: int = 1 << 26
    max_growth_bytes: int = 1 << 20

    def run(self, graph: Graph, notes: Notes) -> Graph:
        spent = 0

        def fold(node: Value, inputs: tuple[Value, ...]) -> Value | None:
            nonlocal spent
            if not self._foldable(node, inputs):
                return None
            with np.errstate(all="ignore"):
                result = node.op.ref(*(array_of(v) for v in inputs))
            assert isinstance(result, np.ndarray | np.generic)
            spent += result.nbytes
            if spent > self.max_total_bytes:
                return None
            notes.count(node.op.mnemonic)
            return constant(np.asarray(result).astype(node.tensor.dtype.numpy, copy=False))

        return rewrite(graph, fold)

    def _foldable(self, node: Value, inputs: tuple[Value, ...]) -> bool:
        if not inputs or isinstance(node.op, Input | Get | Fuse | Constant) or not isinstance(node.type, TensorType):
            return False
        if type(node.op).ref is Op.ref or symbols_of(node) or node.tensor.nbytes() > self.max_bytes:
            return False
        if not all(is_constant(v) and v.tensor.nbytes() <= self.max_bytes for v in inputs):
            return False
        return node.tensor.nbytes() - sum(v.tensor.nbytes() for v in inputs) <= self.max_growth_bytes


def is_constant(value: Value) -> bool:
    """True for constants, filled arrays of known shape and known sizes."""
    match value.op:
        case Constant():
            return True
        case Full():
            return value.tensor.is_static
        case SizeOf(dim=int()):
            return True
        case _:
            return False


def array_of(value: Value) -> np.ndarray:
    """The array of a constant value."""
    result = value.op.ref()
    assert isinstance(result, np.ndarray)
    return result


def scalar_of(value: Value) -> float | int | bool | None:
    """The one number a constant consists of (every element equal), None for anything else."""
    match value.op:
        case Full(value=number):
            return number
        case Constant(data=Data(array=array)) if array.size == 1:
            return array.reshape(-1)[0].item()
        case _:
            return None

"""Activations, with PyTorch's names, arguments and defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array
from chainrule.ops.basic import zeros_like
from chainrule.ops.compare import gt
from chainrule.ops.elementwise import Unary, where


@dataclass(frozen=True)
class Relu(Unary):
    """0 where x < 0, else x: NaN stays NaN and -0 stays -0. The gradient at 0 is 0. Source: ONNX Relu-14."""

    name: ClassVar[str] = "relu"
    kinds: ClassVar[str] = "fi"
    gradient: ClassVar[str] = "vjp"

    def ref(self, *arrays: Array) -> Array:
        (x,) = arrays
        return np.where(x < 0, np.zeros((), x.dtype), x)

    def vjp(self, inputs: Sequence[Value], output: Value, grads: Sequence[Value]) -> Sequence[Value | None]:
        # The output says as much as the input, so that the input need not be kept for the backward pass.
        return (where(gt(output, zeros_like(output)), grads[0], zeros_like(output)),)


def relu(x: Value) -> Value:
    """0 where x < 0, else x."""
    return build(Relu(), x)


OPS = (Relu,)

"""How far onnxruntime may be from the float64 reference, op by op: what the registry's exports are held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.ir.op import Op
from chainrule.ir.types import DType
from chainrule.ops.tolerance import OTHER_FRAMEWORK, UNIT, UNITS, allowed_error, ulp

Array = np.ndarray[Any, Any]

# Functions that it rounds relative to 1, not to the result.
ABSOLUTE = {
    "sigmoid": "its tails are cut off", "tanh": "its smallest results are rounded away", "tanhshrink": "made of tanh",
    "elu": "e^x - 1 cancels near 0", "selu": "as elu", "celu": "as elu",
}  # fmt: skip


def absolute_bound(y: Array, dtype: DType) -> Array:
    """The bound of the functions in ABSOLUTE."""
    return UNITS["D"] * UNIT[dtype] * np.maximum(1.0, np.abs(y))


def onnxruntime_bound(op: Op, inputs: Sequence[Array], index: int, y: Array, dtype: DType) -> Array:
    """The bound of the errors of one exported op: IEEE's for basic ones, else that for other frameworks."""
    if op.name in ABSOLUTE:
        return np.where((y == 0) & (inputs[0] == 0), 0.0, absolute_bound(y, dtype))
    if op.tolerance == "B":
        return 0.5 * ulp(y, dtype)
    return OTHER_FRAMEWORK * allowed_error(op, inputs, index, y, dtype)

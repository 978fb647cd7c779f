"""Products of bytes are exact in native code, whichever way their convolution is computed."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.ir.graph import Graph, build, new_input
from chainrule.ir.types import type_of
from chainrule.ops.integer_products import IntegerConv, IntegerMatMul
from tests.llvm.compiled import executable
from tests.ops.samples_integer_products import i8, u8


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

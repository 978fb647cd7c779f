"""Graphs that were wrong once, as texts. A failing random graph prints itself as a call of `check`."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.ir.parse import parse
from chainrule.ops import OP_BY_NAME
from tests.random_graphs.checking import complaints


def check(source: str, seed: int = 0, ways: Sequence[str] = ("text", "passes", "llvm", "onnxruntime")) -> None:
    """Fails when a graph means different things on different ways. Its inputs' names tell their arrays (see making)."""
    found = complaints(parse(source.strip(), OP_BY_NAME), seed, ways)
    assert not found, "\n".join(found)


def test_an_image_that_is_added_to_its_own_convolution() -> None:
    check("""
graph @residual(%x_0: f32[N,16,12,12], %w_1: f32[16,16,3,3] param) -> f32[N,16,12,12] {
  %0 = conv2d(%x_0, %w_1) stride=(1,1) pad=(1,1,1,1) dilation=(1,1) groups=1 : f32[N,16,12,12]
  %1 = add(%x_0, %0) : f32[N,16,12,12]
  %2 = relu(%1) : f32[N,16,12,12]
  return %2
}
""")


def test_an_image_that_is_multiplied_with_its_own_depthwise_convolution() -> None:
    check("""
graph @depthwise(%x_0: f32[N,5,7,9], %w_1: f32[5,1,3,3] param) -> f32[N,5,7,9] {
  %0 = conv2d(%x_0, %w_1) stride=(1,1) pad=(1,1,1,1) dilation=(1,1) groups=5 : f32[N,5,7,9]
  %1 = mul(%x_0, %0) : f32[N,5,7,9]
  return %1
}
""")


def test_constants_that_a_pass_rounds_to_their_type() -> None:
    check("""
graph @rounded(%x_0: f32[N,8], %x_1: f32[N,8]) -> (f32[], f32[N,8]) {
  %0 = huber_loss(%x_0, %x_1) delta=0.7 : f32[]
  %1 = constant() data=f32[]<2.0> : f32[]
  %2 = rsqrt(%1) : f32[]
  %3 = mul(%x_0, %2) : f32[N,8]
  return %0, %3
}
""")


def test_an_image_that_is_added_behind_its_convolution_through_another_sum() -> None:
    check("""
graph @side(%x_0: f32[12,2,2,8], %x_1: f32[12,2,2,8], %w_2: f32[2,2,3,3] param) -> f32[12,2,2,8] {
  %0 = add(%x_0, %x_1) : f32[12,2,2,8]
  %1 = conv2d(%x_1, %w_2) stride=(1,1) pad=(1,1,1,1) dilation=(1,1) groups=1 : f32[12,2,2,8]
  %2 = add(%0, %1) : f32[12,2,2,8]
  return %2
}
""")

"""A strided convolution as one of stride 1 over the image's phases, for which Winograd's tiles may pay.

With stride s, output i sees inputs s*i, s*i + 1, ...: every s-th tap meets inputs of one phase, a position modulo s.
With the phases laid side by side as channels, the kernel has ceil(k / s) taps and stride 1, and makes the same sums
(and adds zeros, where s does not divide k). With channels last, laying them out is a copy of rows of s pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value, build, new_input
from chainrule.ops.conv import Conv, kernel_of
from chainrule.ops.shaping import narrow, pad_constant, reshape, transpose


@dataclass(frozen=True)
class Polyphase:
    """A strided convolution taken apart. before, after: zeros around the image, or positions cut off where negative;
    conv: the convolution of all phases, on a placeholder [N, prod(stride) * C, *positions]."""

    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    conv: Value

    def taken(self, x: Value) -> Value:
        """[N, *S, C] -> [N, *positions, prod(stride) * C], a phase's channels side by side."""
        for axis, after in enumerate(self.after, 1):
            if after < 0:
                x = narrow(x, axis, 0, x.shape[axis] + after)
        if any(self.before) or any(n > 0 for n in self.after):
            x = pad_constant(x, (0, *self.before, 0), (0, *(max(0, n) for n in self.after), 0))
        (n, *_, channels), positions, rank = x.shape, self.conv.inputs[0].shape[2:], len(self.stride)
        split = reshape(x, (n, *_alternating(positions, self.stride), channels))
        order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
        return reshape(transpose(split, order), (n, *positions, math.prod(self.stride) * channels))


def polyphase(node: Value, op: Conv) -> Polyphase | None:
    """A convolution taken apart; None where it has no stride, is dilated or grouped, or its image's size is a name."""
    x, w, *bias = node.inputs
    rank, kernel = len(op.stride), kernel_of(w.tensor)
    if max(op.stride) == 1 or any(d > 1 for d in op.dilation) or op.groups > 1 or any(n < 0 for n in op.pad):
        return None
    positions: list[int] = []
    after: list[int] = []
    for length, count, taps, step, pad in zip(x.shape[2:], node.shape[2:], kernel, op.stride, op.pad, strict=False):
        if not isinstance(length, int) or not isinstance(count, int) or count < 1:
            return None
        positions.append(count + -(-taps // step) - 1)
        after.append(positions[-1] * step - length - pad)
    image = x.tensor.with_shape((x.shape[0], math.prod(op.stride) * x.shape[1], *positions))
    conv = build(Conv((1,) * rank, (0,) * (2 * rank), (1,) * rank, 1), new_input("phases", image),
                 _phases_of(w, kernel, op.stride), *bias)  # fmt: skip
    return Polyphase(op.stride, op.pad[:rank], tuple(after), conv)


def _phases_of(w: Value, kernel: Sequence[int], stride: Sequence[int]) -> Value:
    """[O, C, *K] -> [O, prod(stride) * C, *ceil(K / stride)]: zeros behind the last tap, taps of a phase together."""
    taps = tuple(-(-k // s) for k, s in zip(kernel, stride, strict=True))
    extra = [t * s - k for t, s, k in zip(taps, stride, kernel, strict=True)]
    if any(extra):
        w = pad_constant(w, (0,) * w.rank, (0, 0, *extra))
    (outs, ins), rank = w.shape[:2], len(kernel)
    split = reshape(w, (outs, ins, *_alternating(taps, stride)))
    order = (0, *range(3, 2 * rank + 2, 2), 1, *range(2, 2 * rank + 1, 2))
    return reshape(transpose(split, order), (outs, math.prod(stride) * ins, *taps))


def _alternating(sizes: Sequence[Dim], stride: Sequence[int]) -> list[Dim]:
    return [n for pair in zip(sizes, stride, strict=True) for n in pair]

"""A dilated convolution along one axis as one of interleaved rows, for which Winograd's tiles may pay.

Along an axis dilated by d, output i sees inputs i, i + d, ...: every d-th position is a sequence of its own, and a
convolution of each, without dilation, makes the same sums. With channels last, laying them out is a copy of whole rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.ir.dims import Dim, floordiv
from chainrule.ir.graph import Value, build, new_input
from chainrule.ops.conv import Conv
from chainrule.ops.shaping import narrow, pad_constant, reshape, transpose


@dataclass(frozen=True)
class Interleaved:
    """A dilated convolution taken apart. count: of sequences; before, after: zeros that fill them up; length: of the
    result; conv: the convolution of all sequences, on a placeholder [N * count, C, positions]."""

    count: int
    before: int
    after: Dim
    length: Dim
    conv: Value

    def taken(self, x: Value) -> Value:
        """[N, T, C] -> [N * count, positions, C]."""
        if self.before or self.after != 0:
            x = pad_constant(x, (0, self.before, 0), (0, self.after, 0))
        n, channels, positions = x.shape[0], x.shape[2], self.conv.inputs[0].shape[2]
        rows = transpose(reshape(x, (n, positions, self.count, channels)), (0, 2, 1, 3))
        return reshape(rows, (n * self.count, positions, channels))

    def put_back(self, y: Value, n: Dim) -> Value:
        """[N * count, positions, O] -> [N, length, O]."""
        positions, outs = y.shape[1:]
        rows = transpose(reshape(y, (n, self.count, positions, outs)), (0, 2, 1, 3))
        rows = reshape(rows, (n, positions * self.count, outs))
        return rows if rows.shape[1] == self.length else narrow(rows, 1, 0, self.length)


def interleaved(node: Value, op: Conv) -> Interleaved | None:
    """A convolution taken apart; None where it has more than one axis, a stride, groups, or no dilation."""
    x, w, *bias = node.inputs
    if len(op.stride) != 1 or op.stride != (1,) or op.dilation == (1,) or op.groups != 1:
        return None
    length, result = x.shape[2], node.shape[2]
    if isinstance(result, int) and result < 1:
        return None
    (count,), (before, after) = op.dilation, op.pad
    positions = floordiv(before + length + after + count - 1, count)
    rows = new_input("rows", x.tensor.with_shape((x.shape[0] * count, x.shape[1], positions)))
    conv = build(Conv((1,), (0, 0), (1,), 1), rows, w, *bias)
    return Interleaved(count, before, positions * count - length - before, result, conv)

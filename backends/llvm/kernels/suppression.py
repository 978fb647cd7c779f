"""Suppression of boxes in turn: each is compared with those that stayed, a vector of them at a time.

Of a detector's thousands of boxes few hundreds stay, and a box is done with at the first that it overlaps; nothing is
compared any more once as many stay as may. Those that stay are kept side by side: their four sides and their areas.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region, Temp, is_half
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Int, Reg, imin
from chainrule.backends.loops import Value as V
from chainrule.ir.dims import dim_product
from chainrule.ir.types import TensorType, bool_, f32, i64
from chainrule.ops.suppression import InTurn

HELD = 5  # top, left, bottom, right, area


def in_turn(region: Region, target: Target) -> list[KernelCall]:
    """Rows of boxes in parallel, the boxes of a row one after another."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, InTurn)
    given = anchor.inputs[0].tensor
    kernel = Kernel(region, target, "in_turn")
    k = kernel.k
    count = given.shape[2]
    shape = (dim_product(given.shape[:2]), count)
    rows, boxes = kernel.dim(shape[0]), kernel.dim(count)
    sides = [kernel.input(i, shape) for i in range(4)]
    fits, kept = kernel.input(4, shape), kernel.output(0, shape)
    dtype = f32 if is_half(given.dtype) else given.dtype
    held = kernel.temp(Temp(TensorType(dtype, (shape[0], HELD, count))))
    with k.loop("row", 0, rows, parallel=True) as row:
        stayed = k.reg(0, i64)
        with k.loop("at", 0, boxes) as at:
            stays = k.reg(False, bool_)
            with k.when(k.and_(k.load(fits, (row, at)), k.cmp("lt", stayed.get(), anchor.op.most))):
                stays.set(True)
                top, left, bottom, right = (k.cast(k.load(side, (row, at)), dtype) for side in sides)
                box = [top, left, bottom, right, k.mul(k.sub(bottom, top), k.sub(right, left))]
                _compare(kernel, held, row, box, stayed, stays, anchor.op.iou)
                with k.when(stays.get()):
                    place = k.index(stayed.get(), 0, boxes)
                    for i, number in enumerate(box):
                        k.store(held, (row, i, place), number)
                    stayed.set(k.add(stayed.get(), 1))
            k.store(kept, (row, at), stays.get())
    k.flops = rows * boxes * boxes
    return [kernel.built()]


def _compare(kernel: Kernel, held: Buffer, row: Int, box: Sequence[V], stayed: Reg, stays: Reg, limit: float) -> None:
    """Clears `stays` when the box overlaps one of those held by more than the limit."""
    k = kernel.k
    boxes = held.shape[2]
    own = [k.splat(number, LANES) for number in box]
    at = k.reg(0, i64)
    with k.while_(lambda: k.and_(stays.get(), k.cmp("lt", at.get(), stayed.get()))):
        first = k.index(at.get(), 0, boxes)
        others = [k.load(held, (row, i, first), LANES, mask=imin(boxes - first, LANES)) for i in range(HELD)]
        zero = k.const(0, own[0].dtype, LANES)
        height = k.maximum(k.sub(k.minimum(own[2], others[2]), k.maximum(own[0], others[0])), zero)
        width = k.maximum(k.sub(k.minimum(own[3], others[3]), k.maximum(own[1], others[1])), zero)
        shared = k.mul(height, width)
        union = k.sub(k.add(own[4], others[4]), shared)
        hit = k.and_(k.cmp("gt", shared, zero), k.cmp("gt", k.div(shared, union), limit))
        among = k.cmp("lt", k.iota(i64, LANES), k.sub(stayed.get(), at.get()))  # behind those held is anything
        stays.set(k.not_(k.reduce("or", k.and_(hit, among))))
        at.set(k.add(at.get(), LANES))

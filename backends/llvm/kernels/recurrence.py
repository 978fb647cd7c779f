"""The linear recurrence y_i = a_i * y_(i-1) + b_i, floats in float64, step after step in either direction.

Along the last axis one line after another; along other axes vectors across the lines.
"""

from __future__ import annotations

from chainrule.backends.llvm.kernels.grid import grid
from chainrule.backends.llvm.kernels.reduce_space import Axis, Space, space_of
from chainrule.backends.llvm.kernels.reduce_sweeps import SIDE, column_tile, moved, placed
from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Int, ceil_div
from chainrule.ir.dims import dim_product
from chainrule.ir.types import f64
from chainrule.ops.cumulative import LinearRecurrence
from chainrule.ops.shape_rules import axis_of


def linear_recurrence(region: Region, target: Target) -> list[KernelCall]:
    """The kernel of a linear recurrence."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, LinearRecurrence)
    x = anchor.inputs[0].tensor
    along = axis_of(anchor.op.axis, x.rank)
    space = space_of(region, [Axis(a, d, a == along, a) for a, d in enumerate(x.shape)], trailing=(0,), lines=True)
    kernel = Kernel(region, target, f"recurrence_{region.name}"[:80])
    sizes = [kernel.dim(space.dims[g]) for g in space.kept]
    rows = space.along[-1]
    with grid(kernel, sizes if rows else [*sizes[:-1], ceil_div(sizes[-1], SIDE * LANES)]) as place:
        if rows:
            _steps(kernel, space, placed(space, place), 1, 1, None, anchor.op.reverse)
        else:
            for index, width, mask in column_tile(kernel, space, place):
                _steps(kernel, space, index, width, LANES, mask, anchor.op.reverse)
    kernel.k.flops = kernel.dim(dim_product(space.dims)) * (2 + len(region.body.nodes))
    return [kernel.built("rows" if rows else "columns")]


def _steps(kernel: Kernel, space: Space, index: list[Int], width: int, lanes: int, mask: Int | None,
           reverse: bool) -> None:  # fmt: skip
    """One element of each line after another, `width` vectors of lines side by side."""
    k, (along,) = kernel.k, space.inner
    size = kernel.dim(space.dims[along])
    zero = k.const(0, f64, lanes)
    sides = [k.reg(zero) for _ in range(width)]
    with k.loop("step", 0, size) as step:
        at = list(index)
        at[along] = size - 1 - step if reverse else step
        for u, before in enumerate(sides):
            place = moved(at, u * LANES)
            a, b = (k.cast(kernel.fit(space.read(kernel, place, lanes, mask, i), lanes), f64) for i in (0, 1))
            before.set(k.select(k.cmp("eq", a, zero), b, k.fma(a, before.get(), b)))
            space.write(kernel, place, before.get(), lanes, mask)

"""Running sums and products along an axis, floats in float64; sums of f64 carry their error along (Knuth's two-sum).

Along the last axis a vector is scanned in log2(LANES) steps of shifting and combining, then joined by what came before;
backwards along it, element by element. Along other axes, vectors across the lines take one step at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.grid import grid
from chainrule.backends.llvm.kernels.reduce_space import Axis, Space, space_of
from chainrule.backends.llvm.kernels.reduce_sweeps import SIDE, column_tile, moved, placed
from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Builder, Int, Reg, ceil_div
from chainrule.backends.loops import Value as V
from chainrule.ir.dims import dim_product
from chainrule.ir.types import DType, f64
from chainrule.ops.cumulative import CumProd, CumSum
from chainrule.ops.shape_rules import axis_of


def cumulative(region: Region, target: Target) -> list[KernelCall]:
    """The kernel of a running sum or product."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, CumSum | CumProd)
    op, x = anchor.op, anchor.inputs[0].tensor
    along = axis_of(op.axis, x.rank)
    space = space_of(region, [Axis(a, d, a == along, a) for a, d in enumerate(x.shape)], lines=True)
    kernel = Kernel(region, target, f"running_{region.name}"[:80])
    dtype = f64 if x.dtype.is_float else x.dtype
    exclusive, reverse = (op.exclusive, op.reverse) if isinstance(op, CumSum) else (False, False)
    careful = x.dtype == f64 and isinstance(op, CumSum)
    run = _Run(kernel, space, dtype, isinstance(op, CumProd), careful, exclusive, reverse)
    if not space.along[-1]:
        run.columns()
    else:
        run.rows()
    kernel.k.flops = kernel.dim(dim_product(space.dims)) * (4 + len(region.body.nodes))
    return [kernel.built("rows" if space.along[-1] else "columns")]


@dataclass
class _Run:
    kernel: Kernel
    space: Space
    dtype: DType
    product: bool
    careful: bool
    exclusive: bool
    reverse: bool

    @property
    def k(self) -> Builder:
        return self.kernel.k

    def neutral(self, lanes: int) -> V:
        return self.k.const(1 if self.product else 0, self.dtype, lanes)

    def combined(self, a: V, b: V) -> V:
        return self.k.mul(a, b) if self.product else self.k.add(a, b)

    def start(self, lanes: int) -> list[Reg]:
        """What comes before a line: its total, and for careful sums the total's error."""
        return [self.k.reg(self.neutral(lanes)) for _ in range(2 if self.careful else 1)]

    def total(self, regs: Sequence[Reg]) -> V:
        """The result that the registers stand for."""
        return self.k.add(regs[0].get(), regs[1].get()) if self.careful else regs[0].get()

    def take(self, regs: Sequence[Reg], x: V) -> None:
        """Joins the next element, or the total of the next ones, to the registers."""
        k = self.k
        before = regs[0].get()
        after = self.combined(before, x)
        regs[0].set(after)
        if self.careful:
            part = k.sub(after, before)
            lost = k.add(k.sub(before, k.sub(after, part)), k.sub(x, part))
            error = k.add(regs[1].get(), lost)
            regs[1].set(k.select(k.cmp("eq", error, error), error, self.neutral(x.lanes)))  # NaN next to infinities

    def element(self, index: Sequence[Int], lanes: int, mask: Int | None) -> V:
        return self.k.cast(self.kernel.fit(self.space.read(self.kernel, index, lanes, mask), lanes), self.dtype)

    def columns(self) -> None:
        kernel, space = self.kernel, self.space
        outer = [kernel.dim(space.dims[g]) for g in space.kept[:-1]]
        with grid(kernel, [*outer, ceil_div(kernel.dim(space.dims[-1]), SIDE * LANES)]) as place:
            for index, width, mask in column_tile(kernel, space, place):
                self._steps(index, width, LANES, mask)

    def rows(self) -> None:
        kernel, space = self.kernel, self.space
        with grid(kernel, [kernel.dim(space.dims[g]) for g in space.kept]) as place:
            index = placed(space, place)
            if self.reverse:
                self._steps(index, 1, 1, None)
            else:
                self._scan(index)

    def _steps(self, index: list[Int], width: int, lanes: int, mask: Int | None) -> None:
        """One element of each line after another, `width` vectors of lines side by side."""
        k, (along,) = self.k, self.space.inner
        size = self.kernel.dim(self.space.dims[along])
        sides = [self.start(lanes) for _ in range(width)]
        with k.loop("step", 0, size) as step:
            at = list(index)
            at[along] = size - 1 - step if self.reverse else step
            for u, regs in enumerate(sides):
                place = moved(at, u * LANES)
                before = self.total(regs)
                self.take(regs, self.element(place, lanes, mask))
                result = before if self.exclusive else self.total(regs)
                self.space.write(self.kernel, place, result, lanes, mask)

    def _scan(self, index: list[Int]) -> None:
        """One line along the last group, LANES elements at a time."""
        k = self.k
        size = self.kernel.dim(self.space.dims[-1])
        carry = self.start(1)
        if not size.is_const or size.const >= LANES:
            with k.loop("i", 0, size - (LANES - 1), LANES) as i:
                self._scan_vector([*index[:-1], i], None, carry)
        if size.is_const and size.const % LANES == 0:
            return
        with k.loop("i", size // LANES * LANES, size, LANES) as i:
            self._scan_vector([*index[:-1], i], size - i, carry)

    def _scan_vector(self, index: list[Int], mask: Int | None, carry: Sequence[Reg]) -> None:
        k = self.k
        x = self.element(index, LANES, mask)
        by = 1
        while by < LANES:
            shifted = k.shuffle(x, self.neutral(LANES), [*([LANES] * by), *range(LANES - by)])
            x = self.combined(shifted, x)
            by *= 2
        before = k.splat(self.total(carry), LANES)
        inner = self.combined(x, k.splat(carry[1].get(), LANES)) if self.careful else x
        y = self.combined(k.splat(carry[0].get(), LANES), inner)
        self.take(carry, k.extract(x, LANES - 1))
        if self.exclusive:
            y = k.shuffle(y, before, [LANES, *range(LANES - 1)])
        self.space.write(self.kernel, index, y, LANES, mask)

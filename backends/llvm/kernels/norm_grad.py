"""The gradient of layer and RMS norm: rows are read once from memory, and swept in the first-level cache.

A part of the rows adds its gradients of gamma and beta up beside dx, in the type of the elements; a second kernel puts
the parts together, in f64. How rows are cut into parts follows from sizes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chainrule.backends.llvm.kernels.grid import grid
from chainrule.backends.llvm.kernels.reduce_folds import STEPS, Average, Total
from chainrule.backends.llvm.kernels.reduce_sweeps import SIDE, Line, along_line, assign, current, fold_lines, registers
from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region, Temp
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Int, as_int, ceil_div, imin
from chainrule.backends.loops import Value as V
from chainrule.ir.dims import Dim, dim_product, floordiv
from chainrule.ir.graph import Value
from chainrule.ir.types import TensorType, i64
from chainrule.ops.norm_grad import NormGrad

PARTS = 16  # of rows, from which there is enough to share among threads


def norm_grad(region: Region, target: Target) -> list[KernelCall]:
    """dx and, with gamma, the parts of the other gradients; then these together."""
    anchor = region.anchor
    assert anchor is not None
    made = _NormGrad(region, target, anchor)
    return [made.rows_kernel(), *([made.sums_kernel()] if made.affine else [])]


@dataclass
class _Row:
    """A row of the kernel that is built: vectors of x, of the norm y, and of the slope dy * gamma, at a place of it."""

    made: _NormGrad
    kernel: Kernel
    at: Int
    numbers: dict[str, V] = field(default_factory=dict)

    def loaded(self, which: int, i: Int, mask: Int | None) -> V:
        """The elements of x (0) or dy (1)."""
        return self.kernel.k.load(self.made.matrix(self.kernel, which), (self.at, i), LANES, mask=mask)

    def centred(self, i: Int, mask: Int | None) -> V:
        x = self.loaded(0, i, mask)
        return self.kernel.k.sub(x, self.numbers["mean"]) if self.made.op.centred else x

    def y(self, i: Int, mask: Int | None) -> V:
        return self.kernel.k.mul(self.centred(i, mask), self.numbers["scale"])

    def slope(self, i: Int, mask: Int | None) -> V:
        dy = self.loaded(1, i, mask)
        return self.kernel.k.mul(dy, self.made.gamma(self.kernel, i, mask)) if self.made.affine else dy

    def dx(self, i: Int, mask: Int | None) -> V:
        k, slope = self.kernel.k, self.slope(i, mask)
        level = k.sub(slope, self.numbers["slope"]) if self.made.op.centred else slope
        return k.mul(k.sub(level, k.mul(self.y(i, mask), self.numbers["slope_y"])), self.numbers["scale"])


@dataclass
class _NormGrad:
    """The kernels of one gradient. temps: the parts of the gradients that are sums over the rows."""

    region: Region
    target: Target
    anchor: Value
    temps: list[Temp] = field(init=False)

    def __post_init__(self) -> None:
        sums = (2 if self.op.centred else 1) if self.affine else 0
        self.temps = [Temp(TensorType(self.x.dtype, (self.parts, self.length))) for _ in range(sums)]

    @property
    def op(self) -> NormGrad:
        assert isinstance(self.anchor.op, NormGrad)
        return self.anchor.op

    @property
    def affine(self) -> bool:
        return len(self.anchor.inputs) == 3

    @property
    def x(self) -> TensorType:
        return self.anchor.inputs[0].tensor

    @property
    def rows(self) -> Dim:
        return dim_product(self.x.shape[: self.x.rank - self.op.trailing])

    @property
    def length(self) -> Dim:
        return dim_product(self.x.shape[self.x.rank - self.op.trailing :])

    @property
    def part(self) -> int:
        """Rows of a part: as many as may be added up in the elements' type, or few where there are few."""
        if not self.affine:
            return 1
        return min(STEPS, max(1, self.rows // PARTS)) if isinstance(self.rows, int) else STEPS

    @property
    def parts(self) -> Dim:
        return floordiv(self.rows + self.part - 1, self.part)

    def matrix(self, kernel: Kernel, which: int) -> Buffer:
        return kernel.input(which, (self.rows, self.length))

    def gamma(self, kernel: Kernel, i: Int, mask: Int | None) -> V:
        return kernel.k.load(kernel.input(2, (self.length,)), (i,), LANES, mask=mask)

    def rows_kernel(self) -> KernelCall:
        kernel = Kernel(self.region, self.target, "norm_grad")
        k = kernel.k
        rows, length = kernel.dim(self.rows), kernel.dim(self.length)
        with grid(kernel, [kernel.dim(self.parts)]) as (part,):
            totals = [kernel.temp(t, "rw") for t in self.temps]

            def clear(i: Int, mask: Int | None) -> None:
                for total in totals:
                    k.store(total, (part, i), k.const(0, total.dtype, LANES), mask=mask)

            if totals:
                along_line(k, length, clear)
            with k.loop("row", part * self.part, imin(part * self.part + self.part, rows)) as at:
                self.row(_Row(self, kernel, at), length, totals, part)
        k.flops = rows * length * 20
        return kernel.built("rows")

    def row(self, row: _Row, length: Int, totals: list[Buffer], part: Int) -> None:
        """The numbers of a row in two sweeps, then what follows from them in a third."""
        kernel, k, numbers, dtype = row.kernel, row.kernel.k, row.numbers, self.x.dtype
        if self.op.centred:
            means = self.averages(k, length, [lambda i, m: row.loaded(0, i, m), row.slope])
            numbers["mean"], numbers["slope"] = (k.cast(v, dtype) for v in means)

        def squared(i: Int, mask: Int | None) -> V:
            x = row.centred(i, mask)
            return k.mul(x, x)

        var, slope_x = self.averages(k, length, [squared, lambda i, m: k.mul(row.slope(i, m), row.centred(i, m))])
        scale = k.div(k.const(1, var.dtype), k.sqrt(k.add(var, self.op.eps)))
        numbers["scale"], numbers["slope_y"] = k.cast(scale, dtype), k.cast(k.mul(slope_x, scale), dtype)
        dx = kernel.output(0, (self.rows, self.length))

        def put(i: Int, mask: Int | None) -> None:
            k.store(dx, (row.at, i), row.dx(i, mask), mask=mask)
            if totals:
                dy = row.loaded(1, i, mask)
                for total, more in zip(totals, (k.mul(dy, row.y(i, mask)), dy), strict=False):
                    k.store(total, (part, i), k.add(k.load(total, (part, i), LANES, mask=mask), more), mask=mask)

        along_line(k, length, put)

    def averages(self, k: Builder, length: Int, elements: Sequence[Callable[[Int, Int | None], V]]) -> list[V]:
        """The mean of each kind of elements of a row, in f64, from one sweep."""
        fold = Average(self.x.dtype)
        lines = [
            Line(fold, lambda i, lanes, mask, e=element: e(i, mask), registers(k, fold.wide_start(k, LANES)))
            for element in elements
        ]
        fold_lines(k, lines, as_int(0), length)
        return [fold.finish(k, fold.across(k, current(line.regs)), k.value(length, i64)) for line in lines]

    def sums_kernel(self) -> KernelCall:
        """The gradients of gamma and beta from their parts."""
        kernel = Kernel(self.region, self.target, "norm_grad_sums")
        k, length, fold = kernel.k, kernel.dim(self.length), Total(self.x.dtype)
        tile = SIDE * LANES

        def column(i: Int) -> None:
            for n, temp in enumerate(self.temps):
                regs = registers(k, fold.wide_start(k, LANES))
                with k.loop("part", 0, kernel.dim(self.parts)) as part:
                    more = k.load(kernel.temp(temp, "r"), (part, i), LANES, mask=length - i)
                    assign(regs, fold.wide_merge(k, current(regs), fold.widen(k, (more,))))
                total = k.cast(fold.finish(k, current(regs), k.const(0, i64)), self.x.dtype)
                k.store(kernel.output(1 + n, (self.length,)), (i,), total, mask=length - i)

        with grid(kernel, [ceil_div(length, tile)]) as (place,):
            start = place * tile
            with k.loop("i", start, imin(start + tile, length), LANES) as i:
                column(i)
        k.flops = kernel.dim(self.parts) * length * 4
        return kernel.built("parts together")

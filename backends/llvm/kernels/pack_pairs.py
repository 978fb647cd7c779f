"""Packing for products of pairs of bf16: two rows of a matrix side by side, rounded on the way.

A pair is one word of 32 bits. So a matrix that lies the other way round, whose pairs are neighbours, is turned in
blocks of words, as f32 is; rows of one that lies as it is multiplied are put into each other.
"""

from __future__ import annotations

from chainrule.backends.llvm.kernels.pack import chunks, spread_loop, write_turned
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Int, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.types import bf16, f32, i32
from chainrule.ops.lowered_pairs import GROUP, PackPairs


def pack_pairs(region: Region, target: Target) -> list[KernelCall]:
    """One kernel that packs a matrix."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, PackPairs)
    kernel = Kernel(region, target, "pack_pairs")
    source, panels = kernel.input(0), kernel.output(0)
    with spread_loop(kernel.k, (panels.shape[0],)) as (panel,):
        (_write_turned if anchor.op.transposed else _write_rows)(kernel, source, panels, panel)
    return [kernel.built("transposed" if anchor.op.transposed else "")]


def _write_turned(kernel: Kernel, source: Buffer, panels: Buffer, panel: Int) -> None:
    """One panel of a matrix [N, K]."""
    k, (n, depth), width = kernel.k, source.shape, panels.shape[-1].const // GROUP

    def row(r: Int, pair: Int, lanes: int, mask: Int) -> LoopValue:
        there = imin(mask * GROUP, depth - pair * GROUP)
        return k.bitcast(k.cast(k.load(source, (r, pair * GROUP), lanes * GROUP, mask=there), bf16), i32)

    def store(step: Int, start: Int, words: LoopValue) -> None:
        k.store(panels, (panel, step, start * GROUP), k.bitcast(words, bf16))

    write_turned(k, width, i32, panel * width, n, panels.shape[1], row, store)


def _write_rows(kernel: Kernel, source: Buffer, panels: Buffer, panel: Int) -> None:
    """One panel of a matrix [K, N]; the last row alone has zeros beside it."""
    k, (depth, n), width = kernel.k, source.shape, panels.shape[-1].const // GROUP
    with k.loop("s", 0, panels.shape[1]) as step:
        for start, lanes in chunks(k, width, f32):
            first = panel * width + start

            def row(at: Int, first: Int = first, lanes: int = lanes) -> LoopValue:
                there = imin(n - first, (depth - at) * lanes)
                return k.cast(k.load(source, (imin(at, depth - 1), first), lanes, mask=there), bf16)

            even, odd = row(step * GROUP), row(step * GROUP + 1)
            mixed = k.shuffle(even, odd, [i // 2 + i % 2 * lanes for i in range(2 * lanes)])
            k.store(panels, (panel, step, start * GROUP), mixed)

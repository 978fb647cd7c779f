"""The transform of packed weights for Winograd's products: in double precision, rounded once.

A vector holds the same weight of neighbouring output channels, as the panels do, so nothing is shuffled: a panel's row
of an input channel becomes one row in each of the matrices.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from chainrule.backends.llvm.kernels.pack import chunks, spread_loop
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region
from chainrule.backends.llvm.kernels.winograd_lines import from_inputs
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Int, as_int
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.types import f64
from chainrule.ops.lowered_winograd import WinogradWeights
from chainrule.ops.toom_cook import short_convolution

MOST_LANES = 16  # of doubles at a time


def winograd_weights(region: Region, target: Target) -> list[KernelCall]:
    """One kernel that transforms a packed weight."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, WinogradWeights)
    op = anchor.op
    (source,) = anchor.inputs
    kernel = Kernel(region, target, "winograd_weights")
    k, rank = kernel.k, len(op.kernel)
    tile, taps = ((1,) * (3 - rank) + tuple(n) for n in (op.tile, op.kernel))
    _, count, depth, width = kernel.dims(source.tensor.shape)
    ins = depth // math.prod(op.kernel)
    panels = kernel.input(kernel.region.body.inputs.index(source), (count, *taps, ins, width))
    direct = [n if m == 1 else 1 for m, n in zip(tile, taps, strict=True)]
    # The lines of all matrices lie in one set of the caches each: what is not streamed is written twice.
    result = kernel.output(0, (anchor.tensor.shape[0], count, *direct, ins, width), streams=True)
    patch = k.scratch("patch", f64, (tile[1] + taps[1] - 1, taps[2] * MOST_LANES))
    k.flops = math.prod(result.shape, start=as_int(4))
    with spread_loop(k, (count, as_int(direct[0]), ins)) as (panel, z, c):
        for start, lanes in chunks(k, int(width), source.tensor.dtype):

            def tap(y: Int | int, x: Int | int, start: Int = start, lanes: int = lanes) -> LoopValue:
                return k.cast(k.load(panels, (panel, z, y, x, c, start), lanes), f64)

            def put(matrix: Int, y: Int | int, value: LoopValue, start: Int = start) -> None:
                k.store(result, (matrix, panel, z, y, 0, c, start), k.cast(value, anchor.tensor.dtype))

            _transform(kernel, tile, taps, patch, lanes, tap, put)
    return [kernel.built()]


def _transform(kernel: Kernel, tile: tuple[int, ...], taps: tuple[int, ...], patch: Buffer, lanes: int,
               tap: Callable[[Int | int, Int | int], LoopValue],
               put: Callable[[Int, Int | int, LoopValue], None]) -> None:  # fmt: skip
    """One kernel of one input channel: along its columns, then along its rows."""
    k = kernel.k
    across = short_convolution(tile[2], taps[2]).weights
    wide = len(across)
    if tile[1] == 1:
        with k.loop("y", 0, taps[1]) as y:
            for j, value in enumerate(from_inputs(k, across, [tap(y, x) for x in range(taps[2])])):
                put(as_int(j), y, value)
        return
    down = short_convolution(tile[1], taps[1]).weights
    with k.loop("x", 0, taps[2]) as x:
        for i, value in enumerate(from_inputs(k, down, [tap(y, x) for y in range(taps[1])])):
            k.store(patch, (i, x * lanes), value)
    with k.loop("i", 0, len(down)) as i:
        line = [k.load(patch, (i, x * lanes), lanes) for x in range(taps[2])]
        for j, value in enumerate(from_inputs(k, across, line)):
            put(i * wide + j, 0, value)

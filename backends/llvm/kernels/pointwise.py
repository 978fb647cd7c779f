"""Elementwise regions of any length and shape in one sweep: every input read once, every output written once.

Axes that all operands walk alike are merged, so that [N,C,H,W] plus a bias [C,1,1] becomes a sweep over [N,C,HW]. The
last axis runs in vectors of 16 with a masked tail, in blocks that threads share with the places of all other axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from chainrule.backends.llvm.kernels.grid import grid
from chainrule.backends.llvm.kernels.region import LANES, Kernel, KernelCall, Region
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Int, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Input, Value
from chainrule.ir.op import Op
from chainrule.ops.ranges import Iota

BLOCK = 4096  # elements of the last axis that one parallel iteration takes
ABREAST = 8
MAX_HEAVY = 2  # functions with a polynomial whose code is repeated
WOVEN_BITS = 512  # of narrower registers there are too few: GELU takes 1.4 times as long with AVX2
WHOLE = 4 * BLOCK  # a last axis up to this size is not cut


@dataclass(frozen=True)
class Sweep:
    """The merged iteration space: its dims, and for every input which of its merged dims it really has."""

    dims: tuple[Dim, ...]
    has: tuple[tuple[bool, ...], ...]


def merged(shape: Sequence[Dim], inputs: Sequence[Sequence[Dim]]) -> Sweep:
    """Adjacent axes become one where every input has both or neither."""
    rank = len(shape)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in inputs]
    flags = [tuple(p[a] != 1 or shape[a] == 1 for p in padded) for a in range(rank)]
    groups: list[list[int]] = []
    for axis in range(rank):
        if shape[axis] == 1:
            continue
        if groups and flags[groups[-1][-1]] == flags[axis]:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    dims = tuple(dim_product(shape[a] for a in g) for g in groups) or (1,)
    has = tuple(tuple(flags[g[0]][i] for g in groups) or (True,) for i in range(len(inputs)))
    return Sweep(dims, has)


def pointwise(region: Region, target: Target) -> list[KernelCall]:
    """One kernel for a region of elementwise nodes; all outputs have one shape."""
    body = region.body
    shape = body.outputs[0].tensor.shape
    positions = [n for n in body.nodes if isinstance(n.op, Iota)]
    sweep = merged(shape, [v.tensor.shape for v in body.inputs] + [_line(n.op) for n in positions])
    kernel = Kernel(region, target, f"pointwise_{region.name}"[:80])
    k = kernel.k
    dims = kernel.dims(sweep.dims)
    inputs = [kernel.input(i, _seen(dims, has)) for i, has in enumerate(sweep.has[: len(body.inputs)])]
    outputs = [kernel.output(i, dims, streams=True) for i in range(len(body.outputs))]
    point = _Point(kernel, inputs, sweep, outputs, dict(zip(positions, sweep.has[len(inputs) :], strict=True)))
    last = dims[-1]
    k.flops = kernel.dim(dim_product(sweep.dims)) * sum(_cost(n) for n in body.nodes)
    if len(dims) == 1 and last.is_const and last.const <= WHOLE:
        _sweep_row(point, (), as_int(0), last)
        return [kernel.built()]
    if last.is_const and last.const <= WHOLE:
        with grid(kernel, dims[:-1]) as place:
            _sweep_row(point, place, as_int(0), last)
    else:
        with grid(kernel, [*dims[:-1], ceil_div(last, BLOCK)]) as (*place, block):
            _sweep_row(point, place, block * BLOCK, imin(last - block * BLOCK, BLOCK))
    return [kernel.built()]


def _cost(node: Value) -> int:
    """Operations per element, roughly: enough to tell work for one thread from work for several."""
    if isinstance(node.op, Input) or not node.inputs:
        return 0
    return 16 if node.op.tolerance in "TC" else 1


def _sweep_row(point: _Point, index: Sequence[Int], start: Int, length: Int) -> None:
    """length elements of the last axis from start."""
    k, done, side = point.kernel.k, as_int(0), point.abreast
    while length.is_const and side * LANES > length.const:
        side //= 2
    if side > 1:
        tile = side * LANES
        with k.loop("tile", 0, length - (tile - 1), tile) as i:
            places = [(*index, start + i + u * LANES) for u in range(side)]
            k.abreast([partial(point.compute, place, LANES, None) for place in places])
        done = imax(length // tile * tile, 0)
    if not length.is_const or length.const - done.const >= LANES:
        with k.loop("i", done, length - (LANES - 1), LANES) as i:
            point.compute((*index, start + i), LANES, None)
    tail = length // LANES * LANES
    if length.is_const:
        if length.const % LANES:
            point.compute((*index, start + tail), LANES, length - tail)
        return
    with k.loop("i", imax(tail, 0), length, LANES) as i:
        point.compute((*index, start + i), LANES, length - i)


@dataclass
class _Point:
    """The code of all nodes of the region at one place of the sweep."""

    kernel: Kernel
    inputs: Sequence[Buffer]
    sweep: Sweep
    outputs: Sequence[Buffer]
    positions: Mapping[Value, Sequence[bool]]

    @property
    def abreast(self) -> int:
        """Vectors at a time: several where chains of operations would wait for each other, and code stays small.

        64k f32 on a Zen 5 core, one by one and woven: GELU 13.4 us, 11.3 by eight; a chain of ten ops 20.5 and 14.6.
        """
        heavy = sum(_cost(n) > 1 for n in self.kernel.region.body.nodes)
        return ABREAST if 0 < heavy <= MAX_HEAVY and self.kernel.target.vector_bits >= WOVEN_BITS else 1

    def compute(self, index: Sequence[Int], lanes: int, mask: Int | None) -> None:
        kernel, k = self.kernel, self.kernel.k
        body = kernel.region.body
        values: dict[Value, LoopValue] = {}
        for node in body.nodes:
            if isinstance(node.op, Input):
                values[node] = self._load(body.inputs.index(node), index, lanes, mask)
            elif node in self.positions:
                values[node] = self._position(node, index, lanes)
            elif not node.inputs:
                values[node] = kernel.number(node)
            else:
                values[node] = kernel.computed(node, [values[v] for v in node.inputs])
        for buffer, output in zip(self.outputs, body.outputs, strict=True):
            value = k.cast(kernel.fit(values[output], lanes), output.tensor.dtype)
            k.store(buffer, tuple(index), value, mask=mask)

    def _load(self, i: int, index: Sequence[Int], lanes: int, mask: Int | None) -> LoopValue:
        has = self.sweep.has[i]
        where = tuple(at if real else as_int(0) for at, real in zip(index, has, strict=True))
        if not has[-1]:
            return self.kernel.widened(self.kernel.k.load(self.inputs[i], where))
        return self.kernel.widened(self.kernel.k.load(self.inputs[i], where, lanes, mask=mask))


    def _position(self, node: Value, index: Sequence[Int], lanes: int) -> LoopValue:
        """An iota: the index along the one merged axis that it counts (0 where that axis has size 1)."""
        k, has, dtype = self.kernel.k, self.positions[node], node.tensor.dtype
        counted = [i for i, real in zip(index, has, strict=True) if real]
        start = self.kernel.widened(k.value(counted[0] if counted else 0, dtype))
        if not has[-1] or lanes == 1:
            return start
        return k.add(k.splat(start, lanes), self.kernel.widened(k.iota(dtype, lanes)))


def _line(op: Op) -> tuple[Dim, ...]:
    """The shape of an iota seen as an input: its size along its own axis, stretched along all others."""
    assert isinstance(op, Iota)
    return tuple(d if i == op.axis % len(op.shape) else 1 for i, d in enumerate(op.shape))


def _seen(dims: Sequence[Int], has: Sequence[bool]) -> tuple[Int, ...]:
    """An input's shape in the merged space."""
    return tuple(d if real else as_int(1) for d, real in zip(dims, has, strict=True))


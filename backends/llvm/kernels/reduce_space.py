"""The merged iteration space of an anchor that works along some axes: reductions, softmax, norms, running sums.

Adjacent axes that every operand walks alike, and along all or none of which the anchor works, become one group; axes
of size 1 go. So a sum over channels and pixels of [N, C, H, W] is one over [N, C*H*W], whatever broadcasts into it.
`Space.read` computes what lies in front of the anchor at a place of this space, `Space.write` what lies behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chainrule.backends.llvm.kernels.region import Kernel, Region, is_number
from chainrule.backends.loops import Buffer, Int, as_int
from chainrule.backends.loops import Value as LoopValue
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Input, Value
from chainrule.ir.types import f32
from chainrule.ops.ranges import Iota

BEHIND = -1  # the side of what follows the anchor; the sides in front are the numbers of its operands
Mask = Int | int | None


@dataclass(frozen=True)
class Axis:
    """One axis of the space. source: which axis of the anchor's operands it is (a part of); target: of its result,
    None where the result lacks it; along: whether the anchor works along it."""

    source: int
    size: Dim
    along: bool
    target: int | None


@dataclass(frozen=True)
class Space:
    """dims, along: size of each group, and whether the anchor works along it. lines: which groups a leaf really has.

    results: which groups the anchor's result has.
    """

    region: Region
    dims: tuple[Dim, ...]
    along: tuple[bool, ...]
    results: tuple[bool, ...]
    lines: Mapping[tuple[Value, int], tuple[bool, ...]]

    @property
    def kept(self) -> tuple[int, ...]:
        """The groups that the anchor does not work along."""
        return tuple(g for g, along in enumerate(self.along) if not along)

    @property
    def inner(self) -> tuple[int, ...]:
        """The groups that the anchor works along."""
        return tuple(g for g, along in enumerate(self.along) if along)

    def count(self, groups: Sequence[int]) -> Dim:
        """How many elements groups have together."""
        return dim_product(self.dims[g] for g in groups)

    def output(self, kernel: Kernel, i: int, mode: str = "w") -> Buffer:
        """Result i of the region as a buffer over the groups (1 for those that it lacks)."""
        shape = [kernel.dim(d) if has else as_int(1) for d, has in zip(self.dims, self.results, strict=True)]
        return kernel.output(i, shape, mode, streams=mode == "w")

    def read(self, kernel: Kernel, index: Sequence[Int], lanes: int = 1, mask: Mask = None,
             operand: int = 0) -> LoopValue:  # fmt: skip
        """The elements of an operand of the anchor; half precision comes as f32."""
        assert self.region.anchor is not None
        return self.values(kernel, (self.region.anchor.inputs[operand],), operand, index, lanes, mask, {})[0]

    def write(self, kernel: Kernel, index: Sequence[Int], result: LoopValue, lanes: int = 1, mask: Mask = None) -> None:
        """Rounds the anchor's result to its type, computes what follows and stores every output of the region."""
        assert self.region.anchor is not None
        k, anchor, outputs = kernel.k, self.region.anchor, self.region.body.outputs
        rounded = {anchor: rounded_to(kernel, result, anchor)}
        values = self.values(kernel, outputs, BEHIND, index, lanes, mask, rounded)
        place = tuple(at if has else as_int(0) for at, has in zip(index, self.results, strict=True))
        for i, (output, value) in enumerate(zip(outputs, values, strict=True)):
            k.store(self.output(kernel, i), place, k.cast(kernel.fit(value, lanes), output.tensor.dtype), mask=mask)

    def values(self, kernel: Kernel, wanted: Sequence[Value], side: int, index: Sequence[Int], lanes: int, mask: Mask,
               known: Mapping[Value, LoopValue]) -> list[LoopValue]:  # fmt: skip
        """Values of the body at one place. Iterative: a region may be a long chain."""
        done = {value: kernel.widened(v) for value, v in known.items()}
        stack = list(reversed(wanted))
        while stack:
            value = stack[-1]
            if value in done:
                stack.pop()
                continue
            if isinstance(value.op, Input):
                done[value] = self._loaded(kernel, value, side, index, lanes, mask)
            elif isinstance(value.op, Iota):
                done[value] = self._position(kernel, value, side, index, lanes)
            elif is_number(value):
                done[value] = kernel.number(value)
            else:
                missing = [v for v in value.inputs if v not in done]
                if missing:
                    stack.extend(missing)
                    continue
                done[value] = kernel.computed(value, [done[v] for v in value.inputs])
            stack.pop()
        return [done[v] for v in wanted]

    def _loaded(self, kernel: Kernel, value: Value, side: int, index: Sequence[Int], lanes: int,
                mask: Mask) -> LoopValue:  # fmt: skip
        has = self.lines[value, side]
        dims = [kernel.dim(d) if real else as_int(1) for d, real in zip(self.dims, has, strict=True)]
        buffer = kernel.input(self.region.body.inputs.index(value), dims)
        place = tuple(at if real else as_int(0) for at, real in zip(index, has, strict=True))
        if lanes == 1 or not has[-1]:
            return kernel.widened(kernel.k.load(buffer, place))
        return kernel.widened(kernel.k.load(buffer, place, lanes, mask=mask))

    def streamed(self, kernel: Kernel, index: Sequence[Int]) -> list[tuple[Buffer, list[Int]]]:
        """The inputs in front of the anchor that have an element of their own at every place, and the place in them."""
        found: list[tuple[Buffer, list[Int]]] = []
        for (value, side), has in self.lines.items():
            if side == 0 and isinstance(value.op, Input) and all(has):
                dims = [kernel.dim(d) for d in self.dims]
                found.append((kernel.input(self.region.body.inputs.index(value), dims), list(index)))
        return found

    def _position(self, kernel: Kernel, value: Value, side: int, index: Sequence[Int], lanes: int) -> LoopValue:
        k, has, dtype = kernel.k, self.lines[value, side], value.tensor.dtype
        counted = [at for at, real in zip(index, has, strict=True) if real]
        start = kernel.widened(k.value(counted[0] if counted else 0, dtype))
        if not has[-1] or lanes == 1:
            return start
        return k.add(k.splat(start, lanes), kernel.widened(k.iota(dtype, lanes)))


def rounded_to(kernel: Kernel, result: LoopValue, node: Value) -> LoopValue:
    """A result in the node's own type; f64 goes to half precision by way of f32, which every target converts."""
    dtype = node.tensor.dtype
    if dtype.is_float and dtype.bits == 16 and result.dtype.is_float:
        result = kernel.k.cast(result, f32)
    return kernel.k.cast(result, dtype)


def space_of(region: Region, axes: Sequence[Axis], trailing: Sequence[int] = (), lines: bool = False) -> Space:
    """The space of a region over these axes, merged. lines: where the anchor works along none, a group of 1 is added.

    trailing: for each operand of the anchor after the first, how many axes of the first come behind its last one (0:
    it broadcasts as numpy has it; rank - 2: it lies along the channels).
    """
    anchor = region.anchor
    assert anchor is not None
    ranks = anchor.inputs[0].tensor.rank, region.body.outputs[0].tensor.rank
    offsets = (0, *trailing)
    found: dict[tuple[Value, int], list[bool]] = {}
    for side, roots in _sides(region).items():
        for leaf in roots:
            shape = (*_leaf_shape(leaf), *(1,) * (0 if side == BEHIND else offsets[side]))
            rank = ranks[1] if side == BEHIND else ranks[0]
            padded = (*(1,) * (rank - len(shape)), *shape)
            found[leaf, side] = [_has(padded, axis, side) for axis in axes]
    space = _merged(region, axes, found)
    if not lines or any(space.along):
        return space
    more = {key: (*has, False) for key, has in space.lines.items()}
    return Space(region, (*space.dims, 1), (*space.along, True), (*space.results, True), more)


def _has(padded: Sequence[Dim], axis: Axis, side: int) -> bool:
    place = axis.target if side == BEHIND else axis.source
    return place is not None and (padded[place] != 1 or axis.size == 1)


def _merged(region: Region, axes: Sequence[Axis], found: Mapping[tuple[Value, int], Sequence[bool]]) -> Space:
    groups: list[list[int]] = []
    for a, axis in enumerate(axes):
        if axis.size == 1:
            continue
        if groups:
            last = axes[groups[-1][-1]]
            alike = last.along == axis.along and (last.target is None) == (axis.target is None)
            if alike and all(has[groups[-1][-1]] == has[a] for has in found.values()):
                groups[-1].append(a)
                continue
        groups.append([a])
    if not groups:
        return Space(region, (1,), (True,), (False,), dict.fromkeys(found, (False,)))
    return Space(
        region,
        tuple(dim_product(axes[a].size for a in g) for g in groups),
        tuple(axes[g[0]].along for g in groups),
        tuple(axes[g[0]].target is not None for g in groups),
        {key: tuple(has[g[0]] for g in groups) for key, has in found.items()},
    )


def _sides(region: Region) -> dict[int, list[Value]]:
    """The leaves (inputs and positions) that each operand of the anchor, and what follows it, are computed from."""
    anchor = region.anchor
    assert anchor is not None
    sides = {i: _leaves((operand,), anchor) for i, operand in enumerate(anchor.inputs)}
    sides[BEHIND] = _leaves(region.body.outputs, anchor)
    return sides


def _leaves(roots: Sequence[Value], anchor: Value) -> list[Value]:
    seen: dict[Value, None] = {}
    stack = list(roots)
    while stack:
        value = stack.pop()
        if value in seen or value is anchor:
            continue
        seen[value] = None
        stack.extend(value.inputs)
    return [v for v in seen if isinstance(v.op, Input | Iota)]


def _leaf_shape(leaf: Value) -> tuple[Dim, ...]:
    """An input's shape; an iota counts along its own axis and is stretched along all others."""
    if isinstance(leaf.op, Iota):
        axis = leaf.op.axis % len(leaf.op.shape)
        return tuple(d if i == axis else 1 for i, d in enumerate(leaf.op.shape))
    return leaf.tensor.shape

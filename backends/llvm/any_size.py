"""Kernels that prepare weights are made for any sizes, so that the layers of a model share a few of them.

They run once, where making one takes longer than it ever runs, and a model has as many weights of different sizes as
layers. So the extents of a region's inputs become symbols, and its calls bring them along. Kernels of the model itself
keep their sizes: there they decide the register tiles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chainrule.backends.llvm.kernels.region import Region, Temp, region_around
from chainrule.backends.llvm.records import Call, Place
from chainrule.errors import ChainruleError
from chainrule.ir.dims import Dim, DimExpr, dim_substitute, symbol
from chainrule.ir.graph import new_input, on_inputs
from chainrule.ir.types import TensorType
from chainrule.ops.lowered import PackKernel, PackPanels

ANCHORS = (PackKernel, PackPanels)  # beside sweeps without one: their bits are those of fixed sizes
FEWEST = 16  # smaller extents are taps of a kernel and channels of an image, which loops are made for


@dataclass(frozen=True)
class AnySize:
    """A region over symbols, and what they stand for in the region that it was made of."""

    region: Region
    sizes: Mapping[str, int]


def for_any_size(region: Region) -> AnySize | None:
    """The region with symbols for the extents of its inputs; None where it cannot be told apart from fixed sizes.

    Extents that may have to be equal, those of one axis from the right, are one symbol where they are equal.
    """
    if region.anchor is not None and not isinstance(region.anchor.op, ANCHORS):
        return None
    names: dict[tuple[int, int], str] = {}
    inputs = [new_input(f"x{i}", _over_symbols(v.tensor, names)) for i, v in enumerate(region.body.inputs)]
    sizes = {name: extent for (_, extent), name in names.items()}
    try:
        body = on_inputs(region.body, inputs)
    except ChainruleError:  # an op with a shape of its own
        return None
    for made, given in zip(body.outputs, region.body.outputs, strict=True):
        if tuple(dim_substitute(d, sizes) for d in made.shape) != given.shape:
            return None
    return AnySize(region_around(region.node, body), sizes) if sizes else None


def _over_symbols(type: TensorType, names: dict[tuple[int, int], str]) -> TensorType:
    """The type over symbols, named by the axis from the right and the number that they stand for."""
    shape: list[Dim] = []
    for axis, extent in enumerate(type.shape):
        if isinstance(extent, int) and extent > FEWEST:
            shape.append(symbol(names.setdefault((type.rank - axis, extent), f"S{len(names)}")))
        else:
            shape.append(extent)
    return type.with_shape(shape)


def at_sizes(calls: Sequence[Call], sizes: Mapping[str, Dim]) -> list[Call]:
    """The calls of kernels for any sizes, at these."""
    temps: dict[Temp, Temp] = {}

    def at(dim: Dim) -> Dim:
        return dim_substitute(dim, sizes) if isinstance(dim, DimExpr) else dim

    def placed(place: Place) -> Place:
        if not isinstance(place, Temp):
            return place
        return temps.setdefault(place, Temp(place.type.with_shape(at(d) for d in place.type.shape)))

    return [
        Call(
            replace(call.code, extent=at(call.code.extent), flops=at(call.code.flops),
                    moved=None if call.code.moved is None else at(call.code.moved)),
            tuple(placed(b) for b in call.buffers), tuple(at(d) for d in call.dims), call.why,
        )
        for call in calls
    ]  # fmt: skip

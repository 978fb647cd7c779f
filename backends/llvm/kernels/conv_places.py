"""Which pixels a tile of a convolution makes: along a row where its length is known, else across the rows.

A row of known length is cut into tiles of one height, chosen so that few pixels are made twice. Where the length is a
name, no height suits all: then the pixels of an iteration are counted through from row to row, and only its last tile
may hold pixels that are made twice. That costs a division for each pixel; where the depth is too short for that, a row
is counted alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.backends.llvm.kernels.conv_shape import Geometry, Plan
from chainrule.backends.loops import Builder, Int, as_int, ceil_div, imax, imin
from chainrule.ir.types import i64


@dataclass(frozen=True)
class Area:
    """What an iteration makes: `count` rows from row `first` on of a plane of an image, of each `tiles` tiles, or the
    `columns` pixels of these, from tile `tile` on."""

    batch: Int
    plane: Int
    first: Int
    count: Int
    tile: Int
    tiles: Int
    columns: Int


@dataclass(frozen=True)
class Pixel:
    """A pooled pixel of a tile. y: its row in the iteration, reads: the column it reads, counted from the strip's begin
    where there is one; row, column: in the result; ragged: it may lie beyond the row's end, and is not stored then."""

    y: Int
    reads: Int
    row: Int
    column: Int
    ragged: bool = False


Spot = tuple[Pixel, ...]


def area_of(g: Geometry, cut: Plan, place: tuple[Int, Int, Int, Int]) -> Area:
    """The area at a place of the grid: image, plane, block of rows, segment of a row."""
    batch, plane, block, segment = place
    first, tile = block * cut.rows, segment * cut.span
    per_row = tiles_of_row(g, cut)
    columns = imin(cut.span * cut.across, g.pooled[2] - tile * cut.across)
    count = imin(cut.rows, g.pooled[1] - first)
    if cut.counted:  # there is none without pixels
        count, columns = imax(1, count), imax(1, columns)
    return Area(batch, plane, first, count, tile, per_row if cut.whole else imin(cut.span, per_row - tile), columns)


def tiles_of_row(g: Geometry, cut: Plan) -> Int:
    """Tiles of a row of the result."""
    return ceil_div(g.pooled[2], cut.across)


def rounds(cut: Plan, area: Area) -> tuple[Int, Int, Int]:
    """The loops over an area's tiles: stretches, tiles of a stretch, and how many of them at most lie in memory from
    one stretch to the next."""
    match cut.counted:
        case "through":
            tiles = ceil_div(area.count * area.columns, cut.across)
            return as_int(1), tiles, tiles
        case "rows":
            return area.count, ceil_div(area.columns, cut.across), as_int(cut.span)
        case _:
            return area.count, area.tiles, as_int(cut.span)


def spot_of(k: Builder, g: Geometry, cut: Plan, area: Area, y: Int, i: Int) -> Spot:
    """Tile i of stretch y of an area.

    Where an iteration has whole rows of known length, the last tile of a row lies over the one before; where it has
    parts of them, pixels beyond the end are not stored (two iterations would store the same ones).
    """
    width, across = g.pooled[2], cut.across
    if cut.counted:
        return tuple(_counted(k, cut, area, y, i * across + j) for j in range(across))
    if cut.whole:
        start = imin(i * across, width - across)
        return tuple(Pixel(y, start + j, area.first + y, start + j) for j in range(across))
    ragged = not (width.is_const and width.const % across == 0)
    start, found = (area.tile + i) * across, list[Pixel]()
    for j in range(across):
        last = bool(ragged and j)
        reads = i * across + j if cut.reading == "strip" else imin(start + j, width - 1) if last else start + j
        found.append(Pixel(y, reads, area.first + y, start + j, last))
    return tuple(found)


def _counted(k: Builder, cut: Plan, area: Area, y: Int, p: Int) -> Pixel:
    """Pixel p of a stretch; any other of its last row where there are not as many.

    Rows and columns are data to the verifier, held within their limits: proofs about divisions would not end.
    """
    x = p
    if cut.counted == "through":
        y, x = k.index(k.value(p // area.columns, i64), 0, area.count), p % area.columns
    x = k.index(k.value(x, i64), 0, area.columns)
    column = area.tile * cut.across + x
    return Pixel(y, x if cut.reading == "strip" else column, area.first + y, column)

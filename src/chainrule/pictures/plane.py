"""Points and lines in a plane, several planes side by side: scattered words, grids that a layer bends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.pictures import svg

Point = tuple[float, float]
TOP, GAP, LABEL = 58.0, 24.0, 18.0


@dataclass(frozen=True)
class Line:
    """A line through points. colour: index into the palette, None for faint ink."""

    points: Sequence[Point]
    colour: int | None = None
    width: float = 1.0


@dataclass(frozen=True)
class Dot:
    """A point, perhaps with a text beside it."""

    at: Point
    colour: int = 0
    text: str = ""


@dataclass(frozen=True)
class Plane:
    """One square of the picture under a caption; what is first in a list lies below."""

    caption: str
    lines: Sequence[Line] = ()
    dots: Sequence[Dot] = ()


def planes(title: str, shown: Sequence[Plane], side: float = 320.0) -> str:
    """The planes beside each other as SVG, each scaled so that all it holds fits into a square of this side."""
    body = [svg.text(GAP, 28, title, size=15, weight="600")]
    for i, plane in enumerate(shown):
        left = GAP + i * (side + GAP)
        body += [svg.text(left, TOP - 8, plane.caption), svg.rect(left, TOP, side, side, "none", stroke=svg.FAINT)]
        body += _drawn(plane, left, side)
    return svg.document(GAP + len(shown) * (side + GAP), TOP + side + GAP, body, title)


def _drawn(plane: Plane, left: float, side: float) -> list[str]:
    points = [p for line in plane.lines for p in line.points] + [dot.at for dot in plane.dots]
    if not points:
        return []
    x0, x1 = min(p[0] for p in points), max(p[0] for p in points)
    y0, y1 = min(p[1] for p in points), max(p[1] for p in points)
    room = side - 2 * LABEL

    def place(p: Point) -> Point:
        across, up = (p[0] - x0) / ((x1 - x0) or 1.0), (p[1] - y0) / ((y1 - y0) or 1.0)
        return left + LABEL + room * across, TOP + side - LABEL - room * up

    body = [svg.polyline([place(p) for p in line.points], _colour(line.colour), line.width) for line in plane.lines]
    places = [place(dot.at) for dot in plane.dots]
    taken = [((x - 3, y - 3), (x + 3, y + 3)) for x, y in places]
    for dot, (x, y) in zip(plane.dots, places, strict=True):
        body.append(svg.circle(x, y, 2.5, _colour(dot.colour)))
        if dot.text:
            body.append(_text(dot.text, x, y, left + side, taken))
    return body


def _text(text: str, x: float, y: float, edge: float, taken: list[tuple[Point, Point]]) -> str:
    """A text beside its point, on the first side that is free and does not leave the square; taken gets its box."""
    wide = 6.0 * len(text)
    sides = [(x + 4, y - 3, "start"), (x - 4, y - 3, "end"), (x + 4, y + 10, "start"), (x - 4, y + 10, "end")]
    boxes = [((at if anchor == "start" else at - wide, base - 9), (at + wide if anchor == "start" else at, base + 1))
             for at, base, anchor in sides]  # fmt: skip
    inside = [i for i, (_, high) in enumerate(boxes) if high[0] <= edge] or [1]
    free = [i for i in inside if not any(_meet(boxes[i], other) for other in taken)]
    chosen = (free or inside)[0]
    taken.append(boxes[chosen])
    at, base, anchor = sides[chosen]
    return svg.text(at, base, text, anchor, 10)


def _meet(a: tuple[Point, Point], b: tuple[Point, Point]) -> bool:
    """True when two boxes (low and high corner) overlap."""
    return all(a[0][i] < b[1][i] and b[0][i] < a[1][i] for i in range(2))


def _colour(index: int | None) -> str:
    return svg.FAINT if index is None else svg.COLOURS[index % len(svg.COLOURS)]

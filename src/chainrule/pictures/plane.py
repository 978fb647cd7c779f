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
    for dot in plane.dots:
        x, y = place(dot.at)
        body.append(svg.circle(x, y, 2.5, _colour(dot.colour)))
        if dot.text:
            end = x > left + side * 0.8  # a text at the right edge stands on the other side of its point
            body.append(svg.text(x - 4 if end else x + 4, y - 3, dot.text, "end" if end else "start", 10))
    return body


def _colour(index: int | None) -> str:
    return svg.FAINT if index is None else svg.COLOURS[index % len(svg.COLOURS)]

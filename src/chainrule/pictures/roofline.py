"""A roofline: each kernel a dot, its speed over its operations per byte, under what the machine allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.pictures import svg

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720.0, 430.0, 64.0, 24.0, 54.0, 56.0
LABELLED = len(svg.COLOURS)  # the kernels that take most of the time are named


@dataclass(frozen=True)
class Point:
    """A kernel and its place: flops per byte, flops per second, the seconds it took, which are its dot's area."""

    name: str
    intensity: float
    speed: float
    seconds: float


def roofline(points: Sequence[Point], flops: float, bandwidth: float) -> str:
    """The picture as SVG. flops, bandwidth: the ceilings, per second."""
    ridge = flops / bandwidth
    xs = [math.log10(p.intensity) for p in points] + [math.log10(ridge)]
    ys = [math.log10(p.speed) for p in points] + [math.log10(flops)]
    x0, x1 = math.floor(min(xs) - 0.2), math.ceil(max(xs) + 0.3)
    y0, y1 = math.floor(min(ys) - 0.1), math.ceil(max(ys) + 0.1)
    across, down = (WIDTH - LEFT - RIGHT) / (x1 - x0), (HEIGHT - TOP - BOTTOM) / (y1 - y0)

    def place(intensity: float, speed: float) -> tuple[float, float]:
        return LEFT + across * (math.log10(intensity) - x0), TOP + down * (y1 - math.log10(speed))

    body = [svg.text(LEFT, 26, "Roofline", size=15, weight="600"), *_grid(x0, x1, y0, y1, across, down)]
    start = max(10.0**x0, 10.0**y0 / bandwidth)
    roof = [place(start, start * bandwidth), place(ridge, flops), place(10.0**x1, flops)]
    body.append(svg.polyline(roof, svg.INK, 2))
    body.append(svg.text(WIDTH - RIGHT, 26, f"the roof: {flops / 1e9:.0f} GFLOP/s and {bandwidth / 1e9:.0f} GB/s",
                         "end", 11))  # fmt: skip
    total = sum(p.seconds for p in points) or 1.0
    longest = sorted(points, key=lambda p: -p.seconds)
    for i, p in reversed(list(enumerate(longest))):
        x, y = place(p.intensity, p.speed)
        body.append(svg.circle(x, y, 3 + 14 * math.sqrt(p.seconds / total), _colour(i)))
    body += _legend(longest[:LABELLED], total)
    return svg.document(WIDTH, HEIGHT + 18 * min(len(points), LABELLED), body, "Roofline")


def _colour(rank: int) -> str:
    """Of the kernel that takes the most time but rank others."""
    return svg.COLOURS[rank] if rank < LABELLED else svg.FAINT


def _grid(x0: int, x1: int, y0: int, y1: int, across: float, down: float) -> list[str]:
    body: list[str] = []
    bottom = HEIGHT - BOTTOM
    for power in range(x0, x1 + 1):
        x = LEFT + across * (power - x0)
        body += [svg.line(x, TOP, x, bottom), svg.text(x, bottom + 18, f"{10.0**power:g}", "middle")]
    for power in range(y0, y1 + 1):
        y = TOP + down * (y1 - power)
        body += [svg.line(LEFT, y, WIDTH - RIGHT, y), svg.text(LEFT - 8, y + 4, f"{10.0 ** (power - 9):g}", "end")]
    return [*body, svg.text((LEFT + WIDTH - RIGHT) / 2, bottom + 40, "operations per byte", "middle"),
            svg.text(LEFT, TOP - 8, "GFLOP/s", "start", 11)]  # fmt: skip


def _legend(points: Sequence[Point], total: float) -> list[str]:
    body: list[str] = []
    for i, p in enumerate(points):
        y = HEIGHT + 4 + 18 * i
        body += [svg.circle(LEFT + 5, y - 4, 5, _colour(i)),
                 svg.text(LEFT + 18, y, f"{p.seconds / total:.0%}  {p.name}", size=11)]  # fmt: skip
    return body

"""Line charts: a loss over steps, an accuracy over epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chainrule.pictures import svg

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 680.0, 370.0, 64.0, 120.0, 54.0, 48.0


@dataclass(frozen=True)
class Series:
    """One line: its name and its points; faint draws it thin, as raw data behind a smoothed line."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    faint: bool = False


def curves(title: str, x_label: str, y_label: str, series: Sequence[Series], log_y: bool = False) -> str:
    """A line chart as SVG. log_y: a logarithmic y axis, where points at or below 0 are left out."""
    xs = [x for s in series for x in s.x]
    ys = [y for s in series for y in s.y if math.isfinite(y) and (y > 0 or not log_y)]
    x0, x1 = _span(xs)
    y0, y1 = _span([math.log10(y) for y in ys] if log_y else ys)
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        value = (math.log10(y) if y > 0 else math.nan) if log_y else y
        return LEFT + across * (x - x0) / (x1 - x0), TOP + down * (y1 - value) / (y1 - y0)

    body = [svg.text(LEFT, 26, title, size=15, weight="600")]
    for tick in _log_ticks(y0, y1) if log_y else _ticks(y0, y1):
        y = TOP + down * (y1 - tick) / (y1 - y0)
        body += [
            svg.line(LEFT, y, WIDTH - RIGHT, y),
            svg.text(LEFT - 8, y + 4, _label(10**tick if log_y else tick), "end"),
        ]
    for tick in _ticks(x0, x1):
        x = LEFT + across * (tick - x0) / (x1 - x0)
        body += [
            svg.line(x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 5, svg.INK),
            svg.text(x, HEIGHT - BOTTOM + 20, _label(tick), "middle"),
        ]
    body += [svg.line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, svg.INK),
             svg.text(LEFT + across / 2, HEIGHT - 10, x_label, "middle"),
             svg.text(LEFT, TOP - 8, y_label, "start", 11)]  # fmt: skip
    names = list(dict.fromkeys(s.name for s in series))
    for s in series:
        colour = svg.COLOURS[names.index(s.name) % len(svg.COLOURS)]
        points = [place(x, y) for x, y in zip(s.x, s.y, strict=True)]
        body.append(svg.polyline(points, colour, 1 if s.faint else 2.2, 0.35 if s.faint else 1.0))
    for i, name in enumerate(names):
        y = TOP + 10 + 20 * i
        body += [svg.line(WIDTH - RIGHT + 12, y, WIDTH - RIGHT + 32, y, svg.COLOURS[i % len(svg.COLOURS)], 2.5),
                 svg.text(WIDTH - RIGHT + 38, y + 4, name)]  # fmt: skip
    return svg.document(WIDTH, HEIGHT, body, title)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between the ends."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * f for f in (1, 2, 2.5, 5, 10) if power * f >= raw)
    first = math.ceil(low / step - 1e-9)
    return [step * i for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Logarithms of 1, 2 and 5 times powers of ten between the ends; powers alone where those are many."""
    factors = (1,) if high - low > 4 else (1, 2, 5)
    powers = range(math.floor(low), math.ceil(high) + 1)
    found = [power + math.log10(f) for power in powers for f in factors]
    return [t for t in found if low <= t <= high]


def _label(value: float) -> str:
    return f"{value:.4g}"

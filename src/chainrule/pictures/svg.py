"""The few SVG elements that the pictures are made of, and colours that work on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

INK, FAINT, PAPER = "#1f2933", "#cbd2d9", "#ffffff"
COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d")
FONT = "ui-sans-serif, system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"


def document(width: float, height: float, body: Sequence[str], title: str) -> str:
    """A whole SVG file."""
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
            f'viewBox="0 0 {width:g} {height:g}" font-family="{FONT}" font-size="12">')  # fmt: skip
    return "\n".join([head, f"<title>{escape(title)}</title>", rect(0, 0, width, height, PAPER), *body, "</svg>\n"])


def rect(x: float, y: float, w: float, h: float, fill: str, radius: float = 0, stroke: str = "none") -> str:
    more = (f' rx="{radius:g}"' if radius else "") + (f' stroke="{stroke}"' if stroke != "none" else "")
    return f'<rect x="{x:.2f}" y="{y:.2f}" width="{w:.2f}" height="{h:.2f}" fill="{fill}"{more}/>'


def text(
    x: float, y: float, content: str, anchor: str = "start", size: float = 12, fill: str = INK, weight: str = "normal"
) -> str:
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}" fill="{fill}" '
            f'font-weight="{weight}">{escape(content)}</text>')  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, stroke: str = FAINT, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" stroke-width="{width:g}"/>'


def circle(x: float, y: float, radius: float, fill: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{fill}" fill-opacity="0.75"/>'


def path(commands: str, stroke: str, width: float = 2, opacity: float = 1.0) -> str:
    return f'<path d="{commands}" fill="none" stroke="{stroke}" stroke-width="{width:g}" stroke-opacity="{opacity:g}"/>'


def polyline(points: Sequence[tuple[float, float]], stroke: str, width: float = 2, opacity: float = 1.0) -> str:
    """A line through points, broken where a coordinate is not finite."""
    parts: list[str] = []
    pen = "M"
    for x, y in points:
        if x != x or y != y or abs(x) == float("inf") or abs(y) == float("inf"):
            pen = "M"
            continue
        parts.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return path(" ".join(parts), stroke, width, opacity)

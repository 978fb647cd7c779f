"""A table of numbers as a grid of shades: which input an output attends to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.pictures import svg

CELL, LEFT, TOP = 22.0, 90.0, 92.0


def heat_map(title: str, values: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> str:
    """The values [rows, columns] as SVG, from white (0 or less) to full colour (the largest)."""
    body = [svg.text(18, 28, title, size=15, weight="600")]
    most = float(np.max(values, initial=0.0)) or 1.0
    for j, label in enumerate(columns):
        body.append(svg.text(LEFT + CELL * (j + 0.5), TOP - 8, label, "middle"))
    for i, label in enumerate(rows):
        y = TOP + CELL * i
        body.append(svg.text(LEFT - 8, y + CELL * 0.7, label, "end"))
        body += [_cell(LEFT + CELL * j, y, float(values[i, j]) / most) for j in range(len(columns))]
    return svg.document(LEFT + CELL * len(columns) + 24, TOP + CELL * len(rows) + 20, body, title)


def _cell(x: float, y: float, share: float) -> str:
    shade = min(max(share, 0.0), 1.0)
    red, green, blue = (round(255 + (c - 255) * shade) for c in (0x25, 0x63, 0xEB))
    return svg.rect(x, y, CELL - 1, CELL - 1, f"#{red:02x}{green:02x}{blue:02x}")

"""Grids of small grey images: what a layer makes of one input, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.pictures import svg

CELL, GAP, MARGIN = 56.0, 6.0, 24.0


@dataclass(frozen=True)
class Panel:
    """One row of images under a caption: images [C, H, W]; values are drawn from white (least) to ink (most)."""

    caption: str
    images: np.ndarray


def image_panels(title: str, panels: Sequence[Panel], columns: int = 12) -> str:
    """The panels one below the other as SVG, the first `columns` images of each."""
    body = [svg.text(MARGIN, 30, title, size=15, weight="600")]
    y, widest = 50.0, 0
    for panel in panels:
        shown = panel.images[:columns]
        more = f"  ({len(shown)} of {len(panel.images)})" if len(shown) < len(panel.images) else ""
        body.append(svg.text(MARGIN, y + 10, panel.caption + more))
        y += 20
        for i, image in enumerate(shown):
            body.append(_image(image, MARGIN + i * (CELL + GAP), y))
        widest = max(widest, len(shown))
        y += CELL + 22
    width = max(2 * MARGIN + widest * (CELL + GAP), 420.0)
    return svg.document(width, y + 4, body, title)


def _image(image: np.ndarray, x: float, y: float) -> str:
    """One image as a grid of rectangles of one colour in shades, framed."""
    low, high = float(image.min()), float(image.max())
    shades = np.rint((image - low) / (high - low if high > low else 1.0) * 255).astype(int)
    height, width = image.shape
    h, w = CELL / height, CELL / width
    cells = [
        svg.rect(x + c * w, y + r * h, w + 0.15, h + 0.15, _grey(shade))
        for r, row in enumerate(shades.tolist())
        for c, shade in enumerate(row)
        if shade > 3
    ]
    return "".join(cells) + svg.rect(x, y, CELL, CELL, "none", stroke=svg.FAINT)


def _grey(shade: int) -> str:
    level = 255 - round(shade * 0.88)
    return f"#{level:02x}{level:02x}{min(255, level + 10):02x}"

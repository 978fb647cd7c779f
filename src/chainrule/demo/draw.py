"""The demo's pictures: the loss, the feature maps of one digit, the graph before and after fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.ir.graph import Graph
from chainrule.models import DigitsNet
from chainrule.pictures import Panel, Series, curves, graph_picture, image_panels


def draw_all(
    folder: Path, model: DigitsNet, made: cr.Executable, losses: Sequence[float], image: np.ndarray
) -> list[Path]:
    """Writes all pictures and returns their paths."""
    assert isinstance(made.program, LlvmExecutable)
    pictures: Mapping[str, str] = {
        "loss.svg": loss_curve(losses),
        "feature_maps.svg": feature_maps(model, image),
        "graph_before.svg": graph_picture("The graph as traced", made.graph),
        "graph_after.svg": graph_picture("After layout and fusion: each box is one kernel", _main(made.program)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for name, content in pictures.items():
        path = folder / name
        path.write_text(content, encoding="utf-8")
        paths.append(path)
    return paths


def _main(program: LlvmExecutable) -> Graph:
    return program.main.program.graph


def loss_curve(losses: Sequence[float], window: int = 25) -> str:
    """Every step's loss, thin, and its running mean."""
    smooth = [float(np.mean(losses[max(0, i - window) : i + 1])) for i in range(len(losses))]
    steps = list(range(1, len(losses) + 1))
    return curves("Training loss on the digits", "step", "cross-entropy (log scale)",
                  [Series("each step", steps, list(losses), faint=True), Series(f"mean of {window}", steps, smooth)],
                  log_y=True)  # fmt: skip


def feature_maps(model: DigitsNet, image: np.ndarray) -> str:
    """What the two stages make of one digit. image: [1, 1, 8, 8]."""

    def stages(x: cr.Tensor) -> tuple[cr.Tensor, ...]:
        first = cr.relu(model.conv1(x))
        pooled = cr.max_pool2d(first, 2)
        second = cr.relu(model.conv2(pooled))
        return first, pooled, second, cr.max_pool2d(second, 2)

    maps = cr.compile(stages, cr.spec(1, 1, 8, 8))(image)
    captions = ("conv1 + ReLU, 8x8", "max pool, 4x4", "conv2 + ReLU, 4x4", "max pool, 2x2")
    panels = [Panel("the digit, 8x8", image[0])] + [Panel(c, m[0]) for c, m in zip(captions, maps, strict=True)]
    return image_panels("One digit through the layers", panels)

"""ResNet-18; see resnet50.py."""

from __future__ import annotations

from typing import Any

from chainrule import nn
from models import resnet50


def build(batch: int | str = 1, size: int | str = 224) -> tuple[nn.Module, tuple[Any, ...]]:
    """The network and the spec of its image."""
    return resnet50.build(batch, 18, size)

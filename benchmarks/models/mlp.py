"""A multilayer net of two hidden layers of 2,048."""

from __future__ import annotations

import chainrule as cr
from chainrule.frontend import nn
from chainrule.models import mlp


def build(batch: int | str = 1) -> tuple[nn.Module, tuple[object, ...]]:
    """The model in inference mode and the specs of its inputs."""
    return mlp(784, 2048, 2048, 10).eval(), (cr.spec(batch, 784),)

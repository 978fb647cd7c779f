"""LeNet-5. Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning ...", Proc. IEEE 86(11), 1998."""

from __future__ import annotations

import chainrule as cr
from chainrule.frontend import nn
from chainrule.models import LeNet


def build(batch: int | str = 1) -> tuple[nn.Module, tuple[object, ...]]:
    """The model in inference mode and the specs of its inputs."""
    return LeNet().eval(), (cr.spec(batch, 1, 28, 28),)

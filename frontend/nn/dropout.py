"""Dropout layers: they draw in training mode and pass x on otherwise."""

from __future__ import annotations

from chainrule.frontend.functions import random
from chainrule.frontend.nn.module import Module
from chainrule.frontend.tensor import Operand, Tensor


class Dropout(Module):
    """In training each element is 0 with probability p, else divided by 1 - p. Source: Srivastava et al. 2014."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        random.dropped(p, False)
        self.p = p

    def forward(self, x: Operand) -> Tensor:
        return random.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout1d(Dropout):
    """In training each channel of x [N, C, T] is 0 with probability p."""

    def forward(self, x: Operand) -> Tensor:
        return random.feature_dropout(x, self.p, self.training)


class Dropout2d(Dropout1d):
    """In training each channel of x [N, C, H, W] is 0 with probability p."""


class Dropout3d(Dropout1d):
    """In training each channel of x [N, C, D, H, W] is 0 with probability p."""


class AlphaDropout(Dropout):
    """In training elements go to SELU's lower limit with probability p; mean and variance stay."""

    def forward(self, x: Operand) -> Tensor:
        return random.alpha_dropout(x, self.p, self.training)


class FeatureAlphaDropout(Dropout):
    """AlphaDropout of whole channels of x [N, C, *S]."""

    def forward(self, x: Operand) -> Tensor:
        return random.alpha_dropout(x, self.p, self.training, features=True)

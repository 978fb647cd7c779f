"""Loss modules. Names, arguments and defaults are PyTorch's; the formulae stand at the functions."""

from __future__ import annotations

from chainrule.frontend.functions import losses
from chainrule.frontend.nn.module import Module
from chainrule.frontend.stored import Buffer
from chainrule.frontend.tensor import Operand, Tensor


class Loss(Module):
    """What losses share: how elementwise losses become one number."""

    def __init__(self, reduction: str = "mean") -> None:
        losses.check_reduction(type(self).__name__, reduction)
        self.reduction = reduction


class MSELoss(Loss):
    """(input - target)^2, averaged."""

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return losses.mse_loss(input, target, self.reduction)


class L1Loss(Loss):
    """|input - target|, averaged."""

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return losses.l1_loss(input, target, self.reduction)


class CrossEntropyLoss(Loss):
    """The cross-entropy of softmax(input) and a target of class numbers or probabilities."""

    def __init__(self, weight: object = None, ignore_index: int = -100, reduction: str = "mean",
                 label_smoothing: float = 0.0) -> None:  # fmt: skip
        super().__init__(reduction)
        self.weight = None if weight is None else Buffer(weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return losses.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(Loss):
    """Minus the log-probability of the target class."""

    def __init__(self, weight: object = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = None if weight is None else Buffer(weight)
        self.ignore_index = ignore_index

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return losses.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)

"""Loss modules. Names, arguments and defaults are PyTorch's; the formulae stand at the functions."""

from __future__ import annotations

from typing import Any

from chainrule.frontend.functions import distances, losses, margins, sequences
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


class HuberLoss(Loss):
    """Half squares up to a distance of delta, straight beyond."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return losses.huber_loss(input, target, self.reduction, self.delta)


class SmoothL1Loss(Loss):
    """Half squares over beta up to a distance of beta, straight beyond."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return losses.smooth_l1_loss(input, target, self.reduction, self.beta)


class BCELoss(Loss):
    """The binary cross-entropy of probabilities."""

    def __init__(self, weight: object = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = None if weight is None else Buffer(weight)

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return losses.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(Loss):
    """The binary cross-entropy of sigmoid(input)."""

    def __init__(self, weight: object = None, reduction: str = "mean", pos_weight: object = None) -> None:
        super().__init__(reduction)
        self.weight = None if weight is None else Buffer(weight)
        self.pos_weight = None if pos_weight is None else Buffer(pos_weight)

    def forward(self, input: Operand, target: Operand) -> Tensor:
        weights = self.weight, self.reduction, self.pos_weight
        return losses.binary_cross_entropy_with_logits(input, target, *weights)


class KLDivLoss(Loss):
    """target * (log(target) - input), reduced; reduction may be "batchmean" as well."""

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__("sum" if reduction == "batchmean" else reduction)
        self.reduction, self.log_target = reduction, log_target

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return losses.kl_div(input, target, self.reduction, self.log_target)


class HingeEmbeddingLoss(Loss):
    """input where target is 1, max(0, margin - input) where it is -1."""

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return losses.hinge_embedding_loss(input, target, self.margin, self.reduction)


class MarginRankingLoss(Loss):
    """max(0, margin - target * (input1 - input2))."""

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Operand, input2: Operand, target: Operand) -> Tensor:
        return losses.margin_ranking_loss(input1, input2, target, self.margin, self.reduction)


class CosineEmbeddingLoss(Loss):
    """How far input1 and input2 are from pointing one way (target 1), or apart (target -1)."""

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Operand, input2: Operand, target: Operand) -> Tensor:
        return losses.cosine_embedding_loss(input1, input2, target, self.margin, self.reduction)


class TripletMarginLoss(Loss):
    """max(0, |anchor - positive|_p - |anchor - negative|_p + margin)."""

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Operand, positive: Operand, negative: Operand) -> Tensor:
        rest = self.margin, self.p, self.eps, self.swap, self.reduction
        return losses.triplet_margin_loss(anchor, positive, negative, *rest)


class TripletMarginWithDistanceLoss(Loss):
    """max(0, distance(anchor, positive) - distance(anchor, negative) + margin)."""

    def __init__(self, distance_function: distances.Distance | None = None, margin: float = 1.0, swap: bool = False,
                 reduction: str = "mean") -> None:  # fmt: skip
        super().__init__(reduction)
        self.distance_function, self.margin, self.swap = distance_function, margin, swap

    def forward(self, anchor: Operand, positive: Operand, negative: Operand) -> Tensor:
        rest = self.distance_function, self.margin, self.swap, self.reduction
        return distances.triplet_margin_with_distance_loss(anchor, positive, negative, *rest)


class MultiMarginLoss(Loss):
    """The mean over classes of max(0, margin - input[target] + input[class])^p, without the target itself."""

    def __init__(self, p: int = 1, margin: float = 1.0, weight: object = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.p, self.margin, self.weight = p, margin, None if weight is None else Buffer(weight)

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return margins.multi_margin_loss(input, target, self.p, self.margin, self.weight, self.reduction)


class MultiLabelMarginLoss(Loss):
    """max(0, 1 - (input[target] - input[class])) of every target of a row against every other class, over C."""

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return margins.multilabel_margin_loss(input, target, self.reduction)


class MultiLabelSoftMarginLoss(Loss):
    """The binary cross-entropy of sigmoid(input), averaged over classes."""

    def __init__(self, weight: object = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.weight = None if weight is None else Buffer(weight)

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return margins.multilabel_soft_margin_loss(input, target, self.weight, self.reduction)


class GaussianNLLLoss(Loss):
    """(log(var) + (input - target)^2 / var) / 2."""

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full, self.eps = full, eps

    def forward(self, input: Operand, target: Operand, var: Operand) -> Tensor:
        return losses.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class PoissonNLLLoss(Loss):
    """exp(input) - target * input."""

    def __init__(self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return losses.poisson_nll_loss(input, target, self.log_input, self.eps, self.reduction, self.full)


class SoftMarginLoss(Loss):
    """log(1 + exp(-target * input))."""

    def forward(self, input: Operand, target: Operand) -> Tensor:
        return losses.soft_margin_loss(input, target, self.reduction)


class CTCLoss(Loss):
    """-log of the probability that a row's labels are read, whatever their places in time."""

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(self, log_probs: Operand, targets: Operand, input_lengths: Any, target_lengths: Any) -> Tensor:
        return sequences.ctc_loss(log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction,
                                  self.zero_infinity)  # fmt: skip

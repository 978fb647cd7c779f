"""The adaptive softmax: frequent classes directly, rare ones in clusters behind smaller layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions.activations import log_softmax
from chainrule.frontend.functions.elementwise import clip, where
from chainrule.frontend.functions.indexing import take_along_axis
from chainrule.frontend.functions.shape import concatenate
from chainrule.frontend.nn.containers import ModuleList, Sequential
from chainrule.frontend.nn.linear import Linear
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Operand, Tensor, as_tensor


class ASMoutput(NamedTuple):
    """output: the log-probability of each row's target, [N]. loss: minus their mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """Log-probabilities of classes that are sorted by how frequent they are; cutoffs are where clusters begin.

    The head of x [N, in_features] gives the classes below the first cutoff and one number for each cluster; cluster i
    has a layer of in_features / div_value^(i + 1) units. Every cluster is computed for every row: sizes of a compiled
    program do not follow from its data. Source: Grave et al., arXiv:1609.04309; torch.nn.AdaptiveLogSoftmaxWithLoss.
    """

    def __init__(self, in_features: int, n_classes: int, cutoffs: Sequence[int], div_value: float = 4.0,
                 head_bias: bool = False, dtype: object = None) -> None:  # fmt: skip
        given = list(cutoffs)
        if not given or given != sorted(set(given)) or given[0] < 1 or given[-1] > n_classes - 1:
            raise error(ArgumentError, f"AdaptiveLogSoftmaxWithLoss: cutoffs {given} of {n_classes} classes",
                        help="cutoffs ascend, from 1 to n_classes - 1")  # fmt: skip
        self.in_features, self.n_classes, self.div_value = in_features, n_classes, div_value
        self.cutoffs = [*given, n_classes]
        self.head = Linear(in_features, given[0] + len(given), bias=head_bias, dtype=dtype)
        self.tail = ModuleList(self._cluster(i, dtype) for i in range(len(given)))

    def _cluster(self, i: int, dtype: object) -> Sequential:
        units = int(self.in_features // self.div_value ** (i + 1))
        return Sequential(Linear(self.in_features, units, bias=False, dtype=dtype),
                          Linear(units, self.cutoffs[i + 1] - self.cutoffs[i], bias=False, dtype=dtype))  # fmt: skip

    def forward(self, input: Operand, target: Operand) -> ASMoutput:
        x, classes = as_tensor(input, "AdaptiveLogSoftmaxWithLoss"), as_tensor(target, "AdaptiveLogSoftmaxWithLoss")
        if x.ndim not in (1, 2) or classes.shape != x.shape[:-1]:
            raise error(ShapeError, "AdaptiveLogSoftmaxWithLoss: x and target do not fit",
                        notes=[f"x: {x.value.type}", f"target: {classes.value.type}"],
                        help="x is [N, in_features], target [N]; or [in_features] and a number")  # fmt: skip
        head = log_softmax(self.head(x), -1)
        found = _at(head, clip(classes, 0, self.cutoffs[0] - 1))
        for i, cluster in enumerate(self.tail):
            low, high = self.cutoffs[i], self.cutoffs[i + 1]
            own = _at(log_softmax(cluster(x), -1), clip(classes - low, 0, high - low - 1))
            found = where(classes >= low, own + head[..., self.cutoffs[0] + i], found)
        return ASMoutput(found, -found.mean())

    def log_prob(self, input: Operand) -> Tensor:
        """The log-probabilities of all classes for x [N, in_features]: [N, n_classes]."""
        x = as_tensor(input, "AdaptiveLogSoftmaxWithLoss")
        head = log_softmax(self.head(x), -1)
        first = self.cutoffs[0]
        parts = [log_softmax(cluster(x), -1) + head[..., first + i : first + i + 1]
                 for i, cluster in enumerate(self.tail)]  # fmt: skip
        return concatenate([head[..., :first], *parts], -1)

    def predict(self, input: Operand) -> Tensor:
        """The most probable class of each row (i64)."""
        return self.log_prob(input).argmax(-1)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.n_classes}, cutoffs={self.cutoffs[:-1]}, div_value={self.div_value}"


def _at(rows: Tensor, classes: Tensor) -> Tensor:
    """One element of each row."""
    return take_along_axis(rows, classes[..., None], -1)[..., 0]

"""Samples that gradients pass through, and losses over many classes that look at a sample of them."""

from __future__ import annotations

import math
from typing import Any

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.functions import elementwise
from chainrule.frontend.functions.activations import softmax, softplus
from chainrule.frontend.functions.indexing import one_hot, take
from chainrule.frontend.functions.losses import check_reduction, reduced
from chainrule.frontend.functions.random import normal, uniform
from chainrule.frontend.functions.reduce import logsumexp
from chainrule.frontend.functions.shape import concatenate
from chainrule.frontend.grad import stop_gradient
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Operand, Tensor, as_tensor

LEAST_UNIFORM = 1e-20  # its logarithm's logarithm is finite in f32


def reparameterize(mean: Operand, log_var: Operand, key: Operand | None = None) -> Tensor:
    """A Gaussian sample mean + exp(log_var / 2) * noise, through which gradients reach both.

    Source: Kingma and Welling, "Auto-Encoding Variational Bayes", 2014.
    """
    center, spread = as_tensor(mean, "reparameterize"), as_tensor(log_var, "reparameterize")
    if center.shape != spread.shape:
        raise error(ShapeError, "reparameterize: the shapes differ", help="one variance for each mean",
                    notes=[f"mean: {center.value.type}", f"log_var: {spread.value.type}"])  # fmt: skip
    return center + elementwise.exp(0.5 * spread) * normal(center.shape, dtype=center.dtype, key=key)


def gaussian_kl(mean: Operand, log_var: Operand) -> Tensor:
    """The divergence of a Gaussian from the standard one, in nats, summed over the last axis. [..., D] -> [...].

    Source: Kingma and Welling 2014, appendix B.
    """
    center, spread = as_tensor(mean, "gaussian_kl"), as_tensor(log_var, "gaussian_kl")
    return 0.5 * (elementwise.exp(spread) + center * center - 1.0 - spread).sum(axis=-1)


def gumbel_softmax(logits: Operand, tau: float = 1.0, hard: bool = False, axis: int = -1,
                   key: Operand | None = None) -> Tensor:  # fmt: skip
    """A sample of classes: softmax((logits + Gumbel noise) / tau). hard: one-hot, with the gradient of the soft one.

    Raises ArgumentError unless tau is above 0. Source: Jang et al. 2017; torch.nn.functional.gumbel_softmax.
    """
    x = as_tensor(logits, "gumbel_softmax")
    if not tau > 0:
        raise error(ArgumentError, f"gumbel_softmax: tau={tau} is not above 0", help="small is near one-hot, e.g. 0.5")
    noise = -elementwise.log(-elementwise.log(uniform(x.shape, LEAST_UNIFORM, 1.0, x.dtype, key)))
    soft = softmax((x + noise) / tau, axis)
    if not hard:
        return soft
    chosen = one_hot(soft.argmax(axis=axis), x.shape[axis], axis, x.dtype)
    return chosen + (soft - stop_gradient(soft))


def log_uniform_sample(count: int, num_classes: int, key: Operand | None = None) -> Tensor:
    """`count` class numbers, i64, drawn with replacement: class k has a share of log((k+2)/(k+1)) / log(classes+1).

    That is near the frequency of words numbered by how frequent they are.
    """
    share = uniform((count,), dtype="f64", key=key)
    drawn = elementwise.floor(elementwise.exp(share * math.log(num_classes + 1)))
    return elementwise.clip(elementwise.astype(drawn, "i64") - 1, 0, num_classes - 1)


def log_uniform_share(classes: Operand, num_classes: int, dtype: object = "f32") -> Tensor:
    """The share that `log_uniform_sample` gives each of these classes."""
    k = elementwise.astype(classes, "f64")
    return elementwise.astype(elementwise.log((k + 2.0) / (k + 1.0)) / math.log(num_classes + 1), dtype)


def sampled_softmax_loss(input: Operand, weight: Operand, target: Operand, num_sampled: int,
                         bias: Operand | None = None, reduction: str = "mean",
                         key: Operand | None = None) -> Tensor:  # fmt: skip
    """The cross-entropy over the target class and num_sampled others instead of all: for training only.

    input: [N, D], weight: [CLASSES, D], bias: [CLASSES], target: i [N]. Classes are drawn as `log_uniform_sample` does,
    and their logits corrected by how often that is; a drawn class that is the target does not count.
    Source: Jean et al. 2015; TensorFlow sampled_softmax_loss.
    """
    check_reduction("sampled_softmax_loss", reduction)
    true, others = _logits("sampled_softmax_loss", input, weight, target, num_sampled, bias, key)
    both = concatenate([true[:, None], others], -1)
    return reduced(logsumexp(both, -1) - true, reduction)


def nce_loss(input: Operand, weight: Operand, target: Operand, num_sampled: int, bias: Operand | None = None,
             reduction: str = "mean", key: Operand | None = None) -> Tensor:  # fmt: skip
    """Noise-contrastive estimation: the target is told from num_sampled drawn classes, each by a logistic loss.

    Arguments as in sampled_softmax_loss. Source: Gutmann and Hyvarinen 2010; Mnih and Teh 2012.
    """
    check_reduction("nce_loss", reduction)
    true, others = _logits("nce_loss", input, weight, target, num_sampled, bias, key)
    return reduced(softplus(-true) + softplus(others).sum(axis=-1), reduction)


def negative_sampling_loss(input: Operand, weight: Operand, target: Operand, negatives: Operand,
                           reduction: str = "mean") -> Tensor:  # fmt: skip
    """Skip-gram's loss: -log sigmoid(input . w_target) - sum of log sigmoid(-input . w_negative).

    input: [N, D], weight: [CLASSES, D], target: i [N], negatives: i [N, K]. Source: Mikolov et al. 2013, equation 4.
    """
    check_reduction("negative_sampling_loss", reduction)
    x, w = as_tensor(input, "negative_sampling_loss"), as_tensor(weight, "negative_sampling_loss")
    true = (x * take(w, target, 0)).sum(axis=-1)
    others = (take(w, negatives, 0) @ x[:, :, None])[:, :, 0]
    return reduced(softplus(-true) + softplus(others).sum(axis=-1), reduction)


def _logits(what: str, input: Operand, weight: Operand, target: Operand, count: int, bias: Operand | None,
            key: Operand | None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The corrected logits of the target [N] and of the drawn classes [N, count]; -inf of one that is the target."""
    x, w, goal = as_tensor(input, what), as_tensor(weight, what), as_tensor(target, what)
    classes: Any = w.shape[0]
    if x.ndim != 2 or w.ndim != 2 or goal.ndim != 1 or x.shape[1] != w.shape[1] or not isinstance(classes, int):
        notes = [f"input: {x.value.type}", f"weight: {w.value.type}", f"target: {goal.value.type}"]
        raise error(ShapeError, f"{what}: the arguments do not fit", notes=notes,
                    help="input is [N, D], weight [CLASSES, D], target [N]")  # fmt: skip
    if not isinstance(count, int) or count < 1:
        raise error(ArgumentError, f"{what}: num_sampled={count!r}", help="it is an int of 1 or more")
    drawn = log_uniform_sample(count, classes, key)
    true, others = (x * take(w, goal, 0)).sum(axis=-1), x @ take(w, drawn, 0).T
    if bias is not None:
        true, others = true + take(bias, goal, 0), others + take(bias, drawn, 0)
    true = true - elementwise.log(count * log_uniform_share(goal, classes, x.dtype))
    others = others - elementwise.log(count * log_uniform_share(drawn, classes, x.dtype))
    return true, elementwise.where(drawn == goal[:, None], float("-inf"), others)

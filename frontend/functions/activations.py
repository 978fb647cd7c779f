"""Activation functions, with PyTorch's names, arguments and defaults. x: any float tensor -> the same type.

Integers are taken as f32. The exact meaning of each, NaN and edges included, stands at its op.
"""

from __future__ import annotations

from chainrule.frontend.places import located
from chainrule.frontend.tensor import Operand, Tensor, float_value_of, value_of, values_of, wrap
from chainrule.ops import activations, activations_smooth, elementwise, shaping, transcendental
from chainrule.ops import softmax as softmaxes


def relu(x: Operand) -> Tensor:
    """max(x, 0); NaN stays NaN."""
    return wrap(activations.relu(value_of(x, "relu")))


def relu6(x: Operand) -> Tensor:
    """x held between 0 and 6."""
    return wrap(activations.relu6(float_value_of(x, "relu6")))


def leaky_relu(x: Operand, negative_slope: float = 0.01) -> Tensor:
    """x above 0, negative_slope * x below."""
    return wrap(activations.leaky_relu(float_value_of(x, "leaky_relu"), negative_slope))


def prelu(x: Operand, weight: Operand) -> Tensor:
    """x above 0, weight * x below. weight: one number, or one for each channel (axis 1 of x)."""
    with located():
        value, slope = values_of("prelu", x, weight)
        if slope.rank == 1 and slope.shape[0] != 1 and value.rank > 1:
            slope = shaping.reshape(slope, (slope.shape[0], *(1,) * (value.rank - 2)))
        if slope.shape == (1,):
            slope = shaping.reshape(slope, ())
        return wrap(activations.prelu(value, slope))


def elu(x: Operand, alpha: float = 1.0) -> Tensor:
    """x above 0, alpha * (e^x - 1) below."""
    return wrap(activations_smooth.elu(float_value_of(x, "elu"), alpha))


def selu(x: Operand) -> Tensor:
    """1.0507 * elu(x, 1.67326): keeps zero mean and unit variance. Source: Klambauer et al. 2017."""
    return wrap(activations_smooth.selu(float_value_of(x, "selu")))


def celu(x: Operand, alpha: float = 1.0) -> Tensor:
    """x above 0, alpha * (e^(x/alpha) - 1) below."""
    return wrap(activations_smooth.celu(float_value_of(x, "celu"), alpha))


def gelu(x: Operand, approximate: str = "none") -> Tensor:
    """x times the Gaussian distribution function of x; approximate="tanh" takes the formula with tanh."""
    with located():
        return wrap(activations_smooth.gelu(float_value_of(x, "gelu"), approximate))


def silu(x: Operand) -> Tensor:
    """x * sigmoid(x), also called swish."""
    return wrap(activations_smooth.silu(float_value_of(x, "silu")))


def mish(x: Operand) -> Tensor:
    """x * tanh(softplus(x))."""
    return wrap(activations_smooth.mish(float_value_of(x, "mish")))


def softplus(x: Operand, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta*x)) / beta; x itself where beta*x is above the threshold."""
    with located():
        return wrap(activations_smooth.softplus(float_value_of(x, "softplus"), beta, threshold))


def softsign(x: Operand) -> Tensor:
    """x / (1 + |x|)."""
    return wrap(activations_smooth.softsign(float_value_of(x, "softsign")))


def sigmoid(x: Operand) -> Tensor:
    """1 / (1 + e^-x)."""
    return wrap(transcendental.sigmoid(float_value_of(x, "sigmoid")))


def logsigmoid(x: Operand) -> Tensor:
    """log(sigmoid(x)), finite far below 0."""
    return wrap(activations_smooth.log_sigmoid(float_value_of(x, "logsigmoid")))


def hardtanh(x: Operand, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x held between min_val and max_val."""
    with located():
        return wrap(activations.hardtanh(float_value_of(x, "hardtanh"), min_val, max_val))


def hardsigmoid(x: Operand) -> Tensor:
    """(x + 3) / 6 held between 0 and 1."""
    return wrap(activations.hardsigmoid(float_value_of(x, "hardsigmoid")))


def hardswish(x: Operand) -> Tensor:
    """x * hardsigmoid(x)."""
    return wrap(activations.hardswish(float_value_of(x, "hardswish")))


def tanhshrink(x: Operand) -> Tensor:
    """x - tanh(x)."""
    return wrap(activations_smooth.tanhshrink(float_value_of(x, "tanhshrink")))


def softshrink(x: Operand, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, 0 within."""
    with located():
        return wrap(activations.softshrink(float_value_of(x, "softshrink"), lambd))


def hardshrink(x: Operand, lambd: float = 0.5) -> Tensor:
    """x outside of [-lambd, lambd], 0 within."""
    with located():
        return wrap(activations.hardshrink(float_value_of(x, "hardshrink"), lambd))


def threshold(x: Operand, threshold: float, value: float) -> Tensor:
    """x above the threshold, else value."""
    return wrap(activations.threshold(float_value_of(x, "threshold"), threshold, value))


def glu(x: Operand, axis: int = -1) -> Tensor:
    """The first half of an axis times the sigmoid of the second. [.., 2n, ..] -> [.., n, ..]."""
    with located():
        return wrap(activations_smooth.glu(float_value_of(x, "glu"), axis))


def softmax(x: Operand, axis: int = -1) -> Tensor:
    """e^x divided by its sum along an axis, computed without overflow."""
    with located():
        return wrap(softmaxes.softmax(float_value_of(x, "softmax"), axis))


def log_softmax(x: Operand, axis: int = -1) -> Tensor:
    """log(softmax(x)) along an axis, finite where softmax underflows."""
    with located():
        return wrap(softmaxes.log_softmax(float_value_of(x, "log_softmax"), axis))


def softmin(x: Operand, axis: int = -1) -> Tensor:
    """softmax(-x)."""
    with located():
        return wrap(softmaxes.softmax(elementwise.neg(float_value_of(x, "softmin")), axis))

"""Activation layers. Names, arguments and defaults are PyTorch's; `inplace` is taken and means nothing here."""

from __future__ import annotations

from chainrule.errors import ShapeError
from chainrule.frontend.functions import activations, elementwise, random
from chainrule.frontend.nn import init as initialisers
from chainrule.frontend.nn.linear import empty_parameter
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Operand, Tensor, as_tensor


class Inplace(Module):
    """An activation whose only argument is `inplace`: tensors here are values, so it changes nothing."""

    def __init__(self, inplace: bool = False) -> None:
        pass


class ReLU(Inplace):
    """max(x, 0)."""

    def forward(self, x: Operand) -> Tensor:
        return activations.relu(x)


class ReLU6(Inplace):
    """x held between 0 and 6."""

    def forward(self, x: Operand) -> Tensor:
        return activations.relu6(x)


class SELU(Inplace):
    """1.0507 * elu(x, 1.67326)."""

    def forward(self, x: Operand) -> Tensor:
        return activations.selu(x)


class SiLU(Inplace):
    """x * sigmoid(x)."""

    def forward(self, x: Operand) -> Tensor:
        return activations.silu(x)


class Mish(Inplace):
    """x * tanh(softplus(x))."""

    def forward(self, x: Operand) -> Tensor:
        return activations.mish(x)


class Hardswish(Inplace):
    """x * hardsigmoid(x)."""

    def forward(self, x: Operand) -> Tensor:
        return activations.hardswish(x)


class Hardsigmoid(Inplace):
    """(x + 3) / 6 held between 0 and 1."""

    def forward(self, x: Operand) -> Tensor:
        return activations.hardsigmoid(x)


class Sigmoid(Module):
    """1 / (1 + e^-x)."""

    def forward(self, x: Operand) -> Tensor:
        return activations.sigmoid(x)


class LogSigmoid(Module):
    """log(sigmoid(x))."""

    def forward(self, x: Operand) -> Tensor:
        return activations.logsigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Operand) -> Tensor:
        return elementwise.tanh(x)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, x: Operand) -> Tensor:
        return activations.tanhshrink(x)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, x: Operand) -> Tensor:
        return activations.softsign(x)


class LeakyReLU(Module):
    """x above 0, negative_slope * x below."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Operand) -> Tensor:
        return activations.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """x above 0, weight * x below; the weight is trained: one number, or one for each channel (axis 1)."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, dtype: object = None) -> None:
        self.num_parameters = num_parameters
        self.weight = empty_parameter(num_parameters, dtype=dtype)
        initialisers.constant_(self.weight, init)

    def forward(self, x: Operand) -> Tensor:
        return activations.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """x above 0, alpha * (e^x - 1) below."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = alpha

    def forward(self, x: Operand) -> Tensor:
        return activations.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class CELU(Module):
    """x above 0, alpha * (e^(x/alpha) - 1) below."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = alpha

    def forward(self, x: Operand) -> Tensor:
        return activations.celu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class GELU(Module):
    """x times the Gaussian distribution function of x."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Operand) -> Tensor:
        return activations.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + e^(beta*x)) / beta."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta, self.threshold = beta, threshold

    def forward(self, x: Operand) -> Tensor:
        return activations.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardtanh(Module):
    """x held between min_val and max_val."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x: Operand) -> Tensor:
        return activations.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class Softshrink(Module):
    """x moved towards 0 by lambd, 0 within."""

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd

    def forward(self, x: Operand) -> Tensor:
        return activations.softshrink(x, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Hardshrink(Module):
    """x outside of [-lambd, lambd], 0 within."""

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd

    def forward(self, x: Operand) -> Tensor:
        return activations.hardshrink(x, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Threshold(Module):
    """x above the threshold, else value."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        self.threshold, self.value = threshold, value

    def forward(self, x: Operand) -> Tensor:
        return activations.threshold(x, self.threshold, self.value)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class GLU(Module):
    """The first half of an axis times the sigmoid of the second."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Operand) -> Tensor:
        return activations.glu(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(Module):
    """e^x divided by its sum along an axis (the last by default)."""

    def __init__(self, dim: int | None = None) -> None:
        self.dim = dim

    def forward(self, x: Operand) -> Tensor:
        return activations.softmax(x, -1 if self.dim is None else self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """log(softmax(x)) along an axis (the last by default)."""

    def forward(self, x: Operand) -> Tensor:
        return activations.log_softmax(x, -1 if self.dim is None else self.dim)


class Softmin(Softmax):
    """softmax(-x) along an axis (the last by default)."""

    def forward(self, x: Operand) -> Tensor:
        return activations.softmin(x, -1 if self.dim is None else self.dim)


class Softmax2d(Module):
    """softmax over the channels of x [N, C, H, W] or [C, H, W]."""

    def forward(self, x: Operand) -> Tensor:
        x = as_tensor(x, "Softmax2d")
        if x.ndim not in (3, 4):
            raise error(ShapeError, f"Softmax2d: x has {x.ndim} axes", notes=[f"x: {x.value.type}"],
                        help="x is [N, C, H, W] or [C, H, W]")  # fmt: skip
        return activations.softmax(x, -3)


class RReLU(Module):
    """x above 0, slope * x below: the slope is drawn for each element in training, else the mean of the two limits."""

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False) -> None:
        self.lower, self.upper = lower, upper

    def forward(self, x: Operand) -> Tensor:
        return random.rrelu(x, self.lower, self.upper, self.training)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}"

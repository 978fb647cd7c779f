"""Initialisers fill a parameter's array in place, from one seeded generator. Source: torch.nn.init, same names.

Every function takes `generator`, a numpy Generator; without one it draws from the library's own, which `manual_seed`
sets. The library's own starts from seed 0, so a program gives the same weights each time it runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.places import error
from chainrule.frontend.seeding import default_generator
from chainrule.frontend.stored import Stored
from chainrule.ir.op import Array


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps variance through a nonlinearity."""
    match nonlinearity:
        case "linear" | "identity" | "sigmoid" | "conv1d" | "conv2d" | "conv3d":
            return 1.0
        case "conv_transpose1d" | "conv_transpose2d" | "conv_transpose3d":
            return 1.0
        case "tanh":
            return 5.0 / 3.0
        case "relu":
            return math.sqrt(2.0)
        case "leaky_relu":
            return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
        case "selu":
            return 0.75
        case _:
            raise error(ArgumentError, f"calculate_gain: {nonlinearity!r} is not known",
                        help="linear, sigmoid, tanh, relu, leaky_relu or selu")  # fmt: skip


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """fan_in and fan_out of a weight [OUT, IN, *KERNEL]. Raises ShapeError below two axes."""
    if len(shape) < 2:
        raise error(ShapeError, f"fan_in and fan_out need two axes, the shape is {list(shape)}",
                    help="use uniform_, normal_ or constant_ for vectors")  # fmt: skip
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def uniform_(tensor: Stored, a: float = 0.0, b: float = 1.0, generator: np.random.Generator | None = None) -> Stored:
    """Uniform on [a, b)."""
    return _filled(tensor, _generator(generator).uniform(a, b, tensor.data.shape))


def normal_(
    tensor: Stored, mean: float = 0.0, std: float = 1.0, generator: np.random.Generator | None = None
) -> Stored:
    """Gaussian with this mean and standard deviation."""
    return _filled(tensor, _generator(generator).normal(mean, std, tensor.data.shape))


def trunc_normal_(tensor: Stored, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
                  generator: np.random.Generator | None = None) -> Stored:  # fmt: skip
    """Gaussian, redrawn until within [a, b]."""
    if not a < b:
        raise error(ArgumentError, f"trunc_normal_: [{a}, {b}] is empty", help="give a < b")
    rng = _generator(generator)
    values = rng.normal(mean, std, tensor.data.shape)
    for _ in range(1000):
        outside = (values < a) | (values > b)
        if not outside.any():
            return _filled(tensor, values)
        values[outside] = rng.normal(mean, std, int(outside.sum()))
    raise error(ArgumentError, f"trunc_normal_: almost nothing of normal({mean}, {std}) lies in [{a}, {b}]",
                help="widen the interval")  # fmt: skip


def constant_(tensor: Stored, val: float) -> Stored:
    """Every element is val."""
    return _filled(tensor, np.full(tensor.data.shape, val))


def zeros_(tensor: Stored) -> Stored:
    """Every element is 0."""
    return constant_(tensor, 0.0)


def ones_(tensor: Stored) -> Stored:
    """Every element is 1."""
    return constant_(tensor, 1.0)


def eye_(tensor: Stored) -> Stored:
    """The identity matrix."""
    if tensor.data.ndim != 2:
        raise error(ShapeError, f"eye_: the shape is {list(tensor.data.shape)}", help="it takes a matrix")
    return _filled(tensor, np.eye(*tensor.data.shape))


def dirac_(tensor: Stored, groups: int = 1) -> Stored:
    """The convolution kernel that passes its input channels through."""
    shape = tensor.data.shape
    if len(shape) not in (3, 4, 5) or shape[0] % groups:
        raise error(ShapeError, f"dirac_: the shape is {list(shape)} with {groups} groups",
                    help="it takes a convolution weight whose first axis divides by groups")  # fmt: skip
    values = np.zeros(shape)
    per_group = shape[0] // groups
    middle = tuple(k // 2 for k in shape[2:])
    for group in range(groups):
        for channel in range(min(per_group, shape[1])):
            values[(group * per_group + channel, channel, *middle)] = 1
    return _filled(tensor, values)


def xavier_uniform_(tensor: Stored, gain: float = 1.0, generator: np.random.Generator | None = None) -> Stored:
    """Uniform on +-gain*sqrt(6 / (fan_in + fan_out)). Source: Glorot and Bengio 2010, equation 16."""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor.data.shape)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Stored, gain: float = 1.0, generator: np.random.Generator | None = None) -> Stored:
    """Gaussian with standard deviation gain*sqrt(2 / (fan_in + fan_out))."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor.data.shape))), generator)


def kaiming_uniform_(tensor: Stored, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                     generator: np.random.Generator | None = None) -> Stored:  # fmt: skip
    """Uniform on +-gain*sqrt(3 / fan). Source: He et al. 2015, equation 10."""
    bound = math.sqrt(3.0) * calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor: Stored, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                    generator: np.random.Generator | None = None) -> Stored:  # fmt: skip
    """Gaussian with standard deviation gain / sqrt(fan). Source: He et al. 2015, equation 10."""
    return normal_(tensor, 0.0, calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode)), generator)


def orthogonal_(tensor: Stored, gain: float = 1.0, generator: np.random.Generator | None = None) -> Stored:
    """A random matrix with orthonormal rows or columns, times gain. Source: Saxe et al. 2013."""
    shape = tensor.data.shape
    if len(shape) < 2:
        raise error(ShapeError, f"orthogonal_: the shape is {list(shape)}", help="it takes two axes or more")
    rows, columns = shape[0], math.prod(shape[1:])
    draws = _generator(generator).normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(draws)
    q = q * np.sign(np.diagonal(r))
    return _filled(tensor, gain * (q.T if rows < columns else q).reshape(shape))


def sparse_(tensor: Stored, sparsity: float, std: float = 0.01, generator: np.random.Generator | None = None) -> Stored:
    """Gaussian, with this share of each column set to 0. Source: Martens 2010."""
    if tensor.data.ndim != 2:
        raise error(ShapeError, f"sparse_: the shape is {list(tensor.data.shape)}", help="it takes a matrix")
    rng = _generator(generator)
    values = rng.normal(0.0, std, tensor.data.shape)
    count = math.ceil(sparsity * values.shape[0])
    for column in range(values.shape[1]):
        values[rng.permutation(values.shape[0])[:count], column] = 0
    return _filled(tensor, values)


def _fan(tensor: Stored, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise error(ArgumentError, f"mode {mode!r} is not known", help="fan_in or fan_out")
    return max(1, fans(tensor.data.shape)[mode == "fan_out"])


def _generator(generator: np.random.Generator | None) -> np.random.Generator:
    return default_generator() if generator is None else generator


def _filled(tensor: Stored, values: Array) -> Stored:
    tensor.data[...] = values
    return tensor

"""Normalisations, with torch.nn.functional's names and arguments. Means and variances are taken in two passes."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.places import error, located
from chainrule.frontend.tensor import Operand, Tensor, float_value_of, value_of, wrap
from chainrule.ir.graph import Value
from chainrule.ops import elementwise
from chainrule.ops import norm as norms
from chainrule.ops.basic import full


def batch_norm(
    x: Operand, mean: Operand, var: Operand, weight: Operand | None = None, bias: Operand | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias with given statistics, one of each for a channel of x [N, C, *S].

    The layer nn.BatchNorm2d takes statistics of the batch in training and keeps the running ones.
    """
    with located():
        value = float_value_of(x, "batch_norm")
        m, v = (_as(value, part, "batch_norm") for part in (mean, var))
        gamma, beta = affine(value, weight, bias, "batch_norm")
        return wrap(norms.batch_norm(value, gamma, beta, m, v, eps))


def layer_norm(
    x: Operand, normalized_shape: int | Sequence[int], weight: Operand | None = None, bias: Operand | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """x standardised over its last axes, which are normalized_shape, times weight, plus bias."""
    with located():
        value = float_value_of(x, "layer_norm")
        shape = _trailing("layer_norm", value, normalized_shape)
        gamma, beta = _optional(value, weight, bias, shape, "layer_norm")
        return wrap(norms.layer_norm(value, gamma, beta, len(shape), eps))


def rms_norm(
    x: Operand, normalized_shape: int | Sequence[int], weight: Operand | None = None, eps: float | None = None
) -> Tensor:
    """x over its root mean square along its last axes, which are normalized_shape, times weight.

    eps=None is the distance from 1 to the next number of x's element type, as in PyTorch.
    """
    with located():
        value = float_value_of(x, "rms_norm")
        shape = _trailing("rms_norm", value, normalized_shape)
        gamma, _ = _optional(value, weight, None, shape, "rms_norm")
        return wrap(norms.rms_norm(value, gamma, len(shape), _EPS[value.dtype.name] if eps is None else eps))


_EPS = {"f32": 2.0**-23, "f64": 2.0**-52, "f16": 2.0**-10, "bf16": 2.0**-7}


def group_norm(
    x: Operand, num_groups: int, weight: Operand | None = None, bias: Operand | None = None, eps: float = 1e-5
) -> Tensor:
    """x [N, C, *S] standardised over each of num_groups groups of channels, times weight [C], plus bias [C]."""
    with located():
        value = float_value_of(x, "group_norm")
        gamma, beta = _optional(value, weight, bias, value.shape[1:2], "group_norm")
        return wrap(norms.group_norm(value, num_groups, gamma, beta, eps))


def instance_norm(x: Operand, weight: Operand | None = None, bias: Operand | None = None, eps: float = 1e-5) -> Tensor:
    """x [N, C, *S] standardised over each channel of each image, times weight [C], plus bias [C]."""
    with located():
        value = float_value_of(x, "instance_norm")
        gamma, beta = _optional(value, weight, bias, value.shape[1:2], "instance_norm")
        return wrap(norms.instance_norm(value, gamma, beta, eps))


def local_response_norm(x: Operand, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta."""
    with located():
        return wrap(norms.local_response_norm(float_value_of(x, "local_response_norm"), size, alpha, beta, k))


def affine(x: Value, weight: Operand | None, bias: Operand | None, what: str) -> tuple[Value, Value]:
    """Weight and bias [C] for the channels of x; ones and zeros where none are given."""
    if x.rank < 2:
        raise error(ShapeError, f"{what}: x has {x.rank} axes", notes=[f"x: {x.type}"], help="x is [N, C, *S]")
    gamma = full(1.0, x.shape[1:2], x.dtype) if weight is None else _as(x, weight, what)
    beta = full(0.0, x.shape[1:2], x.dtype) if bias is None else _as(x, bias, what)
    return gamma, beta


def _optional(
    x: Value, weight: Operand | None, bias: Operand | None, shape: Sequence[object], what: str
) -> tuple[Value | None, Value | None]:
    """Weight and bias where they are given; ones for a bias that comes alone."""
    beta = None if bias is None else _as(x, bias, what)
    if weight is None:
        return (None if beta is None else full(1.0, tuple(shape), x.dtype)), beta  # type: ignore[arg-type]
    return _as(x, weight, what), beta


def _as(x: Value, operand: Operand, what: str) -> Value:
    return elementwise.cast(value_of(operand, what), x.dtype)


def _trailing(what: str, x: Value, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape:
        raise error(ArgumentError, f"{what}: normalized_shape is empty", help="name the sizes of the last axes")
    if x.shape[-len(shape) :] != shape:
        last = "[" + ",".join(map(str, x.shape[-len(shape) :])) + "]"
        raise error(ShapeError, f"{what}: normalized_shape is {list(shape)}, the last axes of x are {last}",
                    notes=[f"x: {x.type}"], help="normalized_shape names the last axes of x")  # fmt: skip
    return shape

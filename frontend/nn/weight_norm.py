"""Weight normalisation: a layer's weight as a direction and a length, trained apart."""

from __future__ import annotations

from typing import TypeVar, cast

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend.functions.elementwise import sqrt
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error
from chainrule.frontend.stored import Parameter
from chainrule.frontend.tensor import Tensor
from chainrule.ir.op import Array

Layer = TypeVar("Layer", bound=Module)


def weight_norm(module: Layer, name: str = "weight", dim: int | None = 0) -> Layer:
    """The layer itself, whose parameter `name` is now g * v / |v|, made anew at each use.

    The parameters name_g (lengths) and name_v (directions) take its place. Lengths are those of the slices along `dim`
    (output channels); dim=None has one length. Raises ArgumentError when there is no such parameter.
    Source: Salimans and Kingma 2016; torch.nn.utils.weight_norm.
    """
    weight = vars(module).get(name)
    if not isinstance(weight, Parameter):
        raise error(ArgumentError, f"weight_norm: {type(module).__name__} has no parameter {name!r}",
                    help="it has " + (", ".join(n for n, v in module.members() if isinstance(v, Parameter)) or "none"))
    axes = tuple(a for a in range(weight.data.ndim) if dim is None or a != dim % weight.data.ndim)
    del vars(module)[name]
    setattr(module, f"{name}_g", Parameter(_lengths(weight.data, axes)))
    setattr(module, f"{name}_v", Parameter(weight.data))

    def made(self: Module) -> Tensor:
        g, v = cast(Tensor, getattr(self, f"{name}_g")), cast(Tensor, getattr(self, f"{name}_v"))
        return v * (g / sqrt((v * v).sum(axis=axes, keepdims=True)))

    kind = type(module)
    made_kind = type(kind.__name__, (kind,), {name: property(made), "__module__": kind.__module__})
    module.__class__ = cast("type[Layer]", made_kind)
    return module


def remove_weight_norm(module: Layer, name: str = "weight") -> Layer:
    """The layer itself with an ordinary parameter again, of the present value. Raises ArgumentError if it has none."""
    if not isinstance(vars(module).get(f"{name}_v"), Parameter):
        raise error(ArgumentError, f"remove_weight_norm: {name!r} is not normalised", help="see weight_norm")
    value = np.asarray(getattr(module, name))
    module.__class__ = type(module).__mro__[1]  # type: ignore[assignment]
    for part in ("_g", "_v"):
        del vars(module)[name + part]
    setattr(module, name, Parameter(value))
    return module


def _lengths(weight: Array, axes: tuple[int, ...]) -> Array:
    return np.sqrt(np.sum(np.square(weight, dtype=np.float64), axes, keepdims=True)).astype(weight.dtype)

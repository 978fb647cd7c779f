"""The form of an op's samples: what the registry tests run for every op."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.ir.op import Op
from chainrule.ir.types import TensorType


@dataclass(frozen=True, eq=False)
class Sample:
    """One good call of an op: infer, ref, gradient, text, export, import and compiled code are tested on it.

    inputs: arrays in the op's order. grad: which inputs are checked by finite differences; None means all float inputs
    when the op has a gradient; () skips (say why in the label: a kink under the stencil, a tie).
    """

    op: Op
    inputs: tuple[np.ndarray, ...]
    label: str = ""
    grad: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        # A 0-d result of numpy is a scalar; ops and backends take arrays.
        object.__setattr__(self, "inputs", tuple(np.asarray(x) for x in self.inputs))

    @property
    def id(self) -> str:
        shapes = "-".join(f"{x.dtype.name}{list(x.shape)}".replace(" ", "") for x in self.inputs)
        return f"{self.op.mnemonic}:{self.label or shapes}"


@dataclass(frozen=True, eq=False)
class BadSample:
    """One refused call: infer on these types raises this error with this text in its cause or help."""

    op: Op
    types: tuple[TensorType, ...]
    error: type[ChainruleError]
    message: str

    @property
    def id(self) -> str:
        return f"{self.op.mnemonic}:{self.message[:40]}"


def normal(*shape: int, seed: int = 0, dtype: str = "float32", scale: float = 1.0) -> np.ndarray:
    """Seeded Gaussian values."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def uniform(low: float, high: float, *shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """Seeded uniform values."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


def integers(low: int, high: int, *shape: int, seed: int = 0, dtype: str = "int64") -> np.ndarray:
    """Seeded integers in [low, high)."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def distinct(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """Seeded values no two of which are near: safe for finite differences through max, sort and pools."""
    count = int(np.prod(shape))
    return (np.random.default_rng(seed).permutation(count).reshape(shape) * 0.25 - count / 8).astype(dtype)

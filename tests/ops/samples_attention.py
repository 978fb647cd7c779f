"""Samples of attention: masks of every kind, order, shared heads, hard scores."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.attention import Attention
from tests.ops.sample import BadSample, Sample, normal
from tests.ops.samples_elementwise import half

INF = np.float32(np.inf)


def given(lead: tuple[int, ...], t: int, s: int, d: int, e: int, shared: int | None = None,
          dtype: str = "float32") -> tuple[np.ndarray, ...]:  # fmt: skip
    """Queries, keys and values; shared: heads of keys where they are fewer."""
    keys = lead if shared is None else (*lead[:-1], shared)
    return (normal(*lead, t, d, dtype=dtype), normal(*keys, s, d, seed=1, dtype=dtype),
            normal(*keys, s, e, seed=2, dtype=dtype))  # fmt: skip


def seen(*shape: int) -> np.ndarray:
    """A mask whose second row sees nothing."""
    mask = normal(*shape, seed=3) > 0
    mask[..., 0] = True
    mask[..., 1, :] = False
    return mask


def bias(*shape: int) -> np.ndarray:
    """Numbers to add, some of them -inf, a whole row among these."""
    return np.where(seen(*shape), normal(*shape, seed=4), -INF).astype(np.float32)


def _hard() -> tuple[np.ndarray, ...]:
    """Scores that are large, nearly equal and far apart."""
    q = np.stack([np.full(4, 30.0), np.full(4, -30.0), np.full(4, 1e-3), np.zeros(4)]).astype(np.float32)
    k = np.stack([np.full(4, 30.0), np.full(4, 29.999), np.full(4, -30.0)]).astype(np.float32)
    return q, k, normal(3, 5)


def _not_finite() -> tuple[np.ndarray, ...]:
    q, k, v = given((), 4, 3, 4, 2)
    q[0, 0], q[1, 0], k[0, 0] = np.nan, INF, 1
    return q, k, v


SAMPLES: list[Sample] = [
    Sample(Attention(0.5), given((), 3, 5, 4, 6)),
    Sample(Attention(0.5), given((2, 3), 4, 5, 4, 4), "heads"),
    Sample(Attention(0.125), given((2, 1), 7, 70, 8, 20), "keys in several panels"),
    Sample(Attention(1.0), given((2,), 1, 9, 17, 3), "one query"),
    Sample(Attention(0.5, causal=True), given((2,), 5, 5, 4, 4), "causal"),
    Sample(Attention(0.5, causal=True), given((2,), 3, 7, 4, 4), "causal with more keys"),
    Sample(Attention(0.5, causal=True, offset=3), given((2,), 3, 6, 4, 4), "causal behind three"),
    Sample(Attention(0.5, causal=True, offset=-2), given((2,), 4, 4, 4, 4), "two queries see nothing"),
    Sample(Attention(0.5), (*given((2, 2), 3, 5, 4, 4), seen(2, 1, 3, 5)), "bool mask"),
    Sample(Attention(0.5), (*given((2, 2), 3, 5, 4, 4), normal(5, seed=5) > 0), "bool mask of keys"),
    Sample(Attention(0.5), (*given((2,), 3, 5, 4, 4), seen(3, 1)), "bool mask of queries"),
    Sample(Attention(0.5), (*given((2, 2), 3, 5, 4, 4), normal(2, 3, 5, seed=6)), "float mask of heads"),
    Sample(Attention(0.5), (*given((2,), 3, 5, 4, 4), bias(3, 5)), "float mask with -inf", (0, 1, 2)),
    Sample(Attention(0.5, causal=True), (*given((2,), 4, 4, 4, 4), seen(4, 4)), "bool mask and causal"),
    Sample(Attention(0.5, softcap=2.0), (*given((2,), 3, 5, 4, 4), normal(3, 5, seed=6)), "softcap before the mask"),
    Sample(Attention(0.5), given((2, 6), 3, 5, 4, 4, 2), "six heads share two"),
    Sample(Attention(0.5), (*given((4,), 3, 5, 4, 4, 1), normal(4, 1, 5, seed=6)), "four heads share one, mask"),
    Sample(Attention(1.0), _hard(), "hard scores", ()),
    Sample(Attention(1.0), _not_finite(), "NaN and infinities", ()),
    Sample(Attention(1.0), given((2,), 0, 3, 4, 4), "no queries"),
    Sample(Attention(1.0), given((2,), 3, 0, 4, 4), "no keys give zeros"),
    Sample(Attention(1.0), given((0,), 3, 2, 4, 4), "empty batch"),
    Sample(Attention(1.0), given((), 3, 2, 0, 4), "no features: the mean"),
    Sample(Attention(0.5, causal=True), given((2,), 5, 5, 4, 6, dtype="float64"), "f64"),
    Sample(Attention(0.5, softcap=3.0), given((2,), 5, 40, 8, 6, dtype="float16"), "f16"),
    Sample(Attention(0.5), tuple(half(x) for x in given((2,), 3, 5, 4, 4)), "bf16"),
]

F32 = "f32"
BAD: list[BadSample] = [
    BadSample(Attention(1.0), (tensor(F32, (3, 4)), tensor(F32, (5, 4))), ArgumentError, "3 or 4 inputs"),
    BadSample(Attention(1.0), (tensor(F32, (4,)),) * 3, ShapeError, "not the same axes"),
    BadSample(Attention(1.0), (tensor(F32, (3, 4)), tensor(F32, (5, 6)), tensor(F32, (5, 4))), ShapeError,
              "queries have 4 features, keys have 6"),
    BadSample(Attention(1.0), (tensor(F32, (3, 4)), tensor(F32, (5, 4)), tensor(F32, (6, 4))), ShapeError,
              "differ in their last axis"),
    BadSample(Attention(1.0), (tensor(F32, (2, 4, 3, 4)), *(tensor(F32, (1, 4, 5, 4)),) * 2), ShapeError,
              "leading axes"),
    BadSample(Attention(1.0), (tensor(F32, (6, 3, 4)), *(tensor(F32, (4, 5, 4)),) * 2), ShapeError, "6 heads"),
    BadSample(Attention(1.0), (*(tensor(F32, (3, 4)),) * 3, tensor("i64", (3, 3))), DTypeError, "the mask is of i64"),
    BadSample(Attention(1.0), (*(tensor(F32, (3, 4)),) * 3, tensor("bool", (2, 3, 3))), ShapeError,
              "does not broadcast"),
    BadSample(Attention(1.0), (tensor(F32, (3, 4)), tensor("f64", (3, 4)), tensor(F32, (3, 4))), DTypeError, "differ"),
    BadSample(Attention(1.0), (tensor("i32", (3, 4)),) * 3, DTypeError, "i32 is not among"),
    BadSample(Attention(1.0, softcap=-1.0), (tensor(F32, (3, 4)),) * 3, ArgumentError, "softcap=-1.0 is negative"),
]  # fmt: skip

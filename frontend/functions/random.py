"""Random tensors from counter-based keys: the same key gives the same numbers on every backend.

A trace that draws holds one state input, `rng.key`, which each call of the compiled program replaces. Every draw folds
its number into the key, so equal calls in one program differ. A function that takes `key` draws from that key instead.
Outside of a trace keys come from the generator that `manual_seed` sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.errors import ArgumentError
from chainrule.frontend import scope as scopes
from chainrule.frontend.places import error, located
from chainrule.frontend.scope import Scope
from chainrule.frontend.seeding import fresh_seed
from chainrule.frontend.stored import Buffer
from chainrule.frontend.tensor import Operand, Tensor, float_value_of, value_of, wrap
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Value
from chainrule.ir.types import as_dtype
from chainrule.ops import elementwise, indexing, keys
from chainrule.ops import random as draws
from chainrule.ops.activations import leaky_relu
from chainrule.ops.basic import full, zeros_like
from chainrule.ops.compare import le

KEY_NAME = "rng.key"


def key(seed: int) -> Tensor:
    """The key of a seed, u32[2]."""
    return wrap(keys.key_from_seed(seed))


def fold_in(key: Operand, number: Operand) -> Tensor:
    """The key that a key and a number give: independent of the key and of those of other numbers."""
    with located():
        count = number if isinstance(number, int) else elementwise.cast(value_of(number, "fold_in"), as_dtype("u32"))
        return wrap(keys.fold_in(value_of(key, "fold_in"), count))


def split_key(key: Operand, count: int = 2) -> tuple[Tensor, ...]:
    """Independent keys from one."""
    with located():
        return tuple(map(wrap, keys.split_key(value_of(key, "split_key"), count)))


def next_key() -> Tensor:
    """A key that is new at each use, in each call of the compiled program."""
    return wrap(next_key_value())


def next_key_value() -> Value:
    """The value of `next_key`."""
    scope = scopes.current()
    if scope is None:
        return keys.key_from_seed(fresh_seed())
    return scope.brought(_next_key_of(scope.home), scope.home)


def _next_key_of(home: Scope) -> Value:
    """A key that is new at each use in a trace or body; in a loop's body it depends on the number of the step too."""
    if home.parent is not None and home.counter is None:
        return home.brought(_next_key_of(home.parent.home), home.parent.home)
    home.draws += 1
    if home.parent is None:
        if home.key is None:
            home.key = new_key_buffer()
        start = home.input_of(home.key)
        home.assign(home.key, keys.fold_in(start, 0))
        return keys.fold_in(start, home.draws)
    if home.key_base is None:
        around = home.parent.home
        assert home.counter is not None
        home.key_base = keys.fold_in(home.brought(_next_key_of(around), around), home.counter)
    return keys.fold_in(home.key_base, home.draws)


def new_key_buffer(seed: int | None = None) -> Buffer:
    """The state that a trace keeps its key in; the seed is drawn from the library's generator when none is given."""
    buffer = Buffer(keys.key_array(fresh_seed() if seed is None else seed), persistent=False)
    buffer.name = KEY_NAME
    return buffer


def _key(given: Operand | None, what: str) -> Value:
    return next_key_value() if given is None else value_of(given, what)


def uniform(shape: Sequence[Any] = (), low: float = 0.0, high: float = 1.0, dtype: object = "f32",
            key: Operand | None = None) -> Tensor:  # fmt: skip
    """Uniform numbers in [low, high)."""
    with located():
        return wrap(draws.uniform(_key(key, "uniform"), shape, low, high, dtype))


def normal(shape: Sequence[Any] = (), mean: float = 0.0, std: float = 1.0, dtype: object = "f32",
           key: Operand | None = None) -> Tensor:  # fmt: skip
    """Gaussian numbers of this mean and standard deviation."""
    with located():
        return wrap(draws.normal(_key(key, "normal"), shape, mean, std, dtype))


def bernoulli(p: float, shape: Sequence[Any] = (), key: Operand | None = None) -> Tensor:
    """bools that are true with probability p."""
    with located():
        return wrap(draws.bernoulli(_key(key, "bernoulli"), p, shape))


def randint(
    low: int, high: int, shape: Sequence[Any] = (), dtype: object = "i64", key: Operand | None = None
) -> Tensor:
    """Whole numbers in [low, high)."""
    with located():
        return wrap(draws.randint(_key(key, "randint"), shape, low, high, dtype))


def permutation(n: Dim, key: Operand | None = None) -> Tensor:
    """The numbers 0 to n-1 in random order, i64."""
    with located():
        return wrap(draws.permutation(_key(key, "permutation"), n))


def shuffle(x: Operand, axis: int = 0, key: Operand | None = None) -> Tensor:
    """x with an axis in random order."""
    with located():
        value = value_of(x, "shuffle")
        return wrap(indexing.gather(value, draws.permutation(_key(key, "shuffle"), value.shape[axis]), axis))


def dropout(x: Operand, p: float = 0.5, training: bool | None = None, key: Operand | None = None) -> Tensor:
    """In training, each element is 0 with probability p, else divided by 1 - p; otherwise x itself.

    training=None follows the running trace (outside of one: training). Raises ArgumentError unless 0 <= p <= 1.
    """
    value = float_value_of(x, "dropout")
    if not dropped(p, training):
        return wrap(value)
    with located():
        return wrap(zeros_like(value) if p == 1 else draws.dropout(value, _key(key, "dropout"), p))


def feature_dropout(x: Operand, p: float = 0.5, training: bool | None = None, key: Operand | None = None) -> Tensor:
    """Dropout of whole channels: one draw for each of the first two axes of x [N, C, *S]. Source: torch dropout2d."""
    value = float_value_of(x, "feature_dropout")
    if not dropped(p, training):
        return wrap(value)
    if value.rank < 2:
        raise error(ArgumentError, f"feature_dropout: {value.type} has no channels", help="x is [N, C, *S]")
    with located():
        mask_shape = (*value.shape[:2], *(1,) * (value.rank - 2))
        if p == 1:
            return wrap(zeros_like(value))
        mask = draws.dropout(full(1.0, mask_shape, value.dtype), _key(key, "feature_dropout"), p)
        return wrap(elementwise.mul(value, mask))


ALPHA_DROPPED = -1.7580993408473766  # what SELU goes to far below zero: -scale * alpha of Klambauer et al. 2017


def alpha_dropout(x: Operand, p: float = 0.5, training: bool | None = None, features: bool = False,
                  key: Operand | None = None) -> Tensor:  # fmt: skip
    """Dropout to SELU's lower limit that keeps zero mean and unit variance; features: of whole channels of [N, C, *S].

    p = 1 gives zeros, as in PyTorch. Source: Klambauer et al. 2017; torch.nn.functional.alpha_dropout.
    """
    value = float_value_of(x, "alpha_dropout")
    if not dropped(p, training):
        return wrap(value)
    if features and value.rank < 2:
        raise error(ArgumentError, f"alpha_dropout: {value.type} has no channels", help="x is [N, C, *S]")
    with located():
        if p == 1:
            return wrap(zeros_like(value))
        shape = (*value.shape[:2], *(1,) * (value.rank - 2)) if features else value.shape
        kept = draws.bernoulli(_key(key, "alpha_dropout"), 1 - p, shape)
        scale = ((1 - p) * (1 + p * ALPHA_DROPPED**2)) ** -0.5
        mixed = elementwise.where(kept, value, full(ALPHA_DROPPED, (), value.dtype))
        scaled = elementwise.mul(mixed, full(scale, (), value.dtype))
        return wrap(elementwise.add(scaled, full(-scale * ALPHA_DROPPED * p, (), value.dtype)))


def rrelu(x: Operand, lower: float = 1 / 8, upper: float = 1 / 3, training: bool | None = None,
          key: Operand | None = None) -> Tensor:  # fmt: skip
    """x above 0, slope * x below: a slope drawn from [lower, upper) for each element in training, else their mean.

    Source: Xu et al. 2015; torch.nn.functional.rrelu.
    """
    value = float_value_of(x, "rrelu")
    if not lower <= upper:
        raise error(ArgumentError, f"rrelu: lower={lower} is above upper={upper}", help="1/8 and 1/3 are usual")
    with located():
        if lower == upper or not (scopes.is_training() if training is None else training):
            return wrap(leaky_relu(value, (lower + upper) / 2))
        slope = draws.uniform(_key(key, "rrelu"), value.shape, lower, upper, value.dtype)
        below = le(value, full(0.0, (), value.dtype))
        return wrap(elementwise.where(below, elementwise.mul(value, slope), value))


def dropped(p: float, training: bool | None) -> bool:
    """True when dropout draws here. Raises ArgumentError unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        raise error(ArgumentError, f"dropout: p={p} is not a probability", help="give 0 <= p <= 1")
    return p > 0 and (scopes.is_training() if training is None else training)

"""Initialisers draw from the distributions that they name."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend import nn
from chainrule.frontend.stored import Stored

SHAPE = (200, 40, 3, 3)
FAN_IN, FAN_OUT = 40 * 9, 200 * 9
COUNT = math.prod(SHAPE)


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(np.full(shape or SHAPE, np.nan, np.float32))


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


UNIFORM: list[tuple[Callable[[Stored], Stored], float]] = [
    (lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5), generator=rng()), 1 / math.sqrt(FAN_IN)),
    (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu", generator=rng()), math.sqrt(6 / FAN_IN)),
    (lambda w: nn.init.kaiming_uniform_(w, 0.0, "fan_out", "relu", generator=rng()), math.sqrt(6 / FAN_OUT)),
    (lambda w: nn.init.xavier_uniform_(w, gain=2.0, generator=rng()), 2 * math.sqrt(6 / (FAN_IN + FAN_OUT))),
    (lambda w: nn.init.uniform_(w, -0.5, 0.5, generator=rng()), 0.5),
]  # fmt: skip
NORMAL: list[tuple[Callable[[Stored], Stored], float]] = [
    (lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu", generator=rng()), math.sqrt(2 / FAN_IN)),
    (lambda w: nn.init.xavier_normal_(w, generator=rng()), math.sqrt(2 / (FAN_IN + FAN_OUT))),
    (lambda w: nn.init.normal_(w, 0.0, 0.3, generator=rng()), 0.3),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(UNIFORM)))
def test_uniform_draws_fill_their_interval(index: int) -> None:
    fill, bound = UNIFORM[index]
    values = fill(weight()).data / bound
    assert np.abs(values).max() <= 1 and np.abs(values).max() > 1 - 100 / COUNT
    assert abs(values.mean()) < 5 / math.sqrt(3 * COUNT)
    assert abs((values**2).mean() * 3 - 1) < 10 / math.sqrt(COUNT)


@pytest.mark.parametrize("index", range(len(NORMAL)))
def test_normal_draws_have_their_deviation(index: int) -> None:
    fill, std = NORMAL[index]
    values = fill(weight()).data / std
    assert abs(values.mean()) < 5 / math.sqrt(COUNT)
    assert abs((values**2).mean() - 1) < 10 / math.sqrt(COUNT)
    assert abs((values**4).mean() / 3 - 1) < 30 / math.sqrt(COUNT)


def test_truncated_draws_stay_inside() -> None:
    values = nn.init.trunc_normal_(weight(1000), std=2.0, a=-1.0, b=3.0, generator=rng()).data
    assert values.min() >= -1 and values.max() <= 3
    with pytest.raises(ArgumentError, match=r"\[2, 1\] is empty"):
        nn.init.trunc_normal_(weight(3), a=2, b=1)


def test_orthogonal_rows_or_columns_are_orthonormal() -> None:
    for shape in ((4, 6), (6, 4), (4, 2, 3)):
        weights = nn.init.orthogonal_(nn.Parameter(np.zeros(shape)), gain=2.0, generator=rng())
        matrix = weights.data.reshape(shape[0], -1)
        product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_fixed_values() -> None:
    assert nn.init.eye_(weight(2, 3)).data.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert nn.init.dirac_(weight(2, 2, 3)).data.tolist() == [[[0, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 0]]]
    assert nn.init.constant_(weight(2), 3.0).data.tolist() == [3, 3]
    assert nn.init.zeros_(weight(2)).data.tolist() == [0, 0] and nn.init.ones_(weight(1)).data.tolist() == [1]
    sparse = nn.init.sparse_(weight(10, 4), 0.25, generator=rng()).data
    assert ((sparse == 0).sum(axis=0) == 3).all()


def test_layers_start_as_pytorchs_do() -> None:
    linear, conv = nn.Linear(400, 300), nn.ConvTranspose2d(20, 30, 3)
    assert np.abs(linear.weight.data).max() <= 1 / 20 and np.abs(linear.weight.data).max() > 0.0499
    assert linear.bias is not None and np.abs(linear.bias.data).max() <= 1 / 20
    assert np.abs(conv.weight.data).max() <= 1 / math.sqrt(30 * 9)
    assert nn.Embedding(4, 2, padding_idx=-1).weight.data[3].tolist() == [0, 0]


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ShapeError, match="fan_in and fan_out need two axes"):
        nn.init.xavier_normal_(weight(3))
    with pytest.raises(ArgumentError, match="mode 'fan_avg' is not known"):
        nn.init.kaiming_normal_(weight(3, 3), mode="fan_avg")
    with pytest.raises(ArgumentError, match="calculate_gain: 'swish' is not known"):
        nn.init.calculate_gain("swish")

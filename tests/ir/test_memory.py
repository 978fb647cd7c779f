"""Arrays that begin with a cache line."""

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.ir.memory import aligned_copy

SHAPES = [(), (0,), (3,), (2, 0, 3), (7, 5), (300, 1000)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_copy_has_the_numbers_and_begins_a_line(shape: tuple[int, ...], order: str):
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32).copy(order)  # type: ignore[call-overload]
    found = aligned_copy(array, np.dtype(np.float64))
    assert found.ctypes.data % 64 == 0 and found.flags.c_contiguous and found.flags.writeable
    assert found.dtype == np.float64 and np.array_equal(found, array)


def test_parameters_and_what_optimisers_keep_begin_a_line_also_in_copies():
    model = nn.Linear(300, 1000)
    step = cr.training_step(model, cr.cross_entropy, optim.Adam(1e-3), (cr.spec(4, 300), cr.spec(4, dtype="i64")))
    twin = copy.deepcopy(model)
    arrays = [*step.state.values(), *(p.data for _, p in twin.named_parameters())]
    assert all(array.ctypes.data % 64 == 0 for array in arrays)
    assert not np.shares_memory(model.weight.data, twin.weight.data)

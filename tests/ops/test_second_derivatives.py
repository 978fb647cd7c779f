"""The gradient of every gradient, from the registry's samples: a gradient may be right where its own is not."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.ir.graph import results
from chainrule.ir.op import Op
from tests.ops.sample import Sample
from tests.ops.test_registry import (
    DIFFERENTIABLE,
    DIFFERENTIATED,
    SAMPLED,
    called,
    floats_of,
    in_doubles,
    seed_arrays,
)
from tests.random_graphs.slopes import complaint_of, slope_of, weighted


def second_derivative_complaint(sample: Sample) -> str | None:
    """What is wrong with the second derivative along random directions; None where difference quotients do not tell."""
    arrays = in_doubles(sample.inputs)
    value, inputs = called(sample.op, arrays)
    rng = np.random.default_rng(11)
    scalar, weights = weighted([v for v in results(value) if v.dtype.is_float])
    given = dict(zip((*inputs, *weights), (*arrays, *seed_arrays(value, arrays, rng)), strict=True))
    for order in (1, 2):
        claim = slope_of(scalar, [inputs[i] for i in floats_of(sample)], weights, f"way{order}_")
        if claim is None:
            return ""  # the op is linear
        given |= {d: rng.choice([-1.0, 1.0], given[x].shape) for x, d in zip(claim.floats, claim.ways, strict=True)}
        scalar = claim.slope
    return complaint_of(claim, given, 0)


@pytest.mark.parametrize("op", [op for op in SAMPLED if op.gradient in DIFFERENTIATED], ids=lambda op: op.__name__)
def test_the_gradient_of_a_gradient_is_its_slope(op: type[Op]) -> None:
    found = {s.id: second_derivative_complaint(s) for s in DIFFERENTIABLE if type(s.op) is op}
    assert not {name: wrong for name, wrong in found.items() if wrong}
    assert any(wrong == "" for wrong in found.values()), "no sample of it is smooth enough to tell"

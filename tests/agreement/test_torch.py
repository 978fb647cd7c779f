"""Values, first and second derivatives of every function that PyTorch has too, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")

import chainrule as cr  # noqa: E402
from chainrule.frontend import eager  # noqa: E402
from chainrule.frontend.trace import trace  # noqa: E402
from chainrule.ir.graph import Value, new_input  # noqa: E402
from chainrule.ops.basic import zeros_like  # noqa: E402
from chainrule.ops.tolerance import GRADIENT_ATOL, GRADIENT_RTOL  # noqa: E402
from chainrule.passes.autodiff import gradients  # noqa: E402
from tests.agreement.pairs import PAIRS, Pair  # noqa: E402

CASES = [pytest.param(pair, i, id=f"{pair.name}-{i}") for pair in PAIRS for i in range(len(pair.samples))]
Arrays = Sequence[np.ndarray]


def seed(shape: Sequence[int], number: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(number).standard_normal(tuple(shape)))


def ours(pair: Pair, arrays: Arrays) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """The result, the gradient of <seed, result>, and that of <seeds, gradient>."""
    traced = trace(pair.ours, tuple(cr.spec(*a.shape, dtype=a.dtype.name) for a in arrays))
    graph = traced.graph
    given: dict[Value, np.ndarray] = dict(zip(graph.inputs, arrays, strict=True))
    floats = [v for i, v in enumerate(graph.inputs) if v.dtype.is_float and i not in pair.fixed]
    (output,) = graph.outputs
    cotangent = new_input("seed", output.tensor)
    given[cotangent] = seed([int(d) for d in output.shape], 0)
    first = filled(floats, gradients([output], floats, [cotangent]))
    found = eager.run([output, *first], given)
    if not pair.second:
        return found[0], found[1:], []
    again = [new_input(f"again{i}", v.tensor) for i, v in enumerate(floats)]
    given |= {v: seed([int(d) for d in v.shape], 1 + i) for i, v in enumerate(again)}
    return found[0], found[1:], eager.run(filled(floats, gradients(first, floats, again)), given)


def filled(values: Sequence[Value], slopes: Sequence[Value | None]) -> list[Value]:
    return [zeros_like(v) if g is None else g for v, g in zip(values, slopes, strict=True)]


def theirs(pair: Pair, arrays: Arrays) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """The same of PyTorch."""
    tensors = [torch.tensor(a) for a in arrays]
    for i, tensor in enumerate(tensors):
        tensor.requires_grad_(tensor.is_floating_point() and i not in pair.fixed)
    floats = [t for t in tensors if t.requires_grad]
    output = pair.theirs(*tensors)
    cotangent = torch.tensor(seed(output.shape, 0))
    first = slopes(output, floats, cotangent)
    if not pair.second:
        return output.detach().numpy(), plain(first), []
    total = sum(((g * torch.tensor(seed(g.shape, 1 + i))).sum() for i, g in enumerate(first)), torch.zeros(()))
    return output.detach().numpy(), plain(first), plain(slopes(total, floats, None))


def plain(tensors: Sequence[Any]) -> list[np.ndarray]:
    return [t.numpy(force=True) for t in tensors]


def slopes(output: Any, floats: list[Any], cotangent: Any) -> list[Any]:
    if not output.requires_grad:
        return [torch.zeros_like(t) for t in floats]
    found = torch.autograd.grad(output, floats, cotangent, create_graph=True, allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(floats, found, strict=True)]


def assert_near(got: np.ndarray, wanted: np.ndarray, what: str) -> None:
    assert got.shape == wanted.shape, f"{what}: {got.shape} instead of {wanted.shape}"
    scale = float(np.max(np.abs(wanted[np.isfinite(wanted)]), initial=0.0))
    np.testing.assert_allclose(got, wanted, rtol=GRADIENT_RTOL, atol=GRADIENT_ATOL * (1 + scale), err_msg=what)


@pytest.mark.parametrize(("pair", "index"), CASES)
@pytest.mark.filterwarnings("ignore")
def test_values_and_derivatives_are_torchs(pair: Pair, index: int) -> None:
    arrays = pair.samples[index]
    found, wanted = ours(pair, arrays), theirs(pair, arrays)
    assert_near(found[0], wanted[0], "value")
    for order, a, b in (("first", found[1], wanted[1]), ("second", found[2], wanted[2])):
        for i, (mine, other) in enumerate(zip(a, b, strict=True)):
            assert_near(mine, other, f"{order} derivative, argument {i}")

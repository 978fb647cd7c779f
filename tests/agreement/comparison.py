"""One function in both libraries: outputs, and the gradient of their product with seeds, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

import chainrule as cr
from chainrule.frontend import eager
from chainrule.frontend.stored import Stored
from chainrule.frontend.trace import trace
from chainrule.ir.graph import Value, input_name, new_input
from chainrule.ops.basic import zeros_like
from chainrule.ops.tolerance import GRADIENT_ATOL, GRADIENT_RTOL
from chainrule.passes.autodiff import gradients


def leaves(value: Any) -> list[Any]:
    """What a nested result holds, without None."""
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in leaves(part)]
    return [] if value is None else [value]


def near(got: Any, wanted: Any, what: str) -> None:
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape, f"{what}: {got.shape} instead of {wanted.shape}"
    if wanted.dtype.kind not in "fc":
        np.testing.assert_array_equal(got, wanted, err_msg=what)
        return
    scale = float(np.max(np.abs(wanted[np.isfinite(wanted)]), initial=0.0))
    np.testing.assert_allclose(got, wanted, rtol=GRADIENT_RTOL, atol=GRADIENT_ATOL * (1 + scale), err_msg=what)


def compare(theirs: Callable[..., Any], ours: Callable[..., Any], tensors: Sequence[Any],
            parameters: Mapping[int, Any] | None = None, training: bool = False) -> None:  # fmt: skip
    """Both functions of the tensors. parameters: PyTorch's, by the id of ours that holds the same."""
    held = {} if parameters is None else parameters
    wanted = leaves(theirs(*tensors))
    arrays = [t.numpy(force=True) for t in tensors]
    traced = trace(ours, tuple(cr.spec(*a.shape, dtype=a.dtype.name) for a in arrays), training=training)
    graph = traced.graph
    got = [tuple(y.shape) for y in graph.outputs]
    assert got == [tuple(y.shape) for y in wanted], f"shapes {got}"
    seeds = [np.random.default_rng(i).standard_normal(tuple(y.shape)) for i, y in enumerate(wanted)]
    slots = [new_input(f"seed{i}", y.tensor) for i, y in enumerate(graph.outputs)]
    given: dict[Value, Any] = dict(zip(graph.by_role("input"), arrays, strict=True))
    given |= {value: stored.data for value, stored in traced.sources} | dict(zip(slots, seeds, strict=True))
    leaf = dict(zip(graph.by_role("input"), tensors, strict=True))
    leaf |= {value: held[key] for value, key in _keys(traced.sources) if key in held}
    total = sum((y * torch.tensor(s)).sum() for y, s in zip(wanted, seeds, strict=True) if y.is_floating_point())
    floats = [v for v in leaf if leaf[v].requires_grad]
    outputs = [(y, s) for y, s in zip(graph.outputs, slots, strict=True) if y.dtype.is_float]
    found = gradients([y for y, _ in outputs], floats, [s for _, s in outputs]) if outputs else [None] * len(floats)
    slopes = [zeros_like(v) if g is None else g for v, g in zip(floats, found, strict=True)]
    results = eager.run([*graph.outputs, *slopes], given)
    for y, other in zip(results, wanted):
        near(y, other.detach(), "output")
    if isinstance(total, torch.Tensor) and total.requires_grad:
        total.backward()
    for value, slope in zip(floats, results[len(graph.outputs) :], strict=True):
        grad = leaf[value].grad
        wanted = np.zeros(slope.shape) if grad is None else grad.numpy(force=True)
        near(slope, wanted, f"gradient by {input_name(value)}")


def _keys(sources: Sequence[tuple[Value, Stored]]) -> list[tuple[Value, int]]:
    return [(value, id(stored)) for value, stored in sources]

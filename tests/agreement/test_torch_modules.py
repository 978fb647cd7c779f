"""Every layer and loss that PyTorch has too: outputs, and gradients by inputs and parameters, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")

import chainrule as cr  # noqa: E402
from chainrule import nn  # noqa: E402
from chainrule.frontend import eager  # noqa: E402
from chainrule.frontend.trace import trace  # noqa: E402
from chainrule.ir.graph import Value, input_name, new_input  # noqa: E402
from chainrule.ops.basic import zeros_like  # noqa: E402
from chainrule.ops.tolerance import GRADIENT_ATOL, GRADIENT_RTOL  # noqa: E402
from chainrule.passes.autodiff import gradients  # noqa: E402
from tests.agreement.modules import CONSTANT_TARGETS, INFOS, NOT_COMPARED, OWN, Case, cases, in_both  # noqa: E402

COMPARED = sorted(set(in_both()) - set(NOT_COMPARED))


def leaves(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [leaf for part in value for leaf in leaves(part)]
    return [] if value is None else [value]


def arrays_of(value: Any) -> Any:
    """Tensors in a nested argument as arrays."""
    if isinstance(value, torch.Tensor):
        return value.numpy(force=True)
    return type(value)(map(arrays_of, value)) if isinstance(value, tuple | list) else value


def near(got: Any, wanted: Any, what: str) -> None:
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape, f"{what}: {got.shape} instead of {wanted.shape}"
    scale = float(np.max(np.abs(wanted[np.isfinite(wanted)]), initial=0.0))
    np.testing.assert_allclose(got, wanted, rtol=GRADIENT_RTOL, atol=GRADIENT_ATOL * (1 + scale), err_msg=what)


class Arguments:
    """The arguments of a call: tensors of PyTorch's that record slopes, and the same as arrays for us."""

    def __init__(self, case: Case) -> None:
        names = [None] * len(case.args) + [None if name == "input" else name for name in case.kwargs]
        self.names = names
        self.values = [self.leaf(case.name, i, v) for i, v in enumerate((*case.args, *case.kwargs.values()))]
        self.places = [i for i, v in enumerate(self.values) if isinstance(v, torch.Tensor)]
        self.tensors = [self.values[i] for i in self.places]

    @staticmethod
    def leaf(module: str, place: int, value: Any) -> Any:
        if not (isinstance(value, torch.Tensor) and value.is_floating_point()):
            return value
        return value.detach().double().requires_grad_(not (place and module in CONSTANT_TARGETS))

    def call(self, module: Any, values: list[Any]) -> Any:
        pairs = list(zip(values, self.names, strict=True))
        return module(*(a for a, n in pairs if n is None), **{n: a for a, n in pairs if n})

    def call_ours(self, module: Any, *given: Any) -> Any:
        values = list(map(arrays_of, self.values))
        for place, value in zip(self.places, given, strict=True):
            values[place] = value
        return self.call(module, values)


def modules(case: Case, training: bool) -> tuple[Any, Any]:
    """The module in both libraries, with one state."""
    theirs = case.make(torch.nn).double().train(training)
    ours = case.make(nn).to("f64").train(training)
    ours.load_state_dict({k: v.numpy(force=True) for k, v in theirs.state_dict().items()})
    return theirs, ours


def compare(case: Case, training: bool) -> None:
    """One module in one call, theirs and ours."""
    theirs, ours = modules(case, training)
    arguments = Arguments(case)
    wanted = leaves(arguments.call(theirs, arguments.values))
    arrays = [t.numpy(force=True) for t in arguments.tensors]
    traced = trace(lambda *given: arguments.call_ours(ours, *given),
                   tuple(cr.spec(*a.shape, dtype=a.dtype.name) for a in arrays), training=training)  # fmt: skip
    graph = traced.graph
    seeds = [np.random.default_rng(i).standard_normal(tuple(y.shape)) for i, y in enumerate(wanted)]
    slots = [new_input(f"seed{i}", y.tensor) for i, y in enumerate(graph.outputs)]
    given: dict[Value, Any] = dict(zip(graph.by_role("input"), arrays, strict=True))
    given |= {value: stored.data for value, stored in traced.sources} | dict(zip(slots, seeds, strict=True))
    floats = [v for v in graph.inputs if v.dtype.is_float]
    slopes = [zeros_like(v) if g is None else g for v, g in zip(floats, gradients(graph.outputs, floats, slots))]
    assert [tuple(y.shape) for y in graph.outputs] == [tuple(y.shape) for y in wanted]
    found = eager.run([*graph.outputs, *slopes], given)
    for y, other in zip(found, wanted):
        near(y, other.detach(), "output")
    parameters, paths = dict(theirs.named_parameters()), {id(s): path for path, s in ours.named_parameters()}
    leaf = dict(zip(graph.by_role("input"), arguments.tensors, strict=True))
    leaf |= {value: parameters[paths[id(stored)]] for value, stored in traced.sources if id(stored) in paths}
    total = sum((y * torch.tensor(s)).sum() for y, s in zip(wanted, seeds, strict=True))
    if isinstance(total, torch.Tensor) and total.requires_grad:
        total.backward()
    for value, slope in zip(floats, found[len(graph.outputs) :], strict=True):
        if value in leaf and leaf[value].requires_grad:
            grad = leaf[value].grad
            near(slope, np.zeros(slope.shape) if grad is None else grad, f"gradient by {input_name(value)}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", COMPARED)
def test_a_module_is_torchs(name: str, training: bool) -> None:
    table = cases(name, training)
    assert table
    for case in table:
        compare(case, training)


def test_every_module_that_both_have_is_in_the_table() -> None:
    both = set(in_both())
    assert both - set(INFOS) - set(OWN) - set(NOT_COMPARED) == set(), "add calls to tests/agreement/modules.py"
    assert set(OWN) | set(NOT_COMPARED) <= both, "the table names what is not there"

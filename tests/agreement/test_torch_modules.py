"""Every layer and loss that PyTorch has too: outputs, and gradients by inputs and parameters, in float64."""

from __future__ import annotations

from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

from chainrule import nn  # noqa: E402
from tests.agreement.comparison import compare  # noqa: E402
from tests.agreement.modules import CONSTANT_TARGETS, INFOS, NOT_COMPARED, OWN, Case, cases, in_both  # noqa: E402

COMPARED = sorted(set(in_both()) - set(NOT_COMPARED))


def arrays_of(value: Any) -> Any:
    """Tensors in a nested argument as arrays."""
    if isinstance(value, torch.Tensor):
        return value.numpy(force=True)
    return type(value)(map(arrays_of, value)) if isinstance(value, tuple | list) else value


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


def compare_modules(case: Case, training: bool) -> None:
    """One module in one call, theirs and ours."""
    theirs, ours = modules(case, training)
    arguments = Arguments(case)
    parameters = dict(theirs.named_parameters())
    held = {id(stored): parameters[path] for path, stored in ours.named_parameters()}
    compare(lambda *_: arguments.call(theirs, arguments.values), lambda *given: arguments.call_ours(ours, *given),
            arguments.tensors, held, training)  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", COMPARED)
def test_a_module_is_torchs(name: str, training: bool) -> None:
    table = cases(name, training)
    assert table
    for case in table:
        compare_modules(case, training)


def test_every_module_that_both_have_is_in_the_table() -> None:
    both = set(in_both())
    assert both - set(INFOS) - set(OWN) - set(NOT_COMPARED) == set(), "add calls to tests/agreement/modules.py"
    assert set(OWN) | set(NOT_COMPARED) <= both, "the table names what is not there"

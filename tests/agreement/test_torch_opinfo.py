"""Every function that PyTorch's own table of ops has, on the table's samples, with first derivatives, in float64."""

from __future__ import annotations

import re
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")

import chainrule as cr  # noqa: E402
from tests.agreement.comparison import compare  # noqa: E402
from tests.agreement.opinfo import NOT_COMPARED, OURS, REFUSED, bound  # noqa: E402
from tests.agreement.opinfo_more import ABSENT  # noqa: E402
from tests.agreement.torch_tables import OPS  # noqa: E402


def flat(value: Any) -> list[Any]:
    """The tensors of nested arguments, in order."""
    if isinstance(value, dict):
        return flat(list(value.values()))
    if isinstance(value, tuple | list):
        return [tensor for part in value for tensor in flat(part)]
    return [value] if isinstance(value, torch.Tensor) else []


def filled(value: Any, given: Any) -> Any:
    """Nested arguments with the next of `given` for each tensor."""
    if isinstance(value, dict):
        return {name: filled(part, given) for name, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [filled(part, given) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    return next(given) if isinstance(value, torch.Tensor) else value


def leaf(tensor: Any) -> Any:
    fresh = tensor.detach().clone()
    return fresh.double().requires_grad_(tensor.requires_grad) if fresh.is_floating_point() else fresh


def call(function: Any, sample: Any, tensors: Any) -> Any:
    nested = [sample.input, list(sample.args), dict(sample.kwargs)]
    first, args, kwargs = filled(nested, iter(tensors))
    return function(first, *args, **kwargs)


def compared(name: str) -> int:
    """How many samples of an op were compared."""
    count, ours = 0, OURS[name]
    for op in OPS[name]:
        dtype = next((d for d in (torch.float64, torch.int64) if d in op.dtypes), None)
        if dtype is None:
            continue
        for sample in op.sample_inputs("cpu", dtype, requires_grad=dtype.is_floating_point and op.supports_autograd):
            if not bound(ours, sample.input, sample.args, sample.kwargs):
                continue
            tensors = [leaf(t) for t in flat([sample.input, list(sample.args), dict(sample.kwargs)])]
            try:
                compare(lambda *x, op=op, s=sample: call(op, s, x), lambda *x, s=sample: call(ours, s, x), tensors)
                count += 1
            except cr.ChainruleError as refusal:
                assert name in REFUSED, refusal
                assert re.search(REFUSED[name], str(refusal)), refusal
    return count


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(OURS))
def test_a_function_is_torchs(name: str) -> None:
    torch.manual_seed(0)
    assert compared(name)


def test_every_function_that_both_have_is_compared() -> None:
    short = {name.rpartition(".")[2] for name in OPS} & set(cr.__all__)
    covered = {name.rpartition(".")[2] for name in OURS} | set(NOT_COMPARED)
    assert short - covered == set(), "add them to tests/agreement/opinfo.py"
    assert set(OURS) <= set(OPS)


def test_every_op_of_the_table_is_compared_or_says_why_not() -> None:
    reasons = [name for names in ABSENT.values() for name in names.split()]
    assert len(reasons) == len(set(reasons))
    told = set(OURS) | set(reasons) | {name for name in OPS if name.rpartition(".")[2] in NOT_COMPARED}
    assert set(OPS) - told == set(), "compare them, or give the reason in tests/agreement/opinfo_more.py"
    assert set(reasons) & set(OURS) == set()

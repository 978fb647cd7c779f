"""Whatever a file holds, a child with little memory reads it: to the right answer or a typed error, never else."""

from __future__ import annotations

from tests.onnx.hostile import Case
from tests.onnx.hostile_calls import CASES
from tests.onnx.hostile_child import Outcome, outcomes


def _complaint(case: Case, found: Outcome) -> str:
    """What is wrong with what came of a file, "" if nothing is."""
    if case.works:
        return "" if found.kind == "right" else f"it is legal, but {found.kind}: {found.error}"
    if found.kind == "right":
        return "" if not case.said else "it was not refused"
    if found.kind != "refused":
        return f"{found.kind}: {found.error}"
    return "" if case.said in found.error else f"{case.said!r} is not said: {found.error}"


def test_every_hostile_file_gives_a_typed_error_and_every_odd_one_works() -> None:
    found = {outcome.name: outcome for outcome in outcomes(list(CASES))}
    assert found.keys() == CASES.keys()
    wrong = {name: complaint for name, case in CASES.items() if (complaint := _complaint(case, found[name]))}
    assert not wrong, "\n".join(f"{name}: {complaint}" for name, complaint in wrong.items())


def test_there_are_many() -> None:
    assert len(CASES) >= 250


def test_a_child_that_ends_is_told_and_the_rest_goes_on() -> None:
    kinds = [o.kind for o in outcomes(["a convnet", "no such case", "a scalar"])]
    assert kinds == ["right", "ended", "right"]

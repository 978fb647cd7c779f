"""Random chains of onnx's own cases mean the same in native code, on the reference in float64, and in onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.onnx.random_models import FOUND, OPSETS, Made, fault, keep, made, shrunk, templates

EACH_RUN, EACH_NIGHT = 200, 2000


def complaints(first: int, count: int) -> list[str]:
    """What is wrong with the models of these seeds; each is kept, cut down, so that it is a test from then on."""
    found: list[str] = []
    for seed in range(first, first + count):
        drawn = made(seed)
        wrong = fault(drawn)
        if wrong is not None:
            kept = keep(shrunk(drawn.model, wrong[0]), drawn.arrays, f"seed_{seed}")
            found.append(f"seed {seed}: {wrong[0]}: {wrong[1]}, kept as {kept}")
    return found


@pytest.mark.parametrize("part", range(10))
def test_random_models_agree(part: int) -> None:
    assert complaints(part * EACH_RUN // 10, EACH_RUN // 10) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_many_random_models_agree(part: int) -> None:
    assert complaints(EACH_RUN + part * EACH_NIGHT // 20, EACH_NIGHT // 20) == []


@pytest.mark.parametrize("path", sorted(FOUND.glob("*.onnx")), ids=lambda path: path.stem)
def test_models_that_were_wrong_once_are_right(path: Path) -> None:
    assert fault(Made(onnx.load(path), {}, True)) is None


def test_models_are_varied_and_onnxruntime_is_a_witness_for_most() -> None:
    assert len({case.op for opset in OPSETS for case in templates(opset)}) > 140
    drawn = [made(seed) for seed in range(40)]
    assert sum(d.witness for d in drawn) > 20
    assert sum(len(d.model.graph.node) > 3 for d in drawn) > 20


def test_a_wrong_output_is_cut_down_to_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.onnx.random_models.FOUND", tmp_path)
    drawn = next(d for d in map(made, range(100)) if len(d.model.graph.output) > 2 and d.arrays)
    first = drawn.model.graph.output[0].name
    small = shrunk(drawn.model, first)
    assert len(small.graph.node) < len(drawn.model.graph.node)
    whole = onnx.load(keep(small, drawn.arrays, "small"))
    onnx.checker.check_model(whole)
    assert not whole.graph.input and fault(Made(whole, {}, drawn.witness)) is None
    stored = {t.name for t in whole.graph.initializer}
    assert all(np.array_equal(onnx.numpy_helper.to_array(t), drawn.arrays[t.name])
               for t in whole.graph.initializer if t.name in drawn.arrays and t.name in stored)  # fmt: skip

"""onnx's own cases of recurrent layers on native code, and training steps of such layers in onnxruntime."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx.backend.test.loader import load_model_tests

import chainrule as cr
from chainrule import nn
from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.onnx.importing import import_model
from chainrule.ir.graph import input_name
from chainrule.ops.tolerance import MODEL_RTOL

with np.errstate(all="ignore"):  # onnx makes the data of all its cases anew, with overflows that are meant
    CASES = [case for case in load_model_tests(kind="node") if re.search("lstm|gru|rnn", case.name)]


def test_there_are_cases() -> None:
    assert len(CASES) >= 14


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_native_code_gives_what_onnx_states(case: object) -> None:
    model = case.model  # type: ignore[attr-defined]
    graph = import_model(model).graph
    made = LlvmExecutable(graph, [])
    for given, wanted in case.data_sets:  # type: ignore[attr-defined]
        by_name = dict(zip([i.name for i in model.graph.input], given, strict=True))
        found = made.run([np.asarray(by_name[input_name(v)]) for v in graph.inputs])
        for y, expected in zip(found, wanted, strict=True):
            np.testing.assert_allclose(y, expected, rtol=case.rtol, atol=1e-7)  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [3, "T"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_onnxruntime_takes_the_same_training_steps(kind: type[nn.Module], count: int | str) -> None:
    def steps(backend: str) -> list[float]:
        cr.manual_seed(0)
        model = kind(3, 4, 2)
        step = cr.training_step(model, lambda out, y: cr.mean((out[0] - y) ** 2), cr.optim.SGD(0.5),
                                (cr.spec(count, 2, 3), cr.spec(count, 2, 4)), backend=backend)  # fmt: skip
        rng = np.random.default_rng(0)
        x, y = (rng.standard_normal((3, 2, n)).astype(np.float32) for n in (3, 4))
        return [float(step(x, y)) for _ in range(5)]

    native, theirs, meant = (steps(backend) for backend in ("llvm", "onnxruntime", "reference"))
    assert native[-1] < native[0]
    np.testing.assert_allclose(native, meant, rtol=MODEL_RTOL)
    np.testing.assert_allclose(theirs, meant, rtol=MODEL_RTOL)

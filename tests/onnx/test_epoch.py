"""A file can hold an epoch: a training step in a Scan over minibatches, which onnxruntime runs in one call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.cli import main
from chainrule.errors import ArgumentError
from chainrule.ops.tolerance import MODEL_RTOL


class Tagger(nn.Module):
    """A loop in the step, so that a Scan lies in a Scan."""

    def __init__(self) -> None:
        self.steps, self.head = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 3)

    def __call__(self, x: Any) -> Any:
        return self.head(self.steps(cr.expand_dims(x, 1))[0][:, 0])


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def step_of(build: Any, **options: Any) -> cr.Step:
    cr.manual_seed(1)
    specs = (cr.spec("N", 8), cr.spec("N", dtype="i64"))
    return cr.training_step(build(), cr.cross_entropy, optim.Adam(1e-2), specs, seed=2, **options)


@pytest.mark.parametrize("build", [plain, Tagger])
def test_one_call_gives_the_losses_and_the_state_of_as_many_steps(build: Any):
    step = step_of(build, metrics=("accuracy",), accumulate=2)
    session = onnxruntime.InferenceSession(cr.export_onnx(step, epoch=True).SerializeToString(),
                                           providers=["CPUExecutionProvider"])  # fmt: skip
    names = [o.name for o in session.get_outputs()]
    rng = np.random.default_rng(0)
    state: dict[str, np.ndarray] = {}
    for _ in range(2):
        x, y = rng.standard_normal((25, 6, 8)).astype(np.float32), rng.integers(0, 3, (25, 6))
        found = dict(zip(names, session.run(None, dict(zip(step.input_names, (x, y))) | state), strict=True))
        state = {n.removesuffix(".new"): np.asarray(found[n]) for n in names if n.endswith(".new")}
        ours = [step(*batch) for batch in zip(x, y, strict=True)]
        np.testing.assert_allclose(found["loss"], ours, rtol=MODEL_RTOL)
        np.testing.assert_array_equal(found["accuracy"], np.float32([one.metrics["accuracy"] for one in ours]))
    assert state.keys() <= step.state.keys() and int(state["step"]) == int(step.state["step"])
    np.testing.assert_array_equal(state["rng.key"] if build is plain else 0, step.state.get("rng.key", 0))


def test_what_is_no_step_holds_no_epoch():
    with pytest.raises(ArgumentError, match="only a training step runs over minibatches"):
        cr.export_onnx(nn.Linear(2, 2), None, cr.spec("N", 2), epoch=True)
    spec = cr.spec("minibatches", 2)
    step = cr.training_step(nn.Linear(2, 2), cr.mse_loss, optim.SGD(0.1), (spec, spec))
    with pytest.raises(ArgumentError, match="a size is called minibatches"):
        cr.export_onnx(step, epoch=True)


def test_the_program_beside_the_file_trains_an_epoch_in_one_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for extra in ([], ["--epoch"]):
        out = f"{tmp_path}/step{len(extra)}.onnx"
        assert main(["export", "digits", "--train", "--with-loop", "--no-verify", "-o", out, *extra]) == 0
    images, labels = cr.datasets.digits()
    names = ("x", "target")
    np.savez(tmp_path / "data.npz", **dict(zip(names, (images[:200], labels[:200].astype(np.int64)), strict=True)))
    said = [subprocess.run([sys.executable, f"step{i}_loop.py", "data.npz", "2", f"kept{i}.safetensors"], cwd=tmp_path,
                           capture_output=True, text=True, check=True).stdout for i in (0, 1)]  # fmt: skip
    assert said[0] == said[1] and said[0].count("epoch") == 2
    capsys.readouterr()

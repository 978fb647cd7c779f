"""A model and its whole training step as ONNX made of standard ops, run by stock onnxruntime.

python examples/export_and_run.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime

import chainrule as cr
from chainrule import datasets, nn, optim


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """A session on the CPU that keeps warnings to itself: it warns of each weight that is an input, which is meant."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_training(path: Path, batches: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """The losses of an exported training step in onnxruntime.

    Its state (parameters, optimiser slots, counters, key) are inputs that have their first values as defaults. A call
    returns the next value of `name` as `name.new`, which is fed back.
    """
    session = open_session(path)
    inputs = [i.name for i in session.get_inputs()]
    outputs = [o.name for o in session.get_outputs()]
    state: dict[str, np.ndarray] = {}
    losses: list[float] = []
    for images, labels in batches:
        results = dict(zip(outputs, session.run(outputs, dict(zip(inputs, (images, labels))) | state), strict=True))
        losses.append(float(np.asarray(results[outputs[0]])))
        state = {name.removesuffix(".new"): np.asarray(r) for name, r in results.items() if name.endswith(".new")}
    return losses


def main(folder: Path = Path(".")) -> tuple[float, float]:
    """Exports and runs both; returns the largest differences from native code, as shares of the largest number."""
    cr.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))
    specs = (cr.spec("N", 1, 8, 8), cr.spec("N", dtype="i64"))
    images, labels = datasets.digits()

    net = cr.compile(model, specs[0])
    cr.export_onnx(model, folder / "digits.onnx", specs[0])  # checked by onnx.checker and against onnxruntime
    session = open_session(folder / "digits.onnx")
    (theirs,) = session.run(None, {session.get_inputs()[0].name: images[:100]})
    ours = net(images[:100])
    scores = float(np.abs(ours - np.asarray(theirs)).max() / np.abs(ours).max())
    print(f"scores differ by at most {scores:.1e} of the largest")

    step = cr.training_step(model, cr.cross_entropy, optim.Adam(1e-3), specs)
    cr.export_onnx(step, folder / "digits_step.onnx")
    batches = [(images[i : i + 32], labels[i : i + 32]) for i in range(0, 320, 32)]
    trained = np.array([float(step(*batch)) for batch in batches])
    losses = float(np.abs(trained - run_training(folder / "digits_step.onnx", batches)).max() / trained.max())
    print(f"the losses of {len(batches)} training steps differ by at most {losses:.1e} of the largest")
    return scores, losses


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))

"""A short program that trains an exported step with onnxruntime alone: what `chainrule export --with-loop` writes."""

from __future__ import annotations

from collections.abc import Sequence

_TEXT = '''"""Trains {file}: python {loop} DATA.npz [EPOCHS] [CHECKPOINT.safetensors]

DATA.npz holds {inputs}: one example in each row. A checkpoint is read if it is there, and written.
"""
import os
import sys

import numpy as np
import onnxruntime
from safetensors.numpy import load_file, save_file

data, epochs = np.load(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
checkpoint = sys.argv[3] if len(sys.argv) > 3 else "{stem}.safetensors"
here = os.path.dirname(os.path.abspath(__file__))
options = onnxruntime.SessionOptions()
options.log_severity_level = 3  # else it warns of each weight that it may not fold, because it is trained
session = onnxruntime.InferenceSession(os.path.join(here, "{file}"), options, onnxruntime.get_available_providers())
inputs, outputs, batch = {names}, [o.name for o in session.get_outputs()], {batch}
kept = [name.removesuffix(".new") for name in outputs if name.endswith(".new")]
saved = load_file(checkpoint) if os.path.exists(checkpoint) else {{}}
state = {{name: saved[name] for name in kept if name in saved}}
for epoch in range(epochs):
{rounds}    print(f"epoch {{epoch + 1}}: loss {{np.mean(losses):.4f}}")
save_file(state, checkpoint)
'''

# What an epoch is: a call for each minibatch, or one for all.
_CALLS = '''    order, losses = np.random.default_rng(epoch).permutation(len(data[inputs[0]])), []
    for at in range(0, len(order) - batch + 1, batch):
        feeds = {name: data[name][order[at : at + batch]] for name in inputs}
        found = dict(zip(outputs, session.run(outputs, feeds | state)))
        state = {name.removesuffix(".new"): np.asarray(v) for name, v in found.items() if name.endswith(".new")}
        losses.append(float(found[outputs[0]]))
'''
_ONE_CALL = '''    order = np.random.default_rng(epoch).permutation(len(data[inputs[0]]))
    order = order[: len(order) // batch * batch].reshape(-1, batch)
    found = dict(zip(outputs, session.run(outputs, {name: data[name][order] for name in inputs} | state)))
    state = {name.removesuffix(".new"): np.asarray(v) for name, v in found.items() if name.endswith(".new")}
    losses = found[outputs[0]]
'''


def loop_text(file: str, inputs: Sequence[str], batch: int, epoch: bool = False) -> str:
    """The program for an exported step. file: the ONNX file's name, in the same folder. inputs: of the batch, in order.

    batch: examples of one step. epoch: the file runs over many minibatches. State goes from "<name>.new" back to
    "<name>"; what the file holds is its first value. Checkpoints have the names and form of cr.save: either side
    goes on where the other stopped.
    """
    stem = file.removesuffix(".onnx")
    return _TEXT.format(file=file, stem=stem, loop=f"{stem}_loop.py", names=list(inputs), inputs=", ".join(inputs),
                        batch=batch, rounds=_ONE_CALL if epoch else _CALLS)  # fmt: skip


__all__ = ["loop_text"]

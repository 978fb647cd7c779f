"""Three ways to run one program must agree: native code, the numpy reference and onnxruntime."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import chainrule as cr
from chainrule.compiler import Options, make_program
from chainrule.demo.train import Digits, make_step
from chainrule.ir.graph import Graph
from chainrule.models import DigitsNet
from chainrule.passes.autodiff import gradients
from chainrule.passes.check import largest_difference

BACKENDS = ("llvm", "reference", "onnxruntime")
STEPS = 10


@dataclass(frozen=True)
class Agreement:
    """The largest absolute difference of any two of the backends, and of what size the compared numbers are."""

    what: str
    largest: Mapping[str, float]
    scale: float


def outputs_agree(model: DigitsNet, images: np.ndarray) -> Agreement:
    """The scores of images by every backend."""
    found = {b: cr.compile(model, cr.spec("N", 1, 8, 8), backend=b).run([images]) for b in BACKENDS}
    return _compared("scores", found)


def gradients_agree(model: DigitsNet, digits: Digits) -> Agreement:
    """The gradients of the loss with respect to every parameter, on one batch, without dropout."""
    specs = (cr.spec("N", 1, 8, 8), cr.spec("N", dtype="i64"))

    def loss(x: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
        return cr.cross_entropy(model(x), y)

    traced = cr.trace(loss, specs)
    graph = traced.graph
    grads = gradients(graph.outputs, graph.by_role("param"))
    whole = Graph("gradients", graph.inputs, tuple(g for g in grads if g is not None))
    weights = [stored.data for _, stored in traced.sources]
    batch = [digits.images[:64], digits.labels[:64]]
    found = {b: make_program(whole, weights, Options(b)).run(batch) for b in BACKENDS}
    return _compared("gradients", found)


def steps_agree(model: DigitsNet, digits: Digits) -> Agreement:
    """The losses of ten training steps, dropout and Adam included, from the same weights."""
    found: dict[str, list[np.ndarray]] = {}
    for backend in BACKENDS:
        step = make_step(copy.deepcopy(model), 1000, backend)
        losses = [
            step(digits.images[i * 32 : (i + 1) * 32], digits.labels[i * 32 : (i + 1) * 32]) for i in range(STEPS)
        ]
        found[backend] = [np.asarray(losses, np.float64)]
    return _compared(f"losses of {STEPS} steps", found)


def _compared(what: str, found: Mapping[str, Sequence[np.ndarray]]) -> Agreement:
    pairs = {
        f"{a} - {b}": max(largest_difference(x, y) for x, y in zip(found[a], found[b], strict=True))
        for i, a in enumerate(BACKENDS)
        for b in BACKENDS[i + 1 :]
    }
    return Agreement(what, pairs, max(float(np.abs(x).max(initial=0.0)) for x in found["reference"]))

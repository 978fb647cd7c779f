"""One library with one training step in a process of its own, run on demand: the other end of benchmarks/training.py.

    python training_peers.py LIBRARY NET WEIGHTS.npz THREADS

A call is one step: forward, loss, backward and update; its output is the loss. Every library starts from the weights
of the file, which has PyTorch's names, and may use as many processors as threads. It says when the step is warm, and
then answers questions: turns.serve.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from training_nets import MOMENTUM, NETS, RATES, Net
from turns import Call, serve

Weights = dict[str, np.ndarray]


def chainrule(name: str, weights: Weights, threads: int, mixed: str | None = None) -> Callable[[], Call]:
    """Ours. The machinery of compiling is loaded before the clock starts, as the libraries of others are."""
    import chainrule as cr
    from chainrule import nn, optim

    cr.compile(lambda x: x + 1.0, cr.spec(2))(np.zeros(2, np.float32))

    def load() -> Call:
        net = NETS[name]
        model, (x, labels) = net.build(nn), net.batch()
        for key, parameter in model.named_parameters():
            parameter.data[...] = weights[key]
        rate = RATES[net.optimizer]
        rules = {"sgd": optim.SGD(rate), "momentum": optim.SGD(rate, momentum=MOMENTUM), "adam": optim.Adam(rate)}
        specs = (cr.spec(*net.shape, dtype="i64" if net.words else "f32"), cr.spec(net.labels, dtype="i64"))
        step = cr.training_step(model, cr.cross_entropy, rules[net.optimizer], specs, threads=threads, mixed=mixed)
        return lambda: [np.float32(step(x, labels))]

    return load


def chainrule_bf16(name: str, weights: Weights, threads: int) -> Callable[[], Call]:
    """Ours, with products in bf16."""
    return chainrule(name, weights, threads, "bf16")


def torch(name: str, weights: Weights, threads: int) -> Callable[[], Call]:
    """Eager PyTorch, its optimisers fused."""
    return _torch(name, weights, threads, compiled=False)


def inductor(name: str, weights: Weights, threads: int) -> Callable[[], Call]:
    """torch.compile of model and loss."""
    return _torch(name, weights, threads, compiled=True)


def _torch(name: str, weights: Weights, threads: int, compiled: bool) -> Callable[[], Call]:
    import torch as th

    th.set_num_threads(threads)

    def load() -> Call:
        net = NETS[name]
        model, (x, labels) = net.build(th.nn), (th.from_numpy(a) for a in net.batch())
        with th.no_grad():
            for key, parameter in model.named_parameters():
                parameter.copy_(th.from_numpy(weights[key]))
        optimizer = _torch_optimizer(th, net, model)

        def forward(x: Any, labels: Any) -> Any:
            return th.nn.functional.cross_entropy(model(x), labels)

        loss_of = th.compile(forward) if compiled else forward

        def call() -> list[np.ndarray]:
            optimizer.zero_grad()
            loss = loss_of(x, labels)
            loss.backward()
            optimizer.step()
            return [np.float32(loss.item())]

        return call

    return load


def _torch_optimizer(th: Any, net: Net, model: Any) -> Any:
    rate = RATES[net.optimizer]
    if net.optimizer == "adam":
        return th.optim.Adam(model.parameters(), rate, fused=True)
    return th.optim.SGD(model.parameters(), rate, momentum=MOMENTUM if net.optimizer == "momentum" else 0, fused=True)


def jax(name: str, weights: Weights, threads: int) -> Callable[[], Call]:
    """JAX, jitted whole; its threads are as many as the process has processors."""
    from training_jax import step_of

    return lambda: step_of(name, NETS[name], weights)


LIBRARIES: dict[str, Callable[[str, Weights, int], Callable[[], Call]]] = {
    "chainrule": chainrule, "chainrule_bf16": chainrule_bf16, "torch": torch, "inductor": inductor, "jax": jax,
}  # fmt: skip


def main() -> None:
    library, name, file, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    with np.load(file) as kept:
        weights = {key: kept[key] for key in kept.files}
    load = LIBRARIES[library](name, weights, threads)
    before = _peak_bytes()
    serve(load, lambda: {"peak_bytes": _peak_bytes() - before})


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()

"""Programs compute in an order that frees memory early, and updates still come last of what reads the old state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.frontend.trace import trace
from chainrule.passes.schedule import scheduled


def deep(layers: int, width: int, optimizer: Any) -> cr.Step:
    model = nn.Sequential(*(part for _ in range(layers) for part in (nn.Linear(width, width), nn.Tanh())))
    return cr.training_step(model, cr.mse_loss, optimizer, (cr.spec(256, width), cr.spec(256, width)))


@pytest.mark.parametrize("optimizer", [optim.SGD(0.1, momentum=0.9), optim.Adam()], ids=["SGD", "Adam"])
def test_the_gradient_of_a_layer_is_gone_before_that_of_the_layer_in_front(optimizer: Any):
    width, layers = 32, 12
    step = deep(layers, width, optimizer)
    activation = 256 * width * 4
    assert step.memory()["arena_bytes"] < (layers + 4) * activation
    assert not step.program.main.program.copies, "an update is not in place"


def test_what_is_short_to_compute_waits_until_it_is_needed():
    def model(x: Any, w: Any) -> Any:
        y = x
        for _ in range(5):
            y = cr.tanh(y)
        return cr.sin(w) * y

    graph = trace(model, (cr.spec(4), cr.spec(4))).graph
    names = [v.op.name for v in scheduled(graph)]
    assert names[-2:] == ["sin", "mul"]
    assert sorted(map(id, scheduled(graph))) == sorted(map(id, graph.nodes))


def test_every_node_comes_behind_its_inputs_and_updates_behind_readers_of_the_old_state():
    graph = deep(4, 8, optim.Adam()).graph
    place = {v: i for i, v in enumerate(scheduled(graph))}
    assert place.keys() == set(graph.nodes)
    assert all(place[v] < place[node] for node in graph.nodes for v in node.inputs)
    base = graph.order
    for state, new in graph.updates:
        assert all(place[u] <= place[new] for u in graph.users[state] if base[u] <= base[new])


def test_a_swap_of_state_keeps_its_meaning():
    class Swap(nn.Module):
        def __init__(self) -> None:
            self.a, self.b = nn.Buffer(np.zeros(3, np.float32)), nn.Buffer(np.ones(3, np.float32))

        def __call__(self, x: Any) -> Any:
            a, b = self.a + 0, self.b + 0
            self.a.assign(b)
            self.b.assign(a * 2 + b)
            return x.sum()

    model = Swap()
    net = cr.compile(model, cr.spec(2))
    for _ in range(3):
        net(np.zeros(2, np.float32))
    assert model.a.data.tolist() == [3.0] * 3 and model.b.data.tolist() == [5.0] * 3

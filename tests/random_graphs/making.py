"""Random typed graphs: a number makes a graph, and a graph, by its inputs' names alone, makes its arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.frontend import scope as scopes
from chainrule.frontend.scope import Scope
from chainrule.frontend.tensor import Tensor
from chainrule.ir.dims import Dim, dim_product, dim_value, symbol
from chainrule.ir.graph import Graph, Value, input_name, new_input
from chainrule.ir.types import TensorType, bool_, f32, i64, u32
from tests.random_graphs.recipes import RECIPES

Array = np.ndarray[Any, Any]

SIZES = (1, 2, 3, 4, 5, 7, 8, 12, 16, 17)
MOST_ELEMENTS = 3000  # of one tensor
ENV: Mapping[str, int] = {"N": 3}
NAMES = tuple(RECIPES)
WEIGHTS = np.array([weight for weight, _ in RECIPES.values()])


class GraphMaker:
    """Makes one graph; see recipes.Maker."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.scope = Scope(f"random{seed}")
        self.inputs: list[Value] = []
        self.made: list[Tensor] = []
        self.used: list[str] = []

    def fresh(self, shape: Sequence[Dim], kind: str = "x", role: Any = "input") -> Tensor:
        dtype = {"b": bool_, "i": i64, "k": u32}.get(kind[0], f32)
        value = new_input(f"{kind}_{len(self.inputs)}", TensorType(dtype, tuple(shape)), role)
        self.inputs.append(value)
        return Tensor(value, self.scope)

    def partner(self, x: Tensor) -> Tensor:
        alike = [y for y in self.made if y.shape == x.shape]
        if alike and self.rng.random() < 0.6:
            return alike[int(self.rng.integers(len(alike)))]
        shape = [1 if self.rng.random() < 0.3 else d for d in x.shape]
        while shape and self.rng.random() < 0.25:
            shape.pop(0)
        return self.fresh(shape)

    def count(self, shape: Sequence[Dim]) -> int:
        return int(dim_value(dim_product(shape), ENV))

    def start(self) -> Tensor:
        rank = int(self.rng.choice([1, 2, 3, 4, 5], p=[0.1, 0.25, 0.2, 0.4, 0.05]))
        while True:
            sizes: list[Dim] = [int(self.rng.choice(SIZES)) for _ in range(rank)]
            if self.rng.random() < 0.5:
                sizes[0] = symbol("N")
            if self.count(sizes) <= MOST_ELEMENTS // 2:
                return self.fresh(sizes)

    def step(self) -> None:
        """Adds what one recipe makes of a tensor, mostly of one of the last."""
        while True:
            name = str(self.rng.choice(NAMES, p=WEIGHTS / WEIGHTS.sum()))
            back = min(int(self.rng.geometric(0.6)), len(self.made))
            before = len(self.inputs)
            found = RECIPES[name][1](self, self.made[-back])
            results = found if isinstance(found, tuple) else (found,)
            if found is not None and all(0 < self.count(y.shape) <= MOST_ELEMENTS for y in results):
                self.made += [y for y in results if y is not None]
                self.used.append(name)
                return
            del self.inputs[before:]


def random_graph(seed: int, steps: int | None = None) -> Graph:
    """The graph of a seed: some tensors, then results of recipes; the last one and some others are its outputs.

    steps: so many recipes only, the same ones in the same order.
    """
    maker = GraphMaker(seed)
    wanted = int(maker.rng.integers(3, 12))
    with scopes.entered(maker.scope):
        maker.made = [maker.start() for _ in range(int(maker.rng.integers(1, 3)))]
        for _ in range(wanted if steps is None else min(steps, wanted)):
            maker.step()
        chosen = np.random.default_rng([seed, 1])
        outputs = [y.value for y in maker.made if y is maker.made[-1] or chosen.random() < 0.2]
    return Graph(f"random{seed}", tuple(maker.inputs), tuple(dict.fromkeys(outputs)))


def steps_of(seed: int) -> int:
    """The number of recipes of a seed's graph."""
    return int(np.random.default_rng(seed).integers(3, 12))


def arrays_for(graph: Graph, seed: int = 0) -> list[Array]:
    """Arrays for the inputs of a graph whose names tell their kind, for symbolic sizes from ENV."""
    rng = np.random.default_rng([seed, 2])
    return [_array(input_name(v), v.tensor, rng) for v in graph.inputs]


def _array(name: str, type: TensorType, rng: np.random.Generator) -> Array:
    shape = [dim_value(d, ENV) for d in type.shape]
    kind = name.split("_")[0]
    below = re.fullmatch(r"i(\d+)", kind)
    if below is not None:
        return np.asarray(rng.integers(0, int(below[1]), shape))
    if kind == "k":
        return np.asarray(rng.integers(0, 1 << 32, shape), np.uint32)
    if kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if kind == "p":
        return np.asarray(rng.uniform(0.5, 1.5, shape), np.float32)
    return np.asarray(rng.standard_normal(shape), np.float32)

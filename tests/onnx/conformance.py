"""onnx's own conformance cases: which of them are about numeric tensors, and what becomes of each here.

As a program it prints, op by op, how many cases load and how many pass:
python -m tests.onnx.conformance [reference|llvm] [-k PART OF A NAME] [-v]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, numpy_helper
from onnx.backend.base import Backend
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from chainrule.backends.onnx.dtypes import dtype_of
from chainrule.backends.onnx.interface import LlvmBackend, ReferenceBackend
from chainrule.errors import ChainruleError, NotSupported

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
BACKENDS: dict[str, type[ReferenceBackend]] = {"reference": ReferenceBackend, "llvm": LlvmBackend}
IMAGES = frozenset({"ImageDecoder"})
# What these give follows from numpy's stream of random numbers.
RANDOM = frozenset({"Bernoulli", "RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike",
                    "Multinomial"})  # fmt: skip

Arrays = Sequence[np.ndarray | list[np.ndarray] | None]


@dataclass(frozen=True, eq=False)
class Case:
    """One case: a model, and what it gives for which inputs."""

    name: str
    model: onnx.ModelProto
    data: tuple[tuple[Arrays, Arrays], ...]
    rtol: float
    atol: float

    @property
    def op(self) -> str:
        """The op that the case is about: that of its only node, else the first in its name."""
        types = {n.op_type for n in self.model.graph.node}
        if len(types) == 1:
            return types.pop()
        known = {n.op_type.lower(): n.op_type for n in self.model.graph.node}
        return next((known[part] for part in self.name.split("_") if part in known), self.name.split("_")[1])


def cases() -> tuple[Case, ...]:
    """All cases on numeric tensors: no other domain, strings, images, types that numpy lacks, no sequences or
    optionals as inputs or outputs, nor what follows from numpy's random stream."""
    return tuple(case for case in _all() if not _is_nested(case.model))


def nested_cases() -> tuple[Case, ...]:
    """The cases besides that take or give sequences or optionals of numeric tensors."""
    return tuple(case for case in _all() if _is_nested(case.model))


@cache
def _all() -> tuple[Case, ...]:
    with np.errstate(all="ignore"):  # onnx makes the data of its cases anew, with overflows that are meant
        found = [case for kind in KINDS for case in load_model_tests(kind=kind)]
    made = (_case(case) for case in found)
    return tuple(sorted((c for c in made if c is not None), key=lambda c: c.name))


def _is_nested(model: onnx.ModelProto) -> bool:
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    return any(v.type.WhichOneof("value") not in ("tensor_type", None) for v in values)


def _case(case: object) -> Case | None:
    name, folder, model = (getattr(case, part) for part in ("name", "model_dir", "model"))
    model = onnx.load(Path(folder) / "model.onnx") if model is None else model
    if not _is_numeric(model):
        return None
    sets = getattr(case, "data_sets") or list(_stored(Path(folder)))  # noqa: B009
    data = tuple((_arrays(given), _arrays(wanted)) for given, wanted in sets)
    return Case(name, model, data, getattr(case, "rtol"), getattr(case, "atol"))  # noqa: B009


def _arrays(items: Sequence[object]) -> Arrays:
    return [numpy_helper.to_array(x) if isinstance(x, TensorProto) else x if x is None or isinstance(x, list)
            else np.asarray(x) for x in items]  # fmt: skip


def _stored(folder: Path) -> Iterator[tuple[list[TensorProto], list[TensorProto]]]:
    for place in sorted(folder.glob("test_data_set*")):
        counts = (len(list(place.glob(f"{side}_*.pb"))) for side in ("input", "output"))
        yield tuple([onnx.load_tensor(place / f"{side}_{i}.pb") for i in range(count)]
                    for side, count in zip(("input", "output"), counts, strict=True))  # type: ignore[misc]  # fmt: skip


def _is_numeric(model: onnx.ModelProto) -> bool:
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    nodes = list(_nodes(model.graph)) + [n for f in model.functions for n in f.node]
    if any(n.domain not in ("", "ai.onnx") and not model.functions for n in nodes):
        return False
    types = {v.type.tensor_type.elem_type for v in values if v.type.HasField("tensor_type")}
    types |= {a.i for n in nodes if n.op_type == "Cast" for a in n.attribute if a.name == "to"}
    return all(_is_built(code) for code in types) and not any(_is_elsewhere(n, model) for n in nodes)


def _is_built(code: int) -> bool:
    try:
        return code == 0 or dtype_of(code) is not None
    except NotSupported:
        return False


def _is_elsewhere(node: NodeProto, model: onnx.ModelProto) -> bool:
    drops = node.op_type == "Dropout" and len(node.input) > 2 and "zero_ratio" not in model.graph.name
    return node.op_type in IMAGES | RANDOM or drops


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    pending = [graph]
    while pending:
        for node in pending.pop().node:
            yield node
            for item in node.attribute:
                if item.type == AttributeProto.GRAPH:
                    pending.append(item.g)


def outcome(case: Case, backend: type[Backend]) -> str:
    """"" where the case gives what onnx states, else what happened, its first word "load", "run" or "differs".

    What is no error of chainrule's classes is raised: it is a fault of ours.
    """
    try:
        prepared = backend.prepare(case.model)
    except ChainruleError as error:
        return f"load: {error.cause}"
    assert prepared is not None
    for given, wanted in case.data:
        try:
            found = prepared.run(given)
            assert [_length(x) for x in found] == [_length(x) for x in wanted], "sequences of other lengths"
            Runner.assert_similar_outputs(_flat(wanted), _flat(found), case.rtol, case.atol)
        except ChainruleError as error:
            return f"run: {error.cause}"
        except AssertionError as difference:
            return "differs: " + " ".join(str(difference).split())[:200]
    return ""


def _length(x: object) -> int | None:
    """How many elements a sequence has; None for a tensor, -1 for nothing."""
    return -1 if x is None else len(x) if isinstance(x, list) else None


def _flat(items: Sequence[object]) -> list[np.ndarray]:
    """The tensors of all outputs: onnx's runner takes elements of sequences by their rows, and none of no axes."""
    lists = ([] if x is None else x if isinstance(x, list) else [x] for x in items)
    return [np.asarray(part) for parts in lists for part in parts]


def report(backend: str, part: str = "", detailed: bool = False) -> str:
    """How many cases of each op load and pass, one line each where not all pass, and the sum."""
    rows: dict[str, Counter[str]] = {}
    lines: list[str] = []
    for case in cases():
        if part not in case.name:
            continue
        try:
            found = outcome(case, BACKENDS[backend])
        except Exception as fault:  # noqa: BLE001
            found = f"crash: {type(fault).__name__}: {fault}"
        rows.setdefault(case.op, Counter())[found.split(":")[0]] += 1
        if found and detailed:
            lines.append(f"{case.name}: {found}")
    for op, row in sorted(rows.items(), key=lambda item: item[1][""] - item[1].total()):
        if row[""] != row.total():
            lines.append(f"{op:32} {row.total():5} cases {row.total() - row['load']:5} load {row['']:5} pass")
    total = sum(rows.values(), Counter[str]())
    lines.append(f"{backend}: {total.total()} cases, {total['']} pass, " +
                 ", ".join(f"{n} {what}" for what, n in sorted(total.items()) if what))  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    asked = argparse.ArgumentParser()
    asked.add_argument("backend", nargs="?", default="reference", choices=BACKENDS)
    asked.add_argument("-k", default="")
    asked.add_argument("-v", action="store_true")
    chosen = asked.parse_args()
    print(report(chosen.backend, chosen.k, chosen.v))

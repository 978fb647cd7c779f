"""One node of com.microsoft as a model, and whether we and onnxruntime give the same for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, ValueInfoProto, helper, numpy_helper

import chainrule as cr
from chainrule.ops.tolerance import OTHER_FRAMEWORK, models_agree, steps_agree

Array = np.ndarray
Attribute = int | float | str | list[int] | list[float]


@dataclass(frozen=True, eq=False)
class Node:
    """op: its type. inputs: None for one that is left out. stored: which inputs are initializers. outputs: which are
    asked for. domain: of the op."""

    op: str
    inputs: tuple[Array | np.generic | None, ...]
    attributes: dict[str, Attribute] = field(default_factory=dict[str, Attribute])
    outputs: tuple[bool, ...] = (True,)
    stored: tuple[int, ...] = ()
    domain: str = "com.microsoft"
    label: str = ""

    @property
    def id(self) -> str:
        shapes = "-".join("none" if x is None else f"{x.dtype.name}{list(x.shape)}" for x in self.inputs[:2])
        return f"{self.op}-{self.label or shapes.replace(' ', '')}-{'-'.join(self.attributes)}"

    def having(self, **attributes: Attribute) -> Node:
        """The same with other attributes."""
        return replace(self, attributes={**self.attributes, **attributes})


def model_of(node: Node) -> tuple[ModelProto, dict[str, Array]]:
    """A model of the node, and what to feed it."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(node.inputs)]
    given = {n: np.asarray(x) for n, x in zip(names, node.inputs, strict=True) if x is not None}
    outputs = [f"y{i}" if w else "" for i, w in enumerate(node.outputs)]
    made = helper.make_node(node.op, names, outputs, domain=node.domain, **node.attributes)
    stored = {f"x{i}" for i in node.stored}
    declared = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
                for n, x in given.items() if n not in stored]  # fmt: skip
    kept = [numpy_helper.from_array(x, n) for n, x in given.items() if n in stored]
    graph = helper.make_graph([made], "net", declared, [ValueInfoProto(name=n) for n in outputs if n], kept)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9), {n: x for n, x in given.items()
                                                                          if n not in stored}  # fmt: skip


def theirs(model: ModelProto, fed: dict[str, Array]) -> list[Array]:
    """What onnxruntime gives."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(y) for y in session.run(None, fed)]


def ours(model: ModelProto, fed: dict[str, Array], backend: str) -> list[Array]:
    """What a backend gives."""
    return cr.compile(cr.load_onnx(model), backend=backend).run(list(fed.values()))


def complaint(got: Array, want: Array) -> str:
    """Why a result is not onnxruntime's; "" where it is, within the class of its type."""
    if (got.dtype, got.shape) != (want.dtype, want.shape):
        return f"{got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}"
    verdict = steps_agree(got, want) if got.dtype.kind in "iu" else models_agree(
        got, want.astype(np.float64), OTHER_FRAMEWORK)  # fmt: skip
    return verdict.reason


def complaints(node: Node, backend: str) -> list[str]:
    """One line for each output that is not what onnxruntime gives."""
    model, fed = model_of(node)
    wanted, found = theirs(model, fed), ours(model, fed, backend)
    if len(wanted) != len(found):
        return [f"{len(found)} outputs instead of {len(wanted)}"]
    lines = [complaint(got, want) for got, want in zip(found, wanted, strict=True)]
    return [line for line in lines if line]

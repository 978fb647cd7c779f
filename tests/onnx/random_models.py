"""Random ONNX models: nodes of onnx's own cases with their attributes, each fed with what nodes before it gave.

As a program it tries many and keeps what fails, cut down to the nodes that matter, as a file that the suite then runs:
python -m tests.onnx.random_models [--count 2000] [--first 0]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

import chainrule as cr
from chainrule.backends.onnx.executable import run_session, session_of
from chainrule.backends.onnx.importing import import_model
from chainrule.errors import ChainruleError
from chainrule.ir.graph import Graph, Input
from chainrule.ops.tolerance import OTHER_FRAMEWORK, models_agree
from tests.onnx.conformance import Case, cases
from tests.onnx.witness import onnxruntime_bound
from tests.random_graphs.judging import Bound, Expected, complaint, expected

FOUND = Path(__file__).with_name("found")  # models that were wrong once
OPSETS = (13, 19, 22, 23, 25, 28)  # one of them for each model: a case is of the last one that changed its op
NODES = (2, 6)  # cases that a model is made of
LARGEST = 4096  # elements of a case's arrays
CHAINED = 0.75  # how often an input comes from a node before
TYPES = (np.float32, np.float64, np.bool_, np.int32, np.int64, np.uint8, np.int8)  # of what is chained
# Left out. An extremum's place, an order, or bits follow from rounding; what is drawn at random differs by its nature.
DECIDED = frozenset({"ArgMax", "ArgMin", "TopK", "Hardmax", "NonZero", "Unique", "Compress", "NonMaxSuppression", "Det",
                     "Dropout", "RandomNormal", "QuantizeLinear", "DynamicQuantizeLinear", "BitCast"})  # fmt: skip
# onnxruntime takes a variance as a difference of squares: of equal numbers it may be below 0, and its root NaN.
LOOSE = frozenset({"MeanVarianceNormalization"})
# Ops whose float inputs decide the size of the result: they keep the case's own numbers, but for the data itself.
SIZED = {"OneHot": 1, "Resize": 1, "Upsample": 1, "MelWeightMatrix": 0, "Range": 0}


@dataclass
class Making:
    """A model that grows. pool: names of results so far, like arrays of theirs; arrays: of the inputs, by name."""

    rng: np.random.Generator
    opset: int
    nodes: list[NodeProto] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    pool: list[tuple[str, np.ndarray]] = field(default_factory=list)
    results: dict[str, int] = field(default_factory=dict)

    def constant(self, array: np.ndarray) -> str:
        """The name of a weight."""
        name = f"w{len(self.weights)}"
        self.weights[name] = array
        return name

    def node(self, kind: str, inputs: Sequence[str], **attributes: object) -> str:
        """One node with one result."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def given(self, array: np.ndarray) -> str:
        """An input of a case: a result from before in its shape and range, or its own numbers as input or weight."""
        alike = [(name, like.shape) for name, like in self.pool if like.dtype == array.dtype]
        if alike and _is_data(array) and self.rng.random() < CHAINED:
            return self.fitted(*alike[int(self.rng.integers(len(alike)))], array)
        if not _is_data(array) or self.rng.random() < 0.5:
            return self.constant(array)
        name = f"x{len(self.arrays)}"
        self.arrays[name] = array
        return name

    def fitted(self, name: str, shape: tuple[int, ...], like: np.ndarray) -> str:
        """A result cut or repeated to the shape of an array, and bounded to its range: a logarithm gets no zero."""
        if shape != like.shape:
            size, wanted = int(np.prod(shape)), like.size
            flat = self.node("Reshape", [name, self.constant(np.int64([-1]))])
            if size < wanted:
                flat = self.node("Tile", [flat, self.constant(np.int64([-(-wanted // size)]))])
            if size % wanted or size < wanted:
                flat = self.node("Slice", [flat, self.constant(np.int64([0])), self.constant(np.int64([wanted]))])
            elif size > wanted:
                ends = (self.constant(np.int64([n])) for n in (size - wanted, size))
                flat = self.node("Slice", [flat, *ends])
            name = self.node("Reshape", [flat, self.constant(np.int64(like.shape))])
        if like.dtype == np.bool_:
            return name
        return self.node("Clip", [name, self.constant(like.min()), self.constant(like.max())])

    def add(self, case: Case) -> None:
        """The node of a case."""
        (node,) = case.model.graph.node
        given, wanted = case.data[0]
        values = dict(zip((i.name for i in case.model.graph.input), given, strict=True))
        fixed = {t.name: numpy_helper.to_array(t) for t in case.model.graph.initializer}
        free = SIZED.get(node.op_type, len(node.input))
        values |= fixed
        inputs = ["" if not n else self.constant(values[n]) if n in fixed or i >= free else self.given(values[n])
                  for i, n in enumerate(node.input)]  # fmt: skip
        made = NodeProto()
        made.CopyFrom(node)
        made.ClearField("input")
        made.input.extend(inputs)
        number = len(self.nodes)
        names = [f"r{number}_{i}" if n else "" for i, n in enumerate(node.output)]
        made.ClearField("output")
        made.output.extend(names)
        self.nodes.append(made)
        for name, array in zip([n for n in names if n], wanted, strict=False):
            self.results[name] = array.ndim
            if array.dtype in TYPES and array.size:
                self.pool.append((name, array))

    def model(self) -> onnx.ModelProto:
        """All that was made; every case's results are outputs."""
        inputs = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                  for n, a in self.arrays.items()]  # fmt: skip
        outputs = [onnx.ValueInfoProto(name=name) for name in self.results]
        stored = [numpy_helper.from_array(np.asarray(a), n) for n, a in self.weights.items()]
        graph = helper.make_graph(self.nodes, "random", inputs, outputs, stored)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        return self._with_types(made)

    def _with_types(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The model with the types of its outputs, as onnx infers them; where it infers no shape, of so many axes."""
        inferred = {v.name: v for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
        inferred |= {v.name: v for v in onnx.shape_inference.infer_shapes(model).graph.output}
        for output in model.graph.output:
            name, found = output.name, inferred[output.name]
            kind = found.type.tensor_type
            known = kind.HasField("shape")
            unknown = helper.make_tensor_value_info(name, kind.elem_type, [None] * self.results[name])
            output.CopyFrom(found if known else unknown)
        return model


def _is_data(array: np.ndarray) -> bool:
    """Floats and bools are; integers with two axes and more are: what has fewer may be sizes, an axis, or places."""
    told = array.dtype.kind in "fb" or array.ndim > 1
    return array.dtype in TYPES and array.size > 0 and told and bool(np.isfinite(array).all())


@cache
def templates(opset: int) -> tuple[Case, ...]:
    """The cases that models are made of: one node without a body, in the form that the opset has, on small arrays."""
    return tuple(case for case in cases() if _is_template(case, opset))


def _is_template(case: Case, opset: int) -> bool:
    nodes = case.model.graph.node
    if len(nodes) != 1 or nodes[0].op_type in DECIDED or nodes[0].domain not in ("", "ai.onnx"):
        return False
    kind = nodes[0].op_type
    stated = {o.domain: o.version for o in case.model.opset_import}.get("", 1)
    versions = [onnx.defs.get_schema(kind, max_inclusive_version=v).since_version for v in (stated, opset)
                if onnx.defs.has(kind, max_inclusive_version=v)]  # fmt: skip
    arrays = [*case.data[0][0], *case.data[0][1]]
    return (len(versions) == 2 and versions[0] == versions[1]
            and not any(a.HasField("g") or a.graphs for a in nodes[0].attribute)
            and all(a.size <= LARGEST for a in arrays) and any(a.dtype in TYPES for a in arrays))  # fmt: skip


@cache
def onnxruntime_passes(case: Case) -> bool:
    """Whether onnxruntime gives what onnx states for a case: of an op that it gets wrong it is not asked in a model."""
    names = [i.name for i in case.model.graph.input]
    found = _of_onnxruntime(case.model.SerializeToString(), dict(zip(names, case.data[0][0], strict=True)))
    if found is None or case.op in LOOSE:
        return False
    return all(y.shape == w.shape and np.allclose(y, w, case.rtol, max(case.atol, 1e-7), equal_nan=True)
               for y, w in zip(found, case.data[0][1], strict=True))  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A model, its inputs, and whether onnxruntime is a witness for it."""

    model: onnx.ModelProto
    arrays: dict[str, np.ndarray]
    witness: bool


def made(seed: int) -> Made:
    """The model of a seed."""
    rng = np.random.default_rng(seed)
    making = Making(rng, int(rng.choice(OPSETS)))
    offered = templates(making.opset)
    chosen = [offered[int(i)] for i in rng.integers(len(offered), size=rng.integers(*NODES, endpoint=True))]
    for case in chosen:
        making.add(case)
    return Made(making.model(), making.arrays, all(onnxruntime_passes(case) for case in chosen))


def fault(made: Made) -> tuple[str, str] | None:
    """(the first output that is wrong, what is wrong with it), or None: native code and onnxruntime against float64."""
    model, arrays = made.model, made.arrays
    source = model.SerializeToString()
    names = [o.name for o in model.graph.output]
    try:
        found = import_model(source)
        net = cr.compile(cr.load_onnx(source))
        ours = net.run(arrays)
    except ChainruleError as error:
        return names[-1], f"refused: {error.cause}"
    held = {w.name: w.array for w in found.weights}
    given = [arrays[n] if n in arrays else held[n] for n in (_name(v) for v in found.graph.inputs)]
    theirs = _of_onnxruntime(source, arrays) if made.witness else None
    for i, name in enumerate(names):
        one = found.graph.replace(outputs=(found.graph.outputs[i],), output_names=(name,))
        want = _expected(one, given)
        said = complaint([ours[i]], want)
        if said:
            return name, f"native code: {said}"
        if theirs is not None and _settled(want):
            said = complaint([theirs[i]], _expected(one, given, onnxruntime_bound))
            if said and not models_agree(theirs[i], want.exact[0], OTHER_FRAMEWORK).ok:
                return name, f"onnxruntime: {said}"
    return None


def _expected(graph: Graph, arrays: Sequence[np.ndarray], bound: Bound | None = None) -> Expected:
    with np.errstate(all="ignore"):
        return expected(graph, arrays, bound=bound)


def _settled(want: Expected) -> bool:
    """Infinities and NaN are made in more ways than one: there onnxruntime is not asked."""
    finite = all(np.isfinite(x).all() for x in want.exact if x.dtype.kind == "f")
    return finite and not any(x.any() for x in want.strays)


def _name(value: object) -> str:
    op = getattr(value, "op", None)
    assert isinstance(op, Input)
    return op.name_


def _of_onnxruntime(source: bytes, arrays: dict[str, np.ndarray]) -> list[np.ndarray] | None:
    """Its results; None where it has no kernel, or none for an element type."""
    try:
        return run_session(session_of(source), arrays)
    except ChainruleError:
        return None


def shrunk(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """The nodes, inputs and weights that one output needs."""
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output if name}
    needed, pending = set[str](), [output]
    while pending:
        name = pending.pop()
        if name in needed:
            continue
        needed.add(name)
        pending += [n for n in makers[name].input if n] if name in makers else []
    kept = helper.make_graph(
        [n for n in graph.node if needed & set(n.output)],
        "random",
        [i for i in graph.input if i.name in needed],
        [o for o in graph.output if o.name == output],
        [t for t in graph.initializer if t.name in needed],
    )
    return helper.make_model(kept, opset_imports=list(model.opset_import), ir_version=10)


def keep(model: onnx.ModelProto, arrays: dict[str, np.ndarray], name: str) -> Path:
    """Writes a model with its inputs as weights, so that the file is the whole test."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    for i, value in reversed(list(enumerate(model.graph.input))):
        whole.graph.initializer.append(numpy_helper.from_array(arrays[value.name], value.name))
        del whole.graph.input[i]
    FOUND.mkdir(exist_ok=True)
    path = FOUND / f"{name}.onnx"
    onnx.save(whole, path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    failed = 0
    for seed in range(asked.first, asked.first + asked.count):
        drawn = made(seed)
        wrong = fault(drawn)
        if wrong is not None:
            failed += 1
            print(f"seed {seed}: {wrong[0]}: {wrong[1]}")
            print(f"  kept as {keep(shrunk(drawn.model, wrong[0]), drawn.arrays, f'seed_{seed}')}")
    print(f"{asked.count} models, {failed} wrong")


if __name__ == "__main__":
    main()

"""onnx's own interface of a backend (onnx.backend.base): prepare a model, run it, or run one node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, defs, helper
from onnx.backend.base import Backend, BackendRep, namedtupledict

from chainrule.backends.onnx.importing import Known, Nesting, import_model
from chainrule.backends.onnx.node import Undecided
from chainrule.backends.reference import ReferenceExecutable
from chainrule.errors import ArgumentError, ChainruleError
from chainrule.ir.body import tells_sizes
from chainrule.ir.graph import Graph
from chainrule.ir.op import Array
from chainrule.ir.types import type_of


class Runs(Protocol):
    """What a prepared model runs on: a graph as a program."""

    def run(self, arrays: Sequence[Array]) -> list[Array]: ...


Make = Callable[[Graph, Sequence[Array]], Runs]
MOST_PROGRAMS = 64  # kept for one model, by what its deciding inputs held


class Prepared(BackendRep):
    """A model ready to run. inputs: arrays in the order of the model's inputs, or by name; lists, and None for nothing.

    Where sizes or axes follow from what an input holds, there is one program for each content seen; of sequences and
    optionals, for each number and each shape of elements.
    """

    def __init__(self, model: ModelProto, make: Make) -> None:
        self._model = model
        self._make = make
        stored = {t.name for t in model.graph.initializer}
        self.input_names = tuple(i.name for i in model.graph.input if i.name not in stored)
        self.output_names = tuple(o.name for o in model.graph.output)
        kinds = {i.name: i.type.WhichOneof("value") for i in model.graph.input}
        self._nested = tuple(n for n in self.input_names if kinds[n] in ("sequence_type", "optional_type"))
        self._deciding: tuple[str, ...] = ()
        self._programs: dict[tuple[bytes, ...], _Program] = {}
        if self._nested:
            return
        try:
            self._programs[()] = self._program({})
        except Undecided as problem:
            self._deciding = self._decided_by(problem)
        except ChainruleError:  # its sizes may fit together once it is known what is computed from numbers
            self._deciding = tuple(i.name for i in model.graph.input if i.name in self.input_names and _is_whole(i))
            if not self._deciding:
                raise

    def _program(self, known: Mapping[str, Known]) -> _Program:
        imported = import_model(self._model, known)
        return _Program(self._make(imported.graph, [w.array for w in imported.weights]), imported.outputs)

    def _decided_by(self, problem: Undecided) -> tuple[str, ...]:
        """The inputs to know, now that a program could not be made. Raises the problem where none is left to know."""
        wanted = tuple(name for name in self.input_names if name in {*self._deciding, *problem.inputs})
        if wanted == self._deciding:
            raise problem
        return wanted

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs, by position or by name. Raises ArgumentError for a wrong number of inputs."""
        given = [inputs[name] for name in self.input_names] if isinstance(inputs, Mapping) else list(inputs)
        if len(given) != len(self.input_names):
            raise ArgumentError(f"{self._model.graph.name} takes {len(self.input_names)} inputs, {len(given)} were "
                                "given", help="they are " + ", ".join(self.input_names))  # fmt: skip
        arrays = [[_contiguous(part) for part in _leaves(x)] for x in given]
        whole: dict[str, Array | list[Array] | None] = {
            name: None if x is None else leaves if isinstance(x, list) else leaves[0]
            for name, x, leaves in zip(self.input_names, given, arrays, strict=True)
        }
        found = self._program_for(whole).run([leaf for leaves in arrays for leaf in leaves])
        named: Any = namedtupledict("Outputs", list(self.output_names))
        return named(*found)

    def _program_for(self, arrays: Mapping[str, Array | list[Array] | None]) -> _Program:
        while True:
            known: dict[str, Known] = {name: _type_of(arrays[name]) for name in self._nested}
            decided = {name: x for name in self._deciding if isinstance(x := arrays[name], np.ndarray)}
            key = (repr(known).encode(), *(part for x in decided.values() for part in (repr(x.shape).encode(),
                                                                                       x.tobytes())))  # fmt: skip
            known |= decided
            key = key if known else ()
            found = self._programs.get(key)
            if found is not None:
                return found
            try:
                made = self._program(known)
            except Undecided as problem:
                self._deciding = self._decided_by(problem)
                continue
            self._programs[key] = made
            while len(self._programs) > MOST_PROGRAMS:
                self._programs.pop(next(iter(self._programs)))
            return made


@dataclass(frozen=True)
class _Program:
    """A program with how its outputs hold those of the model."""

    runs: Runs
    outputs: tuple[Nesting, ...]

    def run(self, arrays: Sequence[Array]) -> list[Array | list[Array] | None]:
        """The model's outputs."""
        found = iter(self.runs.run(arrays))
        return [form.built(found) for form in self.outputs]


def _is_whole(info: ValueInfoProto) -> bool:
    """True for an input of whole numbers."""
    code = info.type.tensor_type.elem_type
    return code in (TensorProto.INT32, TensorProto.INT64)


def _leaves(given: Any) -> list[Any]:
    """The arrays of an input."""
    return [] if given is None else list(given) if isinstance(given, list) else [given]


def _contiguous(x: Any) -> Array:
    return np.ascontiguousarray(x).reshape(np.shape(x))


def _type_of(given: Array | list[Array] | None) -> Known:
    """What is stated of a sequence or an optional."""
    if isinstance(given, list):
        return [type_of(x) for x in given]
    return None if given is None else type_of(given)


class ReferenceBackend(Backend):
    """Runs models in numpy, node by node."""

    @classmethod
    def program(cls, graph: Graph, weights: Sequence[Array]) -> Runs:
        """The graph as what runs."""
        return ReferenceExecutable(graph, weights)

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> Prepared:
        """The model as a program. Raises ModelError for a broken one, NotSupported for what is not built."""
        return Prepared(model, cls.program)

    @classmethod
    def run_node(cls, node: NodeProto, inputs: Any, device: str = "CPU",
                 outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
                 **kwargs: Any) -> tuple[Any, ...]:  # fmt: skip
        """The outputs of one node on arrays, in the newest operator set or in opset_version."""
        opset = kwargs.get("opset_version", defs.onnx_opset_version())
        given = dict(zip([name for name in node.input if name], inputs, strict=True))
        graph = helper.make_graph(
            [node], node.op_type or "node",
            [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.asarray(x).dtype), np.shape(x))
             for name, x in given.items()],
            [helper.make_empty_tensor_value_info(name) for name in node.output if name],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        checker.check_node(node)
        return cls.prepare(model, device).run(given)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """The CPU, and nothing else."""
        return device.split(":")[0] == "CPU"


class LlvmBackend(ReferenceBackend):
    """Runs models as native code."""

    @classmethod
    def program(cls, graph: Graph, weights: Sequence[Array]) -> Runs:
        """The graph as what runs, on one thread: models of this interface are small."""
        from chainrule.backends.llvm.executable import LlvmExecutable
        from chainrule.backends.llvm.staged import StagedExecutable

        return (StagedExecutable if tells_sizes(graph) else LlvmExecutable)(graph, weights, threads=1)

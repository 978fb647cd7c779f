"""A graph run by onnxruntime, behind the same face as compiled code."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from chainrule.backends.onnx.dtypes import ONNX_OF
from chainrule.backends.onnx.export import DEFAULT_OPSET, export_graph
from chainrule.backends.reference import bind_sizes
from chainrule.errors import ArgumentError, NotSupported
from chainrule.ir.graph import Graph
from chainrule.ir.op import Array
from chainrule.ir.types import as_dtype, bf16

LARGEST_MODEL = (1 << 31) - (1 << 24)  # bytes of weights in one protobuf message, with room for the rest
Session = Any  # onnxruntime.InferenceSession, which has no types


class OnnxExecutable:
    """A graph exported to ONNX and run by onnxruntime. weights: one array per param and state input, updated in place.

    threads: that share the work of one operator; None for all cores. providers: onnxruntime's execution providers in
    order of preference; None takes CUDA where there is one, then the CPU.
    """

    def __init__(self, graph: Graph, weights: Sequence[Array], threads: int | None = None, *,
                 providers: Sequence[str] | None = None, opset: int = DEFAULT_OPSET) -> None:  # fmt: skip
        self.graph = graph
        self.weights = list(weights)
        self.threads = threads
        self.providers = list(providers) if providers is not None else default_providers()
        self.opset = opset
        self._inputs = graph.by_role("input")
        self._shapes = Graph(graph.name, self._inputs, ())
        stored = dict(zip(graph.by_role("param", "state"), self.weights, strict=True))
        self._states = [stored[state] for state, _ in graph.updates]
        self._fixed = [stored[v] for v in stored if v not in {state for state, _ in graph.updates}]
        self._copies: list[Array] = []
        self._session: Session = None
        self._start()

    def _start(self) -> None:
        """Makes the session, unless it holds these very weights."""
        same = all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
                   for a, b in zip(self._fixed, self._copies, strict=False))  # fmt: skip
        self._changed = False
        if self._session is not None and same:
            return
        if sum(w.nbytes for w in self.weights) > LARGEST_MODEL:
            raise NotSupported(f"{self.graph.name}: more than 2 GB of weights do not fit into one message",
                               help="export_onnx writes them to a file of their own")  # fmt: skip
        self._copies = [array.copy() for array in self._fixed]
        model = export_graph(self.graph, self.weights, opset=self.opset, check=False, note=False)
        self._session = session_of(model.SerializeToString(), self.threads, self.providers)
        given = [i.name for i in model.graph.input]
        self._call_names = given[: len(self._inputs)]
        # The states follow the arguments, in the order of the graph's inputs; their next values that of its updates.
        self._state_names = [o.name.removesuffix(".new") for o in model.graph.output[len(self.graph.outputs) :]]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The outputs for arrays in the order of the call inputs. Raises ShapeError for shapes that do not fit.

        What onnxruntime refuses while it runs (an index out of range) is an ArgumentError.
        """
        if self._changed:
            self._start()
        bind_sizes(self._shapes, arrays)
        feeds = dict(zip([*self._call_names, *self._state_names], [*arrays, *self._states], strict=True))
        found = run_session(self._session, feeds)
        count = len(self.graph.outputs)
        for array, new in zip(self._states, found[count:], strict=True):
            np.copyto(array, new)
        return found[:count]

    def refresh(self) -> None:
        """The weights may have changed: if they have, the session is made anew at the next call."""
        self._changed = True


def default_providers() -> list[str]:
    """CUDA where the installed onnxruntime has it, then the CPU."""
    import onnxruntime

    known = onnxruntime.get_available_providers()
    return [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in known]


def errors_of_onnxruntime() -> tuple[type[Exception], ...]:
    """The classes of all errors that onnxruntime raises; they have no base of their own."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    found = (getattr(state, name) for name in dir(state))
    return tuple(e for e in found if isinstance(e, type) and issubclass(e, Exception))


def session_of(source: bytes | str, threads: int | None = None, providers: Sequence[str] | None = None) -> Session:
    """An onnxruntime session of a model's bytes or file. Raises NotSupported where a kernel is missing."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(source, options, providers=list(providers or default_providers()))
    except errors_of_onnxruntime() as error:
        raise NotSupported(f"onnxruntime does not take the model: {error}") from error


def run_session(session: Session, feeds: Mapping[str, Array]) -> list[Array]:
    """All outputs of a session, in order. Raises ArgumentError for what onnxruntime refuses."""
    try:
        if not any(as_dtype(a.dtype) == bf16 for a in feeds.values()) and not _gives_bf16(session):
            return session.run(None, dict(feeds))
        return _run_with_bf16(session, feeds)
    except errors_of_onnxruntime() as error:
        raise ArgumentError(f"onnxruntime refused the call: {error}") from error


def _gives_bf16(session: Session) -> bool:
    return any(o.type == "tensor(bfloat16)" for o in session.get_outputs())


def _run_with_bf16(session: Session, feeds: Mapping[str, Array]) -> list[Array]:
    """numpy has no bf16 of its own: its bits cross the border as u16."""
    import onnxruntime

    binding = session.io_binding()
    for name, array in feeds.items():
        dtype = as_dtype(array.dtype)
        plain = np.ascontiguousarray(array).reshape(array.shape)
        value = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
            plain.view(np.uint16) if dtype == bf16 else plain, ONNX_OF[dtype]
        )
        binding.bind_ortvalue_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    session.run_with_iobinding(binding)
    return [_as_numpy(value) for value in binding.get_outputs()]


def _as_numpy(value: Any) -> Array:
    if value.element_type() != ONNX_OF[bf16]:
        return value.numpy()
    shape = tuple(value.shape())
    bits = np.zeros(shape, np.uint16)
    if bits.size:
        ctypes.memmove(bits.ctypes.data, value.data_ptr(), bits.nbytes)
    return bits.view(bf16.numpy)

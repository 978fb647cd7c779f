"""Models as ONNX files: written, checked against onnxruntime, and read back.

`export_onnx` writes inference graphs and whole training steps. Like compiler.py this file sees every layer.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.compiler import Array, Executable, Step, traced_of
from chainrule.errors import ArgumentError, ChainruleError, NumericsError, ShapeError
from chainrule.frontend.checkpoint import PathLike, write_atomically
from chainrule.frontend.places import located
from chainrule.frontend.structure import LEAF, NOTHING, Structure, rows
from chainrule.frontend.trace import Origin, Spec, Traced
from chainrule.ir.dims import dim_value
from chainrule.ir.graph import Graph, Input, Value, input_name, new_input, on_inputs
from chainrule.ir.types import f32
from chainrule.loaded import GraphModule
from chainrule.ops.transcendental import Sigmoid
from chainrule.passes.over_minibatches import over_minibatches

if TYPE_CHECKING:
    from chainrule.backends.onnx.export import ModelProto
    from chainrule.backends.onnx.importing import Known, Nesting
    from chainrule.frontend.training import StepGraph

# Of symbolic axes, until the model takes them: small ones may be below a window, a second of sound is 16,000 numbers.
TRIED_SIZES = (2, 5, 16, 32, 64, 224, 1280, 16_000)
LARGE = 64  # a size above this is tried only when the model gave nothing for smaller ones
LARGEST = 1 << 24  # elements of all inputs together that are tried
DRAWS = 3  # evaluations in f32, the later ones with inputs moved by MOVED, that show what rounding does to a result
MOVED = 2.0**-20
ROUNDING = 10.0  # how much further from float64 than the worst of these another program may be


def export_onnx(model: Any, path: PathLike | None = None, *specs: Any, opset: int | None = None,
                ir_version: int | None = None, verify: bool = True, external_data: bool | None = None,
                epoch: bool = False, name: str | None = None) -> ModelProto | Path:  # fmt: skip
    """Writes a model as ONNX made of standard ops. Returns the path; the ModelProto itself where no path is given.

    model: an nn.Module or function (then specs as for cr.compile), a loaded or traced model, an Executable, or a
    training Step. Of a step, all of it is exported: each parameter, optimiser slot, counter and key is an input with
    its present value as default, named as in the step's checkpoints, and an output "<name>.new" to feed back at the
    next call. epoch: of a step, one call of the file runs over many minibatches: every input and output but the state
    gets an axis in front, [minibatches, ...]. Symbolic sizes stay
    symbolic. opset: 17 to the newest known; default 18. ir_version: default, the lowest that has the opset. A loaded
    model keeps its file's metadata, and opset and IR version where chainrule wrote that file, unless others are given.
    verify:
    run the result in onnxruntime and compare with the reference on seeded inputs. external_data: put large weights
    into "<file>.data" beside the model; None does so when one file cannot hold them.

    The file is replaced as a whole or not at all. Raises NotSupported naming the ops that ONNX lacks, NumericsError
    naming the output that differs, ModelError for what onnx.checker refuses, ArgumentError for a path that cannot be
    written.
    """
    with located():
        graph, weights = stored_graph(model, specs, name)
        graph = over_minibatches(graph) if epoch else graph
        origin = _origin_of(model)
        same = opset is None or opset == origin.opset
        wanted = Origin(opset or origin.opset, ir_version or (origin.ir_version if same else None), origin.metadata)
        return _exported(graph, weights, path, wanted, verify, external_data, name)


def _origin_of(model: Any) -> Origin:
    found = model.traced if isinstance(model, Executable) else model
    origin = found.origin if isinstance(found, GraphModule | Traced) else None
    return origin or Origin(None, None, {})


def _exported(graph: Graph, weights: Sequence[Array], path: PathLike | None, wanted: Origin, verify: bool,
              external_data: bool | None, name: str | None) -> ModelProto | Path:  # fmt: skip
    from chainrule.backends.onnx.executable import LARGEST_MODEL
    from chainrule.backends.onnx.export import DEFAULT_OPSET, check_model, export_graph
    from chainrule.backends.onnx.external import External

    place = None if path is None else _checked_path(path)
    large = sum(w.nbytes for w in weights) > LARGEST_MODEL if external_data is None else external_data
    if large and place is None:
        raise ArgumentError(f"{graph.name}: weights in a file of their own need a path", help="give a path to write to")
    external = External(f"{place.name}.data") if large and place is not None else None
    proto = export_graph(graph, weights, opset=wanted.opset or DEFAULT_OPSET, ir_version=wanted.ir_version, name=name,
                         metadata=wanted.metadata, external=external)  # fmt: skip
    if external is None and verify:
        verify_model(proto.SerializeToString(), graph, weights)
    if place is None:
        return proto
    if external is not None:
        write_atomically(place.with_name(external.location), external.chunks())
    write_atomically(place, proto.SerializeToString())
    if external is not None:
        check_model(str(place), graph.name)
        if verify:
            verify_model(str(place), graph, weights)
    return place


Stated = Array | Spec | Sequence[Array | Spec] | None


def load_onnx(source: PathLike | bytes | ModelProto, known: Mapping[str, Stated] | None = None) -> GraphModule:
    """An ONNX model as a model like any other: compile it, train it further, export it again.

    source: a path, the bytes of a model, or a ModelProto. Inputs are the file's, with its free sizes as symbols; float
    weights become parameters, running statistics buffers, each under its name in the file. Opsets 6 to the newest.
    Everything in the file is checked; external data is read from the model's own folder only. known: what inputs will
    hold, by name, where sizes or axes of the model follow from it; they stay inputs, and what a call gives is not read.
    Sequences are lists in calls; known tells their elements, as arrays or specs, and None for an optional of nothing.

    Raises ArgumentError for a path that cannot be read, ModelError naming the node for a broken model, NotSupported
    naming all ops that are not built, with their versions and nodes, at once.
    """
    from chainrule.backends.onnx.importing import import_model

    with located():
        found = import_model(source, {name: _stated(x) for name, x in known.items()} if known else None)
    origin = Origin(found.opset, found.ir_version, found.metadata)
    inputs = [(name, _structure(form)) for name, form in found.inputs]
    outputs = [_structure(form) for form in found.outputs]
    return GraphModule(found.graph, {w.value: w.array for w in found.weights}, origin, inputs, outputs)


def _stated(given: Stated) -> Known:
    if given is None or isinstance(given, Spec):
        return None if given is None else given.type
    if isinstance(given, Sequence):
        return [x.type if isinstance(x, Spec) else np.asarray(x) for x in given]
    return given


def _structure(form: Nesting) -> Structure:
    """How a value of the model is nested in calls."""
    return NOTHING if form.absent else LEAF if form.many is None else rows(form.many)


def stored_graph(model: Any, specs: Sequence[Any] = (), name: str | None = None) -> tuple[Graph, list[Array]]:
    """The graph of a model, executable or training step, with one array for each of its param and state inputs."""
    if isinstance(model, Step):
        graph = _under_checkpoint_names(model.made)
        arrays = {source.name: source.array for source in model.made.sources}
        return graph, [arrays[input_name(v)] for v in graph.by_role("param", "state")]
    traced: Traced = model.traced if isinstance(model, Executable) else traced_of(model, specs, {}, name)
    sources = {value: stored.data for value, stored in traced.sources}
    return traced.graph, [sources[v] for v in traced.graph.by_role("param", "state")]


def _under_checkpoint_names(made: StepGraph) -> Graph:
    """A step's graph whose state is called as in its checkpoints, so that one file serves both."""
    names = {source.value: source.name for source in made.sources}
    renamed = (new_input(names[v], v.tensor, v.op.role) if v in names and isinstance(v.op, Input) else v
               for v in made.graph.inputs)  # fmt: skip
    return on_inputs(made.graph, tuple(renamed))


def _checked_path(path: PathLike) -> Path:
    place = Path(path)
    if place.is_dir() or not place.name:
        raise ArgumentError(f"export_onnx: {path} is a folder", help="give the path of a file, such as net.onnx")
    if not place.parent.is_dir():
        raise ArgumentError(f"export_onnx: there is no folder {place.parent}", help="make it first")
    if not os.access(place.parent, os.W_OK):
        raise ArgumentError(f"export_onnx: {place} cannot be written: the folder is not yours to write",
                            help="choose another folder")  # fmt: skip
    return place


def verify_model(source: bytes | str, graph: Graph, weights: Sequence[Array]) -> None:
    """An exported model gives in onnxruntime what its graph gives on the reference, on seeded inputs.

    source: the model's bytes or its file. Raises NumericsError naming the first output that differs.
    """
    arrays, own = _sample_run(graph, weights)
    for (name, reason, y, exact), value in zip(_differences(source, graph, arrays, own), graph.results, strict=True):
        if reason and isinstance(source, bytes) and _rounded_sigmoid(value, y, exact):
            reason = _argument_difference(source, name, graph, value.inputs[0], arrays)
        if reason:
            raise NumericsError(f"{graph.name}: {name} differs in onnxruntime: {reason}",
                                help="verify=False writes the model as it is")  # fmt: skip


def _differences(source: bytes | str, graph: Graph, arrays: Sequence[Array], own: Sequence[Array]
                 ) -> Iterator[tuple[str, str, Array, Array]]:  # fmt: skip
    """Of each output its name, what is wrong with it in onnxruntime, its value there and the exact one.

    own: what the reference makes of the arrays.
    """
    from chainrule.backends.onnx.executable import run_session, session_of
    from chainrule.backends.reference import run

    precise = run(graph, arrays, precise=True)
    draws = [own, *(run(graph, _moved(arrays, seed)) for seed in range(1, DRAWS))]
    session = session_of(source, providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    feeds = {input_name(v): a for v, a in zip(graph.inputs, arrays, strict=True) if input_name(v) in wanted}
    found = run_session(session, feeds)
    for output, y, exact, *near in zip(session.get_outputs(), found, precise, *draws, strict=True):
        yield output.name, _difference(np.asarray(y), [np.asarray(n) for n in near], exact), np.asarray(y), exact


def _rounded_sigmoid(value: Value, y: Array, exact: Array) -> bool:
    """True where no more is wrong with the sigmoid of something than onnxruntime's own error, which is absolute."""
    from chainrule.ops.tolerance import SIGMOID_ATOL, within

    sigmoid = isinstance(value.op, Sigmoid) and value.dtype == f32
    return sigmoid and y.shape == exact.shape and bool(within(y, exact, np.full(exact.shape, SIGMOID_ATOL)))


def _argument_difference(source: bytes, name: str, graph: Graph, argument: Value, arrays: Sequence[Array]) -> str:
    """What is wrong with what the sigmoid takes that makes an output: where results are tiny, it alone tells.

    Where no node of the file is that sigmoid, this cannot be seen, and is said.
    """
    from chainrule.backends.onnx.argument import up_to_argument
    from chainrule.backends.reference import run

    shorter = up_to_argument(source, name, "Sigmoid")
    if shorter is None:
        return "no Sigmoid node makes it"
    alone = graph.replace(outputs=(argument,), updates=(), output_names=())
    (_, reason, _, _), = _differences(shorter, alone, arrays, run(alone, arrays))
    return reason and f"before its sigmoid, {reason}"


def _moved(arrays: Sequence[Array], seed: int) -> list[Array]:
    """The floats a few units in the last place away."""
    rng = np.random.default_rng(seed)
    return [a if a.dtype.kind in "iub" else _scaled(a, rng) for a in arrays]


def _scaled(array: Array, rng: np.random.Generator) -> Array:
    factors: Array = 1.0 + MOVED * rng.uniform(-1.0, 1.0, np.shape(array))
    return array * factors.astype(array.dtype)


def _difference(y: Array, near: Sequence[Array], precise: Array) -> str:
    """What is wrong with another program's result; "" if it is within the bound for whole models.

    near: the reference's results in f32, the first for the very inputs. Where rounding moves them further from float64
    than that bound, a few times as much is allowed: the gradient of a bias before a norm is nothing but rounding, and
    an optimiser divides it by its own size.
    """
    from chainrule.ops.tolerance import MODEL_RTOL, OTHER_FRAMEWORK, exactly, within

    own = near[0]
    if y.dtype != own.dtype or y.shape != own.shape:
        return f"{own.dtype}{list(own.shape)} expected, {y.dtype}{list(y.shape)} given"
    if own.dtype.kind in "iub":
        # An element that a few units in the last place of the inputs change is decided by rounding.
        open_ = np.any([n != own for n in near], axis=0)
        return exactly(np.where(open_, own, y), own).reason
    rounding = max(_largest(n.astype(np.float64) - precise) for n in near)
    bound = max(OTHER_FRAMEWORK * MODEL_RTOL * _largest(precise), ROUNDING * rounding)
    return within(y, precise, np.full(precise.shape, bound)).reason


def _largest(x: Array) -> float:
    """The largest finite absolute value; 0 of none."""
    return float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x)))


def _sample_run(graph: Graph, weights: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """Seeded arguments with the given weights, and what the reference makes of them.

    Symbolic sizes are tried from small to large, whole numbers once as drawn and once as zeros: only the model knows
    which images are too small and which indices too large. Results that are empty or not finite are a last resort.
    """
    from chainrule.backends.reference import run
    from chainrule.passes.check import sample_inputs

    stored = dict(zip(graph.by_role("param", "state"), weights, strict=True))
    found: tuple[list[Array], list[Array]] | None = None
    problem: ChainruleError | None = None
    for size, sizes in _tried(graph):
        if found is not None and size > LARGE and all(np.size(r) for r in found[1]):
            break
        if sum(math.prod(dim_value(d, sizes) for d in v.shape) for v in graph.by_role("input")) > LARGEST:
            continue
        drawn = sample_inputs(graph, sizes)
        plain = [np.zeros_like(a) if a.dtype.kind in "iu" else a for a in drawn]
        for arrays in (drawn, plain):
            given = [np.array(stored[v]) if v in stored else a for v, a in zip(graph.inputs, arrays, strict=True)]
            try:
                results = run(graph, given)
            except ChainruleError as error:
                problem = error
                continue
            if all(_tells(r) for r in results):
                return given, results
            found = found or (given, results)
    if found is not None:
        return found
    raise ShapeError(f"{graph.name}: no seeded inputs were found that the model takes", notes=[str(problem)],
                     help="give fixed sizes in the specs, or verify=False")  # fmt: skip


def _tried(graph: Graph) -> Iterator[tuple[int, dict[str, int]]]:
    """(size, sizes of all symbols), from small to large: different ones, then even ones, which halve without a rest.

    The first symbol, most often the batch, stays at 2 where the others are large.
    """
    for size in TRIED_SIZES if graph.symbols else TRIED_SIZES[:1]:
        yield size, {name: size + i for i, name in enumerate(graph.symbols)}
        if size > TRIED_SIZES[1] and graph.symbols:
            yield size, {name: size if i else min(size, 2) for i, name in enumerate(graph.symbols)}


def _tells(array: Array) -> bool:
    """It has elements, and all are finite."""
    return bool(np.size(array)) and (array.dtype.kind in "iub" or bool(np.all(np.isfinite(array))))


__all__ = ["export_onnx", "load_onnx", "stored_graph", "verify_model"]

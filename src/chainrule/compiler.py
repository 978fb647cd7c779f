"""The driver, the one file that sees every layer: a model becomes a graph, the graph a program of some backend.

`compile` makes an Executable of a model or function; `training_step` makes one native call of forward, backward and
update. Everything they do is in the layers below; here is only the order. Longer than most files: the arguments, checks
and docstrings of the public calls stand together.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from chainrule.errors import ArgumentError, ChainruleError, DTypeError, NotSupported, NumericsError, ShapeError
from chainrule.frontend.mixed import cast_products
from chainrule.frontend.places import located
from chainrule.frontend.trace import Traced, require_function, trace
from chainrule.ir.body import tells_sizes
from chainrule.ir.graph import Graph, Input, Value, input_name
from chainrule.ir.types import TensorType
from chainrule.native import save_native
from chainrule.profiling import Profile

if TYPE_CHECKING:
    from pathlib import Path

    from chainrule.frontend.checkpoint import PathLike
    from chainrule.frontend.training import StepGraph
    from chainrule.passes.base import Check, PassReport

Array = np.ndarray[Any, Any]
BACKENDS = ("llvm", "reference", "onnxruntime")
MIXED = (None, "bf16", "f16")
PRECISIONS = ("default", "strict")


class Program(Protocol):
    """What a backend makes of a graph and its weights."""

    def run(self, arrays: Sequence[Array]) -> list[Array]: ...

    def refresh(self) -> None: ...


@dataclass(frozen=True)
class Options:
    """How to compile. threads: None for all that this process may use. verify: check every pass on the reference.

    check_numerics: every call looks for NaN and infinity. mixed: the float type of products, None for their own.
    precision: "strict" stands for the pipeline of that name, in place of the default one. max_bytes: of temporaries, at
    the sizes `dims`.
    """

    backend: str = "llvm"
    threads: int | None = None
    verify: bool = False
    target: str | None = None
    pipeline: str = "default"
    check_numerics: bool = False
    mixed: str | None = None
    precision: str = "default"
    max_bytes: int | None = None
    dims: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if self.max_bytes is not None and (self.backend != "llvm" or self.check_numerics):
            raise NotSupported("max_bytes holds for native code alone", help='use backend="llvm", no check_numerics')
        if self.precision not in PRECISIONS:
            raise ArgumentError(f"there is no precision {self.precision!r}", help="use one of " + ", ".join(PRECISIONS))
        if self.backend not in BACKENDS:
            raise ArgumentError(f"there is no backend {self.backend!r}", help="use one of " + ", ".join(BACKENDS))
        if self.threads is not None and self.threads < 1:
            raise ArgumentError(f"threads is {self.threads}", help="give 1 or more, or None for all cores")
        if self.mixed not in MIXED:
            raise ArgumentError(f"mixed is {self.mixed!r}", help='"bf16", "f16" or None')


class Executable:
    """A compiled model: call it with arrays, positional or by name; it returns what the model returns.

    input_types, output_types: of the call's arrays. graph: as traced, before any pass. reports: what each pass did.
    """

    def __init__(self, traced: Traced, options: Options) -> None:
        self.traced = traced
        self.graph = traced.graph
        self.options = options
        self._inputs = self.graph.by_role("input")
        sources = {value: stored.data for value, stored in traced.sources}
        self._weights = [contiguous(sources[v]) for v in self.graph.by_role("param", "state")]
        self.program = make_program(self.graph, self._weights, options)
        self._bare = traced.structure.kind == "leaf"
        self._entry: Callable[..., object] = _refuse

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the call's arrays."""
        return tuple(v.op.name_ for v in self._inputs if isinstance(v.op, Input))

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        """The types of the call's arrays, in order; sizes may be symbolic."""
        return tuple(v.tensor for v in self._inputs)

    @property
    def output_types(self) -> tuple[TensorType, ...]:
        """The types of the outputs, in the order of `run`; sizes may be symbolic."""
        return tuple(v.tensor for v in self.graph.outputs)

    @property
    def reports(self) -> Sequence[PassReport]:
        """The passes that ran, with times and counts; none for a backend without passes."""
        return getattr(self.program, "reports", ())

    def __call__(self, *arrays: object, out: object = None, **named: object) -> Any:
        """The model's result for these arrays.

        numpy arrays of the declared types are used where they lie; anything with DLPack or the array interface is
        taken over, copied only if it is not contiguous. out: an array, or a sequence of them, that takes the outputs in
        the order of `run`; a call then allocates nothing and returns the model's result made of these very arrays.
        Raises ArgumentError, DTypeError or ShapeError, naming the argument and both types, before anything runs.
        """
        given: Sequence[Any] = () if out is None else _listed(out)
        if not named:
            result = self._entered(arrays, given)
            if result is not NotImplemented and self._bare:
                return result
            if result is not NotImplemented:
                return self.traced.structure.build(as_list(result))
        with located():
            leaves = self.traced.arguments.flatten(arrays, named)
            outputs = self._run(leaves) if out is None else self._run_into(leaves, given)
            return self.traced.structure.build(outputs)

    def _entered(self, arrays: Sequence[object], given: Sequence[Any] = ()) -> object:
        """What the native entry of the last call makes of these arrays; NotImplemented where it does not expect them.
        """
        try:
            return self._entry(*arrays, *given)
        except ChainruleError as problem:
            raise _explained(self.program, problem, arrays) from None
        except MemoryError as problem:
            raise _too_large(problem) from problem

    def _run_into(self, leaves: Sequence[object], given: Sequence[object]) -> list[Array]:
        """The outputs, copied into arrays of the caller's where they could not be written there directly."""
        targets = _targets(given, self.graph)
        outputs = self._run(leaves)
        for name, target, output in zip(output_names(self.graph), targets, outputs, strict=True):
            if target.shape != output.shape:
                raise ShapeError(f"out: {name} has the shape {list(output.shape)}, the array {list(target.shape)}")
        for target, output in zip(targets, outputs, strict=True):
            np.copyto(target, output)
        return targets

    def run(self, arrays: Sequence[object] | Mapping[str, object]) -> list[Array]:
        """The outputs as a list, for the inputs as a list or by name."""
        with located():
            ordered = self._in_order(arrays)
            result = self._entered(ordered)
            return self._run(ordered) if result is NotImplemented else as_list(result)

    def _in_order(self, arrays: Sequence[object] | Mapping[str, object]) -> list[object]:
        """One array for each input. Raises ArgumentError for a wrong count or name."""
        if isinstance(arrays, Mapping):
            unknown = [str(name) for name in arrays if name not in self.input_names]
            missing = [name for name in self.input_names if name not in arrays]
            if unknown or missing:
                what = f"{unknown[0]} is not an input" if unknown else f"missing: {', '.join(missing)}"
                raise ArgumentError(what, notes=self._declared(), help="give one array for each input, by name")
            return [arrays[name] for name in self.input_names]
        if not isinstance(arrays, list | tuple):
            raise ArgumentError(f"run takes a list or a dict of arrays, {type(arrays).__name__} was given",
                                notes=self._declared(),
                                help="run([x]), or call the executable itself: net(x)")  # fmt: skip
        if len(arrays) != len(self._inputs):
            raise ArgumentError(f"{len(arrays)} arrays were given, there are {len(self._inputs)} inputs",
                                notes=self._declared(), help="give one array for each input, in order")  # fmt: skip
        return list(arrays)

    def _declared(self) -> list[str]:
        return [f"input {name}: {type}" for name, type in zip(self.input_names, self.input_types, strict=True)]

    def _run(self, leaves: Sequence[object]) -> list[Array]:
        checked = [as_input(leaf, value) for leaf, value in zip(leaves, self._inputs, strict=True)]
        try:
            outputs = self.program.run(checked)
        except MemoryError as problem:
            raise _too_large(problem) from problem
        self._entry = getattr(self.program, "entry", _refuse)
        return outputs

    def refresh(self) -> None:
        """Takes over weights that were changed outside of a training step (loaded, or edited in place)."""
        self.program.refresh()

    def load_weights(self, weights: Mapping[str, object], strict: bool = True) -> None:
        """Takes over arrays by their state_dict names, without compiling again; the model itself holds them then.

        Raises ArgumentError for missing or unknown names, ShapeError or DTypeError where an array does not fit; nothing
        is changed then. strict=False takes what fits.
        """
        from chainrule.frontend.weights import load_weights

        with located():
            load_weights(self.traced, weights, strict)
            self.refresh()

    def memory(self, dims: Mapping[str, int] | None = None) -> dict[str, int]:
        """Bytes: the arena for temporaries, its lower bound, and the weights."""
        bound = getattr(self.program, "bound", None)
        arena = {} if bound is None else _plan_bytes(bound(self._all_dims(dims)))
        return arena | {"weight_bytes": sum(w.nbytes for w in self._weights)}

    def memory_report(self, dims: Mapping[str, int] | None = None) -> object:
        """The most that is alive at one kernel, and what that is, with its lines: print it. dims: symbolic sizes."""
        with located():
            return _memory_report(self.program, self._all_dims(dims), self.options.backend)

    def _all_dims(self, dims: Mapping[str, int] | None) -> dict[str, int]:
        return dict.fromkeys(self.graph.symbols, 1) | dict(dims or {})

    def check_numerics(self, *arrays: object, **named: object) -> None:
        """Raises NumericsError naming the line that makes the first NaN or infinity of this call, if there is one.

        The traced graph runs on the reference, node by node: slow, and for asking why, not for every call.
        """
        with located():
            leaves = self.traced.arguments.flatten(arrays, named)
            checked = [as_input(leaf, value) for leaf, value in zip(leaves, self._inputs, strict=True)]
            _check_numerics(self.graph, checked, self._weights)

    def save(self, path: PathLike, *, dims: Mapping[str, int] | None = None, weights: str = "embedded",
             name: str | None = None) -> tuple[Path, ...]:  # fmt: skip
        """Writes native code with a C header, for programs without Python: see chainrule.native.save_native."""
        names = [input_name(v) for v in self.graph.by_role("param", "state")]
        with located():
            return save_native(self.program, path, names, dims=dims, weights=weights, name=name)

    def profile(self, *arrays: object, **named: object) -> Profile:
        """Where the time of one call goes: print it, or see Profile for JSON, a Chrome trace and a roofline picture.

        Raises NotSupported where there are no kernels.
        """
        profile = getattr(self.program, "profile", None)
        with located():
            if profile is None and tells_sizes(self.graph) and self.options.backend == "llvm":
                raise NotSupported("a program with sizes that follow from data does not profile",
                                   help="profile the parts before and behind that op")  # fmt: skip
            if profile is None:
                raise NotSupported(f"the {self.options.backend} backend does not profile", help='use backend="llvm"')
            leaves = self.traced.arguments.flatten(arrays, named)
            rows, peak, threads = profile([as_input(a, v) for a, v in zip(leaves, self._inputs, strict=True)])
            return Profile(tuple(rows), peak, threads)


def _listed(out: object) -> Sequence[Any]:
    """The arrays of an `out` argument: one, or a sequence of them."""
    return cast("Sequence[Any]", out) if isinstance(out, list | tuple) else (out,)


def output_names(graph: Graph) -> list[str]:
    """The names of a graph's outputs, by their place where they have none."""
    names = graph.output_names
    return [names[i] if i < len(names) and names[i] else f"output {i}" for i in range(len(graph.outputs))]


def _targets(given: Sequence[object], graph: Graph) -> list[Array]:
    """The arrays for the outputs. Raises ArgumentError and DTypeError for what cannot take them."""
    notes = [f"{name}: {v.tensor}" for name, v in zip(output_names(graph), graph.outputs, strict=True)]
    if len(given) != len(graph.outputs):
        raise ArgumentError(f"out: {len(given)} arrays were given, there are {len(graph.outputs)} outputs", notes=notes)
    for name, one, value in zip(output_names(graph), given, graph.outputs, strict=True):
        array = cast("Array | None", one if isinstance(one, np.ndarray) else None)
        if array is None or not array.flags.writeable:
            raise ArgumentError(f"out: {name} needs a numpy array that can be written", notes=notes)
        if array.dtype != value.dtype.numpy:
            raise DTypeError(f"out: {name} is {value.dtype}, the array is of {array.dtype}", notes=notes)
    return cast("list[Array]", list(given))


def as_list(result: object) -> list[Any]:
    """What a native entry returns, as a list: nothing, one array, or a tuple of them."""
    if result is None:
        return []
    return list(cast("tuple[Any, ...]", result)) if isinstance(result, tuple) else [result]


def _explained(program: Program, problem: ChainruleError, arrays: Sequence[object]) -> ChainruleError:
    """The error of a native call in the user's terms: which line, and what is wrong with the data."""
    explained = getattr(program, "explained", None)
    return problem if explained is None else explained(problem, arrays)


def _check_numerics(graph: Graph, arrays: Sequence[Array], weights: Sequence[Array]) -> None:
    from chainrule.backends.reference import check_numerics

    held = dict(zip(graph.by_role("input"), arrays, strict=True))
    held |= dict(zip(graph.by_role("param", "state"), weights, strict=True))
    check_numerics(graph, [held[v] for v in graph.inputs])


def _too_large(problem: MemoryError) -> ArgumentError:
    return ArgumentError(f"a call of these sizes needs more memory than there is: {problem}", help="use smaller ones")


def _refuse(*arrays: object) -> object:
    return NotImplemented


def _memory_report(program: Program, dims: Mapping[str, int], backend: str) -> object:
    report = getattr(program, "memory_report", None)
    if report is None:
        raise NotSupported(f"the {backend} backend plans no memory", help='use backend="llvm"')
    return report(dims)


def _plan_bytes(bound: Any) -> dict[str, int]:
    return {"arena_bytes": bound.plan.total, "arena_bound_bytes": bound.plan.bound}


def contiguous(array: Array) -> Array:
    """The array itself, which native code reads and writes in place."""
    assert array.flags.c_contiguous and array.flags.aligned, "parameters are owned contiguous arrays"
    return array


def as_input(given: object, value: Value) -> Array:
    """The argument as a contiguous array of the input's declared type.

    Numbers and lists take the declared element type; arrays must have it. Raises DTypeError and ShapeError.
    """
    name, type = input_name(value), value.tensor
    if given is None:
        raise ArgumentError(f"{name}: None was given", notes=[f"declared: {type}"], help="give a numpy array")
    array = _as_array(given, name, type)
    notes = [f"declared: {type}", f"given:    {_described(array)}"]
    if array.dtype != type.dtype.numpy:
        raise DTypeError(f"{name}: the array is of {array.dtype}, {type.dtype} was declared", notes=notes,
                         help=f"convert it: {name}.astype({type.dtype.numpy.name!r})")  # fmt: skip
    if array.ndim != type.rank:
        raise ShapeError(f"{name}: the array has {array.ndim} axes, {type.rank} were declared", notes=notes,
                         help="one image or sample as a batch of one: x[None]" if array.ndim == type.rank - 1 else
                         "reshape the array, or declare another spec")  # fmt: skip
    for axis, (dim, size) in enumerate(zip(type.shape, array.shape, strict=True)):
        if isinstance(dim, int) and dim != size:
            raise ShapeError(f"{name}: axis {axis} is {size}, {dim} was declared", notes=notes,
                             help='a size that varies is declared by name: cr.spec("N", ...)')  # fmt: skip
    return array if array.flags.c_contiguous and array.flags.aligned else array.copy(order="C")


def _as_array(given: Any, name: str, type: TensorType) -> Array:
    """The argument as a plain array, where it lies if it is one or shares its memory."""
    if isinstance(given, np.ndarray):
        return np.asarray(cast(Any, given))  # of memory-mapped ones and matrices the array itself
    if hasattr(given, "__dlpack__"):
        try:
            return np.from_dlpack(given)
        except (BufferError, RuntimeError, TypeError) as problem:  # on another device, or part of a gradient tape
            raise ArgumentError(f"{name}: {given.__class__.__name__} gives no array: {problem}",
                                notes=[f"declared: {type}"], help="give a numpy array") from problem  # fmt: skip
    if hasattr(given, "__array__"):
        return np.asarray(given)
    return _converted(given, name, type)


def _described(array: Array) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def _converted(given: object, name: str, type: TensorType) -> Array:
    """Numbers and nested lists of them in the declared element type."""
    try:
        array = np.asarray(given)
        if array.dtype.kind not in "fiub":
            raise TypeError
        return array.astype(type.dtype.numpy)
    except (TypeError, ValueError):
        raise DTypeError(f"{name}: {given!r:.60} is not an array", notes=[f"declared: {type}"],
                         help="give a numpy array, or a number or nested list of equal lengths") from None  # fmt: skip


def make_program(graph: Graph, weights: Sequence[Array], options: Options) -> Program:
    """The graph as a program of the backend that the options name."""
    if options.check_numerics:
        from chainrule.watched import WatchedProgram

        plain = replace(options, check_numerics=False)
        return WatchedProgram(graph, weights, lambda watched: make_program(watched, weights, plain))
    match options.backend:
        case "reference":
            from chainrule.backends.reference import ReferenceExecutable

            return ReferenceExecutable(graph, weights)
        case "onnxruntime":
            from chainrule.backends.onnx import OnnxExecutable

            return OnnxExecutable(graph, weights, threads=options.threads)
        case _:
            from chainrule.backends.llvm.executable import LlvmExecutable, MemoryLimit
            from chainrule.backends.llvm.pipeline import pipeline as named_pipeline
            from chainrule.backends.llvm.target import named_target

            target = None if options.target is None else named_target(options.target)
            strict = options.precision == "strict" and options.pipeline == "default"
            passes = named_pipeline(target, "strict" if strict else options.pipeline)
            check = _check() if options.verify else None
            told = tells_sizes(graph)
            if told and options.max_bytes is not None:
                raise NotSupported("max_bytes does not hold where sizes follow from data",
                                   help="mark what shall be computed again with cr.checkpoint")  # fmt: skip
            if told:
                from chainrule.backends.llvm.staged import StagedExecutable

                return StagedExecutable(graph, weights, threads=options.threads, target=target, passes=passes,
                                        check=check)  # fmt: skip
            limit = None if options.max_bytes is None else MemoryLimit(options.max_bytes, dict(options.dims or {}))
            return LlvmExecutable(graph, weights, threads=options.threads, target=target, passes=passes, check=check,
                                  limit=limit)  # fmt: skip


def _check() -> Check:
    from pathlib import Path

    from chainrule.backends.reference import run
    from chainrule.passes.check import checker

    return checker(lambda graph, arrays: run(graph, arrays, precise=True), reproducer=Path("chainrule-reproducer.txt"))


def compile(model: Any, *specs: Any, backend: str = "llvm", threads: int | None = None, verify: bool = False,
            target: str | None = None, pipeline: str = "default", precision: str = "default",
            check_numerics: bool = False, mixed: str | None = None, max_bytes: int | None = None,
            dims: Mapping[str, int] | None = None, name: str | None = None,
            **named_specs: Any) -> Executable:  # fmt: skip
    """A compiled model: forward only, as in evaluation (no dropout, batch norm by its running statistics).

    model: an nn.Module, a function of tensors, or a loaded model. specs: one cr.spec per argument, in order or by name;
    none for a model that knows its own inputs. backend: "llvm" (native code), "reference" (numpy), "onnxruntime".
    threads: how many may work on one call; the result does not depend on it. verify: run the reference after every
    pass and name the first that changes a result. target: "x86-64-v2", "x86-64-v3", "x86-64-v4", or this machine's.
    precision: "strict" forbids what changes bits: convolutions by Winograd's tiles, norms folded into weights, algebra
    that is true of numbers but not of floats (docs/numerics.md). pipeline: "plain" fuses nothing, to find faults.
    check_numerics: calls raise NumericsError with the user's line at the first NaN or infinity that they make; slow.
    mixed: "bf16" or "f16" rounds the operands of matrix products and convolutions to that type; weights are given and
    kept in f32, and rounded once, when they are packed. With AVX512-BF16 products by a matrix gain by it (README.md).
    max_bytes, dims: as in training_step.
    """
    with located():
        options = Options(backend, threads, verify, target, pipeline, check_numerics, mixed, precision, max_bytes, dims)
        traced = traced_of(model, specs, named_specs, name)
        return Executable(traced if mixed is None else cast_products(traced, mixed), options)


def traced_of(model: Any, specs: Sequence[Any], named_specs: Mapping[str, Any], name: str | None = None) -> Traced:
    """The trace of a model in evaluation mode; a Traced or a model that holds one stands for itself."""
    if isinstance(model, Traced):
        return model
    own = getattr(model, "traced", None)
    if isinstance(own, Traced) and not specs and not named_specs:
        return own
    require_function("compile", model)
    if specs and named_specs:
        specs, named_specs = (), _named(model, specs, named_specs)
    return trace(model, dict(named_specs) if named_specs else tuple(specs), name=name)


def _named(model: Callable[..., Any], specs: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    names = list(inspect.signature(model).parameters)
    return dict(zip(names, specs, strict=False)) | dict(named)


class StepLoss(float):
    """The loss of one step, a float; metrics holds what else the step reports, by name."""

    metrics: Mapping[str, float]

    def __new__(cls, loss: float, metrics: Mapping[str, float] | None = None) -> StepLoss:
        made = super().__new__(cls, loss)
        made.metrics = dict(metrics or {})
        return made


class Step:
    """A compiled training step: step(*batch) runs forward, loss, gradients and update, and returns the loss.

    The model's parameters and buffers are changed in place; state holds them and the optimiser's own arrays by
    checkpoint name. graph: the whole step, as traced. Each call is one native run.
    """

    def __init__(self, made: StepGraph, options: Options) -> None:
        self.made = made
        self.graph = made.graph
        self.options = options
        self._inputs = self.graph.by_role("input")
        arrays = {source.value: source.array for source in made.sources}
        self._weights = [contiguous(arrays[v]) for v in self.graph.by_role("param", "state")]
        self.program = make_program(self.graph, self._weights, options)
        self._evaluation: Executable | None = None
        self._entry: Callable[..., object] = _refuse

    @property
    def state(self) -> dict[str, Array]:
        """Parameters, buffers, slots, step counter and random key by checkpoint name: the live arrays themselves."""
        return {source.name: source.array for source in self.made.sources}

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the batch's arrays."""
        return self.made.input_names

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        """The types of the call's arrays, in order; sizes may be symbolic."""
        return tuple(v.tensor for v in self._inputs)

    @property
    def reports(self) -> Sequence[PassReport]:
        """The passes that ran."""
        return getattr(self.program, "reports", ())

    def __call__(self, *batch: object, **named: object) -> StepLoss:
        """Trains on one batch; returns the loss before the update, with the metrics."""
        if not named:
            try:
                result = self._entry(*batch)
            except ChainruleError as problem:
                raise _explained(self.program, problem, batch) from None
            if result is not NotImplemented:
                return self._loss(as_list(result))
        with located():
            leaves = self.made.arguments.flatten(batch, named)
            outputs = self.program.run([as_input(leaf, v) for leaf, v in zip(leaves, self._inputs, strict=True)])
        self._entry = getattr(self.program, "entry", _refuse)
        return self._loss(outputs)

    def _loss(self, outputs: Sequence[Any]) -> StepLoss:
        *values, sound = [float(o) for o in outputs] + ([] if self.made.guarded else [1.0])
        if not sound:
            raise NumericsError(f"{self.graph.name}: a gradient is NaN or infinite; no weight was changed",
                                notes=[f"loss: {values[0]}"],
                                help="step.check_numerics(*batch) names the line that makes the first")  # fmt: skip
        return StepLoss(values[0], dict(zip(self.made.output_names[1:], values[1:], strict=True)))

    def eval(self, *batch: object, **named: object) -> StepLoss:
        """Loss and metrics of a batch out of training mode, with the weights of this moment; nothing changes."""
        if self._evaluation is None:
            self._evaluation = Executable(self.made.evaluation, replace(self.options, max_bytes=None))
        else:
            self._evaluation.refresh()
        found = self._evaluation(*batch, **named)
        return StepLoss(float(found["loss"]), {k: float(v) for k, v in found.items() if k != "loss"})

    def save(self, path: PathLike, *, dims: Mapping[str, int] | None = None, weights: str = "embedded",
             name: str | None = None) -> tuple[Path, ...]:  # fmt: skip
        """Writes the step as native code with a C header: a C program then trains the model.

        The weights, with the optimiser's state, are a block that the caller owns and each call changes in place. See
        chainrule.native.save_native.
        """
        names = {source.value: source.name for source in self.made.sources}
        ordered = [names[v] for v in self.graph.by_role("param", "state")]
        with located():
            return save_native(self.program, path, ordered, dims=dims, weights=weights, name=name)

    def check_numerics(self, *batch: object, **named: object) -> None:
        """Raises NumericsError naming the line that makes the first NaN or infinity of a step on this batch.

        It covers forward, backward and update; nothing is trained. See Executable.check_numerics.
        """
        with located():
            leaves = self.made.arguments.flatten(batch, named)
            checked = [as_input(leaf, value) for leaf, value in zip(leaves, self._inputs, strict=True)]
            _check_numerics(self.graph, checked, self._weights)

    def memory(self, dims: Mapping[str, int] | None = None) -> dict[str, int]:
        """Bytes: the arena for temporaries, its lower bound, and parameters with optimiser state."""
        bound = getattr(self.program, "bound", None)
        filled = dict.fromkeys(self.graph.symbols, 1) | dict(dims or {})
        arena = {} if bound is None else _plan_bytes(bound(filled))
        return arena | {"weight_bytes": sum(source.array.nbytes for source in self.made.sources)}

    def memory_report(self, dims: Mapping[str, int] | None = None) -> object:
        """The most that is alive at one kernel of a step, and what that is, with its lines: print it."""
        with located():
            filled = dict.fromkeys(self.graph.symbols, 1) | dict(dims or {})
            return _memory_report(self.program, filled, self.options.backend)


def training_step(model: Callable[..., Any], loss: Callable[..., Any], optimizer: Any, specs: Any, *,
                  metrics: Any = (), clip_norm: float | None = None, accumulate: int = 1, ema: float | None = None,
                  loss_scale: Any = 1.0, nonfinite: str = "keep", seed: int | None = None,
                  backend: str = "llvm", threads: int | None = None, verify: bool = False, target: str | None = None,
                  pipeline: str = "default", precision: str = "default", check_numerics: bool = False,
                  mixed: str | None = None, max_bytes: int | None = None, dims: Mapping[str, int] | None = None,
                  name: str | None = None) -> Step:  # fmt: skip
    """Forward, backward and optimiser update compiled to one call: step(x, y) -> loss.

    model: an nn.Module or function. loss: loss(output, *targets) -> scalar, or loss(model, *batch) -> scalar, told
    apart by the name of the first parameter. optimizer: of cr.optim; with a dict of them the loss returns a dict of the
    same names, and each trains its part by its own loss. specs: the pair (inputs, targets), each one cr.spec or a tuple
    of them; of a loss that takes the model, one for each of batch. metrics: "accuracy" or functions like the loss.
    clip_norm: bound on the gradients' joint norm. accumulate: update once in so many calls, by the mean gradient. ema:
    decay of a running mean of the weights. loss_scale: factor on the loss whose gradients are divided by it again, a
    number, "dynamic" or an optim.LossScale. nonfinite: what happens to gradients that are not finite: "keep" them,
    "skip" the call, which then changes no state, or "raise" NumericsError besides. seed: of dropout. backend,
    threads, verify, target, pipeline, precision, check_numerics: as in compile. mixed: "bf16" or "f16" computes the
    products of forward and backward pass in that type; weights, norms, losses and the update stay in their own.
    max_bytes: the most that temporaries may take at the sizes `dims` (by name, for symbolic ones). What does not fit is
    computed again for the backward pass, to the same bits, and step.memory_report(dims) says which. ArgumentError names
    the least that was reached if that is not enough.
    Raises ShapeError, ArgumentError or NotSupported (an op without gradient) with the user's line.
    """
    from chainrule.frontend.training import build_step

    with located():
        options = Options(backend, threads, verify, target, pipeline, check_numerics, mixed, precision, max_bytes, dims)
        made = build_step(model, loss, optimizer, specs, metrics=metrics, clip_norm=clip_norm,
                          accumulate=accumulate, ema=ema, loss_scale=loss_scale, nonfinite=nonfinite,
                          seed=seed, mixed=mixed, name=name)  # fmt: skip
        return Step(made, options)


__all__ = ["Executable", "Options", "Step", "StepLoss", "as_input", "compile", "make_program", "training_step"]

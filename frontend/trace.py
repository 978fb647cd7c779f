"""Tracing runs a Python function on tensors without numbers and keeps what it did as a graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend import scope as scopes
from chainrule.frontend.places import error, located
from chainrule.frontend.scope import Scope, Stored
from chainrule.frontend.structure import Structure, flatten
from chainrule.frontend.tensor import Tensor
from chainrule.ir.graph import Graph, Input, Value, needed_sizes, new_input, reachable
from chainrule.ir.types import TensorType, tensor, type_of


@dataclass(frozen=True)
class Spec:
    """The declared type of one input, with its name if one was given."""

    type: TensorType
    name: str | None = None
    is_leaf = True  # not a class attribute of data: a Spec is a leaf of nested arguments

    def __repr__(self) -> str:
        return f"spec({self.type}{f', name={self.name!r}' if self.name else ''})"


def spec(*dims: Any, dtype: object = "f32", name: str | None = None) -> Spec:
    """The type of an input: its sizes, ints or names of symbolic sizes ("N", "2*H+1"), and its element type.

    spec("N", 3, 224, 224) is a batch of any size; spec() is a number. One tuple of sizes may be given instead.
    Raises ArgumentError for a negative size, DTypeError for an unknown element type.
    """
    sizes = dims[0] if len(dims) == 1 and isinstance(dims[0], tuple | list) else dims
    with located():
        return Spec(tensor(dtype, sizes), name)


@dataclass(frozen=True)
class Arguments:
    """How the inputs of a traced function are given: positional and keyword arguments, nested as the specs were."""

    names: tuple[str, ...]
    structure: Structure

    def flatten(self, positional: Sequence[object], keywords: Mapping[str, object]) -> list[object]:
        """The leaves, one for each graph input of role "input". Raises ArgumentError for a wrong count or name.

        A name may be that of a positional argument.
        """
        given: dict[str, object] = dict(zip(self.names, positional, strict=False))
        if len(positional) > len(self.names):
            raise error(ArgumentError, f"{len(positional)} arguments were given, there are {len(self.names)}",
                        help="the arguments are " + ", ".join(self.names))  # fmt: skip
        for name, value in keywords.items():
            if name in given or name not in self.names:
                what = "was given twice" if name in given else "is not an argument"
                raise error(ArgumentError, f"{name} {what}", help="the arguments are " + ", ".join(self.names))
            given[name] = value
        missing = [name for name in self.names if name not in given]
        if missing:
            raise error(ArgumentError, f"missing: {', '.join(missing)}",
                        help="the arguments are " + ", ".join(self.names))  # fmt: skip
        leaves: list[object] = []
        for name, form in zip(self.names, self.structure.children, strict=True):
            leaves += form.leaves_of(given[name], name)
        return leaves


@dataclass(frozen=True)
class Origin:
    """What a file said beside the graph that was read from it, and an export of that graph says again.

    opset, ir_version: those that the exporter was asked for, of a file that chainrule wrote; of others None. metadata:
    labels, authors and the like.
    """

    opset: int | None
    ir_version: int | None
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Traced:
    """A traced function.

    graph: inputs are the arguments' leaves in order, then what the trace read of parameters and state; updates are the
    state's new values. arguments: from call arguments to the first of these inputs. structure: from the graph's outputs
    to the function's own result. sources: what each param and state input is read from, and written to after a call.
    origin: of a graph that a file held.
    """

    graph: Graph
    arguments: Arguments
    structure: Structure
    sources: tuple[tuple[Value, Stored], ...]
    origin: Origin | None = None

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs that a call gives."""
        return tuple(v.op.name_ for v in self.graph.by_role("input") if isinstance(v.op, Input))


def trace(fn: Callable[..., Any], specs: object = (), *, training: bool = False, name: str | None = None) -> Traced:
    """The graph of a function or module for inputs of these specs.

    specs: one spec; a tuple or list with one entry for each positional argument; or a dict of keyword arguments. Each
    entry may be nested (tuples, lists, dicts, dataclasses of specs). An array stands for the spec of its type.
    training: modules whose own mode is training behave as in training (dropout draws, batch norm counts).

    An exception of the function passes unchanged. Raises ArgumentError for a result that is not made of tensors and
    for tensors of other traces. Traces in different threads do not disturb each other.
    """
    require_function("trace", fn)
    scope = Scope(name or name_of(fn), training=training, names=stored_names(fn))
    inputs = declare(scope, fn, specs)
    with scopes.entered(scope), located():
        result = fn(*inputs.positional, **inputs.keywords)
        return finish(scope, inputs, result)


@dataclass(frozen=True)
class Declared:
    """The declared inputs of a trace, ready to be passed to the function."""

    values: tuple[Value, ...]
    arguments: Arguments
    positional: tuple[Any, ...]
    keywords: Mapping[str, Any]


def declare(scope: Scope, fn: Callable[..., Any], specs: object) -> Declared:
    """Makes one graph input for each leaf of the specs, named after the function's parameters."""
    by_name, keyword_names = _arguments(fn, specs)
    values: list[Value] = []
    tensors: list[object] = []
    forms: list[Structure] = []
    for argument, part in by_name.items():
        leaves, form = flatten(part)
        made = [_input(scope, leaf, path) for leaf, path in zip(leaves, form.paths(argument), strict=True)]
        values += made
        forms.append(form)
        tensors.append(form.build([Tensor(value, scope) for value in made]))
    arguments = Arguments(tuple(by_name), Structure(tuple, tuple(range(len(forms))), tuple(forms)))
    given = dict(zip(by_name, tensors, strict=True))
    positional = tuple(value for key, value in given.items() if key not in keyword_names)
    return Declared(tuple(values), arguments, positional, {k: v for k, v in given.items() if k in keyword_names})


def _arguments(fn: Callable[..., Any], specs: object) -> tuple[dict[str, object], set[str]]:
    """The specs by argument name, and which of them are passed by keyword."""
    if isinstance(specs, dict):
        _check_names(fn, [str(key) for key in specs])
        return {str(key): value for key, value in specs.items()}, set(map(str, specs))
    parts = list(specs) if isinstance(specs, tuple | list) else [specs]
    names = _parameter_names(fn, len(parts))
    return dict(zip(names, parts, strict=True)), set()


def _parameter_names(fn: Callable[..., Any], count: int) -> list[str]:
    """Names for `count` positional arguments. Raises ArgumentError when the function takes another number."""
    parameters = parameters_of(fn)
    if parameters is None:
        return [f"x{i}" if count > 1 else "x" for i in range(count)]
    fixed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    needed = [p.name for p in fixed if p.default is p.empty]
    if count < len(needed) or (count > len(fixed) and rest is None):
        raise error(ArgumentError, f"{name_of(fn)} takes {_counted(needed, fixed)}, {count} specs were given",
                    help="give one spec for each argument: (" + ", ".join(p.name for p in fixed) + ")")  # fmt: skip
    names = [p.name for p in fixed[:count]]
    return names + [f"{rest}{i}" for i in range(count - len(names))]


def _check_names(fn: Callable[..., Any], names: Sequence[str]) -> None:
    """Raises ArgumentError for a name that is none of the function's arguments, and for an argument without spec."""
    parameters = parameters_of(fn)
    if parameters is None or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unknown = [name for name in names if name not in known]
    missing = [p.name for p in parameters if p.name in known and p.default is p.empty and p.name not in names]
    if unknown or missing:
        what = f"has no argument {unknown[0]!r}" if unknown else f"needs a spec for {', '.join(missing)}"
        raise error(ArgumentError, f"{name_of(fn)} {what}", help="its arguments: " + (", ".join(known) or "none"))


def _counted(needed: Sequence[str], fixed: Sequence[inspect.Parameter]) -> str:
    least, most = len(needed), len(fixed)
    count = str(most) if least == most else f"{least} to {most}"
    return f"{count} argument{'' if count == '1' else 's'}"


def _input(scope: Scope, leaf: object, path: str) -> Value:
    if isinstance(leaf, np.ndarray | np.generic):
        leaf = Spec(type_of(np.asarray(leaf)))
    if isinstance(leaf, TensorType):
        leaf = Spec(leaf)
    if not isinstance(leaf, Spec):
        raise error(ArgumentError, f"{path}: {leaf!r} is not a spec",
                    help='declare the input: cr.spec("N", 3, 32, 32)')  # fmt: skip
    return new_input(scope.take_name(leaf.name or path), leaf.type)


def finish(scope: Scope, inputs: Declared, result: object) -> Traced:
    """The traced function, once its body has run with this result."""
    leaves, structure = flatten(result)
    paths = list(structure.paths())
    outputs = tuple(_output(leaf, path, scope) for leaf, path in zip(leaves, paths, strict=True))
    if not outputs and not scope.current:
        raise error(ArgumentError, f"{scope.name}: the function returned {result!r}", help="return a tensor")
    graph = graph_of(scope, inputs.values, outputs, output_names(scope, paths))
    return Traced(graph, inputs.arguments, structure, scope.bound())


def graph_of(
    scope: Scope,
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    names: Sequence[str],
    own: Sequence[tuple[Value, Value]] = (),
) -> Graph:
    """The graph of what a scope holds; own: further state inputs with their new values.

    Raises ArgumentError when it reaches into another trace.
    """
    bound = tuple(value for value, _ in scope.bound()) + tuple(state for state, _ in own)
    updates = (*scope.updates(), *own)
    known = {*inputs, *bound}
    told = (value for _, value in scope.root.sizes)
    for node in reachable((*outputs, *(new for _, new in updates), *told)):
        if isinstance(node.op, Input) and node not in known:
            raise error(ArgumentError, f"{scope.name}: a result is made of {node.op.name_!r} of another trace",
                        help="a tensor that is kept (on self, in a list) must not outlive its trace")  # fmt: skip
    sizes = needed_sizes(scope.root.sizes, (*outputs, *(new for _, new in updates)))
    return Graph(scope.name, (*inputs, *bound), tuple(outputs), updates, tuple(names), sizes)


def _output(leaf: object, path: str, scope: Scope) -> Value:
    if isinstance(leaf, Tensor):
        return leaf.value
    what = f"{scope.name}: the result" + (f" at {path}" if path else "")
    help = "return tensors; cr.asarray(x) makes one of an array or a number"
    raise error(ArgumentError, f"{what} is {_called(leaf)}, not a tensor", help=help)


def _called(leaf: object) -> str:
    if isinstance(leaf, np.ndarray):
        return "a numpy array"
    text = repr(leaf)
    return f"{type(leaf).__name__} {text}" if len(text) <= 30 else type(leaf).__name__


def output_names(scope: Scope, paths: Iterable[str]) -> list[str]:
    """One free name for each output: its path in the result, "output" for a bare tensor, "output0" for an index."""
    wanted = (f"output{path}" if not path or path[0].isdigit() else path for path in paths)
    return [scope.take_name(name) for name in wanted]


def parameters_of(fn: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """The parameters of a function, or of the method that computes a module; None where Python does not know them."""
    try:
        return list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return None


def require_function(what: str, fn: object) -> None:
    """Raises ArgumentError for what cannot be traced: a class in the place of its object, or no function at all."""
    if isinstance(fn, type):
        raise error(
            ArgumentError, f"{what}: {fn.__name__} is a class", help=f"give an object of it: {fn.__name__}(...)"
        )
    if not callable(fn):
        shown = repr(fn) if isinstance(fn, str | int | float) else type(fn).__name__
        raise error(ArgumentError, f"{what}: {shown} is neither a module nor a function",
                    help="give an nn.Module or a function of tensors")  # fmt: skip


def name_of(fn: object) -> str:
    """What a graph of this function or module is called: its own name, or its class in small letters."""
    target = getattr(fn, "__func__", fn)
    name = getattr(target, "__name__", None)
    if name is None or not isinstance(name, str):
        return type(fn).__name__.lower()
    return "function" if name == "<lambda>" else name


def stored_names(fn: object) -> dict[int, str]:
    """The state_dict path of each parameter and buffer (by id) of a module, or of the module that fn is a method of."""
    owner = fn if hasattr(fn, "named_stored") else getattr(fn, "__self__", None)
    named = getattr(owner, "named_stored", None)
    return {} if named is None else {id(stored): path for path, stored in named()}

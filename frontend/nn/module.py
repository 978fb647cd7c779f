"""A Module holds parameters, buffers and other modules as attributes; calling it on tensors builds its graph."""

from __future__ import annotations

import difflib
import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from chainrule.errors import ArgumentError, NotSupported
from chainrule.frontend import scope as scopes
from chainrule.frontend.places import error
from chainrule.frontend.stored import Buffer, Parameter, Stored
from chainrule.ir.op import Array
from chainrule.ir.types import as_dtype

SomeModule = TypeVar("SomeModule", bound="Module")


class _CallSignature:
    """Lets inspect.signature(module) tell the inputs of the method that computes; of the class it is Python's own."""

    def __get__(self, module: Module | None, owner: type[Module]) -> inspect.Signature:
        if module is None:
            raise AttributeError("__signature__")
        return inspect.signature(module.called())


class Module:
    """The base of layers and models. Subclasses set parameters, buffers and modules as attributes in __init__, and
    define what they compute as `__call__` or, as in PyTorch, `forward`.

    `super().__init__()` may be called and need not be. Names in the state_dict are attribute names joined by dots.
    """

    _mode = True
    _owner: weakref.ref[Module] | None = None
    name = ""
    __signature__ = _CallSignature()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.forward(*args, **kwargs)
        scope = scopes.current()
        if scope is not None and scope.observe is not None:
            scope.observe(self, result)
        return result

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; subclasses define this, or __call__."""
        raise error(NotSupported, f"{type(self).__name__}: the module has no forward",
                    help="define def __call__(self, x): or def forward(self, x):")  # fmt: skip

    def called(self) -> Callable[..., Any]:
        """The method whose arguments are the module's inputs."""
        return self.forward if type(self).__call__ is Module.__call__ else self.__call__

    @property
    def owner(self) -> weakref.ref[Module] | None:
        """The module that holds this one, if one does."""
        return self._owner

    @property
    def training(self) -> bool:
        """True when the module is in training mode and the running trace, if any, is one for training."""
        return self._mode and scopes.is_training()

    def __setattr__(self, name: str, value: object) -> None:
        before = self.__dict__.get(name)
        if isinstance(before, Stored) and not isinstance(value, Stored) and value is not None:
            where = f"{type(self).__name__}.{name}"
            raise error(ArgumentError, f"{where} is a {before.kind}, {type(value).__name__} was given",
                        help=f"copy numbers in with self.{name}.load(array); in a trace, buffer.assign(x)")  # fmt: skip
        _refuse_plain_containers(type(self).__name__, name, value)
        if isinstance(value, Stored | Module):
            adopt(self, name, value)
        object.__setattr__(self, name, value)

    def members(self) -> Iterator[tuple[str, object]]:
        """The attributes that may hold parameters, buffers and modules, in order of definition."""
        return iter(tuple(vars(self).items()))

    def holds(self, name: str, thing: object) -> bool:
        """True when the attribute of this name is this very object."""
        return any(key == name and value is thing for key, value in self.members())

    # Walks.

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that this one holds directly, by attribute name."""
        return ((name, value) for name, value in self.members() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """The modules that this one holds directly."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module ("") and all that it holds, each once, by path; holders before what they hold."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield path, module
            stack.extend((_joined(path, name), child) for name, child in reversed(list(module.named_children())))

    def modules(self) -> Iterator[Module]:
        """This module and all that it holds, each once."""
        return (module for _, module in self.named_modules())

    def named_stored(self) -> Iterator[tuple[str, Stored]]:
        """All parameters and buffers, each once, by path: of each module its parameters, then its buffers."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, stored in module.own_stored():
                if id(stored) not in seen:
                    seen.add(id(stored))
                    yield _joined(path, name), stored

    def own_stored(self) -> Iterator[tuple[str, Stored]]:
        """The parameters, then the buffers, that are attributes of this very module."""
        for kind in (Parameter, Buffer):
            yield from ((name, value) for name, value in self.members() if isinstance(value, kind))

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters, each once, by path."""
        return ((path, stored) for path, stored in self.named_stored() if isinstance(stored, Parameter))

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """All buffers, each once, by path."""
        return ((path, stored) for path, stored in self.named_stored() if isinstance(stored, Buffer))

    def buffers(self) -> Iterator[Buffer]:
        """All buffers, each once."""
        return (buffer for _, buffer in self.named_buffers())

    def register_buffer(self, name: str, data: object, persistent: bool = True) -> None:
        """Sets an attribute that holds state; None sets it to None."""
        setattr(self, name, None if data is None else Buffer(data, persistent))

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Sets an attribute that holds a parameter; None sets it to None."""
        setattr(self, name, parameter)

    def add_module(self, name: str, module: Module) -> None:
        """Sets an attribute that holds a module."""
        setattr(self, name, module)

    # State.

    def state_dict(self) -> dict[str, Array]:
        """A copy of every parameter and persistent buffer by path. Tied ones stand under each of their paths."""
        return {path: stored.data.copy() for path, stored in self._persistent()}

    def load_state_dict(self, state: Mapping[str, object], strict: bool = True) -> tuple[list[str], list[str]]:
        """Copies arrays into the parameters and buffers of the same paths; returns missing and unexpected names.

        With strict, missing or unexpected names raise ArgumentError. A wrong shape raises ShapeError in any case.
        Everything is checked before anything is copied.
        """
        own = dict(self._persistent())
        missing = [path for path in own if path not in state]
        unexpected = [path for path in state if path not in own]
        if strict and (missing or unexpected):
            raise _mismatch(type(self).__name__, missing, unexpected, list(own))
        given = {path: np.asarray(state[path]) for path in own if path in state}
        for path, array in given.items():
            own[path].check(array, path)
        for path, array in given.items():
            own[path].load(array, path)
        return missing, unexpected

    def _persistent(self) -> Iterator[tuple[str, Stored]]:
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            path, module = stack.pop()
            for name, stored in module.own_stored():
                if not isinstance(stored, Buffer) or stored.persistent:
                    yield _joined(path, name), stored
            stack.extend((_joined(path, name), child) for name, child in reversed(list(module.named_children())))

    # Changes.

    def train(self: SomeModule, mode: bool = True) -> SomeModule:
        """Puts this module and all in it into training mode (or out of it); returns itself."""
        for module in self.modules():
            object.__setattr__(module, "_mode", mode)
        return self

    def eval(self: SomeModule) -> SomeModule:
        """Takes this module and all in it out of training mode; returns itself."""
        return self.train(False)

    def requires_grad_(self: SomeModule, requires_grad: bool = True) -> SomeModule:
        """Says of every parameter whether training changes it; returns itself."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def to(self: SomeModule, dtype: object) -> SomeModule:
        """Converts every float parameter and buffer to a float type. Programs compiled before keep the old arrays."""
        wanted = as_dtype(dtype)
        if not wanted.is_float:
            raise error(ArgumentError, f"to: {wanted} is not a float type", help="use f32, f64, f16 or bf16")
        for _, stored in self.named_stored():
            if as_dtype(stored.data.dtype).is_float:
                stored.data = stored.data.astype(wanted.numpy)
        return self

    def apply(self: SomeModule, fn: Callable[[Module], object]) -> SomeModule:
        """Calls fn on every module in this one, then on itself; returns itself."""
        for module in reversed(list(self.modules())):
            fn(module)
        return self

    # Text.

    def extra_repr(self) -> str:
        """What stands in the brackets of repr: the layer's arguments."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        body = ([extra] if extra else []) + lines
        return f"{type(self).__name__}(\n  " + "\n  ".join(body) + "\n)"

    def summary(self, *specs: object) -> str:
        """A table of the layers, the shapes of their results and parameter counts, for inputs of these specs."""
        from chainrule.frontend.nn import summary as tables

        module: Any = self
        return tables.summary(module, specs)

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key != "_owner"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        for name, value in self.members():
            if isinstance(value, Stored | Module):
                adopt(self, name, value)


def adopt(holder: Any, name: str, member: Stored | Module) -> None:
    """Remembers that holder has this member under this name, so that the member knows its path."""
    if isinstance(member, Stored):
        member.owner, member.name = weakref.ref(holder), name
    else:
        object.__setattr__(member, "_owner", weakref.ref(holder))
        object.__setattr__(member, "name", name)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _refuse_plain_containers(owner: str, name: str, value: object) -> None:
    if not isinstance(value, list | tuple | dict):
        return
    parts = value.values() if isinstance(value, dict) else value
    if not any(isinstance(part, Module | Stored) for part in parts):
        return
    instead = "nn.ModuleDict(...)" if isinstance(value, dict) else "nn.ModuleList([...])"
    raise error(ArgumentError, f"{owner}.{name}: a plain {type(value).__name__} of modules or parameters",
                help=f"their weights would be missed by the state_dict and by training: use {instead}")  # fmt: skip


def _mismatch(owner: str, missing: list[str], unexpected: list[str], known: list[str]) -> ArgumentError:
    notes = []
    if missing:
        notes.append("missing: " + _some(missing))
    for name in unexpected[:5]:
        close = difflib.get_close_matches(name, known, 1)
        notes.append(f"unexpected: {name}" + (f"; did you mean {close[0]}?" if close else ""))
    if len(unexpected) > 5:
        notes.append(f"and {len(unexpected) - 5} more unexpected names")
    count = f"{len(missing)} missing and {len(unexpected)} unexpected names"
    return error(ArgumentError, f"load_state_dict: {owner} and the given state differ: {count}", notes=notes,
                 help="load_state_dict(state, strict=False) takes what fits")  # fmt: skip


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

"""Modules that hold modules: in a row, in a list, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from chainrule.errors import ArgumentError
from chainrule.frontend.nn.module import Module, adopt
from chainrule.frontend.places import error


class Container(Module):
    """What the containers share: their modules are kept by name in one dict, not as attributes."""

    def __init__(self) -> None:
        object.__setattr__(self, "held", {})

    held: dict[str, Module]

    def members(self) -> Iterator[tuple[str, object]]:
        yield from tuple(self.held.items())
        yield from ((name, value) for name, value in tuple(vars(self).items()) if name not in ("held", "_owner"))

    def hold(self, name: str, module: object) -> None:
        """Keeps a module under this name. Raises ArgumentError for anything else."""
        if not isinstance(module, Module):
            raise error(ArgumentError, f"{type(self).__name__}: {type(module).__name__} is not a module",
                        help="wrap a function in a small nn.Module, or call it in forward")  # fmt: skip
        adopt(self, name, module)
        self.held[name] = module

    def __len__(self) -> int:
        return len(self.held)

    def _renumbered(self, modules: Iterable[Module]) -> None:
        self.held.clear()
        for module in modules:
            self.hold(str(len(self.held)), module)

    def _at(self, index: int) -> Module:
        modules = list(self.held.values())
        if not -len(modules) <= index < len(modules):
            raise error(
                ArgumentError, f"{type(self).__name__}: there is no module {index}", help=f"it has {len(modules)}"
            )
        return modules[index]


class Sequential(Container):
    """Modules called one after another. One dict argument names them: Sequential({"conv": ..., "act": ...})."""

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.hold(name, module)
        else:
            for module in modules:
                self.hold(str(len(self.held)), module)

    def forward(self, x: Any) -> Any:
        for module in self.held.values():
            x = module(x)
        return x

    def append(self, module: Module) -> Sequential:
        """Adds a module at the end; returns itself."""
        self.hold(str(len(self.held)), module)
        return self

    def __iter__(self) -> Iterator[Module]:
        return iter(list(self.held.values()))

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module | Sequential:
        if isinstance(index, slice):
            return Sequential(dict(list(self.held.items())[index]))
        return self._at(index)


class ModuleList(Container):
    """A list of modules; it has no call of its own."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self._renumbered(modules)

    def append(self, module: Module) -> ModuleList:
        """Adds a module at the end; returns itself."""
        self.hold(str(len(self.held)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Adds modules at the end; returns itself."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Puts a module before the one at index."""
        modules = list(self.held.values())
        modules.insert(index, module)
        self._renumbered(modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(list(self.held.values()))

    def __setitem__(self, index: int, module: Module) -> None:
        self._at(index)
        self.hold(list(self.held)[index], module)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: int | slice) -> Module | ModuleList:
        return ModuleList(list(self.held.values())[index]) if isinstance(index, slice) else self._at(index)


class ModuleDict(Container):
    """Modules by name; it has no call of its own."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def update(self, modules: Mapping[str, Module]) -> None:
        """Adds modules, or replaces those of the same names."""
        for name, module in modules.items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if not name or "." in name:
            raise error(
                ArgumentError, f"ModuleDict: {name!r} is not a name", help="names are not empty and have no dot"
            )
        self.hold(name, module)

    def __getitem__(self, name: str) -> Module:
        if name not in self.held:
            raise error(
                ArgumentError, f"ModuleDict: there is no module {name!r}", help="it has " + ", ".join(self.held)
            )
        return self.held[name]

    def __contains__(self, name: object) -> bool:
        return name in self.held

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.held))

    def keys(self) -> Iterator[str]:
        """The names."""
        return iter(self)

    def values(self) -> Iterator[Module]:
        """The modules."""
        return iter(list(self.held.values()))

    def items(self) -> Iterator[tuple[str, Module]]:
        """Names and modules."""
        return iter(list(self.held.items()))

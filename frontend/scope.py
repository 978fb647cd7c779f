"""A scope is one running trace: it binds parameters and buffers to graph inputs and collects what the graph updates.

The current scope is a context variable, so traces in different threads do not see each other. A scope inside a scope (a
differentiated function, the body of a loop) shares its root's inputs. The body of a loop or branch is closed: a value
that it takes from around it becomes an input of its own, and what it assigns to buffers stays its own until the loop
hands it on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from chainrule.errors import ArgumentError
from chainrule.frontend.places import error
from chainrule.ir.dims import Dim, symbol
from chainrule.ir.graph import Input, Role, Value, new_input
from chainrule.ir.op import Array
from chainrule.ir.types import type_of


class Stored(Protocol):
    """What keeps an array between calls: a Parameter, a Buffer, the random key."""

    data: Array

    @property
    def role(self) -> Role: ...

    def path(self) -> str: ...


class Scope:
    """One running trace. names: the state_dict path of each stored object (by id) of the traced module.

    is_body: it becomes the body of a loop or branch. counter: in a loop's body, the number of the step, which makes its
    random keys differ from step to step.
    """

    def __init__(self, name: str, *, training: bool = False, names: Mapping[int, str] | None = None,
                 parent: Scope | None = None, is_body: bool = False, counter: Value | None = None) -> None:  # fmt: skip
        self.name = name
        self.training = training
        self.parent = parent
        self.is_body = is_body
        self.counter = counter
        self.root: Scope = parent.root if parent is not None else self
        self.home: Scope = parent.home if parent is not None and not is_body else self  # whose buffers it assigns
        self.names = dict(names or {})
        self.inputs: dict[int, tuple[Value, Stored]] = {}
        self.current: dict[int, Value] = {}
        self.captured: dict[Value, Value] = {}  # in a body: its input for each value from around it
        self.sizes: list[tuple[str, Value]] = []  # of the root: the sizes that the data tells, in order
        self.draws = 0
        self.key: Stored | None = None
        self.key_base: Value | None = None
        self.observe: Callable[[object, object], None] | None = parent.observe if parent is not None else None
        self._taken: set[str] = set()
        self._keep_alive: list[Stored] = []  # ids stay unique while their objects live

    def covers(self, other: Scope) -> bool:
        """True when a tensor of the other scope may be used here: it is this scope or one around it."""
        scope: Scope | None = self
        while scope is not None:
            if scope is other:
                return True
            scope = scope.parent
        return False

    def brought(self, value: Value, owner: Scope) -> Value:
        """A value of a scope around this one as it is seen here: each body between the two takes it as an input."""
        between: list[Scope] = []
        scope: Scope | None = self
        while scope is not None and scope is not owner:
            if scope.is_body:
                between.append(scope)
            scope = scope.parent
        for body in reversed(between):
            value = body._captured(value)
        return value

    def _captured(self, value: Value) -> Value:
        if not value.inputs and not isinstance(value.op, Input):  # a constant is made where it is used
            return value
        if value not in self.captured:
            name = value.op.name_ if isinstance(value.op, Input) else f"outer{len(self.captured)}"
            self.captured[value] = new_input(name, value.tensor, "param")
        return self.captured[value]

    def take_name(self, wanted: str) -> str:
        """The name, with a number added when another input of this trace has it."""
        root = self.root
        name, count = wanted, 1
        while name in root._taken:
            count += 1
            name = f"{wanted}_{count}"
        root._taken.add(name)
        return name

    @property
    def in_body(self) -> bool:
        """True in the body of a loop or branch, or in a scope inside one."""
        scope: Scope | None = self
        while scope is not None and not scope.is_body:
            scope = scope.parent
        return scope is not None

    def told(self, value: Value, name: str) -> Dim:
        """The size that a value of this trace is, as a symbol; one for each value."""
        root = self.root
        known = next((name for name, told in root.sizes if told is value), None)
        if known is None:
            known = self.take_name(name)
            root.sizes.append((known, value))
        return symbol(known)

    def input_of(self, stored: Stored) -> Value:
        """The graph input that stands for a stored array, made at its first use."""
        root = self.root
        found = root.inputs.get(id(stored))
        if found is None:
            name = root.take_name(root.names.get(id(stored)) or stored.path())
            found = root.inputs[id(stored)] = new_input(name, type_of(stored.data), stored.role), stored
            root._keep_alive.append(stored)
        return found[0]

    def read(self, stored: Stored) -> Value:
        """The value of a stored array at this point of the program: its input, or what was assigned to it."""
        start = self.input_of(stored)
        home = self.home
        while id(stored) not in home.current and home.parent is not None:
            home = home.parent.home
        return self.brought(home.current.get(id(stored), start), home)

    def assign(self, stored: Stored, value: Value) -> None:
        """Records that the array becomes this value; in a body, for the rest of the body."""
        self.input_of(stored)
        self.home.current[id(stored)] = value

    def assigned(self) -> dict[int, Stored]:
        """What was assigned here, by id."""
        return {key: self.root.inputs[key][1] for key in self.home.current}

    def bound(self) -> tuple[tuple[Value, Stored], ...]:
        """The inputs with what they stand for: those of the traced module in its own order, then the others."""
        places = {key: place for place, key in enumerate(self.names)}
        order = sorted(self.inputs, key=lambda key: places.get(key, len(places)))
        return tuple(self.inputs[key] for key in order)

    def updates(self) -> tuple[tuple[Value, Value], ...]:
        """Each bound input that was assigned, with its last value."""
        return tuple((value, self.current[id(stored)]) for value, stored in self.bound() if id(stored) in self.current)


_current: ContextVar[Scope | None] = ContextVar("chainrule_scope", default=None)


def current() -> Scope | None:
    """The running trace, None outside of any."""
    return _current.get()


def required(what: str) -> Scope:
    """The running trace. Raises ArgumentError outside of one."""
    scope = _current.get()
    if scope is None:
        raise error(ArgumentError, f"{what}: there is no running trace",
                    help="call it inside a function or module that is compiled or traced")  # fmt: skip
    return scope


@contextmanager
def entered(scope: Scope | None) -> Iterator[Scope | None]:
    """Within this context, the scope is the running trace (None: no trace runs, and functions compute at once)."""
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)


def is_training() -> bool:
    """True while a training step is traced, and outside of any trace."""
    scope = _current.get()
    return True if scope is None else scope.training

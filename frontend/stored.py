"""Parameters and buffers: tensors whose numbers live between calls in numpy arrays."""

from __future__ import annotations

import copy
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.frontend import eager
from chainrule.frontend import scope as scopes
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Operand, Tensor, value_of
from chainrule.ir.graph import Role, Value
from chainrule.ir.memory import aligned_copy, is_own
from chainrule.ir.op import Array
from chainrule.ir.types import as_dtype, type_of
from chainrule.ops import elementwise
from chainrule.ops.basic import constant

if TYPE_CHECKING:
    from chainrule.frontend.nn.module import Module


class Stored(Tensor):
    """A tensor kept in an array: `data`, C-contiguous and owned.

    Inside a trace it stands for an input of the graph. Compiled programs read `data` and training writes it in place,
    so the array object stays the same as long as shape and element type do.

    given: the array is given away, and is not copied where its memory suits.
    """

    kind = "stored tensor"

    def __init__(self, data: object, dtype: object = None, given: bool = False) -> None:
        if isinstance(data, Tensor):
            raise error(ArgumentError, f"{type(self).__name__.lower()}: {data!r} has no numbers to start from",
                        help="make it of a numpy array")  # fmt: skip
        array = np.asarray(data)
        wanted = array.dtype if dtype is None else as_dtype(dtype).numpy
        if dtype is None and not isinstance(data, np.ndarray | np.generic) and array.dtype == np.float64:
            wanted = np.dtype(np.float32)  # Python numbers: the library's default float
        held = as_dtype(wanted).numpy
        self.data: Array = array if given and array.dtype == held and is_own(array) else aligned_copy(array, held)
        self.owner: weakref.ref[Module] | None = None
        self.name = ""

    @property
    def role(self) -> Role:
        """What its graph input is for."""
        return "state"

    @property
    def value(self) -> Value:
        scope = scopes.current()
        return constant(self.data) if scope is None else scope.read(self)

    def path(self) -> str:
        """Its name in the state_dict of the outermost module that holds it; its kind when no module does."""
        parts = [self.name or self.kind]
        holder: Stored | Module = self
        while holder.owner is not None:
            outer = holder.owner()
            if outer is None or not outer.holds(holder.name, holder):
                break
            holder = outer
            if holder.owner is not None:
                parts.append(holder.name)
        return ".".join(reversed(parts))

    def load(self, array: object, what: str = "") -> None:
        """Copies numbers into `data`. Raises ShapeError or DTypeError, naming `what`, when they do not fit."""
        given = np.asarray(array)
        self.check(given, what or self.path())
        self.data[...] = given

    def check(self, array: Array, what: str) -> None:
        """Raises ShapeError or DTypeError, naming `what`, when an array cannot be loaded."""
        if array.shape != self.data.shape:
            raise error(ShapeError, f"{what}: shape {list(array.shape)} was given, it has {list(self.data.shape)}",
                        help="the module was built with other sizes than the file or array")  # fmt: skip
        if as_dtype(array.dtype).is_float != as_dtype(self.data.dtype).is_float:
            raise error(DTypeError, f"{what}: {array.dtype} was given, it holds {self.data.dtype}",
                        help="convert the array: array.astype(...)")  # fmt: skip

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        """The numbers, outside of a trace. Inside of one a parameter is a tensor like any other."""
        if scopes.current() is not None:
            return super().__array__(dtype, copy)
        return np.array(self.data, dtype, copy=copy)

    def __repr__(self) -> str:
        label = f' "{self.path()}"' if self.name else ""
        return f"{type(self).__name__}({type_of(self.data)}{label})"

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key != "owner"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.data = aligned_copy(self.data)
        self.owner = None

    def __deepcopy__(self, memo: dict[int, object]) -> Stored:
        twin = memo[id(self)] = type(self).__new__(type(self))
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return twin


class Parameter(Stored):
    """A trained tensor of a module. requires_grad=False keeps a training step from changing it."""

    kind = "parameter"

    def __init__(self, data: object, requires_grad: bool = True, dtype: object = None, given: bool = False) -> None:
        super().__init__(data, dtype, given)
        self.requires_grad = requires_grad

    @property
    def role(self) -> Role:
        return "param"


class Buffer(Stored):
    """A tensor of a module that is state but not trained: running statistics, counters.

    persistent=False keeps it out of the state_dict.
    """

    kind = "buffer"

    def __init__(self, data: object, persistent: bool = True, dtype: object = None, given: bool = False) -> None:
        super().__init__(data, dtype, given)
        self.persistent = persistent

    def assign(self, x: Operand) -> None:
        """The buffer becomes x: in a trace an update after the call, outside at once. Reading it gives x from here on.

        x is converted to the buffer's element type. Raises ShapeError when the shape differs.
        """
        value = elementwise.cast(value_of(x, "assign"), as_dtype(self.data.dtype))
        if value.shape != self.data.shape:
            raise error(ShapeError, f"assign: {value.type} was given, {self.path()} is {type_of(self.data)}",
                        help="an assigned tensor has the buffer's shape")  # fmt: skip
        scope = scopes.current()
        if scope is None:
            self.data[...] = eager.evaluate(value)
        else:
            scope.assign(self, value)

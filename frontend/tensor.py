"""A Tensor stands for a value of the graph that is being traced; Python operators and numpy's methods build nodes.

Operands may be tensors, parameters, numpy arrays (they become constants), Python numbers and symbolic sizes. Which
element type they meet in stands in `promotion`. The file is long because the methods of one class cannot be split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn, Union, cast

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.frontend import eager
from chainrule.frontend import scope as scopes
from chainrule.frontend.places import error, located
from chainrule.frontend.promotion import promoted, weakly_promoted
from chainrule.ir.dims import Dim, DimExpr
from chainrule.ir.graph import Input, Value
from chainrule.ir.op import Array
from chainrule.ir.types import DType, as_dtype, bool_, f32, i64, u64
from chainrule.ops import arithmetic, compare, elementwise, matmul, reduce, shaping, statistics, transcendental
from chainrule.ops.basic import constant, size_of

Operand = Union["Tensor", Array, np.generic, float, int, bool, DimExpr]
Axes = int | Sequence[int] | None

_TORCH_NAMES = {
    "backward": "cr.grad(f), or cr.training_step", "grad": "cr.grad(f)",
    "view": "x.reshape(...)", "permute": "x.transpose(...)", "unsqueeze": "cr.expand_dims(x, axis)",
    "size": "x.shape", "dim": "x.ndim", "float": 'x.astype("f32")', "double": 'x.astype("f64")',
    "long": 'x.astype("i64")', "detach": "cr.stop_gradient(x)", "numpy": "the result of a compiled call",
    "contiguous": "nothing: tensors have no layout", "to": "x.astype(...)", "t": "x.T", "cat": "cr.concatenate",
}  # fmt: skip


class Tensor:
    """A typed value of a running trace. It has a shape and an element type, and no numbers.

    Compared with == it gives a bool tensor, as numpy's arrays do; it hashes by identity. Its truth value, its numbers
    and iteration over it are refused with the way round.
    """

    def __init__(self, value: Value, scope: scopes.Scope | None) -> None:
        self._value = value
        self._scope = scope

    @property
    def value(self) -> Value:
        """The node of the graph; in the body of a loop, the body's own input for it.

        Raises ArgumentError when this tensor's trace is not running.
        """
        owner, running = self._scope, scopes.current()
        if owner is None or owner is running:
            return self._value
        if running is not None and running.covers(owner):
            return running.brought(self._value, owner)
        where = f"in the trace of {running.name!r}" if running is not None else "outside of any trace"
        place = self._value.loc
        raise error(
            ArgumentError, f"a tensor of the trace of {owner.name!r} is used {where}",
            notes=[f"the tensor: {self._value.type}" + (f" from {place.short()}" if place else "")],
            help="return it from the traced function, or keep it in an nn.Buffer: self.buffer.assign(x)",
        )  # fmt: skip

    @property
    def shape(self) -> tuple[Dim, ...]:
        """The sizes of the axes: ints, or symbolic sizes."""
        return self.value.shape

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.value.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.value.rank

    @property
    def size(self) -> Dim:
        """The number of elements."""
        return self.value.tensor.size

    @property
    def T(self) -> Tensor:
        """The tensor with its axes reversed."""
        return self.transpose()

    @property
    def mT(self) -> Tensor:
        """The tensor with its last two axes swapped."""
        return self.swapaxes(-1, -2)

    def __repr__(self) -> str:
        value = self._value
        if isinstance(value.op, Input):
            return f'<Tensor {value.type} "{value.op.name_}">'
        return f"<Tensor {value.type} {value.op.mnemonic}{f' from {value.loc.short()}' if value.loc else ''}>"

    def __len__(self) -> int:
        if self.ndim == 0:
            raise error(ArgumentError, "len: a tensor of rank 0 has no length", help="x.shape is ()")
        size = self.shape[0]
        if not isinstance(size, int):
            raise error(ArgumentError, f"len: the size {size} is not known while the model is traced",
                        help="x.shape[0] is the symbolic size; it can be used in shapes and arithmetic")  # fmt: skip
        return size

    # What needs numbers is refused.

    def __bool__(self) -> bool:  # noqa: PLE0304
        self._no_numbers("bool", "choose elements with cr.where(condition, a, b)")

    def __float__(self) -> float:
        self._no_numbers("float", "keep it a tensor: cr functions and operators take it")

    def __int__(self) -> int:
        self._no_numbers("int", "keep it a tensor; a size is x.shape[axis]")

    __index__ = __int__

    def item(self) -> float:
        """Refused: a traced tensor has no numbers."""
        self._no_numbers("item", "keep it a tensor, or return it and read the result of the compiled call")

    def tolist(self) -> list[float]:
        """Refused: a traced tensor has no numbers."""
        self._no_numbers("tolist", "return the tensor and read the result of the compiled call")

    def __array__(self, dtype: object = None, copy: object = None) -> Array:
        self._no_numbers("array", "use the function of the same name in chainrule (cr.exp for np.exp), or return the "
                         "tensor and read the result of the compiled call")  # fmt: skip

    def __array_function__(self, function: Any, types: object, args: object, kwargs: object) -> NoReturn:
        name = getattr(function, "__name__", "function")
        raise error(ArgumentError, f"numpy.{name}: called on {self!r}",
                    help=f"use chainrule's function or a method of the tensor: cr.{name}, x.{name}")  # fmt: skip

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **options: Any) -> Tensor:
        """array + tensor comes here as numpy.add(array, tensor) and is added; numpy's other functions are refused."""
        builder = _OPERATORS.get(ufunc.__name__)
        if builder is None or method != "__call__" or options or len(operands) != 2:
            name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
            raise error(ArgumentError, f"numpy.{name}: called on {self!r}",
                        help=f"use chainrule's own functions: cr.{ufunc.__name__}")  # fmt: skip
        return _binary(ufunc.__name__, builder, *operands)

    def __iter__(self) -> NoReturn:
        self._no_numbers("iteration", "index it (x[i]), or cut it with cr.split",
                         "a traced tensor cannot be iterated over")  # fmt: skip

    def __contains__(self, item: object) -> bool:
        self._no_numbers("in", "compare with == and reduce with .any()")

    def __setitem__(self, index: object, value: object) -> NoReturn:
        raise error(ArgumentError, "assignment: the elements of a tensor cannot be replaced in place",
                    help="build a new tensor: cr.where(mask, new, x), or cr.concatenate of its parts")  # fmt: skip

    def __getattr__(self, name: str) -> NoReturn:
        hint = _TORCH_NAMES.get(name)
        if hint is None and not name.startswith("_"):
            hint = "".join(f"x.{close}" for close in get_close_matches(name, dir(Tensor), 1))
        raise AttributeError(f"a Tensor has no attribute {name!r}" + (f"; use {hint}" if hint else ""), name=name)

    def _no_numbers(self, what: str, help: str, cause: str = "") -> NoReturn:
        cause = cause or "the numbers of a traced tensor are not known while the model is traced"
        raise error(ArgumentError, f"{what}: {cause}", notes=[f"the tensor: {self!r}"], help=help)

    # Operators.

    def __add__(self, other: Operand) -> Tensor:
        return _binary("add", elementwise.add, self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return _binary("add", elementwise.add, other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return _binary("sub", elementwise.sub, self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return _binary("sub", elementwise.sub, other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return _binary("mul", elementwise.mul, self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return _binary("mul", elementwise.mul, other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return _binary("div", divided, self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return _binary("div", divided, other, self)

    def __floordiv__(self, other: Operand) -> Tensor:
        return _binary("floor_divide", arithmetic.floor_divide, self, other)

    def __rfloordiv__(self, other: Operand) -> Tensor:
        return _binary("floor_divide", arithmetic.floor_divide, other, self)

    def __mod__(self, other: Operand) -> Tensor:
        return _binary("remainder", arithmetic.remainder, self, other)

    def __rmod__(self, other: Operand) -> Tensor:
        return _binary("remainder", arithmetic.remainder, other, self)

    def __pow__(self, other: Operand) -> Tensor:
        if isinstance(other, int) and other == 2 and not isinstance(other, bool):
            return wrap(arithmetic.square(self.value))
        return _binary("pow", transcendental.pow, self, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return _binary("pow", transcendental.pow, other, self)

    def __matmul__(self, other: Operand) -> Tensor:
        return _binary("matmul", matmul.matmul, self, other)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return _binary("matmul", matmul.matmul, other, self)

    def __neg__(self) -> Tensor:
        return wrap(elementwise.neg(self.value))

    def __pos__(self) -> Tensor:
        return wrap(self.value)

    def __abs__(self) -> Tensor:
        return wrap(elementwise.abs(self.value))

    def __invert__(self) -> Tensor:
        return wrap((compare.logical_not if self.dtype.is_bool else compare.bitwise_not)(self.value))

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return _binary("eq", compare.eq, self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return _binary("ne", compare.ne, self, other)

    def __lt__(self, other: Operand) -> Tensor:
        return _binary("lt", compare.lt, self, other)

    def __le__(self, other: Operand) -> Tensor:
        return _binary("le", compare.le, self, other)

    def __gt__(self, other: Operand) -> Tensor:
        return _binary("gt", compare.gt, self, other)

    def __ge__(self, other: Operand) -> Tensor:
        return _binary("ge", compare.ge, self, other)

    def __and__(self, other: Operand) -> Tensor:
        return _binary("and", both, self, other)

    def __or__(self, other: Operand) -> Tensor:
        return _binary("or", either, self, other)

    def __xor__(self, other: Operand) -> Tensor:
        return _binary("xor", differing, self, other)

    def __rand__(self, other: Operand) -> Tensor:
        return _binary("and", both, other, self)

    def __ror__(self, other: Operand) -> Tensor:
        return _binary("or", either, other, self)

    def __rxor__(self, other: Operand) -> Tensor:
        return _binary("xor", differing, other, self)

    def __lshift__(self, other: Operand) -> Tensor:
        return _binary("shift_left", compare.shift_left, self, other)

    def __rshift__(self, other: Operand) -> Tensor:
        return _binary("shift_right", compare.shift_right, self, other)

    def __hash__(self) -> int:
        return id(self)

    def __getitem__(self, index: object) -> Tensor:
        from chainrule.frontend.indexing import indexed

        with located():
            return wrap(indexed(self.value, index))

    # numpy's methods.

    def astype(self, dtype: object) -> Tensor:
        """The elements converted to another element type; the rules stand at the op `cast`."""
        with located():
            return wrap(elementwise.cast(self.value, as_dtype(dtype)))

    def reshape(self, *shape: Any) -> Tensor:
        """The elements, in order, under another shape: x.reshape(2, -1) or x.reshape((2, -1))."""
        with located():
            return wrap(shaping.reshape(self.value, unpacked(shape)))

    def transpose(self, *axes: Any) -> Tensor:
        """The axes in another order, reversed by default: x.transpose(0, 2, 1) or x.transpose((0, 2, 1))."""
        order = unpacked(axes)
        with located():
            return wrap(shaping.transpose(self.value, None if not axes or order == (None,) else order))

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Two axes exchanged."""
        order = list(range(self.ndim))
        with located():
            first, second = reduce.canonical_axis(self.value, axis1), reduce.canonical_axis(self.value, axis2)
            if not (0 <= first < self.ndim and 0 <= second < self.ndim):
                raise error(ArgumentError, f"swapaxes: axes {axis1} and {axis2} of {self.value.type}",
                            help=f"axes run from {-self.ndim} to {self.ndim - 1}")  # fmt: skip
            order[first], order[second] = order[second], order[first]
            return wrap(shaping.transpose(self.value, order))

    def flatten(self) -> Tensor:
        """All elements along one axis."""
        return self.reshape(-1)

    ravel = flatten

    def squeeze(self, axis: Axes = None) -> Tensor:
        """Axes of size 1 are gone."""
        with located():
            return wrap(shaping.squeeze(self.value, axis))

    def sum(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """The sum over axes. bool and small integers are summed in 64 bits, as numpy does."""
        return wrap(reduce.sum(_summable(self.value), axis, keepdims))

    def prod(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """The product over axes. bool and small integers are multiplied in 64 bits, as numpy does."""
        return wrap(reduce.prod(_summable(self.value), axis, keepdims))

    def mean(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """The mean over axes. Integers are averaged in f32."""
        return wrap(reduce.mean(as_float(self.value), axis, keepdims))

    def var(self, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """The variance over axes: the mean of squared distances from the mean, with divisor count - ddof."""
        return wrap(statistics.var(as_float(self.value), axis, keepdims, ddof))

    def std(self, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """The standard deviation over axes."""
        return wrap(statistics.std(as_float(self.value), axis, keepdims, ddof))

    def max(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """The largest over axes; NaN where there is one."""
        return wrap(reduce.amax(self.value, axis, keepdims))

    def min(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """The smallest over axes; NaN where there is one."""
        return wrap(reduce.amin(self.value, axis, keepdims))

    def any(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """True where one element over the axes is not zero."""
        return wrap(reduce.any_(elementwise.cast(self.value, bool_), axis, keepdims))

    def all(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """True where every element over the axes is not zero."""
        return wrap(reduce.all_(elementwise.cast(self.value, bool_), axis, keepdims))

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The i64 position of the first largest along an axis, or among all elements (axis None)."""
        value = self.value if axis is not None else shaping.reshape(self.value, (-1,))
        return wrap(reduce.argmax(value, 0 if axis is None else axis, keepdims))

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The i64 position of the first smallest along an axis, or among all elements (axis None)."""
        value = self.value if axis is not None else shaping.reshape(self.value, (-1,))
        return wrap(reduce.argmin(value, 0 if axis is None else axis, keepdims))

    def clip(self, min: float | None = None, max: float | None = None) -> Tensor:
        """The elements held between two numbers."""
        return wrap(arithmetic.clip(self.value, min, max))

    def round(self) -> Tensor:
        """The nearest whole numbers, the even ones at halves."""
        return wrap(arithmetic.round(self.value))

    def dot(self, other: Operand) -> Tensor:
        """The matrix product with another tensor."""
        return self @ other


# numpy's names of what its operators call, for arrays on the left of an operator.
_OPERATORS: dict[str, Callable[[Value, Value], Value]] = {
    "add": elementwise.add, "subtract": elementwise.sub, "multiply": elementwise.mul,
    "divide": lambda a, b: divided(a, b), "floor_divide": arithmetic.floor_divide, "remainder": arithmetic.remainder,
    "power": transcendental.pow, "matmul": matmul.matmul, "equal": compare.eq, "not_equal": compare.ne,
    "less": compare.lt, "less_equal": compare.le, "greater": compare.gt, "greater_equal": compare.ge,
    "bitwise_and": lambda a, b: both(a, b), "bitwise_or": lambda a, b: either(a, b),
    "bitwise_xor": lambda a, b: differing(a, b), "left_shift": compare.shift_left, "right_shift": compare.shift_right,
}  # fmt: skip


def wrap(value: Value) -> Tensor:
    """The tensor of a value in the running trace; outside of a trace its array, computed at once."""
    scope = scopes.current()
    return Tensor(value, scope) if scope is not None else cast(Tensor, eager.evaluate(value))


def as_tensor(x: Operand, what: str = "asarray") -> Tensor:
    """x as a Tensor, so that its methods can be called (outside of a trace these give arrays)."""
    return x if isinstance(x, Tensor) else Tensor(value_of(x, what), scopes.current())


def is_operand(x: object) -> bool:
    """True for what the operators take."""
    return isinstance(x, Tensor | np.ndarray | np.generic | float | int | DimExpr)


def value_of(x: object, what: str) -> Value:
    """The graph value of an operand. Raises ArgumentError, naming the function `what`, for anything else."""
    if isinstance(x, Tensor):
        return x.value
    if isinstance(x, float | int | np.bool_):
        return number_value(bool(x) if isinstance(x, np.bool_) else x, weakly_promoted(None, x), what)
    if isinstance(x, DimExpr):
        return size_of(x)
    if isinstance(x, np.ndarray | np.generic):
        as_dtype(x.dtype)
        return constant(x)
    hint = "make it an array of a stated type: np.array([...], np.float32)" if isinstance(x, list | tuple) else ""
    raise error(ArgumentError, f"{what}: {type(x).__name__} is not a tensor",
                help=hint or "it takes tensors, numpy arrays and numbers")  # fmt: skip


def values_of(what: str, *operands: object) -> list[Value]:
    """The values of operands in the element type they meet in (see promotion)."""
    strong: DType | None = None
    values = [None if _is_weak(x) else value_of(x, what) for x in operands]
    for value in values:
        if value is not None:
            strong = value.dtype if strong is None else promoted(strong, value.dtype)
    common = strong
    for x in operands:
        if _is_weak(x):
            common = weakly_promoted(common, x)
    assert common is not None
    return [number_value(x, common, what) if v is None else elementwise.cast(v, common)
            for x, v in zip(operands, values, strict=True)]  # fmt: skip


def number_value(number: object, dtype: DType, what: str) -> Value:
    """A Python number or a size as a 0-d value of an element type. Raises ArgumentError when it does not fit."""
    if isinstance(number, DimExpr):
        return elementwise.cast(size_of(number), dtype)
    if dtype.is_int and isinstance(number, int):
        limits = np.iinfo(dtype.numpy)
        if not limits.min <= number <= limits.max:
            raise error(ArgumentError, f"{what}: {number} does not fit into {dtype}",
                        help=f"{dtype} holds {limits.min} to {limits.max}; convert the tensor first")  # fmt: skip
    return constant(number, dtype)


def float_value_of(x: object, what: str) -> Value:
    """The value of an operand of a function on floats: integers and bools become f32."""
    return as_float(value_of(x, what))


def as_float(value: Value) -> Value:
    """The value itself if it is of a float type, else in f32."""
    return value if value.dtype.is_float else elementwise.cast(value, f32)


def unpacked(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """f(1, 2) and f((1, 2)) mean the same."""
    return tuple(items[0]) if len(items) == 1 and isinstance(items[0], tuple | list) else items


def divided(a: Value, b: Value) -> Value:
    """a / b; integers are divided in f32."""
    return elementwise.div(as_float(a), as_float(b))


def both(a: Value, b: Value) -> Value:
    """a & b: logical for bools, bitwise for integers."""
    return (compare.logical_and if a.dtype.is_bool else compare.bitwise_and)(a, b)


def either(a: Value, b: Value) -> Value:
    """a | b: logical for bools, bitwise for integers."""
    return (compare.logical_or if a.dtype.is_bool else compare.bitwise_or)(a, b)


def differing(a: Value, b: Value) -> Value:
    """a ^ b: logical for bools, bitwise for integers."""
    return (compare.logical_xor if a.dtype.is_bool else compare.bitwise_xor)(a, b)


def _is_weak(x: object) -> bool:
    return isinstance(x, float | int | DimExpr)


def _summable(value: Value) -> Value:
    if value.dtype.is_float or value.dtype.bits == 64:
        return value
    return elementwise.cast(value, u64 if value.dtype.kind == "u" else i64)


def _binary(what: str, builder: Any, a: object, b: object) -> Tensor:
    if isinstance(a, list | tuple) or isinstance(b, list | tuple):
        value_of(a if isinstance(a, list | tuple) else b, what)
    if not is_operand(a) or not is_operand(b):
        return NotImplemented
    with located():
        left, right = values_of(what, a, b)
        return wrap(builder(left, right))

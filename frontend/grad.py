"""Derivatives of plain functions: grad, value_and_grad, vjp, jvp, hvp, jacobian, hessian, stop_gradient.

They take a function of tensors and give one, so they nest to any order, and work inside a trace (nodes are added to
its graph) and outside of one (numpy arrays in and out, computed at once). An argument may be nested (tuples, lists,
dicts) or a module: the derivative is then a dict with one entry for each parameter. Parts of an argument that are not
floats are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, NotSupported, ShapeError
from chainrule.frontend import scope as scopes
from chainrule.frontend import seeding
from chainrule.frontend.anywhere import anywhere
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import error, located
from chainrule.frontend.scope import Scope
from chainrule.frontend.structure import Structure, flatten
from chainrule.frontend.tensor import Operand, Tensor, value_of, wrap
from chainrule.frontend.trace import name_of
from chainrule.ir.graph import Value, new_input, reachable, rebuild
from chainrule.ops import basic, shaping
from chainrule.passes.autodiff import gradients
from chainrule.passes.safe_forms import safe

Function = Callable[..., Any]
MOST_ROWS = 1024  # a Jacobian of more rows would unroll into a graph of as many backward passes


def stop_gradient(x: Operand) -> Tensor:
    """x, as a constant for differentiation."""
    return wrap(basic.stop_gradient(value_of(x, "stop_gradient")))


def grad(fn: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """The function that gives the gradient of fn's scalar result with respect to argument argnums (or several).

    With has_aux fn returns (scalar, anything) and the result is (gradient, anything). Raises ShapeError when fn's
    result is not a scalar, NotSupported, naming op and line, where there is no derivative.
    """

    def gradient(*args: Any) -> Any:
        found = value_and_grad(fn, argnums, has_aux)(*args)
        return (found[1], found[0][1]) if has_aux else found[1]

    return gradient


def value_and_grad(fn: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """The function that gives (fn's result, the gradient): see `grad`."""

    def both(*args: Any) -> Any:
        def body(*inner: Any) -> Any:
            call = Call(fn, inner, _places(argnums, len(inner)), has_aux)
            if call.outputs[0].rank != 0 or len(call.outputs) != 1 or not call.outputs[0].dtype.is_float:
                raise error(ShapeError, f"grad: {name_of(fn)} returned {call.described()}, not a float scalar",
                            help="reduce it to a scalar, or use vjp or jacobian")  # fmt: skip
            call.pull(None)
            value = call.result()
            grads = call.gradients()
            return (value, call.aux()) if has_aux else value, grads if _several(argnums) else grads[0]

        return anywhere(body, args)

    return both


def vjp(fn: Function, *args: Any) -> tuple[Any, Function]:
    """fn's result, and the function from its cotangents (formed like the result) to those of all args, as a tuple.

    The result and all that is pulled back are of one call: of the same random numbers, and buffers move once. Only in
    the body of a loop that the result stands outside of does pulling back trace fn anew.
    """
    places = tuple(range(len(args)))
    if scopes.current() is None:
        return _vjp_of_arrays(fn, args, places)
    with located():
        call = Call(fn, args, places)
        result, home = call.result(), scopes.required("vjp").home

    def pull(cotangents: Any) -> Any:
        with located():
            same = call if scopes.required("vjp").home is home else Call(fn, args, places)
            return same.pulled(cotangents)

    return result, pull


def _vjp_of_arrays(fn: Function, args: Sequence[Any], places: Sequence[int]) -> tuple[Any, Function]:
    """vjp outside of a trace: pulling back traces fn again, with the numbers that were drawn for the result."""
    drawn = seeding.state()
    result = anywhere(lambda *inner: Call(fn, inner, places).result(), args)

    def again(cotangents: Any, *inner: Any) -> Any:
        home = scopes.required("vjp").home
        before = dict(home.current)
        call = Call(fn, inner, places)
        home.current = before  # buffers moved when the result was computed
        return call.pulled(cotangents)

    def pull(cotangents: Any) -> Any:
        with seeding.replayed(drawn):
            return anywhere(again, (cotangents, *args))

    return result, pull


def jvp(fn: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """fn's result at the primals, and its derivative in the direction of the tangents (formed like the primals).

    It is the transpose of the transpose: two backward passes, the first of which is cut away.
    """
    if len(primals) != len(tangents):
        cause = f"jvp: {len(primals)} primals and {len(tangents)} tangents"
        raise error(ArgumentError, cause, help="give one tangent for each primal")

    def body(points: Any, moves: Any) -> Any:
        call = Call(fn, tuple(points), tuple(range(len(points))))
        directions = [value_of(leaf, "jvp") for part, form in zip(moves, call.forms, strict=True)
                      for leaf in form.leaves_of(part, "the tangents")]  # fmt: skip
        pushed = call.push(directions)
        return call.result(), call.structure.build([wrap(v) for v in pushed])

    return anywhere(body, (tuple(primals), tuple(tangents)))


def hvp(fn: Function, x: Any, v: Any) -> Any:
    """The Hessian of a scalar function at x times v."""
    return jvp(grad(fn), (x,), (v,))[1]


def jacobian(fn: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The function that gives d result / d argument, of shape [*result, *argument], for argument argnums (or several).

    Where the result or an argument is nested, so is what is given: formed like the result, and each of its parts like
    the argument. One backward pass for each element of the result is unrolled: raises NotSupported above 1024 and for
    symbolic sizes.
    """

    def matrix(*args: Any) -> Any:
        def body(*inner: Any) -> Any:
            call = Call(fn, inner, _places(argnums, len(inner)))
            count = sum((output.tensor.size for output in call.outputs), start=0)
            if not isinstance(count, int) or count > MOST_ROWS:
                raise error(NotSupported, f"jacobian: a result of {count} elements is not unrolled",
                            help=f"up to {MOST_ROWS} of known sizes are; use vjp in a loop of your own")  # fmt: skip
            parts: list[Any] = []
            for place in range(len(call.outputs)):
                call.grads = _rows(call, place)
                parts.append(tuple(call.gradients()) if _several(argnums) else call.gradients()[0])
            return call.structure.build(parts)

        return anywhere(body, args)

    return matrix


def _rows(call: Call, place: int) -> list[Value]:
    """The derivatives of all elements of one output by each leaf, [*output, *leaf]."""
    shape = [d for d in call.outputs[place].shape if isinstance(d, int)]
    rows: list[list[Value]] = []
    for index in np.ndindex(*shape):
        seeds = [basic.zeros_like(output) for output in call.outputs]
        seed = np.zeros(shape, seeds[place].dtype.numpy)
        seed[index] = 1
        seeds[place] = basic.constant(seed)
        call.pull(seeds)
        rows.append(call.grads)
    if not rows:
        return [basic.full(0.0, (*shape, *leaf.shape), leaf.dtype) for leaf in call.leaves]
    return [shaping.reshape(shaping.stack(column), (*shape, *leaf.shape))
            for leaf, *column in zip(call.leaves, *rows, strict=True)]  # fmt: skip


def hessian(fn: Function, argnums: int | Sequence[int] = 0) -> Function:
    """The function that gives the matrix of second derivatives of a scalar function: see `jacobian`."""
    return jacobian(grad(fn, argnums), argnums)


class Call:
    """One call of a function on placeholders for some of its arguments, so that only these are differentiated.

    What the call built, and buffers it assigned, are put onto the real arguments by `_onto_arguments`.
    """

    def __init__(self, fn: Function, args: Sequence[Any], places: Sequence[int], has_aux: bool = False) -> None:
        outer = scopes.required("grad")
        self.inner = Scope(f"{outer.name}.{name_of(fn)}", training=outer.training, parent=outer)
        self.forms: list[Structure] = []
        self.leaves: list[Value] = []  # the real arguments' values
        self.holders: list[Value] = []  # what stands for them inside
        given = list(args)
        before, told = dict(outer.home.current), len(outer.root.sizes)
        for place in places:
            given[place] = self._placed(args[place], place)
        with scopes.entered(self.inner):
            result = fn(*given)
            main, self._aux = _split(result, has_aux)
            leaves, self.structure = flatten(main)
            self.outputs = [_tensor(leaf, fn).value for leaf in leaves]
        self.onto = dict(zip(self.holders, self.leaves, strict=True))
        self._settle(outer.home, before)
        sizes = outer.root.sizes
        sizes[told:] = [(name, self._onto_arguments([value])[0]) for name, value in sizes[told:]]
        self.grads: list[Value] = []

    def _placed(self, argument: Any, place: int) -> Any:
        """The argument with placeholders for its tensors; a module stands for itself, with its parameters as leaves."""
        if isinstance(argument, Module):
            named = dict(argument.named_parameters())
            values = [parameter.value for parameter in named.values()]
            self.forms.append(flatten(named)[1])
            self.leaves += values
            self.holders += values
            return argument
        leaves, form = flatten(argument)
        self.forms.append(form)
        made: list[object] = []
        for leaf in leaves:
            value = value_of(leaf, f"argument {place}")
            if not value.dtype.is_float:
                raise error(DTypeError, f"grad: argument {place} is {value.type}, which has no derivative",
                            help="differentiate with respect to floats; choose them with argnums")  # fmt: skip
            holder = new_input(f"argument{place}", value.tensor)
            self.leaves.append(value)
            self.holders.append(holder)
            made.append(Tensor(holder, self.inner))
        return form.build(made)

    def _settle(self, home: Scope, before: dict[int, Value]) -> None:
        """Puts the buffers that the call assigned onto the real arguments."""
        changed = {key: value for key, value in home.current.items() if before.get(key) is not value}
        for key, value in zip(changed, self._onto_arguments(list(changed.values())), strict=True):
            home.current[key] = value

    def _onto_arguments(self, values: Sequence[Value]) -> list[Value]:
        """The values with placeholders replaced by the real arguments."""
        done: dict[Value, Value] = {k: v for k, v in self.onto.items() if k is not v}
        if not done:
            return list(values)
        for node in reachable(values):
            if node not in done:
                done[node] = rebuild(node, tuple(done[v] for v in node.inputs))
        return [done[v] for v in values]

    def pull(self, cotangents: Sequence[Value] | None) -> None:
        """Finds the gradients with respect to the leaves, for cotangents of the outputs (ones for a scalar)."""
        if cotangents is not None:
            for output, cotangent in zip(self.outputs, cotangents, strict=True):
                _expect_like("the cotangent", cotangent, output)
        found = gradients(safe(self.outputs), self.holders, cotangents)
        filled = [basic.zeros_like(h) if g is None else g for g, h in zip(found, self.holders, strict=True)]
        self.grads = self._onto_arguments(filled)

    def pulled(self, cotangents: Any) -> tuple[Any, ...]:
        """The gradients for cotangents that are formed like the result."""
        leaves = self.structure.leaves_of(cotangents, "the cotangents")
        self.pull([value_of(leaf, "vjp") for leaf in leaves])
        return tuple(self.gradients())

    def push(self, directions: Sequence[Value]) -> list[Value]:
        """The derivatives of the outputs in these directions of the leaves."""
        for leaf, direction in zip(self.leaves, directions, strict=True):
            _expect_like("the tangent", direction, leaf)
        seeds = [new_input("seed", v.tensor) for v in self.outputs]
        pulled = gradients(safe(self.outputs), self.holders, seeds)
        kept = [(g, d) for g, d in zip(pulled, directions, strict=True) if g is not None]
        found = gradients([g for g, _ in kept], seeds, [d for _, d in kept]) if kept else (None,) * len(seeds)
        filled = [basic.zeros_like(s) if g is None else g for g, s in zip(found, seeds, strict=True)]
        unseeded = dict(
            zip(seeds, map(basic.zeros_like, seeds), strict=True)
        )  # linear: the seeds' values do not matter
        self.onto |= unseeded
        return self._onto_arguments(filled)

    def gradients(self) -> list[Any]:
        """The gradients, each formed like its argument."""
        parts = iter(self.grads)
        return [form.build([wrap(next(parts)) for _ in range(form.count)]) for form in self.forms]

    def result(self) -> Any:
        """The function's result, of the real arguments."""
        return self.structure.build([wrap(v) for v in self._onto_arguments(self.outputs)])

    def aux(self) -> Any:
        """What the function returned beside, of the real arguments."""
        leaves, form = flatten(self._aux)
        with scopes.entered(self.inner):
            values = [leaf.value if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        real = iter(self._onto_arguments([v for v in values if isinstance(v, Value)]))
        return form.build([wrap(next(real)) if isinstance(v, Value) else v for v in values])

    def described(self) -> str:
        """The types of the outputs."""
        return ", ".join(str(v.type) for v in self.outputs) or "nothing"


def _split(result: Any, has_aux: bool) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise error(ArgumentError, "grad: with has_aux the function returns a pair", help="return loss, anything")
    return result


def _tensor(leaf: object, fn: Function) -> Tensor:
    if not isinstance(leaf, Tensor):
        raise error(ArgumentError, f"grad: {name_of(fn)} returned {type(leaf).__name__}, not a tensor",
                    help="compute it from the arguments with chainrule's functions")  # fmt: skip
    return leaf


def _expect_like(what: str, value: Value, like: Value) -> None:
    if value.type != like.type:
        raise error(ShapeError, f"{what} is {value.type}, {like.type} is expected", help="give one of the same type")


def _places(argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    wanted = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for place in wanted:
        if not -count <= place < count:
            raise error(ArgumentError, f"grad: there is no argument {place}",
                        help=f"{count} arguments were given; argnums counts them from 0")  # fmt: skip
    return tuple(place % count for place in wanted)


def _several(argnums: int | Sequence[int]) -> bool:
    return not isinstance(argnums, int)

"""Functions that say how their gradient is made: checkpoint computes again, custom_vjp states it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule.errors import ArgumentError
from chainrule.frontend import scope as scopes
from chainrule.frontend.anywhere import anywhere
from chainrule.frontend.bodies import Body, Leaves, hand_on, opened, traced_branch
from chainrule.frontend.places import error
from chainrule.frontend.tensor import wrap
from chainrule.frontend.trace import name_of
from chainrule.ir.body import Body as GraphBody
from chainrule.ir.body import body_of
from chainrule.ir.graph import Value, build, results
from chainrule.ops import control

Function = Callable[..., Any]


def checkpoint(f: Function) -> Function:
    """f, whose gradient keeps its arguments alone and computes f again, instead of keeping what f computed.

    It trades time (one more forward pass of f) for memory. f may use tensors and parameters from around it.
    """

    def kept(*args: Any) -> Any:
        return anywhere(lambda *inner: _checkpoint(f, inner), args)

    return kept


def custom_vjp(f: Function, fwd: Function, bwd: Function) -> Function:
    """f with a gradient of your own. fwd(*args) gives (f's result, kept); bwd(kept, gradient) a gradient for each arg.

    kept: anything nested. gradient is nested like the result, and a gradient like its argument; None where there is
    none, as for arguments that are not floats. What the functions depend on must be an argument: raises ArgumentError
    where one uses a tensor from around it, ShapeError or DTypeError where types do not fit.
    """

    def stated(*args: Any) -> Any:
        return anywhere(lambda *inner: _custom(f, fwd, bwd, inner), args)

    return stated


def _checkpoint(f: Function, args: Sequence[Any]) -> Any:
    body, made = traced_branch("checkpoint", f, args)
    stored = body.scope.assigned()
    body.outputs = [*made.values, *(body.scope.read(s) for s in stored.values())]
    captured = list(body.captured())
    found = control.checkpoint(body.graph(captured), captured)
    hand_on(stored, found[len(made.values) :])
    return made.form.build([wrap(v) for v in found[: len(made.values)]])


def _custom(f: Function, fwd: Function, bwd: Function, args: Sequence[Any]) -> Any:
    given = [Leaves.of(argument, "custom_vjp") for argument in args]
    primal, out = _called(f, given)
    result = _leaves(primal, out)
    forward, pair = _called(fwd, given)
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise error(ArgumentError, f"custom_vjp: {name_of(fwd)} returned {type(pair).__name__}, not a pair",
                    help="return (result, kept)")  # fmt: skip
    same, kept = _leaves(forward, pair[0]), _leaves(forward, pair[1])
    result.form.leaves_of(same.form.build(same.values), "custom_vjp: the result of fwd")
    backward, grads = _called(bwd, [kept, result])
    places, found = _gradients(backward, grads, given, bwd)
    primal.outputs, forward.outputs, backward.outputs = result.values, [*same.values, *kept.values], found
    op = control.CustomVjp(_closed(primal), _closed(forward), _closed(backward), places)
    made = results(build(op, *(v for part in given for v in part.values)))
    return result.form.build([wrap(v) for v in made])


def _called(f: Function, parts: Sequence[Leaves]) -> tuple[Body, Any]:
    """A function called in a body of its own, on placeholders for nested arguments."""
    body = opened("custom_vjp")
    args: list[Any] = []
    for n, part in enumerate(parts):
        held = part.holders(f"x{n}", [v.tensor for v in part.values])
        body.own += held
        args.append(part.tensors(held, body.scope))
    with scopes.entered(body.scope):
        return body, f(*args)


def _leaves(body: Body, nested: Any) -> Leaves:
    with scopes.entered(body.scope):
        return Leaves.of(nested, "custom_vjp")


def _gradients(body: Body, grads: Any, given: Sequence[Leaves], bwd: Function) -> tuple[tuple[int, ...], list[Value]]:
    """The places of the float arguments that have a gradient, and these gradients."""
    if not isinstance(grads, tuple | list) or len(grads) != len(given):
        count = len(grads) if isinstance(grads, tuple | list) else 1
        raise error(ArgumentError, f"custom_vjp: {name_of(bwd)} gave {count} gradients for {len(given)} arguments",
                    help="return a tuple with one for each, None where there is none")  # fmt: skip
    places: list[int] = []
    found: list[Value] = []
    first = 0
    for n, (grad, part) in enumerate(zip(grads, given, strict=True)):
        if grad is not None:
            leaves = _leaves(body, part.form.build(part.form.leaves_of(grad, f"custom_vjp: gradient {n}")))
            floats = [i for i, v in enumerate(part.values) if v.dtype.is_float]
            places += [first + i for i in floats]
            found += [leaves.values[i] for i in floats]
        first += len(part.values)
    return tuple(places), found


def _closed(body: Body) -> GraphBody:
    outside = list(body.captured())
    if outside:
        raise error(ArgumentError, f"custom_vjp: a tensor {outside[0].type} from around it is used",
                    help="give it as an argument: only arguments have gradients")  # fmt: skip
    return body_of(body.graph([]))

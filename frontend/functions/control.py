"""Loops and branches that stay loops and branches: scan, while_loop, cond and map trace their bodies once.

A body is a function of tensors. It may use tensors, parameters and buffers from around it; buffers that it assigns keep
what the last step assigned, and random draws differ from step to step. Arguments and results may be nested (tuples,
lists, dicts, dataclasses). Outside of a trace all of them take numpy arrays and compute at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chainrule.errors import ArgumentError, ChainruleError, DTypeError, ShapeError
from chainrule.frontend import scope as scopes
from chainrule.frontend.anywhere import anywhere
from chainrule.frontend.places import error
from chainrule.frontend.scope import Scope, Stored
from chainrule.frontend.structure import Structure, flatten
from chainrule.frontend.tensor import Operand, Tensor, value_of, wrap
from chainrule.frontend.trace import name_of
from chainrule.ir.dims import Dim, as_dim
from chainrule.ir.graph import Graph, Input, Value, input_name, new_input, reachable
from chainrule.ir.types import TensorType, bool_, i64
from chainrule.ops import control
from chainrule.ops.basic import constant, zeros_like
from chainrule.ops.compare import lt
from chainrule.ops.elementwise import add, cast, where
from chainrule.ops.ranges import iota
from chainrule.ops.shaping import reshape

Function = Callable[..., Any]


def scan(f: Function, init: Any, xs: Any = None, length: Dim | str | None = None, reverse: bool = False, *,
         lengths: Operand | None = None) -> tuple[Any, Any]:  # fmt: skip
    """The last carry of a loop, and what its steps gave, stacked: f(carry, x) -> (carry, y) for each x along axis 0.

    init: the first carry; f gives the next ones of the same types. xs: nested arrays with one leading axis of the same
    size, symbolic or not, or None with a `length`. reverse: the loop begins at the end; y stands where its x stands.
    lengths: for ragged batches. xs are then [T, N, ...] and carries [N, ...]; from step lengths[n] on, row n of the
    carry stays as it is and row n of y is zero.

    Raises ShapeError or DTypeError, naming the part, when f changes the type of its carry; ArgumentError for another
    nesting, or when nothing tells the length.
    """
    return anywhere(lambda *args: _scan(f, args, length, reverse), (init, xs, lengths))


def map(f: Function, xs: Any) -> Any:
    """f(x) for each x along the first axis of xs, stacked."""
    return scan(lambda carry, x: (carry, f(x)), None, xs)[1]


def while_loop(cond: Function, body: Function, init: Any, max_trips: Dim | str | None = None) -> Any:
    """The carry when the loop ends: as long as cond(carry) is true, carry = body(carry).

    max_trips: the body runs at most so often; with this bound the loop has a gradient. Raises as `scan` does.
    """
    bound = None if max_trips is None else as_dim(max_trips)
    return anywhere(lambda carry: _while(cond, body, carry, bound), (init,))


def cond(pred: Operand, true_fn: Function, false_fn: Function, *operands: Any) -> Any:
    """true_fn(*operands) if pred is true, else false_fn(*operands); only one of them runs.

    pred: a bool, or a scalar tensor of bool. Both functions give the same nesting of the same types: raises
    ArgumentError, ShapeError or DTypeError, naming the part, where they differ.
    """
    if isinstance(pred, bool):
        return (true_fn if pred else false_fn)(*operands)
    return anywhere(lambda flag, *args: _cond(flag, true_fn, false_fn, args), (pred, *operands))


@dataclass
class _Leaves:
    """A nested argument as values. weak: which are Python numbers, whose type follows what they meet."""

    values: list[Value]
    form: Structure
    weak: list[bool]

    @staticmethod
    def of(argument: Any, what: str) -> _Leaves:
        leaves, form = flatten(argument)
        weak = [isinstance(leaf, int | float) and not isinstance(leaf, bool) for leaf in leaves]
        return _Leaves([value_of(leaf, what) for leaf in leaves], form, weak)

    def paths(self, name: str) -> list[str]:
        return list(self.form.paths(name))

    def holders(self, name: str, types: Sequence[TensorType]) -> list[Value]:
        """Placeholders for the values, named by their places."""
        return [new_input(path, type) for path, type in zip(self.paths(name), types, strict=True)]

    def tensors(self, values: Sequence[Value], scope: Scope) -> Any:
        """The argument with tensors in place of its leaves."""
        return self.form.build([Tensor(v, scope) for v in values])


@dataclass
class _Body:
    """A function being traced as a body. own: its inputs that are no captures, in order."""

    scope: Scope
    own: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    form: Structure | None = None

    def hold(self, stored: Mapping[int, Stored]) -> None:
        """Makes the buffers that the body assigns inputs of it."""
        for key in stored:
            outer = self.scope.root.inputs[key][0]
            self.scope.current[key] = new_input(input_name(outer), outer.tensor)
            self.own.append(self.scope.current[key])

    def captured(self) -> dict[Value, Value]:
        """The body's input for each value that it uses from around it."""
        used = reachable(self.outputs)
        inner = set(used)
        found = {outer: holder for outer, holder in self.scope.captured.items() if holder in inner}
        known = {*self.own, *found.values()}
        return found | {v: v for v in used if isinstance(v.op, Input) and v not in known}

    def graph(self, captured: Sequence[Value]) -> Graph:
        """The closed graph; captured: values from around it, one input for each."""
        holders = self.captured()
        inputs = [holders.get(v) or new_input(f"unused{i}", v.tensor) for i, v in enumerate(captured)]
        return Graph(self.scope.name.rpartition(".")[2], (*self.own, *inputs), tuple(self.outputs))


def _opened(name: str, counter: Value | None = None) -> _Body:
    outer = scopes.required(name)
    return _Body(Scope(f"{outer.name}.{name}", training=outer.training, parent=outer, is_body=True, counter=counter))


def _hand_on(stored: Mapping[int, Stored], values: Sequence[Value]) -> None:
    """Assigns in the running scope what a loop or branch left in the buffers."""
    for buffer, value in zip(stored.values(), values, strict=True):
        scopes.required("scan").assign(buffer, value)


def _scan(f: Function, args: Sequence[Any], length: Dim | str | None, reverse: bool) -> tuple[Any, Any]:
    init, xs, lengths = args
    carry, stacked = _Leaves.of(init, "scan"), _Leaves.of(xs, "scan")
    steps = _steps(stacked, None if length is None else as_dim(length))
    limits = None if lengths is None else value_of(lengths, "scan")
    if limits is not None and (limits.rank != 1 or not limits.dtype.is_int):
        raise error(ShapeError, f"scan: lengths is {limits.type}", help="give one whole number for each row: i64[N]")
    stored: dict[int, Stored] = {}
    while True:
        body = _traced_step(f, carry, stacked, stored, limits)
        assert body.form is not None
        fresh = {k: s for k, s in body.scope.assigned().items() if k not in stored}
        if not fresh and not _retyped(carry, body.outputs):
            break
        stored |= fresh
    _require_carry("scan", carry, body.outputs[: len(carry.values)])
    before = [scopes.required("scan").read(s) for s in stored.values()]
    counting = [iota((steps,), 0, i64)] if body.own[-1] in set(reachable(body.outputs)) else []
    if not counting:
        body.own.pop()
    captured = list(body.captured())
    found = control.scan(body.graph(captured), [*carry.values, *before], [*stacked.values, *counting], captured, steps,
                         reverse)  # fmt: skip
    held = len(carry.values)
    _hand_on(stored, found[held : held + len(stored)])
    results = body.form.build([wrap(v) for v in found[held + len(stored) :]])
    return carry.form.build([wrap(v) for v in found[:held]]), results


def _traced_step(f: Function, carry: _Leaves, stacked: _Leaves, stored: Mapping[int, Stored],
                 limits: Value | None) -> _Body:  # fmt: skip
    """The body of a scan. own: carried values, buffers, slices, and last the number of the step."""
    counter = new_input("step", TensorType(i64, ()))
    body = _opened("scan", counter)
    held = carry.holders("carry", [v.tensor for v in carry.values])
    slices = stacked.holders("x", [v.tensor.with_shape(v.shape[1:]) for v in stacked.values])
    body.own += held
    body.hold(stored)
    body.own += [*slices, counter]
    with scopes.entered(body.scope):
        result = f(carry.tensors(held, body.scope), stacked.tensors(slices, body.scope))
        if not isinstance(result, tuple) or len(result) != 2:
            raise error(ArgumentError, f"scan: {name_of(f)} returned {type(result).__name__}, not a pair",
                        help="return (carry, y); y may be None")  # fmt: skip
        leaves = carry.form.leaves_of(result[0], "scan: the carry")
        after = [value_of(leaf, "scan") for leaf in leaves]
        made = _Leaves.of(result[1], "scan")
        body.form = made.form
        kept = [body.scope.read(s) for s in stored.values()]
        if limits is not None:
            running = lt(counter, cast(body.scope.brought(limits, _around(body.scope)), i64))
            after = [_masked(running, new, old, p) for new, old, p in zip(after, held, carry.paths("carry"))]
            made.values = [_masked(running, y, zeros_like(y), p) for y, p in zip(made.values, made.paths("y"))]
        body.outputs = [*after, *kept, *made.values]
    return body


def _around(scope: Scope) -> Scope:
    assert scope.parent is not None
    return scope.parent


def _masked(running: Value, new: Value, old: Value, path: str) -> Value:
    """new for the rows that still run, else old; both are [N, ...]. A type that changed is reported by the caller."""
    if new.type != old.type:
        return new
    if new.rank == 0 or new.shape[0] != running.shape[0]:
        raise error(ShapeError, f"scan: {path} is {new.type}, lengths has {running.shape[0]} rows",
                    help="with lengths, the first axis of carries and results is that of the rows")  # fmt: skip
    return where(reshape(running, (running.shape[0], *(1 for _ in new.shape[1:]))), new, old)


def _steps(stacked: _Leaves, length: Dim | None) -> Dim:
    """The number of steps. Raises ArgumentError when nothing tells it, ShapeError where two things disagree."""
    found, source = length, "length"
    for path, value in zip(stacked.paths("xs"), stacked.values, strict=True):
        if value.rank == 0:
            raise error(ShapeError, f"scan: {path} is {value.type}, which has no axis to loop over",
                        help="its first axis is that of the steps; a value for all steps is used as it is")  # fmt: skip
        if found is not None and value.shape[0] != found:
            raise error(ShapeError, f"scan: {path} has {value.shape[0]} steps, by {source} there are {found}",
                        notes=[f"{path}: {value.type}"], help="all stacked arrays have one leading size")  # fmt: skip
        found, source = (found, source) if found is not None else (value.shape[0], path)
    if found is None:
        raise error(ArgumentError, "scan: nothing tells the number of steps", help="give xs, or length=")
    return found


def _retyped(carry: _Leaves, after: Sequence[Value]) -> bool:
    """Gives Python numbers among the first carries the element type that the body makes of them; True if one changed.
    """
    changed = False
    for i, (before, new) in enumerate(zip(carry.values, after)):
        if carry.weak[i] and new.dtype != before.dtype and new.shape == before.shape:
            carry.values[i], carry.weak[i], changed = cast(before, new.dtype), False, True
    return changed


def _require_carry(what: str, carry: _Leaves, after: Sequence[Value]) -> None:
    """Raises ShapeError or DTypeError, naming the part, where the type of a carried value changes."""
    for path, before, new in zip(carry.paths("carry"), carry.values, after, strict=True):
        if new.type != before.type:
            raise _changed(f"{what}: {path} is {before.type} before a step and {new.type} after it", before, new)


def _changed(cause: str, before: Value, after: Value) -> ChainruleError:
    place = f" from {after.loc.short()}" if after.loc and after.inputs else ""
    kind = DTypeError if before.shape == after.shape else ShapeError
    return error(kind, cause, notes=[f"before: {before.type}", f"after:  {after.type}{place}"],
                 help="start from a value of the type that the step gives, or convert it: x.astype(...)")  # fmt: skip


def _while(test: Function, step: Function, init: Any, bound: Dim | None) -> Any:
    carry = _Leaves.of(init, "while_loop")
    stored: dict[int, Stored] = {}
    while True:
        counter = new_input("step", TensorType(i64, ()))
        asked, body = (_traced_trip(fn, carry, stored, counter) for fn in (test, step))
        if asked.scope.assigned().keys() - stored.keys():
            raise error(ArgumentError, "while_loop: the condition assigns a buffer", help="assign it in the body")
        fresh = {k: s for k, s in body.scope.assigned().items() if k not in stored}
        if not fresh and not _retyped(carry, body.outputs):
            break
        stored |= fresh
    _require_carry("while_loop", carry, body.outputs)
    body.outputs += [body.scope.read(s) for s in stored.values()]
    _require_flag("while_loop: the condition", asked.outputs)
    before = [*carry.values, *(scopes.required("while_loop").read(s) for s in stored.values())]
    if counter in set(reachable((*asked.outputs, *body.outputs))):
        before.append(constant(0, i64))
        body.outputs.append(add(counter, constant(1, i64)))
    else:
        asked.own.pop()
        body.own.pop()
    captured = list(dict.fromkeys([*asked.captured(), *body.captured()]))
    found = control.while_(asked.graph(captured), body.graph(captured), before, captured, bound)
    held = len(carry.values)
    _hand_on(stored, found[held : held + len(stored)])
    return carry.form.build([wrap(v) for v in found[:held]])


def _traced_trip(fn: Function, carry: _Leaves, stored: Mapping[int, Stored], counter: Value) -> _Body:
    """The body or condition of a while loop. own: carried values, buffers, and last the number of the step."""
    body = _opened("while", counter)
    held = carry.holders("carry", [v.tensor for v in carry.values])
    body.own += held
    body.hold(stored)
    body.own.append(counter)
    with scopes.entered(body.scope):
        result = fn(carry.tensors(held, body.scope))
        _, body.form = flatten(result)
        one = body.form.kind == "leaf"
        leaves = [result] if one else carry.form.leaves_of(result, "while_loop: the carry")
        body.outputs = [value_of(leaf, "while_loop") for leaf in leaves]
    return body


def _require_flag(what: str, outputs: Sequence[Value]) -> None:
    if len(outputs) != 1 or outputs[0].dtype != bool_ or outputs[0].rank != 0:
        found = ", ".join(str(v.type) for v in outputs) or "nothing"
        kind = DTypeError if len(outputs) == 1 and outputs[0].rank == 0 else ShapeError
        raise error(kind, f"{what} is {found}, not one bool", help="compare scalars: x < 3; or reduce with any or all")


def _cond(flag: Any, true_fn: Function, false_fn: Function, operands: Sequence[Any]) -> Any:
    predicate = value_of(flag, "cond")
    _require_flag("cond: the predicate", [predicate])
    (then, first), (otherwise, second) = (_traced_branch(fn, operands) for fn in (true_fn, false_fn))
    first.form.leaves_of(second.form.build(second.values), "cond: the result of false_fn")
    for i, path in enumerate(first.paths("result")):
        _meet(first, second, i, path)
    stored = then.scope.assigned() | otherwise.scope.assigned()
    for branch, made in ((then, first), (otherwise, second)):
        branch.outputs = [*made.values, *(branch.scope.read(s) for s in stored.values())]
    if not then.outputs:
        raise error(ArgumentError, "cond: the branches return nothing", help="return a tensor from both")
    captured = list(dict.fromkeys([*then.captured(), *otherwise.captured()]))
    found = control.cond(predicate, then.graph(captured), otherwise.graph(captured), captured)
    _hand_on(stored, found[len(first.values) :])
    return first.form.build([wrap(v) for v in found[: len(first.values)]])


def _traced_branch(fn: Function, operands: Sequence[Any]) -> tuple[_Body, _Leaves]:
    body = _opened("cond")
    with scopes.entered(body.scope):
        return body, _Leaves.of(fn(*operands), "cond")


def _meet(first: _Leaves, second: _Leaves, i: int, path: str) -> None:
    """Gives a Python number the type of the other branch's result. Raises ShapeError or DTypeError for other types."""
    a, b = first.values[i], second.values[i]
    if a.shape == b.shape and a.dtype != b.dtype and first.weak[i] != second.weak[i]:
        first.values[i], second.values[i] = (cast(a, b.dtype), b) if first.weak[i] else (a, cast(b, a.dtype))
    elif a.type != b.type:
        raise error(DTypeError if a.shape == b.shape else ShapeError,
                    f"cond: {path} is {a.type} where the predicate is true and {b.type} where it is false",
                    help="both branches give the same types: convert one, x.astype(...)")  # fmt: skip

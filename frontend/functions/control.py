"""Loops and branches that stay loops and branches: scan, while_loop, cond and map trace their bodies once.

A body is a function of tensors. It may use tensors, parameters and buffers from around it; buffers that it assigns keep
what the last step assigned, and random draws differ from step to step. Arguments and results may be nested (tuples,
lists, dicts, dataclasses). Outside of a trace all of them take numpy arrays and compute at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from chainrule.errors import ArgumentError, ChainruleError, DTypeError, ShapeError
from chainrule.frontend import scope as scopes
from chainrule.frontend.anywhere import anywhere
from chainrule.frontend.bodies import Body, Leaves, called, hand_on, opened, traced_branch
from chainrule.frontend.functions.recompute import checkpoint
from chainrule.frontend.places import error, located
from chainrule.frontend.scope import Scope, Stored
from chainrule.frontend.structure import flatten
from chainrule.frontend.tensor import Operand, Tensor, value_of, wrap
from chainrule.frontend.trace import name_of
from chainrule.ir.dims import Dim, as_dim, floordiv
from chainrule.ir.graph import Value, new_input, reachable
from chainrule.ir.types import TensorType, bool_, i64
from chainrule.ops import control
from chainrule.ops.basic import constant, size_of, zeros_like
from chainrule.ops.compare import lt
from chainrule.ops.declared import within
from chainrule.ops.elementwise import add, cast, mul, where
from chainrule.ops.ranges import iota
from chainrule.ops.shaping import concat, narrow, reshape

Function = Callable[..., Any]


def scan(f: Function, init: Any, xs: Any = None, length: Dim | str | None = None, reverse: bool = False, *,
         lengths: Operand | None = None, checkpoint_every: int | None = None) -> tuple[Any, Any]:  # fmt: skip
    """The last carry of a loop, and what its steps gave, stacked: f(carry, x) -> (carry, y) for each x along axis 0.

    init: the first carry; f gives the next ones of the same types. xs: nested arrays with one leading axis of the same
    size, symbolic or not, or None with a `length`. reverse: the loop begins at the end; y stands where its x stands.
    lengths: for ragged batches. xs are then [T, N, ...] and carries [N, ...]; from step lengths[n] on, row n of the
    carry stays as it is and row n of y is zero. A call with lengths below 0, or beyond the steps, raises ArgumentError.
    checkpoint_every: the gradient keeps the carry of every so many steps alone and computes the steps between again.

    Raises ShapeError or DTypeError, naming the part, when f changes the type of its carry; ArgumentError for another
    nesting, or when nothing tells the length.
    """
    if checkpoint_every is None:
        return anywhere(lambda *args: _scan(f, _bounded(args, length), length, reverse), (init, xs, lengths))
    if not isinstance(checkpoint_every, int) or checkpoint_every < 1:
        raise error(ArgumentError, f"scan: checkpoint_every={checkpoint_every!r} is no number of steps",
                    help="give an int of 1 or more")  # fmt: skip
    return anywhere(lambda *args: _chunked(f, _bounded(args, length), length, reverse, checkpoint_every),
                    (init, xs, lengths))  # fmt: skip


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


def _bounded(args: Sequence[Any], length: Dim | str | None) -> tuple[Any, Any, Any]:
    """The arguments of a scan, with lengths that are checked in every call."""
    init, xs, lengths = args
    if lengths is None:
        return init, xs, None
    steps = _steps(Leaves.of(xs, "scan"), None if length is None else as_dim(length))
    with located():
        return init, xs, wrap(within(_limits(lengths), 0, steps, "lengths"))


def _scan(f: Function, args: Sequence[Any], length: Dim | str | None, reverse: bool) -> tuple[Any, Any]:
    init, xs, lengths = args
    carry, stacked = Leaves.of(init, "scan"), Leaves.of(xs, "scan")
    steps = _steps(stacked, None if length is None else as_dim(length))
    limits = None if lengths is None else _limits(lengths)
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
    hand_on(stored, found[held : held + len(stored)])
    results = body.form.build([wrap(v) for v in found[held + len(stored) :]])
    return carry.form.build([wrap(v) for v in found[:held]]), results


def _limits(lengths: Operand) -> Value:
    """The rows' lengths. Raises ShapeError unless there is one whole number for each."""
    limits = value_of(lengths, "scan")
    if limits.rank != 1 or not limits.dtype.is_int:
        raise error(ShapeError, f"scan: lengths is {limits.type}", help="give one whole number for each row: i64[N]")
    return limits


def _traced_step(f: Function, carry: Leaves, stacked: Leaves, stored: Mapping[int, Stored],
                 limits: Value | None) -> Body:  # fmt: skip
    """The body of a scan. own: carried values, buffers, slices, and last the number of the step."""
    counter = new_input("step", TensorType(i64, ()))
    body = opened("scan", counter)
    held = carry.holders("carry", [v.tensor for v in carry.values])
    slices = stacked.holders("x", [v.tensor.with_shape(v.shape[1:]) for v in stacked.values])
    body.own += held
    body.hold(stored)
    body.own += [*slices, counter]
    with scopes.entered(body.scope):
        result = called("scan", f, carry.tensors(held, body.scope), stacked.tensors(slices, body.scope))
        if not isinstance(result, tuple) or len(result) != 2:
            raise error(ArgumentError, f"scan: {name_of(f)} returned {type(result).__name__}, not a pair",
                        help="return (carry, y); y may be None")  # fmt: skip
        leaves = carry.form.leaves_of(result[0], "scan: the carry")
        after = [value_of(leaf, "scan") for leaf in leaves]
        made = Leaves.of(result[1], "scan")
        body.form = made.form
        kept = [body.scope.read(s) for s in stored.values()]
        if limits is not None:
            running = lt(counter, cast(body.scope.brought(limits, _around(body.scope)), i64))
            after = [_masked(running, new, old, p) for new, old, p in zip(after, held, carry.paths("carry"))]
            made.values = [_masked(running, y, zeros_like(y), p) for y, p in zip(made.values, made.paths("y"))]
        body.outputs = [*after, *kept, *made.values]
    return body


def _chunked(f: Function, args: Sequence[Any], length: Dim | str | None, reverse: bool,
             every: int) -> tuple[Any, Any]:  # fmt: skip
    """A scan over chunks of `every` steps, each a scan under a checkpoint, and a scan of the steps left over."""
    init, xs, lengths = args
    stacked = Leaves.of(xs, "scan")
    steps = _steps(stacked, None if length is None else as_dim(length))
    count = floordiv(steps, every)
    rest = steps - count * every

    def cut(start: Dim, size: Dim, shape: tuple[Dim, ...]) -> Any:
        parts = [narrow(v, 0, start, size) for v in stacked.values]
        return stacked.form.build([wrap(reshape(v, (*shape, *v.shape[1:]))) for v in parts])

    def chunk(carry: Any, part: Any) -> tuple[Any, Any]:
        chosen, begin = part
        return _scan(f, (carry, chosen, _left(lengths, begin)), every, reverse)

    begins = wrap(mul(iota((count,)), constant(every, i64)))
    whole, left = (cut(0, count * every, (count, every)), begins), cut(count * every, rest, (rest,))
    last = _left(lengths, wrap(size_of(count * every)))
    if reverse:
        carry, tail = (init, None) if rest == 0 else _scan(f, (init, left, last), rest, True)
        carry, made = scan(checkpoint(chunk), carry, whole, count, True)
    else:
        carry, made = scan(checkpoint(chunk), init, whole, count)
        carry, tail = (carry, None) if rest == 0 else _scan(f, (carry, left, last), rest, False)
    return carry, _joined(made, tail, count * every)


def _left(lengths: Operand | None, begin: Tensor) -> Tensor | None:
    """What a chunk that begins here has of the lengths; none is left below 1."""
    return None if lengths is None else wrap(cast(_limits(lengths), i64)) - begin


def _joined(made: Any, tail: Any, steps: Dim) -> Any:
    """Results by chunks and by steps as results by steps."""
    chunks, form = flatten(made)
    values = [value_of(leaf, "scan") for leaf in chunks]
    flat = [reshape(v, (steps, *v.shape[2:])) for v in values]
    if tail is not None:
        flat = [concat([v, value_of(leaf, "scan")], 0) for v, leaf in zip(flat, form.leaves_of(tail), strict=True)]
    return form.build([wrap(v) for v in flat])


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


def _steps(stacked: Leaves, length: Dim | None) -> Dim:
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


def _retyped(carry: Leaves, after: Sequence[Value]) -> bool:
    """Gives Python numbers among the first carries the element type that the body makes of them; True if one changed.
    """
    changed = False
    for i, (before, new) in enumerate(zip(carry.values, after)):
        if carry.weak[i] and new.dtype != before.dtype and new.shape == before.shape:
            carry.values[i], carry.weak[i], changed = cast(before, new.dtype), False, True
    return changed


def _require_carry(what: str, carry: Leaves, after: Sequence[Value]) -> None:
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
    carry = Leaves.of(init, "while_loop")
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
    hand_on(stored, found[held : held + len(stored)])
    return carry.form.build([wrap(v) for v in found[:held]])


def _traced_trip(fn: Function, carry: Leaves, stored: Mapping[int, Stored], counter: Value) -> Body:
    """The body or condition of a while loop. own: carried values, buffers, and last the number of the step."""
    body = opened("while", counter)
    held = carry.holders("carry", [v.tensor for v in carry.values])
    body.own += held
    body.hold(stored)
    body.own.append(counter)
    with scopes.entered(body.scope):
        result = called("while_loop", fn, carry.tensors(held, body.scope))
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
    (then, first), (otherwise, second) = (traced_branch("cond", fn, operands) for fn in (true_fn, false_fn))
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
    hand_on(stored, found[len(first.values) :])
    return first.form.build([wrap(v) for v in found[: len(first.values)]])


def _meet(first: Leaves, second: Leaves, i: int, path: str) -> None:
    """Gives a Python number the type of the other branch's result. Raises ShapeError or DTypeError for other types."""
    a, b = first.values[i], second.values[i]
    if a.shape == b.shape and a.dtype != b.dtype and first.weak[i] != second.weak[i]:
        first.values[i], second.values[i] = (cast(a, b.dtype), b) if first.weak[i] else (a, cast(b, a.dtype))
    elif a.type != b.type:
        raise error(DTypeError if a.shape == b.shape else ShapeError,
                    f"cond: {path} is {a.type} where the predicate is true and {b.type} where it is false",
                    help="both branches give the same types: convert one, x.astype(...)")  # fmt: skip

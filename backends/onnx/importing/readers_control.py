"""Branches and loops of ONNX: If, Loop and Scan, in every opset's meaning.

What is decided when the model is loaded is taken at once: a branch whose condition is known. A Loop that runs a known
number of times is a scan; one that its body ends is a loop with a test; and one whose values change their types from
round to round is unrolled, if it is short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from chainrule.backends.onnx.importing.growing import Gathering, growing
from chainrule.backends.onnx.node import Body, Entry, Given, Read, Reader, Undecided, undecided
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.body import tells_sizes
from chainrule.ir.dims import Dim, DimExpr, dim_max
from chainrule.ir.graph import Graph, Value, needed_sizes, new_input, on_inputs, reachable
from chainrule.ir.types import TensorType, bool_, i64
from chainrule.ops.basic import Constant, constant, size_of
from chainrule.ops.compare import logical_and, lt
from chainrule.ops.control import cond, one_captured, scan, while_
from chainrule.ops.declared import within
from chainrule.ops.elementwise import Cast, add, maximum, where
from chainrule.ops.indexing import gather
from chainrule.ops.ranges import iota
from chainrule.ops.shaping import concat, flip, reshape, stack, transpose

MOST_UNROLLED = 64
ENDLESS = 1 << 31  # a bound from here on means that there is none
MOST_ROUNDS = 1 << 24  # of a loop without a bound; more of them end in an error, as nothing else may end them


def branch(given: Given) -> Read:
    """One of two graphs, by a condition that is known or not."""
    known = given.known(0)
    if known is not None and known.size == 1 and not isinstance(known.reshape(-1)[0], DimExpr):
        chosen = "then_branch" if bool(known.reshape(-1)[0]) else "else_branch"
        return tuple(given.graph(chosen).inlined(()))
    try:
        parts = [given.graph(name).body(()) for name in ("then_branch", "else_branch")]
    except Undecided:  # a size that data tells is one of the graph around a branch
        return _both(given)
    (then, otherwise), captured = one_captured(0, [(part.graph, part.captured) for part in parts])
    if any(a.type != b.type for a, b in zip(then.outputs, otherwise.outputs)):
        return _both(given)
    return cond(_flag(given.value(0)), then, otherwise, captured)


def _both(given: Given) -> Read:
    """Both branches, and of each output the one that the condition names: it may be longer in one branch.

    Detectors keep their suppression from images without boxes so. Both branches run, which nobody sees but by the time.
    """
    graphs = [given.graph(name) for name in ("then_branch", "else_branch")]
    outputs = zip(graphs[0].outputs, *(graph.inlined(()) for graph in graphs))
    return tuple(_chosen(given, name, a.value(), b.value()) for name, a, b in outputs)


def _chosen(given: Given, name: str, a: Value, b: Value) -> Value:
    """a where the condition is true, else b: taken from both in a row where one axis has two lengths."""
    flag = _flag(given.value(0))
    if a.type == b.type:
        return where(flag, a, b)
    axes = [i for i, (m, n) in enumerate(zip(a.shape, b.shape)) if m != n]
    if a.dtype != b.dtype or a.rank != b.rank or len(axes) != 1:
        raise NotSupported(f"If: the output {name!r} is {a.type} in one branch and {b.type} in the other",
                           help="both branches give the same types, or differ in the length of one axis")  # fmt: skip
    (axis,) = axes
    sizes = [size_of(value.shape[axis]) for value in (a, b)]
    length = given.told(where(flag, *sizes), "chosen")
    places = iota((length,), 0, i64)
    return gather(concat([a, b], axis), where(flag, places, add(places, sizes[0])), axis)


def _flag(value: Value) -> Value:
    return reshape(value, ())


def loop(given: Given) -> Read:
    """A loop with a count, a condition, or both; values carried, and values stacked."""
    graph = given.graph("body")
    init = [given.entry(i) for i in range(2, len(given.entries))]
    trips = _trips(given)
    starts = _starts(given)
    number, going = new_input("iteration", TensorType(i64, ())), new_input("going", TensorType(bool_, ()))
    held = [new_input(f"carry{i}", e.value().tensor) for i, e in enumerate(init)]
    if starts is False:
        trips = 0
    try:
        body = graph.body([number, going, *held])
    except Undecided as unknown:  # it may be known in each round what is not known in all of them
        return _unrolled(given, trips, init, unknown.cause)
    asked, *values = body.graph.outputs
    carried, stacked = values[: len(init)], values[len(init) :]
    is_short = isinstance(trips, int) and trips <= MOST_UNROLLED
    unfit = [i for i, (a, b) in enumerate(zip(carried, held, strict=True)) if a.type != b.type]
    steady = _is_true(asked) or _same(asked) is going
    always = steady and starts is not None
    if unfit:
        why = (f"the carried value {graph.inputs[2 + unfit[0]]!r} is {carried[unfit[0]].type} after a round, "
               f"{held[unfit[0]].type} before it")  # fmt: skip
        found = None if is_short else _gathered(given, init, growing(held, carried))
        return found or _unrolled(given, trips, init, why)
    if tells_sizes(body.graph) and is_short:
        try:
            return _unrolled(given, trips, init, "")  # what data tells in all rounds may be known in each
        except NotSupported:
            pass
    if steady and starts and trips is None and (not given.has(0) or given.known(0) is not None):
        raise ModelError("Loop: nothing ends it", help="give it a count, or a condition that its body computes")
    if trips is not None and always:
        return _counted(body, trips, init)
    if steady and stacked and given.has(0):
        return _counted(body, given.told(_count(given), "trips"), init)
    if stacked:
        return _counted(body, given.told(_rounds(given, body, trips, init), "rounds"), init)
    return _tested(given, body, trips, init)


def _trips(given: Given) -> Dim | None:
    """The number of rounds, None where it is not known or there is none."""
    known = given.known(0) if given.has(0) else None
    if known is None or known.size != 1:
        return None
    found = known.reshape(-1)[0]
    if isinstance(found, DimExpr):
        return dim_max(0, found)
    return max(0, int(found)) if int(found) < ENDLESS else None


def _count(given: Given) -> Value:
    """How often a loop runs whose condition stays as it is, as a number of the graph."""
    count = maximum(reshape(given.value(0), ()), constant(np.int64(0)))
    return where(_flag(given.value(1)), count, constant(np.int64(0))) if given.has(1) else count


def _starts(given: Given) -> bool | None:
    """Whether the condition holds at the start; None where data decides."""
    if not given.has(1):
        return True
    known = given.known(1)
    return None if known is None or known.size != 1 else bool(known.reshape(-1)[0])


def _is_true(value: Value) -> bool:
    return isinstance(value.op, Constant) and bool(np.all(value.op.data.array))


def _same(value: Value) -> Value:
    """A value behind casts to its own type."""
    while isinstance(value.op, Cast) and value.type == value.inputs[0].type:
        value = value.inputs[0]
    return value


def _counted(body: Body, trips: Dim, init: Sequence[Entry]) -> Read:
    """A loop that runs a known number of times, as a scan over its numbers."""
    number, _, *rest = body.graph.inputs
    always = on_inputs(body.graph, [number, constant(np.bool_(True)), *rest])
    held = rest[: len(init)]
    inputs = (*held, number, *rest[len(init) :])
    graph = always.replace(inputs=inputs, outputs=always.outputs[1:], output_names=())
    return scan(graph, [e.value() for e in init], [iota((trips,), 0, i64)], body.captured, trips)


def _tested(given: Given, body: Body, trips: Dim | None, init: Sequence[Entry], counts: bool = False) -> Read:
    """A loop that runs as long as its condition holds; it carries the condition and the number of the round.

    counts: that number at the end stands before the carried values.
    """
    count = given.value(0) if given.has(0) and trips is None and given.known(0) is None else None
    first = constant(np.bool_(True)) if not given.has(1) else _flag(given.value(1))
    number, going, *rest = body.graph.inputs
    asked, *after = body.graph.outputs
    bound = new_input("bound", TensorType(i64, ()))
    endless, most = trips is None and count is None, constant(np.int64(MOST_ROUNDS + 1))
    test = going if trips is not None else logical_and(going, lt(number, most if endless else bound))
    extra = [] if count is None else [reshape(count, ())]
    places = [] if count is None else [bound]
    inputs = (number, going, *rest, *places)
    following = add(number, constant(np.int64(1)))
    if endless:  # the test reads the number, so that it stays in the loop, and this check with it
        following = within(following, 0, MOST_ROUNDS, "rounds of a Loop without a count")
    step = (following, _flag(asked), *after)
    begin = [constant(np.int64(0)), first, *(e.value() for e in init)]
    after_all = Graph(body.graph.name, inputs, step, sizes=body.graph.sizes)
    found = while_(Graph("test", inputs, (test,)), after_all, begin, [*body.captured, *extra], trips)
    return (found[0], *found[2:]) if counts else found[2:]


def _rounds(given: Given, body: Body, trips: Dim | None, init: Sequence[Entry]) -> Value:
    """How often a loop with a condition runs: a loop of those carried values alone that the condition follows from."""
    number, going, *rest = body.graph.inputs
    asked, *after = body.graph.outputs
    held = rest[: len(init)]
    needed: list[int] = []
    below = set(reachable([asked]))
    while more := [i for i, v in enumerate(held) if v in below and i not in needed]:
        needed += more
        below |= set(reachable([after[i] for i in more]))
    needed.sort()
    outputs = (asked, *(after[i] for i in needed))
    graph = Graph("rounds", (number, going, *(held[i] for i in needed), *rest[len(init) :]), outputs,
                  sizes=needed_sizes(body.graph.sizes, outputs))  # fmt: skip
    found = _tested(given, replace(body, graph=graph), trips, [init[i] for i in needed], counts=True)
    assert isinstance(found, tuple) and isinstance(found[0], Value)
    return found[0]


def _gathered(given: Given, init: Sequence[Entry], axes: Mapping[int, int]) -> Read | None:
    """A loop that appends to some of its values, as one that stacks what it appends; None where it does more to them.

    axes: those along which values may grow, by their place.
    """
    body = Gathering(given.graph("body"), {i: init[i].value() for i in axes}, axes, len(init))
    entries = (*given.entries[:2], *(e for i, e in enumerate(init) if i not in axes))
    try:
        found = loop(replace(given, entries=entries, graphs={"body": body})) if axes else None
    except NotSupported:
        return None
    if not isinstance(found, tuple):
        return None
    others, stacked = iter(found[: len(found) - len(axes)]), iter(found[len(found) - len(axes) :])
    carried: list[Value | Entry | None] = []
    for i in range(len(init)):
        new = next(stacked if i in axes else others)
        carried.append(body.joined(i, new) if i in axes and isinstance(new, Value) else new)
    return (*carried, *others)


def unrolled_loop(given: Given) -> Read:
    """A loop round by round, whatever it carries."""
    trips = 0 if _starts(given) is False else _trips(given)
    init = [given.entry(i) for i in range(2, len(given.entries))]
    return _unrolled(given, trips, init, "it does more to a sequence than to append to it")


def _unrolled(given: Given, trips: Dim | None, init: Sequence[Entry], why: str) -> Read:
    """A loop round by round. Raises NotSupported where that cannot be. why: it is no loop of ours."""
    graph = given.graph("body")
    if trips is None and given.has(0):
        raise undecided(f"Loop: {why}, and how often it runs is not known when the model is loaded", given.value(0))
    if trips and _starts(given) is None:
        raise undecided("Loop: whether it runs at all is not known when the model is loaded", given.value(1))
    if not isinstance(trips, int) or trips > MOST_UNROLLED:
        raise NotSupported(f"Loop: {why}",
                           help=f"a loop of a known number of rounds, up to {MOST_UNROLLED}, is unrolled")  # fmt: skip
    carried = list(init)
    going = Entry(None, np.asarray(True), bool_)
    rows: list[list[Value]] = []
    for number in range(trips):
        going, *values = graph.inlined([Entry(None, np.asarray(number), i64), going, *carried])
        carried = values[: len(init)]
        rows.append([e.value() for e in values[len(init) :]])
        if going.content is None:
            raise undecided("Loop: when it ends is not known when the model is loaded", going.value())
        if not bool(np.all(going.content)):
            break
    if not rows and len(graph.outputs) > 1 + len(init):
        raise NotSupported("Loop: a loop without rounds has no types for what it stacks")
    return (*carried, *(stack(list(column)) for column in zip(*rows)))


def scanned(given: Given) -> Read:
    """A loop over slices of arrays, along any axes and in either direction; until opset 8 with a batch axis in front.
    """
    return _batched(given) if given.opset < 9 else _scan(given)


def _listed(given: Given, name: str, count: int) -> tuple[int, ...]:
    """An attribute with one number for each of `count` values; zeros where it is left out."""
    found = given.vector(name) or (0,) * count
    if len(found) != count:
        raise ModelError(f"Scan: {name} has {len(found)} entries for {count} values")
    return found


def _split(given: Given, first: int) -> tuple[list[Value], list[Value], int]:
    """The initial values, the arrays, and how many results are stacked."""
    arrays = given.whole("num_scan_inputs")
    graph = given.graph("body")
    values = [given.value(i) for i in range(first, len(given.entries))]
    carries = len(values) - arrays
    if not 0 <= carries <= len(graph.outputs) or arrays < 1:
        raise ModelError(f"Scan: {len(values)} inputs of which {arrays} are scanned do not fit its body")
    return values[:carries], values[carries:], len(graph.outputs) - carries


def _scan(given: Given) -> Read:
    init, arrays, results = _split(given, 0)
    axes = _listed(given, "scan_input_axes", len(arrays))
    turned = _listed(given, "scan_input_directions", len(arrays))
    out_turned = _listed(given, "scan_output_directions", results)
    out_axes = _listed(given, "scan_output_axes", results)
    reverse = all(turned) and all(out_turned)
    stacked = [moved(x, axis, 0) for x, axis in zip(arrays, axes)]
    stacked = [flip(x, 0) if back and not reverse else x for x, back in zip(stacked, turned)]
    holders = [v.tensor for v in init] + [x.tensor.with_shape(x.shape[1:]) for x in stacked]
    body = given.graph("body").body([new_input(f"x{i}", t) for i, t in enumerate(holders)])
    found = scan(body.graph, init, stacked, body.captured, stacked[0].shape[0], reverse)
    made = found[len(init) :]
    made = [flip(y, 0) if back and not reverse else y for y, back in zip(made, out_turned)]
    return (*found[: len(init)], *(moved(y, 0, axis) for y, axis in zip(made, out_axes)))


def moved(x: Value, source: int, target: int) -> Value:
    """The value with one axis moved to another place."""
    if not -x.rank <= min(source, target) <= max(source, target) < x.rank:
        raise ModelError(f"Scan: {x.type} has no axis {source if target == 0 else target}")
    source, target = source % x.rank, target % x.rank
    order = [i for i in range(x.rank) if i != source]
    order.insert(target, source)
    return x if order == list(range(x.rank)) else transpose(x, order)


def _batched(given: Given) -> Read:
    """Scan-8: every value has a batch axis in front, and each row of the batch is a loop of its own."""
    if given.has(0):
        raise NotSupported("Scan: sequence lengths (opset 8) are not built", help="convert the model to opset 9")
    init, arrays, _ = _split(given, 1)
    turned = _listed(given, "directions", len(arrays))
    rows = [x.tensor.with_shape(x.shape[1:]) for x in (*init, *arrays)]
    own = [new_input(f"row{i}", t) for i, t in enumerate(rows)]
    held, given_rows = own[: len(init)], own[len(init) :]
    holders = [v.tensor for v in held] + [x.tensor.with_shape(x.shape[1:]) for x in given_rows]
    body = given.graph("body").body([new_input(f"x{i}", t) for i, t in enumerate(holders)])
    reverse = all(turned)
    slices = [flip(x, 0) if back and not reverse else x for x, back in zip(given_rows, turned)]
    captured = [new_input(f"outer{i}", v.tensor) for i, v in enumerate(body.captured)]
    found = scan(body.graph, held, slices, captured, slices[0].shape[0], reverse)
    made = [flip(y, 0) if reverse else y for y in found[len(init) :]]  # results stand in the order of the steps
    step = Graph("row", (*own, *captured), (*found[: len(init)], *made))
    return scan(step, [], [*init, *arrays], body.captured, arrays[0].shape[0])


READERS: Mapping[str, Reader] = {"Scan": scanned}  # If and Loop: readers_sequences.py

"""Samples of ops/control.py: branches, scans and loops with tests, nested and empty ones too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.body import body_of
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import TensorType, tensor
from chainrule.ops.basic import constant
from chainrule.ops.compare import gt, logical_and, lt
from chainrule.ops.control import Checkpoint, Cond, CustomVjp, Scan, While, loop_body, scan
from chainrule.ops.elementwise import add, cast, mul, sub, where
from tests.ops.sample import BadSample, Sample, normal

F64, ROW, NUMBER = tensor("f64", (2, 3)), tensor("f64", (3,)), tensor("i64")


def graph(name: str, types: Sequence[TensorType], build: Callable[..., Sequence[Value]]) -> Graph:
    """The graph of a function of values of these types."""
    inputs = tuple(new_input(f"{name}{i}", t) for i, t in enumerate(types))
    return Graph(name, inputs, tuple(build(*inputs)))


def scan_of(types: Sequence[TensorType], build: Callable[..., Sequence[Value]], carries: int, scanned: int,
            length: int, reverse: bool = False) -> Scan:  # fmt: skip
    body = graph("body", types, build)
    return Scan(loop_body(body, len(types) - carries - scanned), carries, scanned, length, reverse)


def while_of(types: Sequence[TensorType], test: Callable[..., Value], build: Callable[..., Sequence[Value]],
             carries: int, max_trips: int | None = None) -> While:  # fmt: skip
    captured = len(types) - carries
    asked, body = graph("test", types, lambda *x: [test(*x)]), graph("body", types, build)
    return While(loop_body(asked, captured), loop_body(body, captured), carries, max_trips)


CHOICE = Cond(
    body_of(graph("then", (F64, ROW), lambda x, w: [mul(x, w), x])),
    body_of(graph("otherwise", (F64, ROW), lambda x, w: [sub(add(x, x), w), mul(x, x)])),
)
BARE = Cond(body_of(graph("then", (NUMBER,), lambda n: [n])),
            body_of(graph("otherwise", (NUMBER,), lambda n: [constant(np.int64(7))])))  # fmt: skip
# The carry is used twice, once after its new value is known; the results are the carry before and after, and a product.
BOTH = scan_of((ROW, ROW, ROW), lambda h, x, w: [(new := add(mul(h, w), x)), h, new, mul(new, h)], 1, 1, 4)
BACKWARD = scan_of((ROW, ROW, ROW), lambda h, x, w: [(new := sub(x, mul(h, w))), new], 1, 1, 4, True)
EMPTY = scan_of((ROW, ROW), lambda h, x: [add(h, x), mul(h, x)], 1, 1, 0)
SWAP = scan_of((ROW, ROW, ROW), lambda a, b, x: [b, add(a, x), a], 2, 1, 5)
COUNT = scan_of((NUMBER,), lambda n: [add(n, constant(np.int64(1))), mul(n, n)], 1, 0, 3)
MAPPED = scan_of((F64,), lambda x: [mul(x, x)], 0, 1, 2)
SHIFTED = scan_of((F64, F64), lambda a, x: [x, a], 1, 1, 3)


def _rows(h: Value, x: Value) -> list[Value]:
    """Sums over the rows of a slice, row by row: a scan in a scan."""
    inner = graph("inner", (ROW, ROW), lambda s, row: [(new := add(mul(s, row), row)), new])
    total, steps = scan(inner, [h], [x], [], 2)
    return [total, steps]


NESTED = scan_of((ROW, F64), _rows, 1, 1, 3)


def _chosen(h: Value, x: Value) -> list[Value]:
    from chainrule.ops.control import cond
    from chainrule.ops.reduce import sum as total

    then, otherwise = (graph("branch", (ROW, ROW), lambda h, x, f=f: [f(h, x)]) for f in (add, mul))
    (new,) = cond(gt(total(x), constant(np.float64(0))), then, otherwise, [h, x])
    return [new, new]


BRANCHING = scan_of((ROW, ROW), _chosen, 1, 1, 4)
DOUBLED = while_of((ROW, NUMBER, NUMBER), lambda x, n, m: lt(n, m),
                   lambda x, n, m: [add(x, x), add(n, constant(np.int64(1)))], 2)  # fmt: skip
BOUNDED = while_of((ROW, NUMBER), lambda x, n: lt(n, constant(np.int64(9))),
                   lambda x, n: [mul(x, x), add(n, constant(np.int64(1)))], 2, 3)  # fmt: skip
NEVER = while_of((F64,), lambda x: constant(np.bool_(False)), lambda x: [add(x, x)], 1)
FLAGS = while_of((tensor("bool"), NUMBER), lambda b, n: logical_and(b, gt(n, constant(np.int64(0)))),
                 lambda b, n: [lt(constant(np.int64(2)), n), sub(n, constant(np.int64(1)))], 2)  # fmt: skip
SINGLE = scan_of((tensor("f32", (2,)), tensor("bool")), lambda h, b: [where(b, add(h, h), h), cast(b, "i8")], 1, 1, 3)


KEPT_OUT = Checkpoint(body_of(graph("body", (F64, ROW), lambda x, w: [mul(x, w), mul(mul(x, x), w)])))
# x * w whose gradient is stated: forward keeps x and w.
STATED = CustomVjp(
    body_of(graph("primal", (F64, F64, NUMBER), lambda x, w, n: [mul(x, w)])),
    body_of(graph("forward", (F64, F64, NUMBER), lambda x, w, n: [mul(x, w), x, w])),
    body_of(graph("backward", (F64, F64, F64), lambda x, w, g: [mul(g, w), mul(g, x)])),
    (0, 1),
)


def f64(*shape: int, seed: int = 0) -> np.ndarray:
    return normal(*shape, seed=seed, dtype="float64")


SAMPLES: list[Sample] = [
    Sample(CHOICE, (np.bool_(True), f64(2, 3), f64(3, seed=1)), "then"),
    Sample(CHOICE, (np.bool_(False), f64(2, 3), f64(3, seed=1)), "otherwise"),
    Sample(BARE, (np.bool_(False), np.int64(3)), "0-d, a constant"),
    Sample(BOTH, (f64(3), f64(4, 3, seed=1), f64(3, seed=2)), "carry before and after"),
    Sample(BACKWARD, (f64(3), f64(4, 3, seed=1), f64(3, seed=2)), "reverse"),
    Sample(EMPTY, (f64(3), f64(0, 3)), "no step"),
    Sample(SWAP, (f64(3), f64(3, seed=1), f64(5, 3, seed=2)), "carries change places"),
    Sample(COUNT, (np.int64(3),), "0-d integers, nothing stacked"),
    Sample(MAPPED, (f64(2, 2, 3),), "nothing carried"),
    Sample(SHIFTED, (f64(2, 3), f64(3, 2, 3, seed=1)), "a slice becomes the carry"),
    Sample(NESTED, (f64(3), f64(3, 2, 3, seed=1)), "a scan in a scan"),
    Sample(BRANCHING, (f64(3), f64(4, 3, seed=1)), "a branch in a scan"),
    Sample(SINGLE, (normal(2), np.array([True, False, True])), "f32 and bool", grad=()),
    Sample(DOUBLED, (f64(3), np.int64(0), np.int64(4)), "until a number is met", grad=()),
    Sample(BOUNDED, (f64(3), np.int64(0)), "bounded"),
    Sample(BOUNDED, (f64(3), np.int64(8)), "ends before its bound"),
    Sample(NEVER, (f64(2, 3),), "never", grad=()),
    Sample(KEPT_OUT, (f64(2, 3), f64(3, seed=1)), "two results"),
    Sample(STATED, (f64(2, 3), f64(2, 3, seed=1), np.int64(1)), "a product"),
    Sample(FLAGS, (np.bool_(True), np.int64(5)), "0-d bool"),
]

BAD: list[BadSample] = [
    BadSample(CHOICE, (), ArgumentError, "it takes at least 1 inputs, 0 were given"),
    BadSample(CHOICE, (tensor("f32"), F64, ROW), DTypeError, "the predicate is f32[], not a bool"),
    BadSample(CHOICE, (tensor("bool", (1,)), F64, ROW), ShapeError, "the predicate is bool[1], not one bool"),
    BadSample(CHOICE, (tensor("bool"), F64), ArgumentError, "then takes 2 values, 1 were given"),
    BadSample(CHOICE, (tensor("bool"), F64, F64), ShapeError, 'then takes f64[3] as "then1", it was given f64[2,3]'),
    BadSample(Cond(BARE.then, body_of(graph("b", (NUMBER,), lambda n: [gt(n, n)]))), (tensor("bool"), NUMBER),
              DTypeError, "otherwise gives bool[] as value 0, then gives i64[]"),
    BadSample(BOTH, (ROW, tensor("f64", (5, 3)), ROW), ShapeError, "the stacked array 0 is f64[5,3], the loop has 4"),
    BadSample(BOTH, (ROW,), ArgumentError, "it takes at least 2 inputs, 1 were given"),
    BadSample(Scan(MAPPED.body, 0, 1, -1), (tensor("f64", (2, 2, 3)),), ArgumentError, "a length of -1 is negative"),
    BadSample(scan_of((ROW, ROW), lambda h, x: [gt(h, x)], 1, 1, 2), (ROW, F64), DTypeError,
              "the body gives bool[3] as value 0, it was given f64[3]"),
    BadSample(scan_of((ROW,), lambda x: [], 0, 1, 2), (F64,), ArgumentError, "it has no result"),
    BadSample(KEPT_OUT, (F64,), ArgumentError, "the body takes 2 values, 1 were given"),
    BadSample(STATED, (F64, ROW, NUMBER), ShapeError, 'primal takes f64[2,3] as "primal1", it was given f64[3]'),
    BadSample(CustomVjp(STATED.primal, STATED.forward, STATED.forward, (0, 1)), (F64, F64, NUMBER), ShapeError,
              'backward takes i64[] as "forward2", it was given f64[2,3]'),
    BadSample(DOUBLED, (ROW, NUMBER), ArgumentError, "the test takes 3 values, 2 were given"),
    BadSample(while_of((NUMBER,), lambda n: n, lambda n: [n], 1), (NUMBER,), DTypeError,
              "the test's result is i64[], not a bool"),
    BadSample(while_of((NUMBER,), lambda n: gt(n, n), lambda n: [n, n], 1), (NUMBER,), ArgumentError,
              "the body gives 2 values for 1 carried ones"),
]  # fmt: skip

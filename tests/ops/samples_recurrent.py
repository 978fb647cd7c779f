"""Samples of the ops in ops/recurrent.py and ops/recurrent_steps.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.op import Op
from chainrule.ir.types import tensor
from chainrule.ops.recurrent import Gru, Lstm, Rnn
from chainrule.ops.recurrent_grad import GruStepsGrad, LstmStepsGrad, RnnStepsGrad
from chainrule.ops.recurrent_steps import GruSteps, LstmSteps, PackGates, RnnSteps
from tests.ops.sample import BadSample, Sample, normal

Array = np.ndarray
LENGTHS = {1: [2], 2: [3, 1], 3: [2, 3, 1], 5: [1, 3, 2, 3, 3], 9: [3, 1, 2, 3, 3, 1, 2, 2, 3]}


def lengths(n: int, steps: int, dtype: str = "int64") -> Array:
    return np.minimum(np.array(LENGTHS[n], dtype), steps)


def steps(op: LstmSteps | GruSteps | RnnSteps, t: int, n: int, h: int, label: str = "", dtype: str = "float32",
          grad: tuple[int, ...] | None = None, scale: float = 1.0) -> Sample:  # fmt: skip
    """A call of an op on steps."""
    gates = len(op.LETTERS)
    states = 2 if isinstance(op, LstmSteps) else 1
    arrays = [normal(t, n, gates * h, seed=1, dtype=dtype, scale=scale),
              normal(gates * h, h, seed=2, dtype=dtype, scale=max(h, 1) ** -0.5),
              *(normal(n, h, seed=3 + i, dtype=dtype) for i in range(states))]  # fmt: skip
    if isinstance(op, LstmSteps) and op.peepholes:
        arrays.append(normal(3 * h, seed=6, dtype=dtype))
    if isinstance(op, GruSteps) and op.biased:
        arrays.append(normal(h, seed=7, dtype=dtype))
    if op.ragged:
        arrays.append(lengths(n, t))
    return Sample(op, tuple(arrays), label or f"{t} steps of {n}, {h} units", grad)


def slopes(
    op: LstmSteps | GruSteps | RnnSteps, t: int, n: int, h: int, label: str = "", seeded: bool = False
) -> Sample:
    """A call of the op that is the gradient of a call of an op on steps."""
    sample = steps(op, t, n, h)
    _, r, *rest = sample.inputs
    found = op.ref(*sample.inputs)
    tail = [sample.inputs[-1]] if op.ragged else []
    grad = () if op.limit or h > 5 else None  # a bound is a kink; of many units a difference quotient errs
    common = (op.order, op.functions, op.alphas, op.betas, op.limit, op.reverse, op.ragged, 0)
    if isinstance(op, RnnSteps):
        arrays = [r, found[0], *(normal(*y.shape, seed=20 + i) for i, y in enumerate(found)), *tail]
        return Sample(RnnStepsGrad(*common), tuple(arrays), label or sample.label, grad)
    count = 3 if isinstance(op, LstmSteps) else 2
    kept = found[count:]
    seeds = [normal(*y.shape, seed=20 + i) for i, y in enumerate(found if seeded else found[:count])]
    if isinstance(op, LstmSteps):
        peepholes = [rest[2]] if op.peepholes else []
        return Sample(LstmStepsGrad(*common, op.peepholes, op.coupled, seeded),
                      (r, rest[1], *kept, *seeds, *peepholes, *tail), label or sample.label, grad)  # fmt: skip
    starts = np.concatenate([rest[0][None], found[0][:-1]]) if t else found[0]
    return Sample(GruStepsGrad(*common, op.reset_after, seeded), (r, starts, *kept, *seeds, *tail),
                  label or sample.label, grad)  # fmt: skip


def layer(op: Lstm | Gru | Rnn, t: int, n: int, inner: int, h: int, label: str = "", dtype: str = "float32",
          grad: tuple[int, ...] | None = None) -> Sample:  # fmt: skip
    """A call of a layer."""
    gates, sides = len(op.LETTERS), len(op.sides)
    arrays = [normal(t, n, inner, seed=1, dtype=dtype), normal(sides, gates * h, inner, seed=2, dtype=dtype, scale=0.5),
              normal(sides, gates * h, h, seed=3, dtype=dtype, scale=max(h, 1) ** -0.5)]  # fmt: skip
    if op.bias:
        arrays.append(normal(sides, 2 * gates * h, seed=4, dtype=dtype))
    if op.ragged:
        arrays.append(lengths(n, t, "int32"))
    if op.initial:
        arrays += [normal(sides, n, h, seed=5 + i, dtype=dtype) for i in range(op.STATES)]
    if op.has_peepholes:
        arrays.append(normal(sides, 3 * h, seed=8, dtype=dtype))
    return Sample(op, tuple(arrays), label or f"{t} steps of {n}, {inner} to {h} units", grad)


SMOOTH = LstmSteps(functions=("hard_sigmoid", "softsign", "scaled_tanh"), alphas=(0.2, 0.0, 1.5), betas=(0.5, 0.0, 0.5))
ALL_SAVE = [LstmSteps(saves=True), LstmSteps(saves=True, ragged=True, reverse=True, peepholes=True),
            LstmSteps("iofg", saves=True, coupled=True, limit=0.7), GruSteps(saves=True),
            GruSteps("zrn", saves=True, ragged=True, reverse=True, biased=True),
            GruSteps("zrn", saves=True, reset_after=False, limit=0.8), RnnSteps(), RnnSteps(ragged=True, reverse=True),
            RnnSteps(functions=("softplus",))]  # fmt: skip


def forward_samples() -> list[Sample]:
    """Every attribute, sizes around the vectors and panels of kernels, no steps, no rows, no units."""
    kinds = [LstmSteps(), GruSteps(), RnnSteps()]
    sizes = [(1, 1, 1), (3, 1, 16), (2, 3, 17), (3, 2, 5), (2, 9, 40), (0, 2, 3), (2, 0, 3), (1, 2, 0)]
    # Of many units at once the difference quotient's own error is too large.
    found = [steps(op, *size, grad=() if size[2] > 5 else None) for op in kinds for size in sizes]
    found += [steps(op, 3, 2, 3, f"{op.order}, all it can do {i}") for i, op in enumerate(ALL_SAVE)]
    found += [steps(op, 1, 3, 33, f"{op.order}, one step {i}", grad=()) for i, op in enumerate(ALL_SAVE)]
    found += [steps(type(op)(ragged=True, reverse=reverse), 3, 5, 4, f"ragged, reverse {reverse}", dtype="float64")
              for op in kinds for reverse in (False, True)]  # fmt: skip
    found += [
        steps(type(op)(reverse=True), 3, 1, 65, "reverse, one row, two panels", dtype="float64", grad=())
        for op in kinds
    ]
    found += [steps(op, 2, 2, 3, f"half precision {dtype}", dtype=dtype) for op in kinds for dtype in ("float16",)]
    found += [steps(op, 2, 2, 3, "beyond the range of exp", scale=300.0, grad=()) for op in kinds]
    found += [steps(SMOOTH, 3, 2, 3, "other activations")]
    found += [
        steps(GruSteps(functions=("sigmoid", "leaky_relu"), alphas=(0.0, 0.25)), 2, 2, 3, "leaky"),
        steps(GruSteps(functions=("affine", "elu"), alphas=(0.5, 1.0), betas=(0.25, 0.0)), 2, 2, 3, "elu, affine"),
        steps(RnnSteps(functions=("relu",)), 2, 2, 3, "relu"),
        steps(RnnSteps(functions=("thresholded_relu",), alphas=(0.25,)), 2, 2, 3, "thresholded", grad=()),
    ]
    return found


def spoiled(op: LstmSteps | GruSteps | RnnSteps) -> Sample:
    """NaN and infinities, also beyond a row's length, where they reach nothing."""
    sample = steps(op, 3, 2, 3)
    x = sample.inputs[0].copy()
    x[1, 0, 0], x[2, 1, 1], x[0, 1, 2] = np.nan, np.nan, np.inf
    return Sample(op, (x, *sample.inputs[1:]), "NaN and infinities", ())


SAMPLES = [
    *(Sample(PackGates(gates, units), (normal(gates * size, size, dtype=dtype),), f"{gates}x{size} by {units}, {dtype}")
      for gates, size, units, dtype in ((4, 16, 16, "float32"), (4, 17, 16, "float32"), (3, 5, 8, "float64"),
                                        (1, 70, 64, "float32"), (1, 1, 64, "float64"), (3, 33, 16, "float32"))),
    *forward_samples(),
    *(spoiled(op) for op in (LstmSteps(ragged=True), GruSteps(ragged=True), RnnSteps(ragged=True))),
    *(slopes(op, 3, 2, 3, f"{op.order} {i}") for i, op in enumerate(ALL_SAVE)),
    *(slopes(op, 2, 2, 3, f"{op.order} seeded {i}", True) for i, op in enumerate(ALL_SAVE[:6])),
    *(slopes(op, 2, n, h) for op in (LstmSteps(saves=True), GruSteps(saves=True), RnnSteps())
      for n, h in ((1, 17), (9, 66), (0, 2))),
    layer(Lstm(), 3, 2, 4, 3),
    layer(Lstm("iofg", bias=True, initial=True, peepholes=True), 3, 2, 4, 3, "ONNX's order, all inputs"),
    layer(Lstm(direction="bidirectional", bias=True, ragged=True, initial=True), 3, 3, 2, 3, "both directions, ragged"),
    layer(Lstm(direction="bidirectional", functions=("sigmoid", "tanh", "tanh", "sigmoid", "softsign", "tanh")),
          2, 1, 2, 2, "activations of each direction"),
    layer(Gru(limit=0.5, bias=True), 3, 2, 3, 2, "bounded"),
    layer(Gru(limit=0.5, bias=True, reset_after=False), 3, 2, 3, 2, "bounded, reset before"),
    layer(Rnn(limit=0.5, functions=("affine",), alphas=(0.75,), betas=(0.25,)), 3, 2, 3, 2, "bounded, affine"),
    layer(Lstm(direction="reverse", coupled=True, limit=0.5, bias=True), 2, 2, 3, 2, "coupled, bounded"),
    layer(Lstm(bias=True), 1, 2, 3, 2, "f64", "float64"),
    layer(Lstm(bias=True), 2, 2, 3, 2, "f16", "float16"),
    layer(Gru(), 3, 2, 4, 3),
    layer(Gru("zrn", bias=True, initial=True, reset_after=False), 3, 2, 4, 3, "ONNX's order, reset before"),
    layer(Gru("zrn", "bidirectional", bias=True, ragged=True, initial=True), 3, 3, 2, 3, "both directions, ragged"),
    layer(Gru(direction="reverse", bias=True), 2, 2, 3, 2, "reverse"),
    layer(Rnn(), 3, 2, 4, 3),
    layer(Rnn(direction="bidirectional", bias=True, ragged=True, initial=True), 3, 3, 2, 3, "both directions, ragged"),
    layer(Rnn(functions=("relu",), bias=True), 2, 2, 3, 2, "relu"),
]  # fmt: skip

X, R, S = tensor("f32", (3, 2, 8)), tensor("f32", (8, 2)), tensor("f32", (2, 2))


def bad(op: Op, types: tuple, error: type, message: str) -> BadSample:
    return BadSample(op, types, error, message)


BAD = [
    bad(PackGates(4, 16), (tensor("f32", (8, 3)),), ShapeError, "[4*H,H] is expected"),
    bad(PackGates(4, 0), (tensor("f32", (8, 2)),), ArgumentError, "4 gates of 0 units"),
    bad(PackGates(1, 16), (tensor("i32", (2, 2)),), DTypeError, "i32"),
    bad(LstmSteps(), (X, R, S), ArgumentError, "takes 4"),
    bad(LstmSteps("abcd"), (X, R, S, S), ArgumentError, "does not name the gates"),
    bad(LstmSteps(functions=("sigmoid",)), (X, R, S, S), ArgumentError, "1 activations"),
    bad(LstmSteps(functions=("a", "tanh", "tanh")), (X, R, S, S), ArgumentError, 'there is no activation "a"'),
    bad(LstmSteps(limit=-1.0), (X, R, S, S), ArgumentError, "limit -1.0"),
    bad(LstmSteps(), (X, tensor("f32", (8, 3)), S, S), ShapeError, "r is f32[8,3], [8,2] is expected"),
    bad(LstmSteps(), (tensor("f32", (3, 2, 6)), R, S, S), ShapeError, "[3,2,8] is expected"),
    bad(LstmSteps(), (X, R, S, tensor("f64", (2, 2))), DTypeError, "differ"),
    bad(LstmSteps(ragged=True), (X, R, S, S, S), DTypeError, "f32"),
    bad(LstmStepsGrad(), (R, S), ArgumentError, "takes 7"),
    bad(GruSteps(), (X, R, S), ShapeError, "[3,2,6] is expected"),
    bad(GruSteps(biased=True, reset_after=False), (X, R, S), ArgumentError, "needs reset_after"),
    bad(GruStepsGrad(), (R, S), ArgumentError, "takes 6"),
    bad(RnnSteps(), (X, R, tensor("f32", (2,))), ShapeError, "[N,H] is expected"),
    bad(RnnStepsGrad(), (R, S), ArgumentError, "takes 4"),
    bad(Lstm(direction="up"), (X, X, X), ArgumentError, 'direction "up" is not known'),
    bad(Lstm(), (X, tensor("f32", (1, 8, 7)), tensor("f32", (1, 8, 2))), ShapeError, "[1,8,8] is expected"),
    bad(Gru(functions=("tanh",)), (X, X, X), ArgumentError, "1 activations are given"),
    bad(Rnn("x"), (X, X, X), ArgumentError, "does not name the gates"),
]

"""Forms of the recurrent layers, whose gates lie in ONNX's order: lower/recurrent.py brings others into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from chainrule.backends.onnx.forms.form import Attribute, Call, Form, Given, Plain
from chainrule.backends.onnx.node import shortest
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.graph import Value, build, results
from chainrule.ir.types import i32
from chainrule.ops.basic import full
from chainrule.ops.recurrent import Gru, Layer, Lstm, Rnn
from chainrule.ops.shaping import transpose

ORDERS: Mapping[type[Layer], str] = {Lstm: "iofg", Gru: "zrn", Rnn: "h"}
SomeLayer = TypeVar("SomeLayer", bound=Layer)


@dataclass(frozen=True)
class Activation:
    """An activation in ONNX's name. alpha, beta: the defaults, None where it takes none."""

    name: str
    alpha: float | None = None
    beta: float | None = None


ACTIVATIONS: Mapping[str, Activation] = {
    "sigmoid": Activation("Sigmoid"), "tanh": Activation("Tanh"), "relu": Activation("Relu"),
    "affine": Activation("Affine", 1.0, 0.0), "leaky_relu": Activation("LeakyRelu", 0.01),
    "thresholded_relu": Activation("ThresholdedRelu", 1.0), "scaled_tanh": Activation("ScaledTanh", 1.0, 1.0),
    "hard_sigmoid": Activation("HardSigmoid", 0.2, 0.5), "elu": Activation("Elu", 1.0),
    "softsign": Activation("Softsign"), "softplus": Activation("Softplus"),
}  # fmt: skip
_NAMED = {activation.name.lower(): name for name, activation in ACTIVATIONS.items()}


def _write(node: Value, opset: int) -> Call:
    op = node.op
    assert isinstance(op, Layer)
    given = op.split(node.inputs)
    inputs = [given.get(name) for name in ("x", "w", "r", "b", "lengths", "h", "c", "p")]
    if not isinstance(op, Lstm):
        inputs = inputs[:6]
    attributes: dict[str, Attribute] = {"hidden_size": int(given["r"].shape[2]), "direction": op.direction}  # type: ignore[arg-type]
    attributes |= _written_activations(op)
    if op.limit:
        attributes["clip"] = op.limit
    if isinstance(op, Lstm) and op.coupled:
        attributes["input_forget"] = 1
    if isinstance(op, Gru) and op.reset_after:
        attributes["linear_before_reset"] = 1
    return Call(tuple(inputs), attributes)


def _written_activations(op: Layer) -> dict[str, Attribute]:
    """The attributes of activations that differ from the defaults."""
    repeat = len(op.sides) if len(op.functions) == op.COUNT else 1
    if op.functions == type(op).functions:
        return {}
    functions = op.functions * repeat
    alphas, betas = (numbers * repeat or (0.0,) * len(functions) for numbers in (op.alphas, op.betas))
    found: dict[str, Attribute] = {"activations": tuple(ACTIVATIONS[name].name for name in functions)}
    taken = [alpha for name, alpha in zip(functions, alphas, strict=True) if ACTIVATIONS[name].alpha is not None]
    if taken:
        found["activation_alpha"] = tuple(taken)
    taken = [beta for name, beta in zip(functions, betas, strict=True) if ACTIVATIONS[name].beta is not None]
    if taken:
        found["activation_beta"] = tuple(taken)
    return found


def _is_onnx(node: Value) -> bool:
    """The gates lie in ONNX's order, the lengths are of its type, and the number of units is known."""
    op = node.op
    assert isinstance(op, Layer)
    given = op.split(node.inputs)
    return (op.order == ORDERS[type(op)] and (not op.ragged or given["lengths"].dtype == i32)
            and isinstance(given["r"].shape[2], int))  # fmt: skip


def _read_activations(given: Given, op: Layer) -> dict[str, tuple[str, ...] | tuple[float, ...]]:
    """The activations that a node names, with what their alphas and betas are."""
    names = given.attribute("activations")
    if names is None:
        return {}
    if not isinstance(names, tuple) or len(names) != op.COUNT * len(op.sides):
        raise ModelError(f"{given.op_type}: {names!r:.60} are not {op.COUNT * len(op.sides)} activations")
    unknown = [name for name in names if str(name).lower() not in _NAMED]
    if unknown:
        raise NotSupported(f"{given.op_type}: the activation {unknown[0]} is not built")
    functions = tuple(_NAMED[str(name).lower()] for name in names)
    alphas = _consumed(given, "activation_alpha", [ACTIVATIONS[name].alpha for name in functions])
    betas = _consumed(given, "activation_beta", [ACTIVATIONS[name].beta for name in functions])
    if functions == type(op).functions * len(op.sides):
        return {}
    side = op.COUNT
    if len(op.sides) == 2 and all(part[:side] == part[side:] for part in (functions, alphas, betas)):
        functions, alphas, betas = functions[:side], alphas[:side], betas[:side]
    return {"functions": functions, "alphas": alphas if any(alphas) else (), "betas": betas if any(betas) else ()}


def _consumed(given: Given, attribute: str, defaults: Sequence[float | None]) -> tuple[float, ...]:
    """One number for each activation: the next of the attribute's for one that takes any, as long as there are some."""
    numbers = given.attribute(attribute, ())
    if not isinstance(numbers, tuple) or not all(isinstance(n, float) for n in numbers):
        raise ModelError(f"{given.op_type}: the attribute {attribute} is no list of numbers")
    left = [shortest(np.float32(n)) for n in numbers]
    return tuple(0.0 if default is None else (left.pop(0) if left else default) for default in defaults)


def read_layer(given: Given, kind: type[Layer], batch_first: bool) -> tuple[Value, ...]:
    """The layer that a node means. batch_first: its axes [N, T, ...] and [N, D, H] are turned on the way."""
    direction = given.word("direction", "forward").lower()
    x, w, r = (given.value(i) for i in range(3))
    plain = kind(ORDERS[kind], direction if direction in ("forward", "reverse", "bidirectional") else "")
    if not plain.direction:
        raise ModelError(f"{given.op_type}: the direction {direction!r} is not known")
    if r.rank != 3 or given.whole("hidden_size", int(r.shape[2])) != r.shape[2]:  # type: ignore[arg-type]
        raise ModelError(f"{given.op_type}: hidden_size is {given.attribute('hidden_size')}, R is {r.type}")
    states = [given.value(5 + i) if given.has(5 + i) else None for i in range(kind.STATES)]
    if batch_first:
        x, states = transpose(x, (1, 0, 2)), [None if s is None else transpose(s, (1, 0, 2)) for s in states]
    zero = full(0.0, (len(plain.sides), x.shape[1], r.shape[2]), x.dtype)
    first = [zero if s is None else s for s in states] if any(s is not None for s in states) else []
    rest = [given.value(i) for i in (3, 4) if given.has(i)]
    peepholes = [given.value(7)] if kind is Lstm and given.has(7) else []
    common = {"bias": given.has(3), "ragged": given.has(4), "initial": bool(first),
              "limit": given.fraction("clip", 0.0), **_read_activations(given, plain)}  # fmt: skip
    if kind is Lstm:
        common |= {"peepholes": bool(peepholes), "coupled": bool(given.whole("input_forget", 0))}
    if kind is Gru:
        common["reset_after"] = bool(given.whole("linear_before_reset", 0))
    op = kind(plain.order, plain.direction, **common)  # type: ignore[arg-type]
    ys, *last = results(build(op, x, w, r, *rest, *first, *peepholes))
    if batch_first:
        ys, last = transpose(ys, (2, 0, 1, 3)), [transpose(s, (1, 0, 2)) for s in last]
    return (ys, *last)


def _form(kind: type[Layer], name: str) -> Form:
    def read(given: Given) -> Value:
        ys, *_ = read_layer(given, kind, batch_first=False)
        return ys.inputs[0]

    return Form(kind, name, (Plain("layout", 0),), when=_is_onnx, results=1 + kind.STATES, write=_write, read=read)


FORMS: tuple[Form, ...] = (_form(Lstm, "LSTM"), _form(Gru, "GRU"), _form(Rnn, "RNN"))

"""One graph holds a whole training step: forward, loss, gradients, optimiser, and the new state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend import scope as scopes
from chainrule.frontend.functions.random import KEY_NAME, new_key_buffer
from chainrule.frontend.mixed import cast_products, with_cast_products
from chainrule.frontend.optim.base import Optimizer
from chainrule.frontend.optim.scaling import LossScale
from chainrule.frontend.places import error, located
from chainrule.frontend.scope import Scope, Stored
from chainrule.frontend.state_source import StateSource
from chainrule.frontend.tensor import Tensor
from chainrule.frontend.trace import (
    Arguments,
    Traced,
    declare,
    finish,
    graph_of,
    name_of,
    parameters_of,
    require_function,
    stored_names,
)
from chainrule.frontend.update import Update, updated
from chainrule.ir.graph import Graph, input_name

Loss = Callable[..., Any]
Metric = str | Callable[..., Tensor]


@dataclass(frozen=True, eq=False)
class StepGraph:
    """A training step, ready to be compiled.

    graph: inputs are the batch's leaves, then params and state; outputs are the loss, then the metrics, and last, if
    guarded, whether the gradients were finite; updates give every changed state its new value. arguments: from a call's
    arguments to the batch's leaves. evaluation: loss and metrics of the same model out of training mode, with nothing
    updated.
    """

    graph: Graph
    arguments: Arguments
    sources: tuple[StateSource, ...]
    output_names: tuple[str, ...]
    evaluation: Traced
    guarded: bool = False

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs that a call gives."""
        return tuple(path for name, form in zip(self.arguments.names, self.arguments.structure.children, strict=True)
                     for path in form.paths(name))  # fmt: skip


def build_step(model: Callable[..., Any], loss: Loss, optimizer: Optimizer | Mapping[str, Optimizer], specs: object, *,
               metrics: Sequence[Metric] | Mapping[str, Metric] = (), clip_norm: float | None = None,
               accumulate: int = 1, ema: float | None = None, loss_scale: float | str | LossScale = 1.0,
               nonfinite: str = "keep", seed: int | None = None, mixed: str | None = None,
               name: str | None = None) -> StepGraph:  # fmt: skip
    """The graph of one training step of a model.

    loss: either loss(output, *targets) -> scalar, and then specs is a pair (inputs, targets), each one spec or a tuple
    of them (a dict of inputs is given by keyword); or loss(model, *batch) -> scalar, recognised by its first
    parameter's name `model`, and then specs has one entry for each of batch. A loss may return (scalar, dict of
    further scalars), which are reported as metrics.
    optimizer: one for the loss; or a dict, and then the loss returns a dict of scalars that has the same names. Each
    optimiser follows the gradients of its own loss, all computed from the weights before the update; no parameter is
    trained by two. The step's loss is their sum, and each is a metric; other entries of the dict are metrics too.
    metrics: "accuracy", or functions like the loss; a dict names them.
    clip_norm, accumulate, ema, loss_scale, nonfinite: see Update. seed: of the random key. mixed: of products.
    Raises ArgumentError, ShapeError or NotSupported (what has no gradient), with the user's line.
    """
    several = isinstance(optimizer, Mapping)
    optimizers = _required_optimizers(optimizer)
    update = Update(optimizers, clip_norm, accumulate, ema, loss_scale, nonfinite)
    problem = posed(model, loss, specs, metrics, tuple(optimizers) if several else ())
    label = name or f"{name_of(model)}_step"
    scope = Scope(label, training=True, names=problem.names())
    if seed is not None:
        scope.key = new_key_buffer(seed)
    declared = declare(scope, problem, problem.specs)
    with scopes.entered(scope), located():
        results = problem(**declared.keywords)
        if mixed is not None:
            results = with_cast_products(scope, results, mixed)
        own, sound = updated(scope, {name: results[name] for name in optimizers}, update)
        guards = (sound,) if sound is not None and nonfinite == "raise" else ()
        names = tuple(scope.take_name(key) for key in (*results, *("gradients_are_finite" for _ in guards)))
        outputs = tuple(tensor.value for tensor in (*results.values(), *guards))
        graph = graph_of(scope, declared.values, outputs, names, [(source.value, new) for source, new in own])
    bound = tuple(StateSource(value, source_name(stored, input_name(value)), stored.data, stored)
                  for value, stored in scope.bound())  # fmt: skip
    sources = bound + tuple(source for source, _ in own)
    evaluation = build_evaluation(problem, label)
    if mixed is not None:
        evaluation = cast_products(evaluation, mixed)
    return StepGraph(graph, declared.arguments, sources, tuple(results), evaluation, bool(guards))


@dataclass(frozen=True, eq=False)
class Problem:
    """What is trained: a model, its loss and metrics, and the specs of a batch by argument name.

    parts: the names of the losses when there are several.
    """

    model: Callable[..., Any]
    loss: Loss
    metrics: Mapping[str, Callable[..., Tensor]]
    specs: dict[str, object]
    inputs: tuple[str, ...]
    by_keyword: bool
    loss_takes_model: bool
    parts: tuple[str, ...] = ()

    def names(self) -> dict[int, str]:
        """The paths of the parameters and buffers of the model, and of a loss that is a module."""
        extra = {key: f"loss.{path}" for key, path in stored_names(self.loss).items()}
        return extra | stored_names(self.model)

    def __call__(self, **batch: Any) -> dict[str, Tensor]:
        """The loss and the metrics of a batch."""
        if self.loss_takes_model:
            return self._scalars(self.loss(self.model, *batch.values()), {})
        given = {name: batch[name] for name in self.inputs}
        output = self.model(**given) if self.by_keyword else self.model(*given.values())
        targets = [value for name, value in batch.items() if name not in given]
        found = self._scalars(self.loss(output, *targets), {})
        return self._scalars(
            found.pop("loss"), found | {k: metric(output, *targets) for k, metric in self.metrics.items()}
        )

    def _scalars(self, loss: Any, further: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss with what else is reported. Raises ShapeError or ArgumentError unless all are scalars."""
        first: Any = loss
        if self.parts and isinstance(loss, Mapping):
            return self._scalars(self._sum(loss), {**loss, **further})
        if self.parts and not further:
            raise error(ArgumentError, f"loss: {type(loss).__name__} was returned, not a dict of losses",
                        help="one for each optimiser: " + ", ".join(self.parts))  # fmt: skip
        if isinstance(loss, tuple) and len(loss) == 2 and isinstance(loss[1], Mapping):
            first, further = loss[0], {**loss[1], **further}
        for name, value in {"loss": first, **further}.items():
            if not isinstance(value, Tensor):
                raise error(ArgumentError, f"{name}: {type(value).__name__} was returned, not a tensor",
                            help="a loss and a metric return a scalar tensor")  # fmt: skip
            if value.ndim != 0:
                raise error(ShapeError, f"{name}: {value.value.type} was returned, not a scalar",
                            help="reduce it: value.mean()")  # fmt: skip
        if not first.dtype.is_float:
            raise error(ArgumentError, f"loss: it is of type {first.dtype}", help="a loss is of a float type")
        return {"loss": first, **further}


    def _sum(self, losses: Mapping[str, Any]) -> Any:
        """The sum of the losses that are trained. Raises ArgumentError when one is missing."""
        missing = [name for name in self.parts if name not in losses]
        if missing:
            raise error(ArgumentError, f"loss: the dict has no {missing[0]!r}", help="one for each optimiser")
        found = [losses[name] for name in self.parts]
        return sum(found[1:], start=found[0])


def _required_optimizers(optimizer: object) -> dict[str, Optimizer]:
    """The optimisers by the names of their losses. Raises ArgumentError for what is none, and for an empty dict."""
    if not isinstance(optimizer, Mapping):
        _require_optimizer(optimizer)
        return {"loss": cast(Optimizer, optimizer)}
    given = cast("Mapping[str, Optimizer]", optimizer)
    if not given or "loss" in given:
        raise error(ArgumentError, "optimizer: the dict is empty" if not given else "optimizer: the name loss is taken",
                    help='e.g. {"judge": optim.Adam(), "generator": optim.Adam()}')  # fmt: skip
    for part in given.values():
        _require_optimizer(part)
    return dict(given)


def _require_optimizer(optimizer: object) -> None:
    """Raises ArgumentError for a class in the place of its object, a name, or anything else that does not update."""
    shown = optimizer.__name__ + " is a class" if isinstance(optimizer, type) else f"{optimizer!r:.60} is no optimiser"
    if isinstance(optimizer, type) or not all(hasattr(optimizer, name) for name in ("of", "slots", "update")):
        raise error(ArgumentError, f"optimizer: {shown}", help="make one: optim.Adam(1e-3)")


def posed(model: Callable[..., Any], loss: Loss, specs: object, metrics: Sequence[Metric] | Mapping[str, Metric],
          parts: tuple[str, ...] = ()) -> Problem:  # fmt: skip
    """The problem that these arguments of `build_step` pose. Raises ArgumentError where they do not fit together."""
    require_function("model", model)
    require_function("loss", loss)
    named = named_metrics(metrics)
    first, *rest = _positional_names(loss) or [""]
    if first == "model":
        if named:
            raise error(ArgumentError, "metrics: a loss that takes the model reports its own",
                        help='return (loss, {"accuracy": ...}) from it')  # fmt: skip
        entries = specs if isinstance(specs, Mapping) else _named(rest, specs, "batch")
        return Problem(model, loss, named, dict(entries), (), False, True, parts)
    if not isinstance(specs, tuple | list) or len(specs) != 2:
        raise error(ArgumentError, "specs: a pair (inputs, targets) is expected",
                    help='e.g. (cr.spec("N", 1, 28, 28), cr.spec("N", dtype="i64")), or ((a, b), targets); a loss that '
                         "calls the model itself names it so: loss(model, *batch)")  # fmt: skip
    inputs, targets = specs
    by_keyword = isinstance(inputs, Mapping)
    given = dict(inputs) if isinstance(inputs, Mapping) else _named(_positional_names(model), inputs, "x")
    wanted = dict(targets) if isinstance(targets, Mapping) else _named(rest, targets, "y")
    for name, part in wanted.items():
        given[name if name not in given else f"{name}_target"] = part
    names = tuple(given)[: len(given) - len(wanted)]
    return Problem(model, loss, named, given, names, by_keyword, False, parts)


def _named(names: Sequence[str], specs: object, fallback: str) -> dict[str, object]:
    """The specs by the names of the arguments they are for."""
    parts = list(specs) if isinstance(specs, tuple | list) else [specs]
    filled = [*names[: len(parts)], *(f"{fallback}{i}" for i in range(len(names), len(parts)))]
    return dict(zip(filled, parts, strict=True))


def _positional_names(fn: Callable[..., Any]) -> list[str]:
    parameters = parameters_of(fn) or []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def named_metrics(metrics: Sequence[Metric] | Mapping[str, Metric]) -> dict[str, Callable[..., Tensor]]:
    """The metrics by name. Raises ArgumentError for an unknown name or one given twice."""
    pairs = metrics.items() if isinstance(metrics, Mapping) else [(name_of_metric(m), m) for m in metrics]
    found: dict[str, Callable[..., Tensor]] = {}
    for name, metric in pairs:
        if name in found or name == "loss":
            raise error(
                ArgumentError, f"metrics: the name {name} is used twice", help="give a dict of names to metrics"
            )
        if isinstance(metric, str) and metric != "accuracy":
            raise error(ArgumentError, f"metrics: {metric!r} is not known", help='"accuracy", or a function')
        found[name] = accuracy if isinstance(metric, str) else metric
    return found


def name_of_metric(metric: Metric) -> str:
    """What a metric is called when no name is given."""
    return metric if isinstance(metric, str) else name_of(metric)


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """The share of positions whose largest score is at the target class. output: [N, C, *S], target: i [N, *S]."""
    if output.ndim != target.ndim + 1:
        raise error(ShapeError, f"accuracy: scores {output.value.type} and classes {target.value.type} do not fit",
                    help="scores are [N, C, *S], classes are integers [N, *S]")  # fmt: skip
    return (output.argmax(axis=1 if output.ndim > 1 else 0) == target).astype("f32").mean()


def build_evaluation(problem: Problem, name: str) -> Traced:
    """Loss and metrics out of training mode, as a dict of scalars; nothing is trained."""
    scope = Scope(name.removesuffix("_step") + "_eval", training=False, names=problem.names())
    declared = declare(scope, problem, problem.specs)
    with scopes.entered(scope), located():
        return finish(scope, declared, problem(**declared.keywords))


def source_name(stored: Stored, path: str) -> str:
    """The checkpoint key of a parameter ("params.w"), a buffer ("buffers.mean") or the random key."""
    if path == KEY_NAME:
        return path
    return f"params.{path}" if stored.role == "param" else f"buffers.{path}"

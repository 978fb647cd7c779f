"""What every op promises, tested from its samples alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields

import numpy as np
import pytest

from chainrule.backends.reference.interpreter import evaluate, run
from chainrule.errors import ChainruleError
from chainrule.ir.body import Control
from chainrule.ir.dims import DimExpr, dim_substitute, symbol
from chainrule.ir.graph import Get, Graph, Input, Value, build, new_input, results
from chainrule.ir.op import Op
from chainrule.ir.types import TensorType, TupleType, Type, as_dtype, type_of
from chainrule.ops import ALL_OPS
from chainrule.ops.basic import Constant, Full, Fuse, SizeOf
from chainrule.ops.elementwise import Elementwise, mul
from chainrule.ops.reduce import sum as total
from chainrule.ops.tolerance import (
    ADJOINT_RTOL,
    CLASSES,
    DIFFERENCE_STEP,
    exactly,
    gradients_agree,
    judge,
    models_agree,
)
from chainrule.passes.autodiff import gradients
from tests.ops.sample import BadSample, Sample
from tests.ops.samples import BAD, SAMPLES

Array = np.ndarray

# No size of their inputs is free: keys are two words, expand is told its sizes, and bodies have types of their own.
NO_FREE_SIZE = frozenset({"expand", "fold_in", "split_key", "random_bits", "uniform", "normal", "bernoulli", "randint",
                          "permutation",
                          "cond", "scan", "while", "checkpoint", "custom_vjp"})  # fmt: skip
# Parts of every graph rather than operations of a model: made by build, get and the fusing passes.
STRUCTURE: tuple[type[Op], ...] = (Input, Get, Fuse)
# These take no inputs, and their attributes are made of checked parts: nothing is left to refuse.
CANNOT_FAIL: tuple[type[Op], ...] = (Input, Get, Constant, Full, SizeOf)

SAMPLED: tuple[type[Op], ...] = tuple(op for op in ALL_OPS if op not in (Input, Get))
DIFFERENTIATED = ("vjp", "decompose", "bodies")
# The gradient of a weight in their loops is summed in another order where sizes are symbols.
LOOPED = frozenset({"rnn_steps_grad"})
DIRECTIONS = 16  # random directions of a difference quotient where an input has more than ONE_BY_ONE elements
ONE_BY_ONE = 40


def floats_of(sample: Sample) -> tuple[int, ...]:
    """The inputs whose gradient is checked."""
    if sample.op.gradient not in DIFFERENTIATED:
        return ()
    floats = tuple(i for i, x in enumerate(sample.inputs) if as_dtype(x.dtype).is_float)
    return tuple(i for i in floats if sample.grad is None or i in sample.grad)


def named(samples: Sequence[Sample | BadSample]) -> list[object]:
    """The samples as parameters with readable, distinct names."""
    return [pytest.param(s, id=f"{s.id}:{i}") for i, s in enumerate(samples)]


DIFFERENTIABLE = [s for s in SAMPLES if floats_of(s)]
COMPOSITE = [s for s in SAMPLES if type(s.op).decompose is not Op.decompose and type(s.op).ref is not Op.ref]


def called(op: Op, arrays: Sequence[Array]) -> tuple[Value, list[Value]]:
    """The op on fresh graph inputs of the arrays' types, and these inputs."""
    inputs = [new_input(f"x{i}", type_of(x)) for i, x in enumerate(arrays)]
    return build(op, *inputs), inputs


def read_only(arrays: Sequence[Array]) -> list[Array]:
    """Copies that raise where a ref writes to its inputs."""
    copies = [x.copy() for x in arrays]
    for copy in copies:
        copy.flags.writeable = False
    return copies


def in_doubles(arrays: Sequence[Array]) -> list[Array]:
    """The arrays with floats in float64."""
    return [x.astype(np.float64) if as_dtype(x.dtype).is_float else x for x in arrays]


def types_of(type: Type) -> tuple[TensorType, ...]:
    return type.items if isinstance(type, TupleType) else (type,)


@pytest.mark.parametrize("op", ALL_OPS, ids=lambda op: op.__name__)
def test_every_op_is_described(op: type[Op]) -> None:
    assert op.__doc__, "it has no docstring"
    assert op in STRUCTURE or "Source:" in op.__doc__, "its docstring names no source"
    assert op.tolerance in CLASSES, f"{op.tolerance} is no tolerance class"
    match op.gradient:
        case "vjp":
            assert op.vjp is not Op.vjp, "its gradient is vjp, and it has none"
        case "decompose":
            assert op.decompose is not Op.decompose, "its gradient is that of its decomposition, and it has none"
        case "bodies":
            assert issubclass(op, Control), "its gradient is that of its bodies, and it has none"
        case "zero":
            assert op.vjp is Op.vjp, "its gradient is zero, and it has a vjp"
        case other:
            assert other.startswith("none: ") and len(other) > len("none: "), "it says not why it has no gradient"
    assert op.gradient != Op.gradient or op in (Input, Get), "its gradient status is not stated"
    stated = {n for n, t in inspect.get_annotations(op).items() if not str(t).startswith("ClassVar")}
    assert stated <= {f.name for f in fields(op)}, "it states attributes and is no dataclass of its own"


@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.__name__)
def test_every_op_has_samples_and_calls_that_it_refuses(op: type[Op]) -> None:
    assert any(type(s.op) is op for s in SAMPLES), "it has no sample"
    assert op in CANNOT_FAIL or any(type(s.op) is op for s in BAD), "it has no bad sample"
    if op.gradient in DIFFERENTIATED:
        assert any(type(s.op) is op for s in DIFFERENTIABLE), "no sample of it checks the gradient"


def test_ops_have_one_name_each_and_every_sample_is_of_a_registered_op() -> None:
    names = [op.name for op in ALL_OPS]
    assert len(set(names)) == len(names), sorted(n for n in set(names) if names.count(n) > 1)
    assert {type(s.op).__name__ for s in (*SAMPLES, *BAD) if type(s.op) not in ALL_OPS} == set()


@pytest.mark.parametrize("sample", named(SAMPLES))
def test_the_shape_rule_says_what_the_reference_gives(sample: Sample) -> None:
    value, _ = called(sample.op, sample.inputs)
    found = reference(value, read_only(sample.inputs))
    for array, wanted in zip(found, types_of(value.type), strict=True):
        assert isinstance(array, np.ndarray | np.generic)  # a scalar of numpy is as good as a 0-d array
        assert as_dtype(array.dtype) == wanted.dtype
        assert len(array.shape) == wanted.rank
        assert all(not isinstance(d, int) or d == n for d, n in zip(wanted.shape, array.shape)), (wanted, array.shape)


def reference(value: Value, arrays: Sequence[Array]) -> tuple[Array, ...]:
    """What the op's own ref gives, untouched; of an op without one, its decomposition."""
    if type(value.op).ref is Op.ref:
        return evaluate(value, arrays, {}, precise=False)
    with np.errstate(all="ignore"):
        found = value.op.ref(*arrays)
    return found if isinstance(found, tuple) else (found,)


SIZED = [op for op in SAMPLED if op not in (*CANNOT_FAIL, Fuse) and op.name not in NO_FREE_SIZE]


@pytest.mark.parametrize("op", SIZED, ids=lambda op: op.__name__)
def test_the_shape_rule_holds_for_symbolic_sizes(op: type[Op]) -> None:
    tried = accepted = 0
    for sample in SAMPLES:
        if type(sample.op) is not op:
            continue
        types = [type_of(x) for x in sample.inputs]
        wanted = types_of(sample.op.infer(*types))
        for size in sorted({d for t in types for d in t.shape if d != 1}):
            tried += 1
            freed = [t.with_shape(symbol("N") if d == size else d for d in t.shape) for t in types]
            try:
                found = sample.op.infer(*freed)
            except ChainruleError:
                assert not issubclass(op, Elementwise), sample.id
                continue
            accepted += 1
            for got, want in zip(types_of(found), wanted, strict=True):
                assert got.dtype == want.dtype
                assert_dims_agree(got, want, {"N": size}, sample.id)
    assert accepted or not tried, "it refuses every symbolic size"


def assert_dims_agree(got: TensorType, want: TensorType, env: dict[str, int], label: str) -> None:
    """The dims agree after substitution; sizes that depend on data stay symbols."""
    assert got.rank == want.rank, label
    for g, w in zip(got.shape, want.shape):
        bound = dim_substitute(g, env)  # type: ignore[arg-type]
        assert isinstance(bound, DimExpr) or isinstance(w, DimExpr) or bound == w, (label, str(g), w)


@pytest.mark.parametrize("sample", named(DIFFERENTIABLE))
def test_the_gradient_agrees_with_a_difference_quotient(sample: Sample) -> None:
    arrays = in_doubles(sample.inputs)
    value, inputs = called(sample.op, arrays)
    rng = np.random.default_rng(7)
    outputs = [v for v in results(value) if v.dtype.is_float]
    seeds = [new_input(f"g{i}", v.tensor) for i, v in enumerate(outputs)]
    weights = seed_arrays(value, arrays, rng)
    checked = [inputs[i] for i in floats_of(sample)]
    found = gradients(outputs, checked, seeds)
    assert all(g is not None and g.type == x.type for g, x in zip(found, checked))
    grads = run(Graph("vjp", (*inputs, *seeds), tuple(g for g in found if g is not None)), [*arrays, *weights])
    for index, grad in zip(floats_of(sample), grads):
        directions = directions_for(arrays[index], rng)
        quotients = [difference(value, arrays, index, d, weights) for d in directions]
        along = np.array([float(np.sum(d * grad)) for d in directions])
        verdict = gradients_agree(along, np.array(quotients))
        assert verdict, f"input {index}: {verdict.reason}"


def seed_arrays(value: Value, arrays: Sequence[Array], rng: np.random.Generator) -> list[Array]:
    """Random cotangents for the float results; 0 where a result is not finite and no quotient can be formed."""
    found = [y for y in evaluate(value, arrays, {}, precise=False) if as_dtype(y.dtype).is_float]
    return [np.where(np.isfinite(y), rng.standard_normal(np.shape(y)), 0.0) for y in found]


def directions_for(x: Array, rng: np.random.Generator) -> list[Array]:
    """One direction per element of a small array; random ones, all elements at once, of a larger one."""
    if x.size <= ONE_BY_ONE:
        return [row.reshape(x.shape) for row in np.eye(x.size)]
    return [rng.choice([-1.0, 1.0], x.shape) for _ in range(DIRECTIONS)]


def difference(value: Value, arrays: Sequence[Array], index: int, direction: Array, weights: Sequence[Array]) -> float:
    """The 4-point difference quotient of the weighted sum of the float results along a direction of one input."""

    def moved(steps: int) -> float:
        changed = list(arrays)
        changed[index] = arrays[index] + steps * DIFFERENCE_STEP * direction
        found = [y for y in evaluate(value, changed, {}, precise=False) if as_dtype(y.dtype).is_float]
        return float(np.sum([np.sum(w * np.where(w == 0, 0.0, y)) for w, y in zip(weights, found, strict=True)]))

    return (8.0 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / (12.0 * DIFFERENCE_STEP)


@pytest.mark.parametrize("sample", named(DIFFERENTIABLE))
def test_the_gradient_is_the_adjoint_of_its_own_adjoint(sample: Sample) -> None:
    """<J v, u> = <v, J' u>, where J v is the gradient of <v, J' u> with respect to u."""
    arrays = in_doubles(sample.inputs)
    value, inputs = called(sample.op, arrays)
    rng = np.random.default_rng(8)
    outputs = [v for v in results(value) if v.dtype.is_float]
    seeds = [new_input(f"u{i}", v.tensor) for i, v in enumerate(outputs)]
    checked = [inputs[i] for i in floats_of(sample)]
    pulled = gradients(outputs, checked, seeds)
    pushes = [new_input(f"v{i}", x.tensor) for i, x in enumerate(checked)]
    products = [total(mul(g, v)) for g, v in zip(pulled, pushes) if g is not None]
    pushed = [sum_of(parts) for parts in zip(*(gradients([p], seeds) for p in products))]
    seed_values = seed_arrays(value, arrays, rng)
    push_values = [rng.standard_normal(arrays[i].shape) for i in floats_of(sample)]
    back = tuple(g for g in pulled if g is not None)
    ahead = tuple(j for j in pushed if j is not None)
    found = run(Graph("adjoint", (*inputs, *seeds, *pushes), back + ahead), [*arrays, *seed_values, *push_values])
    left = np.concatenate([(g * v).ravel() for g, v in zip(found[: len(back)], push_values)])
    reached = [u for u, j in zip(seed_values, pushed) if j is not None]
    right = np.concatenate([np.zeros(0), *((j * u).ravel() for j, u in zip(found[len(back) :], reached))])
    scale = float(np.sum(np.abs(left)) + np.sum(np.abs(right)))
    assert abs(float(left.sum()) - float(right.sum())) <= ADJOINT_RTOL * scale


@pytest.mark.parametrize("sample", named([s for s in DIFFERENTIABLE if not isinstance(s.op, Fuse)]))
def test_the_gradient_is_the_same_with_symbolic_sizes_and_has_its_inputs_types(sample: Sample) -> None:
    types = [type_of(x) for x in sample.inputs]
    fixed, inputs = gradient_graph(sample, types)
    arrays = [*sample.inputs, *seeds_like(fixed, len(inputs))]
    wanted = run(fixed, arrays)
    for size in sorted({d for t in types for d in t.shape if d != 1}):
        freed = [t.with_shape(symbol("N") if d == size else d for d in t.shape) for t in types]
        try:
            sample.op.infer(*freed)
        except ChainruleError:
            continue
        found = run(gradient_graph(sample, freed)[0], arrays)
        for got, want in zip(found, wanted, strict=True):
            same = models_agree if sample.op.name in LOOPED else exactly
            verdict = same(got, want)
            assert verdict, f"{size} as a symbol: {verdict.reason}"


def gradient_graph(sample: Sample, types: Sequence[TensorType]) -> tuple[Graph, list[Value]]:
    """Inputs and one seed per float result -> the gradients of the checked inputs, each of its input's type."""
    inputs = [new_input(f"x{i}", t) for i, t in enumerate(types)]
    outputs = [v for v in results(build(sample.op, *inputs)) if v.dtype.is_float]
    seeds = [new_input(f"g{i}", v.tensor) for i, v in enumerate(outputs)]
    checked = [inputs[i] for i in floats_of(sample)]
    found = gradients(outputs, checked, seeds)
    assert [g is not None and g.type for g in found] == [x.type for x in checked]
    return Graph("vjp", (*inputs, *seeds), tuple(g for g in found if g is not None)), inputs


def seeds_like(graph: Graph, skip: int) -> list[Array]:
    """Random arrays for the inputs of a static graph behind the first `skip`."""
    rng = np.random.default_rng(9)
    types = [v.tensor for v in graph.inputs[skip:]]
    return [np.asarray(rng.standard_normal(t.shape)).astype(t.dtype.numpy) for t in types]  # type: ignore[arg-type]


def sum_of(parts: Sequence[Value | None]) -> Value | None:
    """The sum of the values among the parts."""
    from chainrule.ops.elementwise import add

    present = [p for p in parts if p is not None]
    if not present:
        return None
    result = present[0]
    for part in present[1:]:
        result = add(result, part)
    return result


@pytest.mark.parametrize("widen", [pytest.param(read_only, id="own type"), pytest.param(in_doubles, id="f64")])
@pytest.mark.parametrize("sample", named(COMPOSITE))
def test_the_decomposition_means_the_same(sample: Sample, widen: Callable[[Sequence[Array]], list[Array]]) -> None:
    arrays = widen(sample.inputs)
    inputs = [new_input(f"x{i}", type_of(x)) for i, x in enumerate(arrays)]
    parts = sample.op.decompose(*inputs)
    if parts is None:
        pytest.skip("this form of the op is a primitive")
    outputs = parts if isinstance(parts, tuple) else (parts,)
    assert tuple(v.type for v in outputs) == types_of(sample.op.infer(*(v.tensor for v in inputs)))
    verdict = judge(sample.op, arrays, run(Graph("parts", tuple(inputs), outputs), arrays))
    assert verdict, verdict.reason


@pytest.mark.parametrize("sample", named(SAMPLES))
def test_the_reference_is_within_its_own_tolerance(sample: Sample) -> None:
    value, _ = called(sample.op, sample.inputs)
    if type(sample.op).ref is Op.ref:
        pytest.skip("it means its decomposition")
    verdict = judge(sample.op, sample.inputs, reference(value, sample.inputs))
    assert verdict, verdict.reason


@pytest.mark.parametrize("sample", named(BAD))
def test_bad_calls_raise_the_stated_error(sample: BadSample) -> None:
    inputs = [new_input(f"x{i}", t) for i, t in enumerate(sample.types)]
    with pytest.raises(sample.error) as caught:
        build(sample.op, *inputs)
    assert type(caught.value) is sample.error
    assert sample.message in caught.value.cause + "\n" + caught.value.help
    assert caught.value.cause.startswith(sample.op.mnemonic)

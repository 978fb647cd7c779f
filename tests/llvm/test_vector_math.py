"""The vector functions are within their bounds on every target that this machine can run."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.target import Target, host_target, named_target
from chainrule.backends.loops import interpret
from chainrule.ir.types import DType, f32, f64
from tests.llvm.vector_math_support import (
    BINARY,
    COMPOSITE,
    NAMES,
    SLOW_REFERENCES,
    apply,
    complaint,
    kernel,
    random_inputs,
    reference,
    runnable_targets,
    special_inputs,
)

UNARY = [name for name in NAMES if name not in BINARY]
DTYPES = [
    f32,
    pytest.param(f64, marks=pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="no wider reference")),
]
TARGETS = [pytest.param(t, id=t.name) for t in runnable_targets()]
ODD = ("sin", "tan", "asin", "atan", "sinh", "asinh", "tanh", "atanh", "erf", "cbrt", "expm1", "log1p")


def count_for(name: str) -> int:
    return 4000 if name in SLOW_REFERENCES else 200_000


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_random_inputs_are_within_the_bound(name: str, dtype: DType, target: Target) -> None:
    x = random_inputs(name, dtype, count_for(name))
    assert complaint(name, dtype, (x,), apply(name, x, target=target), reference(name, x)) == ""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_special_inputs_are_within_the_bound(name: str, dtype: DType, target: Target) -> None:
    x = special_inputs(dtype)
    assert complaint(name, dtype, (x,), apply(name, x, target=target), reference(name, x)) == ""


@pytest.mark.parametrize("dtype", [f32, f64], ids=str)
@pytest.mark.parametrize("name", ODD)
def test_odd_functions_keep_the_sign_of_zero_and_tiny_numbers(name: str, dtype: DType) -> None:
    info = np.finfo(dtype.numpy)
    tiny = np.array([0.0, info.smallest_subnormal, info.tiny / 3], dtype.numpy)
    x = np.concatenate([tiny, -tiny])
    y = apply(name, x)
    assert np.array_equal(np.signbit(y), np.signbit(x))
    assert np.array_equal(y == 0, x == 0) or name == "erf"


@pytest.mark.parametrize("dtype", [f32, f64], ids=str)
def test_rsqrt_of_minus_zero_is_minus_infinity(dtype: DType) -> None:
    assert apply("rsqrt", np.array([-0.0], dtype.numpy))[0] == -np.inf


@pytest.mark.parametrize("dtype", [f32, f64], ids=str)
def test_exp2_and_log2_are_exact_at_powers_of_two(dtype: DType) -> None:
    low, high = (-149, 128) if dtype == f32 else (-1074, 1024)
    n = np.arange(low, high).astype(dtype.numpy)
    powers = np.ldexp(np.ones(n.size, dtype.numpy), n.astype(np.int32))
    assert np.array_equal(apply("exp2", n), powers)
    assert np.array_equal(apply("log2", powers), n)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "mish"])
@pytest.mark.parametrize("dtype", [f32, f64], ids=str)
def test_gates_give_nan_at_minus_infinity_and_infinity_at_infinity(name: str, dtype: DType) -> None:
    y = apply(name, np.array([-np.inf, np.inf], dtype.numpy))
    assert np.isnan(y[0]) and y[1] == np.inf


@pytest.mark.parametrize("dtype", [f32, f64], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_target_that_fuses_gives_the_same_bits(name: str, dtype: DType) -> None:
    fusing = [t for t in runnable_targets() if t.has_fma]
    if len(fusing) < 2:
        pytest.skip("this machine runs one such target")
    inputs = [random_inputs(name, dtype, 20_000, seed) for seed in range(2 if name in BINARY else 1)]
    first, *others = (apply(name, *inputs, target=t) for t in fusing)
    for other in others:
        assert np.array_equal(first, other, equal_nan=True)


@pytest.mark.parametrize("lanes", [1, 2, 8, 32])
@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_lanes_does_not_change_the_bits(name: str, lanes: int) -> None:
    for dtype in (f32, f64):
        inputs = [random_inputs(name, dtype, 1000, seed) for seed in range(2 if name in BINARY else 1)]
        assert np.array_equal(apply(name, *inputs), apply(name, *inputs, lanes=lanes), equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_interpreter_is_within_the_bound_too(name: str, dtype: DType) -> None:
    inputs = [np.abs(random_inputs(name, dtype, 80, seed)) for seed in range(2 if name in BINARY else 1)]
    y = np.empty_like(inputs[0])
    lanes = 16
    with np.errstate(all="ignore"):
        interpret(kernel(name, dtype, lanes), [*inputs, y], [y.size], 0, -(-y.size // lanes))
    assert complaint(name, dtype, tuple(inputs), y, reference(name, *inputs)) == ""


@pytest.mark.parametrize("name", NAMES)
def test_kernels_call_no_library_on_any_named_target(name: str) -> None:
    from chainrule.backends.llvm.jit import function_module, object_code
    from chainrule.backends.llvm.objects import undefined_symbols

    for target in ("x86-64-v4", "x86-64-v3", "x86-64-v2", "aarch64"):
        for dtype in (f32, f64):
            _, module = function_module(kernel(name, dtype, 16), named_target(target))
            assert undefined_symbols(object_code(module, named_target(target))) in ([], set(), ())


def test_the_composite_functions_are_those_of_class_c() -> None:
    from chainrule.ops import ALL_OPS

    classes = {op.name: op.tolerance for op in ALL_OPS if op.name in NAMES}
    assert {name for name, kind in classes.items() if kind == "C"} == set(COMPOSITE) & set(classes)
    assert {"exp", "log", "tanh", "sigmoid"} <= set(classes)
    assert host_target().vector_bits >= 128

"""Native code and the interpreter agree to the last bit on every operation, for each dtype, scalar and vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from chainrule.backends.llvm.jit import runs_here
from chainrule.backends.llvm.target import named_target
from chainrule.backends.loops import Builder, Function, Value, interpret, verify
from chainrule.ir.types import ALL_DTYPES, DType, bool_, f32, f64, i8, i32, i64, u8
from tests.guard_pages import run_kernel
from tests.llvm.kernel_inputs import assert_same_bits, designed, pairs

COUNT = 512
TARGETS = ("host", "x86-64-v3", "x86-64-v2")
LANES_AND_TARGETS = [(1, "host"), *((16, name) for name in TARGETS)]
names = [d.name for d in ALL_DTYPES]

Made = list[tuple[str, Value]]


def elementwise(
    name: str, ins: Sequence[DType], lanes: int, make: Callable[[Builder, list[Value]], Made]
) -> tuple[Function, list[str]]:
    """A kernel that applies every operation of make to all elements, one output buffer each."""
    probe = Builder("probe")
    made = make(probe, [probe.load(probe.buffer(f"x{i}", d, (COUNT,)), (0,), lanes) for i, d in enumerate(ins)])
    k = Builder(name)
    inputs = [k.buffer(f"x{i}", d, (COUNT,)) for i, d in enumerate(ins)]
    outputs = [k.buffer(f"y_{n}", v.dtype, (COUNT * v.lanes // lanes,), "w") for n, v in made]
    with k.loop("i", 0, COUNT // lanes, parallel=True) as i:
        results = make(k, [k.load(x, (i * lanes,), lanes) for x in inputs])
        for out, (_, value) in zip(outputs, results, strict=True):
            k.store(out, (i * value.lanes,), value)
    return k.build(), [n for n, _ in made]


def compare(fn: Function, labels: Sequence[str], inputs: Sequence[np.ndarray], target: str) -> None:
    aim = named_target(target)
    if not runs_here(aim):
        pytest.skip(f"this machine cannot run {target}")
    verify(fn)
    outputs = [np.zeros([int(d) for d in b.shape], b.dtype.numpy) for b in fn.buffers[len(inputs) :]]
    expected = [o.copy() for o in outputs]
    interpret(fn, [*inputs, *expected])
    assert run_kernel(fn, [*inputs, *outputs], target=aim) == 0
    for label, got, want in zip(labels, outputs, expected, strict=True):
        assert_same_bits(got, want, f"{fn.name} {label}")


def exponents(k: Builder, x: Value) -> Value:
    """Whole numbers between what takes 1.2 to 0 and to infinity."""
    lowest, highest = (-151.0, 128.0) if x.dtype == f32 else (-1076.0, 1024.0)
    return k.rint(k.max(k.min(x, highest), lowest))


def arithmetic(k: Builder, x: list[Value]) -> Made:
    a, b = x
    dtype = a.dtype
    made: Made = []
    for op in ("lt", "le", "gt", "ge", "eq", "ne"):
        made.append((op, k.cmp(op, a, b)))
    made.append(("select", k.select(k.cmp("lt", a, b), a, b)))
    if dtype.is_bool:
        return [*made, ("and", k.and_(a, b)), ("or", k.or_(a, b)), ("xor", k.xor_(a, b)), ("not", k.not_(a))]
    made += [
        ("add", k.add(a, b)),
        ("sub", k.sub(a, b)),
        ("mul", k.mul(a, b)),
        ("div", k.div(a, b)),
        ("rem", k.rem(a, b)),
    ]
    made += [("min", k.min(a, b)), ("max", k.max(a, b)), ("minimum", k.minimum(a, b)), ("maximum", k.maximum(a, b))]
    made += [("neg", k.neg(a)), ("abs", k.abs(a))]
    if dtype.is_float:
        made += [("copysign", k.copysign(a, b)), ("sqrt", k.sqrt(a)), ("floor", k.floor(a)), ("ceil", k.ceil(a))]
        made += [("scale", k.scale(k.copysign(1.2345678806304932, a), exponents(k, b)))] if dtype.bits > 16 else []
        return [*made, ("trunc", k.trunc(a)), ("rint", k.rint(a))]
    made += [("and", k.and_(a, b)), ("or", k.or_(a, b)), ("xor", k.xor_(a, b)), ("not", k.not_(a))]
    made += [("shl", k.shl(a, b)), ("shr", k.shr(a, b)), ("shl3", k.shl(a, 3)), ("shr3", k.shr(a, 3))]
    made += [("div7", k.div(a, 7)), ("rem7", k.rem(a, 7)), ("div0", k.div(a, 0)), ("rem_ones", k.rem(a, -1))]
    return made


@pytest.mark.parametrize(("lanes", "target"), LANES_AND_TARGETS)
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=names)
def test_arithmetic_equals_the_interpreter(dtype: DType, lanes: int, target: str) -> None:
    fn, labels = elementwise(f"arithmetic_{dtype}_{lanes}", (dtype, dtype), lanes, arithmetic)
    compare(fn, labels, pairs(dtype, COUNT), target)


@pytest.mark.parametrize(("lanes", "target"), LANES_AND_TARGETS)
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=names)
def test_casts_equal_the_interpreter(dtype: DType, lanes: int, target: str) -> None:

    def casts(k: Builder, x: list[Value]) -> Made:
        return [(d.name, k.cast(x[0], d)) for d in ALL_DTYPES if d != dtype]

    fn, labels = elementwise(f"cast_{dtype}_{lanes}", (dtype,), lanes, casts)
    compare(fn, labels, [designed(dtype, COUNT)], target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=names)
def test_lane_operations_equal_the_interpreter(dtype: DType, target: str) -> None:
    lanes = 8

    def moves(k: Builder, x: list[Value]) -> Made:
        a, b = x
        made: Made = [
            ("iota", k.shuffle(a, k.cast(k.iota(i64, lanes), dtype), [0, 9, 2, 11, 4, 13, 6, 15])),
            ("reverse", k.shuffle(a, None, range(7, -1, -1))),
            ("low", k.concat(k.shuffle(a, None, [0, 1, 2, 3]), k.shuffle(b, None, [4, 5, 6, 7]))),
            ("both", k.concat(a, b)),
            ("insert", k.insert(a, k.extract(b, 3), 5)),
            ("splat", k.splat(k.extract(a, 7), lanes)),
            ("scalars", k.concat(*[k.extract(b, j) for j in (3, 1, 0, 2, 7, 7, 5, 6)])),
        ]
        if dtype.is_bool:
            return [*made, ("all", k.splat(k.reduce("and", a), lanes)), ("any", k.splat(k.reduce("or", a), lanes))]
        ops = ["add", "mul", "min", "max", "minimum", "maximum"] + ([] if dtype.is_float else ["and", "or"])
        made += [(op, k.splat(k.reduce(op, a), lanes)) for op in ops]
        same_size = [d for d in ALL_DTYPES if d.bits == dtype.bits and d != dtype]
        made += [(f"bits_{d}", k.bitcast(a, d)) for d in same_size]
        halves = next((d for d in ALL_DTYPES if d.is_int and d.bits * 2 == dtype.bits), None)
        return made + ([("narrow", k.bitcast(a, halves))] if halves else [])

    fn, labels = elementwise(f"lanes_{dtype}", (dtype, dtype), lanes, moves)
    compare(fn, labels, pairs(dtype, COUNT), target)


@pytest.mark.parametrize("dtype", [d for d in ALL_DTYPES if d.is_float], ids=lambda d: d.name)
def test_fma_of_exact_operands_equals_the_interpreter(dtype: DType) -> None:
    # Products and sums of small integers are exact, so that one rounding or two make no difference.
    rng = np.random.default_rng(5)
    inputs = [rng.integers(-4, 5, COUNT).astype(dtype.numpy) for _ in range(3)]
    inputs[0][:3] = [np.inf, np.nan, -0.0]
    inputs[1][:3] = [0.0, 1.0, 1.0]

    def fused(k: Builder, x: list[Value]) -> Made:
        return [("fma", k.fma(*x)), ("half", k.fma(x[0], 0.5, x[2]))]

    fn, labels = elementwise(f"fma_{dtype}", (dtype,) * 3, 16, fused)
    compare(fn, labels, inputs, "host")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 16])
def test_dot4_is_exact_and_wraps_as_the_interpreter_does(lanes: int, target: str) -> None:
    rng = np.random.default_rng(6)
    a, b = rng.integers(0, 256, 4 * COUNT).astype(np.uint8), rng.integers(-128, 128, 4 * COUNT).astype(np.int8)
    c = rng.integers(-(2**31), 2**31, COUNT).astype(np.int32)
    a[:32], b[:16], b[16:32] = 255, 127, -128
    c[:8] = [0, 2**31 - 1, -(2**31), -1] * 2
    k = Builder(f"dot4_{lanes}")
    ins = [k.buffer("a", u8, (4 * COUNT,)), k.buffer("b", i8, (4 * COUNT,)), k.buffer("c", i32, (COUNT,))]
    out = k.buffer("y", i32, (COUNT,), "w")
    with k.loop("i", 0, COUNT // lanes, parallel=True) as i:
        x, y = (k.load(buffer, (i * (4 * lanes),), 4 * lanes) for buffer in ins[:2])
        k.store(out, (i * lanes,), k.dot(x, y, k.load(ins[2], (i * lanes,), lanes)))
    fn = k.build()
    compare(fn, ["dot"], [a, b, c], target)
    found = np.zeros(COUNT, np.int32)
    interpret(fn, [a, b, c, found])
    products = (a.astype(np.int64) * b.astype(np.int64)).reshape(COUNT, 4)
    assert np.array_equal(found, (products.sum(1) + c).astype(np.int32))


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=names)
def test_index_expressions_become_data_of_any_dtype(dtype: DType) -> None:
    k = Builder("values")
    n = k.size("N")
    out = k.buffer("y", dtype, (n,), "w")
    with k.loop("i", 0, n, parallel=True) as i:
        k.store(out, (i,), k.value((i * 7919 - 4000) // 3 + i % 5, dtype))
    fn = k.build()
    verify(fn)
    got, want = np.zeros(COUNT, dtype.numpy), np.zeros(COUNT, dtype.numpy)
    interpret(fn, [want], [COUNT])
    run_kernel(fn, [got], [COUNT])
    assert_same_bits(got, want, f"value {dtype}")


def test_the_float_remainder_is_exact_for_far_apart_exponents() -> None:
    for dtype in (f32, f64):
        a, b = pairs(dtype, COUNT)
        raw = np.random.default_rng(9).integers(0, 256, (2, COUNT * dtype.itemsize), dtype=np.uint8)
        for x, y in ((a, b), (raw[0].view(dtype.numpy), raw[1].view(dtype.numpy))):
            fn, labels = elementwise(f"rem_{dtype}", (dtype, dtype), 1, lambda k, v: [("rem", k.rem(v[0], v[1]))])
            compare(fn, labels, (x, y), "host")


def test_bools_in_memory_are_true_for_every_nonzero_byte() -> None:
    k = Builder("bools")
    x = k.buffer("x", bool_, (16,))
    y = k.buffer("y", f32, (16,), "w")
    k.store(y, (0,), k.select(k.load(x, (0,), 16), k.const(1.0, f32, 16), k.const(2.0, f32, 16)))
    out = np.zeros(16, np.float32)
    run_kernel(k.build(), [np.arange(16, dtype=np.uint8).view(bool), out])
    assert out.tolist() == [2.0] + [1.0] * 15

"""Compiled norms agree with their references: every layout, hard statistics, fused with a residual."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.llvm.target import named_target
from chainrule.errors import ChainruleError
from chainrule.ir.dims import symbol
from chainrule.ir.op import Op
from chainrule.ops.norm import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from chainrule.ops.norm_grad import NormGrad
from chainrule.ops.tolerance import judge
from tests.llvm.compiled import between_guards, bits_by_threads, complaints, executable, fused_complaint, graph_of
from tests.ops.sample import Sample, normal
from tests.ops.samples import SAMPLES

KERNELS = (LayerNorm, RMSNorm, GroupNorm, InstanceNorm)
NAMES = ("layer_norm", "rms_norm", "group_norm", "instance_norm", "norm_grad", "batch_norm", "batch_norm_training",
         "lp_normalize")  # fmt: skip
BY_NAME = {name: [s for s in SAMPLES if s.op.name == name] for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_samples_agree_with_the_reference(name: str) -> None:
    assert complaints(BY_NAME[name]) == []


@pytest.mark.parametrize("name", NAMES[:5])
def test_samples_of_symbolic_sizes_agree_with_the_reference(name: str) -> None:
    assert complaints([s for s in BY_NAME[name][::2] if takes_symbols(s)], symbolic=True) == []


def slopes(n: int, length: int) -> list[Sample]:
    """Gradients of layer and RMS norm of n rows."""
    x, dy, gamma = normal(n, length), normal(n, length, seed=1), normal(length, seed=2)
    return [Sample(NormGrad(centred=c), given, f"{c} {n} {length}")
            for c in (True, False) for given in ((x, dy, gamma), (x, dy))]  # fmt: skip


@pytest.mark.parametrize("length", [7, 256, 300, 768, 1500])
def test_gradients_of_rows_of_every_length_and_number_agree(length: int) -> None:
    assert complaints([s for n in (1, 15, 300) for s in slopes(n, length)]) == []


def takes_symbols(sample: Sample) -> bool:
    """False where a symbol cannot say that channels split into groups."""
    try:
        graph_of([sample], symbolic=True)
    except ChainruleError:
        return False
    return True


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
def test_samples_agree_on_older_machines(target: str) -> None:
    assert complaints([s for name in NAMES for s in BY_NAME[name][::3]], target=named_target(target)) == []


def affine(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    return normal(*shape, seed=1), normal(*shape, seed=2)


def shaped() -> list[Sample]:
    """Rows in registers and beyond, with tails; groups of channels with and without pixels."""
    found = [Sample(LayerNorm(), (normal(5, n), *affine(n)), f"layer {n}") for n in (1, 16, 100, 128, 129, 768, 1500)]
    found += [Sample(RMSNorm(), (normal(5, n), affine(n)[0]), f"rms {n}") for n in (7, 300)]
    found += [Sample(LayerNorm(2), (normal(3, 20, 30), *affine(20, 30)), "layer of two axes")]
    found += [Sample(GroupNorm(g), (normal(2, 6, h, 5), *affine(6)), f"group {g} {h}")
              for g in (1, 2, 6) for h in (1, 30)]  # fmt: skip
    found += [Sample(InstanceNorm(), (normal(2, 3, h, 7), *affine(3)), f"instance {h}") for h in (1, 30)]
    return [*found, Sample(InstanceNorm(), (normal(4, 3), *affine(3)), "instance of nothing spatial")]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_lines_of_every_length_agree(dtype: str) -> None:
    assert complaints([Sample(s.op, tuple(x.astype(dtype) for x in s.inputs), s.label) for s in shaped()]) == []


@pytest.mark.parametrize("n", [100, 1000])
def test_statistics_survive_large_means_and_small_deviations(n: int) -> None:
    x = normal(4, n)
    hard = [x * 1e-4, x + 1000, x * 1e-3 + 7, np.full((4, n), 0.1), x * 1e18, x * 1e-20]
    ops: list[Op] = [LayerNorm(), LayerNorm(1, 1e-12), RMSNorm(1, 1e-12)]
    samples = [Sample(op, (y.astype(np.float32),), f"{op.mnemonic} {i}") for op in ops for i, y in enumerate(hard)]
    assert complaints(samples) == []


def test_the_wrong_eps_would_show() -> None:
    x = normal(4, 100, scale=1e-3)
    (y,) = executable(graph_of([Sample(LayerNorm(1, 1e-5), (x,))])).run([x])
    assert judge(LayerNorm(1, 1e-5), [x], y).ok
    assert not judge(LayerNorm(1, 1e-6), [x], y).ok


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("width", [48, 300])
def test_a_residual_joins_the_sweeps(width: int, symbolic: bool) -> None:
    x, scale, residual, g, b = normal(3, 5, width), normal(5, 1), normal(3, 5, width, seed=3), *affine(width)
    n = symbol("N") if symbolic else 3
    shapes = [(n, 5, width), (5, 1), (n, 5, width), (width,), (width,)]
    assert fused_complaint(LayerNorm(), shapes, [x, scale, residual, g, b]) == ""


@pytest.mark.parametrize("op", [GroupNorm(2), InstanceNorm()], ids=lambda op: op.name)
def test_channels_are_scaled_behind_a_fused_producer(op: Op) -> None:
    x, scale, shift, g, b = normal(3, 4, 6, 5), normal(4, 1, 1), normal(6, 5, seed=3), *affine(4)
    assert fused_complaint(op, [a.shape for a in (x, scale, shift, g, b)], [x, scale, shift, g, b]) == ""


def test_bits_are_equal_for_any_number_of_threads() -> None:
    norms = [Sample(op, (normal(*shape), *affine(width)))
             for op, shape, width in ((LayerNorm(), (700, 768), 768), (GroupNorm(8), (4, 32, 56, 56), 32))]  # fmt: skip
    for sample in (*norms, slopes(700, 768)[0]):
        first, *others = bits_by_threads(lambda n, s=sample: executable(graph_of([s]), threads=n), sample.inputs)
        assert all(other == first for other in others)


def test_nothing_outside_of_the_arrays_is_touched() -> None:
    for sample in (*shaped(), *slopes(5, 100)):
        assert judge(sample.op, sample.inputs, between_guards(graph_of([sample]), sample.inputs)).reason == ""

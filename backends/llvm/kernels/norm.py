"""Layer, RMS, group and instance norm: mean, variance about it, then scale, shift and what follows, line by line.

Two passes for the variance: with one, all digits go where the mean is large against the deviation. Statistics are
finished in float64 (reduce_folds.py), one root and one division per line. A line that is swept three times lies in the
first-level cache after the first. The sweeps: reduce_lines.py.
"""

from __future__ import annotations

from collections.abc import Callable

from chainrule.backends.llvm.kernels.reduce_folds import Average
from chainrule.backends.llvm.kernels.reduce_lines import Numbers, Phase, Recipe, map_lines
from chainrule.backends.llvm.kernels.reduce_space import Axis, space_of
from chainrule.backends.llvm.kernels.region import KernelCall, Region
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Builder
from chainrule.backends.loops import Value as V
from chainrule.ir.dims import floordiv
from chainrule.ir.types import DType, TensorType, f32
from chainrule.ops.norm import GroupNorm, InstanceNorm, LayerNorm, RMSNorm


def norm(region: Region, target: Target) -> list[KernelCall]:
    """The kernel of a norm over trailing axes, groups of channels or single channels."""
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, LayerNorm | RMSNorm | GroupNorm | InstanceNorm)
    op, x = anchor.op, anchor.inputs[0].tensor
    axes = _axes(op, x)
    behind = 0 if isinstance(op, LayerNorm | RMSNorm) else x.rank - 2
    space = space_of(region, axes, (behind,) * (len(anchor.inputs) - 1), lines=True)
    core = x.dtype if x.dtype.bits > 16 else f32
    made = _rms_recipe if isinstance(op, RMSNorm) else _recipe
    return map_lines(region, target, space, made(core, op.eps, len(anchor.inputs) - 1))


def _axes(op: LayerNorm | RMSNorm | GroupNorm | InstanceNorm, x: TensorType) -> list[Axis]:
    match op:
        case GroupNorm():
            split = [Axis(1, op.groups, False, 1), Axis(1, floordiv(x.shape[1], op.groups), True, 1)]
            spatial = [Axis(a, x.shape[a], True, a) for a in range(2, x.rank)]
            return [Axis(0, x.shape[0], False, 0), *split, *spatial]
        case InstanceNorm():
            return [Axis(a, d, a >= 2, a) for a, d in enumerate(x.shape)]
        case _:
            return [Axis(a, d, a >= x.rank - op.trailing, a) for a, d in enumerate(x.shape)]


def _recipe(dtype: DType, eps: float, affine: int) -> Recipe:
    def squared(k: Builder, x: V, n: Numbers) -> V:
        centred = k.sub(x, n[0])
        return k.mul(centred, centred)

    return Recipe(
        (
            Phase(Average(dtype), lambda k, x, n: x, lambda k, mean: k.cast(mean, dtype)),
            Phase(Average(dtype), squared, lambda k, var: _scale(k, var, eps, dtype)),
        ),
        lambda k, x, n, read: _affine(k, k.mul(k.sub(x, n[0]), n[1]), affine, read),
    )


def _rms_recipe(dtype: DType, eps: float, affine: int) -> Recipe:
    return Recipe(
        (Phase(Average(dtype), lambda k, x, n: k.mul(x, x), lambda k, power: _scale(k, power, eps, dtype)),),
        lambda k, x, n, read: _affine(k, k.mul(x, n[0]), affine, read),
    )


def _scale(k: Builder, var: V, eps: float, dtype: DType) -> V:
    """1 / sqrt(var + eps), in the f64 that statistics come in."""
    return k.cast(k.div(k.const(1, var.dtype, var.lanes), k.sqrt(k.add(var, eps))), dtype)


def _affine(k: Builder, y: V, affine: int, read: Callable[[int], V]) -> V:
    y = k.mul(y, read(1)) if affine > 0 else y
    return k.add(y, read(2)) if affine > 1 else y

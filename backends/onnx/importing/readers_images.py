"""ONNX ops on images that chainrule has no op for: convolutions, norms, blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr, dim_max, dim_product
from chainrule.ir.graph import Value
from chainrule.ir.types import f32
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.activations import number
from chainrule.ops.basic import zeros_like
from chainrule.ops.compare import eq
from chainrule.ops.conv import conv, conv_transpose, reach, same_pads
from chainrule.ops.declared import sized_as
from chainrule.ops.norm import batch_norm, batch_norm_training, group_norm, lp_normalize
from chainrule.ops.norm_math import standardised
from chainrule.ops.pool import avg_pool
from chainrule.ops.transcendental import pow


def global_pool(function: Callable[..., Value]) -> Reader:
    """A reduction of each image to one number."""

    def read(given: Given) -> Read:
        x = given.value(0)
        return function(x, range(2, x.rank), True)

    return read


def pads_of(given: Given, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
            image: Sequence[Dim]) -> tuple[Dim, ...]:  # fmt: skip
    """The pads, stated or as auto_pad says: as much as makes the result ceil(size / stride)."""
    mode, rank = given.word("auto_pad", "NOTSET"), len(kernel)
    if mode == "NOTSET":
        return given.vector("pads") or (0,) * (2 * rank)
    if mode == "VALID":
        return (0,) * (2 * rank)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise ModelError(f"{given.op_type}: auto_pad {mode!r} is unknown")
    if all(s == 1 for s in stride):
        found = same_pads(kernel, dilation)
        return found if mode == "SAME_UPPER" else (*found[rank:], *found[:rank])
    total = [dim_max(0, ((d + s - 1) // s - 1) * s + span - d)
             for d, s, span in zip(image, stride, reach(kernel, dilation), strict=True)]  # fmt: skip
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return (*small, *large) if mode == "SAME_UPPER" else (*large, *small)


def padded(given: Given, x: Value, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
           filler: float = 0.0) -> tuple[Value, tuple[int, ...]]:  # fmt: skip
    """x, and the pads that are left to the op: where they follow from a symbolic size, x is padded here."""
    pads, rank = pads_of(given, kernel, stride, dilation, x.shape[2:]), len(kernel)
    known = tuple(p for p in pads if isinstance(p, int))
    if len(known) == len(pads):
        return x, known
    return sh.pad_constant(x, (0, 0, *pads[:rank]), (0, 0, *pads[rank:]), filler), (0,) * (2 * rank)


def window_of(given: Given, kernel: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The strides and dilations."""
    ones = (1,) * len(kernel)
    return given.vector("strides") or ones, given.vector("dilations") or ones


def convolution(given: Given) -> Read:
    """With pads that follow from the image."""
    x, w, *bias = given.values()
    kernel = tuple(int(k) for k in w.shape[2:])  # type: ignore[arg-type]
    stride, dilation = window_of(given, kernel)
    x, pads = padded(given, x, kernel, stride, dilation)
    return conv(x, w, bias[0] if bias else None, stride, pads, dilation, given.whole("group", 1))


def transposed_convolution(given: Given) -> Read:
    """With pads or an output shape of its own."""
    x, w, *bias = given.values()
    kernel = tuple(int(k) for k in w.shape[2:])  # type: ignore[arg-type]
    stride, dilation = window_of(given, kernel)
    rank, mode = len(kernel), given.word("auto_pad", "NOTSET")
    extra = given.vector("output_padding") or (0,) * rank
    pads = given.vector("pads") or (0,) * (2 * rank)
    wanted: tuple[Dim, ...] | None = given.vector("output_shape")
    if wanted is None and mode.startswith("SAME"):
        wanted = tuple(d * s for d, s in zip(x.shape[2:], stride, strict=True))
    if wanted is not None:
        whole = [(x.shape[2 + i] - 1) * stride[i] + extra[i] + (kernel[i] - 1) * dilation[i] + 1 for i in range(rank)]
        excess = [w - d for w, d in zip(whole, wanted[-rank:], strict=True)]
        if any(isinstance(t, DimExpr) for t in excess):
            raise NotSupported(f"ConvTranspose: the output shape {wanted} is not one that pads make")
        total = [max(0, int(t)) for t in excess]  # type: ignore[arg-type]
        extra = tuple(e + max(0, -int(t)) for e, t in zip(extra, excess, strict=True))  # type: ignore[arg-type]
        half = [t // 2 for t in total]
        rest = [t - h for t, h in zip(total, half, strict=True)]
        pads = (*half, *rest) if mode == "SAME_UPPER" else (*rest, *half)
    return conv_transpose(x, w, bias[0] if bias else None, stride, pads, dilation, given.whole("group", 1), extra)


def normalisation(given: Given) -> Read:
    """Of old versions; or in training mode, where the statistics are the batch's and the running ones follow them."""
    if not given.whole("spatial", 1):
        raise NotSupported("BatchNormalization: one mean for each element (spatial=0) is not built")
    x, gamma, beta = (given.value(i) for i in range(3))
    mean, var, eps = given.value(3, "state"), given.value(4, "state"), given.fraction("epsilon", 1e-5)
    trains = given.whole("training_mode", 0) if given.opset >= 14 else given.outputs > 1
    if given.opset < 7:
        trains = not given.whole("is_test", 0)
    wide, scale, shift, own_mean, own_var = widened(x, gamma, beta, mean, var)
    if not trains:
        return el.cast(batch_norm(wide, scale, shift, own_mean, own_var, eps), x.dtype)
    y, own_mean, own_var = batch_norm_training(wide, scale, shift, eps)
    y = el.cast(y, x.dtype)
    kept = given.fraction("momentum", 0.9)
    running = [el.add(el.mul(old, number(kept, old)), el.mul(el.cast(new, old.dtype), number(1.0 - kept, old)))
               for old, new in ((mean, own_mean), (var, own_var))]  # fmt: skip
    return (y, *running, own_mean, own_var)[: given.outputs]


def grouped_normalisation(given: Given) -> Read:
    """Before opset 21 scale and bias were one number for each group."""
    x, gamma, beta = given.values()
    groups = given.whole("num_groups")
    each = x.shape[1] // groups
    wide = [sh.reshape(sh.expand(sh.reshape(v, (groups, 1)), (groups, each)), (x.shape[1],)) for v in (gamma, beta)]
    return group_norm(x, groups, wide[0], wide[1], given.fraction("epsilon", 1e-5))


def local_response(given: Given) -> Read:
    """x / (bias + alpha/size * sum of x^2 over neighbouring channels)^beta."""
    x, size = given.value(0), given.whole("size")
    rows = sh.reshape(el.mul(x, x), (x.shape[0], 1, x.shape[1], dim_product(x.shape[2:])))
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    power = sh.reshape(avg_pool(rows, (size, 1), 1, (before, 0, after, 0)), x.shape)
    base = el.add(number(given.fraction("bias", 1.0), x), el.mul(number(given.fraction("alpha", 1e-4), x), power))
    return el.div(x, pow(base, number(given.fraction("beta", 0.75), x)))


def layer_normalisation(given: Given) -> Read:
    """With the mean and the inverse deviation, or without a scale."""
    x, *affine = given.values()
    axis = given.whole("axis", -1)
    axes = tuple(range(axis + x.rank if axis < 0 else axis, x.rank))
    y, scale = standardised(x, axes, given.fraction("epsilon", 1e-5))
    y = el.mul(y, affine[0]) if affine else y
    y = el.add(y, affine[1]) if len(affine) > 1 else y
    return (y, red.mean(x, axes, True), scale)[: given.outputs]


def mean_variance(given: Given) -> Read:
    """x standardised over axes."""
    return standardised(given.value(0), given.vector("axes") or (0, 2, 3), 1e-9)[0]


def lp_normalisation(given: Given) -> Read:
    """x by its norm along an axis; 0 where that is 0."""
    x, axis = given.value(0), given.whole("axis", -1)
    total = red.sum(el.abs(x), axis, True)
    y = lp_normalize(x, float(given.whole("p", 2)), axis, 0.0)
    return el.where(eq(total, zeros_like(total)), zeros_like(y), y)


def depth_to_space(given: Given) -> Read:
    """Channels laid out as blocks of pixels."""
    x, b = given.value(0), given.whole("blocksize")
    n, c, h, w = x.shape
    inner = c // (b * b)
    if given.word("mode", "DCR") == "DCR":
        parts, perm = (n, b, b, inner, h, w), (0, 3, 4, 1, 5, 2)
    else:
        parts, perm = (n, inner, b, b, h, w), (0, 1, 4, 2, 5, 3)
    return sh.reshape(sh.transpose(sh.reshape(x, parts), perm), (n, inner, h * b, w * b))


def space_to_depth(given: Given) -> Read:
    """Blocks of pixels laid out as channels."""
    x, b = given.value(0), given.whole("blocksize")
    n, c, h, w = x.shape
    x = sized_as(x, (n, c, h // b * b, w // b * b))
    perm = (0, 3, 5, 1, 2, 4) if given.word("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    apart = sh.transpose(sh.reshape(x, (n, c, h // b, b, w // b, b)), perm)
    return sh.reshape(apart, (n, c * b * b, h // b, w // b))


def widened(*values: Value) -> list[Value]:
    """The values in one element type, the widest of theirs, where they differ; at least f32 then."""
    dtypes = {v.dtype for v in values}
    if len(dtypes) == 1:
        return list(values)
    wide = max(f32, *dtypes, key=lambda dtype: dtype.bits)
    return [el.cast(v, wide) for v in values]


READERS: Mapping[str, Reader] = {
    "GlobalAveragePool": global_pool(red.mean), "GlobalMaxPool": global_pool(red.amax), "Conv": convolution,
    "ConvTranspose": transposed_convolution, "BatchNormalization": normalisation,
    "GroupNormalization": grouped_normalisation,
    "LRN": local_response, "LayerNormalization": layer_normalisation, "MeanVarianceNormalization": mean_variance,
    "LpNormalization": lp_normalisation, "DepthToSpace": depth_to_space, "SpaceToDepth": space_to_depth,
}  # fmt: skip

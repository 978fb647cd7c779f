"""ONNX ops that chainrule has no op for: each read as a few of those it has. What has a form is not here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from chainrule.backends.onnx.forms import FORMS_NAMED
from chainrule.backends.onnx.node import Given, shortest
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr, dim_product
from chainrule.ir.graph import Value, get
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.activations import leaky_relu, number, threshold
from chainrule.ops.activations_smooth import elu
from chainrule.ops.arithmetic import clip, isinf
from chainrule.ops.basic import constant, full, scalar_like
from chainrule.ops.compare import gt, logical_and, lt
from chainrule.ops.conv import conv, conv_transpose, same_pads
from chainrule.ops.einsum import Einsum
from chainrule.ops.matmul import product
from chainrule.ops.norm import batch_norm, group_norm, lp_normalize, standardised
from chainrule.ops.pool import avg_pool, lp_pool, max_pool, max_pool_with_indices
from chainrule.ops.ranges import eye, iota, one_hot
from chainrule.ops.resize import resize
from chainrule.ops.softmax import log_softmax, softmax
from chainrule.ops.transcendental import log, pow

Read = Value | tuple[Value | None, ...]
Reader = Callable[[Given], Read]


def identity(given: Given) -> Read:
    """The input itself."""
    return given.value(0)


def dropout(given: Given) -> Read:
    """At inference, the input itself; the mask holds everywhere."""
    x = given.value(0)
    if given.has(2) and given.content(2).any():
        raise NotSupported("Dropout: training_mode is on", help="export the model in evaluation mode")
    return (x, full(True, x.shape, el.as_dtype("bool"))) if given.outputs > 1 else x


def flatten(given: Given) -> Read:
    """Two axes: those before `axis`, and the rest."""
    x, axis = given.value(0), given.whole("axis", 1)
    at = axis + x.rank if axis < 0 else axis
    if not 0 <= at <= x.rank:
        raise ModelError(f"Flatten: axis {axis} of {x.type}")
    return sh.reshape(x, (dim_product(x.shape[:at]), dim_product(x.shape[at:])))


def squeeze(given: Given) -> Read:
    """Without axes of size 1."""
    return sh.squeeze(given.value(0), given.axes(13))


def unsqueeze(given: Given) -> Read:
    """With new axes of size 1."""
    axes = given.axes(13)
    if axes is None:
        raise ModelError("Unsqueeze: the axes are missing")
    return sh.unsqueeze(given.value(0), axes)


def shape(given: Given) -> Read:
    """Sizes too many to follow, as data."""
    raise NotSupported(f"{given.op_type}: the sizes of {given.value(0).type} are too many to follow")


def gemm(given: Given) -> Read:
    """alpha * A B + beta * C, A and B transposed on demand."""
    a, b = given.value(0), given.value(1)
    y = product(a, b, bool(given.whole("transA", 0)), bool(given.whole("transB", 0)))
    alpha, beta = given.fraction("alpha", 1.0), given.fraction("beta", 1.0)
    y = y if alpha == 1.0 else el.mul(y, scalar_like(alpha, y))
    if not given.has(2) or beta == 0.0:
        return y
    c = given.value(2)
    return el.add(y, c if beta == 1.0 else el.mul(c, scalar_like(beta, c)))


def split(given: Given) -> Read:
    """Parts of given sizes, or as many equal ones as there are outputs, the last perhaps smaller."""
    x, axis = given.value(0), given.whole("axis", 0)
    sizes: tuple[Dim, ...] | None = given.vector("split")
    if given.opset >= 13:
        sizes = given.dims(1) if given.has(1) else None
    if sizes is None:
        dim, count = x.shape[axis], given.whole("num_outputs", given.outputs)
        each = (dim + count - 1) // count
        sizes = (*[each] * (count - 1), dim - each * (count - 1))
    return sh.split(x, sizes, axis)


def variadic(function: Callable[[Value, Value], Value]) -> Reader:
    """A function of two values over all inputs."""

    def read(given: Given) -> Read:
        first, *rest = given.values()
        for value in rest:
            first = function(first, value)
        return first

    return read


def mean(given: Given) -> Read:
    """The mean of all inputs."""
    total = variadic(el.add)(given)
    assert isinstance(total, Value)
    return el.div(total, scalar_like(float(len(given.entries)), total))


def soft(function: Callable[[Value, int], Value]) -> Reader:
    """Before opset 13 softmax went over all axes from `axis` on, taken as one."""

    def read(given: Given) -> Read:
        x, axis = given.value(0), given.whole("axis", 1)
        at = axis + x.rank if axis < 0 else axis
        flat = sh.reshape(x, (dim_product(x.shape[:at]), dim_product(x.shape[at:])))
        return sh.reshape(function(flat, 1), x.shape)

    return read


def global_pool(function: Callable[..., Value]) -> Reader:
    """A reduction of each image to one number."""

    def read(given: Given) -> Read:
        x = given.value(0)
        return function(x, range(2, x.rank), True)

    return read


def pads_of(given: Given, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...],
            image: tuple[Dim, ...]) -> tuple[int, ...]:  # fmt: skip
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
    if any(isinstance(d, DimExpr) for d in image):
        raise NotSupported(f"{given.op_type}: auto_pad {mode} with strides {stride} depends on the image's size",
                           help="give the image's sizes as numbers")  # fmt: skip
    total = [max(0, (-(-int(d) // s) - 1) * s + r * (k - 1) + 1 - int(d))
             for d, k, s, r in zip(image, kernel, stride, dilation, strict=True)]  # type: ignore[arg-type]  # fmt: skip
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return (*small, *large) if mode == "SAME_UPPER" else (*large, *small)


def _window(given: Given, kernel: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    ones = (1,) * len(kernel)
    return given.vector("strides") or ones, given.vector("dilations") or ones


def convolution(given: Given) -> Read:
    """With pads that follow from the image."""
    x, w, *bias = given.values()
    kernel = tuple(int(k) for k in w.shape[2:])  # type: ignore[arg-type]
    stride, dilation = _window(given, kernel)
    pads = pads_of(given, kernel, stride, dilation, x.shape[2:])
    return conv(x, w, bias[0] if bias else None, stride, pads, dilation, given.whole("group", 1))


def transposed_convolution(given: Given) -> Read:
    """With pads or an output shape of its own."""
    x, w, *bias = given.values()
    kernel = tuple(int(k) for k in w.shape[2:])  # type: ignore[arg-type]
    stride, dilation = _window(given, kernel)
    rank, mode = len(kernel), given.word("auto_pad", "NOTSET")
    extra = given.vector("output_padding") or (0,) * rank
    pads = given.vector("pads") or (0,) * (2 * rank)
    wanted: tuple[Dim, ...] | None = given.vector("output_shape")
    if wanted is None and mode.startswith("SAME"):
        wanted = tuple(d * s for d, s in zip(x.shape[2:], stride, strict=True))
    if wanted is not None:
        whole = [(x.shape[2 + i] - 1) * stride[i] + extra[i] + (kernel[i] - 1) * dilation[i] + 1 for i in range(rank)]
        total = [w - d for w, d in zip(whole, wanted[-rank:], strict=True)]
        if any(isinstance(t, DimExpr) or t < 0 for t in total):
            raise NotSupported(f"ConvTranspose: the output shape {wanted} is not one that pads make")
        half = [int(t) // 2 for t in total]  # type: ignore[arg-type]
        rest = [int(t) - h for t, h in zip(total, half, strict=True)]  # type: ignore[arg-type]
        pads = (*half, *rest) if mode == "SAME_UPPER" else (*rest, *half)
    return conv_transpose(x, w, bias[0] if bias else None, stride, pads, dilation, given.whole("group", 1), extra)


def max_pooling(given: Given) -> Read:
    """With pads that follow from the image, or with the places of the maxima in the whole of x."""
    x, kernel = given.value(0), given.vector("kernel_shape") or ()
    stride, dilation = _window(given, kernel)
    pads, ceil = pads_of(given, kernel, stride, dilation, x.shape[2:]), bool(given.whole("ceil_mode", 0))
    if given.outputs < 2:
        return max_pool(x, kernel, stride, pads, dilation, ceil)
    if given.whole("storage_order", 0):
        raise NotSupported("MaxPool: indices in column-major order are not built")
    y, places = max_pool_with_indices(x, kernel, stride, pads, dilation, ceil)
    images = iota((x.shape[0] * x.shape[1],))
    first = sh.reshape(el.mul(images, scalar_like(dim_product(x.shape[2:]), images)),
                       (*x.shape[:2], *(1,) * (x.rank - 2)))  # fmt: skip
    return y, el.add(places, first)


def average_pooling(given: Given) -> Read:
    """With pads that follow from the image."""
    x, kernel = given.value(0), given.vector("kernel_shape") or ()
    stride, dilation = _window(given, kernel)
    if any(d != 1 for d in dilation):
        raise NotSupported("AveragePool: dilations are not built")
    pads = pads_of(given, kernel, stride, dilation, x.shape[2:])
    return avg_pool(x, kernel, stride, pads, bool(given.whole("ceil_mode", 0)),
                    bool(given.whole("count_include_pad", 0)))  # fmt: skip


def lp_pooling(given: Given) -> Read:
    """The norm of each window."""
    x, kernel = given.value(0), given.vector("kernel_shape") or ()
    stride, dilation = _window(given, kernel)
    pads = pads_of(given, kernel, stride, dilation, x.shape[2:])
    if any(d != 1 for d in dilation) or any(pads):
        raise NotSupported("LpPool: dilations and pads are not built")
    return lp_pool(x, float(given.whole("p", 2)), kernel, stride, pads, bool(given.whole("ceil_mode", 0)))


def normalisation(given: Given) -> Read:
    """Of old versions, with outputs that only training used; or in training mode."""
    if given.whole("training_mode", 0):
        raise NotSupported("BatchNormalization: training_mode is on", help="export the model in evaluation mode")
    if not given.whole("spatial", 1):
        raise NotSupported("BatchNormalization: one mean for each element (spatial=0) is not built")
    x, gamma, beta = (given.value(i) for i in range(3))
    found = batch_norm(x, gamma, beta, given.value(3, "state"), given.value(4, "state"),
                       given.fraction("epsilon", 1e-5))  # fmt: skip
    return (found, *(None,) * (given.outputs - 1))


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


def mean_variance(given: Given) -> Read:
    """x standardised over axes."""
    return standardised(given.value(0), given.vector("axes") or (0, 2, 3), 1e-9)[0]


def lp_normalisation(given: Given) -> Read:
    """x by its norm along an axis."""
    return lp_normalize(given.value(0), float(given.whole("p", 2)), given.whole("axis", -1), 0.0)


def hard_sigmoid(given: Given) -> Read:
    """alpha x + beta bounded to [0, 1]."""
    x = given.value(0)
    line = el.mul(number(given.fraction("alpha", 0.2), x), x)
    return clip(el.add(line, number(given.fraction("beta", 0.5), x)), 0.0, 1.0)


def thresholded_relu(given: Given) -> Read:
    """x above alpha, else 0."""
    return threshold(given.value(0), given.fraction("alpha", 1.0), 0.0)


def shrink(given: Given) -> Read:
    """x moved towards 0 by bias beyond lambd, 0 within."""
    x = given.value(0)
    bias, limit = scalar_like(given.fraction("bias", 0.0), x), given.fraction("lambd", 0.5)
    inner = el.where(gt(x, scalar_like(limit, x)), el.sub(x, bias), scalar_like(0.0, x))
    return el.where(lt(x, scalar_like(-limit, x)), el.add(x, bias), inner)


def scaled_elu(given: Given) -> Read:
    """gamma * elu(x, alpha)."""
    x = given.value(0)
    return el.mul(number(given.fraction("gamma", 1.0), x), elu(x, given.fraction("alpha", 1.0)))


def swish(given: Given) -> Read:
    """x * sigmoid(alpha x)."""
    from chainrule.ops.activations_smooth import silu
    from chainrule.ops.transcendental import sigmoid

    x, alpha = given.value(0), given.fraction("alpha", 1.0)
    return silu(x) if alpha == 1.0 else el.mul(x, sigmoid(el.mul(number(alpha, x), x)))


def power(given: Given) -> Read:
    """The exponent may be of another type."""
    a, b = given.value(0), given.value(1)
    if b.dtype == a.dtype:
        return pow(a, b)
    wide = a.dtype if a.dtype.is_float else b.dtype
    return el.cast(pow(el.cast(a, wide), el.cast(b, wide)), a.dtype)


def cast_like(given: Given) -> Read:
    """The type of the second input."""
    return el.cast(given.value(0), given.value(1).dtype)


def infinite(given: Given) -> Read:
    """Of one sign, or of both."""
    x = given.value(0)
    found, zero = isinf(x), scalar_like(0.0, x)
    if not given.whole("detect_positive", 1):
        found = logical_and(found, lt(x, zero))
    return found if given.whole("detect_negative", 1) else logical_and(found, gt(x, zero))


def log_of_sum(given: Given) -> Read:
    """log(sum(x))."""
    x, axes = given.value(0), given.axes(18)
    if not axes and given.whole("noop_with_empty_axes", 0):
        return log(x)
    return log(red.sum(x, axes or None, bool(given.whole("keepdims", 1))))


def extremum_of_bools(function: Callable[..., Value]) -> Reader:
    """Of bools the largest is any, the smallest all."""

    def read(given: Given) -> Read:
        return function(given.value(0), given.axes(18) or None, bool(given.whole("keepdims", 1)))

    return read


def last_position(function: Callable[[Value, int, bool], Value]) -> Reader:
    """The last of equal extrema: the first from the other end."""

    def read(given: Given) -> Read:
        x, axis = given.value(0), given.whole("axis", 0)
        found = function(sh.flip(x, axis), axis, bool(given.whole("keepdims", 1)))
        return el.sub(scalar_like(x.shape[axis] - 1, found), found)

    return read


def einsum(given: Given) -> Read:
    """An Einstein sum."""
    from chainrule.ir.graph import build

    return build(Einsum(given.word("equation", "").replace(" ", "")), *given.values())


def encoded(given: Given) -> Read:
    """One of two values by whether the new axis's position is the index."""
    indices, depth, axis = given.value(0), given.dims(1), given.whole("axis", -1)
    values = given.value(2)
    at = indices if indices.dtype.is_int else el.cast(indices, "i64")
    hit = one_hot(at, depth[0], axis, "bool")
    off, on = (sh.reshape(sh.narrow(values, 0, i, 1), ()) for i in (0, 1))
    return el.where(hit, on, off)


def diagonal_ones(given: Given) -> Read:
    """Ones on a diagonal, in the shape of the input."""
    from chainrule.backends.onnx.dtypes import dtype_of

    x, code = given.value(0), given.attribute("dtype")
    dtype = dtype_of(code) if isinstance(code, int) else x.dtype
    return eye(x.shape[0], x.shape[1], given.whole("k", 0), dtype)


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
    apart = sh.transpose(sh.reshape(x, (n, c, h // b, b, w // b, b)), (0, 3, 5, 1, 2, 4))
    return sh.reshape(apart, (n, c * b * b, h // b, w // b))


def resized(given: Given) -> Read:
    """Nearest and linear, by scales or sizes; others are refused."""
    x, mode = given.value(0), given.word("mode", "nearest")
    if given.op_type == "Upsample" or given.opset < 11:
        scales = [float(s) for s in given.content(1).reshape(-1).tolist()]
        return resize(x, None, scales, "nearest" if mode == "nearest" else "linear", "asymmetric", "floor")
    refused = [n for n in ("antialias", "exclude_outside") if given.whole(n, 0)]
    axes = given.vector("axes") or tuple(range(x.rank))
    if mode == "cubic" or refused or given.word("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NotSupported(f"Resize: {', '.join([mode, *refused])} is not built", help="nearest and linear are")
    coordinates = given.word("coordinate_transformation_mode", "half_pixel")
    rounding = given.word("nearest_mode", "round_prefer_floor")
    if given.has(3):
        wanted, sizes = given.dims(3), list(x.shape)
        for axis, size in zip(axes, wanted, strict=True):
            sizes[axis] = size
        return resize(x, sizes, None, mode, coordinates, rounding)
    factors = [1.0] * x.rank
    for axis, scale in zip(axes, given.content(2).reshape(-1).tolist(), strict=True):
        factors[axis] = shortest(np.float32(scale))
    return resize(x, None, factors, mode, coordinates, rounding)


def hardmax(given: Given) -> Read:
    """1 at the first largest of an axis, else 0."""
    x, axis = given.value(0), given.whole("axis", -1 if given.opset >= 13 else 1)
    if given.opset < 13 and axis not in (-1, x.rank - 1):
        raise NotSupported("Hardmax: over several axes (before opset 13) is not built")
    at = axis + x.rank if axis < 0 else axis
    return one_hot(red.argmax(x, at), x.shape[at], at, x.dtype)


def known_constant(given: Given) -> Read:
    """The array of an attribute, whichever kind it is."""
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        found = given.attribute(name)
        if found is not None:
            kind = np.float32 if "float" in name else np.int64
            return constant(found if isinstance(found, np.ndarray) else np.asarray(found, kind))
    raise NotSupported("Constant: neither numbers nor a tensor", help="strings and sparse tensors are not built")


def unordered_top_k(given: Given) -> Read:
    """Sorted all the same: any order is right."""
    form = FORMS_NAMED["TopK"][0]
    both = form.value(given)
    return get(both, 0), get(both, 1)


def leaky(given: Given) -> Read:
    """With a slope."""
    return leaky_relu(given.value(0), given.fraction("alpha", 0.01))


READERS: Mapping[str, Reader] = {
    "Constant": known_constant, "Identity": identity, "Dropout": dropout, "Flatten": flatten, "Squeeze": squeeze,
    "Unsqueeze": unsqueeze, "Shape": shape, "Size": shape, "Gemm": gemm, "Split": split, "Sum": variadic(el.add),
    "Max": variadic(el.maximum), "Min": variadic(el.minimum), "Mean": mean, "Softmax": soft(softmax),
    "LogSoftmax": soft(log_softmax), "GlobalAveragePool": global_pool(red.mean), "GlobalMaxPool":
    global_pool(red.amax), "Conv": convolution, "ConvTranspose": transposed_convolution, "MaxPool": max_pooling,
    "AveragePool": average_pooling, "LpPool": lp_pooling, "BatchNormalization": normalisation,
    "GroupNormalization": grouped_normalisation, "LRN": local_response, "MeanVarianceNormalization": mean_variance,
    "LpNormalization": lp_normalisation, "HardSigmoid": hard_sigmoid, "ThresholdedRelu": thresholded_relu,
    "Shrink": shrink, "Selu": scaled_elu, "Swish": swish, "Pow": power, "CastLike": cast_like, "IsInf": infinite,
    "ReduceLogSum": log_of_sum, "ReduceMax": extremum_of_bools(red.any_), "ReduceMin": extremum_of_bools(red.all_),
    "ArgMax": last_position(red.argmax), "ArgMin": last_position(red.argmin), "Einsum": einsum, "OneHot": encoded,
    "EyeLike": diagonal_ones, "DepthToSpace": depth_to_space, "SpaceToDepth": space_to_depth, "Resize": resized,
    "Upsample": resized, "Hardmax": hardmax, "TopK": unordered_top_k,
}  # fmt: skip


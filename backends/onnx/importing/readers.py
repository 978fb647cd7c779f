"""ONNX ops that chainrule has no op for: each read as a few of those it has. What has a form is not here.

Those on images are in readers_images.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from chainrule.backends.onnx.dtypes import dtype_of
from chainrule.backends.onnx.forms import FORMS_NAMED
from chainrule.backends.onnx.importing import (
    readers_attention,
    readers_control,
    readers_images,
    readers_linear_attention,
    readers_positions,
    readers_quantised,
    readers_recurrent,
    readers_reduce,
    readers_resize,
    readers_sampling,
    readers_sequences,
    readers_signal,
    readers_told,
    readers_windows,
)
from chainrule.backends.onnx.importing.sequences import Absent, Listed
from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value, build, get
from chainrule.ir.types import bool_, f64, i32
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.activations import number, threshold
from chainrule.ops.activations_smooth import elu, silu
from chainrule.ops.arithmetic import clip, isinf
from chainrule.ops.basic import constant, full, scalar_like, zeros_like
from chainrule.ops.compare import gt, logical_and, lt
from chainrule.ops.determinant import determinant
from chainrule.ops.einsum import Einsum
from chainrule.ops.matmul import product
from chainrule.ops.ranges import eye, one_hot
from chainrule.ops.softmax import log_softmax, softmax
from chainrule.ops.transcendental import pow, sigmoid


def identity(given: Given) -> Read:
    """The input itself."""
    found = given.entry(0)
    return found if isinstance(found, Listed | Absent) else found.value()


def dropout(given: Given) -> Read:
    """At inference, the input itself; the mask holds everywhere."""
    x = given.value(0)
    trains = given.has(2) and bool(given.content(2).any())
    if trains and not (given.has(1) and given.number(1) == 0.0):
        raise NotSupported("Dropout: training_mode is on", help="export the model in evaluation mode")
    return (x, full(True, x.shape, bool_)) if given.outputs > 1 else x


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
    x = given.value(0) if given.value(0).dtype.is_float else el.cast(given.value(0), f64)
    bias, limit = scalar_like(given.fraction("bias", 0.0), x), given.fraction("lambd", 0.5)
    inner = el.where(gt(x, scalar_like(limit, x)), el.sub(x, bias), scalar_like(0.0, x))
    return el.cast(el.where(lt(x, scalar_like(-limit, x)), el.add(x, bias), inner), given.value(0).dtype)


def scaled_elu(given: Given) -> Read:
    """gamma * elu(x, alpha)."""
    x = given.value(0)
    return el.mul(number(given.fraction("gamma", 1.0), x), elu(x, given.fraction("alpha", 1.0)))


def swish(given: Given) -> Read:
    """x * sigmoid(alpha x)."""
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


def einsum(given: Given) -> Read:
    """An Einstein sum; of small integers in i32, of which the low bits count."""
    op, values = Einsum(given.word("equation", "").replace(" ", "")), given.values()
    dtype = values[0].dtype
    if not dtype.is_int or dtype.bits >= 32:
        return build(op, *values)
    return el.cast(build(op, *(el.cast(v, i32) for v in values)), dtype)


def parametric_relu(given: Given) -> Read:
    """x, times a slope below 0; of integers too."""
    x, slope = given.value(0), given.value(1)
    return el.where(lt(x, zeros_like(x)), el.mul(x, slope), x)


def encoded(given: Given) -> Read:
    """One of two values by whether the new axis's position is the index."""
    indices, axis = given.value(0), given.whole("axis", -1)
    depth = given.dims(1) if given.entry(1).dtype.is_int else (int(given.number(1)),)
    values = given.value(2)
    at = indices if indices.dtype.is_int else el.cast(indices, "i64")
    hit = one_hot(at, depth[0], axis, "bool")
    off, on = (sh.reshape(sh.narrow(values, 0, i, 1), ()) for i in (0, 1))
    return el.where(hit, on, off)


def diagonal_ones(given: Given) -> Read:
    """Ones on a diagonal, in the shape of the input."""
    x, code = given.value(0), given.attribute("dtype")
    dtype = dtype_of(code) if isinstance(code, int) else x.dtype
    return eye(x.shape[0], x.shape[1], given.whole("k", 0), dtype)


def hardmax(given: Given) -> Read:
    """1 at the first largest of an axis, else 0."""
    x, axis = given.value(0), given.whole("axis", -1 if given.opset >= 13 else 1)
    if given.opset < 13 and axis not in (-1, x.rank - 1):
        raise NotSupported("Hardmax: over several axes (before opset 13) is not built")
    at = axis + x.rank if axis < 0 else axis
    return one_hot(red.argmax(x, at), x.shape[at], at, x.dtype)


def cross_entropy_with_logs(given: Given) -> Read:
    """The loss, and the logarithms of the probabilities."""
    (form,) = FORMS_NAMED["SoftmaxCrossEntropyLoss"]
    return form.value(given), log_softmax(given.value(0), 1)


def gated_swish(given: Given) -> Read:
    """The swish of a gate times a value."""
    gate = swish(given)
    assert isinstance(gate, Value)
    return el.mul(gate, given.value(1))


def determinants(given: Given) -> Read:
    """The determinants of square matrices."""
    return determinant(given.value(0))


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


READERS: Mapping[str, Reader] = {
    **readers_attention.READERS,
    **readers_control.READERS,
    **readers_images.READERS,
    **readers_linear_attention.READERS,
    **readers_positions.READERS,
    **readers_quantised.READERS,
    **readers_recurrent.READERS,
    **readers_reduce.READERS,
    **readers_resize.READERS,
    **readers_sampling.READERS,
    **readers_sequences.READERS,
    **readers_signal.READERS,
    **readers_told.READERS,
    **readers_windows.READERS,
    "Constant": known_constant, "Identity": identity, "Dropout": dropout, "Flatten": flatten,
    "Squeeze": squeeze, "Unsqueeze": unsqueeze, "Shape": shape, "Size": shape, "Gemm": gemm, "Split": split,
    "Sum": variadic(el.add), "Max": variadic(el.maximum), "Min": variadic(el.minimum), "Mean": mean,
    "Softmax": soft(softmax), "LogSoftmax": soft(log_softmax), "HardSigmoid": hard_sigmoid,
    "ThresholdedRelu": thresholded_relu, "Shrink": shrink, "Selu": scaled_elu, "Swish": swish, "Pow": power,
    "CastLike": cast_like, "IsInf": infinite, "Einsum": einsum, "OneHot": encoded, "EyeLike": diagonal_ones,
    "Hardmax": hardmax, "TopK": unordered_top_k, "PRelu": parametric_relu,
    "SoftmaxCrossEntropyLoss": cross_entropy_with_logs, "SwiGLU": gated_swish, "Det": determinants,
}  # fmt: skip

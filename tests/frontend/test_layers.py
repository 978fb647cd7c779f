"""Each layer against its formula in plain numpy, in float64, and with its symbolic batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend import nn
from chainrule.frontend.functions import images, windows
from chainrule.frontend.trace import spec, trace
from tests.frontend.agreement import assert_same, normal, run_traced

Array = np.ndarray[Any, Any]


def conv(x: Array, w: Array, b: Array | None, stride: Sequence[int], pad: Sequence[int], dilation: Sequence[int],
         groups: int) -> Array:  # fmt: skip
    """Convolution, one output element at a time."""
    rank = w.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
    sizes = [(x.shape[2 + i] - dilation[i] * (w.shape[2 + i] - 1) - 1) // stride[i] + 1 for i in range(rank)]
    y = np.zeros((len(x), len(w), *sizes))
    per_in, per_out = w.shape[1], len(w) // groups
    for o, place in itertools.product(range(len(w)), itertools.product(*map(range, sizes))):
        group = o // per_out
        window = tuple(slice(p * s, p * s + d * (k - 1) + 1, d)
                       for p, s, d, k in zip(place, stride, dilation, w.shape[2:], strict=True))  # fmt: skip
        part = x[(slice(None), slice(group * per_in, (group + 1) * per_in), *window)]
        y[(slice(None), o, *place)] = (part * w[o]).sum(axis=tuple(range(1, rank + 2)))
    return y if b is None else y + b.reshape(-1, *(1,) * rank)


def pool(x: Array, k: int, stride: int, pad: int, reduce: Callable[..., Array], fill: float) -> Array:
    x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)], constant_values=fill)
    sizes = [(n - k) // stride + 1 for n in x.shape[2:]]
    rows = [[reduce(x[:, :, i * stride : i * stride + k, j * stride : j * stride + k], axis=(2, 3))
             for j in range(sizes[1])] for i in range(sizes[0])]  # fmt: skip
    return np.moveaxis(np.array(rows), (0, 1), (2, 3))


def standard(x: Array, axes: int | tuple[int, ...], eps: float = 1e-5) -> Array:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def both_ways(layer: nn.Module, x: Array) -> Array:
    """The layer's result at once, after checking that a trace of symbolic batch gives the same."""
    layer.to("f64")
    at_once = layer(x)
    traced = trace(layer, spec("N", *x.shape[1:], dtype=x.dtype))
    assert_same(run_traced(traced, x), at_once)
    return at_once


IMAGE = normal(2, 4, 7, 6)
CONVOLUTIONS: list[dict[str, Any]] = [
    {}, {"stride": 2}, {"padding": (2, 1)}, {"dilation": 2}, {"groups": 2, "padding": 1}, {"groups": 4, "bias": False},
    {"stride": (1, 3), "padding": (0, 2), "dilation": (2, 1)},
]  # fmt: skip


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=repr)
def test_conv2d_sums_products_of_windows(options: dict[str, Any]) -> None:
    layer = nn.Conv2d(4, 8, (3, 2), **options)
    got = both_ways(layer, IMAGE)
    pad = layer.padding
    assert not isinstance(pad, str)
    bias = None if layer.bias is None else layer.bias.data
    assert_same(got, conv(IMAGE, layer.weight.data, bias, layer.stride, pad, layer.dilation, layer.groups))


@pytest.mark.parametrize(("layer", "x"), [(nn.Conv1d(3, 4, 3, padding=1), normal(2, 3, 8)),
                                          (nn.Conv3d(2, 3, 2, stride=2), normal(2, 2, 5, 4, 4))])  # fmt: skip
def test_conv1d_and_conv3d_do_the_same_on_other_ranks(layer: nn.Conv1d | nn.Conv3d, x: Array) -> None:
    got = both_ways(layer, x)
    assert layer.bias is not None and not isinstance(layer.padding, str)
    wanted = conv(x, layer.weight.data, layer.bias.data, layer.stride, layer.padding, layer.dilation, 1)
    assert_same(got, wanted)


@pytest.mark.parametrize(("mode", "numpys"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
def test_padding_modes_make_the_border(mode: str, numpys: Any) -> None:
    layer = nn.Conv2d(4, 2, 3, padding=2, padding_mode=mode, bias=False)
    got = both_ways(layer, IMAGE)
    padded = np.pad(IMAGE, [(0, 0), (0, 0), (2, 2), (2, 2)], mode=numpys)
    assert_same(got, conv(padded, layer.weight.data, None, (1, 1), (0, 0), (1, 1), 1))


def test_same_padding_keeps_the_size() -> None:
    layer = nn.Conv2d(4, 2, (4, 3), padding="same", dilation=(1, 2))
    assert both_ways(layer, IMAGE).shape == (2, 2, 7, 6)


TRANSPOSED: list[dict[str, Any]] = [{}, {"stride": 2, "padding": 1, "output_padding": 1}, {"groups": 2, "dilation": 2}]


@pytest.mark.parametrize("options", TRANSPOSED, ids=repr)
def test_conv_transpose_is_the_adjoint_of_conv(options: dict[str, Any]) -> None:
    layer = nn.ConvTranspose2d(4, 6, 3, bias=False, **options)
    y = both_ways(layer, IMAGE)
    back = windows.conv2d(normal(*y.shape, seed=4), layer.weight.data, None, layer.stride, layer.padding,
                          layer.dilation, layer.groups)  # fmt: skip
    assert np.shape(back) == IMAGE.shape
    assert_same((y * normal(*y.shape, seed=4)).sum(), (IMAGE * np.asarray(back)).sum())


@pytest.mark.parametrize(("k", "stride", "pad"), [(2, 2, 0), (3, 1, 1), (3, 2, 1), (2, 3, 0)])
def test_pools_reduce_windows(k: int, stride: int, pad: int) -> None:
    assert_same(both_ways(nn.MaxPool2d(k, stride, pad), IMAGE), pool(IMAGE, k, stride, pad, np.max, -np.inf))
    assert_same(both_ways(nn.AvgPool2d(k, stride, pad), IMAGE), pool(IMAGE, k, stride, pad, np.mean, 0))


def test_pools_of_other_ranks_are_slices_of_those() -> None:
    line, box = normal(2, 3, 6), normal(2, 3, 4, 4, 4)
    assert_same(both_ways(nn.MaxPool1d(2), line), line.reshape(2, 3, 3, 2).max(-1))
    assert_same(both_ways(nn.AvgPool1d(3), line), line.reshape(2, 3, 2, 3).mean(-1))
    assert_same(both_ways(nn.AvgPool3d(2), box), box.reshape(2, 3, 2, 2, 2, 2, 2, 2).mean((3, 5, 7)))
    assert_same(both_ways(nn.MaxPool3d(2), box), box.reshape(2, 3, 2, 2, 2, 2, 2, 2).max((3, 5, 7)))
    assert both_ways(nn.MaxPool2d(2, ceil_mode=True), IMAGE).shape == (2, 4, 4, 3)


def test_adaptive_pools_cover_the_axis() -> None:
    def adaptive(x: Array, out: int, reduce: Callable[..., Array]) -> Array:
        n = x.shape[-1]
        return np.stack([reduce(x[..., i * n // out : -(-(i + 1) * n // out)], axis=-1) for i in range(out)], -1)

    line = normal(2, 3, 7)
    assert_same(both_ways(nn.AdaptiveAvgPool1d(3), line), adaptive(line, 3, np.mean))
    assert_same(both_ways(nn.AdaptiveMaxPool1d(3), line), adaptive(line, 3, np.max))
    assert_same(both_ways(nn.AdaptiveAvgPool2d(1), IMAGE), IMAGE.mean((2, 3), keepdims=True))
    assert both_ways(nn.AdaptiveAvgPool2d((None, 2)), IMAGE).shape == (2, 4, 7, 2)
    assert both_ways(nn.AdaptiveMaxPool3d(2), normal(1, 2, 4, 4, 4)).shape == (1, 2, 2, 2, 2)


def test_batch_norm_standardises_and_keeps_running_statistics() -> None:
    layer = nn.BatchNorm2d(4, momentum=0.3).to("f64")
    layer.weight.load(normal(4)), layer.bias.load(normal(4, seed=1))  # type: ignore[union-attr]
    gamma, beta = (p.data.reshape(1, 4, 1, 1) for p in (layer.weight, layer.bias))  # type: ignore[union-attr]
    assert_same(layer(IMAGE), standard(IMAGE, (0, 2, 3)) * gamma + beta)
    count = IMAGE.size / 4
    mean, var = 0.3 * IMAGE.mean((0, 2, 3)), 0.7 + 0.3 * IMAGE.var((0, 2, 3)) * count / (count - 1)
    assert_same(layer.running_mean.data, mean)  # type: ignore[union-attr]
    assert_same(layer.running_var.data, var)  # type: ignore[union-attr]
    assert layer.num_batches_tracked.data == 1  # type: ignore[union-attr]
    traced = trace(layer, spec("N", 4, 7, 6, dtype="f64"), training=True)
    run_traced(traced, IMAGE)
    assert layer.num_batches_tracked.data == 2  # type: ignore[union-attr]
    mean, var = layer.running_mean.data, layer.running_var.data  # type: ignore[union-attr]
    wanted = (IMAGE - mean.reshape(1, 4, 1, 1)) / np.sqrt(var.reshape(1, 4, 1, 1) + 1e-5) * gamma + beta
    assert_same(layer.eval()(IMAGE), wanted)
    assert_same(run_traced(trace(layer.train(), spec("N", 4, 7, 6, dtype="f64")), IMAGE), wanted)


def test_batch_norm_without_momentum_averages_all_batches() -> None:
    layer = nn.BatchNorm1d(3, momentum=None, affine=False).to("f64")
    batches = [normal(5, 3, seed=i) for i in range(3)]
    for batch in batches:
        layer(batch)
    assert_same(layer.running_mean.data, np.mean([b.mean(0) for b in batches], 0))  # type: ignore[union-attr]
    assert_same(layer.running_var.data, np.mean([b.var(0, ddof=1) for b in batches], 0))  # type: ignore[union-attr]


def test_batch_norm_without_running_statistics_always_uses_the_batchs() -> None:
    layer = nn.BatchNorm3d(2, track_running_stats=False).to("f64").eval()
    box = normal(2, 2, 3, 3, 3)
    assert_same(layer(box), standard(box, (0, 2, 3, 4)))
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_the_other_norms_standardise_their_own_axes() -> None:
    assert_same(both_ways(nn.LayerNorm((7, 6)), IMAGE), standard(IMAGE, (2, 3)))
    assert_same(both_ways(nn.LayerNorm(6, eps=0.1, bias=False), IMAGE), standard(IMAGE, 3, 0.1))
    groups = standard(IMAGE.reshape(2, 2, -1), 2).reshape(IMAGE.shape)
    assert_same(both_ways(nn.GroupNorm(2, 4), IMAGE), groups)
    assert_same(both_ways(nn.InstanceNorm2d(4, affine=True), IMAGE), standard(IMAGE, (2, 3)))
    assert_same(both_ways(nn.RMSNorm(6, eps=0.1), IMAGE), IMAGE / np.sqrt((IMAGE**2).mean(-1, keepdims=True) + 0.1))
    powers = np.pad(IMAGE**2, [(0, 0), (1, 1), (0, 0), (0, 0)])
    near = sum(powers[:, i : i + 4] for i in range(3)) / 3
    assert_same(both_ways(nn.LocalResponseNorm(3, alpha=0.5, k=2.0), IMAGE), IMAGE / (2 + 0.5 * near) ** 0.75)


def test_dense_layers_and_tables() -> None:
    x = normal(2, 5, 3)
    linear = nn.Linear(3, 4).to("f64")
    assert linear.bias is not None
    assert_same(both_ways(linear, x), x @ linear.weight.data.T + linear.bias.data)
    two = nn.Bilinear(3, 2, 4).to("f64")
    assert two.bias is not None
    y = normal(2, 5, 2, seed=1)
    assert_same(two(x, y), np.einsum("abi,oij,abj->abo", x, two.weight.data, y) + two.bias.data)
    table = nn.Embedding(6, 3, padding_idx=2)
    assert_same(both_ways(table, np.array([[1, 2], [5, 0]])), table.weight.data[[[1, 2], [5, 0]]])
    assert nn.Identity(5, unused=True)(x) is x


def test_layers_that_rearrange() -> None:
    assert_same(both_ways(nn.Flatten(), IMAGE), IMAGE.reshape(2, -1))
    assert_same(both_ways(nn.Unflatten(1, (2, 2)), IMAGE), IMAGE.reshape(2, 2, 2, 7, 6))
    x = normal(2, 8, 3, 3)
    shuffled = x.reshape(2, 2, 2, 2, 3, 3).transpose(0, 1, 4, 2, 5, 3).reshape(2, 2, 6, 6)
    assert_same(both_ways(nn.PixelShuffle(2), x), shuffled)
    assert_same(both_ways(nn.PixelUnshuffle(2), shuffled), x)
    assert_same(both_ways(nn.ChannelShuffle(2), IMAGE), IMAGE[:, [0, 2, 1, 3]])
    assert_same(both_ways(nn.Upsample(scale_factor=2), IMAGE), IMAGE.repeat(2, 2).repeat(2, 3))
    assert both_ways(nn.Upsample(size=(5, 9), mode="bilinear"), IMAGE).shape == (2, 4, 5, 9)


def test_bilinear_sampling_with_aligned_corners_keeps_the_corners() -> None:
    line = np.array([[[0.0, 1.0, 4.0]]])
    assert_same(images.interpolate(line, 5, mode="linear", align_corners=True), np.array([[[0, 0.5, 1, 2.5, 4]]]))
    assert_same(images.interpolate(line, 6, mode="linear"), np.array([[[0, 0.25, 0.75, 1.75, 3.25, 4]]]))
    assert_same(images.interpolate(line, 2, mode="nearest"), np.array([[[0.0, 1.0]]]))


def test_padding_layers_take_the_last_axis_first() -> None:
    pairs = [(0, 0), (0, 0), (3, 0), (1, 2)]
    assert_same(both_ways(nn.ZeroPad2d((1, 2, 3, 0)), IMAGE), np.pad(IMAGE, pairs))
    assert_same(both_ways(nn.ConstantPad2d((1, 2, 3, 0), 7.0), IMAGE), np.pad(IMAGE, pairs, constant_values=7))
    assert_same(both_ways(nn.ReflectionPad2d((1, 2, 3, 0)), IMAGE), np.pad(IMAGE, pairs, mode="reflect"))
    ring = [(0, 0), (0, 0), (1, 1), (1, 1)]
    assert_same(both_ways(nn.ReplicationPad2d(1), IMAGE), np.pad(IMAGE, ring, mode="edge"))
    assert_same(both_ways(nn.CircularPad2d((1, 2, 3, 0)), IMAGE), np.pad(IMAGE, pairs, mode="wrap"))


ACTIVATIONS = [nn.ReLU(), nn.ReLU6(), nn.SELU(), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Hardsigmoid(), nn.Sigmoid(),
               nn.LogSigmoid(), nn.Tanh(), nn.Tanhshrink(), nn.Softsign(), nn.LeakyReLU(0.2), nn.PReLU(6), nn.ELU(2.0),
               nn.CELU(2.0), nn.GELU(), nn.GELU("tanh"), nn.Softplus(2.0), nn.Hardtanh(-2, 2), nn.Softshrink(),
               nn.Hardshrink(), nn.Threshold(0.1, 5.0), nn.GLU(), nn.Softmax(1), nn.LogSoftmax(),
               nn.Softmin(0)]  # fmt: skip


@pytest.mark.parametrize("layer", ACTIVATIONS, ids=repr)
def test_activation_layers_call_their_functions(layer: nn.Module) -> None:
    from chainrule.frontend.functions import activations, elementwise

    x = normal(3, 6)
    kind = type(layer).__name__
    name = {"LeakyReLU": "leaky_relu", "LogSoftmax": "log_softmax"}.get(kind, kind.lower())
    function = getattr(activations, name, None) or getattr(elementwise, name)
    arguments = {"LeakyReLU": [0.2], "PReLU": [np.full(6, 0.25)], "ELU": [2.0], "CELU": [2.0], "Softplus": [2.0],
                 "Hardtanh": [-2, 2], "Threshold": [0.1, 5.0], "Softmax": [1], "Softmin": [0]}  # fmt: skip
    given = arguments.get(kind, ["tanh"] if layer.extra_repr() == "approximate='tanh'" else [])
    assert_same(both_ways(layer, x), function(x, *given))


def test_images_without_a_batch_axis_are_taken() -> None:
    layer = nn.Conv2d(4, 2, 3).to("f64")
    assert_same(layer(IMAGE[0]), np.asarray(layer(IMAGE))[0])
    assert_same(nn.MaxPool2d(2)(IMAGE[0]), np.asarray(nn.MaxPool2d(2)(IMAGE))[0])


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: nn.Linear(3, 4)(normal(2, 5)), ShapeError, "linear: the layer takes 3 features, x has 5 features"),
    (lambda: nn.Conv2d(3, 4, 3)(IMAGE), ShapeError, "conv2d: weight expects 3 input channels, x has 4"),
    (lambda: nn.Conv2d(4, 4, 3)(normal(4, 4)), ShapeError, "conv2d: x has 2 axes, 4 are expected"),
    (lambda: nn.Conv2d(4, 4, 9)(IMAGE), ShapeError,
     "conv2d: a window of 9 does not fit into an axis of 7 padded by 0+0"),
    (lambda: nn.Conv2d(4, 4, (3, 3, 3)), ArgumentError, "kernel_size=(3, 3, 3) does not have 2 numbers"),
    (lambda: nn.Conv2d(4, 6, 3, groups=4), ArgumentError, "4 and 6 channels do not divide into 4 groups"),
    (lambda: nn.Conv2d(4, 6, 3, padding_mode="mirror"), ArgumentError, "padding_mode 'mirror' is not known"),
    (lambda: nn.BatchNorm2d(3)(IMAGE), ShapeError, "BatchNorm2d: the layer takes [N, C, H, W] with C = 3"),
    (lambda: nn.GroupNorm(3, 4), ArgumentError, "GroupNorm: 4 channels do not divide into 3 groups"),
    (lambda: nn.InstanceNorm2d(4)(normal(4, 4)), ShapeError, "InstanceNorm2d: the layer takes 4 axes with C = 4"),
    (lambda: nn.Embedding(3, 2, padding_idx=3), ArgumentError, "Embedding: padding_idx=3 is not one of 3 rows"),
    (lambda: nn.Dropout(-0.1), ArgumentError, "dropout: p=-0.1 is not a probability"),
    (lambda: nn.Linear(3, -1), ArgumentError, "-1 is not a size"),
    (lambda: nn.ZeroPad2d((1, 2)), ArgumentError, "ZeroPad2d: padding (1, 2) does not have 4 numbers"),
    (lambda: nn.Upsample(scale_factor=2, mode="cubic")(IMAGE), ArgumentError,
     "interpolate: mode 'cubic' does not fit 2 spatial axes"),
    (lambda: nn.PixelShuffle(3)(IMAGE), ShapeError, "pixel_shuffle: 4 does not divide into 9 parts"),
    (lambda: nn.CrossEntropyLoss(reduction="median"), ArgumentError,
     "CrossEntropyLoss: reduction 'median' is not known"),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(REFUSED)))
def test_layers_refuse_what_does_not_fit(index: int) -> None:
    call, kind, cause = REFUSED[index]
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.cause == cause  # type: ignore[attr-defined]

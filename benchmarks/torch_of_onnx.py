"""An ONNX model as a function of PyTorch tensors: each node one call, for comparison in eager mode and by inductor.

It knows the ops that the benchmarked models are exported with, and refuses others by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from onnx_steps import read_steps

Tensor = torch.Tensor


class Model(torch.nn.Module):
    """The nodes of a file, with its weights as buffers: what torch.compile knows not to change.

    model(*inputs) -> outputs.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.steps = read_steps(path, OPS)
        for i, array in enumerate(self.steps.weights.values()):
            self.register_buffer(f"weight{i}", torch.from_numpy(array))

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        weights = {name: getattr(self, f"weight{i}") for i, name in enumerate(self.steps.weights)}
        return self.steps.run(weights, tensors)


def _numbers(given: Any) -> list[Any]:
    """Sizes or axes, known ahead or from a tensor."""
    return given.tolist() if isinstance(given, Tensor) else given


def _spatial(a: dict[str, Any], x: Tensor) -> tuple[Tensor, list[int]]:
    """The input with its uneven pads applied, and the pads that are left for the op."""
    pads = a.get("pads", [0] * (2 * (x.ndim - 2)))
    half = len(pads) // 2
    if pads[:half] == pads[half:]:
        return x, list(pads[:half])
    flat = [p for i in reversed(range(half)) for p in (pads[i], pads[half + i])]
    return F.pad(x, flat), [0] * half


def _conv(a: dict[str, Any], x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    x, pads = _spatial(a, x)
    one = [1] * (x.ndim - 2)
    function = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.ndim]
    return function(x, w, b, a.get("strides", one), pads, a.get("dilations", one), a.get("group", 1))


def _conv_transpose(a: dict[str, Any], x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    one = [1] * (x.ndim - 2)
    function = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}[x.ndim]
    pads = a.get("pads", [0] * (2 * (x.ndim - 2)))[: x.ndim - 2]
    more = a.get("output_padding", [0] * (x.ndim - 2))
    return function(x, w, b, a.get("strides", one), pads, more, a.get("group", 1), a.get("dilations", one))


def _max_pool(a: dict[str, Any], x: Tensor) -> Tensor:
    pads = a.get("pads", [0] * (2 * (x.ndim - 2)))
    function = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}[x.ndim]
    return function(x, a["kernel_shape"], a.get("strides"), pads[: x.ndim - 2], ceil_mode=bool(a.get("ceil_mode", 0)))


def _average_pool(a: dict[str, Any], x: Tensor) -> Tensor:
    x, pads = _spatial(a, x)
    function = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}[x.ndim]
    return function(x, a["kernel_shape"], a.get("strides"), pads, bool(a.get("ceil_mode", 0)),
                    bool(a.get("count_include_pad", 0)))  # fmt: skip


def _gemm(a: dict[str, Any], x: Tensor, w: Tensor, c: Tensor | None = None) -> Tensor:
    x, w = x.T if a.get("transA") else x, w.T if a.get("transB") else w
    y = x @ w * a.get("alpha", 1.0) if a.get("alpha", 1.0) != 1.0 else x @ w
    return y if c is None else y + c * a.get("beta", 1.0) if a.get("beta", 1.0) != 1.0 else y + c


def _reshape(a: dict[str, Any], x: Tensor, shape: Tensor) -> Tensor:
    wanted = [x.shape[i] if d == 0 and not a.get("allowzero") else d for i, d in enumerate(_numbers(shape))]
    return x.reshape(wanted)


def _slice(a: dict[str, Any], x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None,
           steps: Tensor | None = None) -> Tensor:  # fmt: skip
    starts, ends = _numbers(starts), _numbers(ends)
    taken = _numbers(axes) if axes is not None else range(len(starts))
    cut: list[Any] = [slice(None)] * x.ndim
    for i, axis in enumerate(taken):
        step = 1 if steps is None else _numbers(steps)[i]
        cut[axis] = slice(starts[i], min(ends[i], x.shape[axis]), step)
    return x[tuple(cut)]


def _split(a: dict[str, Any], x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    parts = _numbers(sizes) if sizes is not None else x.shape[axis] // a["num_outputs"]
    return tuple(torch.split(x, parts, axis))


def _lstm(a: dict[str, Any], x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None,
          h0: Tensor | None = None, c0: Tensor | None = None) -> tuple[Tensor, ...]:  # fmt: skip
    """One direction, as torch's own LSTM, whose gates are in the order i, f, g, o."""
    hidden = a["hidden_size"]
    order = torch.cat([torch.arange(g * hidden, (g + 1) * hidden) for g in (0, 2, 3, 1)])
    biases = [torch.zeros(4 * hidden)] * 2 if b is None else [b[0, : 4 * hidden][order], b[0, 4 * hidden :][order]]
    start = torch.zeros(1, x.shape[1], hidden)
    h, c = h0 if h0 is not None else start, c0 if c0 is not None else start
    y, hn, cn = torch.lstm(x, (h, c), [w[0][order], r[0][order], *biases], True, 1, 0.0, False, False, False)
    return y[:, None], hn, cn


def _gru(a: dict[str, Any], x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None, lengths: Tensor | None = None,
         h0: Tensor | None = None) -> tuple[Tensor, ...]:  # fmt: skip
    """One direction, linear_before_reset; torch's gates are in the order r, z, n."""
    hidden = a["hidden_size"]
    order = torch.cat([torch.arange(g * hidden, (g + 1) * hidden) for g in (1, 0, 2)])
    biases = [torch.zeros(3 * hidden)] * 2 if b is None else [b[0, : 3 * hidden][order], b[0, 3 * hidden :][order]]
    h = h0 if h0 is not None else torch.zeros(1, x.shape[1], hidden)
    y, hn = torch.gru(x, h, [w[0][order], r[0][order], *biases], True, 1, 0.0, False, False, False)
    return y[:, None], hn


def _reduce(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(a: dict[str, Any], x: Tensor, axes: Tensor | None = None) -> Tensor:
        taken = _numbers(axes) if axes is not None else a.get("axes", list(range(x.ndim)))
        return function(x, dim=taken, keepdim=bool(a.get("keepdims", 1)))

    return run


def _plain(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda a, *inputs: function(*inputs)


_MODES = {"nearest": "nearest", "linear": "bilinear"}
_CAST = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}

OPS: dict[str, Callable[..., Any]] = {
    "Conv": _conv, "ConvTranspose": _conv_transpose, "MaxPool": _max_pool, "AveragePool": _average_pool, "Gemm": _gemm,
    "Reshape": _reshape, "Slice": _slice, "Split": _split, "LSTM": _lstm, "GRU": _gru,
    "GlobalAveragePool": lambda a, x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    "Relu": _plain(torch.relu), "Sigmoid": _plain(torch.sigmoid), "Tanh": _plain(torch.tanh), "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp), "Log": _plain(torch.log), "Sqrt": _plain(torch.sqrt), "Neg": _plain(torch.neg),
    "Add": _plain(torch.add), "Sub": _plain(torch.sub), "Mul": _plain(torch.mul), "Div": _plain(torch.div),
    "Pow": _plain(torch.pow), "MatMul": _plain(torch.matmul), "Identity": _plain(lambda x: x),
    "Clip": lambda a, x, lo=None, hi=None: torch.clamp(x, lo, hi), "Where": _plain(torch.where),
    "Range": _plain(torch.arange), "Equal": _plain(torch.eq), "LessOrEqual": _plain(torch.le),
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)), "HardSwish": _plain(F.hardswish),
    "Gelu": lambda a, x: F.gelu(x, approximate=a.get("approximate", "none")),
    "Concat": lambda a, *xs: torch.cat(xs, a["axis"]), "Flatten": lambda a, x: torch.flatten(x, a.get("axis", 1)),
    "Transpose": lambda a, x: x.permute(a["perm"]), "Softmax": lambda a, x: torch.softmax(x, a.get("axis", -1)),
    "LogSoftmax": lambda a, x: torch.log_softmax(x, a.get("axis", -1)),
    "Squeeze": lambda a, x, axes=None: x.squeeze(tuple(_numbers(axes))) if axes is not None else x.squeeze(),
    "Unsqueeze": lambda a, x, axes: _unsqueezed(x, _numbers(axes)),
    "Gather": lambda a, x, i: torch.index_select(x, a.get("axis", 0), i.reshape(-1)).reshape(
        *x.shape[: a.get("axis", 0)], *i.shape, *x.shape[a.get("axis", 0) + 1 :]),
    "LayerNormalization": lambda a, x, w, b=None: F.layer_norm(x, w.shape, w, b, a.get("epsilon", 1e-5)),
    "BatchNormalization": lambda a, x, w, b, m, v: F.batch_norm(x, m, v, w, b, False, 0.0, a.get("epsilon", 1e-5)),
    "ReduceMean": _reduce(torch.mean), "ReduceSum": _reduce(torch.sum), "ReduceMax": _reduce(torch.amax),
    "Expand": lambda a, x, s: x.expand(torch.broadcast_shapes(x.shape, tuple(_numbers(s)))),
    "Cast": lambda a, x: x.to(_CAST[a["to"]]), "Shape": lambda a, x: torch.tensor(x.shape),
    "Resize": lambda a, x, r=None, s=None, z=None: F.interpolate(
        x, size=None if z is None else tuple(_numbers(z)[2:]),
        scale_factor=None if z is not None else tuple(_numbers(s)[2:]), mode=_MODES[a.get("mode", "nearest")]),
    "Pad": lambda a, x, p, v=None, axes=None: F.pad(
        x, [n for i in reversed(range(x.ndim)) for n in (_numbers(p)[i], _numbers(p)[i + x.ndim])],
        a.get("mode", "constant")),
}  # fmt: skip


def _unsqueezed(x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(n % (x.ndim + len(axes)) for n in axes):
        x = x.unsqueeze(axis)
    return x

"""Kernels of the backward pass against PyTorch's, by turns in one process: shapes of a ResNet-18 on 32x32 images.

Gradients of convolutions and of an embedding are computed alone (they need no forward pass); of pools, norms,
attention and elementwise chains forward and backward together, as what is kept between them differs. The optimiser is
one update of Adam. Ours takes and gives arrays in PyTorch's layout, so that convolutions pay for two changes of layout
that a whole step does not have. Needs an environment that has both libraries.
Usage: OMP_NUM_THREADS=1 python benchmarks/backward.py [--threads 1] [--only conv] [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from paired import Array, paired

import chainrule as cr
from chainrule import nn, optim

Call = Callable[[], object]
WORDS, UNITS = 10_000, 512
BATCH = 32
# (channels in, out, side of the image, kernel, stride)
CONVS = ((64, 64, 32, 3, 1), (128, 128, 16, 3, 1), (256, 256, 8, 3, 1), (512, 512, 4, 3, 1), (64, 128, 32, 3, 2),
         (256, 512, 8, 3, 2), (64, 128, 32, 1, 2))  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Both libraries' function of the same arrays. multiply_adds: of one call, 0 where they say nothing."""

    name: str
    ours: Call
    theirs: Call
    multiply_adds: int = 0


@dataclass(frozen=True)
class Result:
    """Medians of microseconds, and the median of PyTorch's time over ours, pair by pair. gflops: ours."""

    case: str
    ours_us: float
    torch_us: float
    torch_over_ours: float
    gflops: float


def numbers(*shape: int) -> Array:
    """Seeded normal numbers."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def compiled(function: Callable[..., Any], arrays: Sequence[Array], threads: int) -> Call:
    """A call of our function on arrays, compiled for their shapes."""
    specs = [cr.spec(*a.shape, dtype=str(a.dtype).replace("int", "i").replace("float", "f")) for a in arrays]
    made = cr.compile(function, *specs, threads=threads)
    return lambda: made(*arrays)


def convolutions(threads: int) -> Iterator[Case]:
    """Both gradients of every convolution."""
    for ins, outs, side, kernel, stride in CONVS:
        pad = kernel // 2
        x, w = numbers(BATCH, ins, side, side), numbers(outs, ins, kernel, kernel)
        g = numbers(BATCH, outs, side // stride, side // stride)
        tensors = [torch.from_numpy(a) for a in (g, x, w)]
        work = g.size * ins * kernel**2
        what = f"conv {kernel}x{kernel}/{stride}, {ins} to {outs}, {side}x{side}"

        def by_data(x: Any, w: Any, g: Any, stride: int = stride, pad: int = pad) -> Any:
            return cr.vjp(lambda x: cr.conv2d(x, w, stride=stride, padding=pad), x)[1](g)

        def by_weights(x: Any, w: Any, g: Any, stride: int = stride, pad: int = pad) -> Any:
            return cr.vjp(lambda w: cr.conv2d(x, w, stride=stride, padding=pad), w)[1](g)

        def theirs(mask: list[bool], at: list[Any] = tensors, stride: int = stride, pad: int = pad) -> Call:
            return lambda: torch.ops.aten.convolution_backward(
                *at, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, mask)  # fmt: skip

        yield Case(f"{what}: by data", compiled(by_data, (x, w, g), threads), theirs([True, False, False]), work)
        yield Case(f"{what}: by weights", compiled(by_weights, (x, w, g), threads), theirs([False, True, False]), work)


def embedding(threads: int) -> Iterator[Case]:
    """The gradient of a table of words for a batch of 16 by 32 of them."""
    words, g = np.random.default_rng(0).integers(0, WORDS, 512), numbers(512, UNITS)
    table = numbers(WORDS, UNITS)
    at = (torch.from_numpy(g), torch.from_numpy(words))

    def ours(table: Any, words: Any, g: Any) -> Any:
        return cr.vjp(lambda table: cr.embedding(words, table), table)[1](g)

    yield Case(f"embedding, 512 of {WORDS} rows of {UNITS}", compiled(ours, (table, words, g), threads),
               lambda: torch.ops.aten.embedding_dense_backward(*at, WORDS, -1, False))  # fmt: skip


def together(name: str, threads: int, shapes: Sequence[tuple[int, ...]], ours: Callable[..., Any],
             theirs: Callable[..., Any], multiply_adds: int = 0) -> Case:  # fmt: skip
    """A function of arrays of these shapes, forward and backward, by all of them."""
    arrays = [numbers(*shape) for shape in shapes]
    leaves = [torch.from_numpy(a).requires_grad_() for a in arrays]
    g = numbers(*theirs(*leaves).shape)
    slope = torch.from_numpy(g)

    def both(*given: Any) -> Any:
        y, pull = cr.vjp(ours, *given[:-1])
        return y, pull(given[-1])

    def run() -> object:
        y = theirs(*leaves)
        return y, torch.autograd.grad(y, leaves, slope)

    return Case(name, compiled(both, (*arrays, g), threads), run, multiply_adds)


def others(threads: int) -> Iterator[Case]:
    """Pools, norms, attention and elementwise chains, forward and backward."""
    image, rows = (BATCH, 64, 32, 32), (1024, 768)
    heads = (8, 12, 128, 64)
    yield together("max pool 2x2, 64 of 32x32", threads, [image], lambda x: cr.max_pool2d(x, 2),
                   lambda x: F.max_pool2d(x, 2))  # fmt: skip
    yield together("max pool 3x3/2, 64 of 32x32", threads, [image], lambda x: cr.max_pool2d(x, 3, 2, 1),
                   lambda x: F.max_pool2d(x, 3, 2, 1))  # fmt: skip
    yield together("average pool 2x2, 64 of 32x32", threads, [image], lambda x: cr.avg_pool2d(x, 2),
                   lambda x: F.avg_pool2d(x, 2))  # fmt: skip
    yield together("batch norm and ReLU, 64 of 32x32", threads, [image, (64,), (64,)], _batch_norm,
                   lambda x, w, b: torch.relu(F.batch_norm(x, None, None, w, b, True)))  # fmt: skip
    yield together("layer norm, 1024 x 768", threads, [rows, (768,), (768,)],
                   lambda x, w, b: cr.layer_norm(x, 768, w, b),
                   lambda x, w, b: F.layer_norm(x, (768,), w, b))  # fmt: skip
    yield together("bias, GELU and a gate, 1024 x 3072", threads, [(1024, 3072), (3072,), (1024, 3072)],
                   lambda x, b, g: cr.gelu(x + b) * cr.sigmoid(g),
                   lambda x, b, g: F.gelu(x + b) * torch.sigmoid(g))  # fmt: skip
    yield together("attention, 8 x 12 heads of 64, 128 tokens", threads, [heads] * 3, cr.scaled_dot_product_attention,
                   F.scaled_dot_product_attention, 7 * 8 * 12 * 128 * 128 * 64)  # fmt: skip
    yield together("attention, 8 heads of 64, 1024 tokens", threads, [(1, 8, 1024, 64)] * 3,
                   cr.scaled_dot_product_attention, F.scaled_dot_product_attention,
                   7 * 8 * 1024 * 1024 * 64)  # fmt: skip


def _batch_norm(x: Any, weight: Any, bias: Any) -> Any:
    mean = cr.mean(x, axis=(0, 2, 3), keepdims=True)
    variance = cr.mean((x - mean) ** 2, axis=(0, 2, 3), keepdims=True)
    by_channel = [cr.reshape(v, (1, 64, 1, 1)) for v in (weight, bias)]
    return cr.relu((x - mean) * cr.rsqrt(variance + 1e-5) * by_channel[0] + by_channel[1])


class Weights(nn.Module):
    """One parameter, whatever the input."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.w = nn.Parameter(numbers(size))

    def __call__(self, x: Any) -> Any:
        return self.w


def of_slope(w: Any, g: Any) -> Any:
    """A loss whose gradient for w is said to be g. It looks at one number: the update is all there is to time."""
    return w[0] * 0.0


def adam(threads: int) -> Iterator[Case]:
    """One update of 11 million parameters, the gradient given: 28 bytes a parameter, read or written."""
    size = 11_000_000
    one, g = np.float32(1), numbers(size)
    loss = cr.custom_vjp(of_slope, lambda w, g: (of_slope(w, g), g), lambda g, one: (g, None))
    step = cr.training_step(Weights(size), loss, optim.Adam(1e-3), (cr.spec(), cr.spec(size)), threads=threads)
    leaf = torch.nn.Parameter(torch.from_numpy(numbers(size)))
    leaf.grad = torch.from_numpy(g)
    theirs = torch.optim.Adam([leaf], 1e-3, fused=True)
    yield Case("Adam, 11 million parameters", lambda: step(one, g), theirs.step)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found: list[Result] = []
    for family in (convolutions, embedding, others, adam):
        for case in family(arguments.threads):
            if arguments.only not in case.name:
                continue
            times = paired((case.ours, case.theirs), arguments.rounds)
            ours, theirs = times.median_us
            row = Result(case.name, round(ours, 1), round(theirs, 1), round(1 / times.ratios[0], 2),
                         round(2e-3 * case.multiply_adds / ours, 1))  # fmt: skip
            found.append(row)
            print(f"{row.case:52} {row.ours_us:9.1f} us, PyTorch {row.torch_us:9.1f} us: {row.torch_over_ours:5.2f}"
                  f"{f'  {row.gflops:6.1f} GFLOP/s' if row.gflops else ''}", flush=True)  # fmt: skip
    if arguments.json is not None:
        record = {"machine": platform.machine(), "torch": torch.__version__, "threads": arguments.threads,
                  "rounds": arguments.rounds, "cases": [asdict(row) for row in found]}  # fmt: skip
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

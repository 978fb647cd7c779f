"""Random convolutions by each algorithm in turn: 1 to 70 channels, kernels 1 to 9 wide, uneven pads, empty batches.

Each is compiled with its algorithm forced, run between guard pages, for the widest target and an older one, on one and
two threads, and held against float64 within its class. As a program it tries many:
python -m tests.llvm.random_convolutions [--count 200] [--first 0]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.pipeline import pipeline
from chainrule.backends.llvm.target import named_target
from chainrule.ir.op import Op
from chainrule.ir.types import bf16, f32
from chainrule.ops.basic import Fuse
from chainrule.ops.conv import Conv, ConvTranspose, ConvWeightGrad
from chainrule.ops.lowered import ChannelConv, PackKernel, PanelConv, PanelMatMul, WeightGradLast
from chainrule.ops.lowered_pairs import PairConv, PairMatMul
from chainrule.ops.lowered_winograd import WinogradConv, WinogradWeights
from chainrule.ops.lowered_winograd_grad import WinogradWeightGrad
from chainrule.ops.tolerance import UNIT, UNITS, Verdict, judge, within
from chainrule.passes.layout import ChannelsLast
from tests.llvm.compiled import graph_of
from tests.llvm.guarded_programs import guarded_run
from tests.ops.sample import Sample

Rng = np.random.Generator
MOST_WORK = 3_000_000  # multiply-adds of one convolution: the reference makes them in numpy
OLDER = ("x86-64-v3", "x86-64-v2")


@dataclass(frozen=True)
class Way:
    """An algorithm. draw: a sample for it; makes: the op that does it; winograd: the layout pass's option; pairs: bf16
    is multiplied in pairs, by whatever instructions there are."""

    draw: Callable[[Rng], Sample]
    makes: type[Op]
    winograd: str = "never"
    pairs: bool = False


@dataclass(frozen=True)
class Geometry:
    """Sizes of a convolution, one number for each axis; pads before all axes, then behind."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pad: tuple[int, ...]
    image: tuple[int, ...]

    @property
    def result(self) -> tuple[int, ...]:
        """The sizes of the result."""
        rank = len(self.kernel)
        spans = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        return tuple((self.image[i] + self.pad[i] + self.pad[i + rank] - spans[i]) // self.stride[i] + 1
                     for i in range(rank))  # fmt: skip


def numbers(rng: Rng, least: int, most: int, count: int) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(least, most, count, endpoint=True))


def geometry(rng: Rng, rank: int, kernel: Sequence[int] | None = None, plain: bool = False) -> Geometry:
    """Any sizes that fit. plain: stride and dilation 1."""
    taps = tuple(kernel) if kernel is not None else numbers(rng, 1, (9, 9, 4)[rank - 1], rank)
    stride, dilation = ((1,) * rank,) * 2 if plain else (numbers(rng, 1, 3, rank), numbers(rng, 1, 3, rank))
    spans = [d * (k - 1) + 1 for k, d in zip(taps, dilation, strict=True)]
    pad = tuple(int(rng.integers(0, span, endpoint=True)) for span in (*spans, *spans))
    longest = (130, 21, 8)[rank - 1]
    image = tuple(max(n, spans[i] - pad[i] - pad[i + rank]) for i, n in enumerate(numbers(rng, 1, longest, rank)))
    return Geometry(taps, stride, dilation, pad, image)


def normal(rng: Rng, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def channels(rng: Rng, g: Geometry) -> tuple[int, int, int]:
    """(images, channels, channels of the result), at most so many that the reference can make them."""
    images = int(rng.choice([0, 1, 1, 2, 3]))
    ins, outs = numbers(rng, 1, 70, 2)
    work = images * int(np.prod(g.result)) * int(np.prod(g.kernel))
    while ins * outs * work > MOST_WORK and max(ins, outs) > 1:
        ins, outs = (ins // 2, outs) if ins > outs else (ins, outs // 2)
    return images, max(ins, 1), max(outs, 1)


def convolution(rng: Rng, g: Geometry, grouped: bool = False) -> Sample:
    images, ins, outs = channels(rng, g)
    groups = int(rng.integers(2, 4)) if grouped else 1
    ins, outs = (max(n // groups, 2) * groups for n in (ins, outs)) if grouped else (ins, outs)
    bias = (normal(rng, outs),) if rng.random() < 0.5 else ()
    return Sample(Conv(g.stride, g.pad, g.dilation, groups),
                  (normal(rng, images, ins, *g.image), normal(rng, outs, ins // groups, *g.kernel), *bias))  # fmt: skip


def any_rank(rng: Rng) -> int:
    return int(rng.choice([1, 2, 2, 2, 3]))


def direct(rng: Rng) -> Sample:
    g = geometry(rng, any_rank(rng))
    if set(g.kernel) == {1}:  # with one tap it is a product
        g = replace(g, kernel=(2,) * len(g.kernel), image=tuple(n + 3 for n in g.image))
    return convolution(rng, g, grouped=bool(rng.random() < 0.3))


def product(rng: Rng) -> Sample:
    rank = any_rank(rng)
    g = geometry(rng, rank, (1,) * rank, plain=True)
    return convolution(rng, replace(g, pad=(0,) * (2 * rank)))


def depthwise(rng: Rng) -> Sample:
    g = geometry(rng, any_rank(rng))
    images, ins, _ = channels(rng, g)
    ins = max(ins, 2)
    bias = (normal(rng, ins),) if rng.random() < 0.5 else ()
    return Sample(Conv(g.stride, g.pad, g.dilation, ins),
                  (normal(rng, images, ins, *g.image), normal(rng, ins, 1, *g.kernel), *bias))  # fmt: skip


def tiled(rank: int, taps: int) -> Callable[[Rng], Sample]:
    """Convolutions that tiles can make; of images there is at least one."""

    def draw(rng: Rng) -> Sample:
        g = geometry(rng, rank, (*numbers(rng, 1, 4, max(rank - 2, 0)), *(taps,) * min(rank, 2)), plain=True)
        while True:
            made = convolution(rng, g)
            if len(made.inputs[0]):
                return made

    return draw


def transposed(rng: Rng) -> Sample:
    g = geometry(rng, any_rank(rng))
    images, ins, outs = channels(rng, g)
    groups = int(rng.choice([1, 1, 2]))
    ins, outs = ins * groups, outs * groups
    return Sample(ConvTranspose(g.stride, g.pad, g.dilation, groups, (0,) * len(g.image), g.image),
                  (normal(rng, images, outs, *g.result), normal(rng, outs, ins // groups, *g.kernel)))  # fmt: skip


def weight_gradient(rng: Rng) -> Sample:
    g = geometry(rng, any_rank(rng))
    images, ins, outs = channels(rng, g)
    return Sample(ConvWeightGrad(g.kernel, g.stride, g.pad, g.dilation),
                  (normal(rng, images, ins, *g.image), normal(rng, images, outs, *g.result)))  # fmt: skip


def tiled_weight_gradient(rng: Rng) -> Sample:
    """Of maps that tiles of 4 cover, and of whole vectors of channels."""
    result, pad = numbers(rng, 1, 3, 2), numbers(rng, 0, 2, 4)
    image = tuple(4 * n + 2 - pad[i] - pad[i + 2] for i, n in enumerate(result))
    images, ins, outs = int(rng.integers(1, 4)), *(16 * n for n in numbers(rng, 1, 3, 2))
    return Sample(ConvWeightGrad((3, 3), (1, 1), pad, (1, 1)),
                  (normal(rng, images, ins, *image), normal(rng, images, outs, *(4 * n for n in result))))  # fmt: skip


def in_bf16(draw: Callable[[Rng], Sample], even: bool = False) -> Callable[[Rng], Sample]:
    """The same in bf16. even: of an even number of channels."""

    def drawn(rng: Rng) -> Sample:
        while True:
            made = draw(rng)
            if not even or made.inputs[0].shape[1] % 2 == 0:
                return Sample(made.op, tuple(x.astype(bf16.numpy) for x in made.inputs))

    return drawn


WAYS: Mapping[str, Way] = {
    "direct": Way(direct, PanelConv), "product": Way(product, PanelMatMul), "depthwise": Way(depthwise, ChannelConv),
    "transposed": Way(transposed, PanelConv), "weight gradient": Way(weight_gradient, WeightGradLast),
    "weight gradient by tiles": Way(tiled_weight_gradient, WinogradWeightGrad, "4"),
    "pairs": Way(in_bf16(direct), PairConv, pairs=True),
    "pairs, product": Way(in_bf16(product, even=True), PairMatMul, pairs=True),
    "pairs, transposed": Way(in_bf16(transposed), PairConv, pairs=True),
    **{f"F({m}, {taps}), {rank}-D": Way(tiled(rank, taps), WinogradConv, str(m))
       for m, taps in ((2, 3), (4, 3), (2, 5)) for rank in (1, 2, 3)},
}  # fmt: skip


def compiled(sample: Sample, way: Way, target: str, threads: int) -> LlvmExecutable:
    found = pipeline(named_target(target))
    passes = tuple(replace(p, winograd=way.winograd, pairs=way.pairs) if isinstance(p, ChannelsLast) else p
                   for p in found.passes)  # fmt: skip
    return LlvmExecutable(graph_of([sample]), [], threads=threads, target=named_target(target),
                          passes=replace(found, passes=passes))  # fmt: skip


def ops_of(made: LlvmExecutable) -> set[type[Op]]:
    """The ops of a program, those inside of regions included."""
    return {type(n.op) for node in made.graph.nodes
            for n in (node.op.body.nodes if isinstance(node.op, Fuse) else (node,))}  # fmt: skip


def verdict_of(sample: Sample, way: Way, got: np.ndarray) -> Verdict:
    """The class of a result: that of the sample's op, or W, by what tiles add up, where they made it."""
    if way.makes.tolerance != "W":
        return judge(sample.op, list(sample.inputs), [got])
    wide = [x.astype(np.float64) for x in sample.inputs]
    last = [np.moveaxis(x, 1, -1) for x in wide[:2]]
    if isinstance(sample.op, ConvWeightGrad):
        tiled = WinogradWeightGrad(sample.op.kernel, (int(way.winograd),) * 2, sample.op.pad[:2])
        scale = np.moveaxis(tiled.magnitude(*last), (-1, -2), (0, 1))
    else:
        assert isinstance(sample.op, Conv)
        rank, kernel = len(sample.op.stride), wide[1].shape[2:]
        tiles = (1,) * (rank - min(rank, 2)) + (int(way.winograd),) * min(rank, 2)
        held = WinogradWeights(kernel, tiles).ref(PackKernel(16).ref(sample.inputs[1]))
        made = WinogradConv(kernel, tiles, sample.op.pad[:rank], len(wide[1]), got.shape[2:])
        scale = np.moveaxis(made.magnitude(last[0], held.astype(np.float64), *wide[2:]), -1, 1)
    return within(got, sample.op.ref(*wide), UNITS["W"] * UNIT[f32] * scale)


def fault(name: str, seed: int) -> str:
    """What is wrong with the convolution of a seed by one algorithm, "" if nothing is."""
    way = WAYS[name]
    rng = np.random.default_rng([seed, list(WAYS).index(name)])
    sample, older = way.draw(rng), str(rng.choice(OLDER))
    made = compiled(sample, way, "host", 1)
    if sample.inputs[0].size and way.makes not in ops_of(made):
        return f"{name}, seed {seed}: {sample.op} was made by {ops_of(made)}"
    (guarded,) = guarded_run(made, sample.inputs)
    (alone,) = made.run(list(sample.inputs))
    (shared,) = compiled(sample, way, "host", 2).run(list(sample.inputs))
    (of_older,) = compiled(sample, way, older, 1).run(list(sample.inputs))
    said = [f"{what}: {v.reason}" for what, y in (("guarded", guarded), ("run", alone), (older, of_older))
            if not (v := verdict_of(sample, way, y)).ok]  # fmt: skip
    if len({guarded.tobytes(), alone.tobytes(), shared.tobytes()}) > 1:
        said.append("the bits depend on threads or parts")
    shapes = [x.shape for x in sample.inputs]
    return f"{name}, seed {seed}: {sample.op} of {shapes}: " + "; ".join(said) if said else ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    failed = 0
    for seed in range(asked.first, asked.first + asked.count):
        for name in WAYS:
            wrong = fault(name, seed)
            if wrong:
                failed += 1
                print(wrong, flush=True)
    print(f"{asked.count * len(WAYS)} convolutions, {failed} wrong")


if __name__ == "__main__":
    main()

"""Products by instructions that multiply a few narrow numbers and add them up: the tiles and loops of every product,
four bytes or two bf16 to a step of the depth.

Measured, one Zen 5 core, bf16 by a weight: 1.89 to 1.97 times as fast as f32 (benchmarks/gemm.py --bf16).
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.backends.llvm.kernels.matmul import Product, following, is_far, write_product
from chainrule.backends.llvm.kernels.matmul_rows import with_merged_rows
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Int
from chainrule.backends.loops import Value as LoopValue
from chainrule.ops import lowered_bytes, lowered_pairs
from chainrule.ops.lowered_bytes import ByteMatMul
from chainrule.ops.lowered_pairs import PairMatMul


def byte_matmul(region: Region, target: Target) -> list[KernelCall]:
    """One kernel, exact on every target."""
    return _grouped(region, target, lowered_bytes.GROUP, "bytes")


def pair_matmul(region: Region, target: Target) -> list[KernelCall]:
    """One kernel, with the same bits on every target where nothing is below 2^-126."""
    return _grouped(region, target, lowered_pairs.GROUP, "pairs")


def _grouped(region: Region, target: Target, group: int, why: str) -> list[KernelCall]:
    region = with_merged_rows(region)
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, ByteMatMul | PairMatMul)
    a, panels = anchor.inputs[:2]
    kernel = Kernel(region, target, f"{why}_{region.name}"[:80])
    k, packed = kernel.k, kernel.input(region.body.inputs.index(panels))
    *lead, m = kernel.dims(anchor.tensor.shape[:-1])
    depth, width = kernel.dim(panels.tensor.shape[1]), int(panels.tensor.shape[2]) // group  # type: ignore[arg-type]
    product = Product(kernel, anchor, a, False, tuple(lead), m, kernel.dim(anchor.op.columns), depth, width, group)

    def read(at: Sequence[Int], step: Int, column: Int, lanes: int, mask: Int | None) -> LoopValue:
        return k.load(packed, (column // width, step, column % width * group), lanes * group)

    write_product(product, target, read, padded=True, ask=following(k, packed) if is_far(product) else None)
    return [kernel.built(why)]

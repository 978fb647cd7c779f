"""The product of bytes with packed weights: the tiles and loops of every product, four bytes to a step of the depth."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.backends.llvm.kernels.matmul import Product, write_product
from chainrule.backends.llvm.kernels.matmul_rows import with_merged_rows
from chainrule.backends.llvm.kernels.region import Kernel, KernelCall, Region
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Int
from chainrule.backends.loops import Value as LoopValue
from chainrule.ops.lowered_bytes import GROUP, ByteMatMul


def byte_matmul(region: Region, target: Target) -> list[KernelCall]:
    """One kernel, exact on every target."""
    region = with_merged_rows(region)
    anchor = region.anchor
    assert anchor is not None and isinstance(anchor.op, ByteMatMul)
    a, panels = anchor.inputs
    kernel = Kernel(region, target, f"bytes_{region.name}"[:80])
    *lead, m = kernel.dims(anchor.tensor.shape[:-1])
    depth, width = kernel.dim(panels.tensor.shape[1]), int(panels.tensor.shape[2]) // GROUP  # type: ignore[arg-type]
    columns = kernel.dim(anchor.op.columns)
    product = Product(kernel, anchor, a, False, tuple(lead), m, columns, depth, width, GROUP)

    def read(at: Sequence[Int], step: Int, column: Int, lanes: int, mask: Int | None) -> LoopValue:
        return kernel.read(panels, (column // width, step, column % width * GROUP), lanes * GROUP)

    write_product(product, target, read, padded=True)
    return [kernel.built("bytes")]

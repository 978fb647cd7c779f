"""The passes that turn a graph into what the kernels take, in their order.

Differentiation is over by now. Algebra and constants first, on ops the user knows; then the ops that this backend has
no kernel for are decomposed; fusion and layout come last, because they write down decisions about kernels.
"""

from __future__ import annotations

from chainrule.backends.llvm.kernels.table import ANCHORS, keeps
from chainrule.backends.llvm.target import Target, gemm_tiles, host_target
from chainrule.passes.base import Pipeline
from chainrule.passes.canonicalize import Canonicalize
from chainrule.passes.decompose import Decompose
from chainrule.passes.fold import FoldConstants
from chainrule.passes.fold_norm import FoldNorm
from chainrule.passes.fuse import FuseRegions
from chainrule.passes.layout import ChannelsLast
from chainrule.passes.lower_conv import LowerConv
from chainrule.passes.pack import PackWeights


def pipeline(target: Target | None = None) -> Pipeline:
    """The pipeline of native code for a machine (default: this one), whose register tiles decide how weights lie."""
    tiles = gemm_tiles(target or host_target())
    return Pipeline("llvm", (
        Canonicalize(), FoldConstants(), Decompose(keeps), FoldConstants(), Canonicalize(), FoldNorm(),
        ChannelsLast(tiles), LowerConv(keeps), PackWeights(tiles), Canonicalize(),
        FuseRegions(ANCHORS),
    ))  # fmt: skip

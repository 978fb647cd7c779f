"""The passes that turn a graph into what the kernels take, in their order.

Differentiation is over by now. Algebra and constants first, on ops the user knows; then the ops that this backend has
no kernel for are decomposed; fusion and layout come last, because they write down decisions about kernels.
"""

from __future__ import annotations

from functools import partial

from chainrule.backends.llvm.kernels.conv_block import takes_block
from chainrule.backends.llvm.kernels.recurrent import panel_units
from chainrule.backends.llvm.kernels.table import ANCHORS, keeps
from chainrule.backends.llvm.target import Target, gemm_tiles, host_target
from chainrule.errors import ArgumentError
from chainrule.ir.graph import Value
from chainrule.passes.base import Pass, Pipeline
from chainrule.passes.canonicalize import Canonicalize
from chainrule.passes.decompose import Decompose, Keeps
from chainrule.passes.fold import FoldConstants
from chainrule.passes.fold_norm import FoldNorm
from chainrule.passes.fuse import FuseRegions
from chainrule.passes.fuse_attention import FuseAttention
from chainrule.passes.fuse_blocks import FuseBlocks
from chainrule.passes.hoist_invariants import HoistInvariants, MarkFixed
from chainrule.passes.layout import ChannelsLast
from chainrule.passes.lower_conv import LowerConv
from chainrule.passes.merge_scans import MergeScans
from chainrule.passes.pack import PackWeights
from chainrule.passes.pack_bytes import PackBytes, takes_conv
from chainrule.passes.pack_pairs import PackBf16
from chainrule.passes.pack_recurrent import PackRecurrent
from chainrule.passes.recognise_attention import RecogniseAttention
from chainrule.passes.recognise_bytes import RecogniseBytes
from chainrule.passes.safe_forms import SafeForms
from chainrule.passes.share_saved import ShareSaved
from chainrule.passes.step_by_step import StepByStep
from chainrule.passes.trim_bodies import TrimBodies

NAMES = ("default", "strict", "plain")


def pipeline(target: Target | None = None, name: str = "default") -> Pipeline:
    """The pipeline of native code for a machine (default: this one), whose register tiles decide how weights lie.

    "default": everything. "strict": only rewrites that keep every bit of the traced graph's own operations, and direct
    sums in convolutions. "plain": one kernel per op, in the user's layout: slow, for finding out which pass a fault
    comes from. Raises ArgumentError
    for another name.
    """
    machine = target or host_target()
    tiles = gemm_tiles(machine)
    match name:
        case "default":
            algebra, layout = (Canonicalize(), FoldNorm()), (ChannelsLast(tiles, pairs=machine.multiplies_pairs),)
            known: tuple[Pass, ...] = (SafeForms(), RecogniseAttention())
        case "strict":
            algebra, layout = (Canonicalize(strict=True),), (ChannelsLast(tiles, "never"),)
            known = ()
        case "plain":
            return Pipeline(name, (Decompose(keeps), LowerConv(keeps)))
        case _:
            raise ArgumentError(f"there is no pipeline {name!r}", help="use one of " + ", ".join(NAMES))
    pairs = (PackBf16(tiles),) if machine.multiplies_pairs and name == "default" else ()
    packed = (*pairs, PackWeights(tiles), PackRecurrent(partial(panel_units, machine), tiles), StepByStep())
    fused = (FuseAttention(), FuseBlocks(takes_block), FuseRegions(ANCHORS))
    bytes_ = (PackBytes(tiles),) if machine.has_byte_products else ()
    whole: Keeps = _keeps_bytes if machine.has_byte_products else keeps
    last = (LowerConv(keeps), *packed, algebra[0], HoistInvariants(), *fused)
    first = (MergeScans(), TrimBodies(), MarkFixed(), RecogniseBytes(), algebra[0], FoldConstants(), *known, *bytes_)
    return Pipeline(name, (*first, Decompose(whole), ShareSaved(), FoldConstants(), *algebra, *layout, *last))


def _keeps_bytes(node: Value) -> bool:
    """What has a kernel, and what the layout pass gives one."""
    return keeps(node) or takes_conv(node)

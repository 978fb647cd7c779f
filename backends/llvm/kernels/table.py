"""Which template compiles which op, and what each takes into its loops. The one table between ops and kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chainrule.backends.llvm.kernels.attention import attention, takes_attention
from chainrule.backends.llvm.kernels.conv import panel_conv, takes_pool
from chainrule.backends.llvm.kernels.conv_block import conv_block, is_block
from chainrule.backends.llvm.kernels.conv_channels import channel_conv
from chainrule.backends.llvm.kernels.conv_pool import pool_last
from chainrule.backends.llvm.kernels.conv_weight import weight_grad_last
from chainrule.backends.llvm.kernels.conv_winograd import takes_pool_in_tiles, winograd_conv
from chainrule.backends.llvm.kernels.cumulative import cumulative
from chainrule.backends.llvm.kernels.indexing import gather, index_add, scatter, take_along_axis, within
from chainrule.backends.llvm.kernels.matmul import matmul, panel_matmul
from chainrule.backends.llvm.kernels.matmul_groups import byte_matmul, pair_matmul
from chainrule.backends.llvm.kernels.norm import norm
from chainrule.backends.llvm.kernels.norm_grad import norm_grad
from chainrule.backends.llvm.kernels.pack import pack_kernel, pack_panels
from chainrule.backends.llvm.kernels.pack_pairs import pack_pairs
from chainrule.backends.llvm.kernels.pointwise import pointwise
from chainrule.backends.llvm.kernels.pool import avg_pool, max_pool
from chainrule.backends.llvm.kernels.pool_grad import avg_pool_grad, max_pool_grad, max_pool_take
from chainrule.backends.llvm.kernels.pool_grad_last import avg_pool_grad_last, max_pool_grad_last
from chainrule.backends.llvm.kernels.recurrence import linear_recurrence
from chainrule.backends.llvm.kernels.recurrent import pack_gates, steps
from chainrule.backends.llvm.kernels.recurrent_grad import steps_grad
from chainrule.backends.llvm.kernels.reduce import reduce
from chainrule.backends.llvm.kernels.region import KernelCall, Region
from chainrule.backends.llvm.kernels.resize import resize, takes_resize
from chainrule.backends.llvm.kernels.scalar_ops import has_scalar
from chainrule.backends.llvm.kernels.shaping import concat_copy, flip_copy, pad_copy, slice_copy
from chainrule.backends.llvm.kernels.softmax import softmax
from chainrule.backends.llvm.kernels.sort import sort
from chainrule.backends.llvm.kernels.suppression import in_turn
from chainrule.backends.llvm.kernels.transpose import transpose
from chainrule.backends.llvm.kernels.winograd_weight_grad import winograd_weight_grad
from chainrule.backends.llvm.kernels.winograd_weights import winograd_weights
from chainrule.backends.llvm.target import Target
from chainrule.ir.body import Control
from chainrule.ir.graph import Get, Input, Value
from chainrule.ir.op import Op
from chainrule.ops.attention import Attention
from chainrule.ops.basic import Constant, Full, Fuse, SizeOf
from chainrule.ops.cumulative import CumProd, CumSum, LinearRecurrence
from chainrule.ops.declared import SizedAs, Within
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.indexing import Gather, IndexAdd, Scatter, ScatterAdd, TakeAlongAxis
from chainrule.ops.indexing_reduce import ScatterReduce
from chainrule.ops.lowered import ChannelConv, PackKernel, PackPanels, PanelConv, PanelMatMul, PoolLast, WeightGradLast
from chainrule.ops.lowered_bytes import ByteConv, ByteMatMul
from chainrule.ops.lowered_pairs import PackPairs, PairConv, PairMatMul
from chainrule.ops.lowered_pool import AvgPoolGradLast, MaxPoolGradLast
from chainrule.ops.lowered_winograd import WinogradConv, WinogradWeights
from chainrule.ops.lowered_winograd_grad import WinogradWeightGrad
from chainrule.ops.matmul import MatMul
from chainrule.ops.norm import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from chainrule.ops.norm_grad import NormGrad
from chainrule.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad, MaxPoolTake
from chainrule.ops.ranges import Iota
from chainrule.ops.recurrent_base import Recurrence
from chainrule.ops.recurrent_grad import GruStepsGrad, LstmStepsGrad, RnnStepsGrad
from chainrule.ops.recurrent_steps import GruSteps, LstmSteps, PackGates, RnnSteps
from chainrule.ops.reduce import All, AMax, AMin, Any, ArgMax, ArgMin, Mean, Prod, Sum
from chainrule.ops.resize import Resize
from chainrule.ops.shaping import Concat, Expand, Flip, Pad, Reshape, Slice, Transpose
from chainrule.ops.softmax import LogSoftmax, Softmax
from chainrule.ops.sorting import Argsort, Sort, TopK
from chainrule.ops.suppression import InTurn
from chainrule.passes.fuse import Anchors

Template = Callable[[Region, Target], list[KernelCall]]

# anchor op -> its template. Each lives in the file of its family.
TEMPLATES: Mapping[type[Op], Template] = {
    Sum: reduce, Mean: reduce, AMax: reduce, AMin: reduce, Prod: reduce, Any: reduce, All: reduce,
    ArgMax: reduce, ArgMin: reduce, Softmax: softmax, LogSoftmax: softmax,
    LayerNorm: norm, RMSNorm: norm, GroupNorm: norm, InstanceNorm: norm, NormGrad: norm_grad,
    CumSum: cumulative, CumProd: cumulative, LinearRecurrence: linear_recurrence, Argsort: sort, Sort: sort, TopK: sort,
    InTurn: in_turn,
    Attention: attention,
    MatMul: matmul, PanelMatMul: panel_matmul, PackPanels: pack_panels, PackKernel: pack_kernel,
    ByteMatMul: byte_matmul, PackPairs: pack_pairs, PairMatMul: pair_matmul,
    PanelConv: panel_conv, ByteConv: panel_conv, PairConv: panel_conv, ChannelConv: channel_conv, PoolLast: pool_last,
    WeightGradLast: weight_grad_last, WinogradWeightGrad: winograd_weight_grad,
    WinogradConv: winograd_conv, WinogradWeights: winograd_weights,
    LstmSteps: steps, GruSteps: steps, RnnSteps: steps, PackGates: pack_gates,
    LstmStepsGrad: steps_grad, GruStepsGrad: steps_grad, RnnStepsGrad: steps_grad,
    Slice: slice_copy, Concat: concat_copy, Pad: pad_copy, Flip: flip_copy, Transpose: transpose,
    Resize: resize,
    Gather: gather, IndexAdd: index_add, TakeAlongAxis: take_along_axis, ScatterAdd: scatter, Scatter: scatter,
    ScatterReduce: scatter, Within: within,
    MaxPool: max_pool, MaxPoolGrad: max_pool_grad, MaxPoolTake: max_pool_take,
    AvgPool: avg_pool, AvgPoolGrad: avg_pool_grad,
    MaxPoolGradLast: max_pool_grad_last, AvgPoolGradLast: avg_pool_grad_last,
}  # fmt: skip

_FOLDS: frozenset[type[Op]] = frozenset({Sum, Mean, AMax, AMin, Prod, Any, All, ArgMax, ArgMin})
_LINES: frozenset[type[Op]] = frozenset(
    {Softmax, LogSoftmax, LayerNorm, RMSNorm, GroupNorm, InstanceNorm, CumSum, CumProd, LinearRecurrence}
)

# Ops that need no code: a reshape is another view of the same bytes.
VIEWS: tuple[type[Op], ...] = (Reshape, SizedAs)

ANCHORS = Anchors(prologue=_FOLDS | _LINES | {PoolLast},
                  epilogue=_FOLDS | _LINES | {MatMul, PanelMatMul, ByteMatMul, PairMatMul, PanelConv, ByteConv,
                                              PairConv, ChannelConv, WinogradConv, PoolLast},
                  widening=frozenset({ChannelConv}),
                  chains={(PanelConv, PoolLast): takes_pool, (PairConv, PoolLast): takes_pool,
                          (WinogradConv, PoolLast): takes_pool_in_tiles})  # fmt: skip


def keeps(node: Value) -> bool:
    """True when this backend compiles the node as it is, without decomposing it."""
    op = node.op
    if isinstance(op, Elementwise):
        return has_scalar(op)
    if isinstance(op, Attention):
        return takes_attention(node)
    if isinstance(op, Resize):
        return takes_resize(node)
    if isinstance(op, Input | Get | Constant | Full | SizeOf | Fuse | Iota | Expand | Control):
        return True
    if isinstance(op, NormGrad) and node.inputs[0].dtype.bits == 16:
        return False
    if isinstance(op, Recurrence) and (node.inputs[0].dtype.bits == 16 or getattr(op, "seeded", False)):
        return False
    return type(op) in VIEWS or type(op) in TEMPLATES


def template_of(region: Region) -> Template:
    """The template of a region: that of its anchor, or the elementwise sweep. Results without elements need none."""
    if all(0 in output.tensor.shape for output in region.body.outputs):
        return _nothing
    if is_block(region):
        return conv_block
    return pointwise if region.anchor is None else TEMPLATES[type(region.anchor.op)]


def _nothing(region: Region, target: Target) -> list[KernelCall]:
    return []

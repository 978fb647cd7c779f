"""chainrule compiles neural networks, for inference and for training, to native code.

    import chainrule as cr

Every public name is listed here with its home. A name is fetched from its home at its first use, so that
`import chainrule` costs next to nothing and neither LLVM nor ONNX is loaded before it is needed.

The names stand twice: under TYPE_CHECKING for editors and type checkers, and in _HOMES for Python. A test holds the two
together. No public function has the name of a module of this package: importing the module would hide the function.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from chainrule.compiler import Executable as Executable
    from chainrule.compiler import Step as Step
    from chainrule.compiler import StepLoss as StepLoss
    from chainrule.compiler import compile as compile
    from chainrule.compiler import training_step as training_step
    from chainrule.errors import ArgumentError as ArgumentError
    from chainrule.errors import ChainruleError as ChainruleError
    from chainrule.errors import DTypeError as DTypeError
    from chainrule.errors import ModelError as ModelError
    from chainrule.errors import NotSupported as NotSupported
    from chainrule.errors import NumericsError as NumericsError
    from chainrule.errors import ShapeError as ShapeError
    from chainrule.exchange import export_onnx as export_onnx
    from chainrule.exchange import load_onnx as load_onnx
    from chainrule.frontend import augment as augment
    from chainrule.frontend import datasets as datasets
    from chainrule.frontend import nn as nn
    from chainrule.frontend import optim as optim
    from chainrule.frontend import readers as readers
    from chainrule.frontend.checkpoint import load as load
    from chainrule.frontend.checkpoint import save as save
    from chainrule.frontend.data import ArrayData as ArrayData
    from chainrule.frontend.data import StreamData as StreamData
    from chainrule.frontend.fit import Checkpoints as Checkpoints
    from chainrule.frontend.fit import EarlyStopping as EarlyStopping
    from chainrule.frontend.fit import fit as fit
    from chainrule.frontend.functions.activations import celu as celu
    from chainrule.frontend.functions.activations import elu as elu
    from chainrule.frontend.functions.activations import gelu as gelu
    from chainrule.frontend.functions.activations import glu as glu
    from chainrule.frontend.functions.activations import hardshrink as hardshrink
    from chainrule.frontend.functions.activations import hardsigmoid as hardsigmoid
    from chainrule.frontend.functions.activations import hardswish as hardswish
    from chainrule.frontend.functions.activations import hardtanh as hardtanh
    from chainrule.frontend.functions.activations import leaky_relu as leaky_relu
    from chainrule.frontend.functions.activations import log_softmax as log_softmax
    from chainrule.frontend.functions.activations import logsigmoid as logsigmoid
    from chainrule.frontend.functions.activations import mish as mish
    from chainrule.frontend.functions.activations import prelu as prelu
    from chainrule.frontend.functions.activations import relu as relu
    from chainrule.frontend.functions.activations import relu6 as relu6
    from chainrule.frontend.functions.activations import selu as selu
    from chainrule.frontend.functions.activations import sigmoid as sigmoid
    from chainrule.frontend.functions.activations import silu as silu
    from chainrule.frontend.functions.activations import softmax as softmax
    from chainrule.frontend.functions.activations import softmin as softmin
    from chainrule.frontend.functions.activations import softplus as softplus
    from chainrule.frontend.functions.activations import softshrink as softshrink
    from chainrule.frontend.functions.activations import softsign as softsign
    from chainrule.frontend.functions.activations import tanhshrink as tanhshrink
    from chainrule.frontend.functions.activations import threshold as threshold
    from chainrule.frontend.functions.attention import rotary_embedding as rotary_embedding
    from chainrule.frontend.functions.attention import rotary_positions as rotary_positions
    from chainrule.frontend.functions.attention import scaled_dot_product_attention as scaled_dot_product_attention
    from chainrule.frontend.functions.attention import sinusoidal_positions as sinusoidal_positions
    from chainrule.frontend.functions.bags import embedding_bag as embedding_bag
    from chainrule.frontend.functions.batching import vmap as vmap
    from chainrule.frontend.functions.control import cond as cond
    from chainrule.frontend.functions.control import map as map
    from chainrule.frontend.functions.control import scan as scan
    from chainrule.frontend.functions.control import while_loop as while_loop
    from chainrule.frontend.functions.create import arange as arange
    from chainrule.frontend.functions.create import diagonal as diagonal
    from chainrule.frontend.functions.create import eye as eye
    from chainrule.frontend.functions.create import full as full
    from chainrule.frontend.functions.create import full_like as full_like
    from chainrule.frontend.functions.create import linspace as linspace
    from chainrule.frontend.functions.create import ones as ones
    from chainrule.frontend.functions.create import ones_like as ones_like
    from chainrule.frontend.functions.create import size as size
    from chainrule.frontend.functions.create import tril as tril
    from chainrule.frontend.functions.create import triu as triu
    from chainrule.frontend.functions.create import zeros as zeros
    from chainrule.frontend.functions.create import zeros_like as zeros_like
    from chainrule.frontend.functions.distances import cosine_similarity as cosine_similarity
    from chainrule.frontend.functions.distances import pairwise_distance as pairwise_distance
    from chainrule.frontend.functions.distances import (
        triplet_margin_with_distance_loss as triplet_margin_with_distance_loss,
    )
    from chainrule.frontend.functions.elementwise import abs as abs
    from chainrule.frontend.functions.elementwise import add as add
    from chainrule.frontend.functions.elementwise import arccos as arccos
    from chainrule.frontend.functions.elementwise import arccosh as arccosh
    from chainrule.frontend.functions.elementwise import arcsin as arcsin
    from chainrule.frontend.functions.elementwise import arcsinh as arcsinh
    from chainrule.frontend.functions.elementwise import arctan as arctan
    from chainrule.frontend.functions.elementwise import arctan2 as arctan2
    from chainrule.frontend.functions.elementwise import arctanh as arctanh
    from chainrule.frontend.functions.elementwise import astype as astype
    from chainrule.frontend.functions.elementwise import bitwise_and as bitwise_and
    from chainrule.frontend.functions.elementwise import bitwise_or as bitwise_or
    from chainrule.frontend.functions.elementwise import bitwise_xor as bitwise_xor
    from chainrule.frontend.functions.elementwise import cbrt as cbrt
    from chainrule.frontend.functions.elementwise import ceil as ceil
    from chainrule.frontend.functions.elementwise import clip as clip
    from chainrule.frontend.functions.elementwise import cos as cos
    from chainrule.frontend.functions.elementwise import cosh as cosh
    from chainrule.frontend.functions.elementwise import divide as divide
    from chainrule.frontend.functions.elementwise import equal as equal
    from chainrule.frontend.functions.elementwise import erf as erf
    from chainrule.frontend.functions.elementwise import erfc as erfc
    from chainrule.frontend.functions.elementwise import exp as exp
    from chainrule.frontend.functions.elementwise import exp2 as exp2
    from chainrule.frontend.functions.elementwise import expm1 as expm1
    from chainrule.frontend.functions.elementwise import floor as floor
    from chainrule.frontend.functions.elementwise import floor_divide as floor_divide
    from chainrule.frontend.functions.elementwise import fmod as fmod
    from chainrule.frontend.functions.elementwise import greater as greater
    from chainrule.frontend.functions.elementwise import greater_equal as greater_equal
    from chainrule.frontend.functions.elementwise import isfinite as isfinite
    from chainrule.frontend.functions.elementwise import isinf as isinf
    from chainrule.frontend.functions.elementwise import isnan as isnan
    from chainrule.frontend.functions.elementwise import less as less
    from chainrule.frontend.functions.elementwise import less_equal as less_equal
    from chainrule.frontend.functions.elementwise import log as log
    from chainrule.frontend.functions.elementwise import log1p as log1p
    from chainrule.frontend.functions.elementwise import log2 as log2
    from chainrule.frontend.functions.elementwise import log10 as log10
    from chainrule.frontend.functions.elementwise import logical_and as logical_and
    from chainrule.frontend.functions.elementwise import logical_not as logical_not
    from chainrule.frontend.functions.elementwise import logical_or as logical_or
    from chainrule.frontend.functions.elementwise import logical_xor as logical_xor
    from chainrule.frontend.functions.elementwise import maximum as maximum
    from chainrule.frontend.functions.elementwise import minimum as minimum
    from chainrule.frontend.functions.elementwise import multiply as multiply
    from chainrule.frontend.functions.elementwise import negative as negative
    from chainrule.frontend.functions.elementwise import not_equal as not_equal
    from chainrule.frontend.functions.elementwise import power as power
    from chainrule.frontend.functions.elementwise import reciprocal as reciprocal
    from chainrule.frontend.functions.elementwise import remainder as remainder
    from chainrule.frontend.functions.elementwise import round as round
    from chainrule.frontend.functions.elementwise import rsqrt as rsqrt
    from chainrule.frontend.functions.elementwise import sign as sign
    from chainrule.frontend.functions.elementwise import sin as sin
    from chainrule.frontend.functions.elementwise import sinh as sinh
    from chainrule.frontend.functions.elementwise import sqrt as sqrt
    from chainrule.frontend.functions.elementwise import square as square
    from chainrule.frontend.functions.elementwise import subtract as subtract
    from chainrule.frontend.functions.elementwise import tan as tan
    from chainrule.frontend.functions.elementwise import tanh as tanh
    from chainrule.frontend.functions.elementwise import trunc as trunc
    from chainrule.frontend.functions.elementwise import where as where
    from chainrule.frontend.functions.fractional import fractional_max_pool2d as fractional_max_pool2d
    from chainrule.frontend.functions.fractional import (
        fractional_max_pool2d_with_indices as fractional_max_pool2d_with_indices,
    )
    from chainrule.frontend.functions.fractional import fractional_max_pool3d as fractional_max_pool3d
    from chainrule.frontend.functions.fractional import (
        fractional_max_pool3d_with_indices as fractional_max_pool3d_with_indices,
    )
    from chainrule.frontend.functions.images import channel_shuffle as channel_shuffle
    from chainrule.frontend.functions.images import interpolate as interpolate
    from chainrule.frontend.functions.images import pixel_shuffle as pixel_shuffle
    from chainrule.frontend.functions.images import pixel_unshuffle as pixel_unshuffle
    from chainrule.frontend.functions.indexing import embedding as embedding
    from chainrule.frontend.functions.indexing import gather_nd as gather_nd
    from chainrule.frontend.functions.indexing import one_hot as one_hot
    from chainrule.frontend.functions.indexing import scatter as scatter
    from chainrule.frontend.functions.indexing import scatter_add as scatter_add
    from chainrule.frontend.functions.indexing import scatter_nd as scatter_nd
    from chainrule.frontend.functions.indexing import take as take
    from chainrule.frontend.functions.indexing import take_along_axis as take_along_axis
    from chainrule.frontend.functions.linear import bilinear as bilinear
    from chainrule.frontend.functions.linear import dot as dot
    from chainrule.frontend.functions.linear import einsum as einsum
    from chainrule.frontend.functions.linear import linear as linear
    from chainrule.frontend.functions.linear import matmul as matmul
    from chainrule.frontend.functions.linear import outer as outer
    from chainrule.frontend.functions.linear import tensordot as tensordot
    from chainrule.frontend.functions.losses import binary_cross_entropy as binary_cross_entropy
    from chainrule.frontend.functions.losses import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
    from chainrule.frontend.functions.losses import cosine_embedding_loss as cosine_embedding_loss
    from chainrule.frontend.functions.losses import cross_entropy as cross_entropy
    from chainrule.frontend.functions.losses import gaussian_nll_loss as gaussian_nll_loss
    from chainrule.frontend.functions.losses import hinge_embedding_loss as hinge_embedding_loss
    from chainrule.frontend.functions.losses import hinge_loss as hinge_loss
    from chainrule.frontend.functions.losses import huber_loss as huber_loss
    from chainrule.frontend.functions.losses import kl_div as kl_div
    from chainrule.frontend.functions.losses import l1_loss as l1_loss
    from chainrule.frontend.functions.losses import margin_ranking_loss as margin_ranking_loss
    from chainrule.frontend.functions.losses import mse_loss as mse_loss
    from chainrule.frontend.functions.losses import nll_loss as nll_loss
    from chainrule.frontend.functions.losses import poisson_nll_loss as poisson_nll_loss
    from chainrule.frontend.functions.losses import smooth_l1_loss as smooth_l1_loss
    from chainrule.frontend.functions.losses import soft_margin_loss as soft_margin_loss
    from chainrule.frontend.functions.losses import triplet_margin_loss as triplet_margin_loss
    from chainrule.frontend.functions.margins import multi_margin_loss as multi_margin_loss
    from chainrule.frontend.functions.margins import multilabel_margin_loss as multilabel_margin_loss
    from chainrule.frontend.functions.margins import multilabel_soft_margin_loss as multilabel_soft_margin_loss
    from chainrule.frontend.functions.memory import content_weights as content_weights
    from chainrule.frontend.functions.memory import location_weights as location_weights
    from chainrule.frontend.functions.memory import memory_read as memory_read
    from chainrule.frontend.functions.memory import memory_write as memory_write
    from chainrule.frontend.functions.norms import batch_norm as batch_norm
    from chainrule.frontend.functions.norms import group_norm as group_norm
    from chainrule.frontend.functions.norms import instance_norm as instance_norm
    from chainrule.frontend.functions.norms import layer_norm as layer_norm
    from chainrule.frontend.functions.norms import local_response_norm as local_response_norm
    from chainrule.frontend.functions.norms import rms_norm as rms_norm
    from chainrule.frontend.functions.patches import fold as fold
    from chainrule.frontend.functions.patches import unfold as unfold
    from chainrule.frontend.functions.random import alpha_dropout as alpha_dropout
    from chainrule.frontend.functions.random import bernoulli as bernoulli
    from chainrule.frontend.functions.random import dropout as dropout
    from chainrule.frontend.functions.random import fold_in as fold_in
    from chainrule.frontend.functions.random import next_key as next_key
    from chainrule.frontend.functions.random import normal as normal
    from chainrule.frontend.functions.random import permutation as permutation
    from chainrule.frontend.functions.random import randint as randint
    from chainrule.frontend.functions.random import rrelu as rrelu
    from chainrule.frontend.functions.random import shuffle as shuffle
    from chainrule.frontend.functions.random import split_key as split_key
    from chainrule.frontend.functions.random import uniform as uniform
    from chainrule.frontend.functions.recompute import checkpoint as checkpoint
    from chainrule.frontend.functions.recompute import custom_vjp as custom_vjp
    from chainrule.frontend.functions.reduce import all as all
    from chainrule.frontend.functions.reduce import any as any
    from chainrule.frontend.functions.reduce import argmax as argmax
    from chainrule.frontend.functions.reduce import argmin as argmin
    from chainrule.frontend.functions.reduce import argsort as argsort
    from chainrule.frontend.functions.reduce import cumprod as cumprod
    from chainrule.frontend.functions.reduce import cumsum as cumsum
    from chainrule.frontend.functions.reduce import logsumexp as logsumexp
    from chainrule.frontend.functions.reduce import max as max
    from chainrule.frontend.functions.reduce import mean as mean
    from chainrule.frontend.functions.reduce import min as min
    from chainrule.frontend.functions.reduce import norm as norm
    from chainrule.frontend.functions.reduce import normalize as normalize
    from chainrule.frontend.functions.reduce import prod as prod
    from chainrule.frontend.functions.reduce import sort as sort
    from chainrule.frontend.functions.reduce import std as std
    from chainrule.frontend.functions.reduce import sum as sum
    from chainrule.frontend.functions.reduce import top_k as top_k
    from chainrule.frontend.functions.reduce import var as var
    from chainrule.frontend.functions.sampled import gaussian_kl as gaussian_kl
    from chainrule.frontend.functions.sampled import gumbel_softmax as gumbel_softmax
    from chainrule.frontend.functions.sampled import log_uniform_sample as log_uniform_sample
    from chainrule.frontend.functions.sampled import log_uniform_share as log_uniform_share
    from chainrule.frontend.functions.sampled import nce_loss as nce_loss
    from chainrule.frontend.functions.sampled import negative_sampling_loss as negative_sampling_loss
    from chainrule.frontend.functions.sampled import reparameterize as reparameterize
    from chainrule.frontend.functions.sampled import sampled_softmax_loss as sampled_softmax_loss
    from chainrule.frontend.functions.selecting import boolean_mask as boolean_mask
    from chainrule.frontend.functions.selecting import non_max_suppression as non_max_suppression
    from chainrule.frontend.functions.selecting import nonzero as nonzero
    from chainrule.frontend.functions.selecting import unique as unique
    from chainrule.frontend.functions.sequences import crf_log_likelihood as crf_log_likelihood
    from chainrule.frontend.functions.sequences import ctc_loss as ctc_loss
    from chainrule.frontend.functions.sequences import viterbi_decode as viterbi_decode
    from chainrule.frontend.functions.shape import asarray as asarray
    from chainrule.frontend.functions.shape import broadcast_to as broadcast_to
    from chainrule.frontend.functions.shape import concatenate as concatenate
    from chainrule.frontend.functions.shape import expand_dims as expand_dims
    from chainrule.frontend.functions.shape import flatten as flatten
    from chainrule.frontend.functions.shape import flip as flip
    from chainrule.frontend.functions.shape import moveaxis as moveaxis
    from chainrule.frontend.functions.shape import pad as pad
    from chainrule.frontend.functions.shape import repeat as repeat
    from chainrule.frontend.functions.shape import reshape as reshape
    from chainrule.frontend.functions.shape import roll as roll
    from chainrule.frontend.functions.shape import split as split
    from chainrule.frontend.functions.shape import squeeze as squeeze
    from chainrule.frontend.functions.shape import stack as stack
    from chainrule.frontend.functions.shape import swapaxes as swapaxes
    from chainrule.frontend.functions.shape import tile as tile
    from chainrule.frontend.functions.shape import transpose as transpose
    from chainrule.frontend.functions.shape import unflatten as unflatten
    from chainrule.frontend.functions.unpooling import (
        adaptive_max_pool1d_with_indices as adaptive_max_pool1d_with_indices,
    )
    from chainrule.frontend.functions.unpooling import (
        adaptive_max_pool2d_with_indices as adaptive_max_pool2d_with_indices,
    )
    from chainrule.frontend.functions.unpooling import (
        adaptive_max_pool3d_with_indices as adaptive_max_pool3d_with_indices,
    )
    from chainrule.frontend.functions.unpooling import max_pool1d_with_indices as max_pool1d_with_indices
    from chainrule.frontend.functions.unpooling import max_pool2d_with_indices as max_pool2d_with_indices
    from chainrule.frontend.functions.unpooling import max_pool3d_with_indices as max_pool3d_with_indices
    from chainrule.frontend.functions.unpooling import max_unpool1d as max_unpool1d
    from chainrule.frontend.functions.unpooling import max_unpool2d as max_unpool2d
    from chainrule.frontend.functions.unpooling import max_unpool3d as max_unpool3d
    from chainrule.frontend.functions.windows import adaptive_avg_pool1d as adaptive_avg_pool1d
    from chainrule.frontend.functions.windows import adaptive_avg_pool2d as adaptive_avg_pool2d
    from chainrule.frontend.functions.windows import adaptive_avg_pool3d as adaptive_avg_pool3d
    from chainrule.frontend.functions.windows import adaptive_max_pool1d as adaptive_max_pool1d
    from chainrule.frontend.functions.windows import adaptive_max_pool2d as adaptive_max_pool2d
    from chainrule.frontend.functions.windows import adaptive_max_pool3d as adaptive_max_pool3d
    from chainrule.frontend.functions.windows import avg_pool1d as avg_pool1d
    from chainrule.frontend.functions.windows import avg_pool2d as avg_pool2d
    from chainrule.frontend.functions.windows import avg_pool3d as avg_pool3d
    from chainrule.frontend.functions.windows import conv1d as conv1d
    from chainrule.frontend.functions.windows import conv2d as conv2d
    from chainrule.frontend.functions.windows import conv3d as conv3d
    from chainrule.frontend.functions.windows import conv_transpose1d as conv_transpose1d
    from chainrule.frontend.functions.windows import conv_transpose2d as conv_transpose2d
    from chainrule.frontend.functions.windows import conv_transpose3d as conv_transpose3d
    from chainrule.frontend.functions.windows import lp_pool1d as lp_pool1d
    from chainrule.frontend.functions.windows import lp_pool2d as lp_pool2d
    from chainrule.frontend.functions.windows import lp_pool3d as lp_pool3d
    from chainrule.frontend.functions.windows import max_pool1d as max_pool1d
    from chainrule.frontend.functions.windows import max_pool2d as max_pool2d
    from chainrule.frontend.functions.windows import max_pool3d as max_pool3d
    from chainrule.frontend.grad import grad as grad
    from chainrule.frontend.grad import hessian as hessian
    from chainrule.frontend.grad import hvp as hvp
    from chainrule.frontend.grad import jacobian as jacobian
    from chainrule.frontend.grad import jvp as jvp
    from chainrule.frontend.grad import stop_gradient as stop_gradient
    from chainrule.frontend.grad import value_and_grad as value_and_grad
    from chainrule.frontend.grad import vjp as vjp
    from chainrule.frontend.seeding import manual_seed as manual_seed
    from chainrule.frontend.tensor import Tensor as Tensor
    from chainrule.frontend.trace import Spec as Spec
    from chainrule.frontend.trace import Traced as Traced
    from chainrule.frontend.trace import spec as spec
    from chainrule.frontend.trace import trace as trace

# home module -> the names it gives. A module that is itself a public name stands under its own name with no names.
_HOMES: dict[str, tuple[str, ...]] = {
    "chainrule.compiler": (
        "Executable",
        "Step",
        "StepLoss",
        "compile",
        "training_step",
    ),
    "chainrule.errors": (
        "ArgumentError",
        "ChainruleError",
        "DTypeError",
        "ModelError",
        "NotSupported",
        "NumericsError",
        "ShapeError",
    ),
    "chainrule.exchange": ("export_onnx", "load_onnx"),
    "chainrule.frontend.checkpoint": (
        "save",
        "load",
    ),
    "chainrule.frontend.data": (
        "ArrayData",
        "StreamData",
    ),
    "chainrule.frontend.fit": (
        "Checkpoints",
        "EarlyStopping",
        "fit",
    ),
    "chainrule.frontend.functions.activations": (
        "celu",
        "elu",
        "gelu",
        "glu",
        "hardshrink",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "log_softmax",
        "logsigmoid",
        "mish",
        "prelu",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
        "softmax",
        "softmin",
        "softplus",
        "softshrink",
        "softsign",
        "tanhshrink",
        "threshold",
    ),
    "chainrule.frontend.functions.attention": (
        "rotary_embedding",
        "rotary_positions",
        "scaled_dot_product_attention",
        "sinusoidal_positions",
    ),
    "chainrule.frontend.functions.batching": ("vmap",),
    "chainrule.frontend.functions.control": (
        "cond",
        "map",
        "scan",
        "while_loop",
    ),
    "chainrule.frontend.functions.create": (
        "arange",
        "diagonal",
        "eye",
        "full",
        "full_like",
        "linspace",
        "ones",
        "ones_like",
        "size",
        "tril",
        "triu",
        "zeros",
        "zeros_like",
    ),
    "chainrule.frontend.functions.elementwise": (
        "abs",
        "add",
        "arccos",
        "arccosh",
        "arcsin",
        "arcsinh",
        "arctan",
        "arctan2",
        "arctanh",
        "astype",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "cbrt",
        "ceil",
        "clip",
        "cos",
        "cosh",
        "divide",
        "equal",
        "erf",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "floor",
        "floor_divide",
        "fmod",
        "greater",
        "greater_equal",
        "isfinite",
        "isinf",
        "isnan",
        "less",
        "less_equal",
        "log",
        "log10",
        "log1p",
        "log2",
        "logical_and",
        "logical_not",
        "logical_or",
        "logical_xor",
        "maximum",
        "minimum",
        "multiply",
        "negative",
        "not_equal",
        "power",
        "reciprocal",
        "remainder",
        "round",
        "rsqrt",
        "sign",
        "sin",
        "sinh",
        "sqrt",
        "square",
        "subtract",
        "tan",
        "tanh",
        "trunc",
        "where",
    ),
    "chainrule.frontend.functions.images": (
        "channel_shuffle",
        "interpolate",
        "pixel_shuffle",
        "pixel_unshuffle",
    ),
    "chainrule.frontend.functions.indexing": (
        "embedding",
        "gather_nd",
        "one_hot",
        "scatter",
        "scatter_add",
        "scatter_nd",
        "take",
        "take_along_axis",
    ),
    "chainrule.frontend.functions.linear": (
        "bilinear",
        "dot",
        "einsum",
        "linear",
        "matmul",
        "outer",
        "tensordot",
    ),
    "chainrule.frontend.functions.losses": (
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "cosine_embedding_loss",
        "cross_entropy",
        "gaussian_nll_loss",
        "hinge_embedding_loss",
        "hinge_loss",
        "huber_loss",
        "kl_div",
        "l1_loss",
        "margin_ranking_loss",
        "mse_loss",
        "nll_loss",
        "poisson_nll_loss",
        "smooth_l1_loss",
        "soft_margin_loss",
        "triplet_margin_loss",
    ),
    "chainrule.frontend.functions.norms": (
        "batch_norm",
        "group_norm",
        "instance_norm",
        "layer_norm",
        "local_response_norm",
        "rms_norm",
    ),
    "chainrule.frontend.functions.random": (
        "alpha_dropout",
        "rrelu",
        "bernoulli",
        "dropout",
        "fold_in",
        "next_key",
        "normal",
        "permutation",
        "randint",
        "shuffle",
        "split_key",
        "uniform",
    ),
    "chainrule.frontend.functions.recompute": (
        "checkpoint",
        "custom_vjp",
    ),
    "chainrule.frontend.functions.reduce": (
        "all",
        "any",
        "argmax",
        "argmin",
        "argsort",
        "cumprod",
        "cumsum",
        "logsumexp",
        "max",
        "mean",
        "min",
        "norm",
        "normalize",
        "prod",
        "sort",
        "std",
        "sum",
        "top_k",
        "var",
    ),
    "chainrule.frontend.functions.selecting": (
        "boolean_mask",
        "non_max_suppression",
        "nonzero",
        "unique",
    ),
    "chainrule.frontend.functions.sequences": (
        "crf_log_likelihood",
        "ctc_loss",
        "viterbi_decode",
    ),
    "chainrule.frontend.functions.shape": (
        "asarray",
        "broadcast_to",
        "concatenate",
        "expand_dims",
        "flatten",
        "flip",
        "moveaxis",
        "pad",
        "repeat",
        "reshape",
        "roll",
        "split",
        "squeeze",
        "stack",
        "swapaxes",
        "tile",
        "transpose",
        "unflatten",
    ),
    "chainrule.frontend.functions.bags": ("embedding_bag",),
    "chainrule.frontend.functions.distances": (
        "cosine_similarity",
        "pairwise_distance",
        "triplet_margin_with_distance_loss",
    ),
    "chainrule.frontend.functions.margins": (
        "multi_margin_loss",
        "multilabel_margin_loss",
        "multilabel_soft_margin_loss",
    ),
    "chainrule.frontend.functions.patches": (
        "fold",
        "unfold",
    ),
    "chainrule.frontend.functions.fractional": (
        "fractional_max_pool2d",
        "fractional_max_pool2d_with_indices",
        "fractional_max_pool3d",
        "fractional_max_pool3d_with_indices",
    ),
    "chainrule.frontend.functions.unpooling": (
        "adaptive_max_pool1d_with_indices",
        "adaptive_max_pool2d_with_indices",
        "adaptive_max_pool3d_with_indices",
        "max_pool1d_with_indices",
        "max_pool2d_with_indices",
        "max_pool3d_with_indices",
        "max_unpool1d",
        "max_unpool2d",
        "max_unpool3d",
    ),
    "chainrule.frontend.functions.windows": (
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "adaptive_max_pool3d",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "lp_pool1d",
        "lp_pool2d",
        "lp_pool3d",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
    ),
    "chainrule.frontend.grad": (
        "grad",
        "hessian",
        "hvp",
        "jacobian",
        "jvp",
        "stop_gradient",
        "value_and_grad",
        "vjp",
    ),
    "chainrule.frontend.seeding": ("manual_seed",),
    "chainrule.frontend.tensor": ("Tensor",),
    "chainrule.frontend.functions.memory": (
        "content_weights",
        "location_weights",
        "memory_read",
        "memory_write",
    ),
    "chainrule.frontend.functions.sampled": (
        "gaussian_kl",
        "gumbel_softmax",
        "log_uniform_sample",
        "log_uniform_share",
        "nce_loss",
        "negative_sampling_loss",
        "reparameterize",
        "sampled_softmax_loss",
    ),
    "chainrule.frontend.trace": (
        "Spec",
        "Traced",
        "spec",
        "trace",
    ),
    "chainrule.frontend.augment": (),
    "chainrule.frontend.datasets": (),
    "chainrule.frontend.nn": (),
    "chainrule.frontend.optim": (),
    "chainrule.frontend.readers": (),
}
_HOME_OF: dict[str, str] = {name: home for home, names in _HOMES.items() for name in names}
_MODULES: dict[str, str] = {home.rpartition(".")[2]: home for home, names in _HOMES.items() if not names}

__all__ = ["__version__", *_HOME_OF, *_MODULES]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Fetches a public name from its home and keeps it."""
    if name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
    elif name in _MODULES:
        value = import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'chainrule' has no attribute {name!r}{_suggestion(name)}")
    globals()[name] = value
    return value


# What PyTorch and JAX call functions that have numpy's name here.
_ELSEWHERE: dict[str, str] = {
    "absolute": "abs", "acos": "arccos", "acosh": "arccosh", "amax": "max", "amin": "min", "as_tensor": "asarray",
    "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan", "atan2": "arctan2", "atanh": "arctanh", "bmm": "matmul",
    "cat": "concatenate", "clamp": "clip", "conv": "conv2d", "eq": "equal",
    "expand": "broadcast_to", "export": "export_onnx", "fori_loop": "scan", "gather": "take_along_axis",
    "ge": "greater_equal", "gt": "greater", "index_select": "take", "jit": "compile", "le": "less_equal", "lt": "less",
    "masked_fill": "where", "masked_select": "boolean_mask", "mm": "matmul", "movedim": "moveaxis", "mul": "multiply",
    "mv": "matmul", "ne": "not_equal", "neg": "negative", "permute": "transpose", "pow": "power",
    "rand": "uniform", "randn": "normal", "randperm": "permutation", "repeat_interleave": "repeat", "sub": "subtract",
    "swish": "silu", "tensor": "asarray", "topk": "top_k", "unsqueeze": "expand_dims", "view": "reshape",
}  # fmt: skip


def _suggestion(name: str) -> str:
    from difflib import get_close_matches

    if name in _ELSEWHERE:
        return f"; it is called {_ELSEWHERE[name]} here"
    close = [] if name.startswith("_") else get_close_matches(name, __all__, 1)
    return f"; did you mean {close[0]}?" if close else ""


def __dir__() -> list[str]:
    return sorted(__all__)

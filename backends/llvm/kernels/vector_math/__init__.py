"""Transcendental functions on vectors: name(k, x) writes the function of a Builder's value, f32 or f64, any lane count.

f16 and bf16 are cast to f32 by the caller. Accuracy holds whether the target fuses multiply-add or not, and all targets
that fuse give the same bits. gelu, gelu_tanh, silu, softplus, mish and log_sigmoid are class C (4 ULP or 4u*|x|), pow
has 4 ULP, all others are class T (2 ULP). sin, cos and tan branch when a lane exceeds 2^20; the rest is straight-line.
"""

from chainrule.backends.llvm.kernels.vector_math.erf import erf, erfc, gelu, gelu_tanh
from chainrule.backends.llvm.kernels.vector_math.exp import exp, exp2, expm1
from chainrule.backends.llvm.kernels.vector_math.hyperbolic import acosh, asinh, atanh, cosh, sinh, tanh
from chainrule.backends.llvm.kernels.vector_math.inverse_trigonometric import acos, asin, atan, atan2
from chainrule.backends.llvm.kernels.vector_math.log import log, log1p, log2, log10
from chainrule.backends.llvm.kernels.vector_math.power import cbrt, pow, rsqrt
from chainrule.backends.llvm.kernels.vector_math.sigmoid import log_sigmoid, mish, sigmoid, silu, softplus
from chainrule.backends.llvm.kernels.vector_math.trigonometric import cos, sin, tan

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "cos",
    "cosh",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "gelu",
    "gelu_tanh",
    "log",
    "log10",
    "log1p",
    "log2",
    "log_sigmoid",
    "mish",
    "pow",
    "rsqrt",
    "sigmoid",
    "silu",
    "sin",
    "sinh",
    "softplus",
    "tan",
    "tanh",
]

"""The logistic function and what is made of it: sigmoid, silu, softplus, log_sigmoid, mish.

sigmoid: at most 2 ULP, subnormal results included. The others are class C: 4 ULP or 4u*|x|, whichever is larger.
"""

from __future__ import annotations

from chainrule.backends.llvm.kernels.vector_math.exp import exp, exp_of_negative, exp_tail, expm1_reduced
from chainrule.backends.llvm.kernels.vector_math.floats import (
    LOG2_E,
    clamp,
    form_of,
    halves_of_power,
    rounded,
    two_to,
)
from chainrule.backends.llvm.kernels.vector_math.log import log_tail
from chainrule.backends.loops import Builder, Value


def sigmoid(k: Builder, x: Value) -> Value:
    """1 / (1 + e^-x). 0 and 1 at the infinities, NaN at NaN.

    With e^-x = 2^-m * (1 + p): 2^h / (2^(h-m) + (2^(h-m)*p + 2^h)), h = m/2, so that nothing over- or underflows before
    the quotient.
    """
    form = form_of(x)
    y = clamp(k, x, form.smallest_exp, -form.smallest_exp)
    m, bits = rounded(k, y, 2 * form.bias, LOG2_E)
    r = k.sub(k.fma(m, form.ln2_high, k.neg(y)), k.mul(m, -form.ln2_low))
    p = expm1_reduced(k, r, exp_tail(form))
    up, rest = halves_of_power(k, bits, form)
    # rest = 2^(m-h); exponents are mirrored at the bias to get 2^(h-m).
    down = k.bitcast(k.sub((2 * form.bias) << form.fraction, k.bitcast(rest, form.signed)), form.dtype)
    total = k.add(down, k.fma(down, p, up))
    if form.fraction == 52:
        # Where up + down is exact this order loses less. All float32 inputs are within the bound without it.
        total = k.select(k.cmp("lt", k.abs(x), 30.0), k.fma(down, p, k.add(up, down)), total)
    return k.div(up, total)


def silu(k: Builder, x: Value) -> Value:
    """x / (1 + e^-x), also called swish. NaN at -inf, as the formula is; -0 where e^-x overflows."""
    form = form_of(x)
    # At the lower end n + bias reaches the exponent of infinity; at the upper end 1 + e^-x is 1.
    y = clamp(k, x, -form.largest_exp, form.largest_exp - 2.0)
    n, bits = rounded(k, y, form.bias, -LOG2_E)
    r = k.fma(n, -form.ln2_low, k.sub(k.mul(n, -form.ln2_high), y))
    e = k.add(expm1_reduced(k, r, exp_tail(form)), 1.0)
    return k.div(x, k.fma(two_to(k, bits, form), e, 1.0))


def log1p_of_part(k: Builder, e: Value) -> Value:
    """ln(1 + e) for 0 <= e <= 1, within 2 ULP."""
    form = form_of(e)
    u = k.add(e, 1.0)
    lost = k.sub(e, k.sub(u, 1.0))
    large = k.cmp("gt", u, 1.4142135)
    f = k.sub(k.select(large, k.mul(u, 0.5), u), 1.0)
    high = k.select(large, k.const(form.ln2_high, e.dtype, e.lanes), 0.0)
    low = k.select(large, k.const(form.ln2_low, e.dtype, e.lanes), lost)
    return k.add(high, k.add(f, log_tail(k, f, low)))


def softplus(k: Builder, x: Value) -> Value:
    """ln(1 + e^x) = max(x, 0) + log1p(e^-|x|). 0 at -inf, inf at inf, NaN at NaN."""
    zero = k.const(0.0, x.dtype, x.lanes)
    return k.add(k.max(zero, x), log1p_of_part(k, exp_of_negative(k, k.neg(k.abs(x)))))


def log_sigmoid(k: Builder, x: Value) -> Value:
    """ln(sigmoid(x)) = -softplus(-x). -inf at -inf, -0 at inf, NaN at NaN."""
    return k.neg(softplus(k, k.neg(x)))


def mish(k: Builder, x: Value) -> Value:
    """x * tanh(softplus(x)) = x * w / (w + 2), w = e^x * (e^x + 2). NaN at -inf, as the formula is; inf at inf."""
    bound = 20.0 if form_of(x).fraction == 23 else 40.0
    e = exp(k, k.min(k.const(bound, x.dtype, x.lanes), x))
    w = k.mul(e, k.add(e, 2.0))
    return k.mul(x, k.div(w, k.add(w, 2.0)))

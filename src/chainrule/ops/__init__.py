"""All ops, one family a file. ALL_OPS is the one list of them."""

from __future__ import annotations

from chainrule.ir.graph import Get, Input
from chainrule.ir.op import Op
from chainrule.ops import (
    activations,
    activations_smooth,
    arithmetic,
    attention,
    basic,
    compare,
    control,
    conv,
    cumulative,
    declared,
    einsum,
    elementwise,
    fft,
    indexing,
    indexing_nd,
    indexing_reduce,
    integer_products,
    keys,
    losses,
    losses_class,
    losses_sequence,
    lowered,
    lowered_bytes,
    lowered_pairs,
    lowered_pool,
    lowered_winograd,
    lowered_winograd_grad,
    matmul,
    norm,
    pool,
    quantise,
    random,
    ranges,
    recurrent,
    recurrent_grad,
    recurrent_steps,
    reduce,
    repeating,
    resize,
    selecting,
    shaping,
    softmax,
    sorting,
    statistics,
    suppression,
    transcendental,
    trigonometric,
)

FAMILIES = (basic, elementwise, arithmetic, compare, transcendental, trigonometric, activations, activations_smooth,
            reduce, statistics, cumulative, softmax, matmul, attention, einsum, conv, integer_products, quantise, fft,
            pool, norm, shaping, declared, selecting, suppression, repeating, ranges, indexing, indexing_nd,
            indexing_reduce, sorting, resize, keys, random, losses, losses_class, losses_sequence, control, recurrent,
            recurrent_grad, recurrent_steps, lowered, lowered_bytes, lowered_pairs, lowered_pool,
            lowered_winograd, lowered_winograd_grad)  # fmt: skip
ALL_OPS: tuple[type[Op], ...] = (Input, Get, *(op for family in FAMILIES for op in family.OPS))
OP_BY_NAME = {op.name: op for op in ALL_OPS}

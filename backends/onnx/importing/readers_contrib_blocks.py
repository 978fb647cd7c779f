"""Ops of the domain com.microsoft whose weights alone are quantised: few bits in blocks, or bytes of an LSTM.

The weights are made f32 once, when a program is prepared, and products are those of f32. Source: onnxruntime's
ContribOperators.md, checked against it.
"""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.backends.onnx.forms.recurrent import read_layer
from chainrule.backends.onnx.importing.readers_contrib import with_bias
from chainrule.backends.onnx.importing.readers_quantised import dequantised, optional
from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import dim_product
from chainrule.ir.graph import Value
from chainrule.ir.types import DType, f32, u8
from chainrule.ops import elementwise as el
from chainrule.ops import shaping as sh
from chainrule.ops.basic import full, scalar_like
from chainrule.ops.compare import bitwise_and, shift_right
from chainrule.ops.indexing import gather
from chainrule.ops.matmul import product
from chainrule.ops.recurrent import Lstm
from chainrule.ops.repeating import repeat


def product_of_blocks(given: Given) -> Read:
    """MatMulNBits: a [.., K] times a weight whose K rows are stored in blocks, each with a scale and a zero point."""
    a, depth, columns = given.value(0), given.whole("K"), given.whole("N")
    if a.rank < 1 or a.shape[-1] != depth:
        raise ModelError(f"MatMulNBits: K is {depth}, a is {a.type}")
    weight = _dense(given, depth, columns, a.dtype)
    rows = a if a.rank > 1 else sh.unsqueeze(a, 0)
    y = product(rows, weight, False, True)
    return with_bias(given, y if a.rank > 1 else sh.reshape(y, (columns,)), 5)


def _dense(given: Given, depth: int, columns: int, dtype: DType) -> Value:
    """The weight [N, K] as numbers: (q - zero point) * scale in each block."""
    bits, block = given.whole("bits", 4), given.whole("block_size")
    if given.whole("weight_prepacked", 0):
        raise NotSupported("MatMulNBits: a weight packed for one processor is not built",
                           help="export the model with weight_prepacked=0")  # fmt: skip
    if bits not in (2, 4, 8):
        raise NotSupported(f"MatMulNBits: {bits} bits are not built", help="2, 4 and 8 are")
    if block < 16 or block & (block - 1):
        raise ModelError(f"MatMulNBits: block_size={block} is not a power of two from 16 on")
    blocks = -(-depth // block)
    packed, size = given.value(1), block * bits // 8
    if packed.dtype != u8 or dim_product(packed.shape) != columns * blocks * size:
        raise ModelError(f"MatMulNBits: {packed.type} is not u8[{columns},{blocks},{size}]")
    whole = el.cast(unpacked(sh.reshape(packed, (columns, blocks * size)), bits), f32)
    scale, zero = (_along(given, p, depth, block) for p in (_scales(given, columns, blocks),
                                                            _zeros(given, columns, blocks, bits)))  # fmt: skip
    steps = el.sub(sh.narrow(whole, 1, 0, depth), el.cast(zero, f32))
    return el.cast(el.mul(steps, el.cast(scale, f32)), dtype)


def unpacked(x: Value, bits: int) -> Value:
    """Numbers of few bits that lie in bytes [.., N], the lowest bits first, as u8 [.., N * 8/bits]."""
    if bits == 8:
        return x
    low = scalar_like((1 << bits) - 1, x)
    parts = [bitwise_and(shift_right(x, scalar_like(at, x)), low) for at in range(0, 8, bits)]
    return sh.reshape(sh.stack(parts, -1), (*x.shape[:-1], x.shape[-1] * (8 // bits)))


def _scales(given: Given, columns: int, blocks: int) -> Value:
    scales = given.value(2)
    if dim_product(scales.shape) != columns * blocks:
        raise ModelError(f"MatMulNBits: the scales {scales.type} are not {columns} rows of {blocks}")
    return sh.reshape(scales, (columns, blocks))


def _zeros(given: Given, columns: int, blocks: int, bits: int) -> Value:
    """The zero points [N, blocks]: packed as the weight is, or floats, or the middle of the range."""
    if not given.has(3):
        return full(float(1 << bits - 1), (columns, blocks), f32)
    zeros = given.value(3)
    if zeros.dtype.is_float:
        return sh.reshape(zeros, (columns, blocks))
    row = -(-blocks * bits // 8)
    if zeros.dtype != u8 or dim_product(zeros.shape) != columns * row:
        raise ModelError(f"MatMulNBits: the zero points {zeros.type} are not u8[{columns},{row}]")
    return sh.narrow(unpacked(sh.reshape(zeros, (columns, row)), bits), 1, 0, blocks)


def _along(given: Given, parameter: Value, depth: int, block: int) -> Value:
    """A parameter of blocks [N, blocks] for each row of the depth: in order, or as g_idx says."""
    if given.has(4):
        return gather(parameter, sh.narrow(given.value(4), 0, 0, depth), 1)
    return sh.narrow(repeat(parameter, block, 1), 1, 0, depth)


def quantised_lstm(given: Given) -> Read:
    """DynamicQuantizeLSTM: LSTM whose weights [D, I, 4 H] are bytes with scales, by direction or by column.

    onnxruntime rounds each input and each state to 8 bits before it multiplies; here they stay f32, which is nearer to
    the model that was quantised.
    """
    w, r = (sh.transpose(_weight(given, i, at), (0, 2, 1)) for i, at in ((1, 8), (2, 10)))
    rest = [optional(given, i) for i in range(3, 8)]
    return read_layer(given.with_values(given.value(0), w, r, *rest), Lstm, batch_first=False)


def _weight(given: Given, position: int, at: int) -> Value:
    """A weight as f32; its scale and zero point are [D] or [D, 4 H]."""
    w, parameters = given.value(position), [given.value(at), given.value(at + 1)]
    if w.rank != 3 or not w.dtype.is_int or w.dtype.bits != 8:
        raise ModelError(f"DynamicQuantizeLSTM: the weight {w.type} is not bytes [D, I, 4 H]")
    lying = [sh.reshape(p, (w.shape[0], 1, p.shape[1] if p.rank == 2 else 1)) for p in parameters]
    return dequantised(w, lying[0], lying[1], f32)


READERS: Mapping[str, Reader] = {"MatMulNBits": product_of_blocks, "DynamicQuantizeLSTM": quantised_lstm}

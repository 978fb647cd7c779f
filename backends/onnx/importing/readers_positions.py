"""ONNX ops that read, write and count along positions: scatters that reduce, running products, n-grams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.dims import Dim, DimExpr
from chainrule.ir.graph import Value
from chainrule.ops import elementwise as el
from chainrule.ops import reduce as red
from chainrule.ops import shaping as sh
from chainrule.ops.arithmetic import remainder
from chainrule.ops.basic import constant, full, scalar_like
from chainrule.ops.compare import eq, lt
from chainrule.ops.cumulative import cumprod
from chainrule.ops.indexing import gather_elements, scatter
from chainrule.ops.indexing_nd import scatter_nd
from chainrule.ops.indexing_reduce import scatter_reduce
from chainrule.ops.ranges import iota
from chainrule.ops.shape_rules import axis_of


def scatter_before_11(given: Given) -> Read:
    """ScatterElements under its old name."""
    return scatter(given.value(0), given.value(1), given.value(2), given.whole("axis", 0))


_OF_BOOLS = {"add": "max", "max": "max", "mul": "min", "min": "min"}


def scatter_of_bools(given: Given) -> Read:
    """Sums and maxima of bools are whether any holds, products and minima whether all do."""
    x, indices, updates = (given.value(i) for i in range(3))
    mode = _OF_BOOLS.get(given.word("reduction", "none"))
    if mode is None or not x.dtype.is_bool:
        raise NotSupported(f"{given.op_type}: of {x.type} is not built")
    bits, more = el.cast(x, "u8"), el.cast(updates, "u8")
    if given.op_type == "ScatterND":
        return el.cast(scatter_nd(bits, indices, more, mode), x.dtype)
    return el.cast(scatter_reduce(bits, indices, more, given.whole("axis", 0), mode), x.dtype)


def cache_update(given: Given) -> Read:
    """A cache with an update written from each sample's own position on, perhaps round its end."""
    cache, update = given.value(0), given.value(1)
    axis = axis_of(given.whole("axis", -2), cache.rank)
    mode = given.word("mode", "linear")
    if mode not in ("linear", "circular") or axis == 0:
        raise ModelError(f"TensorScatter: the mode {mode!r} along axis {axis} is unknown")
    shape: list[Dim] = [1] * cache.rank
    shape[axis] = update.shape[axis]
    places = iota(shape, axis)
    if given.has(2):
        begins = sh.reshape(el.cast(given.value(2), "i64"), (cache.shape[0], *[1] * (cache.rank - 1)))
        places = el.add(places, begins)
    if mode == "circular":
        places = remainder(places, scalar_like(cache.shape[axis], places))
    return scatter(cache, sh.expand(places, update.shape), update, axis)


def reversed_sequences(given: Given) -> Read:
    """The first elements of each sequence of a batch in reverse order, as many as its length; the rest as it is."""
    x, lengths = given.value(0), el.cast(given.value(1), "i64")
    time, batch = axis_of(given.whole("time_axis", 0), x.rank), axis_of(given.whole("batch_axis", 1), x.rank)
    if time == batch:
        raise ModelError(f"ReverseSequence: time and batch are both axis {time}")
    along: list[Dim] = [1] * x.rank
    along[time] = x.shape[time]
    beside: list[Dim] = [1] * x.rank
    beside[batch] = x.shape[batch]
    places, ends = iota(along, time), sh.reshape(lengths, beside)
    turned = el.sub(el.sub(ends, scalar_like(1, ends)), places)
    return gather_elements(x, sh.expand(el.where(lt(places, ends), turned, places), x.shape), time)


def running_product(given: Given) -> Read:
    """The product of the elements up to each, perhaps without it, perhaps from the other end."""
    x, axis = given.value(0), axis_of(given.ints(1)[0], given.value(0).rank)
    reverse = bool(given.whole("reverse", 0))
    ahead = sh.flip(x, axis) if reverse else x
    if given.whole("exclusive", 0):
        edge = full(1, [1 if i == axis else d for i, d in enumerate(x.shape)], x.dtype)
        ahead = sh.concat([edge, sh.narrow(ahead, axis, 0, x.shape[axis] - 1)], axis)
    found = cumprod(ahead, axis)
    return sh.flip(found, axis) if reverse else found


def n_grams(given: Given) -> Read:
    """How often each n-gram of a pool stands in each line, also with equal gaps of up to max_skip_count."""
    x = given.value(0)
    pool, starts = given.vector("pool_int64s"), given.vector("ngram_counts")
    places, weights = given.vector("ngram_indexes"), given.attribute("weights")
    if pool is None or starts is None or places is None:
        raise NotSupported("TfIdfVectorizer: n-grams of strings are not built", help="map words to integers first")
    length = x.shape[-1]
    if isinstance(length, DimExpr):
        raise NotSupported(f"TfIdfVectorizer: lines of {length} words are not built", help="give the length a number")
    least, most = given.whole("min_gram_length"), given.whole("max_gram_length")
    counts: list[Value] = []
    for n, (start, end) in enumerate(zip(starts, (*starts[1:], len(pool)), strict=True), 1):
        grams = np.asarray(pool[start:end], np.int64).reshape(-1, n)
        skips = range(1 if n == 1 else given.whole("max_skip_count") + 1) if least <= n <= most else range(0)
        counts.append(_counted(x, grams, [skip + 1 for skip in skips], int(length)))
    found = sh.concat(counts, -1)
    return _weighed(found, given.word("mode", "TF"), places, weights)


def _counted(x: Value, grams: np.ndarray, steps: Sequence[int], length: int) -> Value:
    """How often each of the grams [G, n] stands in x [.., length] with these distances between its words: [.., G]."""
    count, n = grams.shape
    total = full(0.0, (*x.shape[:-1], count))
    for step in steps:
        windows = length - (n - 1) * step
        if windows <= 0 or not count:
            continue
        hit = full(1.0, (*x.shape[:-1], count, windows))
        for j in range(n):
            words = sh.unsqueeze(sh.narrow(x, x.rank - 1, j * step, windows), x.rank - 1)
            wanted = constant(grams[:, j].reshape(-1, 1), x.dtype)
            hit = el.mul(hit, el.cast(eq(words, wanted), hit.dtype))
        total = el.add(total, red.sum(hit, -1))
    return total


def _weighed(counts: Value, mode: str, places: Sequence[int], weights: object) -> Value:
    """The counts at their places of the result, weighed as the mode says."""
    if mode not in ("TF", "IDF", "TFIDF"):
        raise ModelError(f"TfIdfVectorizer: the mode {mode!r} is unknown")
    if mode == "IDF":
        counts = el.minimum(counts, scalar_like(1.0, counts))
    if mode != "TF" and isinstance(weights, tuple):
        counts = el.mul(counts, constant(np.asarray(weights, np.float32)))
    spread = np.zeros((len(places), max(places) + 1), np.float32)
    spread[np.arange(len(places)), list(places)] = 1.0
    # Each column has a single 1: a product that only moves numbers, sums of counts being exact.
    return red.sum(el.mul(sh.unsqueeze(counts, counts.rank), constant(spread)), counts.rank - 1)


READERS: Mapping[str, Reader] = {
    "Scatter": scatter_before_11, "ScatterElements": scatter_of_bools, "ScatterND": scatter_of_bools,
    "TensorScatter": cache_update, "ReverseSequence": reversed_sequences, "CumProd": running_product,
    "TfIdfVectorizer": n_grams,
}  # fmt: skip

"""Reading images between their elements, at places that data give: what grids, regions and deformed kernels share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from chainrule.errors import ArgumentError
from chainrule.ir.dims import Dim, dim_product
from chainrule.ir.graph import Value
from chainrule.ir.types import f32, i64
from chainrule.ops.arithmetic import floor, remainder
from chainrule.ops.arithmetic import round as rounded
from chainrule.ops.basic import constant, scalar_like, zeros_like
from chainrule.ops.compare import ge, gt, le, logical_and, lt
from chainrule.ops.elementwise import abs, add, cast, maximum, minimum, mul, sub, where
from chainrule.ops.indexing import gather
from chainrule.ops.ranges import iota
from chainrule.ops.shaping import reshape, transpose, unsqueeze

MODES = ("nearest", "linear", "cubic")
PADDINGS = ("zeros", "border", "reflection")
CUBIC_A = -0.75  # ONNX GridSample's; the kernel is that of R. Keys, IEEE Trans. ASSP 29 (1981)


def sampled(x: Value, places: Sequence[Value], mode: str = "linear", padding: str = "zeros",
            edges_at_centres: bool = False, images: Value | None = None) -> Value:  # fmt: skip
    """x [N, C, *S] read at P places of each image, one f32[N, P] for each spatial axis. -> [N, P, C].

    images: which image each line of places belongs to, i64[R]; then places are [R, P] and the result is [R, P, C].

    Element i lies at the place i. Beyond the image x is 0 ("zeros"), its nearest element ("border") or its mirror
    image ("reflection"), about the centres of the outermost elements or else half an element further out. Halves round
    to the even number ("nearest"). Raises ArgumentError for unknown names. Source: ONNX GridSample-22.
    """
    if mode not in MODES or padding not in PADDINGS:
        raise ArgumentError(f"{mode!r} with {padding!r} is not known here",
                            help="modes: " + ", ".join(MODES) + "; paddings: " + ", ".join(PADDINGS))  # fmt: skip
    if mode == "nearest":
        places = [rounded(p) for p in places]
    sizes = x.shape[2:]
    places = [_inside(p, size, padding, edges_at_centres) for p, size in zip(places, sizes, strict=True)]
    axes = [_taps(p, mode) for p in places]
    rows = _rows(x)
    found: Value | None = None
    for corner in product(*axes):
        taps = [_inside(tap, size, padding, edges_at_centres)
                for (tap, _), size in zip(corner, sizes, strict=True)]  # fmt: skip
        part = unsqueeze(_weights([w for _, w in corner]), 2) if mode != "nearest" else None
        value = read(rows, taps, sizes, padding == "zeros", images)
        value = value if part is None else mul(value, cast(part, value.dtype))
        found = value if found is None else add(found, value)
    assert found is not None
    return found


def _taps(place: Value, mode: str) -> list[tuple[Value, Value]]:
    """The elements that a place mixes, with their weights."""
    if mode == "nearest":
        return [(place, place)]
    base = floor(place)
    offsets = (0, 1) if mode == "linear" else (-1, 0, 1, 2)
    taps = [add(base, _number(offset, base)) for offset in offsets]
    return [(tap, _kernel(abs(sub(place, tap)), mode)) for tap in taps]


def _kernel(d: Value, mode: str) -> Value:
    """The weight of an element at a distance of up to 1 (linear) or 2 (cubic)."""
    one = _number(1, d)
    if mode == "linear":
        return sub(one, d)
    a = CUBIC_A
    near = add(mul(mul(d, d), sub(mul(d, _number(a + 2, d)), _number(a + 3, d))), one)
    far = sub(mul(add(mul(sub(mul(d, _number(a, d)), _number(5 * a, d)), d), _number(8 * a, d)), d), _number(4 * a, d))
    return where(le(d, one), near, far)


def _weights(parts: Sequence[Value]) -> Value:
    total = parts[0]
    for part in parts[1:]:
        total = mul(total, part)
    return total


def _inside(place: Value, size: Dim, padding: str, edges_at_centres: bool) -> Value:
    """A place beyond the image as the one whose element stands for it."""
    if padding == "zeros":
        return place
    low, last = _number(0, place), scalar_like(size - 1, place)
    if padding == "border":
        return minimum(maximum(place, low), last)
    begin = low if edges_at_centres else _number(-0.5, place)
    span = scalar_like(size - 1 if edges_at_centres else size, place)
    period = add(span, span)
    empty = le(span, low)
    turned = remainder(sub(place, begin), where(empty, _number(1, place), period))
    folded = add(begin, where(gt(turned, span), sub(period, turned), turned))
    outside = where(lt(place, begin), folded, where(gt(place, add(begin, span)), folded, place))
    return where(empty, begin, outside)


def _rows(x: Value) -> Value:
    """x [N, C, *S] as rows of channels: [N * prod(S), C]."""
    last = transpose(x, (0, *range(2, x.rank), 1))
    return reshape(last, (dim_product(last.shape[:-1]), x.shape[1]))


def read(rows: Value, taps: Sequence[Value], sizes: Sequence[Dim], zeros: bool, images: Value | None) -> Value:
    """The rows [N * prod(S), C] at whole-numbered places [R, P] of each image. -> [R, P, C]; 0 beyond it if `zeros`."""
    lines = taps[0].shape[0]
    at = iota((lines, 1), 0, i64) if images is None else reshape(cast(images, i64), (lines, 1))
    inside: Value | None = None
    for tap, size in zip(taps, sizes, strict=True):
        last = scalar_like(size - 1, tap)
        fits = logical_and(ge(tap, zeros_like(tap)), le(tap, last))
        inside = fits if inside is None else logical_and(inside, fits)
        bounded = cast(minimum(maximum(tap, zeros_like(tap)), last), i64)
        at = add(mul(at, scalar_like(size, at)), bounded)
    value = gather(rows, at, 0)
    if not zeros:
        return value
    assert inside is not None
    return where(unsqueeze(inside, 2), value, zeros_like(value))


def _number(value: float, like: Value) -> Value:
    return constant(value, like.dtype)


def wide(x: Value) -> Value:
    """Half precision and integers as f32."""
    return x if x.dtype.is_float and x.dtype.bits > 16 else cast(x, f32)

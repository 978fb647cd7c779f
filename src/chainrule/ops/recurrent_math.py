"""The mathematics of recurrent cells, written once for numpy arrays and graph values (recurrent_quantities.py).

Shapes: x [T, N, G*H] is the input's part of every gate, states are [N, H], recurrent weights r [G*H, H]. A step that
lies beyond a row's length leaves the row's state alone and gives 0. The backward functions take what the forward ones
kept, and the gradients of all their results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from chainrule.ops.recurrent_quantities import (
    Function,
    Quantity,
    Symbol,
    bounded,
    chosen,
    columns,
    is_positive,
    joined,
    live_at,
    number_like,
    product_with,
    row_at,
    rows,
    stacked,
    times,
    widths,
)


@dataclass(frozen=True)
class Cell:
    """What a cell is made of. order: the letters of its gates as they lie in x and r. limit: of what activations get
    (0: none). coupled: an LSTM forgets what it does not let in. reset_after: a GRU resets the product, not the state.
    slack: what is added to slopes, see for_errors.
    """

    order: str
    functions: tuple[Function, ...]
    limit: float = 0.0
    reverse: bool = False
    coupled: bool = False
    reset_after: bool = True
    slack: float = 0.0

    def gates(self, x: Quantity, size: Any) -> dict[str, Quantity]:
        """The parts of x [..., G*H] by letter."""
        return {letter: columns(x, i, size) for i, letter in enumerate(self.order)}

    def slope(self, function: Function, y: Quantity) -> Quantity:
        """The derivative of a bounded activation where its value is y: 0 where the bound is reached.

        A millionth of the way from one bound to the other is left to rounding.
        """
        if self.limit == 0.0:
            return function.slope(y) + self.slack if self.slack else function.slope(y)
        low, high = (function(number_like(end, y)) for end in (-self.limit, self.limit))
        edge = (high - low) * (high - low) * 2.0**-20
        slope = function.slope(y) * is_positive((y - low) * (high - y) - edge)
        return slope + self.slack if self.slack else slope

    @property
    def for_errors(self) -> Cell:
        """The cell whose backward functions give the scale of errors: each slope has some of its own."""
        return replace(self, slack=1 / 8)

    def lined_up(self, gates: dict[str, Quantity]) -> Quantity:
        """Parts by letter as one quantity in the cell's order."""
        return joined([gates[letter] for letter in self.order])


# -- LSTM --------------------------------------------------------------------------------------------------------------


def lstm_forward(cell: Cell, x: Quantity, r: Quantity, h: Quantity, c: Quantity, p: Quantity = None,
                 lengths: Quantity = None) -> tuple[Quantity, ...]:  # fmt: skip
    """ys, last h, last c, gates [T, N, 4H] and the states c after every step [T, N, H]. p: peepholes [3H], of i f o."""
    size, first = widths(r), h
    f, g, y = cell.functions
    ys: dict[int, Quantity] = {}
    saved: dict[int, Quantity] = {}
    states: dict[int, Quantity] = {}
    pi, pf, po = _peepholes(cell, p, size)
    for t in times(x, cell.reverse):
        a = cell.gates(row_at(x, t) + product_with(h, r, True), size)
        if p is not None:
            a["i"], a["f"] = a["i"] + pi * c, a["f"] + pf * c
        i = f(bounded(a["i"], cell.limit))
        forget = 1.0 - i if cell.coupled else f(bounded(a["f"], cell.limit))
        new = g(bounded(a["g"], cell.limit))
        c_next = forget * c + i * new
        o = f(bounded(a["o"] + po * c_next if p is not None else a["o"], cell.limit))
        h_next = o * y(c_next)
        live = live_at(lengths, t)
        c, h = chosen(live, c_next, c), chosen(live, h_next, h)
        ys[t], states[t] = chosen(live, h_next, 0.0), c
        saved[t] = chosen(live, cell.lined_up({"i": i, "f": forget, "g": new, "o": o}), 0.0)
    return (_in_order(ys, first, size), h, c, _in_order(saved, first, 4 * size), _in_order(states, first, size))


def _peepholes(cell: Cell, p: Quantity, size: Any) -> tuple[Quantity, Quantity, Quantity]:
    """The peepholes of i, f and o, which lie in the order of their gates."""
    if p is None:
        return None, None, None
    letters = cell.order.replace("g", "")
    i, f, o = (columns(p, letters.index(letter), size) for letter in "ifo")
    return i, f, o


def _in_order(found: dict[int, Quantity], like: Quantity, size: Any) -> Quantity:
    return stacked([found[t] for t in sorted(found)], like, size)


def before(states: Quantity, first: Quantity, t: int, reverse: bool) -> Quantity:
    """The state that step t started from."""
    count = int(states.value.shape[0] if isinstance(states, Symbol) else len(states))
    at = t + 1 if reverse else t - 1
    return row_at(states, at) if 0 <= at < count else first


def lstm_backward(cell: Cell, r: Quantity, c0: Quantity, gates: Quantity, states: Quantity, dys: Quantity, dh: Quantity,
                  dc: Quantity, p: Quantity = None, lengths: Quantity = None, dgates: Quantity = None,
                  dstates: Quantity = None, size_of: Callable[[Quantity], Quantity] = lambda v: v,
                  ) -> tuple[Quantity, ...]:  # fmt: skip
    """The gradients of x, h0 and c0, given what lstm_forward kept and the gradients of its results.

    dgates, dstates: gradients of what it kept, None for none. size_of: abs, for the scale of the rounding errors: every
    term as large as it may be.
    """
    size = widths(r)
    f, g, y = cell.functions
    dx: dict[int, Quantity] = {}
    pi, pf, po = _peepholes(cell, p, size)
    for t in reversed(times(gates, cell.reverse)):
        a = cell.gates(row_at(gates, t), size)
        c, c_before = row_at(states, t), before(states, c0, t, cell.reverse)
        live = live_at(lengths, t)
        e = _kept_gradients(cell, dgates, t, size)
        dc = dc if dstates is None else dc + row_at(dstates, t)
        out = y(c)
        h_now = row_at(dys, t) + dh
        d_o = (h_now * size_of(out) + e["o"]) * cell.slope(f, a["o"])
        c_now = dc + h_now * size_of(a["o"]) * (y.slope(out) + cell.slack if cell.slack else y.slope(out))
        if p is not None:
            c_now = c_now + d_o * size_of(po)
        d_i, d_f = c_now * size_of(a["g"]) + e["i"], c_now * size_of(c_before) + e["f"]
        if cell.coupled:
            d_i, d_f = d_i + size_of(-d_f), d_f * 0.0
        d_i, d_f = d_i * cell.slope(f, a["i"]), d_f * cell.slope(f, a["f"])
        d_g = (c_now * size_of(a["i"]) + e["g"]) * cell.slope(g, a["g"])
        step = chosen(live, cell.lined_up({"i": d_i, "f": d_f, "g": d_g, "o": d_o}), 0.0)
        c_next = c_now * size_of(a["f"])
        if p is not None:
            c_next = c_next + d_i * size_of(pi) + d_f * size_of(pf)
        dh, dc = chosen(live, product_with(step, r, False), dh), chosen(live, c_next, dc)
        dx[t] = step
    return _in_order(dx, dh, 4 * size), dh, dc


def _kept_gradients(cell: Cell, dgates: Quantity, t: int, size: Any) -> dict[str, Quantity]:
    """The gradients of the gates that were kept, by letter; -0, which adds nothing, where there are none."""
    return dict.fromkeys(cell.order, -0.0) if dgates is None else cell.gates(row_at(dgates, t), size)


# -- GRU ---------------------------------------------------------------------------------------------------------------


def gru_forward(cell: Cell, x: Quantity, r: Quantity, h: Quantity, b: Quantity = None,
                lengths: Quantity = None) -> tuple[Quantity, ...]:  # fmt: skip
    """ys, last h, gates [T, N, 3H] and the recurrent part of gate n [T, N, H]. b: its bias [H], with reset_after."""
    size, first = widths(r), h
    f, g = cell.functions
    at = cell.order.index("n")
    ys: dict[int, Quantity] = {}
    saved: dict[int, Quantity] = {}
    inner: dict[int, Quantity] = {}
    for t in times(x, cell.reverse):
        ahead = row_at(x, t)
        fed = cell.gates(ahead, size)
        back = cell.gates(product_with(h, r, True), size)
        reset = f(bounded(fed["r"] + back["r"], cell.limit))
        z = f(bounded(fed["z"] + back["z"], cell.limit))
        if cell.reset_after:
            part = back["n"] + b if b is not None else back["n"]
            new = g(bounded(fed["n"] + reset * part, cell.limit))
        else:
            part = product_with(reset * h, rows(r, at, 1, size), True)
            new = g(bounded(fed["n"] + part, cell.limit))
        h_next = (1.0 - z) * new + z * h
        live = live_at(lengths, t)
        h = chosen(live, h_next, h)
        ys[t], inner[t] = chosen(live, h_next, 0.0), chosen(live, part, 0.0)
        saved[t] = chosen(live, cell.lined_up({"r": reset, "z": z, "n": new}), 0.0)
    return _in_order(ys, first, size), h, _in_order(saved, first, 3 * size), _in_order(inner, first, size)


def gru_backward(cell: Cell, r: Quantity, starts: Quantity, gates: Quantity, inner: Quantity, dys: Quantity,
                 dh: Quantity, lengths: Quantity = None, dgates: Quantity = None, dinner: Quantity = None,
                 size_of: Callable[[Quantity], Quantity] = lambda v: v) -> tuple[Quantity, ...]:  # fmt: skip
    """The gradients of x, of what r gave to each gate, and of h0. starts: the state before every step [T, N, H].

    dgates, dinner: gradients of what gru_forward kept, None for none. size_of: as for lstm_backward.
    """
    size = widths(r)
    f, g = cell.functions
    at = cell.order.index("n")
    dx: dict[int, Quantity] = {}
    da: dict[int, Quantity] = {}
    for t in reversed(times(gates, cell.reverse)):
        a = cell.gates(row_at(gates, t), size)
        h = row_at(starts, t)
        live = live_at(lengths, t)
        h_now = row_at(dys, t) + dh
        e = _kept_gradients(cell, dgates, t, size)
        late = -0.0 if dinner is None else row_at(dinner, t)
        d_z = (h_now * (size_of(h) + size_of(-a["n"])) + e["z"]) * cell.slope(f, a["z"])
        d_n = (h_now * (1.0 - a["z"]) + e["n"]) * cell.slope(g, a["n"])
        kept = h_now * size_of(a["z"])
        if cell.reset_after:
            d_r = (d_n * size_of(row_at(inner, t)) + e["r"]) * cell.slope(f, a["r"])
            back = {"r": d_r, "z": d_z, "n": d_n * size_of(a["r"]) + late}
            through = product_with(cell.lined_up(back), r, False)
        else:
            reset_state = product_with(d_n + late, rows(r, at, 1, size), False)
            d_r = (reset_state * size_of(h) + e["r"]) * cell.slope(f, a["r"])
            back = {"r": d_r, "z": d_z, "n": d_n + late}
            through = reset_state * size_of(a["r"])
            for letter in "rz":
                through = through + product_with(back[letter], rows(r, cell.order.index(letter), 1, size), False)
        dx[t] = chosen(live, cell.lined_up({"r": d_r, "z": d_z, "n": d_n}), 0.0)
        da[t] = chosen(live, cell.lined_up(back), 0.0)
        dh = chosen(live, kept + through, dh)
    return _in_order(dx, dh, 3 * size), _in_order(da, dh, 3 * size), dh


# -- the plain cell ----------------------------------------------------------------------------------------------------


def rnn_forward(cell: Cell, x: Quantity, r: Quantity, h: Quantity,
                lengths: Quantity = None) -> tuple[Quantity, ...]:  # fmt: skip
    """ys and the last h."""
    first = h
    (f,) = cell.functions
    ys: dict[int, Quantity] = {}
    for t in times(x, cell.reverse):
        h_next = f(bounded(row_at(x, t) + product_with(h, r, True), cell.limit))
        live = live_at(lengths, t)
        h = chosen(live, h_next, h)
        ys[t] = chosen(live, h_next, 0.0)
    return _in_order(ys, first, widths(r)), h


def rnn_backward(cell: Cell, r: Quantity, ys: Quantity, dys: Quantity, dh: Quantity,
                 lengths: Quantity = None) -> tuple[Quantity, ...]:  # fmt: skip
    """The gradients of x and h0."""
    (f,) = cell.functions
    dx: dict[int, Quantity] = {}
    for t in reversed(times(ys, cell.reverse)):
        live = live_at(lengths, t)
        dx[t] = chosen(live, (row_at(dys, t) + dh) * cell.slope(f, row_at(ys, t)), 0.0)
        dh = chosen(live, product_with(dx[t], r, False), dh)
    return _in_order(dx, dh, widths(r)), dh

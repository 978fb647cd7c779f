"""How far rounding may carry the results of a recurrent cell: the scale S of its errors, propagated step by step.

An error of a gate's argument arrives in the gate by the slope there; errors of the states go on through the recurrent
weights. Each line repeats one of recurrent_math.py for sizes instead of numbers. All arrays are float64.
"""

from __future__ import annotations

import numpy as np

from chainrule.ir.op import Array
from chainrule.ops.recurrent_math import Cell
from chainrule.ops.recurrent_quantities import Function, bounded, chosen, live_at, times


def finite_size(x: Array) -> Array:
    """|x|, and 0 for infinities, which are exact."""
    return np.where(np.isfinite(x), np.abs(x), 0.0)


def _through(function: Function, value: Array, error: Array) -> Array:
    """The error of an activation of this value whose argument has that error, its own rounding included."""
    return function.spread(value) * error + np.abs(value)


def lstm_scale(cell: Cell, x: Array, x_error: Array, r: Array, h: Array, c: Array, p: Array | None,
               lengths: Array | None) -> tuple[Array, ...]:  # fmt: skip
    """S of every result of lstm_forward."""
    size = r.shape[1]
    f, g, y = cell.functions
    peep = dict(zip(cell.order.replace("g", ""), np.split(p, 3))) if p is not None else {}
    shape = (x.shape[0], len(h), size)
    ys, states, gates = np.zeros(shape), np.zeros(shape), np.zeros((*shape[:2], 4 * size))
    eh, ec = np.zeros_like(h), np.zeros_like(c)
    for t in times(x, cell.reverse):
        sums = x[t] + h @ r.T
        errors = x_error[t] + (np.abs(h) + eh) @ np.abs(r).T
        a, e = cell.gates(sums, size), cell.gates(errors, size)
        for letter in set(peep) - {"o"}:
            a[letter] = a[letter] + peep[letter] * c
            e[letter] = e[letter] + np.abs(peep[letter]) * (np.abs(c) + ec)
        i, new = f(bounded(a["i"], cell.limit)), g(bounded(a["g"], cell.limit))
        forget = 1 - i if cell.coupled else f(bounded(a["f"], cell.limit))
        ei, eg = _through(f, i, e["i"]), _through(g, new, e["g"])
        ef = ei + 1 if cell.coupled else _through(f, forget, e["f"])
        c_next = forget * c + i * new
        ec_next = ef * np.abs(c) + np.abs(forget) * (ec + np.abs(c)) + ei * np.abs(new) + np.abs(i) * (eg + np.abs(new))
        if "o" in peep:
            a["o"] = a["o"] + peep["o"] * c_next
            e["o"] = e["o"] + np.abs(peep["o"]) * (np.abs(c_next) + ec_next)
        o = f(bounded(a["o"], cell.limit))
        eo, out = _through(f, o, e["o"]), y(c_next)
        h_next = o * out
        eh_next = eo * np.abs(out) + np.abs(o) * _through(y, out, ec_next) + np.abs(h_next)
        live = live_at(lengths, t)
        h, c = chosen(live, h_next, h), chosen(live, c_next, c)
        eh, ec = chosen(live, eh_next, eh), chosen(live, ec_next, ec)
        ys[t], states[t] = chosen(live, eh_next, 0.0), ec
        gates[t] = chosen(live, cell.lined_up({"i": ei, "f": ef, "g": eg, "o": eo}), 0.0)
    return ys, eh, ec, gates, states


def gru_scale(cell: Cell, x: Array, x_error: Array, r: Array, h: Array, b: Array | None,
              lengths: Array | None) -> tuple[Array, ...]:  # fmt: skip
    """S of every result of gru_forward."""
    size = r.shape[1]
    f, g = cell.functions
    n = cell.order.index("n")
    r_new = r[n * size : (n + 1) * size]
    shape = (x.shape[0], len(h), size)
    ys, inner, gates = np.zeros(shape), np.zeros(shape), np.zeros((*shape[:2], 3 * size))
    eh = np.zeros_like(h)
    for t in times(x, cell.reverse):
        fed, e_fed = cell.gates(x[t], size), cell.gates(x_error[t], size)
        back, e_back = cell.gates(h @ r.T, size), cell.gates((np.abs(h) + eh) @ np.abs(r).T, size)
        reset, z = (f(bounded(fed[k] + back[k], cell.limit)) for k in "rz")
        er, ez = (_through(f, value, e_fed[k] + e_back[k]) for k, value in (("r", reset), ("z", z)))
        if cell.reset_after:
            part = back["n"] if b is None else back["n"] + b
            e_part = e_back["n"] if b is None else e_back["n"] + np.abs(b)
            argument, e_argument = fed["n"] + reset * part, er * np.abs(part) + np.abs(reset) * (e_part + np.abs(part))
        else:
            part = (reset * h) @ r_new.T
            e_part = (er * np.abs(h) + np.abs(reset) * (eh + np.abs(h))) @ np.abs(r_new).T
            argument, e_argument = fed["n"] + part, e_part
        new = g(bounded(argument, cell.limit))
        en = _through(g, new, e_fed["n"] + e_argument)
        h_next = (1 - z) * new + z * h
        eh_next = (ez + 1) * (np.abs(new) + np.abs(h)) + (1 - z) * en + np.abs(z) * (eh + np.abs(h))
        live = live_at(lengths, t)
        h, eh = chosen(live, h_next, h), chosen(live, eh_next, eh)
        ys[t], inner[t] = chosen(live, eh_next, 0.0), chosen(live, e_part, 0.0)
        gates[t] = chosen(live, cell.lined_up({"r": er, "z": ez, "n": en}), 0.0)
    return ys, eh, gates, inner


def rnn_scale(cell: Cell, x: Array, x_error: Array, r: Array, h: Array,
              lengths: Array | None) -> tuple[Array, ...]:  # fmt: skip
    """S of every result of rnn_forward."""
    (f,) = cell.functions
    ys, eh = np.zeros((x.shape[0], *h.shape)), np.zeros_like(h)
    for t in times(x, cell.reverse):
        error = x_error[t] + (np.abs(h) + eh) @ np.abs(r).T
        h_next = f(bounded(x[t] + h @ r.T, cell.limit))
        eh_next = _through(f, h_next, error)
        live = live_at(lengths, t)
        h, eh = chosen(live, h_next, h), chosen(live, eh_next, eh)
        ys[t] = chosen(live, eh_next, 0.0)
    return ys, eh

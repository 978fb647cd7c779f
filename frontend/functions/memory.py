"""Addressing of an external memory, as Neural Turing Machines do it: by content, then by location.

memory: [B, SLOTS, WIDTH]; weights: [B, SLOTS], each row a distribution over the slots. Source of all: Graves, Wayne and
Danihelka, "Neural Turing Machines", 2014, section 3; equations by their numbers there.
"""

from __future__ import annotations

from chainrule.errors import ShapeError
from chainrule.frontend.functions.activations import softmax
from chainrule.frontend.functions.elementwise import sqrt
from chainrule.frontend.functions.shape import roll
from chainrule.frontend.places import error
from chainrule.frontend.tensor import Operand, Tensor, as_tensor


def content_weights(memory: Operand, key: Operand, strength: Operand, eps: float = 1e-8) -> Tensor:
    """softmax over the slots of strength * cosine(key, slot). key: [B, WIDTH], strength: [B, 1]. Equations 5 and 6."""
    m, k, beta = (as_tensor(x, "content_weights") for x in (memory, key, strength))
    if m.ndim != 3 or k.ndim != 2 or m.shape[2] != k.shape[1]:
        raise error(ShapeError, "content_weights: the key does not fit the memory",
                    notes=[f"memory: {m.value.type}", f"key: {k.value.type}"],
                    help="memory is [B, SLOTS, WIDTH], key [B, WIDTH]")  # fmt: skip
    _check_column("content_weights", "strength", beta)
    products = (m @ k[:, :, None])[:, :, 0]
    lengths = sqrt((m * m).sum(axis=-1)) * sqrt((k * k).sum(axis=-1, keepdims=True))
    return softmax(beta * products / (lengths + eps), -1)


def location_weights(weights: Operand, previous: Operand, gate: Operand, shift: Operand, sharpening: Operand,
                     eps: float = 1e-16) -> Tensor:  # fmt: skip
    """Weights by content mixed with the previous ones, turned round the slots, and sharpened.

    gate: [B, 1], the share of `weights` against `previous` (7); shift: [B, 2R + 1], a distribution over moves from -R
    to R slots, around the ends (8); sharpening: [B, 1], a power of at least 1 (9).
    """
    w, before, g, s, gamma = (
        as_tensor(x, "location_weights") for x in (weights, previous, gate, shift, sharpening)
    )  # fmt: skip
    moves = s.shape[1] if s.ndim == 2 else 0
    if not isinstance(moves, int) or moves % 2 == 0:
        raise error(ShapeError, "location_weights: shift has no middle", notes=[f"shift: {s.value.type}"],
                    help="shift is [B, 2R + 1]: the shares of moves from -R to R")  # fmt: skip
    _check_column("location_weights", "gate", g)
    _check_column("location_weights", "sharpening", gamma)
    mixed = g * w + (1.0 - g) * before
    turned = [roll(mixed, place - moves // 2, 1) * s[:, place : place + 1] for place in range(moves)]
    sharp = (sum(turned[1:], start=turned[0]) + eps) ** gamma
    return sharp / sharp.sum(axis=-1, keepdims=True)


def _check_column(function: str, name: str, x: Tensor) -> None:
    """Raises ShapeError unless x has one number for each example: [B] would spread over the slots instead."""
    if x.ndim != 2 or x.shape[1] != 1:
        raise error(ShapeError, f"{function}: {name} has {x.value.type}, not one column",
                    help=f"{name} is [B, 1]: write {name}[:, None] for one of [B]")  # fmt: skip


def memory_read(memory: Operand, weights: Operand) -> Tensor:
    """The slots added up by weights: [B, WIDTH]. Equation 2."""
    m, w = as_tensor(memory, "memory_read"), as_tensor(weights, "memory_read")
    return (w[:, None, :] @ m)[:, 0]


def memory_write(memory: Operand, weights: Operand, erase: Operand, add: Operand) -> Tensor:
    """The memory after a write: slot * (1 - weight * erase) + weight * add. erase, add: [B, WIDTH]. Equations 3, 4."""
    m, w, e, a = (as_tensor(x, "memory_write") for x in (memory, weights, erase, add))
    w = w[:, :, None]
    return m * (1.0 - w * e[:, None, :]) + w * a[:, None, :]

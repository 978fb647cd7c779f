"""State that a kernel updates where it lies gets the bits that a kernel with results of its own gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.frontend.tensor import Tensor

SIZES = [
    (1, 1, 1),
    (3, 5, 7),
    (17, 33, 65),
    (64, 129, 70),
    (2, 200, 257),
    (700, 31, 16),
    (130, 200, 256),
]  # (depth, rows, columns)


class Held(nn.Module):
    """A buffer w that a call replaces by f(w, x, g)."""

    def __init__(self, f: Callable[[Tensor, Tensor, Tensor], Tensor], w: np.ndarray) -> None:
        super().__init__()
        self.f, self.w = f, nn.Buffer(w)

    def __call__(self, x: Tensor, g: Tensor) -> Tensor:
        self.w.assign(self.f(self.w, x, g))
        return x.sum()


def product(w: Tensor, x: Tensor, g: Tensor) -> Tensor:
    return w * 0.9 - 0.1 * (x.T @ g)


def rows(w: Tensor, x: Tensor, g: Tensor) -> Tensor:
    return w - 0.1 * g.sum(axis=0)


def columns(w: Tensor, x: Tensor, g: Tensor) -> Tensor:
    return w - 0.1 * g.sum(axis=1)


def filled(w: Tensor, x: Tensor, g: Tensor) -> Tensor:
    """Beside the state the kernel reads one number for all, as the gradient of a sum is."""
    return w - 0.1 * cr.broadcast_to(x[0, 0], w.shape) * w


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("f", [product, rows, columns, filled])
@pytest.mark.parametrize("size", SIZES)
def test_the_bits_are_those_of_a_result_of_its_own(f: Callable[..., Tensor], size: tuple[int, int, int], threads: int):
    depth, m, n = size
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal((depth, m), np.float32), rng.standard_normal((depth, n), np.float32)
    shapes = {"product": (m, n), "rows": (n,), "columns": (depth,), "filled": (m, n)}
    w = rng.standard_normal(shapes[f.__name__], np.float32)
    apart = cr.compile(f, cr.spec(*w.shape), cr.spec(*x.shape), cr.spec(*g.shape), threads=threads)(w, x, g)
    held = Held(f, w)
    net = cr.compile(held, cr.spec(*x.shape), cr.spec(*g.shape), threads=threads)
    assert not net.program.main.program.copies, "the update is not in place"
    net(x, g)
    np.testing.assert_array_equal(held.w.data, apart)


OF_OTHER_ELEMENTS: tuple[Callable[..., Tensor], ...] = (
    lambda w, x, g: w @ x,
    lambda w, x, g: x @ g - w.T,
    lambda w, x, g: w - x @ (g * w),
    lambda w, x, g: w - 0.5 * cr.broadcast_to(w[:1], (4, 4)),
    lambda w, x, g: w - w[::-1],
)


@pytest.mark.parametrize("f", OF_OTHER_ELEMENTS)
def test_what_reads_other_elements_than_it_writes_is_right(f: Callable[..., Tensor]):
    w = np.arange(16, dtype=np.float32).reshape(4, 4)
    held = Held(f, w)
    cr.compile(held, cr.spec(4, 4), cr.spec(4, 4))(w, w)
    np.testing.assert_array_equal(held.w.data, np.asarray(f(cr.asarray(w), cr.asarray(w), cr.asarray(w))))

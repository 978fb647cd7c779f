"""No layers: a function of arrays, written as in numpy, compiled for any size, and its gradient.

python examples/plain_functions.py
"""

from __future__ import annotations

import numpy as np

import chainrule as cr


def smooth(x: cr.Tensor, centres: cr.Tensor, heights: cr.Tensor, width: cr.Tensor) -> cr.Tensor:
    """Kernel regression: at each row of x the mean of the heights, weighted by nearness to the centres.

    x: [N, D], centres: [M, D], heights: [M], width: [] -> [N].
    """
    distances = cr.sum((x[:, None] - centres) ** 2, axis=-1)
    return cr.softmax(-distances / (2 * width**2), axis=-1) @ heights


def error(width: cr.Tensor, x: cr.Tensor, y: cr.Tensor, centres: cr.Tensor, heights: cr.Tensor) -> cr.Tensor:
    """The mean squared error of the regression as a function of its width."""
    return cr.mean((smooth(x, centres, heights, width) - y) ** 2)


def main() -> tuple[float, float]:
    """Finds the best width by gradient descent; returns the error before and after."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(-3, 3, (60, 1)).astype(np.float32)
    heights = np.sin(centres[:, 0]) + rng.normal(0, 0.1, 60).astype(np.float32)
    x = rng.uniform(-3, 3, (200, 1)).astype(np.float32)
    y = np.sin(x[:, 0])

    # One program for any number of points, and one for the error together with its derivative.
    points, data, number = cr.spec("N", 1), (cr.spec("M", 1), cr.spec("M")), cr.spec()
    predict = cr.compile(smooth, points, *data, number)
    slope = cr.compile(cr.value_and_grad(error), number, points, cr.spec("N"), *data)

    width, errors = np.float32(2.0), list[float]()
    for _ in range(200):
        value, gradient = slope(width, x, y, centres, heights)
        errors.append(float(value))
        width = np.float32(width - 0.5 * float(gradient))
    print(f"width 2.00 -> {width:.2f}, mean squared error {errors[0]:.4f} -> {errors[-1]:.4f}")
    print("sin(1) is about", float(predict(np.ones((1, 1), np.float32), centres, heights, width)[0]))
    return errors[0], errors[-1]


if __name__ == "__main__":
    main()

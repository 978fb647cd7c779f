"""Random changes of training images: functions from a batch and a generator to a batch.

A batch is a tuple of arrays, images first: [N, C, H, W]. All randomness comes from the generator that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.places import error
from chainrule.ir.op import Array

Batch = tuple[Array, ...]
Augmentation = Callable[[Batch, np.random.Generator], Batch]


@dataclass(frozen=True)
class Shift:
    """Each image moved by up to `pixels` along each spatial axis; `fill` comes in at the edge."""

    pixels: int = 1
    fill: float = 0.0

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        x = _images(batch, "Shift")
        p = self.pixels
        padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=self.fill)
        down, right = rng.integers(0, 2 * p + 1, (2, len(x)))
        return (_windows(padded, down, right, x.shape[2], x.shape[3]), *batch[1:])


@dataclass(frozen=True)
class Crop:
    """A random window of `size` x `size` of each image, after `padding` pixels of `fill` were put around it."""

    size: int
    padding: int = 0
    fill: float = 0.0

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        x = _images(batch, "Crop")
        p = self.padding
        padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=self.fill)
        height, width = padded.shape[2:]
        if self.size > min(height, width):
            raise error(ShapeError, f"Crop: a window of {self.size} does not fit into {height}x{width}",
                        help="use a smaller size or more padding")  # fmt: skip
        down, right = rng.integers(0, height - self.size + 1, len(x)), rng.integers(0, width - self.size + 1, len(x))
        return (_windows(padded, down, right, self.size, self.size), *batch[1:])


@dataclass(frozen=True)
class Flip:
    """Each image mirrored left to right with probability p; axis=-2 mirrors upside down."""

    p: float = 0.5
    axis: int = -1

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        x = _images(batch, "Flip")
        chosen = rng.random(len(x)) < self.p
        return (np.where(chosen[:, None, None, None], np.flip(x, self.axis), x), *batch[1:])


@dataclass(frozen=True)
class Rotate:
    """Each image turned about its middle by up to `degrees`, sampled bilinearly; `fill` comes in at the corners."""

    degrees: float
    fill: float = 0.0

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        x = _images(batch, "Rotate")
        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees, len(x)))[:, None, None]
        h, w = x.shape[2:]
        row, column = np.mgrid[:h, :w] - np.array([(h - 1) / 2, (w - 1) / 2])[:, None, None]
        rows = np.cos(angle) * row - np.sin(angle) * column + (h - 1) / 2
        columns = np.sin(angle) * row + np.cos(angle) * column + (w - 1) / 2
        return (_bilinear(x, rows, columns, self.fill), *batch[1:])


@dataclass(frozen=True)
class Noise:
    """Gaussian noise of this standard deviation added to each element of the first array."""

    std: float

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        x = batch[0]
        return ((x + rng.normal(0.0, self.std, x.shape)).astype(x.dtype), *batch[1:])


@dataclass(frozen=True)
class MixUp:
    """Each example and its target mixed with those of another, by a share drawn from Beta(alpha, alpha).

    Targets must be floats (class probabilities). Source: Zhang et al. 2018.
    """

    alpha: float = 0.2

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        if any(array.dtype.kind != "f" for array in batch):
            raise error(ArgumentError, "MixUp: targets must be probabilities",
                        help="give one-hot targets: np.eye(classes, dtype=np.float32)[y]")  # fmt: skip
        count = len(batch[0])
        share, other = rng.beta(self.alpha, self.alpha, count), rng.permutation(count)
        return tuple(_mixed(array, array[other], share) for array in batch)


@dataclass(frozen=True)
class Chain:
    """Augmentations one after another."""

    parts: tuple[Augmentation, ...]

    def __call__(self, batch: Batch, rng: np.random.Generator) -> Batch:
        for part in self.parts:
            batch = part(batch, rng)
        return batch


def _images(batch: Batch, what: str) -> Array:
    if batch[0].ndim != 4:
        raise error(ShapeError, f"{what}: the first array has {batch[0].ndim} axes", help="images are [N, C, H, W]")
    return batch[0]


def _windows(x: Array, down: Array, right: Array, height: int, width: int) -> Array:
    """The window of each image that starts at its row `down` and column `right`."""
    image = np.arange(len(x))[:, None, None]
    rows = (down[:, None] + np.arange(height))[:, :, None]
    columns = (right[:, None] + np.arange(width))[:, None, :]
    return np.ascontiguousarray(np.moveaxis(x[image, :, rows, columns], 3, 1))


def _bilinear(x: Array, rows: Array, columns: Array, fill: float) -> Array:
    """Each image sampled at fractional positions [N, H, W]."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=fill)
    r, c = np.clip(rows + 1, 0, padded.shape[2] - 1.001), np.clip(columns + 1, 0, padded.shape[3] - 1.001)
    r0, c0 = r.astype(np.int64), c.astype(np.int64)
    image = np.arange(len(x))[:, None, None]
    fr, fc = (r - r0)[..., None], (c - c0)[..., None]
    top = padded[image, :, r0, c0] * (1 - fc) + padded[image, :, r0, c0 + 1] * fc
    low = padded[image, :, r0 + 1, c0] * (1 - fc) + padded[image, :, r0 + 1, c0 + 1] * fc
    return np.ascontiguousarray(np.moveaxis(top * (1 - fr) + low * fr, 3, 1).astype(x.dtype))


def _mixed(a: Array, b: Array, share: Array) -> Array:
    weight = share.reshape(-1, *(1,) * (a.ndim - 1)).astype(a.dtype)
    return weight * a + (1 - weight) * b

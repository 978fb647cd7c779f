"""The digits are the original's, in its order."""

import hashlib

import numpy as np

from chainrule.frontend.datasets import digits


def test_digits_have_the_documented_shapes_types_and_ranges():
    images, labels = digits()
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == np.float32
    assert labels.shape == (1797,)
    assert labels.dtype == np.int64
    assert images.min() == 0.0
    assert images.max() == 1.0
    assert set(labels.tolist()) == set(range(10))


def test_digits_hold_every_value_of_the_original_in_its_order():
    images, labels = digits()
    counts = (images * 16).astype(np.uint8)
    assert np.array_equal(counts.astype(np.float32), images * 16)
    found = hashlib.sha256(counts.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest()
    assert found == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def test_digits_are_the_callers_to_change():
    first, labels = digits()
    first[:] = 7
    labels[:] = 7
    second, second_labels = digits()
    assert second.max() == 1.0
    assert set(second_labels.tolist()) == set(range(10))

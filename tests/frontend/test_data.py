"""Data comes in batches that depend on seed, epoch and position alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend import augment
from chainrule.frontend.data import ArrayData, StreamData
from tests.frontend.agreement import Array, normal

X, Y = np.arange(10.0).reshape(10, 1), np.arange(10)


def served(data: Any) -> list[list[int]]:
    return [batch[1].tolist() for batch in data]


def test_an_epoch_serves_every_example_once() -> None:
    data = ArrayData(X, Y, batch_size=4, shuffle=True, seed=3)
    first, second = served(data), served(data)
    assert [len(b) for b in first] == [4, 4, 2] and len(data) == 3
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(10))
    assert first != second and data.epoch == 2
    assert served(ArrayData(X, Y, batch_size=4, shuffle=True, seed=3)) == first
    assert served(ArrayData(X, Y, batch_size=4, shuffle=True, seed=4)) != first


def test_without_shuffle_the_order_is_the_arrays() -> None:
    assert served(ArrayData(X, Y, batch_size=4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert served(ArrayData(X, Y, batch_size=4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_run_resumes_at_its_position() -> None:
    def make() -> ArrayData:
        return ArrayData(normal(10, 1, 4, 4), Y, batch_size=3, shuffle=True, seed=9, augment=augment.Shift())

    whole = [batch for _ in range(3) for batch in make_epochs(make())]
    data, seen = make(), []
    for _ in range(2):
        for batch in data:
            seen.append(batch)
            if len(seen) == 6:
                break
        if len(seen) == 6:
            break
    state = data.state()
    assert state == {"epoch": 1, "position": 2, "seed": 9}
    fresh = make()
    fresh.load_state(state)
    rest = list(fresh)
    for got, wanted in zip([*seen, *rest], whole, strict=False):
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(a, b)


def make_epochs(data: ArrayData) -> list[tuple[Array, ...]]:
    return [*data, *data]


def test_a_stream_is_called_for_each_epoch_and_resumes() -> None:
    def batches(epoch: int) -> Any:
        return ((np.array([epoch]), np.array([i])) for i in range(3))

    data = StreamData(batches)
    assert served(data) == [[0], [1], [2]]
    half = iter(data)
    next(half)
    again = StreamData(batches)
    again.load_state(data.state())
    assert [(int(e[0]), int(i[0])) for e, i in again] == [(1, 1), (1, 2)]


def test_batches_are_contiguous_copies() -> None:
    source = np.asfortranarray(normal(6, 3, 2))
    (batch,) = next(iter(ArrayData(source, batch_size=4)))
    assert batch.flags.c_contiguous and not np.shares_memory(batch, source)


IMAGES = normal(6, 2, 8, 8, dtype="float32")


CHANGES = [augment.Shift(2), augment.Crop(8, 2), augment.Flip(), augment.Rotate(20), augment.Noise(0.1),
           augment.Chain((augment.Shift(), augment.Flip()))]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=repr)
def test_augmentation_keeps_shape_type_and_targets_and_repeats(change: augment.Augmentation) -> None:
    first = change((IMAGES, Y[:6]), np.random.default_rng(1))
    second = change((IMAGES, Y[:6]), np.random.default_rng(1))
    assert first[0].shape == IMAGES.shape and first[0].dtype == np.float32 and first[1] is not None
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], Y[:6])
    assert not np.array_equal(first[0], IMAGES)


def test_a_shift_moves_whole_images() -> None:
    moved = augment.Shift(1)((IMAGES,), np.random.default_rng(2))[0]
    padded = np.pad(IMAGES, [(0, 0), (0, 0), (1, 1), (1, 1)])
    for image, source in zip(moved, padded, strict=True):
        places = [(i, j) for i in range(3) for j in range(3) if np.array_equal(image, source[:, i : i + 8, j : j + 8])]
        assert len(places) == 1


def test_a_quarter_turn_turns_and_no_turn_keeps() -> None:
    class Fixed:
        def uniform(self, low: float, high: float, size: int) -> Array:
            return np.full(size, high)

    turned = augment.Rotate(90)((IMAGES,), Fixed())[0]  # type: ignore[arg-type]
    np.testing.assert_allclose(turned, np.rot90(IMAGES, -1, (2, 3)), rtol=1e-4, atol=1e-4)
    kept = augment.Rotate(0)((IMAGES,), Fixed())[0]  # type: ignore[arg-type]
    np.testing.assert_array_equal(kept, IMAGES)


def test_mixup_mixes_examples_and_targets_by_one_share() -> None:
    targets = np.eye(6, dtype=np.float32)
    x, t = augment.MixUp(0.5)((targets.copy(), targets), np.random.default_rng(0))
    np.testing.assert_array_equal(x, t)
    np.testing.assert_allclose(t.sum(1), 1, rtol=1e-6)


REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: ArrayData(), ArgumentError, "ArrayData: no array was given"),
    (lambda: ArrayData(X, Y[:3]), ShapeError, "ArrayData: the arrays hold 10, 3 examples"),
    (lambda: ArrayData([1, 2]), ArgumentError, "ArrayData: list is not an array with a first axis"),  # type: ignore[arg-type]
    (lambda: ArrayData(X, batch_size=0), ArgumentError, "ArrayData: batch_size=0"),
    (lambda: ArrayData(X).batch(0, 1), ArgumentError, "ArrayData: there is no batch 1"),
    (lambda: ArrayData(X).load_state({"epoch": 0, "position": 7, "seed": 0}), ArgumentError,
     "ArrayData: there is no position 7"),
    (lambda: augment.Shift()((X,), np.random.default_rng(0)), ShapeError, "Shift: the first array has 2 axes"),
    (lambda: augment.Crop(9)((IMAGES,), np.random.default_rng(0)), ShapeError,
     "Crop: a window of 9 does not fit into 8x8"),
    (lambda: augment.MixUp()((X, Y), np.random.default_rng(0)), ArgumentError, "MixUp: targets must be probabilities"),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(REFUSED)))
def test_bad_data_is_refused(index: int) -> None:
    call, kind, cause = REFUSED[index]
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.cause == cause  # type: ignore[attr-defined]


def test_the_batches_are_the_same_for_any_number_of_workers() -> None:
    x, y = np.arange(200, dtype=np.float32).reshape(50, 1, 2, 2), np.arange(50)
    change = (augment.Flip(), augment.Noise(0.1), augment.Shift(1))
    found = []
    for workers in (0, 1, 3):
        data = ArrayData(x, y, batch_size=8, shuffle=True, seed=3, augment=change, workers=workers)
        found.append([[a.tobytes() for a in batch] for _ in range(2) for batch in data])
    assert found[0] == found[1] == found[2] and len(found[0]) == 14


def test_a_run_with_workers_resumes_behind_the_batch_it_used_not_behind_those_it_made_ahead() -> None:
    x = np.arange(40)
    data, twin = (ArrayData(x, batch_size=4, shuffle=True, workers=2) for _ in range(2))
    served = iter(data)
    first = [next(served)[0] for _ in range(3)]
    assert data.state()["position"] == 3
    served.close()  # type: ignore[attr-defined]
    twin.load_state(data.state())
    rest = [batch[0] for batch in twin]
    assert sorted(np.concatenate(first + rest).tolist()) == x.tolist()


def test_what_a_worker_or_stream_raises_arrives_where_the_batch_was_wanted() -> None:
    def broken(batch: augment.Batch, rng: np.random.Generator) -> augment.Batch:
        if 8 in batch[0]:
            raise ValueError("bad example")
        return batch

    data = iter(ArrayData(np.arange(16), batch_size=4, augment=broken, workers=2))
    assert [len(next(data)[0]) for _ in range(2)] == [4, 4]
    with pytest.raises(ValueError, match="bad example"):
        next(data)

    def batches(epoch: int) -> Any:
        yield (np.zeros(1),)
        raise OSError("unplugged")

    stream = iter(StreamData(batches, ahead=3))
    next(stream)
    with pytest.raises(OSError, match="unplugged"):
        next(stream)


def test_a_stream_drawn_ahead_serves_the_same_batches_and_ends_with_its_reader() -> None:
    drawn: list[int] = []

    def batches(epoch: int) -> Any:
        for i in range(1000):
            drawn.append(i)
            yield (np.array([epoch, i]),)

    stream = StreamData(batches, ahead=2)
    served = iter(stream)
    assert [int(next(served)[0][1]) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert stream.state() == {"epoch": 0, "position": 5}
    served.close()  # type: ignore[attr-defined]
    assert len(drawn) <= 5 + 2 + 2


def test_memory_mapped_arrays_are_served_like_others(tmp_path: Path) -> None:
    x = np.arange(24, dtype=np.float32).reshape(12, 2)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    found = np.concatenate([batch[0] for batch in ArrayData(mapped, batch_size=5, workers=1)])
    np.testing.assert_array_equal(found, x)

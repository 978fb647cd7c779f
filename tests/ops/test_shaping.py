"""What the builders of ops/shaping.py, ops/repeating.py and ops/ranges.py make, compared with numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.backends.reference.interpreter import run
from chainrule.errors import ArgumentError, ShapeError
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import tensor
from chainrule.ops import ranges, repeating, shaping

Array = np.ndarray
N = symbol("N")


def value_of(*outputs: Value, inputs: Sequence[Value] = (), arrays: Sequence[Array] = (),
             n: int | None = None) -> list[Array]:  # fmt: skip
    """The values of a graph. n: the size N, where no array tells it."""
    return run(Graph("test", tuple(inputs), outputs), arrays, dims={} if n is None else {"N": n})


def counted(*shape: int) -> Array:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


positions = st.none() | st.integers(-9, 9)
steps = st.integers(-4, 4).filter(bool)


@given(n=st.integers(0, 7), start=positions, stop=positions, step=steps, symbolic=st.booleans())
def test_slices_are_those_of_python(n: int, start: int | None, stop: int | None, step: int, symbolic: bool) -> None:
    x = new_input("x", tensor("f32", ("N" if symbolic else n, 2)))
    array = counted(n, 2)
    y = shaping.slice_(x, [start], [stop], [step])
    (found,) = value_of(y, inputs=[x], arrays=[array])
    np.testing.assert_array_equal(found, array[start:stop:step])


def test_the_two_slices_of_a_difference_have_one_type() -> None:
    x = new_input("x", tensor("f32", ("N",)))
    assert shaping.slice_(x, [1], [None]).type == shaping.slice_(x, [None], [-1]).type


def test_a_far_position_means_to_the_end() -> None:
    x = new_input("x", tensor("f32", ("N", 3)))
    assert shaping.slice_(x, [0, -(2**63)], [2**63 - 1, 2**31]) is x


def test_a_slice_by_a_symbolic_size_is_checked_when_its_number_is_known() -> None:
    x, like = new_input("x", tensor("f32", (4,))), new_input("like", tensor("f32", ("N",)))
    y = shaping.slice_(x, [0], [N])
    (found,) = value_of(y, inputs=[x, like], arrays=[counted(4), counted(3)])
    np.testing.assert_array_equal(found, [0, 1, 2])
    with pytest.raises(ShapeError, match="5 elements from 0 leave axis 0 of size 4"):
        value_of(y, inputs=[x, like], arrays=[counted(4), counted(5)])


def test_a_step_of_zero_and_an_axis_named_twice_are_refused() -> None:
    x = new_input("x", tensor("f32", (4, 4)))
    with pytest.raises(ArgumentError, match="a step is 0"):
        shaping.slice_(x, [0], [4], [0])
    with pytest.raises(ArgumentError, match="slice: 2 starts"):
        shaping.slice_(x, [0, 0], [4, 4], axes=[0, -2])


def test_a_reshape_finds_its_unknown_size() -> None:
    x = new_input("x", tensor("f32", ("N", 4, 6)))
    assert shaping.reshape(x, [-1, 8]).shape == (3 * N, 8)
    assert shaping.reshape(x, [N, -1]).shape == (N, 24)
    assert shaping.reshape(new_input("e", tensor("f32", (0, 3))), [-1, 5]).shape == (0, 5)
    with pytest.raises(ArgumentError, match="-1 is given twice"):
        shaping.reshape(x, [-1, -1])
    with pytest.raises(ShapeError, match="elements"):
        shaping.reshape(new_input("y", tensor("f32", (7,))), [2, -1])


def test_what_changes_nothing_makes_no_node() -> None:
    x = new_input("x", tensor("f32", ("N", 3)))
    assert shaping.reshape(x, x.shape) is x
    assert shaping.transpose(x, (0, -1)) is x
    assert shaping.expand(x, x.shape) is x
    assert shaping.concat([x], 1) is x
    assert shaping.flip(x, ()) is x
    assert repeating.pad(x, (0, 0), (0, 0), "reflect") is x
    assert repeating.tile(x, 1) is x


def test_axes_of_one_come_and_go() -> None:
    x = new_input("x", tensor("f32", ("N", 1, 3)))
    assert shaping.squeeze(x).shape == (N, 3)
    assert shaping.squeeze(x, -2).shape == (N, 3)
    assert shaping.unsqueeze(x, (0, -1)).shape == (1, N, 1, 3, 1)
    with pytest.raises(ShapeError, match="axis 2 of f32\\[N,1,3\\] is not 1"):
        shaping.squeeze(x, 2)


def test_values_are_stacked_and_split_along_any_axis() -> None:
    a, b = (new_input(name, tensor("f32", (2, 3))) for name in "ab")
    arrays = [counted(2, 3), -counted(2, 3)]
    for axis in (0, 1, -1):
        (found,) = value_of(shaping.stack([a, b], axis), inputs=[a, b], arrays=arrays)
        np.testing.assert_array_equal(found, np.stack(arrays, axis))
    parts = value_of(*shaping.split(a, [1, 0, 2], 1), inputs=[a], arrays=arrays[:1])
    assert [p.shape for p in parts] == [(2, 1), (2, 0), (2, 2)]
    assert [v.shape for v in shaping.split(a, 3, -1)] == [(2, 1)] * 3
    with pytest.raises(ShapeError, match="not made up of 2 parts"):
        shaping.split(a, 2, 1)
    with pytest.raises(ShapeError, match="differ"):
        shaping.stack([a, shaping.transpose(b)])
    with pytest.raises(ArgumentError, match="nothing to join"):
        shaping.stack([])


def test_a_symbolic_axis_splits_where_its_size_divides() -> None:
    x = new_input("x", tensor("f32", ("3*N",)))
    parts = shaping.split(x, 3)
    assert [v.shape for v in parts] == [(N,)] * 3
    found = value_of(*parts, inputs=[x], arrays=[counted(6)], n=2)
    np.testing.assert_array_equal(np.concatenate(found), counted(6))


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_border_pads_cut_off_first_where_an_amount_is_negative(mode: str) -> None:
    x = new_input("x", tensor("f32", (2, "N")))
    y = repeating.pad(x, (0, -1), (1, 2), mode)
    (found,) = value_of(y, inputs=[x], arrays=[counted(2, 5)])
    np.testing.assert_array_equal(found, np.pad(counted(2, 5)[:, 1:], ((0, 1), (0, 2)), mode))


def test_a_border_pad_of_a_symbolic_axis_is_checked_when_its_size_is_known() -> None:
    x = new_input("x", tensor("f32", ("N",)))
    y = repeating.pad(x, (3,), (0,), "reflect")
    with pytest.raises(ShapeError, match="axis 0 of size 3 is too short for a reflect pad of 3"):
        value_of(y, inputs=[x], arrays=[counted(3)])


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("shift", [-8, -1, 0, 2, 5, 13])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_roll_is_that_of_numpy(n: int, shift: int, symbolic: bool) -> None:
    x = new_input("x", tensor("f32", (2, "N" if symbolic else n)))
    (found,) = value_of(repeating.roll(x, (1, shift), (0, -1)), inputs=[x], arrays=[counted(2, n)])
    np.testing.assert_array_equal(found, np.roll(counted(2, n), (1, shift), (0, 1)))


def test_tile_and_repeat_are_those_of_numpy() -> None:
    x = new_input("x", tensor("f32", ("N", 2)))
    array = counted(3, 2)
    outputs = repeating.tile(x, (2, 1, 3)), repeating.tile(x, 2), repeating.repeat(x, 2, 0), repeating.repeat(x, 3, -1)
    found = value_of(*outputs, inputs=[x], arrays=[array])
    wanted = np.tile(array, (2, 1, 3)), np.tile(array, 2), np.repeat(array, 2, 0), np.repeat(array, 3, 1)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    assert outputs[2].shape == (2 * N, 2)


@pytest.mark.parametrize("numbers", [(5,), (2, 9), (2, 9, 3), (9, 2, -2), (3, 3), (0.0, 1.0, 0.25), (1.0, 0.0, -0.3)])
def test_arange_is_that_of_numpy(numbers: tuple[float, ...]) -> None:
    (found,) = value_of(ranges.arange(*numbers))
    np.testing.assert_array_equal(found, np.arange(*numbers).astype(found.dtype))
    assert found.dtype == (np.int64 if isinstance(numbers[0], int) else np.float32)


def test_arange_counts_to_a_symbolic_size() -> None:
    x = new_input("x", tensor("f32", ("N",)))
    outputs = ranges.arange(N), ranges.arange(1, N, 2, "i32"), ranges.arange(N, 0, -1)
    found = value_of(*outputs, inputs=[x], arrays=[counted(6)])
    for got, want in zip(found, (np.arange(6), np.arange(1, 6, 2), np.arange(6, 0, -1)), strict=True):
        np.testing.assert_array_equal(got, want)
    with pytest.raises(ArgumentError, match="the step is 0"):
        ranges.arange(0, 5, 0)


@pytest.mark.parametrize("offset", [-9, -2, 0, 1, 9])
@pytest.mark.parametrize("symbolic", [False, True])
def test_diagonals_are_those_of_numpy(offset: int, symbolic: bool) -> None:
    x = new_input("x", tensor("f32", ("N" if symbolic else 4, 2, 3)))
    outputs = ranges.diagonal(x, offset, 0, 2), ranges.diagonal(x, offset, -2, -1)
    found = value_of(*outputs, inputs=[x], arrays=[counted(4, 2, 3)])
    wanted = np.diagonal(counted(4, 2, 3), offset, 0, 2), np.diagonal(counted(4, 2, 3), offset, 1, 2)
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    (found_eye,) = value_of(ranges.eye(3, N if symbolic else 4, offset), inputs=[x], arrays=[counted(4, 2, 3)])
    np.testing.assert_array_equal(found_eye, np.eye(3, 4, offset, np.float32))

"""What looks odd and is right all the same: views, arrays of other libraries, lists, models without base init."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import DTypeError

Array = np.ndarray[Any, Any]


def table(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def unaligned(x: Array) -> Array:
    block = np.empty(x.nbytes + 1, np.uint8)
    view = block[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def read_only(x: Array) -> Array:
    copy = x.copy()
    copy.flags.writeable = False
    return copy


class Tape:
    """Another library's array: it shows its memory by DLPack."""

    def __init__(self, numbers: Array) -> None:
        self.numbers = numbers

    def __dlpack__(self, **options: Any) -> object:
        return self.numbers.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.numbers.__dlpack_device__()


class Frame:
    """Another library's table: numpy can make an array of it."""

    def __init__(self, numbers: Array) -> None:
        self.numbers = numbers

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.numbers


VIEWS: dict[str, Callable[[Array], Any]] = {
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "every second": lambda x: np.repeat(x, 2, axis=0)[::2],
    "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "column-major": np.asfortranarray,
    "unaligned": unaligned,
    "read-only": read_only,
    "a matrix": lambda x: x.view(np.matrix),
    "masked": np.ma.masked_array,
    "nested lists": lambda x: x.tolist(),
    "through DLPack": Tape,
    "through the array interface": Frame,
    "a field of records": lambda x: np.rec.fromarrays([x, x], names=["a", "b"])["a"],
}


def halves(x: cr.Tensor) -> cr.Tensor:
    return x * 0.5 + cr.flip(x, 1)


@pytest.mark.parametrize("backend", ["llvm", "reference"])
@pytest.mark.parametrize("view", VIEWS)
def test_an_array_of_another_form_is_taken(view: str, backend: str) -> None:
    net = cr.compile(halves, cr.spec("N", 4), backend=backend)
    x = table(6, 4)
    expected = x * np.float32(0.5) + x[:, ::-1]
    for _ in range(2):  # the first call finds its frame, the second goes straight to it
        np.testing.assert_array_equal(net(VIEWS[view](x)), expected)
        np.testing.assert_array_equal(net.run([VIEWS[view](x)])[0], expected)


def test_a_memory_mapped_file_is_taken(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", table(6, 4))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    net = cr.compile(halves, cr.spec("N", 4))
    np.testing.assert_array_equal(net(mapped), net(table(6, 4)))


def test_a_stretched_view_is_taken() -> None:
    row = table(1, 4)
    net = cr.compile(halves, cr.spec("N", 4))
    np.testing.assert_array_equal(net(np.broadcast_to(row, (5, 4))), net(np.repeat(row, 5, axis=0)))


def test_one_array_may_be_given_twice() -> None:
    net = cr.compile(lambda x, y: (x + y, x - y), cr.spec("N"), cr.spec("N"))
    x = table(9)
    both, nothing = net(x, x)
    np.testing.assert_array_equal(both, x + x)
    np.testing.assert_array_equal(nothing, np.zeros_like(x))


def test_inputs_are_never_changed() -> None:
    x = table(8, 4)
    before = x.copy()
    net = cr.compile(lambda x: cr.sort(cr.exp(x) + 1, axis=1), cr.spec("N", 4))
    net(x)
    net(x)
    np.testing.assert_array_equal(x, before)


def test_results_are_the_callers_own() -> None:
    net = cr.compile(lambda x: (x, x.reshape(4, 2), x * 1), cr.spec(2, 4))
    x = table(2, 4)
    for result in net(x):
        assert not np.shares_memory(result, x)
        result += 1
    np.testing.assert_array_equal(net(x)[0], x)


@pytest.mark.parametrize("number", [2, 2.0, True, np.float32(2), np.array(2, np.float32), [2.0][0]])
def test_a_number_is_an_array_of_rank_0(number: Any) -> None:
    net = cr.compile(lambda x: x * 3, cr.spec())
    assert net(number) == (3 if number is True else 6)


def test_arrays_of_the_other_byte_order_are_refused_at_a_call_and_taken_as_constants() -> None:
    swapped = table(2, 4).astype(">f4")
    net = cr.compile(halves, cr.spec("N", 4))
    with pytest.raises(DTypeError, match=">f4"):
        net(swapped)
    np.testing.assert_array_equal(net(swapped.astype("f4")), net(table(2, 4)))
    added = cr.compile(lambda x: x + swapped, cr.spec(2, 4))
    np.testing.assert_array_equal(added(np.zeros((2, 4), np.float32)), table(2, 4))


def test_weights_of_the_other_byte_order_are_converted() -> None:
    class Shift(nn.Module):
        def __init__(self) -> None:
            self.by = nn.Parameter(table(4).astype(">f4"))
            self.register_buffer("also", table(4).astype(">f4"))

        def __call__(self, x: cr.Tensor) -> cr.Tensor:
            return x + self.by + self.also

    net = cr.compile(Shift(), cr.spec("N", 4))
    np.testing.assert_array_equal(net(np.zeros((1, 4), np.float32))[0], table(4) + table(4))


def test_a_module_needs_no_call_of_its_bases_init() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.inner = nn.Linear(3, 2)

        def __call__(self, x: cr.Tensor) -> cr.Tensor:
            return self.inner(x)

    model = Net()
    assert [name for name, _ in model.named_parameters()] == ["inner.weight", "inner.bias"]
    assert cr.compile(model, cr.spec("N", 3))(table(5, 3)).shape == (5, 2)


def test_a_size_is_found_from_a_multiple_of_it() -> None:
    net = cr.compile(lambda x: x.reshape("N", 2), cr.spec("2*N"))
    assert net(table(8)).shape == (4, 2)


def test_an_image_below_a_window_of_unknown_size_gives_an_empty_result() -> None:
    net = cr.compile(lambda x: cr.avg_pool2d(x, 3), cr.spec(1, 1, "H", "W"))
    assert net(table(1, 1, 2, 7)).shape == (1, 1, 0, 2)

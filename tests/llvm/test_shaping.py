"""Compiled slices, flips, pads, concatenations and transposes are those of the reference, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from chainrule.backends.llvm.kernels import transpose as transposes_module
from chainrule.backends.llvm.kernels.transpose import merged_permutation
from chainrule.backends.llvm.target import host_target, named_target
from chainrule.errors import ShapeError
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import tensor
from chainrule.ops.elementwise import add
from chainrule.ops.shaping import Concat, Flip, Pad, Slice, Transpose, concat, narrow, slice_sized, transpose
from tests.llvm.compiled import complaints, executable
from tests.llvm.guarded_programs import guarded_complaints
from tests.ops.sample import Sample, integers, normal
from tests.ops.samples import SAMPLES

FAMILIES = (
    ("slice", "flip", "pad", "transpose"), ("concat", "reshape", "expand"),
    ("pad_border", "tile"), ("iota", "one_hot", "trilu"),
)  # fmt: skip
NO_SHAPE_ATTRIBUTES = ("slice", "flip", "pad", "transpose", "concat", "trilu", "one_hot")


def of(*names: str) -> list[Sample]:
    """All registry samples of these ops."""
    return [s for s in SAMPLES if s.op.name in names]


def slices() -> list[Sample]:
    """Slices whose rows are shorter and longer than a vector, by steps, of several element sizes."""
    found: list[Sample] = []
    for width in (1, 3, 16, 17, 40, 100):
        x = normal(3, 4, width)
        half = (width + 1) // 2
        found += [
            Sample(Slice((1, 0, 0), (2, 3, width), (1, 1, 1)), (x,), f"rows of {width}"),
            Sample(Slice((0, 1, width - half), (3, 2, half), (1, 2, 1)), (x,), f"the end of {width}"),
            Sample(Slice((0, 0, 0), (3, 4, half), (1, 1, 2)), (x,), f"every second of {width}"),
            Sample(Slice((0, 0, width - 1), (3, 4, 1), (1, 1, 7)), (x,), f"one of {width}"),
        ]
    wide = integers(-100, 100, 2, 700, dtype="int8")
    found += [
        Sample(Slice((0, 5), (2, 690), (1, 1)), (wide,), "bytes"),
        Sample(Slice((0, 2), (2, 99), (1, 7)), (wide,), "bytes by 7"),
        Sample(Slice((3, 0), (2, 2000), (1, 1)), (normal(6, 2000, dtype="float64"),), "one long row"),
    ]
    return found


def flips() -> list[Sample]:
    """Flips of short and long rows."""
    found: list[Sample] = []
    for width in (1, 7, 16, 33, 130):
        x = normal(2, 3, width)
        found += [Sample(Flip(axes), (x,), f"{axes} of {width}") for axes in ((2,), (1,), (0, 1), (1, 2), (0, 1, 2))]
    return found


def pads() -> list[Sample]:
    """Pads and cuts on every axis."""
    found: list[Sample] = []
    for width in (1, 15, 16, 50):
        x = normal(2, 3, width)
        for before, after in (((0, 0, 1), (0, 0, 1)), ((0, 2, 0), (0, 1, 0)), ((1, 0, 3), (0, 2, -1)),
                              ((-1, 1, 20), (2, -1, 17)),
                              ((0, 0, -width), (0, 0, 3)), ((0, -3, 0), (0, 1, 0))):  # fmt: skip
            found.append(Sample(Pad(before, after, 2.5), (x,), f"{before} {after} of {width}"))
    found.append(Sample(Pad((3,), (9000,), -1.0), (normal(8001),), "one long row"))
    return found


def joins() -> list[Sample]:
    """Concatenations of narrow and wide parts."""
    return [
        Sample(Concat(1), (normal(5, 3), normal(5, 40), normal(5, 0), normal(5, 16)), "columns"),
        Sample(Concat(1), (normal(2, 3, 7, 7), normal(2, 5, 7, 7)), "channels"),
        Sample(Concat(0), (normal(70, 80), normal(3, 80)), "long parts"),
        Sample(Concat(2), (integers(0, 9, 40, 3, 1, dtype="uint8"), integers(0, 9, 40, 3, 65, dtype="uint8")), "bytes"),
    ]


def transposes() -> list[Sample]:
    """Matrices and batches of them, with and without ragged tiles, of every element size."""
    found: list[Sample] = []
    for dtype in ("float32", "float64", "float16", "int8", "int64", "uint16", "bool"):
        for rows, columns in ((16, 16), (35, 50), (3, 40), (40, 5), (64, 8)):
            x = normal(rows, columns).astype(dtype) if dtype != "int8" else integers(-9, 9, rows, columns, dtype=dtype)
            found.append(Sample(Transpose((1, 0)), (x,), f"{dtype} {rows} by {columns}"))
    shape = (3, 1, 18, 5, 20)
    for perm in ((0, 2, 3, 4, 1), (4, 3, 2, 1, 0), (0, 4, 1, 2, 3), (2, 0, 1, 3, 4), (3, 4, 0, 1, 2), (0, 3, 2, 1, 4)):
        found.append(Sample(Transpose(perm), (normal(*shape),), f"{perm}"))
    return found


MADE: list[tuple[str, Callable[[], list[Sample]]]] = [
    ("slices", slices), ("flips", flips), ("pads", pads), ("joins", joins), ("transposes", transposes)]  # fmt: skip


@pytest.mark.parametrize("names", FAMILIES, ids="-".join)
def test_every_sample_compiles_to_what_the_reference_gives(names: tuple[str, ...]) -> None:
    assert complaints(of(*names)) == []


@pytest.mark.parametrize("names", list(NO_SHAPE_ATTRIBUTES))
def test_samples_hold_where_sizes_are_symbols(names: str) -> None:
    assert complaints(of(names), symbolic=True) == []


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MADE])
def test_rows_of_all_lengths_are_moved(make: Callable[[], list[Sample]]) -> None:
    assert complaints(make()) == []


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MADE])
def test_rows_of_unknown_lengths_are_moved(make: Callable[[], list[Sample]]) -> None:
    assert complaints(make(), symbolic=True) == []


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MADE])
@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v2"])
def test_older_machines_move_the_same(make: Callable[[], list[Sample]], target: str) -> None:
    assert complaints(make()[::3], target=named_target(target)) == []


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MADE])
def test_no_byte_beside_the_arrays_is_touched(make: Callable[[], list[Sample]]) -> None:
    samples = make()[::4]
    assert guarded_complaints(samples) == []
    assert guarded_complaints(samples[:3], symbolic=True) == []


def test_stores_past_the_caches_move_the_same() -> None:
    whole, part = (normal(5, 32), normal(5, 48), normal(5, 16)), (normal(5, 32), normal(5, 7))
    samples = [Sample(Concat(1), whole), Sample(Concat(1), part), Sample(Flip((1,)), (normal(5, 64),)),
               Sample(Slice((1, 16), (3, 64), (1, 1)), (normal(5, 96),))]  # fmt: skip
    assert complaints(samples, target=replace(host_target(), l3=256)) == []


def test_tiles_of_large_arrays_are_turned_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transposes_module, "FAR_BYTES", 0)
    doubles, halves = normal(2, 40, 64).astype(np.float64), normal(33, 192).astype(np.float16)
    arrays = [normal(2, 37, 128), normal(64, 50), doubles, halves]
    samples = [Sample(Transpose((0, 2, 1) if x.ndim == 3 else (1, 0)), (x,)) for x in arrays]
    assert complaints(samples) == []


def test_any_number_of_threads_moves_the_same() -> None:
    samples = [Sample(Transpose((0, 2, 1)), (normal(3, 300, 211),)), Sample(Pad((0, 1), (5, 2)), (normal(400, 111),)),
               Sample(Concat(0), (normal(90, 300), normal(200, 300)))]  # fmt: skip
    for threads in (1, 2, 3):
        assert complaints(samples, threads=threads) == []


def test_axes_that_stay_together_are_transposed_as_one() -> None:
    assert merged_permutation((8, 64, 56, 56), (0, 2, 3, 1)) == ((8, 64, 3136), (0, 2, 1))
    assert merged_permutation((1, 64, 56, 56), (0, 2, 3, 1)) == ((64, 3136), (1, 0))
    assert merged_permutation((4, 1, 5), (1, 0, 2)) == ((20,), (0,))
    assert merged_permutation((1, 1), (1, 0)) == ((1,), (0,))


def test_a_slice_beyond_an_axis_of_unknown_size_names_the_op_and_the_line() -> None:
    x = new_input("x", tensor("f32", ("N", 3)))
    made = executable(Graph("g", (x,), (slice_sized(x, (2, 0), (4, 3)),)))
    np.testing.assert_array_equal(made.run([normal(7, 3)])[0], normal(7, 3)[2:6])
    with pytest.raises(ShapeError, match="slice: the slice leaves its axis") as caught:
        made.run([normal(5, 3)])
    assert caught.value.loc is not None and caught.value.loc.file == __file__
    np.testing.assert_array_equal(made.run([normal(6, 3)])[0], normal(6, 3)[2:6])


def test_movements_between_elementwise_ops_keep_their_place() -> None:
    def model(x: Value, y: Value) -> Value:
        joined = concat([add(x, y), transpose(y)], 1)
        return add(narrow(joined, 1, 3, 20), narrow(joined, 1, 0, 20))

    x, y = (new_input(name, tensor("f32", (20, 20))) for name in "xy")
    a, b = normal(20, 20), normal(20, 20, seed=1)
    whole = np.concatenate([a + b, b.T], 1)
    np.testing.assert_array_equal(
        executable(Graph("g", (x, y), (model(x, y),))).run([a, b])[0], whole[:, 3:23] + whole[:, :20]
    )

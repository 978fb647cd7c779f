"""Compiled gathers and scatters: the reference's values, and errors instead of reads elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from chainrule.backends.llvm.target import named_target
from chainrule.errors import ArgumentError
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import tensor, type_of
from chainrule.ops.indexing import (
    Gather,
    IndexAdd,
    Scatter,
    ScatterAdd,
    TakeAlongAxis,
    gather,
    gather_elements,
    index_add,
    scatter,
    scatter_add,
)
from chainrule.ops.indexing_nd import gather_nd
from tests.llvm.compiled import complaints, executable
from tests.llvm.guarded_programs import guarded_complaints
from tests.ops.sample import Sample, integers, normal
from tests.ops.samples import SAMPLES

OPS = ("gather", "embedding", "index_add", "take_along_axis", "scatter_add", "scatter", "gather_nd", "scatter_nd")


@pytest.mark.parametrize(("op", "shape"), [(gather, (3,)), (gather_elements, (3, 64))])
def test_the_rows_that_are_taken_count_and_not_the_table(op: Callable[..., Value], shape: tuple[int, ...]):
    table, chosen = new_input("table", tensor("f32", ("V", 64))), new_input("chosen", tensor("i64", shape))
    bound = executable(Graph("g", (table, chosen), (op(table, chosen, 0),))).bound({"V": 10_000})
    copied = 2 * 4 * 3 * 64
    assert sum(step.moved for step in bound.steps) == copied + 8 * int(np.prod(shape))


def gathers() -> list[Sample]:
    """Rows of all lengths, by every kind of index, on every axis."""
    found: list[Sample] = []
    for width in (1, 5, 16, 21, 80):
        x = normal(9, width)
        found += [Sample(Gather(0), (x, integers(-9, 9, 4, 3, seed=width)), f"rows of {width}"),
                  Sample(Gather(1), (x, integers(-width, width, 7, dtype="int32")), f"columns of {width}")]  # fmt: skip
    for dtype in ("int8", "int16", "uint8", "uint16", "uint32", "uint64"):
        found.append(Sample(Gather(1), (normal(2, 5, 3), integers(0, 5, 6, dtype=dtype)), f"by {dtype}"))
    return [*found, Sample(Gather(0), (normal(4, 3) > 0, integers(0, 4, 5)), "bools"),
            Sample(Gather(0), (normal(50, 300).astype("float16"), integers(0, 50, 70)), "half precision")]  # fmt: skip


def takes() -> list[Sample]:
    """One element for each index, along every axis, also from parts of x."""
    found: list[Sample] = []
    for axis, shape in ((0, (7, 4, 18)), (1, (5, 9, 17)), (2, (4, 3, 40)), (2, (5, 4, 1))):
        x = normal(5, 4, 18)
        at = integers(-x.shape[axis], x.shape[axis], *(min(n, m) if i != axis else n for i, (n, m) in enumerate(
            zip(shape, x.shape, strict=True))), seed=axis)  # fmt: skip
        found += [
            Sample(TakeAlongAxis(axis), (x, at), f"axis {axis} {shape}"),
            Sample(ScatterAdd(axis), (x, at, normal(*at.shape)), f"axis {axis} {shape}"),
            Sample(Scatter(axis), (x, at, normal(*at.shape)), f"axis {axis} {shape}"),
        ]
    line = integers(0, 30, 400)
    return [*found, Sample(TakeAlongAxis(0), (normal(30), line), "a line"),
            Sample(ScatterAdd(0), (normal(30), line, normal(400)), "a line")]  # fmt: skip


def sums() -> list[Sample]:
    """Rows added up, many at one place; half precision in f32."""
    found: list[Sample] = []
    for width in (1, 3, 16, 30, 300):
        at = integers(0, 6, 40, seed=width)
        found += [Sample(IndexAdd((6, width)), (at, normal(40, width)), f"rows of {width}"),
                  Sample(IndexAdd((3, 6, width), 1), (at, normal(3, 40, width)), f"batches of {width}")]  # fmt: skip
    return [*found, Sample(IndexAdd((6, 20)), (integers(0, 6, 90), normal(90, 20).astype("float16")), "half precision"),
            Sample(IndexAdd((6,)), (integers(0, 6, 900), integers(-5, 5, 900)), "integers")]  # fmt: skip


MADE: list[tuple[str, Callable[[], list[Sample]]]] = [("gathers", gathers), ("takes", takes), ("sums", sums)]


@pytest.mark.parametrize("name", OPS)
def test_every_sample_compiles_to_what_the_reference_gives(name: str) -> None:
    assert complaints([s for s in SAMPLES if s.op.name == name]) == []


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MADE])
def test_positions_of_all_kinds_are_met(make: Callable[[], list[Sample]]) -> None:
    assert complaints(make()) == []


@pytest.mark.parametrize("make", [gathers])
def test_sizes_may_be_symbols(make: Callable[[], list[Sample]]) -> None:
    assert complaints(make(), symbolic=True) == []


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MADE])
@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v2"])
def test_older_machines_find_the_same(make: Callable[[], list[Sample]], target: str) -> None:
    assert complaints(make()[::3], target=named_target(target)) == []


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in MADE])
def test_no_byte_beside_the_arrays_is_touched(make: Callable[[], list[Sample]]) -> None:
    assert guarded_complaints(make()[::3]) == []


def test_sums_are_the_same_for_any_number_of_threads() -> None:
    at = integers(0, 500, 3000)
    values, row = new_input("values", tensor("f32", (3000, 700))), new_input("at", type_of(at))
    graph = Graph("g", (row, values), (index_add((500, 700), row, values),))
    given = normal(3000, 700)
    first = executable(graph, threads=1).run([at, given])[0]
    for threads in (2, 3):
        assert executable(graph, threads=threads).run([at, given])[0].tobytes() == first.tobytes()


WRONG: list[tuple[str, Callable[[Value, Value], Value], tuple[int, ...]]] = [
    ("gather", lambda x, at: gather(x, at, 0), (3,)),
    ("gather", lambda x, at: gather(x, at, 1), (3,)),
    ("take_along_axis", lambda x, at: gather_elements(x, at, 0), (3, 4)),
    ("scatter_add", lambda x, at: scatter_add(x, at, x, 0), (5, 4)),
    ("scatter", lambda x, at: scatter(x, at, x, 1), (5, 4)),
    ("index_add", lambda x, at: index_add((4, 4), at, x, 0), (5,)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "model", "shape"), WRONG)
@pytest.mark.parametrize("wrong", [5, -6, 2**40, -(2**63)])
def test_an_index_out_of_range_is_an_error_that_names_the_op(
    name: str, model: Callable[[Value, Value], Value], shape: Sequence[int], wrong: int
) -> None:
    x, at = new_input("x", tensor("f32", (5, 4))), new_input("at", tensor("i64", tuple(shape)))
    made = executable(Graph("g", (x, at), (model(x, at),)))
    indices = np.zeros(shape, np.int64)
    made.run([normal(5, 4), indices])
    indices[(-1,) * len(shape)] = wrong
    with pytest.raises(ArgumentError, match=f"^{name}: an index is out of range for axis [01] of size [45]") as caught:
        made.run([normal(5, 4), indices])
    assert caught.value.loc is not None and caught.value.loc.file == __file__
    assert caught.value.help == "an index lies in [-size, size) of its axis"


def test_large_unsigned_indices_do_not_count_from_the_end() -> None:
    x, at = new_input("x", tensor("f32", (5, 4))), new_input("at", tensor("u64", (2,)))
    made = executable(Graph("g", (x, at), (gather(x, at, 0),)))
    with pytest.raises(ArgumentError, match="out of range"):
        made.run([normal(5, 4), np.array([0, 2**64 - 1], np.uint64)])


def test_every_index_into_an_empty_axis_is_out_of_range() -> None:
    x, at = new_input("x", tensor("f32", ("N", 4))), new_input("at", tensor("i64", ("M",)))
    made = executable(Graph("g", (x, at), (gather(x, at, 0),)))
    assert made.run([normal(0, 4), integers(0, 1, 0)])[0].shape == (0, 4)
    with pytest.raises(ArgumentError, match="out of range for axis 0 of size 0"):
        made.run([normal(0, 4), integers(0, 1, 2)])


def test_a_tuple_with_one_part_out_of_range_is_an_error() -> None:
    x, at = new_input("x", tensor("f32", (3, 4))), new_input("at", tensor("i64", (2, 2)))
    made = executable(Graph("g", (x, at), (gather_nd(x, at),)))
    with pytest.raises(ArgumentError, match="out of range"):
        made.run([normal(3, 4), np.array([[0, 1], [1, 4]])])

"""The table of promotion holds for every pair of element types."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.errors import ArgumentError, DTypeError
from chainrule.frontend.promotion import promoted, weakly_promoted
from chainrule.frontend.trace import spec, trace
from chainrule.ir.types import ALL_DTYPES, BY_NAME, DType

PAIRS = [(a, b) for a in ALL_DTYPES for b in ALL_DTYPES
         if {a.kind, b.kind} != {"i", "u"} or "u64" not in (a.name, b.name)]  # fmt: skip


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=lambda t: t.name)
def test_promotion_is_symmetric_and_keeps_to_the_table(a: DType, b: DType) -> None:
    found = promoted(a, b)
    assert found == promoted(b, a)
    if a == b or b.is_bool or (a.is_float and not b.is_float):
        assert found == a
    elif not a.is_bool and not (a.is_float or b.is_float):
        expected = np.result_type(a.numpy, b.numpy)
        assert found.numpy == expected


def test_two_half_types_meet_in_f32() -> None:
    assert promoted(BY_NAME["f16"], BY_NAME["bf16"]).name == "f32"


def test_u64_with_a_signed_type_is_refused() -> None:
    with pytest.raises(DTypeError, match="u64 and i8 have no common integer type"):
        promoted(BY_NAME["u64"], BY_NAME["i8"])


@pytest.mark.parametrize(
    ("strong", "number", "wanted"),
    [("f16", 2.5, "f16"), ("f64", 2, "f64"), ("i8", 2, "i8"), ("i8", 2.5, "f32"), ("bool", 2, "i64"),
     ("bool", 1.5, "f32"), ("bool", True, "bool"), ("u8", True, "u8"), (None, 1, "i64"), (None, 1.0, "f32"),
     (None, True, "bool"), ("f32", np.float64(2), "f32")],
)  # fmt: skip
def test_numbers_take_the_tensors_type(strong: str | None, number: object, wanted: str) -> None:
    assert weakly_promoted(None if strong is None else BY_NAME[strong], number).name == wanted


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ArgumentError, match="add: 300 does not fit into u8"):
        trace(lambda x: x + 300, spec(2, dtype="u8"))


def test_arrays_keep_their_own_type() -> None:
    traced = trace(lambda x: x + np.ones(2, np.float64), spec(2))
    assert str(traced.graph.outputs[0].type) == "f64[2]"

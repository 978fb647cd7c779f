"""Nested values are flattened to leaves and built again."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass

import pytest

from chainrule.errors import ArgumentError
from chainrule.frontend.structure import flatten

Point = namedtuple("Point", "x y")


@dataclass(frozen=True)
class Pair:
    left: object
    right: object


NESTED = [5, (1, 2), [1, [2, 3]], {"a": 1, "b": (2, None)}, Point(1, [2]), Pair(1, {"k": 2}), None, ()]


@pytest.mark.parametrize("value", NESTED, ids=repr)
def test_a_nested_value_is_built_again_from_its_leaves(value: object) -> None:
    leaves, form = flatten(value)
    assert form.count == len(leaves)
    assert form.build(leaves) == value


def test_paths_name_each_leaf() -> None:
    _, form = flatten({"a": (1, 2), "b": Point(3, Pair(4, None))})
    assert list(form.paths()) == ["a.0", "a.1", "b.0", "b.1.left"]


def test_leaves_of_a_value_of_the_same_form_come_in_the_first_ones_order() -> None:
    _, form = flatten({"a": 1, "b": 2})
    assert form.leaves_of({"b": 20, "a": 10}) == [10, 20]


def test_a_list_may_be_given_for_a_tuple() -> None:
    _, form = flatten((1, 2))
    assert form.leaves_of([3, 4]) == [3, 4]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((1, 2, 3), "x: entries 0, 1 were expected, 0, 1, 2 were given"),
        ({"a": 1}, "x: tuple of 2 was expected, dict was given"),
        (5, "x: tuple of 2 was expected, one value was given"),
    ],
)
def test_a_value_of_another_form_is_refused_with_its_place(given: object, message: str) -> None:
    _, form = flatten((1, 2))
    with pytest.raises(ArgumentError) as caught:
        form.leaves_of(given, "x")
    assert caught.value.cause == message

"""Programs as steps: flattening, where threads meet, what is refused."""

from __future__ import annotations

import pytest

from chainrule.backends.llvm.runtime import (
    Advance,
    Branch,
    Call,
    Copy,
    Jump,
    JumpUnless,
    Loop,
    SetCounter,
    Slice,
    Step,
    StoreCounter,
    While,
    Zero,
    flatten,
)
from chainrule.backends.llvm.runtime_steps import barriers, encode
from chainrule.errors import ArgumentError

WIDE = Call(1, 8, False, (0,))
LONE = Call(1, 1, True, (0,))


def test_a_loop_becomes_a_counter_and_a_backward_jump() -> None:
    assert flatten([Loop(0, 3, (WIDE, LONE))]) == (SetCounter(0, 0), WIDE, LONE, Advance(0, 3, 1))


def test_a_loop_of_no_turns_disappears() -> None:
    assert flatten([Loop(0, 0, (WIDE,)), LONE]) == (LONE,)


def test_a_while_tests_first_and_after_every_turn() -> None:
    assert flatten([While((LONE,), 1, (WIDE,)), LONE]) == (LONE, JumpUnless(1, 4), WIDE, Jump(0), LONE)


def test_a_branch_skips_one_of_its_sides() -> None:
    assert flatten([Branch(0, (WIDE,), (LONE, LONE)), WIDE]) == (
        JumpUnless(0, 3), WIDE, Jump(5), LONE, LONE, WIDE,
    )  # fmt: skip
    assert flatten([Branch(0, (WIDE,)), LONE]) == (JumpUnless(0, 2), WIDE, LONE)


def test_structured_steps_nest() -> None:
    inner = Loop(1, 2, (Branch(0, (LONE,)),))
    assert flatten([Loop(0, 5, (inner, WIDE))]) == (
        SetCounter(0, 0), SetCounter(1, 0), JumpUnless(0, 4), LONE, Advance(1, 2, 2), WIDE, Advance(0, 5, 1),
    )  # fmt: skip


def test_a_nest_of_ten_thousand_loops_is_flattened() -> None:
    step: Step = LONE
    for _ in range(10_000):
        step = Loop(0, 2, (step,))
    assert len(flatten([step])) == 20_001


def test_threads_meet_between_steps_that_they_share() -> None:
    assert barriers((WIDE, WIDE, LONE, WIDE)) == (True, True, True, False)


def test_threads_do_not_meet_between_steps_of_one_thread() -> None:
    assert barriers((LONE, Zero(0, 8), Copy(0, 1, 8), StoreCounter(0, 0), LONE)) == (False,) * 5


def test_a_large_copy_is_shared() -> None:
    assert barriers((Copy(0, 1, 1 << 20), Zero(0, 1 << 20), LONE)) == (True, True, False)


def test_threads_meet_before_and_after_a_condition_is_read() -> None:
    assert barriers(flatten([While((LONE,), 1, (LONE,))])) == (True, True, False, False)


def test_what_follows_a_loop_and_what_begins_it_both_count() -> None:
    assert barriers(flatten([Loop(0, 9, (LONE,)), LONE]))[1] is False
    assert barriers(flatten([Loop(0, 9, (LONE,)), WIDE]))[1] is True
    assert barriers(flatten([Loop(0, 9, (WIDE, LONE))]))[1:3] == (True, True)


def test_a_slice_that_does_not_move_is_the_buffer_itself() -> None:
    assert encode([Zero(Slice(3), 8)], 4, 0) == encode([Zero(3, 8)], 4, 0)


@pytest.mark.parametrize(
    "step",
    [
        Zero(4, 8),
        Zero(-1, 8),
        Zero(0, -8),
        Copy(0, Slice(9, 0, 4), 8),
        Call(0, 1, True, (0,)),
        Call(1, -1, True, (0,)),
        Call(1, 1, True, (4,)),
        Jump(3),
        Jump(-1),
        JumpUnless(0, 9),
        SetCounter(-1, 0),
        Advance(1 << 16, 3, 0),
    ],
)
def test_a_step_that_names_what_is_not_there_is_refused(step: Step) -> None:
    with pytest.raises(ArgumentError):
        encode(flatten([step]), 4, 0)

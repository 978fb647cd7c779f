"""Every algorithm of convolutions, forced in turn over random geometry, stays within its class and its arrays."""

from __future__ import annotations

import pytest

from tests.llvm.random_convolutions import WAYS, fault

EACH_RUN, EACH_NIGHT = 2, 40


@pytest.mark.parametrize("name", WAYS)
def test_a_random_convolution_is_right_by_this_algorithm(name: str) -> None:
    assert [wrong for seed in range(EACH_RUN) if (wrong := fault(name, seed))] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
def test_many_random_convolutions_are_right_by_this_algorithm(name: str) -> None:
    assert [wrong for seed in range(EACH_RUN, EACH_RUN + EACH_NIGHT) if (wrong := fault(name, seed))] == []

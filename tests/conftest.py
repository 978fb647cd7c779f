"""Options and hypothesis profiles of the whole suite."""

from __future__ import annotations

import os
import time
from pathlib import Path

import hypothesis
import pytest

# No profile has a deadline: a compile in the middle of an example is not a fault, and no test asserts a time.
hypothesis.settings.register_profile("dev", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("long", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

# The user's own compile cache is left alone; one in the checkout still spares a second run the compiles.
os.environ.setdefault("CHAINRULE_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "chainrule"))

_END_TIME = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--bless` rewrites golden texts; `--seconds` bounds a run: what has not begun by then is skipped, and said so."""
    parser.addoption("--bless", action="store_true", help="rewrite the golden texts with what the code now prints")
    parser.addoption("--seconds", type=float, default=None, help="skip the tests that have not begun after SECONDS")


def pytest_configure(config: pytest.Config) -> None:
    seconds = config.getoption("--seconds")
    if seconds is not None:
        config.stash[_END_TIME] = time.monotonic() + seconds


def pytest_runtest_setup(item: pytest.Item) -> None:
    if time.monotonic() > item.config.stash.get(_END_TIME, float("inf")):
        pytest.skip("the time given with --seconds is over")


@pytest.fixture
def bless(request: pytest.FixtureRequest) -> bool:
    """True when the run was asked to rewrite golden texts instead of comparing with them."""
    return bool(request.config.getoption("--bless"))

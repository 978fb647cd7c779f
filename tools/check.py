"""Everything that must hold before a change lands: lint, types, import layers, tests. Run it with the project's Python.

    python tools/check.py                   all four; every check runs even when an earlier one has failed
    python tools/check.py lint types        the named ones only
    python tools/check.py tests --slow      the tests marked slow, which an ordinary run leaves out
    python tools/check.py tests -- -k conv  what follows -- goes to pytest

Exits with 0 only if every check that ran has passed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NO_TESTS_COLLECTED = 5  # pytest's exit code


@dataclass(frozen=True)
class Check:
    """One check: its name and the command that does it, run in the root folder."""

    name: str
    command: tuple[str, ...]
    passing_codes: tuple[int, ...] = (0,)


def list_checks(*, slow: bool, seconds: float | None, pytest_words: Sequence[str]) -> tuple[Check, ...]:
    """All checks in the order of running: the quick ones first, the tests last, so that their summary ends the run."""
    lint_imports = str(Path(sysconfig.get_path("scripts")) / "lint-imports")
    pytest = [sys.executable, "-m", "pytest", "-q", "-n", str(workers()), "--dist", "worksteal"]
    if slow:
        pytest += ["-m", "slow", "--durations=10"]
    if seconds is not None:
        pytest += ["--seconds", str(seconds)]
    return (
        Check("lint", (sys.executable, "-m", "ruff", "check", "--quiet")),
        Check("types", (sys.executable, "-m", "pyright", "--pythonpath", sys.executable)),
        Check("layers", (lint_imports,)),
        Check("tests", (*pytest, *pytest_words), (0, NO_TESTS_COLLECTED) if slow else (0,)),
    )


def workers() -> int:
    """Processes that share the tests: as many as there are cores, up to four, as each compiles for itself."""
    return min(4, len(os.sched_getaffinity(0)))


def run_check(check: Check) -> bool:
    """Runs one check, its output going where ours goes, and says whether it passed."""
    print(f"== {check.name}", flush=True)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH", "")))),
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",  # it would ask a registry for a newer version of itself
    }
    begin = time.monotonic()
    code = subprocess.run(check.command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
    passed = code in check.passing_codes
    print(f"== {check.name}: {'ok' if passed else f'FAILED ({code})'} in {time.monotonic() - begin:.0f} s", flush=True)
    return passed


def main(words: Sequence[str]) -> int:
    names = [check.name for check in list_checks(slow=False, seconds=None, pytest_words=())]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(names)}; all when none is named")
    parser.add_argument("--slow", action="store_true", help="run the tests marked slow instead of the others")
    parser.add_argument("--seconds", type=float, help="skip the tests that have not begun after so long")
    own, pytest_words = split_at_dashes(words)
    arguments = parser.parse_args(own)
    unknown = set(arguments.checks) - set(names)
    if unknown:
        parser.error(f"no such check: {', '.join(sorted(unknown))} (there are {', '.join(names)})")
    checks = list_checks(slow=arguments.slow, seconds=arguments.seconds, pytest_words=pytest_words)
    failed = [c.name for c in checks if c.name in (arguments.checks or names) and not run_check(c)]
    if failed:
        print(f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def split_at_dashes(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before the first `--`, and those after it."""
    if "--" not in words:
        return list(words), []
    at = list(words).index("--")
    return list(words[:at]), list(words[at + 1 :])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

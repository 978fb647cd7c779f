"""The one runner of all checks, and CI's script: both pass only when everything that ran has passed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import check

ROOT = Path(__file__).parents[2]


def fake_checks(*codes: int) -> tuple[check.Check, ...]:
    """Checks that end with these exit codes."""
    return tuple(check.Check(f"c{n}", (sys.executable, "-c", f"raise SystemExit({c})")) for n, c in enumerate(codes))


def run_ci(folder: Path, demo: str, tests: str) -> subprocess.CompletedProcess[str]:
    """Runs CI's script in a repository that holds no more than a README with these two commands."""
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    (folder / "README.md").write_text(f"text\n```sh\n{demo}\n```\n\n```sh\n{tests}\n```\n", encoding="utf-8")
    for words in (["init", "-q"], ["add", ".ci/run", "README.md"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    environment = os.environ | {"CHAINRULE_CI_SECONDS": "100", "PIP_FIND_LINKS": "nowhere", "PYTEST_ADDOPTS": "-x"}
    command = ["bash", str(folder / ".ci" / "run")]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_every_check_runs_even_after_one_has_failed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr(check, "list_checks", lambda **_: fake_checks(1, 0, 2))
    assert check.main([]) == 1
    out = capfd.readouterr().out
    assert "c0: FAILED (1)" in out
    assert "c1: ok" in out
    assert out.endswith("failed: c0, c2\n")


def test_the_run_passes_when_every_check_has_passed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(check, "list_checks", lambda **_: fake_checks(0, 0))
    assert check.main([]) == 0


def test_only_the_named_checks_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(check, "list_checks", lambda **_: fake_checks(0, 1))
    assert check.main(["c0"]) == 0
    assert check.main(["c1"]) == 1


def test_an_unknown_check_is_refused(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        check.main(["lnit"])
    assert stop.value.code == 2
    assert "no such check: lnit (there are lint, types, layers, tests)" in capfd.readouterr().err


def test_words_after_two_dashes_go_to_pytest():
    own, pytest_words = check.split_at_dashes(["tests", "--slow", "--", "-k", "conv", "--", "x"])
    assert own == ["tests", "--slow"]
    assert pytest_words == ["-k", "conv", "--", "x"]
    tests = check.list_checks(slow=False, seconds=None, pytest_words=pytest_words)[-1]
    assert tests.command[-4:] == ("-k", "conv", "--", "x")


def test_a_run_without_tests_passes_only_when_slow_ones_were_asked_for():
    assert check.list_checks(slow=True, seconds=1, pytest_words=())[-1].passing_codes == (0, 5)
    assert check.list_checks(slow=False, seconds=None, pytest_words=())[-1].passing_codes == (0,)


def test_ci_runs_the_second_command_in_a_copy_of_the_tracked_files(tmp_path: Path):
    (tmp_path / "untracked").touch()
    tests = "python3 -m venv --help > /dev/null && ls -A && env && cat && echo '2 passed in 0.01s'"
    done = run_ci(tmp_path, "python3 -m venv --demo", tests)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[:3] == [f"$ {tests}", ".ci", "README.md"]
    assert "CI=true" in lines
    assert not [line for line in lines if line.startswith(("PIP_FIND_LINKS=", "PYTEST_ADDOPTS="))]
    assert lines[-1] == "2 passed in 0.01s"


def test_ci_fails_when_the_command_fails(tmp_path: Path):
    done = run_ci(tmp_path, "python3 -m venv --demo", "python3 -m venv --help > /dev/null && exit 3")
    assert done.returncode == 3
    assert done.stdout.endswith("the exit code is 3\nno test ran\n")


def test_ci_refuses_a_readme_with_another_number_of_commands(tmp_path: Path):
    done = run_ci(tmp_path, "chainrule demo", "python3 -m venv .venv")
    assert done.returncode == 1
    assert "exactly two commands" in done.stdout

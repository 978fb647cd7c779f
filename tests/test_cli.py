"""The command line: what it answers, what it refuses, and how it fails."""

import argparse
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import chainrule
from chainrule import cli
from chainrule.backends.llvm.cache import default_cache
from chainrule.errors import ArgumentError


def call(*words: str) -> tuple[int, str, str]:
    """The exit code, stdout and stderr of one call."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = cli.main(words)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    return code, out.getvalue(), err.getvalue()


class Failing:
    """A command that does what users see when something is wrong."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        pass

    def run(self, arguments: argparse.Namespace) -> int:
        raise self.error


def test_help_lists_every_command_with_its_summary():
    code, out, _ = call("--help")
    assert code == 0
    for command in cli.COMMANDS:
        assert command.name in out
        assert command.summary in " ".join(out.split())


def test_no_words_print_the_help():
    assert call() == (0, call("--help")[1], "")


def test_version_is_the_packages():
    assert call("--version") == (0, f"chainrule {chainrule.__version__}\n", "")


@pytest.mark.parametrize("command", [command.name for command in cli.COMMANDS])
def test_every_listed_command_exists_and_explains_itself(command: str):
    code, out, _ = call(command, "--help")
    assert code == 0
    assert out.startswith(f"usage: chainrule {command}")
    assert "--json" in out


def test_an_unknown_command_is_refused_with_the_known_ones():
    code, out, err = call("complie")
    assert code == 2
    assert out == ""
    assert "'complie'" in err
    assert all(command.name in err for command in cli.COMMANDS)


def test_an_error_is_one_clear_message_without_a_traceback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli, "load_command", lambda name: Failing(ArgumentError("run: no input x", help="pass x")))
    assert call("info") == (1, "", "ArgumentError: run: no input x\n   help: pass x\n")


def test_an_error_is_json_on_request(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli, "load_command", lambda name: Failing(ArgumentError("run: no input x")))
    code, out, _ = call("info", "--json")
    assert code == 1
    assert json.loads(out) == {"error": {"kind": "ArgumentError", "message": "run: no input x"}}


def test_traceback_lets_the_error_through(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli, "load_command", lambda name: Failing(ArgumentError("run: no input x")))
    with pytest.raises(ArgumentError):
        call("info", "--traceback")


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch):
    missing = FileNotFoundError(2, "No such file or directory", "net.onnx")
    monkeypatch.setattr(cli, "load_command", lambda name: Failing(missing))
    code, _, err = call("info")
    assert code == 1
    assert err == "FileNotFoundError: [Errno 2] No such file or directory: 'net.onnx'\n"


def test_our_own_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli, "load_command", lambda name: Failing(AssertionError("a bug")))
    with pytest.raises(AssertionError):
        call("info")


def test_ctrl_c_ends_quietly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli, "load_command", lambda name: Failing(KeyboardInterrupt()))
    assert call("info") == (130, "", "stopped\n")


def test_info_names_versions_and_processor():
    code, out, _ = call("info", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["chainrule"] == chainrule.__version__
    assert facts["cores"] >= 1
    assert "features" in facts
    for name, value in facts.items():
        assert str(value) in call("info")[1], name


def test_cache_lists_locates_and_clears_what_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("CHAINRULE_NO_CACHE", raising=False)
    folder = tmp_path / "objects"
    assert call("cache", "dir") == (0, f"{folder}\n", "")
    assert call("cache", "ls") == (0, f"0 entries, 0 B, in {folder}\n", "")
    assert not folder.exists()

    assert default_cache().put("key", bytes(3000))
    (row,) = json.loads(call("cache", "ls", "--json")[1])
    assert row["size_bytes"] > 3000
    listed = call("cache", "ls")[1].splitlines()
    assert listed[0].split()[:3] == [row["name"][:16], "3.0", "KiB"]
    assert listed[1] == f"1 entry, 3.0 KiB, in {folder}"

    assert call("cache", "clear") == (0, "deleted 1 file, 3.0 KiB\n", "")
    assert default_cache().get("key") is None
    assert json.loads(call("cache", "clear", "--json")[1]) == {"deleted_files": 0, "deleted_bytes": 0}
    assert json.loads(call("cache", "ls", "--json")[1]) == []


def test_cache_without_an_action_is_refused_with_the_actions():
    code, _, err = call("cache")
    assert code == 2
    assert "{ls,clear,dir}" in err

"""The command line: what it answers, what it refuses, and how it fails."""

import argparse
import io
import json
from contextlib import redirect_stderr, redirect_stdout

import pytest

import chainrule
from chainrule import cli
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
    for name, value in facts.items():
        assert str(value) in call("info")[1], name

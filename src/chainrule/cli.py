"""The command line: `chainrule COMMAND ...`. Only the module of the command that was asked for is imported.

Exit codes: 0 done, 1 an error that was explained on stderr, 2 a wrong call, 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from chainrule import __version__
from chainrule.errors import ArgumentError, ChainruleError


class CommandModule(Protocol):
    """What a module in chainrule.commands holds."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the command's own arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Does the work and returns the exit code."""
        ...


@dataclass(frozen=True)
class Command:
    """A sub-command: its name, which is that of its module in chainrule.commands, and its line in --help."""

    name: str
    summary: str


COMMANDS = (
    Command("demo", "train a ConvNet on real digits, compare, time, export and draw it"),
    Command("show", "print a model's graph, before, between and after the passes"),
    Command("compile", "compile a model and say what it took"),
    Command("run", "run a model on arrays from files or on random ones"),
    Command("bench", "time a model against onnxruntime"),
    Command("verify", "compare a model's results on every backend"),
    Command("export", "write a model as ONNX"),
    Command("cache", "list, clear or locate the compile cache"),
    Command("info", "versions, processor and threads of this installation"),
)


def build_parser(selected: str | None) -> argparse.ArgumentParser:
    """The parser of the whole command line, with the arguments of the selected command only."""
    parser = argparse.ArgumentParser(
        prog="chainrule",
        description="Compiles neural networks written in Python, or read from ONNX, to native code.",
        epilog="chainrule COMMAND --help tells more about one command.",
    )
    parser.add_argument("--version", action="version", version=f"chainrule {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for command in COMMANDS:
        sub = commands.add_parser(command.name, help=command.summary, description=command.summary)
        if command.name == selected:
            sub.add_argument("--json", action="store_true", help="print one JSON value for machines to read")
            sub.add_argument("--traceback", action="store_true", help="show where in chainrule an error arose")
            load_command(command.name).add_arguments(sub)
    return parser


def load_command(name: str) -> CommandModule:
    """The module of a command in COMMANDS."""
    return cast(CommandModule, importlib.import_module(f"chainrule.commands.{name}"))


def select_command(words: Sequence[str]) -> str | None:
    """The first word that is no option: the options before the command take no values."""
    return next((word for word in words if not word.startswith("-")), None)


def explain(error: BaseException, *, json: bool) -> None:
    """Prints an error as one message, on stderr; with json also as an object on stdout."""
    if json:
        from json import dumps

        print(dumps({"error": {"kind": type(error).__name__, "message": str(error)}}))
    print(f"{type(error).__name__}: {error}", file=sys.stderr)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line, by default that of the process, and returns the exit code."""
    words = sys.argv[1:] if words is None else words
    parser = build_parser(select_command(words))
    arguments = parser.parse_args(words)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        code = load_command(arguments.command).run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has left, as `head` does. Python flushes stdout once more at exit: give it somewhere to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        if arguments.traceback:
            raise
        explain(ArgumentError(f"there is not enough memory: {error}", help="choose smaller sizes: --dim N=8"),
                json=arguments.json)  # fmt: skip
        return 1
    except (ChainruleError, OSError) as error:
        if arguments.traceback:
            raise
        explain(error, json=arguments.json)
        return 1
    except KeyboardInterrupt:
        if arguments.traceback:
            raise
        print("stopped", file=sys.stderr)
        return 130

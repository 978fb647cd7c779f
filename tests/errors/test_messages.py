"""Every program of programs/ fails, and shows exactly the message that lies beside it as .txt.

`pytest tests/errors --bless` rewrites the messages; read them as a user would before they are kept.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chainrule.errors import ChainruleError
from tests.errors.running import shown

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))

# What has no line of the user's to show: words of a command line, and texts that are parsed.
WITHOUT_PLACE = ("cli_", "graph_text", "pass_")
# These are stopped while they write, or before.
WRITING = ("save_", "fit_", "cli_", "export_")
# The place of these is a node of the file.
IN_A_MODEL_FILE = ("load_onnx_with_shapes_that_do_not_fit",)
# Python asks for an attribute in its own words: one line, which says what is there instead.
ATTRIBUTES = (
    "name_is_not_in_the_package",
    "name_of_pytorch",
    "tensor_attribute_misspelt",
    "tensor_has_no_such_attribute",
)

# Here Python itself asks a tensor or a size; which part of the line it then marks depends on its version.
PYTHON_ASKS = ("tensor_as_condition", "tensor_in_and", "tensor_iterated", "tensor_unpacked", "dim_as_a_condition",
               "dim_compared")  # fmt: skip


def named(programs: list[Path]) -> list[object]:
    return [pytest.param(program, id=program.stem) for program in programs]


@pytest.mark.parametrize("program", named(PROGRAMS))
def test_a_wrong_program_shows_its_message(program: Path, tmp_path: Path, bless: bool) -> None:
    found = shown(program, tmp_path)
    golden = program.with_suffix(".txt")
    if bless:
        golden.write_text(found.text)
    assert found.error is not None or found.err, "the program does not fail"
    assert str(tmp_path) not in found.text, "the message depends on the folder it runs in"
    as_shown = without_columns if program.stem in PYTHON_ASKS else str
    assert as_shown(found.text) == as_shown(golden.read_text())


def without_columns(text: str) -> str:
    """A message without what tells the part of the line."""
    lines = [line for line in text.splitlines() if set(line.partition("|")[2].strip()) != {"^"}]
    return "\n".join(re.sub(r"(\.py:\d+):\d+$", r"\1", line) for line in lines)


@pytest.mark.parametrize("program", named([p for p in PROGRAMS if p.stem not in ATTRIBUTES]))
def test_a_message_says_what_is_wrong_where_and_what_to_do(program: Path) -> None:
    lines = program.with_suffix(".txt").read_text().splitlines()
    kind, _, cause = lines[0].partition(": ")
    assert kind in {error.__name__ for error in ChainruleError.__subclasses__()} and cause
    assert lines[-1].startswith("   help: ") and len(lines[-1]) > len("   help: ")
    if program.stem in IN_A_MODEL_FILE:
        assert lines[1].startswith("  --> net.onnx: "), "it does not name the node"
    elif not program.stem.startswith(WITHOUT_PLACE):
        assert lines[1].startswith(f"  --> {program.name}:"), "it does not show the user's line"
        assert set(lines[3].partition("|")[2].strip()) == {"^"}, "it does not point into the line"
    assert all(len(line) <= 200 for line in lines), "a line is too long to read"


@pytest.mark.parametrize("program", named(PROGRAMS))
def test_a_message_about_shapes_shows_the_shapes(program: Path) -> None:
    text = program.with_suffix(".txt").read_text()
    own_words = [line for line in text.splitlines() if " | " not in line and not line.startswith("   help:")]
    assert not text.startswith("ShapeError") or re.search(r"\[[^]]*\]|axis \d", "\n".join(own_words)), text


@pytest.mark.parametrize("program", named([p for p in PROGRAMS if p.stem.startswith(WRITING)]))
def test_a_failed_write_leaves_nothing_half_written(program: Path, tmp_path: Path) -> None:
    left = shown(program, tmp_path).files
    assert not [name for name in left if name.endswith((".tmp", ".part", ".onnx"))], left


def test_every_message_belongs_to_a_program() -> None:
    texts = {path.stem for path in (Path(__file__).parent / "programs").glob("*.txt")}
    assert texts == {program.stem for program in PROGRAMS}

"""Does what a page of documentation says: writes its files, applies its changes, runs its programs and commands.

A page is followed section by section, in a copy of the checkout. In a section

- a ```python block below a line "**`path`**, a new file:" is written to that file, which must not exist;
- a ```diff block below a line "**`path`**:" changes that file. Hunks are divided by lines that begin with @@. The lines
  of a hunk that begin with a blank or "-" must stand in the file exactly once, one after the other;
- any other ```python block is run as a program of its own; what a ```text block right behind it says must be printed;
- a ```sh block is run line by line, with the interpreter of the tests for `.venv/bin/python`.

Nothing else is done, so what the page leaves out is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LEFT_OUT = shutil.ignore_patterns(".git", ".*_cache", ".venv*", ".hypothesis", "build", "dist", "*.egg-info")
_BLOCK = re.compile(r"(?:^\*\*`([^`\n]+)`\*\*(, a new file)?:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^## (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One block of code: its language, its text, and the file above it, if there is one."""

    language: str
    text: str
    path: str
    is_new: bool


def sections(page: Path) -> dict[str, list[Block]]:
    """The blocks of each section of a page, by its heading."""
    parts = _HEADING.split(page.read_text(encoding="utf-8"))
    return {title: list(_blocks(body)) for title, body in zip(parts[1::2], parts[2::2], strict=True)}


def _blocks(body: str) -> Iterator[Block]:
    for match in _BLOCK.finditer(body):
        yield Block(match[3], match[4], match[1] or "", match[2] is not None)


def copy_of_the_checkout(folder: Path) -> Path:
    """A copy of the source in a folder, with the links as links."""
    return shutil.copytree(ROOT, folder / "chainrule", symlinks=True, ignore=_LEFT_OUT)


def follow(blocks: list[Block], checkout: Path) -> None:
    """Does what the blocks say. Raises AssertionError naming the block that could not be followed."""
    printed = ""
    for block in blocks:
        match block.language:
            case "python" if block.is_new:
                _write(checkout / block.path, block.text)
            case "diff":
                _change(checkout / block.path, block.text)
            case "python":
                printed = _run([sys.executable, "-c", block.text], checkout)
            case "text":
                assert block.text.strip() in printed, f"expected\n{block.text}\nin what was printed:\n{printed}"
            case "sh":
                for line in filter(None, block.text.splitlines()):
                    printed = _run(["bash", "-c", line.replace(".venv/bin/python", sys.executable)], checkout)
            case other:
                raise AssertionError(f"nobody knows what to do with a {other} block:\n{block.text}")


def _write(path: Path, text: str) -> None:
    assert not path.exists(), f"{path} is there already"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _change(path: Path, text: str) -> None:
    content = path.read_text(encoding="utf-8")
    for hunk in re.split(r"^@@.*\n", text, flags=re.MULTILINE):
        lines = hunk.splitlines()
        before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
        after = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
        if not lines:
            continue
        assert all(not line or line[0] in " +-" for line in lines), f"this is no hunk:\n{hunk}"
        count = f"\n{content}".count(f"\n{before}")
        assert count == 1, f"{path.name} has {count} places, not one, for\n{hunk}"
        content = f"\n{content}".replace(f"\n{before}", f"\n{after}")[1:]
    path.write_text(content, encoding="utf-8")


def _run(command: list[str], checkout: Path) -> str:
    """What a command prints in the copy. Its exit code must be 0."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[-1]}\ngave {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout

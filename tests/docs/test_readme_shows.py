"""What the README shows besides its Python: an error's text, and the commands of the command line."""

import io
import re
import shlex
from contextlib import redirect_stderr, redirect_stdout
from importlib import util
from pathlib import Path

import pytest

import chainrule as cr
from chainrule import cli
from chainrule.errors import ChainruleError
from tests.docs.follow import ROOT, sections

README = sections(ROOT / "README.md")
COMMANDS = [line for block in README["The command line"] if block.language == "sh" for line in block.text.splitlines()]


def test_the_error_is_the_one_that_the_model_gives(tmp_path: Path) -> None:
    blocks = README["A model"]
    shown = next(block.text for block in blocks if block.language == "text")
    program = tmp_path / "lenet.py"
    program.write_text(blocks[0].text, encoding="utf-8")
    spec = util.spec_from_file_location("readme_lenet", program)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(ChainruleError) as caught:
        cr.compile(module.LeNet(), cr.spec("N", 3, 28, 28))
    assert f"{type(caught.value).__name__}: {caught.value}\n" == shown


@pytest.mark.parametrize("line", COMMANDS, ids=lambda line: str(line).partition("  ")[0])
def test_a_command_of_the_tour_works(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=True)
    assert words[0] == "chainrule"
    if words[1] == "bench" and "--kernels" not in words:
        words += ["--seconds", "0.02", "--rounds", "3"]
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(words[1:])
    assert code == 0, err.getvalue()
    assert out.getvalue().strip()


def test_every_command_but_the_demo_is_on_the_tour() -> None:
    shown = {shlex.split(line)[1] for line in COMMANDS}
    assert shown | {"demo"} == {command.name for command in cli.COMMANDS}


def test_links_lead_to_files() -> None:
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), f"{page.name}: {target}"

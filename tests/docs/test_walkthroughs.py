"""The walkthroughs of CONTRIBUTING.md are followed to the letter, each in a fresh copy of the checkout."""

from pathlib import Path

import pytest

from tests.docs.follow import ROOT, copy_of_the_checkout, follow, sections

PAGE = ROOT / "CONTRIBUTING.md"
WALKTHROUGHS = ("Add an op", "Add a rule", "Add a kernel", "Add a backend")


@pytest.mark.parametrize("title", WALKTHROUGHS)
def test_a_walkthrough_ends_where_it_says(title: str, tmp_path: Path) -> None:
    blocks = sections(PAGE)[title]
    assert any(block.is_new for block in blocks) or any(block.language == "diff" for block in blocks)
    assert any(block.language == "sh" for block in blocks), "it ends without a test"
    follow(blocks, copy_of_the_checkout(tmp_path))


def test_a_step_that_cannot_be_followed_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("## Change\n\n**`file.txt`**:\n\n```diff\n one\n+two\n```\n", encoding="utf-8")
    (tmp_path / "file.txt").write_text("zero\none\n", encoding="utf-8")
    blocks = sections(page)["Change"]
    follow(blocks, tmp_path)
    assert (tmp_path / "file.txt").read_text(encoding="utf-8") == "zero\none\ntwo\n"
    (tmp_path / "file.txt").write_text("zero\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="has 0 places, not one"):
        follow(blocks, tmp_path)

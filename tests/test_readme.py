"""The README's Python runs as it stands, block after block, and does what the text around it says."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the README's Python blocks leave behind, run as one program in an empty folder."""
    folder = tmp_path_factory.mktemp("readme")
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert blocks
    program = folder / "readme.py"
    program.write_text("\n\n".join(blocks), encoding="utf-8")
    found: dict[str, Any] = {"__name__": "readme", "__file__": str(program)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(program.read_text(encoding="utf-8"), str(program), "exec"), found)
    return found


def test_the_model_scores_ten_classes_for_any_number_of_images(names: dict[str, Any]):
    for count in (1, 3, 5):
        images = np.random.default_rng(0).random((count, 1, 28, 28), dtype=np.float32)
        assert names["net"](images).shape == (count, 10)


def test_the_training_step_lowers_the_loss(names: dict[str, Any]):
    images = np.random.default_rng(0).random((8, 1, 28, 28), dtype=np.float32)
    losses = [float(names["step"](images, np.arange(8))) for _ in range(20)]
    assert losses[-1] < losses[0]

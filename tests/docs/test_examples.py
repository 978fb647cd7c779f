"""Every example runs, and what it shows is so."""

from importlib import util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import chainrule as cr
from chainrule.ops.tolerance import MODEL_RTOL
from tests.docs.follow import ROOT

FOLDER = ROOT / "examples"


def load(name: str) -> ModuleType:
    """An example as a module."""
    spec = util.spec_from_file_location(f"examples_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_digits_are_learnt_and_the_weights_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = load("train_digits")
    weights = tmp_path / "weights.safetensors"
    accuracy = example.main(epochs=3, weights=str(weights))
    assert accuracy > 0.7
    assert f"{accuracy:.2%} of 360 digits" in capsys.readouterr().out
    model = example.ConvNet()
    cr.load(weights, model)
    images, labels = cr.datasets.digits()
    net = cr.compile(model, cr.spec("N", 1, 8, 8))
    assert float(np.mean(net(images[-360:]).argmax(1) == labels[-360:])) == accuracy


def test_a_run_that_was_stopped_goes_on_to_the_last_bit(capsys: pytest.CaptureFixture[str]) -> None:
    unbroken, resumed = load("own_training_loop").main()
    assert unbroken == resumed
    assert unbroken[-1] < unbroken[0]
    assert "NOT" not in capsys.readouterr().out


def test_exported_files_give_what_native_code_gives(tmp_path: Path) -> None:
    scores, losses = load("export_and_run").main(tmp_path)
    assert scores <= MODEL_RTOL
    assert losses <= MODEL_RTOL


def test_the_gradient_of_a_plain_function_finds_a_better_width() -> None:
    before, after = load("plain_functions").main()
    assert after < before / 10


def test_every_example_is_tested_and_listed() -> None:
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    tests = Path(__file__).read_text(encoding="utf-8")
    for path in FOLDER.glob("*.py"):
        assert f"]({path.name})" in listed
        assert f'load("{path.stem}")' in tests

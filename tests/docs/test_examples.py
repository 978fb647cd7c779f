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
    picture = tmp_path / "maps.svg"
    accuracy = example.main(epochs=3, weights=str(weights), picture=str(picture))
    assert "max pool, 2x2" in picture.read_text()
    assert accuracy > 0.7
    assert f"{accuracy:.2%} of 360 digits" in capsys.readouterr().out
    model = example.ConvNet()
    cr.load(weights, model)
    images, labels = cr.datasets.digits()
    net = cr.compile(model, cr.spec("N", 1, 8, 8))
    assert float(np.mean(net(images[-360:]).argmax(1) == labels[-360:])) == accuracy


def test_two_hidden_units_part_the_bows_that_no_line_parts(tmp_path: Path) -> None:
    picture = tmp_path / "grid.svg"
    assert load("bend_a_grid").main(path=str(picture)) == 1.0
    assert picture.read_text().count("<path") == 2 * 50 + 1  # the grid twice, and the line that parts the classes


def test_a_text_is_learnt_and_written_on(tmp_path: Path) -> None:
    example = load("write_text")
    (tmp_path / "text").write_text("the cat sat on the mat and the dog sat on the log. " * 250)
    losses, text = example.main(5, str(tmp_path / "text"), "the ", str(tmp_path / "loss.svg"))
    assert losses[-1] < losses[0]
    assert losses[-1] < 1.0  # nats a letter; all letters alike would be 2.8
    assert text.startswith("the ") and len(text) == 404
    assert " the " in text[4:]


def test_words_of_like_company_get_like_vectors(tmp_path: Path) -> None:
    example = load("word_vectors")
    losses, model, words = example.main(5, None, str(tmp_path / "words.svg"))
    assert losses[-1] < losses[0]
    vectors = model.inner.weight.data
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = [[unit[words.index(w)] for w in text.split()]
              for text in ("try except finally raise", "integer float complex", "import module package")]  # fmt: skip
    means = np.array([[np.mean(np.array(a) @ np.array(b).T) for b in groups] for a in groups])
    assert np.all(means.argmax(1) == np.arange(3))
    assert ">module<" in (tmp_path / "words.svg").read_text()


def test_names_are_carried_into_another_script(tmp_path: Path) -> None:
    losses, right = load("transliterate").main("uk", 2, str(tmp_path / "attention.svg"), most=2000)
    assert losses[-1] < losses[0]
    assert 0 <= right <= 1
    assert (tmp_path / "attention.svg").read_text().count("<rect") > 20


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

"""The demo's chapters, each on a short run, and its pictures."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from chainrule.cli import main
from chainrule.demo import train
from chainrule.ir.graph import Graph
from chainrule.pictures import Panel, Series, curves, graph_picture, image_panels


def test_the_demo_runs_and_its_numbers_hold_together(tmp_path, capsys):
    assert main(["demo", "--epochs", "2", "--out", str(tmp_path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["accuracy"] > 0.3 and facts["final_loss"] > 0
    assert max(facts["agreement"]["scores"].values()) < 1e-4
    assert max(facts["agreement"]["gradients"].values()) < 1e-5
    assert max(facts["agreement"]["losses of 10 steps"].values()) < 1e-4
    assert {row["what"] for row in facts["speed"]} >= {"compile, cold", "compile, from the cache"}
    for file in facts["pictures"]:
        ElementTree.parse(file)
    assert (tmp_path / "digits.onnx").stat().st_size > 1000 and (tmp_path / "digits_step.onnx").stat().st_size > 1000


@pytest.mark.slow
def test_the_demo_reaches_its_accuracy_on_the_writers_it_never_saw():
    digits, model = train.load_digits(), train.make_model()
    data, updates = train.make_data(digits)
    step = train.make_step(model, updates)
    train.train(step, data, progress=False)
    import chainrule as cr

    net = cr.compile(model, cr.spec("N", 1, 8, 8))
    assert train.accuracy(net, digits.test_images, digits.test_labels) >= 0.975


def test_pictures_are_well_formed_whatever_they_show():
    drawn = [
        curves("a < b & c", "x", "y", [Series("s", [1, 2, 3], [1.0, float("nan"), 0.1])], log_y=True),
        curves("flat", "x", "y", [Series("s", [1], [5.0])]),
        curves("none", "x", "y", []),
        image_panels("maps", [Panel("zero", np.zeros((1, 3, 3))), Panel("p", np.eye(4)[None])]),
        graph_picture("empty", Graph("g", (), ())),
    ]
    for content in drawn:
        ElementTree.fromstring(content)

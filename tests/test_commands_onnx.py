"""The commands on ONNX files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
import chainrule.compiler as compiler
from chainrule.cli import main
from chainrule.commands import verify
from tests.onnx.models import convnet, model, node, seeded

Array = np.ndarray


@pytest.fixture
def net(tmp_path: Path) -> Path:
    proto = convnet()
    proto.graph.node[0].doc_string = "net.py(12): forward\nnet.py(40): main"
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def answer(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict]:
    code = main([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_run_takes_inputs_by_name_and_sizes(capsys: pytest.CaptureFixture[str], net: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=seeded(3, 2, 8, 8))
    code, rows = answer(capsys, "run", net, "-i", tmp_path / "in.npz", "-o", tmp_path / "out.npz")
    assert code == 0 and rows["y"]["shape"] == [3, 5]
    assert np.load(tmp_path / "out.npz")["y"].shape == (3, 5)
    code, rows = answer(capsys, "run", net, "--dim", "N=2")
    assert code == 0 and rows["y"]["shape"] == [2, 5]


def test_inputs_that_are_given_tell_the_sizes_of_the_others(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    proto = model([node("MatMul", ["a", "b"], ["y"])], {"a": ["N", "dim.1"], "b": ["dim.1", 3]}, ["y"])
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    np.save(tmp_path / "a.npy", seeded(4, 5))
    code, rows = answer(capsys, "run", tmp_path / "net.onnx", "-i", tmp_path / "a.npy")
    assert code == 0 and rows["y"]["shape"] == [4, 3]
    code, rows = answer(capsys, "run", tmp_path / "net.onnx", "--dim", "dim.1=7")
    assert code == 0 and rows["y"]["shape"] == [1, 3]


@pytest.mark.parametrize("command", ["run", "verify", "bench"])
def test_sizes_that_do_not_fit_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    pool = node("MaxPool", ["x"], ["p"], kernel_shape=[2], strides=[2])
    proto = model([pool, node("Concat", ["p", "w"], ["y"], axis=0)], {"x": [1, 1, "N"]}, ["y"], {"w": seeded(1, 1, 3)})
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    assert main([command, str(tmp_path / "net.onnx"), "--dim", "N=4"]) == 1
    assert "sizes: N=4 (--dim NAME=SIZE chooses others)" in capsys.readouterr().err


def test_bench_and_verify_compare_with_the_file_itself(capsys: pytest.CaptureFixture[str], net: Path) -> None:
    code, facts = answer(capsys, "bench", net, "--rounds", "2", "--seconds", "0.02")
    assert code == 0 and facts["ratio"] > 0
    code, rows = answer(capsys, "verify", net, "--dim", "N=2")
    assert code == 0 and all(row["agrees"] for row in rows.values())


class Wrong:
    """A program whose outputs are off wherever a node of max_pool2d is among what it computes."""

    def __init__(self, program: compiler.Program, wrong: bool) -> None:
        self.program = program
        self.wrong = wrong

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        return [y + 1 if self.wrong else y for y in self.program.run(arrays)]


def test_verify_names_the_first_node_that_parts(capsys: pytest.CaptureFixture[str], net: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    make = compiler.make_program

    def made(graph, weights, options):
        wrong = options.backend == "llvm" and any(n.op.name == "max_pool" for n in graph.nodes)
        return Wrong(make(graph, weights, options), wrong)

    monkeypatch.setattr(compiler, "make_program", made)
    code, rows = answer(capsys, "verify", net)
    assert code == 1 and not rows["llvm"]["agrees"] and rows["onnxruntime"]["agrees"]
    assert rows["llvm"]["first_node"].startswith("max_pool2d") and rows["llvm"]["first_node"].endswith("at /m")


def test_verify_says_whose_error_it_is(capsys: pytest.CaptureFixture[str], net: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(verify, "onnxruntime_of",
                        lambda loaded: lambda arrays: [y + 1 for y in cr.compile(loaded.traced).run(arrays)])
    code, rows = answer(capsys, "verify", net)
    assert code == 0 and rows["llvm"]["agrees"] and not rows["onnxruntime"]["agrees"]
    assert main(["verify", str(net)]) == 0
    assert "onnxruntime alone is beyond the bound: the error is its own" in capsys.readouterr().out


def test_verify_judges_a_tiny_sigmoid_by_what_it_takes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Sub", ["m", "far"], ["logit"]), node("Sigmoid", ["logit"], ["y"])]
    weights = {"w": seeded(512, 8), "far": np.float32(100)}  # its last digit is 1e-5 of the results
    (tmp_path / "net.onnx").write_bytes(model(nodes, {"x": [4, 512]}, ["y"], weights).SerializeToString())
    code, rows = answer(capsys, "verify", tmp_path / "net.onnx")
    assert code == 0 and rows["llvm"]["agrees"]


def test_show_prints_node_names_and_doc_strings(capsys: pytest.CaptureFixture[str], net: Path) -> None:
    assert main(["show", str(net)]) == 0
    printed = capsys.readouterr().out
    assert "@ /c: net.py(12): forward\n" in printed and "@ /m\n" in printed


def test_a_name_that_would_steer_the_terminal_is_printed_harmless(capsys: pytest.CaptureFixture[str],
                                                                  tmp_path: Path) -> None:  # fmt: skip
    proto = model([node("Relu", ["x"], ["y"])], {"x": [1]}, ["y"])
    proto.graph.node[0].name = "\x1b[2J\nevil"
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    assert main(["show", str(tmp_path / "net.onnx")]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(("words", "said"), [
    (["run", "--dim", "N=99999999999"], "choose smaller sizes"),
    (["run", "--dim", "M=2"], "the model has no size M"),
    (["bench", "-i", "no.npy"], "cannot be read"),
    (["bench", "--rounds", "0"], "nothing can be timed so"),
    (["bench", "--seconds", "nan"], "nothing can be timed so"),
])  # fmt: skip
def test_what_is_wrong_is_one_message_and_status_1(capsys: pytest.CaptureFixture[str], net: Path, words: list[str],
                                                   said: str) -> None:  # fmt: skip
    assert main([words[0], str(net), *words[1:]]) == 1
    shown = capsys.readouterr().err
    assert said in shown and "Traceback" not in shown


def test_a_folder_and_a_file_too_many_are_named(capsys: pytest.CaptureFixture[str], net: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    assert main(["run", str(tmp_path / "folder.onnx")]) == 1 and "it is a folder" in capsys.readouterr().err
    np.save(tmp_path / "a.npy", seeded(1, 2, 8, 8))
    assert main(["run", str(net), *["-i", str(tmp_path / "a.npy")] * 2]) == 1
    assert "every input has its array already" in capsys.readouterr().err

def test_a_model_whose_sizes_follow_from_data_is_shown_and_compiled(capsys: pytest.CaptureFixture[str],
                                                                    tmp_path: Path) -> None:  # fmt: skip
    proto = model([node("NonZero", ["x"], ["n"]), node("Neg", ["n"], ["y"])], {"x": ["N"]}, ["y"])
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    code, shown = answer(capsys, "show", tmp_path / "net.onnx", "--after")
    assert code == 0 and shown["graph"].count("graph @net.") == 2
    code, shown = answer(capsys, "show", tmp_path / "net.onnx")
    assert code == 0 and shown["graph"].count("graph @") == 1
    code, facts = answer(capsys, "compile", tmp_path / "net.onnx")
    assert code == 0 and facts["kernels"] > 0 and "arena_bytes" not in facts


def test_a_library_may_have_a_name_that_c_does_not_take(capsys: pytest.CaptureFixture[str], net: Path) -> None:
    code, facts = answer(capsys, "compile", net, "-o", net.with_name("2-my.net.so"))
    assert code == 0 and "net_2_my_net_run" in Path(facts["files"][1]).read_text()

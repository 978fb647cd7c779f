"""Each command does its work on a real model and says so, to people and to machines."""

import json
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli import main
from chainrule.models import MODELS

MODEL = """
import chainrule as cr
from chainrule import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def __call__(self, x):
        return cr.relu(self.fc(x)) * 1.0

def double(x):
    return x * 2.0
"""


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "model_of_test.py"
    file.write_text(MODEL)
    return f"{file}:Net"


def answer(capsys, *words):
    code = main([*words, "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_show_prints_the_graph_with_the_users_lines_and_after_passes(capsys, model):
    assert main(["show", model, "--spec", "f32[N,4]"]) == 0
    shown = capsys.readouterr().out
    assert "matmul(%x, %fc.weight)" in shown and "@ model_of_test.py:11" in shown
    assert main(["show", model, "--spec", "f32[N,4]", "--after"]) == 0
    assert "fuse(" in capsys.readouterr().out


def test_show_tells_what_passes_did_and_why_a_rule_did_not_fire(capsys, model):
    assert main(["show", model, "--spec", "f32[N,4]", "--passes"]) == 0
    assert "x * 1 = x x1" in capsys.readouterr().out
    assert main(["show", "lenet", "--why", "-(-x) = x"]) == 0
    assert "nothing in the graph looks like neg(neg(x))" in capsys.readouterr().out
    assert main(["show", "lenet", "--kernels"]) == 0
    assert "kernel @" in capsys.readouterr().out


def test_compile_tells_time_kernels_and_memory(capsys):
    code, facts = answer(capsys, "compile", "digits", "--timings", "--dim", "N=4")
    assert code == 0 and facts["kernels"] > 0 and facts["arena_bytes"] >= facts["arena_bound_bytes"]
    assert list(facts["stages"]) == ["build kernels", "machine code", "prepare weights"]
    assert {"fuse", "channels-last"} <= set(facts["passes"])


def test_run_reads_and_writes_arrays(capsys, tmp_path, model):
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    np.save(tmp_path / "x.npy", x)
    target = model.replace(":Net", ":double")
    code, rows = answer(
        capsys, "run", target, "--spec", "f32[N,4]", "-i", f"{tmp_path}/x.npy", "-o", f"{tmp_path}/y.npz"
    )
    assert code == 0 and rows["output"]["max"] == 6.0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["output"], x * 2)


def test_verify_compares_all_backends(capsys):
    code, rows = answer(capsys, "verify", "digits", "--dim", "N=3")
    assert (
        code == 0 and all(row["agrees"] for row in rows.values()) and set(rows) == {"llvm", "onnxruntime", "reference"}
    )


def test_bench_times_both_runtimes(capsys):
    code, facts = answer(capsys, "bench", "digits", "--rounds", "2", "--seconds", "0.02")
    assert code == 0 and facts["chainrule"]["median_s"] > 0 and facts["onnxruntime"]["median_s"] > 0
    assert main(["bench", "digits", "--kernels"]) == 0


def test_export_writes_a_checked_file_that_run_can_read_back(capsys, tmp_path):
    code, facts = answer(capsys, "export", "digits", "-o", f"{tmp_path}/net.onnx")
    assert code == 0 and facts["bytes"] > 1000


def test_an_exported_step_comes_with_a_program_that_trains_it_and_checkpoints_go_both_ways(capsys, tmp_path):
    code, facts = answer(capsys, "export", "digits", "--train", "--with-loop", "-o", f"{tmp_path}/step.onnx")
    assert code == 0 and facts["loop"] == f"{tmp_path}/step_loop.py"
    images, labels = cr.datasets.digits()
    images, labels = images[:320], labels[:320].astype(np.int64)
    cr.manual_seed(0)
    model = MODELS["digits"]
    step = cr.training_step(model.build(), cr.cross_entropy, cr.optim.Adam(1e-3),
                            (model.specs[0], cr.spec("N", dtype="i64")))  # fmt: skip
    np.savez(tmp_path / "data.npz", **dict(zip(step.input_names, (images, labels), strict=True)))

    def trained() -> float:
        command = [sys.executable, "step_loop.py", "data.npz", "1", "kept.safetensors"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return float(done.stdout.split()[-1])

    def ours() -> float:
        order = np.random.default_rng(0).permutation(320)
        return float(np.mean([step(images[p], labels[p]) for p in np.split(order, 10)]))

    first, second = trained(), None
    assert first == pytest.approx(ours(), abs=2e-4)  # the program prints four digits
    cr.load(tmp_path / "kept.safetensors", step)  # from there to here: both go on alike
    second = trained()
    assert second == pytest.approx(ours(), abs=2e-4)
    assert second < first


def test_a_loop_needs_a_step_and_a_step_may_come_from_a_file(capsys, tmp_path, model):
    assert main(["export", "digits", "--with-loop", "-o", f"{tmp_path}/net.onnx"]) == 1
    assert "--with-loop goes with a training step" in capsys.readouterr().err
    file = tmp_path / "step_of_test.py"
    file.write_text(MODEL + """
def step() -> cr.Step:
    return cr.training_step(Net(), cr.mse_loss, cr.optim.SGD(0.1), (cr.spec(8, 4), cr.spec(8, 3)))
""")
    code, facts = answer(capsys, "export", f"{file}:step", "--with-loop", "--no-verify", "-o", f"{tmp_path}/step.onnx")
    assert code == 0 and facts["model"] == "step"
    program = (tmp_path / "step_loop.py").read_text()
    assert "batch = ['x', 'target'], [o.name for o in session.get_outputs()], 8" in program


@pytest.mark.parametrize(("words", "said"), [
    (["show", "nothing"], "nothing is not a model"),
    (["run", "lenet", "--dim", "M=2"], "the model has no size M"),
    (["run", "lenet", "--dim", "N"], "is not a size"),
    (["compile", "x.py:Net"], "there is no such file"),
    (["run", "lenet", "-i", "no.npy"], "cannot be read"),
    (["show", "lenet", "--why", "a = b"], "there is no rule"),
    (["run", "lenet", "--backend", "cuda"], "there is no backend"),
])  # fmt: skip
def test_a_wrong_word_gets_one_clear_message(capsys, words, said):
    assert main(words) == 1
    shown = capsys.readouterr()
    assert said in shown.err and "Traceback" not in shown.err

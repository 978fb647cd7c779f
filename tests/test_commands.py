"""Each command does its work on a real model and says so, to people and to machines."""

import json

import numpy as np
import pytest

from chainrule.cli import main

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

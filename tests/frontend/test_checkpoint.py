"""Files of weights are whole or not there, and what does not fit is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from chainrule.errors import ArgumentError, DTypeError, ModelError, ShapeError
from chainrule.frontend import checkpoint, nn, optim
from chainrule.frontend.trace import spec
from chainrule.frontend.training import build_step
from tests.frontend.agreement import ReferenceStep


def make_step(width: int = 3) -> ReferenceStep:
    model = nn.Linear(width, 2)
    made = build_step(model, nn.MSELoss(), optim.Adam(), (spec("N", width), spec("N", 2)), name="linear_step")
    return ReferenceStep(made)


def test_arrays_of_all_types_come_back_bit_by_bit(tmp_path: Path) -> None:
    arrays = {"f": np.array([1.5, np.nan, -0.0], np.float32), "half": np.ones(2, ml_dtypes.bfloat16),
              "number": np.array(7, np.int64), "none": np.zeros((0, 3), np.float16), "yes": np.array([True]),
              "turned": np.arange(6.0).reshape(2, 3).T}  # fmt: skip
    checkpoint.save(arrays, tmp_path / "a.safetensors", {"note": "text"})
    found, texts = checkpoint.load_with_metadata(tmp_path / "a.safetensors")
    assert texts == {"note": "text"} and set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_modules_and_steps_come_back(tmp_path: Path) -> None:
    step, other = make_step(), make_step()
    x, y = np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)
    step(x, y)
    checkpoint.save(step, tmp_path / "step.safetensors")
    checkpoint.load(tmp_path / "step.safetensors", other)
    assert [step(x, y) for _ in range(3)] == [other(x, y) for _ in range(3)]
    model = nn.Linear(3, 2)
    checkpoint.load(tmp_path / "step.safetensors", model)
    np.testing.assert_array_equal(model.weight.data, checkpoint.load(tmp_path / "step.safetensors")["params.weight"])
    checkpoint.save(model, tmp_path / "model.safetensors")
    twin = nn.Linear(3, 2)
    checkpoint.load(tmp_path / "model.safetensors", twin)
    np.testing.assert_array_equal(twin.weight.data, model.weight.data)


@pytest.mark.parametrize("damage", ["cut", "header", "empty", "text", "size"])
def test_a_broken_file_is_a_model_error_and_changes_nothing(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save(nn.Linear(3, 2), path)
    data = path.read_bytes()
    broken = {"cut": data[:-5], "header": data[:8] + b"\xff" + data[9:], "empty": b"", "text": b"not a weight file",
              "size": (2**62).to_bytes(8, "little") + data[8:]}[damage]  # fmt: skip
    path.write_bytes(broken)
    model = nn.Linear(3, 2)
    before = model.state_dict()
    with pytest.raises(ModelError) as caught:
        checkpoint.load(path, model)
    assert caught.value.cause.startswith(f"load: {path} is not a whole safetensors file")
    np.testing.assert_array_equal(model.weight.data, before["weight"])


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    step = make_step()
    arrays = {k: v.copy() for k, v in step.state.items()}
    checkpoint.save({k: v for k, v in arrays.items() if k != "step"} | {"stop": arrays["step"]}, path)
    with pytest.raises(ArgumentError) as caught:
        checkpoint.load(path, step)
    assert caught.value.cause == "load: the file and the training step differ"
    assert caught.value.notes == ("missing: step", "unexpected: stop")
    checkpoint.load(path, step, strict=False)
    checkpoint.save(arrays | {"params.bias": np.zeros(2)}, path)
    with pytest.raises(DTypeError, match=r"params\.bias: float64 was given, it holds float32"):
        checkpoint.load(path, step)
    checkpoint.save(make_step(4), path)
    with pytest.raises(ShapeError, match=r"params.weight: shape \[2, 4\] was given, it has \[2, 3\]"):
        checkpoint.load(path, step)


def test_paths_that_cannot_be_used_are_typed_errors(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(ArgumentError, match="cannot be written: No such file or directory"):
        checkpoint.save(model, tmp_path / "missing" / "a.safetensors")
    with pytest.raises(ArgumentError, match="there is no file"):
        checkpoint.load(tmp_path / "a.safetensors")
    with pytest.raises(ArgumentError, match="is not a file"):
        checkpoint.load(tmp_path)
    with pytest.raises(ArgumentError, match="save: int has no state to keep"):
        checkpoint.save(5, tmp_path / "a.safetensors")  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="save: names is an array of object"):
        checkpoint.save({"names": np.array([None])}, tmp_path / "a.safetensors")
    assert os.listdir(tmp_path) == []


def test_a_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    checkpoint.save({"a": np.ones(3)}, path)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArgumentError) as caught:
        checkpoint.save({"a": np.zeros(3)}, path)
    assert caught.value.cause == (
        f"save: {path} cannot be written: No space left on device; the file that was there is unchanged"
    )
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.safetensors"]


KILLED = """
import sys, numpy as np
from chainrule.frontend import checkpoint
value = 0
print("ready", flush=True)
while True:
    value += 1
    checkpoint.save({"a": np.full(200_000, value, np.float32), "b": np.full(200_000, value, np.float32)}, sys.argv[1])
"""


def test_a_process_killed_while_saving_leaves_a_whole_file_and_its_leavings_are_swept(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for turn in range(5):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None and process.stdout.readline()
        while not path.exists():
            time.sleep(0.001)
        time.sleep(0.003 * turn)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = checkpoint.load(path)
        assert len(set(found["a"].tolist()) | set(found["b"].tolist())) == 1
    (tmp_path / ".a.safetensors.999999999.00ff.tmp").write_bytes(b"left over")
    checkpoint.save({"a": np.ones(1)}, path)
    assert os.listdir(tmp_path) == ["a.safetensors"]

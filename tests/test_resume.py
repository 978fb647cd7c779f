"""A run that is killed anywhere goes on to the bits of the unbroken one, with any number of threads; a full disk loses
nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError
from chainrule.frontend.fit import Checkpoints
from tests import killed_training

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def killed(folder: Path, kills: int, inside: int, threads: int) -> dict[str, object]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, killed_training.__file__, str(folder), *map(str, (kills, inside, threads))]
    found = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])


def check(found: dict[str, object], kills: int) -> None:
    assert found["killed"] == kills and found["same"] and found["left"] == []
    assert isinstance(found["epochs"], int) and found["epochs"] > 1, "the kills left no time to train"


def test_a_run_that_is_killed_ten_times_goes_on_to_the_same_bits(tmp_path: Path):
    check(killed(tmp_path, 10, 4, 1), 10)


@pytest.mark.slow
def test_a_run_that_is_killed_a_hundred_times_goes_on_to_the_same_bits(tmp_path: Path):
    check(killed(tmp_path, 100, 30, 2), 100)


def trained(path: Path, epochs: int, threads: int) -> dict[str, bytes]:
    step, data = killed_training.made(threads)
    cr.fit(step, data, epochs, checkpoint=Checkpoints(path), progress=False)
    return {name: array.tobytes() for name, array in step.state.items()}


def test_a_run_may_go_on_with_another_number_of_threads(tmp_path: Path):
    whole = trained(tmp_path / "a.safetensors", 4, 1)
    trained(tmp_path / "b.safetensors", 2, 2)
    assert trained(tmp_path / "b.safetensors", 4, 3) == whole


FULL = """
import resource, signal, sys
import numpy as np
import chainrule as cr
path = sys.argv[1]
cr.save({"a": np.ones(1000, np.float32)}, path)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    cr.save({"a": np.zeros(1_000_000, np.float32)}, path)
except cr.ArgumentError as problem:
    print(problem.cause)
"""


def test_a_file_that_cannot_grow_leaves_the_old_one_whole_and_says_so(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, "-c", FULL, str(path)], env=environment, capture_output=True, text=True)
    assert found.stdout.strip() == (
        f"save: {path} cannot be written: File too large; the file that was there is unchanged"
    ), found.stderr
    np.testing.assert_array_equal(cr.load(path)["a"], np.ones(1000, np.float32))
    assert os.listdir(tmp_path) == [path.name]


def test_a_full_disk_ends_fit_with_an_error_and_the_last_whole_checkpoint(tmp_path: Path, monkeypatch):
    path = tmp_path / "run.safetensors"
    step, data = killed_training.made(1)
    cr.fit(step, data, 1, checkpoint=path, progress=False)
    kept = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArgumentError, match="No space left on device; the file that was there is unchanged"):
        cr.fit(step, data, 2, checkpoint=path, progress=False)
    assert path.read_bytes() == kept


def test_a_checkpoint_lists_what_is_missing_and_unknown(tmp_path: Path):
    path = tmp_path / "run.safetensors"
    step, _ = killed_training.made(1)
    state = dict(step.state)
    state["params.wrong"] = state.pop("params.0.weight")
    cr.save(state, path)
    with pytest.raises(ArgumentError) as caught:
        cr.load(path, step)
    assert caught.value.notes == ("missing: params.0.weight", "unexpected: params.wrong")

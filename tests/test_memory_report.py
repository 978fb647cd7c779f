"""What a step keeps in memory is told with its lines, and a call that cannot fit says so before it starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.backends.llvm import memory_limit as limits
from chainrule.backends.llvm.memory_limit import memory_limit
from chainrule.cli import main
from chainrule.errors import ArgumentError, NotSupported

STEP = """
import chainrule as cr
from chainrule import nn, optim


def loss(y, target):
    wide = cr.concatenate([y] * 64, -1)
    return cr.square(cr.sort(wide) - target).mean()


step = cr.training_step(nn.Linear(16, 32), loss, optim.Adam(), (cr.spec("N", 16), cr.spec("N", 1)))
"""


def test_the_report_names_the_largest_tensors_at_the_peak_with_their_lines(tmp_path: Path, capsys):
    file = tmp_path / "wide.py"
    file.write_text(STEP)
    assert main(["info", f"{file}:step", "--dim", "N=100", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    sizes = [a["nbytes"] for a in report["alive"]]
    wide = next(a for a in report["alive"] if a["type"] == "f32[100,2048]")
    assert wide["nbytes"] == 100 * 2048 * 4 and wide["place"] in ("wide.py:7", "wide.py:8")
    assert sizes == sorted(sizes, reverse=True) and report["peak_place"].startswith("wide.py:")
    assert report["arena_bytes"] >= report["peak_bytes"] >= sum(sizes) >= 2 * wide["nbytes"]
    assert report["weight_bytes"] >= 3 * (16 * 32 + 32) * 4
    assert main(["info", f"{file}:step"]) == 0
    shown = capsys.readouterr().out
    assert "weights and state" in shown and "wide.py:" in shown


def test_the_peak_is_the_bound_of_the_plan():
    net = cr.compile(nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 8)), cr.spec("N", 8))
    report = net.memory_report({"N": 512})
    assert report.peak_bytes == net.memory({"N": 512})["arena_bound_bytes"]
    with pytest.raises(NotSupported, match="the reference backend plans no memory"):
        cr.compile(lambda x: x + 1.0, cr.spec(2), backend="reference").memory_report()


def test_a_batch_that_does_not_fit_says_so_and_the_next_one_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "_limit_here", lambda: 1_000_000)
    step = cr.training_step(nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1)), cr.mse_loss, optim.SGD(0.1),
                            (cr.spec("N", 8), cr.spec("N", 1)))  # fmt: skip
    with pytest.raises(ArgumentError, match="GB of memory"):
        step(np.zeros((10_000, 8), np.float32), np.zeros((10_000, 1), np.float32))
    assert np.isfinite(step(np.zeros((10, 8), np.float32), np.zeros((10, 1), np.float32)))


@pytest.mark.parametrize(("membership", "limit"), [
    ("0::/a/b\n", 3_000_000), ("0::/a\n", 5_000_000), ("0::/\n", 8_192_000), ("7:cpu,memory:/a/b\n", 4_000_000),
    ("", 8_192_000),
])  # fmt: skip
def test_the_limit_is_the_least_of_the_machine_and_all_groups(tmp_path: Path, membership: str, limit: int):
    (tmp_path / "meminfo").write_text("MemTotal:  8000 kB\nMemFree: 10 kB\n")
    (tmp_path / "cgroup").write_text(membership)
    for name, text in {"a/b/memory.max": "3000000", "a/memory.max": "5000000", "memory.max": "max",
                       "memory/a/b/memory.limit_in_bytes": "9223372036854771712",
                       "memory/a/memory.limit_in_bytes": "4000000"}.items():  # fmt: skip
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text + "\n")
    assert memory_limit(tmp_path / "meminfo", tmp_path / "cgroup", tmp_path / "root") == limit


def test_where_nothing_tells_there_is_no_limit(tmp_path: Path):
    assert memory_limit(tmp_path / "a", tmp_path / "b", tmp_path) is None

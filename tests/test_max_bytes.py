"""Under a limit on memory a step computes values again, to the same bits, and says which; too small a limit raises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.cli import main
from chainrule.errors import ArgumentError, NotSupported


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def __call__(self, x: Any) -> Any:
        return cr.relu(x + self.norm(self.conv(x)))


def perceptron() -> nn.Module:
    return nn.Sequential(*(part for _ in range(14) for part in (nn.Linear(32, 32), nn.Tanh())))


def residual() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *(Block(8) for _ in range(5)), nn.Flatten(), nn.Linear(800, 32))


def transformer() -> nn.Module:
    layers = (nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True) for _ in range(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 32, 32))


CASES = {"perceptron": (perceptron, (32,), 64), "residual": (residual, (3, 10, 10), 8),
         "transformer": (transformer, (16, 32), 8)}  # fmt: skip


def made(case: str, **limits: Any) -> cr.Step:
    build, shape, _ = CASES[case]
    cr.manual_seed(3)
    specs = (cr.spec("N", *shape), cr.spec("N", dtype="i64"))
    return cr.training_step(build(), cr.cross_entropy, optim.Adam(1e-3), specs, seed=5, **limits)


@pytest.mark.parametrize(("case", "share"), [("perceptron", 0.6), ("residual", 0.7), ("transformer", 0.6)])
def test_a_step_under_a_limit_has_the_same_bits_and_a_lower_peak(case: str, share: float):
    _, shape, n = CASES[case]
    free = made(case)
    most = int(free.memory({"N": n})["arena_bytes"] * share)
    bound = made(case, max_bytes=most, dims={"N": n})
    assert bound.memory({"N": n})["arena_bytes"] <= most
    rng = np.random.default_rng(0)
    for size in (n, n, 3):
        x, y = rng.standard_normal((size, *shape)).astype(np.float32), rng.integers(0, 32, size)
        assert bound(x, y) == free(x, y)
    for name, array in free.state.items():
        np.testing.assert_array_equal(bound.state[name], array, err_msg=name)
    report = bound.memory_report({"N": n})
    assert re.match(r"temporaries \d+ -> \d+ bytes: \d+ kernels run again", report.decided[0])  # type: ignore[attr-defined]
    assert bound.eval(x, y) == free.eval(x, y)


def test_a_limit_that_is_not_reached_changes_nothing():
    free, bound = made("perceptron"), made("perceptron", max_bytes=1 << 30, dims={"N": 64})
    assert bound.memory({"N": 64}) == free.memory({"N": 64})
    assert bound.reports[-1].name == "recompute{max-bytes=1073741824}" and not bound.reports[-1].changed


def test_too_small_a_limit_names_the_least_that_was_reached():
    with pytest.raises(ArgumentError, match=r"take (\d+) bytes at least, 1000 are allowed") as caught:
        made("perceptron", max_bytes=1000, dims={"N": 64})
    least = int(re.findall(r"(\d+) bytes at least", str(caught.value))[0])
    assert 1000 < least < made("perceptron").memory({"N": 64})["arena_bytes"]
    bound = made("perceptron", max_bytes=2 * least, dims={"N": 64})
    assert bound.memory({"N": 64})["arena_bytes"] <= 2 * least


def test_a_limit_needs_the_sizes_and_native_code():
    with pytest.raises(ArgumentError, match="the size N is not known"):
        made("perceptron", max_bytes=1 << 20)
    with pytest.raises(NotSupported, match="native code alone"):
        made("perceptron", max_bytes=1 << 20, dims={"N": 64}, backend="reference")


def test_kernels_that_may_fail_run_once():
    model = nn.Sequential(nn.Embedding(50, 32), *(part for _ in range(8) for part in (nn.Linear(32, 32), nn.Tanh())))

    def step(**limits: Any) -> cr.Step:
        specs = (cr.spec(64, dtype="i64"), cr.spec(64, 32))
        return cr.training_step(model, cr.mse_loss, optim.SGD(0.1), specs, **limits)

    bound = step(max_bytes=int(step().memory()["arena_bytes"] * 0.8))
    before = {name: array.copy() for name, array in bound.state.items()}
    with pytest.raises(cr.ChainruleError, match="index"):
        bound(np.full(64, 50), np.zeros((64, 32), np.float32))
    for name, array in bound.state.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_compiled_gradient_takes_a_limit_too():
    def loss(x: Any) -> Any:
        for _ in range(12):
            x = cr.tanh(x @ x.T @ x)
        return cr.sum(x)

    free = cr.compile(cr.grad(loss), cr.spec(16, 16))
    most = int(free.memory()["arena_bytes"] * 0.7)
    bound = cr.compile(cr.grad(loss), cr.spec(16, 16), max_bytes=most)
    assert bound.memory()["arena_bytes"] <= most
    x = np.random.default_rng(1).standard_normal((16, 16)).astype(np.float32)
    np.testing.assert_array_equal(bound(x), free(x))


def test_info_shows_what_was_decided(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "deep.py"
    file.write_text("""
import chainrule as cr
from chainrule import nn, optim

model = nn.Sequential(*(part for _ in range(10) for part in (nn.Linear(16, 16), nn.Tanh())))
step = cr.training_step(model, cr.mse_loss, optim.SGD(0.1), (cr.spec(128, 16), cr.spec(128, 16)), max_bytes=75_000)
""")
    assert main(["info", f"{file}:step"]) == 0
    shown = capsys.readouterr().out
    assert "kernels run again" in shown and "again: 8192 bytes" in shown and "deep.py:6" in shown

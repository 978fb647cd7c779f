"""Tests that take `real_model` run once for each model in the folder that --onnx-models names."""

from __future__ import annotations

from pathlib import Path

import pytest

WITHOUT = "no folder of models: give --onnx-models FOLDER, or set CHAINRULE_ONNX_MODELS"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "real_model" not in metafunc.fixturenames:
        return
    folder = metafunc.config.getoption("--onnx-models")
    found = sorted(Path(folder).rglob("*.onnx")) if folder else []
    names = [str(place.relative_to(folder).parent if place.name == "model.onnx" else place.name) for place in found]
    skipped = pytest.param(None, marks=pytest.mark.skip(reason=WITHOUT))
    metafunc.parametrize("real_model", found or [skipped], ids=names if found else ["none"])

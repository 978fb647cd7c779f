"""The light models that onnx's suite brings along compile, and give what onnx states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import DATA_DIR
from onnx.backend.test.runner import Runner

from chainrule.backends.onnx.interface import LlvmBackend

FILES = sorted(Path(DATA_DIR, "light").glob("*.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_light_model_gives_what_onnx_states(file: Path) -> None:
    model = onnx.load(file)
    stored = {tensor.name for tensor in model.graph.initializer}
    given = [_ramp(i) for i in model.graph.input if i.name not in stored]
    stated = sorted(file.parent.glob(f"{file.stem}_output_*"))
    wanted = [numpy_helper.to_array(onnx.load_tensor(str(f))) for f in stated]
    Runner.assert_similar_outputs(wanted, LlvmBackend.run_model(model, given), 1e-3, 1e-7)


def _ramp(info: onnx.ValueInfoProto) -> np.ndarray:
    """The input that onnx's runner makes for these models."""
    shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
    count = int(np.prod(shape))
    return (np.arange(count).reshape(shape) / count).astype(np.float32)


def test_there_are_light_models() -> None:
    assert len(FILES) >= 9

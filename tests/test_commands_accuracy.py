"""`chainrule verify` of a quantised model says how far it is from the float one."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from chainrule.cli import main
from chainrule.commands.accuracy import accuracy
from tests.ops.sample import normal


def models(folder: Path) -> tuple[Path, Path]:
    """A layer of ten classes in floats, and the same quantised."""
    w = normal(8, 10)
    step = np.float32(np.abs(w).max() / 127)
    stored = {"w": w, "wq": np.round(w / step).astype(np.int8), "ws": step, "wz": np.int8(0), "xs": np.float32(0.02),
              "xz": np.uint8(128), "ys": np.float32(0.06), "yz": np.uint8(120)}  # fmt: skip
    pair = [("QuantizeLinear", ["x", "xs", "xz"], "xq"), ("DequantizeLinear", ["xq", "xs", "xz"], "xr"),
            ("DequantizeLinear", ["wq", "ws", "wz"], "wr"), ("MatMul", ["xr", "wr"], "p"),
            ("QuantizeLinear", ["p", "ys", "yz"], "pq"), ("DequantizeLinear", ["pq", "ys", "yz"], "y")]  # fmt: skip
    found = []
    for name, nodes in (("float", [("MatMul", ["x", "w"], "y")]), ("bytes", pair)):
        used = {i for _, inputs, _ in nodes for i in inputs}
        graph = helper.make_graph(
            [helper.make_node(op, inputs, [output]) for op, inputs, output in nodes], name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [6, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [6, 10])],
            [numpy_helper.from_array(np.asarray(a), n) for n, a in stored.items() if n in used])  # fmt: skip
        found.append(folder / f"{name}.onnx")
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), found[-1])
    return found[0], found[1]


@pytest.mark.parametrize("against", [False, True])
def test_verify_reports_what_quantising_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], against: bool
) -> None:
    plain, quantised = models(tmp_path)
    more = ["--against", str(plain)] if against else []
    code = main(["verify", str(quantised), "--json", *more])
    rows = json.load(io.StringIO(capsys.readouterr().out))
    assert code == 0 and set(rows) == {"llvm", "onnxruntime", "reference"}
    for row in rows.values():
        assert row["agrees"] and 20 < row["accuracy"]["decibels"] < 60
        assert row["accuracy"]["rows"] == 6 and 0 < row["accuracy"]["largest_error"] < 0.3
    assert main(["verify", str(quantised), *more]) == 0
    assert capsys.readouterr().out.count("dB signal to noise, largest error") == 3


def test_a_float_model_has_no_such_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "mlp"]) == 0
    assert "signal to noise" not in capsys.readouterr().out


def test_equal_first_places_are_counted_where_outputs_are_rows_of_scores() -> None:
    exact = np.float64([[1, 2, 3], [3, 2, 1]])
    found = accuracy([np.float32([[1, 3, 2], [3, 2, 1]])], [exact])
    assert (found.equal, found.rows, found.largest) == (1, 2, 1.0)
    assert accuracy([exact[..., None]], [exact[..., None]]).equal is None
    assert accuracy([exact], [exact]).decibels == np.inf


def test_verify_reports_what_products_in_half_precision_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "lenet", "--mixed", "bf16", "--json"]) == 0
    rows = json.load(io.StringIO(capsys.readouterr().out))
    row = rows["llvm in bf16"]
    assert row["agrees"] and 20 < row["accuracy"]["decibels"] < 80
    assert row["largest_difference"] > rows["llvm"]["largest_difference"] and "accuracy" not in rows["llvm"]
    assert main(["verify", "lenet", "--mixed", "bf16"]) == 0
    assert "llvm in bf16 against the float model: " in capsys.readouterr().out

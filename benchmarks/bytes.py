"""Quantised models against onnxruntime on the same files, and against ourselves in f32, by turns in one process.

Models of the DSL are exported, quantised by onnxruntime's own quantize_static (QDQ, per channel, calibrated on seeded
random inputs) and timed. Prints milliseconds of the best burst and medians of the paired ratios: onnxruntime
over ours for the quantised file, our f32 over our bytes; then how far each is from the float model, as signal to noise.
Usage: python benchmarks/bytes.py [--only resnet50] [--activations u8,i8] [--batch 1] [--threads 1]
       [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx_models import session
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from paired import paired

import chainrule as cr
from chainrule.backends.llvm.target import host_target
from chainrule.ir.types import TensorType
from chainrule.ops.tolerance import signal_to_noise

MODELS = ("resnet50", "resnet18", "mobilenet", "bert")
KINDS = {"u8": QuantType.QUInt8, "i8": QuantType.QInt8}
CALIBRATED = 2  # inputs that ranges are taken from
Array = np.ndarray


@dataclass(frozen=True)
class Result:
    """A model. peer_over_ours, f32_over_ours: medians of paired ratios, above 1 our bytes are faster. *_db: signal to
    noise of the outputs against the float model."""

    name: str
    activations: str
    ours_ms: float
    peer_ms: float
    f32_ms: float
    peer_over_ours: float
    f32_over_ours: float
    ours_db: float
    peer_db: float


class Calibration(CalibrationDataReader):
    """Seeded inputs by name."""

    def __init__(self, names: Sequence[str], types: Sequence[TensorType]) -> None:
        self.feeds: Iterator[dict[str, Array]] = iter(
            [dict(zip(names, inputs(types, seed), strict=True)) for seed in range(CALIBRATED)])  # fmt: skip

    def get_next(self) -> dict[str, Array] | None:  # type: ignore[override]
        return next(self.feeds, None)


def inputs(types: Sequence[TensorType], seed: int) -> list[Array]:
    """Normal numbers, or small whole ones; named sizes are 1."""
    rng = np.random.default_rng(seed)
    shapes = [[d if isinstance(d, int) else 1 for d in t.shape] for t in types]
    return [(rng.standard_normal(s) if t.dtype.is_float else rng.integers(0, 1000, s)).astype(t.dtype.numpy)
            for t, s in zip(types, shapes, strict=True)]  # fmt: skip


def quantised(model: Path, kind: str, names: Sequence[str], types: Sequence[TensorType]) -> Path:
    """The quantised file beside a model."""
    folded, found = model.with_suffix(".folded.onnx"), model.with_suffix(f".{kind}.onnx")
    quant_pre_process(str(model), str(folded), skip_symbolic_shape=True)
    quantize_static(str(folded), str(found), Calibration(names, types), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=KINDS[kind], weight_type=QuantType.QInt8)  # fmt: skip
    return found


def measured(name: str, kind: str, folder: Path, batch: int, threads: int, rounds: int) -> Result:
    """One model, by turns."""
    model, specs = importlib.import_module(f"models.{name}").build(batch)
    path = folder / f"{name}.onnx"
    cr.export_onnx(model, path, *specs)
    plain = cr.compile(cr.load_onnx(path), threads=threads)
    names = [i.name for i in session(path, threads).get_inputs()]
    file = quantised(path, kind, names, plain.input_types)
    ours, peer, given = cr.compile(cr.load_onnx(file), threads=threads), session(file, threads), inputs(
        plain.input_types, CALIBRATED)  # fmt: skip
    feeds = dict(zip(names, given, strict=True))
    found = paired((lambda: ours(*given), lambda: peer.run(None, feeds), lambda: plain(*given)), rounds)
    best = [us / 1000 for us in found.best_us]
    want = plain.run(given)[0]
    return Result(name, kind, *best, *(1 / r for r in found.ratios),
                  signal_to_noise(ours.run(given)[0], want),
                  signal_to_noise(np.asarray(peer.run(None, feeds)[0]), want))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(MODELS))
    parser.add_argument("--activations", default="u8")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only.split(","):
            for kind in args.activations.split(","):
                found = measured(name, kind, Path(folder), args.batch, args.threads, args.rounds)
                results.append(found)
                print(f"{name:<10} {kind}  ours {found.ours_ms:7.2f} ms  onnxruntime {found.peer_ms:7.2f} ms "
                      f"(x{found.peer_over_ours:.2f})  f32 {found.f32_ms:7.2f} ms (x{found.f32_over_ours:.2f})  "
                      f"{found.ours_db:.1f} and {found.peer_db:.1f} dB", flush=True)  # fmt: skip
    if args.json:
        rows = [{k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in asdict(r).items()} for r in results]
        args.json.write_text(json.dumps({"machine": platform.machine(), "cpu": host_target().cpu,
                                         "batch": args.batch, "threads": args.threads, "onnxruntime": ort.__version__,
                                         "models": rows}, indent=1) + "\n")  # fmt: skip


if __name__ == "__main__":
    main()

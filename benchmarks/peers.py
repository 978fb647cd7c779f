"""One runtime with one model in a process of its own, run on demand: the other end of benchmarks/inference.py.

    python peers.py RUNTIME MODEL.onnx INPUTS.npz THREADS

It says when the model is loaded and warm, and then answers questions: turns.serve. It imports nothing but the runtime
and numpy, and onnx for those that are given nodes or names (PyTorch, JAX, MNN).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from turns import Call, serve


def chainrule(model: Path, inputs: dict[str, np.ndarray], threads: int) -> Call:
    """Ours, from the DSL: the model is a file FILE.py with a function build, its weights as they are seeded."""
    import chainrule as cr

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a model may build on another
    spec = importlib.util.spec_from_file_location("model", model)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cr.manual_seed(0)
    made, specs = module.build(**json.loads(os.environ.get("BENCH_OPTIONS", "{}")))
    net = cr.compile(made, *specs, threads=threads)
    arrays = list(inputs.values())
    outputs = net.run(arrays)
    if os.environ.get("BENCH_OUT") == "fresh":  # as the others: a new output at every call
        return lambda: [net(*arrays)]
    return lambda: [net(*arrays, out=outputs)] and outputs


def onnxruntime(model: Path, inputs: dict[str, np.ndarray], threads: int) -> Call:
    """Default execution provider, all graph optimisations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def openvino(model: Path, inputs: dict[str, np.ndarray], threads: int) -> Call:
    """f32 forced, latency hint."""
    import openvino as ov

    core = ov.Core()
    config = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads,
              "NUM_STREAMS": 1}  # fmt: skip
    made = core.compile_model(core.read_model(str(model)), "CPU", config)
    request = made.create_infer_request()
    names = [port.get_any_name() for port in made.inputs]
    for name in names:
        request.set_tensor(name, ov.Tensor(inputs[name], shared_memory=True))

    def call() -> list[np.ndarray]:
        request.infer()
        return [request.get_output_tensor(i).data for i in range(len(made.outputs))]

    return call


def ncnn(model: Path, inputs: dict[str, np.ndarray], threads: int) -> Call:
    """Converted by pnnx; f32 everywhere. Its data has no batch axis: a batch is a call for each of its rows.

    So it takes the model for a batch of one, single.onnx, where the other is for more.
    """
    import ncnn as nn

    folder = Path(tempfile.mkdtemp())
    shapes = ",".join(f"[1{''.join(f',{n}' for n in a.shape[1:])}]{_pnnx_type(a)}" for a in inputs.values())
    single, copied = model.with_name("single.onnx"), folder / "net.onnx"
    copied.write_bytes((single if single.exists() else model).read_bytes())
    tool = Path(sys.executable).with_name("pnnx")
    subprocess.run([tool, copied, f"inputshape={shapes}", "fp16=0"], cwd=folder, check=True, capture_output=True)
    net = nn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    if net.load_param(str(folder / "net.ncnn.param")):
        raise NotImplementedError("pnnx leaves nodes for which ncnn has no layer")
    net.load_model(str(folder / "net.ncnn.bin"))
    rows = [[nn.Mat(np.ascontiguousarray(row)) for row in rows] for rows in zip(*inputs.values(), strict=True)]
    given, wanted = list(net.input_names()), list(net.output_names())

    def one(mats: list[Any]) -> list[np.ndarray]:
        extractor = net.create_extractor()
        for name, mat in zip(given, mats, strict=True):
            extractor.input(name, mat)
        return [np.array(extractor.extract(name)[1]) for name in wanted]

    return lambda: [np.stack(rows) for rows in zip(*map(one, rows), strict=True)]


def _pnnx_type(array: np.ndarray) -> str:
    return {"float32": "f32", "int64": "i64", "int32": "i32"}[array.dtype.name]


def mnn(model: Path, inputs: dict[str, np.ndarray], threads: int) -> Call:
    """Converted by its own converter; high precision (f32). Models with loops run by its Module interface only."""
    import _tools  # the converter itself: its command installs a package first, to report what was converted
    import MNN

    names = _named_outputs(model)
    file = Path(tempfile.mkdtemp()) / "net.mnn"
    words = ["mnnconvert", "-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(file), "--bizCode", "x"]
    _tools.mnnconvert(words)
    config = {"precision": "high", "backend": "CPU", "numThread": threads}
    runtime = MNN.nn.create_runtime_manager((config,))
    net = MNN.nn.load_module_from_file(str(file), list(inputs), names, runtime_manager=runtime)
    ex = MNN.expr
    arrays = [a.astype(np.int32) if a.dtype == np.int64 else a for a in inputs.values()]
    given = [ex.const(a, list(a.shape), ex.NCHW, ex.int if a.dtype.kind == "i" else ex.float) for a in arrays]
    return lambda: [np.array(ex.convert(y, ex.NCHW).read()) for y in net.forward(given)]


def _named_outputs(model: Path) -> list[str]:
    import onnx

    return [output.name for output in onnx.load(str(model), load_external_data=False).graph.output]


def torch(model: Path, inputs: dict[str, np.ndarray], threads: int) -> Call:
    """Eager PyTorch: the ONNX nodes as calls of torch.nn.functional."""
    return _torch(model, inputs, threads, compiled=False)


def inductor(model: Path, inputs: dict[str, np.ndarray], threads: int) -> Call:
    """torch.compile of the same, weights frozen: it then lays them out for its kernels."""
    return _torch(model, inputs, threads, compiled=True)


def _torch(model: Path, inputs: dict[str, np.ndarray], threads: int, compiled: bool) -> Call:
    import torch as th
    from torch_of_onnx import Model

    th.set_num_threads(threads)
    net = Model(model).eval()
    tensors = [th.from_numpy(a) for a in inputs.values()]
    function = th.compile(net, options={"freezing": True}) if compiled else net

    def call() -> list[np.ndarray]:
        with th.inference_mode():
            return [y.contiguous().numpy() for y in function(*tensors)]

    return call


def jax(model: Path, inputs: dict[str, np.ndarray], threads: int) -> Call:
    """The ONNX nodes as calls of jax.numpy, under jit. XLA takes as many threads as there are processors to use."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:threads]))
    os.environ["JAX_PLATFORMS"] = "cpu"
    from jax_of_onnx import function_of

    function = function_of(model)
    arrays = [a.astype(np.int32) if a.dtype == np.int64 else a for a in inputs.values()]
    return lambda: [np.asarray(y) for y in function(*arrays)]


RUNTIMES: dict[str, Callable[[Path, dict[str, np.ndarray], int], Call]] = {
    "chainrule": chainrule, "onnxruntime": onnxruntime, "openvino": openvino, "ncnn": ncnn, "mnn": mnn,
    "torch": torch, "inductor": inductor, "jax": jax,
}  # fmt: skip


def main() -> None:
    runtime, model, arrays, threads = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    with np.load(arrays) as kept:
        inputs = {name: kept[name] for name in kept.files}
    serve(lambda: RUNTIMES[runtime](model, inputs, threads))


if __name__ == "__main__":
    main()

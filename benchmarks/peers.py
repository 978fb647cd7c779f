"""One runtime with one model in a process of its own, run on demand: the other end of benchmarks/inference.py.

    python peers.py RUNTIME MODEL.onnx INPUTS.npz THREADS

It says when the model is loaded and warm, and then answers questions: turns.serve. It imports nothing but the runtime
and numpy, so that it works in an environment that has only these.
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
    """Converted by pnnx; f32 everywhere. Takes batches of one only, as its data has no batch axis."""
    import ncnn as nn

    folder = Path(tempfile.mkdtemp())
    shapes = ",".join(f"[{','.join(map(str, a.shape))}]{_pnnx_type(a)}" for a in inputs.values())
    copied = folder / "net.onnx"
    copied.write_bytes(model.read_bytes())
    tool = Path(sys.executable).with_name("pnnx")
    subprocess.run([tool, copied, f"inputshape={shapes}", "fp16=0"], cwd=folder, check=True, capture_output=True)
    net = nn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    net.load_param(str(folder / "net.ncnn.param"))
    net.load_model(str(folder / "net.ncnn.bin"))
    mats = [nn.Mat(np.ascontiguousarray(a[0])) for a in inputs.values()]
    given, wanted = list(net.input_names()), list(net.output_names())

    def call() -> list[np.ndarray]:
        extractor = net.create_extractor()
        for name, mat in zip(given, mats, strict=True):
            extractor.input(name, mat)
        return [np.array(extractor.extract(name)[1])[None] for name in wanted]

    return call


def _pnnx_type(array: np.ndarray) -> str:
    return {"float32": "f32", "int64": "i64", "int32": "i32"}[array.dtype.name]


def mnn(model: Path, inputs: dict[str, np.ndarray], threads: int) -> Call:
    """Converted by its own tool; high precision (f32), weights kept."""
    import MNN

    folder = Path(tempfile.mkdtemp())
    tool = Path(sys.executable).with_name("mnnconvert")
    words = ["-f", "ONNX", "--modelFile", model, "--MNNModel", folder / "net.mnn", "--bizCode", "x"]
    subprocess.run([tool, *words], cwd=folder, check=True, capture_output=True)  # it leaves a file where it runs
    interpreter = MNN.Interpreter(str(folder / "net.mnn"))
    session = interpreter.createSession({"numThread": threads, "precision": "high", "backend": "CPU"})
    tensors = interpreter.getSessionInputAll(session)
    for name, array in inputs.items():
        tensor = tensors[name]
        interpreter.resizeTensor(tensor, tuple(array.shape))
    interpreter.resizeSession(session)
    kinds = {"float32": MNN.Halide_Type_Float, "int64": MNN.Halide_Type_Int, "int32": MNN.Halide_Type_Int}
    layout = MNN.Tensor_DimensionType_Caffe
    hosts = {}
    for name, array in inputs.items():
        plain = array.astype(np.int32) if array.dtype == np.int64 else array
        hosts[name] = MNN.Tensor(tuple(plain.shape), kinds[plain.dtype.name], plain, layout)

    def call() -> list[np.ndarray]:
        for name, host in hosts.items():
            tensors[name].copyFrom(host)
        interpreter.runSession(session)
        found = interpreter.getSessionOutputAll(session)
        results = []
        for output in found.values():
            shape = tuple(output.getShape())
            host = MNN.Tensor(shape, MNN.Halide_Type_Float, np.zeros(shape, np.float32), layout)
            output.copyToHostTensor(host)
            results.append(np.array(host.getNumpyData()).reshape(shape))
        return results

    return call


def torch(model: Path, inputs: dict[str, np.ndarray], threads: int) -> Call:
    """Eager PyTorch: the ONNX nodes as calls of torch.nn.functional."""
    return _torch(model, inputs, threads, compiled=False)


def inductor(model: Path, inputs: dict[str, np.ndarray], threads: int) -> Call:
    """torch.compile of the same."""
    return _torch(model, inputs, threads, compiled=True)


def _torch(model: Path, inputs: dict[str, np.ndarray], threads: int, compiled: bool) -> Call:
    import torch as th

    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from torch_of_onnx import function_of

    th.set_num_threads(threads)
    function = function_of(model)
    tensors = [th.from_numpy(a) for a in inputs.values()]
    if compiled:
        function = th.compile(function)

    def call() -> list[np.ndarray]:
        with th.inference_mode():
            return [y.numpy() for y in function(*tensors)]

    return call


RUNTIMES: dict[str, Callable[[Path, dict[str, np.ndarray], int], Call]] = {
    "chainrule": chainrule, "onnxruntime": onnxruntime, "openvino": openvino, "ncnn": ncnn, "mnn": mnn,
    "torch": torch, "inductor": inductor,
}  # fmt: skip


def main() -> None:
    runtime, model, arrays, threads = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    with np.load(arrays) as kept:
        inputs = {name: kept[name] for name in kept.files}
    serve(lambda: RUNTIMES[runtime](model, inputs, threads))


if __name__ == "__main__":
    main()

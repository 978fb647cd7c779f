"""Time per element of the vector functions, next to onnxruntime (one thread) and numpy, in the same run.

    taskset -c 1 env PYTHONPATH=src python benchmarks/vector_math.py [names ...] [--dtype f32] [--count 393216] [--json]

Every figure is the fastest of many short runs on one core, in nanoseconds per element; onnxruntime's is the whole call
with bound inputs and outputs, less the call of an empty model. "-" where onnxruntime has no such op or type.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.backends.llvm.jit import compile_functions
from chainrule.backends.llvm.kernels import vector_math
from chainrule.backends.llvm.target import host_target
from chainrule.backends.loops import Builder, Function
from chainrule.ir.types import DType, f32, f64

Array = np.ndarray[Any, Any]
LANES = 16
ONNX = {
    "exp": "Exp", "log": "Log", "tanh": "Tanh", "sigmoid": "Sigmoid", "erf": "Erf", "sin": "Sin", "cos": "Cos",
    "tan": "Tan",
    "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh",
    "atanh": "Atanh", "pow": "Pow", "softplus": "Softplus", "mish": "Mish", "gelu": "Gelu", "gelu_tanh": "Gelu",
}  # fmt: skip
NUMPY = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10,
    "log1p": np.log1p, "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin,
    "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh,
    "acosh": np.arccosh, "atanh": np.arctanh, "pow": np.power, "cbrt": np.cbrt,
}  # fmt: skip
BINARY = ("pow", "atan2")


def kernel(name: str, dtype: DType, count: int) -> Function:
    """y = name(x) for a fixed count: 16 elements at a time, without masks."""
    k = Builder(name)
    inputs = [k.buffer(f"x{i}", dtype, (count,)) for i in range(2 if name in BINARY else 1)]
    output = k.buffer("y", dtype, (count,), mode="w")
    with k.loop("i", 0, count // LANES, parallel=True) as i:
        values = [k.load(x, (i * LANES,), LANES) for x in inputs]
        k.store(output, (i * LANES,), getattr(vector_math, name)(k, *values))
    return k.build()


def fastest(run: Callable[[], object], budget: float = 0.4) -> float:
    """The shortest time of one call, in seconds, over `budget` seconds of calls."""
    run()
    best, end = float("inf"), time.perf_counter() + budget
    while time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return best


def inputs_for(name: str, count: int, dtype: DType) -> list[Array]:
    """Numbers within the function's domain."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=count) * 2
    if (name.startswith("log") and name != "log_sigmoid") or name in ("rsqrt", "pow"):
        x = np.abs(x) + 0.01
    if name in ("asin", "acos", "atanh"):
        x = np.tanh(x) * 0.99
    if name == "acosh":
        x = 1 + np.abs(x)
    arrays = [x, draw.normal(size=count)] if name in BINARY else [x]
    return [a.astype(dtype.numpy) for a in arrays]


def ours(name: str, arrays: list[Array], dtype: DType) -> float:
    """Seconds of one run of the kernel."""
    function = kernel(name, dtype, arrays[0].size)
    code = compile_functions([function], host_target())
    signature = ctypes.CFUNCTYPE(
        None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
    )
    entry = signature(code.address(function))
    output = np.empty_like(arrays[0])
    pointers = (ctypes.c_void_p * 3)(*(a.ctypes.data for a in [*arrays, output]))
    sizes, status = (ctypes.c_int64 * 1)(0), ctypes.c_int64(0)
    where = ctypes.addressof(pointers), ctypes.addressof(sizes), ctypes.addressof(status)
    return fastest(lambda: entry(where[0], where[1], 0, output.size // LANES, where[2]))


def onnxruntime_time(name: str, arrays: list[Array]) -> float | None:
    """Seconds of one run of the op alone, or None."""
    if name not in ONNX:
        return None
    import onnx
    import onnxruntime
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(arrays[0].dtype)
    attributes = {"approximate": "tanh" if name == "gelu_tanh" else "none"} if "gelu" in name else {}

    def session_of(op: str, values: list[Array]) -> float:
        names = [f"x{i}" for i in range(len(values))]
        infos = [helper.make_tensor_value_info(n, kind, [v.size]) for n, v in zip(names, values)]
        out = helper.make_tensor_value_info("y", kind, [values[0].size])
        node = helper.make_node(op, names, ["y"], **(attributes if op == "Gelu" else {}))
        model = helper.make_model(
            helper.make_graph([node], "g", infos, [out]), opset_imports=[helper.make_opsetid("", 22)], ir_version=10
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(onnx.ModelProto.SerializeToString(model), options)
        binding = session.io_binding()
        result = np.empty_like(values[0])
        for n, v in zip(names, values):
            binding.bind_cpu_input(n, v)
        binding.bind_output("y", "cpu", 0, result.dtype, list(result.shape), result.ctypes.data)
        return fastest(lambda: session.run_with_iobinding(binding))

    try:
        full = session_of(ONNX[name], arrays)
    except Exception as error:
        if "NOT_IMPLEMENTED" in str(error) or "Could not find an implementation" in str(error):
            return None
        raise
    return full - session_of("Relu", [a[:1].copy() for a in arrays[:1]])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[], help="functions (default: all)")
    parser.add_argument("--dtype", choices=["f32", "f64"], default="f32")
    parser.add_argument("--count", type=int, default=393216)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.count % LANES:
        parser.error(f"--count is a multiple of {LANES}")
    dtype = f32 if options.dtype == "f32" else f64
    rows: list[dict[str, object]] = []
    if not options.json:
        print(
            f"{options.count} elements of {dtype}, ns per element\n{'':12s}{'chainrule':>10s}{'ORT':>8s}{'numpy':>8s}"
        )
    for name in options.names or vector_math.__all__:
        arrays = inputs_for(name, options.count, dtype)
        out = np.empty_like(arrays[0])
        seconds: dict[str, float | None] = {
            "chainrule": ours(name, arrays, dtype),
            "ORT": onnxruntime_time(name, arrays),
        }
        plain = NUMPY.get(name)
        seconds["numpy"] = None if plain is None else fastest(lambda f=plain, a=arrays, o=out: f(*a, out=o))
        times = {who: None if s is None else s / options.count * 1e9 for who, s in seconds.items()}
        rows.append({"name": name, **times})
        if not options.json:
            shown = [f"{t:.3f}" if t is not None else "-" for t in times.values()]
            print(f"{name:12s}{shown[0]:>10s}{shown[1]:>8s}{shown[2]:>8s}", flush=True)
    if options.json:
        print(json.dumps({"dtype": str(dtype), "count": options.count, "ns_per_element": rows}))


if __name__ == "__main__":
    main()

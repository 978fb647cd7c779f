"""Movements of elements against onnxruntime and numpy, paired in one run: transposes, slices, pads, gathers, pools.

Prints microseconds per call of the best burst, and the median of the paired ratios (below 1: ours is faster). `--json`
prints one record per case. Usage: python benchmarks/transpose.py [--threads 1] [--only pool] [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper
from paired import paired

from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import type_of
from chainrule.ops.indexing import gather, gather_elements, scatter_add
from chainrule.ops.pool import avg_pool, max_pool
from chainrule.ops.shaping import concat, flip, pad_constant, slice_sized, transpose

Array = np.ndarray


@dataclass(frozen=True)
class Case:
    """One op: how we write it, what ONNX calls it, and numpy's function, which copies what is a view."""

    name: str
    arrays: tuple[Array, ...]
    ours: Callable[..., Value]
    op: str
    attributes: dict[str, object] = field(default_factory=dict)
    constants: tuple[Array, ...] = ()
    numpy: Callable[..., Array] | None = None


@dataclass(frozen=True)
class Result:
    """Microseconds per call; gb_per_second: bytes read and written at least."""

    case: str
    ours_us: float
    gb_per_second: float
    onnxruntime_us: float
    ratio_onnxruntime: float
    numpy_us: float | None
    ratio_numpy: float | None


def normal(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def positions(limit: int, *shape: int) -> Array:
    return np.random.default_rng(1).integers(0, limit, shape)


def numbers(*values: int) -> Array:
    return np.array(values, np.int64)


def transposed(perm: tuple[int, ...], *shape: int) -> Case:
    return Case(f"transpose {perm} {shape}", (normal(*shape),), lambda x: transpose(x, perm), "Transpose",
                {"perm": perm}, (), lambda x: np.ascontiguousarray(x.transpose(perm)))  # fmt: skip


def pooled(window: int, stride: int, pad: int, *shape: int) -> list[Case]:
    attributes = {"kernel_shape": [window] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
    name, x = f"{window}x{window}/{stride} pad {pad} {shape}", normal(*shape)
    return [
        Case(f"max pool {name}", (x,), lambda x: max_pool(x, window, stride, pad), "MaxPool", attributes),
        Case(f"avg pool {name}", (x,), lambda x: avg_pool(x, window, stride, pad), "AveragePool",
             {**attributes, "count_include_pad": 1}),
    ]  # fmt: skip


CASES: tuple[Case, ...] = (
    transposed((0, 2, 3, 1), 1, 64, 56, 56), transposed((0, 3, 1, 2), 1, 56, 56, 64),
    transposed((0, 2, 3, 1), 1, 3, 224, 224), transposed((0, 3, 1, 2), 1, 224, 224, 3),
    transposed((0, 2, 3, 1), 1, 512, 7, 7), transposed((0, 2, 1, 3), 8, 128, 12, 64),
    transposed((1, 0), 768, 768), transposed((1, 0), 1000, 33), transposed((1, 0), 10, 20),
    Case("slice: crop", (normal(8, 3, 224, 224),), lambda x: slice_sized(x, (0, 0, 10, 10), (8, 3, 200, 200)), "Slice",
         {}, (numbers(10, 10), numbers(210, 210), numbers(2, 3)), lambda x: x[:, :, 10:210, 10:210].copy()),
    Case("slice: every second", (normal(8, 3, 224, 224),), lambda x: slice_sized(
        x, (0,) * 4, (8, 3, 112, 112), (1, 1, 2, 2)), "Slice", {},
        (numbers(0, 0), numbers(224, 224), numbers(2, 3), numbers(2, 2)), lambda x: x[:, :, ::2, ::2].copy()),
    Case("flip", (normal(8, 128, 2304),), lambda x: flip(x, 2), "Slice", {},
         (numbers(-1), numbers(-(2**31)), numbers(2), numbers(-1)), lambda x: x[:, :, ::-1].copy()),
    Case("concat of channels", (normal(8, 64, 28, 28), normal(8, 96, 28, 28)), lambda x, y: concat([x, y], 1), "Concat",
         {"axis": 1}, (), lambda x, y: np.concatenate([x, y], 1)),
    Case("concat of columns", (normal(512, 6), normal(512, 7)), lambda x, y: concat([x, y], 1), "Concat",
         {"axis": 1}, (), lambda x, y: np.concatenate([x, y], 1)),
    Case("pad by 1", (normal(8, 64, 56, 56),), lambda x: pad_constant(x, (0, 0, 1, 1), (0, 0, 1, 1)), "Pad", {},
         (numbers(0, 0, 1, 1, 0, 0, 1, 1),), lambda x: np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))),
    Case("gather: rows", (normal(30000, 768), positions(30000, 8, 128)), lambda x, i: gather(x, i, 0), "Gather", {}, (),
         lambda x, i: np.take(x, i, 0)),
    Case("gather: columns", (normal(8, 1000), positions(1000, 500)), lambda x, i: gather(x, i, 1), "Gather",
         {"axis": 1}, (), lambda x, i: np.take(x, i, 1)),
    Case("take along the last axis", (normal(8, 1000), positions(1000, 8, 500)), lambda x, i: gather_elements(x, i, 1),
         "GatherElements", {"axis": 1}, (), lambda x, i: np.take_along_axis(x, i, 1)),
    Case("scatter and add", (normal(8, 1000), positions(1000, 8, 500), normal(8, 500)),
         lambda x, i, u: scatter_add(x, i, u, 1), "ScatterElements", {"axis": 1, "reduction": "add"}),
    *pooled(3, 2, 1, 1, 64, 112, 112), *pooled(2, 2, 0, 8, 6, 28, 28), *pooled(3, 1, 1, 1, 192, 28, 28),
    *pooled(2, 2, 0, 1, 512, 14, 14),
)  # fmt: skip


def session(case: Case, threads: int) -> Callable[[], Sequence[Array]]:
    """onnxruntime's function of the case."""
    names = [f"x{i}" for i in range(len(case.arrays))]
    kinds = [helper.np_dtype_to_tensor_dtype(a.dtype) for a in case.arrays]
    inputs = [
        helper.make_tensor_value_info(n, kind, a.shape) for n, kind, a in zip(names, kinds, case.arrays, strict=True)
    ]
    constants = [onnx.numpy_helper.from_array(c, f"c{i}") for i, c in enumerate(case.constants)]
    node = helper.make_node(case.op, [*names, *(c.name for c in constants)], ["y"], **case.attributes)
    output = helper.make_tensor_value_info("y", kinds[0], None)
    graph = helper.make_graph([node], "case", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    made = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = dict(zip(names, case.arrays, strict=True))
    return lambda: made.run(None, feeds)


def measured(case: Case, threads: int) -> Result:
    """The case by turns, after its values were compared."""
    inputs = tuple(new_input(f"x{i}", type_of(a)) for i, a in enumerate(case.arrays))
    made = LlvmExecutable(Graph("case", inputs, (case.ours(*inputs),)), [], threads=threads)
    (y,), theirs, numpy = made.run(list(case.arrays)), session(case, threads), case.numpy
    np.testing.assert_allclose(y, theirs()[0], rtol=1e-5, atol=1e-5)
    functions: list[Callable[[], object]] = [lambda: made.entry(*case.arrays), theirs]
    if numpy is not None:
        functions.append(lambda: numpy(*case.arrays))
    found = paired(functions)
    # Of what is indexed, only the elements that are taken are read.
    read = sum(a.nbytes for a in case.arrays if "gather" not in case.name or a.dtype == np.int64)
    moved = read + y.nbytes * (2 if "gather" in case.name else 1)
    best, against = found.best_us, found.ratios
    return Result(case.name, best[0], moved / best[0] / 1e3, best[1], against[0],
                  best[2] if numpy is not None else None, against[1] if numpy is not None else None)  # fmt: skip


def main() -> None:
    """Prints a table, or one JSON record per line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    if not args.json:
        print(f"{'case':48}{'ours us':>9}{'GB/s':>8}{'ort us':>9}{'/ ort':>8}{'numpy us':>10}{'/ numpy':>9}")
    for case in CASES:
        if args.only not in case.name:
            continue
        r = measured(case, args.threads)
        if args.json:
            print(json.dumps(asdict(r)))
            continue
        numpy = "" if r.numpy_us is None or r.ratio_numpy is None else f"{r.numpy_us:10.1f}{r.ratio_numpy:9.2f}"
        print(
            f"{r.case:48}{r.ours_us:9.2f}{r.gb_per_second:8.1f}{r.onnxruntime_us:9.2f}{r.ratio_onnxruntime:8.2f}{numpy}"
        )


if __name__ == "__main__":
    main()

"""`chainrule verify`: runs a model on every backend, compares with float64, finds the first node where one parts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.commands.accuracy import Accuracy, accuracy, without_rounding
from chainrule.commands.model_argument import Loaded, add_model_arguments, load, read_inputs
from chainrule.commands.peer import onnxruntime_of
from chainrule.ir.graph import Value
from chainrule.ir.types import BY_NAME
from chainrule.ops.tolerance import OTHER_FRAMEWORK, UNIT, models_agree, sigmoids_agree
from chainrule.ops.transcendental import Sigmoid
from chainrule.passes.check import ROUNDED_UNITS, agree, largest_difference

BACKENDS = ("reference", "llvm", "onnxruntime")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The inputs to compare on."""
    add_model_arguments(parser)
    parser.add_argument(
        "--input", "-i", action="append", default=[], metavar="[NAME=]FILE", help="as for chainrule run"
    )
    parser.add_argument("--against", metavar="FLOAT.onnx", help="the float model that a quantised one was made from")
    parser.add_argument("--mixed", choices=("bf16", "f16"), help="also with products in this type, as compile(mixed=)")
    parser.add_argument("--passes", action="store_true", help="also check every pass against the reference")


def run(arguments: argparse.Namespace) -> int:
    """Prints the largest difference of each backend; exit code 1 when one of ours is beyond the bound for models.

    Float64 is the judge: where onnxruntime alone is beyond the bound the error is its own, which is said. Of a model of
    reduced precision also how far each is from the float model.
    """
    import chainrule as cr
    from chainrule.backends import reference

    loaded = load(arguments)
    inputs = read_inputs(loaded, arguments.input, arguments.seed)
    with loaded.at_its_sizes():
        precise = reference.run(loaded.traced.graph, _with_weights(loaded, inputs), precise=True)
    floats = _in_floats(loaded, inputs, arguments)
    rows: dict[str, dict[str, object]] = {}
    judged: dict[str, Accuracy] = {}
    rounding = 0.0  # how far f32 itself is from float64, where that is beyond the bound
    for backend in BACKENDS:
        if backend == "onnxruntime":
            outputs = onnxruntime_of(loaded)(inputs)
        else:
            made = cr.compile(loaded.traced, backend=backend, verify=arguments.passes and backend == "llvm")
            outputs = made.run(inputs)
        pairs = list(zip(precise, outputs, strict=True))
        largest = max((largest_difference(a, b) for a, b in pairs), default=0.0)
        agrees = all(_agree(v, np.asarray(o), p) for v, (p, o) in zip(loaded.traced.graph.outputs, pairs, strict=True))
        if backend == "reference" and not agrees:
            rounding, agrees = largest, True
        rows[backend] = {"largest_difference": largest,
                         "agrees": agrees or largest <= OTHER_FRAMEWORK * rounding}  # fmt: skip
        if floats is not None:
            judged[backend] = accuracy(outputs, floats)
            rows[backend]["accuracy"] = judged[backend].facts()
    if arguments.mixed:
        name = f"llvm in {arguments.mixed}"
        rows[name], judged[name] = _mixed(loaded, inputs, precise, arguments.mixed)
    for backend in ("llvm", "onnxruntime"):
        if not rows[backend]["agrees"]:
            rows[backend]["first_node"] = first_difference(loaded, inputs, backend)
    if arguments.json:
        print(json.dumps(rows))
    else:
        for backend, row in rows.items():
            word = "agrees" if row["agrees"] else f"differs, first at {row.get('first_node', 'an output')}"
            print(f"{backend:<12} {word}; largest difference from float64 {row['largest_difference']:.3g}")
        for backend, found in judged.items():
            print(f"{backend:<12} against the float model: {found}")
        if rounding:
            print("f32 itself is farther from float64 than the bound for models: others may differ by "
                  f"{OTHER_FRAMEWORK} times as much")  # fmt: skip
        if not rows["onnxruntime"]["agrees"] and _ours_agree(rows):
            print("onnxruntime alone is beyond the bound: the error is its own")
    return 0 if _ours_agree(rows) else 1


def _mixed(loaded: Loaded, inputs: list[np.ndarray], precise: Sequence[np.ndarray],
           mixed: str) -> tuple[dict[str, object], Accuracy]:  # fmt: skip
    """The row of native code with products in half precision, within so many of its units, and its accuracy."""
    import chainrule as cr

    outputs = cr.compile(loaded.traced, mixed=mixed).run(inputs)
    found, room = accuracy(outputs, precise), ROUNDED_UNITS * UNIT[BY_NAME[mixed]]
    agrees = all(agree(p, np.asarray(o, p.dtype), room) for p, o in zip(precise, outputs, strict=True))
    return {"largest_difference": found.largest, "agrees": agrees, "accuracy": found.facts()}, found


def _agree(value: Value, y: np.ndarray, exact: np.ndarray) -> bool:
    """Whether what a backend makes of a value is within the bound; of a sigmoid also by what it takes."""
    return models_agree(y, exact).ok or (isinstance(value.op, Sigmoid) and sigmoids_agree(y, exact).ok)


def _ours_agree(rows: Mapping[str, Mapping[str, object]]) -> bool:
    return all(row["agrees"] for backend, row in rows.items() if backend != "onnxruntime")


def _in_floats(loaded: Loaded, inputs: list[np.ndarray], arguments: argparse.Namespace) -> list[np.ndarray] | None:
    """The float model's outputs in float64: of the named file, or of a quantised graph without its rounding."""
    from chainrule.backends import reference

    if arguments.against:
        other = load(argparse.Namespace(**{**vars(arguments), "model": arguments.against}))
        return list(reference.run(other.traced.graph, _with_weights(other, inputs), precise=True))
    graph = without_rounding(loaded.traced.graph)
    if graph is None:
        return None
    return list(reference.run(graph, _with_weights(loaded, inputs), precise=True))


def _with_weights(loaded: Loaded, inputs: list[np.ndarray]) -> list[np.ndarray]:
    stored = {value: source.data for value, source in loaded.traced.sources}
    given = iter(inputs)
    return [stored[v] if v in stored else next(given) for v in loaded.traced.graph.inputs]


def first_difference(loaded: Loaded, inputs: list[np.ndarray], backend: str = "llvm") -> str:
    """The first node of the traced graph whose value is beyond its bound on a backend, by bisection over the nodes."""
    from chainrule.backends import reference
    from chainrule.compiler import Options, make_program
    from chainrule.ir.types import TensorType

    graph = loaded.traced.graph.replace(updates=())
    nodes = [n for n in graph.nodes if n.inputs and isinstance(n.type, TensorType)]
    weights = [source.data for _, source in loaded.traced.sources]
    exact = dict(reference.run_traced(graph, _with_weights(loaded, inputs), precise=True))

    def agrees(node: Value) -> bool:
        probe = graph.replace(outputs=(node,), output_names=())
        (found,) = make_program(probe, weights, Options(backend)).run(inputs)
        return _agree(node, found, exact[node][0])

    low, high = 0, len(nodes)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if agrees(nodes[middle]) else (low, middle)
    if low == len(nodes):
        return "no node by itself: every node agrees when it is the only output"
    node = nodes[low]
    return f"{node.op.mnemonic} {node.type}" + (f" at {node.loc.short()}" if node.loc else "")

"""`chainrule export`: writes a model or training step as ONNX made of standard ops, checked against onnxruntime."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import chainrule as cr
from chainrule.commands.model_argument import add_model_arguments, find_model, find_step, load
from chainrule.compiler import traced_of
from chainrule.errors import ArgumentError
from chainrule.frontend.trace import Traced
from chainrule.onnx_loop import loop_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write and which opset."""
    add_model_arguments(parser)
    parser.add_argument("--output", "-o", required=True, metavar="FILE.onnx", help="the file to write")
    parser.add_argument("--opset", type=int, help="version of the ONNX operator set (default: a conservative one)")
    parser.add_argument("--train", action="store_true", help="a classifier's training step: cross-entropy and Adam")
    parser.add_argument("--epoch", action="store_true", help="of a step, one call that runs over many minibatches")
    parser.add_argument("--with-loop", action="store_true", help="of a step, also a short program that trains it with "
                        "onnxruntime alone")  # fmt: skip
    parser.add_argument("--batch", type=int, default=32, help="examples of one step of that program (default 32)")
    parser.add_argument("--no-verify", action="store_true", help="do not run the result in onnxruntime")


def run(arguments: argparse.Namespace) -> int:
    """Writes the file and says what it holds."""
    name, model = _exported(arguments)
    place = Path(arguments.output)
    cr.export_onnx(model, place, verify=not arguments.no_verify, opset=arguments.opset, epoch=arguments.epoch)
    facts: dict[str, object] = {"model": name, "file": arguments.output, "bytes": place.stat().st_size}
    if arguments.with_loop:
        if not isinstance(model, cr.Step):
            raise ArgumentError("--with-loop goes with a training step", help="--train, or FILE.py:NAME of a step")
        loop = place.with_name(f"{place.stem}_loop.py")
        text = loop_text(place.name, model.input_names, _batch(model, arguments.batch), arguments.epoch)
        loop.write_text(text, encoding="utf-8")
        facts["loop"] = str(loop)
    if arguments.json:
        print(json.dumps(facts))
        return 0
    checked = "" if arguments.no_verify else ", checked against onnxruntime"
    print(f"{name}: {arguments.output}, {place.stat().st_size / 1e6:.2f} MB{checked}")
    if arguments.with_loop:
        print(f"train it: python {facts['loop']} DATA.npz, which holds {', '.join(model.input_names)}")
    return 0


def _exported(arguments: argparse.Namespace) -> tuple[str, Traced | cr.Step]:
    """The model or step that the arguments name."""
    if not arguments.train:
        step = find_step(arguments.model)
        if step is not None:
            return arguments.model.rpartition(":")[2], step
        loaded = load(arguments)
        return loaded.name, loaded.traced
    model, specs, name = find_model(arguments)
    outputs = traced_of(model, specs, {}).graph.outputs
    if len(specs) != 1 or len(outputs) != 1 or outputs[0].rank != 2 or not outputs[0].dtype.is_float:
        raise ArgumentError(f"{name} does not give scores [N, classes] for one input", help="write the step in a file: "
                            "FILE.py:NAME of what cr.training_step returns")  # fmt: skip
    targets = cr.spec(outputs[0].shape[0], dtype="i64")
    return name, cr.training_step(model, cr.cross_entropy, cr.optim.Adam(1e-3), (specs[0], targets))


def _batch(step: cr.Step, wanted: int) -> int:
    """The examples of a step: those that it was traced for, or as many as were asked for."""
    dim = step.input_types[0].shape[0]
    return dim if isinstance(dim, int) else wanted

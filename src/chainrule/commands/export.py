"""`chainrule export`: writes a model as ONNX made of standard ops, checked against onnxruntime."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from chainrule.commands.model_argument import add_model_arguments, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to write and which opset."""
    add_model_arguments(parser)
    parser.add_argument("--output", "-o", required=True, metavar="FILE.onnx", help="the file to write")
    parser.add_argument("--opset", type=int, help="version of the ONNX operator set (default: a conservative one)")
    parser.add_argument("--no-verify", action="store_true", help="do not run the result in onnxruntime")


def run(arguments: argparse.Namespace) -> int:
    """Writes the file and says what it holds."""
    import chainrule as cr

    loaded = load(arguments)
    options = {} if arguments.opset is None else {"opset": arguments.opset}
    cr.export_onnx(loaded.traced, arguments.output, verify=not arguments.no_verify, **options)
    size = Path(arguments.output).stat().st_size
    if arguments.json:
        print(json.dumps({"model": loaded.name, "file": arguments.output, "bytes": size}))
    else:
        checked = "" if arguments.no_verify else ", checked against onnxruntime"
        print(f"{loaded.name}: {arguments.output}, {size / 1e6:.2f} MB{checked}")
    return 0

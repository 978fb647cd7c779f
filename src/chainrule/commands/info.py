"""`chainrule info`: the versions, the processor and the threads that a report of a fault or a speed should name.

`chainrule info STEP` tells of a training step or compiled model what it keeps in memory, and what is alive at the peak.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
from importlib import metadata
from pathlib import Path

import chainrule
from chainrule.backends.llvm.target import host_target

LIBRARIES = ("numpy", "llvmlite", "onnx", "onnxruntime", "safetensors", "rich")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to tell about, and at which sizes."""
    parser.add_argument("step", nargs="?", help="FILE.py:NAME of a training step: the memory that it needs")
    parser.add_argument("--dim", action="append", default=[], metavar="N=8", help="a size of the step (else 1)")


def run(arguments: argparse.Namespace) -> int:
    """Prints the facts, one a line, or as one JSON object of strings, numbers and lists."""
    if arguments.step is not None:
        return tell_memory(arguments)
    facts = collect_facts()
    if arguments.json:
        print(json.dumps(facts, indent=2))
        return 0
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")
    return 0


def tell_memory(arguments: argparse.Namespace) -> int:
    """Prints the memory report of a step. Raises ArgumentError for what is none."""
    from chainrule.commands.model_argument import find_step, parse_dims
    from chainrule.errors import ArgumentError

    step = find_step(arguments.step)
    if step is None:
        raise ArgumentError(f"{arguments.step} is not a training step", help="give FILE.py:NAME of a cr.training_step")
    report = step.memory_report(parse_dims(arguments.dim))
    print(json.dumps(dataclasses.asdict(report)) if arguments.json else report)  # type: ignore[call-overload]
    return 0


def collect_facts() -> dict[str, str | int]:
    """What this installation is: name -> fact, in the order of printing."""
    facts: dict[str, str | int] = {
        "chainrule": chainrule.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    for library in LIBRARIES:
        facts[library] = installed_version(library)
    target = host_target()
    facts["processor"] = processor_name()
    facts["cores"] = usable_cores()
    facts["target"] = f"{target.triple} {target.cpu}"
    facts["vectors"] = f"{target.vector_registers} of {target.vector_bits} bits"
    facts["caches"] = ", ".join(f"{size // 1024} KiB" for size in (target.l1, target.l2, target.l3))
    facts["features"] = " ".join(target.features)
    return facts


def installed_version(library: str) -> str:
    """The version of an installed distribution, found without importing it."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor_name() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """The cores that this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

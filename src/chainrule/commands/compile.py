"""`chainrule compile`: compiles a model, says what it took, and can write it as native code with a C header."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.commands.model_argument import add_model_arguments, load
from chainrule.ir.body import tells_sizes

if TYPE_CHECKING:
    from chainrule.compiler import Executable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How to compile."""
    add_model_arguments(parser)
    parser.add_argument("--threads", type=int, help="threads of one call (default: all cores)")
    parser.add_argument("--target", help="x86-64-v2, x86-64-v3, x86-64-v4; default: this machine")
    parser.add_argument("--pipeline", default="default", help="default, strict or plain")
    parser.add_argument("--verify", action="store_true", help="check every pass against the reference")
    parser.add_argument("-o", "--output", metavar="FILE.so", help="write a shared object (.so) or object file (.o) and "
                        "a C header; symbolic sizes are fixed by --dim (else 1)")  # fmt: skip
    parser.add_argument("--weights", default="embedded", choices=("embedded", "file"),
                        help="with -o: inside the code (default), or in a file of their own")  # fmt: skip
    parser.add_argument("--timings", action="store_true", help="where the time goes, pass by pass, and after them")


def run(arguments: argparse.Namespace) -> int:
    """Prints time, kernels and memory."""
    import chainrule as cr

    loaded = load(arguments)
    start = time.perf_counter()
    made = cr.compile(loaded.traced, threads=arguments.threads, verify=arguments.verify, target=arguments.target,
                      pipeline=arguments.pipeline)  # fmt: skip
    seconds = time.perf_counter() - start
    program = made.program
    steps = [step for part in getattr(program, "parts", (program,)) for step in getattr(part, "steps", ())]
    facts: dict[str, object] = {
        "model": loaded.name,
        "seconds": round(seconds, 4),
        "kernels": len({step.code.symbol for step in steps}),
        "calls": len(steps),
        **_bytes(made, loaded.dims),
    }
    files = () if arguments.output is None else made.save(
        arguments.output, dims=loaded.dims, weights=arguments.weights, name=_c_name(arguments.output))  # fmt: skip
    if files:
        facts["files"] = [str(file) for file in files]
    stages: dict[str, float] = getattr(program, "stages", {})
    if arguments.timings:
        passes: dict[str, float] = {}
        for report in made.reports:  # a pass may run more than once
            passes[report.name] = round(passes.get(report.name, 0.0) + report.seconds, 5)
        facts["passes"] = passes
        facts["stages"] = {name: round(taken, 5) for name, taken in stages.items()}
    if arguments.json:
        print(json.dumps(facts))
        return 0
    print(f"{loaded.name}: compiled in {seconds * 1e3:.0f} ms, {facts['kernels']} kernels in {facts['calls']} calls")
    temporaries = (f"{_size(facts['arena_bytes'])} (bound {_size(facts['arena_bound_bytes'])})"
                   if "arena_bytes" in facts else "as much as its data asks for")  # fmt: skip
    print(f"memory at {loaded.dims or 'its fixed sizes'}: weights {_size(facts['weight_bytes'])}, "
          f"temporaries {temporaries}")  # fmt: skip
    for file in files:
        print(f"wrote {file} ({_size(file.stat().st_size)})")
    if arguments.timings:
        for report in made.reports:
            print(f"  {report}")
        for name, taken in stages.items():
            print(f"  {name}: {taken * 1e3:.1f} ms")
    return 0


def _bytes(made: Executable, dims: Mapping[str, int]) -> dict[str, int]:
    """What made.memory tells; without the temporaries of a model whose sizes follow from data."""
    if tells_sizes(made.graph):
        return {"weight_bytes": sum(stored.data.nbytes for _, stored in made.traced.sources)}
    return made.memory(dims)


def _c_name(file: str) -> str:
    """A name for C out of a file's: "my-net.so" has the function my_net_run."""
    name = re.sub(r"\W", "_", Path(file).stem, flags=re.ASCII)
    return f"net_{name}" if name[:1].isdigit() else name


def _size(count: object) -> str:
    number = float(str(count))
    return f"{number / 1e6:.2f} MB" if number >= 1e5 else f"{number / 1e3:.1f} kB"

"""`chainrule bench`: times a model against onnxruntime on the same inputs and threads, and kernel by kernel."""

from __future__ import annotations

import argparse
import json
import math

from chainrule.commands.model_argument import add_model_arguments, load, read_inputs
from chainrule.commands.peer import onnxruntime_of
from chainrule.errors import ArgumentError
from chainrule.profiling import Profile
from chainrule.timing import paired, spelled


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How long, how many threads, and whether to look at the kernels."""
    add_model_arguments(parser)
    parser.add_argument("--input", "-i", action="append", default=[], metavar="[NAME=]FILE",
                        help="as for chainrule run")  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, help="threads of one call, for both (default 1)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each candidate (default 15)")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each candidate (default 1)")
    parser.add_argument("--kernels", action="store_true", help="the time of every kernel, against the machine's limits")
    parser.add_argument("--trace", metavar="FILE.json", help="write the kernels as a Chrome trace")
    parser.add_argument("--roofline", metavar="FILE.svg", help="draw the kernels under the machine's limits")


def run(arguments: argparse.Namespace) -> int:
    """Prints the medians and their ratio."""
    import chainrule as cr

    if arguments.rounds < 1 or not 0.0 < arguments.seconds < math.inf:
        raise ArgumentError(f"--rounds {arguments.rounds} --seconds {arguments.seconds:g}: nothing can be timed so",
                            help="give one round at least, and more than no time")  # fmt: skip
    loaded = load(arguments)
    inputs = read_inputs(loaded, arguments.input, arguments.seed)
    ours = cr.compile(loaded.traced, threads=arguments.threads)
    if arguments.kernels or arguments.trace or arguments.roofline:
        return _kernels(ours.profile(*inputs), arguments)
    with loaded.at_its_sizes():
        ours(*inputs)
    theirs = onnxruntime_of(loaded, arguments.threads)
    times = paired({"chainrule": lambda: ours(*inputs), "onnxruntime": lambda: theirs(inputs)},
                   rounds=arguments.rounds, seconds=arguments.seconds)  # fmt: skip
    ratio = times["chainrule"].median / times["onnxruntime"].median
    if arguments.json:
        rows = {name: {"median_s": t.median, "least_s": t.least} for name, t in times.items()}
        print(json.dumps({"model": loaded.name, "dims": dict(loaded.dims), "threads": arguments.threads,
                          "ratio": ratio, **rows}))  # fmt: skip
        return 0
    print(f"{loaded.name} {dict(loaded.dims) or ''}, {arguments.threads} thread(s)")
    for name, timing in times.items():
        print(f"  {name:<12} {spelled(timing.median):>9}   (least {spelled(timing.least)})")
    print(f"  ours takes {ratio:.2f} of onnxruntime's time")
    return 0


def _kernels(profile: Profile, arguments: argparse.Namespace) -> int:
    files = [profile.chrome_trace(arguments.trace)] if arguments.trace else []
    files += [profile.roofline(arguments.roofline)] if arguments.roofline else []
    if arguments.json:
        print(json.dumps(profile.facts()))
        return 0
    print(profile)
    for file in files:
        print(f"wrote {file}")
    return 0

"""What `import chainrule` and `chainrule --help` cost, as a multiple of `import numpy` measured in the same run.

    python benchmarks/import_cost.py [--runs 21] [--json]

Each program runs in fresh interpreters, in turn with the others so that all meet the same machine. The table shows the
median and the fastest wall time of a whole process, and the median's ratio to that of numpy. The goal is under 1.3.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
PROGRAMS = {
    "python -c pass": "pass",
    "import numpy": "import numpy",
    "import chainrule": "import chainrule",
    "chainrule, every public name": "import chainrule\nfor name in chainrule.__all__: getattr(chainrule, name)",
    "chainrule --help": "from chainrule.cli import main; main(['--help'])",
    "chainrule --version": "from chainrule.cli import main; main(['--version'])",
}
BASE = "import numpy"


def time_program(program: str) -> float:
    """The wall time of one fresh interpreter that runs the program, in milliseconds."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(SOURCE)
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begin) * 1e3


def measure(runs: int) -> dict[str, dict[str, float]]:
    """Program -> median_ms, fastest_ms and ratio; one unmeasured round first writes the byte code."""
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for turn in range(runs + 1):
        for name, program in PROGRAMS.items():
            elapsed = time_program(program)
            if turn:
                times[name].append(elapsed)
    base = statistics.median(times[BASE])
    return {
        name: {"median_ms": statistics.median(t), "fastest_ms": min(t), "ratio": statistics.median(t) / base}
        for name, t in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = measure(arguments.runs)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{'program':<30} {'median ms':>9} {'fastest ms':>10} {'ratio':>6}")
    for name, row in results.items():
        print(f"{name:<30} {row['median_ms']:>9.1f} {row['fastest_ms']:>10.1f} {row['ratio']:>6.2f}")


if __name__ == "__main__":
    main()

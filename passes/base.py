"""What a pass is, and how a list of them runs.

A pass is a frozen dataclass whose fields are its options; `run` maps a Graph to a Graph. A pipeline is a tuple of
passes that prints as text and parses back: "fold-constants{max-bytes=1048576} fuse". Running one times
every pass, counts what it did, says which left the graph unchanged, and can check each against the reference.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar

from chainrule.errors import ArgumentError, ChainruleError
from chainrule.ir.body import Body, Control, body_of, with_bodies
from chainrule.ir.graph import Graph, Value, build, rewrite
from chainrule.ir.text import attribute_text
from chainrule.ir.verify import verify


@dataclass(frozen=True)
class Pass:
    """The base of all passes. name is a verb; fields are options.

    enters_bodies: a pipeline runs it on the bodies of loops and branches as well; False for one that does so itself.
    """

    name: ClassVar[str]
    enters_bodies: ClassVar[bool] = True

    def run(self, graph: Graph, notes: Notes) -> Graph:
        """The rewritten graph; what was done and why is told to notes."""
        raise NotImplementedError

    def __str__(self) -> str:
        options = [
            f"{item.name.replace('_', '-')}={attribute_text(value)}"
            for item in fields(self)
            if (value := getattr(self, item.name)) != item.default
        ]
        return self.name + (f"{{{','.join(options)}}}" if options else "")


@dataclass
class Notes:
    """What a pass says of its work: counts of what it applied, and reasons, both for people and tests."""

    counts: Counter[str] = field(default_factory=Counter)
    lines: list[str] = field(default_factory=list)

    def count(self, what: str, n: int = 1) -> None:
        self.counts[what] += n

    def say(self, line: str) -> None:
        self.lines.append(line)


@dataclass(frozen=True)
class PassReport:
    """One pass as it ran."""

    name: str
    seconds: float
    before: Graph
    after: Graph
    notes: Notes

    @property
    def changed(self) -> bool:
        return self.before is not self.after

    def __str__(self) -> str:
        counts = ", ".join(f"{what} x{n}" for what, n in sorted(self.notes.counts.items()))
        what = counts or ("changed" if self.changed else "unchanged")
        return f"{self.name}: {self.seconds * 1e3:.1f} ms, {len(self.after.nodes)} nodes, {what}"


Check = Callable[[Graph, Graph, str], None]


@dataclass(frozen=True)
class Pipeline:
    """A named list of passes."""

    name: str
    passes: tuple[Pass, ...]

    def __str__(self) -> str:
        return " ".join(map(str, self.passes))

    def run(self, graph: Graph, check: Check | None = None) -> tuple[Graph, list[PassReport]]:
        """The graph after all passes, with a report of each.

        check(before, after, pass text) is called after each pass that changed the graph: `passes.check` makes one that
        compares both on the reference. An error of a pass gets the pass's name.
        """
        reports: list[PassReport] = []
        for step in self.passes:
            notes = Notes()
            start = time.perf_counter()
            try:
                after = run_everywhere(step, graph, notes)
                if check is not None and after is not graph:
                    verify(after)
                    check(graph, after, str(step))
            except ChainruleError as error:
                error.notes = (*error.notes, f"in pass {step} of pipeline {self.name}")
                raise
            reports.append(PassReport(str(step), time.perf_counter() - start, graph, after, notes))
            graph = after
        return graph, reports


def run_everywhere(step: Pass, graph: Graph, notes: Notes) -> Graph:
    """The pass run on the bodies of loops and branches, the innermost first, and then on the graph itself."""
    return step.run(_with_bodies_run(step, graph, notes, {}), notes) if step.enters_bodies else step.run(graph, notes)


def _with_bodies_run(step: Pass, graph: Graph, notes: Notes, done: dict[Body, Body]) -> Graph:
    """The graph with the pass run on every body in it. Recurs over nesting, which is bounded."""
    if not any(isinstance(node.op, Control) for node in graph.nodes):
        return graph

    def entered(body: Body) -> Body:
        if body not in done:
            inner = step.run(_with_bodies_run(step, body, notes, done), notes)
            done[body] = body if inner is body else body_of(inner)
        return done[body]

    def rule(node: Value, inputs: tuple[Value, ...]) -> Value | None:
        op = with_bodies(node.op, entered)
        return None if op is node.op else build(op, *inputs)

    return rewrite(graph, rule)


_STEP = re.compile(r"([a-z0-9-]+)(?:\{([^}]*)\})?\s*")


def parse_pipeline(name: str, source: str, passes: Sequence[type[Pass]]) -> Pipeline:
    """The pipeline that a text describes. Raises ArgumentError for an unknown pass or option."""
    known: Mapping[str, type[Pass]] = {p.name: p for p in passes}
    found: list[Pass] = []
    at = 0
    while at < len(source):
        match = _STEP.match(source, at)
        if match is None or match[1] not in known:
            raise ArgumentError(f"there is no pass {source[at:].split(' ')[0]!r}", help="known: " + ", ".join(known))
        found.append(known[match[1]](**_options(known[match[1]], match[2] or "")))
        at = match.end()
    return Pipeline(name, tuple(found))


def _options(kind: type[Pass], source: str) -> dict[str, object]:
    names = {item.name.replace("_", "-"): item for item in fields(kind)}
    options: dict[str, object] = {}
    for part in filter(None, source.split(",")):
        key, _, value = part.partition("=")
        if key not in names:
            raise ArgumentError(f"{kind.name} has no option {key!r}", help="it has: " + (", ".join(names) or "none"))
        options[names[key].name] = _option(value)
    return options


def _option(value: str) -> object:
    if value in ("true", "false"):
        return value == "true"
    if value.startswith('"'):
        return value.strip('"')
    return float(value) if "." in value or "e" in value else int(value)

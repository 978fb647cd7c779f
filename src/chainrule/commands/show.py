"""`chainrule show`: the graph of a model as text, before and after passes, per pass, and why a rule did not fire."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from chainrule.commands.model_argument import add_model_arguments, load
from chainrule.errors import ArgumentError
from chainrule.ir.body import tells_sizes
from chainrule.ir.graph import Graph
from chainrule.ir.text import text
from chainrule.passes.base import PassReport
from chainrule.passes.rewrite import Rule


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to show of the model."""
    add_model_arguments(parser)
    parser.add_argument(
        "--after", nargs="?", const="all", metavar="PASS", help="the graph after all passes, or after this one"
    )
    parser.add_argument("--pipeline", default="default", help="default, strict or plain")
    parser.add_argument("--passes", action="store_true", help="what each pass did, with times and counts")
    parser.add_argument(
        "--why", metavar="RULE", help='why a rule did not fire, e.g. "x * 1 = x"; "list" lists the rules'
    )
    parser.add_argument("--kernels", action="store_true", help="the loops of every kernel")
    parser.add_argument("--no-places", action="store_true", help="leave the source lines out")


def run(arguments: argparse.Namespace) -> int:
    """Prints the graph or what was asked about it; after passes, a graph that tells sizes stage by stage."""
    from chainrule.backends.llvm.pipeline import pipeline
    from chainrule.backends.llvm.staged import stages
    from chainrule.backends.llvm.target import host_target

    if arguments.why == "list":
        print("\n".join(rule.name for rule in _rules()))
        return 0
    graph, places = load(arguments).traced.graph, not arguments.no_places
    if arguments.why is None and arguments.after is None and not arguments.passes and not arguments.kernels:
        _print_graphs([text(graph, places=places)], arguments.json)
        return 0
    parts = [part for stage in stages(graph) for part in stage.graphs] if tells_sizes(graph) else [graph]
    runs = [(part, *pipeline(host_target(), arguments.pipeline).run(part)) for part in parts]
    if arguments.why is not None:
        print("\n".join(dict.fromkeys(_why(part, reports, arguments.why) for part, _, reports in runs)))
    elif arguments.passes:
        reports = [report for _, _, part_reports in runs for report in part_reports]
        rows = [{"pass": r.name, "ms": round(r.seconds * 1e3, 2), "nodes": len(r.after.nodes), "changed": r.changed,
                 "counts": dict(r.notes.counts)} for r in reports]  # fmt: skip
        print(json.dumps(rows) if arguments.json else "\n".join(map(str, reports)))
    elif arguments.kernels:
        print("\n\n".join(_kernels(after) for _, after, _ in runs))
    else:
        shown = [graph_after(part, reports, arguments.after) for part, _, reports in runs]
        _print_graphs([text(after, places=places) for after in shown], arguments.json)
    return 0


def _print_graphs(texts: Sequence[str], as_json: bool) -> None:
    whole = "\n\n".join(texts)
    print(json.dumps({"graph": whole}) if as_json else whole)


def _rules() -> tuple[Rule, ...]:
    from chainrule.passes import canonicalize, fold_norm, recognise_attention, safe_forms

    return (*canonicalize.RULES, *fold_norm.RULES, *safe_forms.RULES, *recognise_attention.RULES)


def _why(graph: Graph, reports: Sequence[PassReport], name: str) -> str:
    """Why a rule did not fire in a graph, or, where nothing in it looks like the rule, in what passes made of it."""
    from chainrule.passes.rewrite import explain

    shown = explain(graph, name, _rules())
    if "nothing in the graph" not in shown:
        return shown
    before = next((r.before for r in reports if r.name.startswith("fold-norm")), reports[-1].after)
    return explain(before, name, _rules())


def _kernels(graph: Graph) -> str:
    """The loops of every kernel of a graph after all passes."""
    from chainrule.backends.llvm.assembly import assemble
    from chainrule.backends.llvm.cache import Cache
    from chainrule.backends.llvm.records import Lowering
    from chainrule.backends.llvm.target import host_target
    from chainrule.passes.hoist import hoist

    return "\n\n".join(map(str, assemble(hoist(graph).main, Lowering(host_target(), Cache(None))).functions))


def graph_after(graph: Graph, reports: Sequence[PassReport], name: str | None) -> Graph:
    """The traced graph for None, that after all passes for "all", else that after the last pass of this name."""
    if name is None:
        return graph
    if name == "all":
        return reports[-1].after
    found = [r.after for r in reports if r.name.split("{")[0] == name]
    if not found:
        names = dict.fromkeys(r.name.split("{")[0] for r in reports)
        raise ArgumentError(f"there is no pass {name!r}", help="passes: " + ", ".join(names))
    return found[-1]

"""`chainrule show`: the graph of a model as text, before and after passes, per pass, and why a rule did not fire."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from chainrule.commands.model_argument import add_model_arguments, load
from chainrule.errors import ArgumentError
from chainrule.ir.graph import Graph
from chainrule.ir.text import text
from chainrule.passes.base import PassReport


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
    """Prints the graph or what was asked about it."""
    from chainrule.backends.llvm.pipeline import pipeline
    from chainrule.backends.llvm.target import host_target
    from chainrule.passes import canonicalize, fold_norm, recognise_attention, safe_forms
    from chainrule.passes.rewrite import explain

    rules = (*canonicalize.RULES, *fold_norm.RULES, *safe_forms.RULES, *recognise_attention.RULES)
    if arguments.why == "list":
        print("\n".join(rule.name for rule in rules))
        return 0
    loaded = load(arguments)
    graph, reports = pipeline(host_target(), arguments.pipeline).run(loaded.traced.graph)
    places = not arguments.no_places
    if arguments.why is not None:
        before = next((r.before for r in reports if r.name.startswith("fold-norm")), graph)
        shown = explain(loaded.traced.graph, arguments.why, rules)
        print(shown if "nothing in the graph" not in shown else explain(before, arguments.why, rules))
    elif arguments.passes:
        rows = [{"pass": r.name, "ms": round(r.seconds * 1e3, 2), "nodes": len(r.after.nodes), "changed": r.changed,
                 "counts": dict(r.notes.counts)} for r in reports]  # fmt: skip
        print(json.dumps(rows) if arguments.json else "\n".join(map(str, reports)))
    elif arguments.kernels:
        from chainrule.backends.llvm.assembly import assemble
        from chainrule.backends.llvm.cache import Cache
        from chainrule.backends.llvm.records import Lowering
        from chainrule.passes.hoist import hoist

        print("\n\n".join(map(str, assemble(hoist(graph).main, Lowering(host_target(), Cache(None))).functions)))
    else:
        shown = graph_after(loaded.traced.graph, reports, arguments.after)
        print(json.dumps({"graph": text(shown, places=places)}) if arguments.json else text(shown, places=places))
    return 0


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

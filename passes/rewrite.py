"""Rewrite rules: a pattern, a check that can refuse with a reason, and what to write instead.

A rule is data; captures live in the match, never on the rule. Inner values of a match are refused when anything else
uses them, since rewriting would then repeat work. The pass joins the source lines of all it replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import product

from chainrule import loc as locations
from chainrule.errors import ArgumentError
from chainrule.ir.body import with_bodies_of
from chainrule.ir.graph import Get, Graph, Input, Value, rebuild, remapped
from chainrule.ir.op import Op
from chainrule.loc import Loc
from chainrule.ops.basic import Constant, Full
from chainrule.passes.base import Notes
from chainrule.passes.fold import scalar_of


@dataclass(frozen=True)
class Any:
    """Matches every value and captures it. number: only constants that are this one number."""

    name: str
    number: float | None = None

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.number:g}"


@dataclass(frozen=True)
class Of:
    """Matches a value made by one of these ops on inputs that match; captures it when named.

    commutes: the two inputs may stand in either order. optional inputs beyond those listed make it fail.
    """

    ops: tuple[type[Op], ...]
    inputs: tuple[Pattern, ...]
    name: str = ""
    commutes: bool = False

    def __str__(self) -> str:
        return f"{'|'.join(op.name for op in self.ops)}({', '.join(map(str, self.inputs))})"


Pattern = Any | Of


def of(op: type[Op] | tuple[type[Op], ...], *inputs: Pattern, name: str = "", commutes: bool = False) -> Of:
    """An op pattern: of(Add, X, ZERO, commutes=True)."""
    return Of(op if isinstance(op, tuple) else (op,), inputs, name, commutes)


@dataclass
class Match:
    """What a pattern found: captured values by name, all matched nodes, and facts about the graph around them."""

    root: Value
    found: dict[str, Value]
    nodes: list[Value]
    fixed: frozenset[Value]

    def __getitem__(self, name: str) -> Value:
        return self.found[name]

    def is_fixed(self, value: Value) -> bool:
        """True when the value depends on constants and unchanging weights alone."""
        return value in self.fixed


@dataclass(frozen=True)
class Rule:
    """A rewrite. name: its algebra. check: why it refuses, or "" to go on. exact: True if results keep every bit."""

    name: str
    pattern: Of
    rewrite: Callable[[Match], Value]
    check: Callable[[Match], str] = field(default=lambda match: "")
    exact: bool = True


@dataclass(frozen=True)
class Attempt:
    """How far a rule came at a node: how many nodes of its pattern matched, and why it went no further."""

    rule: Rule
    node: Value
    matched: int
    reason: str


def apply_rules(graph: Graph, rules: Sequence[Rule], notes: Notes, max_rounds: int = 10) -> Graph:
    """The graph with the rules applied until none fits any more."""
    for _ in range(max_rounds):
        after = _round(graph, rules, notes)
        if after is graph:
            return graph
        graph = after
    return graph


def _round(graph: Graph, rules: Sequence[Rule], notes: Notes) -> Graph:
    """One walk over the graph, producers first; a node is matched as it stood before the walk, except its root op."""
    by_op: dict[type[Op], list[Rule]] = {}
    for rule in rules:
        for op in rule.pattern.ops:
            by_op.setdefault(op, []).append(rule)
    hopeful = {node: rules for node in graph.nodes
               if (rules := [r for r in by_op.get(type(node.op), ()) if _looks_like(r.pattern, node)])}  # fmt: skip
    if not hopeful:
        return graph
    fixed = fixed_values(graph)
    outer = frozenset(graph.results)
    done: dict[Value, Value] = {}
    for node in graph.nodes:
        if isinstance(node.op, Input | Get):
            done[node] = node if isinstance(node.op, Input) else rebuild(node, (done[node.inputs[0]],))
            continue
        new = None
        for rule in hopeful.get(node, ()):
            found = match(rule, node, graph, outer, fixed)
            if isinstance(found, Match) and not _was_rewritten(found, done):
                new = _rewritten(rule, found, done)
                notes.count(rule.name)
                break
        done[node] = rebuild(node, tuple(done[v] for v in node.inputs)) if new is None else new
    return remapped(graph, done)


def _was_rewritten(found: Match, done: Mapping[Value, Value]) -> bool:
    """True when an inner node of a match is another op by now: what was matched is not there, the next walk looks."""
    return any(done[node].op != node.op for node in found.nodes if node is not found.root)


def _rewritten(rule: Rule, found: Match, done: Mapping[Value, Value]) -> Value:
    """What the rule writes, with the captured values replaced by what they became earlier in this walk."""
    places = tuple(dict.fromkeys(loc for node in reversed(found.nodes) for loc in node.locs))
    moved = Match(found.root, {k: done.get(v, v) for k, v in found.found.items()}, found.nodes, found.fixed)
    with locations.using(places):
        new = rule.rewrite(moved)
    assert new.type == found.root.type, f"{rule.name}: {found.root.type} became {new.type}"
    return new


def match(rule: Rule, node: Value, graph: Graph, outer: frozenset[Value], fixed: frozenset[Value]) -> Match | Attempt:
    """The rule's match at a node, or how far it came."""
    found = Match(node, {}, [], fixed)
    reason = _match(rule.pattern, node, found, graph, outer, True)
    if not reason:
        reason = rule.check(found)
    return Attempt(rule, node, len(found.nodes), reason) if reason else found


def _looks_like(pattern: Pattern, value: Value) -> bool:
    """True when a match is possible as far as ops go. Quick: most nodes fit no rule, and no reasons are made up."""
    if isinstance(pattern, Any):
        return pattern.number is None or isinstance(value.op, Full | Constant)
    if not isinstance(value.op, pattern.ops) or len(value.inputs) != len(pattern.inputs):
        return False
    if all(map(_looks_like, pattern.inputs, value.inputs)):
        return True
    return pattern.commutes and all(map(_looks_like, pattern.inputs, value.inputs[::-1]))


def _match(pattern: Pattern, value: Value, found: Match, graph: Graph, outer: frozenset[Value], root: bool) -> str:
    """ "" when the value fits the pattern, else why not. Patterns are a few levels deep, so this recurses."""
    if isinstance(pattern, Any):
        return _capture(pattern, value, found)
    if not isinstance(value.op, pattern.ops):
        return f"{value.op.mnemonic} is not {'|'.join(op.name for op in pattern.ops)}"
    if len(value.inputs) != len(pattern.inputs):
        return f"{value.op.mnemonic} has {len(value.inputs)} inputs, the rule takes {len(pattern.inputs)}"
    if not root and value in outer:
        return f"{value.op.mnemonic} is also an output"
    if not root and len(graph.users[value]) > 1 and any(user not in found.nodes for user in graph.users[value]):
        return f"{value.op.mnemonic} has {len(graph.users[value])} users"
    found.nodes.append(value)
    if pattern.name:
        found.found[pattern.name] = value
    orders = [value.inputs, value.inputs[::-1]] if pattern.commutes else [value.inputs]
    reason = ""
    for inputs in orders:
        before = dict(found.found), list(found.nodes)
        reason = ""
        for part, given in zip(pattern.inputs, inputs, strict=True):
            reason = _match(part, given, found, graph, outer, False)
            if reason:
                break
        if not reason:
            return ""
        if inputs is not orders[-1]:
            found.found, found.nodes = before
    return reason


def _capture(pattern: Any, value: Value, found: Match) -> str:
    if pattern.number is not None:
        number = scalar_of(value)
        if number is None or number != pattern.number or str(float(number)) != str(float(pattern.number)):
            return f"{value.op.mnemonic} is not the number {pattern.number:g}"
    before = found.found.setdefault(pattern.name, value)
    return "" if before is value else f"{pattern.name} stands for two different values"


def fixed_values(graph: Graph) -> frozenset[Value]:
    """The values that depend on constants and on params and state that the graph does not update."""
    changing = {state for state, _ in graph.updates}
    fixed: set[Value] = {v for v in graph.by_role("param", "state") if v not in changing}
    for node in graph.nodes:
        if not isinstance(node.op, Input) and all(v in fixed for v in node.inputs):
            fixed.add(node)
    return frozenset(fixed)


def explain(graph: Graph, rule_name: str, rules: Sequence[Rule]) -> str:
    """Why a rule did not fire: where it came furthest, and the reason; or where it would fire. Bodies count too.

    Raises ArgumentError for a name that no rule has.
    """
    named = [rule for rule in rules if rule.name == rule_name]
    if not named:
        close = get_close_matches(rule_name, [r.name for r in rules], 3, 0.3)
        raise ArgumentError(f"there is no rule {rule_name!r}", notes=["close: " + "; ".join(close)] if close else (),
                            help='`chainrule show MODEL --why list` lists the rules')  # fmt: skip
    best: Attempt | None = None
    for part in with_bodies_of(graph):
        outer, fixed = frozenset(part.results), fixed_values(part)
        for rule, node in product(named, part.nodes):
            if isinstance(node.op, Input | Get):
                continue
            found = match(rule, node, part, outer, fixed)
            if isinstance(found, Match):
                return f"{rule.name}: fires at {_place(node)}"
            if best is None or found.matched > best.matched:
                best = found
    assert named
    if best is None or best.matched == 0:
        return f"{rule_name}: nothing in the graph looks like {named[0].pattern}"
    return (
        f"{rule_name}: came to {best.matched} of {_size(best.rule.pattern)} nodes at {_place(best.node)}: {best.reason}"
    )


def _size(pattern: Pattern) -> int:
    return 0 if isinstance(pattern, Any) else 1 + sum(_size(p) for p in pattern.inputs)


def _place(node: Value) -> str:
    where: Loc | None = node.loc
    return f"{node.op.mnemonic} {node.type}" + (f" ({where.short()})" if where else "")

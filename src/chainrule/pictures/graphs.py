"""A graph drawn in layers from top to bottom, regions as boxes with the ops they hold."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.ir.graph import Get, Graph, Input, Value
from chainrule.ops.basic import Constant, Full, Fuse, SizeOf
from chainrule.pictures import svg

BOX, LINE, LAYER_GAP, COLUMN_GAP, MARGIN = 210.0, 16.0, 26.0, 26.0, 28.0
FILL: Mapping[str, str] = {"input": "#e0f2fe", "fuse": "#fef3c7", "weights": "#f1f5f9", "op": "#ffffff"}
MAX_NODES = 400


def graph_picture(title: str, graph: Graph, weights: bool = False) -> str:
    """The graph as SVG. weights: also draw what depends on parameters and constants alone."""
    nodes = [n for n in graph.nodes if weights or n not in _fixed(graph)][:MAX_NODES]
    shown = set(nodes)
    layers = _layers(nodes, shown)
    widest = max((len(layer) for layer in layers), default=1)
    width = max(2 * MARGIN + widest * BOX + (widest - 1) * COLUMN_GAP, 2 * MARGIN + 8.6 * len(title))
    places: dict[Value, tuple[float, float, float]] = {}
    y = 56.0
    for layer in layers:
        heights = [_height(node) for node in layer]
        start = width / 2 - (len(layer) * BOX + (len(layer) - 1) * COLUMN_GAP) / 2
        for i, node in enumerate(layer):
            places[node] = (start + i * (BOX + COLUMN_GAP), y, heights[i])
        y += max(heights) + LAYER_GAP
    body = [svg.text(MARGIN, 30, title, size=15, weight="600")]
    body += [_edge(places[v], places[n]) for n in nodes for v in dict.fromkeys(n.inputs) if v in places]
    body += [_box(node, places[node]) for node in nodes]
    return svg.document(width, y + 4, body, title)


def _fixed(graph: Graph) -> set[Value]:
    """Weights, constants and what is made of them alone."""
    fixed: set[Value] = set(graph.by_role("param", "state"))
    for node in graph.nodes:
        if not isinstance(node.op, Input) and all(v in fixed for v in node.inputs):
            fixed.add(node)
    return fixed


def _layers(nodes: list[Value], shown: set[Value]) -> list[list[Value]]:
    """Each node one layer below the lowest of its inputs."""
    depth: dict[Value, int] = {}
    for node in nodes:
        depth[node] = 1 + max((depth[v] for v in node.inputs if v in shown), default=-1)
    layers: list[list[Value]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for node in nodes:
        layers[depth[node]].append(node)
    return layers


def _lines(node: Value) -> list[str]:
    match node.op:
        case Input(name_=name):
            return [name]
        case Fuse(body=body):
            return [n.op.mnemonic for n in body.nodes if not isinstance(n.op, Input | Constant | Full | SizeOf | Get)]
        case _:
            return [node.op.mnemonic]


def _height(node: Value) -> float:
    return LINE * (len(_lines(node)) + 1) + 12


def _box(node: Value, place: tuple[float, float, float]) -> str:
    x, y, height = place
    kind = "input" if isinstance(node.op, Input) else "fuse" if isinstance(node.op, Fuse) else "op"
    parts = [svg.rect(x, y, BOX, height, FILL[kind], 7, svg.INK if kind == "fuse" else "#94a3b8")]
    lines = _lines(node)
    for i, line in enumerate(lines):
        parts.append(svg.text(x + BOX / 2, y + 18 + i * LINE, line[:30], "middle", 12.5, weight="600"))
    parts.append(svg.text(x + BOX / 2, y + 18 + len(lines) * LINE, str(node.type)[:34], "middle", 10.5, "#52606d"))
    return "".join(parts)


def _edge(upper: tuple[float, float, float], lower: tuple[float, float, float]) -> str:
    x1, y1 = upper[0] + BOX / 2, upper[1] + upper[2]
    x2, y2 = lower[0] + BOX / 2, lower[1]
    bend = max(12.0, (y2 - y1) / 2)
    return svg.path(
        f"M{x1:.1f} {y1:.1f} C{x1:.1f} {y1 + bend:.1f} {x2:.1f} {y2 - bend:.1f} {x2:.1f} {y2:.1f}", "#64748b", 1.4
    )

"""The text of a graph: what `show` prints, tests compare, and ir.parse reads back.

    graph @lenet(%x: f32[N,1,28,28], %w: f32[6,1,5,5] param) -> f32[N,6,28,28] {
      %0 = conv2d(%x, %w) stride=(1,1) pad=(2,2,2,2) : f32[N,6,28,28]    @ lenet.py:12
      size K = %3
      update %w = %4
      return %0
    }

Attributes that have their default value are left out. Bodies of regions stand inside braces, indented.
"""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import cast

import numpy as np

from chainrule.ir.data import Data
from chainrule.ir.dims import DimExpr
from chainrule.ir.graph import Get, Graph, Input, Value, input_name
from chainrule.ir.op import Op
from chainrule.ir.types import DType, TensorType, as_dtype

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
INLINE_ELEMENTS = 64  # constants up to this many elements print as numbers, larger ones as compressed bytes


def text(graph: Graph, *, places: bool = True) -> str:
    """The graph as text. places=False leaves out the source lines, which differ between equal programs."""
    return "\n".join(_lines(graph, places))


def _lines(graph: Graph, places: bool) -> Iterator[str]:
    names = _Names(graph)
    parameters = ", ".join(f"{names[v]}: {v.type}{_role(v)}" for v in graph.inputs)
    outputs = ", ".join(str(v.type) for v in graph.outputs)
    yield f"graph @{quoted(graph.name)}({parameters}) -> {outputs if len(graph.outputs) == 1 else f'({outputs})'} {{"
    for node in graph.nodes:
        if not isinstance(node.op, Input):
            yield from _node_lines(node, names, places)
    for name, value in graph.sizes:
        yield f"  size {name} = {names[value]}"
    for state, new in graph.updates:
        yield f"  update {names[state]} = {names[new]}"
    labels = [f"{quoted(name)}=" for name in graph.output_names] or [""] * len(graph.outputs)
    returned = ", ".join(f"{label}{names[v]}" for label, v in zip(labels, graph.outputs, strict=True))
    yield f"  return {returned}".rstrip()
    yield "}"


def _node_lines(node: Value, names: _Names, places: bool) -> Iterator[str]:
    head = f"  {names[node]} = {node.op.mnemonic}({', '.join(names[v] for v in node.inputs)})"
    parts = [head, *(f"{key}={value}" for key, value in attributes(node.op))]
    line = " ".join(parts)
    bodies = [(item.name, getattr(node.op, item.name)) for item in fields(node.op)]
    for key, body in bodies:
        if isinstance(body, Graph):
            yield f"{line} {key}={{"
            yield from (f"    {inner}" for inner in _lines(body, places))
            line = "  }"
    shorts = dict.fromkeys(loc.short() for loc in node.locs)
    place = "".join(f"    @ {short}" if i == 0 else f", {short}" for i, short in enumerate(shorts))
    places = places and bool(node.inputs)  # a constant is shared by all that write it: its place means nothing
    yield f"{line} : {node.type}{place if places else ''}"


def attributes(op: Op) -> Iterator[tuple[str, str]]:
    """The attributes of an op that differ from their defaults, as text; bodies are left out."""
    if isinstance(op, Get):
        yield "index", str(op.index)
        return
    for item in fields(op):
        value = getattr(op, item.name)
        if isinstance(value, Graph):
            continue
        if item.default is not MISSING and value == item.default and type(value) is type(item.default):
            continue
        yield item.name, attribute_text(value)


def attribute_text(value: object) -> str:
    """One attribute value as text without spaces."""
    match value:
        case None:
            return "none"
        case bool():
            return "true" if value else "false"
        case int() | DimExpr() | DType() | TensorType():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else ("nan" if math.isnan(value) else f"{value}")
        case str():
            return json.dumps(value).replace(" ", "\\u0020")
        case tuple():
            parts = cast("tuple[object, ...]", value)
            inner = ",".join(map(attribute_text, parts))
            return f"({inner},)" if len(parts) == 1 else f"({inner})"
        case _:
            assert isinstance(value, Data), f"{type(value).__name__} is not an attribute type"
            return data_text(value.array)


def data_text(array: np.ndarray) -> str:
    """A constant's array: numbers in brackets when it is small, else its zlib-compressed bytes in base64."""
    dtype = as_dtype(array.dtype)
    shape = ",".join(map(str, array.shape))
    if array.size <= INLINE_ELEMENTS and dtype.name != "bf16":
        numbers = ",".join(_number(x) for x in array.ravel().tolist())
        if "nan" not in numbers:
            return f"{dtype}[{shape}]<{numbers}>"
    packed = base64.b64encode(zlib.compress(array.tobytes(), 6)).decode()
    return f"{dtype}[{shape}]<zlib:{packed}>"


def _number(x: object) -> str:
    return {True: "true", False: "false"}[x] if isinstance(x, bool) else repr(x)


def quoted(name: str) -> str:
    """A name as it stands when plain, else as a JSON string without spaces."""
    return name if _PLAIN_NAME.match(name) else json.dumps(name).replace(" ", "\\u0020")


def _role(value: Value) -> str:
    assert isinstance(value.op, Input)
    return "" if value.op.role == "input" else f" {value.op.role}"


class _Names:
    """The printed name of every node of one graph: inputs by their own name, others numbered in order."""

    def __init__(self, graph: Graph) -> None:
        self.of: dict[Value, str] = {}
        used: set[str] = set()
        for value in graph.inputs:
            base = input_name(value)
            name, n = base, 1
            while name in used:
                name, n = f"{base}.{n}", n + 1
            used.add(name)
            self.of[value] = f"%{quoted(name)}"
        number = 0
        for node in graph.nodes:
            if node not in self.of:
                self.of[node] = f"%{number}"
                number += 1

    def __getitem__(self, value: Value) -> str:
        return self.of[value]

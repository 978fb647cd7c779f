"""Reads a graph back from its text (ir.text). Every error names the line.

The ops are given as a table from name to class, because this layer knows none.
"""

from __future__ import annotations

import ast
import base64
import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, ModelError
from chainrule.ir.body import body_of
from chainrule.ir.data import Data
from chainrule.ir.dims import parse_dim
from chainrule.ir.graph import Graph, Value, build, get, new_input
from chainrule.ir.op import Op
from chainrule.ir.types import BY_NAME, DType, TensorType
from chainrule.loc import parsed, using

_NAME = r'(?:"(?:[^"\\]|\\.)*"|[A-Za-z_0-9][A-Za-z0-9_.]*)'
_HEAD = re.compile(rf"graph @({_NAME})\((.*)\) -> (.*) \{{\Z")
_PARAMETER = re.compile(rf"%({_NAME}): (\w+\[[^\]]*\])(?: (param|state))?(?:, |\Z)")
_NODE = re.compile(rf"%({_NAME}) = ([A-Za-z_0-9]+)\(([^)]*)\)(.*)\Z", re.S)
_RETURN = re.compile(rf"(?:({_NAME})=)?%({_NAME})(?:, |\Z)")
_UPDATE = re.compile(rf"update %({_NAME}) = %({_NAME})\Z")
_SIZE = re.compile(rf"size ([A-Za-z_][A-Za-z0-9_]*) = %({_NAME})\Z")
_TYPE = re.compile(r"(\w+)\[([^\]]*)\]\Z")
MAX_NESTING = 50
LARGEST_CONSTANT = 1 << 26  # bytes: a few compressed ones may become any number


@dataclass
class _Reader:
    """The lines of a text and the position in it."""

    lines: Sequence[str]
    ops: Mapping[str, type[Op]]
    at: int = 0

    def next(self) -> str:
        if self.at >= len(self.lines):
            raise self.error("the text ends too early")
        self.at += 1
        return self.lines[self.at - 1].strip()

    def error(self, cause: str) -> ModelError:
        line = self.lines[self.at - 1].strip() if 0 < self.at <= len(self.lines) else ""
        return ModelError(f"graph text, line {self.at}: {cause}", notes=[line[:200]] if line else (),
                          help="the form is the one that `chainrule show` prints")  # fmt: skip


def parse(source: str, ops: Mapping[str, type[Op]]) -> Graph:
    """The graph that a text describes. Raises ModelError with the line number for anything that is not one."""
    lines = [line for line in source.split("\n") if line.strip()]
    reader = _Reader(lines, ops)
    graph = _graph(reader, reader.next(), 0)
    if reader.at != len(lines):
        raise reader.error("text follows the graph")
    return graph


def _graph(reader: _Reader, head: str, depth: int) -> Graph:
    if depth > MAX_NESTING:
        raise reader.error(f"regions nest deeper than {MAX_NESTING}")
    match = _HEAD.match(head)
    if match is None:
        raise reader.error("expected graph @name(%x: f32[...], ...) -> type {")
    values: dict[str, Value] = {}
    inputs = _parameters(reader, match[2], values)
    updates: list[tuple[Value, Value]] = []
    sizes: list[tuple[str, Value]] = []
    while True:
        line = reader.next()
        if line.startswith("return"):
            names, outputs = _returned(reader, line, values)
            break
        if update := _UPDATE.match(line):
            updates.append((_value(reader, values, update[1]), _value(reader, values, update[2])))
            continue
        if size := _SIZE.match(line):
            sizes.append((size[1], _value(reader, values, size[2])))
            continue
        _node(reader, line, values, depth)
    if reader.next() != "}":
        raise reader.error("expected }")
    return Graph(_unquoted(match[1]), inputs, outputs, tuple(updates), names, tuple(sizes))


def _parameters(reader: _Reader, source: str, values: dict[str, Value]) -> tuple[Value, ...]:
    found: list[Value] = []
    at = 0
    while at < len(source):
        match = _PARAMETER.match(source, at)
        if match is None:
            raise reader.error("expected %name: f32[...]")
        value = new_input(_unquoted(match[1]), _tensor_type(reader, match[2]), match[3] or "input")  # type: ignore[arg-type]
        values[match[1]] = value
        found.append(value)
        at = match.end()
    return tuple(found)


def _returned(reader: _Reader, line: str, values: dict[str, Value]) -> tuple[tuple[str, ...], tuple[Value, ...]]:
    names: list[str] = []
    outputs: list[Value] = []
    rest = line.removeprefix("return").strip()
    at = 0
    while at < len(rest):
        match = _RETURN.match(rest, at)
        if match is None:
            raise reader.error("expected return %a, %b")
        if match[1] is not None:
            names.append(_unquoted(match[1]))
        outputs.append(_value(reader, values, match[2]))
        at = match.end()
    return tuple(names), tuple(outputs)


def _node(reader: _Reader, line: str, values: dict[str, Value], depth: int) -> None:
    match = _NODE.match(line)
    if match is None:
        raise reader.error("expected %name = op(%a, %b) key=value : type")
    name, mnemonic, arguments, rest = match[1], match[2], match[3], match[4]
    inputs = [_value(reader, values, a.strip()[1:]) for a in arguments.split(", ") if a.strip()]
    attributes: dict[str, Any] = {}
    while rest.rstrip().endswith("={"):
        before, _, key = rest.rstrip()[:-2].rpartition(" ")
        attributes |= _attribute_texts(reader, before)
        attributes[key] = _graph(reader, reader.next(), depth + 1)
        rest = reader.next()
        if not rest.startswith("}"):
            raise reader.error("expected } after a region's body")
        rest = rest[1:]
    rest, _, place = rest.partition("    @ ")
    before, _, type_text = rest.rpartition(" : ")
    attributes |= _attribute_texts(reader, before)
    locs = tuple(parsed(p.strip()) for p in place.split(", ")) if place else ()
    try:
        with using(locs):
            value = _build(reader, mnemonic, inputs, attributes)
    except ModelError:
        raise
    except ChainruleError as error:
        raise reader.error(str(error)) from error
    if str(value.type) != type_text.strip():
        raise reader.error(f"{mnemonic} gives {value.type}, the text says {type_text.strip()}")
    values[name] = value


def _build(reader: _Reader, mnemonic: str, inputs: list[Value], attributes: dict[str, Any]) -> Value:
    if mnemonic == "get":
        if len(inputs) != 1 or not str(attributes.get("index", "")).isdigit():
            raise reader.error("expected get(%a) index=0")
        return get(inputs[0], int(attributes["index"]))
    kind = reader.ops.get(mnemonic) or reader.ops.get(re.sub(r"\dd\Z", "", mnemonic))
    if kind is None:
        raise reader.error(f"there is no op {mnemonic}")
    known = {item.name: str(item.type) for item in fields(kind)}
    if unknown := attributes.keys() - known.keys():
        raise reader.error(f"{mnemonic} has no attribute {sorted(unknown)[0]}")
    try:
        decoded = {k: _body(v, known[k]) if isinstance(v, Graph) else _attribute(reader, v, known[k])
                   for k, v in attributes.items()}  # fmt: skip
        op = kind(**decoded)
    except TypeError as error:
        raise reader.error(f"{mnemonic}: {error}") from error
    return build(op, *inputs)


def _body(graph: Graph, annotation: str) -> Graph:
    return body_of(graph) if annotation == "Body" else graph


def _attribute_texts(reader: _Reader, source: str) -> dict[str, str]:
    """The key=value pairs of a piece of a node line; values hold no spaces."""
    found: dict[str, str] = {}
    for part in source.split():
        key, equals, value = part.partition("=")
        if not equals:
            raise reader.error(f"expected key=value, found {part[:40]}")
        found[key] = value
    return found


def _attribute(reader: _Reader, source: str, annotation: str) -> object:
    try:
        return _attribute_value(source, annotation)
    except (ValueError, SyntaxError, KeyError, ChainruleError, zlib.error) as error:
        raise reader.error(f"{source[:60]} is not a value of type {annotation}") from error


def _attribute_value(source: str, annotation: str) -> object:
    if source == "none":
        return None
    if _is_enclosed(source):
        return tuple(_attribute_value(part, annotation) for part in _split(source[1:-1]))
    if source.startswith('"'):
        return json.loads(source)
    if source in ("true", "false"):
        return source == "true"
    if "Data" in annotation:
        return Data(_data(source))
    if "TensorType" in annotation and "[" in source:
        return _parsed_type(source)
    if "DType" in annotation and source in BY_NAME:
        return BY_NAME[source]
    if "Dim" in annotation:
        return parse_dim(source)
    if source in ("inf", "-inf", "nan"):
        return float(source)
    return ast.literal_eval(source)


def _is_enclosed(source: str) -> bool:
    """One pair of brackets holds all of the text: a tuple, and not a size such as (H+1)//2 or ((H+1)//2)//2."""
    if not (source.startswith("(") and source.endswith(")")):
        return False
    depth, in_string = 0, False
    for i, c in enumerate(source):
        if c == '"' and source[i - 1] != "\\":
            in_string = not in_string
        elif not in_string and c in "()":
            depth += 1 if c == "(" else -1
            if depth == 0:
                return i == len(source) - 1
    return False


def _split(source: str) -> list[str]:
    """The parts of a comma-separated text, where commas inside brackets and quotes do not count."""
    parts: list[str] = []
    depth, start, in_string = 0, 0, False
    for i, c in enumerate(source):
        if c == '"' and (i == 0 or source[i - 1] != "\\"):
            in_string = not in_string
        elif not in_string and c in "([<":
            depth += 1
        elif not in_string and c in ")]>":
            depth -= 1
        elif not in_string and c == "," and depth == 0:
            parts.append(source[start:i])
            start = i + 1
    if source[start:]:
        parts.append(source[start:])
    return parts


def _data(source: str) -> np.ndarray:
    head, _, body = source.partition("<")
    type = _parsed_type(head)
    shape = tuple(int(d) for d in type.shape)  # type: ignore[arg-type]
    body = body.removesuffix(">")
    size = math.prod(shape) * type.dtype.itemsize
    if size > LARGEST_CONSTANT:
        raise ValueError(f"{size} bytes")
    if body.startswith("zlib:"):
        raw = zlib.decompressobj().decompress(base64.b64decode(body.removeprefix("zlib:")), size + 1)
        return np.frombuffer(raw, type.dtype.numpy).reshape(shape)
    tokens = [t for t in body.split(",") if t]
    numbers = [_number(t, type.dtype) for t in tokens]
    return np.array(numbers, type.dtype.numpy).reshape(shape)


def _number(token: str, dtype: DType) -> object:
    if dtype.is_bool:
        return {"true": True, "false": False}[token]
    return float(token) if dtype.is_float else int(token)


def _tensor_type(reader: _Reader, source: str) -> TensorType:
    try:
        return _parsed_type(source)
    except (ValueError, KeyError, ChainruleError) as error:
        raise reader.error(f"{source} is not a type") from error


def _parsed_type(source: str) -> TensorType:
    match = _TYPE.match(source)
    if match is None:
        raise ValueError(source)
    return TensorType(BY_NAME[match[1]], tuple(parse_dim(d) for d in _split(match[2])))


def _value(reader: _Reader, values: Mapping[str, Value], name: str) -> Value:
    found = values.get(name)
    if found is None:
        raise reader.error(f"%{name} is not defined")
    return found


def _unquoted(name: str) -> str:
    return json.loads(name) if name.startswith('"') else name

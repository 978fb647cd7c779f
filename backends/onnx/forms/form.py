"""What an entry of the mapping between ops and ONNX is: data, read forwards by the exporter, backwards by the importer.

A Form says that one op class is one ONNX op type. Its parts say where each field of the op stands: in an attribute
(Attr), in an input that holds numbers (Operand), or nowhere because the form is for one value of it (Fixed). What one
version of the operator set changed is one line: `since` of a form, `attribute_before` of an operand. A Form whose parts
are not enough has a pair of functions, `write` and `read`, in the file of its family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from chainrule.backends.onnx import told
from chainrule.backends.onnx.dtypes import dtype_of
from chainrule.backends.onnx.node import Given as Given
from chainrule.backends.onnx.node import Vector, shortest
from chainrule.errors import ModelError
from chainrule.ir.graph import Value, build
from chainrule.ir.op import Array, Op
from chainrule.ir.types import DType

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | DType | Array


@dataclass(frozen=True)
class Numbers:
    """An input of an ONNX node that is known when the graph is built: sizes as i64, or an array.

    scalar: a single size as i64[] instead of i64[1].
    """

    dims: Vector = ()
    array: Array | None = None
    scalar: bool = False


@dataclass(frozen=True)
class Call:
    """One ONNX node without its names: what a form writes. inputs: None for one that is left out."""

    inputs: tuple[Value | Numbers | None, ...]
    attributes: Mapping[str, Attribute]


Default = object
REQUIRED: object = object()  # an attribute without default


@dataclass(frozen=True)
class Attr:
    """A field that is an attribute. default: what ONNX takes where it is left out.

    A default of "ones" or "zeros" is a tuple as long as the spatial axes of the first input ("zeros2": twice that).
    """

    field: str
    name: str
    default: Default = REQUIRED


@dataclass(frozen=True)
class Operand:
    """A field that is an input of its own: "dims" (sizes), "axes" (whole numbers), "axis" (one), all as i64.

    attribute_before: before this opset it was an attribute of the same meaning, called `name`.
    """

    field: str
    position: int
    kind: Literal["dims", "axes", "axis"]
    name: str = ""
    attribute_before: int = 0


@dataclass(frozen=True)
class Fixed:
    """An attribute that this form always has, and by which the importer knows it. default: ONNX's own."""

    name: str
    value: Attribute
    default: Default = REQUIRED


@dataclass(frozen=True)
class Derived:
    """An attribute that repeats what the inputs say: written for other readers, not read."""

    name: str
    of: Callable[[Value], Attribute]


@dataclass(frozen=True)
class Plain:
    """An attribute that the importer knows this form by when it has its default; never written."""

    name: str
    default: Default


Part = Attr | Operand | Fixed | Derived | Plain
When = Callable[[Value], bool]


@dataclass(frozen=True)
class Form:
    """One op class as one ONNX op type.

    since: the first opset in which it can be written so. typed: the input whose element type must have a kernel.
    when(node): whether this node of the op has this form. write, read: instead of the parts. reads: False for a form
    whose ONNX op is read as another op; writes: False for one that is only read. kinds: element types ("fiub") of the
    input `typed` for which the importer takes this form; arity, results: the number of inputs (0: any) and the most
    outputs for which it does. state: the inputs that are running statistics, not trained.
    """

    op: type[Op]
    name: str
    parts: tuple[Part, ...] = ()
    since: int = 1
    typed: int = 0
    when: When | None = None
    write: Callable[[Value, int], Call] | None = None
    read: Callable[[Given], Value] | None = None
    reads: bool = True
    writes: bool = True
    kinds: str = "fiub"
    arity: int = 0
    results: int = 1
    state: tuple[int, ...] = ()

    def fits(self, node: Value, opset: int) -> bool:
        """True when the node can be written in this form."""
        if not self.writes or opset < self.since or (self.when is not None and not self.when(node)):
            return False
        return all(_exact(node, part) for part in self.parts)

    def call(self, node: Value, opset: int) -> Call:
        """The node in this form."""
        if self.write is not None:
            return self.write(node, opset)
        attributes: dict[str, Attribute] = {}
        inputs: list[Value | Numbers | None] = list(node.inputs)
        for part in self.parts:
            match part:
                case Plain():
                    pass
                case Fixed(name, value):
                    attributes[name] = value
                case Derived(name, of):
                    attributes[name] = of(node)
                case Attr(field, name):
                    attributes[name] = getattr(node.op, field)
                case Operand(field, position, kind, name, attribute_before):
                    numbers = getattr(node.op, field)
                    if opset < attribute_before:
                        attributes[name] = numbers
                        continue
                    inputs += [None] * (position - len(inputs))
                    inputs.insert(position, Numbers((numbers,), scalar=True) if kind == "axis" else Numbers(numbers))
        return Call(tuple(inputs), attributes)

    def matches(self, given: Given) -> bool:
        """True when the importer can take this form for the node."""
        if not self.reads or given.opset < self.since or given.outputs > self.results:
            return False
        if self.arity and len(given.entries) != self.arity:
            return False
        if self.kinds != "fiub" and given.value(self.typed).dtype.kind not in self.kinds:
            return False
        for part in self.parts:
            if isinstance(part, Plain) and not _same(given.attribute(part.name, part.default), part.default):
                return False
            if isinstance(part, Fixed) and not _same(given.attribute(part.name, part.default), part.value):
                return False
        return True

    def value(self, given: Given) -> Value:
        """The op that a node of this form means, on its inputs."""
        if self.read is not None:
            return self.read(given)
        taken: dict[str, object] = {}
        numbers: set[int] = set()
        for part in self.parts:
            match part:
                case Attr(field, name, default):
                    taken[field] = _as_field(self.op, field, _filled(given, name, default))
                case Operand(field, position, kind, name, attribute_before):
                    if given.opset < attribute_before:
                        found = given.vector(name)
                        taken[field] = _all_axes(given) if found is None else found
                        continue
                    numbers.add(position)
                    if given.has(position):
                        taken[field] = _operand(given, position, kind)
                    elif kind == "axes":
                        taken[field] = _all_axes(given)
                case Fixed() | Derived() | Plain():
                    pass
        inputs = [entry.value("state" if i in self.state else "param") for i, entry in enumerate(given.entries)
                  if i not in numbers and entry is not None]  # fmt: skip
        made = build(self.op(**taken), *inputs)
        for part in self.parts:
            if isinstance(part, Derived) and given.attribute(part.name) not in (None, part.of(made)):
                raise ModelError(f"{given.op_type}: the attribute {part.name} is {given.attribute(part.name)}, "
                                 f"the inputs say {part.of(made)}")  # fmt: skip
        return made


def _exact(node: Value, part: Part) -> bool:
    """ONNX keeps floats of attributes in f32: one that needs more digits cannot be written for an f64 op."""
    value = getattr(node.op, part.field) if isinstance(part, Attr) else None
    if isinstance(part, Fixed):
        value = part.value
    if not isinstance(value, float) or not any(v.dtype.name == "f64" for v in node.inputs):
        return True
    return float(np.float32(value)) == value


def _same(given: object, wanted: object) -> bool:
    if isinstance(wanted, float) and isinstance(given, float | int):
        return float(np.float32(given)) == float(np.float32(wanted))
    return given == wanted


def _filled(given: Given, name: str, default: Default) -> object:
    found = given.attribute(name)
    if found is not None:
        return found
    rank = max(1, given.value(0).rank - 2)
    match default:
        case "ones":
            return (1,) * rank
        case "zeros":
            return (0,) * rank
        case "zeros2":
            return (0,) * (2 * rank)
        case _:
            if default is REQUIRED:
                raise ModelError(f"{given.op_type}: the attribute {name} is missing")
            return default


def _as_field(op: type[Op], field: str, value: object) -> object:
    """An attribute as the field's type: ONNX has 0 and 1 for bool, f32 for float. Raises ModelError for others."""
    match next(str(item.type) for item in fields(op) if item.name == field), value:
        case "bool", int():
            return bool(value)
        case "float", float() | int():
            return shortest(np.float32(value))
        case ("int", int()) | ("str", str()):
            return value
        case "tuple[int, ...]", tuple() if all(isinstance(n, int) for n in value):
            return value
        case "DType", int():
            return dtype_of(value)
        case annotation, _:
            raise ModelError(f"the attribute for {field} is {value!r:.60}, not of type {annotation}")


def _all_axes(given: Given) -> tuple[int, ...]:
    """What a reduction without axes reduces."""
    return () if given.attribute("noop_with_empty_axes", 0) else tuple(range(given.value(0).rank))


def _operand(given: Given, position: int, kind: str) -> object:
    if kind == "dims":
        return told.sizes(given, position)
    numbers = given.ints(position)
    if kind == "axis":
        return numbers[0]
    return numbers or _all_axes(given)


def same(names: Sequence[tuple[type[Op], str]], **options: object) -> tuple[Form, ...]:
    """Forms of ops without fields, or whose fields ONNX has no say in."""
    return tuple(Form(op, name, **options) for op, name in names)  # type: ignore[arg-type]

"""Turns a graph into one whose every node is one ONNX node.

Each node is tried in turn: as it stands, if a form has it and onnxruntime a kernel for its element type; by a lowering,
which says it in ops that ONNX has; in a wider element type; by its own decomposition. Lowered graphs are graphs like
any other: they run on the reference, which is how lowerings are tested without ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from chainrule import loc as locations
from chainrule.backends.onnx.forms import FORMS_OF
from chainrule.backends.onnx.forms.form import Form
from chainrule.backends.onnx.kernels import has_kernel, wider
from chainrule.backends.onnx.lower import arithmetic, control, quantised, recurrent, tensors, windows
from chainrule.errors import ChainruleError, NotSupported
from chainrule.ir.body import Body, Control, body_of, with_bodies
from chainrule.ir.dims import Dim
from chainrule.ir.graph import Graph, Input, Value, build, remapped, replace_each, results
from chainrule.ir.op import Op
from chainrule.ir.types import DType
from chainrule.ops.basic import Constant, Full, SizeOf, constant
from chainrule.ops.elementwise import Elementwise, cast
from chainrule.ops.shape_rules import broadcast_shapes

Lowering = Callable[[Value], "Value | tuple[Value, ...] | None"]
LOWERINGS: Mapping[type[Op], Lowering] = {**arithmetic.LOWERINGS, **windows.LOWERINGS, **tensors.LOWERINGS,
                                           **recurrent.LOWERINGS, **control.LOWERINGS,
                                           **quantised.LOWERINGS}  # fmt: skip


def form_of(node: Value, opset: int) -> Form | None:
    """The form in which a node is written at this opset, None if it has none."""
    return next((form for form in FORMS_OF.get(type(node.op), ()) if form.fits(node, opset)), None)


def lowered(graph: Graph, opset: int) -> Graph:
    """The graph in ops that have a form at this opset. Raises NotSupported naming all that have none."""
    done: dict[Value, tuple[Value, ...]] = {v: (v,) for v in graph.inputs}
    missing: dict[str, Value] = {}
    _lower(graph.roots, done, opset, missing)
    if missing:
        raise _refusal(missing, opset)
    return remapped(graph, {node: parts[0] for node, parts in done.items()})


def _refusal(missing: Mapping[str, Value], opset: int) -> ChainruleError:
    first = next(iter(missing.values()))
    later = {form.since for node in missing.values() for form in FORMS_OF.get(type(node.op), ()) if form.since > opset}
    help = f"export with opset={max(later)}" if later else "write it with other ops"
    return NotSupported(f"ONNX opset {opset} has no {', '.join(sorted(missing))}", loc=first.loc, help=help)


def _lower(roots: Sequence[Value], done: dict[Value, tuple[Value, ...]], opset: int, missing: dict[str, Value]) -> None:
    """Fills `done` with the lowered results of every node that the roots reach."""
    replace_each(roots, done, lambda node: _settled(node, opset, missing))


def _settled(node: Value, opset: int, missing: dict[str, Value]) -> tuple[Value, ...]:
    if isinstance(node.op, Input | Constant | SizeOf):
        return results(node)
    with locations.using(node.locs):
        node = _with_scalars(node)
        if isinstance(node.op, Control):
            node = build(with_bodies(node.op, lambda body: _lowered_body(body, opset, missing)), *node.inputs)
        parts = _replaced(node, opset, missing)
        if parts is None:
            return results(node)
        outputs = parts if isinstance(parts, tuple) else (parts,)
        inner: dict[Value, tuple[Value, ...]] = {v: (v,) for v in node.inputs}
        _lower(outputs, inner, opset, missing)
    return tuple(inner[v][0] for v in outputs)


def _lowered_body(body: Body, opset: int, missing: dict[str, Value]) -> Body:
    """The body in ops that have a form. Recurs over nesting, which is bounded."""
    done: dict[Value, tuple[Value, ...]] = {v: (v,) for v in body.inputs}
    _lower(body.roots, done, opset, missing)
    after = remapped(body, {node: parts[0] for node, parts in done.items()})
    return body if after is body else body_of(after)


def _replaced(node: Value, opset: int, missing: dict[str, Value]) -> Value | tuple[Value, ...] | None:
    """What to write in place of a node; None for the node itself."""
    lower = LOWERINGS.get(type(node.op))
    parts = None if lower is None else lower(node)
    if parts is not None or isinstance(node.op, Control):
        return parts
    form = form_of(node, opset)
    if form is not None:
        dtype = node.inputs[form.typed].dtype if node.inputs else node.dtype
        if has_kernel(form.name, dtype):
            return None
        wide = wider(form.name, dtype)
        if wide is not None and node.inputs:
            return _widened(node, form.typed, dtype, wide)
    parts = node.op.decompose(*node.inputs)
    if parts is None and form is None:
        missing.setdefault(node.op.mnemonic, node)
    return parts


def _widened(node: Value, typed: int, dtype: DType, wide: DType) -> tuple[Value, ...]:
    """The node computed in a wider element type, its results converted back."""
    inputs = [cast(v, wide) if v.dtype == dtype and i >= typed else v for i, v in enumerate(node.inputs)]
    found = results(build(node.op, *inputs))
    return tuple(cast(v, wanted.dtype) for v, wanted in zip(found, results(node), strict=True))


def _with_scalars(node: Value) -> Value:
    """An elementwise node with its filled arrays as single numbers, where the other inputs give it its shape."""
    if not isinstance(node.op, Elementwise) or not any(isinstance(v.op, Full) for v in node.inputs):
        return node
    kept: list[tuple[Dim, ...]] = [v.shape for v in node.inputs if not isinstance(v.op, Full)]
    if not kept or broadcast_shapes(*kept) != node.shape:
        return node
    inputs = [constant(v.op.value, v.op.dtype) if isinstance(v.op, Full) else v for v in node.inputs]
    return build(node.op, *inputs)

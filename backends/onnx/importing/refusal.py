"""All that a model needs and that is not built, in one message, before anything is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnx import IR_VERSION, ModelProto, NodeProto, defs

from chainrule.backends.onnx.importing.domains import domain_of, is_read
from chainrule.backends.onnx.importing.functions import Functions, nodes_within
from chainrule.errors import ModelError, NotSupported

LEAST_OPSET = 6  # older models are read where none of their ops has changed until then
MOST_NODES = 1_000_000

Versions = Mapping[str, int]


def refuse_ir_version(model: ModelProto, label: str) -> None:
    """Raises ModelError for a model without IR version, NotSupported for one of a form that is not known yet."""
    if model.ir_version < 1:
        raise ModelError(f"{label} names no IR version", help="every ONNX file has one: it may be broken, or made by "
                         "hand (onnx.helper.make_model sets it)")  # fmt: skip
    if model.ir_version > IR_VERSION:
        raise NotSupported(f"{label} is of IR version {model.ir_version}",
                           help=f"the installed onnx knows those up to {IR_VERSION}: install a newer one, or write the "
                           f"model with ir_version={IR_VERSION}")  # fmt: skip


def opset_of(model: ModelProto) -> dict[str, int]:
    """The versions of the operator sets by domain. Raises ModelError without ONNX's own, NotSupported out of reach."""
    stated = {domain_of(o.domain): o.version for o in model.opset_import}
    version, newest = stated.get("", 0), defs.onnx_opset_version()
    if not version:
        raise ModelError("the model names no operator set of ONNX's own domain")
    old = version < LEAST_OPSET and any(_changed(n.op_type, version) for n in nodes_within(model.graph.node))
    if old or not 0 < version <= newest:
        raise NotSupported(f"opset {version} is not built", help=f"{LEAST_OPSET} to {newest} are; convert the model")
    return {**stated, "": max(version, LEAST_OPSET)}


def _changed(op_type: str, version: int) -> bool:
    """True where an op meant something else in an old operator set, or was not there."""
    if not defs.has(op_type, version, ""):
        return True
    return defs.get_schema(op_type, version).since_version != defs.get_schema(op_type, LEAST_OPSET).since_version


def refuse_unread(model: ModelProto, functions: Functions, label: str) -> None:
    """Raises NotSupported naming every op that nothing reads: its domain, version, first node and how often."""
    found: dict[tuple[str, str, int], list[str]] = {}
    for node, versions in _all_nodes(model, functions, label):
        domain = domain_of(node.domain)
        if not is_read(domain, node.op_type):
            key = (domain, node.op_type, _version(domain, node.op_type, versions))
            found.setdefault(key, []).append(node.name or "(no name)")
    if not found:
        return
    notes = [f"{op} (domain {domain or 'ai.onnx'}, version {version}): {len(names)} times, first at node {names[0]}"
             for (domain, op, version), names in found.items()]  # fmt: skip
    raise NotSupported(f"{label} has {len(found)} ops that are not built: " + ", ".join(op for _, op, _ in found),
                       notes=notes, help="export the model without them, or written in other ops")  # fmt: skip


def _all_nodes(model: ModelProto, functions: Functions, label: str) -> Iterator[tuple[NodeProto, Versions]]:
    """Every node that is no call, also inside graphs and functions, with the operator sets it is written in."""
    count, entered = 0, set[int]()
    waiting: list[tuple[Iterator[NodeProto], Versions]] = [(nodes_within(model.graph.node), opset_of(model))]
    while waiting:
        nodes, versions = waiting.pop()
        for node in nodes:
            count += 1
            if count > MOST_NODES:
                raise ModelError(f"{label} has more than {MOST_NODES} nodes", help="fewer are read")
            function = functions.called(node)
            if function is None:
                yield node, versions
            elif id(function) not in entered:
                entered.add(id(function))
                own = {domain_of(o.domain): o.version for o in function.opset_import}
                waiting.append((nodes_within(function.node), own))


def _version(domain: str, op: str, versions: Versions) -> int:
    """The version that the op has in the operator set, where that is known."""
    stated = versions.get(domain, 0)
    known = not domain and defs.has(op) and 1 <= stated <= defs.onnx_opset_version()
    try:
        return defs.get_schema(op, stated).since_version if known else stated
    except defs.SchemaError:  # it came later
        return stated

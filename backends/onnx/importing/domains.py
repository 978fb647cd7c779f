"""Which ops are read, by domain: one table of readers a domain. ONNX's own has forms and shape rules besides."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.backends.onnx.forms import FORMS_NAMED
from chainrule.backends.onnx.importing import (
    readers,
    readers_contrib,
    readers_contrib_blocks,
    readers_contrib_bytes,
    readers_contrib_heads,
    readers_ml,
    readers_quantised,
    readers_trees,
    readers_trees_flat,
)
from chainrule.backends.onnx.importing.contents import RULES
from chainrule.backends.onnx.node import Reader

OWN = ""  # "ai.onnx" is another name of it

_QUANTISED = {name: readers_quantised.READERS[name] for name in ("QuantizeLinear", "DequantizeLinear")}
_MICROSOFT: Mapping[str, Reader] = {
    **readers_contrib.READERS, **readers_contrib_heads.READERS, **readers_contrib_bytes.READERS,
    **readers_contrib_blocks.READERS, **_QUANTISED,
}  # fmt: skip
# onnxruntime's optimiser writes this one into ONNX's own domain, which has no such op.
_OWN: Mapping[str, Reader] = {**readers.READERS, "SimplifiedLayerNormalization": readers_contrib.simplified_layer_norm}

_TABLES: Mapping[str, Reader] = {**readers_ml.READERS, **readers_trees.READERS, **readers_trees_flat.READERS}

READERS: Mapping[str, Mapping[str, Reader]] = {
    OWN: _OWN, "ai.onnx.ml": _TABLES, "com.microsoft": _MICROSOFT,
}  # fmt: skip


def domain_of(name: str) -> str:
    """The domain under its one name."""
    return OWN if name == "ai.onnx" else name


def is_read(domain: str, op_type: str) -> bool:
    """True for an op that something here can read, in some form of it."""
    if op_type in READERS.get(domain, {}):
        return True
    return domain == OWN and (op_type in FORMS_NAMED or op_type in RULES)

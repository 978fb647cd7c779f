"""Which ops are read, by domain: one table of readers a domain. ONNX's own has forms and shape rules besides."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.backends.onnx.forms import FORMS_NAMED
from chainrule.backends.onnx.importing import readers, readers_contrib, readers_ml
from chainrule.backends.onnx.importing.contents import RULES
from chainrule.backends.onnx.importing.readers_images import Reader

OWN = ""  # "ai.onnx" is another name of it

READERS: Mapping[str, Mapping[str, Reader]] = {
    OWN: readers.READERS, "ai.onnx.ml": readers_ml.READERS, "com.microsoft": readers_contrib.READERS,
}  # fmt: skip


def domain_of(name: str) -> str:
    """The domain under its one name."""
    return OWN if name == "ai.onnx" else name


def is_read(domain: str, op_type: str) -> bool:
    """True for an op that something here can read, in some form of it."""
    if op_type in READERS.get(domain, {}):
        return True
    return domain == OWN and (op_type in FORMS_NAMED or op_type in RULES)

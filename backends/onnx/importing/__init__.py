"""Reads ONNX models. Everything in a file is untrusted."""

from chainrule.backends.onnx.importing.model import Imported, Known, Weight, import_model
from chainrule.backends.onnx.importing.sequences import Form

__all__ = ["Form", "Imported", "Known", "Weight", "import_model"]

"""Reads ONNX models. Everything in a file is untrusted."""

from chainrule.backends.onnx.importing.model import Imported, Weight, import_model

__all__ = ["Imported", "Weight", "import_model"]

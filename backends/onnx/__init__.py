"""ONNX: graphs written as models of standard ops, models read as graphs, and models run by onnxruntime."""

from chainrule.backends.onnx.executable import OnnxExecutable
from chainrule.backends.onnx.export import export_graph

__all__ = ["OnnxExecutable", "export_graph"]

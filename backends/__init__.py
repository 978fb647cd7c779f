"""Backends run a graph: numpy node by node, native code through LLVM, or ONNX for other runtimes."""

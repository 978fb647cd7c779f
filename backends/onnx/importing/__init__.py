"""Reads ONNX models. Everything in a file is untrusted.

In the order in which a model passes through:

- files, apart, narrow: bytes become a ModelProto and arrays; external data.
- refusal, functions, domains: what nothing reads is named, all at once; which domain's ops are read by what.
- believing: a file that chainrule wrote becomes the graph that it was written from.
- model, walk, scope, attributes: inputs, weights, nodes in their order, names, graphs in graphs.
- contents: what is known of integers before the model runs; fitting: sizes that turn out to be equal.
- readers*: a file per family of ops that have no form of their own (backends/onnx/forms) or need more than one.
- sequences, growing: what no graph of ours holds, taken apart.

To read one more op, give it a form or a function in the table READERS of its family's file.
"""

from chainrule.backends.onnx.importing.model import Imported, Known, Weight, import_model
from chainrule.backends.onnx.importing.sequences import Nesting

__all__ = ["Nesting", "Imported", "Known", "Weight", "import_model"]

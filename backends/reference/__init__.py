"""The meaning of every program: numpy, node by node."""

from chainrule.backends.reference.executable import ReferenceExecutable
from chainrule.backends.reference.interpreter import bind_sizes, declared_and_given, run, run_traced

__all__ = ["ReferenceExecutable", "bind_sizes", "declared_and_given", "run", "run_traced"]

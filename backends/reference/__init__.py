"""The meaning of every program: numpy, node by node."""

from chainrule.backends.reference.executable import ReferenceExecutable
from chainrule.backends.reference.interpreter import bind_sizes, declared_and_given, run, run_traced
from chainrule.backends.reference.numerics import check_numerics

__all__ = ["ReferenceExecutable", "bind_sizes", "check_numerics", "declared_and_given", "run", "run_traced"]

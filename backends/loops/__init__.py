"""The loop IR: kernels as loops over scalars and vectors. Builds, prints, verifies and interprets them; knows no op."""

from chainrule.backends.loops.build import Builder, Reg
from chainrule.backends.loops.interpret import interpret
from chainrule.backends.loops.ints import Int, LoopError, as_int, ceil_div, imax, imin
from chainrule.backends.loops.nodes import Buffer, Function, Value
from chainrule.backends.loops.text import text
from chainrule.backends.loops.verify import unproved, verify

__all__ = [
    "Buffer",
    "Builder",
    "Function",
    "Int",
    "LoopError",
    "Reg",
    "Value",
    "as_int",
    "ceil_div",
    "imax",
    "imin",
    "interpret",
    "text",
    "unproved",
    "verify",
]

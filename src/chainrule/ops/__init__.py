"""All ops, one family a file. ALL_OPS is the one list of them."""

from __future__ import annotations

from chainrule.ir.graph import Get, Input
from chainrule.ir.op import Op
from chainrule.ops import basic

FAMILIES = (basic,)
ALL_OPS: tuple[type[Op], ...] = (Input, Get, *(op for family in FAMILIES for op in family.OPS))
OP_BY_NAME = {op.name: op for op in ALL_OPS}

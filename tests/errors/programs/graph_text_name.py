from chainrule.ir.parse import parse
from chainrule.ops import OP_BY_NAME

parse("graph @g(%x: f32[N]) -> f32[N] {\n  %0 = exp(%y) : f32[N]\n  return %0\n}\n", OP_BY_NAME)

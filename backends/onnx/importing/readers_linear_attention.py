"""ONNX's LinearAttention: a state of keys by values that each step decays, corrects and reads."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.errors import ModelError
from chainrule.ir.graph import Graph, Value, new_input
from chainrule.ir.types import f32
from chainrule.ops import elementwise as el
from chainrule.ops import shaping as sh
from chainrule.ops.basic import full, scalar_like
from chainrule.ops.control import scan
from chainrule.ops.matmul import matmul
from chainrule.ops.sampling import wide
from chainrule.ops.transcendental import exp, sqrt

_RULES = ("linear", "gated", "delta", "gated_delta")


def linear_attention(given: Given) -> Read:
    """The outputs [B, T, heads * d_v], and the state after the last step, [B, heads, d_k, d_v]."""
    rule = given.word("update_rule", "gated_delta")
    if rule not in _RULES:
        raise ModelError(f"LinearAttention: the update rule {rule!r} is unknown", help="one of " + ", ".join(_RULES))
    query, heads, groups = given.value(0), given.whole("kv_num_heads"), given.whole("q_num_heads")
    if heads < 1 or groups % heads:
        raise ModelError(f"LinearAttention: {groups} heads of queries do not share {heads} heads of keys evenly")
    batch, steps = query.shape[:2]
    q, k, v = (_by_steps(wide(given.value(i)), heads) for i in range(3))
    q = sh.reshape(q, (steps, batch, heads, groups // heads, q.shape[-1] // (groups // heads)))
    scale = given.fraction("scale", 0.0)
    q = el.mul(q, scalar_like(scale, q)) if scale else el.div(q, sqrt(scalar_like(q.shape[-1], q)))
    stacked = [q, k, v]
    if "gated" in rule:
        stacked.append(exp(_by_steps(wide(given.value(4)), heads)))
    if "delta" in rule:
        beta = _by_steps(wide(given.value(5)), 1 if given.value(5).shape[-1] == 1 else heads)
        stacked.append(sh.expand(beta, (steps, batch, heads, 1)))
    shape = (batch, heads, k.shape[-1], v.shape[-1])
    state = wide(given.value(3, "state")) if given.has(3) else full(0.0, shape, f32)
    last, found = scan(_step(state, stacked, rule), [el.cast(state, q.dtype)], stacked, [], steps)
    out = sh.reshape(sh.transpose(found, (1, 0, 2, 3, 4)), (batch, steps, groups * v.shape[-1]))
    kept = given.value(3).dtype if given.has(3) else query.dtype
    return (el.cast(out, query.dtype), el.cast(last, kept))[: max(1, given.outputs)]


def _by_steps(x: Value, heads: int) -> Value:
    """[B, T, heads * d] as [T, B, heads, d]."""
    batch, steps, width = x.shape
    return sh.transpose(sh.reshape(x, (batch, steps, heads, width // heads)), (1, 0, 2, 3))


def _step(state: Value, stacked: list[Value], rule: str) -> Graph:
    """S' = g S + b k (v - (g S)^T k)^T, without decay g or correction where the rule has none; and q S'."""
    s = new_input("state", state.tensor)
    names = ["q", "k", "v", *(["decay"] if "gated" in rule else []), *(["beta"] if "delta" in rule else [])]
    inputs = {name: new_input(name, x.tensor.with_shape(x.shape[1:])) for name, x in zip(names, stacked, strict=True)}
    k, v = inputs["k"], sh.unsqueeze(inputs["v"], 2)  # [B, H, d_k], [B, H, 1, d_v]
    kept = el.mul(s, sh.unsqueeze(inputs["decay"], 3)) if "gated" in rule else s
    if "delta" in rule:
        v = el.mul(el.sub(v, matmul(sh.unsqueeze(k, 2), kept)), sh.unsqueeze(inputs["beta"], 3))
    new = el.add(kept, el.mul(sh.unsqueeze(k, 3), v))
    return Graph("linear_attention", (s, *inputs.values()), (new, matmul(inputs["q"], new)))


READERS: Mapping[str, Reader] = {"LinearAttention": linear_attention}

"""Attention of com.microsoft with shared heads and caches gives what onnxruntime gives, on every shape of a call."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

import chainrule as cr
from chainrule.errors import ModelError, NotSupported
from tests.onnx.contrib import Array, Attribute, Node, complaint, complaints, model_of, ours, theirs
from tests.ops.sample import normal

HEADS, GROUPS, SIZE = 4, 2, 16


def grouped(batch: int, rows: int, past: int, label: str, *, room: int | None = None, lengths: list[int] | None = None,
            packed: bool = False, turned: bool = True, more: tuple[Array | None, ...] = (),
            groups: int = GROUPS, **attributes: Attribute) -> Node:  # fmt: skip
    """GroupQueryAttention. room: the cache's length where it is longer than what is in it; more: further inputs."""
    width = (HEADS + 2 * groups) * SIZE if packed else HEADS * SIZE
    q = normal(batch, rows, width)
    k, v = (None, None) if packed else (normal(batch, rows, groups * SIZE, seed=s) for s in (1, 2))
    cache = [normal(batch, groups, past if room is None else room, SIZE, seed=s) for s in (3, 4)]
    last = np.int32(lengths or [past + rows - 1] * batch)
    angles = [normal(32, SIZE // 2, seed=s) for s in (5, 6)] if turned else [None, None]
    inputs = (q, k, v, *cache, last, np.int32(past + rows), *angles, *more)
    while inputs[-1] is None:
        inputs = inputs[:-1]
    given: dict[str, Attribute] = {"num_heads": HEADS, "kv_num_heads": groups, "do_rotary": int(turned), **attributes}
    return Node("GroupQueryAttention", inputs, given, (True,) * 3, (6,), label=label)


NODES = [
    grouped(2, 5, 0, "prompt", turned=False), grouped(2, 5, 0, "packed prompt", packed=True),
    grouped(2, 1, 7, "token"), grouped(1, 3, 4, "chunk"), grouped(2, 1, 0, "one"),
    grouped(2, 1, 7, "interleaved", rotary_interleaved=1, softcap=5.0, scale=0.3),
    grouped(2, 1, 7, "window", local_window_size=3), grouped(1, 6, 0, "prompt in a window", local_window_size=3),
    grouped(2, 1, 7, "own heads", groups=HEADS), grouped(2, 5, 0, "both ways", causal=0),
    grouped(2, 1, 7, "smooth", smooth_softmax=1),
    grouped(2, 1, 7, "sink", turned=False, more=(None, None, normal(HEADS))),
    grouped(1, 3, 7, "bias", more=(None, normal(1, HEADS, 3, 10))),
    grouped(2, 1, 7, "positions", more=(np.int64([[3], [5]]),)),
]  # fmt: skip


@pytest.mark.parametrize("backend", ["reference", "llvm"])
@pytest.mark.parametrize("node", NODES, ids=lambda n: n.label)
def test_grouped_queries_give_what_onnxruntime_gives(node: Node, backend: str) -> None:
    assert complaints(node, backend) == []


@pytest.mark.parametrize("node, filled, rows", [
    (grouped(1, 3, 4, "chunk", room=12), [7], [3]),
    (grouped(2, 1, 4, "tokens", room=12, lengths=[4, 2]), [5, 3], [1, 1]),
    (grouped(2, 5, 0, "prompts", room=12, lengths=[4, 2]), [5, 3], [5, 3]),
], ids=["chunk", "tokens", "prompts"])  # fmt: skip
def test_a_cache_with_room_is_filled_behind_what_is_in_it(node: Node, filled: list[int], rows: list[int]) -> None:
    model, fed = model_of(node)
    wanted, found = theirs(model, fed), ours(model, fed, "llvm")
    assert [y.shape for y in found] == [y.shape for y in wanted]
    for i, (length, count) in enumerate(zip(filled, rows, strict=True)):  # the rest is not specified
        assert complaint(found[0][i, :count], wanted[0][i, :count]) == ""
        for got, want in zip(found[1:], wanted[1:], strict=True):
            assert complaint(got[i, :, :length], want[i, :, :length]) == ""


def test_one_program_serves_prompts_and_tokens_of_every_length() -> None:
    sizes = {"query": ("B", "S", HEADS * SIZE), "key": ("B", "S", GROUPS * SIZE), "value": ("B", "S", GROUPS * SIZE),
             "past_key": ("B", GROUPS, "P", SIZE), "past_value": ("B", GROUPS, "P", SIZE)}  # fmt: skip
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in sizes.items()]
    inputs.append(helper.make_tensor_value_info("mask", TensorProto.INT64, ("B", "T")))
    nodes = [
        helper.make_node("ReduceSum", ["mask", "one"], ["kept"], keepdims=0), helper.make_node(
            "Sub", ["kept", "one"], ["last64"]), helper.make_node("Cast", ["last64"], ["last"], to=TensorProto.INT32),
        helper.make_node("Shape", ["mask"], ["shape"]), helper.make_node("Gather", ["shape", "one_"], ["total64"]),
        helper.make_node("Cast", ["total64"], ["total"], to=TensorProto.INT32),
        helper.make_node("GroupQueryAttention", [*sizes, "last", "total", "cos", "sin"], ["y", "k", "v"],
                         domain="com.microsoft", num_heads=HEADS, kv_num_heads=GROUPS, do_rotary=1),
    ]  # fmt: skip
    angles = {"cos": normal(32, SIZE // 2), "sin": normal(32, SIZE // 2, seed=1)}
    stored = {"one": np.int64([1]), "one_": np.array(1), **angles}
    graph = helper.make_graph(nodes, "decoder", inputs, [ValueInfoProto(name=n) for n in "ykv"],
                              [numpy_helper.from_array(np.asarray(x), n) for n, x in stored.items()])  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    net = cr.compile(cr.load_onnx(model))
    for batch, rows, past in ((1, 6, 0), (2, 1, 5), (1, 1, 6), (1, 2, 3), (3, 4, 0)):
        bound = {"B": batch, "S": rows, "P": past}
        fed = {n: normal(*(bound.get(d, d) for d in s), seed=i) for i, (n, s) in enumerate(sizes.items())}  # type: ignore[arg-type]
        fed["mask"] = np.ones((batch, past + rows), np.int64)
        for got, want in zip(net.run(list(fed.values())), theirs(model, fed), strict=True):
            assert complaint(got, want) == "", (batch, rows, past)


def decoders() -> Iterator[Node]:
    op, new = "DecoderMaskedMultiHeadAttention", tuple(normal(2, 1, 16, seed=s) for s in range(3))
    room = normal(2, 2, 6, 8, seed=3), normal(2, 2, 6, 8, seed=4)
    for past in (0, 3, 5):
        yield Node(op, (*new, None, None, *room, np.int32([past])), {"num_heads": 2, "past_present_share_buffer": 1},
                   (True,) * 3, label=f"in place at {past}")  # fmt: skip
    yield Node(op, (*new, np.int32([[1, 1, 0, 1], [1, 0, 1, 1]]), None, *room, np.int32([3]), None, None, normal(48)),
               {"num_heads": 2, "past_present_share_buffer": 1}, (True,) * 3, label="masked")  # fmt: skip
    yield Node(op, (new[0], *room), {"num_heads": 2, "scale": 0.2}, label="cross")
    yield Node(op, (new[0], *room, np.int32([[1, 1, 0, 1, 0, 0], [1] * 6])), {"num_heads": 2}, label="cross masked")
    yield Node("MultiHeadAttention", (normal(2, 5, 16), *room), {"num_heads": 2}, label="heads first")


@pytest.mark.parametrize("backend", ["reference", "llvm"])
@pytest.mark.parametrize("node", list(decoders()), ids=lambda n: n.label)
def test_decoders_give_what_onnxruntime_gives(node: Node, backend: str) -> None:
    assert complaints(node, backend) == []


def test_packed_heads_are_those_apart() -> None:
    """onnxruntime has packed heads on GPUs only."""
    q, k, v = (normal(2, 5, 16, seed=s) for s in range(3))
    apart = Node("MultiHeadAttention", (q, k, v), {"num_heads": 2})
    q4, k4, v4 = (x.reshape(2, 5, 2, 1, 8) for x in (q, k, v))
    (wanted,) = theirs(*model_of(apart))
    for inputs in ((np.concatenate([q4, k4, v4], 3),), (q, np.concatenate([k4, v4], 3))):
        (found,) = ours(*model_of(Node("MultiHeadAttention", inputs, {"num_heads": 2})), "llvm")
        assert complaint(found, wanted) == ""


PLAIN = grouped(2, 1, 7, "plain")
REFUSED: list[tuple[Node, type[cr.ChainruleError], str]] = [
    (PLAIN.having(num_heads=3), ModelError, "do not share"),
    (PLAIN.having(k_quant_type="PER_TENSOR"), NotSupported, "k_quant_type=PER_TENSOR is not built"),
    (PLAIN.having(sliding_window_cache=1), NotSupported, "sliding_window_cache=1 is not built"),
    (PLAIN.having(qk_output=1), NotSupported, "qk_output=1 is not built"),
    (PLAIN.having(causal=0, local_window_size=3), ModelError, "local_window_size without causal"),
    (Node("GroupQueryAttention", PLAIN.inputs[:5], PLAIN.attributes), ModelError, "input 6 is missing"),
    (next(decoders()).having(num_heads=3), ModelError, "reshape"),
]  # fmt: skip


@pytest.mark.parametrize("node, error, message", REFUSED, ids=lambda v: v.id if isinstance(v, Node) else "")
def test_wrong_uses_are_refused(node: Node, error: type[cr.ChainruleError], message: str) -> None:
    with pytest.raises(error, match=message):
        cr.load_onnx(model_of(node)[0])

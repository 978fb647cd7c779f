"""Values are interned, graphs are closed, walks do not recurse."""

import gc

import numpy as np
import pytest

from chainrule.backends import reference
from chainrule.errors import ModelError, ShapeError
from chainrule.ir.graph import Graph, get, inline, new_input, rewrite
from chainrule.ir.parse import parse
from chainrule.ir.text import text
from chainrule.ir.types import f32, i64, tensor
from chainrule.ir.verify import verify
from chainrule.loc import Loc, using
from chainrule.ops import OP_BY_NAME
from chainrule.ops.basic import Fuse, constant, full
from chainrule.ops.elementwise import add, mul, neg
from chainrule.ops.sorting import top_k
from chainrule.ops.transcendental import exp


def x_of(*shape, name="x", role="input"):
    return new_input(name, tensor("f32", shape), role)


def test_the_same_op_on_the_same_inputs_is_the_same_value():
    x = x_of("N", 3)
    assert add(x, x) is add(x, x)
    assert constant(np.arange(3.0)) is constant(np.arange(3.0))
    assert constant(1.0, f32) is not constant(1.0)


def test_zeros_of_both_signs_are_different_values():
    assert full(0.0, (2,)) is not full(-0.0, (2,))
    assert full(-0.0, (2,)) is full(-0.0, (2,))
    (zero,) = reference.run(Graph("z", (), (full(-0.0, ()),)), [])
    assert np.signbit(zero)


def test_two_inputs_of_one_name_are_different_values():
    assert x_of(2) is not x_of(2)


def test_values_die_with_their_last_user():
    from chainrule.ir import graph

    x = x_of(2)
    before = len(graph._interned)
    y = exp(mul(x, x))
    assert len(graph._interned) > before
    del y
    gc.collect()
    assert len(graph._interned) <= before


def test_equality_ignores_the_source_place():
    x = x_of(2)
    with using((Loc("a.py", 1),)):
        a = neg(x)
    with using((Loc("b.py", 2),)):
        assert neg(x) is a


def test_nodes_carry_the_users_own_line():
    x = x_of(2)
    y = exp(x)
    assert y.loc is not None and y.loc.file == __file__


def test_a_chain_of_50000_nodes_passes_every_walk():
    x = x_of(2)
    y = x
    for i in range(50_000):
        y = add(y, constant(float(i % 7), f32))
    graph = Graph("chain", (x,), (y,))
    verify(graph)
    assert len(graph.nodes) > 50_000
    doubled = rewrite(graph, lambda node, inputs: None)
    assert doubled is graph
    assert text(parse(text(graph), OP_BY_NAME), places=False) == text(graph, places=False)


def test_text_parses_back_with_regions_updates_names_and_results():
    x, w = x_of("N", 4), x_of(4, name="odd name", role="state")
    inner = x_of("N", 4, name="inner")
    region = Graph("body", (inner,), (exp(neg(inner)),))
    from chainrule.ir.graph import build

    fused = build(Fuse(region, "elementwise"), x)
    values, places = top_k(fused, 2)
    graph = Graph("g", (x, w), (values, places), ((w, add(w, full(1.0, (4,)))),), ("top", "at"))
    verify(graph)
    again = parse(text(graph), OP_BY_NAME)
    verify(again)
    assert text(again) == text(graph)


@pytest.mark.parametrize("array", [
    np.array([1.5, np.inf, -0.0, np.nan], np.float32), np.arange(200.0), np.array(True), np.zeros((0, 3), np.int8),
    np.array([2**63], np.uint64), np.array([-(2**63)]),
])  # fmt: skip
def test_constants_keep_every_bit_through_text(array):
    graph = Graph("c", (), (constant(array),))
    (again,) = reference.run(parse(text(graph), OP_BY_NAME), [])
    assert again.dtype == array.dtype and again.shape == array.shape and again.tobytes() == array.tobytes()


@pytest.mark.parametrize(("source", "cause"), [
    ("graph", "expected graph"), ("graph @g() -> f32[] {\n  return %0\n}", "%0 is not defined"),
    ("graph @g(%x: f32[2]) -> f32[2] {\n  %0 = nope(%x) : f32[2]\n  return %0\n}", "there is no op nope"),
    ("graph @g(%x: f32[2]) -> f32[2] {\n  %0 = exp(%x) : f32[3]\n  return %0\n}", "the text says f32[3]"),
    ("graph @g(%x: f32[2]) -> f32[2] {\n  %0 = exp(%x) a=1 : f32[2]\n  return %0\n}", "has no attribute a"),
    ("graph @g(%x: q8[2]) -> f32[2] {\n  return %x\n}", "q8[2] is not a type"),
    ("graph @g(%x: f32[2]) -> f32[2] {", "the text ends too early"),
])  # fmt: skip
def test_broken_text_is_refused_with_its_line(source, cause):
    with pytest.raises(ModelError) as caught:
        parse(source, OP_BY_NAME)
    assert cause in str(caught.value) and "line" in str(caught.value)


def test_verify_finds_inputs_that_are_not_listed_and_updates_of_another_type():
    x, w = x_of(2), x_of(2, name="w", role="param")
    with pytest.raises(ModelError, match='uses the input "w"'):
        verify(Graph("g", (x,), (add(x, w),)))
    with pytest.raises(ModelError, match="the new value"):
        verify(Graph("g", (w,), (), ((w, full(0.0, (3,))),)))
    with pytest.raises(ModelError, match="not state"):
        verify(Graph("g", (x,), (), ((x, x),)))


def test_inline_needs_one_value_per_input():
    x = x_of(2)
    body = Graph("b", (x,), (exp(x),))
    with pytest.raises(ShapeError, match="takes 1 values"):
        inline(body, ())


def test_get_of_a_single_result_is_itself():
    x = x_of(2)
    assert get(x, 0) is x
    assert top_k(x, 1)[1].tensor.dtype == i64


def test_an_error_of_a_shape_rule_names_op_line_and_arguments():
    a, b = x_of(2, 3, name="a"), x_of(4, name="b", role="param")
    with pytest.raises(ShapeError) as caught:
        add(a, b)
    shown = str(caught.value)
    assert shown.startswith("add: shapes [2,3] and [4] do not broadcast")
    assert 'a: f32[2,3] input "a"' in shown and 'b: f32[4] parameter "b"' in shown and "add(a, b)" in shown

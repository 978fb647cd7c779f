"""What passes promise: meaning kept, reasons told, memory planned without overlap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.backends import reference
from chainrule.errors import ArgumentError, ModelError, NumericsError
from chainrule.ir.graph import Graph, new_input
from chainrule.ir.plan import Interval, Plan, check_plan, peak
from chainrule.ir.text import text
from chainrule.ir.types import f32, f64, tensor
from chainrule.ops.activations import relu
from chainrule.ops.basic import Fuse, constant
from chainrule.ops.conv import conv
from chainrule.ops.elementwise import add, cast, mul, neg, sub
from chainrule.ops.matmul import matmul
from chainrule.ops.norm import LayerNorm
from chainrule.ops.ranges import iota
from chainrule.ops.reduce import sum
from chainrule.ops.shaping import reshape, slice_, transpose
from chainrule.ops.softmax import softmax
from chainrule.ops.transcendental import exp, log
from chainrule.passes import canonicalize, fold_norm
from chainrule.passes.base import Notes, Pass, Pipeline, parse_pipeline
from chainrule.passes.canonicalize import Canonicalize
from chainrule.passes.check import checker, sample_inputs
from chainrule.passes.decompose import Decompose
from chainrule.passes.fold import FoldConstants
from chainrule.passes.fold_norm import FoldNorm
from chainrule.passes.fuse import Anchors, FuseRegions
from chainrule.passes.hoist import hoist
from chainrule.passes.pack import PackWeights
from chainrule.passes.plan_memory import plan_memory
from chainrule.passes.rewrite import explain


def value(*shape, name="x", role="input", dtype="f32"):
    return new_input(name, tensor(dtype, shape), role)


def run(graph, arrays):
    return reference.run(graph, arrays, precise=True)


def kept(graph, *passes):
    """The graph after passes, each checked against the reference."""
    return Pipeline("test", passes).run(graph, checker(run))[0]


X = value("N", 4)


@pytest.mark.parametrize(("built", "expected"), [
    (lambda x: mul(x, constant(1.0, f32)), lambda x: x),
    (lambda x: add(constant(-0.0, f32), x), lambda x: x),
    (lambda x: sub(x, constant(0.0, f32)), lambda x: x),
    (lambda x: neg(neg(x)), lambda x: x),
    (lambda x: relu(relu(x)), relu),
    (lambda x: cast(cast(x, f64), f32), lambda x: x),
    (lambda x: transpose(transpose(x, (1, 0)), (1, 0)), lambda x: x),
    (lambda x: reshape(reshape(x, (4, "N")), ("N", 4)), lambda x: x),
])  # fmt: skip
def test_algebra_that_keeps_every_bit_is_applied_also_in_strict_mode(built, expected):
    graph = kept(Graph("g", (X,), (exp(built(X)),)), Canonicalize(strict=True))
    assert graph.outputs == (exp(expected(X)),)


@pytest.mark.parametrize("built", [
    lambda x: add(x, constant(0.0, f32)),
    lambda x: mul(x, constant(np.ones((3, 1, 4), np.float32))),
    lambda x: cast(cast(x, "i32"), f32),
])  # fmt: skip
def test_what_would_change_a_bit_or_a_shape_stays(built):
    graph = Graph("g", (X,), (built(X),))
    assert Canonicalize().run(graph, Notes()) is graph


def test_log_of_softmax_becomes_the_stable_form_unless_strict():
    graph = Graph("g", (X,), (log(softmax(X)),))
    assert kept(graph, Canonicalize()).outputs[0].op.name == "log_softmax"
    assert Canonicalize(strict=True).run(graph, Notes()) is graph


def test_an_inner_value_with_other_users_is_not_rewritten_away():
    inner = softmax(X)
    graph = Graph("g", (X,), (log(inner), inner))
    assert Canonicalize().run(graph, Notes()) is graph
    assert "also an output" in explain(graph, "log(softmax(x)) = log_softmax(x)", canonicalize.RULES)


def test_why_names_the_best_partial_match_and_its_reason():
    x, w, s = value("N", 3, 5, 5), value(4, 3, 3, 3, name="w", role="param"), value(4, 1, 1, name="s")
    graph = Graph("g", (x, w, s), (mul(conv(x, w), s),))
    shown = explain(graph, "conv(x, w) * s = conv(x, w*s)", fold_norm.RULES)
    assert "came to 2 of 2 nodes" in shown and "not a fixed weight" in shown
    with pytest.raises(ArgumentError, match="there is no rule"):
        explain(graph, "a = b", fold_norm.RULES)


def test_scales_and_shifts_behind_a_convolution_fold_into_its_weights():
    x, w = value("N", 3, 5, 5), value(4, 3, 3, 3, name="w", role="param")
    m, s = value(4, 1, 1, name="m", role="state"), value(4, 1, 1, name="s", role="param")
    graph = kept(Graph("g", (x, w, m, s), (relu(add(mul(sub(conv(x, w), m), s), m)),)), FoldNorm())
    split = hoist(graph)
    assert [n.op.name for n in split.main.nodes if n.inputs] == ["conv", "relu"]


def test_state_that_is_updated_does_not_fold():
    x, w, s = value("N", 3, 5, 5), value(4, 3, 3, 3, name="w", role="param"), value(4, 1, 1, name="s", role="param")
    graph = Graph("g", (x, w, s), (mul(conv(x, w), s),), ((s, neg(s)),))
    assert FoldNorm().run(graph, Notes()) is graph


def test_the_split_computes_the_same_as_the_whole():
    x, w = value("N", 3), value(3, 3, name="w", role="param")
    graph = Graph("g", (x, w), (add(x, sum(exp(w), (0,))), w))
    split = hoist(graph)
    arrays = sample_inputs(graph)
    prepared = run(split.prepare, arrays[1:])
    by_input = dict(zip(graph.inputs, arrays, strict=True)) | dict(zip(split.prepared, prepared, strict=True))
    found = run(split.main, [by_input[v] for v in split.main.inputs])
    for a, b in zip(run(graph, arrays), found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_a_named_size_cuts_out_of_a_weight_is_computed_per_call():
    x, w = value("N", 1, 3), value(9, 3, name="w", role="param")
    at = x.shape[0]
    graph = Graph("g", (x, w), (add(x, exp(slice_(w, (at, 0), (at + 1, 3)))),))
    split = hoist(graph)
    assert not split.prepared
    table = constant(np.arange(27.0).reshape(9, 3))
    kept(Graph("g", (x,), (add(cast(x, f64), slice_(table, (at, 0), (at + 1, 3))),)), FoldConstants())


def test_constants_fold_within_their_budget_only():
    big = exp(constant(np.zeros(100)))
    graph = Graph("g", (), (big,))
    assert kept(graph, FoldConstants()).outputs[0].op.name == "constant"
    assert FoldConstants(max_bytes=100).run(graph, Notes()) is graph


def test_decomposition_leaves_what_the_backend_keeps():
    from chainrule.ir.graph import build

    graph = Graph("g", (X,), (build(LayerNorm(), X),))
    assert Decompose(lambda node: True).run(graph, Notes()) is graph
    plain = kept(graph, Decompose(lambda node: False))
    assert "layer_norm" not in text(plain)


def test_a_diamond_of_elementwise_ops_is_one_region():
    a = exp(X)
    graph = kept(Graph("g", (X,), (add(mul(a, a), neg(a)),)), FuseRegions())
    (fused,) = [n for n in graph.nodes if isinstance(n.op, Fuse)]
    assert [n.op.name for n in fused.op.body.nodes if n.inputs] == ["exp", "mul", "neg", "add"]


def test_two_results_of_one_producer_share_a_region():
    a = exp(X)
    graph = kept(Graph("g", (X,), (neg(a), mul(a, a))), FuseRegions())
    (fused,) = [n for n in graph.nodes if isinstance(n.op, Fuse)]
    assert len(fused.op.body.outputs) == 2


def test_regions_are_not_merged_across_a_node_that_lies_between():
    a = exp(X)
    b = reshape(transpose(neg(a), (1, 0)), ("N", 4))
    graph = kept(Graph("g", (X,), (mul(a, b),)), FuseRegions())
    assert graph.outputs[0].type == X.type


def test_an_anchor_takes_its_epilogue_but_not_a_second_anchor():
    x, w = value("N", 3, 5, 5), value(4, 3, 3, 3, name="w", role="param")
    first = relu(conv(x, w, pad=1))
    w2 = value(4, 4, 3, 3, name="w2", role="param")
    graph = Graph("g", (x, w, w2), (relu(conv(first, w2)),))
    fused = kept(graph, FuseRegions(Anchors(epilogue=frozenset({type(conv(x, w).op)}))))
    assert [n.op.kind for n in fused.nodes if isinstance(n.op, Fuse)] == ["conv", "conv"]


def test_positions_are_made_inside_the_sweep():
    graph = kept(Graph("g", (X,), (add(X, cast(iota(("N", 4), 1), f32)),)), FuseRegions())
    (fused,) = [n for n in graph.nodes if isinstance(n.op, Fuse)]
    assert len(fused.inputs) == 1


intervals = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 20), st.integers(0, 8)), max_size=40)


@given(intervals)
def test_a_plan_never_overlaps_and_stays_near_its_bound(rows):
    items = [Interval(f"b{i}", size, first, first + length) for i, (size, first, length) in enumerate(rows)]
    plan = plan_memory(items)
    check_plan(items, plan)
    assert plan.total >= peak(items) == plan.bound


def test_the_checker_of_plans_finds_an_overlap_and_a_buffer_outside():
    a, b = Interval("a", 100, 0, 2), Interval("b", 100, 2, 3)
    with pytest.raises(ModelError, match="a and b overlap at step 2"):
        check_plan([a, b], Plan((0, 64), 1000, 256))
    with pytest.raises(ModelError, match="not in the arena"):
        check_plan([a], Plan((0,), 64, 128))
    check_plan([a, Interval("c", 100, 3, 4)], Plan((0, 0), 128, 128))


def test_a_pipeline_prints_and_parses_back():
    pipeline = Pipeline("p", (FoldConstants(max_bytes=77), Canonicalize(strict=True), FoldNorm()))
    assert str(pipeline) == "fold-constants{max-bytes=77} canonicalize{strict=true} fold-norm"
    assert parse_pipeline("p", str(pipeline), (FoldConstants, Canonicalize, FoldNorm)) == pipeline
    with pytest.raises(ArgumentError, match="there is no pass 'melt'"):
        parse_pipeline("p", "melt", (FoldConstants,))
    with pytest.raises(ArgumentError, match="has no option 'x'"):
        parse_pipeline("p", "fold-constants{x=1}", (FoldConstants,))


class Wrong(Pass):
    """A pass with a bug, for the test of the check."""

    name = "wrong"

    def run(self, graph, notes):
        return graph.replace(outputs=(neg(graph.outputs[0]),))


def test_verification_names_the_pass_that_changed_a_result(tmp_path):
    graph = Graph("g", (X,), (exp(X),))
    file = tmp_path / "reproducer.txt"
    with pytest.raises(NumericsError) as caught:
        Pipeline("p", (FoldConstants(), Wrong())).run(graph, checker(run, reproducer=file))
    assert "the pass wrong changed result 0" in str(caught.value) and "in pass wrong of pipeline p" in str(caught.value)
    assert "# after" in file.read_text()


def test_a_report_says_what_was_done_and_what_was_unchanged():
    graph = Graph("g", (X,), (neg(neg(X)),))
    _, reports = Pipeline("p", (FoldConstants(), Canonicalize())).run(graph)
    assert "unchanged" in str(reports[0]) and "-(-x) = x x1" in str(reports[1])


def test_three_transposes_in_a_row_are_one() -> None:
    x = new_input("x", tensor("f32", (2, 3, 4)))
    y = x
    for perm in ((1, 2, 0), (0, 2, 1), (2, 1, 0), (1, 0, 2)):
        y = transpose(y, perm)
    (made,) = Canonicalize().run(Graph("g", (x,), (y,)), Notes()).outputs
    assert made.op.name == "transpose" and made.inputs == (x,)
    assert made.shape == y.shape


@pytest.mark.parametrize(("depth", "columns", "turned"), [(300, 400, True), (300, 80, False), (100, 400, False)])
def test_a_deep_and_wide_product_with_a_transposed_left_operand_turns_it_first(depth, columns, turned):
    a, b = value(depth, 70, name="a"), value(depth, columns, name="b")
    graph = Graph("g", (a, b), (matmul(a, b, transpose_a=True),))
    made = PackWeights().run(graph, Notes())
    assert (made.outputs[0].inputs[0].op.name == "transpose") is turned
    arrays = sample_inputs(graph)
    (got,), (wanted,) = reference.run(made, arrays), reference.run(graph, arrays)
    assert got.tobytes() == wanted.tobytes()

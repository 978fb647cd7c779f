"""What is exported comes back from its nodes alone: the same meaning for every sample, the same text where the form is
one to one. What comes back with the note that a file carries is in test_identity.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.backends.onnx.export import DEFAULT_OPSET, export_graph
from chainrule.backends.onnx.forms import ALL_FORMS
from chainrule.backends.onnx.importing import import_model
from chainrule.backends.onnx.lower import lowered
from chainrule.backends.reference.interpreter import run
from chainrule.errors import NotSupported
from chainrule.ir.dims import symbol
from chainrule.ir.graph import Graph, Value, build, get, new_input, results
from chainrule.ir.op import Op
from chainrule.ir.text import text
from chainrule.ir.types import TensorType, type_of
from chainrule.ops import ALL_OPS
from chainrule.ops.selecting import NonZero, Unique, nonzero_count, unique_count
from chainrule.ops.suppression import NonMaxSuppression
from chainrule.ops.tolerance import OTHER_FRAMEWORK, judge
from chainrule.passes.base import Notes
from chainrule.passes.canonicalize import Canonicalize
from tests.ops.sample import Sample
from tests.ops.samples import SAMPLES

# Samples of one node that come back in another form of the same meaning.
OTHER_FORM = {
    ("slice", "nothing, from the end"): "slices of nothing start at 0", ("slice", "nothing, from beyond the end"): "",
    ("flip", "negative axis"): "axes are counted from the front", ("clip", "fractions on int8"): "bounds are rounded",
    **{("clip", f"bounds beyond {kind}"): "a type's own limit is no bound" for kind in ("uint8", "int64")},
    ("full", "rounds"): "the number is rounded to its type",
    **{("unique", label): "in i64, for want of a kernel of i32" for label in ("ties", "as they first occur")},
}  # fmt: skip
# A slice that ends at a number may end at the axis's end before: what is known of symbolic sizes says no more.
FIXED_ONLY = frozenset({"slice"})

READABLE = sorted({form.op for form in ALL_FORMS if form.reads and form.writes and form.op in ALL_OPS},
                  key=lambda op: op.name)  # fmt: skip


def graph_of(sample: Sample, types: Sequence[TensorType]) -> Graph:
    inputs = [new_input(f"x{i}", t) for i, t in enumerate(types)]
    op, sizes = told(sample.op, inputs) if sample.op.tells else (sample.op, ())
    outputs = results(build(op, *inputs))
    return Graph("sample", tuple(inputs), outputs, (), tuple(f"y{i}" for i in range(len(outputs))), sizes)


def told(op: Op, inputs: Sequence[Value]) -> tuple[Op, tuple[tuple[str, Value], ...]]:
    """An op whose result is as large as the data says, with that size told by the graph as the importer names it."""
    match op:
        case NonZero():
            name, count = "nonzero", nonzero_count(*inputs)
        case Unique():
            name, count = "unique", unique_count(*inputs)
        case _:
            assert isinstance(op, NonMaxSuppression)
            name, count = "boxes", nonzero_count(get(build(op.keeping, *inputs), 0))
    return replace(op, **{op.tells: symbol(name)}), ((name, count),)  # type: ignore[arg-type]


def plain(graph: Graph) -> str:
    return text(Canonicalize(strict=True).run(graph, Notes()), places=False)


def opset_of(op: type[Op]) -> int:
    """The least opset from the default on in which the op has a form."""
    return max(DEFAULT_OPSET, *(form.since for form in ALL_FORMS if form.op is op and form.writes))


def variants(sample: Sample) -> list[Graph]:
    """The sample as a graph, and once more with the first axis of each input as a symbol, where that infers."""
    types = [type_of(x) for x in sample.inputs]
    graphs = [graph_of(sample, types)]
    if sample.op.name not in FIXED_ONLY and any(t.shape for t in types):
        try:
            graphs.append(graph_of(sample, [t.with_shape(freed(t.shape)) for t in types]))
        except cr.ChainruleError:
            return graphs
    return graphs


@pytest.mark.parametrize("op", READABLE, ids=lambda op: op.__name__)
def test_a_node_with_a_form_of_its_own_comes_back_as_it_was(op: type[Op]) -> None:
    count, opset = 0, opset_of(op)
    for sample in [s for s in SAMPLES if type(s.op) is op and (op.name, s.label) not in OTHER_FORM]:
        for graph in variants(sample):
            if not op.tells and text(lowered(graph, opset), places=False) != text(graph, places=False):
                continue  # it is written as other nodes
            back = import_model(export_graph(graph, [], opset=opset, note=False).SerializeToString()).graph
            assert (plain(back) if op.tells else text(back, places=False)) == plain(graph), sample.id
            count += 1
    assert count, "no sample of it is written as it stands"


def freed(shape: Sequence[object]) -> list:
    """The first axis as a symbol."""
    return [symbol("N") if i == 0 and d != 1 else d for i, d in enumerate(shape)]


@pytest.mark.parametrize("op", [op for op in ALL_OPS if any(type(s.op) is op for s in SAMPLES)],
                         ids=lambda op: op.__name__)  # fmt: skip
def test_every_exported_sample_means_the_same_when_read_back(op: type[Op]) -> None:
    for sample in [s for s in SAMPLES if type(s.op) is op]:
        graph = graph_of(sample, [type_of(x) for x in sample.inputs])
        try:
            model = export_graph(graph, [], check=False, note=False)
        except NotSupported:
            continue  # ONNX lacks it: the tests of the export say which
        back = import_model(model.SerializeToString()).graph
        own, precise = (run(graph, sample.inputs, precise=p) for p in (False, True))
        judged = judge(sample.op, sample.inputs, run(back, sample.inputs), factor=OTHER_FRAMEWORK, own=own,
                       precise=precise)  # fmt: skip
        assert judged, f"{sample.id}: {judged.reason}"


class Block(nn.Module):
    """Layers of most kinds."""

    def __init__(self) -> None:
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.attend = nn.Linear(8, 8)
        self.scale = nn.LayerNorm(8)

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        x = cr.silu(self.norm(self.conv(x)))
        n, c, h, w = x.shape
        rows = cr.transpose(cr.reshape(x, (n, c, h * w)), (0, 2, 1))
        weights = cr.softmax(self.attend(rows) @ cr.transpose(rows, (0, 2, 1)), -1)
        return self.scale(weights @ rows).mean(1)


SPEC = cr.spec("N", 3, "H", "W")


def test_exporting_a_loaded_model_gives_the_same_bytes() -> None:
    first = cr.export_onnx(Block(), None, SPEC).SerializeToString()
    loaded = cr.load_onnx(first)
    again = cr.export_onnx(loaded).SerializeToString()
    assert again == first
    assert text(cr.load_onnx(again).graph) == text(loaded.graph)


def test_a_loaded_model_has_the_parameters_and_state_of_the_exported_one() -> None:
    net = Block()
    loaded = cr.load_onnx(cr.export_onnx(net, None, SPEC))
    assert [n for n, _ in loaded.named_parameters()] == [n for n, _ in net.named_parameters()]
    assert dict(loaded.named_buffers()).keys() == {"norm.running_mean", "norm.running_var"}
    for name, stored in loaded.named_stored():
        assert np.array_equal(stored.data, dict(net.named_stored())[name].data)


def test_a_loaded_model_gives_the_same_numbers_at_any_size() -> None:
    net = Block()
    ours = cr.compile(net, SPEC, backend="reference")
    theirs = cr.compile(cr.load_onnx(cr.export_onnx(net, None, SPEC)), backend="reference")
    for shape in ((1, 3, 8, 8), (2, 3, 5, 9)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        assert np.allclose(ours(x), theirs(x), rtol=0, atol=1e-5 * float(np.max(np.abs(ours(x)))))


def test_a_loaded_training_step_goes_on_where_the_exported_one_stood() -> None:
    def made() -> cr.Step:
        cr.manual_seed(0)
        return cr.training_step(nn.Linear(3, 2), cr.mse_loss, cr.optim.Adam(0.1), (cr.spec("N", 3), cr.spec("N", 2)),
                                backend="reference")  # fmt: skip

    rng = np.random.default_rng(0)
    batch = tuple(rng.standard_normal((4, n)).astype(np.float32) for n in (3, 2))
    step = made()
    step(*batch)
    loaded = cr.compile(cr.load_onnx(cr.export_onnx(step)), backend="reference")
    for _ in range(3):
        assert float(loaded(*batch)) == pytest.approx(float(step(*batch)), rel=1e-6)


def test_a_loaded_model_is_trained_further_and_exported_with_its_new_weights() -> None:
    loaded = cr.load_onnx(cr.export_onnx(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), None,
                                         cr.spec("N", 3)))  # fmt: skip
    step = cr.training_step(loaded, cr.mse_loss, cr.optim.SGD(0.1), (cr.spec("B", 3), cr.spec("B", 2)),
                            backend="reference")  # fmt: skip
    before = {name: array.copy() for name, array in loaded.state_dict().items()}
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((4, n)).astype(np.float32) for n in (3, 2))
    losses = [float(step(x, y)) for _ in range(10)]
    assert losses[-1] < losses[0]
    again = cr.load_onnx(cr.export_onnx(loaded))
    for name, stored in again.named_parameters():
        assert not np.array_equal(stored.data, before[name])
        assert np.array_equal(stored.data, loaded.state_dict()[name])


def test_a_loaded_model_is_a_layer_of_another() -> None:
    inner = cr.load_onnx(cr.export_onnx(nn.Linear(3, 2), None, cr.spec("N", 3)))
    made = cr.compile(lambda x: cr.relu(inner(x * 2)), cr.spec(5, 3), backend="reference")
    assert [str(t) for t in made.output_types] == ["f32[5,2]"]
    with pytest.raises(cr.ShapeError, match=r"x: f32\[N,3\] was declared"):
        cr.compile(lambda x: inner(x), cr.spec(5, 4), backend="reference")

"""Tracing turns functions and modules into graphs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from chainrule.errors import ArgumentError, DTypeError
from chainrule.frontend import nn
from chainrule.frontend.functions import activations, random
from chainrule.frontend.functions.shape import asarray
from chainrule.frontend.tensor import Tensor
from chainrule.frontend.trace import spec, trace
from chainrule.ir.text import text
from chainrule.ir.verify import verify
from tests.frontend.agreement import assert_same, run_traced


class Net(nn.Module):
    def __init__(self) -> None:
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)

    def __call__(self, x: Tensor) -> Tensor:
        return self.drop(self.norm(activations.relu(self.first(x))))


def test_a_function_becomes_a_graph_that_verifies_and_prints() -> None:
    traced = trace(lambda x, y: x * 2 + y, (spec("N", 3), spec(3)), name="mix")
    verify(traced.graph)
    assert text(traced.graph, places=False) == "\n".join([
        "graph @mix(%x: f32[N,3], %y: f32[3]) -> f32[N,3] {",
        "  %0 = constant() data=f32[]<2.0> : f32[]",
        "  %1 = mul(%x, %0) : f32[N,3]",
        "  %2 = add(%1, %y) : f32[N,3]",
        "  return output=%2",
        "}",
    ])  # fmt: skip


def test_nodes_carry_the_users_line() -> None:
    def f(x: Tensor) -> Tensor:
        return x + 1

    node = trace(f, spec(3)).graph.outputs[0]
    assert node.loc is not None and node.loc.file == __file__
    assert node.loc.line == f.__code__.co_firstlineno + 1


def test_specs_say_sizes_types_and_names() -> None:
    assert str(spec("N", "2*H+1", 3, dtype="i8").type) == "i8[N,2*H+1,3]"
    assert str(spec((2, 3)).type) == "f32[2,3]"
    assert trace(lambda x: x, spec(2, name="image")).input_names == ("image",)
    with pytest.raises(ArgumentError, match="-1 is not a size"):
        spec(-1)
    with pytest.raises(DTypeError, match="complex64 is not an element type"):
        spec(2, dtype="complex64")


def test_specs_may_be_nested_and_by_name() -> None:
    def f(pair: tuple[Tensor, Tensor], table: dict[str, Tensor]) -> Tensor:
        return pair[0] + pair[1] + table["a"]

    traced = trace(f, ((spec(2), spec(2)), {"a": spec(2)}))
    assert traced.input_names == ("pair.0", "pair.1", "table.a")
    one = np.ones(2, np.float32)
    assert_same(run_traced(traced, (one, one), {"a": one}), 3 * one)
    by_name = trace(lambda x, scale: x * scale, {"scale": spec(), "x": spec(2)})
    assert_same(run_traced(by_name, x=one, scale=np.float32(3)), 3 * one)
    assert_same(run_traced(by_name, np.float32(3), one), 3 * one)


def test_an_array_stands_for_the_spec_of_its_type() -> None:
    assert str(trace(lambda x: x, np.zeros((2, 3), np.int8)).graph.inputs[0].type) == "i8[2,3]"


def test_results_come_back_in_the_functions_own_form() -> None:
    @dataclass
    class Out:
        total: object
        parts: object

    traced = trace(lambda x: Out(x.sum(), {"first": x[0], "both": (x, None)}), spec(2))
    assert traced.graph.output_names == ("total", "parts.first", "parts.both.0")
    found = run_traced(traced, np.array([1, 2], np.float32))
    assert isinstance(found, Out) and float(found.total) == 3 and found.parts["both"][1] is None  # type: ignore[index,arg-type]


def test_parameters_become_inputs_by_their_state_dict_paths_in_its_order() -> None:
    net = Net()
    traced = trace(net, spec("N", 3))
    names = [(value.op.name_, value.op.role) for value, _ in traced.sources]  # type: ignore[union-attr]
    trained = ["first.weight", "first.bias", "norm.weight", "norm.bias"]
    kept = ["norm.running_mean", "norm.running_var"]
    assert names == [*((name, "param") for name in trained), *((name, "state") for name in kept)]
    assert all(stored is dict(net.named_stored())[value.op.name_] for value, stored in traced.sources)  # type: ignore[union-attr]
    assert traced.graph.updates == ()


def test_a_closure_names_parameters_by_the_module_that_holds_them() -> None:
    net = Net()
    traced = trace(lambda x: net.first(x).sum(), spec(2, 3))
    assert [stored.path() for _, stored in traced.sources] == ["first.weight", "first.bias"]


def test_equal_names_of_two_modules_stay_apart() -> None:
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    traced = trace(lambda x: b(a(x)), spec(2))
    assert [v.op.name_ for v in traced.graph.inputs] == ["x", "weight", "bias", "weight_2", "bias_2"]  # type: ignore[union-attr]


def test_training_traces_draw_and_count_and_others_do_not() -> None:
    net = Net()
    training, evaluation = trace(net, spec("N", 3), training=True), trace(net, spec("N", 3))
    updated = [state.op.name_ for state, _ in training.graph.updates]  # type: ignore[union-attr]
    assert updated == ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked", "rng.key"]
    assert "dropout" in text(training.graph) and "dropout" not in text(evaluation.graph)
    net.drop.eval()
    assert "rng.key" not in text(trace(net, spec("N", 3), training=True).graph)


def test_a_buffer_reads_what_was_assigned_to_it() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            self.seen = nn.Buffer(np.zeros((), np.float32))

        def __call__(self, x: Tensor) -> Tensor:
            self.seen.assign(self.seen + x.sum())
            self.seen.assign(self.seen + 1)
            return self.seen * 2

    counter = Counter()
    traced = trace(counter, spec(2))
    assert float(run_traced(traced, np.ones(2, np.float32))) == 6
    assert float(run_traced(traced, np.ones(2, np.float32))) == 12
    assert counter.seen.data == 6


def test_draws_differ_within_a_call_and_between_calls() -> None:
    traced = trace(lambda: (random.uniform((4,)), random.uniform((4,))))
    (a, b), (c, d) = run_traced(traced), run_traced(traced)
    assert len({tuple(v.tolist()) for v in (a, b, c, d)}) == 4


def test_a_tensor_of_an_ended_trace_is_refused_at_its_use() -> None:
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x * 2)
        return x

    trace(keep, spec(2))
    with pytest.raises(ArgumentError) as caught:
        trace(lambda x: x + kept[0], spec(2), name="later")
    assert caught.value.cause == "a tensor of the trace of 'keep' is used in the trace of 'later'"
    with pytest.raises(ArgumentError, match="is used outside of any trace"):
        kept[0] + 1


@pytest.mark.parametrize(
    ("result", "cause"),
    [(3.0, "f: the result is float 3.0, not a tensor"), ("text", "f: the result is str 'text', not a tensor"),
     ((None, {"a": 1}), "f: the result at 1.a is int 1, not a tensor"),
     (np.ones(2), "f: the result is a numpy array, not a tensor"), (None, "f: the function returned None")],
    ids=repr,
)  # fmt: skip
def test_a_result_without_tensors_is_refused(result: object, cause: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        trace(lambda x: result, spec(2), name="f")
    assert caught.value.cause == cause


def test_a_constant_result_is_made_a_tensor() -> None:
    assert_same(run_traced(trace(lambda x: asarray([1.0, 2.0]), spec(2)), np.ones(2)), np.array([1, 2], np.float32))


def test_the_users_exception_passes_unchanged() -> None:
    problem = KeyError("mine")

    def f(x: Tensor) -> Tensor:
        raise problem

    with pytest.raises(KeyError) as caught:
        trace(f, spec(2))
    assert caught.value is problem


@pytest.mark.parametrize(
    ("specs", "cause"),
    [((spec(2),), "f takes 2 arguments, 1 specs were given"),
     ((spec(2),) * 3, "f takes 2 arguments, 3 specs were given"),
     ((spec(2), 5), "y: 5 is not a spec")],
    ids=["few", "many", "number"],
)  # fmt: skip
def test_specs_that_do_not_fit_the_function_are_refused(specs: Any, cause: str) -> None:
    def f(x: Tensor, y: Tensor) -> Tensor:
        return x

    with pytest.raises(ArgumentError) as caught:
        trace(f, specs)
    assert caught.value.cause == cause


@pytest.mark.parametrize(
    ("positional", "named", "cause"),
    [((1,), {}, "missing: y"), ((1, 2, 3), {}, "3 arguments were given, there are 2"),
     ((1,), {"x": 2}, "x was given twice"), ((1, 2), {"z": 2}, "z is not an argument")],
)  # fmt: skip
def test_arguments_of_a_call_are_checked(positional: tuple[Any, ...], named: dict[str, Any], cause: str) -> None:
    traced = trace(lambda x, y: x + y, (spec(2), spec(2)))
    with pytest.raises(ArgumentError) as caught:
        traced.arguments.flatten(positional, named)
    assert caught.value.cause == cause


def test_traces_in_threads_do_not_disturb_each_other() -> None:
    net = Net()
    barrier = threading.Barrier(4)
    found: list[str] = []

    def work() -> None:
        def f(x: Tensor) -> Tensor:
            barrier.wait()
            return net(x)

        for training in (True, False, True):
            found.append(text(trace(f, spec("N", 3), training=training).graph, places=False))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12 and len(set(found)) == 2


def test_a_module_that_computes_nothing_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Module: the module has no forward"):
        trace(nn.Module(), spec(2))

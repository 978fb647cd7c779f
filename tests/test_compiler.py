"""What cr.compile and cr.training_step promise to their callers."""

import copy
import itertools
import json

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.llvm.pipeline import pipeline as named_pipeline
from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.frontend import nn, optim
from chainrule.models import DigitsNet, LeNet, mlp
from chainrule.ops.tolerance import models_agree


@pytest.fixture(autouse=True)
def seeded():
    cr.manual_seed(0)


def images(n, size=8, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 1, size, size)).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("make", [DigitsNet, lambda: nn.Sequential(nn.Flatten(), mlp(64, 33, 10))])
def test_every_backend_gives_the_models_result(make, threads):
    model, x = make(), images(5)
    precise = cr.compile(model, cr.spec("N", 1, 8, 8), backend="reference")(x)
    for backend in ("llvm", "onnxruntime"):
        found = cr.compile(model, cr.spec("N", 1, 8, 8), backend=backend, threads=threads)(x)
        assert models_agree(found, precise.astype(np.float64), 2.0).ok


def test_one_program_serves_every_batch_size():
    model = LeNet()
    net = cr.compile(model, cr.spec("N", 1, 28, 28))
    whole = net(images(7, 28))
    for n in (1, 3, 7, 1):
        np.testing.assert_array_equal(net(images(7, 28)[:n]), whole[:n])
    assert net(images(0, 28)).shape == (0, 10)


def test_results_come_back_in_the_models_own_form_and_inputs_go_by_name():
    def f(a, b):
        return {"sum": a + b, "both": (a, [b * 2.0])}

    net = cr.compile(f, cr.spec("N"), cr.spec("N"))
    a, b = np.float32([1, 2]), np.float32([3, 4])
    for _ in range(2):  # the second call takes the native entry
        found = net(a, b)
        assert list(found) == ["sum", "both"] and isinstance(found["both"][1], list)
        np.testing.assert_array_equal(found["both"][1][0], b * 2)
    np.testing.assert_array_equal(net(b=b, a=a)["sum"], a + b)
    assert len(net.run({"b": b, "a": a})) == 3 and net.input_names == ("a", "b")
    assert str(net.input_types[0]) == "f32[N]" and len(net.output_types) == 3


def test_arrays_that_are_not_contiguous_and_lists_are_taken():
    net = cr.compile(lambda x: x + 1.0, cr.spec("N", 2))
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.testing.assert_array_equal(net(x[::2]), x[::2] + 1)
    np.testing.assert_array_equal(net(np.asfortranarray(x)), x + 1)
    np.testing.assert_array_equal(net([[1, 2]]), np.float32([[2, 3]]))


def test_an_output_may_be_an_input_or_a_constant():
    net = cr.compile(lambda x: (x, x, cr.zeros((2,)), x.reshape(-1)), cr.spec(2, 3))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    a, b, zero, flat = net(x)
    np.testing.assert_array_equal(a, x)
    assert a is not x and not np.shares_memory(a, b)
    np.testing.assert_array_equal(zero, np.zeros(2, np.float32))
    np.testing.assert_array_equal(flat, x.ravel())


def test_new_weights_are_used_after_a_refresh_without_compiling_again():
    model = nn.Linear(3, 2)
    net = cr.compile(model, cr.spec("N", 3))
    x = np.eye(3, dtype=np.float32)
    before = net(x)
    model.weight.data *= 2
    model.bias.data *= 2
    net.refresh()
    np.testing.assert_allclose(net(x), 2 * before, rtol=1e-6)


def test_passes_are_checked_when_asked():
    net = cr.compile(DigitsNet(), cr.spec("N", 1, 8, 8), verify=True)
    assert any(report.changed for report in net.reports)


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v2"])
def test_lower_targets_give_results_within_the_same_bound(target):
    model, x = DigitsNet(), images(3)
    expected = cr.compile(model, cr.spec("N", 1, 8, 8), backend="reference")(x)
    found = cr.compile(model, cr.spec("N", 1, 8, 8), target=target)(x)
    assert models_agree(found, expected.astype(np.float64), 2.0).ok


def test_memory_and_profile_tell_about_the_program():
    net = cr.compile(DigitsNet(), cr.spec("N", 1, 8, 8))
    memory = net.memory({"N": 4})
    assert memory["arena_bytes"] >= memory["arena_bound_bytes"] > 0
    assert memory["weight_bytes"] == sum(p.data.nbytes for p in DigitsNet().parameters())
    rows = net.profile(images(2))
    assert rows and all(row.seconds >= 0 and row.kernel and row.nbytes for row in rows)


def test_outputs_go_into_arrays_of_the_callers():
    net = cr.compile(DigitsNet(), cr.spec("N", 1, 8, 8))
    x = images(3)
    y, wanted = np.full((3, 10), np.nan, np.float32), net(x)
    for _ in range(2):  # the first call binds the sizes, the second goes straight to native code
        assert net(x, out=y) is y
        assert np.array_equal(y, wanted)
    reversed_ = np.full((10, 3), np.nan, np.float32).T  # not contiguous: copied into
    assert net(x, out=reversed_) is reversed_
    assert np.array_equal(reversed_, wanted)


def test_several_outputs_go_into_as_many_arrays():
    net = cr.compile(lambda x: {"twice": x * 2, "square": x * x}, cr.spec("N"))
    x, a, b = np.float32([1, 2, 3]), np.empty(3, np.float32), np.empty(3, np.float32)
    found = net(x, out=(a, b))
    assert found["twice"] is a and found["square"] is b
    assert a.tolist() == [2, 4, 6] and b.tolist() == [1, 4, 9]


def test_an_output_may_be_the_input_itself():
    net = cr.compile(lambda x: cr.sum(x) - x, cr.spec("N"))
    x = np.float32([1, 2, 3])
    net(np.zeros(3, np.float32))
    assert net(x, out=x) is x
    assert x.tolist() == [5, 4, 3]


@pytest.mark.parametrize(("out", "kind", "what"), [
    (np.empty((2, 10), np.float64), DTypeError, "f32, the array is of float64"),
    (np.empty((3, 10), np.float32), ShapeError, r"\[2, 10\], the array \[3, 10\]"),
    ([np.empty((2, 10), np.float32)] * 2, ArgumentError, "2 arrays were given, there are 1 outputs"),
    ("y", ArgumentError, "needs a numpy array"),
    (np.broadcast_to(np.float32(0), (2, 10)), ArgumentError, "that can be written"),
])  # fmt: skip
def test_arrays_that_cannot_take_the_outputs_are_refused(out, kind, what):
    net = cr.compile(DigitsNet(), cr.spec("N", 1, 8, 8))
    with pytest.raises(kind, match=what):
        net(images(2), out=out)


def test_a_profile_prints_and_becomes_json_a_trace_and_a_picture(tmp_path):
    net = cr.compile(DigitsNet(), cr.spec("N", 1, 8, 8), threads=1)
    found = net.profile(images(2))
    assert all(found.limit(row) > 0 for row in found)
    assert found.seconds == pytest.approx(sum(row.seconds for row in found))
    table = str(found)
    assert len(table.splitlines()) == len(found) + 2 and "GFLOP/s" in table
    events = json.loads(found.chrome_trace(tmp_path / "trace.json").read_text())["traceEvents"]
    assert [e["name"] for e in events] == [row.kernel for row in found]
    assert all(a["ts"] + a["dur"] == pytest.approx(b["ts"]) for a, b in itertools.pairwise(events))
    picture = found.roofline(tmp_path / "roof.svg").read_text()
    assert picture.count("<circle") == 2 * len([row for row in found if row.flops])


def make_step(model, optimizer=None, **options):
    specs = (cr.spec("N", 1, 8, 8), cr.spec("N", dtype="i64"))
    chosen = optimizer or optim.Adam(3e-3)
    return cr.training_step(model, cr.cross_entropy, chosen, specs, metrics=("accuracy",), seed=1, **options)


def batch(n=16, seed=0):
    return images(n, seed=seed), np.random.default_rng(seed).integers(0, 10, n)


@pytest.mark.parametrize("backend", ["llvm", "onnxruntime"])
def test_a_training_step_follows_the_reference(backend):
    # Not Adam: it divides a gradient by its own size, and so makes the rounding of one near 0 as large as a step.
    model, optimizer = DigitsNet(), optim.SGD(0.05, momentum=0.9, nesterov=True)
    ours = make_step(copy.deepcopy(model), optimizer, backend=backend)
    theirs = make_step(copy.deepcopy(model), optimizer, backend="reference")
    for i in range(3):
        a, b = ours(*batch(seed=i)), theirs(*batch(seed=i))
        np.testing.assert_allclose(float(a), float(b), rtol=1e-5)
        assert a.metrics == b.metrics
    for name, array in theirs.state.items():
        np.testing.assert_allclose(ours.state[name], array, rtol=1e-4, atol=1e-6, err_msg=name)


def test_training_changes_the_model_itself_and_gives_the_same_bits_for_any_number_of_threads():
    weights = []
    for threads in (1, 2, 3):
        cr.manual_seed(0)
        model = DigitsNet()
        step = make_step(model, threads=threads)
        losses = [float(step(*batch(40, i))) for i in range(4)]
        assert losses[-1] != losses[0]
        weights.append((losses, model.conv2.weight.data.tobytes(), model.fc1.bias.data.tobytes()))
    assert weights[0] == weights[1] == weights[2]


def test_evaluation_uses_the_weights_of_the_moment_and_changes_nothing():
    model = DigitsNet()
    step = make_step(model)
    first = step.eval(*batch())
    assert float(step.eval(*batch())) == float(first)
    kept = model.fc1.weight.data.copy()
    step.eval(*batch())
    np.testing.assert_array_equal(model.fc1.weight.data, kept)
    step(*batch())
    assert float(step.eval(*batch())) != float(first)


def test_steps_on_batches_of_changing_size_share_their_state():
    step = make_step(DigitsNet())
    for n in (16, 5, 16, 1):
        step(*batch(n))
    assert int(step.state["step"]) == 4


def test_batch_norm_counts_in_training_and_folds_in_evaluation():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
            self.head = nn.Linear(4 * 36, 10)

        def __call__(self, x):
            return self.head(cr.flatten(cr.relu(self.norm(self.conv(x))), 1))

    model = Net()
    step = make_step(model)
    step(*batch())
    assert int(model.norm.num_batches_tracked.data) == 1 and model.norm.running_mean.data.any()
    net = cr.compile(model, cr.spec("N", 1, 8, 8), verify=True)
    expected = cr.compile(model, cr.spec("N", 1, 8, 8), backend="reference")(batch()[0])
    assert models_agree(net(batch()[0]), expected.astype(np.float64), 2.0).ok


@pytest.mark.parametrize("options", [
    {"accumulate": 2}, {"ema": 0.9}, {"loss_scale": 128.0}, {"nonfinite": "skip"}, {"clip_norm": 0.1},
])  # fmt: skip
def test_the_options_of_a_step_mean_the_same_natively(options):
    model, optimizer = DigitsNet(), optim.SGD(0.05)
    ours = make_step(copy.deepcopy(model), optimizer, **options)
    theirs = make_step(copy.deepcopy(model), optimizer, backend="reference", **options)
    for i in range(3):
        np.testing.assert_allclose(float(ours(*batch(seed=i))), float(theirs(*batch(seed=i))), rtol=1e-5)
    for name, array in theirs.state.items():
        np.testing.assert_allclose(ours.state[name], array, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_step_may_raise_for_gradients_that_are_not_finite_and_keep_its_weights():
    step = make_step(DigitsNet(), optim.Adam(0.01), nonfinite="raise")
    x, y = batch()
    step(x, y)
    kept = {name: array.copy() for name, array in step.state.items()}
    x[0, 0, 0, 0] = np.nan
    for _ in range(2):  # by Python, then by the native entry
        with pytest.raises(cr.NumericsError, match="no weight was changed"):
            step(x, y)
    for name, array in step.state.items():
        np.testing.assert_array_equal(array, kept[name], err_msg=name)


def test_the_large_state_of_a_step_is_updated_in_place():
    for optimizer in (optim.SGD(0.1), optim.SGD(0.1, momentum=0.9), optim.Adam(), optim.AdamW(), optim.RMSprop()):
        for options in ({}, {"clip_norm": 1.0}, {"ema": 0.99}, {"accumulate": 2}, {"nonfinite": "skip"}):
            program = make_step(DigitsNet(), optimizer, **options).program.main.program
            copied = [program.storages[copy.target].type for copy in program.copies]
            assert all(type.rank == 0 for type in copied), (optimizer, options, copied)


@pytest.mark.parametrize("pipeline", ["default", "strict", "plain"])
def test_every_pipeline_means_the_same_and_prints_its_passes(pipeline):
    model, x = DigitsNet(), images(3)
    net = cr.compile(model, cr.spec("N", 1, 8, 8), pipeline=pipeline, verify=True)
    expected = cr.compile(model, cr.spec("N", 1, 8, 8), backend="reference")(x)
    assert models_agree(net(x), expected.astype(np.float64), 2.0).ok
    assert [r.name for r in net.reports] == str(net.program.passes).split()
    assert ("fuse" in str(net.program.passes)) == (pipeline != "plain")


def test_strict_precision_is_the_strict_pipeline_and_others_are_named():
    net = cr.compile(DigitsNet(), cr.spec(1, 1, 8, 8), precision="strict")
    assert str(net.program.passes) == str(named_pipeline(net.program.target, "strict"))
    with pytest.raises(cr.ArgumentError, match="there is no precision 'exact'"):
        cr.compile(lambda x: x, cr.spec(1), precision="exact")


def test_an_unknown_pipeline_is_named_with_the_known_ones():
    with pytest.raises(cr.ArgumentError, match="there is no pipeline 'fast'"):
        cr.compile(lambda x: x, cr.spec(1), pipeline="fast")

"""Weight gradients by Winograd's tiles: chosen where they pay, near direct sums, the same for any number of threads."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.backends.llvm.target import named_target
from chainrule.ir.graph import build, new_input
from chainrule.ir.types import tensor
from chainrule.ops.conv import ConvWeightGrad
from chainrule.ops.tolerance import MODEL_RTOL, judge
from chainrule.passes.choose_conv import choose_weight_gradient
from tests.llvm.compiled import between_guards, complaints, executable, graph_of
from tests.ops.samples_lowered_winograd import SAMPLES, grad

OWN = [sample for sample in SAMPLES if sample.op.name == "winograd_weight_grad"]


def gradient(batch, ins, outs, size, kernel=3, stride=1, groups=1, dtype="f32"):
    op = ConvWeightGrad((kernel,) * 2, (stride,) * 2, (kernel // 2,) * 4, (1, 1), groups)
    x = new_input("x", tensor(dtype, (batch, ins, size * stride, size * stride)))
    return build(op, x, new_input("dy", tensor(dtype, (batch, outs, size, size)))), op


def test_tiles_are_chosen_for_sizes_that_they_cover_and_pay_for():
    for arguments, way, why in (
        ({"batch": 32, "ins": 64, "outs": 64, "size": 32}, "winograd", "F(4x4, 3x3)"),
        ({"batch": "N", "ins": 64, "outs": 64, "size": 32}, "winograd", "F(4x4, 3x3)"),
        ({"batch": 32, "ins": 64, "outs": 64, "size": 14}, "winograd", "F(2x2, 3x3)"),
        ({"batch": 32, "ins": 64, "outs": 64, "size": 7}, "panels", "do not cover"),
        ({"batch": 32, "ins": 3, "outs": 64, "size": 32}, "panels", "channels"),
        ({"batch": 32, "ins": 64, "outs": 64, "size": 32, "stride": 2}, "panels", "stride"),
        ({"batch": 32, "ins": 64, "outs": 64, "size": 32, "groups": 4}, "panels", "groups"),
        ({"batch": 32, "ins": 64, "outs": 64, "size": 32, "kernel": 5}, "panels", "direct sums"),
        ({"batch": 32, "ins": 64, "outs": 64, "size": 32, "dtype": "f64"}, "panels", "direct sums"),
        ({"batch": 1, "ins": 512, "outs": 512, "size": 4}, "panels", "too little gained"),
        ({"batch": 0, "ins": 64, "outs": 64, "size": 32}, "panels", "nothing to do"),
        ({"batch": 1, "ins": 16, "outs": 16, "size": 4}, "panels", "too little gained"),
    ):  # fmt: skip
        choice = choose_weight_gradient(*gradient(**arguments))
        assert choice.way == way and why in choice.why, (arguments, choice)
    node, op = gradient(32, 64, 64, 32)
    assert choose_weight_gradient(node, op, "never").way == "panels"


@pytest.mark.parametrize("options", [{"threads": 2}, {"target": named_target("x86-64-v3")}])
def test_threads_and_an_older_target_do_as_well(options):
    assert complaints(OWN[:2], **options) == []


@pytest.mark.parametrize("target", [None, named_target("x86-64-v3")], ids=["host", "v3"])
@pytest.mark.parametrize("ins, outs, size", [(144, 256, 4), (208, 192, 8), (592, 64, 4)])
def test_blocks_that_go_all_the_way_stay_between_guard_pages_and_have_the_bits_of_any_number_of_threads(
    ins, outs, size, target
):
    sample = grad((4, 4), 1, (size, size), ins, outs, batch=2)
    graph = graph_of([sample])
    (y,) = between_guards(graph, list(sample.inputs), target=target)
    assert judge(sample.op, sample.inputs, y)
    made = [executable(graph, threads=n, target=target) for n in (1, 2, 3)]
    assert any("and back" in step.why for step in made[0].steps)
    for program in made:
        np.testing.assert_array_equal(program.run(list(sample.inputs))[0], y)


def test_of_many_tiles_and_many_channels_the_matrices_are_kept():
    sample = grad((4, 4), 1, (68, 68), 144, 256)
    assert complaints([sample], verified=False) == []


def trained(pipeline, threads=1):
    cr.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 16, 3, padding=1), nn.Flatten(),
                          nn.Linear(16 * 64, 4))  # fmt: skip
    specs = (cr.spec("N", 16, 8, 8), cr.spec("N", dtype="i64"))
    step = cr.training_step(model, cr.cross_entropy, optim.SGD(0.5), specs, pipeline=pipeline, threads=threads)
    rng = np.random.default_rng(0)
    step(rng.standard_normal((24, 16, 8, 8)).astype(np.float32), rng.integers(0, 4, 24))
    names = {item.code.name for item in step.program.steps}
    return model.state_dict(), any(name.startswith("winograd_grad") for name in names)


def test_a_step_by_tiles_is_near_one_by_direct_sums_and_has_the_same_bits_for_any_number_of_threads():
    tiles, by_tiles = trained("default")
    direct, also = trained("strict")
    assert by_tiles and not also
    for name, array in direct.items():
        np.testing.assert_allclose(tiles[name], array, rtol=0, atol=MODEL_RTOL * float(np.abs(array).max()))
    for name, array in trained("default", threads=3)[0].items():
        np.testing.assert_array_equal(array, tiles[name])

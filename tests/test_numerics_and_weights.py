"""Numbers that stop being finite are found at their line; products may be narrow; new weights need no new program."""

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, DTypeError, NumericsError, ShapeError
from chainrule.ir.types import bf16
from chainrule.models import DigitsNet
from chainrule.ops.tolerance import UNIT

SPECS = (cr.spec("N", 1, 8, 8), cr.spec("N", dtype="i64"))


@pytest.fixture(autouse=True)
def seeded():
    cr.manual_seed(0)


def batch(n=16, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 1, 8, 8)).astype(np.float32), rng.integers(0, 10, n)


def logs(x):
    return cr.log(cr.exp(x) - 1.0).sum()


@pytest.mark.parametrize("backend", ["llvm", "reference"])
def test_the_first_op_that_overflows_is_named_with_its_line(backend):
    net = cr.compile(logs, cr.spec(4), check_numerics=True, backend=backend)
    assert np.isfinite(net(np.float32([1, 2, 3, 4])))
    for bad, op in ((0.0, "log"), (200.0, "exp")):
        with pytest.raises(NumericsError) as caught:
            net(np.float32([1, 2, bad, 4]))
        assert caught.value.cause == f"{op}: 1 of its elements are NaN or infinite"
        assert caught.value.loc is not None and caught.value.loc.file.endswith("test_numerics_and_weights.py")
    with pytest.raises(NumericsError, match="input x: 1 of its elements"):
        net(np.float32([1, 2, np.nan, 4]))


def test_infinities_of_constants_are_no_fault():
    def masked(x):
        return cr.softmax(cr.where(x > 0, x, -np.inf), -1)

    x = np.float32([1, -1, 2])
    np.testing.assert_array_equal(
        cr.compile(masked, cr.spec(3), check_numerics=True)(x), cr.compile(masked, cr.spec(3), pipeline="plain")(x)
    )


def test_a_step_names_what_goes_wrong_only_in_the_backward_pass_and_keeps_its_state():
    model = nn.Linear(3, 2)
    model.weight.data[...] = 0

    def loss(out, y):
        return cr.sqrt(cr.abs(out - y)).sum()  # finite at 0, its slope is not

    step = cr.training_step(model, loss, optim.SGD(0.1, momentum=0.9), (cr.spec("N", 3), cr.spec("N", 2)),
                            check_numerics=True)  # fmt: skip
    x = np.ones((4, 3), np.float32)
    y = np.broadcast_to(model.bias.data, (4, 2)).copy()
    before = {name: array.copy() for name, array in step.state.items()}
    with pytest.raises(NumericsError, match="in the gradients or the update") as caught:
        step(x, y)
    assert "cr.sqrt" in str(caught.value)
    for name, array in step.state.items():
        np.testing.assert_array_equal(array, before[name])
    assert np.isfinite(step(x, y + 1))


def test_watching_changes_no_result():
    plain, watched = DigitsNet(), None
    watched = copy.deepcopy(plain)
    steps = [cr.training_step(m, cr.cross_entropy, optim.Adam(1e-3), SPECS, seed=0, check_numerics=c)
             for m, c in ((plain, False), (watched, True))]  # fmt: skip
    for i in range(3):
        a, b = (float(step(*batch(seed=i))) for step in steps)
        assert a == pytest.approx(b, rel=1e-5)


def test_narrow_products_train_with_wide_weights_and_stay_near():
    losses = {}
    for mixed in (None, "bf16"):
        cr.manual_seed(0)
        model = DigitsNet()
        step = cr.training_step(model, cr.cross_entropy, optim.SGD(0.05), SPECS, mixed=mixed, seed=0)
        assert all(array.dtype != bf16.numpy for array in step.state.values())
        losses[mixed] = [float(step(*batch())) for _ in range(5)]
        casts = [node for node in step.graph.nodes if node.op.name == "cast" and node.dtype == bf16]
        assert bool(casts) == (mixed is not None)
        products = [node for node in step.graph.nodes if node.op.name in ("conv", "matmul", "conv_weight_grad")]
        assert {node.dtype.name for node in products} == {"f32" if mixed is None else "bf16"}
    np.testing.assert_allclose(losses["bf16"], losses[None], rtol=16 * UNIT[bf16])
    assert losses["bf16"] != losses[None]


def test_narrow_products_also_run_forward_only():
    model, x = DigitsNet(), batch()[0]
    wide, narrow = cr.compile(model, SPECS[0])(x), cr.compile(model, SPECS[0], mixed="bf16")(x)
    np.testing.assert_allclose(narrow, wide, atol=16 * UNIT[bf16] * float(np.abs(wide).max()))
    assert not np.array_equal(narrow, wide)
    with pytest.raises(ArgumentError, match="mixed is 'f8'"):
        cr.compile(model, SPECS[0], mixed="f8")


def test_a_program_takes_new_weights_by_name_without_compiling_again(tmp_path):
    model, other = DigitsNet(), DigitsNet()
    net, x = cr.compile(model, SPECS[0]), batch()[0]
    expected = cr.compile(other, SPECS[0])(x)
    net(x)
    net.load_weights(other.state_dict())
    np.testing.assert_array_equal(net(x), expected)
    step = cr.training_step(other, cr.cross_entropy, optim.SGD(0.1), SPECS)
    step(*batch())
    cr.save(step, tmp_path / "step.safetensors")
    net.load_weights(cr.load(tmp_path / "step.safetensors"))
    np.testing.assert_array_equal(net(x), cr.compile(other, SPECS[0])(x))


def test_weights_that_do_not_fit_are_named_and_change_nothing():
    model = DigitsNet()
    net, before = cr.compile(model, SPECS[0]), model.state_dict()
    good = {name: array + 1 for name, array in before.items()}
    first = next(iter(good))
    for change, kind, what in (
        ({first + "s": good[first]}, ArgumentError, f"did you mean {first}"),
        ({first: good[first][..., None]}, ShapeError, first),
        ({first: good[first].astype(np.int32)}, DTypeError, first),
    ):
        with pytest.raises(kind, match=what):
            net.load_weights({k: v for k, v in good.items() if k != first} | change)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    net.load_weights({first: good[first]}, strict=False)
    np.testing.assert_array_equal(model.state_dict()[first], good[first])

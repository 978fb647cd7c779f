"""Losses and decoding of sequences against sums over all paths, and against PyTorch where it is installed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import NotSupported, ShapeError
from tests.frontend.agreement import assert_same, normal

Array = np.ndarray[Any, Any]


def log_softmax(x: Array) -> Array:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def read(path: tuple[int, ...], blank: int) -> list[int]:
    """What a path reads: runs of one class are one label, blanks are none."""
    return [k for k, _ in itertools.groupby(path) if k != blank]


def summed_over_paths(logs: Array, labels: list[int], blank: int) -> float:
    paths = itertools.product(range(logs.shape[1]), repeat=len(logs))
    total = sum(np.exp(sum(logs[t, k] for t, k in enumerate(path))) for path in paths if read(path, blank) == labels)
    return float(-np.log(total)) if total else np.inf


@pytest.mark.parametrize("backend", ["reference", "llvm"])
def test_ctc_is_the_sum_over_all_paths(backend: str) -> None:
    logs = log_softmax(normal(4, 3, 3))
    targets, steps, labels = np.array([[1, 2], [1, 1], [2, 0]]), np.array([4, 3, 2]), np.array([2, 2, 1])
    loss = cr.compile(lambda x, y, t, s: cr.ctc_loss(x, y, t, s, reduction="none"), cr.spec("T", "N", 3, dtype="f64"),
                      cr.spec("N", "S", dtype="i64"), cr.spec("N", dtype="i64"), cr.spec("N", dtype="i64"),
                      backend=backend)  # fmt: skip
    wanted = [summed_over_paths(logs[:t, n], list(targets[n, :s]), 0) for n, (t, s) in enumerate(zip(steps, labels))]
    assert_same(loss(logs, targets, steps, labels), np.array(wanted))


def test_labels_that_do_not_fit_are_infinite_or_zero_and_change_no_gradient() -> None:
    logs, targets = log_softmax(normal(3, 2, 3)), np.array([[1, 1], [1, 2]])

    def loss(x: Any, zero: bool) -> Any:
        return cr.ctc_loss(x, targets, (2, 3), (2, 2), reduction="sum", zero_infinity=zero)

    assert loss(logs, False) == np.inf
    assert_same(loss(logs, True), summed_over_paths(logs[:, 1], [1, 2], 0))
    grad = cr.compile(cr.grad(lambda x: loss(x, True)), cr.spec(3, 2, 3, dtype="f64"), backend="reference")(logs)
    assert not grad[:, 0].any() and grad[:, 1].any()


def test_one_sequence_alone_and_targets_one_after_another() -> None:
    logs = log_softmax(normal(4, 3))
    alone = nn.CTCLoss()(logs, np.array([1, 2]), np.array(4), np.array(2))
    assert_same(alone, summed_over_paths(logs, [1, 2], 0) / 2)
    with pytest.raises(NotSupported, match="targets one after another are not built"):
        cr.ctc_loss(log_softmax(normal(4, 2, 3)), np.array([1, 2, 1]), [4, 4], [2, 1])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_pytorch_gives_the_same_ctc_loss_and_gradient(reduction: str) -> None:
    torch = pytest.importorskip("torch")
    x, targets = normal(12, 4, 6), np.random.default_rng(0).integers(1, 6, (4, 5))
    steps, labels = np.array([12, 9, 3, 12]), np.array([5, 3, 5, 0])
    ours = cr.compile(cr.value_and_grad(lambda v: cr.sum(cr.ctc_loss(
        cr.log_softmax(v, -1), targets, steps, labels, reduction=reduction, zero_infinity=True))),
        cr.spec(12, 4, 6, dtype="f64"), backend="reference")  # fmt: skip
    value = torch.from_numpy(x).requires_grad_()
    loss = torch.nn.functional.ctc_loss(
        value.log_softmax(-1), torch.from_numpy(targets), torch.from_numpy(steps), torch.from_numpy(labels),
        reduction=reduction, zero_infinity=True).sum()  # fmt: skip
    loss.backward()
    found, grad = ours(x)
    assert_same(found, loss.detach().numpy())
    assert_same(grad, value.grad.numpy())


def paths_of(crf: nn.Module, scores: Array) -> dict[tuple[int, ...], float]:
    """The score of every path of one row [T, C]."""
    state = crf.state_dict()
    start, end, moves = (state[name] for name in ("start_transitions", "end_transitions", "transitions"))
    found = {}
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        moved = sum(moves[a, b] for a, b in itertools.pairwise(path))
        found[path] = start[path[0]] + end[path[-1]] + moved + sum(scores[t, k] for t, k in enumerate(path))
    return found


@pytest.mark.parametrize("lengths", [None, [4, 1, 3]])
def test_a_random_field_weighs_all_paths_and_finds_the_best(lengths: list[int] | None) -> None:
    crf = nn.CRF(3, dtype="f64")
    crf.transitions.load(normal(3, 3, seed=5))
    scores, tags = normal(4, 3, 3, seed=1), np.random.default_rng(2).integers(0, 3, (4, 3))
    given = None if lengths is None else np.array(lengths)
    found, best = crf(scores, tags, given, reduction="none"), crf.decode(scores, given)
    for n, length in enumerate(lengths or [4] * 3):
        every = paths_of(crf, scores[:length, n])
        total = np.log(sum(np.exp(s) for s in every.values()))
        assert_same(found[n], every[tuple(tags[:length, n])] - total)
        assert tuple(best[:length, n]) == max(every, key=every.__getitem__)
        assert not best[length:, n].any()


def test_a_mask_is_not_taken_for_the_lengths_of_a_random_field() -> None:
    crf, mask = nn.CRF(3), np.ones((4, 2), bool)
    with pytest.raises(ShapeError, match=r"lengths are bool\[4,2\]"):
        crf(normal(4, 2, 3), np.zeros((4, 2), np.int64), mask)
    with pytest.raises(ShapeError, match=r"lengths are i64\[3\]"):
        crf.decode(normal(4, 2, 3), np.array([1, 2, 3]))


class Tagger(nn.Module):
    """Scores as they are given, and a random field over them."""

    def __init__(self) -> None:
        self.crf = nn.CRF(2)

    def __call__(self, scores: cr.Tensor) -> cr.Tensor:
        return scores


def test_a_random_field_learns_transitions() -> None:
    model = Tagger()
    crf = model.crf
    tags = np.tile(np.array([[0], [1]]), (3, 4))
    step = cr.training_step(model, lambda scores, wanted: -crf(scores, wanted), cr.optim.Adam(0.2),
                            (cr.spec("T", "N", 2), cr.spec("T", "N", dtype="i64")))  # fmt: skip
    scores = np.zeros((6, 4, 2), np.float32)
    losses = [float(step(scores, tags)) for _ in range(40)]
    assert losses[-1] < 0.1 * losses[0]
    assert np.array_equal(crf.decode(scores), tags)


def test_tags_of_another_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"emissions are \[T, N, C\], tags \[T, N\]|tags are i64\[4\]"):
        nn.CRF(3)(normal(4, 2, 3), np.zeros(4, np.int64))

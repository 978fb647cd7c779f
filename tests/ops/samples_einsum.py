"""Samples of ops/einsum.py."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError, DTypeError, ShapeError
from chainrule.ir.types import tensor
from chainrule.ops.einsum import Einsum
from tests.ops.sample import BadSample, Sample, integers, normal
from tests.ops.samples_elementwise import half

NAN, INF = np.float32(np.nan), np.float32(np.inf)

# equation, shapes of the operands
CALLS: list[tuple[str, tuple[tuple[int, ...], ...]]] = [
    ("ij,jk->ik", ((2, 3), (3, 4))),
    ("ij,jk", ((2, 3), (3, 4))),
    ("ba,cb", ((2, 3), (4, 2))),
    ("ij,jk->ki", ((2, 3), (3, 4))),
    ("ij,kj->ik", ((2, 3), (4, 3))),
    ("ji,jk->ik", ((3, 2), (3, 4))),
    ("ji,kj->ik", ((3, 2), (4, 3))),
    ("bhqd,bhkd->bhqk", ((2, 2, 3, 4), (2, 2, 2, 4))),
    ("bhqk,bkhd->bqhd", ((2, 2, 3, 4), (2, 4, 2, 3))),
    ("bhqd,hbkd->qbkh", ((2, 3, 3, 2), (3, 2, 2, 2))),
    ("ijkl,lkm->jim", ((2, 3, 2, 3), (3, 2, 4))),
    ("ijkl,klm->ijm", ((2, 3, 2, 3), (2, 3, 4))),
    ("i,i->", ((5,), (5,))),
    ("i,i->i", ((5,), (5,))),
    ("i,j->ij", ((3,), (4,))),
    ("i,j->ji", ((3,), (4,))),
    ("i,j->", ((3,), (4,))),
    (",->", ((), ())),
    (",ij->ij", ((), (2, 3))),
    ("->", ((),)),
    ("ij->ji", ((2, 3),)),
    ("ba", ((2, 3),)),
    ("ij->j", ((2, 3),)),
    ("ij->", ((2, 3),)),
    ("ijk->kij", ((2, 3, 4),)),
    ("ii->i", ((3, 3),)),
    ("ii", ((3, 3),)),
    ("iij->ji", ((3, 3, 2),)),
    ("iijj->", ((2, 2, 3, 3),)),
    ("iii->i", ((3, 3, 3),)),
    ("jii,ik->jk", ((2, 3, 3), (3, 2))),
    ("ij,ij,ij->i", ((2, 3), (2, 3), (2, 3))),
    ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 2))),
    ("ij,kl,jk->il", ((2, 3), (4, 2), (3, 4))),
    ("i,ij,j->", ((2,), (2, 3), (3,))),
    ("bn,anm,bm->ba", ((2, 3), (2, 3, 4), (2, 4))),
    ("ij,kl->i", ((2, 3), (4, 2))),
    ("ij,ik->jk", ((3, 2), (3, 4))),
    ("...ij,...jk->...ik", ((2, 3, 2, 4), (3, 4, 2))),
    ("...ij,jk", ((2, 2, 3), (3, 4))),
    ("i...,i...->...", ((3, 2, 2), (3, 2))),
    ("...->...", ((2, 3),)),
    ("...i->...", ((2, 3, 4),)),
    ("i...j->j...i", ((2, 3, 4),)),
    ("...,...->...", ((2, 1), (3,))),
    ("...i,...i", ((3, 1, 4), (2, 4))),
    ("ij,jk->ik", ((2, 1), (3, 4))),
    ("ij,ij->ij", ((1, 3), (2, 3))),
    ("ij,jk->ijk", ((2, 1), (1, 4))),
    ("ij,jk->ik", ((2, 0), (0, 3))),
    ("bij,bjk->bik", ((0, 2, 3), (0, 3, 2))),
    ("ij->i", ((2, 0),)),
    ("aB,Bc->ac", ((2, 3), (3, 2))),
]


def _calls() -> list[Sample]:
    found: list[Sample] = []
    for equation, shapes in CALLS:
        arrays = tuple(np.asarray(normal(*shape, seed=i)) for i, shape in enumerate(shapes))
        found.append(Sample(Einsum(equation), arrays, equation + " " + " ".join(map(str, map(list, shapes)))))
    return found


PAIR = Einsum("ij,jk->ik")
SAMPLES: list[Sample] = [
    *_calls(),
    Sample(PAIR, (normal(2, 3, dtype="float64"), normal(3, 2, dtype="float64")), "f64"),
    Sample(PAIR, (normal(2, 30, dtype="float16"), normal(30, 2, dtype="float16")), "f16"),
    Sample(Einsum("ij,ij,ij->i"), (half(normal(2, 9)), half(normal(2, 9, seed=1)), half(normal(2, 9, seed=2))), "bf16"),
    Sample(PAIR, (integers(-9, 9, 2, 3), integers(-9, 9, 3, 2)), "int64"),
    Sample(Einsum("ij,ij->"), (np.full((2, 2), 2**30, np.int32), np.full((2, 2), 3, np.int32)), "int32 wraps"),
    Sample(Einsum("ii->"), (integers(0, 9, 3, 3, dtype="uint32"),), "uint32"),
    Sample(PAIR, (np.array([[NAN, 1], [INF, 0]], np.float32), np.array([[0, 1], [INF, 1]], np.float32)),
           "NaN and infinities", grad=()),
]  # fmt: skip

A, B = tensor("f32", (2, 3)), tensor("f32", (3, 4))

BAD: list[BadSample] = [
    BadSample(PAIR, (A,), ArgumentError, "has 2 terms, 1 operands"),
    BadSample(PAIR, (A, A), ShapeError, "'j' has the sizes 3 and 2"),
    BadSample(PAIR, (A, tensor("f32", (3,))), ArgumentError, "'jk' names 2 axes, its operand has 1"),
    BadSample(Einsum("i,jk->ik"), (A, B), ArgumentError, "'i' names 1 axes"),
    BadSample(Einsum("ij,jk->iz"), (A, B), ArgumentError, "'z' of the result is in no operand"),
    BadSample(Einsum("ij,jk->ii"), (A, B), ArgumentError, "occurs twice"),
    BadSample(Einsum("ij,jk->i->k"), (A, B), ArgumentError, "not made of letters"),
    BadSample(Einsum("i1,1k->ik"), (A, B), ArgumentError, "not made of letters"),
    BadSample(Einsum("i......,jk->ik"), (A, B), ArgumentError, "one ellipsis"),
    BadSample(Einsum("...i..j,jk->ik"), (A, B), ArgumentError, "one ellipsis"),
    BadSample(Einsum("...j->j"), (A,), ArgumentError, "put ... into the result"),
    BadSample(Einsum("ii->i"), (A,), ShapeError, "the diagonal 'i' runs over axes of sizes 2 and 3"),
    BadSample(Einsum("...i,...i->..."), (tensor("f32", (2, 4)), tensor("f32", (3, 4))), ShapeError, "the ellipsis"),
    BadSample(PAIR, (A, tensor("f64", (3, 4))), DTypeError, "differ"),
    BadSample(PAIR, (tensor("i8", (2, 3)), tensor("i8", (3, 4))), DTypeError, "i8"),
]

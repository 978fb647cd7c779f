"""Convolutions as products over patches mean what the ops mean, for every sample of the registry."""

import numpy as np
import pytest

from chainrule.backends import reference
from chainrule.ir.graph import Graph, build, new_input
from chainrule.ir.types import type_of
from chainrule.ops.conv import Conv, ConvTranspose, ConvWeightGrad
from chainrule.ops.tolerance import judge
from chainrule.passes.base import Notes
from chainrule.passes.lower_conv import LowerConv
from tests.ops.samples import SAMPLES

CONVOLUTIONS = [s for s in SAMPLES if isinstance(s.op, Conv | ConvTranspose | ConvWeightGrad)]


@pytest.mark.parametrize("sample", CONVOLUTIONS, ids=lambda s: s.id)
def test_a_lowered_convolution_is_within_its_class(sample):
    inputs = tuple(new_input(f"x{i}", type_of(np.asarray(x))) for i, x in enumerate(sample.inputs))
    graph = Graph("conv", inputs, (build(sample.op, *inputs),))
    lowered = LowerConv().run(graph, Notes())
    assert not any(isinstance(n.op, Conv | ConvTranspose | ConvWeightGrad) for n in lowered.nodes)
    (found,) = reference.run(lowered, sample.inputs)
    verdict = judge(sample.op, sample.inputs, found)
    assert verdict.ok, verdict

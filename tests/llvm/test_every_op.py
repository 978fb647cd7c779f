"""Every op of the registry compiles, by a kernel or its decomposition, and every sample is within the op's class.

The tests of the families go deeper: symbolic sizes, proved kernels, guard pages, threads and lower targets.
"""

import pytest

from chainrule.ops import ALL_OPS
from chainrule.ops.basic import Fuse
from tests.llvm.compiled import complaints
from tests.ops.samples import SAMPLES

BY_OP = {op: [s for s in SAMPLES if type(s.op) is op] for op in ALL_OPS}


@pytest.mark.parametrize(
    "op", [op for op, samples in BY_OP.items() if samples and op is not Fuse], ids=lambda op: op.name
)
def test_every_sample_of_an_op_compiles_to_its_meaning(op):
    assert not complaints(BY_OP[op], verified=False)

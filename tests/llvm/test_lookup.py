"""Single elements of a table, looked up by vectors: in bounds, out of bounds, in an empty table, of any number."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleError

TABLE = np.arange(100, 107)


@pytest.mark.parametrize("dtype", ["f32", "i64"])
@pytest.mark.parametrize("spec", ["N", 15, 33])
def test_elements_are_those_of_the_table(dtype: str, spec: str | int) -> None:
    look_up = cr.compile(lambda t, i: cr.take(t, i, axis=0), cr.spec("M", dtype=dtype), cr.spec(spec, dtype="i64"))
    table = TABLE.astype(np.dtype({"f": "f", "i": "i"}[dtype[0]] + str(int(dtype[1:]) // 8)))
    for count in (0, 1, 15, 16, 17, 50, 5000) if spec == "N" else (int(spec),):
        places = np.random.default_rng(count).integers(-7, 7, count)
        assert np.array_equal(look_up(table, places), table[places])


@pytest.mark.parametrize("count", [1, 16, 33])
def test_a_place_that_is_not_there_is_refused(count: int) -> None:
    look_up = cr.compile(lambda t, i: cr.take(t, i, axis=0), cr.spec("M"), cr.spec("N", dtype="i64"))
    for wrong in (7, -8, 2**62):
        places = np.zeros(count, np.int64)
        places[-1] = wrong
        with pytest.raises(ChainruleError, match=r"out of range|outside"):
            look_up(TABLE.astype(np.float32), places)
    with pytest.raises(ChainruleError):
        look_up(np.zeros(0, np.float32), np.zeros(count, np.int64))

"""Records let a new process call a region's kernels without building their loops; anything odd is made again."""

import json

import numpy as np
import pytest

from chainrule.backends.llvm import jit, records
from chainrule.backends.llvm.cache import Cache
from chainrule.backends.llvm.executable import LlvmExecutable
from chainrule.backends.llvm.kernels.region import region_of
from chainrule.backends.llvm.records import Lowering, record_key
from chainrule.backends.llvm.target import host_target
from chainrule.ir.graph import Graph, new_input
from chainrule.ir.types import tensor
from chainrule.ops.elementwise import add
from chainrule.ops.matmul import matmul
from chainrule.ops.transcendental import exp


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A cache of its own, used also while the suite records modules, and with no kernel loaded from before."""
    monkeypatch.setattr(jit, "recorder", lambda: None)
    monkeypatch.setattr(jit, "is_loaded", lambda symbol, target: False)
    monkeypatch.setattr(jit, "_loaded", {})
    return Cache(tmp_path)


def sample():
    x = new_input("x", tensor("f32", ("N", 40)))
    w = new_input("w", tensor("f32", (40, 24)))
    return matmul(exp(add(x, x)), w)


def test_a_second_lowering_gives_equal_calls_without_a_template(kept, monkeypatch):
    node = sample()
    first = Lowering(host_target(), kept).calls(region_of(node))
    monkeypatch.setattr(records, "template_of", None)
    second = Lowering(host_target(), kept).calls(region_of(node))
    assert [c.code for c in first] == [c.code for c in second]
    assert [[getattr(b, "type", b) for b in c.buffers] for c in first] == [
        [getattr(b, "type", b) for b in c.buffers] for c in second
    ]


@pytest.mark.parametrize("broken", [b"", b"[1]", b"{}x", json.dumps([{"name": "x"}]).encode()])
def test_a_record_that_does_not_read_back_is_made_again(kept, broken):
    region = region_of(sample())
    kept.put(record_key(region, host_target()), broken)
    assert Lowering(host_target(), kept).calls(region)


def test_an_object_that_left_the_cache_is_compiled_again(kept):
    lowering = Lowering(host_target(), kept)
    calls = lowering.calls(region_of(sample()))
    lowering.compiled(c.code for c in calls)
    record = kept.get(record_key(region_of(sample()), host_target()))
    assert record is not None
    kept.clear()
    kept.put(record_key(region_of(sample()), host_target()), record)
    again = Lowering(host_target(), kept)
    linked = again.compiled(c.code for c in again.calls(region_of(sample())))
    assert all(linked.address(c.code.symbol) for c in calls)


def test_a_program_from_records_gives_the_same_bits(kept, monkeypatch):
    from chainrule.backends.llvm import executable

    monkeypatch.setattr(executable, "default_cache", lambda: kept)
    y = sample()
    graph = Graph("g", y.inputs[0].inputs[0].inputs[:1] + y.inputs[1:], (y,))
    arrays = [np.random.default_rng(0).standard_normal((n, m)).astype(np.float32) for n, m in ((5, 40), (40, 24))]
    cold = LlvmExecutable(graph, []).run(arrays)
    warm = LlvmExecutable(graph, []).run(arrays)
    assert cold[0].tobytes() == warm[0].tobytes()


def test_the_key_depends_on_body_and_target():
    from chainrule.backends.llvm.target import named_target

    region = region_of(sample())
    other = region_of(exp(new_input("x", tensor("f32", ("N", 40)))))
    keys = {
        record_key(region, host_target()),
        record_key(other, host_target()),
        record_key(region, named_target("x86-64-v2")),
    }
    assert len(keys) == 3

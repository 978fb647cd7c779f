"""Targets: the host is never given more than it has, and register tiles fit the registers."""

from __future__ import annotations

import pytest

from chainrule.backends.llvm import target as targets
from chainrule.backends.llvm.target import TARGETS, gemm_tiles, host_target, named_target
from chainrule.errors import ArgumentError


def test_the_host_is_described() -> None:
    host = host_target()
    assert host.name == "host" and host.vector_bits in (128, 256, 512) and host.l1 >= 8 * 1024 and host.l2 >= host.l1
    assert host.feature_string.startswith("+") and host.key == host_target().key


@pytest.mark.parametrize("name", [t.name for t in TARGETS])
def test_tiles_fit_the_registers(name: str) -> None:
    target = named_target(name)
    for rows, columns in gemm_tiles(target):
        vectors = columns // target.f32_lanes
        assert columns % target.f32_lanes == 0 and rows <= 8
        assert rows * vectors + vectors + 1 <= target.vector_registers  # the tile, a row of B, and one broadcast


def test_tiles_are_those_that_were_measured() -> None:
    measured = {"x86-64-v4": (6, 64), "x86-64-v3": (6, 16), "aarch64": (6, 16)}
    assert {name: gemm_tiles(named_target(name))[0] for name in measured} == measured


def test_a_machine_that_hides_instructions_gets_the_level_that_it_shows() -> None:
    v4 = set(named_target("x86-64-v4").features)
    triple = "x86_64-unknown-linux-gnu"
    full = targets._x86_host("znver4", v4 | {"avx512vnni", "amx-tile"}, triple)
    assert full.vector_bits == 512 and full.has("avx512vnni") and not full.has("amx-tile")
    hidden = targets._x86_host("znver4", v4 - {"avx512dq"}, triple)
    assert hidden.vector_bits == 256 and not any(f.startswith("avx512") for f in hidden.features)
    old = targets._x86_host("", {"sse2"}, triple)
    assert old.vector_bits == 128 and old.cpu == "x86-64" and not old.has_fma


def test_unknown_targets_are_named() -> None:
    with pytest.raises(ArgumentError, match="pdp11"):
        named_target("pdp11")
    assert named_target("host") == host_target()

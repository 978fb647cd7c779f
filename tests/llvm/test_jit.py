"""Compiling: equal kernels once, objects from the cache, addresses that live as long as their owner, other targets."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chainrule.backends.llvm import codegen, jit
from chainrule.backends.llvm.cache import Cache
from chainrule.backends.llvm.lint import lint_ir
from chainrule.backends.llvm.objects import undefined_symbols
from chainrule.backends.llvm.target import host_target, named_target
from chainrule.backends.loops import Builder, Function, ceil_div
from chainrule.errors import ModelError, NotSupported
from chainrule.ir.types import f16, f32
from tests.guard_pages import run_kernel


@pytest.fixture
def recorded() -> Iterator[list[jit.Module]]:
    """The modules that a test compiles, besides whoever else records them."""
    modules: list[jit.Module] = []
    before = jit.recorder()
    jit.record_modules(modules)
    yield modules
    jit.record_modules(before)
    if before is not None:
        before += modules


def scale(factor: float, name: str = "scale") -> Function:
    k = Builder(name)
    n = k.size("N")
    x = k.buffer("x", f32, (n,))
    y = k.buffer("y", f32, (n,), "w")
    with k.loop("i", 0, ceil_div(n, 16), parallel=True) as i:
        k.store(y, (i * 16,), k.mul(k.load(x, (i * 16,), 16, mask=n - i * 16), factor), mask=n - i * 16)
    return k.build()


def run(fn: Function, compiled: jit.Compiled) -> list[float]:
    out = np.zeros(3, np.float32)
    run_kernel(fn, [np.array([1, 2, 3], np.float32), out], [3], compiled=compiled)
    return out.tolist()


def test_equal_kernels_share_one_address() -> None:
    first, second, other = scale(2.0), scale(2.0, "again"), scale(3.0)
    compiled = jit.compile_functions([first, second, other])
    assert compiled[first] == compiled[second] != compiled[other]
    assert run(second, compiled) == [2, 4, 6] and run(other, compiled) == [3, 6, 9]
    later = jit.compile_functions([scale(2.0)])
    assert later[first] == compiled[first]


def test_code_outlives_the_call_but_not_its_owner() -> None:
    compiled = jit.compile_functions([scale(11.0)])
    fn = scale(11.0)
    gc.collect()
    assert run(fn, compiled) == [11, 22, 33]
    symbol = compiled.symbols[fn]
    assert any(key.startswith(symbol) for key in list(jit.loaded()))
    del compiled
    gc.collect()
    assert not any(key.startswith(symbol) for key in list(jit.loaded()))


def test_objects_come_from_the_cache_the_second_time(tmp_path: Path, recorded: list[jit.Module]) -> None:
    cache = Cache(tmp_path)
    fn = scale(13.0)
    symbol, module = jit.function_module(fn, host_target())
    first = jit.object_code(module, host_target(), cache)
    assert len(cache.entries()) == 1 and cache.get(module.key(host_target())) == first
    assert jit.object_code(module, host_target(), cache) == first
    assert [m.exports for m in recorded] == [(symbol,), (symbol,)]
    library = jit.compile_modules({symbol: module}, host_target(), cache)[symbol]
    assert library.address(symbol)


def test_a_damaged_object_is_compiled_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    _, module = jit.function_module(scale(17.0), host_target())
    first = jit.object_code(module, host_target(), cache)
    path = cache.entries()[0].path
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(bytes(raw))
    assert jit.object_code(module, host_target(), cache) == first
    assert cache.get(module.key(host_target())) == first


def test_text_from_elsewhere_may_call_what_it_is_given() -> None:
    callback = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(lambda x: x * 3)
    address = ctypes.cast(callback, ctypes.c_void_p).value
    assert address is not None
    text = """
declare i64 @outside(i64)
define i64 @twice_and_once(i64 %x) {
  %y = call i64 @outside(i64 %x)
  %z = add i64 %y, %x
  ret i64 %z
}
"""
    library = jit.compile_text(text, ["twice_and_once"], imports={"outside": address}, cache=Cache(None))
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(library.address("twice_and_once"))
    assert function(5) == 20


def test_a_symbol_that_is_not_linked_in_is_refused_before_it_is_called() -> None:
    text = """
declare double @llvm.sin.f64(double)
define double @f(double %x) {
  %y = call double @llvm.sin.f64(double %x)
  ret double %y
}
"""
    with pytest.raises(NotSupported, match="sin"):
        jit.compile_text(text, ["f"], cache=Cache(None))


@pytest.mark.parametrize("name", ["x86-64-v4", "x86-64-v3", "x86-64-v2", "aarch64"])
def test_every_target_gets_an_object_that_needs_nothing(name: str) -> None:
    k = Builder("halves")
    n = k.size("N")
    x = k.buffer("x", f16, (n,))
    y = k.buffer("y", f16, (n,), "w")
    with k.loop("i", 0, n, 16) as i:
        v = k.sqrt(k.cast(k.load(x, (i,), 16, mask=n - i), f32))
        k.store(y, (i,), k.cast(k.fma(v, v, 1.0), f16), mask=n - i)
    target = named_target(name)
    _, module = jit.function_module(k.build(), target, "halves")
    data = jit.object_code(module, target)
    machine = int.from_bytes(data[18:20], "little")
    assert machine == (183 if name == "aarch64" else 62)
    assert undefined_symbols(data) == []
    assert ("fmla" if name == "aarch64" else "mulps") in jit.assembly(module, target) or target.has_fma


def test_code_for_another_machine_is_not_linked() -> None:
    with pytest.raises(NotSupported, match="aarch64"):
        jit.compile_functions([scale(2.0)], named_target("aarch64"))


def test_the_micro_kernel_keeps_its_tile_in_registers() -> None:
    k = Builder("tile")
    depth, stride = k.size("K"), k.size("LDA")
    a = k.buffer("a", f32, (6, stride))
    b = k.buffer("b", f32, (depth, 64))
    c = k.buffer("c", f32, (6, 64), "w")
    acc = [[k.reg(k.const(0.0, f32, 16)) for _ in range(4)] for _ in range(6)]
    with k.loop("k", 0, depth) as kk:
        right = [k.load(b, (kk, j), 16) for j in range(0, 64, 16)]
        for r, row in enumerate(acc):
            left = k.load(a, (r, kk))
            for register, column in zip(row, right, strict=True):
                register.set(k.fma(left, column, register.get()))
    for r, row in enumerate(acc):
        for j, register in enumerate(row):
            k.store(c, (r, j * 16), register.get())
    target = named_target("x86-64-v4")
    lines = jit.assembly(jit.function_module(k.build(), target)[1], target).splitlines()
    fmas = [i for i, line in enumerate(lines) if "vfmadd" in line]
    loop = lines[fmas[0] : fmas[-1]]
    assert len(fmas) == 24
    assert not [line for line in loop if "%rsp" in line]


def test_undefined_symbols_are_read_only_from_objects() -> None:
    with pytest.raises(ModelError, match="not a 64-bit"):
        undefined_symbols(b"#!/bin/sh")
    data = jit.object_code(jit.function_module(scale(2.0), host_target())[1], host_target())
    with pytest.raises(ModelError, match="cut short"):
        undefined_symbols(data[:200])


def test_importing_the_backend_does_not_import_llvm() -> None:
    code = (
        "import sys, chainrule, chainrule.backends.loops, chainrule.backends.llvm.jit; print('llvmlite' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_is_compiled_is_recorded_and_clean(recorded: list[jit.Module]) -> None:
    jit.compile_functions([scale(23.0)], cache=Cache(None))
    assert len(recorded) == 1 and lint_ir(recorded[0].text) == []


def test_many_modules_at_once_give_the_objects_of_one_after_the_other() -> None:
    target = host_target()
    sources = [(jit.function_module(scale(float(i)), target, "kernel")[1].text, i % 2 == 1) for i in range(12)]
    together = codegen.generate(sources, target)
    assert together == [codegen.generate([source], target)[0] for source in sources]
    with pytest.raises(RuntimeError):
        codegen.generate([*sources, ("nonsense", False)], target)

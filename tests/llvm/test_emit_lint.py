"""The lint names what must not be in LLVM text, and lets through what the emitter writes."""

from __future__ import annotations

import pytest

from chainrule.backends.llvm.emit import emit_function
from chainrule.backends.llvm.lint import MAX_BODY_LINES, lint_ir
from chainrule.backends.llvm.target import named_target
from chainrule.backends.loops import Builder
from chainrule.ir.types import f64, i32, u8


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("  %r = fadd fast float %a, %b", "fast-math flag fast"),
        ("  %r = fmul nnan ninf <16 x float> %a, %b", "fast-math flag nnan"),
        ("  %r = call contract float @llvm.fma.f32(float %a, float %b, float %c)", "fast-math flag contract"),
        ("  %r = select nsz i1 %c, float %a, float %b", "fast-math flag nsz"),
        ("  %r = sdiv i32 %a, %b", "unguarded division by %b"),
        ("  %r = udiv exact <4 x i32> %a, %b", "unguarded division by %b"),
        ("  %r = srem i64 %a, 0", "unguarded division by 0"),
        ("  %r = sdiv i64 %a, -1", "unguarded division by -1"),
        ("  %r = urem <4 x i8> %a, zeroinitializer", "unguarded division by zeroinitializer"),
        ("  %r = sdiv <2 x i32> %a, <i32 3, i32 0>", "unguarded division by <i32 3, i32 0>"),
        ("  %r = frem double %a, %b", "frem is a library call"),
        ("declare float @sinf(float)", "outside symbol sinf"),
    ],
)
def test_faults_are_named(line: str, fault: str) -> None:
    assert f"1: {fault}" in lint_ir(line)


@pytest.mark.parametrize(
    "line",
    [
        "  %r = fadd float %fast, %contract",
        "  %r = call float @llvm.fmuladd.f32(float %a, float %b, float %c)",
        "  %r = sdiv i32 %a, %safe7",
        "  %r = sdiv i32 %a, 7",
        "  %r = udiv <4 x i32> %a, splat (i32 3)",
        "  %r = udiv i64 %a, -1",
        "declare float @llvm.sqrt.f32(float)",
        "  %r = fdiv float %a, %b",
        "; fast sdiv i32 %a, %b",
    ],
)
def test_what_is_fine_passes(line: str) -> None:
    assert lint_ir(line) == []


def test_declared_flags_and_symbols_pass() -> None:
    assert lint_ir("  %r = fadd reassoc float %a, %b", flags=["reassoc"]) == []
    assert lint_ir("declare i32 @pthread_create(ptr, ptr, ptr, ptr)", externs=["pthread_create"]) == []


def test_over_long_bodies_are_named() -> None:
    body = ["define void @f() {", *["  %x = add i64 1, 1"] * MAX_BODY_LINES, "}"]
    assert len(lint_ir("\n".join(body))) == 1
    assert lint_ir("\n".join([*body[:100], "}", *body[:100], "}"])) == []


@pytest.mark.parametrize("name", ["x86-64-v4", "x86-64-v2", "aarch64"])
def test_division_as_emitted_is_guarded(name: str) -> None:
    k = Builder("divide")
    n = k.size("N")
    for dtype in (i32, u8, f64):
        x, y = k.buffer(f"x{dtype}", dtype, (n,)), k.buffer(f"y{dtype}", dtype, (n,), "rw")
        with k.loop("i", 0, n) as i:
            a, b = k.load(x, (i,)), k.load(y, (i,))
            k.store(y, (i,), k.add(k.div(a, b), k.rem(a, b)))
            k.store(y, ((i - 3) // n,), k.add(k.div(a, 3), k.div(a, 0)))
    assert lint_ir(emit_function(k.build(), named_target(name), "divide")) == []

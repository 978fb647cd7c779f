"""Random kernels of nested loops, branches and registers: native code and interpreter write the same bits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chainrule.backends.loops import Buffer, Builder, Function, Int, Reg, Value, as_int, imax, imin, interpret, unproved
from chainrule.ir.types import DType, f32, i32, i64
from tests.guard_pages import run_kernel
from tests.llvm.kernel_inputs import assert_same_bits, designed

WIDTH = 7
OPS = ("add", "sub", "mul", "div", "min", "max", "minimum", "maximum")


class Writer:
    """Draws a kernel statement by statement."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.k = Builder("random")
        self.n = self.k.size("N")
        self.inputs = {d: self.k.buffer(f"x_{d}", d, (self.n + 1, WIDTH)) for d in (f32, i32)}
        self.outputs = {d: self.k.buffer(f"y_{d}", d, (self.n + 1, WIDTH), "rw") for d in (f32, i32)}
        self.ints: list[Int] = [self.n]
        self.registers: list[Reg] = []

    def index(self) -> Int:
        """A random index expression over what is in scope."""
        draw = self.draw
        total = as_int(draw(st.integers(-3, 9)))
        for _ in range(draw(st.integers(0, 3))):
            term = draw(st.sampled_from(self.ints)) * draw(st.integers(-2, 3))
            match draw(st.integers(0, 4)):
                case 0:
                    term = term // draw(st.integers(1, 5))
                case 1:
                    term = term % draw(st.integers(1, 5))
                case 2:
                    term = term * draw(st.sampled_from(self.ints))
                case _:
                    pass
            total = total + term
        return total

    def inside(self, extent: Int | int, lanes: int = 1) -> Int:
        return imin(imax(self.index(), 0), as_int(extent) - lanes)

    def place(self, buffer: Buffer, lanes: int) -> tuple[Int, Int]:
        return self.inside(buffer.shape[0]), self.inside(WIDTH, lanes)

    def value(self, dtype: DType, lanes: int) -> Value:
        """A random value: loaded, from an index, from a register, or computed."""
        k, draw = self.k, self.draw
        same = [r for r in self.registers if (r.register.dtype, r.register.lanes) == (dtype, lanes)]
        kind = draw(st.integers(0, 5))
        if kind == 0 and same:
            return draw(st.sampled_from(same)).get()
        if kind == 1:
            return k.splat(k.value(self.index(), dtype), lanes)
        if kind in (2, 3):
            op = draw(st.sampled_from(OPS))
            return getattr(k, op)(self.load(dtype, lanes), self.load(dtype, lanes))
        if kind == 4:
            other = i32 if dtype == f32 else f32
            return k.cast(self.load(other, lanes), dtype)
        return self.load(dtype, lanes)

    def load(self, dtype: DType, lanes: int) -> Value:
        buffer = self.draw(st.sampled_from([self.inputs[dtype], self.outputs[dtype]]))
        mask = self.index() if lanes > 1 and self.draw(st.booleans()) else None
        return self.k.load(buffer, self.place(buffer, lanes), lanes, mask=mask)

    def block(self, depth: int) -> None:
        """One to three statements."""
        for _ in range(self.draw(st.integers(1, 3))):
            self.statement(depth)

    def statement(self, depth: int) -> None:
        k, draw = self.k, self.draw
        dtype, lanes = draw(st.sampled_from([f32, i32])), draw(st.sampled_from([1, 4]))
        kind = draw(st.integers(0, 6)) if depth < 3 else draw(st.integers(0, 2))
        if kind == 0:
            buffer = self.outputs[dtype]
            k.store(buffer, self.place(buffer, lanes), self.value(dtype, lanes))
        elif kind == 1:
            same = [r for r in self.registers if (r.register.dtype, r.register.lanes) == (dtype, lanes)]
            if same:
                draw(st.sampled_from(same)).set(self.value(dtype, lanes))
        elif kind == 2:
            self.ints.append(k.index(k.load(self.inputs[i32], self.place(self.inputs[i32], 1)), 0, self.n + 3))
        elif kind in (3, 4):
            self.loop(depth)
        else:
            cond = k.cmp(draw(st.sampled_from(["lt", "ge", "ne"])), self.value(dtype, 1), self.value(dtype, 1))
            kept = len(self.ints)
            with k.when(cond):
                self.block(depth + 1)
            del self.ints[kept:]
            if draw(st.booleans()):
                with k.otherwise():
                    self.block(depth + 1)
                del self.ints[kept:]

    def loop(self, depth: int) -> None:
        k, draw = self.k, self.draw
        unroll = draw(st.integers(0, 3)) == 0
        low = as_int(draw(st.integers(0, 2))) if unroll else imin(imax(self.index(), 0), 4)
        high = as_int(draw(st.integers(0, 4))) if unroll else imin(self.index(), 6)
        kept, registers = len(self.ints), len(self.registers)
        with k.loop("i", low, high, draw(st.integers(1, 2)), unroll=unroll) as i:
            self.ints.append(i)
            if draw(st.booleans()):
                self.registers.append(k.reg(self.value(f32, 4)))
            self.block(depth + 1)
        del self.ints[kept:], self.registers[registers:]

    def kernel(self) -> Function:
        k = self.k
        self.registers = [k.reg(self.value(d, lanes)) for d in (f32, i32) for lanes in (1, 4)]
        self.block(0)
        for register in list(self.registers):
            dtype, lanes = register.register.dtype, register.register.lanes
            k.store(self.outputs[dtype], (0, 4 - lanes), register.get())
        k.store(self.outputs[i32], (0, 6), k.cast(k.value(self.n, i64), i32))
        return k.build()


@st.composite
def kernels(draw: st.DrawFn) -> Function:
    return Writer(draw).kernel()


@given(kernels(), st.integers(0, 4))
def test_random_kernels_mean_the_same_natively(fn: Function, size: int) -> None:
    unproved(fn)
    arrays = [designed(d, (size + 1) * WIDTH, seed + 1) for seed, d in enumerate((f32, i32, f32, i32))]
    arrays = [a.reshape(size + 1, WIDTH) for a in arrays]
    expected = [a.copy() for a in arrays]
    interpret(fn, expected, [size])
    run_kernel(fn, arrays, [size])
    for got, want in zip(arrays, expected, strict=True):
        assert_same_bits(got.reshape(-1), want.reshape(-1), str(fn))

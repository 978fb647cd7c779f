"""A program for the native driver is a list of steps: loops and branches become jumps, and all becomes i64 words.

What a step names are buffer ids: the driver looks their addresses up in one array of pointers, so that the same words
serve every call. Offsets instead of addresses inside the words keep them free of relocations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chainrule.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class Slice:
    """The address of a buffer, plus offset, plus the value of a counter times stride; both in bytes, of any sign.

    more: further (counter, stride) pairs, of a slice in a slice.
    """

    buffer: int
    counter: int = 0
    stride: int = 0
    offset: int = 0
    more: tuple[tuple[int, int], ...] = ()


Ref = int | Slice


@dataclass(frozen=True, slots=True)
class Call:
    """Runs a kernel over iterations 0 <= i < extent of its parallel loop (1 when it has none).

    address: machine code with the kernel ABI, void (ptr buffers, ptr sizes, i64 lo, i64 hi, ptr status). serial: the
    whole extent runs on one thread. buffers: one per buffer parameter, in order. sizes: one per run-time size.
    """

    address: int
    extent: int
    serial: bool
    buffers: tuple[Ref, ...]
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Copy:
    """Copies bytes from src to dst, which do not overlap."""

    dst: Ref
    src: Ref
    nbytes: int


@dataclass(frozen=True, slots=True)
class Zero:
    """Fills bytes with zero."""

    dst: Ref
    nbytes: int


@dataclass(frozen=True, slots=True)
class StoreCounter:
    """Writes the value of a counter to a buffer, as i64."""

    dst: Ref
    counter: int


@dataclass(frozen=True, slots=True)
class Loop:
    """Runs body count times, with the counter going 0, 1, ... count - 1; slices of buffers follow the counter."""

    counter: int
    count: int
    body: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class While:
    """Runs test, then, as long as the one-byte bool at cond is true, body and test again."""

    test: tuple[Step, ...]
    cond: Ref
    body: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """Runs one of two programs, by the one-byte bool at cond."""

    cond: Ref
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Jump:
    """Goes on at a flat step. The target counts flat steps: see flatten."""

    target: int


@dataclass(frozen=True, slots=True)
class JumpUnless:
    """Goes on at a flat step unless the one-byte bool at cond is true."""

    cond: Ref
    target: int


@dataclass(frozen=True, slots=True)
class SetCounter:
    """Gives a counter a value."""

    counter: int
    value: int


@dataclass(frozen=True, slots=True)
class FlipCounter:
    """Changes a counter from 0 to 1 and from 1 to 0."""

    counter: int


@dataclass(frozen=True, slots=True)
class Advance:
    """Adds 1 to a counter and goes on at a flat step while it is less than count."""

    counter: int
    count: int
    target: int


@dataclass(frozen=True, slots=True)
class StopIfFailed:
    """Ends the program if any thread's kernel has failed so far: what stands behind it is then left undone."""


FlatStep = Call | Copy | Zero | StoreCounter | Jump | JumpUnless | SetCounter | FlipCounter | Advance | StopIfFailed
Step = FlatStep | Loop | While | Branch

# The operation codes of the words; END is what anything else means to the driver.
END, CALL, COPY, ZERO, STORE_COUNTER, JUMP, JUMP_UNLESS, SET_COUNTER, ADVANCE, STOP_IF_FAILED, FLIP_COUNTER = range(11)
# Flags of a step's first word, beside the code in its low byte; the length in words is in bits 16 and up.
BARRIER, SOLO = 1 << 8, 1 << 9
# Below this size one thread copies: the others would only take the cache lines from each other.
SOLO_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Open:
    """A structured step that flatten is inside of: what is to be done when its present part is finished."""

    step: Loop | While | Branch
    part: int
    start: int
    jump: int


def flatten(steps: Sequence[Step]) -> tuple[FlatStep, ...]:
    """The same program without Loop, While and Branch. Jumps that are given already must count flat steps."""
    flat: list[FlatStep] = []
    work: list[Step | _Open] = list(reversed(steps))
    while work:
        match work.pop():
            case Loop(counter, count, body) as step:
                if count > 0:
                    flat.append(SetCounter(counter, 0))
                    work += [_Open(step, 0, len(flat), -1), *reversed(body)]
            case While(test) as step:
                work += [_Open(step, 0, len(flat), -1), *reversed(test)]
            case Branch(cond, then) as step:
                flat.append(JumpUnless(cond, -1))
                work += [_Open(step, 0, len(flat), len(flat) - 1), *reversed(then)]
            case _Open() as opened:
                work += _close(opened, flat)
            case step:
                flat.append(step)
    return tuple(flat)


def _close(opened: _Open, flat: list[FlatStep]) -> list[Step | _Open]:
    """Ends a part of a structured step: patches its jump, and gives the next part to be done (as a stack)."""
    match opened.step:
        case Loop(counter, count):
            flat.append(Advance(counter, count, opened.start))
        case While(_, cond, body) if opened.part == 0:
            flat.append(JumpUnless(cond, -1))
            return [_Open(opened.step, 1, opened.start, len(flat) - 1), *reversed(body)]
        case While():
            flat.append(Jump(opened.start))
            flat[opened.jump] = _aim(flat[opened.jump], len(flat))
        case Branch(_, _, otherwise) if opened.part == 0 and otherwise:
            flat.append(Jump(-1))
            flat[opened.jump] = _aim(flat[opened.jump], len(flat))
            return [_Open(opened.step, 1, 0, len(flat) - 1), *reversed(otherwise)]
        case Branch():
            flat[opened.jump] = _aim(flat[opened.jump], len(flat))
    return []


def _aim(step: FlatStep, target: int) -> FlatStep:
    assert isinstance(step, Jump | JumpUnless)
    return replace(step, target=target)


def is_solo(step: FlatStep) -> bool:
    """True when one thread does the step for all; the others pass it by."""
    match step:
        case Call(_, extent, serial):
            return serial or extent <= 1
        case Copy(nbytes=nbytes) | Zero(nbytes=nbytes):
            return nbytes < SOLO_BYTES
        case StoreCounter():
            return True
        case _:
            return False


def barriers(flat: Sequence[FlatStep]) -> tuple[bool, ...]:
    """For every step, whether all threads meet after it.

    They need not where control alone follows (counters are private to a thread, and all count alike; at the end they
    meet anyway), nor between two steps of the one thread. After JumpUnless and StopIfFailed they must: the very next
    step may change what these look at, and threads that saw different things would never meet again.
    """
    data = [isinstance(s, Call | Copy | Zero | StoreCounter | JumpUnless | StopIfFailed) for s in flat]
    meets: list[bool] = []
    for i, step in enumerate(flat):
        follow = _next_data(flat, data, i) if data[i] else set[int]()
        alone = is_solo(step) and all(is_solo(flat[j]) for j in follow)
        meets.append(isinstance(step, JumpUnless | StopIfFailed) or bool(follow and not alone))
    return tuple(meets)


def _next_data(flat: Sequence[FlatStep], data: Sequence[bool], index: int) -> set[int]:
    """The steps touching memory that may come next after a step that does not jump, through control alone."""
    found: set[int] = set()
    seen: set[int] = set()
    work = [index + 1]
    while work:
        i = work.pop()
        if i in seen or i >= len(flat):
            continue
        seen.add(i)
        if data[i]:
            found.add(i)
            continue
        match flat[i]:
            case Jump(target):
                work.append(target)
            case Advance(_, _, target):
                work += [target, i + 1]
            case _:
                work.append(i + 1)
    return found


@dataclass(frozen=True, slots=True)
class Encoded:
    """The words of a program. sizes and slices are referred to by index from the steps; counters: how many it uses."""

    steps: tuple[int, ...]
    slices: tuple[int, ...]
    sizes: tuple[int, ...]
    counters: int
    max_args: int


def encode(flat: Sequence[FlatStep], n_buffers: int, sizes_offset: int) -> Encoded:
    """The words of a flat program.

    sizes_offset: where, in bytes from the frame, the caller will put `sizes`. Raises ArgumentError for a buffer,
    target, counter or extent out of range: the driver trusts its words.
    """
    writer = _Writer(n_buffers, sizes_offset)
    meets = barriers(flat)
    bodies = [writer.step(step) for step in flat]
    starts = [0]
    for body in bodies:
        starts.append(starts[-1] + 2 + len(body))
    words: list[int] = []
    for i, (step, body) in enumerate(zip(flat, bodies, strict=True)):
        if isinstance(step, Jump | JumpUnless | Advance):
            if not 0 <= step.target <= len(flat):
                raise ArgumentError(f"step {i} jumps to {step.target}, the program has {len(flat)} steps")
            body[-1] = 8 * starts[step.target]
        if isinstance(step, StopIfFailed):
            body[-1] = 8 * starts[-1]
        flags = (BARRIER if meets[i] else 0) | (SOLO if is_solo(step) else 0)
        words += [_code(step) | flags | (2 + len(body)) << 16, i, *body]
    words += [END, len(flat)]
    return Encoded(tuple(words), tuple(writer.slices), tuple(writer.sizes), writer.counters, writer.max_args)


def _code(step: FlatStep) -> int:
    match step:
        case Call():
            return CALL
        case Copy():
            return COPY
        case Zero():
            return ZERO
        case StoreCounter():
            return STORE_COUNTER
        case Jump():
            return JUMP
        case JumpUnless():
            return JUMP_UNLESS
        case SetCounter():
            return SET_COUNTER
        case FlipCounter():
            return FLIP_COUNTER
        case Advance():
            return ADVANCE
        case StopIfFailed():
            return STOP_IF_FAILED


class _Writer:
    """Turns steps into words and gathers what they share. Slice 0 stands for "not sliced"."""

    def __init__(self, n_buffers: int, sizes_offset: int) -> None:
        self.n_buffers = n_buffers
        self.sizes_offset = sizes_offset
        self.slices: list[int] = [0, 0, 0, 0]
        self.sizes: list[int] = []
        self.counters = 1
        self.max_args = 1

    def step(self, step: FlatStep) -> list[int]:
        """The words of a step after its first two; a jump's target is the last and is filled in later."""
        match step:
            case Call(address, extent, _, buffers, sizes):
                if extent < 0 or address == 0:
                    raise ArgumentError(f"a kernel at {address:#x} cannot run {extent} iterations")
                self.max_args = max(self.max_args, len(buffers))
                at = self.sizes_offset + 8 * len(self.sizes)
                self.sizes += sizes
                return [address, extent, at, len(buffers), *(self.ref(b) for b in buffers)]
            case Copy(dst, src, nbytes):
                return [self.ref(dst), self.ref(src), self.size(nbytes)]
            case Zero(dst, nbytes):
                return [self.ref(dst), self.size(nbytes)]
            case StoreCounter(dst, counter):
                return [self.ref(dst), self.counter(counter)]
            case Jump() | StopIfFailed():
                return [0]
            case JumpUnless(cond):
                return [self.ref(cond), 0]
            case SetCounter(counter, value):
                return [self.counter(counter), value]
            case FlipCounter(counter):
                return [self.counter(counter)]
            case Advance(counter, count):
                return [self.counter(counter), count, 0]

    def size(self, nbytes: int) -> int:
        if nbytes < 0:
            raise ArgumentError(f"a step cannot touch {nbytes} bytes")
        return nbytes

    def counter(self, counter: int) -> int:
        if not 0 <= counter < 1 << 16:
            raise ArgumentError(f"counter {counter} is not in 0..65535")
        self.counters = max(self.counters, counter + 1)
        return counter

    def ref(self, ref: Ref) -> int:
        """The word of a reference: the buffer id, and the index of its slice in the upper half."""
        buffer = ref.buffer if isinstance(ref, Slice) else ref
        if not 0 <= buffer < self.n_buffers:
            raise ArgumentError(f"buffer {buffer} does not exist, there are {self.n_buffers}")
        if not isinstance(ref, Slice) or (ref.stride == 0 and ref.offset == 0 and not ref.more):
            return buffer
        follow = 0
        for counter, stride in ref.more:
            follow = self.slice(counter, stride, 0, follow)
        return buffer | self.slice(ref.counter, ref.stride, ref.offset, follow) << 32

    def slice(self, counter: int, stride: int, offset: int, follow: int) -> int:
        """The index of a new slice; follow: the one that is added to it, 0 for none."""
        self.slices += [self.counter(counter), stride, offset, follow]
        return len(self.slices) // 4 - 1

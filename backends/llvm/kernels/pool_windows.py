"""Windows over images: their geometry, and the vectors that hold one tap of many windows side by side.

The windows of 16 neighbouring results overlap or adjoin, so their span of an image row is loaded as whole vectors,
reduced over the rows of the windows first, and then each tap of the row is picked from these by a shuffle. At the
border the lanes of taps outside the image read another element of their own window (maxima) or 0 (sums): the shuffle
is a constant, so the border costs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chainrule.backends.loops import Builder, Int, as_int, ceil_div, imax, imin
from chainrule.backends.loops import Value as LoopValue

Place = tuple[Int, ...]
UNROLLED_ROWS = 12  # rows of a window up to which code is written out


@dataclass(frozen=True)
class Windows:
    """Windows over an image, everything by axis. pad: begins only."""

    image: tuple[Int, ...]
    counts: tuple[Int, ...]
    reach: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    def first(self, window: Sequence[Int], axis: int) -> Int:
        """Where a window begins on an axis; negative in the padding."""
        return window[axis] * self.stride[axis] - self.pad[axis]

    def taps(self, k: Builder, window: Place, body: Callable[[Place], None]) -> None:
        """body(place) for every element of a window that lies in the image, in row-major order."""
        self.rows(k, window, len(self.image), body)

    def rows(
        self, k: Builder, window: Sequence[Int], axes: int, body: Callable[[Place], None], place: Place = ()
    ) -> None:
        """body(place) for every place on the first `axes` axes that a window meets."""
        a = len(place)
        if a == axes:
            body(place)
            return
        first, by = self.first(window, a), self.dilation[a]
        low = imax(0, ceil_div(-first, by))
        high = imin(self.reach[a], ceil_div(self.image[a] - first, by))
        with k.loop(f"t{a}", low, high) as t:
            self.rows(k, window, axes, body, (*place, first + t * by))

    def clamped_rows(self, window: Sequence[Int]) -> list[Place]:
        """A window's places on the axes but the last (no dilation), those outside moved to its nearest inside."""
        places: list[Place] = [()]
        for a in range(len(self.image) - 1):
            first = self.first(window, a)
            inside = [imin(imax(first + t, 0), self.image[a] - 1) for t in range(self.reach[a])]
            places = [(*place, row) for place in places for row in inside]
        return places

    def meeting(self, k: Builder, at: Sequence[Int], body: Callable[[Place], None], index: Place = ()) -> None:
        """body(window) for all windows, on as many axes as `at` has, that meet an element (no dilation)."""
        a = len(index)
        if a == len(at):
            body(index)
            return
        place = at[a] + self.pad[a]
        low = imax(0, ceil_div(place - self.reach[a] + 1, self.stride[a]))
        high = imin(self.counts[a], place // self.stride[a] + 1)
        with k.loop(f"w{a}", low, high) as w:
            self.meeting(k, at, body, (*index, w))

    def row_count(self) -> int:
        """How many rows a window has."""
        total = 1
        for reach in self.reach[:-1]:
            total *= reach
        return total

    def flat(self, place: Place) -> Int:
        """The row-major position of an element in its image."""
        at = as_int(0)
        for size, i in zip(self.image, place, strict=True):
            at = at * size + i
        return at


@dataclass(frozen=True)
class Piece:
    """`lanes` neighbouring windows along the last axis, from window `begin` on; a piece at the border has a number as
    begin. low, high: the part of the span inside the image, counted from the first window's begin."""

    begin: Int
    lanes: int
    low: int
    high: int

    def positions(self, windows: Windows, tap: int, clamped: bool) -> list[int | None]:
        """Where a tap of each window lies in the span; outside the image the nearest place inside, or None."""
        found: list[int | None] = []
        for lane in range(self.lanes):
            at = tap + lane * windows.stride[-1]
            inside = min(max(at, self.low), self.high - 1)
            found.append(inside if clamped or inside == at else None)
        return found

    def start(self, position: int) -> int:
        """The begin of the vector that holds a position of the span."""
        return min(self.low + (position - self.low) // self.lanes * self.lanes, self.high - self.lanes)

    def picked(self, k: Builder, vectors: Callable[[int], LoopValue], positions: Sequence[int | None],
               zero: LoopValue) -> LoopValue:  # fmt: skip
        """The elements at positions of the span, 0 for None. vectors: from a vector's begin to it."""
        n = self.lanes
        sources: dict[
            int | None, dict[int, int]
        ] = {}  # by the vector's begin: which of its elements goes to which lane
        for lane, position in enumerate(positions):
            start = None if position is None else self.start(position)
            sources.setdefault(start, {})[lane] = 0 if position is None or start is None else position - start
        result: LoopValue | None = None
        for start, own in sources.items():
            value = zero if start is None else vectors(start)
            if result is None:
                plain = all(own.get(lane, lane) == lane for lane in range(n))
                result = value if plain else k.shuffle(value, None, [own.get(lane, 0) for lane in range(n)])
            else:
                result = k.shuffle(result, value, [n + own[lane] if lane in own else lane for lane in range(n)])
        assert result is not None
        return result


def span(windows: Windows, lanes: int) -> int:
    """How many elements of a row that many neighbouring windows cover."""
    return (lanes - 1) * windows.stride[-1] + windows.reach[-1]


def piece_at(windows: Windows, begin: int, lanes: int) -> Piece:
    """The windows from a known one on."""
    first = begin * windows.stride[-1] - windows.pad[-1]
    return Piece(as_int(begin), lanes, max(0, -first), min(span(windows, lanes), int(windows.image[-1]) - first))


def known_pieces(k: Builder, windows: Windows, lanes: int, body: Callable[[Piece], None], overlap: bool = True) -> None:
    """body for pieces that cover a row of windows of known sizes; overlap: they may cover a window twice."""
    pieces = _cover(windows, lanes, overlap)
    inner = [p for p in pieces if p.lanes == pieces[0].lanes and p.low == 0 and p.high == span(windows, p.lanes)]
    inner = [p for p in inner if (p.begin - inner[0].begin) % p.lanes == 0]
    n = pieces[0].lanes if pieces else 1
    if len(inner) < 3:
        inner = []
    looped = False
    for piece in pieces:
        if piece not in inner:
            body(piece)
        elif not looped:
            looped = True
            with k.loop("piece", 0, len(inner)) as i:
                body(Piece(inner[0].begin + i * n, n, 0, span(windows, n)))


def _cover(windows: Windows, lanes: int, overlap: bool) -> list[Piece]:
    """Pieces that cover a row, in order but for the last one, none of which is longer than its part of the image."""
    count = int(windows.counts[-1])
    n = lanes
    while n > 1 and (n > count or any(p.high - p.low < n for p in _regular(windows, n, count))):
        n //= 2
    pieces = _regular(windows, n, count) if count else []
    rest = count % n
    if rest and overlap:
        last = piece_at(windows, count - n, n)
        if last.high - last.low >= n:
            return [*pieces, last]
    while rest:
        n = min(n // 2, 1 << (rest.bit_length() - 1))
        while n > 1 and any(p.high - p.low < n for p in (piece_at(windows, count - rest, n),)):
            n //= 2
        pieces.append(piece_at(windows, count - rest, n))
        rest -= n
        n *= 2
    return pieces


def _regular(windows: Windows, lanes: int, count: int) -> list[Piece]:
    return [piece_at(windows, start, lanes) for start in range(0, count - lanes + 1, lanes)]

"""One parallel loop over the places of a grid of any rank, and loops over what it cannot be split into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from chainrule.backends.llvm.kernels.region import Kernel
from chainrule.backends.loops import Int, as_int
from chainrule.backends.loops.ints import Size

FLAT = 4  # extents in the parallel loop: what the verifier can take apart again


@contextmanager
def grid(kernel: Kernel, extents: Sequence[Int | int]) -> Iterator[list[Int]]:
    """All places of a grid: one parallel loop over as many extents as it can be split into, plain loops over the rest.

    Up to FLAT extents make the parallel loop. Those that are constants or bare sizes are split off by division; of the
    others, one may run slowest, where it divides nothing. Without extents there is no loop.
    """
    sizes = [as_int(e) for e in extents]
    if not sizes:
        yield []
        return
    hard = [i for i, size in enumerate(sizes) if not _divides(size)]
    order = [*hard[:1], *(i for i in range(len(sizes)) if i not in hard)][:FLAT]
    rest = [i for i in range(len(sizes)) if i not in order]
    total = as_int(1)
    for i in order:
        total = total * sizes[i]
    with kernel.k.loop("place", 0, total, parallel=True) as place:
        at: dict[int, Int] = {}
        for i in reversed(order[1:]):
            divisor = as_int(max(1, sizes[i].const)) if sizes[i].is_const else sizes[i]
            at[i] = place % divisor
            place = place // divisor
        at[order[0]] = place
        with ExitStack() as loops:
            for i in rest:
                at[i] = loops.enter_context(kernel.k.loop("more", 0, sizes[i]))
            yield [at[i] for i in range(len(sizes))]


def _divides(size: Int) -> bool:
    """True for a divisor that the verifier can reason about."""
    return size.is_const or (not size.const and all(len(m) == 1 and c == 1 for m, c in size.terms.items()) and
                             len(size.terms) == 1 and isinstance(next(iter(size.terms))[0], Size))  # fmt: skip

"""Arrays served in batches, shuffled from a seed.

The order of epoch e is a function of (seed, e) alone, and the augmentation of batch k of it one of (seed, e, k): a run
that is stopped and resumed at a position sees the same batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.frontend.augment import Augmentation, Batch, Chain
from chainrule.frontend.background import computed_ahead, drawn_ahead
from chainrule.frontend.places import error
from chainrule.ir.op import Array


class ArrayData:
    """Batches of arrays that share their first axis: iterating gives the rest of one epoch as tuples of arrays.

    arrays: numpy arrays (memory-mapped ones are read batch by batch). shuffle: each epoch has an order of its own.
    drop_last leaves out a last batch that is not full. augment: one function or several (see `augment`), called with
    each batch and a generator. workers: threads that cut and augment the next batches while one is trained on; the
    batches are the same for any number. epoch and position (batches served in this epoch) tell where it is and may be
    set.
    """

    def __init__(
        self,
        *arrays: Array,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        augment: Augmentation | Sequence[Augmentation] | None = None,
        workers: int = 0,
    ) -> None:
        if not arrays:
            raise error(ArgumentError, "ArrayData: no array was given", help="ArrayData(x, y, batch_size=32)")
        for array in arrays:
            if not isinstance(array, np.ndarray) or array.ndim == 0:
                raise error(ArgumentError, f"ArrayData: {type(array).__name__} is not an array with a first axis",
                            help="give numpy arrays; the first axis counts the examples")  # fmt: skip
        lengths = [len(array) for array in arrays]
        if len(set(lengths)) != 1:
            raise error(ShapeError, f"ArrayData: the arrays hold {', '.join(map(str, lengths))} examples",
                        notes=[f"array {i}: {a.dtype}[{','.join(map(str, a.shape))}]" for i, a in enumerate(arrays)],
                        help="the first axis counts the examples: all arrays have one length")  # fmt: skip
        if not isinstance(batch_size, int) or batch_size < 1:
            raise error(ArgumentError, f"ArrayData: batch_size={batch_size!r}", help="it is an int of 1 or more")
        self.arrays, self.batch_size, self.shuffle = arrays, batch_size, shuffle
        if not isinstance(workers, int) or workers < 0:
            raise error(ArgumentError, f"ArrayData: workers={workers!r}", help="it is a non-negative int")
        self.seed, self.drop_last, self.workers = seed, drop_last, workers
        self.augment = augment if augment is None or callable(augment) else Chain(tuple(augment))
        self.epoch = 0
        self.position = 0

    @property
    def count(self) -> int:
        """The number of examples."""
        return len(self.arrays[0])

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def order(self, epoch: int) -> Array:
        """The order of the examples in an epoch."""
        return _generator(self.seed, epoch, 0).permutation(self.count) if self.shuffle else np.arange(self.count)

    def batch(self, epoch: int, index: int, order: Array | None = None) -> Batch:
        """Batch number `index` of an epoch."""
        if not 0 <= index < len(self):
            raise error(ArgumentError, f"ArrayData: there is no batch {index}", help=f"an epoch has {len(self)}")
        order = self.order(epoch) if order is None else order
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        found = tuple(np.ascontiguousarray(array[chosen]) for array in self.arrays)
        return found if self.augment is None else self.augment(found, _generator(self.seed, epoch, index + 1))

    def __iter__(self) -> Iterator[Batch]:
        """The batches from the position on; at the end the next epoch begins."""
        epoch = self.epoch
        order = self.order(epoch)
        places = range(self.position, len(self))
        for batch in computed_ahead(lambda index: self.batch(epoch, index, order), places, self.workers):
            self.position += 1  # before the batch is used: what is saved after the step on it resumes behind it
            yield batch
        self.epoch, self.position = epoch + 1, 0

    def state(self) -> dict[str, int]:
        """Where it is, for a checkpoint."""
        return {"epoch": self.epoch, "position": self.position, "seed": self.seed}

    def load_state(self, state: Mapping[str, int]) -> None:
        """Goes to where a checkpoint was. Raises ArgumentError for a position that this data does not have."""
        if not 0 <= state["position"] <= len(self):
            raise error(ArgumentError, f"ArrayData: there is no position {state['position']}",
                        help=f"an epoch has {len(self)} batches: the data or batch_size changed")  # fmt: skip
        self.epoch, self.position, self.seed = state["epoch"], state["position"], state["seed"]


class StreamData:
    """Batches from a function that gives an iterator of tuples of arrays for each epoch; it is called with the epoch.

    Resuming inside an epoch draws and drops the batches that were served. ahead: so many batches are drawn by a thread
    before they are asked for.
    """

    def __init__(self, batches: Callable[[int], Iterator[tuple[Any, ...]]], ahead: int = 0) -> None:
        if not isinstance(ahead, int) or ahead < 0:
            raise error(ArgumentError, f"StreamData: ahead={ahead!r}", help="it is a non-negative int")
        self.batches, self.ahead = batches, ahead
        self.epoch = 0
        self.position = 0

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """The batches from the position on; at the end the next epoch begins."""
        epoch, skipped = self.epoch, self.position
        for index, batch in enumerate(drawn_ahead(islice(self.batches(epoch), skipped, None), self.ahead)):
            self.position = skipped + index + 1
            yield batch
        self.epoch, self.position = epoch + 1, 0

    def state(self) -> dict[str, int]:
        """Where it is, for a checkpoint."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state(self, state: Mapping[str, int]) -> None:
        """Goes to where a checkpoint was."""
        self.epoch, self.position = state["epoch"], state["position"]


def _generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed % 2**64, epoch << 32 | index], np.uint64)))

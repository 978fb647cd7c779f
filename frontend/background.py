"""Work in background threads whose results come in order, and are the same for any number of threads."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def computed_ahead(function: Callable[[int], T], places: range, workers: int) -> Iterator[T]:
    """function(place) for each place, in order; up to two per worker are computed ahead of their use.

    workers=0 computes each when it is asked for. An exception of the function is raised at its place.
    """
    if workers == 0:
        yield from map(function, places)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="chainrule-data") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for place in places:
                waiting.append(pool.submit(function, place))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def drawn_ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """The items in order; one thread draws up to `count` of them ahead of their use. count=0 draws when asked."""
    if count == 0:
        yield from items
        return
    line: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(count)
    stopped = threading.Event()

    def put(more: bool, item: T | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return line.put((more, item), timeout=0.1)
            except queue.Full:
                continue

    def draw() -> None:
        try:
            for item in items:
                put(True, item)
                if stopped.is_set():
                    return
            put(False, None)
        except BaseException as problem:  # noqa: BLE001 - it is raised again where the item was wanted
            put(False, problem)

    threading.Thread(target=draw, name="chainrule-data", daemon=True).start()
    try:
        while True:
            more, item = line.get()
            if isinstance(item, BaseException):
                raise item
            if not more:
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()

"""Work in order on a few threads, without handing over what is done sooner than handed over."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def ahead(function: Callable[[A], B], items: Sequence[A], threads: int, worth: Callable[[A], bool]) -> Iterator[B]:
    """function(item) for each item, in order; of those that are worth a thread up to `threads` are in work at a time.

    The others are done by the caller's thread, between: to hand them over takes as long.
    """
    next_ones = deque(place for place, item in enumerate(items) if worth(item)) if threads > 1 else deque()
    if not next_ones:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(threads - 1) as pool:
        waiting: dict[int, Future[B]] = {}
        try:
            for place, item in enumerate(items):
                while next_ones and len(waiting) < threads:
                    coming = next_ones.popleft()
                    waiting[coming] = pool.submit(function, items[coming])
                future = waiting.pop(place, None)
                if future is None or future.cancel():  # no thread has begun it yet: better here than waited for
                    yield function(item)
                    continue
                _help(function, items, waiting, future)
                yield future.result()
        finally:
            for future in waiting.values():
                future.cancel()


def _help(function: Callable[[A], B], items: Sequence[A], waiting: dict[int, Future[B]], until: Future[B]) -> None:
    """Does what no thread has begun yet, one after the other, until that one is done."""
    for place, future in waiting.items():
        if until.done():
            return
        if not future.cancel():
            continue
        made: Future[B] = Future()
        try:
            made.set_result(function(items[place]))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised in its turn
            made.set_exception(error)
        waiting[place] = made

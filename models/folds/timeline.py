"""Things in the order of their times, from which the oldest are taken."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

Timed = TypeVar("Timed", bound=tuple[Any, ...])
"""A tuple whose first field is a time; no two are equal."""


class Timeline(Generic[Timed]):
    """Tuples, sorted. To add one at the end or to take one from the start costs the same however many there are."""

    __slots__ = ("_items", "_start")

    def __init__(self) -> None:
        self._items: list[Timed] = []
        self._start = 0
        """How many at the start are taken: a list would move all others for each of them."""

    def __len__(self) -> int:
        return len(self._items) - self._start

    def __iter__(self) -> Iterator[Timed]:
        for place in range(self._start, len(self._items)):
            yield self._items[place]

    def __reversed__(self) -> Iterator[Timed]:
        for place in range(len(self._items) - 1, self._start - 1, -1):
            yield self._items[place]

    @property
    def last(self) -> Timed | None:
        """The greatest; None where there is none."""
        return self._items[-1] if len(self._items) > self._start else None

    def add(self, item: Timed) -> None:
        """Take in one that is not there."""
        items = self._items
        if not items or items[-1] < item:
            items.append(item)
        else:
            insort(items, item, self._start)

    def remove(self, item: Timed) -> None:
        """Take out one that is there."""
        place = bisect_left(self._items, item, self._start)
        if place == self._start:
            self._take(1)
        else:
            del self._items[place]

    def take_before(self, time: int) -> list[Timed]:
        """Take out all that are older than `time` and return them, the oldest first."""
        items, start = self._items, self._start
        if start == len(items) or items[start][0] >= time:
            return []
        end = bisect_left(items, (time,), start)
        taken = items[start:end]
        self._take(end - start)
        return taken

    def _take(self, count: int) -> None:
        self._start += count
        if 2 * self._start >= len(self._items):
            del self._items[: self._start]
            self._start = 0

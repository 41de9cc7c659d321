"""Returns side by side, in integers: kept as they come in, so that no decision gathers them."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

ROWS_AT_FIRST: Final = 64


class Session(NamedTuple):
    """What is kept of one symbol's session."""

    scaled: int
    """The simple return in units of 1e-7, rounded half-even."""
    close: Decimal | None
    """Account currency per unit."""


class Series(NamedTuple):
    """Returns of n symbols on some dates, each of shape (n, dates)."""

    scaled: Integers
    """In units of 1e-7; 0 where there is none."""
    present: Flags
    """Where there is one."""


class Panel:
    """A row per symbol, a column per session date.

    Args:
        width: The most dates there will be.
    """

    def __init__(self, width: int) -> None:
        self.dates: list[int] = []
        """Ascending, as days since 1970-01-01."""
        self._rows: dict[str, int] = {}
        self._free: list[int] = [*range(ROWS_AT_FIRST - 1, 0, -1)]
        # Row 0 is nobody's: it stands for symbols without a return.
        self._scaled: Integers = np.zeros((ROWS_AT_FIRST, width), dtype=np.int64)
        self._present: Flags = np.zeros((ROWS_AT_FIRST, width), dtype=np.bool_)
        self._sums: Integers = np.zeros(width, dtype=np.int64)
        self._counts: Integers = np.zeros(width, dtype=np.int64)

    def add_date(self, day: int) -> None:
        """Make a column for a date that has none."""
        place, width = bisect_left(self.dates, day), len(self.dates)
        for table in (self._scaled, self._present, self._sums, self._counts):
            if place < width:
                table[..., place + 1 : width + 1] = table[..., place:width]
            table[..., place] = 0
        self.dates.insert(place, day)

    def drop_oldest(self) -> None:
        """Drop the oldest date with its column."""
        del self.dates[0]
        width = len(self.dates)
        for table in (self._scaled, self._present, self._sums, self._counts):
            table[..., :width] = table[..., 1 : width + 1]
            table[..., width] = 0

    def load(self, histories: Mapping[str, Mapping[int, Session]]) -> None:
        """Take in all sessions at once, by symbol and date. Only of an empty panel."""
        for symbol in histories:
            self._rows[symbol] = self._new_row()
        lengths, values = [len(history) for history in histories.values()], histories.values()
        days = np.fromiter(chain.from_iterable(values), dtype=np.int64, count=sum(lengths))
        scaled = map(itemgetter(0), chain.from_iterable(history.values() for history in values))
        dates, columns = np.unique(days, return_inverse=True)
        rows = np.repeat(np.array([*self._rows.values()], dtype=np.int64), lengths)
        self.dates = dates.tolist()
        self._scaled[rows, columns] = np.fromiter(scaled, dtype=np.int64, count=len(days))
        self._present[rows, columns] = True
        self._sums, self._counts = self._scaled.sum(axis=0), self._present.sum(axis=0)

    def put(self, symbol: str, day: int, scaled: int) -> None:
        """Set a symbol's return on a date that has a column."""
        row, column = self._rows.get(symbol), bisect_left(self.dates, day)
        if row is None:
            row = self._rows[symbol] = self._new_row()
        before = self._scaled[row, column]
        if not self._present[row, column]:
            self._present[row, column] = True
            self._counts[column] += 1
        self._scaled[row, column] = scaled
        self._sums[column] += scaled - before

    def _new_row(self) -> int:
        if not self._free:
            size = len(self._scaled)
            self._scaled = np.concatenate((self._scaled, np.zeros_like(self._scaled)))
            self._present = np.concatenate((self._present, np.zeros_like(self._present)))
            self._free = [*range(2 * size - 1, size - 1, -1)]
        return self._free.pop()

    def remove(self, symbol: str) -> None:
        """Let go of a symbol whose returns are all dropped."""
        self._free.append(self._rows.pop(symbol))

    def series(self, symbols: Sequence[str], first: int = 0) -> Series:
        """Return the returns of `symbols`, in their order, on the dates from place `first` on."""
        rows, columns = [self._rows.get(symbol, 0) for symbol in symbols], slice(first, len(self.dates))
        return Series(self._scaled[rows, columns], self._present[rows, columns])

    def one(self, symbol: str, first: int = 0) -> Series:
        """Return the returns of one symbol, each of shape (dates,). They are the panel's own: not to be changed."""
        row, columns = self._rows.get(symbol, 0), slice(first, len(self.dates))
        return Series(self._scaled[row, columns], self._present[row, columns])

    def filled(self, symbols: Sequence[str], proxies: Mapping[str, str]) -> Series:
        """Return the returns of `symbols` on all dates, a proxy's where a symbol has none of its own.

        A proxy's own proxy is not looked at.
        """
        own = self.series(symbols)
        proxied = [place for place, symbol in enumerate(symbols) if symbol in proxies]
        if proxied:
            proxy, missing = self.series([proxies[symbols[place]] for place in proxied]), ~own.present[proxied]
            own.scaled[proxied] += np.where(missing, proxy.scaled, 0)
            own.present[proxied] |= proxy.present
        return own

    @property
    def sums(self) -> Integers:
        """The sum of all symbols' returns on each date."""
        return self._sums[: len(self.dates)]

    @property
    def counts(self) -> Integers:
        """How many there are on each date."""
        return self._counts[: len(self.dates)]

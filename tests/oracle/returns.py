"""Closes and clusters, from the list of daily returns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction

from tests.oracle.history import Entry, day_number, day_of, exact, optional

WINDOW = 30
COMMON_MIN = 15
AGE_MAX = 5


class Returns:
    """The last return of each symbol and session, and the window of sessions."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.latest: defaultdict[str, dict[int, tuple[int, Fraction | None]]] = defaultdict(dict)
        for entry in entries:
            body = entry.body
            self.latest[body["symbol"]][day_number(body["session"])] = (
                round(exact(body["simple_return"]) * 10**7),  # half to even, as `round` of a fraction is
                optional(body.get("close")),
            )
        self._known: dict[tuple[str, str], bool | None] = {}
        self.window = sorted({day for days in self.latest.values() for day in days})[-WINDOW:]

    def close(self, symbol: str, clock: int) -> tuple[Fraction, int] | None:
        """Return the latest close of a symbol that is not over five days old, and its day."""
        closes = [(day, close) for day, (_, close) in self.latest.get(symbol, {}).items() if close is not None]
        if not closes:
            return None
        day, close = max(closes)
        return (close, day) if day_of(clock) - day <= AGE_MAX else None

    def had_close(self, symbol: str) -> bool:
        """Whether there was a close at all."""
        return any(close is not None for _, close in self.latest.get(symbol, {}).values())

    def linked(self, one: str, other: str, clock: int) -> bool | None:
        """Whether two symbols move together; None where that is unknown."""
        xs, ys = self.latest.get(one, {}), self.latest.get(other, {})
        common = [day for day in self.window if day in xs and day in ys]
        if len(common) < COMMON_MIN or day_of(clock) - common[-1] > AGE_MAX:
            return None
        key = (min(one, other), max(one, other))
        if key not in self._known:
            self._known[key] = _together([(xs[day][0], ys[day][0]) for day in common])
        return self._known[key]

    def cluster(self, candidate: str, symbols: set[str], clock: int) -> tuple[set[str], bool]:
        """Return the candidate's cluster among symbols, and whether an unknown pair put a member there."""
        members, fresh = {candidate}, {candidate}
        while fresh:
            near = fresh.pop()
            found = {s for s in symbols - members if self.linked(near, s, clock)}
            members |= found
            fresh |= found
        leaves = {s for s in symbols - members if self.linked(candidate, s, clock) is None}
        return members | leaves, bool(leaves)


def _together(pairs: list[tuple[int, int]]) -> bool | None:
    n = len(pairs)
    sum_x, sum_y = sum(x for x, _ in pairs), sum(y for _, y in pairs)
    # Deviations from the mean, times n, so that they stay whole numbers.
    off = [(n * x - sum_x, n * y - sum_y) for x, y in pairs]
    var_x, var_y = sum(x * x for x, _ in off), sum(y * y for _, y in off)
    if var_x == 0 or var_y == 0:
        return None
    covariance = sum(x * y for x, y in off)
    return Fraction(covariance**2, var_x * var_y) >= Fraction(7, 10) ** 2

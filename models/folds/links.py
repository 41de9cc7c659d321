"""Which symbols are linked: |rho| >= 0.7 over the last 30 sessions, in integers (docs/risk.md section 6).

What is found out about two symbols is kept until a return of one of them changes, so a decision that asks about a few
symbols pays for those alone.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import mul
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.folds.panel import Flags, Integers, Panel

WINDOW = 30
"""Session dates that a correlation looks at."""

COMMON_MIN = 15
"""A pair with fewer common sessions is unknown."""

COMMON_AGE_MAX = 5
"""A pair whose newest common session is more days behind the clock is unknown."""

FLOAT_EXACT_MAX = math.isqrt(2**53 // WINDOW)
"""Up to this size, a return of 1.73, every sum over a window is an integer of at most 2**53: float64 holds it
exactly, in whatever order it is added up, and multiplies matrices 20 times as fast as int64. Larger returns need
int64, which holds all there are: no product of a count and a sum exceeds 30 * 30 * 10**16 < 2**63."""

EDGE = 1e-9
"""Farther than this from the edge float64 settles whether a pair is linked; nearer the integers do."""

CHUNK = 32
"""Symbols that are compared with others at a time: few enough for the arrays to stay in a processor's cache."""

Matrix = NDArray[np.int64] | NDArray[np.float64]


class Member(NamedTuple):
    """One symbol of a cluster, and how it came into it."""

    symbol: str
    parent: str | None
    """The member it is linked to; None for the first."""
    rho: str | None
    """Of the link to the parent."""
    known: bool
    """False for a leaf: its correlation with the candidate is unknown, so it is taken to be linked."""


class Moments(NamedTuple):
    """What decides about every pair of n and m symbols: exact sums over the pair's common sessions.

    Each array has shape (n, m).
    """

    common: Integers
    """How many there are: n in what follows."""
    covariance: Integers
    """n*Sxy - Sx*Sy."""
    variance: Integers
    """n*Sxx - Sx^2, of the row's symbol."""
    other_variance: Integers
    """n*Syy - Sy^2, of the column's symbol."""


def moments(x: Integers, x_present: Integers, y: Integers, y_present: Integers) -> Moments:
    """Return the moments of `x` against `y`.

    Args:
        x: Scaled returns of n symbols, shape (n, dates), 0 where there is none.
        x_present: 1 where there is a return and 0 elsewhere, of the same shape.
        y: Scaled returns of m symbols, shape (m, dates).
        y_present: 1 where there is a return and 0 elsewhere, of the same shape.
    """
    largest = max(np.abs(x).max(initial=0), np.abs(y).max(initial=0))
    tables: list[Matrix] = [x, x_present, y, y_present]
    if largest <= FLOAT_EXACT_MAX:
        tables = [table.astype(np.float64) for table in tables]
    if x_present.all() and y_present.all():  # as nearly always: then one sum of six is the pair's own
        return _whole(x, y, tables[0] @ tables[2].T)
    sums = _sums(*tables)
    n, sx, sy, sxx, syy, sxy = (part.astype(np.int64) for part in sums)
    return Moments(n, n * sxy - sx * sy, n * sxx - sx * sx, n * syy - sy * sy)


def _whole(x: Integers, y: Integers, products: Matrix) -> Moments:
    """Return the moments of series without a gap, given Sxy."""
    n, shape, sx, sy = x.shape[1], products.shape, x.sum(axis=1), y.sum(axis=1)
    variance, other = n * (x * x).sum(axis=1) - sx * sx, n * (y * y).sum(axis=1) - sy * sy
    return Moments(
        np.broadcast_to(np.int64(n), shape),
        n * products.astype(np.int64) - np.outer(sx, sy),
        np.broadcast_to(variance[:, np.newaxis], shape),
        np.broadcast_to(other, shape),
    )


def _sums(x: Matrix, x_present: Matrix, y: Matrix, y_present: Matrix) -> tuple[Matrix, ...]:
    """Return n, Sx, Sy, Sxx, Syy and Sxy of each pair of rows, over what is present in both."""
    y, y_present = y.T, y_present.T
    return (
        x_present @ y_present,
        x @ y_present,
        x_present @ y,
        (x * x) @ y_present,
        x_present @ (y * y),
        x @ y,
    )


def linked_pairs(pairs: Moments, known: Flags) -> Flags:
    """Return which of the `known` pairs have |rho| >= 0.7: by float64 far from the edge, by integers near it."""
    size = np.abs(pairs.covariance).astype(np.float64)
    edge = 0.7 * np.sqrt(pairs.variance.astype(np.float64) * pairs.other_variance)
    linked = known & (size >= edge)
    for place in zip(*np.nonzero(known & (np.abs(size - edge) <= EDGE * edge)), strict=True):
        covariance, variance, other = (int(part[place]) for part in pairs[1:])
        linked[place] = 100 * covariance**2 >= 49 * variance * other
    return linked


class Links:
    """What one symbol is to others, as far as that was asked: each a set of symbols, one bit of an integer for each.

    A decision asks about a few symbols out of thousands, and sets of bits are joined and parted in no time.
    """

    __slots__ = ("asked", "linked", "unknown")

    def __init__(self) -> None:
        self.asked = 0
        self.linked = 0
        self.unknown = 0
        """Those of which the correlation is unknown; they are not linked."""

    def forget(self, others: int) -> None:
        """Forget what was found out about some."""
        self.asked &= ~others
        self.linked &= ~others
        self.unknown &= ~others


def _places(bits: int) -> Iterator[int]:
    """Yield the place of each bit that is set."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def _bits(flags: Flags, places: Sequence[int], length: int) -> list[int]:
    """Return each row of flags as bits of an integer: that of a column at its own place, which is below length."""
    table = np.zeros((len(flags), length), dtype=np.bool_)
    table[:, places] = flags
    return [int.from_bytes(row.tobytes(), "little") for row in np.packbits(table, axis=1, bitorder="little")]


class Window:
    """The last sessions of all symbols, and what has been asked about them.

    An answer is kept until a return of one of its two symbols changes.

    Args:
        panel: All sessions. The window is over once they have another date.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._first = max(0, len(panel.dates) - WINDOW)
        self._dates = panel.dates[self._first :]
        self._symbols: list[str] = []
        """Those asked about; the place of each is its bit."""
        self._bits: dict[str, int] = {}
        self._links: dict[int, dict[str, Links]] = {}
        """By `oldest` and symbol."""
        self._rho: dict[tuple[str, str], str] = {}

    def forget(self, symbol: str, day: int) -> None:
        """Forget what was found out about a symbol, if a return of this day is in the window."""
        if day < self._dates[0] or symbol not in self._bits:
            return
        own = self._bits[symbol]
        for links in self._links.values():
            links.pop(symbol, None)
            for each in links.values():
                if each.asked & own:
                    each.forget(own)
        self._rho.clear()

    def _set(self, symbols: Iterable[str]) -> int:
        """Return a set of symbols as bits."""
        bits, found = self._bits, 0
        for symbol in symbols:
            bit = bits.get(symbol)
            if bit is None:
                bit = bits[symbol] = 1 << len(self._symbols)
                self._symbols.append(symbol)
            found |= bit
        return found

    def _sorted(self, bits: int) -> list[str]:
        """Return the symbols of a set in the order of their names."""
        return sorted(self._symbols[place] for place in _places(bits))

    def _pairs(self, rows: Sequence[str], columns: Sequence[str]) -> tuple[Moments, Integers]:
        """Return the moments of pairs, and 1 + the place of their newest common session, 0 if unknown anyway."""
        x, y = self._panel.series(rows, self._first), self._panel.series(columns, self._first)
        x_present, y_present = x.present.astype(np.int64), y.present.astype(np.int64)
        pairs = moments(x.scaled, x_present, y.scaled, y_present)
        known = (pairs.common >= COMMON_MIN) & (pairs.variance > 0) & (pairs.other_variance > 0)
        bits = 1 << np.arange(len(self._dates))
        common = (x_present @ bits)[:, np.newaxis] & (y_present @ bits)
        newest = np.frexp(common.astype(np.float64))[1]  # the number of bits
        return pairs, np.where(known, newest, 0)

    def _links_to(self, symbol: str, others: int, oldest: int, also: Iterable[str] = ()) -> Links:
        """Return what a symbol is to `others` at least.

        Args:
            symbol: The symbol.
            others: A set.
            oldest: See `oldest`.
            also: Symbols that may be asked for the same: many are compared in little more time than one.
        """
        table = self._links.setdefault(oldest, {})
        links = table.get(symbol)
        if links is None:
            links = table[symbol] = Links()
        missing = others & ~links.asked
        if missing:
            rows = [symbol, *islice((each for each in also if each != symbol), CHUNK - 1)]
            places = [*_places(missing)]
            pairs, newest = self._pairs(rows, [self._symbols[place] for place in places])
            linked = linked_pairs(pairs, newest >= oldest)
            sets = (_bits(flags, places, len(self._symbols)) for flags in (linked, newest < oldest))
            for row, linked_to, unknown in zip(rows, *sets, strict=True):
                found = table.setdefault(row, Links())
                found.asked |= missing
                found.linked |= linked_to
                found.unknown |= unknown
        return links

    def oldest(self, day: int) -> int:
        """Return the least `newest` that is recent enough on `day`; at least 1, since 0 is unknown anyway."""
        return 1 + bisect_left(self._dates, day - COMMON_AGE_MAX)

    def known(self, a: str, b: str, oldest: int) -> bool:
        """Tell whether the correlation of two symbols is known."""
        return not self._links_to(a, self._set((b,)), oldest).unknown & self._set((b,))

    def linked(self, a: str, b: str, oldest: int) -> bool:
        """Tell whether the correlation of two symbols is known, and they are linked."""
        return bool(self._links_to(a, self._set((b,)), oldest).linked & self._set((b,)))

    def unknown(self, symbol: str, others: Iterable[str], oldest: int) -> list[str]:
        """Return those of `others` whose correlation with a symbol is unknown, in symbol order."""
        wanted = self._set(others)
        return self._sorted(self._links_to(symbol, wanted, oldest).unknown & wanted)

    def rho(self, a: str, b: str) -> str:
        """Return the coefficient of two symbols whose correlation is known, to 6 places."""
        pair = (a, b) if a < b else (b, a)
        rho = self._rho.get(pair)
        if rho is None:
            (x, x_present), (y, y_present) = (self._panel.one(symbol, self._first) for symbol in pair)
            if not (common := x_present & y_present).all():
                x, y = x[common], y[common]
            rho = self._rho[pair] = six_places(_coefficient(x.tolist(), y.tolist()))
        return rho

    def component(self, first: str, others: set[str], oldest: int) -> list[Member]:
        """Return the component of `first` among `others`, breadth first in symbol order; takes it out of `others`."""
        members, left = [Member(first, None, None, known=True)], self._set(others)
        for place, parent in enumerate(members):  # which grows meanwhile
            if not left:
                break
            likely = chain((member.symbol for member in islice(members, place, None)), others)
            found = self._links_to(parent.symbol, left, oldest, likely).linked & left
            if not found:
                continue
            left ^= found
            for symbol in self._sorted(found):
                others.remove(symbol)
                members.append(Member(symbol, parent.symbol, self.rho(parent.symbol, symbol), known=True))
        return members

    def compare(self, symbols: Sequence[str], oldest: int) -> None:
        """Find out what each of many symbols is to every other."""
        everyone = self._set(symbols)
        for start in range(0, len(symbols), CHUNK):
            self._links_to(symbols[start], everyone, oldest, symbols[start : start + CHUNK])

    def strengths(self, symbols: Sequence[str], oldest: int) -> NDArray[np.float64]:
        """Return |rho| of every pair, 1 where it is unknown; shape (n, n), ordered as `symbols`."""
        pairs, newest = self._pairs(symbols, symbols)
        roots = np.sqrt(pairs.variance.astype(np.float64) * pairs.other_variance)
        sizes = np.abs(pairs.covariance).astype(np.float64)
        return np.divide(sizes, roots, out=np.ones_like(roots), where=newest >= oldest)


def _coefficient(x: Sequence[int], y: Sequence[int]) -> float:
    """Return the correlation of two series: exact sums, one float64 root, one division."""
    n, sx, sy = len(x), sum(x), sum(y)
    covariance: int = n * sum(map(mul, x, y)) - sx * sy
    variances: int = (n * sum(map(mul, x, x)) - sx * sx) * (n * sum(map(mul, y, y)) - sy * sy)
    return covariance / math.sqrt(variances)


def six_places(number: float) -> str:
    """Return `number` to 6 places, for a report; there is no "-0.000000"."""
    text = f"{number:.6f}"
    return "0.000000" if text == "-0.000000" else text

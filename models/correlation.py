"""Correlation: which symbols move together, decided in integers (docs/risk.md section 6).

Returns become integers of 1e-7, the sums over a window of 30 sessions are integers, and whether two symbols are
linked is a comparison of integers: the same answer on every machine. A coefficient is only ever reported.
"""

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from operator import mul
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from models.canonical import plain
from models.messages import DailyReturn
from models.rows import Rows
from models.wire import session_day

WINDOW = 30
"""Session dates that a correlation looks at."""

SESSIONS_KEPT = 250
"""Session dates that are kept at all."""

COMMON_MIN = 15
"""A pair with fewer common sessions is unknown."""

COMMON_AGE_MAX = 5
"""A pair whose newest common session is more days behind the clock is unknown."""

RETURN_DIGITS = 7
"""A return is counted in units of 1e-7."""

FLOAT_EXACT_MAX = math.isqrt(2**53 // WINDOW)
"""Up to this size, a return of 1.73, every sum over a window is an integer of at most 2**53: float64 holds it
exactly, in whatever order it is added up, and multiplies matrices 20 times as fast as int64. Larger returns need
int64, which holds all there are: no product of a count and a sum exceeds 30 * 30 * 10**16 < 2**63."""

EDGE = 1e-9
"""Farther than this from the edge float64 settles whether a pair is linked; nearer the integers do."""

CHUNK = 32
"""Symbols that are compared with all others at a time: few enough for the arrays to stay in a processor's cache."""

Matrix = NDArray[np.int64] | NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Session(NamedTuple):
    """What is kept of one symbol's session."""

    scaled: int
    """The simple return in units of 1e-7, rounded half-even."""
    close: Decimal | None
    """Account currency per unit."""


class Correlation(NamedTuple):
    """How two symbols move together."""

    known: bool
    linked: bool
    """|rho| >= 0.7, whatever the sign."""
    rho: str | None
    """For reports, 6 places; None where unknown."""


UNKNOWN = Correlation(known=False, linked=False, rho=None)


class Member(NamedTuple):
    """One symbol of a cluster, and how it came into it."""

    symbol: str
    parent: str | None
    """The member it is linked to; None for the first."""
    rho: str | None
    """Of the link to the parent."""
    known: bool
    """False for a leaf: its correlation with the candidate is unknown, so it is taken to be linked."""


class Cluster(NamedTuple):
    """Symbols connected by links."""

    name: str
    """The smallest symbol."""
    members: tuple[Member, ...]
    """In breadth-first order, the candidate first, leaves last."""


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
    if largest <= FLOAT_EXACT_MAX:
        sums = _sums(*(part.astype(np.float64) for part in (x, x_present, y, y_present)))
    else:
        sums = _sums(x, x_present, y, y_present)
    n, sx, sy, sxx, syy, sxy = (part.astype(np.int64) for part in sums)
    return Moments(n, n * sxy - sx * sy, n * sxx - sx * sx, n * syy - sy * sy)


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


class Links(NamedTuple):
    """What one symbol is to every other."""

    linked: frozenset[str]
    """Linked, provided that the pair's newest common session is recent."""
    newest: bytes
    """Per symbol of the window 1 + the place of the newest common session; 0 where the pair is unknown anyway."""


_NO_LINKS = Links(frozenset(), b"")


class Window:
    """The last sessions of all symbols, and what has been asked about them since a return last changed."""

    def __init__(self, dates: Sequence[int], sessions: Mapping[str, Mapping[int, Session]]) -> None:
        self._dates = dates
        self._symbols = np.array(list(sessions), dtype=object)
        self._place = {symbol: place for place, symbol in enumerate(sessions)}
        self._returns: Integers = np.zeros((len(sessions), WINDOW), dtype=np.int64)
        self._present: Integers = np.zeros((len(sessions), WINDOW), dtype=np.int64)
        for row, history in enumerate(sessions.values()):
            for column, day in enumerate(dates):
                session = history.get(day)
                if session is not None:
                    self._returns[row, column] = session.scaled
                    self._present[row, column] = 1
        self._links: dict[str, Links] = {}
        self._rho: dict[tuple[str, str], str] = {}

    def update(self, symbol: str, day: int, scaled: int) -> bool:
        """Take over one return and forget the answers given; False where the symbol is new to this window."""
        row = self._place.get(symbol)
        if row is None:
            return False
        if day >= self._dates[0]:
            column = bisect_left(self._dates, day)
            self._returns[row, column] = scaled
            self._present[row, column] = 1
            self._links.clear()
            self._rho.clear()
        return True

    def _pairs(self, rows: Sequence[int], columns: Sequence[int] | slice) -> tuple[Moments, Integers]:
        """Return the moments of pairs, and 1 + the place of their newest common session, 0 if unknown anyway."""
        x, x_present = self._returns[rows], self._present[rows]
        y, y_present = self._returns[columns], self._present[columns]
        pairs = moments(x, x_present, y, y_present)
        known = (pairs.common >= COMMON_MIN) & (pairs.variance > 0) & (pairs.other_variance > 0)
        bits = 1 << np.arange(WINDOW)
        common = (x_present @ bits)[:, np.newaxis] & (y_present @ bits)
        newest = np.frexp(common.astype(np.float64))[1]  # the number of bits
        return pairs, np.where(known, newest, 0)

    def prepare(self, symbols: Iterable[str]) -> None:
        """Find out what each of `symbols` is to every other, where that is not known yet."""
        new = [symbol for symbol in symbols if symbol not in self._links and symbol in self._place]
        for start in range(0, len(new), CHUNK):
            chunk = new[start : start + CHUNK]
            pairs, newest = self._pairs([self._place[symbol] for symbol in chunk], slice(None))
            linked = linked_pairs(pairs, newest > 0)
            for symbol, flags, times in zip(chunk, linked, newest.astype(np.uint8), strict=True):
                self._links[symbol] = Links(frozenset(self._symbols[flags].tolist()), times.tobytes())

    def oldest(self, day: int) -> int:
        """Return the least `newest` that is recent enough on `day`."""
        return 1 + bisect_left(self._dates, day - COMMON_AGE_MAX)

    def known(self, a: str, b: str, oldest: int) -> bool:
        """Tell whether the correlation of two symbols is known."""
        newest, place = self._links_of(a).newest, self._place.get(b)
        return len(newest) > 0 and place is not None and newest[place] >= oldest

    def linked(self, a: str, b: str) -> bool:
        """Tell whether two symbols whose correlation is known are linked."""
        return b in self._links_of(a).linked

    def rho(self, a: str, b: str) -> str:
        """Return the coefficient of two symbols whose correlation is known, to 6 places."""
        pair = (a, b) if a < b else (b, a)
        rho = self._rho.get(pair)
        if rho is None:
            first, second = (self._place[symbol] for symbol in pair)
            common = np.flatnonzero(self._present[first] & self._present[second])
            x, y = (self._returns[row, common].tolist() for row in (first, second))
            rho = self._rho[pair] = _six_places(_coefficient(x, y))
        return rho

    def component(self, first: str, others: set[str], oldest: int) -> list[Member]:
        """Return the component of `first` among `others`, breadth first in symbol order; takes it out of `others`."""
        members = [Member(first, None, None, known=True)]
        for parent in members:  # which grows meanwhile
            links = self._links_of(parent.symbol)
            for symbol in sorted(links.linked & others):
                if links.newest[self._place[symbol]] >= oldest:
                    others.remove(symbol)
                    members.append(Member(symbol, parent.symbol, self.rho(parent.symbol, symbol), known=True))
        return members

    def strengths(self, symbols: Sequence[str], oldest: int) -> NDArray[np.float64]:
        """Return |rho| of every pair, 1 where it is unknown; shape (n, n), ordered as `symbols`."""
        result = np.ones((len(symbols), len(symbols)))
        inside = [place for place, symbol in enumerate(symbols) if symbol in self._place]
        rows = [self._place[symbols[place]] for place in inside]
        pairs, newest = self._pairs(rows, rows)
        roots = np.sqrt(pairs.variance.astype(np.float64) * pairs.other_variance)
        sizes = np.abs(pairs.covariance).astype(np.float64)
        result[np.ix_(inside, inside)] = np.divide(sizes, roots, out=np.ones_like(roots), where=newest >= oldest)
        return result

    def _links_of(self, symbol: str) -> Links:
        if symbol not in self._links:
            self.prepare((symbol,))
        return self._links.get(symbol, _NO_LINKS)


def _coefficient(x: Sequence[int], y: Sequence[int]) -> float:
    """Return the correlation of two series: exact sums, one float64 root, one division."""
    n, sx, sy = len(x), sum(x), sum(y)
    covariance: int = n * sum(map(mul, x, y)) - sx * sy
    variances: int = (n * sum(map(mul, x, x)) - sx * sx) * (n * sum(map(mul, y, y)) - sy * sy)
    return covariance / math.sqrt(variances)


def _six_places(number: float) -> str:
    """Return `number` to 6 places, for a report; there is no "-0.000000"."""
    text = f"{number:.6f}"
    return "0.000000" if text == "-0.000000" else text


def _scaled(simple_return: Decimal) -> int:
    """Return a simple return as an integer of 1e-7, rounded half-even."""
    return int(simple_return.scaleb(RETURN_DIGITS).to_integral_value(ROUND_HALF_EVEN))


def _cluster(members: Sequence[Member]) -> Cluster:
    return Cluster(min(member.symbol for member in members), tuple(members))


class Returns(Rows):
    """The fold of daily-returns, one row per symbol, and what can be asked of it.

    An answer is found when it is first asked for and kept until a return changes.
    """

    def __init__(self, sessions: dict[str, dict[int, Session]] | None = None) -> None:
        self.dirty: set[str] = set()
        self._sessions = sessions or {}
        self._dates = sorted({day for history in self._sessions.values() for day in history})
        """The dates kept, ascending, as days since 1970-01-01. At least one symbol has a session of each."""
        self._closes: dict[str, tuple[Decimal, int] | None] = {}
        self._window: Window | None = None
        self.version = 0
        """Rises with every change: what is derived from the returns holds as long as this stays."""

    @property
    def sessions(self) -> Mapping[str, Mapping[int, Session]]:
        """What is kept: by symbol and by session, as days since 1970-01-01. Not to be changed by the reader."""
        return self._sessions

    def fold(self, message: DailyReturn) -> None:
        """Take over one return; of several for a symbol and session the latest offset wins.

        Total. A date older than the newest 250 is dropped, whether it comes too late or grows old here.
        """
        day = session_day(message.session)
        if not self._keep(day):
            return
        symbol, session = message.symbol, Session(_scaled(message.simple_return), message.close)
        sessions = self._sessions.setdefault(symbol, {})
        if sessions.get(day) == session:
            return
        sessions[day] = session
        self.version += 1
        self.dirty.add(symbol)
        self._closes.pop(symbol, None)
        if self._window is not None and not self._window.update(symbol, day, session.scaled):
            self._window = None

    def _keep(self, day: int) -> bool:
        """Tell whether sessions of this date are kept; a date not seen before may displace the oldest one."""
        place = bisect_left(self._dates, day)
        if place < len(self._dates) and self._dates[place] == day:
            return True
        if len(self._dates) == SESSIONS_KEPT:
            if place == 0:
                return False
            self._forget(self._dates.pop(0))
            place -= 1
        self._dates.insert(place, day)
        self._window = None
        return True

    def _forget(self, day: int) -> None:
        """Drop a date, and every symbol that has no other."""
        for symbol in [symbol for symbol, sessions in self._sessions.items() if day in sessions]:
            del self._sessions[symbol][day]
            if not self._sessions[symbol]:
                del self._sessions[symbol]
            self._closes.pop(symbol, None)
            self.dirty.add(symbol)

    def close(self, symbol: str) -> tuple[Decimal, int] | None:
        """Return the latest close, account currency per unit, and its session as days since 1970-01-01."""
        if symbol not in self._closes:
            sessions = self._sessions.get(symbol, {})
            newest = max((day for day, session in sessions.items() if session.close is not None), default=None)
            close = None if newest is None else sessions[newest].close
            self._closes[symbol] = None if newest is None or close is None else (close, newest)
        return self._closes[symbol]

    def window(self) -> Window:
        """Return the last 30 sessions of every symbol."""
        if self._window is None:
            self._window = Window(self._dates[-WINDOW:], self._sessions)
        return self._window

    def correlation(self, a: str, b: str, day: int) -> Correlation:
        """Return how two symbols move together.

        Args:
            a: A symbol.
            b: Another.
            day: Date of the account's clock, days since 1970-01-01.
        """
        window = self.window()
        if not window.known(a, b, window.oldest(day)):
            return UNKNOWN
        return Correlation(known=True, linked=window.linked(a, b), rho=window.rho(a, b))

    def cluster(self, candidate: str, symbols: Collection[str], day: int) -> Cluster:
        """Return the candidate's cluster.

        First the component of the candidate over known links is found; then the symbols whose correlation with
        the candidate is unknown join as leaves, so that one new listing cannot weld the book together.

        Args:
            candidate: Symbol of the intent.
            symbols: Symbols with an exposure, in any order, with or without the candidate.
            day: Date of the account's clock, days since 1970-01-01.
        """
        window = self.window()
        oldest, others = window.oldest(day), set(symbols) - {candidate}
        window.prepare([candidate, *others])
        members = window.component(candidate, others, oldest)
        leaves = sorted(symbol for symbol in others if not window.known(candidate, symbol, oldest))
        return _cluster([*members, *(Member(symbol, candidate, None, known=False) for symbol in leaves)])

    def row(self, key: str) -> JsonValue:
        """Return a symbol's sessions as JSON can carry them, ascending: day, scaled return, close."""
        sessions = self._sessions.get(key)
        if sessions is None:
            return None
        return [
            [day, session.scaled, None if session.close is None else plain(session.close)]
            for day, session in sorted(sessions.items())
        ]

    @classmethod
    def from_rows(cls, rows: Mapping[str, Any]) -> Self:
        """Return the state that had these rows; no rows give a fresh state."""
        return cls(
            {
                symbol: {
                    day: Session(scaled, None if close is None else Decimal(close)) for day, scaled, close in row
                }
                for symbol, row in rows.items()
            }
        )


def clusters(returns: Returns, symbols: Collection[str], day: int) -> tuple[Cluster, ...]:
    """Return the components of `symbols` over known links, in the order of their names, for a report.

    Args:
        returns: The returns folded so far.
        symbols: What to part, in any order.
        day: Date of the account's clock, days since 1970-01-01.
    """
    window = returns.window()
    window.prepare(symbols)
    oldest, left = window.oldest(day), set(symbols)
    components = []
    for symbol in sorted(symbols):
        if symbol in left:
            left.remove(symbol)
            components.append(_cluster(window.component(symbol, left, oldest)))
    return tuple(components)


def diversification(returns: Returns, exposures: Mapping[str, Decimal], day: int) -> str:
    """Return how far from one single bet a book is: 0 for one position, 1 for many that share nothing.

    It is `(1 / (w'|rho|w) - 1) / (n - 1)` with the shares w of the gross exposure, rho 1 where unknown, clamped
    to [0, 1] and to 6 places. For reports; nothing is gated on it.

    Args:
        returns: The returns folded so far.
        exposures: Account currency per symbol; what is not positive is left out.
        day: Date of the account's clock, days since 1970-01-01.
    """
    held = {symbol: Fraction(exposures[symbol]) for symbol in sorted(exposures) if exposures[symbol] > 0}
    if len(held) <= 1:
        return _six_places(0.0)
    window, gross = returns.window(), sum(held.values())
    shares = np.array([float(exposure / gross) for exposure in held.values()])
    strengths = window.strengths(list(held), window.oldest(day))
    concentration = math.fsum((np.outer(shares, shares) * strengths).ravel().tolist())
    return _six_places(min(1.0, max(0.0, (1 / concentration - 1) / (len(held) - 1))))

"""Correlation: which symbols move together, decided in integers (docs/risk.md section 6).

Returns become integers of 1e-7, the sums over a window of 30 sessions are integers, and whether two symbols are
linked is a comparison of integers: the same answer on every machine. A coefficient is only ever reported.
"""

import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any, NamedTuple, Self

import numpy as np
from pydantic import JsonValue

from models.canonical import plain
from models.folds.links import Member, Window, six_places
from models.folds.panel import Panel, Session
from models.folds.rows import Rows
from models.messages import DailyReturn
from models.wire import session_day

SESSIONS_KEPT = 250
"""Session dates that are kept at all."""

RETURN_DIGITS = 7
"""A return is counted in units of 1e-7."""


class Correlation(NamedTuple):
    """How two symbols move together."""

    known: bool
    linked: bool
    """|rho| >= 0.7, whatever the sign."""
    rho: str | None
    """For reports, 6 places; None where unknown."""


UNKNOWN = Correlation(known=False, linked=False, rho=None)


class Cluster(NamedTuple):
    """Symbols connected by links."""

    name: str
    """The smallest symbol."""
    members: tuple[Member, ...]
    """In breadth-first order, the candidate first, leaves last."""


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
        self.panel = Panel(SESSIONS_KEPT)
        """The same as integers, side by side. At least one symbol has a session of each of its dates."""
        self.panel.load(self._sessions)
        self._closes: dict[str, tuple[Decimal, int] | None] = {}
        self._window: Window | None = None
        self.version = 0
        """Rises with every change: what is derived from the returns holds as long as this stays."""
        self.symbols_version = 0
        """Rises whenever a symbol comes or goes."""

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
        sessions = self._sessions.get(symbol)
        if sessions is None:
            sessions = self._sessions[symbol] = {}
            self.symbols_version += 1
        before = sessions.get(day)
        if before == session:
            return
        sessions[day] = session
        self.version += 1
        self.dirty.add(symbol)
        self._take_close(symbol, day, session.close)
        if before is None or before.scaled != session.scaled:
            self.panel.put(symbol, day, session.scaled)
            if self._window is not None:
                self._window.forget(symbol, day)

    def _take_close(self, symbol: str, day: int, close: Decimal | None) -> None:
        """Bring the latest close up to date, if it was asked for."""
        if symbol not in self._closes:
            return
        latest = self._closes[symbol]
        if close is not None and (latest is None or latest[1] <= day):
            self._closes[symbol] = close, day
        elif latest is not None and latest[1] == day:
            del self._closes[symbol]  # it was taken back

    def _keep(self, day: int) -> bool:
        """Tell whether sessions of this date are kept; a date not seen before may displace the oldest one."""
        dates = self.panel.dates
        place = bisect_left(dates, day)
        if place < len(dates) and dates[place] == day:
            return True
        if len(dates) == SESSIONS_KEPT:
            if place == 0:
                return False
            self._forget(dates[0])
        self.panel.add_date(day)
        self._window = None
        return True

    def _forget(self, day: int) -> None:
        """Drop the oldest date, and every symbol that has no other."""
        self.panel.drop_oldest()
        for symbol in [symbol for symbol, sessions in self._sessions.items() if day in sessions]:
            del self._sessions[symbol][day]
            if not self._sessions[symbol]:
                del self._sessions[symbol]
                self.panel.remove(symbol)
                self.symbols_version += 1
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
            self._window = Window(self.panel)
        return self._window

    def correlation(self, a: str, b: str, day: int) -> Correlation:
        """Return how two symbols move together.

        Args:
            a: A symbol.
            b: Another.
            day: Date of the account's clock, days since 1970-01-01.
        """
        window = self.window()
        oldest = window.oldest(day)
        if not window.known(a, b, oldest):
            return UNKNOWN
        return Correlation(known=True, linked=window.linked(a, b, oldest), rho=window.rho(a, b))

    def cluster(self, candidate: str, symbols: Collection[str], day: int) -> Cluster:
        """Return the candidate's cluster.

        First the component of the candidate over known links is found; then the symbols whose correlation with
        the candidate is unknown join as leaves, so that one new listing cannot weld the book together.

        Args:
            candidate: Symbol of the intent.
            symbols: Symbols with an exposure, in any order, with or without the candidate.
            day: Date of the account's clock, days since 1970-01-01.
        """
        others = set(symbols) - {candidate}
        if candidate not in self._sessions:  # nor need the window remember whatever name an intent has
            members, leaves = [Member(candidate, None, None, known=True)], sorted(others)
        else:
            window = self.window()
            oldest = window.oldest(day)
            members = window.component(candidate, others, oldest)
            leaves = window.unknown(candidate, others, oldest)
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
    oldest, left = window.oldest(day), set(symbols)
    components, everyone = [], sorted(left)
    window.compare(everyone, oldest)
    for symbol in everyone:
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
        return six_places(0.0)
    window, gross = returns.window(), sum(held.values())
    shares = np.array([float(exposure / gross) for exposure in held.values()])
    strengths = window.strengths(list(held), window.oldest(day))
    concentration = math.fsum((np.outer(shares, shares) * strengths).ravel().tolist())
    return six_places(min(1.0, max(0.0, (1 / concentration - 1) / (len(held) - 1))))

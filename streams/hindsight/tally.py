"""What is counted of a world: answers, exposure, drawdown and profit, and where two worlds come apart.

Money is exact and in the account's currency; times are ns since the Unix epoch. Call under `canonical.CONTEXT`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from models.canonical import ratio
from models.decisions import DecisionStatus, RiskDecision
from models.folds.book import ZERO
from models.folds.drawdown import Drawdown, PeakLoss, Reset

POINTS_MAX = 400
"""A path keeps at most this many points, evenly thinned, and its last one."""


class Tally:
    """What one account came to in one world, over the span that is looked at."""

    def __init__(self) -> None:
        self.approved = 0
        self.rejected = 0
        self.halts = 0
        self.reasons: Counter[str] = Counter()
        self.exposure = ZERO
        """The largest sum of positions at the last prices, whatever their sign."""
        self.exposure_share = ZERO
        """The largest share of equity that this sum ever was, 6 places."""
        self.equity: Decimal | None = None
        self.flow = ZERO
        """External money that came in since the first equity."""
        self._first: Decimal | None = None
        self._deposits: Decimal | None = None
        self._peak = PeakLoss()

    def answer(self, decision: RiskDecision) -> None:
        """Count a decision."""
        approved = decision.status is DecisionStatus.APPROVED
        self.approved += approved
        self.rejected += not approved
        self.reasons.update(map(str, decision.reasons))

    def worth(self, drawdown: Drawdown) -> None:
        """Take in what the account is worth; the same again changes nothing."""
        equity, deposits = drawdown.equity, drawdown.net_deposits
        if equity is None:
            return
        if self.equity is None:
            self._first = equity
            self._peak.reset(equity, Reset.CLEAR)
        else:
            flow = ZERO if deposits is None or self._deposits is None else deposits - self._deposits
            self.flow += flow
            self._peak.observe(equity, self.equity, flow, 0, drawdown.equity_time)
        self.equity = equity
        self._deposits = self._deposits if deposits is None else deposits

    def exposed(self, amount: Decimal) -> None:
        """Take in the exposure of a moment."""
        self.exposure = max(self.exposure, amount)
        if self.equity is not None and self.equity > 0:
            self.exposure_share = max(self.exposure_share, ratio(amount, self.equity) or ZERO)

    @property
    def profit(self) -> Decimal:
        """What equity gained since the first one, deposits and withdrawals apart."""
        return ZERO if self.equity is None or self._first is None else self.equity - self._first - self.flow

    @property
    def drawdown(self) -> Decimal:
        """The worst loss from a peak, adjusted for deposits and withdrawals: a share of the peak, 6 places."""
        worst = self._peak.worst
        return ZERO if worst is None else ratio(worst.loss, worst.base) or ZERO


class Point(NamedTuple):
    """What an account was worth at one time in both worlds."""

    time: int
    was: Decimal
    would: Decimal


class Path:
    """Points over time, thinned evenly so that a path of any length is a few hundred points."""

    def __init__(self) -> None:
        self._points: list[Point] = []
        self._last: Point | None = None
        self._every = 1
        self._seen = 0

    def add(self, point: Point) -> None:
        """Add a point no older than the last."""
        if self._seen % self._every == 0:
            self._points.append(point)
            if len(self._points) == 2 * POINTS_MAX:
                self._points = self._points[::2]
                self._every *= 2
        self._seen += 1
        self._last = point

    def points(self) -> tuple[Point, ...]:
        """Return the points, the last one always among them."""
        if self._last is None or self._points[-1] == self._last:
            return tuple(self._points)
        return (*self._points, self._last)


@dataclass
class Episode:
    """A time during which two worlds hold different amounts of one symbol.

    What the difference came to is exact when it ends, since nothing is left of it but money.
    """

    symbol: str
    first: int
    last: int
    units: Decimal = ZERO
    """What the other world holds more, signed."""
    cash: Decimal = ZERO
    """What the other world has more in cash for it, fees included."""
    value: Decimal = ZERO
    """Of the units at the last price; zero once the episode is over."""

    @property
    def result(self) -> Decimal:
        """What the other world gained by the difference; negative for a loss."""
        return self.cash + self.value


class Change(NamedTuple):
    """By how much an execution differs between the two worlds."""

    event_time: int
    symbol: str
    units: Decimal
    """Signed: the other world's less history's."""
    cash: Decimal


@dataclass
class Difference:
    """How far one account of the other world is from history: in units by symbol, and in cash."""

    prices: dict[str, Decimal] = field(default_factory=dict)
    """The last price of each symbol, of a mark or an execution: the same in both worlds."""
    episodes: list[Episode] = field(default_factory=list)
    """Those that are over."""
    _open: dict[str, Episode] = field(default_factory=dict)
    _pending: list[Change] = field(default_factory=list)
    _units: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    _cash: Decimal = ZERO

    def execute(self, change: Change) -> None:
        """Take in an execution that differs; the equity feed knows it once its figures reach that far."""
        if not change.units and not change.cash:
            return
        self._pending.append(change)
        episode = self._open.get(change.symbol)
        if episode is None:
            episode = self._open[change.symbol] = Episode(change.symbol, change.event_time, change.event_time)
        episode.last = max(episode.last, change.event_time)
        episode.units += change.units
        episode.cash += change.cash
        if not episode.units:
            self.episodes.append(self._open.pop(change.symbol))

    def cash_through(self, time: int) -> Decimal:
        """Return the difference in cash by executions up to `time`; they stay in it from then on."""
        due = [change for change in self._pending if change.event_time <= time]
        if due:
            self._pending = [change for change in self._pending if change.event_time > time]
        for change in due:
            self._cash += change.cash
            self._units[change.symbol] += change.units
        return self._cash

    def value(self, multipliers: Iterable[tuple[str, Decimal]]) -> Decimal:
        """Return what the differing units that the feed knows are worth at the last prices."""
        return sum((self._units[symbol] * self.prices[symbol] * by for symbol, by in multipliers), ZERO)

    @property
    def symbols(self) -> list[str]:
        """Symbols whose units differ, as far as the feed knows."""
        return sorted(symbol for symbol, units in self._units.items() if units)

    def all_episodes(self, multipliers: dict[str, Decimal]) -> Iterator[Episode]:
        """Yield the episodes that are over, then those that are not, at the last prices."""
        yield from self.episodes
        for symbol, episode in sorted(self._open.items()):
            episode.value = episode.units * self.prices[symbol] * multipliers.get(symbol, Decimal(1))
            yield episode

"""What the demo's accounts would like to do: small strategies, pure functions of what they can see.

They are there to give the gate work, not to make money. Prices are compared as floats here, since a signal is a
statistic; every quantity that reaches the gate is an exact decimal.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from random import Random
from statistics import fmean
from typing import NamedTuple

from models.messages import Side
from streams.demo.tape import Tape


class Holding(NamedTuple):
    """A position as its owner sees it."""

    quantity: Decimal
    cost: Decimal
    """Average price paid, account currency per unit."""


@dataclass(frozen=True)
class View:
    """What a strategy knows at a session's close."""

    tape: Tape
    session: int
    equity: Decimal
    holdings: Mapping[str, Holding]
    chance: Random
    """Seeded by account and date, so that a run can be had again."""

    def closes(self, symbol: str, count: int) -> list[float]:
        """Return the last `count` closes, oldest first."""
        return self.tape.closes(symbol, self.session, count)

    def change(self, symbol: str, sessions: int) -> float:
        """Return the simple return over the last `sessions` sessions."""
        closes = self.closes(symbol, sessions + 1)
        return closes[-1] / closes[0] - 1

    def price(self, symbol: str) -> Decimal:
        """Return the close."""
        return self.tape.bar(symbol, self.session).close

    def share(self, symbol: str) -> Decimal:
        """Return the position's part of equity."""
        holding = self.holdings.get(symbol)
        return holding.quantity * self.price(symbol) / self.equity if holding else Decimal(0)

    def units(self, symbol: str, share: str) -> Decimal:
        """Return the whole units that a share of equity buys."""
        return Decimal(share) * self.equity // self.price(symbol)


class Wish(NamedTuple):
    """An order as a strategy thinks of it; the account's desk makes an intent of it."""

    symbol: str
    side: Side
    quantity: Decimal | None = None
    """None: the gate is to size the opening, or to close what is there."""
    limit: bool = False
    """A limit order at the close instead of a market order."""
    allow_resize: bool = False
    reduce_only: bool = False
    win_rate: Decimal | None = None
    payoff: Decimal | None = None
    trades: int | None = None


FALLEN, BAD_DAY, CRASH_DAY = -0.06, -0.05, -0.06
"""Simple returns at which a strategy sees its chance."""

Strategy = Callable[[View], Iterator[Wish]]


def momentum(view: View) -> Iterator[Wish]:
    """Buy the three strongest of the last 20 sessions while they rise; leave below the average of 10."""
    for symbol in sorted(view.holdings):
        closes = view.closes(symbol, 10)
        if closes[-1] < fmean(closes):
            yield Wish(symbol, Side.SELL, reduce_only=True)
    ranked = sorted(view.tape.bars, key=lambda symbol: (-view.change(symbol, 20), symbol))
    for symbol in ranked[:3]:
        closes = view.closes(symbol, 20)
        if symbol not in view.holdings and closes[-1] > fmean(closes):
            yield Wish(symbol, Side.BUY)


def buy_the_dip(view: View) -> Iterator[Wish]:
    """Buy whatever lost 6 % in three sessions, at a limit; take a gain of 4 %."""
    for symbol, holding in sorted(view.holdings.items()):
        if view.price(symbol) > holding.cost * Decimal("1.04"):
            yield Wish(symbol, Side.SELL)
    fallen = sorted(view.tape.bars, key=lambda symbol: (view.change(symbol, 3), symbol))
    for symbol in fallen[:4]:
        if view.change(symbol, 3) < FALLEN:
            yield Wish(symbol, Side.BUY, limit=True, allow_resize=view.chance.choice((True, False)))


TECHNOLOGY = ("AAPL", "AMD", "GOOG", "IBM", "MSFT", "MTUM")


def technology(view: View) -> Iterator[Wish]:
    """Build up technology to 20 % a name, 9 % at a time, and double up after a bad day; cut at a quarter lost."""
    for symbol in TECHNOLOGY:
        if symbol not in view.tape.bars:
            continue
        holding = view.holdings.get(symbol)
        if holding and view.price(symbol) < holding.cost * Decimal("0.75"):
            yield Wish(symbol, Side.SELL)
        elif view.share(symbol) < Decimal("0.2") or view.change(symbol, 1) < BAD_DAY:
            yield Wish(symbol, Side.BUY, view.units(symbol, "0.09"))


def banks(view: View) -> Iterator[Wish]:
    """Hold two banks and the company that behaves like one, a third each, and average down."""
    for symbol in ("BAC", "GE", "JPM"):
        share = view.share(symbol)
        if share < Decimal("0.33") or view.change(symbol, 1) < CRASH_DAY:
            yield Wish(symbol, Side.BUY, view.units(symbol, "0.12"))
        elif share > Decimal("0.45"):
            yield Wish(symbol, Side.SELL, view.units(symbol, "0.1"))


def kelly(view: View) -> Iterator[Wish]:
    """Bet on the best win rates of the last 60 sessions, and on one symbol by whim; leave when the edge is gone."""
    edges = {symbol: _edge(view.closes(symbol, 61)) for symbol in view.tape.bars}
    for symbol in sorted(view.holdings):
        if edges[symbol].fraction <= 0:
            yield Wish(symbol, Side.SELL)
    best = sorted(edges, key=lambda symbol: (-edges[symbol].fraction, symbol))[:2]
    for symbol in dict.fromkeys((*best, view.chance.choice(sorted(edges)))):
        if symbol not in view.holdings:
            edge = edges[symbol]
            # The account is young: it counts its own trades, and has too few of them in its first week.
            trades = 25 + view.session - view.tape.first
            yield Wish(symbol, Side.BUY, win_rate=edge.win_rate, payoff=edge.payoff, trades=trades, allow_resize=True)


class _Edge(NamedTuple):
    win_rate: Decimal
    payoff: Decimal
    fraction: float


def _edge(closes: list[float]) -> _Edge:
    changes = [later / earlier - 1 for earlier, later in pairwise(closes)]
    gains, losses = [one for one in changes if one > 0], [-one for one in changes if one < 0]
    if not gains or not losses:
        return _Edge(Decimal("0.5"), Decimal(1), 0.0)
    rate, payoff = len(gains) / len(changes), fmean(gains) / fmean(losses)
    return _Edge(Decimal(f"{rate:.4f}"), Decimal(f"{payoff:.4f}"), rate - (1 - rate) / payoff)


DEFENSIVE = ("JNJ", "KO", "LLY", "MRK", "PEP", "PFE", "PG", "UNH", "WMT")


def pension(view: View) -> Iterator[Wish]:
    """Save a fixed sum into one defensive name each session, and trim what has grown past an eighth."""
    symbol = DEFENSIVE[(view.session - view.tape.first) % len(DEFENSIVE)]
    for held in sorted(view.holdings):
        if view.share(held) > Decimal("0.125"):
            yield Wish(held, Side.SELL, view.units(held, "0.03"))
    yield Wish(symbol, Side.BUY)

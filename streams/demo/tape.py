"""The market data of the demo: closes, Wilder's ATR and daily returns of one act, from the files in `data/`.

The two price files are never mixed within a symbol: closes adjusted for dividends (`prices_daily.csv`) where there
are any, else bars adjusted for splits only (`ohlcv_daily.csv`). `data/SOURCES.md` says where both come from.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from importlib.resources import files
from itertools import pairwise
from typing import NamedTuple

INDEX = "^GSPC"
"""The S&P 500: shown, never traded."""

WILDER_SESSIONS = 14
RETURN_PLACES = Decimal("0.0000001")
ATR_PLACES = Decimal("0.000001")
_STATISTICS = Context(prec=28, rounding=ROUND_HALF_EVEN)


class Act(NamedTuple):
    """A stretch of history that is played."""

    name: str
    title: str
    first: str
    """The first session played, ISO 8601; before it come `lead` sessions of returns."""
    last: str
    symbols: tuple[str, ...]
    lead: int = 250
    """Sessions of returns published before the curtain: as many as the gate keeps, so that from the first decision on
    correlations and value at risk rest on the market of this act alone."""


_STOCKS = (
    *("AAPL", "AMD", "BAC", "BBY", "CVX", "GE", "HD", "JNJ", "JPM", "KO", "LLY"),
    *("MRK", "MSFT", "PEP", "PFE", "PG", "RRC", "UNH", "WMT", "XOM"),
)
ACTS = (
    Act("2008", "Lehman and after", "2008-09-02", "2008-10-31", tuple(sorted((*_STOCKS, "GOOG", "IBM")))),
    Act("2020", "the pandemic", "2020-02-18", "2020-03-31", tuple(sorted((*_STOCKS, "MTUM", "QUAL", "USMV")))),
)
WARM_UP = 251
"""Sessions read before the first one played: for returns, averages, ATR and win rates."""


class Range(NamedTuple):
    """One session of one symbol, account currency per unit. Where only the close is known all three are the close."""

    high: Decimal
    low: Decimal
    close: Decimal


class Bar(NamedTuple):
    """What a feed knows of one symbol at a session's close."""

    close: Decimal
    atr: Decimal | None
    """Wilder's average true range over 14 sessions, account currency per unit; None before there are 14."""
    change: Decimal | None
    """The simple return since the session before, 7 places; None on the first."""


@dataclass(frozen=True)
class Tape:
    """One act's data. Sessions are numbered from 0; `first` is the first one played."""

    act: Act
    sessions: tuple[str, ...]
    first: int
    bars: Mapping[str, tuple[Bar | None, ...]]
    """By symbol, one for each session; None where the symbol was not quoted."""
    sectors: Mapping[str, str | None]
    index: tuple[Decimal, ...]
    """The S&P 500 at each session's close."""

    def bar(self, symbol: str, session: int) -> Bar:
        """Return the bar of a quoted symbol."""
        bar = self.bars[symbol][session]
        assert bar is not None, f"{symbol} is not quoted on {self.sessions[session]}"
        return bar

    def closes(self, symbol: str, session: int, count: int) -> list[float]:
        """Return the last `count` closes up to and with `session`, oldest first, for statistics."""
        found = (self.bars[symbol][number] for number in range(session - count + 1, session + 1))
        return [float(bar.close) for bar in found if bar is not None]


def wilder_atr(ranges: list[Range]) -> Iterator[Decimal | None]:
    """Yield the average true range of each session (Wilder 1978), None until 14 true ranges are known.

    TR = max(high, prior close) - min(low, prior close); the first value is the mean of 14 of them, each later one
    (13 * ATR + TR) / 14. Rounded to 6 places where published, not in the recursion.
    """
    atr: Decimal | None = None
    true_ranges: list[Decimal] = []
    if ranges:
        yield None
    for before, bar in pairwise(ranges):
        true_range = max(bar.high, before.close) - min(bar.low, before.close)
        true_ranges.append(true_range)
        if atr is not None:
            total = _STATISTICS.add(_STATISTICS.multiply(atr, Decimal(WILDER_SESSIONS - 1)), true_range)
            atr = _STATISTICS.divide(total, Decimal(WILDER_SESSIONS))
        elif len(true_ranges) == WILDER_SESSIONS:
            atr = _STATISTICS.divide(sum(true_ranges, Decimal(0)), Decimal(WILDER_SESSIONS))
        published = None if atr is None else atr.quantize(ATR_PLACES, context=_STATISTICS)
        yield published or None  # a series that never moved has no range to size by


def load(act: Act) -> Tape:
    """Read one act from the package's data files."""
    closes = _rows("prices_daily.csv")
    dates = [row["date"] for row in closes]
    start, stop = dates.index(act.first) - WARM_UP, dates.index(act.last) + 1
    kept, sessions = closes[start:stop], tuple(dates[start:stop])
    with_range = _bars_with_range()
    ranges: dict[str, list[Range | None]] = {}
    for symbol in act.symbols:
        if symbol in kept[0]:
            ranges[symbol] = [_flat(row[symbol]) for row in kept]
        else:
            ranges[symbol] = [with_range.get((date, symbol)) for date in sessions]
    sectors = {row["symbol"]: row["sector"] or None for row in _rows("instruments.csv")}
    return Tape(
        act=act,
        sessions=sessions,
        first=WARM_UP,
        bars={symbol: _bars(found) for symbol, found in ranges.items()},
        sectors={symbol: sectors[symbol] for symbol in act.symbols},
        index=tuple(Decimal(row[INDEX]) for row in kept),
    )


def _rows(name: str) -> list[dict[str, str]]:
    with (files("streams.demo") / "data" / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _flat(text: str) -> Range | None:
    return Range(Decimal(text), Decimal(text), Decimal(text)) if text else None


def _bars_with_range() -> dict[tuple[str, str], Range]:
    return {
        (row["date"], row["symbol"]): Range(Decimal(row["high"]), Decimal(row["low"]), Decimal(row["close"]))
        for row in _rows("ohlcv_daily.csv")
    }


def _bars(ranges: list[Range | None]) -> tuple[Bar | None, ...]:
    """Turn the sessions of one symbol into bars; a session without a quote is passed over."""
    quoted = [found for found in ranges if found is not None]
    changes: list[Decimal | None] = [None]
    changes += [_STATISTICS.divide(bar.close, before.close) - 1 for before, bar in pairwise(quoted)]
    made = iter(
        Bar(bar.close, atr, None if change is None else change.quantize(RETURN_PLACES, context=_STATISTICS))
        for bar, atr, change in zip(quoted, wilder_atr(quoted), changes, strict=True)
    )
    return tuple(None if found is None else next(made) for found in ranges)

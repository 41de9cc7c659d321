"""The value of an account and its drawdowns: a walk over every equity tick there has been."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tests.oracle.history import KEPT, SECOND, Entry, Wire, day_number, day_of, exact, optional

BAND = Fraction(1, 5)


@dataclass
class Pair:
    """A loss, what it is a loss of, and the tick that made it."""

    loss: Fraction
    base: Fraction
    entry: Entry


@dataclass
class Measure:
    """The current pair and the worst one since the last reset."""

    current: Pair | None = None
    worst: Pair | None = None

    def see(self, loss: Fraction, base: Fraction | None, entry: Entry) -> None:
        """Take a new pair."""
        self.current = None
        if base is not None and base > 0:
            self.current = Pair(loss, base, entry)
            if self.worst is None or loss * self.worst.base > self.worst.loss * base:
                self.worst = self.current


@dataclass
class Suspect:
    """A tick that awaits confirmation, and what it would reset."""

    equity: Fraction
    deposits: Fraction | None
    opens: bool
    clears: bool


@dataclass
class Mark:
    """What is known of a symbol's price and range."""

    price: Fraction | None = None
    price_time: int = -1
    atr: Fraction | None = None
    atr_time: int = -1


def _ceil_8(value: Fraction) -> Fraction:
    return Fraction(math.ceil(value * 10**8), 10**8)


@dataclass
class Equity:
    """All that the ticks of an account say."""

    equity: Fraction | None = None
    equity_time: int = 0
    newest: int | None = None
    deposits: Fraction | None = None
    newest_of_all: int = 0
    """Of ticks of every kind; `newest` is of those that carry an equity."""
    suspect: Suspect | None = None
    session_peak: Fraction = Fraction(0)
    high_peak: Fraction = Fraction(0)
    opened_at: Fraction | None = None
    flow_since: Fraction = Fraction(0)
    session: Measure = field(default_factory=Measure)
    daily: Measure = field(default_factory=Measure)
    high: Measure = field(default_factory=Measure)
    last_session: int | None = None
    last_resume: int | None = None
    operator_halts: list[Entry] = field(default_factory=list)
    last_halt: int | None = None
    resumed_by: Entry | None = None
    """The resume, if the last record of the account was one that took effect."""
    marks: dict[str, Mark] = field(default_factory=dict)
    cash: tuple[Fraction, int] | None = None
    buying_power: tuple[Fraction, int] | None = None
    """Each with its fills_through."""

    def take(self, entry: Entry) -> None:
        """Take one tick."""
        self.resumed_by = None
        self.newest_of_all = max(self.newest_of_all, entry.event_time)
        kind = entry.body["kind"]
        if kind == "halt":
            self.operator_halts.append(entry)
            self.last_halt = max(self.last_halt or 0, entry.event_time)
        elif kind == "resume":
            self._resume(entry)
        elif kind in ("mark", "session_open"):
            self._value(entry)

    def mark(self, symbol: str) -> Mark | None:
        """Return what is known of a symbol, unless it is forgotten."""
        mark = self.marks.get(symbol)
        if mark is None or mark.price_time < self.newest_of_all - KEPT:
            return None
        return mark

    # --- resets

    def _resume(self, entry: Entry) -> None:
        at = entry.event_time
        worst = [m.worst.entry.event_time for m in (self.session, self.daily, self.high) if m.worst is not None]
        if self.last_resume is not None and at <= self.last_resume:
            return
        if any(at < other for other in (*worst, *([] if self.last_halt is None else [self.last_halt]))):
            return
        self.last_resume = at
        self.operator_halts = []
        self.resumed_by = entry
        if self.equity is not None:
            self._reset_session(self.equity, clears=True)
            self.high, self.high_peak = Measure(), self.equity

    def _reset_session(self, equity: Fraction, *, clears: bool) -> None:
        self.session_peak = equity
        self.opened_at = equity if equity > 0 else None
        self.flow_since = Fraction(0)
        for measure in (self.session, self.daily):
            measure.current = None
            if clears:
                measure.worst = None

    # --- values

    def _opens(self, entry: Entry) -> bool:
        if entry.body["kind"] != "session_open":
            return False
        session = day_number(entry.body["session"])
        if abs(session - day_of(entry.event_time)) > 2:
            return False
        if self.last_session is not None and session <= self.last_session:
            return False
        self.last_session = session
        return True

    def _value(self, entry: Entry) -> None:
        opens = self._opens(entry)
        clears = opens and entry.body.get("clear_halts", True)
        if self.newest is not None and entry.event_time <= self.newest:
            if opens and self.suspect is not None:
                self.suspect.opens, self.suspect.clears = True, clears or self.suspect.clears
            elif opens:
                assert self.equity is not None
                self._reset_session(self.equity, clears=clears)
            return
        self.newest = entry.event_time
        equity, deposits = exact(entry.body["equity"]), optional(entry.body.get("net_deposits"))
        if self.equity is None:
            self.session_peak = self.high_peak = equity
            self._reset_session(equity, clears=True)
            self._apply(entry, equity, deposits)
            return

        expected = self.equity + _flow(deposits, self.deposits)
        suspect = self.suspect
        if expected > 0 and abs(equity - expected) > BAND * expected:
            if suspect is not None:
                opens, clears = opens or suspect.opens, clears or suspect.clears
            if suspect is None or not _confirms(equity, deposits, suspect):
                if deposits is None:
                    deposits = self.deposits if suspect is None else suspect.deposits
                self.suspect = Suspect(equity, deposits, opens, clears)
                return
            deposits = suspect.deposits if deposits is None else deposits
        elif suspect is not None:
            opens, clears = opens or suspect.opens, clears or suspect.clears
        self.suspect = None
        self._advance(entry, equity, deposits, opens=opens, clears=clears)

    def _advance(
        self, entry: Entry, equity: Fraction, deposits: Fraction | None, *, opens: bool, clears: bool
    ) -> None:
        before = self.equity
        assert before is not None
        flow = _flow(deposits, self.deposits)
        if flow != 0:
            restarts = before <= 0 or before + flow <= 0
            for name in ("session_peak", "high_peak"):
                peak = getattr(self, name)
                setattr(self, name, equity if restarts else _ceil_8(peak * (before + flow) / before))
        self.high_peak = max(self.high_peak, equity)
        self.high.see(self.high_peak - equity, self.high_peak, entry)
        if opens:
            self._reset_session(equity, clears=clears)
        else:
            self.flow_since += flow
            self.session_peak = max(self.session_peak, equity)
            self.session.see(self.session_peak - equity, self.session_peak, entry)
            if self.opened_at is None and equity > 0:
                self.opened_at, self.flow_since = equity, Fraction(0)
            base = self.opened_at
            self.daily.see(Fraction(0) if base is None else base + self.flow_since - equity, base, entry)
        self._apply(entry, equity, deposits)

    def _apply(self, entry: Entry, equity: Fraction, deposits: Fraction | None) -> None:
        self.equity, self.equity_time = equity, entry.event_time
        if deposits is not None:
            self.deposits = deposits
        body: Wire = entry.body
        through = body.get("fills_through")
        if through is None:
            through = max(0, body["event_time"] - 5 * SECOND)
        if body.get("cash") is not None:
            self.cash = (exact(body["cash"]), through)
        if body.get("buying_power") is not None:
            self.buying_power = (exact(body["buying_power"]), through)
        for symbol, given in body.get("marks", {}).items():
            self._take_mark(symbol, given, entry.event_time)

    def _take_mark(self, symbol: str, given: dict[str, Any], event_time: int) -> None:
        mark = self.marks.setdefault(symbol, Mark())
        price_time = given.get("price_time")
        price_time = event_time if price_time is None else price_time
        if price_time > mark.price_time:
            mark.price, mark.price_time = exact(given["price"]), price_time
        atr_time = given.get("atr_time")
        atr_time = event_time if atr_time is None else atr_time
        if given.get("atr") is not None and atr_time > mark.atr_time:
            mark.atr, mark.atr_time = exact(given["atr"]), atr_time


def _flow(deposits: Fraction | None, before: Fraction | None) -> Fraction:
    return Fraction(0) if deposits is None or before is None else deposits - before


def _confirms(equity: Fraction, deposits: Fraction | None, suspect: Suspect) -> bool:
    expected = suspect.equity + _flow(deposits, suspect.deposits)
    if equity <= 0 and suspect.equity <= 0:
        return True
    return expected > 0 and abs(equity - expected) <= BAND * expected


def walk(ticks: Iterable[Entry]) -> Equity:
    """Return what all ticks together say."""
    equity = Equity()
    for entry in ticks:
        equity.take(entry)
    return equity


@dataclass(frozen=True)
class Status:
    """How an account stands, and why."""

    status: str
    causes: dict[str, int]
    """Offset by cause."""


def status_of(equity: Equity, limits: Wire) -> Status:
    """Join the drawdowns with a profile."""

    def reached(pair: Pair | None, level: str | None) -> bool:
        return pair is not None and level is not None and pair.loss >= exact(level) * pair.base

    halts = {
        name: measure.worst.entry.offset
        for name, measure, level in (
            ("DRAWDOWN_SESSION", equity.session, limits["drawdown_halt"]),
            ("DRAWDOWN_HIGH_WATER", equity.high, limits["high_water_halt"]),
            ("DAILY_LOSS", equity.daily, limits["daily_loss_halt"]),
        )
        if measure.worst is not None and reached(measure.worst, level)
    }
    if equity.operator_halts:
        halts["OPERATOR"] = max(equity.operator_halts, key=lambda e: e.event_time).offset
    if halts:
        return Status("HALT", halts)
    warnings = {
        name: measure.current.entry.offset
        for name, measure, level in (
            ("DRAWDOWN_SESSION", equity.session, limits["drawdown_warning"]),
            ("DRAWDOWN_HIGH_WATER", equity.high, limits["high_water_warning"]),
        )
        if measure.current is not None and reached(measure.current, level)
    }
    return Status("WARNING", warnings) if warnings else Status("NORMAL", {})

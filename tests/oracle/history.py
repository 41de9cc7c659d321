"""Every message there has been, as it stood on the wire, with its offset and its record's time."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeVar, cast

Wire = dict[str, Any]
T = TypeVar("T")

SECOND = 10**9
DAY = 86_400 * SECOND
FUTURE = 5 * SECOND
KEPT = 7 * DAY
EPOCH = date(1970, 1, 1)

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def day_of(time: int) -> int:
    """Return the UTC date of a time, in days since the epoch."""
    return time // DAY


def day_number(session: str) -> int:
    """Return an ISO date in days since the epoch."""
    return (date.fromisoformat(session) - EPOCH).days


def iso(day: int) -> str:
    """Return days since the epoch as an ISO date."""
    return (EPOCH + timedelta(days=day)).isoformat()


@lru_cache(maxsize=65536)
def exact(value: str) -> Fraction:
    """Return a number of the wire."""
    return Fraction(value)


def optional(value: str | None) -> Fraction | None:
    """Return a number of the wire, or None where it is absent."""
    return None if value is None else exact(value)


def floor_to(value: Fraction, lot: Fraction) -> Fraction:
    """Return the largest multiple of the lot that is not above a value, at least 0."""
    return max(Fraction(0), math.floor(value / lot) * lot)


def plain(value: str) -> str:
    """Return a number in canonical form: no trailing zeros, no "-0"."""
    assert _NUMBER.fullmatch(value), value
    if "." in value:
        value = value.rstrip("0").rstrip(".")
    return "0" if value == "-0" else value


NUMBERS = ("quantity", "limit_price", "reference_price", "atr", "stop_distance", "win_rate", "payoff")
INTENT = ("intent_id", "account", "strategy", "symbol", "side", "order_type", *NUMBERS, "trades", "event_time")
EXPIRY = {"MARKET": 300 * SECOND, "LIMIT": DAY}


def completed(intent: Wire) -> Wire:
    """Return an intent with its defaults filled and its numbers in canonical form."""
    whole: Wire = {name: intent.get(name) for name in INTENT}
    for name in NUMBERS:
        if whole[name] is not None:
            whole[name] = plain(whole[name])
    whole["allow_resize"] = intent.get("allow_resize", False)
    whole["reduce_only"] = intent.get("reduce_only", False)
    expires_at = intent.get("expires_at")
    whole["expires_at"] = intent["event_time"] + EXPIRY[intent["order_type"]] if expires_at is None else expires_at
    whole["version"] = 1
    if intent.get("replaces") is not None:
        whole["replaces"] = intent["replaces"]
    return whole


def digest_of(intent: Wire) -> str:
    """Return the SHA-256 of an intent's canonical JSON."""
    text = json.dumps(completed(intent), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """One record: what it says and when it counts as having happened."""

    offset: int
    event_time: int
    body: Wire


@dataclass
class Order:
    """An approval, as the decision has it."""

    intent_id: str
    seq: int
    strategy: str
    symbol: str
    side: str
    limit_price: Fraction | None
    market: bool
    quantity: Fraction
    opening: Fraction
    price: Fraction | None
    expires_at: int
    clock: int
    as_of_fills: int
    replaces: str | None
    """Only where it was a live order of the same symbol and side."""


@dataclass
class Answer:
    """What is remembered of a decision."""

    intent_id: str
    digest: str
    seq: int
    status: str
    quantity: Fraction
    until: int


@dataclass
class Account:
    """What there has been of one account."""

    fills: list[Entry] = field(default_factory=list)
    ticks: list[Entry] = field(default_factory=list)
    intents: list[int] = field(default_factory=list)
    """Event times of decided intents, those that failed 1 or 4 excepted."""
    orders: list[Order] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    buckets: dict[str | None, int] = field(default_factory=dict)
    """By strategy, None for the account's own."""
    decision_clock: int = 0
    seq: int = 0
    halts: list[Wire] = field(default_factory=list)

    @property
    def clock(self) -> int:
        """The newest event time of anything folded or decided."""
        return max(
            (*(e.event_time for e in self.fills), *(e.event_time for e in self.ticks), *self.intents), default=0
        )


class History:
    """The topics, as lists."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self._results: dict[Any, tuple[int, Any]] = {}
        self.returns: list[Entry] = []
        self.reference: list[Entry] = []
        self.as_of = {"fills": -1, "equity_ticks": -1, "daily_returns": -1, "reference": -1}

    def remembered(self, function: Callable[[list[Entry]], T], entries: list[Entry]) -> T:
        """Return what a function makes of a list, computed anew whenever the list has grown."""
        key = (function, id(entries))
        length, result = self._results.get(key, (-1, None))
        if length != len(entries):
            result = function(entries)
            self._results[key] = (len(entries), result)
        return cast("T", result)

    def account(self, name: str) -> Account:
        """Return an account, new where it is."""
        return self.accounts.setdefault(name, Account())

    def add_return(self, body: Wire, offset: int, time: int) -> None:
        """Keep a daily return unless it is from the future."""
        self.as_of["daily_returns"] = offset
        if body["event_time"] <= time + FUTURE and day_number(body["session"]) <= day_of(time) + 1:
            self.returns.append(Entry(offset, body["event_time"], body))

    def add_reference(self, body: Wire, offset: int, time: int) -> None:
        """Keep a reference record; one from the future has its record's time."""
        self.as_of["reference"] = offset
        at = body["event_time"]
        self.reference.append(Entry(offset, time if at > time + FUTURE else at, body))

    def add_tick(self, body: Wire, offset: int, time: int) -> None:
        """Keep an equity tick unless it is from the future; a halt from there has its record's time."""
        self.as_of["equity_ticks"] = offset
        at = body["event_time"]
        if at > time + FUTURE:
            if body["kind"] != "halt":
                return
            at = time
        self.account(body["account"]).ticks.append(Entry(offset, at, body))

    def add_fill(self, body: Wire, offset: int, time: int) -> None:
        """Keep an execution report unless it repeats another or is a dead letter."""
        self.as_of["fills"] = offset
        account = self.account(body["account"])
        if any(identity(other.body) == identity(body) for other in account.fills):
            return
        at = body["event_time"]
        entry = Entry(offset, time if at > time + FUTURE else at, body)
        oldest = max((other.event_time for other in account.fills), default=entry.event_time) - KEPT
        if entry.event_time < oldest:
            return
        if "execution_reference_id" in body:
            root = root_of(entry, [*account.fills, entry])
            if root is not None and root.event_time < oldest - KEPT:
                # The name is forgotten: it amends nothing, and is a report like any other.
                entry = Entry(entry.offset, entry.event_time, body | {"execution_type": "NEW"})
            elif root is not None and root.event_time < oldest:
                return
        account.fills.append(entry)


def identity(fill: Wire) -> tuple[str, int, str]:
    """Return what makes two execution reports the same one."""
    return (fill.get("venue") or "", day_of(fill["event_time"]), fill["execution_id"])


def root_of(entry: Entry, fills: Iterable[Entry]) -> Entry | None:
    """Follow a report's references to the execution that began it; None where they lead nowhere."""
    seen = {entry.offset}
    while entry.body["execution_type"] != "TRADE":
        named = [
            other
            for other in fills
            if other.body["execution_type"] in ("TRADE", "CORRECTED")
            and other.body["execution_id"] == entry.body["execution_reference_id"]
            and other.body.get("venue") == entry.body.get("venue")
            and other.event_time <= entry.event_time
        ]
        if not named:
            return None
        entry = max(named, key=lambda other: other.event_time)
        if entry.offset in seen:
            return None
        seen.add(entry.offset)
    return entry

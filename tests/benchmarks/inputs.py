"""Accounts with twenty positions, as messages: what the benchmarks fold and decide."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from models.canonical import DAY_NS, SECOND_NS, canonical_bytes
from models.messages import (
    DailyReturn,
    EquityMark,
    ExecutionType,
    Fill,
    OrderIntent,
    OrderType,
    PriceMark,
    ReferenceRecord,
    Side,
)
from streams.publisher import Message, destination
from streams.records import Record
from streams.starter import starter_records

POSITIONS: Final = 20
SYMBOLS: Final = tuple(f"S{number:02}" for number in range(POSITIONS))
TODAY: Final = date(2026, 10, 1)
NOON: Final = (TODAY - date(1970, 1, 1)).days * DAY_NS + DAY_NS // 2
"""Event time of what is first, ns."""
SESSIONS: Final = 250


def record(message: Message, offset: int, *, partition: int = 0) -> Record:
    """Return a message as a broker would hand it over a day later."""
    topic, key = destination(message)
    return Record(topic, partition, offset, NOON + DAY_NS, key, canonical_bytes(message))


def reference() -> list[ReferenceRecord]:
    """Return records that admit every account and every symbol."""
    return starter_records("USD", event_time=NOON)


def returns() -> list[DailyReturn]:
    """Return a full window of returns of every symbol, no two of them alike."""
    return [
        DailyReturn(
            symbol=symbol,
            session=(TODAY - timedelta(days=SESSIONS - day)).isoformat(),
            simple_return=Decimal((day * (2 * number + 3) + number * number) % 41 - 20).scaleb(-3),
            event_time=NOON,
        )
        for number, symbol in enumerate(SYMBOLS)
        for day in range(SESSIONS)
    ]


def mark(account: str, event_time: int = NOON) -> EquityMark:
    """Return an account's value with the prices of all its symbols."""
    price = PriceMark(price=Decimal(100), atr=Decimal(1))
    return EquityMark(
        account=account, event_time=event_time, equity=Decimal(1_000_000), marks=dict.fromkeys(SYMBOLS, price)
    )


def fills(account: str) -> list[Fill]:
    """Return the executions that gave an account its positions."""
    return [fill(account, number) for number in range(POSITIONS)]


def fill(account: str, number: int) -> Fill:
    """Return one execution of its own id, in one symbol after the other."""
    return Fill(
        execution_id=f"x-{number}",
        account=account,
        strategy="s",
        symbol=SYMBOLS[number % POSITIONS],
        side=Side.BUY,
        execution_type=ExecutionType.TRADE,
        last_quantity=Decimal(10),
        last_price=Decimal(100),
        event_time=NOON - 60 * SECOND_NS,
    )


def intent(account: str, number: int, *, event_time: int = NOON, intent_id: str | None = None) -> OrderIntent:
    """Return an order of its own id, in one symbol after the other."""
    return OrderIntent(
        intent_id=intent_id or f"i-{number}",
        account=account,
        strategy="s",
        symbol=SYMBOLS[number % POSITIONS],
        side=Side.BUY,
        quantity=Decimal(5),
        order_type=OrderType.MARKET,
        event_time=event_time,
    )

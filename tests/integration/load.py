"""A load of intents, fills, ticks and garbage, and the judgement on the log that it left."""

import asyncio
import random
import time
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from models.messages import (
    EquityMark,
    ExecutionType,
    Fill,
    OrderIntent,
    OrderType,
    PriceMark,
    Resume,
    Side,
)
from streams.codec import Codec
from streams.config import Settings
from streams.publisher import Message, Publisher
from streams.records import Topic
from streams.starter import starter_records
from streams.topics import Topics
from tests.integration.workers import read_epochs, read_partition
from tests.judge import check_dead_letters, check_decisions, check_halts

SYMBOLS = ("AAPL", "MSFT", "XOM", "JPM", "SPY")


class Load:
    """Messages of sparse accounts and a few hot ones, reproducible from a seed, with event times of now."""

    def __init__(self, seed: int, *, accounts: int) -> None:
        self._random = random.Random(seed)
        self._accounts = [f"A-{number}" for number in range(accounts)]
        self._equity = dict.fromkeys(self._accounts, 100000)
        self._count = 0

    def _account(self) -> str:
        hot = self._random.random() < 0.3
        return self._random.choice(self._accounts[:3] if hot else self._accounts)

    def _number(self) -> int:
        self._count += 1
        return self._count

    def opening(self) -> list[Message]:
        """Return a mark of each account."""
        return [self._mark(account) for account in self._accounts]

    def _mark(self, account: str) -> EquityMark:
        mark = PriceMark(price=Decimal(100), atr=Decimal(1))
        return EquityMark(
            account=account,
            event_time=time.time_ns(),
            equity=Decimal(self._equity[account]),
            marks=dict.fromkeys(SYMBOLS, mark),
        )

    def intent(self) -> OrderIntent:
        """Return an order intent that may or may not pass."""
        return OrderIntent(
            intent_id=f"i-{self._number()}",
            account=self._account(),
            strategy="s",
            symbol=self._random.choice(SYMBOLS),
            side=self._random.choice(list(Side)),
            quantity=Decimal(self._random.randrange(1, 40)),
            order_type=OrderType.MARKET,
            event_time=time.time_ns(),
        )

    def fill(self) -> Fill:
        """Return an execution."""
        return Fill(
            execution_id=f"x-{self._number()}",
            account=self._account(),
            symbol=self._random.choice(SYMBOLS),
            side=self._random.choice(list(Side)),
            execution_type=ExecutionType.TRADE,
            last_quantity=Decimal(self._random.randrange(1, 10)),
            last_price=Decimal(100),
            event_time=time.time_ns(),
        )

    def tick(self) -> EquityMark | Resume:
        """Return a mark that may trip the breaker, or an operator's resume."""
        account = self._account()
        if self._random.random() < 0.1:
            return Resume(account=account, event_time=time.time_ns(), actor="ops", reason="test")
        self._equity[account] = self._equity[account] * self._random.randrange(93, 107) // 100
        return self._mark(account)


GARBAGE = (b"", b"\xff\xfe", b"{}", b'{"quantity":NaN}', b"[" * 5000, b"x" * 100_000, None)


async def send(
    settings: Settings, seed: int, *, rounds: int, pause: float, enough: asyncio.Event | None = None
) -> None:
    """Send messages for a number of rounds, or until it is enough.

    Each round 20 intents, 5 fills, 5 ticks and now and then bytes that are none.
    """
    load = Load(seed, accounts=400)
    async with Publisher(settings) as publisher:
        await publisher.send_all(load.opening())
        for number in range(rounds):
            if enough is not None and enough.is_set():
                return
            messages: list[Message] = [load.intent() for _ in range(20)]
            messages += [load.fill() for _ in range(5)] + [load.tick() for _ in range(5)]
            await publisher.send_all(messages)
            if number % 10 == 0:
                for topic in (Topic.ORDER_INTENTS, Topic.FILLS, Topic.EQUITY_TICKS):
                    garbage = GARBAGE[number // 10 % len(GARBAGE)]
                    await publisher.send_raw(topic, b"A-1", garbage, partition=number % 4)
            await asyncio.sleep(pause)


async def prepare(settings: Settings) -> None:
    async with Publisher(settings) as publisher:
        await publisher.send_all(starter_records("USD", event_time=time.time_ns()))
        await publisher.send_raw(Topic.REFERENCE, b"garbage", b"{}")
        await publisher.send_raw(Topic.DAILY_RETURNS, b"garbage", b"1.5")


async def wait_until_decided(settings: Settings, partitions: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    for partition in range(partitions):
        while True:
            log = await read_partition(settings, partition, (Topic.ORDER_INTENTS, Topic.RISK_DECISIONS))
            missing = len(log[Topic.ORDER_INTENTS]) - len(log[Topic.RISK_DECISIONS])
            if not missing:
                break
            assert time.monotonic() < deadline, f"{missing} intents of partition {partition} have no decision"
            await asyncio.sleep(0.1)


class Verdict(NamedTuple):
    """What a log holds that was found true."""

    decisions: int
    halts: int
    letters: int

    def __str__(self) -> str:
        return f"{self.decisions} decisions, {self.halts} halts, {self.letters} dead letters: none lost, none twice"


async def judge(settings: Settings, topics: Topics) -> Verdict:
    """Check that the log is what it would be if nothing had happened to the workers.

    One decision per intent in order, chains unbroken, each decision and halt what a fresh fold gives, dead letters
    exact, and no older owner that wrote after a newer one.
    """
    codec = Codec(topics.partitions)
    decisions, halts, letters = 0, 0, 0
    for partition in range(topics.partitions):
        log = await read_partition(settings, partition)
        decisions += len(check_decisions(log, codec, partition))
        halts += len(check_halts(log, codec, partition))
        letters += check_dead_letters(log, codec, partition)
        epochs = await read_epochs(settings, Topic.RISK_DECISIONS, partition)
        assert all(earlier <= later for earlier, later in pairwise(epochs)), "an older owner wrote after a newer one"
    return Verdict(decisions, halts, letters)

"""A load of intents, fills, ticks and garbage, and the judgement on the log that it left."""

import asyncio
import random
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from models.messages import (
    EVERY,
    DailyReturn,
    EquityMark,
    ExecutionType,
    Fill,
    KillMode,
    KillScope,
    KillSwitch,
    LimitProfile,
    OrderIntent,
    OrderType,
    PriceMark,
    ReferenceRecord,
    Restricted,
    Resume,
    Side,
    StrategyRecord,
    StrategyState,
)
from streams.codec import Codec
from streams.config import Settings
from streams.publisher import Message, Publisher
from streams.reader import Reader
from streams.records import Names, Topic, TopicPartition
from streams.starter import PROFILE, starter_records
from streams.topics import Topics
from tests.integration.workers import read_epochs, read_partition
from tests.judge import check_dead_letters, check_decisions, check_halts

SYMBOLS = ("AAPL", "MSFT", "XOM", "JPM", "SPY")
STRATEGIES = ("s", "t", "u")
HOT = 3
"""Accounts that three messages of ten are about."""
SESSIONS_AGO = 200
"""Days before today of the first session that has returns."""


class Load:
    """Messages of sparse accounts and a few hot ones, reproducible from a seed, with event times of now."""

    def __init__(self, seed: int, *, accounts: int) -> None:
        self._random = random.Random(seed)
        self._accounts = [f"A-{number}" for number in range(accounts)]
        self._equity = dict.fromkeys(self._accounts, 100000)
        self._working: deque[OrderIntent] = deque(maxlen=200)
        self._count = 0

    def _account(self) -> str:
        hot = self._random.random() < 0.3
        return self._random.choice(self._accounts[:HOT] if hot else self._accounts)

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
        intent = OrderIntent(
            intent_id=f"i-{self._number()}",
            account=self._account(),
            strategy=self._random.choice(STRATEGIES),
            symbol=self._random.choice(SYMBOLS),
            side=self._random.choice(list(Side)),
            quantity=Decimal(self._random.randrange(1, 40)),
            order_type=OrderType.MARKET,
            event_time=time.time_ns(),
        )
        self._working.append(intent)
        return intent

    def fill(self) -> Fill:
        """Return an execution, of an intent of the last seconds, approved or not, or of none."""
        intent = self._random.choice(self._working) if self._working and self._random.random() < 0.7 else None
        return Fill(
            execution_id=f"x-{self._number()}",
            intent_id=None if intent is None else intent.intent_id,
            account=self._account() if intent is None else intent.account,
            symbol=self._random.choice(SYMBOLS) if intent is None else intent.symbol,
            side=self._random.choice(list(Side)) if intent is None else intent.side,
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

    def returns(self, number: int) -> list[DailyReturn]:
        """Return one session's returns, of the `number`th session."""
        day = datetime.now(tz=UTC).date() - timedelta(days=SESSIONS_AGO - number % SESSIONS_AGO)
        return [
            DailyReturn(
                symbol=symbol,
                session=day.isoformat(),
                simple_return=Decimal(self._random.randrange(-300, 300)) / 10_000,
                event_time=time.time_ns(),
            )
            for symbol in SYMBOLS
        ]

    def reference(self, number: int) -> ReferenceRecord:
        """Return what an operator says: other limits, a kill switch, a strategy's state, a restriction."""
        said: dict[str, Any] = {"event_time": time.time_ns(), "actor": "ops", "reason": "test"}
        match number % 4:
            case 0:
                halt = Decimal(self._random.randrange(6, 16)) / 100
                return LimitProfile(
                    **said,
                    profile_id=PROFILE,
                    profile_version=2 + number,
                    drawdown_warning=halt / 2,
                    drawdown_halt=halt,
                    daily_loss_halt=self._random.choice([None, halt / 2]),
                )
            case 1:
                scope, target = self._random.choice(
                    [(KillScope.SYMBOL, "XOM"), (KillScope.STRATEGY, "t"), (KillScope.ACCOUNT, self._account())]
                )
                mode, engaged = self._random.choice(list(KillMode)), self._random.random() < 0.5
                return KillSwitch(**said, scope=scope, target=target, mode=mode, engaged=engaged)
            case 2:
                return StrategyRecord(
                    **said, strategy="u", account=EVERY, state=self._random.choice(list(StrategyState))
                )
            case _:
                return Restricted(**said, symbol="JPM", account=self._account(), active=self._random.random() < 0.5)


GARBAGE = (b"", b"\xff\xfe", b"{}", b'{"quantity":NaN}', b"[" * 5000, b"x" * 100_000, None)


async def send(
    settings: Settings,
    seed: int,
    *,
    rounds: int,
    pause: float,
    enough: asyncio.Event | None = None,
    accounts: int = 400,
) -> None:
    """Send messages for a number of rounds, or until it is enough.

    Each round 20 intents, 8 fills, 8 ticks, and now and then returns, an operator's word and bytes that are none.
    """
    load = Load(seed, accounts=accounts)
    partitions = Topics.of(settings).partitions
    async with Publisher(settings) as publisher:
        await publisher.send_all(load.opening())
        for number in range(rounds):
            if enough is not None and enough.is_set():
                return
            messages: list[Message] = [load.intent() for _ in range(20)]
            messages += [load.fill() for _ in range(8)] + [load.tick() for _ in range(8)]
            if number % 10 == 5:
                messages += [*load.returns(number // 10), load.reference(number // 10)]
            await publisher.send_all(messages)
            if number % 10 == 0:
                for topic in (Topic.ORDER_INTENTS, Topic.FILLS, Topic.EQUITY_TICKS):
                    garbage = GARBAGE[number // 10 % len(GARBAGE)]
                    await publisher.send_raw(topic, b"A-1", garbage, partition=number % partitions)
            await asyncio.sleep(pause)


async def prepare(settings: Settings) -> None:
    async with Publisher(settings) as publisher:
        await publisher.send_all(starter_records("USD", event_time=time.time_ns()))
        await publisher.send_raw(Topic.REFERENCE, b"garbage", b"{}")
        await publisher.send_raw(Topic.DAILY_RETURNS, b"garbage", b"1.5")


async def intents_to_decide(settings: Settings, topics: Topics) -> dict[int, int]:
    """Return of each partition the offset after its last intent."""
    places = [TopicPartition(Topic.ORDER_INTENTS, number) for number in range(topics.partitions)]
    async with Reader(settings, Names(topics)) as reader:
        return {place.partition: bounds.end for place, bounds in (await reader.bounds(places)).items()}


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

"""A gate in this process for a RiskManager: it decides what it is sent, and reads as late as a slow worker would."""

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import pytest

from models.canonical import SECOND_NS, canonical_bytes
from models.decisions import RiskDecision
from models.messages import Fill, OrderIntent
from models.state import State
from streams.client import DecisionTimeoutError
from streams.manager import RiskManager, account
from streams.publisher import Delivered, Message, destination
from streams.records import SHARED_INPUTS, Record, Topic
from streams.replica import Replica, SharedReplica
from streams.starter import starter_records
from tests.streams.audited import audited
from tests.streams.in_process_gate import InProcessGate

MORNING = 1_780_000_000 * SECOND_NS
"""2026-05-28 20:26:40 UTC, long before the records' time."""


class Clock:
    """Simulated time: a second passes whenever it is looked at."""

    def __init__(self) -> None:
        self.now = MORNING

    def __call__(self) -> int:
        self.now += SECOND_NS
        return self.now

    def sleep(self, seconds: int) -> None:
        self.now += seconds * SECOND_NS


class ManagedGate(InProcessGate):
    """The gate, its publisher and the client in one."""

    def __init__(self, *, starter: bool = True) -> None:
        super().__init__()
        self.clock = Clock()
        self.held: list[Record] = []
        self.behind = 0
        """For how many decisions from now on records stay unread."""
        self.silent = False
        self.publisher = self
        if starter:
            for record in starter_records("USD", event_time=1):
                self.fold(self._sent(record))

    def manager(self, **options: Any) -> RiskManager:
        """Return a manager of account A with equity 100,000, one percent at risk and ten in a position."""
        usual = {"account_equity": 100_000, "risk_per_trade_percent": 1.0, "max_position_percent": 10}
        return RiskManager(account="A", **{"clock": self.clock, **usual, **options})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def send_all(self, messages: Iterable[Message]) -> list[Delivered]:
        delivered = []
        for message in messages:
            record = self._sent(message)
            delivered.append(Delivered(record.topic, record.partition, record.offset, record.time))
            self.held.append(record)
        self._read()
        return delivered

    async def submit(self, intent: OrderIntent, *, timeout: float) -> RiskDecision:
        if self.silent:
            raise DecisionTimeoutError(f"no decision within {timeout:g} s", None)
        topic, key = destination(intent)
        decision = self.decide(self.append(topic, key, canonical_bytes(intent)))
        self.behind = max(0, self.behind - 1)
        self._read()
        return decision

    def _read(self) -> None:
        while self.held and not self.behind:
            self.fold(self.held.pop(0))

    def told(self, topic: Topic) -> list[Any]:
        """Return the messages that were sent to an input topic."""
        read: dict[Topic, Callable[[Record], object]] = {
            Topic.ORDER_INTENTS: self.codec.order_intent,
            Topic.FILLS: self.codec.fill,
            Topic.EQUITY_TICKS: self.codec.equity_tick,
            Topic.DAILY_RETURNS: self.codec.daily_return,
            Topic.REFERENCE: self.codec.reference,
        }
        return [read[topic](record) for record in self.log[topic]]

    @property
    def fills(self) -> list[Fill]:
        return self.told(Topic.FILLS)

    def assert_audited(self) -> None:
        """Take every decision again."""
        verdict = audited(self.log)
        assert verdict.clean, verdict.findings
        assert verdict.reproduced == len(self.decisions)


class Follower:
    """A replica of a ManagedGate's log."""

    def __init__(self, gate: ManagedGate) -> None:
        self._gate = gate
        self._reading = False
        self._shared = SharedReplica(gate.codec)
        self._replica = Replica(0, gate.codec, State(self._shared.shared))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def catch_up(self) -> State:
        assert not self._reading, "one reading at a time"
        self._reading = True
        await asyncio.sleep(0)
        self._reading = False
        for topic, records in self._gate.log.items():
            if topic not in (Topic.ORDER_INTENTS, Topic.DEAD_LETTERS):
                for record in records:
                    (self._shared if topic in SHARED_INPUTS else self._replica).fold(record)
        return self._replica.state


def connect_to(gate: ManagedGate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let managers find this gate where they would look for a broker."""
    monkeypatch.setattr(account, "RiskGateClient", lambda *_, **__: gate)
    monkeypatch.setattr(account, "Follower", lambda *_: Follower(gate))

"""Reading up to a known end, against a consumer that is not there."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition as KafkaPartition

from streams import reader as reading
from streams.config import Settings
from streams.operations import OperatorError
from streams.reader import SILENCE_MAX, Reader
from streams.records import Names, Topic, TopicPartition
from streams.topics import Topics

FILLS = TopicPartition(Topic.FILLS, 0)
END = 3


class Consumer:
    """Hands one record over at a time, then nothing."""

    def __init__(self, clock: "Clock", *, held: int) -> None:
        self._clock = clock
        self._held = held
        self._position = 0

    async def getmany(self, *places: KafkaPartition, timeout_ms: int) -> dict[KafkaPartition, list[Any]]:
        if self._position == self._held:
            self._clock.now += timeout_ms / 1000
            return {}
        self._position += 1
        record = SimpleNamespace(
            headers=(), topic="fills", partition=0, offset=self._position - 1, key=b"A", value=b"{}", timestamp=0
        )
        return {places[0]: [record]}

    async def position(self, _place: KafkaPartition) -> int:
        return self._position

    def assign(self, _places: list[KafkaPartition]) -> None: ...

    def seek(self, _place: KafkaPartition, _offset: int) -> None: ...

    def assignment(self) -> set[KafkaPartition]:
        return {KafkaPartition("fills", 0)}

    def pause(self, *_places: KafkaPartition) -> None: ...

    def resume(self, *_places: KafkaPartition) -> None: ...


class Clock:
    """Says what it is told."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(reading, "time", clock)
    return clock


def reader(clock: Clock, *, held: int) -> Reader:
    settings = Settings()
    made = Reader(settings, Names(Topics.of(settings)))
    made._consumer = Consumer(clock, held=held)
    return made


async def test_a_caller_that_takes_its_time_is_no_silent_broker(clock: Clock) -> None:
    """An audit on a slow machine folds for minutes between two fetches."""
    offsets = []
    async for records in reader(clock, held=END).read({FILLS: 0}, {FILLS: END}):
        offsets += [record.offset for record in records]
        clock.now += 2 * SILENCE_MAX
    assert offsets == [0, 1, 2]


async def test_a_silent_broker_is_given_up(clock: Clock) -> None:
    """What is missing is named."""
    with pytest.raises(OperatorError, match=r"no records of fills/0 for 30 s"):
        async for _ in reader(clock, held=END - 1).read({FILLS: 0}, {FILLS: END}):
            pass
    assert clock.now > SILENCE_MAX

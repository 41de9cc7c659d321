"""A subscriber of decisions like any other: what it is shown, when, and by which owner."""

import asyncio
import time
from typing import NamedTuple, Self

import orjson
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from streams.config import READER_RETRY_BACKOFF_MS, Settings, kafka_arguments
from streams.ledger import EPOCH_HEADER
from streams.records import Names, Topic
from streams.topics import Topics

POLL_SECONDS = 0.02
FETCH_MS = 200


class Shown(NamedTuple):
    """A decision as the subscriber got it."""

    at: float
    """When, by `time.monotonic`."""
    epoch: int
    """Of the producer that wrote it: one more for each owner of the partition."""


class Watch:
    """Reads every committed decision while it happens. An async context manager.

    Args:
        settings: How to reach the broker.
        topics: The topics.
    """

    def __init__(self, settings: Settings, topics: Topics) -> None:
        self._settings = settings
        self._names = Names(topics)
        self._consumer: AIOKafkaConsumer
        self._reading: asyncio.Task[None]
        self.shown: dict[int, list[Shown]] = {number: [] for number in range(topics.partitions)}
        self._answered = dict.fromkeys(self.shown, -1)

    async def __aenter__(self) -> Self:
        """Begin to read."""
        self._consumer = AIOKafkaConsumer(
            **kafka_arguments(self._settings),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            retry_backoff_ms=READER_RETRY_BACKOFF_MS,
        )
        await self._consumer.start()
        name = self._names[Topic.RISK_DECISIONS]
        self._consumer.assign([KafkaPartition(name, number) for number in self.shown])
        self._reading = asyncio.create_task(self._read(), name="watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop reading; raise what stopped it before."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self._consumer.stop()
        if not self._reading.cancelled():
            self._reading.result()

    async def _read(self) -> None:
        while True:
            for place, records in (await self._consumer.getmany(timeout_ms=FETCH_MS)).items():
                now = time.monotonic()
                for record in records:
                    self._take(place.partition, record.value, dict(record.headers), now)

    def _take(self, partition: int, value: bytes, headers: dict[str, bytes], now: float) -> None:
        """Note one decision: a subscriber is shown the answers to the intents in order, each once."""
        intent = orjson.loads(value)["intent_offset"]
        assert intent > self._answered[partition], f"intent {intent} of partition {partition} is answered again"
        self._answered[partition] = intent
        self.shown[partition].append(Shown(now, int(headers[EPOCH_HEADER])))

    # --- what was shown

    @property
    def count(self) -> int:
        """How many decisions there were so far."""
        return sum(len(each) for each in self.shown.values())

    def answered(self, partition: int) -> int:
        """Return the offset of the last intent that was answered; -1 before the first."""
        return self._answered[partition]

    def epochs(self) -> dict[int, int]:
        """Return of each partition the epoch of its newest decision; -1 before the first."""
        return {number: shown[-1].epoch if shown else -1 for number, shown in self.shown.items()}

    async def until_owned_anew(self, epochs: dict[int, int], moment: float, timeout: float) -> list[float]:
        """Wait until each partition is answered by a later owner; return for how many seconds after `moment`.

        Args:
            epochs: The partitions, and of each the epoch of the owner that is gone.
            moment: When it went.
            timeout: Seconds after which the wait is given up.
        """
        return [await self._first(number, moment, timeout, epoch=epoch + 1) for number, epoch in epochs.items()]

    async def until_answered(self, moment: float, timeout: float) -> list[float]:
        """Wait until each partition has one more decision; return for how many seconds after `moment`.

        What a broker sent before it died may still arrive in the first tenth of a second.
        """
        return [await self._first(number, moment, timeout, after=moment + 0.1) for number in self.shown]

    async def _first(
        self, partition: int, moment: float, timeout: float, *, epoch: int = 0, after: float = 0.0
    ) -> float:
        shown, looked_at = self.shown[partition], 0
        while True:
            for each in shown[looked_at:]:
                if each.epoch >= epoch and each.at > after:
                    return each.at - moment
            looked_at = len(shown)
            assert time.monotonic() < moment + timeout, f"nobody answers for partition {partition}"
            if self._reading.done():
                self._reading.result()
            await asyncio.sleep(POLL_SECONDS)

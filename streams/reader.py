"""Reading topics without a consumer group: whole, from an offset, or as they grow. Committed records only."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from streams.config import READER_RETRY_BACKOFF_MS, Settings, kafka_arguments
from streams.operations import BROKER_REMEDY, OperatorError
from streams.records import Names, Record, TopicPartition

READ_WAIT_MS = 10
"""How long the broker holds a fetch that finds nothing, where the end is known.

Everything else that is asked on the same connection waits behind it.
"""
FOLLOW_WAIT_MS = 500
"""The same where the end is not known; a record that arrives ends the wait at once."""
POLL_MS = 200
STOP_TIMEOUT = 1.0
RECORDS_MAX = 500
"""Handed over at once, so that reading a long topic never keeps heartbeats waiting."""
SILENCE_MAX = 30.0
"""Seconds without progress after which reading up to a known end is given up."""


EMPTY_FETCH_PAUSE = 0.005
"""Seconds before the next fetch where a broker answers an empty one at once."""


def pace_empty_fetches(consumer: Any) -> None:  # noqa: ANN401  # aiokafka has no types
    """Keep a started consumer from asking without a pause where the broker does not hold a fetch that finds nothing.

    The embedded broker of the demo answers at once; two thousand questions a second are a core and a half.
    """
    fetcher = consumer._fetcher  # noqa: SLF001  # nothing public comes between two fetches
    fetch = fetcher._proc_fetch_request  # noqa: SLF001  # the same

    async def paced(*arguments: object) -> bool:
        started = time.monotonic()
        # Closing cancels a fetch and waits for it, and would itself be cancelled by one that says so: the original
        # says so while it waits for a broker to come back.
        with suppress(asyncio.CancelledError):
            found: bool = await fetch(*arguments)
            if not found and time.monotonic() - started < EMPTY_FETCH_PAUSE:
                await asyncio.sleep(EMPTY_FETCH_PAUSE)
            return found
        return False

    fetcher._proc_fetch_request = paced  # noqa: SLF001  # the same


class Bounds(NamedTuple):
    """What a topic partition holds."""

    beginning: int
    """Offset of the first record there could be."""
    end: int
    """Offset after the last committed record, or after what marks a transaction's end."""


class Reader:
    """A consumer that belongs to no group. An async context manager; one reading at a time.

    Args:
        settings: How to reach the broker.
        names: The broker's names of the topics.
        following: Whether it is for `follow`.
    """

    def __init__(self, settings: Settings, names: Names, *, following: bool = False) -> None:
        self._names = names
        self._wait_ms = FOLLOW_WAIT_MS if following else READ_WAIT_MS
        self._arguments = kafka_arguments(settings)
        self._consumer: Any = None

    async def __aenter__(self) -> Self:
        """Connect."""
        self._consumer = AIOKafkaConsumer(
            **self._arguments,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="none",  # A position that the log does not hold is an error, not a hint.
            fetch_max_wait_ms=self._wait_ms,
            retry_backoff_ms=READER_RETRY_BACKOFF_MS,
            max_poll_records=RECORDS_MAX,
        )
        try:
            await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        pace_empty_fetches(self._consumer)
        await asyncio.sleep(0)  # A task that is cancelled before it has begun takes whoever stops it along.
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        async with asyncio.timeout(STOP_TIMEOUT):
            await self._consumer.stop()
        # A fetcher that was just changing its assignment misses the cancellation, and `stop` would wait for ever.
        self._consumer._fetcher._fetch_task.cancel()  # noqa: SLF001  # nothing public ends it a second time

    @property
    def client(self) -> Any:  # noqa: ANN401  # aiokafka has no types
        """The connections to the brokers, for requests that the consumer does not make."""
        return self._consumer._client  # noqa: SLF001  # nothing public sends them

    def _kafka(self, partition: TopicPartition) -> KafkaPartition:
        return KafkaPartition(self._names[partition.topic], partition.partition)

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return what each topic partition holds now."""
        kafka = {each: self._kafka(each) for each in partitions}
        if not kafka:
            return {}
        beginnings = await self._consumer.beginning_offsets(list(kafka.values()))
        ends = await self._consumer.end_offsets(list(kafka.values()))
        return {each: Bounds(beginnings[tp], ends[tp]) for each, tp in kafka.items()}

    async def read(
        self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncIterator[list[Record]]:
        """Yield records from `positions` up to, not including, `ends`; each list is of one topic partition.

        Order holds within a topic partition, and nothing is promised across them. Afterwards nothing is fetched.

        Raises:
            OperatorError: If the broker is silent for half a minute.
        """
        todo = {self._kafka(each): ends[each] for each, start in positions.items() if start < ends[each]}
        if not todo:
            return
        self._seek({each: start for each, start in positions.items() if start < ends[each]})
        heard = time.monotonic()
        while todo:
            fetched = await self._consumer.getmany(*todo, timeout_ms=POLL_MS)
            for tp, found in fetched.items():
                records = [self._names.record(each) for each in found if each.offset < todo[tp]]
                if records:
                    yield records
                    heard = time.monotonic()  # However long the caller took over them, the broker was not silent.
            for tp in list(todo):
                # The position moves past transaction markers, which are no records.
                if await self._consumer.position(tp) >= todo[tp]:
                    del todo[tp]
            if todo and time.monotonic() - heard > SILENCE_MAX:
                raise OperatorError(f"no records of {_listed(todo)} for {SILENCE_MAX:.0f} s", remedy=BROKER_REMEDY)
            await asyncio.sleep(0)  # A fetch that is there already would not let anybody else run.
        # Not `unsubscribe`: stopped right after it, aiokafka's fetcher can miss that it is to end.
        self._consumer.pause(*self._consumer.assignment())

    async def read_to_end(
        self, positions: Mapping[TopicPartition, int], fold: Callable[[Record], object]
    ) -> dict[TopicPartition, int]:
        """Hand every record from `positions` up to the ends at this moment to `fold`.

        Returns:
            The ends: the offset after the last record of each topic partition.
        """
        bounds = await self.bounds(positions)
        ends = {each: found.end for each, found in bounds.items()}
        async for records in self.read(positions, ends):
            for record in records:
                fold(record)
        return ends

    async def follow(self, positions: Mapping[TopicPartition, int]) -> AsyncIterator[list[list[Record]]]:
        """Yield what each fetch brought, from `positions` on, for ever: a list for each topic partition.

        Where there is nothing new, nothing is yielded every second.
        """
        self._seek(positions)
        while True:
            fetched = await self._consumer.getmany(timeout_ms=1000)
            yield [[self._names.record(each) for each in found] for found in fetched.values()]
            await asyncio.sleep(0)

    async def position(self, partition: TopicPartition) -> int:
        """Return up to where a partition being read was handed over, markers of transactions included."""
        position: int = await self._consumer.position(self._kafka(partition))
        return position

    def last_fetch(self, partition: TopicPartition) -> float:
        """Return when a fetch of a partition followed last succeeded: seconds since the epoch, 0 for never."""
        milliseconds = self._consumer.last_poll_timestamp(self._kafka(partition))
        return float(milliseconds or 0) / 1000

    def _seek(self, positions: Mapping[TopicPartition, int]) -> None:
        self._consumer.assign([self._kafka(each) for each in positions])
        for each, offset in positions.items():
            self._consumer.seek(self._kafka(each), offset)


def _listed(partitions: Iterable[KafkaPartition]) -> str:
    return ", ".join(sorted(f"{tp.topic}/{tp.partition}" for tp in partitions))

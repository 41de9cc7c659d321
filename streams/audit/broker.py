"""The topics of one gate as an audit reads them, between ends fixed when it begins.

What stands at offsets that no reader sees (aborted records, markers of transactions, or nothing) is in the broker's
answers, but the client keeps it to itself: it is asked for with the client's own parts.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Final, NamedTuple, Self

from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import NoError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords

from streams.access import GateError, Layout
from streams.audit.identity import topic_ids
from streams.audit.watch import Absence
from streams.config import Settings
from streams.reader import Bounds, Reader
from streams.records import SHARED_INPUTS, Record, Topic, TopicPartition
from streams.replay import INPUTS

OUTPUTS: Final = (Topic.RISK_DECISIONS, Topic.TRADING_HALTS, Topic.DEAD_LETTERS)
"""What was decided; its ends are asked for first, so that they rest on nothing beyond the inputs' ends."""
_FETCH_WAIT_MS: Final = 100
_FETCH_BYTES: Final = 1 << 20
_COMMITTED: Final = 1


class AuditError(GateError):
    """The audit could not run."""


class Plan(NamedTuple):
    """What there is to read."""

    layout: Layout
    bounds: dict[TopicPartition, Bounds]
    topic_ids: dict[Topic, str | None]
    """The broker's own ids, None where it has none: a topic that was deleted and created again has another."""


def place_of(topic: Topic, partition: int) -> TopicPartition:
    """Return where a partition's records of a topic stand: the shared topics have only one."""
    return TopicPartition(topic, 0 if topic in SHARED_INPUTS else partition)


async def plan(settings: Settings, layout: Layout) -> Plan:
    """Return what the topics hold now.

    Raises:
        AuditError: If they do not begin at their beginning.
    """
    async with Reader(settings, layout.names) as reader:
        bounds: dict[TopicPartition, Bounds] = {}
        for topics in (OUTPUTS, (Topic.ORDER_INTENTS, *INPUTS)):
            places = {place_of(topic, number) for topic in topics for number in range(layout.partitions)}
            bounds |= await reader.bounds(sorted(places))
        ids = await topic_ids(reader, layout)
    return Plan(layout, bounds, ids)


def require_beginnings(found: Plan) -> None:
    """Check that nothing was cut off any topic that an audit reads whole.

    Raises:
        AuditError: Naming every topic that does not begin at its beginning.
    """
    cut = [
        f"{place} begins at offset {bounds.beginning}"
        for place, bounds in sorted(found.bounds.items())
        if bounds.beginning > 0 and place.topic is not Topic.DEAD_LETTERS
    ]
    if cut:
        raise AuditError(
            f"{'; '.join(cut)}: what stood before was deleted by retention or by hand, and an audit needs it"
            " (retention.ms=-1 keeps it). Restore the topic, or go on from an earlier evidence folder (--anchors)"
        )


class Log:
    """The topics of one gate. An async context manager.

    Args:
        settings: How to reach the broker.
        found: What there is to read.
    """

    def __init__(self, settings: Settings, found: Plan) -> None:
        self._settings = settings
        self._plan = found
        self._idle: list[Reader] = []
        self._readers = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._readers.aclose()

    async def _reader(self) -> Reader:
        """Return a reader that nobody uses, a new one if need be: connecting costs more than a short topic."""
        if self._idle:
            return self._idle.pop()
        return await self._readers.enter_async_context(Reader(self._settings, self._plan.layout.names))

    def of(self, partition: int) -> "PartitionLog":
        """Return one partition's records."""
        return PartitionLog(self, partition)

    async def records(self, place: TopicPartition, start: int = 0) -> AsyncGenerator[list[Record]]:
        """Yield the records of one topic partition from an offset on."""
        bounds = self._plan.bounds[place]
        start = max(start, bounds.beginning)
        if start >= bounds.end:
            return
        reader = await self._reader()
        try:
            async for records in reader.read({place: start}, {place: bounds.end}):
                yield records
        finally:
            self._idle.append(reader)

    async def absent(self, place: TopicPartition, start: int, end: int) -> Absence:
        """Return what stands at offsets that no reader saw."""
        if start >= self._plan.bounds[place].end:
            return Absence()
        reader = await self._reader()
        try:
            return await look_at(reader, self._plan.layout, place, start, end)
        finally:
            self._idle.append(reader)


class PartitionLog:
    """One partition's share of a log: the source of its audit."""

    def __init__(self, log: Log, partition: int) -> None:
        self._log = log
        self._partition = partition

    def records(self, topic: Topic, start: int = 0) -> AsyncGenerator[list[Record]]:
        """Begin at an offset of one topic."""
        return self._log.records(place_of(topic, self._partition), start)

    async def absent(self, topic: Topic, start: int, end: int) -> Absence:
        """Return what stands at offsets that no reader saw."""
        return await self._log.absent(place_of(topic, self._partition), start, end)


async def look_at(reader: Reader, layout: Layout, place: TopicPartition, start: int, end: int) -> Absence:
    """Ask the broker for the batches from `start` to `end`, and tell what they are.

    Raises:
        KafkaError: If it does not answer.
    """
    client = reader.client
    name = layout.names[place.topic]
    aborted = markers = deleted = 0
    position = start
    await reader.bounds([place])  # a reader that has read nothing does not know who leads what
    while position < end:
        leader = client.cluster.leader_for_partition(KafkaPartition(name, place.partition))
        request = FetchRequest(
            _FETCH_WAIT_MS, 1, _FETCH_BYTES, _COMMITTED, [(name, [(place.partition, position, _FETCH_BYTES)])]
        )
        response = await client.send(leader, request)
        [(_, [(_, code, _, *parts)])] = response.topics
        error = for_code(code)
        if error not in {NoError, OffsetOutOfRangeError}:  # out of range: nothing is there any more
            raise error
        batches = MemoryRecords(parts[-1] or b"")
        before = position
        while position < end and batches.has_next():
            batch = batches.next_batch()
            first, after = max(batch.base_offset, position), min(batch.next_offset, end)
            if after <= position:
                continue
            deleted += max(0, min(first, end) - position)
            if first < end:
                if batch.is_control_batch:
                    markers += after - first
                else:  # a batch keeps its last offset when records are compacted away
                    there = sum(first <= record.offset < after for record in batch)
                    aborted += there
                    deleted += after - first - there
            position = max(position, after)
        if position == before:  # nothing up to the end of the log
            deleted += end - position
            break
    return Absence(aborted, markers, deleted)

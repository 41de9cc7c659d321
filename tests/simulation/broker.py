"""A broker in memory that keeps Kafka's promises, and fails wherever a seed says."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from streams.config import Settings
from streams.ledger import EPOCH_HEADER
from streams.reader import Bounds
from streams.records import Names, Record, Topic, TopicPartition
from streams.topics import Topics
from tests.simulation.faults import BrokerError, Faults, FencedError

STEP_NS: Final = 1_000_000_000
SETTINGS: Final = Settings(worker_id="simulated")
NAMES: Final = Names(Topics.of(SETTINGS))
BATCH_RECORDS: Final = 3
"""A batch is full early, so that a transaction is made of several."""
LAG: Final = 8
"""By how much the end of a topic is short after a failover."""


class Log:
    """Every topic, with one account partition. An offset without a record shows nothing to a reader.

    It is the marker of a transaction, or a record of one that was aborted or is still open, or one that compaction
    removed.
    """

    def __init__(self) -> None:
        self.entries: defaultdict[Topic, list[Record | None]] = defaultdict(list)
        self.now = 1_700_000_000 * STEP_NS
        self.decided = 0
        """How many decisions a reader sees."""
        self.epochs: defaultdict[Topic, dict[int, int]] = defaultdict(dict)
        """Of each published record the epoch of the owner that wrote it, by offset."""
        self.known_at_fence: dict[tuple[Topic, int], int] = {}
        """Of each published record the last offset of `reference` when the earlier owner of its writer was fenced."""
        self._newest: Counter[str] = Counter()
        self._fenced_at: dict[str, int] = {}
        self._open: dict[str, list[Record]] = {}

    def append(self, topic: Topic, key: bytes | None, value: bytes | None) -> Record:
        """Append a record."""
        entries = self.entries[topic]
        record = Record(topic, 0, len(entries), self.now, key, value)
        entries.append(record)
        return record

    def skip(self, topic: Topic) -> None:
        """Append something that no reader sees."""
        self.entries[topic].append(None)

    def records(self) -> dict[Topic, list[Record]]:
        """Return what a reader sees of each topic."""
        return {topic: [each for each in self.entries[topic] if each is not None] for topic in Topic}

    def last(self, topic: Topic) -> int:
        """Return the offset of the last record that a reader sees, -1 for none."""
        return next((each.offset for each in reversed(self.entries[topic]) if each is not None), -1)

    def stable_end(self, topic: Topic) -> int:
        """Return up to where readers read: to the first record of an open transaction."""
        pending = [each.offset for records in self._open.values() for each in records if each.topic is topic]
        return min(pending, default=len(self.entries[topic]))

    # --- what the transaction coordinator does

    def fence(self, transactional_id: str) -> int:
        """Refuse every earlier owner and abort what it left open. Return the new owner's epoch."""
        self.end(transactional_id, commit=False)
        self._newest[transactional_id] += 1
        self._fenced_at[transactional_id] = self.last(Topic.REFERENCE)
        return self._newest[transactional_id]

    def excuse(self, reference: int) -> None:
        """Expect no more of the present owners than that they know `reference` up to an offset."""
        self._fenced_at = {owner: min(known, reference) for owner, known in self._fenced_at.items()}

    def admit(self, transactional_id: str, epoch: int) -> None:
        """Refuse an owner that has been replaced."""
        if epoch != self._newest[transactional_id]:
            raise FencedError

    def pend(self, transactional_id: str, topic: Topic, key: bytes | None, value: bytes | None, epoch: int) -> int:
        """Append a record of a transaction; it shows when that is committed. Return its offset."""
        record = self.append(topic, key, value)
        self.entries[topic][record.offset] = None
        self._open.setdefault(transactional_id, []).append(record)
        self.epochs[topic][record.offset] = epoch
        self.known_at_fence[topic, record.offset] = self._fenced_at[transactional_id]
        return record.offset

    def end(self, transactional_id: str, *, commit: bool) -> None:
        """Show the records of the open transaction, or never; each topic gets a marker."""
        records = self._open.pop(transactional_id, [])
        for record in records:
            if commit:
                self.entries[record.topic][record.offset] = record
                self.decided += record.topic is Topic.RISK_DECISIONS
        for topic in dict.fromkeys(record.topic for record in records):
            self.skip(topic)

    def compact(self, topic: Topic) -> bool:
        """Remove what later records of the same key replace, and then the deletions. Tell whether anything went."""
        entries, end = self.entries[topic], self.stable_end(topic)
        newest = {each.key: each.offset for each in entries[:end] if each is not None}
        gone = [
            each.offset
            for each in entries[:end]
            if each is not None and (newest[each.key] != each.offset or each.value is None)
        ]
        for offset in gone:
            entries[offset] = None
        return bool(gone)


class LogReader:
    """Reads the log as `streams.reader.Reader` reads Kafka's.

    Args:
        log: The log.
        chance: Draws how much comes at a time, and of which topic.
        faults: Where the reading process may be gone.
    """

    def __init__(self, log: Log, chance: random.Random, faults: Faults) -> None:
        self._log = log
        self._chance = chance
        self._faults = faults

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return what each topic holds. After a failover a broker may say less of a topic than it has said before."""
        await self._faults.step("before reading")
        found = {each: Bounds(0, self._log.stable_end(each.topic)) for each in partitions}
        reference = TopicPartition(Topic.REFERENCE, 0)
        if reference in found and self._faults.happens("the end of reference lags", times=10):
            end = max(0, found[reference].end - LAG)
            found[reference] = Bounds(0, end)
            self._log.excuse(end - 1)
        return found

    async def read(
        self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncIterator[list[Record]]:
        """Yield records in lists of any length, the topics mixed."""
        left = {
            place: [each for each in self._log.entries[place.topic][start : ends[place]] if each is not None]
            for place, start in positions.items()
        }
        while any(left.values()):
            await self._faults.step("between two reads")
            place = self._chance.choice([place for place, records in left.items() if records])
            count = self._chance.randint(1, len(left[place]))
            yield left[place][:count]
            left[place] = left[place][count:]

    async def read_to_end(
        self, positions: Mapping[TopicPartition, int], fold: Callable[[Record], object]
    ) -> dict[TopicPartition, int]:
        """Hand over every record up to the ends."""
        ends = {place: bounds.end for place, bounds in (await self.bounds(positions)).items()}
        async for records in self.read(positions, ends):
            for record in records:
                fold(record)
        return ends


class Sent(NamedTuple):
    """What the producer says of a batch that was written."""

    offset: int


class LogBatch:
    """Records that are sent together."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes | None, bytes | None, dict[str, bytes]]] = []

    def append(
        self, *, timestamp: None, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
    ) -> object | None:
        """Add a record; return None where there is no room for it."""
        assert timestamp is None  # The broker's clock counts.
        if len(self.records) == BATCH_RECORDS:
            return None
        self.records.append((key, value, dict(headers)))
        return self

    def record_count(self) -> int:
        """Return how many records it has."""
        return len(self.records)

    def close(self) -> None:
        """Take no more."""


class LogProducer:
    """Writes the log as aiokafka's transactional producer writes Kafka's: `streams.ledger.Ledger` drives it.

    Args:
        log: Where to.
        faults: What goes wrong.
        transactional_id: Whoever starts under it last is the only one that may write.
    """

    def __init__(self, log: Log, faults: Faults, *, transactional_id: str, **_: object) -> None:
        self._log = log
        self._faults = faults
        self._id = transactional_id
        self._in_transaction = False
        self._txn_manager = SimpleNamespace(producer_epoch=-1)

    async def start(self) -> None:
        """Become the only writer."""
        await self._faults.step("before the fence")
        self._txn_manager.producer_epoch = self._log.fence(self._id)
        await self._faults.step("after the fence")

    async def begin_transaction(self) -> None:
        """Begin."""
        await self._faults.step("before a transaction")
        assert not self._in_transaction
        self._in_transaction = True

    def create_batch(self) -> LogBatch:
        """Return an empty batch."""
        return LogBatch()

    async def send_batch(self, batch: LogBatch, name: str, partition: int) -> asyncio.Future[Sent]:
        """Send a batch; the future says later what became of it."""
        assert partition == 0
        assert self._in_transaction
        await self._faults.step("between two batches")
        future: asyncio.Future[Sent] = asyncio.get_running_loop().create_future()
        try:
            future.set_result(Sent(self._write(batch, NAMES.topic(name))))
        except (BrokerError, FencedError) as error:
            future.set_exception(error)
            future.exception()  # Else one that nobody awaits is complained of.
        return future

    def _write(self, batch: LogBatch, topic: Topic) -> int:
        epoch = self._txn_manager.producer_epoch
        self._log.admit(self._id, epoch)
        if self._faults.happens("a batch fails", times=2):
            raise BrokerError
        offsets = [
            self._log.pend(self._id, topic, key, value, int(headers[EPOCH_HEADER]))
            for key, value, headers in batch.records
        ]
        return offsets[0]

    async def commit_transaction(self) -> None:
        """Commit whatever was written, as aiokafka does: even where a batch has failed."""
        await self._faults.step("before the commit of a transaction")
        self._log.admit(self._id, self._txn_manager.producer_epoch)
        aborted = self._faults.happens("a transaction is aborted", times=3)
        self._log.end(self._id, commit=not aborted)
        self._in_transaction = False
        if aborted or self._faults.happens("a transaction stands, and its producer is told that it failed", times=3):
            raise BrokerError
        await self._faults.step("after the commit of a transaction")

    async def abort_transaction(self) -> None:
        """Take back what was sent."""
        self._log.admit(self._id, self._txn_manager.producer_epoch)
        self._log.end(self._id, commit=False)
        self._in_transaction = False

    async def stop(self) -> None:
        """Let go. What is open stays open until the next owner fences this one."""


def producer(log: Log, faults: Faults) -> Callable[..., Any]:
    """Return what makes a ledger's producer."""
    return lambda **arguments: LogProducer(log, faults, **arguments)

"""A log in memory that keeps Kafka's promises, and breaks down wherever a seed says."""

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import orjson

from models.decisions import AsOf
from streams import store
from streams.codec import Codec
from streams.ledger import Appended
from streams.reader import Bounds
from streams.records import SHARED_INPUTS, Outgoing, Record, Topic, TopicPartition
from streams.replica import SharedReplica
from streams.store import Row, encode_vector

STEP_NS: Final = 1_000_000_000


class Crash(BaseException):  # as little an error as SIGKILL is
    """The process is gone. Nothing catches it but the simulation."""


class FencedError(Exception):
    """What the broker answers to an owner that has been replaced."""


class Log:
    """Every topic, with one account partition. An offset without a record is a marker, or an aborted record."""

    def __init__(self) -> None:
        self.entries: defaultdict[Topic, list[Record | None]] = defaultdict(list)
        self.epoch = 0
        self.now = 1_700_000_000 * STEP_NS

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


class LogReader:
    """Reads the log as `streams.reader.Reader` reads Kafka's."""

    def __init__(self, log: Log, chance: random.Random, faults: float) -> None:
        self._log = log
        self._chance = chance
        self._faults = faults

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return what each topic holds."""
        return {each: Bounds(0, len(self._log.entries[each.topic])) for each in partitions}

    async def read(
        self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncIterator[list[Record]]:
        """Yield records in lists of any length, the topics mixed."""
        left = {
            place: [each for each in self._log.entries[place.topic][start : ends[place]] if each is not None]
            for place, start in positions.items()
        }
        while any(left.values()):
            place = self._chance.choice([place for place, records in left.items() if records])
            count = self._chance.randint(1, len(left[place]))
            if self._chance.random() < self._faults:
                raise Crash
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


class LogLedger:
    """Writes the log as `streams.ledger.Ledger` writes Kafka's, and crashes where it is told to.

    Args:
        log: Where to.
        chance: Draws the faults.
        faults: How likely one is, at each place where there can be one.
    """

    partition = 0

    def __init__(self, log: Log, chance: random.Random, faults: float) -> None:
        self._log = log
        self._chance = chance
        self._faults = faults
        self._epoch = -1
        self.meanwhile: Callable[[], None] = lambda: None
        """What the rest of the worker does while a transaction is in flight."""

    async def fence(self) -> None:
        """Become the only writer."""
        self._log.epoch += 1
        self._epoch = self._log.epoch

    async def commit(self, records: Iterable[Outgoing]) -> dict[Topic, Appended]:
        """Append all records or none."""
        self.meanwhile()
        self._crash()
        if self._epoch != self._log.epoch:
            raise FencedError
        records = list(records)
        appended = {}
        if self._chance.random() < self._faults:
            for record in records:
                self._log.skip(record.topic)  # aborted
            raise Crash
        for record in records:
            stands = self._log.append(record.topic, record.key, record.value)
            appended[record.topic] = Appended(stands.offset, record)
        for topic in appended:
            self._log.skip(topic)  # the marker
        self._crash()
        return appended

    def _crash(self) -> None:
        if self._chance.random() < self._faults:
            raise Crash

    async def stop(self) -> None:
        """Let go."""


class Disk:
    """What a machine keeps of a database: it survives the process, unless it is lost."""

    def __init__(self) -> None:
        self.rows: defaultdict[str, dict[bytes, bytes]] = defaultdict(dict)
        self.vector: dict[str, Any] | None = None


class DiskStore:
    """Keeps rows as `streams.store.Store` keeps them, on a disk in memory."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def vector(self) -> dict[str, Any] | None:
        """Return the vector; None where another version wrote it."""
        vector = self._disk.vector
        return vector if vector is not None and vector["format"] == store.FORMAT else None

    def rows(self, table: str, prefix: bytes = b"") -> dict[str, Any]:
        """Return the rows whose keys begin with a prefix."""
        return {
            key[len(prefix) :].decode(): orjson.loads(value)
            for key, value in self._disk.rows[table].items()
            if key.startswith(prefix)
        }

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Do nothing: this disk has no faults but its loss."""
        yield

    def write_part(self, rows: Iterable[Row]) -> None:
        """Write rows."""
        for row in rows:
            if row.value is None:
                self._disk.rows[row.table].pop(row.key, None)
            else:
                self._disk.rows[row.table][row.key] = row.value

    def write(self, rows: Iterable[Row], vector: Mapping[str, Any]) -> None:
        """Write rows and their vector."""
        self.write_part(rows)
        self._disk.vector = orjson.loads(encode_vector(vector))

    def clear(self, _: str | None = None) -> None:
        """Throw everything away."""
        self._disk.rows.clear()
        self._disk.vector = None

    def close(self) -> None:
        """Let go."""


class LogBroadcast:
    """The shared tables of one worker, folded as far as it is told to."""

    def __init__(self, log: Log, codec: Codec) -> None:
        self._log = log
        self.replica = SharedReplica(codec)
        self._letters: list[tuple[Topic, int, Outgoing]] = []

    def advance(self) -> tuple[Outgoing, ...]:
        """Fold to the ends; return the dead letters that came up."""
        new: tuple[Outgoing, ...] = ()
        for topic in SHARED_INPUTS:
            for record in self._log.entries[topic][self.replica.folded(topic) + 1 :]:
                if record is None:
                    continue
                letters = self.replica.fold(record).dead_letters
                self._letters += [(topic, record.offset, letter) for letter in letters]
                new += letters
        return new

    async def caught_up(self, _: object) -> None:
        """Fold to the ends."""
        self.advance()

    async def covers(self, as_of: AsOf) -> None:
        """Make sure that a decision knew no more."""
        assert self.replica.covers(as_of)

    def refused_after(self, through: Mapping[Topic, int]) -> list[Outgoing]:
        """Return the dead letters of later records."""
        return [letter for topic, offset, letter in self._letters if offset > through[topic]]

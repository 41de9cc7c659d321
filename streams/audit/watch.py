"""What an audit keeps an eye on while records go by: holes in topics, epochs in headers, a digest of all it read."""

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import orjson

from streams.audit.verdict import Covered, Kind, Verdict
from streams.codec import LedgerError
from streams.ledger import EPOCH_HEADER
from streams.records import SHARED_INPUTS, Record, Topic
from streams.replay import Cursor, Source

M = TypeVar("M")

SCHEMA: Final = 1
"""The version of the messages that this program reads."""


class Find(Protocol):
    """Adds a finding."""

    def __call__(self, place: str, what: str, *, kind: Kind, cause: str | None = None) -> None:
        """Add what was found at a place."""


class Absence(NamedTuple):
    """What stands at offsets that no reader sees: how many of each."""

    aborted: int = 0
    """Records whose transaction was aborted."""
    markers: int = 0
    """Ends of transactions."""
    deleted: int = 0
    """Nothing: what was there is gone."""


class UncoveredError(Exception):
    """A record of an output topic has a schema that this version does not have; nothing after it can be judged."""

    def __init__(self, record: Record) -> None:
        super().__init__(record.place)
        self.topic, self.place = record.topic, record.place


class Watched:
    """A source whose input topics are looked through for holes.

    Args:
        partition: Its number.
        source: The records.
        find: Is told of what was deleted.
        verdict: Aborted records are counted in it.
        absent: Tells what stands where no reader sees anything; without it nothing is looked for.
    """

    def __init__(
        self,
        partition: int,
        source: Source,
        find: Find,
        verdict: Verdict,
        absent: Callable[[Topic, int, int], Awaitable[Absence]] | None,
    ) -> None:
        self._partition = partition
        self._source = source
        self._find = find
        self._verdict = verdict
        self._absent = absent

    async def records(self, topic: Topic, start: int = 0) -> AsyncGenerator[list[Record]]:
        """Yield the source's records."""
        expected = start
        async for records in self._source.records(topic, start):
            if not records:
                continue
            if self._absent is not None and records[-1].offset - expected + 1 != len(records):
                for record in records:
                    if record.offset > expected:
                        await self._look(topic, expected, record.offset)
                    expected = record.offset + 1
            expected = records[-1].offset + 1
            yield records

    async def _look(self, topic: Topic, start: int, end: int) -> None:
        assert self._absent is not None
        absence = await self._absent(topic, start, end)
        self._verdict.aborted += absence.aborted
        if absence.deleted:
            where = f"{start}" if end - start == 1 else f"{start} to {end - 1}"
            self._find(
                f"{topic}/{self._partition}@{start}",
                f"{absence.deleted} of the offsets {where} hold nothing, and no transaction explains it: deleted",
                kind=Kind.DELETED,
                cause="the topic was compacted, or its log was edited",
            )


class Outputs(Generic[M]):
    """The messages of an output topic, in their order.

    Args:
        cursor: Its records.
        decode: Reads one.
        find: Is told of records that are none.
        see: Is told of each record once.
        until: Records of this time or later count as not there, ns.
    """

    def __init__(
        self,
        cursor: Cursor,
        decode: Callable[[Record], M],
        find: Find,
        see: Callable[[Record], object],
        until: int | None,
    ) -> None:
        self.cursor = cursor
        self._decode: Callable[[Record], M] = decode
        self._find = find
        self._see = see
        self._until = until
        self._found: tuple[Record, M] | None = None

    async def next(self) -> tuple[Record, M] | None:
        """Return the next record and the message in it; what is none is named and passed over.

        Raises:
            UncoveredError: If it is of a newer schema.
        """
        while self._found is None and (record := await self.cursor.peek()) is not None:
            if self._until is not None and record.time >= self._until:
                return None
            self._see(record)
            try:
                self._found = record, self._decode(record)
            except LedgerError as error:
                self.name(record, error)
                await self.cursor.take()
        return self._found

    async def take(self) -> None:
        """Move past the message that `next` returned."""
        self._found = None
        await self.cursor.take()

    def name(self, record: Record, error: LedgerError) -> None:
        """Name a record that is no message.

        Raises:
            UncoveredError: If it is of a newer schema.
        """
        version = _schema_of(record.value)
        if version is None or version <= SCHEMA:
            self._find(
                record.place,
                str(error),
                kind=Kind.NO_MESSAGE,
                cause="somebody other than seawall wrote it, or changed it",
            )
            return
        self._find(
            record.place,
            f"has schema version {version}, and this version of seawall reads {SCHEMA}: not covered",
            kind=Kind.NOT_COVERED,
            cause="a newer version of seawall wrote it: audit with that one",
        )
        raise UncoveredError(record)


def _schema_of(value: bytes | None) -> int | None:
    try:
        version = orjson.loads(value or b"")["version"]
    except (KeyError, TypeError, ValueError):
        return None
    return version if type(version) is int else None


class Owners:
    """The epochs of the producers of a partition's output topics. An owner's successor has a higher one.

    An epoch may fall once for all: a producer's name that was not used for a week, or was moved to another broker,
    begins anew. An epoch that comes back after another one was seen is an older owner's.

    Args:
        find: Is told of older owners.
        verdict: Notes go into it.
    """

    def __init__(self, find: Find, verdict: Verdict) -> None:
        self._find = find
        self._verdict = verdict
        self._last: dict[Topic, tuple[int | None, int]] = {}

    def see(self, record: Record) -> None:
        """Look at the header of one record, which comes after those seen of its topic."""
        if record.headers is None:
            return
        epoch = next((value for name, value in record.headers if name == EPOCH_HEADER), None)
        if epoch is None or not epoch.isdigit():
            self._find(
                record.place,
                f"has no header {EPOCH_HEADER} of its owner",
                kind=Kind.OWNER,
                cause="somebody other than seawall wrote it",
            )
            return
        now = int(epoch)
        before, last = self._last.get(record.topic, (None, now))
        if now == last:
            self._last[record.topic] = before, last
            return
        if now < last:
            self._verdict.notes.append(f"{record.place}: the owner's epoch falls from {last} to {now}")
        elif before == now:
            self._find(
                record.place,
                f"owner {now} wrote after owner {last}, who wrote after it",
                kind=Kind.OWNER,
                cause="the broker let a replaced worker write, or the log was put together",
            )
        self._last[record.topic] = last, now


class Fingerprint:
    """A digest over the records of one topic partition."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.records = 0
        self.last: Record | None = None
        self._hash = hashlib.sha256()

    def add(self, records: Iterable[Record]) -> None:
        """Take in the next records."""
        parts: list[bytes] = []
        for record in records:
            key, value = record.key, record.value
            # Lengths first, so that no two records run together to the same bytes; -1 for none.
            parts += (
                b"%d %d %d %d "
                % (
                    record.offset,
                    record.time,
                    -1 if key is None else len(key),
                    -1 if value is None else len(value),
                ),
                key or b"",
                value or b"",
            )
            self.records += 1
            self.last = record
        self._hash.update(b"".join(parts))

    @property
    def digest(self) -> str:
        """The digest of what was taken in."""
        return self._hash.hexdigest()


class Fingerprints:
    """A fingerprint of each topic of a partition that is read once, from wherever it is begun."""

    def __init__(self) -> None:
        self._of: dict[Topic, Fingerprint] = {}

    def begin(self, topic: Topic, start: int) -> None:
        """Say where a topic is begun."""
        self._of[topic] = Fingerprint(start)

    def add(self, records: Sequence[Record]) -> None:
        """Take in the next records of one topic."""
        self._of[records[0].topic].add(records)

    def covered(self, partition: int) -> list[Covered]:
        """Return what was read."""
        return [
            Covered(
                topic.value,
                0 if topic in SHARED_INPUTS else partition,
                each.start,
                self.next_offset(topic),
                each.records,
                each.digest,
            )
            for topic, each in self._of.items()
        ]

    def last(self, *topics: Topic) -> list[Record]:
        """Return the last records of these topics, of those that have one."""
        return [record for topic in topics if (record := self._of[topic].last) is not None]

    def next_offset(self, topic: Topic) -> int:
        """Return where a topic is to be read on."""
        each = self._of[topic]
        return each.start if each.last is None else each.last.offset + 1

"""What a checkpoint holds beside its rows: the vector that names them, and how a restart knows its own log.

An *anchor* is the last record of a topic that the rows know of: its offset and a digest. A log that holds another
record there is another log, whatever its length; the checkpoint is then of no use.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple, Self

import orjson

from models.canonical import sha256
from models.decisions import AsOf
from streams.ledger import Appended
from streams.operations import OperatorError
from streams.reader import Bounds, Reader
from streams.records import SHARED_INPUTS, Outgoing, Record, Topic, TopicPartition
from streams.replica import Replica
from streams.store import FORMAT, VECTOR_KEY, Row, Store, encode_vector

_STABLE: Final = frozenset(Topic) - {Topic.CHECKPOINTS, Topic.DEAD_LETTERS}
"""Topics whose records stay: compaction may remove the others'."""
_DIGITS: Final = 16
_RESTORE_ROWS: Final = 10_000
_LOOK_BACK: Final = 64
"""Offsets from the end of `checkpoints` within which the newest vector nearly always is."""
Vector = Mapping[str, Any]


class UnusableError(OperatorError):
    """The checkpoint does not fit the log."""


class Anchor(NamedTuple):
    """The last record of a topic that was taken in."""

    offset: int
    digest: str

    @classmethod
    def at(cls, offset: int, key: bytes | None, value: bytes | None) -> Self:
        """Return the anchor at a record."""
        return cls(offset, sha256((key or b"") + b"\0" + (value or b""))[:_DIGITS])

    def verify(self, record: Record) -> None:
        """Check the first record read again.

        Raises:
            UnusableError: If it is not the one that was taken in.
        """
        found = Anchor.at(record.offset, record.key, record.value)
        if found != self:
            raise UnusableError(f"{record.place} is not the record that the checkpoint knows at offset {self.offset}")


class Trail:
    """The last record taken in of each topic.

    Args:
        anchors: Those of a checkpoint.
        held: Topics whose anchors stay where they are until `release`.
    """

    def __init__(
        self, anchors: Mapping[Topic, Anchor] | None = None, *, held: AbstractSet[Topic] = frozenset()
    ) -> None:
        self._anchors = dict(anchors or {})
        self._held = held
        self._last: dict[Topic, tuple[int, bytes | None, bytes | None]] = {}

    def note(self, topic: Topic, offset: int, key: bytes | None, value: bytes | None) -> None:
        """Remember a record."""
        self._last[topic] = (offset, key, value)  # Hashed when a cut asks: once a second, not once a record.

    def note_appended(self, appended: Mapping[Topic, Appended]) -> None:
        """Remember what a commit published. Checkpoints are read whole or not at all: they have no anchor."""
        for topic, last in appended.items():
            if topic is not Topic.CHECKPOINTS:
                self.note(topic, last.offset, last.record.key, last.record.value)

    def anchors(self) -> dict[Topic, Anchor]:
        """Return the last record of each topic, as an anchor."""
        for topic in self._last.keys() - self._held:
            self._anchors[topic] = Anchor.at(*self._last.pop(topic))
        return dict(self._anchors)

    def release(self) -> None:
        """Let every anchor move."""
        self._held = frozenset()


def stored_anchors(trail: Trail) -> dict[str, list[int | str]]:
    """Return a trail's anchors as a vector has them."""
    return {topic.value: list(anchor) for topic, anchor in trail.anchors().items()}


def anchors_of(vector: Vector | None) -> dict[Topic, Anchor]:
    """Return the anchors in a vector."""
    stored = {} if vector is None else vector["anchors"]
    return {Topic(topic): Anchor(*anchor) for topic, anchor in stored.items()}


def shared_through(vector: Vector | None) -> dict[Topic, int]:
    """Return up to where dead letters of the shared topics have been published, -1 for none."""
    stored = {} if vector is None else vector["shared"]
    return {topic: stored.get(topic, -1) for topic in SHARED_INPUTS}


def known_of(vector: Vector | None) -> AsOf:
    """Return the furthest that any decision or halt in a checkpoint may have known each topic."""
    nothing = dict.fromkeys(AsOf.model_fields, -1)
    return AsOf.model_construct(**(nothing if vector is None else vector["known"]))


def partition_vector(replica: Replica, trail: Trail, through: Mapping[Topic, int]) -> Vector:
    """Return the vector of a partition's rows.

    Args:
        replica: The state that has these rows.
        trail: The last records taken in.
        through: Up to where dead letters of the shared topics have been published, this commit's among them.
    """
    return {
        "state": replica.state.vector(),
        "anchors": stored_anchors(trail),
        "known": replica.knows.model_dump(),
        "shared": {topic.value: through[topic] for topic in SHARED_INPUTS},
    }


def outgoing(rows: list[Row], vector: Vector) -> list[Outgoing]:
    """Return the records of a checkpoint; its vector comes last."""
    return [
        *(Outgoing(Topic.CHECKPOINTS, row.table.encode() + b"\0" + row.key, row.value) for row in rows),
        Outgoing(Topic.CHECKPOINTS, VECTOR_KEY, encode_vector(vector)),
    ]


def _row_of(record: Record) -> Row:
    table, _, key = (record.key or b"").partition(b"\0")
    return Row(table.decode(), key, record.value)


def require_beginning(place: TopicPartition, bounds: Bounds, vector: Vector | None) -> None:
    """Check that a topic partition of which a checkpoint knows no record, or there is none, holds its first record.

    Raises:
        UnusableError: If it does not, so that the checkpoint cannot be gone on from.
        OperatorError: If it does not, and there is none: a state without what was deleted would be a wrong one.
    """
    if bounds.beginning == 0:
        return
    if vector is not None:
        raise UnusableError(f"the checkpoint knows nothing of {place}, which begins at offset {bounds.beginning}")
    raise OperatorError(
        f"{place} begins at offset {bounds.beginning}, and no checkpoint says what it held before",
        remedy="restore the topic or a checkpoint; RUNBOOK.md says how",
    )


async def verify_anchors(
    anchors: Mapping[Topic, Anchor], partition: int, bounds: Mapping[TopicPartition, Bounds], reader: Reader
) -> None:
    """Check that the log holds the records that a checkpoint knows.

    Raises:
        UnusableError: If it does not.
    """
    places = {TopicPartition(topic, partition): anchor for topic, anchor in anchors.items()}
    for place, anchor in places.items():
        held = bounds[place]
        if not held.beginning <= anchor.offset < held.end:
            raise UnusableError(
                f"the checkpoint knows {place}@{anchor.offset}, the topic holds {held.beginning} to {held.end}"
            )
    starts = {place: anchor.offset for place, anchor in places.items() if place.topic in _STABLE}
    found = set()
    async for records in reader.read(starts, {place: start + 1 for place, start in starts.items()}):
        place = TopicPartition(records[0].topic, partition)
        places[place].verify(records[0])
        found.add(place)
    for place in starts.keys() - found:
        raise UnusableError(f"the checkpoint knows {place}@{starts[place]}, the topic has no record there")


async def restore(store: Store, place: TopicPartition, reader: Reader) -> Vector | None:
    """Fill a database from the `checkpoints` topic, and return the vector; None where the topic has none.

    Args:
        store: The database; whatever it holds is thrown away.
        place: The partition's place in the topic.
        reader: Reads it.

    Raises:
        UnusableError: If it holds something that is no checkpoint.
    """
    store.clear()
    newest: bytes | None = None
    rows: list[Row] = []

    def keep(record: Record) -> None:
        nonlocal newest
        if record.key == VECTOR_KEY:
            newest = record.value
        else:
            rows.append(_row_of(record))
        if len(rows) >= _RESTORE_ROWS:
            store.write_part(rows)
            rows.clear()

    try:
        await reader.read_to_end({place: (await reader.bounds([place]))[place].beginning}, keep)
        vector: Vector | None = None if newest is None else orjson.loads(newest)
        if vector is None or vector.get("format") != FORMAT:
            return None
        store.write(rows, vector)  # Only now does the database count.
    except (KeyError, ValueError) as error:
        raise UnusableError(f"{place} holds something that is no checkpoint: {error!r}") from error
    return vector


async def newest_vector(place: TopicPartition, reader: Reader) -> Vector:
    """Return the newest vector in `checkpoints`, written as this program writes it, so that it may be added to.

    A checkpoint adds what changed since the one before. On top of rows that another program wrote in the meantime, or
    of none, that would be a mixture, and some day somebody would restore it.

    Raises:
        UnusableError: If it was not written so, or there is none.
    """
    held = (await reader.bounds([place]))[place]
    newest: list[bytes | None] = []

    def note(record: Record) -> None:
        if record.key == VECTOR_KEY:
            newest.append(record.value)

    start, span = held.end, _LOOK_BACK
    while start > held.beginning and not newest:
        start, span = max(held.beginning, held.end - span), span * 16
        await reader.read_to_end({place: start}, note)
    vector = decode_vector(newest[-1]) if newest else None
    if vector is None:
        raise UnusableError(f"{place} does not hold the checkpoint before it: another version was here")
    return vector


async def is_newest(vector: Vector, place: TopicPartition, reader: Reader) -> bool:
    """Tell whether a disk's checkpoint is the newest in `checkpoints`, and not one before it.

    Raises:
        UnusableError: If it cannot be gone on from: the topic was last written by another version, or is not as far.
            What changed since would be added to rows that the topic does not have.
    """
    newest = await newest_vector(place, reader)
    reached = anchors_of(newest)
    for topic, anchor in anchors_of(vector).items():
        if topic not in reached or reached[topic].offset < anchor.offset:
            raise UnusableError(f"{place} is behind it: of {topic} it does not know offset {anchor.offset}")
    return newest == vector


def decode_vector(value: bytes | None) -> Vector | None:
    """Return the vector in a record; None where it is another version's, or none."""
    try:
        vector: Vector = orjson.loads(value or b"null")
        return vector if vector["format"] == FORMAT else None
    except (KeyError, TypeError, ValueError):
        return None


async def tombstones(place: TopicPartition, reader: Reader) -> list[Outgoing]:
    """Return records that delete every row and vector in the `checkpoints` topic."""
    keys: dict[bytes | None, bool] = {}

    def note(record: Record) -> None:
        keys[record.key] = record.value is not None

    await reader.read_to_end({place: (await reader.bounds([place]))[place].beginning}, note)
    return [Outgoing(Topic.CHECKPOINTS, key, None) for key, alive in keys.items() if alive]

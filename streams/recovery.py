"""Opening a partition: from a checkpoint and the records after it to the state that the log names, and no other.

The protocol, and the same numbers in the code:

1. *Fence.* The broker refuses every earlier owner and completes what it left open: the output topics' ends are final.
2. *Load* the local checkpoint. If there is none, or the log does not hold what it knows, or another version has
   written checkpoints since, restore the rows from the `checkpoints` topic over an empty database; if that has none
   of this version either, begin with nothing at offset 0.
3. *Read what was decided*: decisions, halts and dead letters to their ends. Decisions are read, never taken again.
4. *Wait* until `reference` and `daily-returns` are folded as far as any decision or halt knew them, or the
   checkpoint's writer; they were folded to their ends before step 3, but an end may lag after a failover. Make sure
   that the other inputs hold all that was decided on.
5. *Fold the tail* of `fills`, then of `equity-ticks`. After each tick that no halt has seen, the account's status is
   evaluated; halts and dead letters that were missed become due.

What is due goes out with the partition's first commit, or with a checkpoint before it: whenever many rows have
changed in step 3 or 5, they are saved, so that a long log takes no more memory than a short one. One save:

a. *Cut* the changed rows and the vector that names them, between two records. Two of its entries stay where the
   checkpoint before had them until all is folded: the anchor of `dead-letters`, and how far those of the shared
   topics are published. Whoever goes on from this save must find what was published of records it has yet to fold.
b. *Publish* what is due and the cut in one transaction. No decision is among it. Where nothing could be loaded, the
   first transaction begins with deletions of all that `checkpoints` holds.
c. *Save* the same rows and vector locally, and forget accounts that the cache has no room for.

A crash before *b* leaves the checkpoint before. After it the topic has the new one, and the disk has it or is behind.
From a disk that is behind, nothing is saved: of accounts not met again yet, the topic's rows are of later records
than the vector would say. If many rows change there, it is given up for the topic. A disk that is ahead of the topic,
where another owner has begun anew, is not used at all. After a save no other checkpoint is tried by the same owner,
since its own transactions may not show yet; the next one's fence makes them final.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from models.state import State
from streams.broadcast import Broadcast
from streams.checkpoint import (
    Anchor,
    Trail,
    UnusableError,
    Vector,
    anchors_of,
    is_newest,
    known_of,
    outgoing,
    partition_vector,
    require_beginning,
    restore,
    shared_through,
    tombstones,
    verify_anchors,
)
from streams.codec import Codec, LedgerError, encode_halt
from streams.ledger import Ledger
from streams.operations import OperatorError, say, warn_unauthorized
from streams.reader import Bounds, Reader
from streams.records import SHARED_INPUTS, Outgoing, Record, Topic, TopicPartition
from streams.replica import Replica
from streams.store import DamagedError, Row, Store
from streams.tables import CACHED_ROWS, AccountTables

_DECIDED: Final = (Topic.RISK_DECISIONS, Topic.TRADING_HALTS, Topic.DEAD_LETTERS)
_TAIL: Final = (Topic.FILLS, Topic.EQUITY_TICKS)
UNSAVED_ROWS: Final = 50_000
"""Rows of changed accounts, and records due, that wait for a checkpoint.

Some fifty megabytes, and a quarter of a second to write.
"""
_WAITING: Final = f"waiting for {' and '.join(SHARED_INPUTS)}"


class Source(StrEnum):
    """What a partition was restored from, in the order of preference."""

    DISK = "disk"
    TOPIC = "checkpoints"
    BEGINNING = "beginning"


class Opened(NamedTuple):
    """A recovered partition."""

    replica: Replica
    tables: AccountTables
    store: Store
    ledger: Ledger
    trail: Trail
    owed: list[Outgoing]
    """Halts and dead letters that an earlier owner did not come to publish."""
    published: frozenset[bytes]
    """Keys of the dead letters published since the checkpoint."""
    shared_through: Mapping[Topic, int]
    """Up to where the checkpoint's writer had published dead letters of the shared topics."""
    next_offsets: dict[Topic, int]
    """Of each input topic, where reading goes on."""
    source: Source
    folded: int
    """How many records were folded on top of the checkpoint."""
    saves: int
    """How many checkpoints were taken meanwhile."""
    seconds: float


@dataclass(slots=True)
class Progress:
    """How far a partition has come, for whoever asks."""

    phase: str = "waiting"
    source: Source | None = None
    """What it is being restored from."""
    folded: int = 0
    to_fold: int = 0
    """Offsets above the checkpoint, markers of transactions included: at least as many as will be folded."""


class Recovery:
    """Opens one partition.

    Args:
        ledger: The partition's producer, not yet fenced.
        open_store: Opens the database of the partition's local checkpoint.
        codec: Reads records.
        broadcast: The shared tables.
        reader: Reads topics; nobody else uses it meanwhile.
        cached_rows: How many rows of unchanged accounts are kept decoded.
        unsaved_rows: How many rows of changed accounts, and records due, may wait for a checkpoint.
        progress: Is kept up to date.
    """

    def __init__(
        self,
        ledger: Ledger,
        open_store: Callable[[], Store],
        *,
        codec: Codec,
        broadcast: Broadcast,
        reader: Reader,
        cached_rows: int = CACHED_ROWS,
        unsaved_rows: int = UNSAVED_ROWS,
        progress: Progress | None = None,
    ) -> None:
        self._progress = Progress() if progress is None else progress
        self._number = ledger.partition
        self._ledger = ledger
        self._open_store = open_store
        self._codec = codec
        self._broadcast = broadcast
        self._reader = reader
        self._cached_rows = cached_rows
        self._unsaved_rows = unsaved_rows
        self._saves = 0

    async def open(self) -> Opened:
        """Return the partition, fenced and recovered.

        Raises:
            OperatorError: If the log does not hold what it must.
            KafkaError: If the broker does not answer.
        """
        started = time.monotonic()
        store: Store | None = None
        try:
            self._progress.phase = "fencing"
            await self._ledger.fence()  # 1
            store = self._open_store()
            return await self._recover(store, started)
        except BaseException:
            if store is not None:
                store.close()
            await self._ledger.stop()
            raise

    async def _recover(self, store: Store, started: float) -> Opened:
        place = self._at(Topic.CHECKPOINTS)
        for source in (Source.DISK, Source.TOPIC):  # 2
            self._progress.phase, self._progress.source = "loading", source
            try:
                vector = store.vector() if source is Source.DISK else await restore(store, place, self._reader)
                if vector is not None:
                    return await self._fold(store, vector, source, started)
            except (UnusableError, LedgerError, DamagedError) as error:
                if self._saves:
                    raise
                say("unusable", partition=self._number, checkpoint=source, because=error)
        store.clear()
        self._progress.source = Source.BEGINNING
        return await self._fold(store, None, Source.BEGINNING, started)

    def _at(self, topic: Topic) -> TopicPartition:
        return TopicPartition(topic, self._number)

    async def _fold(self, store: Store, vector: Vector | None, source: Source, started: float) -> Opened:
        """Fold what the log holds above a checkpoint.

        Raises:
            UnusableError: If the checkpoint does not fit the log.
            LedgerError: If decisions or halts do not continue those of the checkpoint.
        """
        place = self._at(Topic.CHECKPOINTS)
        behind = vector is not None and source is Source.DISK and not await is_newest(vector, place, self._reader)
        shared = [TopicPartition(each, 0) for each in SHARED_INPUTS]
        own = [self._at(each) for each in (*_DECIDED, *_TAIL, Topic.ORDER_INTENTS)]
        bounds = await self._reader.bounds([*shared, *own])
        self._progress.phase = _WAITING
        await self._broadcast.caught_up(bounds)
        tables = AccountTables(store, capacity=self._cached_rows)
        state = State(self._broadcast.replica.shared, tables)
        anchors = anchors_of(vector)
        if vector is not None:
            state.restore(vector["state"])
        replica = Replica(self._number, self._codec, state)
        replica.note(known_of(vector))
        await verify_anchors(anchors, self._number, bounds, self._reader)
        starts = self._starts(anchors, bounds, vector)
        tail = _Tail(replica, tables, Trail(anchors, held={Topic.DEAD_LETTERS}), shared_through(vector))
        if source is Source.BEGINNING:
            # Rows of an unusable checkpoint may have keys that no row has now; a later restore would find them again.
            tail.owed += await tombstones(place, self._reader)

        async def save_many() -> None:
            if tail.unsaved > self._unsaved_rows:
                if behind:
                    raise UnusableError("the topic's checkpoint is newer, and much has happened since")
                await self._save(tail, store)

        await self._read(_DECIDED, starts, bounds, tail.decided, save_many)  # 3
        self._progress.phase = _WAITING
        await self._broadcast.covers(replica.known)  # 4
        next_offsets = self._next_offsets(replica, bounds)
        await self._read((Topic.FILLS,), starts, bounds, tail.fold, save_many)  # 5
        await self._read((Topic.EQUITY_TICKS,), starts, bounds, tail.tick, save_many)
        tail.trail.release()
        return Opened(
            replica=replica,
            tables=tables,
            store=store,
            ledger=self._ledger,
            trail=tail.trail,
            owed=tail.owed,
            published=frozenset(tail.published),
            shared_through=tail.through,
            next_offsets=next_offsets,
            source=source,
            folded=tail.count,
            saves=self._saves,
            seconds=time.monotonic() - started,
        )

    def _starts(
        self, anchors: Mapping[Topic, Anchor], bounds: Mapping[TopicPartition, Bounds], vector: Vector | None
    ) -> dict[Topic, int]:
        """Return of each topic where the tail begins."""
        starts = {topic: anchors[topic].offset + 1 if topic in anchors else 0 for topic in (*_DECIDED, *_TAIL)}
        for topic, start in starts.items():
            if start == 0 and topic is not Topic.DEAD_LETTERS:
                require_beginning(self._at(topic), bounds[self._at(topic)], vector)
        self._progress.folded = 0
        self._progress.to_fold = sum(
            max(0, bounds[self._at(topic)].end - max(start, bounds[self._at(topic)].beginning))
            for topic, start in starts.items()
        )
        return starts

    async def _read(
        self,
        topics: tuple[Topic, ...],
        starts: Mapping[Topic, int],
        bounds: Mapping[TopicPartition, Bounds],
        fold: Callable[[Record], object],
        then: Callable[[], Awaitable[None]],
    ) -> None:
        self._progress.phase = f"folding {', '.join(topics)}"
        places = {self._at(topic): starts[topic] for topic in topics}
        async for records in self._reader.read(places, {place: bounds[place].end for place in places}):
            for record in records:
                try:
                    fold(record)
                except Exception as error:
                    error.add_note(f"folding {record.place}")
                    raise
            self._progress.folded += len(records)
            await then()

    async def _save(self, tail: "_Tail", store: Store) -> None:
        """Publish what is due with a checkpoint, and save the checkpoint: one save, as the module describes it."""
        owed, rows, vector = tail.cut()  # a
        self._saves += 1  # Whether it stands or not.
        appended = await self._ledger.commit([*owed, *outgoing(rows, vector)])  # b
        tail.trail.note_appended(appended)
        store.write(rows, vector)  # c
        tail.trim()

    def _next_offsets(self, replica: Replica, bounds: Mapping[TopicPartition, Bounds]) -> dict[Topic, int]:
        """Return where reading goes on, after making sure that the log holds all that decisions were taken on."""
        ends = {topic: bounds[self._at(topic)].end for topic in _TAIL}
        known = {Topic.FILLS: replica.known.fills, Topic.EQUITY_TICKS: replica.known.equity_ticks}
        for topic, offset in known.items():
            if offset >= ends[topic]:
                raise OperatorError(
                    f"{self._at(topic)} ends at offset {ends[topic]}, but decisions rest on offset {offset}",
                    remedy="restore the topic; RUNBOOK.md says how",
                )
        place = self._at(Topic.ORDER_INTENTS)
        held, decided = bounds[place], replica.state.intents_offset
        if decided >= held.end or (decided >= 0 and held.beginning > decided + 1):
            raise OperatorError(
                f"{place} holds offsets {held.beginning} to {held.end}, but was decided up to {decided}",
                remedy="restore the topic; RUNBOOK.md says how",
            )
        return {**ends, Topic.ORDER_INTENTS: max(decided + 1, held.beginning)}


class _Tail:
    """Takes in what the log holds above a checkpoint, and keeps account of what is owed.

    Args:
        replica: What takes the records in.
        tables: Where it keeps its accounts.
        trail: The last records taken in.
        through: Up to where dead letters of the shared topics have been published.
    """

    def __init__(self, replica: Replica, tables: AccountTables, trail: Trail, through: Mapping[Topic, int]) -> None:
        self.replica = replica
        self.trail = trail
        self.through = through
        self.owed: list[Outgoing] = []
        self.published: set[bytes] = set()
        self.count = 0
        self._tables = tables

    def decided(self, record: Record) -> None:
        """Take in a record of an output topic."""
        if record.topic is Topic.DEAD_LETTERS:
            self.published.add(record.key or b"")
        else:
            self.replica.fold(record)
        self._note(record)

    def fold(self, record: Record) -> str | None:
        """Take in a fill or an equity tick; return whose it was."""
        folded = self.replica.fold(record)
        owed = [letter for letter in folded.dead_letters if letter.key not in self.published]
        self.owed += owed
        if owed and folded.unauthorized is not None:  # what was published was also said
            warn_unauthorized(record.place, folded.unauthorized)
        self._note(record)
        return folded.account

    def tick(self, record: Record) -> None:
        """Take in an equity tick and the halt it calls for, unless that halt was published."""
        account = self.fold(record)
        if account is None:
            return
        halt = self.replica.evaluate(account, tick=record.offset)
        if halt is not None:
            self.replica.state.fold_halt(halt)
            self.owed.append(encode_halt(halt))

    @property
    def unsaved(self) -> int:
        """How many rows of changed accounts and records due are in memory."""
        return self._tables.rows_of(self.replica.state.changed) + len(self.owed)

    def cut(self) -> tuple[list[Outgoing], list[Row], Vector]:
        """Return what is due, the changed rows and their vector; from here on nothing is due, nothing has changed."""
        owed, self.owed = self.owed, []
        changed = self.replica.state.changed
        rows = self._tables.cut(changed)
        changed.clear()
        return owed, rows, partition_vector(self.replica, self.trail, self.through)

    def trim(self) -> None:
        """Forget what the cache has no room for."""
        self._tables.trim(self.replica.state.changed)

    def _note(self, record: Record) -> None:
        self.trail.note(record.topic, record.offset, record.key, record.value)
        self.count += 1

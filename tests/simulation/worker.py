"""One worker process: the real recovery, ownership, partition and ledger over a broker and a disk in memory."""

import copy
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import pytest

from models.decisions import AsOf
from streams import checkpoint, ownership, partition, recovery
from streams.checkpoint import Vector, decode_vector, known_of
from streams.codec import Codec
from streams.ledger import Appended, Ledger
from streams.ownership import Ownership
from streams.partition import Partition
from streams.reader import Bounds
from streams.records import ACCOUNT_INPUTS, SHARED_INPUTS, Batch, Outgoing, Record, Topic, TopicPartition
from streams.recovery import Opened, Recovery, Source
from streams.replica import SharedReplica
from streams.store import VECTOR_KEY
from tests.simulation.broker import NAMES, SETTINGS, Log, LogReader, producer
from tests.simulation.disk import Disk, DiskStore
from tests.simulation.faults import Faults, StoppedError

UNSAVED_ROWS: Final = (0, 12, recovery.UNSAVED_ROWS)
"""How many rows wait for a checkpoint while a partition is being opened: one of these."""
REDELIVERED: Final = 4
"""So many offsets of what was delivered may come again."""


def _fail_stop(doing: str, error: BaseException | str) -> NoReturn:
    raise StoppedError(doing, error)


@contextmanager
def small_and_mortal() -> Iterator[None]:
    """Let a worker that ends itself end alone, and make everything small, so that little is enough to fill it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition, "fail_stop", _fail_stop)
        patch.setattr(partition, "DECISIONS_MAX", 6)
        patch.setattr(partition, "SLICE_SECONDS", -1.0)  # Others have their turn after every decision.
        patch.setattr(checkpoint, "_RESTORE_ROWS", 5)
        patch.setattr(ownership, "say", lambda *_, **__: None)
        for module in (partition, recovery):
            patch.setattr(module, "warn_unauthorized", lambda *_: None)
        yield


class CountingLedger(Ledger):
    """Counts what is published while a partition is being opened."""

    tried = stood = 0

    async def commit(self, records: Iterable[Outgoing]) -> dict[Topic, Appended]:
        """Publish records."""
        self.tried += 1
        appended = await super().commit(records)
        self.stood += 1
        return appended


class LogBroadcast:
    """The shared tables of one worker, folded as far as it is told to, and no further.

    Args:
        log: The log.
        codec: Reads records.
        faults: Where the process may be gone.
        publish: Is given dead letters as they come up.
    """

    def __init__(self, log: Log, codec: Codec, faults: Faults, publish: Callable[..., None]) -> None:
        self._log = log
        self._faults = faults
        self._publish = publish
        self.replica = SharedReplica(codec)
        self._letters: list[tuple[Topic, int, Outgoing]] = []

    def advance(self, topic: Topic, end: int, *, again: int = 0) -> None:
        """Fold a topic up to an end; what was folded before may come again."""
        start = max(0, self.replica.folded(topic) + 1 - again)
        for record in self._log.entries[topic][start:end]:
            if record is not None:
                letters = self.replica.fold(record).dead_letters
                self._letters += [(topic, record.offset, letter) for letter in letters]
                if letters:
                    self._publish(letters)

    async def caught_up(self, ends: Mapping[TopicPartition, Bounds]) -> None:
        """Fold both topics to these ends."""
        await self._faults.step("waiting for the shared topics")
        for topic in SHARED_INPUTS:
            self.advance(topic, ends[TopicPartition(topic, 0)].end)

    async def covers(self, as_of: AsOf) -> None:
        """Fold both topics as far as a decision or halt knew them."""
        await self._faults.step("waiting for the shared topics")
        self.advance(Topic.DAILY_RETURNS, as_of.daily_returns + 1)
        self.advance(Topic.REFERENCE, as_of.reference + 1)
        assert self.replica.covers(as_of)

    def refused_after(self, through: Mapping[Topic, int]) -> list[Outgoing]:
        """Return the dead letters of later records."""
        return [letter for topic, offset, letter in self._letters if offset > through[topic]]


def newest_vector(log: Log) -> Vector | None:
    """Return the newest vector of this program in `checkpoints`; None where another's is newer, or there is none."""
    found = (each for each in reversed(log.entries[Topic.CHECKPOINTS]) if each is not None and each.key == VECTOR_KEY)
    return decode_vector(next((each.value for each in found), None))


class Worker:
    """One process on one machine. It lives on without the partition, and may be given it again.

    Args:
        log: What the broker holds.
        machine: Which machine it is.
        disk: That machine's disk.
        chance: Draws what is delivered.
        happened: Counts faults, and what is no fault but must happen too.
        rate: How likely a fault is, at each place where there can be one.
    """

    def __init__(
        self, log: Log, machine: int, disk: Disk, *, chance: random.Random, happened: Counter[str], rate: float
    ) -> None:
        self.machine = machine
        self.faults = Faults(chance, happened, rate)
        self.opened: Opened
        self._log = log
        self._disk = disk
        self._chance = chance
        self._happened = happened
        self._codec = Codec(1)
        self._ownership = Ownership(SETTINGS, NAMES, self._codec, may_decide=lambda _: True)
        self.broadcast = LogBroadcast(log, self._codec, self.faults, self._ownership.publish_shared)
        broadcast: Any = self.broadcast
        self._ownership.broadcast = broadcast

    @property
    def partition(self) -> Partition | None:
        """The partition, while the worker believes that it owns it."""
        return self._ownership.partitions.get(0)

    async def open(self) -> None:
        """Take the partition over."""
        vectors = {Source.DISK: copy.deepcopy(self._disk.vector), Source.TOPIC: newest_vector(self._log)}
        store: Any = DiskStore(self._disk, self.faults)
        broadcast: Any = self.broadcast
        reader: Any = LogReader(self._log, self._chance, self.faults)
        ledger = CountingLedger(0, SETTINGS, NAMES, producer=producer(self._log, self.faults))
        opening = Recovery(
            ledger,
            lambda: store,
            codec=self._codec,
            broadcast=broadcast,
            reader=reader,
            cached_rows=1,
            unsaved_rows=self._chance.choice(UNSAVED_ROWS),
        )
        try:
            self.opened = await opening.open()
        finally:
            self._happened["a checkpoint is saved while opening"] += ledger.stood
            self._happened["a worker is gone while it saves in opening"] += ledger.tried > ledger.stood
        known = known_of(vectors.get(self.opened.source))
        assert self.broadcast.replica.covers(known), f"the checkpoint's writer knew more: {known}"
        self._ownership._install(self.opened)
        self._pause()
        self._happened[f"opened from {self.opened.source}"] += 1

    def _pause(self) -> None:
        """Commit when the simulation says so, and not whenever something waits."""
        assert self.partition is not None
        assert self.partition._task is not None
        self.partition._task.cancel()
        self.partition._task = None

    async def commit(self, *, checkpoint: bool) -> None:
        """Commit what waits."""
        assert self.partition is not None
        self.partition._interval = 0.0 if checkpoint else float("inf")
        await self.partition.commit()

    async def release(self) -> None:
        """Let the partition go in peace."""
        assert self.partition is not None
        self.partition.serve()
        await self.partition.close()
        self._ownership.partitions.clear()

    # --- what comes in

    def deliver(self, topic: Topic) -> None:
        """Hand over some of what is there of a topic, now and then some of it again, and once in a while with a hole.

        Raises:
            StoppedError: If there is a hole.
        """
        assert self.partition is not None
        entries = self._log.entries[topic]
        expected = self.partition.next_offsets[topic]
        start = max(0, expected - self._chance.choice((0, 0, 0, REDELIVERED)))
        end = self._chance.randint(start, len(entries))
        if any(entries[expected:end]) and self.faults.happens("records are passed over", times=3):
            start = 1 + next(each.offset for each in entries[expected:end] if each is not None)
        elif any(entries[start : min(end, expected)]):
            self._happened["records are delivered again"] += 1
        records = [each for each in entries[start:end] if each is not None]
        if records:  # else it is as a fetch of nothing but markers: the next batch begins where the last one ended
            vouched = start <= expected or self._chance.random() < 0.5
            self._note_order(topic, records)
            self._take(Batch(topic, 0, records, start=start if vouched else None, end=end))

    def _note_order(self, topic: Topic, records: list[Record]) -> None:
        """Count a delivery that comes before older records of another topic."""
        assert self.partition is not None
        for other in ACCOUNT_INPUTS:
            waiting = self._log.entries[other][self.partition.next_offsets[other] :]
            oldest = next((each.time for each in waiting if each is not None), None)
            if other is not topic and oldest is not None and oldest < records[-1].time:
                self._happened["topics overtake each other"] += 1
                return

    def deliver_shared(self) -> None:
        """Fold some of what is there of the shared topics."""
        topic = self._chance.choice(SHARED_INPUTS)
        end = self._chance.randint(self.broadcast.replica.folded(topic) + 1, len(self._log.entries[topic]))
        self.broadcast.advance(topic, end, again=self._chance.choice((0, REDELIVERED)))

    def deliver_all(self) -> None:
        """Hand over all that is there."""
        assert self.partition is not None
        for topic in SHARED_INPUTS:
            self.broadcast.advance(topic, len(self._log.entries[topic]))
        for topic in (Topic.FILLS, Topic.EQUITY_TICKS, Topic.ORDER_INTENTS):
            start, entries = self.partition.next_offsets[topic], self._log.entries[topic]
            records = [each for each in entries[start:] if each is not None]
            if records:
                self._take(Batch(topic, 0, records, start=start, end=len(entries)))

    def _take(self, batch: Batch) -> None:
        assert self.partition is not None
        if batch.topic is Topic.ORDER_INTENTS:
            self.partition.decide(batch)
        else:
            self.partition.fold(batch)

    def check_positions(self) -> None:
        """Check that nothing is reported as dealt with that has no decision in the log."""
        if self.partition is None:
            return
        position = self.partition.positions()[Topic.ORDER_INTENTS]
        reported = sum(each is not None for each in self._log.entries[Topic.ORDER_INTENTS][:position])
        assert reported <= self._log.decided, f"{reported} intents are reported as decided, {self._log.decided} are"


def quiet_worker(log: Log, disk: Disk) -> Worker:
    """Return a worker in whose life nothing goes wrong."""
    return Worker(log, 0, disk, chance=random.Random(0), happened=Counter(), rate=0)

"""`reference` and `daily-returns`, read whole by every worker, and the tables folded from them.

A reader without a group follows both topics from where the local checkpoint ends (a cache like every other: without
it, from the beginning) and hands each fetch to an agent through an in-memory channel. The tables are pure folds of
one topic each, so their rows are saved without any transaction.

Dead letters of these topics are published by the owner of partition 0. Whoever that may become later, every worker
keeps them with its rows.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson

from models.decisions import AsOf
from streams.checkpoint import Trail, UnusableError, anchors_of, require_beginning, stored_anchors, verify_anchors
from streams.codec import Codec
from streams.config import Settings
from streams.operations import BROKER_REMEDY, OperatorError, fail_stop, warn_unauthorized
from streams.reader import Bounds, Reader
from streams.records import SHARED_INPUTS, Batch, Names, Outgoing, Topic, TopicPartition
from streams.replica import SharedReplica
from streams.store import DamagedError, Row, Store
from streams.tables import REFUSED, SHARED_TABLES, cut_shared, load_shared

WAIT_MAX: Final = 30.0
"""Seconds until a partition that needs more of these topics gives up."""
_PLACES: Final = {topic: TopicPartition(topic, 0) for topic in SHARED_INPUTS}


class Broadcast:
    """The shared tables and what keeps them up to date.

    Args:
        settings: How to reach the broker, and where the disk is.
        names: The broker's names of the topics.
        codec: Reads records.
        hand_over: Puts a batch where an agent takes it and calls `fold`.
        publish: Is given dead letters as they come up.
    """

    def __init__(
        self,
        settings: Settings,
        names: Names,
        codec: Codec,
        *,
        hand_over: Callable[[Batch], Awaitable[None]],
        publish: Callable[[tuple[Outgoing, ...]], None],
    ) -> None:
        self._settings = settings
        self._names = names
        self._codec = codec
        self._hand_over = hand_over
        self._publish = publish
        self._store = Store(settings.worker_dir / "shared", SHARED_TABLES)
        self.replica = SharedReplica(codec)
        self._trail = Trail()
        self._unsaved = False
        self._refused: list[Row] = []
        self._reached = dict.fromkeys(SHARED_INPUTS, 0)
        self._moved = asyncio.Event()
        self._saved_at = 0.0
        self._reader: Reader | None = None
        self._task: asyncio.Task[None] | None = None

    # --- taking in

    def fold(self, batch: Batch) -> None:
        """Fold records of one of the two topics."""
        for record in batch.records:
            try:
                folded = self.replica.fold(record)
            except Exception as error:  # noqa: BLE001  # whatever it is, the record must be met again
                fail_stop(f"folding {record.place}", error)
            self._trail.note(record.topic, record.offset, record.key, record.value)
            self._unsaved = True
            for letter in folded.dead_letters:
                row = [(letter.key or b"").decode(), (letter.value or b"").decode()]
                self._refused.append(Row(REFUSED, _refused_key(record.topic, record.offset), orjson.dumps(row)))
            if folded.unauthorized is not None:
                warn_unauthorized(record.place, folded.unauthorized)
            if folded.dead_letters:
                self._publish(folded.dead_letters)

    def refused_after(self, through: Mapping[Topic, int]) -> list[Outgoing]:
        """Return the dead letters of records after the given offsets of each topic."""
        self._save()
        letters = []
        for topic in SHARED_INPUTS:
            found = self._store.rows(REFUSED, topic.encode() + b"\0", after=_refused_key(topic, through[topic]))
            letters += [Outgoing(Topic.DEAD_LETTERS, key.encode(), value.encode()) for key, value in found.values()]
        return letters

    # --- waiting for it

    async def covers(self, as_of: AsOf) -> None:
        """Wait until the tables are folded as far as a decision or halt knew them.

        Raises:
            OperatorError: If that takes half a minute.
        """
        await self._until(lambda: self.replica.covers(as_of), "know what a decision in the ledger knew")

    async def caught_up(self, ends: Mapping[TopicPartition, Bounds]) -> None:
        """Wait until both topics are folded to these ends.

        Raises:
            OperatorError: If nothing moves for half a minute.
        """
        await self._until(
            lambda: all(self._reached[topic] >= ends[place].end for topic, place in _PLACES.items()),
            "reach their ends",
        )

    async def _until(self, done: Callable[[], bool], what: str) -> None:
        while not done():
            self._moved.clear()
            try:
                async with asyncio.timeout(WAIT_MAX):
                    await self._moved.wait()
            except TimeoutError:
                raise OperatorError(
                    f"{' and '.join(SHARED_INPUTS)} did not {what} within {WAIT_MAX:.0f} s", remedy=BROKER_REMEDY
                ) from None

    def last_fetch(self) -> float:
        """Return when both topics were last fetched successfully: seconds since the epoch, 0 for never."""
        if self._reader is None:
            return 0.0
        return min(self._reader.last_fetch(place) for place in _PLACES.values())

    # --- reading

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._run(), name="broadcast")

    async def stop(self) -> None:
        """Stop reading and save what was folded."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._save()
        self._store.close()

    async def _run(self) -> None:
        try:
            async with Reader(self._settings, self._names, following=True) as reader:
                positions = await self._load(reader)
                self._reader = reader
                self._reached = {place.topic: offset for place, offset in positions.items()}
                self._moved.set()
                await self._follow(reader, positions)
        except asyncio.CancelledError:
            self._reader = None
            raise
        except Exception as error:  # noqa: BLE001  # without these topics there is no deciding
            fail_stop(f"reading {' and '.join(SHARED_INPUTS)}", error)

    async def _follow(self, reader: Reader, positions: Mapping[TopicPartition, int]) -> None:
        async for fetched in reader.follow(positions):
            for records in fetched:
                end = records[-1].offset + 1
                await self._hand_over(Batch(records[0].topic, 0, records, start=None, end=end))
            # Only now: while one topic was folded, the reader's position in the other was already past its records.
            self._reached = {topic: await reader.position(place) for topic, place in _PLACES.items()}
            self._moved.set()
            if time.monotonic() - self._saved_at >= self._settings.checkpoint_interval:
                self._save()

    async def _load(self, reader: Reader) -> dict[TopicPartition, int]:
        """Load the local checkpoint, or nothing where it does not fit the log. Return where to read on."""
        bounds = await reader.bounds(_PLACES.values())
        vector = self._store.vector()
        if vector is not None:
            try:
                await self._load_checkpoint(vector, bounds, reader)
            except (UnusableError, DamagedError) as error:
                vector = None
                self._store.clear(str(error))
        if vector is None:
            self._store.clear()
            for place in _PLACES.values():
                require_beginning(place, bounds[place], None)
        return {place: self.replica.folded(topic) + 1 for topic, place in _PLACES.items()}

    async def _load_checkpoint(
        self, vector: Mapping[str, Any], bounds: Mapping[TopicPartition, Bounds], reader: Reader
    ) -> None:
        anchors = anchors_of(vector)
        await verify_anchors(anchors, 0, bounds, reader)
        shared = load_shared(self._store)
        shared.daily_returns_offset, shared.reference_offset = (
            anchors[topic].offset if topic in anchors else -1 for topic in SHARED_INPUTS
        )
        self._trail = Trail(anchors)
        self.replica = SharedReplica(self._codec, shared)

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if not self._unsaved:
            return
        self._unsaved = False
        refused, self._refused = self._refused, []
        self._store.write([*cut_shared(self.replica.shared), *refused], {"anchors": stored_anchors(self._trail)})


def _refused_key(topic: Topic, offset: int) -> bytes:
    return f"{topic}\0{offset:020d}".encode()

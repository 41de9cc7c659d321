"""Which partitions this worker owns: opened when assigned, closed when revoked or when the worker ends."""

import asyncio
import gc
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from streams.broadcast import Broadcast
from streams.codec import Codec
from streams.config import Settings
from streams.ledger import Ledger
from streams.operations import fail_stop, say
from streams.partition import Partition
from streams.reader import Reader
from streams.records import Batch, Names, Outgoing, TopicPartition
from streams.recovery import Opened, Progress, Recovery
from streams.store import Store
from streams.tables import ACCOUNT_TABLES, CACHED_ROWS

READERS_MAX: Final = 4
"""Partitions opened at the same time."""
SHARED_LETTERS_OWNER: Final = 0
"""The partition whose owner publishes the dead letters of the shared topics."""


class Ownership:
    """The partitions of one worker.

    Args:
        settings: How to reach the broker, and where the disk is.
        names: The broker's names of the topics.
        codec: Reads records.
        may_decide: Tells of a partition whether its inputs are fresh enough to decide on.
    """

    def __init__(
        self, settings: Settings, names: Names, codec: Codec, *, may_decide: Callable[[Partition], bool]
    ) -> None:
        self.partitions: dict[int, Partition] = {}
        self.progress: dict[int, Progress] = {}
        """Of every partition that the group has given to this worker."""
        self.broadcast: Broadcast
        self._settings = settings
        self._names = names
        self._codec = codec
        self._may_decide = may_decide
        self._opening: asyncio.Task[None] | None = None
        self._ended = False

    # --- what the agents, the transport and the timers ask

    def owner_of(self, batch: Batch) -> Partition | None:
        """Return the partition that a batch belongs to; None where it was revoked meanwhile."""
        return self.partitions.get(batch.partition)

    def has_room(self, place: TopicPartition) -> bool:
        """Tell whether more of a topic partition may be fetched."""
        partition = self.partitions.get(place.partition)
        return partition is not None and partition.has_room(place.topic)

    def positions(self) -> dict[TopicPartition, int]:
        """Return up to where each input of each partition is dealt with."""
        return {
            TopicPartition(topic, number): offset
            for number, partition in self.partitions.items()
            for topic, offset in partition.positions().items()
        }

    def positions_to_read(self) -> dict[TopicPartition, int]:
        """Return where reading each input of each partition goes on."""
        return {
            TopicPartition(topic, number): offset
            for number, partition in self.partitions.items()
            for topic, offset in partition.next_offsets.items()
        }

    @property
    def is_open(self) -> bool:
        """Whether the group has said which partitions are this worker's, and all of them are open."""
        opening = self._opening
        return opening is not None and opening.done() and not opening.cancelled()

    def publish_shared(self, letters: Iterable[Outgoing]) -> None:
        """Publish dead letters of the shared topics, if that is this worker's to do."""
        owner = self.partitions.get(SHARED_LETTERS_OWNER)
        if owner is not None:
            owner.owe(letters)

    # --- what the group says

    def assigned(self, numbers: Iterable[int]) -> None:
        """Begin to open these partitions; `opened` waits for it.

        Opening may take longer than a session, and the client sends no heartbeats while it waits for its listener, so
        the listener does not wait.
        """
        if not self._ended:
            numbers = sorted(numbers)
            self.progress = {number: Progress() for number in numbers}
            self._opening = asyncio.create_task(self._open(numbers), name="opening")

    async def opened(self) -> bool:
        """Wait until the newest assignment is open. Return False if it was revoked before."""
        while (opening := self._opening) is not None:
            await asyncio.wait([opening])
            if opening is self._opening:
                return not opening.cancelled()
        return False

    async def revoked(self) -> None:
        """Close every partition: finish what is in hand, and forget the rest."""
        opening, self._opening = self._opening, None
        if opening is not None and not opening.done():
            opening.cancel()
            await asyncio.wait([opening])
        self.progress = {}
        partitions, self.partitions = self.partitions, {}
        if partitions:
            started = time.monotonic()
            await asyncio.gather(*(partition.close() for partition in partitions.values()))
            say("released", partitions=_listed(partitions), seconds=f"{time.monotonic() - started:.3f}")
            del partitions
            gc.collect()  # Their tasks and timers may hold one another, and with them all of the state.

    async def end(self) -> None:
        """Close every partition for good."""
        self._ended = True
        await self.revoked()

    async def _open(self, numbers: list[int]) -> None:
        started = time.monotonic()
        todo = list(reversed(numbers))
        opened: list[Opened] = []
        # One cache's worth for the worker, however many partitions it has: accounts spread evenly over them.
        cached_rows = CACHED_ROWS // max(1, len(numbers))
        try:
            async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
                for _ in range(min(READERS_MAX, len(todo))):
                    reader = await stack.enter_async_context(Reader(self._settings, self._names))
                    group.create_task(self._open_some(todo, opened, reader, cached_rows))
        except asyncio.CancelledError:
            for each in opened:
                each.store.close()
                await each.ledger.stop()
            raise
        except BaseExceptionGroup as errors:
            error = errors.exceptions[0]
            fail_stop(_named_record(error) or f"opening partitions {_listed(numbers)}", error)
        except Exception as error:  # noqa: BLE001  # a partition that is not open is not served
            fail_stop(f"opening partitions {_listed(numbers)}", error)
        for each in opened:
            self._install(each)
        self._report(opened, started)

    async def _open_some(self, todo: list[int], opened: list[Opened], reader: Reader, cached_rows: int) -> None:
        while todo:
            number = todo.pop()
            recovery = Recovery(
                Ledger(number, self._settings, self._names),
                partial(Store, self._settings.worker_dir / f"partition-{number}", ACCOUNT_TABLES),
                codec=self._codec,
                broadcast=self.broadcast,
                reader=reader,
                cached_rows=cached_rows,
                progress=self.progress.get(number),
            )
            opened.append(await recovery.open())

    def _install(self, opened: Opened) -> None:
        number = opened.replica.partition
        partition = Partition(
            opened.replica,
            self.broadcast.replica,
            opened.tables,
            opened.store,
            opened.ledger,
            trail=opened.trail,
            next_offsets=opened.next_offsets,
            checkpoint_interval=self._settings.checkpoint_interval,
            may_decide=self._may_decide,
        )
        partition.owe(opened.owed)
        if number == SHARED_LETTERS_OWNER:
            # Taken and installed in one stretch: a letter that comes up now is in the one or goes to the other.
            letters = self.broadcast.refused_after(opened.shared_through)
            partition.owe(letter for letter in letters if letter.key not in opened.published)
        self.partitions[number] = partition
        self.progress.setdefault(number, Progress()).phase = "serving"
        partition.serve()

    def _report(self, opened: list[Opened], started: float) -> None:
        sources: dict[str, list[int]] = {}
        for each in opened:
            sources.setdefault(each.source, []).append(each.replica.partition)
        say(
            "ready",
            partitions=_listed(each.replica.partition for each in opened),
            **{f"from_{source}": _listed(numbers) for source, numbers in sources.items()},
            folded=sum(each.folded for each in opened),
            owed=sum(len(each.owed) for each in opened),
            seconds=f"{time.monotonic() - started:.3f}",
        )


def _named_record(error: BaseException) -> str | None:
    """Return what recovery noted of the record that it could not fold."""
    return next((note for note in getattr(error, "__notes__", ()) if note.startswith("folding ")), None)


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(str(number) for number in sorted(numbers)) or "none"

"""The clocks that watch over a worker. None of them reaches a decision: they say when not to decide, and when to end.

A worker that hangs but still sends heartbeats would keep its partitions for ever, so it is ended; the next owner
continues from the last commit.
"""

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from streams.broadcast import Broadcast
from streams.operations import BROKER_REMEDY, OperatorError, fail_stop
from streams.ownership import Ownership
from streams.partition import Partition
from streams.records import ACCOUNT_INPUTS, SHARED_INPUTS, Topic, TopicPartition

STALE_SECONDS: Final = 5.0
"""Without a successful fetch of an input for so long, nothing is decided on it."""
LOST_SECONDS: Final = 30.0
"""Without one for so long, the worker ends."""
STALLED_SECONDS: Final = 60.0
"""With records waiting and none dealt with for so long, the worker ends."""
BLOCKED_SECONDS: Final = 60.0
"""An event loop that has not run for so long never will again."""


class Source(Protocol):
    """What is asked of the consumer."""

    def last_fetch(self, place: TopicPartition) -> float:
        """Return when a fetch of a partition last succeeded: seconds since the epoch, 0 for never."""
        ...

    def unread(self, place: TopicPartition) -> int:
        """Return how many offsets of a partition are there to be fetched."""
        ...


class Watchdog:
    """Watches the partitions of one worker.

    Args:
        ownership: The partitions.
        broadcast: The shared tables.
        source: Returns the consumer.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        ownership: Ownership,
        broadcast: Broadcast,
        source: Callable[[], Source],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ownership = ownership
        self._broadcast = broadcast
        self._source = source
        self._clock = clock
        self._progress: dict[int, tuple[object, float]] = {}
        self._alive_at = time.monotonic()

    def may_decide(self, partition: Partition) -> bool:
        """Tell whether every input that a decision of a partition rests on was fetched lately."""
        return self._clock() - self._oldest_fetch(partition)[0] < STALE_SECONDS

    def input_ages(self, partition: Partition) -> dict[str, float]:
        """Return of each input that a decision of a partition rests on how many seconds ago it was fetched."""
        now = self._clock()
        return {name: now - at for at, name in self._fetches(partition)}

    def lag(self, partition: Partition) -> dict[Topic, int]:
        """Return how many offsets of each input are there to be fetched."""
        source = self._source()
        return {topic: source.unread(TopicPartition(topic, partition.number)) for topic in ACCOUNT_INPUTS}

    def silence(self) -> float:
        """Return for how many seconds nobody has called `check`."""
        return time.monotonic() - self._alive_at

    def _oldest_fetch(self, partition: Partition) -> tuple[float, str]:
        """Return when the input that is longest without a fetch had its last, and which it is."""
        return min(self._fetches(partition))

    def _fetches(self, partition: Partition) -> list[tuple[float, str]]:
        source = self._source()
        fetches = [(self._broadcast.last_fetch(), " and ".join(SHARED_INPUTS))]
        for topic in (Topic.FILLS, Topic.EQUITY_TICKS):
            place = TopicPartition(topic, partition.number)
            fetches.append((source.last_fetch(place), str(place)))
        # Recovery has just read them all, so a partition's opening counts as a fetch.
        return [(max(at, partition.opened_at), name) for at, name in fetches]

    def check(self) -> None:
        """Look at every partition; end the process where one is cut off or stands still. Called every second."""
        self._alive_at = time.monotonic()
        now = self._clock()
        for partition in self._ownership.partitions.values():
            fetched_at, name = self._oldest_fetch(partition)
            if now - fetched_at > LOST_SECONDS:
                fail_stop(
                    f"reading {name}",
                    OperatorError(f"no fetch succeeded for {now - fetched_at:.0f} s", remedy=BROKER_REMEDY),
                )
            self._check_progress(partition, now)

    def _check_progress(self, partition: Partition, now: float) -> None:
        progress = (partition.opened_at, partition.commits, *partition.next_offsets.values())
        known, since = self._progress.get(partition.number, (None, now))
        if progress != known or not self._waits(partition):
            self._progress[partition.number] = (progress, now)
        elif now - since > STALLED_SECONDS:
            fail_stop(
                f"serving partition {partition.number}",
                f"records wait, and none was dealt with for {now - since:.0f} s",
            )

    def _waits(self, partition: Partition) -> bool:
        return partition.waiting > 0 or any(self.lag(partition).values())

    def start_thread(self) -> None:
        """Watch from a thread that the event loop still runs."""
        threading.Thread(target=self._watch_loop, name="watchdog", daemon=True).start()

    def _watch_loop(self) -> None:
        while True:
            time.sleep(1)
            blocked = time.monotonic() - self._alive_at
            if blocked > BLOCKED_SECONDS:
                fail_stop("running", f"the event loop has been blocked for {blocked:.0f} s")

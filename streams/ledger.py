"""The transactional producer of one partition: the only writer of that partition's decisions, halts and checkpoints.

The protocol, and the same numbers in the code:

1. *Fence.* Starting the producer under the partition's transactional id makes the broker refuse every earlier owner,
   and complete or abort what it left open. Only then are the ends of the output topics final.
2. *Begin.* At most one transaction is in flight.
3. *Send.* Records go in batches of our own making, each with the producer's epoch in a header: the log itself shows
   that no older owner wrote after a newer one.
4. *Await every batch.* aiokafka commits even when a batch has failed: half a transaction would be visible.
5. *Commit.*

Whatever fails, the caller ends the process. A fenced producer never recovers, and that is what it is for.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import aiokafka.producer.sender
from aiokafka import AIOKafkaProducer

from streams.config import PRODUCER_RETRY_BACKOFF_MS, Settings, kafka_arguments
from streams.records import Names, Outgoing, Topic

# After a commit the coordinator refuses the same transactional id until the markers are written, and the client waits
# this long before it asks again. 20 ms, its own choice, would be the latency of every decision under load.
aiokafka.producer.sender.BACKOFF_OVERRIDE = 0.001

EPOCH_HEADER: Final = "epoch"
"""Header of every record: the producer epoch in decimal digits."""
WHY_HEADER: Final = "why"
"""Header of a MALFORMED decision: what was wrong with the record, one line of ASCII."""
BATCH_BYTES: Final = 256 * 1024
STOP_TIMEOUT: Final = 5.0


class Appended(NamedTuple):
    """Where the last record of a topic came to stand."""

    offset: int
    record: Outgoing


class Ledger:
    """Writes one partition of the output topics.

    Args:
        partition: Its number.
        settings: How to reach the broker; the application id, first part of the transactional id.
        names: The broker's names of the topics.
        producer: Makes the producer; the simulation has one of its own.
    """

    def __init__(
        self, partition: int, settings: Settings, names: Names, *, producer: Callable[..., Any] = AIOKafkaProducer
    ) -> None:
        self.partition = partition
        self._names = names
        self._settings = settings
        self._new_producer = producer
        self._producer: Any = None
        self._headers: list[tuple[str, bytes]] = []

    @property
    def epoch(self) -> int:
        """The producer epoch, one more for each owner."""
        epoch: int = self._producer._txn_manager.producer_epoch  # noqa: SLF001  # nothing public tells
        return epoch

    async def fence(self) -> None:
        """Become the partition's only writer (step 1). Returns when everything before is final."""
        self._producer = self._new_producer(
            **kafka_arguments(self._settings),
            transactional_id=f"{self._settings.application_id}-{self.partition}",
            transaction_timeout_ms=round(self._settings.transaction_timeout * 1000),
            acks="all",
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            retry_backoff_ms=PRODUCER_RETRY_BACKOFF_MS,
        )
        await self._producer.start()  # 1
        self._headers = [(EPOCH_HEADER, str(self.epoch).encode())]

    async def commit(self, records: Iterable[Outgoing]) -> dict[Topic, Appended]:
        """Publish records atomically (steps 2 to 5). Not to be cancelled; any error is final.

        Args:
            records: What to publish; those of one topic keep their order.

        Returns:
            For each topic its last record, and where it stands.

        Raises:
            KafkaError: If nothing, or perhaps everything, was published.
        """
        by_topic: dict[Topic, list[Outgoing]] = {}
        for record in records:
            by_topic.setdefault(record.topic, []).append(record)
        producer = self._producer
        await producer.begin_transaction()  # 2
        sent = []
        for topic, outgoing in by_topic.items():  # 3
            for batch in self._batches(outgoing):
                stands = await producer.send_batch(batch, self._names[topic], partition=self.partition)
                sent.append((topic, batch.record_count(), stands))
        appended = {}
        for topic, count, stands in sent:
            first = (await stands).offset  # 4
            appended[topic] = Appended(first + count - 1, by_topic[topic][-1])
        await producer.commit_transaction()  # 5
        return appended

    def _batches(self, records: Sequence[Outgoing]) -> list[Any]:
        """Return the records in as few batches as they fit in, closed."""
        batches = [self._producer.create_batch()]
        for record in records:
            if not self._append(batches[-1], record):
                batches.append(self._producer.create_batch())
                appended = self._append(batches[-1], record)
                assert appended  # an empty batch takes a record of any size
        for batch in batches:
            batch.close()
        return batches

    def _append(self, batch: Any, record: Outgoing) -> bool:  # noqa: ANN401  # aiokafka has no types
        headers = self._headers
        if record.why is not None:
            headers = [*headers, (WHY_HEADER, record.why.encode())]
        return batch.append(timestamp=None, key=record.key, value=record.value, headers=headers) is not None

    async def stop(self) -> None:
        """Let go of the partition. What was not committed never was."""
        if self._producer is None:
            return
        producer, self._producer = self._producer, None
        async with asyncio.timeout(STOP_TIMEOUT):
            await producer.stop()

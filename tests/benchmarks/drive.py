"""Drives a stage on Kafka from outside: records at a steady rate and the time to each answer, or a backlog at once.

The stage must be in a process of its own. What is here knows a stage by its topics alone, so that every stage, ours
or another's, is measured by the same code.
"""

import asyncio
import gc
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Self, TypeVar

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

FIRST_ANSWER: Final = 60.0
"""Seconds that a stage has to start: a JVM, imports, a consumer group."""
LAST_ANSWER: Final = 15.0
"""Seconds after the last record until an answer counts as lost; some stages commit every five."""
NEVER: Final = math.inf
BATCH_BYTES: Final = 256 * 1024
T = TypeVar("T")


class Send(NamedTuple):
    """A record for a stage."""

    topic: str
    key: bytes
    value: bytes
    id: Hashable = None
    """What its answer is known by; None if none is expected."""


Match = Callable[[Any], Hashable]
"""Returns the id of the record that an answer, a `ConsumerRecord`, is to."""


class SilentError(Exception):
    """A stage does not answer."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a driver's work on uvloop, and return what it returns."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


class Driver:
    """Sends records and reads their answers, read-committed. An asynchronous context manager.

    Args:
        bootstrap: host:port of the broker.
        answers: Topic of the answers; it exists.
        match: What an answer is to.
    """

    def __init__(self, bootstrap: str, answers: str, match: Match) -> None:
        self._answers = answers
        self._match = match
        self._producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=0)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False
        )
        self._sent: dict[Hashable, float] = {}
        self._answered = False
        self._span = (NEVER, NEVER)
        self._latencies: list[float] = []
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._producer.start()
        await self._consumer.start()
        places = await _places(self._consumer, self._answers)
        self._consumer.assign(places)
        await self._consumer.seek_to_end(*places)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self._consumer.stop()
        await self._producer.stop()

    async def wait(self, probes: Iterator[Send], *, alive: Callable[[], bool] = lambda: True) -> None:
        """Return when the stage has answered one of the probes, which are sent every 0.2 s until then.

        Raises:
            SilentError: If it has not within a minute, or is not `alive`.
        """
        deadline = time.monotonic() + FIRST_ANSWER
        while not self._answered:
            if not alive():
                raise SilentError("it ended by itself")
            if time.monotonic() > deadline:
                raise SilentError(f"no answer within {FIRST_ANSWER:g} s of its start")
            await self._send(next(probes))
            await self._pause(0.2)

    async def latencies(
        self, sends: Iterable[Send], *, rate: float, seconds: float, warm_up: float = 0.0
    ) -> list[float]:
        """Return the milliseconds from sending a record to reading its answer, of each record after the warm-up.

        Args:
            sends: The records; as many are taken as are needed.
            rate: Records per second, sent when their time has come and not when the one before was answered.
            seconds: How long records are counted.
            warm_up: Seconds of sending before.

        Raises:
            SilentError: If an answer is missing.
        """
        self._sent.clear()
        self._latencies.clear()
        gc.collect()
        gc.freeze()  # A collection of all that the caller holds would be somebody else's latency.
        begun = time.perf_counter()
        self._span = (begun + warm_up, begun + warm_up + seconds)
        counted = 0
        for number, each in enumerate(sends):
            due = begun + number / rate
            # Sending goes on until all that count are answered: some stages keep the last ones until others come.
            if due > self._span[1] and (len(self._latencies) >= counted or due > self._span[1] + LAST_ANSWER):
                break
            await self._pause(due - time.perf_counter())
            counted += self._counts(await self._send(each))
        while len(self._latencies) < counted and time.perf_counter() < self._span[1] + LAST_ANSWER:
            await self._pause(0.05)
        gc.unfreeze()
        if len(self._latencies) < counted:
            raise SilentError(
                f"{counted - len(self._latencies):,} of {counted:,} records have no answer after {LAST_ANSWER:g} s"
            )
        return self._latencies.copy()

    def _counts(self, sent: float) -> bool:
        return self._span[0] <= sent <= self._span[1]

    async def _send(self, each: Send) -> float:
        """Send a record and return when that was; never, if no answer is expected."""
        now = time.perf_counter()
        if each.id is not None:
            self._sent[each.id] = now
        await self._producer.send(each.topic, each.value, each.key)
        return now if each.id is not None else NEVER

    async def _pause(self, seconds: float) -> None:
        assert self._reading is not None
        if self._reading.done():
            self._reading.result()
        await asyncio.sleep(max(seconds, 0))

    async def _read(self) -> None:
        while True:
            # Returns as soon as there is anything; a longer wait costs no latency.
            fetched = await self._consumer.getmany(timeout_ms=1000)
            now = time.perf_counter()
            for records in fetched.values():
                for record in records:
                    sent = self._sent.pop(self._match(record), None)
                    if sent is None:
                        continue  # A repeated answer.
                    self._answered = True
                    if self._counts(sent):
                        self._latencies.append((now - sent) * 1e3)


async def latency(
    bootstrap: str,
    answers: str,
    sends: Iterator[Send],
    match: Match,
    *,
    rate: float,
    seconds: float,
    warm_up: float = 3.0,
) -> list[float]:
    """Return a running stage's latencies, ms: see `Driver.latencies`."""
    async with Driver(bootstrap, answers, match) as driver:
        await driver.wait(sends)
        return await driver.latencies(sends, rate=rate, seconds=seconds, warm_up=warm_up)


async def create_topics(bootstrap: str, *names: str, partitions: int, **settings: str) -> None:
    """Create topics, and return when the broker tells of them."""
    async with _administration(bootstrap) as admin:
        topics = [NewTopic(name, partitions, replication_factor=1, topic_configs=settings) for name in names]
        response = await admin.create_topics(topics)
        refused = [error for error in response.topic_errors if error[1]]
        assert not refused, refused
        while not set(names) <= set(await admin.list_topics()):  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.05)


async def delete_topics(bootstrap: str, *names: str) -> None:
    """Delete topics, so that a long benchmark does not fill the disk."""
    async with _administration(bootstrap) as admin:
        await admin.delete_topics(list(names))


@asynccontextmanager
async def _administration(bootstrap: str) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def write(bootstrap: str, sends: Iterable[tuple[int, Send]]) -> None:
    """Write records, each with the number of its partition, as fast as the broker takes them."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=BATCH_BYTES)
    await producer.start()
    batches: dict[tuple[str, int], Any] = defaultdict(producer.create_batch)
    written = []
    try:
        for number, send in sends:
            place = (send.topic, number)
            if batches[place].append(timestamp=None, key=send.key, value=send.value) is None:
                written.append(await producer.send_batch(batches.pop(place), send.topic, partition=number))
                batches[place].append(timestamp=None, key=send.key, value=send.value)
        for (topic, number), batch in batches.items():
            written.append(await producer.send_batch(batch, topic, partition=number))
        await asyncio.gather(*written)
    finally:
        await producer.stop()


class Log:
    """A topic as read-committed readers see it, read only afterwards. An asynchronous context manager."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            isolation_level="read_committed",
            enable_auto_commit=False,
            max_partition_fetch_bytes=4 << 20,
        )
        self._places: Sequence[Any] = ()

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._places = await _places(self._consumer, self._topic)
        self._consumer.assign(self._places)
        self._consumer.pause(*self._places)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def ends(self) -> dict[Any, int]:
        """Return the offsets up to which everything is committed or aborted; transactions' marks have some too."""
        ends: dict[Any, int] = await self._consumer.end_offsets(self._places)
        return ends

    async def records(self, starts: dict[Any, int], ends: dict[Any, int]) -> AsyncIterator[Any]:
        """Yield the committed records between."""
        left = {place for place in self._places if starts[place] < ends[place]}
        for place in left:
            self._consumer.seek(place, starts[place])
        self._consumer.resume(*left)
        while left:
            fetched = await self._consumer.getmany(*left, timeout_ms=200)
            for place, records in fetched.items():
                for record in records:
                    if record.offset < ends[place]:
                        yield record
            left = {place for place in left if await self._consumer.position(place) < ends[place]}
        self._consumer.pause(*self._places)


async def _places(consumer: Any, topic: str) -> list[Any]:
    while not (numbers := consumer.partitions_for_topic(topic)):
        await consumer._client.force_metadata_update()  # nothing public asks again
        await consumer.topics()
    return [TopicPartition(topic, number) for number in sorted(numbers)]

"""What benchmarks with a broker share: the broker, a gate of their own on it, and eyes on what its workers do."""

import asyncio
import itertools
import os
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from models.canonical import canonical_bytes
from streams import topics as declared
from streams.codec import Codec
from streams.config import PRODUCER_RETRY_BACKOFF_MS, Settings, kafka_arguments
from streams.publisher import destination
from streams.reader import Reader
from streams.records import SHARED_INPUTS, Names, Record, Topic, TopicPartition
from streams.topics import Topics
from tests.benchmarks.figures import MEGABYTE, say
from tests.benchmarks.market import Market, Sent
from tests.integration.workers import WorkerProcess
from tests.kafka import Broker, ProcessBroker, start_broker

BATCH_BYTES: Final = 256 * 1024
IN_FLIGHT: Final = 64
"""Batches on their way to the broker at once."""
LOOK_SECONDS: Final = 0.1
GROWN_MIN: Final = 4
"""Looks that a stretch needs; with fewer of them all that happened counts, its beginning included."""
STALLED_SECONDS: Final = 60.0
PATIENCE: Final = 30.0
"""Seconds that the group waits for a worker: one is frozen while something to do is written."""
PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / MEGABYTE
TICKS: Final = os.sysconf("SC_CLK_TCK")

_running: list[Broker] = []
_numbers = itertools.count(1)


def broker() -> Broker:
    """Return the one broker of all benchmarks, started when it is first asked for."""
    if _running and _ended(_running[0]):
        stop_broker()  # it died under another benchmark
    if not _running:
        _running.append(start_broker(os.environ, say))
        say(f"broker: {_running[0]}")
    return _running[0]


def _ended(found: Broker) -> bool:
    return isinstance(found, ProcessBroker) and (found._process is None or found._process.poll() is not None)


def stop_broker() -> None:
    """End the broker, and remove what it holds."""
    while _running:
        _running.pop().stop()


class Process(NamedTuple):
    """What a process of this machine has used until now (Linux)."""

    cpu: float
    """Seconds, of all its threads."""
    memory: float
    """MB in memory now."""

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Look at a process."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return cls((int(fields[11]) + int(fields[12])) / TICKS, int(fields[21]) * PAGE_MB)


class Look(NamedTuple):
    """How far something is, and what it has cost until now."""

    time: float
    done: int
    workers: tuple[Process, ...]
    broker: Process | None

    @property
    def cpu(self) -> float:
        """CPU seconds of the workers."""
        return sum(process.cpu for process in self.workers)

    @property
    def memory(self) -> float:
        """MB in the memory of the largest worker."""
        return max((process.memory for process in self.workers), default=0.0)


class Stretch(NamedTuple):
    """What happened between two looks, the middle of something that began and ended."""

    done: float
    seconds: float
    cpu: float
    broker_cpu: float | None

    @property
    def rate(self) -> float:
        """Per second."""
        return self.done / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU us of the workers for one."""
        return self.cpu / self.done * 1e6

    @property
    def worker_load(self) -> float:
        """What the workers took of one core, %."""
        return 100 * self.cpu / self.seconds

    @property
    def broker_load(self) -> float | None:
        """What the broker took of one core, %."""
        return None if self.broker_cpu is None else 100 * self.broker_cpu / self.seconds


def stretch(looks: Sequence[Look], begin: float = 0.1, end: float = 0.9) -> Stretch:
    """Return what happened while the share that was done rose from about `begin` to about `end`.

    It grows by whole transactions: only looks that saw more than the one before tell when something was done.
    """
    first, last = looks[0].done, looks[-1].done
    grown = [now for before, now in pairwise(looks) if now.done > before.done] or [looks[-1]]
    shares = [(look, (look.done - first) / max(1, last - first)) for look in grown]
    inside = [look for look, share in shares if begin <= share <= end]
    one, other = (inside[0], inside[-1]) if len(inside) >= GROWN_MIN else (looks[0], grown[-1])
    broker_cpu = None
    if one.broker is not None and other.broker is not None:
        broker_cpu = other.broker.cpu - one.broker.cpu
    return Stretch(max(1, other.done - one.done), max(1e-3, other.time - one.time), other.cpu - one.cpu, broker_cpu)


class Site:
    """A gate on the broker: topics of its own, the workers that serve them, and who writes to them.

    Args:
        name: Of the application; before every topic.
        folder: Of its workers' disks and output.
        partitions: Of each account topic.
    """

    def __init__(self, name: str, folder: Path, partitions: int) -> None:
        self.broker = broker()
        self.folder = folder
        self.settings = Settings(
            bootstrap_servers=self.broker.bootstrap,
            application_id=name,
            topic_prefix=f"{name}.",
            partitions=partitions,
            data_dir=folder / "data",
            worker_id="worker-1",
            session_timeout=PATIENCE,
            request_timeout=PATIENCE,
            transaction_timeout=PATIENCE,
        )
        self.topics = Topics.of(self.settings)
        self.names = Names(self.topics)
        self.codec = Codec(partitions)
        self.workers: list[WorkerProcess] = []
        self.written: defaultdict[Topic, int] = defaultdict(int)
        """Records of each topic that were written by `write`."""
        self._stack = ExitStack()

    # --- writing

    async def open(self, market: Market) -> None:
        """Write the reference, the returns, and what accounts have at the beginning."""
        await declared.create(self.topics, self.settings)
        for messages in (market.reference(), market.returns(), market.opening()):
            by_topic: defaultdict[Topic, list[Sent]] = defaultdict(list)
            for message in messages:
                topic, key = destination(message)
                by_topic[topic].append(Sent(key.decode(), canonical_bytes(message)))
            for topic, sent in by_topic.items():
                await self.write(topic, sent)

    async def write(self, topic: Topic, records: Iterable[Sent]) -> None:
        """Write records as fast as the broker takes them, each to its account's partition."""
        producer = AIOKafkaProducer(
            **kafka_arguments(self.settings),
            enable_idempotence=True,
            acks="all",
            max_batch_size=BATCH_BYTES,
            retry_backoff_ms=PRODUCER_RETRY_BACKOFF_MS,
        )
        await producer.start()
        try:
            await self._write(producer, topic, records)
        finally:
            await producer.stop()

    async def _write(self, producer: AIOKafkaProducer, topic: Topic, records: Iterable[Sent]) -> None:
        partition_of: dict[str, int] = {}
        builders: dict[int, Any] = {}
        sent: list[Any] = []

        async def send(partition: int) -> None:
            sent.append(await producer.send_batch(builders.pop(partition), self.names[topic], partition=partition))
            if len(sent) >= IN_FLIGHT:
                await asyncio.gather(*sent)
                sent.clear()

        for account, value in records:
            partition = partition_of.get(account)
            if partition is None:
                shared = topic in SHARED_INPUTS
                partition = partition_of[account] = 0 if shared else self.codec.partition_of(account)
            key = account.encode()
            builder = builders.get(partition)
            if builder is None or builder.append(key=key, value=value, timestamp=None) is None:
                if builder is not None:
                    await send(partition)
                builder = builders[partition] = producer.create_batch()
                assert builder.append(key=key, value=value, timestamp=None) is not None
            self.written[topic] += 1
        for partition in list(builders):
            await send(partition)
        await asyncio.gather(*sent)

    # --- working

    def start(self, workers: int = 1, *, program: Sequence[str | Path] = ("-m", "streams")) -> None:
        """Start workers, and return when each of them has partitions and all of these are open."""
        for number in range(1, workers + 1):
            self.launch(number, program=program)
        for each in self.workers:
            each.wait_ready()
        while not self.serves():
            time.sleep(LOOK_SECONDS)

    def serves(self) -> bool:
        """Tell whether every worker has partitions.

        Raises:
            AssertionError: If one has ended.
        """
        for each in self.workers:
            assert each.process.poll() is None, f"a worker ended with {each.process.returncode}:\n{each.output}"
        return all(each.owned() for each in self.workers)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the workers while something is written, so that it is a backlog when they go on."""
        for each in self.workers:
            each.process.send_signal(signal.SIGSTOP)
        yield
        for each in self.workers:
            each.process.send_signal(signal.SIGCONT)

    def launch(self, number: int, *, program: Sequence[str | Path] = ("-m", "streams")) -> WorkerProcess:
        """Start a worker and return at once."""
        settings = self.settings.model_copy(update={"worker_id": f"worker-{number}"})
        process = WorkerProcess(settings, self.folder, program=program)
        process.start()
        self._stack.callback(process.kill)  # harmless where it has ended
        self.workers.append(process)
        return process

    def close(self) -> None:
        """Kill what still runs."""
        self._stack.close()

    # --- looking

    def look(self, done: int) -> Look:
        """Return how far it is, with what the processes have used."""
        found = self.broker
        pid = found._process.pid if isinstance(found, ProcessBroker) and found._process is not None else None
        workers = tuple(Process.of(each.process.pid) for each in self.workers)
        return Look(time.monotonic(), done, workers, None if pid is None else Process.of(pid))

    async def until(self, count: Callable[[], Any], expected: int, *, settled: float = 0.0) -> list[Look]:
        """Look until at least so many are done, and none was added for `settled` seconds.

        Raises:
            TimeoutError: If nothing happens for a minute.
        """
        looks = [self.look(await count())]
        changed = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            looks.append(self.look(await count()))
            if looks[-1].done != looks[-2].done:
                changed = time.monotonic()
            still = time.monotonic() - changed
            if looks[-1].done >= expected and still >= settled:
                return [look for look in looks if look.time <= changed + LOOK_SECONDS]
            if still > STALLED_SECONDS:
                raise TimeoutError(f"{looks[-1].done} of {expected} are done, and for a minute no more")

    @asynccontextmanager
    async def ends(self, topic: Topic) -> AsyncIterator[Callable[[], Any]]:
        """Yield what returns the sum of a topic's ends: committed records, and a marker of each transaction."""
        places = [TopicPartition(topic, number) for number in range(self.topics.partitions)]
        async with Reader(self.settings, self.names) as reader:

            async def count() -> int:
                return sum(bounds.end for bounds in (await reader.bounds(places)).values())

            yield count

    def unread(self, topic: Topic) -> int:
        """Return how many records of an input the workers have not fetched yet, as they say themselves."""
        told = [each.ask()[1]["partitions"].values() for each in self.workers]
        return sum(partition["lag"][topic] for partitions in told for partition in partitions)

    async def scan(self, topic: Topic, partition: int, note: Callable[[Record], object]) -> None:
        """Hand every committed record of a topic's partition to `note`."""
        async with Reader(self.settings, self.names) as reader:
            await reader.read_to_end({TopicPartition(topic, partition): 0}, note)


async def delete_topics(settings: Settings, *names: str) -> None:
    """Delete topics: a million decisions are gigabytes."""
    admin = AIOKafkaAdminClient(**kafka_arguments(settings))
    await admin.start()
    try:
        await admin.delete_topics(list(names))
    finally:
        await admin.close()


@asynccontextmanager
async def site(name: str, market: Market | None = None, *, partitions: int = 4) -> AsyncIterator[Site]:
    """Yield a gate of its own, opened with a market if there is one, and leave nothing of it behind."""
    with tempfile.TemporaryDirectory(prefix="seawall-bench-") as folder:
        made = Site(f"bench-{name}-{next(_numbers)}", Path(folder), partitions)
        try:
            if market is not None:
                await made.open(market)
            yield made
        finally:
            made.close()
            await delete_topics(made.settings, *made.names.values())

"""`make chaos`: the long proof; SEAWALL_TEST_SEED repeats a run.

`make test` runs a short version of it: tests/integration/test_storm.py.
"""

import asyncio
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams import topics as declared_topics
from streams.config import Settings
from streams.topics import Topics
from tests.chaos.cluster import Cluster
from tests.chaos.stepping import COMMIT_STEPS, RECOVERY_STEPS
from tests.chaos.storm import Storm
from tests.integration.workers import command
from tests.kafka import Broker
from tests.kafka_supply import NoBrokerError

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="session")
def seed() -> int:
    return int(os.environ.get("SEAWALL_TEST_SEED", secrets.randbelow(1_000_000)))


@pytest.fixture
def storm(broker: Broker, settings: Settings, topics: Topics, tmp_path: Path, seed: int) -> Storm:
    _need_apache(broker)
    return Storm(settings, topics, tmp_path, seed=seed)


@pytest.fixture
def wide_storm(broker: Broker, settings: Settings, tmp_path: Path, seed: int) -> Storm:
    """Eight partitions."""
    _need_apache(broker)
    wide = settings.model_copy(update={"partitions": 8})
    topics = Topics.of(wide)
    asyncio.run(declared_topics.create(topics, wide))
    return Storm(wide, topics, tmp_path, seed=seed)


@pytest.fixture
def cluster(broker: Broker) -> Iterator[Cluster]:
    """Three brokers, each with a copy of everything."""
    _need_apache(broker)
    try:
        cluster = Cluster(3)
    except NoBrokerError as error:
        pytest.skip(f"three brokers are started from Kafka's jars: {error}")
    with cluster:
        yield cluster


def _need_apache(broker: Broker) -> None:
    if not broker.is_apache:
        pytest.skip("the proof runs against Apache Kafka: the embedded broker loses what it acknowledged")


def test_forty_kills(storm: Storm) -> None:
    """SIGKILL at random instants, every third time with the disk lost."""

    async def run() -> None:
        process = storm.add_worker()
        async with storm.under_load():
            for number in range(40):
                await asyncio.sleep(storm.random.uniform(0, 2.0))
                await storm.kill(process, lose_disk=number % 3 == 0)

    asyncio.run(run())
    verdict = storm.finish("40 kills, 14 with the disk lost")
    assert verdict.decisions > 1000


def test_killed_at_every_step(storm: Storm) -> None:
    """SIGKILL between any two steps of a commit and of a recovery, with the disk and without."""
    steps = [*COMMIT_STEPS, *RECOVERY_STEPS]

    async def run() -> None:
        process = storm.add_worker()
        async with storm.under_load():
            for number, step in enumerate([*steps, *steps]):
                await storm.kill(process, lose_disk=step == "restoring" or number % 3 == 0, step=step)

    asyncio.run(run())
    storm.finish(f"{2 * len(steps)} kills in mid-transaction and in mid-recovery")


def test_frozen_at_every_step(storm: Storm) -> None:
    """SIGSTOP in mid-transaction and in mid-recovery until another worker has taken over, then SIGCONT."""
    steps = [*COMMIT_STEPS, *RECOVERY_STEPS]
    ended = 0

    async def run() -> None:
        nonlocal ended
        pair = await storm.add_workers(2)
        async with storm.under_load():
            for number, step in enumerate(steps):
                ended += await storm.freeze(pair[number % 2], step=step)

    asyncio.run(run())
    storm.finish(f"{len(steps)} frozen in mid-transaction and in mid-recovery, {ended} of which ended themselves")
    assert ended


def test_ten_frozen_workers(storm: Storm) -> None:
    """SIGSTOP at random instants until another worker has taken over, then SIGCONT."""
    ended = 0

    async def run() -> None:
        nonlocal ended
        pair = await storm.add_workers(2)
        async with storm.under_load():
            for number in range(10):
                await asyncio.sleep(storm.random.uniform(0, 1.0))
                ended += await storm.freeze(pair[number % 2])

    asyncio.run(run())
    storm.finish(f"10 frozen workers, {ended} of which ended themselves")
    assert ended


def test_workers_come_and_go(storm: Storm) -> None:
    """Two workers become four under load; they are stopped or killed, missed, and started again."""

    async def run() -> None:
        await storm.add_workers(2)
        async with storm.under_load():
            await storm.add_workers(2)
            for number in range(8):
                process = storm.workers[storm.random.randrange(4)]
                if number % 2:
                    await storm.lose(process, lose_disk=number % 4 == 1)
                else:
                    await storm.stop(process)

    asyncio.run(run())
    storm.finish("4 workers, 8 of them stopped or killed and started again")


def test_eight_workers(wide_storm: Storm) -> None:
    """Eight workers, a partition each; three are killed, one is frozen."""

    async def run() -> None:
        await wide_storm.add_workers(8)
        async with wide_storm.under_load():
            for number in range(3):
                await wide_storm.lose(wide_storm.workers[wide_storm.random.randrange(8)], lose_disk=number == 1)
            await wide_storm.freeze(wide_storm.workers[0])

    asyncio.run(run())
    wide_storm.finish("8 workers on 8 partitions, 3 killed and 1 frozen")


def test_the_broker_is_killed(storm: Storm, broker: Broker) -> None:
    """Four times, for a few seconds each."""

    async def run() -> None:
        storm.add_worker()
        async with storm.under_load():
            for _ in range(4):
                await asyncio.sleep(storm.random.uniform(1, 4))
                await storm.bounce(broker, storm.random.uniform(1, 5))

    asyncio.run(run())
    storm.finish("the only broker killed 4 times", since="the broker's return")


def test_one_of_three_brokers_is_killed(cluster: Cluster, settings: Settings, tmp_path: Path, seed: int) -> None:
    """Each of the three twice: whatever leads a partition, a group, a transaction or the cluster is hit."""
    there = settings.model_copy(update={"bootstrap_servers": cluster.bootstrap})
    command(there, "topics", "create", "--replication-factor", "3")
    storm = Storm(there, Topics.of(there), tmp_path, seed=seed)

    async def run() -> None:
        await storm.add_workers(2)
        async with storm.under_load():
            for node in [*cluster.nodes, *cluster.nodes]:
                await asyncio.sleep(storm.random.uniform(1, 3))
                await storm.bounce(node, storm.random.uniform(4, 8))
                await storm.copies_in_sync(3)

    asyncio.run(run())
    storm.finish("3 brokers, 3 copies, each broker killed twice", since="a broker's kill, in the slowest partition,")

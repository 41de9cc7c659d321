"""`make chaos`: the long proof; SEAWALL_TEST_SEED repeats a run.

`make test` runs a short version of it: tests/integration/test_storm.py.
"""

import asyncio
import os
import secrets
from pathlib import Path

import pytest

from streams.config import Settings
from streams.topics import Topics
from tests.chaos.storm import Storm, bounce
from tests.kafka import Broker

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture
def storm(broker: Broker, settings: Settings, topics: Topics, tmp_path: Path) -> Storm:
    if not broker.is_apache:
        pytest.skip("the proof runs against Apache Kafka: the embedded broker loses what it acknowledged")
    seed = int(os.environ.get("SEAWALL_TEST_SEED", secrets.randbelow(1_000_000)))
    return Storm(settings, topics, tmp_path, seed=seed)


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
    assert verdict.decisions > 5000


def test_ten_frozen_workers(storm: Storm) -> None:
    """SIGSTOP past the session timeout, then SIGCONT: the other worker takes over, the thawed one ends itself."""
    ended = 0

    async def run() -> None:
        nonlocal ended
        pair = [storm.add_worker(), storm.add_worker()]
        async with storm.under_load():
            for number in range(10):
                await asyncio.sleep(storm.random.uniform(0, 3.0))
                ended += await storm.freeze(pair[number % 2], storm.settings.session_timeout * 1.7)
                await storm.revive()

    asyncio.run(run())
    storm.finish(f"10 frozen workers, {ended} of which ended themselves")
    assert ended


def test_workers_come_and_go(storm: Storm) -> None:
    """Two to four workers, stopped, killed and started: twelve rebalances."""

    async def run() -> None:
        storm.add_worker()
        storm.add_worker()
        async with storm.under_load():
            storm.add_worker()
            storm.add_worker()
            for number in range(10):
                process = storm.workers[storm.random.randrange(4)]
                if number % 2:
                    process.kill(lose_disk=False)
                else:
                    assert process.stop() == 0, process.output
                await asyncio.sleep(storm.settings.session_timeout * 1.5)
                await storm.revive()

    asyncio.run(run())
    storm.finish("4 workers, 10 of them stopped or killed and started again")


def test_the_broker_is_killed(storm: Storm, broker: Broker) -> None:
    """Four times, for a few seconds each."""

    async def run() -> None:
        storm.add_worker()
        async with storm.under_load():
            for _ in range(4):
                await asyncio.sleep(storm.random.uniform(3, 6))
                await bounce(broker, storm.random.uniform(1, 5))
                await storm.revive()
                await storm.until_deciding()

    asyncio.run(run())
    storm.finish("4 broker kills")

"""Two workers on a real broker: who takes over, when, and what they say of it over HTTP."""

import asyncio
import time
from pathlib import Path

import pytest

from streams.config import Settings
from streams.publisher import Publisher
from streams.starter import starter_records
from streams.topics import Topics
from tests.integration.workers import WorkerProcess, worker
from tests.kafka import Broker

SESSION_SECONDS = 10.0


@pytest.fixture
def pair(settings: Settings, topics: Topics, broker: Broker) -> tuple[Settings, Settings]:
    """Settings of two workers that share the partitions."""
    assert topics.partitions > 1
    if not broker.is_apache:
        pytest.skip(f"needs Apache Kafka, this is {broker}: it does not take a silent member out of a group")

    async def prepare() -> None:
        async with Publisher(settings) as publisher:
            await publisher.send_all(starter_records("USD", event_time=time.time_ns()))

    asyncio.run(prepare())
    one = settings.model_copy(update={"session_timeout": SESSION_SECONDS})
    return one, one.model_copy(update={"worker_id": "worker-2"})


def _wait_until_owned(process: WorkerProcess, number: int) -> float:
    """Wait until a worker serves so many partitions; return for how many seconds that was."""
    started = time.monotonic()
    while len(process.owned()) != number:
        assert time.monotonic() - started < 40, process.output
        time.sleep(0.05)
    return time.monotonic() - started


def _assignments(process: WorkerProcess) -> int:
    return process.output.count(" ready partitions=")


@pytest.mark.slow
def test_a_worker_that_leaves_is_followed_at_once(
    pair: tuple[Settings, Settings], topics: Topics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --leave the other takes over before the session timeout; without, it waits for that."""
    one, two = pair
    took = {}
    with worker(one, tmp_path) as stayer:
        for options in (("--leave",), ()):
            with worker(two, tmp_path, *options) as leaver:
                _wait_until_owned(leaver, topics.partitions // 2)
                _wait_until_owned(stayer, topics.partitions // 2)
                assert not leaver.owned() & stayer.owned()
                started = time.monotonic()
                assert leaver.stop() == 0, leaver.output
                assert (" left worker=worker-2" in leaver.output) == bool(options)
                _wait_until_owned(stayer, topics.partitions)
                took[options] = time.monotonic() - started
        assert stayer.stop() == 0, stayer.output
    with capsys.disabled():
        print(  # noqa: T201  # the figures are the point
            f"\nseconds from SIGTERM to takeover: {took['--leave',]:.1f} with --leave, {took[()]:.1f} without,"
            f" session timeout {SESSION_SECONDS:.0f}"
        )
    assert took["--leave",] < SESSION_SECONDS / 2
    assert took[()] > SESSION_SECONDS / 2


@pytest.mark.slow
def test_a_restarted_worker_has_its_partitions_back_and_nobody_else_notices(
    pair: tuple[Settings, Settings], topics: Topics, tmp_path: Path
) -> None:
    """A plain SIGTERM keeps the membership: the same partitions again, and no rebalance of the other."""
    one, two = pair
    with worker(one, tmp_path) as other, worker(two, tmp_path) as restarted:
        _wait_until_owned(other, topics.partitions // 2)
        owned, assignments = restarted.owned(), _assignments(other)
        assert restarted.stop() == 0, restarted.output
        restarted.start()
        restarted.wait_ready()
        assert restarted.owned() == owned
        time.sleep(SESSION_SECONDS / 3 + 1)  # The other would learn of a rebalance by its next heartbeat.
        assert _assignments(other) == assignments, other.output
        assert len(other.owned()) == topics.partitions // 2


def test_a_worker_tells_how_it_is(pair: tuple[Settings, Settings], topics: Topics, tmp_path: Path) -> None:
    """Ready is 200 with every partition's state."""
    with worker(pair[0], tmp_path) as process:
        status, told = process.ask()
        assert status == 200, told
        assert list(told["partitions"]) == [str(number) for number in range(topics.partitions)]
        first = told["partitions"]["0"]
        assert (first["phase"], first["restored_from"], first["suspended"]) == ("serving", "beginning", False)
        assert set(first["lag"]) == {"order-intents", "fills", "equity-ticks"}
        assert told["shared"]["reference"]["folded_to"] > 0
        assert process.ask("/livez")[0] == 200
        assert process.stop() == 0, process.output

"""A real worker on a real broker: killed, restarted, and judged by nothing but the topics it left."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from models.canonical import SECOND_NS
from streams.config import Settings
from streams.topics import Topics
from tests.integration.load import judge, prepare, send, wait_until_decided
from tests.integration.workers import WorkerProcess, worker


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_workers_lose_nothing_and_repeat_nothing(
    settings: Settings, topics: Topics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every intent one decision, every change of status one halt, whenever the worker is killed."""
    asyncio.run(prepare(settings))
    kills = random.Random(1)
    took = []

    async def scenario(process: WorkerProcess) -> None:
        sending = asyncio.create_task(send(settings, 7, rounds=150, pause=0.05))
        for number in range(4):
            await asyncio.sleep(kills.uniform(0.5, 2.0))
            process.kill(lose_disk=number == 2)
            started = time.monotonic()
            process.start()
            await asyncio.to_thread(process.wait_ready)
            took.append(time.monotonic() - started)
        await sending
        await wait_until_decided(settings, topics.partitions, timeout=60)

    with worker(settings, tmp_path) as process:
        asyncio.run(scenario(process))
        assert process.stop() == 0, process.output

    verdict = asyncio.run(judge(settings, topics))
    with capsys.disabled():
        took_text = ", ".join(f"{each:.1f}" for each in took)
        print(f"\n{verdict}; seconds from start to ready after a kill: {took_text}")  # noqa: T201  # the point
    assert verdict.decisions >= 3000
    assert verdict.halts > 0
    assert verdict.letters > 0


def test_a_clean_stop_leaves_a_checkpoint(settings: Settings, topics: Topics, tmp_path: Path) -> None:
    """SIGTERM ends with 0, and the next start has nothing to fold."""
    assert settings.session_timeout * SECOND_NS > 0
    asyncio.run(prepare(settings))
    with worker(settings, tmp_path) as process:
        asyncio.run(send(settings, 1, rounds=3, pause=0))
        asyncio.run(wait_until_decided(settings, topics.partitions, timeout=30))
        assert process.stop() == 0, process.output
        process.start()
        process.wait_ready()
        assert "from_disk=0,1,2,3 folded=0 " in process.output
        assert process.stop() == 0, process.output

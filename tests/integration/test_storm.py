"""The short version of `make chaos`: one kill, two freezes in mid-work, and a dead broker, one by one."""

import asyncio
from pathlib import Path

import pytest

from streams.config import Settings
from streams.topics import Topics
from tests.chaos.storm import Storm
from tests.kafka import Broker


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_storm(broker: Broker, settings: Settings, topics: Topics, tmp_path: Path) -> None:
    if not broker.is_apache:
        pytest.skip("the proof runs against Apache Kafka: the embedded broker loses what it acknowledged")
    storm = Storm(settings, topics, tmp_path, seed=11)

    async def run() -> None:
        [first] = await storm.add_workers(1)
        async with storm.under_load():
            await storm.kill(first, lose_disk=True, step="half-sent")
            [second] = await storm.add_workers(1)
            await storm.freeze(second, step="sent")
            await storm.freeze(first, step="folding")
            await storm.bounce(broker, 3)
            await storm.settle()

    asyncio.run(run())
    verdict = storm.finish("a kill and a freeze in mid-transaction, a freeze in mid-recovery, a broker kill")
    assert verdict.decisions > 1000
    assert verdict.halts > 0

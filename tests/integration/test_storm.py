"""The short version of `make chaos`: a kill, a frozen worker, a takeover and a dead broker, one after the other."""

import asyncio
from pathlib import Path

import pytest

from streams.config import Settings
from streams.topics import Topics
from tests.chaos.storm import Storm, bounce
from tests.kafka import Broker


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_storm(broker: Broker, settings: Settings, topics: Topics, tmp_path: Path) -> None:
    if not broker.is_apache:
        pytest.skip("the proof runs against Apache Kafka: the embedded broker loses what it acknowledged")
    storm = Storm(settings, topics, tmp_path, seed=11)

    async def run() -> None:
        first = storm.add_worker()
        async with storm.under_load():
            await storm.kill(first, lose_disk=True)
            second = storm.add_worker()
            await storm.freeze(second, storm.settings.session_timeout * 1.5)  # it ends itself, or joins again
            await bounce(broker, 3)
            await storm.revive()
            await storm.until_deciding()

    asyncio.run(run())
    verdict = storm.finish("a kill, a frozen worker, a takeover, a broker kill")
    assert verdict.decisions > 1000
    assert verdict.halts > 0

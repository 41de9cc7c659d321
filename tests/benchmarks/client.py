"""What a submission costs the program that submits, beside what aiokafka alone takes for the same records."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from models.decisions import RiskDecision
from models.messages import OrderIntent
from streams.client import RiskGateClient
from streams.config import kafka_arguments
from streams.records import Topic
from tests.benchmarks import drive
from tests.benchmarks.backlog import market_of
from tests.benchmarks.figures import Table, at, quantiles_of, say
from tests.benchmarks.market import Sent
from tests.benchmarks.stage import Site, site

NAME: Final = "client"
WAVES: Final = 20
IN_FLIGHT: Final = 1_000
WARM: Final = 2
"""Waves that are not counted."""
WAIT: Final = 60.0


def measure(scale: float) -> Table:
    """Measure the client, then aiokafka alone."""
    waves = max(2, round(WAVES * scale))
    table = Table(
        NAME,
        f"Client: {IN_FLIGHT:,} submissions in flight",
        f"{waves} waves of {IN_FLIGHT:,} submissions, each wave at once, against a real worker, after {WARM} to warm"
        " up. CPU is that of the whole process that submits, its intents ready-made. aiokafka alone: the same"
        " number of intents as bytes, sent and confirmed, and the decisions on them fetched and not looked at.",
    )
    client, bare, took, statuses = drive.run(_measure(waves))
    table.rows = [
        {"what": "client", "CPU us a call": client, "wave p50 ms": at(quantiles_of(took), 0.5)},
        {"what": "aiokafka alone", "CPU us a call": bare},
        {"what": "overhead", "CPU us a call": client - bare},
    ]
    say(f"{table.rows} {dict(statuses)}")
    table.data["figures"] = {"CPU us of a call": client, "overhead us of a call": client - bare}
    return table


async def _measure(waves: int) -> tuple[float, float, list[float], Counter[str]]:
    market = market_of(2 * (waves + WARM) * IN_FLIGHT)
    sent = list(market.backlog(2 * (waves + WARM) * IN_FLIGHT))
    half = len(sent) // 2
    async with site(NAME, market) as here:
        await asyncio.to_thread(here.start)
        client, took, statuses = await _client(here, sent[:half])
        bare = await _bare(here, sent[half:])
    return client, bare, took, statuses


async def _client(here: Site, sent: Sequence[Sent]) -> tuple[float, list[float], Counter[str]]:
    """Return the CPU us of a submission, the milliseconds of each wave, and what was answered."""
    intents = [OrderIntent.model_validate_json(each.value) for each in sent]
    statuses: Counter[str] = Counter()
    # The event times of a backlog lie in the past, as simulated ones do.
    async with RiskGateClient(here.settings, timeout=WAIT, decision_age_max=None) as gate:

        async def wave(number: int) -> float:
            chosen = intents[number * IN_FLIGHT : (number + 1) * IN_FLIGHT]
            began = time.perf_counter()
            decisions: list[RiskDecision] = await asyncio.gather(*(gate.submit(each) for each in chosen))
            took = (time.perf_counter() - began) * 1e3
            statuses.update(str(each.status) for each in decisions)
            return took

        for number in range(WARM):
            await wave(number)
        began, waves = time.process_time(), len(intents) // IN_FLIGHT - WARM
        took = [await wave(WARM + number) for number in range(waves)]
        return (time.process_time() - began) / (waves * IN_FLIGHT) * 1e6, took, statuses


async def _bare(here: Site, sent: Sequence[Sent]) -> float:
    """Return the CPU us of sending a record, having it confirmed, and fetching one of the answers."""
    arguments = kafka_arguments(here.settings)
    producer = AIOKafkaProducer(**arguments, enable_idempotence=True, acks="all")
    consumer = AIOKafkaConsumer(**arguments, isolation_level="read_committed", enable_auto_commit=False)
    await producer.start()
    await consumer.start()
    try:
        name = here.names[Topic.RISK_DECISIONS]
        places = [TopicPartition(name, number) for number in range(here.topics.partitions)]
        consumer.assign(places)
        await consumer.seek_to_end(*places)

        async def send(each: Sent) -> Any:
            return await (await producer.send(here.names[Topic.ORDER_INTENTS], each.value, each.account.encode()))

        async def fetch() -> None:
            missing = IN_FLIGHT
            while missing > 0:
                missing -= sum(map(len, (await consumer.getmany(timeout_ms=1000)).values()))

        async def wave(number: int) -> None:
            chosen = sent[number * IN_FLIGHT : (number + 1) * IN_FLIGHT]
            async with asyncio.timeout(WAIT):
                await asyncio.gather(fetch(), *map(send, chosen))

        for number in range(WARM):
            await wave(number)
        began, waves = time.process_time(), len(sent) // IN_FLIGHT - WARM
        for number in range(waves):
            await wave(WARM + number)
        return (time.process_time() - began) / (waves * IN_FLIGHT) * 1e6
    finally:
        await consumer.stop()
        await producer.stop()

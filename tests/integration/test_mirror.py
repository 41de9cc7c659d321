"""RUNBOOK.md, "Restoring from a mirror": what a copy of the log must keep, and that this is enough."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams import topics as declared_topics
from streams.config import Settings, kafka_arguments
from streams.topics import Topics
from tests.integration import load
from tests.integration.test_cli import run_seawall as seawall
from tests.integration.workers import WorkerProcess, worker
from tests.kafka import Broker

INPUTS = ("order_intents", "fills", "equity_ticks", "daily_returns", "reference")
OUTPUTS = ("risk_decisions", "trading_halts", "dead_letters")
TIMESTAMPS = "message.timestamp.type"


@pytest.fixture
def mirror(settings: Settings, tmp_path: Path, broker: Broker) -> Settings:
    """Settings of a gate whose topics are the copies."""
    if not broker.is_apache:
        pytest.skip(f"needs Apache Kafka, this is {broker}: it does not keep the kind of a record's time")
    changes = {
        "application_id": f"{settings.application_id}-mirror",
        "topic_prefix": f"mirror.{settings.topic_prefix}",
        "data_dir": tmp_path / "mirror",
    }
    return settings.model_copy(update=changes)


async def _read(settings: Settings, topic: str, partitions: int) -> list[Any]:
    """Return every committed record of a topic as the client has it."""
    records: list[Any] = []
    async with AIOKafkaConsumer(
        **kafka_arguments(settings), isolation_level="read_committed", enable_auto_commit=False
    ) as consumer:
        places = [KafkaPartition(topic, number) for number in range(partitions)]
        consumer.assign(places)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(places)
        for place in places:
            while await consumer.position(place) < ends[place]:
                records += (await consumer.getmany(place, timeout_ms=200)).get(place, [])
    return records


async def _copy(source: Topics, copies: Topics, settings: Settings) -> None:
    """Copy record by record into empty topics: key, value, headers, time and partition."""
    async with AIOKafkaProducer(**kafka_arguments(settings), acks="all", linger_ms=5) as producer:
        for name in (*INPUTS, *OUTPUTS):
            topic, copy = getattr(source, name), getattr(copies, name)
            sent = [
                await producer.send(
                    copy.name,
                    key=record.key,
                    value=record.value,
                    headers=list(record.headers),
                    partition=record.partition,
                    timestamp_ms=record.timestamp,
                )
                for record in await _read(settings, topic.name, topic.partitions)
            ]
            await asyncio.gather(*sent)


def _content(record: Any) -> tuple[Any, ...]:
    return record.partition, record.key, record.value, tuple(record.headers), record.timestamp


async def _compare(source: Topics, copies: Topics, settings: Settings) -> int:
    """Check that the copies hold the same records; return how many offsets of outputs are others now."""
    moved = 0
    for name in (*INPUTS, *OUTPUTS):
        topic, copy = getattr(source, name), getattr(copies, name)
        one, other = [await _read(settings, each.name, each.partitions) for each in (topic, copy)]
        assert one
        assert [_content(record) for record in one] == [_content(record) for record in other]
        if name in INPUTS:
            assert [record.offset for record in one] == [record.offset for record in other]
        moved += sum(before.offset != after.offset for before, after in zip(one, other, strict=True))
    return moved


async def _set_timestamps(copies: Topics, settings: Settings, kind: str) -> None:
    admin = AIOKafkaAdminClient(**kafka_arguments(settings))
    await admin.start()
    try:
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, topic.name, {**topic.configuration, TIMESTAMPS: kind})
            for topic in copies
            if TIMESTAMPS in topic.configuration
        ]
        await admin.alter_configs(resources)
    finally:
        await admin.close()


def _with_times_of_producers(topics: Topics) -> Topics:
    """Return the same topics, with the time of each record left to whoever sends it."""
    changes: dict[str, Any] = {
        name: replace(spec, configuration={**spec.configuration, TIMESTAMPS: "CreateTime"})
        for name in (*INPUTS, *OUTPUTS)
        for spec in [getattr(topics, name)]
    }
    return replace(topics, **changes)


def test_a_copy_that_keeps_what_the_runbook_lists_is_audited_clean_and_gone_on_from(
    settings: Settings, topics: Topics, mirror: Settings, tmp_path: Path
) -> None:
    async def decided() -> None:
        await load.prepare(settings)
        await load.send(settings, 7, rounds=21, pause=0)
        await load.wait_until_decided(settings, topics.partitions, 60)

    with worker(settings, tmp_path) as process:
        asyncio.run(decided())
        assert process.stop() == 0, process.output
    audited = seawall(settings, "audit")
    assert audited.returncode == 0, audited.stdout + audited.stderr

    copies = Topics.of(mirror)
    asyncio.run(declared_topics.create(_with_times_of_producers(copies), mirror))
    asyncio.run(_copy(topics, copies, settings))
    assert asyncio.run(_compare(topics, copies, settings)) > 0, "markers of transactions are not copied"
    again = seawall(mirror, "audit")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout == audited.stdout

    (tmp_path / "copy").mkdir()
    refused = WorkerProcess(mirror, tmp_path / "copy")
    refused.start()
    assert refused.process.wait(30) == 2, refused.output
    for name in INPUTS:
        topic = f"{mirror.topic_prefix}{name.replace('_', '-')}"
        assert f"topic {topic} has {TIMESTAMPS}=CreateTime, must be LogAppendTime" in refused.output

    asyncio.run(_set_timestamps(copies, mirror, "LogAppendTime"))
    assert asyncio.run(_compare(topics, copies, settings)) > 0  # the times of what is there stay
    with worker(mirror, tmp_path / "copy") as process:
        assert f"from_beginning={','.join(str(number) for number in range(topics.partitions))}" in process.output

        async def more() -> None:
            await load.send(mirror, 8, rounds=2, pause=0)
            await load.wait_until_decided(mirror, topics.partitions, 60)

        asyncio.run(more())
        assert process.stop() == 0, process.output
    final = seawall(mirror, "audit")
    assert final.returncode == 0, final.stdout + final.stderr
    assert final.stdout != audited.stdout


def test_a_copy_that_lost_its_offsets_does_not_pass(
    settings: Settings, topics: Topics, mirror: Settings, tmp_path: Path
) -> None:
    """One record more in one input topic is enough: decisions name the offsets that they rest on."""

    async def decided() -> None:
        await load.prepare(settings)
        await load.send(settings, 7, rounds=1, pause=0)
        await load.wait_until_decided(settings, topics.partitions, 60)

    with worker(settings, tmp_path) as process:
        asyncio.run(decided())
        assert process.stop() == 0, process.output
    copies = Topics.of(mirror)
    asyncio.run(declared_topics.create(_with_times_of_producers(copies), mirror))

    async def shifted() -> None:
        async with AIOKafkaProducer(**kafka_arguments(mirror)) as producer:
            for partition in range(topics.partitions):
                await producer.send_and_wait(copies.order_intents.name, b"marker", partition=partition)
        await _copy(topics, copies, settings)

    asyncio.run(shifted())
    audited = seawall(mirror, "audit")
    assert audited.returncode == 1, audited.stdout + audited.stderr

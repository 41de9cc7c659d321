"""Topics on a real broker: created, checked, left alone."""

import time
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.config import Settings, kafka_arguments
from streams.topics import Topics, TopicsError, check, create
from tests.kafka import free_ports

LOG_APPEND_TIME = 1


async def test_create_makes_what_check_asks_for(settings: Settings) -> None:
    """Before: nine missing. After: nothing to say. Again: nothing to do."""
    topics = Topics.of(settings)
    assert await check(topics, settings) == [
        f"topic {topic.name} does not exist: run `seawall topics create`" for topic in topics
    ]
    assert await create(topics, settings) == [topic.name for topic in topics]
    assert await check(topics, settings) == []
    assert await create(topics, settings) == []


async def test_create_makes_only_what_is_missing(settings: Settings) -> None:
    """What exists stays as it is, and check says how it differs."""
    topics = Topics.of(settings)
    await make(settings, NewTopic(topics.fills.name, 3, 1), NewTopic(topics.dead_letters.name, 4, 1))
    created = await create(topics, settings)
    assert created == [topic.name for topic in topics if topic not in {topics.fills, topics.dead_letters}]
    found = await check(topics, settings)
    subjects = [violation.split(", must ")[0].removeprefix(f"topic {settings.topic_prefix}") for violation in found]
    assert subjects[0] == "fills has 3 partitions"
    # What a broker's own retention is, is the broker's choice.
    assert [subject.partition("=")[0] for subject in subjects[1:]] == [
        "fills has retention.ms",
        "fills has message.timestamp.type",
        "dead-letters has cleanup.policy",
        "dead-letters has segment.bytes",
    ]


async def test_n_is_chosen_at_creation_and_held_to(settings: Settings) -> None:
    """A worker that was told another N than the topics have must not start."""
    seven = Topics.declared(prefix=settings.topic_prefix, partitions=7)
    await create(seven, settings)
    assert await check(seven, settings) == []
    found = await check(Topics.of(settings), settings)
    assert len(found) == 7
    assert all("has 7 partitions, must have 4: set SEAWALL_PARTITIONS=7 if" in violation for violation in found)


async def test_record_time_is_the_brokers_clock(topics: Topics, settings: Settings) -> None:
    """A producer's own time is not believed: replay depends on it."""
    before = time.time_ns() // 1_000_000
    producer = AIOKafkaProducer(**kafka_arguments(settings))
    await producer.start()
    try:
        await producer.send_and_wait(topics.order_intents.name, b"intent", partition=0, timestamp_ms=1)
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(**kafka_arguments(settings), auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topics.order_intents.name, 0)])
        record = await consumer.getone()
    finally:
        await consumer.stop()
    assert record.timestamp_type == LOG_APPEND_TIME
    assert before <= record.timestamp <= time.time_ns() // 1_000_000


async def test_a_refused_topic_is_named_and_the_others_are_made(settings: Settings) -> None:
    """The broker's own words."""
    topics = Topics.of(settings)
    odd = replace(topics, reference=replace(topics.reference, configuration={"retention.ms": "for ever"}))
    with pytest.raises(TopicsError) as caught:
        await create(odd, settings)
    [violation] = caught.value.violations
    assert violation.startswith(f"topic {topics.reference.name} could not be created: Invalid value for ever")
    assert [line.split()[1] for line in await check(topics, settings)] == [topics.reference.name]


async def test_no_broker_is_one_line() -> None:
    """And says which setting to look at."""
    [port] = free_ports(1)
    settings = Settings(bootstrap_servers=f"127.0.0.1:{port}")
    with pytest.raises(TopicsError) as caught:
        await check(Topics.of(settings), settings)
    assert caught.value.violations == (
        (
            f"no Kafka broker answers at 127.0.0.1:{port} (KafkaConnectionError): start one,"
            " or set SEAWALL_BOOTSTRAP_SERVERS"
        ),
    )


async def make(settings: Settings, *topics: NewTopic) -> None:
    """Create topics as somebody else would."""
    admin = AIOKafkaAdminClient(**kafka_arguments(settings))
    await admin.start()
    try:
        response = await admin.create_topics(list(topics))
        assert not any(code for _, code, _ in response.topic_errors)
    finally:
        await admin.close()

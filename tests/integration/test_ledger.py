"""The transactional producer against a real broker: fenced, atomic, and never half visible."""

import asyncio

import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced

from streams.config import Settings
from streams.ledger import BATCH_BYTES, Ledger
from streams.records import Names, Outgoing, Topic
from streams.topics import Topics
from tests.integration.workers import read_epochs, read_topic


def _records(*values: str) -> list[Outgoing]:
    return [Outgoing(Topic.RISK_DECISIONS, b"A", value.encode()) for value in values]


async def _visible(settings: Settings, topic: Topic = Topic.RISK_DECISIONS) -> list[bytes]:
    return [record.value or b"" for record in await read_topic(settings, topic, 0)]


def _ledger(settings: Settings, topics: Topics) -> Ledger:
    return Ledger(0, settings, Names(topics))


async def _drop(ledger: Ledger) -> None:
    """Let go of a producer that will never recover."""
    producer, ledger._producer = ledger._producer, None
    try:
        async with asyncio.timeout(2):
            await producer.stop()
    except (KafkaError, TimeoutError):
        await producer.client.close()


def test_an_older_owner_is_refused(settings: Settings, topics: Topics) -> None:
    async def scenario() -> None:
        old, new = _ledger(settings, topics), _ledger(settings, topics)
        await old.fence()
        await old.commit(_records("old"))
        await new.fence()
        assert new.epoch == old.epoch + 1
        with pytest.raises(ProducerFenced):
            await old.commit(_records("too late"))
        appended = await new.commit(_records("new 1", "new 2"))
        assert appended[Topic.RISK_DECISIONS].record.value == b"new 2"
        await _drop(old)
        await new.stop()
        assert await _visible(settings) == [b"old", b"new 1", b"new 2"]
        records = await read_topic(settings, Topic.RISK_DECISIONS, 0)
        assert records[-1].offset == appended[Topic.RISK_DECISIONS].offset
        epochs = await read_epochs(settings, Topic.RISK_DECISIONS, 0)
        assert epochs == [old_epoch := epochs[0], old_epoch + 1, old_epoch + 1]

    asyncio.run(scenario())


def test_what_an_owner_left_open_is_never_visible(settings: Settings, topics: Topics) -> None:
    async def scenario() -> None:
        dead, new = _ledger(settings, topics), _ledger(settings, topics)
        await dead.fence()
        await dead._producer.begin_transaction()
        [batch] = dead._batches(_records("half"))
        sent = await dead._producer.send_batch(batch, topics.risk_decisions.name, partition=0)
        await sent
        await new.fence()
        assert await _visible(settings) == []
        await new.commit(_records("whole"))
        await new.stop()
        await _drop(dead)
        assert await _visible(settings) == [b"whole"]

    asyncio.run(scenario())


def test_a_batch_that_fails_takes_everything_with_it(settings: Settings, topics: Topics) -> None:
    async def scenario() -> None:
        ledger, new = _ledger(settings, topics), _ledger(settings, topics)
        await ledger.fence()
        huge = Outgoing(Topic.TRADING_HALTS, b"A", b"x" * (2 << 20))
        with pytest.raises(MessageSizeTooLargeError):
            await ledger.commit([*_records("small"), huge])
        await _drop(ledger)
        await new.fence()
        await new.stop()
        assert await _visible(settings) == []
        assert await _visible(settings, Topic.TRADING_HALTS) == []

    asyncio.run(scenario())


def test_a_large_transaction_goes_in_several_batches(settings: Settings, topics: Topics) -> None:
    async def scenario() -> None:
        ledger = _ledger(settings, topics)
        await ledger.fence()
        values = [f"{number} " + "x" * (BATCH_BYTES // 10) for number in range(50)]
        appended = await ledger.commit([*_records(*values), Outgoing(Topic.CHECKPOINTS, b"gone", None)])
        await ledger.stop()
        assert [value.decode() for value in await _visible(settings)] == values
        assert appended[Topic.RISK_DECISIONS].offset == 49

    asyncio.run(scenario())

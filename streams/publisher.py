"""Typed messages to the input topics: fills, equity ticks, returns, reference records, and intents."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from typing import NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from models.authority import needs_signature
from models.canonical import canonical_bytes
from models.folds.reference import natural_key
from models.messages import (
    AccountTick,
    Command,
    DailyReturn,
    EquityMark,
    Fill,
    OperatorHalt,
    OperatorKeys,
    OrderIntent,
    ReferenceRecord,
    Resume,
    SessionOpen,
    Statement,
)
from streams.access import GateError, no_broker
from streams.config import PRODUCER_RETRY_BACKOFF_MS, Settings, kafka_arguments, load
from streams.records import NANOSECONDS_PER_MILLISECOND, Names, Topic, TopicPartition
from streams.signatures import Signer, signer
from streams.topics import Topics

Message = OrderIntent | Fill | AccountTick | DailyReturn | ReferenceRecord
"""Whatever may be sent to seawall."""

BATCH_BYTES = 256 * 1024
"""Of a partition, what may be on its way at once.

Beyond it aiokafka lets senders wait, and wakes all of them for each batch that goes: its own 16 KiB are 40 intents,
and with a thousand in flight waking costs more than everything else.
"""
CLOSING_SECONDS = 3.0
"""How long closing waits for records on their way; with the broker gone they would keep it for ever."""


class NotSentError(GateError):
    """The broker refused the record. It is not in the topic and never will be."""


class Delivered(NamedTuple):
    """Where a record came to stand."""

    topic: Topic
    partition: int
    offset: int
    time: int
    """The broker's clock when the record was appended, ns since the Unix epoch, UTC."""

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


class Publisher:
    """Sends messages to the topics where they belong, with the keys they need. An async context manager.

    One idempotent producer with `acks=all` and the Java client's murmur2 partitioner. Records of one partition stay
    in the order in which they were handed over. Commands are signed where the settings name a key.

    Args:
        settings: How to reach the broker; by default what the environment says.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = load() if settings is None else settings
        self.names = Names(Topics.of(self.settings))
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            GateUnavailableError: Where no broker answers.
        """
        producer = AIOKafkaProducer(
            **kafka_arguments(self.settings),
            enable_idempotence=True,
            acks="all",
            max_batch_size=BATCH_BYTES,
            retry_backoff_ms=PRODUCER_RETRY_BACKOFF_MS,
        )
        try:
            await producer.start()
        except (KafkaError, TimeoutError) as error:
            await stop_producer(producer)
            raise no_broker(self.settings, error) from error
        except asyncio.CancelledError:
            await stop_producer(producer)
            raise
        self._producer = producer
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send what is on its way, for three seconds at most, and disconnect."""
        if self._producer is not None:
            await stop_producer(self._producer)
            self._producer = None

    async def send(self, message: Message) -> Delivered:
        """Send one message and wait until the broker has it.

        Raises:
            NotSentError: If the broker refuses it.
        """
        topic, key = destination(message)
        return await self.send_raw(topic, key, self._encoded(message, topic))

    async def send_all(self, messages: Iterable[Message]) -> list[Delivered]:
        """Send messages, many in flight at once, and wait until the broker has them all.

        Raises:
            NotSentError: If the broker refuses one; the others may have been sent.
        """
        waiting = []
        for message in messages:
            topic, key = destination(message)
            waiting.append((topic, await self.begin(topic, key, self._encoded(message, topic))))
        return [await delivery(topic, sent) for topic, sent in waiting]

    async def send_keys(self, record: OperatorKeys, places: Iterable[TopicPartition]) -> list[Delivered]:
        """Write operator keys to partitions of `equity-ticks`, or to `reference`.

        Raises:
            NotSentError: If the broker refuses one; the others may have been sent.
        """
        waiting = []
        for topic, number in places:
            value = self._encoded(record, topic)
            waiting.append((topic, await self.begin(topic, record.kind.encode(), value, partition=number)))
        return [await delivery(topic, sent) for topic, sent in waiting]

    @cached_property
    def signer(self) -> Signer | None:
        """What signs commands, as the settings name it.

        Raises:
            KeyFileError: If its file cannot be used.
        """
        return signer(self.settings)

    def _encoded(self, message: Message, topic: Topic) -> bytes:
        """Return a message's bytes; a command is signed where there is a key and it is not signed already."""
        if not isinstance(message, Command) or not needs_signature(message):
            return canonical_bytes(message)
        if message.signature is None and self.signer is not None:
            message = self.signer.sign(message, topic)
        if message.signature is None:
            return canonical_bytes(message)
        # A default that the signer did not say is no part of what was signed, and must not be added.
        return canonical_bytes(message.model_dump(exclude_unset=True))

    async def send_raw(
        self, topic: Topic, key: bytes | None, value: bytes | None, *, partition: int | None = None
    ) -> Delivered:
        """Send bytes as they are. For programs that have their messages as bytes, and for tests.

        Args:
            topic: Where to.
            key: The record's key: the account, or the symbol.
            value: Its value.
            partition: Where to, whatever the key hashes to.

        Raises:
            NotSentError: If the broker refuses it.
        """
        return await delivery(topic, await self.begin(topic, key, value, partition=partition))

    async def begin(
        self, topic: Topic, key: bytes | None, value: bytes | None, *, partition: int | None = None
    ) -> asyncio.Future[RecordMetadata]:
        """Hand bytes over for sending; `delivery` then waits for the broker's answer.

        Raises:
            NotSentError: If the record cannot even be handed over.
        """
        if self._producer is None:
            raise RuntimeError(f"use {type(self).__name__} in an `async with` statement")
        try:
            sent: asyncio.Future[RecordMetadata] = await self._producer.send(
                self.names[topic], value, key=key, partition=partition
            )
        except KafkaError as error:
            raise NotSentError(f"{topic}: the record was not sent: {error!r}") from error
        return sent


async def delivery(topic: Topic, sent: asyncio.Future[RecordMetadata]) -> Delivered:
    """Wait until the broker has a record that `Publisher.begin` handed over.

    Raises:
        NotSentError: If the broker refuses it.
    """
    with suppress(KafkaError):
        # A caller that stops waiting stops nothing: the record is on its way, and others share its batch.
        await asyncio.shield(sent)
    return delivered(topic, sent)


def delivered(topic: Topic, sent: asyncio.Future[RecordMetadata]) -> Delivered:
    """Return where a record came to stand that `Publisher.begin` handed over and that the broker has answered.

    Raises:
        NotSentError: If the broker refused it.
    """
    try:
        stands = sent.result()
    except KafkaError as error:
        raise NotSentError(f"{topic}: the broker refused the record: {error!r}") from error
    return Delivered(topic, stands.partition, stands.offset, stands.timestamp * NANOSECONDS_PER_MILLISECOND)


def destination(message: Message) -> tuple[Topic, bytes]:
    """Return the topic a message belongs to and the key it needs."""
    match message:
        case OrderIntent():
            return Topic.ORDER_INTENTS, message.account.encode()
        case Fill():
            return Topic.FILLS, message.account.encode()
        case DailyReturn():
            return Topic.DAILY_RETURNS, message.symbol.encode()
        case EquityMark() | SessionOpen() | Resume() | OperatorHalt() | Statement():
            return Topic.EQUITY_TICKS, message.account.encode()
        case _:
            return Topic.REFERENCE, natural_key(message).replace("\0", ":").encode()


async def stop_producer(producer: AIOKafkaProducer) -> None:
    """Flush and close a producer, within `CLOSING_SECONDS` even if there is no broker any more."""
    try:
        await asyncio.wait_for(producer.stop(), CLOSING_SECONDS)
    except TimeoutError:
        # aiokafka would wait for the broker to come back; nobody else is left to close what it holds.
        await producer._sender.close()  # noqa: SLF001
        await producer.client.close()

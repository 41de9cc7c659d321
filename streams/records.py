"""What a topic holds, as the rest of the program sees it: records in, records out."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from typing import NamedTuple

from aiokafka import ConsumerRecord

from streams.topics import Topics

NANOSECONDS_PER_MILLISECOND = 1_000_000


class Topic(StrEnum):
    """A topic's name in topics.yaml, whatever prefix the broker knows it under."""

    ORDER_INTENTS = "order-intents"
    FILLS = "fills"
    EQUITY_TICKS = "equity-ticks"
    DAILY_RETURNS = "daily-returns"
    REFERENCE = "reference"
    RISK_DECISIONS = "risk-decisions"
    TRADING_HALTS = "trading-halts"
    CHECKPOINTS = "checkpoints"
    DEAD_LETTERS = "dead-letters"


ACCOUNT_INPUTS = (Topic.ORDER_INTENTS, Topic.FILLS, Topic.EQUITY_TICKS)
"""Read by the one owner of each partition."""
SHARED_INPUTS = (Topic.DAILY_RETURNS, Topic.REFERENCE)
"""Read whole by every worker."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: Topic
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Record(NamedTuple):
    """One record as the broker gave it."""

    topic: Topic
    partition: int
    offset: int
    time: int
    """The broker's clock when the record was appended, ns since the Unix epoch, UTC."""
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] | None = None
    """None where they are not known."""

    @property
    def place(self) -> str:
        """Where the record stands, for a person."""
        return f"{self.topic}/{self.partition}@{self.offset}"


class Outgoing(NamedTuple):
    """One record to be published; its partition is that of whoever publishes it."""

    topic: Topic
    key: bytes | None
    value: bytes | None
    why: str | None = None
    """Why an intent is MALFORMED. It travels in a header: words may change, a decision's bytes may not."""


class Batch:
    """What one fetch brought of one topic partition.

    Args:
        topic: The topic.
        partition: Its partition.
        records: At least one record, in order.
        start: Where the batch before it ended, so that nothing lies between the two; None where that is unknown.
        end: Where this one ends: after the last record, and after markers of transactions that follow it.
    """

    __slots__ = ("done", "end", "partition", "records", "start", "topic")

    def __init__(
        self, topic: Topic, partition: int, records: Sequence[Record], *, start: int | None, end: int
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.records = records
        self.start = start
        self.end = end
        self.done = asyncio.Event()
        """Set when an agent has dealt with it."""

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.records[0].offset}..{self.records[-1].offset}"


class Names(Mapping[Topic, str]):
    """The broker's name of each topic, and the way back."""

    def __init__(self, topics: Topics) -> None:
        self._names: dict[Topic, str] = {
            Topic(each.name.replace("_", "-")): getattr(topics, each.name).name for each in fields(topics)
        }
        self._topics = {name: topic for topic, name in self._names.items()}

    def __getitem__(self, topic: Topic) -> str:
        return self._names[topic]

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def topic(self, name: str) -> Topic:
        """Return the topic that the broker knows by a name."""
        return self._topics[name]

    def record(self, fetched: ConsumerRecord) -> Record:
        """Return a record that aiokafka fetched."""
        return Record(
            self._topics[fetched.topic],
            fetched.partition,
            fetched.offset,
            fetched.timestamp * NANOSECONDS_PER_MILLISECOND,
            fetched.key,
            fetched.value,
            fetched.headers,
        )

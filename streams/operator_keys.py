"""Operator keys where they stand: in each partition of `equity-ticks`, and in `reference`."""

from collections.abc import Iterable, Mapping

from aiokafka.errors import KafkaError

from models.messages import OperatorKeys
from models.state import State
from streams.access import find_gate, no_broker
from streams.codec import Codec
from streams.config import Settings
from streams.operations import OperatorError
from streams.publisher import Delivered, Publisher
from streams.reader import Reader
from streams.records import Record, Topic, TopicPartition
from streams.replica import Replica, SharedReplica

InForce = Mapping[TopicPartition, OperatorKeys | None]


async def keys_in_force(settings: Settings) -> InForce:
    """Return the keys in force at each place where commands are read; None where none were ever written.

    Raises:
        GateUnavailableError: Where no broker answers, or a topic is missing.
    """
    names, partitions = await find_gate(settings)
    fold = KeyFold(partitions)
    try:
        async with Reader(settings, names) as reader:
            bounds = await reader.bounds(fold.places)
            await reader.read_to_end({place: found.beginning for place, found in bounds.items()}, fold.take)
    except (KafkaError, OperatorError) as error:
        raise no_broker(settings, error) from error
    return fold.keys()


async def set_keys(settings: Settings, record: OperatorKeys, places: Iterable[TopicPartition]) -> list[Delivered]:
    """Write keys to places where commands are read; signed where the settings name a key.

    Raises:
        GateUnavailableError: Where no broker answers.
        NotSentError: If the broker refuses one; the others may have been sent.
    """
    async with Publisher(settings) as publisher:
        return await publisher.send_keys(record, places)


class KeyFold:
    """Folds the records that can be about keys, as the worker folds them.

    Args:
        partitions: N, the number of partitions of each account topic.
    """

    def __init__(self, partitions: int) -> None:
        codec = Codec(partitions)
        self._shared = SharedReplica(codec)
        self._replicas = [Replica(number, codec, State(self._shared.shared)) for number in range(partitions)]
        self.places = [
            *(TopicPartition(Topic.EQUITY_TICKS, number) for number in range(partitions)),
            TopicPartition(Topic.REFERENCE, 0),
        ]

    def take(self, record: Record) -> None:
        """Take in one record of `equity-ticks` or `reference`."""
        value = record.value or b""
        # Others leave the keys as they are, and there may be millions of marks. JSON can spell a word in two ways.
        if b"operator_keys" in value or b"\\" in value:
            (self._shared if record.topic is Topic.REFERENCE else self._replicas[record.partition]).fold(record)

    def keys(self) -> InForce:
        """Return the keys in force at each place."""
        return {
            place: self._shared.shared.reference.operator_keys
            if place.topic is Topic.REFERENCE
            else self._replicas[place.partition].state.operator_keys
            for place in self.places
        }

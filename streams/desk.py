"""An operator's desk: what the topics say now, and what became of the commands that were sent.

It folds with the worker's own replica, so it knows what a worker must answer and sees when one has.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import orjson
from aiokafka.errors import KafkaError

from models.folds.reference import Reference
from models.messages import EVERY
from models.state import State
from streams.access import GateError, find_gate, no_broker
from streams.codec import Codec
from streams.config import Settings
from streams.operations import OperatorError
from streams.publisher import Delivered, Message, Publisher
from streams.reader import Reader
from streams.records import SHARED_INPUTS, Record, Topic, TopicPartition
from streams.replica import Replica, SharedReplica

OF_ACCOUNT: Final = (
    *(Topic.REFERENCE, Topic.DAILY_RETURNS, Topic.FILLS, Topic.EQUITY_TICKS),
    *(Topic.RISK_DECISIONS, Topic.TRADING_HALTS),
)
"""What is read to know an account; without one `reference` is enough."""
SEEN_SECONDS: Final = 10.0
"""How long a record that the broker has acknowledged may take to be readable."""
PAUSE_SECONDS: Final = 0.1


class Desk:
    """Has read `reference` and, for an account, its partition, as far as they went. `open_desk` makes one.

    Args:
        reader: Reads the topics.
        codec: Reads records.
        account: Whose partition to read; None for `reference` alone.
    """

    def __init__(self, reader: Reader, codec: Codec, account: str | None = None) -> None:
        self._reader = reader
        self._account = account
        number = 0 if account is None else codec.partition_of(account)
        self._shared = SharedReplica(codec)
        self._replica = Replica(number, codec, State(self._shared.shared))
        topics = (Topic.REFERENCE,) if account is None else OF_ACCOUNT
        self._places = [TopicPartition(topic, 0 if topic in SHARED_INPUTS else number) for topic in topics]
        self._positions: dict[TopicPartition, int] | None = None
        self._refused: dict[bytes | None, bytes | None] = {}

    @property
    def reference(self) -> Reference:
        """What `reference` says."""
        return self._shared.shared.reference

    @property
    def state(self) -> State:
        """The account's partition."""
        return self._replica.state

    async def look(self) -> None:
        """Read what has come since the last look; everything, the first time."""
        if self._positions is None:
            bounds = await self._reader.bounds(self._places)
            self._positions = {place: found.beginning for place, found in bounds.items()}
        self._positions = await self._reader.read_to_end(self._positions, self._fold)

    def _fold(self, record: Record) -> None:
        folded = (self._shared if record.topic in SHARED_INPUTS else self._replica).fold(record)
        self._refused.update((letter.key, letter.value) for letter in folded.dead_letters)

    async def fate(self, sent: Delivered) -> str | None:
        """Read on to a record that was sent; return why it is a dead letter, None where it is none.

        Raises:
            GateError: If it does not come to be read.
        """
        deadline = time.monotonic() + SEEN_SECONDS
        while (self._shared if sent.topic in SHARED_INPUTS else self._replica).folded(sent.topic) < sent.offset:
            if time.monotonic() > deadline:
                raise GateError(f"{sent} was sent, and cannot be read: run `seawall topics check`")
            await self.look()
            await asyncio.sleep(PAUSE_SECONDS)
        key = f"{sent.topic}-{sent.partition}-{sent.offset}".encode()
        letter = self._refused.get(key)
        return None if letter is None else str(orjson.loads(letter)["why"])

    async def answered(self, seconds: float) -> bool:
        """Wait until no halt is owed to the account: a worker has published what its status calls for.

        Args:
            seconds: How long.

        Returns:
            Whether none is owed any more. Where the status did not change, none ever was.
        """
        assert self._account is not None
        deadline = time.monotonic() + seconds
        while self._replica.evaluate(self._account) is not None:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(PAUSE_SECONDS)
            await self.look()
        return True

    @property
    def known(self) -> bool:
        """Whether anything but commands speaks of the account: a mistyped name is known by nothing else."""
        assert self._account is not None
        columns, record = self.state.accounts[self._account], self.reference.account(self._account)
        return (
            columns.drawdown.equity is not None
            or columns.ledger.decisions.seq > 0
            or columns.book.clock > 0
            or (record is not None and record.account != EVERY)
        )


@asynccontextmanager
async def open_desk(settings: Settings, account: str | None = None) -> AsyncIterator[Desk]:
    """Read what the topics say now; as a context manager, so that more can be read later.

    Args:
        settings: How to reach the broker.
        account: Whose partition to read; None for `reference` alone.

    Raises:
        GateUnavailableError: Where no broker answers, then or later, or a topic is missing.
    """
    names, partitions = await find_gate(settings)
    try:
        async with Reader(settings, names) as reader:
            desk = Desk(reader, Codec(partitions), account)
            await desk.look()
            yield desk
    except (KafkaError, OperatorError) as error:
        raise no_broker(settings, error) from error


async def send(settings: Settings, messages: Iterable[Message]) -> Sequence[Delivered]:
    """Send messages, signed where the settings name a key, in their order.

    Raises:
        GateUnavailableError: Where no broker answers.
        NotSentError: If the broker refuses one.
    """
    async with Publisher(settings) as publisher:
        return await publisher.send_all(messages)

"""Everything that a gate's topics hold, between ends that are fixed once: what explanations and exports read."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Protocol, Self

from aiokafka.errors import KafkaError

from streams.access import GateError, Layout, find_gate, no_broker
from streams.codec import Codec
from streams.config import Settings
from streams.operations import OperatorError
from streams.reader import Bounds, Reader
from streams.records import SHARED_INPUTS, Record, Topic, TopicPartition
from streams.replay import INPUTS, Source

OUTPUTS: Final = (Topic.RISK_DECISIONS, Topic.TRADING_HALTS)
READ: Final = (OUTPUTS, (Topic.ORDER_INTENTS, *INPUTS))
"""In the order in which the ends are asked for: what was decided first, then what it rests on."""


class HistoryError(GateError):
    """The topics do not hold what was asked of them."""


class Past(Protocol):
    """What a gate's topics hold. `History` reads it from a broker; tests have it in memory."""

    @property
    def codec(self) -> Codec:
        """What reads the records."""
        ...

    def partition(self, number: int) -> Source:
        """Return one partition's records."""
        ...


def partitions_of(past: Past, account: str | None) -> Sequence[int]:
    """Return the partition of an account; every one where none is named."""
    codec = past.codec
    return range(codec.partitions) if account is None else (codec.partition_of(account),)


class History:
    """The topics of one gate, read from a broker without a consumer group. An async context manager.

    Args:
        settings: How to reach the broker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._idle: list[Reader] = []
        self._bounds: dict[TopicPartition, Bounds] = {}

    async def __aenter__(self) -> Self:
        """Connect, and fix the ends.

        Raises:
            GateUnavailableError: Where no broker answers, or a topic is missing.
            HistoryError: If a topic does not begin at its beginning: no state can be folded then.
        """
        self._layout: Layout = await find_gate(self._settings)
        self.codec = Codec(self._layout.partitions)
        async with AsyncExitStack() as stack:
            reader = await stack.enter_async_context(Reader(self._settings, self._layout.names))
            for topics in READ:
                self._bounds |= await reader.bounds(
                    TopicPartition(topic, number)
                    for topic in topics
                    for number in (range(1) if topic in SHARED_INPUTS else range(self._layout.partitions))
                )
            self._stack = stack.pop_all()
        self._idle.append(reader)
        for place, bounds in self._bounds.items():
            if bounds.beginning > 0:
                await self._stack.aclose()
                raise HistoryError(
                    f"{place} begins at offset {bounds.beginning}: what stood before was deleted, and no earlier"
                    " state can be folded without it (retention.ms=-1 keeps it)"
                )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._stack.aclose()

    def partition(self, number: int) -> Source:
        """Return one partition's records."""
        return _Partition(self, number)

    async def records(self, place: TopicPartition, start: int) -> AsyncGenerator[list[Record]]:
        """Yield the records of one topic partition from an offset on."""
        bounds = self._bounds[place]
        if start >= bounds.end:
            return
        # A reader reads one thing at a time, and connecting costs more than a short topic.
        reader = self._idle.pop() if self._idle else await self._another()
        try:
            async for records in reader.read({place: start}, {place: bounds.end}):
                yield records
        finally:
            self._idle.append(reader)

    async def _another(self) -> Reader:
        return await self._stack.enter_async_context(Reader(self._settings, self._layout.names))


class _Partition:
    def __init__(self, history: History, number: int) -> None:
        self._history = history
        self._number = number

    def records(self, topic: Topic, start: int = 0) -> AsyncGenerator[list[Record]]:
        """Begin at an offset of one topic."""
        return self._history.records(TopicPartition(topic, 0 if topic in SHARED_INPUTS else self._number), start)


@asynccontextmanager
async def open_history(settings: Settings) -> AsyncIterator[History]:
    """Open a gate's history; a broker that goes silent is told like one that never answered.

    Raises:
        GateError: As `History` says.
    """
    try:
        async with History(settings) as history:
            yield history
    except KafkaError as error:
        raise no_broker(settings, error) from error
    except OperatorError as error:
        raise HistoryError(f"{error}: {error.remedy}") from error

"""Pasts in memory: what a gate in this process wrote, read as a broker's topics are."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from streams.codec import Codec
from streams.records import Record, Topic

T = TypeVar("T")


class MemoryPast(NamedTuple):
    """The one partition of a log, in batches of seven."""

    log: Mapping[Topic, Sequence[Record]]
    codec: Codec = Codec(1)

    def partition(self, number: int) -> "MemoryPast":
        assert number == 0
        return self

    def records(self, topic: Topic, start: int = 0) -> AsyncGenerator[list[Record]]:
        async def batches() -> AsyncGenerator[list[Record]]:
            records = [record for record in self.log.get(topic, []) if record.offset >= start]
            for first in range(0, len(records), 7):
                yield records[first : first + 7]

        return batches()


async def gathered(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]

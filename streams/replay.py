"""Going back over one partition's topics: a cursor for each, and a replica that is brought to any `as_of`."""

import copy
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Protocol

from models.decisions import AsOf
from models.state import Shared, State
from streams.codec import Codec
from streams.records import Record, Topic
from streams.replica import Folded, Replica, SharedReplica

INPUTS = {
    Topic.FILLS: "fills",
    Topic.EQUITY_TICKS: "equity_ticks",
    Topic.DAILY_RETURNS: "daily_returns",
    Topic.REFERENCE: "reference",
}
"""The topics a decision rests on, by their fields in `as_of`."""


class Source(Protocol):
    """Where one partition's records come from, oldest first, up to ends that were fixed beforehand."""

    def records(self, topic: Topic) -> AsyncGenerator[list[Record]]:
        """Begin at the beginning of the partition's records of one topic (partition 0 of the shared ones)."""
        ...


class Cursor:
    """Reads one topic forward, and can look at the next record before taking it."""

    def __init__(self, batches: AsyncGenerator[list[Record]]) -> None:
        self._batches = batches
        self._batch: Iterator[Record] = iter(())
        self._next: Record | None = None
        self._ended = False

    async def peek(self) -> Record | None:
        """Return the next record, None at the end."""
        while self._next is None and not self._ended:
            self._next = next(self._batch, None)
            if self._next is None:
                batch = await anext(self._batches, None)
                if batch is None:
                    self._ended = True
                else:
                    self._batch = iter(batch)
        return self._next

    async def take(self) -> Record | None:
        """Return the next record and move past it, None at the end."""
        record = await self.peek()
        self._next = None
        return record

    async def through(self, offset: int) -> AsyncIterator[Record]:
        """Take the records up to and with `offset`."""
        while (record := await self.peek()) is not None and record.offset <= offset:
            self._next = None
            yield record

    async def close(self) -> None:
        """Stop reading."""
        self._ended = True
        await self._batches.aclose()


class UnreachableError(Exception):
    """The state lies beyond the `as_of` that was asked for, in at least one topic."""


class Replay:
    """One partition's replica, and the inputs it has still to fold.

    Args:
        partition: Its number.
        codec: Reads records.
        source: The records.
        folded: Told of every input record after it is folded, and what came of it.
    """

    def __init__(
        self,
        partition: int,
        codec: Codec,
        source: Source,
        folded: Callable[[Record, Folded], object] = lambda _record, _folded: None,
    ) -> None:
        self.shared = SharedReplica(codec)
        self.replica = Replica(partition, codec, State(self.shared.shared))
        self.coming: list[Record] = []
        """While fills and ticks are folded: the records of `reference` that are folded after them."""
        self._codec = codec
        self._inputs = {topic: Cursor(source.records(topic)) for topic in INPUTS}
        self._folded = folded

    @property
    def state(self) -> State:
        """The state as folded."""
        return self.replica.state

    async def advance(self, as_of: AsOf) -> None:
        """Fold each input up to `as_of`: fills, then ticks, each under the limits before; then the shared topics.

        Raises:
            UnreachableError: If something beyond is folded already; nothing is changed then.
        """
        now = self.state.as_of
        if any(getattr(as_of, field) < getattr(now, field) for field in INPUTS.values()):
            raise UnreachableError
        self.coming = [record async for record in self._inputs[Topic.REFERENCE].through(as_of.reference)]
        for topic in (Topic.FILLS, Topic.EQUITY_TICKS):
            async for record in self._inputs[topic].through(getattr(as_of, INPUTS[topic])):
                self._folded(record, self.replica.fold(record))
        async for record in self._inputs[Topic.DAILY_RETURNS].through(as_of.daily_returns):
            self._folded(record, self.shared.fold(record))
        for record in self.coming:
            self._folded(record, self.shared.fold(record))
        self.coming = []

    async def finish(self) -> None:
        """Fold what is left of every input."""
        last = 1 << 62
        await self.advance(AsOf(fills=last, equity_ticks=last, daily_returns=last, reference=last))

    def could_be(self, asked: Callable[[State], bool]) -> bool:
        """Tell whether `asked` holds of the present accounts under the limits as they are, or to come."""
        if asked(self.state):
            return True
        if not self.coming:
            return False
        shared = Shared(self.shared.shared.returns, copy.deepcopy(self.shared.shared.reference))
        shared.reference_offset = self.shared.shared.reference_offset
        imagined = SharedReplica(self._codec, shared)
        state = State(shared, self.state.accounts)
        for record in self.coming:
            imagined.fold(record)
            if asked(state):
                return True
        return False

    async def close(self) -> None:
        """Stop reading."""
        for cursor in self._inputs.values():
            await cursor.close()

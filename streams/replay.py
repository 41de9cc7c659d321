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

    def records(self, topic: Topic, start: int = 0) -> AsyncGenerator[list[Record]]:
        """Begin at an offset of the partition's records of one topic (partition 0 of the shared ones)."""
        ...


def _ignore(_record: Record) -> None:
    pass


class Cursor:
    """Reads one topic forward, and can look at the next record before taking it.

    Args:
        batches: The records.
        taken: Told of every record as it is taken.
    """

    def __init__(self, batches: AsyncGenerator[list[Record]], taken: Callable[[Record], object] = _ignore) -> None:
        self._batches = batches
        self._taken = taken
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
        if record is not None:
            self._taken(record)
        return record

    async def through(self, offset: int) -> AsyncIterator[Record]:
        """Take the records up to and with `offset`."""
        while (record := await self.peek()) is not None and record.offset <= offset:
            self._next = None
            self._taken(record)
            yield record

    async def close(self) -> None:
        """Stop reading."""
        self._ended = True
        await self._batches.aclose()


def replicas(partition: int, codec: Codec, state: State) -> tuple[SharedReplica, Replica]:
    """Return what folds the shared topics, and what folds a partition, into a state."""
    return SharedReplica(codec, state.shared), Replica(partition, codec, state)


class UnreachableError(Exception):
    """The state lies beyond the `as_of` that was asked for, in at least one topic."""


class Replay:
    """One partition's replica, and the inputs it has still to fold.

    Args:
        partition: Its number.
        codec: Reads records.
        source: The records.
        folded: Told of every input record after it is folded, and what came of it.
        taken: Told of every input record as it is taken.
        state: Where to go on from; by default the beginning.
    """

    def __init__(
        self,
        partition: int,
        codec: Codec,
        source: Source,
        folded: Callable[[Record, Folded], object] = lambda _record, _folded: None,
        *,
        taken: Callable[[Record], object] = _ignore,
        state: State | None = None,
    ) -> None:
        state = State(Shared()) if state is None else state
        self.shared, self.replica = replicas(partition, codec, state)
        self.coming: list[Record] = []
        """While fills and ticks are folded: the records of `reference` that are folded after them."""
        self._codec = codec
        self._inputs = {
            topic: Cursor(source.records(topic, getattr(state.as_of, field) + 1), taken)
            for topic, field in INPUTS.items()
        }
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
        state, shared = self.state, self.shared.shared
        behind = (
            as_of.fills - state.fills_offset,
            as_of.equity_ticks - state.equity_ticks_offset,
            as_of.daily_returns - shared.daily_returns_offset,
            as_of.reference - shared.reference_offset,
        )
        if min(behind) < 0:
            raise UnreachableError
        if not any(behind):
            return
        if behind[3]:
            self.coming = [record async for record in self._inputs[Topic.REFERENCE].through(as_of.reference)]
        for topic, distance in ((Topic.FILLS, behind[0]), (Topic.EQUITY_TICKS, behind[1])):
            if distance:
                async for record in self._inputs[topic].through(getattr(as_of, INPUTS[topic])):
                    self._folded(record, self.replica.fold(record))
        if behind[2]:
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
        state = State(shared, self.state.accounts)
        imagined, _ = replicas(self.replica.partition, self._codec, state)
        for record in self.coming:
            imagined.fold(record)
            if asked(state):
                return True
        return False

    async def close(self) -> None:
        """Stop reading."""
        for cursor in self._inputs.values():
            await cursor.close()

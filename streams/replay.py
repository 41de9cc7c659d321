"""Going back over one partition's topics: a cursor for each, and a replica that is brought to any `as_of`."""

import copy
from collections.abc import AsyncGenerator, Callable, Sequence
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


class Cursor:
    """Reads one topic forward, and can look at the next record before taking it.

    Args:
        batches: The records.
        taken: Told of the records that were taken, many at a time.
    """

    def __init__(
        self, batches: AsyncGenerator[list[Record]], taken: Callable[[Sequence[Record]], object] | None = None
    ) -> None:
        self._batches = batches
        self._taken = taken
        self._batch: list[Record] = []
        self._at = 0
        """The next record's place in the batch."""
        self._told = 0
        """Up to where `taken` was told of the batch."""
        self._ended = False

    async def peek(self) -> Record | None:
        """Return the next record, None at the end."""
        while self._at == len(self._batch):
            if self._ended:
                return None
            self.tell()
            batch = await anext(self._batches, None)
            self._ended = batch is None
            self._batch, self._at, self._told = batch or [], 0, 0
        return self._batch[self._at]

    async def take(self) -> Record | None:
        """Return the next record and move past it, None at the end."""
        record = await self.peek()
        self._at += record is not None
        return record

    async def through(self, offset: int) -> list[Record]:
        """Take the next records up to and with `offset`: those read at once; none where there are no more of them."""
        await self.peek()
        batch, first = self._batch, self._at
        while self._at < len(batch) and batch[self._at].offset <= offset:
            self._at += 1
        return batch[first : self._at]

    def tell(self) -> None:
        """Tell of what was taken until now."""
        if self._taken is not None and self._told < self._at:
            self._taken(self._batch[self._told : self._at])
            self._told = self._at

    async def close(self) -> None:
        """Stop reading."""
        self.tell()
        self._ended = True
        self._batch, self._at = [], 0
        await self._batches.aclose()


def replicas(partition: int, codec: Codec, state: State) -> tuple[SharedReplica, Replica]:
    """Return what folds the shared topics, and what folds a partition, into a state."""
    return SharedReplica(codec, state.shared), Replica(partition, codec, state)


class Known(Protocol):
    """How far a decision or a halt knew each topic."""

    @property
    def fills(self) -> int:
        """Offset of the last record of `fills`; -1 for none."""

    @property
    def equity_ticks(self) -> int:
        """The same of `equity-ticks`."""

    @property
    def daily_returns(self) -> int:
        """The same of `daily-returns`."""

    @property
    def reference(self) -> int:
        """The same of `reference`."""


class UnreachableError(Exception):
    """The state lies beyond the `as_of` that was asked for, in at least one topic."""


class Replay:
    """One partition's replica, and the inputs it has still to fold.

    Args:
        partition: Its number.
        codec: Reads records.
        source: The records.
        folded: Told of every input record after it is folded, and what came of it.
        taken: Told of the input records that were taken.
        state: Where to go on from; by default the beginning.
    """

    def __init__(
        self,
        partition: int,
        codec: Codec,
        source: Source,
        folded: Callable[[Record, Folded], object] = lambda _record, _folded: None,
        *,
        taken: Callable[[Sequence[Record]], object] | None = None,
        state: State | None = None,
    ) -> None:
        state = State(Shared()) if state is None else state
        self.state = state
        """The state as folded."""
        self.shared, self.replica = replicas(partition, codec, state)
        self.coming: list[Record] = []
        """While fills and ticks are folded: the records of `reference` that are folded after them."""
        self._codec = codec
        self._inputs = {
            topic: Cursor(source.records(topic, getattr(state.as_of, field) + 1), taken)
            for topic, field in INPUTS.items()
        }
        self._folded = folded

    async def advance(self, as_of: Known) -> None:
        """Fold each input up to `as_of`: fills, then ticks, each under the limits before; then the shared topics.

        Raises:
            UnreachableError: If something beyond is folded already; nothing is changed then.
        """
        state, shared = self.state, self.shared.shared
        fills = as_of.fills - state.fills_offset
        equity_ticks = as_of.equity_ticks - state.equity_ticks_offset
        daily_returns = as_of.daily_returns - shared.daily_returns_offset
        reference = as_of.reference - shared.reference_offset
        if fills < 0 or equity_ticks < 0 or daily_returns < 0 or reference < 0:
            raise UnreachableError
        if reference:
            while records := await self._inputs[Topic.REFERENCE].through(as_of.reference):
                self.coming += records
        if fills:
            await self._fold(self.replica, Topic.FILLS, as_of.fills)
        if equity_ticks:
            await self._fold(self.replica, Topic.EQUITY_TICKS, as_of.equity_ticks)
        if daily_returns:
            await self._fold(self.shared, Topic.DAILY_RETURNS, as_of.daily_returns)
        if reference:
            for record in self.coming:
                self._folded(record, self.shared.fold(record))
            self.coming = []

    async def _fold(self, replica: Replica | SharedReplica, topic: Topic, offset: int) -> None:
        while records := await self._inputs[topic].through(offset):
            for record in records:
                self._folded(record, replica.fold(record))

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

    def tell(self) -> None:
        """Tell of what was taken until now."""
        for cursor in self._inputs.values():
            cursor.tell()

    async def close(self) -> None:
        """Stop reading."""
        for cursor in self._inputs.values():
            await cursor.close()

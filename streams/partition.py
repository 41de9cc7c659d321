"""One owned partition: what waits for a decision, what waits for publication, and the commit that publishes it.

One commit, and the same numbers in the code:

1. *Cut.* Decide what waits. Take everything owed (decisions, halts, dead letters) and, at most once per checkpoint
   interval, the rows changed since the last checkpoint with the vector that names them, all in one stretch without an
   await: it is one consistent cut.
2. *Publish* it in one Kafka transaction. This is the only commit point.
3. *Move on*: the positions reported to the group, and the anchors of the next checkpoint.
4. *Save* the same rows and vector locally, in one batch. Never before step 2: the disk must not know what the log
   does not.

While a transaction is in flight, more intents gather: batches grow with load, and a quiet partition answers at once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NamedTuple

from streams import checkpoint
from streams.checkpoint import Trail, Vector
from streams.codec import encode_decision, encode_halt
from streams.ledger import Ledger
from streams.operations import fail_stop, warn_unauthorized
from streams.records import SHARED_INPUTS, Batch, Outgoing, Record, Topic
from streams.replica import Replica, SharedReplica
from streams.store import Row, Store
from streams.tables import AccountTables

DECISIONS_MAX: Final = 1000
"""Decisions in one transaction."""
INTENTS_MAX: Final = 2000
"""Intents that wait for a decision; beyond it nothing more is fetched of `order-intents`."""
OWED_MAX: Final = 10_000
"""Records that wait for publication; beyond it nothing more is fetched at all."""
SLICE_SECONDS: Final = 0.002
"""How long one partition's deciding keeps everything else waiting: ticks, commits, heartbeats."""
CLOSE_TIMEOUT: Final = 10.0
GOLDEN: Final = 0.618
"""Its multiples lie apart from one another, modulo 1, however many there are."""
_RETRY_SECONDS: Final = 0.05
_IDLE_SECONDS: Final = 1.0


class Cut(NamedTuple):
    """What a checkpoint saves."""

    rows: list[Row]
    vector: Vector


class Partition:
    """A partition that this worker owns. `serve` starts it, `close` lets it go.

    Args:
        replica: Its state, recovered.
        shared: The tables of every partition.
        tables: Where the state keeps its accounts.
        store: Where checkpoints go.
        ledger: Its fenced producer.
        trail: The last records taken in.
        next_offsets: Of each input topic, where reading goes on.
        checkpoint_interval: Seconds between checkpoints.
        may_decide: Tells whether the inputs are fresh enough to decide on.
    """

    def __init__(
        self,
        replica: Replica,
        shared: SharedReplica,
        tables: AccountTables,
        store: Store,
        ledger: Ledger,
        *,
        trail: Trail,
        next_offsets: dict[Topic, int],
        checkpoint_interval: float,
        may_decide: Callable[["Partition"], bool] = lambda _: True,
    ) -> None:
        self.number = replica.partition
        self.replica = replica
        self.next_offsets = next_offsets
        """Of each input topic the offset expected next: everything below is folded, or waits for its decision."""
        self.opened_at = time.time()
        self.commits = 0
        self.decisions = 0
        self._shared = shared
        self._tables = tables
        self._store = store
        self._ledger = ledger
        self._trail = trail
        self._interval = checkpoint_interval
        self._may_decide = may_decide
        self._decided_to = next_offsets[Topic.ORDER_INTENTS]
        self._intents: deque[Record] = deque()
        self._owed: list[Outgoing] = []
        self._unsaved = bool(replica.state.changed)  # What recovery folded is in no checkpoint yet.
        # Each at a moment of its own, or the cuts of all partitions would fall together and be one long stop.
        self._saved_at = time.monotonic() - self.number * GOLDEN % 1 * checkpoint_interval
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    # --- taking in; synchronous, so that no fold is ever seen half done

    def fold(self, batch: Batch) -> None:
        """Fold records of `fills` or `equity-ticks`; what they call for is published with the next commit."""
        news = self._news(batch)
        for record in news:
            try:
                folded = self.replica.fold(record)
                if folded.dead_letters:
                    self._owed += folded.dead_letters
                if folded.unauthorized is not None:
                    warn_unauthorized(record.place, folded.unauthorized)
                if folded.account is not None:
                    self._evaluate(folded.account)
            except Exception as error:  # noqa: BLE001  # whatever it is, the record must be met again
                fail_stop(f"folding {record.place}", error)
        if news:
            last = news[-1]
            self._trail.note(last.topic, last.offset, last.key, last.value)
            self._unsaved = True
        self._wake.set()

    def decide(self, batch: Batch) -> None:
        """Queue records of `order-intents`; the next commit decides them."""
        self._intents.extend(self._news(batch))
        self._wake.set()

    def owe(self, records: Iterable[Outgoing]) -> None:
        """Publish records with the next commit."""
        self._owed += records
        self._wake.set()

    def has_room(self, topic: Topic) -> bool:
        """Tell whether more of a topic may be fetched. Intents wait for commits, everything waits for the broker."""
        return len(self._owed) < OWED_MAX and (topic is not Topic.ORDER_INTENTS or len(self._intents) < INTENTS_MAX)

    def _news(self, batch: Batch) -> list[Record]:
        """Return the records that are new, and move on to the batch's end."""
        expected = self.next_offsets[batch.topic]
        if (batch.records[0].offset if batch.start is None else batch.start) > expected:
            fail_stop(f"reading {batch}", f"offset {expected} was expected: records in between were skipped")
        self.next_offsets[batch.topic] = max(expected, batch.end)
        return [record for record in batch.records if record.offset >= expected]

    def _evaluate(self, account: str) -> None:
        halt = self.replica.evaluate(account)
        if halt is not None:
            self.replica.state.fold_halt(halt)
            self._owed.append(encode_halt(halt))

    def positions(self) -> dict[Topic, int]:
        """Return up to where each input topic is dealt with: its decisions committed, its other records folded."""
        return {**self.next_offsets, Topic.ORDER_INTENTS: self._decided_to}

    @property
    def waiting(self) -> int:
        """How many intents wait for a decision."""
        return len(self._intents)

    # --- the commit

    def serve(self) -> None:
        """Begin to decide and to publish."""
        self._task = asyncio.create_task(self._serve(), name=f"partition-{self.number}")

    async def _serve(self) -> None:
        try:
            while not self._closing:
                await self._until_due()
                await self.commit()
            await self.commit()  # What is owed, and a last checkpoint: the next owner has less to fold.
        except BaseException as error:  # noqa: BLE001  # a cancelled commit is as bad as a failed one
            fail_stop(f"committing partition {self.number}", error)

    async def _until_due(self) -> None:
        while not (self._closing or self._owed or self._saving_due() or (self._intents and self._may_decide(self))):
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()

    def _saving_due(self) -> bool:
        return self._unsaved and time.monotonic() - self._saved_at >= self._interval

    def _pause(self) -> float:
        if self._intents:
            return _RETRY_SECONDS  # The inputs are stale.
        if self._unsaved:
            return max(0.0, self._saved_at + self._interval - time.monotonic())
        return _IDLE_SECONDS

    async def commit(self) -> None:
        """Decide and publish what waits: one commit, as the module describes it."""
        if not self._closing and self._may_decide(self):  # 1
            await self._decide_waiting()
        owed, self._owed = self._owed, []
        cut = self._cut() if self._saving_due() or (self._closing and self._unsaved) else None
        position = self._intents[0].offset if self._intents else self.next_offsets[Topic.ORDER_INTENTS]
        if cut is not None:
            owed += checkpoint.outgoing(*cut)
        if owed:
            appended = await self._ledger.commit(owed)  # 2
            self._trail.note_appended(appended)  # 3
            self.commits += 1
        self._decided_to = position
        if cut is not None:
            self._store.write(cut.rows, cut.vector)  # 4
            self._tables.trim(self.replica.state.changed)

    async def _decide_waiting(self) -> None:
        paused_at = time.monotonic()
        for _ in range(min(len(self._intents), DECISIONS_MAX)):
            if self._closing:
                return
            self._decide_one(self._intents.popleft())
            if time.monotonic() - paused_at > SLICE_SECONDS:
                await asyncio.sleep(0)
                paused_at = time.monotonic()

    def _decide_one(self, record: Record) -> None:
        try:
            decision = self.replica.decide(record)
            self.replica.state.fold_decision(decision)
            self._owed.append(encode_decision(decision, why=self.replica.why_malformed(record, decision)))
            if decision.account is not None:
                self._evaluate(decision.account)
        except Exception as error:  # noqa: BLE001  # whatever it is, the record must be met again
            fail_stop(f"deciding {record.place}", error)
        self.decisions += 1
        self._unsaved = True

    def _cut(self) -> Cut:
        state = self.replica.state
        rows = self._tables.cut(state.changed)
        state.changed.clear()
        self._unsaved = False
        self._saved_at = time.monotonic()
        through = {topic: self._shared.folded(topic) for topic in SHARED_INPUTS}
        return Cut(rows, checkpoint.partition_vector(self.replica, self._trail, through))

    async def close(self) -> None:
        """Finish the transaction in hand, save a checkpoint, and let go. Undecided intents are the next owner's."""
        self._closing = True
        self._wake.set()
        try:
            if self._task is not None:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await asyncio.shield(self._task)
            await self._ledger.stop()
            self._store.close()
        except Exception as error:  # noqa: BLE001  # a partition half let go is held by nobody
            fail_stop(f"closing partition {self.number}", error)

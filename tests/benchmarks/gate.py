"""A worker's partitions without a broker: the worker's own replicas, tables and databases, in this process."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import orjson

from models.decisions import RiskDecision
from models.state import State
from streams.codec import Codec, encode_decision, encode_halt
from streams.publisher import Message
from streams.records import Record, Topic
from streams.replica import Replica, SharedReplica
from streams.store import Row, Store
from streams.tables import ACCOUNT_TABLES, CACHED_ROWS, AccountTables
from tests.benchmarks import inputs

PARTITIONS: Final = 4


class Part:
    """One partition: what of it is in memory, and what is on the disk."""

    def __init__(self, number: int, codec: Codec, shared: SharedReplica, folder: Path) -> None:
        self.store = Store(folder / f"partition-{number}", ACCOUNT_TABLES)
        self.tables = AccountTables(self.store, capacity=CACHED_ROWS // PARTITIONS)
        self.state = State(shared.shared, self.tables)
        self.replica = Replica(number, codec, self.state)
        self.offsets: dict[Topic, int] = {}

    def record(self, message: Message) -> Record:
        """Return a message as the partition's next record of its topic."""
        record = inputs.record(message, 0)
        offset = self.offsets.get(record.topic, 0)
        self.offsets[record.topic] = offset + 1
        return record._replace(partition=self.replica.partition, offset=offset)

    def fold(self, message: Message) -> None:
        """Fold a fill or a tick, and the halt that it calls for."""
        account = self.replica.fold(self.record(message)).account
        if account is not None:
            self._evaluate(account)

    def decide(self, message: Message) -> RiskDecision:
        """Decide an intent, fold the decision and make its bytes, as a commit does."""
        decision = self.replica.decide(self.record(message))
        self.state.fold_decision(decision)
        encode_decision(decision)
        assert decision.account is not None
        self._evaluate(decision.account)
        return decision

    def _evaluate(self, account: str) -> None:
        halt = self.replica.evaluate(account)
        if halt is not None:
            self.state.fold_halt(halt)
            encode_halt(halt)

    def save(self) -> None:
        """Write a checkpoint, and forget what the cache has no room for."""
        rows = self.tables.cut(self.state.changed)
        self.state.changed.clear()
        self.store.write(rows, {"state": self.state.vector()})
        self.tables.trim(self.state.changed)


class Gate:
    """The partitions of one worker that has them all.

    Args:
        folder: Of its databases; what is there is gone on from.
    """

    def __init__(self, folder: Path) -> None:
        self._codec = Codec(PARTITIONS)
        shared = SharedReplica(self._codec)
        for messages in (inputs.reference(), inputs.returns()):
            for offset, message in enumerate(messages):
                assert not shared.fold(inputs.record(message, offset)).dead_letters
        self.parts = [Part(number, self._codec, shared, folder) for number in range(PARTITIONS)]

    def of(self, account: str) -> Part:
        """Return the partition that an account belongs to."""
        return self.parts[self._codec.partition_of(account)]

    def fill(self, accounts: Iterable[str]) -> None:
        """Give accounts a value and twenty positions each, through the fold, and save them."""
        for account in accounts:
            part = self.of(account)
            for execution in inputs.fills(account):
                part.fold(execution)
            part.fold(inputs.mark(account))
        self.save()

    def copy(self, account: str, others: Iterable[str]) -> None:
        """Give other accounts the rows of one that was folded: they differ in nothing but the name."""
        store, prefix = self.of(account).store, account.encode() + b"\0"
        originals = [
            (table, key, orjson.dumps(row))
            for table in ACCOUNT_TABLES
            for key, row in store.rows(table, prefix).items()
        ]
        for name in others:
            part = self.of(name)
            rows = [Row(table, f"{name}\0{key}".encode(), value) for table, key, value in originals]
            part.store.write(rows, {"state": part.state.vector()})

    def save(self) -> None:
        """Write a checkpoint of each partition."""
        for part in self.parts:
            part.save()

    @property
    def cached(self) -> int:
        """How many accounts are in memory."""
        return sum(len(part.tables) for part in self.parts)

    def close(self) -> None:
        """Give the databases free."""
        for part in self.parts:
            part.store.close()

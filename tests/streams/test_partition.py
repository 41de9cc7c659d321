"""One partition against a ledger and a store made by hand."""

import asyncio
import gc
import time
import weakref
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

import orjson
import pytest

from models.canonical import canonical_bytes
from models.messages import OrderIntent, OrderType, Side
from models.state import State
from streams import partition as module
from streams.checkpoint import Trail
from streams.codec import Codec, decode_decision
from streams.ledger import Appended
from streams.partition import INTENTS_MAX, Partition
from streams.records import Batch, Outgoing, Record, Topic
from streams.replica import Folded, Replica, SharedReplica
from streams.store import FORMAT, Row
from streams.tables import AccountTables

NOW = 1_700_000_000_000_000_000


class Stopped(BaseException):  # as little an error as an exit is
    """What `fail_stop` is here."""


class FakeLedger:
    """Remembers what was published, and says when a commit ends."""

    def __init__(self) -> None:
        self.transactions: list[list[Outgoing]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails: Exception | None = None
        self.stopped = False

    async def commit(self, records: Iterable[Outgoing]) -> dict[Topic, Appended]:
        """Take a transaction."""
        records = list(records)
        await self.gate.wait()
        if self.fails:
            raise self.fails
        self.transactions.append(records)
        return {record.topic: Appended(len(self.transactions), record) for record in records}

    async def stop(self) -> None:
        """Let go."""
        self.stopped = True

    def published(self, topic: Topic) -> list[Outgoing]:
        """Return what was published to a topic."""
        return [record for records in self.transactions for record in records if record.topic is topic]


class FakeStore:
    """Remembers what was written, and after which transaction."""

    def __init__(self, ledger: FakeLedger) -> None:
        self._ledger = ledger
        self.written: list[tuple[int, list[Row], Mapping[str, Any]]] = []
        self.closed = False

    def rows(self, table: str, prefix: bytes) -> dict[str, Any]:  # noqa: ARG002  # the store's own
        """Return nothing."""
        return {}

    def reading(self) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def write(self, rows: list[Row], vector: Mapping[str, Any]) -> None:
        """Take a checkpoint."""
        self.written.append((len(self._ledger.transactions), rows, vector))

    def close(self) -> None:
        """Let go."""
        self.closed = True


class Bench:
    """A partition and its neighbors."""

    def __init__(self, *, interval: float = 0.0, may_decide: bool = True) -> None:
        self.may_decide = may_decide
        self.ledger = FakeLedger()
        self.store = FakeStore(self.ledger)
        shared = SharedReplica(Codec(1))
        store: Any = self.store
        ledger: Any = self.ledger
        tables = AccountTables(store)
        self.partition = Partition(
            Replica(0, Codec(1), State(shared.shared, tables)),
            shared,
            tables,
            store,
            ledger,
            trail=Trail(),
            next_offsets={Topic.ORDER_INTENTS: 0, Topic.FILLS: 0, Topic.EQUITY_TICKS: 0},
            checkpoint_interval=interval,
            may_decide=lambda _: self.may_decide,
        )


@pytest.fixture(autouse=True)
def _no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_stop(doing: str, error: BaseException | str) -> NoReturn:
        raise Stopped(f"{doing}: {error!r}")

    monkeypatch.setattr(module, "fail_stop", fail_stop)


def _intents(*offsets: int, start: int | None = None, end: int | None = None) -> Batch:
    records = []
    for offset in offsets:
        intent = OrderIntent(
            intent_id=f"i{offset}",
            account="A",
            strategy="s",
            symbol="X",
            side=Side.BUY,
            order_type=OrderType.MARKET,
            event_time=NOW,
        )
        records.append(Record(Topic.ORDER_INTENTS, 0, offset, NOW, b"A", canonical_bytes(intent)))
    return Batch(
        Topic.ORDER_INTENTS,
        0,
        records,
        start=offsets[0] if start is None else start,
        end=offsets[-1] + 1 if end is None else end,
    )


def _ticks(*offsets: int) -> Batch:
    records = [
        Record(
            Topic.EQUITY_TICKS,
            0,
            offset,
            NOW,
            b"A",
            b'{"kind":"mark","account":"A","equity":"1","event_time":%d}' % (NOW + offset),
        )
        for offset in offsets
    ]
    return Batch(Topic.EQUITY_TICKS, 0, records, start=offsets[0], end=offsets[-1] + 1)


def _decided(bench: Bench) -> list[int]:
    return [
        decode_decision(Record(Topic.RISK_DECISIONS, 0, 0, 0, each.key, each.value)).intent_offset
        for each in bench.ledger.published(Topic.RISK_DECISIONS)
    ]


async def test_a_commit_decides_what_waits_in_one_transaction() -> None:
    bench = Bench(interval=1000)
    bench.partition.decide(_intents(0, 1, 2))
    await bench.partition.commit()
    assert len(bench.ledger.transactions) == 1
    assert _decided(bench) == [0, 1, 2]
    assert bench.store.written == []
    assert bench.partition.positions()[Topic.ORDER_INTENTS] == 3


async def test_nothing_waiting_is_no_transaction() -> None:
    bench = Bench()
    await bench.partition.commit()
    assert bench.ledger.transactions == []


async def test_rows_reach_the_disk_after_the_transaction_that_carries_the_same_rows() -> None:
    bench = Bench()
    bench.partition.fold(_ticks(0))
    bench.partition.decide(_intents(0))
    await bench.partition.commit()
    [(transactions, rows, vector)] = bench.store.written
    assert transactions == 1
    *published, last = bench.ledger.published(Topic.CHECKPOINTS)
    assert [(each.key, each.value) for each in published] == [
        (row.table.encode() + b"\0" + row.key, row.value) for row in rows
    ]
    assert last.key == b"vector"
    assert orjson.loads(last.value or b"") == {**orjson.loads(orjson.dumps(vector)), "format": FORMAT}
    assert vector["state"]["intents"] == 0
    assert vector["state"]["equity_ticks"] == 0


async def test_a_failed_transaction_writes_nothing() -> None:
    bench = Bench()
    bench.partition.decide(_intents(0))
    bench.ledger.fails = RuntimeError("fenced")
    with pytest.raises(RuntimeError):
        await bench.partition.commit()
    assert bench.store.written == []


async def test_a_failed_commit_ends_the_process() -> None:
    bench = Bench()
    bench.ledger.fails = RuntimeError("fenced")
    bench.partition.serve()
    bench.partition.decide(_intents(0))
    task = bench.partition._task
    assert task is not None
    with pytest.raises(Stopped, match=r"committing partition 0.*fenced"):
        await task


async def test_what_changes_during_a_transaction_belongs_to_the_next_checkpoint() -> None:
    bench = Bench()
    bench.partition.fold(_ticks(0))
    bench.ledger.gate.clear()
    commit = asyncio.create_task(bench.partition.commit())
    await asyncio.sleep(0)
    bench.partition.fold(_ticks(1))
    bench.ledger.gate.set()
    await commit
    await bench.partition.commit()
    (_, first, one), (_, second, two) = bench.store.written
    assert (one["state"]["equity_ticks"], two["state"]["equity_ticks"]) == (0, 1)
    assert first
    assert second


async def test_a_quiet_partition_answers_at_once_and_a_busy_one_in_groups() -> None:
    bench = Bench(interval=1000)
    bench.partition.serve()
    bench.ledger.gate.clear()
    bench.partition.decide(_intents(0))
    await asyncio.sleep(0.01)
    bench.partition.decide(_intents(1))
    bench.partition.decide(_intents(2, 3))
    bench.ledger.gate.set()
    await asyncio.sleep(0.01)
    assert [len(each) for each in bench.ledger.transactions] == [1, 3]
    await bench.partition.close()
    assert bench.ledger.stopped
    assert bench.store.closed


async def test_closing_finishes_the_transaction_in_hand_and_leaves_undecided_intents() -> None:
    bench = Bench(interval=1000)
    bench.partition.serve()
    bench.ledger.gate.clear()
    bench.partition.decide(_intents(0))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(bench.partition.close())
    bench.partition.decide(_intents(1))
    await asyncio.sleep(0.01)
    bench.ledger.gate.set()
    await closing
    assert _decided(bench) == [0]
    [(_, _, vector)] = bench.store.written
    assert vector["state"]["intents"] == 0


async def test_stale_inputs_stop_decisions_and_nothing_else() -> None:
    bench = Bench(may_decide=False)
    bench.partition.decide(_intents(0))
    bench.partition.owe([Outgoing(Topic.DEAD_LETTERS, b"k", b"v")])
    await bench.partition.commit()
    assert _decided(bench) == []
    assert len(bench.ledger.published(Topic.DEAD_LETTERS)) == 1
    bench.may_decide = True
    await bench.partition.commit()
    assert _decided(bench) == [0]


async def test_what_was_taken_in_before_is_skipped() -> None:
    bench = Bench()
    bench.partition.decide(_intents(0, 1))
    bench.partition.decide(_intents(1, 2))
    bench.partition.decide(_intents(0))
    await bench.partition.commit()
    assert _decided(bench) == [0, 1, 2]


async def test_a_hole_that_the_reader_read_over_is_no_hole() -> None:
    bench = Bench()
    bench.partition.decide(_intents(0, 1, end=3))  # a transaction marker
    bench.partition.decide(_intents(5, start=3))  # an aborted transaction
    await bench.partition.commit()
    assert _decided(bench) == [0, 1, 5]


@pytest.mark.parametrize("start", [1, None])
async def test_a_hole_that_nobody_vouches_for_ends_the_process(start: int | None) -> None:
    bench = Bench()
    batch = _intents(1)
    batch.start = start
    with pytest.raises(Stopped, match="offset 0 was expected"):
        bench.partition.decide(batch)


async def test_a_defect_names_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    def broken(*_: object) -> Folded:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.partition.replica, "fold", broken)
    with pytest.raises(Stopped, match="folding equity-ticks/0@4"):
        bench.partition.fold(Batch(Topic.EQUITY_TICKS, 0, _ticks(4).records, start=0, end=5))
    monkeypatch.setattr(bench.partition.replica, "decide", broken)
    bench.partition.decide(_intents(7, start=0))
    with pytest.raises(Stopped, match="deciding order-intents/0@7"):
        await bench.partition.commit()


async def test_room_is_bounded() -> None:
    bench = Bench()
    assert bench.partition.has_room(Topic.ORDER_INTENTS)
    bench.partition.decide(_intents(*range(INTENTS_MAX)))
    assert not bench.partition.has_room(Topic.ORDER_INTENTS)
    assert bench.partition.has_room(Topic.FILLS)
    assert bench.partition.waiting == INTENTS_MAX
    await bench.partition.commit()
    assert bench.partition.has_room(Topic.ORDER_INTENTS)


async def test_a_long_queue_lets_others_run() -> None:
    bench = Bench(interval=1000)
    bench.partition.decide(_intents(*range(400)))
    longest, before = 0.0, time.monotonic()
    commit = asyncio.create_task(bench.partition.commit())
    while not commit.done():
        await asyncio.sleep(0)
        now = time.monotonic()
        longest, before = max(longest, now - before), now
    assert longest < 1, "a slice is milliseconds; a second is generous to a busy machine"


async def test_dead_letters_go_out_with_the_next_commit() -> None:
    bench = Bench(interval=1000)
    garbage = Record(Topic.FILLS, 0, 0, NOW, b"A", b"garbage")
    bench.partition.fold(Batch(Topic.FILLS, 0, [garbage], start=0, end=1))
    await bench.partition.commit()
    [letter] = bench.ledger.published(Topic.DEAD_LETTERS)
    assert letter.key == b"fills-0-0"


async def test_nobody_keeps_the_state_of_a_partition_that_was_let_go() -> None:
    bench = Bench()
    state = weakref.ref(bench.partition.replica.state)
    bench.partition.serve()
    bench.partition.decide(_intents(0, 1, 2))
    await bench.partition.close()
    assert state() is not None
    del bench
    gc.collect()  # as `Ownership.revoked` does
    assert state() is None

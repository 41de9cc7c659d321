"""Recovery where the checkpoint, the topic or the log is not what it should be."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from copy import deepcopy
from decimal import Decimal
from itertools import count
from typing import Any

import orjson
import pytest

from models.canonical import canonical_bytes
from models.decisions import AsOf, TradingHalt
from models.messages import EquityMark, ExecutionType, Fill, LimitProfile, OrderIntent, OrderType, Side
from models.portfolio import Account
from streams import checkpoint, recovery
from streams.codec import decode_decision, decode_halt
from streams.operations import OperatorError
from streams.ownership import _named_record
from streams.publisher import Message, destination
from streams.reader import Bounds
from streams.records import Outgoing, Record, Topic, TopicPartition
from streams.recovery import Recovery, Source
from streams.replica import Replica
from streams.starter import starter_records
from streams.store import DamagedError
from streams.tables import AccountTables
from tests.simulation import worker as simulated_worker
from tests.simulation.broker import Log, LogReader
from tests.simulation.checks import FOLDED, fresh_rows
from tests.simulation.disk import Disk
from tests.simulation.messages import ACCOUNTS
from tests.simulation.worker import LogBroadcast, Worker, quiet_worker
from tests.simulation.world import World


class Said:
    """What the operator was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines: list[dict[str, object]] = []
        monkeypatch.setattr(recovery, "say", lambda event, **fields: self.lines.append({"event": event, **fields}))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    return Said(monkeypatch)


@pytest.fixture
def world() -> World:
    """A gate with some history behind it, at rest: the first one whose checkpoint knows something of every topic."""
    return next(world for world in map(_lived, count()) if world is not None)


def _lived(seed: int) -> World | None:
    world = World(seed)
    asyncio.run(world.run(80))
    halts, decisions = (world.log.records()[topic] for topic in (Topic.TRADING_HALTS, Topic.RISK_DECISIONS))
    anchored = checkpoint.anchors_of(_vector(world)).keys()
    enough = len(halts) > 1 and len(decisions) > len(ACCOUNTS) and anchored >= set(FOLDED)
    return world if enough and not any(disk.foreign for disk in world.disks) else None


def _vector(world: World) -> dict[str, Any]:
    """Return the vector of the last checkpoint on the disk."""
    vector = world.disks[world.machine or 0].vector
    assert vector is not None
    return vector


def _reopen(world: World) -> Source:
    """Let a worker recover and write a checkpoint; check its rows, and those in the topic."""
    asyncio.run(world.finish())
    source = world.workers[0].opened.source
    assert world.rows() == fresh_rows(world)
    world.lose_every_disk()
    asyncio.run(world.finish())
    assert world.rows() == fresh_rows(world), "the topic holds other rows than the disk did"
    return source


def test_the_disk_goes_first(world: World, said: Said) -> None:
    assert _reopen(world) is Source.DISK
    assert said.lines == []


def test_a_lost_disk_is_restored_from_the_topic(world: World, said: Said) -> None:
    world.lose_every_disk()
    assert _reopen(world) is Source.TOPIC
    assert said.lines == []


@pytest.mark.parametrize("source", [Source.DISK, Source.TOPIC])
def test_no_less_of_reference_is_known_than_to_the_writer_of_the_checkpoint(
    world: World, monkeypatch: pytest.MonkeyPatch, source: Source
) -> None:
    """After a failover a broker may show less of `reference` than the checkpoint's decisions rest on."""
    waited_for: list[AsOf] = []

    class Noting(LogBroadcast):
        async def covers(self, as_of: AsOf) -> None:
            waited_for.append(as_of)
            await super().covers(as_of)

    vector = _vector(world)
    if source is Source.TOPIC:
        world.lose_every_disk()
    monkeypatch.setattr(simulated_worker, "LogBroadcast", Noting)
    _bounded(monkeypatch, Topic.REFERENCE, 0, end=1)
    asyncio.run(world.finish())
    assert world.workers[0].opened.source is source
    [known] = waited_for
    assert known == AsOf(**vector["known"])
    assert known.reference > 0


def _another_log(vector: dict[str, Any]) -> None:
    vector["anchors"]["equity-ticks"][1] = "0" * 16


def _beyond_the_end(vector: dict[str, Any]) -> None:
    vector["anchors"]["fills"][0] += 1000


def _no_record_there(vector: dict[str, Any]) -> None:
    vector["anchors"]["risk-decisions"][0] += 1  # a marker


def _another_chain(vector: dict[str, Any]) -> None:
    vector["anchors"].pop("risk-decisions")
    vector["state"]["intents"] = 0


DAMAGES = (_another_log, _beyond_the_end, _no_record_there, _another_chain)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_disk_that_does_not_fit_the_log_is_not_used(
    world: World, said: Said, damage: Callable[[dict[str, Any]], None]
) -> None:
    damage(_vector(world))
    assert _reopen(world) is Source.TOPIC
    [line] = said.lines
    assert (line["event"], line["checkpoint"]) == ("unusable", Source.DISK)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_does_not_fit_the_log_is_not_used(
    world: World, said: Said, damage: Callable[[dict[str, Any]], None]
) -> None:
    """Wherever it is: the disk and the topic say the same."""
    vector = _vector(world)
    damage(vector)
    world.log.append(Topic.CHECKPOINTS, b"vector", orjson.dumps(vector))
    assert _reopen(world) is Source.BEGINNING
    assert [line["checkpoint"] for line in said.lines] == [Source.DISK, Source.TOPIC]


@pytest.mark.parametrize("newest", [b'{"format":0}', b"garbage", None])
def test_without_any_checkpoint_everything_is_folded_again(world: World, said: Said, newest: bytes | None) -> None:
    """And the rows of the unusable checkpoint are gone from the topic, those with keys of old among them."""
    world.lose_every_disk()
    world.log.append(Topic.CHECKPOINTS, b"ledger\0A\0iold", b'{"a row":"of an older format"}')
    world.log.append(Topic.CHECKPOINTS, b"vector", newest)
    assert _reopen(world) is Source.BEGINNING
    assert len(said.lines) == (newest == b"garbage")


def _version(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the program be one that spells rows in a way of its own."""
    for module in ("store", "checkpoint"):
        monkeypatch.setattr(f"streams.{module}.FORMAT", name)


def test_another_version_builds_its_rows_from_the_log(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the disk of an older one as from the topic: it reads neither, and leaves nothing of it in the topic."""
    _version(monkeypatch, "newer")
    assert _reopen(world) is Source.BEGINNING
    _version(monkeypatch, "newest")
    world.lose_every_disk()
    assert _reopen(world) is Source.BEGINNING


def test_a_version_that_comes_back_does_not_add_to_the_rows_of_another(
    world: World, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own disk still fits the log, but what it would add to in the topic is not its own any more."""
    disks = deepcopy(world.disks)
    with monkeypatch.context() as newer:
        _version(newer, "newer")
        assert _reopen(world) is Source.BEGINNING
    world.disks = disks
    assert _reopen(world) is Source.BEGINNING
    assert [line["because"] for line in said.lines if line["checkpoint"] is Source.DISK] != []


def test_a_disk_is_not_gone_on_from_where_the_topic_lost_its_rows(world: World, said: Said) -> None:
    """The next checkpoint would hold what changed since, and nothing of all the rest."""
    world.log.entries[Topic.CHECKPOINTS].clear()
    assert _reopen(world) is Source.BEGINNING
    [line] = said.lines
    assert "another version was here" in str(line["because"])


def test_a_vector_far_from_the_end_is_found(world: World, said: Said) -> None:
    """Transactions that were aborted leave offsets without records."""
    for _ in range(3000):
        world.log.skip(Topic.CHECKPOINTS)
    assert _reopen(world) is Source.DISK
    assert said.lines == []


def _unsaved(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Let so many rows wait for a checkpoint while a partition is being opened."""
    monkeypatch.setattr(simulated_worker, "UNSAVED_ROWS", (rows,))


def _go_on(world: World) -> None:
    """Let the log go on, and a checkpoint follow."""
    for number in range(20):
        _say(
            world.log,
            *(EquityMark(account=name, event_time=10**18 + number, equity=Decimal(number)) for name in ACCOUNTS),
        )
    asyncio.run(world.finish())


@pytest.mark.parametrize(("rows", "source"), [(0, Source.TOPIC), (10**6, Source.DISK)])
def test_a_disk_behind_the_topic_is_gone_on_from_where_no_save_is_needed(
    world: World, said: Said, monkeypatch: pytest.MonkeyPatch, rows: int, source: Source
) -> None:
    """A save from there would name rows of the topic by a vector that is older than they are."""
    disks = deepcopy(world.disks)
    _go_on(world)
    world.disks = disks
    _unsaved(monkeypatch, rows)
    assert _reopen(world) is source
    assert ["checkpoint is newer" in str(line["because"]) for line in said.lines] == [True] * (rows == 0)


class _CutError(Exception):
    """The worker is gone."""


def test_a_disk_that_knows_more_than_the_topic_is_not_used(
    world: World, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another owner has begun anew and not come far: what changed since this disk would be added to too little."""
    machine, disk = world.machine or 0, deepcopy(world.disks[world.machine or 0])
    world.lose_every_disk()
    world.log.append(Topic.CHECKPOINTS, b"vector", b'{"format":0}')
    save = Recovery._save

    async def last(self: Recovery, *arguments: Any) -> None:
        await save(self, *arguments)
        raise _CutError

    _unsaved(monkeypatch, 0)
    with monkeypatch.context() as cut:
        cut.setattr(Recovery, "_save", last)
        with pytest.raises(_CutError):
            asyncio.run(world.finish())
    world.disks[machine] = disk
    assert _reopen(world) is Source.TOPIC
    [line] = said.lines
    assert "checkpoints/0 is behind it" in str(line["because"])


def test_after_a_save_no_other_checkpoint_is_tried(world: World, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's own transactions may not show yet. It ends, and the next fence makes them final."""
    world.lose_every_disk()
    _unsaved(monkeypatch, 0)
    _say(world.log, *(EquityMark(account=name, event_time=10**18, equity=Decimal(1)) for name in ACCOUNTS))
    trim = recovery._Tail.trim

    def damaged(tail: Any) -> None:
        trim(tail)
        raise DamagedError("no row can be read")

    with monkeypatch.context() as broken:
        broken.setattr(recovery._Tail, "trim", damaged)
        with pytest.raises(DamagedError):
            asyncio.run(world.finish())
    assert said.lines == []
    assert _reopen(world) is Source.DISK


class Resident(AccountTables):
    """Notes how many accounts were in memory at most."""

    most = 0

    def __getitem__(self, name: str) -> Account:
        account = super().__getitem__(name)
        Resident.most = max(Resident.most, len(self))
        return account


def _in_fives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a reader hand over five records at a time."""
    read = LogReader.read

    async def few(self: LogReader, *arguments: Any) -> AsyncIterator[list[Record]]:
        async for records in read(self, *arguments):
            for start in range(0, len(records), 5):
                yield records[start : start + 5]

    monkeypatch.setattr(LogReader, "read", few)


def _fleet(count: int) -> Log:
    """Return a log in which so many accounts were marked, decided and filled."""
    log = Log()
    _say(log, *starter_records("USD", event_time=1))
    names = [f"a{number}" for number in range(count)]
    _say(log, *(EquityMark(account=name, event_time=100, equity=Decimal(100_000)) for name in names))
    _say(log, *(_intent(name, 200) for name in names))

    async def decide() -> None:
        worker = quiet_worker(log, Disk())
        await worker.open()
        worker.deliver_all()
        assert worker.partition is not None
        while worker.partition.waiting:
            await worker.commit(checkpoint=False)

    asyncio.run(decide())
    _say(log, *(_fill(number).model_copy(update={"account": name}) for number, name in enumerate(names)))
    return log


def _intent(account: str, time: int) -> OrderIntent:
    return OrderIntent(
        intent_id="i",
        account=account,
        strategy="s",
        symbol="X",
        side=Side.BUY,
        quantity=Decimal(1),
        order_type=OrderType.MARKET,
        event_time=time,
    )


@pytest.mark.parametrize(("rows", "most"), [(40, 15), (10**6, 100)])
def test_a_long_log_keeps_no_more_accounts_in_memory_than_wait_for_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, rows: int, most: int
) -> None:
    """In forty rows there is room for ten accounts, and five more come at a time; without saves all are kept."""
    _unsaved(monkeypatch, 10**6)
    log = _fleet(100)
    _in_fives(monkeypatch)
    _unsaved(monkeypatch, rows)
    monkeypatch.setattr(Resident, "most", 0)
    monkeypatch.setattr(recovery, "AccountTables", Resident)
    worker = quiet_worker(log, Disk())
    asyncio.run(worker.open())
    assert worker.opened.source is Source.BEGINNING
    assert (worker.opened.saves > 0) == (rows < 100)
    assert most / 2 < Resident.most <= most


def test_a_long_log_of_garbage_keeps_no_more_dead_letters_than_wait_for_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Log()
    for number in range(100):
        log.append(Topic.FILLS, b"A", b"garbage %d" % number)
    _in_fives(monkeypatch)
    _unsaved(monkeypatch, 10)
    worker = quiet_worker(log, Disk())
    asyncio.run(worker.open())
    assert worker.opened.saves == 6
    assert len(worker.opened.owed) == 10
    assert len(log.records()[Topic.DEAD_LETTERS]) == 90


def _bounded(monkeypatch: pytest.MonkeyPatch, topic: Topic, beginning: int, end: int | None = None) -> None:
    bounds = LogReader.bounds

    async def changed(self: LogReader, partitions: Any) -> dict[TopicPartition, Bounds]:
        found = await bounds(self, partitions)
        return {
            place: Bounds(beginning, held.end if end is None else end) if place.topic is topic else held
            for place, held in found.items()
        }

    monkeypatch.setattr(LogReader, "bounds", changed)


def test_a_log_without_its_beginning_is_no_ground_to_begin_on(
    world: World, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.lose_every_disk()
    world.log.append(Topic.CHECKPOINTS, b"vector", None)
    _bounded(monkeypatch, Topic.FILLS, 3)
    with pytest.raises(OperatorError, match=r"fills/0 begins at offset 3, and no checkpoint says what it held"):
        asyncio.run(world.finish())
    assert said.lines == []


def test_a_log_that_lost_what_decisions_rest_on_is_named(
    world: World, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.lose_every_disk()
    world.log.append(Topic.CHECKPOINTS, b"vector", None)
    with pytest.raises(OperatorError, match=_without_the_last_tick(world, monkeypatch)):
        asyncio.run(world.finish())
    assert said.lines == []


def _without_the_last_tick(world: World, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the log lose what the decisions rest on; return what the operator is to be told."""
    log = world.log.records()
    decisions = (decode_decision(record).as_of for record in log[Topic.RISK_DECISIONS])
    halts = (decode_halt(record).as_of for record in log[Topic.TRADING_HALTS])
    known = max(as_of.equity_ticks for as_of in (*decisions, *halts))
    _bounded(monkeypatch, Topic.EQUITY_TICKS, 0, end=known)
    return f"equity-ticks/0 ends at offset {known}, but decisions rest on offset {known}"


def test_a_checkpoint_taken_while_opening_does_not_hide_what_the_log_lost(
    world: World, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All decisions are in it and will not be read again, and the ticks that they rest on are not folded yet."""

    async def cut(_: LogBroadcast, __: AsOf) -> None:
        raise _CutError

    world.lose_every_disk()
    world.log.append(Topic.CHECKPOINTS, b"vector", None)
    _unsaved(monkeypatch, 0)
    with monkeypatch.context() as patch:
        patch.setattr(LogBroadcast, "covers", cut)
        with pytest.raises(_CutError):
            asyncio.run(world.finish())
    assert "equity-ticks" not in _vector(world)["anchors"]
    with pytest.raises(OperatorError, match=_without_the_last_tick(world, monkeypatch)):
        asyncio.run(world.finish())
    assert said.lines == []


def test_intents_that_were_deleted_undecided_are_named(
    world: World, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    _bounded(monkeypatch, Topic.ORDER_INTENTS, 10**6, end=10**6)
    with pytest.raises(
        OperatorError, match="order-intents/0 holds offsets 1000000 to 1000000, but was decided up to"
    ):
        asyncio.run(world.finish())
    assert said.lines == []


def test_a_foreign_record_in_the_ledger_stops_the_partition(world: World, said: Said) -> None:
    world.log.append(Topic.RISK_DECISIONS, b"A", b"forged")
    with pytest.raises(OperatorError, match=r"risk-decisions/0@\d+ is no RiskDecision"):
        asyncio.run(world.finish())
    assert [line["checkpoint"] for line in said.lines] == [Source.DISK, Source.TOPIC]
    assert checkpoint.anchors_of(None) == {}


def test_a_record_that_cannot_be_folded_is_named_as_it_is_while_serving(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the second end at a record would look unlike the first, and nobody would count them."""
    world.lose_every_disk()
    world.log.append(Topic.CHECKPOINTS, b"vector", None)
    fold = Replica.fold

    def defective(self: Replica, record: Record) -> Any:
        if record.topic is Topic.FILLS:
            raise KeyError
        return fold(self, record)

    monkeypatch.setattr(Replica, "fold", defective)
    with pytest.raises(KeyError) as raised:
        asyncio.run(world.finish())
    assert re.fullmatch(r"folding fills/0@\d+", _named_record(raised.value) or "")
    assert _named_record(KeyError()) is None


def _say(log: Log, *messages: Message) -> None:
    for message in messages:
        log.append(*destination(message), canonical_bytes(message))


def _tightened() -> list[Message]:
    """Return limits under which a loss of 4 % is a halt."""
    fields = {"drawdown_warning": Decimal("0.02"), "drawdown_halt": Decimal("0.03"), "profile_version": 2}
    return [
        record.model_copy(update={**fields, "event_time": 10}) if isinstance(record, LimitProfile) else record
        for record in starter_records("USD", event_time=1)
    ]


def _fill(number: int) -> Fill:
    return Fill(
        execution_id=f"e{number}",
        account="A",
        symbol="X",
        side=Side.BUY,
        execution_type=ExecutionType.TRADE,
        last_quantity=Decimal(1),
        last_price=Decimal(100),
        event_time=300 + number,
    )


def test_a_halt_that_only_a_fill_would_show_waits_for_the_accounts_next_record() -> None:
    """Recovery evaluates ticks. What new limits change after the last of them shows when the account says more."""

    async def play() -> tuple[list[list[TradingHalt]], list[Outgoing]]:
        log, disk, seen = Log(), Disk(), []

        def halts() -> list[TradingHalt]:
            return [decode_halt(record) for record in log.records()[Topic.TRADING_HALTS]]

        async def started() -> Worker:
            worker = quiet_worker(log, disk)
            await worker.open()
            return worker

        _say(log, *starter_records("USD", event_time=1))
        _say(log, *(EquityMark(account="A", event_time=time, equity=Decimal(200 - time)) for time in (100, 104)))
        first = await started()
        first.deliver_all()
        await first.commit(checkpoint=True)
        _say(log, *_tightened(), _fill(1))
        first.deliver_all()
        assert first.partition is not None
        due = [each for each in first.partition._owed if each.topic is Topic.TRADING_HALTS]  # and it dies before this
        second = await started()
        await second.commit(checkpoint=True)
        seen.append(halts())
        _say(log, _fill(2))
        second.deliver_all()
        await second.commit(checkpoint=True)
        seen.append(halts())
        return seen, due

    [recovered, heard], due = asyncio.run(play())
    assert len(due) == 1
    assert recovered == []
    [halt] = heard
    assert (halt.account, halt.status, halt.limits_version) == ("A", "HALT", "default@2")
    assert halt.as_of.fills == 1

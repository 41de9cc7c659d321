"""Recovery where the checkpoint, the topic or the log is not what it should be."""

import asyncio
import re
from collections.abc import Callable
from copy import deepcopy
from decimal import Decimal
from typing import Any

import pytest

from models.canonical import canonical_bytes
from models.decisions import AsOf, TradingHalt
from models.messages import EquityMark, ExecutionType, Fill, LimitProfile, Side
from streams import checkpoint, recovery
from streams.codec import decode_halt
from streams.operations import OperatorError
from streams.ownership import _named_record
from streams.publisher import Message, destination
from streams.reader import Bounds
from streams.records import Outgoing, Record, Topic, TopicPartition
from streams.recovery import Source
from streams.replica import Replica
from streams.starter import starter_records
from tests.simulation import worker as simulated_worker
from tests.simulation.broker import Log, LogReader
from tests.simulation.checks import fresh_rows
from tests.simulation.disk import Disk
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
    """A gate with some history behind it, at rest."""
    world = World(11)
    asyncio.run(world.run(80))
    assert world.log.records()[Topic.TRADING_HALTS]
    return world


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

    assert world.machine is not None
    vector = world.disks[world.machine].vector
    assert vector is not None
    if source is Source.TOPIC:
        world.lose_every_disk()
    monkeypatch.setattr(simulated_worker, "LogBroadcast", Noting)
    _bounded(monkeypatch, Topic.REFERENCE, 0, end=1)
    asyncio.run(world.finish())
    assert world.workers[0].opened.source is source
    [known] = waited_for
    assert known.reference == vector["shared"]["reference"] > 0
    assert known.daily_returns == vector["shared"]["daily-returns"]


def _another_log(disk: Disk) -> None:
    assert disk.vector is not None
    disk.vector["anchors"]["equity-ticks"][1] = "0" * 16


def _beyond_the_end(disk: Disk) -> None:
    assert disk.vector is not None
    disk.vector["anchors"]["fills"][0] += 1000


def _no_record_there(disk: Disk) -> None:
    assert disk.vector is not None
    disk.vector["anchors"]["risk-decisions"][0] += 1  # a marker


def _another_chain(disk: Disk) -> None:
    assert disk.vector is not None
    disk.vector["anchors"].pop("risk-decisions")
    disk.vector["state"]["intents"] = 3


@pytest.mark.parametrize("damage", [_another_log, _beyond_the_end, _no_record_there, _another_chain])
def test_a_disk_that_does_not_fit_the_log_is_not_used(
    world: World, said: Said, damage: Callable[[Disk], None]
) -> None:
    assert world.machine is not None
    damage(world.disks[world.machine])
    assert _reopen(world) is Source.TOPIC
    [line] = said.lines
    assert (line["event"], line["checkpoint"]) == ("unusable", Source.DISK)


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
    _bounded(monkeypatch, Topic.EQUITY_TICKS, 0, end=4)
    with pytest.raises(OperatorError, match="equity-ticks/0 ends at offset 4, but decisions rest on offset"):
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

"""Recovery where the checkpoint, the topic or the log is not what it should be."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from streams import checkpoint, recovery
from streams.operations import OperatorError
from streams.ownership import _named_record
from streams.reader import Bounds
from streams.records import Record, Topic, TopicPartition
from streams.recovery import Source
from streams.replica import Replica
from tests.simulation.broker import Disk, LogReader
from tests.simulation.test_simulation import fresh_state
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
    world = World(10)
    asyncio.run(world.run(80))
    assert world.log.records()[Topic.TRADING_HALTS]
    return world


def _reopen(world: World) -> Source:
    """Let a worker recover and write a checkpoint; check its rows, and those in the topic."""
    asyncio.run(world.finish())
    source = world.workers[0].opened.source
    assert (world.rows(), world.vector()) == fresh_state(world)
    world.lose_every_disk()
    asyncio.run(world.finish())
    assert (world.rows(), world.vector()) == fresh_state(world), "the topic holds other rows than the disk did"
    return source


def test_the_disk_goes_first(world: World, said: Said) -> None:
    assert _reopen(world) is Source.DISK
    assert said.lines == []


def test_a_lost_disk_is_restored_from_the_topic(world: World, said: Said) -> None:
    world.lose_every_disk()
    assert _reopen(world) is Source.TOPIC
    assert said.lines == []


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
    for disk in world.disks:
        if disk.vector is not None:
            damage(disk)
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

"""What a broker's batches say of offsets that no reader sees; dead letters on disk; errors of other processes."""

import asyncio
import struct
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import NotLeaderForPartitionError
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from streams.access import Layout
from streams.audit import AuditError
from streams.audit.broker import Plan, look_at, require_beginnings
from streams.audit.letters import Letters
from streams.audit.watch import Absence
from streams.reader import Bounds
from streams.records import Names, Topic, TopicPartition
from streams.topics import Topics

LAYOUT = Layout(Names(Topics.declared()), 4)
PLACE = TopicPartition(Topic.FILLS, 1)
CONTROL = 0x30
"""Attributes of a batch that ends a transaction."""


def batch(base: int, *deltas: int, attributes: int = 0) -> bytes:
    """Return a batch of records at these distances from its first offset; the last one is there in any case."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=1,
        producer_epoch=0,
        base_sequence=0,
        batch_size=1 << 16,
    )
    for delta in deltas:
        builder.append(delta, timestamp=0, key=b"k", value=b"v", headers=[])
    built = bytearray(builder.build())
    built[0:8] = struct.pack(">q", base)
    built[21:23] = struct.pack(">h", attributes)
    return bytes(built)


def last_offset(built: bytes) -> int:
    """Return a batch's last offset."""
    base, last = struct.unpack(">q", built[:8])[0], struct.unpack(">i", built[23:27])[0]
    return int(base + last)


class FakeReader:
    """A broker that has these batches."""

    def __init__(self, *batches: bytes) -> None:
        self._batches = batches
        self.client = self
        self.cluster = SimpleNamespace(leader_for_partition=lambda _partition: 1)

    async def bounds(self, _places: Any) -> None:
        pass

    async def send(self, _node: int, request: Any) -> Any:
        [(name, [(partition, position, _)])] = request.topics
        found = [each for each in self._batches if last_offset(each) >= position]
        return SimpleNamespace(topics=[(name, [(partition, 0, 99, 99, [], b"".join(found[:2]))])])


@pytest.mark.parametrize(
    ("batches", "start", "end", "absence"),
    [
        ((batch(0, 0, 1), batch(2, 0, attributes=CONTROL), batch(3, 0)), 2, 3, Absence(markers=1)),
        ((batch(0, 0, 1), batch(2, 0, 1, 2), batch(5, 0, attributes=CONTROL)), 2, 6, Absence(aborted=3, markers=1)),
        ((batch(0, 0, 1), batch(4, 0)), 2, 4, Absence(deleted=2)),
        ((batch(0, 0, 1, 4), batch(5, 0)), 2, 4, Absence(deleted=2)),
        ((batch(0, 0),), 1, 4, Absence(deleted=3)),
        ((), 0, 2, Absence(deleted=2)),
    ],
    ids=["marker", "aborted", "between batches", "compacted within one", "behind the last", "nothing"],
)
def test_a_hole_is_named_by_the_batches_around_it(
    batches: tuple[bytes, ...], start: int, end: int, absence: Absence
) -> None:
    reader: Any = FakeReader(*batches)
    assert asyncio.run(look_at(reader, LAYOUT, PLACE, start, end)) == absence


@pytest.mark.parametrize(("code", "raised"), [(1, None), (6, NotLeaderForPartitionError)])
def test_an_error_of_the_broker_is_no_deletion(code: int, raised: type[Exception] | None) -> None:
    class Erring(FakeReader):
        async def send(self, _node: int, request: Any) -> Any:
            [(name, [(partition, _, _)])] = request.topics
            return SimpleNamespace(topics=[(name, [(partition, code, -1, -1, None, None)])])

    reader: Any = Erring()
    looked = look_at(reader, LAYOUT, PLACE, 2, 4)
    if raised is None:
        assert asyncio.run(looked) == Absence(deleted=2)
    else:
        with pytest.raises(raised):
            asyncio.run(looked)


def test_every_topic_that_was_cut_is_named() -> None:
    bounds = {PLACE: Bounds(3, 9), TopicPartition(Topic.RISK_DECISIONS, 0): Bounds(1, 9)}
    with pytest.raises(AuditError) as caught:
        require_beginnings(Plan(LAYOUT, {**bounds, TopicPartition(Topic.DEAD_LETTERS, 0): Bounds(5, 9)}, {}))
    assert "fills/1 begins at offset 3; risk-decisions/0 begins at offset 1" in str(caught.value)
    assert "dead-letters" not in str(caught.value)


def test_dead_letters_are_compared_without_their_wording() -> None:
    letters = Letters()
    letters.add(b"a", b'{"offset":1,"why":"so"}')
    letters.add(b"b", b"no JSON")
    letters.add(b"b", b"the later one counts")
    letters.add(b"c", b"[]")
    assert letters.take(b"a", b'{"offset":1,"why":"said otherwise"}') is True
    assert letters.take(b"a", b'{"offset":1,"why":"said otherwise"}') is None
    assert letters.take(b"b", b"no JSON") is False
    assert (letters.rest(9), len(letters)) == (["c"], 1)
    letters.close()

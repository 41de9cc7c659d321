"""Folding records: once each, in their chain, whatever the bytes."""

import asyncio
import gc
import weakref
from collections import Counter

import pytest

from models.decisions import AsOf
from models.state import State
from streams.codec import Codec, LedgerError, encode_decision
from streams.records import Record, Topic
from streams.replica import NOTHING, Replica, SharedReplica
from tests.simulation.world import World


@pytest.fixture(scope="module")
def log() -> dict[Topic, list[Record]]:
    """A log that a gate left."""
    world = World(5)
    asyncio.run(world.run(300))
    return world.log.records()


def _replica() -> Replica:
    return Replica(0, Codec(1), State(SharedReplica(Codec(1)).shared))


@pytest.mark.parametrize("topic", [Topic.FILLS, Topic.EQUITY_TICKS, Topic.RISK_DECISIONS, Topic.TRADING_HALTS])
def test_a_record_folded_before_changes_nothing(log: dict[Topic, list[Record]], topic: Topic) -> None:
    assert log[topic]
    replica = _replica()
    for record in log[topic]:
        replica.fold(record)
    before = replica.state.vector()
    replica.state.changed.clear()
    for record in log[topic]:
        assert replica.fold(record) == NOTHING
    assert (replica.state.vector(), replica.state.changed) == (before, set())


@pytest.mark.parametrize("topic", [Topic.RISK_DECISIONS, Topic.TRADING_HALTS])
def test_a_missing_record_breaks_its_chain(log: dict[Topic, list[Record]], topic: Topic) -> None:
    replica = _replica()
    keys = Counter(record.key for record in log[topic])
    records = [record for record in log[topic] if record.key == keys.most_common(1)[0][0]]
    assert len(records) > 1
    with pytest.raises(LedgerError, match="does not continue its chain"):
        replica.fold(records[1])


def test_what_decisions_knew_is_remembered(log: dict[Topic, list[Record]]) -> None:
    replica = _replica()
    for record in log[Topic.RISK_DECISIONS]:
        replica.fold(record)
    shared = SharedReplica(Codec(1))
    assert not shared.covers(replica.known)
    for topic in (Topic.REFERENCE, Topic.DAILY_RETURNS):
        for record in log[topic]:
            shared.fold(record)
    assert shared.covers(replica.known)
    assert not shared.covers(AsOf(fills=-1, equity_ticks=-1, daily_returns=-1, reference=10**6))


def test_deciding_folds_nothing(log: dict[Topic, list[Record]]) -> None:
    replica = _replica()
    intent = log[Topic.ORDER_INTENTS][0]
    first, second = replica.decide(intent), replica.decide(intent)
    assert encode_decision(first) == encode_decision(second)
    assert replica.folded(Topic.ORDER_INTENTS) == -1
    assert replica.state.changed == set()


def test_nothing_is_left_to_the_garbage_collector(log: dict[Topic, list[Record]]) -> None:
    codec = Codec(1)
    shared = SharedReplica(codec)
    for topic in (Topic.REFERENCE, Topic.DAILY_RETURNS):
        for record in log[topic]:
            shared.fold(record)
    replica = Replica(0, codec, State(shared.shared))
    state = weakref.ref(replica.state)
    gc.collect()
    gc.disable()
    try:
        for topic in (Topic.FILLS, Topic.EQUITY_TICKS, Topic.ORDER_INTENTS):
            for record in log[topic]:
                if topic is Topic.ORDER_INTENTS:
                    decision = replica.decide(record)
                    replica.state.fold_decision(decision)
                    account = decision.account
                else:
                    account = replica.fold(record).account
                halt = None if account is None else replica.evaluate(account)
                if halt is not None:
                    replica.state.fold_halt(halt)
        assert replica.state.changed
        del replica
        assert state() is None
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_halt_that_was_published_is_no_news(log: dict[Topic, list[Record]]) -> None:
    shared = SharedReplica(Codec(1))
    for record in log[Topic.REFERENCE]:
        shared.fold(record)
    replica = Replica(0, Codec(1), State(shared.shared))
    for record in log[Topic.TRADING_HALTS]:
        replica.fold(record)
    for record in log[Topic.EQUITY_TICKS]:
        account = replica.fold(record).account
        if account is not None:
            assert replica.evaluate(account, tick=record.offset) is None


def test_topics_that_are_not_folded() -> None:
    with pytest.raises(ValueError, match="order-intents"):
        _replica().fold(Record(Topic.ORDER_INTENTS, 0, 0, 0, b"A", b""))
    with pytest.raises(ValueError, match="checkpoints"):
        _replica().folded(Topic.CHECKPOINTS)

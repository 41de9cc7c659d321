"""What must hold of any log that seawall leaves, whatever happened while it was written.

The judge reads one partition's records and folds them afresh, from the beginning, with nothing from the run itself.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from models.canonical import canonical_bytes
from models.decisions import DeadLetter, RiskDecision, TradingHalt
from models.state import State
from streams.codec import Codec, decode_decision, decode_halt
from streams.records import Record, Topic
from streams.replica import Replica, SharedReplica

Log = Mapping[Topic, Sequence[Record]]


def check_decisions(log: Log, codec: Codec, partition: int) -> list[RiskDecision]:
    """Check that each intent has one decision, and that each decision is what its own as_of gives."""
    decisions = [decode_decision(record) for record in log[Topic.RISK_DECISIONS]]
    assert [each.intent_offset for each in decisions] == [each.offset for each in log[Topic.ORDER_INTENTS]]
    shared = SharedReplica(codec)
    replica = Replica(partition, codec, State(shared.shared))
    unread = {topic: list(reversed(records)) for topic, records in log.items()}
    for intent, record, decision in zip(log[Topic.ORDER_INTENTS], log[Topic.RISK_DECISIONS], decisions, strict=True):
        for topic, offset in (
            (Topic.FILLS, decision.as_of.fills),
            (Topic.EQUITY_TICKS, decision.as_of.equity_ticks),
            (Topic.DAILY_RETURNS, decision.as_of.daily_returns),
            (Topic.REFERENCE, decision.as_of.reference),
        ):
            while unread[topic] and unread[topic][-1].offset <= offset:
                (shared if topic in (Topic.DAILY_RETURNS, Topic.REFERENCE) else replica).fold(unread[topic].pop())
        assert canonical_bytes(replica.decide(intent)) == record.value
        replica.fold(record)  # raises where a chain is broken
    return decisions


def check_halts(log: Log, codec: Codec, partition: int) -> list[TradingHalt]:
    """Check that every change of status has its halt, in order and once, and no other halt exists.

    The profiles do not change while ticks come in, so a status is a function of the ticks alone.
    """
    shared = SharedReplica(codec)
    for record in log[Topic.REFERENCE]:
        shared.fold(record)
    replica = Replica(partition, codec, State(shared.shared))
    expected: dict[str, list[Any]] = defaultdict(list)
    for record in log[Topic.EQUITY_TICKS]:
        account = replica.fold(record).account
        if account is not None and (halt := replica.evaluate(account)) is not None:
            replica.state.fold_halt(halt)
            expected[account].append((halt.seq, halt.status, halt.causes, halt.as_of.equity_ticks))
    found: dict[str, list[Any]] = defaultdict(list)
    halts = [decode_halt(record) for record in log[Topic.TRADING_HALTS]]
    for halt in halts:
        found[halt.account].append((halt.seq, halt.status, halt.causes, halt.as_of.equity_ticks))
    assert found == expected
    return halts


def check_dead_letters(log: Log, codec: Codec, partition: int) -> int:
    """Check that exactly the records that are no message have a dead letter."""
    shared = SharedReplica(codec)
    replica = Replica(partition, codec, State(shared.shared))
    expected: dict[bytes | None, bytes | None] = {}
    for topic in (Topic.FILLS, Topic.EQUITY_TICKS):
        for record in log[topic]:
            expected |= {letter.key: letter.value for letter in replica.fold(record).dead_letters}
    if partition == 0:
        for topic in (Topic.DAILY_RETURNS, Topic.REFERENCE):
            for record in log[topic]:
                expected |= {letter.key: letter.value for letter in shared.fold(record).dead_letters}
    assert {record.key: record.value for record in log[Topic.DEAD_LETTERS]} == expected
    for record in log[Topic.DEAD_LETTERS]:
        DeadLetter.model_validate_json(record.value or b"")
    return len(expected)

"""What must hold of any log that seawall leaves, whatever happened while it was written.

The judge reads one partition's records and folds them afresh, from the beginning, with nothing from the run itself.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

from models.canonical import canonical_bytes, exact
from models.decisions import AccountStatus, AsOf, DeadLetter, RiskDecision, TradingHalt
from models.folds.drawdown import Drawdown, assess
from models.folds.reference import Reference
from models.messages import OperatorKeys
from models.state import Shared, State
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
    """Check that every halt is what its own as_of gives, that none is missing, and that none stands twice.

    Profiles may change at any time, and workers may be replaced at any time; the log must be at rest, with everything
    in it dealt with. A halt is missing only where whatever limits the worker can have known call for one
    (docs/risk.md section 8).
    """
    halts = [decode_halt(record) for record in log[Topic.TRADING_HALTS]]
    decisions = [decode_decision(record) for record in log[Topic.RISK_DECISIONS]]
    known = [*(each.as_of for each in decisions), *(each.as_of for each in halts)]
    around = _Surroundings(
        partition, codec, _Profiles(log[Topic.REFERENCE], codec), _Neighbors(known, log[Topic.REFERENCE])
    )
    history: dict[str, _History] = defaultdict(_History)
    for halt, record in zip(halts, log[Topic.TRADING_HALTS], strict=True):
        assert record.key == halt.account.encode()
        history[halt.account].halts.append((halt, record.value))
    for decision in decisions:
        if decision.account is not None:
            history[decision.account].decisions.append(decision)
    for topic in (Topic.FILLS, Topic.EQUITY_TICKS):
        for record in log[topic]:
            account = (record.key or b"").decode(errors="replace")
            history[account].records[topic].append(record)
    # The keys that commands need belong to every account.
    keys = [record for record in log[Topic.EQUITY_TICKS] if isinstance(codec.equity_tick(record), OperatorKeys)]
    for each in history.values():
        ticks = each.records[Topic.EQUITY_TICKS]
        each.records[Topic.EQUITY_TICKS] = sorted({*ticks, *keys}, key=attrgetter("offset"))
    for account, each in history.items():
        _check_each_halt(account, each, around)
        _check_none_missing(account, each, around)
    return halts


class _History:
    """What the log says of one account."""

    def __init__(self) -> None:
        self.halts: list[tuple[TradingHalt, bytes | None]] = []
        self.decisions: list[RiskDecision] = []
        self.records: dict[Topic, list[Record]] = {Topic.FILLS: [], Topic.EQUITY_TICKS: []}


class _Profiles:
    """The limits after each record of `reference`."""

    def __init__(self, records: Sequence[Record], codec: Codec) -> None:
        folding = SharedReplica(codec)
        self._offsets = [-1]
        self._references = [Reference()]
        for record in records:
            folding.fold(record)
            after = Reference()
            after._records = dict(folding.shared.reference._records)
            after._kinds = {record.kind for record in after._records.values()}
            self._offsets.append(record.offset)
            self._references.append(after)

    def at(self, offset: int) -> Reference:
        """Return the limits with `reference` folded through an offset."""
        return self._references[bisect_right(self._offsets, offset) - 1]

    def between(self, first: int, last: int) -> list[Reference]:
        """Return all that were in force from one offset folded to another."""
        return self._references[bisect_right(self._offsets, first) - 1 : bisect_right(self._offsets, last)]


class _Neighbors:
    """What is known of when a tick was folded: the `as_of` values of the partition that lie around it."""

    def __init__(self, known: Sequence[AsOf], reference: Sequence[Record]) -> None:
        self._ticks: dict[int, tuple[int, int]] = {}  # by offset of `reference`: the fewest and the most ticks folded
        for as_of in known:
            low, high = self._ticks.get(as_of.reference, (as_of.equity_ticks, as_of.equity_ticks))
            self._ticks[as_of.reference] = min(low, as_of.equity_ticks), max(high, as_of.equity_ticks)
        self._references = sorted(self._ticks)
        self._end = reference[-1].offset if reference else -1

    def around(self, tick: int, since: int) -> tuple[int, int]:
        """Return from where to where `reference` was folded when a tick's status was evaluated.

        Of two owners one after the other the later knew at least as much of `reference`. So whoever published
        something that rests on the tick evaluated it no later, or a predecessor did; what does not yet rest on it
        came before, or from a recovery that evaluated the tick again.

        Args:
            tick: Its offset.
            since: What the account's last halt before it knew of `reference`.
        """
        last = next((each for each in self._references if each >= since and self._ticks[each][1] >= tick), self._end)
        earlier = [each for each in self._references if each <= last and self._ticks[each][0] < tick]
        return max([since, *earlier]), last


class _Surroundings(NamedTuple):
    """What one account's halts are judged by."""

    partition: int
    codec: Codec
    profiles: _Profiles
    neighbors: _Neighbors


@exact
def _calls(drawdown: Drawdown, reference: Reference, account: str, before: TradingHalt | None) -> bool:
    """Tell whether an account's status is another than its last halt says."""
    limits = reference.profile(account)
    if limits is None:
        return False
    now = assess(drawdown, limits)
    said = (AccountStatus.NORMAL, ()) if before is None else (before.status, before.causes)
    return (now.status, now.causes) != said


def _check_each_halt(account: str, history: _History, around: _Surroundings) -> None:
    """Check that each halt of one account comes out at its own as_of, byte for byte, after those before it."""
    shared = Shared()
    state = State(shared)
    replica = Replica(around.partition, around.codec, state)
    decisions = list(reversed(history.decisions))
    unread = {topic: list(reversed(records)) for topic, records in history.records.items()}
    for halt, value in history.halts:
        at = f"halt {halt.seq} of {account}"
        for topic, offset in ((Topic.FILLS, halt.as_of.fills), (Topic.EQUITY_TICKS, halt.as_of.equity_ticks)):
            assert replica.folded(topic) <= offset, f"{at} goes back behind the one before it"
            while unread[topic] and unread[topic][-1].offset <= offset:
                replica.fold(unread[topic].pop())
        while decisions and decisions[-1].seq <= halt.decision_seq:
            state.fold_decision(decisions.pop())
        state.fills_offset, state.equity_ticks_offset = halt.as_of.fills, halt.as_of.equity_ticks
        shared.reference = around.profiles.at(halt.as_of.reference)
        shared.reference_offset, shared.daily_returns_offset = halt.as_of.reference, halt.as_of.daily_returns
        expected = state.evaluate(account)
        assert expected is not None, f"{at} tells of no change"
        assert canonical_bytes(expected) == value, f"{at} is not what its as_of gives"
        state.fold_halt(halt)


def _check_none_missing(account: str, history: _History, around: _Surroundings) -> None:
    """Check that each tick and each decision of one account that changed its status has its halt."""
    state = State(Shared())
    replica = Replica(around.partition, around.codec, state)
    drawdown = state.accounts[account].drawdown
    halts = [halt for halt, _ in history.halts]
    said_at = [halt.as_of.equity_ticks for halt in halts]
    decisions = list(reversed(history.decisions))

    def decided(before: float) -> None:
        while decisions and decisions[-1].as_of.equity_ticks < before:
            decision = decisions.pop()
            earlier = [halt for halt in halts if halt.decision_seq < decision.seq]
            said = earlier[-1] if earlier else None
            if _calls(drawdown, around.profiles.at(decision.as_of.reference), account, said):
                following = halts[len(earlier)] if len(earlier) < len(halts) else None
                assert following is not None, f"decision {decision.seq} of {account} lacks its halt"
                assert (following.decision_seq, following.as_of) == (decision.seq, decision.as_of)

    for record in history.records[Topic.EQUITY_TICKS]:
        decided(record.offset)
        if replica.fold(record).account is None:
            continue
        count = bisect_right(said_at, record.offset)
        said = halts[count - 1] if count else None
        if said is not None and said.as_of.equity_ticks == record.offset:
            continue  # The halt is there; what it must be like is checked elsewhere.
        first, last = around.neighbors.around(record.offset, -1 if said is None else said.as_of.reference)
        missing = all(_calls(drawdown, each, account, said) for each in around.profiles.between(first, last))
        assert not missing, f"{record.place} changed the status of {account}, and no halt says so"
    decided(math.inf)


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

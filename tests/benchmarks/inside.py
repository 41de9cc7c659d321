"""One partition in this process, without Kafka and without a disk: what each step of a decision costs."""

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from models.canonical import DAY_NS, canonical_bytes, sha256
from models.decisions import RiskDecision
from models.state import State
from streams.codec import Codec, encode_decision
from streams.publisher import Message, destination
from streams.records import Record, Topic
from streams.replica import Replica, SharedReplica
from tests.benchmarks.market import Market, Sent

STEPS: Final = ("intent from bytes", "decide", "fold", "status", "encode and digest")
WARM: Final = 200
"""Decisions before those that count."""


class Inside:
    """A partition with a market's accounts folded.

    Args:
        market: The market.
        accounts: The numbers of the accounts; by default all.
        state: Where else than in memory the accounts are kept.
    """

    def __init__(
        self,
        market: Market,
        *,
        accounts: Iterable[int] | None = None,
        state: Callable[[SharedReplica], State] | None = None,
    ) -> None:
        self.market = market
        self.codec = Codec(1)
        self._offsets: Counter[Topic] = Counter()
        self.shared = SharedReplica(self.codec)
        for message in (*market.reference(), *market.returns()):
            assert not self.shared.fold(self._record_of(message)).dead_letters
        self.state = State(self.shared.shared) if state is None else state(self.shared)
        self.replica = Replica(0, self.codec, self.state)
        for message in market.opening(accounts):
            self.fold(self._record_of(message))

    def _record_of(self, message: Message) -> Record:
        topic, key = destination(message)
        return self._next(topic, key, canonical_bytes(message))

    def _next(self, topic: Topic, key: bytes, value: bytes) -> Record:
        offset = self._offsets[topic]
        self._offsets[topic] += 1
        return Record(topic, 0, offset, self.market.begin + 7 * DAY_NS, key, value)

    def fold(self, record: Record) -> None:
        """Fold a fill or a tick as a worker does."""
        folded = self.replica.fold(record)
        assert not folded.dead_letters, folded
        if folded.account is not None:
            self._evaluate(folded.account)

    def _evaluate(self, account: str) -> None:
        halt = self.replica.evaluate(account)
        if halt is not None:
            self.state.fold_halt(halt)

    def records(self, topic: Topic, sent: Iterable[Sent]) -> list[Record]:
        """Return what was sent as the next records of a topic."""
        return [self._next(topic, each.account.encode(), each.value) for each in sent]

    def decide(self, record: Record) -> RiskDecision:
        """Decide and fold the decision."""
        decision = self.replica.decide(record)
        self.state.fold_decision(decision)
        return decision

    def costs(self, count: int, *, warm: int) -> dict[str, float]:
        """Return the CPU us of each step of fresh intents of all accounts in turn, all but the first `warm`."""
        return self.costs_of(self.records(Topic.ORDER_INTENTS, self.market.backlog(count)), warm=warm)

    def costs_of(self, records: Sequence[Record], *, warm: int | None = None) -> dict[str, float]:
        """Return the CPU us of each step of a decision: the mean of those after the first few."""
        spent: dict[str, float] = dict.fromkeys(
            ("intent from bytes", "decide", "fold", "status", "encode and digest"), 0.0
        )
        clock, gate = time.thread_time, self.replica
        warm = min(WARM, len(records) // 4) if warm is None else warm
        gc.collect()
        for number, record in enumerate(records):
            one = clock()
            self.codec.order_intent(record)
            two = clock()
            decision = gate.decide(record)
            three = clock()
            self.state.fold_decision(decision)
            four = clock()
            self._evaluate(decision.account or "")
            five = clock()
            sha256(encode_decision(decision).value or b"")
            six = clock()
            if number >= warm:
                spent["intent from bytes"] += two - one
                spent["decide"] += (three - two) - (two - one)
                spent["fold"] += four - three
                spent["status"] += five - four
                spent["encode and digest"] += six - five
        counted = len(records) - warm
        return {name: seconds / counted * 1e6 for name, seconds in spent.items()}


def per_item(work: Callable[[Any], object], items: Sequence[Any]) -> float:
    """Return the CPU us of this thread for one of the items, the first tenth not counted."""
    warm = len(items) // 10
    for item in items[:warm]:
        work(item)
    gc.collect()
    started = time.thread_time()
    for item in items[warm:]:
        work(item)
    return (time.thread_time() - started) / (len(items) - warm) * 1e6

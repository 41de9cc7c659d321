"""What a decision costs in one process, without Kafka and without a disk."""

import cProfile
import io
import pstats
from collections.abc import Callable
from statistics import median
from typing import Final

from models.canonical import SECOND_NS, sha256
from models.decisions import DecisionStatus, RiskDecision
from models.state import State
from streams.codec import Codec, decode_decision, encode_decision
from streams.records import Record, Topic
from streams.replica import Replica, SharedReplica
from tests.benchmarks import inputs
from tests.benchmarks.figures import Table, microseconds

NAME: Final = "decisions"
ACCOUNT: Final = "A"
OPEN_ORDERS: Final = 10
TIMES: Final = 5
PROFILED_LINES: Final = 30


class _Account:
    """An account with twenty positions and ten open orders, and the shared tables filled.

    Args:
        others: How many more such accounts there are.
    """

    def __init__(self, others: int = 0) -> None:
        self.codec = Codec(1)
        shared = SharedReplica(self.codec)
        for messages in (inputs.reference(), inputs.returns()):
            for offset, message in enumerate(messages):
                shared.fold(inputs.record(message, offset))
        self.replica = Replica(0, self.codec, State(shared.shared))
        self._numbers = iter(range(1 << 30))
        self.others = [f"B-{number}" for number in range(others)]
        for name in (ACCOUNT, *self.others):
            self._add(name)

    def _add(self, name: str) -> None:
        state = self.replica.state
        for fill in inputs.fills(name):
            self.replica.fold(inputs.record(fill, state.fills_offset + 1))
        self.replica.fold(inputs.record(inputs.mark(name), state.equity_ticks_offset + 1))
        for intent in self.intents(OPEN_ORDERS, name):
            decision = self.replica.decide(intent)
            assert decision.status is DecisionStatus.APPROVED
            state.fold_decision(decision)

    def intents(self, count: int, name: str = ACCOUNT) -> list[Record]:
        """Return the next records of order-intents."""
        numbers = [next(self._numbers) for _ in range(count)]
        return [inputs.record(inputs.intent(name, number), number) for number in numbers]

    def fills(self, count: int) -> list[Record]:
        """Return the next records of fills."""
        begin = self.replica.state.fills_offset + 1
        return [inputs.record(inputs.fill(ACCOUNT, number), number) for number in range(begin, begin + count)]

    def marks(self, count: int) -> list[Record]:
        """Return the next records of equity-ticks."""
        begin = self.replica.state.equity_ticks_offset + 1
        return [
            inputs.record(inputs.mark(ACCOUNT, inputs.NOON + number * SECOND_NS // 1000), number)
            for number in range(begin, begin + count)
        ]


def measure(scale: float, *, profile: bool = False) -> Table:
    """Measure each step apart; the middle of five passes."""
    count = max(20, round(1000 * scale))
    table = Table(
        NAME,
        "What a decision costs, CPU us",
        f"One account with {inputs.POSITIONS} positions, {OPEN_ORDERS} open orders and {inputs.SESSIONS} returns of"
        f" each symbol; {count} of each, the middle of {TIMES} passes. The orders pass every check.",
        rows=[{"what": what, "us": _middle(work, count)} for what, work in STEPS.items()],
    )
    if profile:
        table.profile = _profile(count)
    return table


def _middle(work: Callable[[_Account, int], float], count: int) -> float:
    return median(work(_Account(), count) for _ in range(TIMES))


def _decisions(account: _Account, count: int) -> list[RiskDecision]:
    return [account.replica.decide(record) for record in account.intents(count)]


def _written(account: _Account, count: int) -> list[Record]:
    return [
        Record(Topic.RISK_DECISIONS, 0, offset, inputs.NOON, ACCOUNT.encode(), encode_decision(decision).value)
        for offset, decision in enumerate(_decisions(account, count))
    ]


def _served(_: _Account, count: int) -> float:
    account = _Account(others=min(100, count))

    def serve(record: Record) -> None:
        decision = account.replica.decide(record)
        account.replica.state.fold_decision(decision)
        encode_decision(decision)
        account.replica.evaluate(decision.account or ACCOUNT)

    # One of each account: an approval is one more open order of the account's next decision.
    return microseconds(serve, [intent for name in account.others for intent in account.intents(1, name)])


STEPS: Final[dict[str, Callable[[_Account, int], float]]] = {
    "an intent from bytes": lambda account, count: microseconds(account.codec.order_intent, account.intents(count)),
    "decide, that included": lambda account, count: microseconds(account.replica.decide, account.intents(count)),
    "fold the decision": lambda account, count: microseconds(
        account.replica.state.fold_decision, _decisions(account, count)
    ),
    "a decision's bytes and their SHA-256": lambda account, count: microseconds(
        lambda decision: sha256(encode_decision(decision).value or b""), _decisions(account, count)
    ),
    "all of it for one intent, as a commit does": _served,
    "a decision from bytes, as a restart reads it": lambda account, count: microseconds(
        decode_decision, _written(account, count)
    ),
    "fold a fill from bytes": lambda account, count: microseconds(account.replica.fold, account.fills(count)),
    "fold a mark of 20 prices from bytes": lambda account, count: microseconds(
        account.replica.fold, account.marks(count)
    ),
}


def _profile(count: int) -> str:
    account = _Account()
    records = account.intents(count)
    profiler = cProfile.Profile()
    profiler.enable()
    for record in records:
        encode_decision(account.replica.decide(record))
    profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(PROFILED_LINES)
    return text.getvalue()

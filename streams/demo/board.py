"""What the audience of the demo sees: everything on it was read from the topics, nothing is known privately.

A consumer of its own follows decisions, halts, fills, ticks, returns and reference records and folds them through the
replica; the heat map and the drawdowns are then read off its state.
"""

from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from typing import Final, NamedTuple

from models.canonical import exact
from models.decisions import AccountStatus, DecisionStatus, RiskDecision, TradingHalt
from models.folds.drawdown import Drawdown
from models.limits import Limits
from models.messages import EVERY, KillMode
from models.state import State
from streams.access import Layout
from streams.codec import Codec, decode_decision, decode_halt
from streams.config import Settings
from streams.reader import Reader
from streams.records import SHARED_INPUTS, Record, Topic, TopicPartition
from streams.replica import Replica, SharedReplica

FOLLOWED: Final = (
    *(Topic.REFERENCE, Topic.DAILY_RETURNS, Topic.FILLS, Topic.EQUITY_TICKS),
    *(Topic.RISK_DECISIONS, Topic.TRADING_HALTS, Topic.DEAD_LETTERS),
)
KEPT: Final = 200


class Loss(NamedTuple):
    """How far an account is down by one measure, and how far it may be."""

    measure: str
    share: float
    """The loss as a fraction of its base: the session's peak, its opening value, or the high water mark."""
    limit: float

    @property
    def used(self) -> float:
        """The part of the limit that is used up; 1 and more is a halt."""
        return self.share / self.limit


@dataclass
class AccountView:
    """One account as the topics have it."""

    name: str
    status: AccountStatus = AccountStatus.NORMAL
    equity: Decimal | None = None
    losses: tuple[Loss, ...] = ()
    sectors: dict[str, float] = field(default_factory=dict)
    """Exposure by sector as a fraction of equity, open orders included."""
    stopped: KillMode | None = None
    """What a kill switch on everything, or on all of the account, still admits; None without one."""

    @property
    def worst(self) -> Loss | None:
        """The measure that is nearest to its limit."""
        return max(self.losses, key=lambda loss: loss.used, default=None)


@dataclass
class Board:
    """Everything seen so far."""

    decisions: deque[RiskDecision] = field(default_factory=lambda: deque(maxlen=KEPT))
    """The newest, oldest first."""
    halts: dict[str, TradingHalt] = field(default_factory=dict)
    """The newest of each account."""
    counts: Counter[DecisionStatus] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    halt_events: Counter[AccountStatus] = field(default_factory=Counter)
    """Events by the status they announce."""
    halted: Counter[str] = field(default_factory=Counter)
    """By account, how often it came from another status into HALT."""
    dead_letters: int = 0

    @property
    def total(self) -> int:
        """Decisions seen."""
        return self.counts.total()

    def take(self, record: Record) -> RiskDecision | TradingHalt | None:
        """Count one record, and return the decision or halt in it."""
        match record.topic:
            case Topic.RISK_DECISIONS:
                decision = decode_decision(record)
                self.decisions.append(decision)
                self.counts[decision.status] += 1
                self.reasons.update(str(reason) for reason in decision.reasons)
                return decision
            case Topic.TRADING_HALTS:
                halt = decode_halt(record)
                self.halts[halt.account] = halt
                self.halt_events[halt.status] += 1
                if halt.status is AccountStatus.HALT is not halt.previous_status:
                    self.halted[halt.account] += 1
                return halt
            case Topic.DEAD_LETTERS:
                self.dead_letters += 1
        return None


class Audience:
    """Follows the topics and keeps a board and a replica of every partition.

    Args:
        settings: How to reach the broker.
        layout: Where the topics are.
    """

    def __init__(self, settings: Settings, layout: Layout) -> None:
        self.board = Board()
        self._settings = settings
        self._layout = layout
        self._codec = Codec(layout.partitions)
        self._shared = SharedReplica(self._codec)
        self._replicas = {
            number: Replica(number, self._codec, State(self._shared.shared)) for number in range(layout.partitions)
        }

    async def watch(self) -> AsyncIterator[RiskDecision | TradingHalt]:
        """Follow the topics from their beginning for ever; yield decisions and halts as they come."""
        async with Reader(self._settings, self._layout.names, following=True) as reader:
            places = [
                TopicPartition(topic, number)
                for topic in FOLLOWED
                for number in (range(self._layout.partitions) if topic not in SHARED_INPUTS else (0,))
            ]
            async for fetched in reader.follow(dict.fromkeys(places, 0)):
                for record in chain.from_iterable(fetched):
                    self._fold(record)
                    message = self.board.take(record)
                    if message is not None:
                        yield message

    def _fold(self, record: Record) -> None:
        if record.topic in SHARED_INPUTS:
            self._shared.fold(record)
        elif record.topic is not Topic.DEAD_LETTERS:
            self._replicas[record.partition].fold(record)

    @exact
    def view(self, account: str) -> AccountView:
        """Return an account as the replica has it now."""
        state = self._replicas[self._codec.partition_of(account)].state
        columns = state.accounts[account]
        portfolio = state.portfolio(account)
        view = AccountView(account, columns.ledger.status, columns.drawdown.equity)
        for mode in (KillMode.ALL, KillMode.REDUCE_ONLY):
            if self._shared.shared.reference.kill_switches(account=account, strategy=EVERY, symbol=EVERY, mode=mode):
                view.stopped = view.stopped or mode
        limits = portfolio.limits
        if limits is not None:
            view.losses = tuple(_losses(columns.drawdown, limits, latched=view.status is AccountStatus.HALT))
        if portfolio.equity is not None and limits is not None:
            for valued in portfolio.others().valued:
                share = float(valued.amount) / float(portfolio.equity)
                view.sectors[valued.sector] = view.sectors.get(valued.sector, 0.0) + share
        return view


def _losses(drawdown: Drawdown, limits: Limits, *, latched: bool) -> Iterator[Loss]:
    """Yield the present losses; of a halted account the worst ones, since they are what keeps it halted."""
    for measure, name, limit in (
        (drawdown.session, "session", limits.drawdown_halt),
        (drawdown.high_water, "high water", limits.high_water_halt),
        (drawdown.daily, "daily", limits.daily_loss_halt),
    ):
        pair = measure.worst if latched else measure.current
        if limit is not None and pair is not None:
            yield Loss(name, max(0.0, float(pair.loss) / float(pair.base)), float(limit))

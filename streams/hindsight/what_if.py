"""What would have been under other limits: history beside the world that follows from other answers.

History is folded from the topics as an audit folds it, each decision at its `as_of`. Beside it runs the other world
(`streams.hindsight.other_world` has its rules): the same records, decided anew. What comes of it is told by account.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from models.canonical import exact
from models.decisions import RULES, AccountStatus, DecisionStatus, RiskDecision
from models.folds.book import ZERO
from models.limits import Limits
from models.messages import Instrument, OperatorKeys, OrderIntent, Side
from models.refusal import Refused
from models.state import State
from models.wire import Exact
from streams.codec import Codec, decode_decision, shown
from streams.config import Settings
from streams.hindsight.history import HistoryError, Past, open_history, partitions_of
from streams.hindsight.other_world import OtherLimits, OtherWorld, WhatIfError
from streams.hindsight.spans import EVER, Span
from streams.hindsight.tally import Episode, Path, Point, Tally
from streams.limit_files import value_text
from streams.records import SHARED_INPUTS, Record, Topic
from streams.replay import Cursor, Replay, UnreachableError
from streams.replica import Folded

EXAMPLES_MAX = 5
"""Examples kept of each way in which an answer changes, and episodes told of each account."""
WAYS = ("approved, then rejected", "rejected, then approved", "approved in another quantity", "nothing left to close")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class WorldOutcome(_Part):
    """One account in one world."""

    approved: int
    rejected: int
    halts: int
    """Changes of status to HALT."""
    exposure: Exact
    """The largest sum of positions, account currency."""
    exposure_share: Exact
    """The largest share of equity it ever was."""
    drawdown: Exact
    """The worst loss from a peak, a share of the peak."""
    profit: Exact
    """Gain in equity, deposits and withdrawals apart."""
    equity: Exact | None
    """At the end."""


class Apart(_Part):
    """A time during which the worlds held different amounts of a symbol, and what that came to."""

    symbol: str
    first: int
    last: int
    result: Exact
    """What the other world gained by it; negative for a loss."""


class AccountOutcome(_Part):
    """One account in both worlds."""

    account: str
    was: WorldOutcome
    would: WorldOutcome
    saved: Exact
    """The sum of episodes by which the other world is better off."""
    cost: Exact
    """The sum of those by which it is worse off, positive."""
    episodes: int
    largest: tuple[Apart, ...]
    """The episodes that came to most, either way."""
    path: tuple[Point, ...]
    """Equity in both worlds."""

    @property
    def net(self) -> Decimal:
        """What the other limits would have brought."""
        return self.saved - self.cost


class Flip(_Part):
    """An intent that would have been answered otherwise."""

    account: str
    intent_id: str
    symbol: str
    side: Side
    clock: int
    was: Exact
    """Approved units, 0 for a rejection."""
    would: Exact
    reasons: tuple[str, ...]
    """Of whichever answer is a rejection."""


class Flips(_Part):
    """How often answers change in one way, with examples."""

    way: str
    count: int
    examples: tuple[Flip, ...]


class ReasonCount(_Part):
    """How often a reason was given, and would have been."""

    reason: str
    was: int
    would: int


class WhatIf(_Part):
    """Two worlds side by side."""

    limits: dict[str, str]
    """The limits that are different, as a limit file says them."""
    fills: str
    """scale or drop."""
    first: int | None
    last: int | None
    """The span, ns; None for an open end."""
    decisions: int
    """Decided in the span; MALFORMED ones belong to no account and cannot change."""
    never_filled: int
    """Approvals that history does not have: what they would have come to is not known."""
    flips: tuple[Flips, ...]
    reasons: tuple[ReasonCount, ...]
    accounts: tuple[AccountOutcome, ...]


async def what_if(
    settings: Settings,
    limits: Limits,
    *,
    instruments: tuple[Instrument, ...] = (),
    account: str | None = None,
    span: Span = EVER,
    drop: bool = False,
    whole: bool = False,
    progress: Callable[[int], object] = lambda _count: None,
) -> WhatIf:
    """Replay a gate's history under other limits.

    Args:
        settings: How to reach the broker.
        limits: Those that were set explicitly replace those of every profile.
        instruments: Records of symbols that replace history's.
        account: Only this account; all else is left out.
        span: Each account goes apart from history at its first record in the span and is followed to its end.
        drop: Fills of an approval of another quantity vanish; by default they are scaled with it.
        whole: Limits not set explicitly are at their defaults, rather than as each account had them.
        progress: Called with the number of decisions replayed, now and then.

    Raises:
        WhatIfError: If the question cannot be answered.
        GateError: If the topics cannot be read.
    """
    other = OtherLimits.of(limits, instruments, whole=whole)
    async with open_history(settings) as history:
        return await replayed(history, other, account=account, span=span, drop=drop, progress=progress)


async def replayed(
    past: Past,
    other: OtherLimits,
    *,
    account: str | None = None,
    span: Span = EVER,
    drop: bool = False,
    progress: Callable[[int], object] = lambda _count: None,
) -> WhatIf:
    """Return what `what_if` returns, of any past."""
    told = _Told()
    for number in partitions_of(past, account):
        await _Partition(past, number, other, told, account=account, span=span, drop=drop, progress=progress).run()
    if not told.accounts:
        of = f" of account {shown(account)}" if account is not None else ""
        raise WhatIfError(f"nothing{of} was decided or valued in that time: there is nothing to compare")
    return WhatIf(
        limits={name: value_text(name, value) for name, value in other.limits.items()},
        fills="drop" if drop else "scale",
        first=None if span.first == EVER.first else span.first,
        last=None if span.last == EVER.last else span.last,
        decisions=told.decisions,
        never_filled=told.counts[WAYS[1]],
        flips=tuple(Flips(way=way, count=told.counts[way], examples=tuple(told.examples[way])) for way in WAYS),
        reasons=tuple(_reasons(told.accounts.values())),
        accounts=tuple(told.accounts[name].outcome(name) for name in sorted(told.accounts)),
    )


def _reasons(accounts: Iterable["_Both"]) -> Iterable[ReasonCount]:
    was: Counter[str] = Counter()
    would: Counter[str] = Counter()
    for both in accounts:
        was += both.was.reasons
        would += both.would.reasons
    for reason in sorted({*was, *would}, key=lambda name: (-max(was[name], would[name]), name)):
        yield ReasonCount(reason=reason, was=was[reason], would=would[reason])


class _Both:
    """One account in both worlds, as it is counted."""

    def __init__(self) -> None:
        self.was, self.would, self.path = Tally(), Tally(), Path()
        self.episodes: list[Episode] = []

    def outcome(self, account: str) -> AccountOutcome:
        results = [episode.result for episode in self.episodes]
        largest = sorted(self.episodes, key=lambda episode: -abs(episode.result))[:EXAMPLES_MAX]
        return AccountOutcome(
            account=account,
            was=_side(self.was),
            would=_side(self.would),
            saved=sum((result for result in results if result > 0), ZERO),
            cost=sum((-result for result in results if result < 0), ZERO),
            episodes=len(results),
            largest=tuple(
                Apart(symbol=one.symbol, first=one.first, last=one.last, result=one.result) for one in largest
            ),
            path=self.path.points(),
        )


def _side(tally: Tally) -> WorldOutcome:
    return WorldOutcome(
        approved=tally.approved,
        rejected=tally.rejected,
        halts=tally.halts,
        exposure=tally.exposure,
        exposure_share=tally.exposure_share,
        drawdown=tally.drawdown,
        profit=tally.profit,
        equity=tally.equity,
    )


class _Told:
    """What is found in every partition."""

    def __init__(self) -> None:
        self.decisions = 0
        self.accounts: dict[str, _Both] = {}
        self.counts: Counter[str] = Counter()
        self.examples: defaultdict[str, list[Flip]] = defaultdict(list)

    def flip(self, way: str, recorded: RiskDecision, answer: RiskDecision) -> None:
        self.counts[way] += 1
        assert recorded.account is not None  # only MALFORMED belongs to none, and never changes
        assert recorded.intent_id is not None
        assert recorded.symbol is not None
        assert recorded.side is not None
        examples = self.examples[way]
        examples.append(
            Flip(
                account=recorded.account,
                intent_id=recorded.intent_id,
                symbol=recorded.symbol,
                side=recorded.side,
                clock=recorded.clock,
                was=recorded.quantity,
                would=answer.quantity,
                # A moot exit was only asked to keep its id taken: what it was rejected for means nothing.
                reasons=() if way == WAYS[3] else tuple(map(str, recorded.reasons or answer.reasons)),
            )
        )
        # The earliest, whatever partitions the accounts are on.
        examples.sort(key=lambda flip: (flip.clock, flip.account, flip.intent_id))
        del examples[EXAMPLES_MAX:]


class _Partition:
    """Both worlds of one partition, told of every record in the order of the log."""

    def __init__(
        self,
        past: Past,
        number: int,
        other: OtherLimits,
        told: _Told,
        *,
        account: str | None,
        span: Span,
        drop: bool,
        progress: Callable[[int], object],
    ) -> None:
        self._codec: Codec = past.codec
        self._told = told
        self._account = account
        self._span = span
        self._progress = progress
        source = past.partition(number)
        self._replay = Replay(number, past.codec, source, self._folded)
        self._intents = Cursor(source.records(Topic.ORDER_INTENTS))
        self._decisions = Cursor(source.records(Topic.RISK_DECISIONS))
        self._history = self._replay.state
        self._world = OtherWorld(self._history, other, drop=drop)
        self._over: set[str] = set()
        """Accounts that the span has ended for."""

    async def run(self) -> None:
        """Replay the partition from its beginning to the end of what was decided, then what came after."""
        try:
            while (found := await self._decisions.take()) is not None:
                decision = decode_decision(found)
                if not 1 <= decision.rules <= RULES:
                    raise HistoryError(f"{found.place} was decided by rules {decision.rules}: take a newer version")
                record = await self._intents.take()
                while record is not None and record.offset < decision.intent_offset:
                    record = await self._intents.take()
                if record is None or record.offset != decision.intent_offset:
                    raise HistoryError(f"{found.place} decides no record of order-intents: run `seawall audit`")
                try:
                    await self._replay.advance(decision.as_of)
                except UnreachableError:
                    raise HistoryError(f"{found.place}: its as_of goes back: run `seawall audit`") from None
                self._decided(record, decision)
            await self._replay.finish()
            self._finish()
        finally:
            for cursor in (self._replay, self._intents, self._decisions):
                await cursor.close()

    # --- who is looked at

    def _apart(self, account: str, time: int) -> bool:
        """Tell whether an account is followed in the other world at a time; the first such time sets it apart."""
        if account in self._over or self._account not in (None, account) or time < self._span.first:
            return account in self._world.reference.apart and account not in self._over
        if time > self._span.last:
            self._over.add(account)
            return False
        if account not in self._world.reference.apart:
            self._world.reference.apart.add(account)
            self._told.accounts[account] = _Both()
            self._worth(account)
        return True

    # --- decisions

    @exact
    def _decided(self, record: Record, recorded: RiskDecision) -> None:
        account = recorded.account
        if account is None or not self._apart(account, recorded.clock):
            self._history.fold_decision(recorded)
            self._world.follow(recorded)
            return
        message = self._codec.order_intent(record)
        assert isinstance(message, OrderIntent)  # or it would have been MALFORMED
        answer, moot = self._world.answer(message, recorded, record.time)
        self._history.fold_decision(recorded)
        both = self._told.accounts[account]
        both.was.answer(recorded)
        self._told.decisions += 1
        if self._told.decisions % 200 == 0:
            self._progress(self._told.decisions)
        if not moot:
            both.would.answer(answer)
        way = _way(recorded, answer, moot=moot)
        if way is not None:
            self._told.flip(way, recorded, answer)
        self._evaluate(account)

    # --- inputs

    @exact
    def _folded(self, record: Record, folded: Folded) -> None:
        """Fold a record here as well, now that history has it."""
        refused = f"{record.topic}-{record.partition}-{record.offset}".encode() in {
            letter.key for letter in folded.dead_letters
        }
        state = self._world.state
        if record.topic in SHARED_INPUTS:
            self._folded_shared(record, refused=refused)
        elif record.topic is Topic.FILLS:
            state.fills_offset = record.offset
            fill = self._codec.fill(record)
            if not refused and not isinstance(fill, Refused):
                self._apart(fill.account, fill.event_time)
                self._world.fill(fill, offset=record.offset, time=record.time, raw=record.value)
                self._after(fill.account, fill.event_time)
        else:
            state.equity_ticks_offset = record.offset
            tick = self._codec.equity_tick(record)
            # Who may sign is history's to judge: it refused what it did not believe.
            if not refused and not isinstance(tick, Refused | OperatorKeys):
                self._apart(tick.account, tick.event_time)
                self._world.tick(tick, offset=record.offset, time=record.time)
                self._after(tick.account, tick.event_time)

    def _folded_shared(self, record: Record, *, refused: bool) -> None:
        shared = self._world.state.shared
        if record.topic is Topic.DAILY_RETURNS:
            shared.daily_returns_offset = record.offset  # history's fold of them is this world's too
            return
        shared.reference_offset = record.offset
        message = self._codec.reference(record)
        if not refused and not isinstance(message, Refused | OperatorKeys):
            shared.fold_reference(message, offset=record.offset, time=record.time)

    def _after(self, account: str, time: int) -> None:
        self._evaluate(account)
        if self._apart(account, time):
            self._worth(account)

    # --- counting

    def _evaluate(self, account: str) -> None:
        """Let both worlds change the account's status where it is due."""
        both = self._told.accounts.get(account)
        tallies = (None, None) if both is None else (both.was, both.would)
        for state, tally in zip((self._history, self._world.state), tallies, strict=True):
            halt = state.evaluate(account)
            if halt is None:
                continue
            state.fold_halt(halt)
            begins = halt.status is AccountStatus.HALT and halt.previous_status is not AccountStatus.HALT
            if tally is not None and account not in self._over:
                tally.halts += begins

    def _worth(self, account: str) -> None:
        both = self._told.accounts[account]
        was, would = self._history.accounts[account], self._world.state.accounts[account]
        both.was.worth(was.drawdown)
        both.would.worth(would.drawdown)
        both.was.exposed(self._exposure(self._history, account))
        both.would.exposed(self._exposure(self._world.state, account))
        if was.drawdown.equity is not None and would.drawdown.equity is not None:
            both.path.add(Point(was.drawdown.equity_time, was.drawdown.equity, would.drawdown.equity))

    def _exposure(self, state: State, account: str) -> Decimal:
        prices = self._world.differences[account].prices
        book = state.accounts[account].book
        return sum(
            (
                abs(book.position(symbol)) * prices.get(symbol, ZERO) * self._world.multiplier(symbol)
                for symbol in book.positions
            ),
            ZERO,
        )

    @exact
    def _finish(self) -> None:
        for account in self._world.reference.apart:
            difference = self._world.differences[account]
            multipliers = {symbol: self._world.multiplier(symbol) for symbol in difference.prices}
            self._told.accounts[account].episodes += difference.all_episodes(multipliers)


def _way(recorded: RiskDecision, answer: RiskDecision, *, moot: bool) -> str | None:
    """Return in which way an answer changes, None where it does not."""
    approved, would = (each.status is DecisionStatus.APPROVED for each in (recorded, answer))
    if moot:
        return WAYS[3]
    if approved and not would:
        return WAYS[0]
    if would and not approved:
        return WAYS[1]
    return WAYS[2] if approved and recorded.quantity != answer.quantity else None

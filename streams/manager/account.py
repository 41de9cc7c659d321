"""One account of a gate, as a program sees it that asks, trades and says what came of it: records out, answers in.

It decides nothing. What it tells the gate it remembers by offset, and a decision that was taken without knowing all
of it is no answer.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Self

from models.canonical import SECOND_NS, exact
from models.decisions import AccountStatus, AsOf, DecisionStatus, RiskDecision
from models.folds.drawdown import assess
from models.folds.ledger import EXPIRY_GRACE
from models.folds.reference import Reference
from models.limits import Limits
from models.messages import (
    FUTURE_TOLERANCE,
    DailyReturn,
    EquityMark,
    ExecutionType,
    Fill,
    KillMode,
    LimitProfile,
    OrderIntent,
    OrderType,
    PriceMark,
    SessionOpen,
    Side,
)
from models.portfolio import Account
from models.reasons import RejectReason
from models.standing.orders import Order, open_orders
from streams.access import GateError
from streams.client import DECISION_AGE_MAX, DecisionLateError, DecisionTimeoutError, RiskGateClient
from streams.config import Settings
from streams.manager.enrolment import ACTOR, enrol
from streams.manager.figures import today
from streams.manager.follower import Follower
from streams.publisher import Message
from streams.records import Topic
from streams.report import AccountReport, describe

ATTEMPTS_MAX: Final = 8
FIRST_PAUSE: Final = 0.02
"""Seconds before a check is asked again; the pause doubles each time, and all of them together are five seconds."""

NOTHING: Final = Decimal(0)
NONE: Final[Mapping[str, Decimal]] = {}


class UnconfirmedEquityError(GateError):
    """The equity last given is so far from the one before that nothing rests on it until it is given again."""


@dataclass(frozen=True)
class PositionCheck:
    """The gate's answer. It is true where the position may be opened, so `if check:` does what it reads like."""

    decision: RiskDecision
    """All of it: every check that did not pass, with its limit and headroom."""

    @property
    def approved(self) -> bool:
        """Whether the order may be sent."""
        return self.decision.status is DecisionStatus.APPROVED

    @property
    def suggested_size(self) -> Decimal:
        """The approved units; after a rejection the most that would be approved, which may be 0."""
        return self.decision.quantity if self.approved else self.decision.max_quantity

    @property
    def reasons(self) -> list[RejectReason]:
        """Why it was rejected, in order of precedence; empty on approval. Each equals its name."""
        return list(self.decision.reasons)

    @property
    def warnings(self) -> list[str]:
        """What passed and deserves a look."""
        return list(self.decision.warnings)

    def __bool__(self) -> bool:
        return self.approved


class AccountClient:
    """Asks for, and tells of, one account. An async context manager; one call at a time.

    Args:
        settings: How to reach the broker.
        account: Its name.
        strategy: Who holds its positions.
        feeds_equity: Whether this program says what the account is worth.
        expiry: Of an intent, ns after it is sent.
        timeout: Seconds for a decision.
        clock: Returns event time, ns since the Unix epoch; another than the wall clock is simulated time.
    """

    def __init__(
        self,
        settings: Settings,
        account: str,
        strategy: str,
        *,
        feeds_equity: bool,
        expiry: int,
        timeout: float,
        clock: Callable[[], int],
    ) -> None:
        self.name = account
        self.strategy = strategy
        self.feeds_equity = feeds_equity
        self.equity: Decimal | None = None
        """What was last said, or known before; None where neither is."""
        self.timeout = timeout
        self.clock = clock
        self._expiry = expiry
        age_max = DECISION_AGE_MAX if clock is time.time_ns else None
        self._client = RiskGateClient(settings, timeout=timeout, decision_age_max=age_max)
        self._follower = Follower(settings, account)
        self._stack = AsyncExitStack()
        self._last_time = 0
        self._told: dict[Topic, int] = {}
        """The last offset of a record of this program's own, by topic."""

    async def __aenter__(self) -> Self:
        """Connect, and read the account's partition from its beginning, however long that takes.

        Raises:
            GateUnavailableError: Where no broker answers, or a topic is missing.
            GateError: If the account's records are ahead of the clock.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._client)
            await stack.enter_async_context(self._follower)
            ahead = (await self.known()).clock - self.clock()
            if ahead > FUTURE_TOLERANCE:
                raise GateError(
                    f"account {self.name} has records {ahead / SECOND_NS:.0f} s ahead of this program's clock, and"
                    " would ignore what it says: mend the clock, or take another account"
                )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._stack.aclose()

    async def known(self) -> Account:
        """Return what the topics say of the account, up to now."""
        self._state = await self._follower.catch_up()
        columns = self._state.accounts[self.name]
        self._last_time = max(self._last_time, columns.clock)
        return columns

    @property
    def _reference(self) -> Reference:
        return self._state.shared.reference

    # --- telling

    async def enrol(self, said: Mapping[str, Any], *, currency: str | None, replace: bool) -> None:
        """Put the account under limits, as `streams.manager.enrolment.enrol` says.

        Raises:
            GateError: If the gate's topics took the records and they are not in force.
        """
        columns = await self.known()
        records = enrol(
            self._reference,
            self.name,
            said,
            currency=currency,
            known=columns.clock > 0,
            replace=replace,
            event_time=self.clock(),
        )
        if not records:
            return
        await self._tell(records)
        await self.known()
        in_force = self._reference.profile(self.name)
        [asked] = [record for record in records if isinstance(record, LimitProfile)]
        if in_force is None or in_force.limits_version != asked.limits_version:
            raise GateError(
                f"the limits of account {self.name} were written and are not in force: `reference` refused them, see"
                " `dead-letters`"
            )

    async def value(self, equity: Decimal, **said: Any) -> None:  # noqa: ANN401  # fields of every type
        """Say what the account is worth; further fields as an EquityMark has them."""
        await self.known()
        self.equity = equity
        await self._tell([EquityMark(account=self.name, event_time=self._now(), equity=equity, **said)])

    async def open_session(self, equity: Decimal | None, *, clear_halts: bool) -> bool:
        """Open today's session; return whether it was not open already.

        Raises:
            UnconfirmedEquityError: If the equity last said awaits being said again, and none is given.
        """
        columns = await self.known()
        suspect, before = columns.drawdown.suspect, columns.drawdown.last_session
        if equity is None and suspect is not None:
            raise UnconfirmedEquityError(
                f"equity {suspect.equity} of account {self.name} is over 20 % from {columns.drawdown.equity} and was"
                " said once: say what it is by update_equity, or by reset_daily(equity)"
            )
        self.equity = self.equity if equity is None else equity
        now = self._now()
        opened = SessionOpen(
            account=self.name,
            event_time=now,
            equity=self._worth,
            session=today(now).isoformat(),
            actor=ACTOR,
            clear_halts=clear_halts,
        )
        await self._tell([opened])
        return (await self.known()).drawdown.last_session != before

    async def returned(self, symbol: str, returns: Iterable[tuple[str, Decimal]]) -> int:
        """Say what a symbol returned in each session; return how many were said."""
        now = self._now()
        records = [
            DailyReturn(symbol=symbol, session=session, simple_return=value, event_time=now)
            for session, value in returns
        ]
        await self._tell(records)
        return len(records)

    async def traded(self, trade: Mapping[str, Any]) -> Fill:
        """Record a trade, for the newest open approval there is.

        Args:
            trade: Symbol, side, last_quantity, last_price and fee of a Fill.
        """
        orders = self._open_orders(await self.known(), trade["symbol"], trade["side"])
        return await self._fill({**trade, "intent_id": orders[0].approval.intent_id if orders else None})

    async def closed(self, symbol: str, price: Decimal, quantity: Decimal | None, fee: Decimal | None) -> Fill:
        """Record that the strategy's position was closed, asking for an approval first where none is open.

        Raises:
            ValueError: If the strategy holds no such position.
            DecisionTimeoutError: If the gate did not answer; nothing is recorded then.
        """
        columns = await self.known()
        held = columns.book.positions.get(symbol, NONE).get(self.strategy, NOTHING)
        size = held.copy_abs() if quantity is None else quantity
        if not held or size > held.copy_abs():
            raise ValueError(
                f"strategy {self.strategy} holds {held} {symbol} in account {self.name}: cannot remove"
                f" {'any' if quantity is None else quantity}"
            )
        side = Side.SELL if held > 0 else Side.BUY
        trade = {"symbol": symbol, "side": side, "last_quantity": size, "last_price": price, "fee": fee}
        orders = self._open_orders(columns, symbol, side)
        intent_id = next((order.approval.intent_id for order in orders if order.remaining >= size), None)
        if intent_id is None:
            for order in orders:  # they have claimed a part of what is closed, and come to nothing
                await self._end(symbol, side, order.approval.intent_id)
            check = await self.check(symbol, PriceMark(price=price), side=side, quantity=size, reduce_only=True)
            intent_id = check.decision.intent_id if check else None
        return await self._fill({**trade, "intent_id": intent_id})

    async def cancel(self, decision: RiskDecision) -> None:
        """Report what remains of an approval CANCELED."""
        assert decision.intent_id is not None  # only MALFORMED has no order
        assert decision.symbol is not None
        assert decision.side is not None
        await self._end(decision.symbol, decision.side, decision.intent_id)

    async def _end(self, symbol: str, side: Side, intent_id: str) -> None:
        await self._fill({"symbol": symbol, "side": side, "intent_id": intent_id}, ExecutionType.CANCELED)

    # --- asking

    async def check(self, symbol: str, mark: PriceMark, **said: Any) -> PositionCheck:  # noqa: ANN401  # as above
        """Ask for a LIMIT order at the marked price until the answer knows all that was told before.

        Args:
            symbol: What to trade.
            mark: Its price and average true range.
            said: Further fields of the intent.

        Raises:
            DecisionTimeoutError: If there is no such answer in time.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self.timeout
        columns = await self.known()
        if self.feeds_equity and not columns.drawdown.unconfirmed:
            await self._mark(symbol, mark)
        else:
            said["atr"] = (
                mark.atr
            )  # to repeat a suspect equity would confirm it, and another feed's is not ours to say
        said |= {"symbol": symbol, "order_type": OrderType.LIMIT, "limit_price": mark.price}
        for attempt in range(ATTEMPTS_MAX):
            decision = await self._ask(said, until - loop.time())
            if self._covered(decision.as_of):
                return PositionCheck(decision)
            if decision.status is DecisionStatus.APPROVED:
                await self.cancel(decision)
            pause = FIRST_PAUSE * 2**attempt
            if loop.time() + pause > until:
                break
            await asyncio.sleep(pause)
        raise DecisionTimeoutError(
            f"the gate answers for account {self.name} without knowing what this program told it before: do not trade"
            " on it; a worker is behind: see its log and the broker's, and ask again",
            None,
        )

    async def _mark(self, symbol: str, mark: PriceMark) -> None:
        """Say what one symbol costs, beside the equity last said."""
        tick = EquityMark(account=self.name, event_time=self._now(), equity=self._worth, marks={symbol: mark})
        await self._tell([tick])

    @property
    def _worth(self) -> Decimal:
        assert self.equity is not None  # whoever feeds it has said it first
        return self.equity

    async def _ask(self, said: Mapping[str, Any], timeout: float) -> RiskDecision:
        now = self._now()
        intent = OrderIntent(
            **said,
            intent_id=_new_id(),
            account=self.name,
            strategy=self.strategy,
            event_time=now,
            expires_at=now + self._expiry,
        )
        try:
            return await self._client.submit(intent, timeout=max(0.0, timeout))
        except DecisionLateError as error:
            await self.cancel(error.decision)
            raise
        except DecisionTimeoutError as error:
            held = (self._expiry + EXPIRY_GRACE) / SECOND_NS
            raise DecisionTimeoutError(
                f"no decision on intent {intent.intent_id} ({intent.side} {intent.symbol}) within {self.timeout:g} s:"
                " do not trade on it; see whether a worker runs (`seawall worker`). Should it still be approved, what"
                f" it reserves is free {held:g} s after it was sent",
                error.delivered,
            ) from error

    def _covered(self, as_of: AsOf) -> bool:
        """Tell whether a decision was taken with all that this program had told before it."""
        known = {
            Topic.FILLS: as_of.fills,
            Topic.EQUITY_TICKS: as_of.equity_ticks,
            Topic.DAILY_RETURNS: as_of.daily_returns,
            Topic.REFERENCE: as_of.reference,
        }
        return all(known[topic] >= offset for topic, offset in self._told.items())

    async def halted(self) -> bool:
        """Tell whether openings are stopped, by a halt or a kill switch."""
        columns = await self.known()
        limits = self._reference.profile(self.name)
        if limits is None or _status(columns, limits) is AccountStatus.HALT:
            return True  # without a profile every opening is rejected
        # No symbol has an empty name: of the switches for symbols, only one for all of them is found.
        return any(
            self._reference.kill_switches(account=self.name, strategy=self.strategy, symbol="", mode=mode)
            for mode in KillMode
        )

    async def report(self) -> AccountReport:
        """Return the account's report, up to now."""
        await self.known()
        return describe(self._state, self.name)

    # --- what they share

    @exact
    def _open_orders(self, columns: Account, symbol: str, side: Side) -> list[Order]:
        """Return the strategy's open orders of a symbol and side, newest first."""
        wanted = (self.strategy, symbol, side)
        own = [
            order
            for order in open_orders(columns.ledger, columns.book, self._now()).values()
            if (order.approval.strategy, order.approval.symbol, order.approval.side) == wanted
        ]
        return sorted(own, key=lambda order: -order.approval.seq)

    async def _fill(self, said: Mapping[str, Any], kind: ExecutionType = ExecutionType.TRADE) -> Fill:
        fill = Fill(
            **said,
            execution_id=_new_id(),
            account=self.name,
            strategy=self.strategy,
            venue=ACTOR,
            execution_type=kind,
            event_time=self._now(),
        )
        await self._tell([fill])
        return fill

    async def _tell(self, messages: Sequence[Message]) -> None:
        delivered = await self._client.publisher.send_all(messages)
        for each in delivered:
            self._told[each.topic] = max(self._told.get(each.topic, -1), each.offset)
        for message, each in zip(messages, delivered, strict=True):
            ahead = message.event_time - each.time
            if ahead > FUTURE_TOLERANCE and isinstance(message, (EquityMark, SessionOpen, DailyReturn)):
                raise GateError(
                    f"this program's clock is {ahead / SECOND_NS:.0f} s ahead of the broker's, and {each} was refused"
                    " as from the future: mend the clock and say it again"
                )

    def _now(self) -> int:
        """Return an event time after every one of the account so far: values that are no newer are ignored."""
        self._last_time = max(self.clock(), self._last_time + 1)
        return self._last_time


@exact
def _status(columns: Account, limits: Limits) -> AccountStatus:
    return assess(columns.drawdown, limits).status


def _new_id() -> str:
    return uuid.uuid4().hex

"""The world outside the gate: six desks that want to trade, a venue that fills at the close, a feed that marks.

Everything here follows from the tape, a seed and what the gate answered. Nothing knows a topic, a clock or a screen.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from random import Random
from typing import NamedTuple

from models.canonical import SECOND_NS
from models.decisions import DecisionStatus, RiskDecision
from models.messages import (
    DailyReturn,
    EquityMark,
    ExecutionType,
    Fill,
    OrderIntent,
    OrderType,
    PriceMark,
    SessionOpen,
    Side,
)
from streams.demo.cast import ACTOR, CAST, STAKE, Trader
from streams.demo.strategies import Holding, View, Wish
from streams.demo.tape import Tape

SEED = 2008
VENUE = "XDEMO"
FEE = Decimal("0.005")
"""Per share, US dollars."""

THIN_BOOK, PULLED = 0.15, 0.05
"""One order in seven is filled in two parts, and of these one in three is pulled when half of it is."""

# One price a session is known, so a session is short: it opens, and at the close everything happens.
# 21:00 UTC is the close of New York in winter and an hour after it in summer.
OPEN_TIME = 14 * 3600 + 30 * 60
CLOSE_TIME = 21 * 3600
ORDER_DELAY = 5
FILL_DELAY = 30
REMARK_DELAY = 600


def moment(session: str, seconds: int) -> int:
    """Return a second of a session's UTC day as ns since the epoch."""
    return (int(datetime.fromisoformat(session).replace(tzinfo=UTC).timestamp()) + seconds) * SECOND_NS


@dataclass
class Desk:
    """One account: what its broker holds for it, and its strategy."""

    trader: Trader
    cash: Decimal = STAKE
    deposits: Decimal = STAKE
    holdings: dict[str, Holding] = field(default_factory=dict)
    working: dict[str, OrderIntent] = field(default_factory=dict)
    """By intent id: sent, and not yet answered or executed."""
    feed_is_down: bool = False
    """No marks reach the gate while it is."""

    @property
    def account(self) -> str:
        """The account's name."""
        return self.trader.account

    def equity(self, tape: Tape, session: int) -> Decimal:
        """Return cash and holdings at the session's closes."""
        values = (held.quantity * tape.bar(symbol, session).close for symbol, held in self.holdings.items())
        return self.cash + sum(values, Decimal(0))

    def book(self, symbol: str, side: Side, quantity: Decimal, price: Decimal) -> None:
        """Take one execution into cash and holdings."""
        signed = quantity if side is Side.BUY else -quantity
        self.cash -= signed * price + _fee(quantity)
        before = self.holdings.pop(symbol, Holding(Decimal(0), price))
        after = before.quantity + signed
        if after == 0:
            return
        paid = before.cost
        if side is Side.BUY:
            paid = ((before.quantity * before.cost + quantity * price) / after).quantize(Decimal("0.000001"))
        self.holdings[symbol] = Holding(after, paid)


def _fee(quantity: Decimal) -> Decimal:
    return (FEE * quantity).quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN)


class Market:
    """One act: its tape, and the desks that trade it."""

    def __init__(self, tape: Tape, seed: int = SEED) -> None:
        self.tape = tape
        self.seed = seed
        self.desks = {trader.account: Desk(trader) for trader in CAST}
        self.reports: dict[str, list[Fill]] = {trader.account: [] for trader in CAST}
        """Every execution report sent, by account."""

    @property
    def sessions(self) -> range:
        """The sessions that are played."""
        return range(self.tape.first, len(self.tape.sessions))

    def carry(self, earlier: "Market") -> None:
        """Take the accounts over from an earlier act, as cash, and bring each back to its stake by a deposit."""
        for account, desk in self.desks.items():
            old = earlier.desks[account]
            assert not old.holdings, f"{account} still holds {', '.join(old.holdings)}"
            desk.cash = old.cash
            desk.deposits = old.deposits

    def deposit(self) -> dict[str, Decimal]:
        """Bring each account back to its stake; returns what was paid in by account."""
        paid = {account: STAKE - desk.cash for account, desk in self.desks.items()}
        for account, amount in paid.items():
            self.desks[account].cash += amount
            self.desks[account].deposits += amount
        return paid

    def returns(self, sessions: Iterable[int]) -> Iterator[DailyReturn]:
        """Yield what the end-of-day job reports of these sessions."""
        for session in sessions:
            date = self.tape.sessions[session]
            for symbol, bars in self.tape.bars.items():
                bar = bars[session]
                if bar is not None and bar.change is not None:
                    yield DailyReturn(
                        symbol=symbol,
                        session=date,
                        simple_return=bar.change,
                        close=bar.close,
                        event_time=moment(date, CLOSE_TIME + 2 * REMARK_DELAY),
                    )

    def opens_week(self, session: int) -> bool:
        """Tell whether this is the first session of its week, or of the act."""
        dates = self.tape.sessions
        week = [datetime.fromisoformat(dates[number]).isocalendar()[:2] for number in (session - 1, session)]
        return session == self.tape.first or week[0] != week[1]

    def open_session(self, session: int) -> Iterator[SessionOpen]:
        """Yield what opens every account's week: its value at the last close, and a cleared session."""
        date = self.tape.sessions[session]
        for desk in self.desks.values():
            yield SessionOpen(
                account=desk.account,
                event_time=moment(date, OPEN_TIME),
                equity=desk.equity(self.tape, session - 1),
                cash=desk.cash,
                net_deposits=desk.deposits,
                session=date,
                actor=ACTOR,
            )

    def mark(self, session: int, *, delay: int = 0) -> Iterator[EquityMark]:
        """Yield each account's value at the session's closes, with the prices and ranges it rests on.

        Args:
            session: Its number.
            delay: Seconds after the close.
        """
        time = moment(self.tape.sessions[session], CLOSE_TIME + delay)
        marks = {symbol: self._price(symbol, session) for symbol in self.tape.bars}
        for desk in self.desks.values():
            if not desk.feed_is_down:
                yield EquityMark(
                    account=desk.account,
                    event_time=time,
                    equity=desk.equity(self.tape, session),
                    cash=desk.cash,
                    net_deposits=desk.deposits,
                    fills_through=time,
                    marks=marks,
                )

    def _price(self, symbol: str, session: int) -> PriceMark:
        bar = self.tape.bar(symbol, session)
        return PriceMark(price=bar.close, atr=bar.atr)

    def intents(self, session: int) -> Iterator[OrderIntent]:
        """Yield what the strategies would like to do at the close, one account after the other."""
        for desk in self.desks.values():
            view = View(
                tape=self.tape,
                session=session,
                equity=max(Decimal(1), desk.equity(self.tape, session)),
                holdings=desk.holdings,
                chance=self._chance(desk.account, session),
            )
            for number, wish in enumerate(desk.trader.wants(view)):
                if wish.quantity is None or wish.quantity > 0:
                    yield self._intent(desk, session, wish, number)

    def closing(self, session: int) -> Iterator[OrderIntent]:
        """Yield what closes every position: no quantity, so that the gate says how much that is."""
        for desk in self.desks.values():
            for number, symbol in enumerate(sorted(desk.holdings)):
                yield self._intent(desk, session, Wish(symbol, Side.SELL, reduce_only=True), 100 + number)

    def _intent(self, desk: Desk, session: int, wish: Wish, number: int) -> OrderIntent:
        date = self.tape.sessions[session]
        price = self.tape.bar(wish.symbol, session).close
        intent = OrderIntent(
            intent_id=f"{desk.account}-{date.replace('-', '')}-{number + 1:02d}",
            account=desk.account,
            strategy=desk.trader.strategy,
            symbol=wish.symbol,
            side=wish.side,
            quantity=wish.quantity,
            order_type=OrderType.LIMIT if wish.limit else OrderType.MARKET,
            limit_price=price if wish.limit else None,
            reference_price=price,
            win_rate=wish.win_rate,
            payoff=wish.payoff,
            trades=wish.trades,
            allow_resize=wish.allow_resize,
            reduce_only=wish.reduce_only,
            event_time=moment(date, CLOSE_TIME + ORDER_DELAY),
        )
        desk.working[intent.intent_id] = intent
        return intent

    def execute(self, decision: RiskDecision, session: int) -> list[Fill]:
        """Fill an approved order at the close, most of them at once; an order that is not approved leaves no trace.

        An order of ours that is filled already, or of nobody, is left alone: a venue does not fill twice.
        """
        desk = self.desks.get(decision.account or "")
        intent = desk.working.pop(decision.intent_id or "", None) if desk else None
        if desk is None or intent is None or decision.status is not DecisionStatus.APPROVED:
            return []
        desk_reports = list(self._executions(desk, intent, decision.quantity, session))
        self.reports[desk.account] += desk_reports
        return desk_reports

    def _executions(self, desk: Desk, intent: OrderIntent, quantity: Decimal, session: int) -> Iterator[Fill]:
        luck = self._chance(intent.intent_id, session).random()
        time = moment(self.tape.sessions[session], CLOSE_TIME + FILL_DELAY)
        price = self.tape.bar(intent.symbol, session).close
        half = quantity // 2
        if half == 0 or luck >= THIN_BOOK or session == self.sessions[-1]:
            yield self._trade(desk, _Execution(intent, 1, quantity, price, time))
            return
        yield self._trade(desk, _Execution(intent, 1, half, price, time))
        time += SECOND_NS
        if luck < PULLED:
            yield _report(intent, ExecutionType.CANCELED, f"{intent.intent_id}-x", time)
        else:
            yield self._trade(desk, _Execution(intent, 2, quantity - half, price, time))

    def _trade(self, desk: Desk, execution: "_Execution") -> Fill:
        intent, number, quantity, price, time = execution
        desk.book(intent.symbol, intent.side, quantity, price)
        report = _report(intent, ExecutionType.TRADE, f"{intent.intent_id}-{number}", time)
        return report.model_copy(update={"last_quantity": quantity, "last_price": price, "fee": _fee(quantity)})

    def _chance(self, name: str, session: int) -> Random:
        return Random(f"{self.seed} {name} {self.tape.sessions[session]}")  # noqa: S311  # a play, not a secret


class _Execution(NamedTuple):
    intent: OrderIntent
    number: int
    quantity: Decimal
    price: Decimal
    time: int


def _report(intent: OrderIntent, kind: ExecutionType, execution_id: str, time: int) -> Fill:
    """Return a report without quantities; a trade's are added by `_trade`."""
    return Fill.model_construct(
        execution_id=execution_id,
        intent_id=intent.intent_id,
        strategy=intent.strategy,
        venue=VENUE,
        account=intent.account,
        symbol=intent.symbol,
        side=intent.side,
        execution_type=kind,
        event_time=time,
    )

"""What happens beside trading: operators at work, feeds that fail, venues that correct themselves, and mischief.

Each entry is a cue: a line for the audience and the records that make it so. Most stand on a date; the operator who
resumes halted accounts acts on the halts that the gate published, like any operator.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import NamedTuple

import orjson

from models.canonical import SECOND_NS, canonical_bytes
from models.decisions import AccountStatus, HaltCause, TradingHalt
from models.messages import (
    EquityMark,
    ExecutionType,
    Fill,
    KillMode,
    KillScope,
    KillSwitch,
    LimitProfile,
    OperatorHalt,
    OrderIntent,
    OrderType,
    Restricted,
    Resume,
    Side,
    StrategyRecord,
    StrategyState,
)
from streams.demo.cast import CAST
from streams.demo.market import CLOSE_TIME, OPEN_TIME, ORDER_DELAY, VENUE, Market, moment
from streams.records import Topic

RISK_DESK = "risk-desk"
RESUME_AFTER = 3
"""Sessions that the operator waits after a halt before resuming the account, once in an act."""
COMMAND_DELAY = 300


class Raw(NamedTuple):
    """Bytes as a careless program would send them."""

    topic: Topic
    key: bytes
    value: bytes


Record = (
    OrderIntent
    | Fill
    | EquityMark
    | Resume
    | OperatorHalt
    | KillSwitch
    | LimitProfile
    | Restricted
    | StrategyRecord
    | Raw
)


class Cue(NamedTuple):
    """Something that happens, and the records it consists of."""

    text: str
    records: tuple[Record, ...] = ()


class Script:
    """One act's cues. Asked in the order of sessions, since the operator remembers whom he has resumed."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self._resumed: set[str] = set()

    # Before the session opens.

    def before_open(self, session: int, halts: Mapping[str, TradingHalt]) -> Iterator[Cue]:
        """Yield what happens before a session.

        Args:
            session: Its number.
            halts: The newest halt event of each account that has one.
        """
        yield from self._operator(session, halts)
        yield from self._commands(session)

    def _operator(self, session: int, halts: Mapping[str, TradingHalt]) -> Iterator[Cue]:
        time = self._time(session, OPEN_TIME - COMMAND_DELAY)
        today = date.fromisoformat(self.market.tape.sessions[session])
        for account, halt in sorted(halts.items()):
            latched = HaltCause.DRAWDOWN_HIGH_WATER in halt.causes or HaltCause.OPERATOR in halt.causes
            if halt.status is not AccountStatus.HALT or not latched:
                continue
            opening = session == self.market.tape.first
            if opening or (account not in self._resumed and self._sessions_since(halt, session) >= RESUME_AFTER):
                if not opening:
                    self._resumed.add(account)
                reason = f"reviewed by the risk desk, {today:%d %B %Y}"
                resume = Resume(account=account, event_time=time, actor=RISK_DESK, reason=reason)
                yield Cue(f"{RISK_DESK} resumes {account}", (resume,))

    def _sessions_since(self, halt: TradingHalt, session: int) -> int:
        dates = self.market.tape.sessions
        return sum(1 for number in range(session) if self._time(number, CLOSE_TIME) >= halt.clock and dates[number])

    def _commands(self, session: int) -> Iterator[Cue]:
        command = COMMANDS.get(self.market.tape.sessions[session])
        if command is not None:
            yield command(self._time(session, OPEN_TIME - COMMAND_DELAY + 1))

    # After the close, before the marks.

    def before_marks(self, session: int) -> Iterator[Cue]:
        """Yield what goes wrong with feeds, venues and returns before the session's marks."""
        banks = self.market.desks["banks"]
        time = self._time(session, CLOSE_TIME - COMMAND_DELAY)
        match self.market.tape.sessions[session]:
            case "2008-09-29":
                banks.feed_is_down = True
                yield Cue("the equity feed of banks is down")
            case "2008-09-30":
                banks.feed_is_down = False
                yield Cue("the equity feed of banks is back")
            case "2008-09-24":
                yield from self._bust("tech", time)
            case "2008-10-02":
                yield from self._repeat_reports("pension")
            case "2020-03-20":
                manual = Fill(
                    execution_id="by-telephone-1",
                    venue=VENUE,
                    account="pension",
                    symbol="KO",
                    side=Side.BUY,
                    execution_type=ExecutionType.TRADE,
                    last_quantity=Decimal(100),
                    last_price=self.market.tape.bar("KO", session).close,
                    event_time=time,
                )
                self.market.desks["pension"].book("KO", Side.BUY, Decimal(100), manual.last_price or Decimal(0))
                yield Cue("someone trades 100 KO for pension by telephone", (manual,))
            case "2008-09-12" | "2020-03-19":
                yield Cue("four feeds send garbage", _garbage(time))

    def _bust(self, account: str, time: int) -> Iterator[Cue]:
        trades = [one for one in self.market.reports[account] if one.execution_type is ExecutionType.TRADE]
        if not trades:
            return
        trade = trades[-1]
        assert trade.last_quantity is not None
        assert trade.last_price is not None
        opposite = Side.SELL if trade.side is Side.BUY else Side.BUY
        self.market.desks[account].book(trade.symbol, opposite, trade.last_quantity, trade.last_price)
        busted = Fill(
            execution_id=f"{trade.execution_id}-bust",
            execution_reference_id=trade.execution_id,
            intent_id=trade.intent_id,
            strategy=trade.strategy,
            venue=VENUE,
            account=account,
            symbol=trade.symbol,
            side=trade.side,
            execution_type=ExecutionType.BUSTED,
            event_time=time,
        )
        yield Cue(f"the venue busts {account}'s last trade, {trade.last_quantity} {trade.symbol}", (busted,))

    def _repeat_reports(self, account: str) -> Iterator[Cue]:
        repeated = tuple(self.market.reports[account][-5:])
        yield Cue(f"the venue sends {len(repeated)} reports of {account} again", repeated)

    # After the marks.

    def glitch(self, session: int) -> Iterator[Cue]:
        """Yield the bad tick: one account worth two fifths of itself, for a moment."""
        if self.market.tape.sessions[session] == "2020-02-24":
            desk = self.market.desks["pension"]
            value = desk.equity(self.market.tape, session) * Decimal("0.4")
            tick = EquityMark(account="pension", event_time=self._time(session, CLOSE_TIME + 1), equity=value)
            yield Cue("a bad tick: pension at 40 % of its value", (tick,))

    def mischief(self, session: int, intents: list[OrderIntent]) -> Iterator[Cue]:
        """Yield orders that nobody should send, each as a record of order-intents.

        Args:
            session: Its number.
            intents: What the strategies send at this close.
        """
        time = self._time(session, CLOSE_TIME + ORDER_DELAY)
        match self.market.tape.sessions[session]:
            case "2008-09-05" | "2020-03-03":
                yield Cue("a program sends bytes that are no intents", _malformed(time))
            case "2008-09-15":
                yield Cue("tech orders LEH", (_order("leh-1", "tech", "LEH", 1_000, time),))
            case "2008-09-17":
                order = _order("fat-finger-1", "banks", "JPM", 5_000_000, time)
                yield Cue("a fat finger: 5,000,000 JPM", (order,))
            case "2008-09-25" | "2020-02-27":
                again = tuple(intents[:2])
                other = tuple(one.model_copy(update={"quantity": Decimal(7)}) for one in again)
                yield Cue("a sender repeats itself, then contradicts itself", again + other)
            case "2008-10-07":
                yield Cue("an account that nobody knows", (_order("x-1", "ghost", "AAPL", 10, time),))
            case "2008-10-22" | "2020-02-28":
                orders = (
                    _order("old-1", "trend", "KO", 10, time - 40 * SECOND_NS),
                    _order("old-2", "trend", "KO", 10, time - 7200 * SECOND_NS),
                    _order("early-1", "trend", "KO", 10, moment("2200-01-01", 0)),
                )
                yield Cue("a clock that is slow, one that is slower, one that is 180 years fast", orders)
            case "2020-03-12":
                yield Cue("tech orders a price of its own", (_order("stub-1", "tech", "TSLA", 5, time),))

    def _time(self, session: int, seconds: int) -> int:
        return moment(self.market.tape.sessions[session], seconds)


def _order(intent_id: str, account: str, symbol: str, quantity: int, time: int) -> OrderIntent:
    strategies = {trader.account: trader.strategy for trader in CAST}
    return OrderIntent(
        intent_id=intent_id,
        account=account,
        strategy=strategies.get(account, "growth"),
        symbol=symbol,
        side=Side.BUY,
        quantity=Decimal(quantity),
        order_type=OrderType.MARKET,
        event_time=time,
    )


def _said(time: int, reason: str) -> dict[str, object]:
    return {"event_time": time, "actor": RISK_DESK, "reason": reason}


def _kill(time: int, *, engaged: bool, symbol: str | None = None) -> KillSwitch:
    return KillSwitch.model_validate(
        {
            **_said(time, "the market" if engaged else "calm again"),
            "scope": KillScope.GLOBAL if symbol is None else KillScope.SYMBOL,
            "target": symbol,
            "mode": KillMode.REDUCE_ONLY if symbol is None else KillMode.ALL,
            "engaged": engaged,
        }
    )


def _restricted(symbol: str, time: int, *, active: bool) -> Restricted:
    reason = "SEC release 34-58592" if active else "the order has ended"
    return Restricted.model_validate({**_said(time, reason), "symbol": symbol, "active": active})


def _give(state: StrategyState, deed: str, reason: str, *accounts: str) -> Callable[[int], Cue]:
    """Return the command that gives the strategies of some accounts a state; `deed` says so of the names in it."""
    traders = [trader for trader in CAST if trader.account in accounts]
    named = " and ".join(f"{trader.account}'s {trader.strategy}" for trader in traders)

    def command(time: int) -> Cue:
        said = {**_said(time, reason), "state": state}
        records = tuple(
            StrategyRecord.model_validate({**said, "strategy": trader.strategy, "account": trader.account})
            for trader in traders
        )
        return Cue(f"{RISK_DESK} {deed.format(named)}: {reason}", records)

    return command


def _tighter(account: str, time: int) -> LimitProfile:
    (trader,) = (trader for trader in CAST if trader.account == account)
    limits = {**dict(trader.limits), "high_water_warning": Decimal("0.04"), "high_water_halt": Decimal("0.08")}
    named = {"profile_id": account, "profile_version": 2}
    return LimitProfile.model_validate({**limits, **_said(time, "losses of the week"), **named})


def _halt(account: str, time: int) -> OperatorHalt:
    return OperatorHalt(account=account, event_time=time, actor=RISK_DESK, reason="a model under review")


COMMANDS: Mapping[str, Callable[[int], Cue]] = {
    "2008-09-22": lambda time: Cue(
        "compliance restricts GE, which joined the SEC's list", (_restricted("GE", time, active=True),)
    ),
    "2008-10-06": _give(StrategyState.PROBATION, "puts {} on probation", "halted last week", "dip-buyer"),
    "2008-10-09": lambda time: Cue(
        "compliance lifts the restriction of GE", (_restricted("GE", time, active=False),)
    ),
    "2008-10-10": lambda time: Cue("kill switch: reductions only, everywhere", (_kill(time, engaged=True),)),
    "2008-10-13": lambda time: Cue("kill switch released", (_kill(time, engaged=False),)),
    "2008-10-15": _give(StrategyState.PROBATION, "puts {} on probation", "to trade again, with care", "kelly"),
    "2008-10-21": _give(StrategyState.DISABLED, "disables {}", "its bets have no edge", "kelly"),
    "2020-02-18": _give(StrategyState.ENABLED, "enables {} again", "reviewed", "dip-buyer", "kelly"),
    "2020-03-05": lambda time: Cue("dip-buyer gets tighter limits: dip-buyer@2", (_tighter("dip-buyer", time),)),
    "2020-03-09": lambda time: Cue("kill switch on XOM: no order at all", (_kill(time, engaged=True, symbol="XOM"),)),
    "2020-03-10": lambda time: Cue("kill switch on XOM released", (_kill(time, engaged=False, symbol="XOM"),)),
    "2020-03-11": lambda time: Cue(f"{RISK_DESK} halts trend by hand", (_halt("trend", time),)),
    "2020-03-16": lambda time: Cue("kill switch: reductions only, everywhere", (_kill(time, engaged=True),)),
    "2020-03-17": lambda time: Cue("kill switch released", (_kill(time, engaged=False),)),
}
"""What operators do on a date, by the time of day at which they do it."""


def _malformed(time: int) -> tuple[Raw, ...]:
    good = orjson.loads(canonical_bytes(_order("bad-1", "trend", "KO", 10, time)))

    def intent(**changes: object) -> bytes:
        return orjson.dumps({**good, **changes})

    values = (
        b"\xff\xfe\x00 not JSON",
        b'{"intent_id": "bad-2"}',
        intent(quantity=10.5),
        intent(quantity="NaN"),
        intent(quantity="-10"),
        intent(side="SELL_SHORT"),
        intent(bypass_risk=True),
    )
    return (
        *(Raw(Topic.ORDER_INTENTS, b"trend", value) for value in values),
        Raw(Topic.ORDER_INTENTS, b"tech", intent()),
    )


def _garbage(time: int) -> tuple[Raw, ...]:
    mark = {"kind": "mark", "account": "tech", "event_time": time, "equity": "NaN"}
    change = {"symbol": "KO", "session": "2008-09-12", "simple_return": "99", "event_time": time}
    return (
        Raw(Topic.FILLS, b"tech", b"8=FIX.4.4|35=8|"),
        Raw(Topic.EQUITY_TICKS, b"tech", orjson.dumps(mark)),
        Raw(Topic.DAILY_RETURNS, b"KO", orjson.dumps(change)),
        Raw(Topic.REFERENCE, b"?", b"[]"),
    )

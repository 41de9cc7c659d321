"""A market of many accounts and symbols, as messages and as bytes: what the gate is given to decide.

An account holds some of the symbols and asks for one after the other, three times to buy and once to sell. What it
asks for passes every check.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, NamedTuple

import orjson

from models.canonical import DAY_NS, SECOND_NS
from models.folds.ledger import EXPIRY_GRACE
from models.messages import DailyReturn, EquityMark, ExecutionType, Fill, Instrument, LimitProfile, PriceMark, Side
from streams.publisher import Message
from streams.starter import PROFILE, starter_records

ACCOUNTS: Final = 1_000
POSITIONS: Final = 20
SYMBOLS: Final = 500
SESSIONS: Final = 30
"""As many as a correlation looks at."""
SECTORS: Final = 11
GROUP: Final = 25
"""Symbols that move together."""
STRATEGIES: Final = 4
OPEN_ORDERS: Final = 10
"""Of each account of a backlog, at any time: so many steps until what an order reserved is released."""
PRICE: Final = 100
EQUITY: Final = 1_000_000
HELD: Final = 10
"""Units of each position."""
QUANTITIES: Final = 7
SELLS_EVERY: Final = 4
OPENED_AGO: Final = 8 * DAY_NS
"""When the positions were opened: longer ago than reports are kept singly."""
_STRIDE: Final = 13
"""From one symbol of an account to its next: the positions lie in many groups, some of them in the same one."""


class Sent(NamedTuple):
    """A record to be written: its account, and its bytes."""

    account: str
    value: bytes


class Market:
    """The messages of so many accounts.

    Args:
        begin: When the accounts open, ns; everything else is dated from there.
        accounts: How many.
        positions: Symbols that each of them holds.
        symbols: Symbols that have returns.
        sessions: Returns of each of them.
        limits: Of the profile that everybody has, where it is not the default one.
        sells: Whether every fourth order is one.
    """

    def __init__(
        self,
        begin: int,
        *,
        accounts: int = ACCOUNTS,
        positions: int = POSITIONS,
        symbols: int = SYMBOLS,
        sessions: int = SESSIONS,
        limits: dict[str, Any] | None = None,
        sells: bool = True,
    ) -> None:
        self.begin = begin
        self.accounts = [f"A-{number:06}" for number in range(accounts)]
        self.positions = min(positions, symbols)
        self.symbols = [f"S{number:04}" for number in range(symbols)]
        self._sessions = sessions
        self._limits = limits or {}
        self._sells = sells

    @property
    def today(self) -> date:
        """The date of the first event."""
        return datetime.fromtimestamp(self.begin / SECOND_NS, tz=UTC).date()

    def holds(self, account: int) -> list[str]:
        """Return the symbols that an account holds, one in each of them."""
        return [self.symbols[(account + place * _STRIDE) % len(self.symbols)] for place in range(self.positions)]

    # --- what is there at the beginning

    def reference(self) -> list[Message]:
        """Return the records that admit everybody, an instrument of each symbol, and the limits."""
        said = {"event_time": self.begin, "actor": "benchmark", "reason": "benchmark"}
        records: list[Message] = [
            LimitProfile.model_validate({**said, "profile_id": PROFILE, "profile_version": 1, **self._limits})
            if isinstance(record, LimitProfile)
            else record
            for record in starter_records("USD", event_time=self.begin)
        ]
        for number, symbol in enumerate(self.symbols):
            sector = f"sector {number % SECTORS}"
            records.append(Instrument.model_validate({**said, "symbol": symbol, "currency": "USD", "sector": sector}))
        return records

    def returns(self) -> Iterator[DailyReturn]:
        """Yield the returns of every symbol, session by session; those of a group move together."""
        for number in range(self._sessions):
            session = (self.today - timedelta(days=self._sessions - number)).isoformat()
            for place, symbol in enumerate(self.symbols):
                yield self.one_return(symbol, place, session, number)

    def one_return(self, symbol: str, place: int, session: str, number: int) -> DailyReturn:
        """Return a symbol's return of one session."""
        group = place // GROUP
        common = (number * (2 * group + 3) + group * group) % 41 - 20
        own = (number * (2 * place + 5) + place * place) % 37 - 18
        value = Decimal(common + own).scaleb(-3)
        return DailyReturn(symbol=symbol, session=session, simple_return=value, event_time=self.begin)

    def opening(self, accounts: Iterable[int] | None = None) -> Iterator[Message]:
        """Yield the executions that gave accounts their positions, and a mark of each; by default of all."""
        for number in range(len(self.accounts)) if accounts is None else accounts:
            for place in range(self.positions):
                yield self.opening_fill(number, place)
            yield self.opening_report(number)
            yield self.opening_mark(number)

    def opening_fill(self, account: int, place: int) -> Fill:
        """Return the execution that gave an account one of its positions."""
        return Fill(
            execution_id=f"o-{place}",
            account=self.accounts[account],
            strategy="s0",
            symbol=self.holds(account)[place],
            side=Side.BUY,
            execution_type=ExecutionType.TRADE,
            last_quantity=Decimal(HELD),
            last_price=Decimal(PRICE),
            event_time=self.begin - OPENED_AGO,
        )

    def opening_report(self, account: int) -> Fill:
        """Return an account's newest report, without effect: what opened the positions has grown old."""
        report = self.opening_fill(account, 0)
        return report.model_copy(
            update={
                "execution_id": "o-new",
                "execution_type": ExecutionType.NEW,
                "last_quantity": None,
                "last_price": None,
                "event_time": self.begin,
            }
        )

    def opening_mark(self, account: int) -> EquityMark:
        """Return an account's value with the prices of all that it holds."""
        price = PriceMark(price=Decimal(PRICE), atr=Decimal(1))
        return EquityMark(
            account=self.accounts[account],
            event_time=self.begin,
            equity=Decimal(EQUITY),
            marks=dict.fromkeys(self.holds(account), price),
        )

    # --- what flows then, as bytes, since a generator must be quicker than what it measures

    @cached_property
    def _held(self) -> list[list[str]]:
        return [self.holds(number) for number in range(len(self.accounts))]

    def order(self, account: int, turn: int) -> tuple[str, Side, int]:
        """Return symbol, side and quantity of an account's order number `turn`."""
        round_, place = divmod(turn, self.positions)
        side = Side.SELL if self._sells and round_ % SELLS_EVERY == SELLS_EVERY - 1 else Side.BUY
        return self._held[account][place], side, 1 + (round_ + place) % QUANTITIES

    def intent(self, account: int, turn: int, event_time: int, *, lifetime: int, **more: Any) -> Sent:
        """Return an account's order number `turn`.

        Args:
            account: Its number.
            turn: From 0; the order's id is made of it.
            event_time: When it is asked for, ns.
            lifetime: After so many ns it has expired.
            more: Fields that differ.
        """
        symbol, side, quantity = self.order(account, turn)
        name = self.accounts[account]
        fields = {
            "version": 1,
            "intent_id": f"i-{turn}",
            "account": name,
            "strategy": f"s{turn % STRATEGIES}",
            "symbol": symbol,
            "side": side,
            "quantity": str(quantity),
            "order_type": "MARKET",
            "event_time": event_time,
            "expires_at": event_time + lifetime,
            **more,
        }
        return Sent(name, orjson.dumps(fields))

    def fill(self, account: int, turn: int, event_time: int, **more: Any) -> Sent:
        """Return the execution of an account's order number `turn`, the whole of it but for `more`."""
        symbol, side, quantity = self.order(account, turn)
        name = self.accounts[account]
        fields = {
            "version": 1,
            "execution_id": f"x-{turn}",
            "intent_id": f"i-{turn}",
            "account": name,
            "strategy": f"s{turn % STRATEGIES}",
            "symbol": symbol,
            "side": side,
            "execution_type": "TRADE",
            "last_quantity": str(quantity),
            "last_price": str(PRICE),
            "event_time": event_time,
            **more,
        }
        return Sent(name, orjson.dumps(fields))

    def mark(self, account: int, event_time: int) -> Sent:
        """Return an account's value with the prices of all that it holds."""
        name = self.accounts[account]
        price = {"price": str(PRICE), "atr": "1"}
        fields = {
            "version": 1,
            "kind": "mark",
            "account": name,
            "event_time": event_time,
            "equity": str(EQUITY),
            "marks": dict.fromkeys(self._held[account], price),
        }
        return Sent(name, orjson.dumps(fields))

    def backlog(
        self,
        count: int,
        *,
        accounts: Sequence[int] | None = None,
        begin: int | None = None,
        open_orders: int = OPEN_ORDERS,
    ) -> Iterator[Sent]:
        """Yield intents of accounts in turn, each account's dated as far apart as keeps so many orders open.

        Args:
            count: How many.
            accounts: Of whom; by default of all.
            begin: The event time before the first, ns; by default the market's.
            open_orders: Of each account, once it has asked so often.
        """
        begin = self.begin if begin is None else begin
        accounts = range(len(self.accounts)) if accounts is None else accounts
        step = STEP if open_orders else 2 * EXPIRY_GRACE
        lifetime = max(SECOND_NS, open_orders * step - EXPIRY_GRACE)
        for number in range(count):
            turn, place = divmod(number, len(accounts))
            yield self.intent(accounts[place], turn, begin + (1 + turn) * step, lifetime=lifetime)


STEP: Final = (SECOND_NS + EXPIRY_GRACE) // OPEN_ORDERS
"""Of event time, from one intent of an account in a backlog to its next."""
FEWEST: Final = 100


def accounts_at(scale: float) -> int:
    """Return how many accounts a market has: all of them from a tenth of every other number on."""
    return min(ACCOUNTS, max(FEWEST, round(10 * scale * ACCOUNTS)))


LONG: Final = {"equity_age_max": 7 * DAY_NS, "mark_age_max": 7 * DAY_NS, "atr_age_max": 7 * DAY_NS}
"""Limits of a market with a backlog, so that the accounts need no marks in the midst of it."""


def before(now: int, turns: int) -> int:
    """Return when a market begins of which so many turns shall have passed at `now`, ns."""
    return now - (turns + 2) * STEP

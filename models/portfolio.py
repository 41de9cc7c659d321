"""What an account holds and has open, and what that is worth: the joins that checks and reports share."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

from models.book import KEPT, ZERO, Book
from models.canonical import DAY_NS, day_of
from models.correlation import Returns
from models.decisions import Source
from models.drawdown import Drawdown
from models.executions import Execution
from models.holdings import Holding, holdings_of
from models.ledger import EXPIRY_GRACE, Ledger
from models.messages import Instrument, LimitProfile, OrderType
from models.orders import Order, fills, open_orders
from models.reasons import RejectReason
from models.reference import SECTOR_UNKNOWN, Reference
from models.risk.models import RiskModels

FALLBACK_DAYS = 5
FALLBACK_MARKUP = Decimal("1.10")
"""A price that is not fresh is taken ten percent higher."""
MARKET_MARKUP = Decimal("1.01")
"""What a MARKET order may cost above its price."""


@dataclass(slots=True)
class Account:
    """One account's three tables, each a fold of one topic (the ledger: of two, in columns of their own)."""

    drawdown: Drawdown
    book: Book
    ledger: Ledger

    @classmethod
    def fresh(cls) -> "Account":
        """Return an account of which nothing is known."""
        return cls(Drawdown(), Book(), Ledger())

    @property
    def clock(self) -> int:
        """The largest event_time of the account's folded fills, equity ticks and decided intents, ns."""
        return max(self.drawdown.clock, self.book.clock, self.ledger.clock)

    @property
    def row_count(self) -> int:
        """How many rows its tables have: what it takes to keep the account."""
        return self.drawdown.row_count + self.book.row_count + self.ledger.row_count


class Quote(NamedTuple):
    """A price the ladder allows."""

    price: Decimal
    source: Source
    age: int
    """Clock minus the price's time, ns; of a close, since the start of its session's UTC date."""


class Valued(NamedTuple):
    """A holding with its price: amounts in account currency."""

    holding: Holding
    quote: Quote
    sector: str
    value: Decimal
    """Price times multiplier: money per unit."""
    amount: Decimal
    """Worst-side exposure X."""


class Portfolio:
    """One account at one clock. Everything here is derived, nothing is kept."""

    def __init__(
        self,
        account: Account,
        *,
        name: str,
        clock: int,
        reference: Reference,
        returns: Returns,
        models: RiskModels | None = None,
    ) -> None:
        self.account = account
        self.name = name
        self.clock = clock
        self.day = day_of(clock)
        self.reference = reference
        self.returns = returns
        self.models = RiskModels(returns, reference) if models is None else models

    @cached_property
    def limits(self) -> LimitProfile | None:
        """The profile bound to the account."""
        return self.reference.profile(self.name)

    @cached_property
    def equity(self) -> Decimal | None:
        """Equity of the last confirmed mark, where it is positive."""
        equity = self.account.drawdown.equity
        return equity if equity is not None and equity > 0 else None

    @cached_property
    def open_orders(self) -> dict[str, Order]:
        """Approvals with something remaining, by intent id."""
        return open_orders(self.account.ledger, self.account.book, self.clock)

    @cached_property
    def holdings(self) -> dict[str, Holding]:
        """Symbols with a position or an open order."""
        adjustments = self.account.drawdown.adjustments
        positions = {
            symbol: self.account.book.position(symbol) + adjustments.get(symbol, ZERO)
            for symbol in {*self.account.book.positions, *adjustments}
        }
        return holdings_of(positions, self.open_orders.values())

    def attributed(self, strategy: str) -> dict[str, Holding]:
        """Return what one strategy has of each symbol: its executions and its open orders."""
        positions = {
            symbol: position
            for symbol, strategies in self.account.book.positions.items()
            if (position := strategies.get(strategy))
        }
        own = [order for order in self.open_orders.values() if order.approval.strategy == strategy]
        return holdings_of(positions, own)

    def holding(self, symbol: str) -> Holding:
        """Return the holding in `symbol`, which may be nothing."""
        return self.holdings.get(symbol) or Holding.of(symbol)

    def instrument(self, symbol: str) -> Instrument | None:
        """Return the instrument's record."""
        return self.reference.instrument(symbol)

    # --- prices

    def mark(self, symbol: str) -> Quote | None:
        """Return the symbol's mark where it is fresh."""
        mark = self.account.drawdown.marks.get(symbol)
        if mark is None or self.limits is None:
            return None
        age = self.clock - mark.price_time
        return Quote(mark.price, Source.MARK, age) if age <= self.limits.mark_age_max else None

    def close(self, symbol: str) -> Quote | None:
        """Return the latest close of the last five days."""
        close = self.returns.close(symbol)
        if close is None or self.day - close[1] > FALLBACK_DAYS:
            return None
        return Quote(close[0], Source.LAST_CLOSE, self.clock - close[1] * DAY_NS)

    def last_fill(self, symbol: str) -> Quote | None:
        """Return the account's last fill price of the last five days."""
        last = self.account.book.last_execution(symbol)
        if last is None or self.day - day_of(last.event_time) > FALLBACK_DAYS:
            return None
        return Quote(last.price, Source.LAST_FILL, self.clock - last.event_time)

    def fallback(self, symbol: str) -> Quote | None:
        """Return the latest close, else the last fill price, ten percent higher."""
        quote = self.close(symbol) or self.last_fill(symbol)
        return quote and quote._replace(price=quote.price * FALLBACK_MARKUP)

    def missing_price(self, symbol: str) -> RejectReason:
        """Name what is wrong with a symbol that the ladder gives no price: never seen, or only too old."""
        seen = (
            symbol in self.account.drawdown.marks
            or self.returns.close(symbol) is not None
            or self.account.book.last_execution(symbol) is not None
            or symbol in self.account.book.positions
        )
        return RejectReason.STALE_PRICE if seen else RejectReason.PRICE_UNAVAILABLE

    # --- exposure of what is held, the candidate aside

    def value_others(
        self, candidate: str | None, also: Collection[str] = (), *, price_unknown: bool = True
    ) -> "Others":
        """Price every holding but the candidate's.

        Args:
            candidate: Its price has a ladder of its own.
            also: Symbols to price though the account holds nothing of them on balance.
            price_unknown: Look for a price also where a symbol has no record.
        """
        valued: list[Valued] = []
        gross = if_bought = if_sold = ZERO
        unknown: list[str] = []
        missing: dict[RejectReason, list[str]] = {}
        fallbacks: list[str] = []
        for symbol in sorted({*self.holdings, *also}):
            if symbol == candidate:
                continue
            holding = self.holding(symbol)
            instrument = self.instrument(symbol)
            if instrument is None:
                unknown.append(symbol)
                if not price_unknown:
                    continue
            quote = self.mark(symbol)
            if quote is None:
                quote = self.fallback(symbol)
                if quote is None:
                    missing.setdefault(self.missing_price(symbol), []).append(symbol)
                    continue
                fallbacks.append(symbol)
            if instrument is None:
                continue
            value = quote.price * instrument.multiplier
            sector = instrument.sector or SECTOR_UNKNOWN
            amount = holding.worst * value
            valued.append(Valued(holding, quote, sector, value, amount))
            gross += amount
            if_bought += holding.if_bought * value
            if_sold += holding.if_sold * value
        return Others(tuple(valued), gross, if_bought, if_sold, tuple(unknown), missing, tuple(fallbacks))

    # --- buying power

    def deductions(self, through: int, *, broker: bool) -> "Deductions":
        """Return what orders and orphan fills take from a cash or buying power figure.

        Args:
            through: Fills up to this time are in the figure, ns.
            broker: The figure is a broker's buying power, in which an order counts from its first report on.
        """
        ledger, book = self.account.ledger, self.account.book
        taken, reserved = ZERO, {}
        filled: dict[str, list[Execution]] = {}
        for execution in book.executions_after(through):
            approval = ledger.approvals.get(execution.intent_id or "")
            if approval is not None and fills(execution, approval):
                filled.setdefault(approval.intent_id, []).append(execution)
            else:
                taken += execution.quantity * execution.price * self.multiplier(execution.symbol)

        for intent_id in {**self.open_orders, **filled}:
            approval, order = ledger.approvals[intent_id], self.open_orders.get(intent_id)
            if approval.price is None or not approval.opening_quantity:
                continue
            if broker:
                first = book.first_report_time(
                    intent_id, symbol=approval.symbol, side=approval.side, after=approval.fills_offset
                )
                if first is not None and first <= through:
                    continue
            multiplier, opening = self.multiplier(approval.symbol), approval.opening_quantity
            if order is not None:
                still = min(opening, order.remaining)
                markup = MARKET_MARKUP if approval.order_type is OrderType.MARKET else 1
                reserved[intent_id] = still * approval.price * markup * multiplier
                opening -= still
            for execution in filled.get(intent_id, ()):
                part = min(opening, execution.quantity)
                taken += part * execution.price * multiplier
                opening -= part
        return Deductions(taken, reserved)

    def multiplier(self, symbol: str) -> Decimal:
        """Return the instrument's multiplier; 1 where the symbol has no record."""
        instrument = self.instrument(symbol)
        return Decimal(1) if instrument is None else instrument.multiplier

    # --- oddities worth a warning

    def recent_executions(self, symbol: str) -> Iterator[Execution]:
        """Yield executions of the last seven days: their approvals, if they had any, are still remembered."""
        for execution in self.account.book.executions_of(symbol):
            if execution.event_time >= self.clock - KEPT:
                yield execution

    def overfilled(self, symbol: str, *, lapsed: bool = False) -> bool:
        """Tell whether a recent execution in `symbol`, or a replacement, went beyond its approval.

        Args:
            symbol: The symbol.
            lapsed: Look at orders, too, whose reservation has ended since the account's last decision.
        """
        book, ledger = self.account.book, self.account.ledger
        orders = {execution.intent_id for execution in self.recent_executions(symbol)}
        orders.update(
            intent_id
            for intent_id, approval in ledger.open.get(symbol, {}).items()
            if lapsed or self.clock < approval.expires_at + EXPIRY_GRACE
        )
        for intent_id in orders:
            approval = ledger.approvals.get(intent_id or "")
            if approval is None or approval.symbol != symbol:
                continue
            reports = book.order(approval.intent_id, symbol=symbol, side=approval.side, after=approval.fills_offset)
            if max(reports.filled, reports.replaced or ZERO) > approval.quantity:
                return True
        return False

    def orphaned(self, symbol: str) -> bool:
        """Tell whether a recent execution in `symbol` belongs to no approval."""
        for execution in self.recent_executions(symbol):
            approval = self.account.ledger.approvals.get(execution.intent_id or "")
            if approval is None or not fills(execution, approval):
                return True
        return False


class Others(NamedTuple):
    """The account's holdings but the candidate, as far as they could be priced."""

    valued: tuple[Valued, ...]
    gross: Decimal
    """The sum of their exposures, like the two below account currency."""
    if_bought: Decimal
    """Their net were all buys filled and no sells."""
    if_sold: Decimal
    """Their net were all sells filled and no buys."""
    unknown: tuple[str, ...]
    missing: dict[RejectReason, list[str]]
    fallbacks: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every holding has an instrument and a price."""
        return not self.unknown and not self.missing

    @property
    def unpriced(self) -> frozenset[str]:
        """Those that have none."""
        if self.complete:
            return frozenset()
        return frozenset(self.unknown).union(*self.missing.values())


class Deductions(NamedTuple):
    """What is taken from a cash or buying power figure, money."""

    filled: Decimal
    """By fills."""
    reserved: dict[str, Decimal]
    """By what remains of each open order."""

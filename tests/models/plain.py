"""The plain definitions of what an account's standing keeps: derived afresh from the tables, sum after sum."""

from decimal import Decimal
from typing import Any

from models.decisions import Source
from models.folds.book import KEPT, ZERO
from models.folds.executions import Execution
from models.folds.ledger import EXPIRY_GRACE
from models.messages import OrderType
from models.portfolio import Account, Portfolio
from models.reasons import RejectReason
from models.standing.holdings import Holding, holdings_of
from models.standing.orders import Order, Together, fills, open_orders


class Plain:
    """One account at one clock."""

    def __init__(self, portfolio: Portfolio) -> None:
        self.portfolio = portfolio
        self.account: Account = portfolio.account
        self.orders = open_orders(self.account.ledger, self.account.book, portfolio.clock)
        self.holdings = self._holdings()

    def _holdings(self) -> dict[str, Holding]:
        book, adjustments = self.account.book, self.account.drawdown.adjustments
        positions = {
            symbol: sum(book.positions.get(symbol, {}).values(), ZERO) + adjustments.get(symbol, ZERO)
            for symbol in {*book.positions, *adjustments}
        }
        return holdings_of(positions, self.orders.values())

    def others(self, candidate: str | None) -> dict[str, Any]:
        """Return what `portfolio.Others` says of all holdings but the candidate."""
        prices = self.portfolio.prices
        gross = if_bought = if_sold = ZERO
        sectors: dict[str, Decimal] = {}
        unknown: list[str] = []
        foreign: list[str] = []
        times: list[int] = []
        missing: dict[RejectReason, list[str]] = {}
        fallback = False
        for symbol, holding in self.holdings.items():
            if symbol == candidate:
                continue
            instrument = self.portfolio.instrument(symbol)
            if instrument is None:
                unknown.append(symbol)
            elif instrument.currency != self.portfolio.bound.currency:
                foreign.append(symbol)
            quote = prices.mark(symbol) or prices.fallback(symbol)
            if quote is None:
                missing.setdefault(prices.missing(symbol), []).append(symbol)
                continue
            fallback |= quote.source is not Source.MARK
            if instrument is None:
                continue
            value = quote.price * instrument.multiplier
            times.append(quote.time)
            gross += holding.worst * value
            if_bought += holding.if_bought * value
            if_sold += holding.if_sold * value
            sector = instrument.sector or "UNKNOWN"
            sectors[sector] = sectors.get(sector, ZERO) + holding.worst * value
        return {
            "gross": gross,
            "if_bought": if_bought,
            "if_sold": if_sold,
            "sectors": sectors,
            "unknown": unknown,
            "foreign": foreign,
            "missing": missing,
            "fallback": fallback,
            "count": len(times),
            "oldest": min(times, default=None),
        }

    def taken(self, through: int, *, broker: bool) -> Decimal:
        """Return what orders and fills take from a figure, money."""
        ledger, book = self.account.ledger, self.account.book
        taken, reserved = ZERO, {}
        filled: dict[str, list[Execution]] = {}
        for execution in book.executions_after(through):
            approval = ledger.approvals.get(execution.intent_id or "")
            if approval is not None and fills(execution, approval):
                filled.setdefault(approval.intent_id, []).append(execution)
            else:
                taken += execution.quantity * execution.price * self._multiplier(execution.symbol)
        for intent_id in {**self.orders, **filled}:
            approval, order = ledger.approvals[intent_id], self.orders.get(intent_id)
            if approval.price is None or not approval.opening_quantity:
                continue
            first = book.first_report_time(
                intent_id, symbol=approval.symbol, side=approval.side, after=approval.fills_offset
            )
            if broker and first is not None and first <= through:
                continue
            multiplier, opening = self._multiplier(approval.symbol), approval.opening_quantity
            if order is not None:
                still = min(opening, order.remaining)
                markup = Decimal("1.01") if approval.order_type is OrderType.MARKET else Decimal(1)
                reserved[intent_id] = still * approval.price * markup * multiplier
                opening -= still
            for execution in filled.get(intent_id, ()):
                part = min(opening, execution.quantity)
                taken += part * execution.price * multiplier
                opening -= part

        def of(order: Order) -> Decimal:
            return reserved.get(order.approval.intent_id, ZERO)

        return taken + Together(self.orders.values(), of).total

    def _multiplier(self, symbol: str) -> Decimal:
        instrument = self.portfolio.instrument(symbol)
        return Decimal(1) if instrument is None else instrument.multiplier

    def overfilled(self, symbol: str, *, lapsed: bool) -> bool:
        """Tell whether a recent execution, or a replacement, went beyond its approval."""
        book, ledger = self.account.book, self.account.ledger
        orders = {execution.intent_id for execution in self._recent(symbol)}
        orders.update(
            intent_id
            for intent_id, approval in ledger.open.get(symbol, {}).items()
            if lapsed or self.portfolio.clock < approval.expires_at + EXPIRY_GRACE
        )
        for intent_id in orders:
            approval = ledger.approvals.get(intent_id or "")
            if approval is not None and approval.symbol == symbol:
                reports = book.order(
                    approval.intent_id, symbol=symbol, side=approval.side, after=approval.fills_offset
                )
                if max(reports.filled, reports.replaced or ZERO) > approval.quantity:
                    return True
        return False

    def orphaned(self, symbol: str) -> bool:
        """Tell whether a recent execution belongs to no approval."""
        approvals = self.account.ledger.approvals
        return any(
            (approval := approvals.get(execution.intent_id or "")) is None or not fills(execution, approval)
            for execution in self._recent(symbol)
        )

    def _recent(self, symbol: str) -> list[Execution]:
        executions = self.account.book.executions_of(symbol)
        return [each for each in executions if each.event_time >= self.portfolio.clock - KEPT]

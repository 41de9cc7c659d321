"""What fills and open orders take from a cash or buying power figure, kept order by order."""

from collections.abc import Iterable
from decimal import Decimal

from models.folds.book import ZERO, Book
from models.folds.executions import Execution
from models.folds.ledger import Approval, Ledger
from models.folds.reference import Reference
from models.messages import OrderType, Side
from models.standing.orders import OpenOrders, Order, Together, fills

MARKET_MARKUP = Decimal("1.01")
"""What a MARKET order may cost above its price."""


class Spending:
    """What is taken from one figure, brought up to date order by order.

    Args:
        ledger: The account's approvals.
        book: What was reported of them.
        orders: What remains of them.
    """

    def __init__(self, ledger: Ledger, book: Book, orders: OpenOrders) -> None:
        self._ledger = ledger
        self._book = book
        self._orders = orders
        self._through = 0
        self._broker = False
        self._reference: Reference | None = None
        """None where nothing is kept."""
        self._filled: dict[tuple[str, str | None], Decimal] = {}
        """By symbol and intent id: what fills take, money."""
        self._reserved: dict[str, Decimal] = {}
        """By open order: what remains of it takes, money."""
        self._filled_total = self._reserved_total = ZERO

    def forget(self) -> None:
        """Derive all of it afresh when it is next asked for."""
        self._reference = None

    def renew(self, orders: Iterable[tuple[str, str | None]]) -> None:
        """Bring some orders up to date, given by symbol and intent id."""
        if self._reference is not None:
            for symbol, intent_id in orders:
                self._renew(symbol, intent_id, self._reference)

    def taken(self, reference: Reference, through: int, *, broker: bool, target: Order | None = None) -> Decimal:
        """Return what orders and fills take from a figure, money.

        Args:
            reference: Has the multipliers; unchanged since `forget`.
            through: Fills up to this time are in the figure, ns.
            broker: The figure is a broker's buying power, in which an order counts from its first report on.
            target: What is set aside for this order is left out: it may be spent by what comes in its place.
        """
        if (self._reference, self._through, self._broker) != (reference, through, broker):
            self._reference, self._through, self._broker = reference, through, broker
            self._derive(reference)
        if target is None and not self._orders.replacing:
            return self._filled_total + self._reserved_total
        together = Together(
            self._orders.by_id.values(), lambda order: self._reserved.get(order.approval.intent_id, ZERO)
        )
        return self._filled_total + together.total - (together.slack(target) if target else ZERO)

    def _derive(self, reference: Reference) -> None:
        self._filled.clear()
        self._reserved.clear()
        self._filled_total = self._reserved_total = ZERO
        concerned: set[tuple[str, str | None]] = {
            (order.approval.symbol, intent_id) for intent_id, order in self._orders.by_id.items()
        }
        concerned.update((each.symbol, each.intent_id) for each in self._book.executions_after(self._through))
        for symbol, intent_id in concerned:
            self._renew(symbol, intent_id, reference)

    def _renew(self, symbol: str, intent_id: str | None, reference: Reference) -> None:
        filled, reserved = self._of(symbol, intent_id, reference)
        before = self._filled.pop((symbol, intent_id), ZERO)
        self._filled_total += filled - before
        if filled:
            self._filled[symbol, intent_id] = filled
        if intent_id is None:
            return
        order = self._orders.by_id.get(intent_id)
        if order is None or order.approval.symbol == symbol:
            self._reserved_total += reserved - self._reserved.pop(intent_id, ZERO)
            if reserved:
                self._reserved[intent_id] = reserved

    def _of(self, symbol: str, intent_id: str | None, reference: Reference) -> tuple[Decimal, Decimal]:
        """Return what an order's fills take, and what remains of it."""
        approval = self._ledger.approvals.get(intent_id or "")
        if approval is not None and approval.symbol != symbol:
            approval = None
        instrument = reference.instrument(symbol)
        multiplier = Decimal(1) if instrument is None else instrument.multiplier
        taken, own = ZERO, list[Execution]()
        orders = self._book.orders_of(symbol)
        for side in Side:
            reported = orders.get((intent_id, side))
            for execution in reversed(reported.executions) if reported is not None else ():
                if execution.event_time <= self._through:
                    break
                if approval is not None and fills(execution, approval):
                    own.append(execution)
                else:
                    taken += execution.quantity * execution.price * multiplier
        if approval is None or approval.price is None or not approval.opening_quantity or self._counts(approval):
            return taken, ZERO
        order, opening, reserved = self._orders.by_id.get(approval.intent_id), approval.opening_quantity, ZERO
        if order is not None:
            still = min(opening, order.remaining)
            reserved = still * approval.price * multiplier
            if approval.order_type is OrderType.MARKET:
                reserved *= MARKET_MARKUP
            opening -= still
        for execution in own:
            part = min(opening, execution.quantity)
            taken += part * execution.price * multiplier
            opening -= part
        return taken, reserved

    def _counts(self, approval: Approval) -> bool:
        """Tell whether a broker's figure has the order in it already."""
        if not self._broker:
            return False
        first = self._book.first_report_time(
            approval.intent_id, symbol=approval.symbol, side=approval.side, after=approval.fills_offset
        )
        return first is not None and first <= self._through

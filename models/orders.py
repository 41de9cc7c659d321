"""What an account has on order: what remains of its approvals, and which of them come in another's place."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import NamedTuple

from models.book import ZERO, Book, Execution
from models.ledger import EXPIRY_GRACE, Approval, Ledger


class Order(NamedTuple):
    """An approval with something remaining."""

    approval: Approval
    remaining: Decimal
    """Units, positive."""


def fills(execution: Execution, approval: Approval) -> bool:
    """Tell whether an execution counts as the approval's own: same symbol and side, above its fills offset."""
    return (
        execution.symbol == approval.symbol
        and execution.side is approval.side
        and execution.offset > approval.fills_offset
    )


def remaining(approval: Approval, ledger: Ledger, book: Book, clock: int) -> Decimal:
    """Return what an approval still reserves, units.

    Late fills of the order it replaces are taken off: the two together were never more than the approved quantity.
    """
    if clock >= approval.expires_at + EXPIRY_GRACE:
        return ZERO
    symbol, side, after = approval.symbol, approval.side, approval.fills_offset
    reports = book.order(approval.intent_id, symbol=symbol, side=side, after=after)
    if reports.terminal:
        return ZERO
    ordered = approval.quantity if reports.replaced is None else reports.replaced
    filled = reports.filled
    replaced = ledger.approvals.get(approval.replaces or "")
    if replaced is not None and replaced.seq < approval.seq:  # a later order may have taken the id over
        filled += book.order(replaced.intent_id, symbol=symbol, side=side, after=after).filled
    return max(ZERO, ordered - filled)


def open_orders(ledger: Ledger, book: Book, clock: int) -> dict[str, Order]:
    """Return the account's orders with something remaining, by intent id."""
    orders = (
        Order(approval, remaining(approval, ledger, book, clock))
        for approvals in ledger.open.values()
        for approval in approvals.values()
    )
    return {order.approval.intent_id: order for order in orders if order.remaining}


class Together:
    """Amounts of orders, summed so that of an order and those in its place the larger counts.

    Nobody has both at once: the router sends a replacement only when the cancel of its target is confirmed. Which of
    the two it will have is not known before one of them is terminal.

    Args:
        orders: All that are open in one symbol and side, or any set of such.
        amount: Of one order; units or money, not negative.
    """

    def __init__(self, orders: Iterable[Order], amount: Callable[[Order], Decimal]) -> None:
        self.total = ZERO
        self._orders = {order.approval.intent_id: order for order in orders}
        self._amount = amount
        self._in_place_of: dict[str, Decimal] = {}
        # An order is younger than the one it replaces: by falling seq, what is in its place is summed before it.
        for order in sorted(self._orders.values(), key=lambda order: -order.approval.seq):
            larger = max(amount(order), self._in_place_of.get(order.approval.intent_id, ZERO))
            target = self._target(order)
            if target is None:
                self.total += larger
            else:
                name = target.approval.intent_id
                self._in_place_of[name] = self._in_place_of.get(name, ZERO) + larger

    def _target(self, order: Order) -> Order | None:
        target = self._orders.get(order.approval.replaces or "")
        return target if target is not None and target.approval.seq < order.approval.seq else None

    def slack(self, target: Order) -> Decimal:
        """Return how much a further order in the place of `target` may amount to before the total grows."""
        slack = ZERO
        step: Order | None = target
        while step is not None:
            slack += max(ZERO, self._amount(step) - self._in_place_of.get(step.approval.intent_id, ZERO))
            step = self._target(step)
        return slack


def units(order: Order) -> Decimal:
    """Return what remains of an order."""
    return order.remaining

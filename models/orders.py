"""What an account has on order: what remains of its approvals, and which of them come in another's place."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import NamedTuple

from models.book import ZERO, Book
from models.executions import Execution
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

    Late fills of the order it replaces, and of those that one replaced, are taken off: all of them together were
    never more than the approved quantity.
    """
    if clock >= approval.expires_at + EXPIRY_GRACE:
        return ZERO
    symbol, side, after = approval.symbol, approval.side, approval.fills_offset
    reports = book.order(approval.intent_id, symbol=symbol, side=side, after=after)
    if reports.terminal:
        return ZERO
    ordered = approval.quantity if reports.replaced is None else reports.replaced
    filled = reports.filled
    replaced, seq = ledger.approvals.get(approval.replaces or ""), approval.seq
    while replaced is not None and replaced.seq < seq:  # a later order may have taken the id over
        filled += book.order(replaced.intent_id, symbol=symbol, side=side, after=after).filled
        seq = replaced.seq
        replaced = ledger.approvals.get(replaced.replaces or "")
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
    """Amounts of orders, summed as far as they may be live at once.

    The router sends a replacement only when the cancel of its target is confirmed: of the two one at most is live,
    and which one is not known before one of them is terminal. But an order may be canceled before it was ever sent.
    Then what replaces it is sent while its own target lives on. So an order counts with what is in the place of those
    in its place, or they count instead of it, whichever is more.

    Args:
        orders: All that are open in one symbol and side, or any set of such.
        amount: Of one order; units or money, not negative.
    """

    def __init__(self, orders: Iterable[Order], amount: Callable[[Order], Decimal]) -> None:
        # An order is younger than the one it replaces: by falling seq, what is in its place is summed before it.
        self._orders = sorted(orders, key=lambda order: -order.approval.seq)
        self._by_id = {order.approval.intent_id: order for order in self._orders}
        self._amount = amount
        self.total = self._sum({})

    def _sum(self, instead: dict[str, Decimal]) -> Decimal:
        """Return the sum.

        Args:
            instead: By order: what is in its place beside the orders that are. Is added to.
        """
        total = ZERO
        beside: dict[str, Decimal] = {}
        for order in self._orders:
            name = order.approval.intent_id
            replaced_by = instead.get(name, ZERO)
            larger = max(self._amount(order) + beside.get(name, ZERO), replaced_by)
            target = self._target(order)
            if target is None:
                total += larger
            else:
                name = target.approval.intent_id
                instead[name] = instead.get(name, ZERO) + larger
                beside[name] = beside.get(name, ZERO) + replaced_by
        return total

    def _target(self, order: Order) -> Order | None:
        target = self._by_id.get(order.approval.replaces or "")
        return target if target is not None and target.approval.seq < order.approval.seq else None

    def slack(self, target: Order) -> Decimal:
        """Return how much a further order in the place of `target` may amount to before the total grows.

        The total stays up to there, and grows unit by unit from there on; one as large as the total is beyond it.
        """
        return 2 * self.total - self._sum({target.approval.intent_id: self.total})


def units(order: Order) -> Decimal:
    """Return what remains of an order."""
    return order.remaining

"""What an account has on order: what remains of its approvals, and which of them come in another's place."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from heapq import heappop, heappush
from typing import NamedTuple

from models.folds.book import ZERO, Book
from models.folds.executions import NO_REPORTS, Execution
from models.folds.ledger import EXPIRY_GRACE, Approval, Ledger
from models.messages import Side


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
    if reports is NO_REPORTS and approval.replaces is None:  # as of most orders
        return approval.quantity
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
    """Return the account's orders with something remaining, by intent id: what `OpenOrders` keeps."""
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


class _SideOrders:
    """The open orders of one symbol and side."""

    __slots__ = ("_orders", "_replacing", "_sum", "_total")

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._sum = ZERO
        self._replacing = 0
        """How many of them come in another's place: without one the sum is what may be live at once."""
        self._total: Decimal | None = ZERO

    def put(self, order: Order) -> None:
        self._orders[order.approval.intent_id] = order
        self._sum += order.remaining
        self._replacing += order.approval.replaces is not None
        self._total = None

    def take(self, order: Order) -> None:
        del self._orders[order.approval.intent_id]
        self._sum -= order.remaining
        self._replacing -= order.approval.replaces is not None
        self._total = None

    @property
    def orders(self) -> Mapping[str, Order]:
        return self._orders

    @property
    def total(self) -> Decimal:
        if self._total is None:
            self._total = Together(self._orders.values(), units).total if self._replacing else self._sum
        return self._total


class OpenOrders:
    """An account's orders with something remaining, brought up to date order by order: `open_orders`, kept.

    Args:
        ledger: The account's approvals.
        book: What was reported of them.
    """

    def __init__(self, ledger: Ledger, book: Book) -> None:
        self._ledger = ledger
        self._book = book
        self.by_id: dict[str, Order] = {}
        self.replacing = 0
        """How many of them come in another's place."""
        self._sides: dict[tuple[str, Side], _SideOrders] = {}
        self._lapsing: list[tuple[int, str]] = []
        self._followers: defaultdict[str, set[str]] = defaultdict(set)
        """By id: the approvals that replace it. Its late fills are theirs."""

    @property
    def symbols(self) -> set[str]:
        """Those with an open order."""
        return {symbol for symbol, _ in self._sides}

    def of(self, symbol: str, side: Side) -> Mapping[str, Order]:
        """Return the open orders of one symbol and side, by intent id."""
        orders = self._sides.get((symbol, side))
        return {} if orders is None else orders.orders

    def remaining(self, symbol: str) -> tuple[Decimal, Decimal]:
        """Return how much of the buys and of the sells in a symbol may be live at once, units."""
        buys, sells = self._sides.get((symbol, Side.BUY)), self._sides.get((symbol, Side.SELL))
        return ZERO if buys is None else buys.total, ZERO if sells is None else sells.total

    def derive(self, clock: int) -> None:
        """Find all of them afresh."""
        self.by_id.clear()
        self.replacing = 0
        self._sides.clear()
        self._lapsing.clear()
        self._followers.clear()
        approvals = self._ledger.approvals
        for approval in approvals.values():
            if approval.replaces is not None:
                self._followers[approval.replaces].add(approval.intent_id)
        for intent_id in [intent_id for each in self._ledger.open.values() for intent_id in each]:
            self._renew(intent_id, approvals.get(intent_id), clock, set())

    def renew(self, intent_ids: Iterable[str], clock: int) -> set[tuple[str, str]]:
        """Bring some orders up to date, and those that the clock has ended.

        Args:
            intent_ids: Orders with another approval, or with other reports.
            clock: The account's, ns; never less than before.

        Returns:
            Symbol and intent id of those that are not what they were.
        """
        due, approvals = [*intent_ids], self._ledger.approvals
        while self._lapsing and self._lapsing[0][0] <= clock:
            due.append(heappop(self._lapsing)[1])
        seen: set[str] = set()
        changed: set[tuple[str, str]] = set()
        while due:
            intent_id = due.pop()
            if intent_id in seen:
                continue
            seen.add(intent_id)
            approval = approvals.get(intent_id)
            if approval is not None and approval.replaces is not None:
                self._followers[approval.replaces].add(intent_id)
            self._renew(intent_id, approval, clock, changed)
            if self._followers:
                due += self._followers.get(intent_id, ())
                if approval is None:
                    self._followers.pop(intent_id, None)
        return changed

    def _renew(self, intent_id: str, approval: Approval | None, clock: int, changed: set[tuple[str, str]]) -> None:
        """Bring one order up to date; if it is not what it was, it is added to `changed`."""
        before, after = self.by_id.get(intent_id), None
        if approval is not None:
            left = remaining(approval, self._ledger, self._book, clock)
            after = Order(approval, left) if left else None
        if before == after:
            return
        if before is not None:
            changed.add((before.approval.symbol, intent_id))
            place = before.approval.symbol, before.approval.side
            self._sides[place].take(before)
            if not self._sides[place].orders:
                del self._sides[place]
            self.replacing -= before.approval.replaces is not None
            del self.by_id[intent_id]
        if after is not None:
            changed.add((after.approval.symbol, intent_id))
            place = after.approval.symbol, after.approval.side
            if place not in self._sides:
                self._sides[place] = _SideOrders()
            self._sides[place].put(after)
            self.replacing += after.approval.replaces is not None
            self.by_id[intent_id] = after
            if before is None or before.approval is not after.approval:
                heappush(self._lapsing, (after.approval.expires_at + EXPIRY_GRACE, intent_id))

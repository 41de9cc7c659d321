"""Fills that no approval explains, and orders filled beyond theirs: kept order by order, for the warnings."""

from collections.abc import Iterable
from typing import Final

from models.folds.book import KEPT, ZERO, Book
from models.folds.ledger import EXPIRY_GRACE, Approval, Ledger
from models.messages import Side

NEVER: Final = -1


class Oddities:
    """What is odd about an account's orders, brought up to date order by order.

    Args:
        ledger: The account's approvals.
        book: What was reported of them.
    """

    def __init__(self, ledger: Ledger, book: Book) -> None:
        self._ledger = ledger
        self._book = book
        self._overfilled: dict[str, dict[str | None, int]] = {}
        """By symbol and intent id: orders that went beyond their approval, and when they were last executed, ns."""
        self._orphaned: dict[str, dict[str | None, int]] = {}
        """By symbol and intent id: when an execution last belonged to no approval, ns."""

    def derive(self) -> None:
        """Find all of them afresh."""
        self._overfilled.clear()
        self._orphaned.clear()
        for symbol in self._book.symbols:
            self.renew({(symbol, intent_id) for intent_id, _ in self._book.orders_of(symbol)})

    def renew(self, orders: Iterable[tuple[str, str | None]]) -> None:
        """Bring some orders up to date, given by symbol and intent id."""
        for symbol, intent_id in orders:
            reported = self._book.orders_of(symbol)
            if (intent_id, Side.BUY) not in reported and (intent_id, Side.SELL) not in reported:  # as of most orders
                _note(self._orphaned, symbol, intent_id, NEVER, odd=False)
                _note(self._overfilled, symbol, intent_id, NEVER, odd=False)
                continue
            approval = self._ledger.approvals.get(intent_id or "")
            if approval is not None and approval.symbol != symbol:
                approval = None
            executed, orphaned = self._times(symbol, intent_id, approval)
            over = approval is not None and self._is_overfilled(approval)
            _note(self._orphaned, symbol, intent_id, orphaned, odd=orphaned != NEVER)
            _note(self._overfilled, symbol, intent_id, executed, odd=over)

    def _times(self, symbol: str, intent_id: str | None, approval: Approval | None) -> tuple[int, int]:
        """Return when an order was last executed, and when that last belonged to no approval."""
        executed = orphaned = NEVER
        orders = self._book.orders_of(symbol)
        for side in Side:
            reported = orders.get((intent_id, side))
            if reported is None or reported.latest is None:
                continue
            executed = max(executed, reported.latest)
            if approval is None or approval.side is not side:
                orphaned = max(orphaned, reported.latest)
            elif (stray := reported.stray(approval.fills_offset)) is not None:
                orphaned = max(orphaned, stray)
        return executed, orphaned

    def _is_overfilled(self, approval: Approval) -> bool:
        reports = self._book.order(
            approval.intent_id, symbol=approval.symbol, side=approval.side, after=approval.fills_offset
        )
        return max(reports.filled, reports.replaced or ZERO) > approval.quantity

    def overfilled(self, symbol: str, clock: int, *, lapsed: bool = False) -> bool:
        """Tell whether a recent execution in `symbol`, or a replacement, went beyond its approval.

        Args:
            symbol: The symbol.
            clock: The account's, ns.
            lapsed: Look at orders, too, whose reservation has ended since the account's last decision.
        """
        found = self._overfilled.get(symbol)
        return found is not None and any(
            executed >= clock - KEPT or self._is_open(symbol, intent_id, clock, lapsed=lapsed)
            for intent_id, executed in found.items()
        )

    def _is_open(self, symbol: str, intent_id: str | None, clock: int, *, lapsed: bool) -> bool:
        approval = self._ledger.open.get(symbol, {}).get(intent_id or "")
        return approval is not None and (lapsed or clock < approval.expires_at + EXPIRY_GRACE)

    def orphaned(self, symbol: str, clock: int) -> bool:
        """Tell whether a recent execution in `symbol` belongs to no approval."""
        found = self._orphaned.get(symbol)
        return found is not None and any(executed >= clock - KEPT for executed in found.values())


def _note(
    by_symbol: dict[str, dict[str | None, int]], symbol: str, intent_id: str | None, executed: int, *, odd: bool
) -> None:
    if odd:
        by_symbol.setdefault(symbol, {})[intent_id] = executed
        return
    found = by_symbol.get(symbol)
    if found is not None and found.pop(intent_id, None) is not None and not found:
        del by_symbol[symbol]

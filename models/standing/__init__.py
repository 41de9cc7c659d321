"""What is derived from one account's tables, kept from decision to decision.

Nothing here is state: it is what the tables, the reference and the returns say, brought up to date by what was
folded since. It serves speed only; derived afresh it is the same.
"""

from collections.abc import Set as AbstractSet
from typing import Any

from models.folds.book import Book
from models.folds.correlation import Returns
from models.folds.drawdown import NORMAL, Assessment, Drawdown, assess
from models.folds.ledger import Ledger
from models.folds.reference import Bound, Reference
from models.folds.touched import Touched
from models.limits import Limits
from models.standing.oddities import Oddities
from models.standing.orders import OpenOrders
from models.standing.prices import Prices
from models.standing.spending import Spending
from models.standing.valuation import Valuation


class Standing:
    """An account's open orders, its holdings and what they are worth.

    Args:
        drawdown: One of its tables, like the others.
        book: What was executed.
        ledger: What was decided.
    """

    def __init__(self, drawdown: Drawdown, book: Book, ledger: Ledger) -> None:
        self._drawdown = drawdown
        self._book = book
        self._touched = drawdown.touched = book.touched = ledger.touched = Touched()
        self.orders = OpenOrders(ledger, book)
        self.oddities = Oddities(ledger, book)
        self.spending = Spending(ledger, book, self.orders)
        self.valuation = Valuation(drawdown, book, self.orders)
        self._clock = 0
        self._basis: tuple[Reference, int, Returns] | None = None
        self._returns_version = -1
        self._limits: Limits | None = None
        self._assessed_version = -1
        self._assessment = NORMAL
        self.conditions: tuple[object, list[Any]] | None = None
        """What the checks of the account alone found, and what for: theirs to keep."""

    def bring_to(self, clock: int, bound: Bound, reference: Reference, returns: Returns) -> Prices:
        """Bring everything up to a clock.

        Args:
            clock: The account's, ns.
            bound: The account's profile and currency.
            reference: They are from here, and the instruments.
            returns: The closes.

        Returns:
            What is known of prices then.
        """
        mark_age_max = None if bound.limits is None else bound.limits.mark_age_max
        prices = Prices(self._drawdown, self._book, returns, clock=clock, mark_age_max=mark_age_max)
        afresh = clock < self._clock or self._touched.whole
        if afresh:
            self.orders.derive(clock)
            self.oddities.derive()
            symbols: AbstractSet[str] = frozenset()
        else:
            symbols = self._renew_orders(clock)
        basis = (reference, reference.version, returns)
        if afresh or basis != self._basis:  # other limits, another currency, other instruments
            self.spending.forget()
            self.valuation.derive(prices, reference, bound.currency)
        else:
            self.valuation.renew(symbols, self._touched.marks - symbols, prices, reference, bound.currency)
            if returns.version != self._returns_version:
                self.valuation.renew_closes(prices, reference, bound.currency)
        self._touched.forget()
        self._clock, self._basis, self._returns_version = clock, basis, returns.version
        return prices

    def _renew_orders(self, clock: int) -> AbstractSet[str]:
        """Bring orders up to date, and return the symbols that are not what they were."""
        touched = self._touched
        changed = self.orders.renew((intent_id for _, intent_id in touched.orders if intent_id is not None), clock)
        if not (changed or touched.orders):
            return touched.symbols
        self.oddities.renew(touched.orders)
        self.spending.renew(touched.orders | changed)
        return touched.symbols.union(symbol for symbol, _ in changed)

    def assessment(self, limits: Limits) -> Assessment:
        """Return the account's status under its limits."""
        if self._limits is not limits or self._assessed_version != self._drawdown.version:
            self._limits, self._assessed_version = limits, self._drawdown.version
            self._assessment = assess(self._drawdown, limits)
        return self._assessment

"""What is derived from one account's tables, kept from decision to decision.

Nothing here is state: it is what the tables, the reference and the returns say, brought up to date by what was
folded since. It serves speed only; derived afresh it is the same.
"""

from typing import Any

from models.book import Book
from models.correlation import Returns
from models.drawdown import NORMAL, Assessment, Drawdown, assess
from models.ledger import Ledger
from models.limits import Limits
from models.oddities import Oddities
from models.orders import OpenOrders
from models.prices import Prices
from models.reference import Bound, Reference
from models.spending import Spending
from models.touched import Touched
from models.valuation import Valuation


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
        self._reference: Reference | None = None
        self._returns: Returns | None = None
        self._versions = (-1, -1)
        self._clock = 0
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
        versions = (reference.version, returns.version)
        same = self._reference is reference and self._returns is returns and self._versions[0] == versions[0]
        if not same or clock < self._clock or self._touched.whole:
            self._derive(prices, reference, bound.currency)
        else:
            self._renew(prices, reference, bound.currency, closes=self._versions[1] != versions[1])
        self._reference, self._returns, self._versions, self._clock = reference, returns, versions, clock
        return prices

    def _derive(self, prices: Prices, reference: Reference, currency: str | None) -> None:
        """Find all of it afresh: for the first time, at an earlier clock, or under other limits."""
        self._touched.forget()
        self.orders.derive(prices.clock)
        self.oddities.derive()
        self.spending.forget()
        self.valuation.derive(prices, reference, currency)

    def _renew(self, prices: Prices, reference: Reference, currency: str | None, *, closes: bool) -> None:
        touched = self._touched
        symbols, orders = touched.symbols, touched.orders
        changed = self.orders.renew((intent_id for _, intent_id in orders if intent_id is not None), prices.clock)
        if changed or orders:
            orders = orders | changed
            symbols = symbols.union(symbol for symbol, _ in changed)
            self.oddities.renew(orders)
            self.spending.renew(orders)
        self.valuation.renew(symbols, prices, reference, currency)
        if closes:
            self.valuation.renew_closes(prices, reference, currency)
        touched.forget()

    def assessment(self, limits: Limits) -> Assessment:
        """Return the account's status under its limits."""
        if self._limits is not limits or self._assessed_version != self._drawdown.version:
            self._limits, self._assessed_version = limits, self._drawdown.version
            self._assessment = assess(self._drawdown, limits)
        return self._assessment

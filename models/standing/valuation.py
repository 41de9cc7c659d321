"""What an account holds and what that is worth, kept symbol by symbol with the sums that checks ask for.

The plain definition is `holdings.holdings_of`, each holding appraised, and sums over all of them. Decimals are exact:
in which order a sum was brought up to date does not show.
"""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from models.canonical import DAY_NS
from models.folds.book import ZERO, Book
from models.folds.correlation import Cluster, Returns
from models.folds.drawdown import Drawdown
from models.folds.reference import SECTOR_UNKNOWN, Reference
from models.reasons import RejectReason
from models.standing.holdings import Holding
from models.standing.orders import OpenOrders
from models.standing.prices import Prices, Quote

GROUPS_MAX = 256
"""How many candidates' groups are kept beside those of symbols held: there is no end to the names intents have."""


class Valued(NamedTuple):
    """A holding with its price: amounts in account currency."""

    holding: Holding
    quote: Quote
    sector: str
    multiplier: Decimal
    value: Decimal
    """Price times multiplier: money per unit."""
    amount: Decimal
    """Worst-side exposure X."""
    if_bought: Decimal
    """Position in money once every open buy is filled and no sell is."""
    if_sold: Decimal
    """Position in money once every open sell is filled and no buy is."""


class Appraisal(NamedTuple):
    """What could be found out about a holding."""

    valued: Valued | None
    """None where it has no record or no price."""
    end: int
    """The first clock at which it may be another though nothing is folded, ns."""
    unsound: bool = True
    """There is something to say of it."""
    unknown: bool = False
    """It has no record."""
    foreign: bool = False
    """It trades in another currency than the account's."""
    fallback: bool = False
    """Its price is not fresh."""
    missing: RejectReason | None = None
    """What is wrong with its price, where it has none."""


def appraise(holding: Holding, prices: Prices, reference: Reference, currency: str | None) -> Appraisal:
    """Return what a holding is worth.

    Args:
        holding: The holding.
        prices: At the account's clock.
        reference: The instruments.
        currency: The account's; None where it has no record.
    """
    symbol = holding.symbol
    quote, missing = prices.mark(symbol), None
    fallback = quote is None
    if quote is None:
        quote, end = prices.fallback(symbol), (prices.day + 1) * DAY_NS
        if quote is None:
            missing = prices.missing(symbol)
    else:
        end = prices.holds_until(quote)
    instrument = reference.instrument(symbol)
    if instrument is None:
        return Appraisal(None, end, unknown=True, fallback=quote is not None and fallback, missing=missing)
    foreign = instrument.currency != currency
    if quote is None:
        return Appraisal(None, end, foreign=foreign, missing=missing)
    value = quote.price * instrument.multiplier
    # One number for what is the same: there are many holdings.
    amount = holding.worst * value
    if_bought = amount if holding.if_bought is holding.worst else holding.if_bought * value
    if_sold = if_bought if holding.if_sold is holding.if_bought else holding.if_sold * value
    sector = instrument.sector or SECTOR_UNKNOWN
    valued = Valued(holding, quote, sector, instrument.multiplier, value, amount, if_bought, if_sold)
    if not (foreign or fallback):
        return Appraisal(valued, end, unsound=False)
    return Appraisal(valued, end, foreign=foreign, fallback=fallback)


class Group(NamedTuple):
    """A candidate's correlated group among what the account holds."""

    cluster: Cluster
    symbols: frozenset[str]
    known: bool
    """Whether the correlation of the candidate with every member is known."""

    @classmethod
    def of(cls, cluster: Cluster) -> "Group":
        """Return a cluster with what is asked of it."""
        members = cluster.members
        return cls(cluster, frozenset(each.symbol for each in members), all(each.known for each in members))


class Valuation:
    """An account's holdings, appraised.

    Args:
        drawdown: Has adjustments and marks.
        book: Has positions.
        orders: What is open.
    """

    def __init__(self, drawdown: Drawdown, book: Book, orders: OpenOrders) -> None:
        self._drawdown = drawdown
        self._book = book
        self._orders = orders
        self.holdings: dict[str, Holding] = {}
        """Symbols with a position or an open order. What cancels out is not held: no price is needed for it."""
        self.valued: dict[str, Valued] = {}
        self.unsound: dict[str, Appraisal] = {}
        """Those of which there is something to say."""
        self.gross = ZERO
        """Sum of the exposures of `valued`, like the sums below money."""
        self.if_bought = ZERO
        """The net were all buys filled and no sells."""
        self.if_sold = ZERO
        """The net were all sells filled and no buys."""
        self.sectors: defaultdict[str, Decimal] = defaultdict(Decimal)
        """Exposures by sector."""
        self._ends: dict[str, int] = {}
        """Of each appraisal."""
        self._first_end = 0
        """None of them is before this."""
        self._times: defaultdict[int, int] = defaultdict(int)
        """How many quotes there are of each time, ns: few times, since one tick brings many marks."""
        self._groups: dict[str, Group] = {}
        """By candidate; as long as the same symbols are held."""
        self._groups_of = (-1, -1)
        """The day and the version of the returns that they are of."""

    def derive(self, prices: Prices, reference: Reference, currency: str | None) -> None:
        """Find all of it afresh."""
        self.holdings.clear()
        self.valued.clear()
        self.unsound.clear()
        self.gross = self.if_bought = self.if_sold = ZERO
        self.sectors.clear()
        self._ends.clear()
        self._first_end = 0
        self._times.clear()
        self._groups.clear()
        symbols = {*self._book.positions, *self._drawdown.adjustments, *self._orders.symbols}
        self.renew(symbols, (), prices, reference, currency)

    def renew(
        self,
        symbols: Iterable[str],
        marks: Iterable[str],
        prices: Prices,
        reference: Reference,
        currency: str | None,
    ) -> None:
        """Bring some symbols up to date, and those whose prices the clock has ended.

        Args:
            symbols: With another position, adjustment or open order.
            marks: With another mark and nothing else.
            prices: At the account's clock, which is never less than before.
            reference: Unchanged since `derive`, like the currency.
            currency: The account's; None where it has no record.
        """
        for symbol in symbols:
            self._renew(symbol, prices, reference, currency)
        for symbol in marks:
            self._appraise(symbol, prices, reference, currency)
        if prices.clock >= self._first_end:
            for symbol in [symbol for symbol, end in self._ends.items() if end <= prices.clock]:
                self._appraise(symbol, prices, reference, currency)
            self._first_end = min(self._ends.values(), default=prices.clock + DAY_NS)

    def renew_closes(self, prices: Prices, reference: Reference, currency: str | None) -> None:
        """Bring up to date what may rest on a close: returns have changed."""
        for symbol in [*self.unsound]:
            self._appraise(symbol, prices, reference, currency)

    def _renew(self, symbol: str, prices: Prices, reference: Reference, currency: str | None) -> None:
        holding = self._holding(symbol)
        if holding is not None:
            if symbol not in self.holdings:
                self._groups.clear()
            self.holdings[symbol] = holding
            self._appraise(symbol, prices, reference, currency)
        elif symbol in self.holdings:
            self._groups.clear()
            del self.holdings[symbol], self._ends[symbol]
            self.unsound.pop(symbol, None)
            self._replace(symbol, None)

    def _appraise(self, symbol: str, prices: Prices, reference: Reference, currency: str | None) -> None:
        holding = self.holdings.get(symbol)
        if holding is None:
            return
        appraisal = appraise(holding, prices, reference, currency)
        self._ends[symbol] = appraisal.end
        self._first_end = min(self._first_end, appraisal.end)
        if appraisal.unsound:
            self.unsound[symbol] = appraisal
        elif self.unsound:
            self.unsound.pop(symbol, None)
        self._replace(symbol, appraisal.valued)

    def _holding(self, symbol: str) -> Holding | None:
        position = self._book.position(symbol)
        if symbol in self._drawdown.adjustments:
            position += self._drawdown.adjustments[symbol]
        buying, selling = self._orders.remaining(symbol)
        if not (position or buying or selling):
            return None
        holding = Holding.of(symbol, position, buying, selling)
        return holding if holding.worst else None

    def _replace(self, symbol: str, after: Valued | None) -> None:
        """Put a holding's value in the place of what there was, in all sums."""
        before = self.valued.pop(symbol, None)
        if before is not None:
            self.gross -= before.amount
            self.if_bought -= before.if_bought
            self.if_sold -= before.if_sold
            self.sectors[before.sector] -= before.amount
            self._times[before.quote.time] -= 1
            if not self._times[before.quote.time]:
                del self._times[before.quote.time]
        if after is not None:
            self.valued[symbol] = after
            self.gross += after.amount
            self.if_bought += after.if_bought
            self.if_sold += after.if_sold
            self.sectors[after.sector] += after.amount
            self._times[after.quote.time] += 1

    # --- asking

    def oldest(self, candidate: str | None) -> int | None:
        """Return the least time of a quote, the candidate's aside, ns; None where there is none."""
        if not self._times:
            return None
        oldest, own = min(self._times), self.valued.get(candidate or "")
        if own is None or own.quote.time != oldest or self._times[oldest] > 1:
            return oldest
        return min((time for time in self._times if time != oldest), default=None)

    def group(self, candidate: str, returns: Returns, day: int) -> Group:
        """Return the candidate's correlated group.

        Args:
            candidate: A symbol, held or not.
            returns: What is known of correlations.
            day: Of the account's clock, days since 1970-01-01.
        """
        if self._groups_of != (day, returns.version):
            self._groups_of = (day, returns.version)
            self._groups.clear()
        group = self._groups.get(candidate)
        if group is None:
            if len(self._groups) >= GROUPS_MAX + len(self.holdings):
                self._groups.clear()
            group = self._groups[candidate] = Group.of(returns.cluster(candidate, self.holdings.keys(), day))
        return group

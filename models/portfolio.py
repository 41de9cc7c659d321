"""What an account holds and has open, and what that is worth: the joins that checks and reports share."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType

from models.folds.book import ZERO, Book
from models.folds.correlation import Returns
from models.folds.drawdown import Drawdown
from models.folds.ledger import Ledger
from models.folds.reference import Reference
from models.lazy import lazy
from models.messages import Instrument, LimitProfile
from models.reasons import RejectReason
from models.risk.models import RiskModels
from models.standing import Standing
from models.standing.holdings import Holding, holdings_of
from models.standing.orders import OpenOrders, Order
from models.standing.prices import Prices
from models.standing.valuation import Valuation, Valued, appraise


@dataclass(slots=True)
class Account:
    """One account's three tables, each a fold of one topic (the ledger: of two, in columns of their own)."""

    drawdown: Drawdown
    book: Book
    ledger: Ledger
    standing: Standing = field(init=False, compare=False, repr=False)
    """What is derived from them, kept."""

    def __post_init__(self) -> None:
        self.standing = Standing(self.drawdown, self.book, self.ledger)

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
        """What it takes to keep the account: the rows of its tables, and one for each holding that is valued."""
        derived = len(self.standing.valuation.holdings)
        return self.drawdown.row_count + self.book.row_count + self.ledger.row_count + derived


class Portfolio:
    """One account at one clock. Everything here is derived; what is kept of it belongs to the account's standing."""

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
        self.reference = reference
        self.returns = returns
        self.bound = reference.bound(name)
        """Its profile and its currency."""
        self.prices: Prices = account.standing.bring_to(clock, self.bound, reference, returns)
        self.day = self.prices.day
        self._models = models

    @property
    def models(self) -> RiskModels:
        """What returns and instruments say of risk."""
        if self._models is None:
            self._models = RiskModels(self.returns, self.reference)
        return self._models

    @property
    def limits(self) -> LimitProfile | None:
        """The profile bound to the account."""
        return self.bound.limits

    @lazy
    def equity(self) -> Decimal | None:
        """Equity of the last confirmed mark, where it is positive."""
        equity = self.account.drawdown.equity
        return equity if equity is not None and equity > 0 else None

    @property
    def valuation(self) -> Valuation:
        """What the account holds, valued."""
        return self.account.standing.valuation

    @property
    def orders(self) -> OpenOrders:
        """What remains of its approvals."""
        return self.account.standing.orders

    @property
    def open_orders(self) -> Mapping[str, Order]:
        """Approvals with something remaining, by intent id."""
        return self.orders.by_id

    @property
    def holdings(self) -> Mapping[str, Holding]:
        """Symbols with a position or an open order."""
        return self.valuation.holdings

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

    def others(
        self, candidate: str | None = None, also: Collection[str] = (), *, price_unknown: bool = True
    ) -> "Others":
        """Return every holding but the candidate's.

        Args:
            candidate: Its price has a ladder of its own.
            also: Symbols to price though the account holds nothing of them on balance.
            price_unknown: Name a price that is missing also where a symbol has no record.
        """
        return Others(self, candidate, also, price_unknown=price_unknown)


class Others:
    """The account's holdings but the candidate, as far as they could be priced."""

    unknown: tuple[str, ...] = ()
    """Those without a record, sorted."""
    missing: Mapping[RejectReason, list[str]] = MappingProxyType({})
    """Those without a price, by what is wrong with it, sorted."""
    foreign: tuple[str, ...] = ()
    """Those held that trade in another currency than the account's."""
    fallback = False
    """Whether a price is not fresh."""
    _more: Mapping[str, Valued] = MappingProxyType({})
    """Of what is not held."""

    def __init__(
        self, portfolio: Portfolio, candidate: str | None, also: Collection[str], *, price_unknown: bool
    ) -> None:
        valuation = portfolio.valuation
        self._candidate = candidate
        self._valuation = valuation
        self.gross = valuation.gross
        """The sum of their exposures, like the two below account currency."""
        self.if_bought = valuation.if_bought
        """Their net were all buys filled and no sells."""
        self.if_sold = valuation.if_sold
        """Their net were all sells filled and no buys."""
        self._own = None if candidate is None else valuation.valued.get(candidate)
        if self._own is not None:
            self.gross -= self._own.amount
            self.if_bought -= self._own.if_bought
            self.if_sold -= self._own.if_sold
        if valuation.unsound or also:
            self._look_at(portfolio, also, price_unknown=price_unknown)

    def _look_at(self, portfolio: Portfolio, also: Collection[str], *, price_unknown: bool) -> None:
        """Take in what there is to say."""
        appraisals = {**self._valuation.unsound}
        for symbol in also:
            if symbol not in self._valuation.holdings:
                appraisals[symbol] = appraise(
                    Holding.of(symbol), portfolio.prices, portfolio.reference, portfolio.bound.currency
                )
        appraisals.pop(self._candidate or "", None)
        more: dict[str, Valued] = {}
        missing: defaultdict[RejectReason, list[str]] = defaultdict(list)
        for symbol, each in sorted(appraisals.items()):
            if each.missing is not None and (price_unknown or not each.unknown):
                missing[each.missing].append(symbol)
            self.fallback |= each.fallback and (price_unknown or not each.unknown)
            if each.valued is not None and symbol not in self._valuation.holdings:
                more[symbol] = each.valued
        self.missing, self._more = missing, more
        self.unknown = tuple(symbol for symbol, each in sorted(appraisals.items()) if each.unknown)
        self.foreign = tuple(
            symbol for symbol, each in appraisals.items() if each.foreign and symbol in self._valuation.holdings
        )

    @property
    def complete(self) -> bool:
        """Whether every one has an instrument and a price."""
        return not self.unknown and not self.missing

    @property
    def unpriced(self) -> frozenset[str]:
        """Those that have none."""
        if self.complete:
            return frozenset()
        return frozenset(self.unknown).union(*self.missing.values())

    @property
    def valued(self) -> list[Valued]:
        """Those that have both, sorted."""
        valued = {**self._valuation.valued, **self._more}
        return [each for symbol, each in sorted(valued.items()) if symbol != self._candidate]

    def of(self, symbol: str) -> Valued | None:
        """Return one of them."""
        if symbol == self._candidate:
            return None
        valued = self._valuation.valued.get(symbol)
        return valued if valued is not None or not self._more else self._more.get(symbol)

    @property
    def count(self) -> int:
        """How many they are that have both."""
        return len(self._valuation.valued) + len(self._more) - (self._own is not None)

    @property
    def oldest(self) -> int | None:
        """The time of the oldest price, ns; None where there is none."""
        oldest = self._valuation.oldest(self._candidate)
        if not self._more:
            return oldest
        times = [valued.quote.time for valued in self._more.values()]
        return min(times if oldest is None else [*times, oldest])

    def in_sector(self, sector: str | None) -> Decimal:
        """Return the sum of their exposures in one sector, account currency."""
        amount = self._valuation.sectors.get(sector or "", ZERO)
        return amount - self._own.amount if self._own is not None and self._own.sector == sector else amount

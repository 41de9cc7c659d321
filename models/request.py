"""An order intent beside what is known of its account: the inputs that the checks share."""

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import NamedTuple

from models.canonical import DAY_NS, day_of, floor_to
from models.decisions import Input, Inputs, OtherInputs, Source, built
from models.folds.book import ZERO
from models.folds.correlation import Cluster
from models.folds.drawdown import Assessment
from models.folds.reference import SECTOR_UNKNOWN, Lane
from models.lazy import lazy
from models.limits import SizingMethod
from models.messages import (
    Instrument,
    LimitProfile,
    OrderIntent,
    OrderType,
    Side,
    StrategyState,
)
from models.portfolio import Others, Portfolio
from models.reasons import Flag, RejectReason
from models.risk.factors import FactorExposure, FactorModel
from models.risk.tail import Tail, TailModel, signed_amount
from models.sizing import PROBATION_SHARE, Sizing, size_opening
from models.standing.holdings import Holding
from models.standing.orders import Order, Together, units
from models.standing.prices import Quote
from models.standing.valuation import Group

REFERENCE_PRICE_TOLERANCE = Decimal("0.2")


class Candidate(NamedTuple):
    """The price of the intent's own symbol, or the reason why there is none."""

    quote: Quote | None
    missing: RejectReason | None = None
    from_intent: bool = False


class Size(NamedTuple):
    """A quantity split into what closes and what opens a position. Units."""

    quantity: Decimal
    reducing: Decimal
    opening: Decimal

    @property
    def reduces_only(self) -> bool:
        """A strict reduction: it is approved whatever the limits say."""
        return not self.opening and self.quantity > 0


class Money(NamedTuple):
    """What an exposure is measured by."""

    limits: LimitProfile
    equity: Decimal
    """Account currency, positive."""
    value: Decimal
    """Account currency per unit."""
    lot: Decimal
    """Units."""
    lot_value: Decimal
    """Account currency per lot."""
    before: Decimal
    """Exposure in the candidate before the intent, account currency."""
    start: Decimal
    """What it comes to once all that can be closed is, account currency: an opening adds to this."""
    no_worse: Decimal
    """The largest opening, in lots, after which it is no worse than before."""

    def lots(self, room: Decimal) -> Decimal:
        """Return the largest opening, in lots, that `room` pays for; money, not negative."""
        return room // self.lot_value * self.lot


class Request:
    """One intent, one portfolio, one clock.

    What nearly every decision asks for is found at once, the rest when a check asks for it.
    """

    def __init__(self, intent: OrderIntent, portfolio: Portfolio, *, rules: int) -> None:
        self.intent = intent
        self.portfolio = portfolio
        self.rules = rules
        """The version of the rules to decide by."""
        self.clock = portfolio.clock
        self.limits: LimitProfile | None = portfolio.limits
        """The account's profile."""
        self.buys = intent.side is Side.BUY
        self.lane: Lane = portfolio.reference.lane(intent.account, intent.strategy, intent.symbol)
        """What is said of the strategy in the account, and of the symbol."""
        self.instrument: Instrument | None = self.lane.instrument
        """The candidate's record."""
        self.holding: Holding = portfolio.holding(intent.symbol)
        """What the account has in the candidate before this intent."""
        self.target = self._find_target()
        """The live order of the same symbol and side in whose place this one comes."""
        self.slack = ZERO if self.target is None else Together(self._own_side(), units).slack(self.target)
        """How many units take the place of the target's, and add to nothing while both are live."""
        self.vacated: Holding = self.holding
        """The holding without what remains of the target: what this intent comes on top of."""
        if self.slack:
            self.vacated = self._with_side(self._side_of(self.holding) - self.slack)
        self.reducible: Decimal = self.vacated.reducible(intent.side)
        """What the intent can close, units: R."""
        self.opening_starts_at: Decimal = max(ZERO, self.vacated.if_bought if self.buys else -self.vacated.if_sold)
        """The side that the intent adds to, once all that can be closed is: its W is this plus the opening part."""
        self.mark: Quote | None = portfolio.prices.mark(intent.symbol)
        """The candidate's mark, where it is fresh."""
        self.candidate: Candidate = self._find_price()
        """The price ladder for the intent's own symbol."""
        quote, instrument = self.candidate.quote, self.instrument
        self.value: Decimal | None = None
        """Money per unit of the candidate: price times multiplier."""
        self.money: Money | None = None
        """What its exposure is measured by; None where an input is missing."""
        if quote is not None and instrument is not None:
            self.value = quote.price * instrument.multiplier
            if self.limits is not None and portfolio.equity is not None:
                self.money = self._measure(self.limits, portfolio.equity, self.value, instrument.lot)
        self._after: tuple[Size | None, Holding] = None, self.holding

    def _measure(self, limits: LimitProfile, equity: Decimal, value: Decimal, lot: Decimal) -> Money:
        worst, start = self.holding.worst, self.opening_starts_at
        no_worse = floor_to(worst - start, lot) if worst > start else ZERO
        return Money(limits, equity, value, lot, value * lot, worst * value, start * value, no_worse)

    def _find_target(self) -> Order | None:
        intent = self.intent
        if intent.replaces is None:
            return None
        order = self.portfolio.open_orders.get(intent.replaces)
        if order is None or (order.approval.symbol, order.approval.side) != (intent.symbol, intent.side):
            return None
        return order

    @lazy
    def own_slack(self) -> Decimal:
        """The slack among the strategy's own orders, for what is the strategy's own."""
        strategy = self.intent.strategy
        if self.target is None or self.target.approval.strategy != strategy:
            return ZERO
        own = [order for order in self._own_side() if order.approval.strategy == strategy]
        return Together(own, units).slack(self.target)

    def _own_side(self) -> Collection[Order]:
        """Return the open orders of the intent's symbol and side."""
        return self.portfolio.orders.of(self.intent.symbol, self.intent.side).values()

    def _side_of(self, holding: Holding) -> Decimal:
        return holding.buying if self.buys else holding.selling

    def _with_side(self, quantity: Decimal) -> Holding:
        holding = self.holding
        if self.buys:
            return Holding.of(holding.symbol, holding.position, quantity, holding.selling)
        return Holding.of(holding.symbol, holding.position, holding.buying, quantity)

    @lazy
    def budget(self) -> Decimal | None:
        """The strategy's share of equity, a fraction; None where it has no such limit."""
        record = self.lane.strategy
        if record is None or record.budget is None or self.rules == 1:
            return None
        return record.budget * PROBATION_SHARE if record.state is StrategyState.PROBATION else record.budget

    @lazy
    def attributed(self) -> dict[str, Holding]:
        """What the strategy has of each symbol."""
        return self.portfolio.attributed(self.intent.strategy)

    @lazy
    def others(self) -> Others:
        """The rest of the account, priced; with it what only the strategy's budget asks for."""
        also = () if self.budget is None else self.attributed
        return self.portfolio.others(self.intent.symbol, also, price_unknown=self.rules > 1)

    @lazy
    def assessment(self) -> Assessment | None:
        """The account's status; None without a profile."""
        return None if self.limits is None else self.portfolio.account.standing.assessment(self.limits)

    @property
    def strategy_state(self) -> StrategyState | None:
        """The strategy's state in the account; None where it is unknown."""
        return None if self.lane.strategy is None else self.lane.strategy.state

    # --- price

    def _find_price(self) -> Candidate:
        intent, mark = self.intent, self.mark
        if mark is not None:
            if intent.limit_price is not None and intent.limit_price > mark.price:
                return Candidate(self._own(intent.limit_price, Source.LIMIT_PRICE))
            return Candidate(mark)

        quote = self._price_from_intent()
        if quote is None or self.limits is None or self.limits.require_mark:
            return Candidate(None, self.portfolio.prices.missing(intent.symbol))
        return Candidate(quote, from_intent=True)

    def _price_from_intent(self) -> Quote | None:
        intent, prices = self.intent, self.portfolio.prices
        if intent.limit_price is not None and self.buys:  # it cannot fill above its limit
            fallback = prices.fallback(intent.symbol)
            if fallback is not None and fallback.price > intent.limit_price:
                return fallback
            return self._own(intent.limit_price, Source.LIMIT_PRICE)
        close = prices.close(intent.symbol)
        if intent.reference_price is None or close is None:
            return None
        if abs(intent.reference_price - close.price) > REFERENCE_PRICE_TOLERANCE * close.price:
            return None
        return self._own(intent.reference_price, Source.REFERENCE_PRICE)

    def _own(self, price: Decimal, source: Source) -> Quote:
        return Quote(price, source, self.intent.event_time)

    @lazy
    def sector(self) -> str | None:
        """The candidate's sector."""
        return None if self.instrument is None else self.instrument.sector or SECTOR_UNKNOWN

    # --- ATR and size

    @lazy
    def atr(self) -> Input | None:
        """The larger of the intent's and the marked ATR, where the latter is young enough."""
        own = self.intent.atr
        mark = self.portfolio.account.drawdown.marks.get(self.intent.symbol)
        if mark is not None and mark.atr is not None and self.limits is not None:
            age_in_days = self.portfolio.day - day_of(mark.atr_time)
            if age_in_days * DAY_NS <= self.limits.atr_age_max and (own is None or mark.atr > own):
                return _input(mark.atr, Source.MARK, self.clock - mark.atr_time)
        if own is None:
            return None
        return _input(own, Source.INTENT, self.clock - self.intent.event_time)

    @lazy
    def needs_atr(self) -> bool:
        """Whether the profile's sizing method needs an ATR for this intent."""
        return (
            self.limits is not None
            and self.limits.sizing_method in (SizingMethod.VOLATILITY_ADJUSTED, SizingMethod.KELLY)
            and self.intent.stop_distance is None
        )

    @lazy
    def sizing(self) -> Sizing | None:
        """The gate's own size for an opening; None where an input is missing."""
        limits, equity, quote, instrument = (
            self.limits,
            self.portfolio.equity,
            self.candidate.quote,
            self.instrument,
        )
        if limits is None:
            return None
        lacking = equity is None or quote is None or instrument is None or (self.needs_atr and self.atr is None)
        if self.rules == 1 and lacking:
            return None
        return size_opening(
            limits,
            self.intent,
            equity=equity,
            price=None if quote is None else quote.price,
            atr=None if self.atr is None else self.atr.value,
            lot=None if instrument is None else instrument.lot,
            multiplier=None if instrument is None else instrument.multiplier,
            probation=self.strategy_state is StrategyState.PROBATION,
        )

    @lazy
    def closes(self) -> bool:
        """Whether an absent quantity asks for what can be closed: there is a position on the other side."""
        position = self.holding.position
        return position < 0 if self.buys else position > 0

    @lazy
    def requested(self) -> Size | None:
        """What the intent asks for; None where the gate should size it and cannot."""
        if self.intent.quantity is not None:
            return self.split(self.intent.quantity)
        if self.closes:
            return self.split(self.reducible)
        if self.sizing is None or self.sizing.quantity is None or self.value is None:
            return None
        return self.split(self.sizing.quantity)

    def split(self, quantity: Decimal) -> Size:
        """Split a quantity into its reducing and its opening part."""
        reducing = min(quantity, self.reducible)
        return Size(quantity, reducing, quantity - reducing)

    def with_opening(self, opening: Decimal, *, reducing: Decimal) -> Size:
        """Return the size that opens `opening`, floored to the lot; the reducing part needs no lot."""
        floored = self.in_lots(opening)
        return Size(reducing + floored, reducing, floored)

    def in_lots(self, opening: Decimal) -> Decimal:
        """Return a quantity floored to the lot; zero where it is not positive."""
        return max(ZERO, opening) if self.instrument is None else floor_to(opening, self.instrument.lot)

    # --- exposure

    def after(self, size: Size) -> Holding:
        """Return the candidate's holding once an order of this size is open."""
        if self._after[0] is not size:
            quantity = self._side_of(self.vacated) + size.quantity
            if self.slack:
                quantity = max(quantity, self._side_of(self.holding))
            self._after = size, self._with_side(quantity)
        return self._after[1]

    @property
    def cluster(self) -> Cluster:
        """The candidate's correlated group among the account's symbols."""
        return self.group.cluster

    @lazy
    def group(self) -> Group:
        """The same, with what is asked of it."""
        portfolio, symbol = self.portfolio, self.intent.symbol
        if self.rules == 1:
            held = [valued.holding.symbol for valued in self.others.valued]
            return Group.of(portfolio.returns.cluster(symbol, held, portfolio.day))
        return portfolio.valuation.group(symbol, portfolio.returns, portfolio.day)

    def unpriced(self, symbols: Iterable[str]) -> bool:
        """Tell whether one of these symbols, the candidate aside, could not be valued."""
        if self.rules == 1:
            return not self.others.complete
        return bool(self.others.unpriced) and not self.others.unpriced.isdisjoint(symbols)

    @lazy
    def closes_only(self) -> bool:
        """Whether an absent quantity asks to close, and never for an opening."""
        return self.rules > 1 and self.intent.quantity is None and self.closes

    # --- models

    @lazy
    def amounts(self) -> dict[str, Decimal]:
        """Signed money by symbol on the worst side, before the intent; the candidate is always there.

        Nothing where the account could not be valued whole.
        """
        if self.limits is None or self.portfolio.equity is None or self.value is None:
            return {}
        if self.unpriced(self.portfolio.holdings):
            return {}
        held = {
            valued.holding.symbol: signed_amount(valued.holding.if_bought, valued.holding.if_sold, valued.value)
            for valued in self.others.valued
            if valued.holding.worst
        }
        return held | {self.intent.symbol: signed_amount(self.holding.if_bought, self.holding.if_sold, self.value)}

    def amount_after(self, size: Size) -> Decimal:
        """Return the candidate's signed money once an order of this size is open."""
        assert self.value is not None
        after = self.after(size)
        return signed_amount(after.if_bought, after.if_sold, self.value)

    @lazy
    def tail_model(self) -> TailModel | tuple[str, ...]:
        """The model of the account's symbols, the candidate included; or the symbols that lack returns."""
        return self.portfolio.models.tail(self.amounts)

    @lazy
    def tail(self) -> Tail | None:
        """Tail risk before the intent; None where it cannot be had."""
        if not self.amounts or isinstance(self.tail_model, tuple):
            return None
        return self.tail_model.value(self.amounts)

    def tail_after(self, size: Size) -> Tail:
        """Return tail risk once an order of this size is open; only where it can be had."""
        assert self.tail is not None
        amount = self.amount_after(size)
        tail = self._tails.get(amount)
        if tail is None:
            tail = self._tails[amount] = self.tail.replace(self.intent.symbol, amount)
        return tail

    @lazy
    def _tails(self) -> dict[Decimal, Tail]:
        """By amount: two limits ask for the same sizes."""
        return {}

    @lazy
    def factor_model(self) -> FactorModel:
        """The model of the market and the sectors."""
        return self.portfolio.models.factors()

    @lazy
    def factors(self) -> FactorExposure | None:
        """What the account holds of each factor before the intent; None where that cannot be had."""
        if self.limits is None or not self.amounts or self.factor_model.unknown(self.amounts):
            return None
        return self.factor_model.exposure(self.amounts, sectors=self.limits.factor_max is not None)

    # --- what the decision rests on

    @property
    def inputs(self) -> Inputs:
        """Price, ATR and equity with source and age; of the other prices the count and the oldest."""
        drawdown, quote, clock, oldest = (
            self.portfolio.account.drawdown,
            self.candidate.quote,
            self.clock,
            self.others.oldest,
        )
        equity, others = drawdown.equity, None
        if oldest is not None:
            others = built(OtherInputs, {"count": self.others.count, "oldest": clock - oldest})
        return built(
            Inputs,
            {
                "price": None if quote is None else _input(quote.price, quote.source, clock - quote.time),
                "atr": self.atr,
                "equity": None if equity is None else _input(equity, Source.MARK, clock - drawdown.equity_time),
                "others": others,
            },
        )

    def flags(self) -> list[Flag]:
        """Return warnings that are no checks."""
        oddities, symbol = self.portfolio.account.standing.oddities, self.intent.symbol
        flags = []
        if self.others.fallback:
            flags.append(Flag.PRICE_FALLBACK)
        if self.candidate.from_intent:
            flags.append(Flag.PRICE_FROM_INTENT)
        if not self.group.known:
            flags.append(Flag.RETURNS_INSUFFICIENT)
        if oddities.overfilled(symbol, self.clock, lapsed=self.rules == 1):
            flags.append(Flag.OVERFILL)
        if oddities.orphaned(symbol, self.clock):
            flags.append(Flag.ORPHAN_FILL)
        if self.strategy_state is StrategyState.PROBATION:
            flags.append(Flag.STRATEGY_PROBATION)
        return flags

    @property
    def is_market(self) -> bool:
        """Whether this is a MARKET order, which may cost more than its price."""
        return self.intent.order_type is OrderType.MARKET


def _input(value: Decimal, source: Source, age: int) -> Input:
    return built(Input, {"value": value, "source": source, "age": age})

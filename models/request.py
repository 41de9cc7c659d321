"""An order intent beside what is known of its account: the inputs that the checks share."""

from collections.abc import Iterable
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

from models.book import ZERO
from models.canonical import DAY_NS, day_of, floor_to
from models.correlation import Cluster
from models.decisions import Input, Inputs, OtherInputs, Source
from models.drawdown import Assessment, assess
from models.holdings import Holding
from models.limits import SizingMethod
from models.messages import (
    Instrument,
    LimitProfile,
    OrderIntent,
    OrderType,
    Side,
    StrategyRecord,
    StrategyState,
)
from models.orders import Order, Together, units
from models.portfolio import Others, Portfolio, Quote
from models.reasons import Flag, RejectReason
from models.reference import SECTOR_UNKNOWN
from models.risk.factors import FactorExposure, FactorModel
from models.risk.tail import Tail, TailModel, signed_amount
from models.sizing import PROBATION_SHARE, Sizing, size_opening

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


class Request:
    """One intent, one portfolio, one clock. Lazy: what a check does not ask for is not computed."""

    def __init__(self, intent: OrderIntent, portfolio: Portfolio, *, rules: int) -> None:
        self.intent = intent
        self.portfolio = portfolio
        self.rules = rules
        """The version of the rules to decide by."""

    @cached_property
    def limits(self) -> LimitProfile | None:
        """The account's profile."""
        return self.portfolio.limits

    @cached_property
    def instrument(self) -> Instrument | None:
        """The candidate's record."""
        return self.portfolio.instrument(self.intent.symbol)

    @cached_property
    def holding(self) -> Holding:
        """What the account has in the candidate before this intent."""
        return self.portfolio.holding(self.intent.symbol)

    @cached_property
    def target(self) -> Order | None:
        """The live order of the same symbol and side in whose place this one comes."""
        order = self.portfolio.open_orders.get(self.intent.replaces or "")
        if order is None or (order.approval.symbol, order.approval.side) != (self.intent.symbol, self.intent.side):
            return None
        return order

    @cached_property
    def vacated(self) -> Holding:
        """The holding without what remains of the target: what this intent comes on top of."""
        return self._with_side(self._side_of(self.holding) - self.slack) if self.slack else self.holding

    @cached_property
    def slack(self) -> Decimal:
        """How many units take the place of the target's, and add to nothing while both are live."""
        return ZERO if self.target is None else Together(self._own_side(), units).slack(self.target)

    @cached_property
    def own_slack(self) -> Decimal:
        """The same among the strategy's own orders, for what is the strategy's own."""
        strategy = self.intent.strategy
        if self.target is None or self.target.approval.strategy != strategy:
            return ZERO
        own = [order for order in self._own_side() if order.approval.strategy == strategy]
        return Together(own, units).slack(self.target)

    def _own_side(self) -> list[Order]:
        """Return the open orders of the intent's symbol and side."""
        own = (self.intent.symbol, self.intent.side)
        orders = self.portfolio.open_orders.values()
        return [order for order in orders if (order.approval.symbol, order.approval.side) == own]

    def _side_of(self, holding: Holding) -> Decimal:
        return holding.buying if self.intent.side is Side.BUY else holding.selling

    def _with_side(self, quantity: Decimal) -> Holding:
        if self.intent.side is Side.BUY:
            return Holding.of(self.holding.symbol, self.holding.position, quantity, self.holding.selling)
        return Holding.of(self.holding.symbol, self.holding.position, self.holding.buying, quantity)

    @cached_property
    def reducible(self) -> Decimal:
        """What the intent can close, units: R."""
        return self.vacated.reducible(self.intent.side)

    @cached_property
    def budget(self) -> Decimal | None:
        """The strategy's share of equity, a fraction; None where it has no such limit."""
        record = self.strategy
        if record is None or record.budget is None or self.rules == 1:
            return None
        return record.budget * PROBATION_SHARE if record.state is StrategyState.PROBATION else record.budget

    @cached_property
    def attributed(self) -> dict[str, Holding]:
        """What the strategy has of each symbol."""
        return self.portfolio.attributed(self.intent.strategy)

    @cached_property
    def others(self) -> Others:
        """The rest of the account, priced; with it what only the strategy's budget asks for."""
        also = () if self.budget is None else self.attributed
        return self.portfolio.value_others(self.intent.symbol, also, price_unknown=self.rules > 1)

    @cached_property
    def assessment(self) -> Assessment | None:
        """The account's status; None without a profile."""
        return None if self.limits is None else assess(self.portfolio.account.drawdown, self.limits)

    @cached_property
    def strategy(self) -> StrategyRecord | None:
        """What is said of the strategy in the account."""
        return self.portfolio.reference.strategy(self.intent.strategy, self.intent.account)

    @property
    def strategy_state(self) -> StrategyState | None:
        """The strategy's state in the account; None where it is unknown."""
        return None if self.strategy is None else self.strategy.state

    # --- price

    @cached_property
    def candidate(self) -> Candidate:
        """The price ladder for the intent's own symbol."""
        intent, portfolio = self.intent, self.portfolio
        mark = portfolio.mark(intent.symbol)
        if mark is not None:
            if intent.limit_price is not None and intent.limit_price > mark.price:
                return Candidate(self._own(intent.limit_price, Source.LIMIT_PRICE))
            return Candidate(mark)

        quote = self._price_from_intent()
        if quote is None or self.limits is None or self.limits.require_mark:
            return Candidate(None, portfolio.missing_price(intent.symbol))
        return Candidate(quote, from_intent=True)

    def _price_from_intent(self) -> Quote | None:
        intent = self.intent
        if intent.limit_price is not None and intent.side is Side.BUY:  # it cannot fill above its limit
            fallback = self.portfolio.fallback(intent.symbol)
            if fallback is not None and fallback.price > intent.limit_price:
                return fallback
            return self._own(intent.limit_price, Source.LIMIT_PRICE)
        close = self.portfolio.close(intent.symbol)
        if intent.reference_price is None or close is None:
            return None
        if abs(intent.reference_price - close.price) > REFERENCE_PRICE_TOLERANCE * close.price:
            return None
        return self._own(intent.reference_price, Source.REFERENCE_PRICE)

    def _own(self, price: Decimal, source: Source) -> Quote:
        return Quote(price, source, self.portfolio.clock - self.intent.event_time)

    @cached_property
    def value(self) -> Decimal | None:
        """Money per unit of the candidate: price times multiplier."""
        quote = self.candidate.quote
        return None if quote is None or self.instrument is None else quote.price * self.instrument.multiplier

    @cached_property
    def sector(self) -> str | None:
        """The candidate's sector."""
        return None if self.instrument is None else self.instrument.sector or SECTOR_UNKNOWN

    # --- ATR and size

    @cached_property
    def atr(self) -> Input | None:
        """The larger of the intent's and the marked ATR, where the latter is young enough."""
        own = self.intent.atr
        mark = self.portfolio.account.drawdown.marks.get(self.intent.symbol)
        if mark is not None and mark.atr is not None and self.limits is not None:
            age_in_days = self.portfolio.day - day_of(mark.atr_time)
            if age_in_days * DAY_NS <= self.limits.atr_age_max and (own is None or mark.atr > own):
                return _input(mark.atr, Source.MARK, self.portfolio.clock - mark.atr_time)
        if own is None:
            return None
        return _input(own, Source.INTENT, self.portfolio.clock - self.intent.event_time)

    @cached_property
    def needs_atr(self) -> bool:
        """Whether the profile's sizing method needs an ATR for this intent."""
        return (
            self.limits is not None
            and self.limits.sizing_method in (SizingMethod.VOLATILITY_ADJUSTED, SizingMethod.KELLY)
            and self.intent.stop_distance is None
        )

    @cached_property
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

    @cached_property
    def closes(self) -> bool:
        """Whether an absent quantity asks for what can be closed: there is a position on the other side."""
        position = self.holding.position
        return position < 0 if self.intent.side is Side.BUY else position > 0

    @cached_property
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
        floored = opening if self.instrument is None else floor_to(opening, self.instrument.lot)
        return Size(reducing + floored, reducing, floored)

    # --- exposure

    def after(self, size: Size) -> Holding:
        """Return the candidate's holding once an order of this size is open."""
        return self._with_side(max(self._side_of(self.holding), self._side_of(self.vacated) + size.quantity))

    @cached_property
    def opening_starts_at(self) -> Decimal:
        """The side that the intent adds to, once all that can be closed is: its W is this plus the opening part."""
        vacated = self.vacated
        return max(ZERO, vacated.if_bought if self.intent.side is Side.BUY else -vacated.if_sold)

    def largest_opening(self, room: Decimal) -> Decimal | None:
        """Return the largest opening, in lots, whose exposure fits into `room` or is no worse than before.

        Args:
            room: Money left for the candidate's own exposure under the limit; may be negative.
        """
        if self.value is None or self.instrument is None:
            return None
        lot, start = self.instrument.lot, self.opening_starts_at
        within = max(ZERO, room - start * self.value) // (self.value * lot) * lot
        no_worse = floor_to(self.holding.worst - start, lot)
        return max(within, no_worse)

    @cached_property
    def cluster(self) -> Cluster:
        """The candidate's correlated group among the account's symbols."""
        if self.rules == 1:
            held = [valued.holding.symbol for valued in self.others.valued if valued.holding.worst]
        else:
            held = [symbol for symbol in self.portfolio.holdings if symbol != self.intent.symbol]
        return self.portfolio.returns.cluster(self.intent.symbol, held, self.portfolio.day)

    def unpriced(self, symbols: Iterable[str]) -> bool:
        """Tell whether one of these symbols, the candidate aside, could not be valued."""
        if self.rules == 1:
            return not self.others.complete
        return bool(self.others.unpriced) and not self.others.unpriced.isdisjoint(symbols)

    @cached_property
    def closes_only(self) -> bool:
        """Whether an absent quantity asks to close, and never for an opening."""
        return self.rules > 1 and self.intent.quantity is None and self.closes

    # --- models

    @cached_property
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

    @cached_property
    def tail_model(self) -> TailModel | tuple[str, ...]:
        """The model of the account's symbols, the candidate included; or the symbols that lack returns."""
        return self.portfolio.models.tail(self.amounts)

    @cached_property
    def tail(self) -> Tail | None:
        """Tail risk before the intent; None where it cannot be had."""
        if not self.amounts or isinstance(self.tail_model, tuple):
            return None
        return self.tail_model.value(self.amounts)

    @cached_property
    def factor_model(self) -> FactorModel:
        """The model of the market and the sectors."""
        return self.portfolio.models.factors()

    @cached_property
    def factors(self) -> FactorExposure | None:
        """What the account holds of each factor before the intent; None where that cannot be had."""
        if not self.amounts or any(self.factor_model.beta(symbol) is None for symbol in self.amounts):
            return None
        return self.factor_model.exposure(self.amounts)

    # --- what the decision rests on

    @property
    def inputs(self) -> Inputs:
        """Price, ATR and equity with source and age; of the other prices the count and the oldest."""
        drawdown, quote = self.portfolio.account.drawdown, self.candidate.quote
        ages = [valued.quote.age for valued in self.others.valued]
        return Inputs.model_construct(
            price=None if quote is None else _input(*quote),
            atr=self.atr,
            equity=None
            if drawdown.equity is None
            else _input(drawdown.equity, Source.MARK, self.portfolio.clock - drawdown.equity_time),
            others=OtherInputs.model_construct(count=len(ages), oldest=max(ages)) if ages else None,
        )

    def flags(self) -> list[Flag]:
        """Return warnings that are no checks."""
        portfolio, symbol = self.portfolio, self.intent.symbol
        found = {
            Flag.PRICE_FALLBACK: bool(self.others.fallbacks),
            Flag.PRICE_FROM_INTENT: self.candidate.from_intent,
            Flag.RETURNS_INSUFFICIENT: any(not member.known for member in self.cluster.members),
            Flag.OVERFILL: portfolio.overfilled(symbol, lapsed=self.rules == 1),
            Flag.ORPHAN_FILL: portfolio.orphaned(symbol),
            Flag.STRATEGY_PROBATION: self.strategy_state is StrategyState.PROBATION,
        }
        return [flag for flag, present in found.items() if present]

    @property
    def is_market(self) -> bool:
        """Whether this is a MARKET order, which may cost more than its price."""
        return self.intent.order_type is OrderType.MARKET


def _input(value: Decimal, source: Source, age: int) -> Input:
    return Input.model_construct(value=value, source=source, age=age)

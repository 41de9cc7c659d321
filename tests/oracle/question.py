"""One intent and all that is known when it is decided: prices, sides, exposures, sizes, money."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from tests.oracle.book import SIGN, ZERO, Book, Execution
from tests.oracle.equity import Equity, walk
from tests.oracle.history import DAY, KEPT, Account, History, Order, Wire, day_of, exact, floor_to, optional
from tests.oracle.returns import AGE_MAX, Returns
from tests.oracle.rulebook import Rulebook

FALLBACK = Fraction(110, 100)
NEAR = Fraction(20, 100)
MARKET_MARGIN = Fraction(101, 100)


@dataclass(frozen=True)
class Price:
    """A price, or why there is none: `missing` is 18 or 19."""

    value: Fraction | None
    missing: int | None = None
    flag: str | None = None


class Question:
    """What the checks of one intent ask of the history."""

    def __init__(self, history: History, intent: Wire, clock: int) -> None:
        self.intent, self.clock = intent, clock
        self.name, self.symbol, self.side = intent["account"], intent["symbol"], intent["side"]
        self.strategy = intent["strategy"]
        self.account: Account = history.account(self.name)
        self.book = Book(self.account, clock)
        self.equity: Equity = history.remembered(walk, self.account.ticks)
        self.returns = history.remembered(Returns, history.returns)
        self.rules = history.remembered(Rulebook, history.reference)
        self.limits = self.rules.limits(self.name)
        self.instrument = self.rules.instrument(self.symbol)
        self.record = self.rules.strategy(self.strategy, self.name)
        self.market = intent["order_type"] == "MARKET"
        self.lot = exact(self.instrument["lot"]) if self.instrument else Fraction(1)
        self.target = self.book.target(intent.get("replaces"), self.symbol, self.side)
        self.probation = self.record is not None and self.record["state"] == "PROBATION"
        self._known_sides: dict[tuple[str, str | None], tuple[Fraction, Fraction, Fraction]] = {}
        self._known_totals: dict[tuple[frozenset[str], str | None], Fraction | None] = {}
        self._known_units: dict[str, Fraction | None] = {}
        self.held = {s for s, units in self.book.positions.items() if units != 0}
        self.busy = self.held | {o.symbol for o in self.book.open}
        """Every symbol with a position or an open order."""
        self.price = self._candidate_price()
        self.prices = {s: self.price if s == self.symbol else self.other_price(s) for s in self.busy | {self.symbol}}

    # --- equity

    @cached_property
    def value(self) -> Fraction | None:
        """E where it is positive, else None: then no limit can be told."""
        equity = self.equity.equity
        return equity if equity is not None and equity > 0 else None

    def limit(self, name: str) -> Fraction | None:
        """Return a limit of the profile."""
        return None if self.limits is None else optional(self.limits[name])

    # --- prices

    def fresh_mark(self, symbol: str) -> Fraction | None:
        """Return a symbol's mark if it is not stale."""
        mark = self.equity.mark(symbol)
        if mark is None or self.limits is None or self.clock - mark.price_time > self.limits["mark_age_max"]:
            return None
        return mark.price

    def fallback(self, symbol: str) -> Fraction | None:
        """Return the latest close or fill within five days, times 1.10."""
        close = self.returns.close(symbol, self.clock)
        if close is not None:
            return close[0] * FALLBACK
        fills = [e for e in self.book.executions if e.symbol == symbol]
        if fills:
            last = max(fills, key=lambda e: (e.event_time, e.offset))
            if day_of(self.clock) - day_of(last.event_time) <= AGE_MAX:
                return last.price * FALLBACK
        return None

    def _missing(self, symbol: str) -> Price:
        seen = (
            self.equity.mark(symbol) is not None
            or self.returns.had_close(symbol)
            or any(e.symbol == symbol for e in self.book.executions)
        )
        return Price(None, 19 if seen else 18)

    def other_price(self, symbol: str) -> Price:
        """Return the price of a symbol that is not the candidate."""
        if self.limits is None:
            return Price(None)
        mark = self.fresh_mark(symbol)
        if mark is not None:
            return Price(mark)
        fallback = self.fallback(symbol)
        return self._missing(symbol) if fallback is None else Price(fallback, flag="PRICE_FALLBACK")

    def _candidate_price(self) -> Price:
        limit_price = optional(self.intent.get("limit_price"))
        mark = self.fresh_mark(self.symbol)
        if mark is not None:
            return Price(max(mark, limit_price or ZERO))
        if self.limits is None or self.limits["require_mark"]:
            return self._missing(self.symbol)
        if self.side == "BUY" and limit_price is not None:
            return Price(max(limit_price, self.fallback(self.symbol) or ZERO), flag="PRICE_FROM_INTENT")
        reference, close = optional(self.intent.get("reference_price")), self.returns.close(self.symbol, self.clock)
        if reference is not None and close is not None and abs(reference - close[0]) <= NEAR * close[0]:
            return Price(reference, flag="PRICE_FROM_INTENT")
        return self._missing(self.symbol)

    def unit(self, symbol: str) -> Fraction | None:
        """Return what one unit of a symbol is worth, None where price or instrument is missing."""
        if symbol not in self._known_units:
            price = self.prices[symbol] if symbol in self.prices else self.other_price(symbol)
            instrument = self.rules.instrument(symbol)
            if price.value is None or instrument is None:
                self._known_units[symbol] = None
            else:
                self._known_units[symbol] = price.value * exact(instrument["multiplier"])
        return self._known_units[symbol]

    # --- sides and capacity

    @cached_property
    def position(self) -> Fraction:
        """P of the candidate."""
        return self.book.positions[self.symbol]

    @cached_property
    def slack(self) -> Fraction:
        """Return what the new order may amount to before its side's total grows."""
        return self.book.slack(self.target, self.book.side(self.symbol, self.side), self.book.left)

    @cached_property
    def capacity(self) -> Fraction:
        """R: how much of the position the intent may still close."""
        open_there = self.book.reserved(self.symbol, self.side) - self.slack
        return max(ZERO, -SIGN[self.side] * self.position - open_there)

    def _before(self, symbol: str, strategy: str | None) -> tuple[Fraction, Fraction, Fraction]:
        """Return position, open buys and open sells without the intent, of one strategy where it is named."""
        key = (symbol, strategy)
        if key not in self._known_sides:
            position = self.book.positions[symbol] if strategy is None else self.book.parts[symbol, strategy]
            buys, sells = (self.book.reserved(symbol, side, strategy) for side in SIGN)
            self._known_sides[key] = (position, buys, sells)
        return self._known_sides[key]

    @cached_property
    def _own_slack(self) -> Fraction:
        if self.target is None or self.target.strategy != self.strategy:
            return ZERO
        return self.book.slack(self.target, self.book.side(self.symbol, self.side, self.strategy), self.book.left)

    def sides(self, symbol: str, quantity: Fraction, strategy: str | None = None) -> tuple[Fraction, Fraction]:
        """Return P + B and P - S with the intent at a quantity, of one strategy where it is named."""
        position, buys, sells = self._before(symbol, strategy)
        if symbol == self.symbol and quantity > 0:
            more = max(ZERO, quantity - (self.slack if strategy is None else self._own_slack))
            if self.side == "BUY":
                buys += more
            else:
                sells += more
        return position + buys, position - sells

    def exposure(self, symbol: str, quantity: Fraction, strategy: str | None = None) -> Fraction | None:
        """X of a symbol with the intent at a quantity."""
        high, low = self.sides(symbol, quantity, strategy)
        worst = max(abs(high), abs(low))
        if worst == 0:
            return ZERO
        unit = self.unit(symbol)
        return None if unit is None else worst * unit

    def _total_of_others(self, symbols: frozenset[str], strategy: str | None) -> Fraction | None:
        """Return the sum of X over symbols but the candidate, which no size changes."""
        key = (symbols, strategy)
        if key not in self._known_totals:
            exposures = [self.exposure(s, ZERO, strategy) for s in symbols if s != self.symbol]
            known = [x for x in exposures if x is not None]
            self._known_totals[key] = None if len(known) < len(exposures) else sum(known, ZERO)
        return self._known_totals[key]

    def total(self, symbols: frozenset[str], quantity: Fraction, strategy: str | None = None) -> Fraction | None:
        """Return the sum of X over symbols, None where one is unknown; of one strategy where it is named."""
        others = self._total_of_others(symbols, strategy)
        own = self.exposure(self.symbol, quantity, strategy) if self.symbol in symbols else ZERO
        return None if others is None or own is None else others + own

    @cached_property
    def _net_of_others(self) -> tuple[Fraction, Fraction] | None:
        high = low = ZERO
        for s in self.busy - {self.symbol}:
            (up, down), unit = self.sides(s, ZERO), self.unit(s)
            if unit is None:
                return None
            high, low = high + up * unit, low + down * unit
        return high, low

    def net(self, quantity: Fraction) -> Fraction | None:
        """Return the worst net value of everything."""
        others, unit = self._net_of_others, self.unit(self.symbol)
        if others is None or unit is None:
            return None
        up, down = self.sides(self.symbol, quantity)
        return max(abs(others[0] + up * unit), abs(others[1] + down * unit))

    def sector(self, symbol: str) -> str:
        """Return the sector a symbol is gated in."""
        instrument = self.rules.instrument(symbol)
        return "UNKNOWN" if instrument is None or instrument["sector"] is None else str(instrument["sector"])

    def sector_mates(self) -> frozenset[str]:
        """Return the symbols of the candidate's sector."""
        return frozenset(s for s in self.busy | {self.symbol} if self.sector(s) == self.sector(self.symbol))

    def own_symbols(self) -> set[str]:
        """Return the symbols in which the strategy holds or has open anything, and the candidate."""
        parts = {s for (s, strategy), units in self.book.parts.items() if strategy == self.strategy and units != 0}
        return parts | {o.symbol for o in self.book.open if o.strategy == self.strategy} | {self.symbol}

    # --- sizing

    def atr(self) -> Fraction | None:
        """Return the larger of the intent's range and the marked one."""
        given = optional(self.intent.get("atr"))
        mark = self.equity.mark(self.symbol)
        if mark is not None and mark.atr is not None and self.limits is not None:
            days = day_of(self.clock) - day_of(mark.atr_time)
            if days * DAY <= self.limits["atr_age_max"]:
                return max(mark.atr, given or ZERO)
        return given

    def edge(self) -> Fraction:
        """f* of Kelly."""
        p, b = exact(self.intent["win_rate"]), exact(self.intent["payoff"])
        return p - (1 - p) / b

    def too_few_trades(self) -> bool:
        """Whether Kelly lacks what it needs."""
        fields = [self.intent.get(name) for name in ("win_rate", "payoff", "trades")]
        return None in fields or self.intent["trades"] < (self.limits or {})["kelly_trades_min"]

    def needs_range(self) -> bool:
        """Whether the method sizes by a range."""
        return self.limits is not None and self.limits["sizing_method"] in ("VOLATILITY_ADJUSTED", "KELLY")

    def distance(self) -> Fraction | None:
        """Return how far the stop is."""
        given, atr, multiple = optional(self.intent.get("stop_distance")), self.atr(), self.limit("atr_multiple")
        if given is not None:
            return given
        return None if atr is None or multiple is None else atr * multiple

    def sized(self) -> Fraction | None:
        """Return the opening that the method gives, None where it gives none."""
        equity = self.value
        if self.limits is None or self.instrument is None or equity is None:
            return None
        method = self.limits["sizing_method"]
        if method == "NONE":
            return None
        unit = self.distance() if self.needs_range() else self.price.value
        if unit is None:
            return None
        if method == "VOLATILITY_ADJUSTED":
            budget = exact(self.limits["risk_per_trade"]) * equity
        elif method == "FIXED_PERCENT":
            budget = exact(self.limits["fixed_percent"]) * equity
        elif method == "FIXED_DOLLAR":
            budget = exact(self.limits["fixed_dollar"])
        elif self.too_few_trades() or self.edge() <= 0:
            return None
        else:
            budget = exact(self.limits["kelly_fraction"]) * self.edge() * equity
        if self.probation:
            budget /= 2
        return floor_to(budget / (unit * exact(self.instrument["multiplier"])), self.lot)

    # --- money

    def multiplier(self, symbol: str) -> Fraction | None:
        """Return a symbol's multiplier."""
        instrument = self.rules.instrument(symbol)
        return None if instrument is None else exact(instrument["multiplier"])

    def cost(self, opening: Fraction) -> Fraction | None:
        """Return what an opening takes."""
        unit = self.unit(self.symbol)
        if unit is None:
            return None
        return opening * unit * (MARKET_MARGIN if self.market else 1)

    def _money(self, order: Order, through: int, *, broker: bool) -> tuple[Fraction, Fraction]:
        """Return what an order still takes out of the power to buy: for what remains of it, and for its fills."""
        if broker and any(
            e.body.get("intent_id") == order.intent_id
            and (e.body["symbol"], e.body["side"]) == (order.symbol, order.side)
            and e.event_time <= through
            for e in self.account.fills
        ):
            return ZERO, ZERO
        multiplier = self.multiplier(order.symbol)
        after = [e for e in self.book.own(order) if e.event_time > through]
        left = self.book.left(order)
        due = min(order.opening, left + sum((e.quantity for e in after), ZERO))
        if due == 0:
            return ZERO, ZERO
        assert multiplier is not None
        first = min(due, left)
        reserved = spent = ZERO
        if first > 0:
            assert order.price is not None
            reserved = first * order.price * (MARKET_MARGIN if order.market else 1) * multiplier
        due -= first
        for e in sorted(after, key=lambda e: (e.event_time, e.offset), reverse=True):
            part = min(due, e.quantity)
            spent += part * e.price * multiplier
            due -= part
        return reserved, spent

    def available(self) -> Fraction | None:
        """Return what an opening may cost."""
        source = self.equity.buying_power or self.equity.cash
        margin = self.limit("margin_multiplier")
        if margin is None:
            return None
        if source is None:
            gross = self._gross_before()
            equity = self.value
            return None if gross is None or equity is None else max(ZERO, equity * margin - gross)
        power, through = source
        newest = max((e.event_time for e in self.account.fills), default=through)
        if through < newest - KEPT:
            return ZERO
        broker = self.equity.buying_power is not None
        if not broker:
            power = max(ZERO, power) * margin
        among = self.book.remembered()
        money = {o.seq: self._money(o, through, broker=broker) for o in among}
        spent = sum((m[1] for m in money.values()), ZERO)
        worst = self.book.worst(among, lambda o: money[o.seq][0])
        room = self.book.slack(self.target, among, lambda o: money[o.seq][0])
        return power - spent - worst - self._orphan_money(through) + room

    def _gross_before(self) -> Fraction | None:
        """Return the gross exposure without what the new order takes the place of."""
        gross = self.total(frozenset(self.busy), ZERO)
        if gross is None or self.slack == 0:
            return gross
        unit, (position, buys, sells) = self.unit(self.symbol), self._before(self.symbol, None)
        exposure = self.exposure(self.symbol, ZERO)
        if unit is None or exposure is None:
            return None
        if self.side == "BUY":
            buys -= self.slack
        else:
            sells -= self.slack
        return gross - exposure + unit * max(abs(position + buys), abs(position - sells))

    def _orphan_money(self, through: int) -> Fraction:
        # A symbol may be traded by hand before it is known here; a record that says nothing has a multiplier of 1.
        return sum(
            (
                e.quantity * e.price * (self.multiplier(e.symbol) or 1)
                for e in self.orphans()
                if e.event_time > through
            ),
            ZERO,
        )

    def orphans(self) -> list[Execution]:
        """Return the executions of no approval."""
        return self.book.orphans()

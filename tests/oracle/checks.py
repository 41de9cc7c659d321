"""The checks, one after another, at one size; and the largest size that they let pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from tests.oracle.book import ZERO
from tests.oracle.equity import Pair, status_of
from tests.oracle.history import SECOND, Order, exact, optional
from tests.oracle.question import Price, Question

NUMBER_MAX = 10**13
"""Above every number that the wire admits."""


@dataclass
class Check:
    """What one check comes to at a size."""

    number: int
    outcome: str
    value: Fraction | None = None
    limit: Fraction | None = None
    bound: Fraction | None = None
    """The largest opening that it lets pass, None where it bounds none."""
    sized: bool = False


@dataclass(frozen=True)
class Size:
    """A quantity and its parts."""

    reducing: Fraction
    opening: Fraction

    @property
    def quantity(self) -> Fraction:
        """Return the whole."""
        return self.reducing + self.opening

    @property
    def strict(self) -> bool:
        """Whether it only reduces."""
        return self.opening == 0 and self.reducing > 0


Measured = Callable[[Fraction, Fraction], Fraction | None]
"""Of a reducing and an opening part."""


class Checks:
    """The checks of one question at one size; None where the request has none."""

    def __init__(self, question: Question, size: Size | None, *, absent_close: bool = False) -> None:
        self.q = question
        self.size = size
        self.strict = size is not None and size.strict
        self.absent = question.intent.get("quantity") is None
        self.absent_close = absent_close
        self.results: list[Check] = []
        self.flags: set[str] = set()

    def run(self) -> list[Check]:
        """Return the checks from 6 on, in order."""
        for part in (
            self._halted,
            self._inputs,
            self._permission,
            self._throttle,
            self._size,
            self._concentration,
            self._cash,
        ):
            self.results += part()
        return self.results

    # --- kinds of checks

    def _flat(
        self, number: int, fails: bool | None, *, bounds: bool | None = None, warns: bool = False, hard: bool = False
    ) -> Check:
        """Return a check to which size does not matter: where it fails nothing may be opened."""
        bounds = fails if bounds is None else bounds
        bound = ZERO if bounds else None
        if fails is None:
            return Check(number, "SKIPPED", bound=bound)
        if fails:
            return Check(number, "EXEMPT" if self.strict and not hard else "FAIL", bound=bound)
        return Check(number, "WARN" if warns else "PASS", bound=bound)

    def _upper(
        self,
        number: int,
        measured: Measured,
        limit: Fraction | None,
        *,
        warning: Fraction | None = None,
        exposure: bool = True,
        opening_only: bool = False,
    ) -> Check:
        """Return a check of a value that grows with the size."""
        q = self.q
        before = measured(ZERO, ZERO)
        if limit is None or before is None or measured(ZERO, q.lot) is None:
            return Check(number, "SKIPPED")

        def passes(reducing: Fraction, opening: Fraction) -> bool:
            after = measured(reducing, opening)
            assert after is not None
            return after <= limit or (exposure and after <= before) or (opening_only and opening == 0)

        bound = self._largest(
            lambda opening: passes(q.capacity, opening), lambda opening: measured(q.capacity, opening), limit
        )
        if self.size is None:
            return Check(number, "SKIPPED", limit=limit, bound=bound, sized=True)
        value = measured(self.size.reducing, self.size.opening)
        outcome = "PASS"
        if not passes(self.size.reducing, self.size.opening):
            outcome = "EXEMPT" if self.strict else "FAIL"
        elif warning is not None and value is not None and value >= warning:
            outcome = "WARN"
        return Check(number, outcome, value, limit, bound, sized=True)

    def _largest(
        self,
        passes: Callable[[Fraction], bool],
        measured: Callable[[Fraction], Fraction | None],
        limit: Fraction,
    ) -> Fraction | None:
        """Search the number of lots; None where no size on the wire fails."""
        lot = self.q.lot
        top = int(NUMBER_MAX / lot)
        if passes(top * lot):
            return None
        low, high = 0, top
        guess = _along_a_line(measured(top // 2 * lot), measured(top * lot), limit, top)
        if 0 <= guess < top and passes(guess * lot) and not passes((guess + 1) * lot):
            return guess * lot
        while high - low > 1:
            middle = (low + high) // 2
            if passes(middle * lot):
                low = middle
            else:
                high = middle
        return low * lot

    # --- 6 to 10

    def _halted(self) -> Iterator[Check]:
        q = self.q
        modes = q.rules.switches(q.name, q.strategy, q.symbol)
        yield self._flat(6, "ALL" in modes, hard=True)
        yield self._flat(7, "REDUCE_ONLY" in modes)
        yield self._flat(8, bool(q.equity.operator_halts))
        if q.limits is None:
            yield Check(9, "SKIPPED")
            yield Check(10, "SKIPPED")
            return
        status = status_of(q.equity, q.limits)
        causes = set(status.causes) if status.status == "HALT" else set()

        def warns(pair: Pair | None, level: str) -> bool:
            limit = q.limit(level)
            return pair is not None and limit is not None and pair.loss >= limit * pair.base

        warned = warns(q.equity.session.current, "drawdown_warning") or warns(
            q.equity.high.current, "high_water_warning"
        )
        yield self._flat(9, bool(causes & {"DRAWDOWN_SESSION", "DRAWDOWN_HIGH_WATER"}), warns=warned)
        yield self._flat(10, "DAILY_LOSS" in causes)

    # --- 11 to 22

    def _inputs(self) -> Iterator[Check]:
        q = self.q
        account, limits = q.rules.account(q.name), q.limits
        instruments = {s: q.rules.instrument(s) for s in self._needed()}
        yield self._flat(11, limits is None)
        yield self._flat(12, None in instruments.values())
        known = [i for s, i in instruments.items() if i is not None and s in q.busy | {q.symbol}]
        yield self._flat(13, None if account is None else any(i["currency"] != account["currency"] for i in known))
        equity = q.equity.equity
        yield self._flat(14, equity is None)
        yield self._flat(15, None if equity is None else equity <= 0)
        yield self._flat(16, None if equity is None else q.equity.suspect is not None)
        yield self._aged(17, None if equity is None else q.clock - q.equity.equity_time, "equity_age_max")
        missing = {price.missing for price in self._needed_prices()}
        yield self._flat(18, None if limits is None else 18 in missing)
        yield self._flat(19, None if limits is None else 19 in missing)
        no_range = q.needs_range() and q.distance() is None
        yield self._flat(
            20, None if limits is None or self.strict or self.absent_close else no_range, bounds=no_range
        )
        yield self._aged(21, q.clock - q.intent["event_time"], "intent_age_max")
        yield self._flat(22, q.rules.drifted(q.name, q.symbol))

    def _needed(self) -> set[str]:
        """Return the symbols whose price and instrument are needed."""
        q = self.q
        budgeted = q.record is not None and q.record.get("budget") is not None
        return q.busy | {q.symbol} | (q.own_symbols() if budgeted else set())

    def _needed_prices(self) -> Iterator[Price]:
        q = self.q
        for s in sorted(self._needed()):
            price = q.prices[s] if s in q.prices else q.other_price(s)
            if price.flag is not None:
                self.flags.add(price.flag)
            yield price

    def _aged(self, number: int, age: int | None, name: str) -> Check:
        limits = self.q.limits
        if age is None or limits is None:
            return Check(number, "SKIPPED")
        check = self._flat(number, age > limits[name])
        check.value, check.limit = Fraction(age), Fraction(limits[name])
        return check

    # --- 23 to 28

    def _opens(self) -> bool:
        """Whether an opening is asked for; of a size that is not known it is."""
        if self.size is None:
            return True
        return self.size.opening > 0

    def _permission(self) -> Iterator[Check]:
        q = self.q
        opening = self._opens()
        yield self._flat(23, q.rules.restricted(q.symbol, q.name))
        if q.limits is None or q.instrument is None:
            yield Check(24, "SKIPPED")
        else:
            banned = q.side == "SELL" and not (q.limits["shorts_allowed"] and q.instrument["shortable"])
            yield self._flat(24, banned and opening, bounds=banned)
        yield self._flat(25, q.intent["reduce_only"] and opening, bounds=q.intent["reduce_only"])
        yield self._flat(26, q.record is None or q.record["state"] == "DISABLED")
        sign = 1 if q.side == "BUY" else -1
        yield self._flat(
            27,
            any(
                symbol == q.symbol and strategy not in (None, q.strategy) and units * sign < 0
                for (symbol, strategy), units in q.book.parts.items()
            ),
        )
        yield self._flat(28, any(self._crosses(o) for o in q.book.open))

    def _crosses(self, order: Order) -> bool:
        q = self.q
        if order.symbol != q.symbol or order.side == q.side:
            return False
        own = optional(q.intent.get("limit_price"))
        if own is None or order.limit_price is None:
            return True
        return own >= order.limit_price if q.side == "BUY" else own <= order.limit_price

    # --- 29 to 32

    def _throttle(self) -> Iterator[Check]:
        q, limits = self.q, self.q.limits
        if limits is None:
            for number in (29, 30, 31, 32):
                yield Check(number, "SKIPPED")
            return
        for number, key, name in ((29, None, "account"), (30, q.strategy, "strategy")):
            tat = q.account.buckets.get(key, 0)
            period = SECOND // limits[f"{name}_rate"]
            yield self._flat(number, q.clock < tat - (limits[f"{name}_burst"] - 1) * period)
        if self.size is None:
            yield Check(31, "SKIPPED")
        else:
            like = [
                o
                for o in q.account.orders
                if o.opening > 0
                and q.clock - o.clock < 10 * SECOND
                and (o.strategy, o.symbol, o.side) == (q.strategy, q.symbol, q.side)
                and (o.opening, o.limit_price) == (self.size.opening, optional(q.intent.get("limit_price")))
            ]
            check = self._flat(31, len(like) + 1 > limits["repeat_max"] and self.size.opening > 0)
            check.value, check.limit = Fraction(len(like) + 1), Fraction(limits["repeat_max"])
            yield check
        count = len([o for o in q.book.open if o is not q.target]) + 1
        check = self._flat(32, count > limits["open_orders_max"])
        check.value, check.limit = Fraction(count), Fraction(limits["open_orders_max"])
        yield check

    # --- 33 to 41

    def _size(self) -> Iterator[Check]:
        q, limits = self.q, self.q.limits
        size = self.size
        opening = None if size is None else size.opening
        yield self._flat(33, None if opening is None or q.instrument is None else opening % q.lot != 0, bounds=False)
        kelly = limits is not None and limits["sizing_method"] == "KELLY"
        few = kelly and q.too_few_trades()
        no_edge = kelly and not few and q.edge() <= 0
        exempt = self.strict or self.absent_close
        yield self._flat(34, None if exempt else few, bounds=few)
        yield self._flat(35, None if exempt or few else no_edge, bounds=no_edge)
        sized = q.sized()
        small = sized is not None and sized < q.lot
        nothing = (self.absent and limits is not None and limits["sizing_method"] == "NONE") or self.absent_close
        fails = nothing or (small and not self.absent_close)
        yield self._flat(36, None if self.strict else fails, bounds=small or (nothing and not self.strict))
        check = self._upper(37, lambda _, o: o, sized, exposure=False, opening_only=True)
        yield Check(37, "SKIPPED", bound=check.bound) if exempt else check
        unit, equity = q.unit(q.symbol), q.value

        def notional(quantity: Fraction) -> Fraction | None:
            return None if unit is None else quantity * unit

        share = q.limit("entry_max")
        yield self._upper(
            38,
            lambda _, o: notional(o),
            None if share is None or equity is None else share * equity,
            exposure=False,
            opening_only=True,
        )
        yield self._upper(39, lambda r, o: r + o, q.limit("order_quantity_max"), exposure=False)
        yield self._upper(40, lambda r, o: notional(r + o), q.limit("order_notional_max"), exposure=False)
        yield self._flat(41, self._off_collar())

    def _off_collar(self) -> bool | None:
        q = self.q
        away, passive = q.limit("collar_away"), q.limit("collar_passive")
        mark = q.fresh_mark(q.symbol) or q.fallback(q.symbol)
        if away is None or passive is None or mark is None:
            return None
        limit, reference = optional(q.intent.get("limit_price")), optional(q.intent.get("reference_price"))
        if reference is not None and abs(reference - mark) > away * mark:
            return True
        if limit is None:
            return False
        above, below = (away, passive) if q.side == "BUY" else (passive, away)
        return not mark * (1 - below) <= limit <= mark * (1 + above)

    # --- 42 to 47

    def _concentration(self) -> Iterator[Check]:
        q = self.q
        cluster, unknown = q.returns.cluster(q.symbol, q.busy | {q.symbol}, q.clock)
        if len(cluster) > 1:
            check = self._share(42, frozenset(cluster), "cluster")
            if unknown and q.limits is not None:
                self.flags.add("RETURNS_INSUFFICIENT")
            yield check
        else:
            yield Check(42, "PASS")
        yield self._share(43, frozenset({q.symbol}), "position")
        known = all(q.rules.instrument(s) is not None for s in q.busy | {q.symbol})
        yield self._share(44, q.sector_mates(), "sector") if known else Check(44, "SKIPPED")
        yield self._budget()
        everything = frozenset(q.busy | {q.symbol})
        yield self._upper(46, lambda r, o: q.total(everything, r + o), self._of_equity("gross_max"))
        yield self._upper(47, lambda r, o: q.net(r + o), self._of_equity("net_max"))

    def _of_equity(self, name: str) -> Fraction | None:
        share, equity = self.q.limit(name), self.q.value
        return None if share is None or equity is None else share * equity

    def _share(self, number: int, symbols: frozenset[str], name: str) -> Check:
        return self._upper(
            number,
            lambda r, o: self.q.total(symbols, r + o),
            self._of_equity(f"{name}_critical"),
            warning=self._of_equity(f"{name}_warning"),
        )

    def _budget(self) -> Check:
        q = self.q
        if q.record is None or q.record.get("budget") is None or q.value is None:
            return Check(45, "SKIPPED")
        budget = exact(q.record["budget"]) * q.value
        own = frozenset(q.own_symbols())
        return self._upper(45, lambda r, o: q.total(own, r + o, q.strategy), budget / 2 if q.probation else budget)

    # --- 52

    def _cash(self) -> Iterator[Check]:
        q = self.q
        yield self._upper(52, lambda _, o: q.cost(o), q.available(), exposure=False, opening_only=True)


def _along_a_line(half: Fraction | None, whole: Fraction | None, limit: Fraction, top: int) -> int:
    """Guess where a value that is a line far out reaches its limit."""
    if half is None or whole is None or whole <= half:
        return -1
    slope = (whole - half) / (top - top // 2)
    return top - math.ceil((whole - limit) / slope)

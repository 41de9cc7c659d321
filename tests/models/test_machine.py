"""Laws over random histories: any message in any order, sent again, and restarts in between."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from models.canonical import SECOND_NS, canonical_bytes, exact
from models.checks import CONDITIONS, OPENING_CONDITIONS
from models.checks.check import Check
from models.checks.quick import conditions_pass, opening_passes
from models.decisions import AccountStatus, DecisionStatus, RiskDecision
from models.folds.book import Book
from models.folds.correlation import Returns
from models.folds.drawdown import Drawdown, assess
from models.folds.ledger import Ledger
from models.folds.reference import Reference
from models.folds.rows import Rows
from models.messages import OrderIntent
from models.portfolio import Account, Portfolio
from models.reasons import RejectReason as Reason
from models.request import Request
from models.state import AccountsInMemory, Shared, State
from tests.models.plain import Plain
from tests.models.world import NOON_DATE, World

SYMBOLS = ("S", "T", "U", "V")
STRATEGIES = ("momentum", "reversion")
MODELLED = ("var_max", "cvar_max", "beta_max", "factor_max")
ANY = st.integers(0, 7)

symbols, sides = st.sampled_from(SYMBOLS), st.sampled_from(["BUY", "SELL"])
strategies = st.sampled_from(STRATEGIES)
units = st.integers(1, 400)
intents = st.fixed_dictionaries(
    {"symbol": symbols, "side": sides, "strategy": strategies},
    optional={
        "quantity": units.map(str),
        "order_type": st.just("MARKET"),
        "limit_price": st.integers(90, 110).map(str),
        "allow_resize": st.booleans(),
        "reduce_only": st.sampled_from([True, False, False, False]),
        "replaces": ANY,
        "reference_price": st.integers(90, 110).map(str),
        "stop_distance": st.integers(1, 9).map(str),
    },
)
levels = st.integers(1, 9).map(lambda tenth: f"0.{tenth}")
loosened = st.sampled_from(
    [
        {"position_critical": "9"},
        {"sector_critical": "9"},
        {"cluster_critical": "9"},
        {"gross_max": "9", "net_max": "9"},
        {"entry_max": "9"},
        {"order_quantity_max": "999999"},
        {"order_notional_max": "999999999"},
        {"collar_away": "9", "collar_passive": "9"},
        {"repeat_max": 999},
        {"open_orders_max": 999},
        {"account_burst": 999, "strategy_burst": 999},
        {"risk_per_trade": "1", "fixed_percent": "1", "kelly_fraction": "0.5"},
        {"margin_multiplier": "9"},
        {"drawdown_halt": "0.99"},
        {"shorts_allowed": True},
        {"equity_age_max": 10**18, "intent_age_max": 10**18},
        {"var_max": "9", "cvar_max": "9", "beta_max": "9", "factor_max": "9"},
    ]
)
"""What gives more room. Not here: ages of marks and ATRs, which change what a decision knows, and rates, since a
bucket is kept as a time: with a faster rate the same time ahead is more tokens."""


def again(fold: Callable[[State], object], state: State) -> None:
    """Fold a message once more; how far the topics are folded stays."""
    shared = state.shared
    account_topics = state.fills_offset, state.equity_ticks_offset
    shared_topics = shared.daily_returns_offset, shared.reference_offset
    fold(state)
    state.fills_offset, state.equity_ticks_offset = account_topics
    shared.daily_returns_offset, shared.reference_offset = shared_topics


class Histories(RuleBasedStateMachine):
    """One account, and everything that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(buying_power="1000000", limits={"shorts_allowed": True})
        self.limits: dict[str, Any] = {"shorts_allowed": True}
        self.saved: dict[str, dict[str, Any]] = {}
        self.asked: list[OrderIntent] = []

    @initialize()
    def markets(self) -> None:
        for name in SYMBOLS:
            self.world.instrument(name, "tech" if name in "ST" else None, moves_like="one" if name in "TU" else None)
            for number in range(90):  # before the thirty sessions that there are: enough for a model of risk
                session = (NOON_DATE - timedelta(days=40 + number)).isoformat()
                move = Decimal(number * ord(name) % 13 - 6).scaleb(-2)
                self.world.daily_return(name, session, str(move))
            self.world.mark(name)

    # --- what happens

    @rule(symbol=symbols, price=st.integers(85, 115), atr=st.none() | st.integers(1, 9).map(str))
    def mark(self, symbol: str, price: int, atr: str | None) -> None:
        self.world.mark(symbol, str(price), atr)

    @rule(equity=st.integers(70_000, 120_000), deposits=st.none() | st.integers(-20_000, 20_000))
    def equity(self, equity: int, deposits: int | None) -> None:
        flow = {} if deposits is None else {"net_deposits": str(deposits)}
        self.world.tick(str(equity), **flow)

    @rule(figure=st.sampled_from(["cash", "buying_power"]), amount=st.integers(0, 200_000))
    def money(self, figure: str, amount: int) -> None:
        self.world.tick(str(self.world.state.accounts["A"].drawdown.equity), **{figure: str(amount)})

    @rule(kind=st.sampled_from(["halt", "resume", "session_open"]), clear=st.booleans())
    def command(self, kind: str, *, clear: bool) -> None:
        if kind == "session_open":
            equity = str(self.world.state.accounts["A"].drawdown.equity)
            self.world.tick(equity, kind=kind, session="2024-10-04", actor="ops", clear_halts=clear)
        else:
            self.world.tick(kind=kind, actor="ops", reason="test")

    @rule(symbol=symbols, delta=st.integers(-200, 200))
    def adjust(self, symbol: str, delta: int) -> None:
        said: dict[str, Any] = {"positions": {}, "fills_through": 0, "actor": "ops", "reason": "test"}
        self.world.tick(kind="statement", adjustments={symbol: str(delta)}, **said)

    @rule(symbol=symbols, side=sides, quantity=units, strategy=st.none() | strategies)
    def trade(self, symbol: str, side: str, quantity: int, strategy: str | None) -> None:
        self.world.fill(symbol, side, str(quantity), strategy=strategy)

    @rule(
        which=ANY,
        kind=st.sampled_from(["TRADE", "CANCELED", "EXPIRED", "REPLACED", "NEW"]),
        quantity=st.integers(1, 90),
    )
    def report(self, which: int, kind: str, quantity: int) -> None:
        order = self._approval(which)
        if order is not None:
            fields: dict[str, Any] = {
                "execution_type": kind,
                "intent_id": order.intent_id,
                "strategy": order.strategy,
            }
            self.world.fill(
                order.symbol or "", order.side or "", str(quantity), order_quantity=str(quantity), **fields
            )

    @rule(which=ANY, symbol=symbols, side=sides, quantity=units)
    def stray(self, which: int, symbol: str, side: str, quantity: int) -> None:
        """A fill under an order's id, but perhaps not of its symbol and side."""
        order = self._approval(which)
        if order is not None:
            self.world.fill(symbol, side, str(quantity), intent_id=order.intent_id)

    @rule(symbol=symbols, currency=st.sampled_from(["USD", "USD", "EUR"]), multiplier=st.sampled_from(["1", "10"]))
    def relist(self, symbol: str, currency: str, multiplier: str) -> None:
        sector = "tech" if symbol in "ST" else None
        self.world.reference(
            kind="instrument", symbol=symbol, sector=sector, currency=currency, multiplier=multiplier, lot="1"
        )

    @rule(which=ANY, kind=st.sampled_from(["BUSTED", "CORRECTED"]), quantity=units)
    def amend(self, which: int, kind: str, quantity: int) -> None:
        fields = {"execution_type": kind, "execution_reference_id": f"x{which}"}
        self.world.fill("S", "BUY", str(quantity), **fields)

    @rule(name=st.sampled_from(["position", "sector", "cluster"]), level=levels)
    def tighten(self, name: str, level: str) -> None:
        self._set({f"{name}_critical": level, f"{name}_warning": "0.1"})

    @rule(method=st.sampled_from(["NONE", "VOLATILITY_ADJUSTED", "FIXED_PERCENT"]), entry=levels)
    def sizing(self, method: str, entry: str) -> None:
        self._set({"sizing_method": method, "entry_max": entry})

    @rule(shorts=st.booleans(), repeats=st.integers(0, 5), orders=st.integers(0, 9), burst=st.integers(1, 5))
    def flow(self, *, shorts: bool, repeats: int, orders: int, burst: int) -> None:
        throttles = {"repeat_max": repeats, "open_orders_max": orders, "account_burst": burst, "account_rate": 1}
        self._set({"shorts_allowed": shorts} | throttles)

    @rule(name=st.sampled_from(MODELLED), level=st.none() | levels)
    def models(self, name: str, level: str | None) -> None:
        share = level and str(Decimal(level) / (10 if "var" in name else 1))
        self._set({name: share})

    @rule(strategy=strategies, state=st.sampled_from(["ENABLED", "PROBATION", "DISABLED"]), budget=st.none() | levels)
    def strategy(self, strategy: str, state: str, budget: str | None) -> None:
        self.world.reference(kind="strategy", strategy=strategy, account="A", state=state, budget=budget)

    @rule(
        scope=st.sampled_from(["GLOBAL", "SYMBOL", "STRATEGY"]),
        mode=st.sampled_from(["REDUCE_ONLY", "ALL"]),
        engaged=st.booleans(),
    )
    def kill(self, scope: str, mode: str, *, engaged: bool) -> None:
        target = {"GLOBAL": None, "SYMBOL": "S", "STRATEGY": "momentum"}[scope]
        self.world.reference(kind="kill_switch", scope=scope, target=target, mode=mode, engaged=engaged)

    @rule(symbol=symbols, kind=st.sampled_from(["restricted", "drift"]), on=st.booleans())
    def flag(self, symbol: str, kind: str, *, on: bool) -> None:
        flag = {"active": on} if kind == "restricted" else {"flagged": on}
        self.world.reference(kind=kind, symbol=symbol, account="A", **flag)

    @rule(symbol=symbols, move=st.integers(-100, 100), close=st.none() | st.integers(80, 120).map(str))
    def daily_return(self, symbol: str, move: int, close: str | None) -> None:
        self.world.daily_return(symbol, "2024-10-05", str(Decimal(move).scaleb(-4)), close=close)

    @rule(seconds=st.sampled_from([1, 30, 200, 4000, 90_000, 700_000]))
    def wait(self, seconds: int) -> None:
        self.world.wait(seconds)

    @rule(topic=st.sampled_from(["fills", "equity-ticks", "reference", "daily-returns"]), which=ANY)
    def redeliver(self, topic: str, which: int) -> None:
        """A record's message stands in the log a second time, under a later offset."""
        folds = self.world.log[topic]
        fold = folds[-1 - which % len(folds)] if folds else None
        if fold is not None:
            folds.append(lambda state: again(fold, state))
            again(fold, self.world.state)
            self.world.evaluate("A")

    @rule()
    def restart(self) -> None:
        """The state goes through its rows."""
        account, shared = self.world.state.accounts["A"], self.world.state.shared
        tables: dict[str, Rows] = {
            "drawdown": account.drawdown,
            "book": account.book,
            "ledger": account.ledger,
            "returns": shared.returns,
            "reference": shared.reference,
        }
        for table, state in tables.items():
            rows = self.saved.setdefault(table, {})
            for key in state.dirty:
                row = state.row(key)
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = orjson.loads(canonical_bytes(row))
            state.dirty.clear()
        vector = orjson.loads(canonical_bytes(self.world.state.vector()))
        reborn = Shared(Returns.from_rows(self.saved["returns"]), Reference.from_rows(self.saved["reference"]))
        reborn.daily_returns_offset = shared.daily_returns_offset
        reborn.reference_offset = shared.reference_offset
        accounts = AccountsInMemory()
        accounts["A"] = Account(
            Drawdown.from_rows(self.saved["drawdown"]),
            Book.from_rows(self.saved["book"]),
            Ledger.from_rows(self.saved["ledger"]),
        )
        self.world.state = State(reborn, accounts)
        self.world.state.restore(vector)

    # --- what is asked, and the laws

    @rule(fields=intents, factor=st.integers(1, 9), pause=st.sampled_from([0, 1]))
    def submit(self, fields: dict[str, Any], factor: int, pause: int) -> None:
        """No approval takes a limit from within to beyond, and none adds risk while the account is halted."""
        world = self.world
        world.wait(pause)
        intent = self._intent(fields)
        self.asked.append(intent)
        self._smaller_passes_too(intent, factor)
        request = self._request(intent)
        before = self._exposures(intent.strategy, request.portfolio)
        reducible, halted = request.reducible, self._halted(request)
        decision = world.decide(intent)
        after = self._exposures(intent.strategy, self._portfolio(request.portfolio.clock))
        if decision.status is DecisionStatus.REJECTED:
            assert decision.reasons
            assert after == before
            strict = intent.quantity is not None and intent.quantity <= reducible
            unstoppable = not set(decision.reasons) <= {Reason.KILL_SWITCH_ALL, Reason.INTENT_EXPIRED}
            assert not (strict and unstoppable), "a strict reduction is never refused for a limit"
            return
        assert decision.quantity > 0
        if decision.opening_quantity:
            assert not halted
            assert after.keys() >= before.keys()
            for name, (amount, limit) in after.items():
                assert amount <= limit or amount <= before.get(name, (amount, limit))[0], name

    @rule(fields=intents, quantity=units)
    def max_quantity(self, fields: dict[str, Any], quantity: int) -> None:
        """The largest quantity is approved, and a lot more is not."""
        self.world.wait()
        # Whether an order repeats another depends on its very quantity: such a bound is no bound of another one.
        self._set({"repeat_max": 999})
        fields = fields | {"allow_resize": False}
        most = self._ask(self._intent(fields | {"quantity": str(quantity)})).max_quantity
        if most > 0:
            answer = self._ask(self._intent(fields | {"quantity": str(most)}))
            assert (answer.status, answer.max_quantity) == (DecisionStatus.APPROVED, most)
        more = self._ask(self._intent(fields | {"quantity": str(most + 1)}))
        assert more.status is DecisionStatus.REJECTED
        assert more.max_quantity == most

    @rule(fields=intents, quantity=units, loosening=loosened)
    def raise_a_limit(self, fields: dict[str, Any], quantity: int, loosening: dict[str, Any]) -> None:
        """More room rejects nothing of an explicit quantity that was approved."""
        self.world.wait()
        intent = self._intent(fields | {"quantity": str(quantity)})
        before = self._ask(intent)
        raised = copy.deepcopy(self.world)
        # A limit that is off stays off.
        more = {name: value for name, value in loosening.items() if name not in MODELLED or self.limits.get(name)}
        raised.limits(**self.limits | more)
        after = raised.state.decide(intent, offset=10**6, time=raised.now, raw_digest=lambda: "")
        if not any(self.limits.get(name) for name in MODELLED):  # a bisection may end elsewhere
            assert after.max_quantity >= before.max_quantity
        assert not (before.status is DecisionStatus.APPROVED and after.status is DecisionStatus.REJECTED)

    @rule(fields=intents, seed=st.integers(0, 999))
    def arrive_in_another_order(self, fields: dict[str, Any], seed: int) -> None:
        """At equal offsets it does not matter which topic's records came first."""
        chance = random.Random(seed)
        state = State(Shared())
        left = {topic: list(reversed(folds)) for topic, folds in self.world.log.items()}
        while any(left.values()):
            folds = left[chance.choice([topic for topic, folds in left.items() if folds])]
            for _ in range(chance.randint(1, len(folds))):
                folds.pop()(state)
        self.world.wait()
        intent = self._intent(fields)
        there = state.decide(intent, offset=10**6, time=self.world.now, raw_digest=lambda: "")
        assert canonical_bytes(there) == canonical_bytes(self._ask(intent))

    @rule(which=ANY)
    def repeat(self, which: int) -> None:
        """An intent sent again is never approved again while its id is taken."""
        if not self.asked:
            return
        intent = self.asked[-1 - which % len(self.asked)]
        known = self.world.state.accounts["A"].ledger.first_answer(intent.intent_id)
        decision = self.world.decide(intent)
        if known is not None:
            assert Reason.DUPLICATE_INTENT in decision.reasons
            assert decision.original_seq == known.seq

    @rule(
        seconds=st.sampled_from([0, 0, 1, 100, 200]), through=st.sampled_from([0, 100, 10**6]), broker=st.booleans()
    )
    @exact
    def what_is_kept_is_what_is_derived(self, seconds: int, through: int, *, broker: bool) -> None:
        """An account's standing, brought up to date step by step, says what its tables say."""
        account, reference = self.world.state.accounts["A"], self.world.state.shared.reference
        portfolio = self._portfolio(account.clock + seconds * SECOND_NS)
        plain = Plain(portfolio)
        assert portfolio.open_orders == plain.orders
        assert portfolio.holdings == plain.holdings
        for candidate in (None, *SYMBOLS):
            others = portfolio.others(candidate)
            expected = plain.others(candidate)
            sectors = expected.pop("sectors")
            assert {name: getattr(others, name) for name in expected} == expected | {
                "unknown": tuple(expected["unknown"]),
                "foreign": tuple(expected["foreign"]),
            }
            assert {name: others.in_sector(name) for name in sectors} == sectors
        since = portfolio.clock - through * SECOND_NS
        taken = account.standing.spending.taken(reference, since, broker=broker)
        assert taken == plain.taken(since, broker=broker)
        for name in SYMBOLS:
            assert account.standing.oddities.orphaned(name, portfolio.clock) == plain.orphaned(name)
            for lapsed in (False, True):
                found = account.standing.oddities.overfilled(name, portfolio.clock, lapsed=lapsed)
                assert found == plain.overfilled(name, lapsed=lapsed)

    @rule(fields=intents)
    def a_quick_look_hides_nothing(self, fields: dict[str, Any]) -> None:
        """Where the conditions are said to pass plainly, not one of them fails, warns or bounds."""
        self.world.wait()
        intent = self._intent(fields)

        @exact
        def look() -> None:
            request = self._request(intent)
            size = request.requested
            if conditions_pass(request):
                found = [check(request) for check in CONDITIONS.values()]
                assert not [each for each in found if each is not None and _says_something(each)]
            if opening_passes(request, size):
                found = [check(request, size) for check in OPENING_CONDITIONS.values()]
                assert not [each for each in found if each is not None and _says_something(each)]

        look()

    @invariant()
    def the_chain_holds(self) -> None:
        decisions = [each for each in self.world.decisions[-2:] if each.account is not None]
        for earlier, later in pairwise(decisions):
            assert (later.seq, later.previous_digest) == (earlier.seq + 1, earlier.digest)

    # --- helpers

    def _intent(self, fields: dict[str, Any]) -> OrderIntent:
        fields = fields | ({"limit_price": None} if "order_type" in fields else {})
        if "replaces" in fields:
            target = self._approval(fields["replaces"])
            fields["replaces"] = target and target.intent_id
        return self.world.intent(**fields)

    def _approval(self, which: int) -> RiskDecision | None:
        approvals = [each for each in self.world.decisions if each.status is DecisionStatus.APPROVED]
        return approvals[-1 - which % len(approvals)] if approvals else None

    def _set(self, limits: dict[str, Any]) -> None:
        self.limits |= limits
        self.world.limits(**self.limits)

    def _ask(self, intent: OrderIntent) -> RiskDecision:
        return self.world.state.decide(intent, offset=10**6, time=self.world.now, raw_digest=lambda: "")

    def _portfolio(self, clock: int) -> Portfolio:
        account, shared = self.world.state.accounts["A"], self.world.state.shared
        return Portfolio(account, name="A", clock=clock, reference=shared.reference, returns=shared.returns)

    def _request(self, intent: OrderIntent) -> Request:
        clock = max(self.world.state.accounts["A"].clock, intent.event_time)
        return Request(intent, self._portfolio(clock), rules=2)

    def _halted(self, request: Request) -> bool:
        limits = request.limits
        assert limits is not None
        status = assess(self.world.state.accounts["A"].drawdown, limits).status
        return status is AccountStatus.HALT

    def _exposures(self, strategy: str, portfolio: Portfolio) -> dict[str, tuple[Decimal, Decimal]]:
        """Return each exposure beside its limit, from the definitions, all at the marks; money."""
        limits, equity = portfolio.limits, portfolio.equity
        if limits is None or equity is None:
            return {}
        price = {name: mark.price for name, mark in portfolio.account.drawdown.marks.items()}
        held = {name: portfolio.holding(name) for name in SYMBOLS if name in price}
        amount = {name: holding.worst * price[name] for name, holding in held.items()}
        found = {name: (amount[name], limits.position_critical * equity) for name in held}
        found["sector tech"] = (
            sum((amount[name] for name in held if name in "ST"), Decimal(0)),
            limits.sector_critical * equity,
        )
        found["gross"] = (sum(amount.values(), Decimal(0)), limits.gross_max * equity)
        longs = abs(sum((holding.if_bought * price[name] for name, holding in held.items()), Decimal(0)))
        shorts = abs(sum((holding.if_sold * price[name] for name, holding in held.items()), Decimal(0)))
        found["net"] = (max(longs, shorts), limits.net_max * equity)
        record = portfolio.reference.strategy(strategy, "A")
        if record is not None and record.budget is not None:
            own = [each for each in portfolio.attributed(strategy).values() if each.symbol in price]
            share = record.budget / 2 if record.state == "PROBATION" else record.budget
            found["budget"] = (sum((each.worst * price[each.symbol] for each in own), Decimal(0)), share * equity)
        return found

    def _smaller_passes_too(self, intent: OrderIntent, factor: int) -> None:
        """A smaller quantity is approved where a larger one is.

        But for repeats, which look at the very quantity, and for models: half a hedge may be worse than a whole one.
        """
        if intent.quantity is None or intent.quantity < factor:
            return
        larger = self._ask(intent)
        smaller = self._ask(intent.model_copy(update={"quantity": intent.quantity // factor, "intent_id": "smaller"}))
        if larger.status is DecisionStatus.APPROVED and larger.quantity == intent.quantity:
            models = {Reason.VAR_LIMIT, Reason.CVAR_LIMIT, Reason.FACTOR_LIMIT}
            assert set(smaller.reasons) <= {Reason.REPEATED_ORDER, *models}


def _says_something(check: Check) -> bool:
    return check.failed or check.warned or check.opening_max is not None


TestHistories = pytest.mark.timeout(600)(Histories.TestCase)
TestHistories.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)

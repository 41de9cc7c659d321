"""Laws that hold for every decision, over random histories."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from models.canonical import canonical_bytes
from models.decisions import DecisionStatus, Outcome, RiskDecision
from models.folds.book import Book
from models.folds.correlation import Returns
from models.folds.drawdown import Drawdown
from models.folds.ledger import Ledger
from models.folds.reference import Reference
from models.messages import OrderIntent
from models.portfolio import Account, Portfolio
from models.state import AccountsInMemory, Shared, State
from tests.models.world import World

SYMBOLS = ("S", "T", "U")
side = st.sampled_from(["BUY", "SELL"])
symbol = st.sampled_from(SYMBOLS)
quantity = st.integers(1, 400).map(str)
step = st.one_of(
    st.tuples(st.just("hold"), symbol, st.integers(-300, 300).filter(bool)),
    st.tuples(st.just("mark"), symbol, st.integers(60, 140)),
    st.tuples(st.just("equity"), st.integers(80_000, 120_000)),
    st.tuples(st.just("cash"), st.integers(0, 200_000)),
    st.tuples(st.just("submit"), symbol, side, st.none() | quantity, st.booleans()),
    st.tuples(st.just("fill"), symbol, side, quantity),
    st.tuples(st.just("fill order"), st.integers(0, 5), quantity),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(
        st.just("limits"), st.sampled_from(["NONE", "VOLATILITY_ADJUSTED", "FIXED_PERCENT"]), st.integers(1, 9)
    ),
    st.tuples(st.just("halt"), st.booleans()),
    st.tuples(st.just("switch"), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([30, 200, 4000, 90_000, 700_000])),
)
histories = st.lists(step, min_size=1, max_size=25)


def play(world: World, action: Any) -> None:  # noqa: C901, PLR0912  # a flat table of what can happen
    """Let one thing happen."""
    match action:
        case "hold", name, signed:
            world.hold(name, signed)
        case "mark", name, price:
            world.mark(name, str(price))
        case "equity", amount:
            world.tick(str(amount))
        case "cash", amount:
            equity = world.state.accounts["A"].drawdown.equity
            world.tick(str(equity), cash=str(amount))
        case "submit", name, which, units, resize:
            world.submit(name, which, units, allow_resize=resize)
        case "fill", name, which, units:
            world.fill(name, which, units)
        case "fill order", number, units:
            order = nth_approval(world, number)
            if order is not None:
                world.fill(order.symbol or "", order.side or "", units, intent_id=order.intent_id)
        case "cancel", number:
            order = nth_approval(world, number)
            if order is not None:
                world.fill(order.symbol or "", order.side or "", intent_id=order.intent_id, execution_type="CANCELED")
        case "limits", method, tenths:
            world.limits(sizing_method=method, position_critical=f"0.{tenths}", position_warning="0.1")
        case "halt", on:
            world.tick(kind="halt" if on else "resume", actor="operator", reason="test")
        case "switch", on:
            world.reference(kind="kill_switch", scope="GLOBAL", mode="REDUCE_ONLY", engaged=on)
        case "wait", seconds:
            world.wait(seconds)


def nth_approval(world: World, number: int) -> RiskDecision | None:
    approvals = [decision for decision in world.decisions if decision.status is DecisionStatus.APPROVED]
    return approvals[number % len(approvals)] if approvals else None


def played(history: list[Any]) -> World:
    world = World()
    for name in SYMBOLS:
        world.instrument(name, moves_like="one" if name != "U" else None)
        world.mark(name)
    for action in history:
        play(world, action)
    for name in SYMBOLS:
        world.mark(name)
    return world


def ask(world: World, intent: OrderIntent) -> RiskDecision:
    return world.state.decide(intent, offset=10**6, time=world.now, raw_digest=lambda: "")


def exposures(world: World) -> dict[str, Decimal]:
    """Return the worst side of each symbol, straight from its definition, at the tests' marks."""
    account = world.state.accounts["A"]
    shared = world.state.shared
    portfolio = Portfolio(account, name="A", clock=account.clock, reference=shared.reference, returns=shared.returns)
    return {name: portfolio.holding(name).worst for name in SYMBOLS}


@given(histories, symbol, side, quantity)
@settings(deadline=None, max_examples=150)
def test_max_quantity_is_approved_and_a_lot_more_is_not(
    history: list[Any], name: str, which: str, units: str
) -> None:
    world = played(history)
    world.wait()
    most = ask(world, world.intent(name, which, units)).max_quantity
    reducible = (
        Portfolio(
            world.state.accounts["A"],
            name="A",
            clock=world.now,
            reference=world.state.shared.reference,
            returns=world.state.shared.returns,
        )
        .holding(name)
        .reducible(world.intent(name, which, units).side)
    )
    if most > 0:
        answer = ask(world, world.intent(name, which, str(most)))
        assert (answer.status, answer.max_quantity) == (DecisionStatus.APPROVED, most)
    more = ask(world, world.intent(name, which, str(most + 1)))
    assert more.max_quantity == most
    assert more.status is DecisionStatus.REJECTED or most < reducible
    resized = ask(world, world.intent(name, which, str(most + 1), allow_resize=True))
    assert resized.quantity == (max(0, most))


@given(histories, symbol, side)
@settings(deadline=None, max_examples=150)
def test_a_strict_reduction_is_never_refused(history: list[Any], name: str, which: str) -> None:
    world = played(history)
    world.wait()
    answer = ask(world, world.intent(name, which, reduce_only=True, quantity="1"))
    reducible = answer.max_quantity
    assert (answer.status is DecisionStatus.APPROVED) == (reducible >= 1)
    if answer.status is DecisionStatus.APPROVED:
        assert all(check.outcome is not Outcome.FAIL for check in answer.checks)


@given(histories, symbol, side, st.none() | quantity, st.booleans())
@settings(deadline=None, max_examples=150)
def test_no_approval_takes_an_exposure_from_within_to_beyond(
    history: list[Any], name: str, which: str, units: str | None, resize: bool
) -> None:
    world = played(history)
    before = exposures(world)
    decision = world.submit(name, which, units, allow_resize=resize)
    after = exposures(world)
    assert {other: worst for other, worst in after.items() if other != name} == {
        other: worst for other, worst in before.items() if other != name
    }
    if decision.status is DecisionStatus.REJECTED:
        assert after == before
        assert decision.reasons
        return
    assert decision.quantity > 0
    if after[name] > before[name]:
        limits = world.state.shared.reference.profile("A")
        equity = world.state.accounts["A"].drawdown.equity
        assert limits is not None
        assert equity is not None
        assert not world.halts or world.halts[-1].status != "HALT"
        with_price = {other: worst * 100 for other, worst in after.items()}
        assert with_price[name] <= limits.position_critical * equity
        assert sum(with_price.values()) <= limits.gross_max * equity


@given(histories, symbol, side, quantity)
@settings(deadline=None, max_examples=60)
def test_raising_a_limit_rejects_nothing_that_was_approved(
    history: list[Any], name: str, which: str, units: str
) -> None:
    world = played(history)
    world.wait()
    before = ask(world, world.intent(name, which, units))
    raised = copy.deepcopy(world)
    profile = raised.state.shared.reference.profile("A")
    assert profile is not None
    looser = {"position_critical": "0.95", "gross_max": "3", "net_max": "3", "cluster_critical": "2"}
    kept = {"sizing_method": str(profile.sizing_method), "position_warning": str(profile.position_warning)}
    raised.limits(**kept, **looser)
    after = ask(raised, raised.intent(name, which, units))
    assert after.max_quantity >= before.max_quantity
    assert not (before.status is DecisionStatus.APPROVED and after.status is DecisionStatus.REJECTED)


class Rows:
    """The rows of an account and of the shared tables, written as a checkpoint writes them."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def save(self, **tables: Any) -> None:
        for table, state in tables.items():
            rows = self.rows.setdefault(table, {})
            for key in state.dirty:
                row = state.row(key)
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = orjson.loads(canonical_bytes(row))
            state.dirty.clear()


@given(histories, st.integers(0, 24))
@settings(deadline=None, max_examples=100)
def test_a_restart_is_invisible(history: list[Any], at: int) -> None:
    """A state rebuilt from its rows takes the same decisions as the one that went on."""
    one, other = World(), World()
    saved = Rows()
    for world in (one, other):
        for name in SYMBOLS:
            world.mark(name)
    for number, action in enumerate(history):
        play(one, action)
        play(other, action)
        account, shared = other.state.accounts["A"], other.state.shared
        saved.save(
            drawdown=account.drawdown,
            book=account.book,
            ledger=account.ledger,
            returns=shared.returns,
            reference=shared.reference,
        )
        if number == at:
            reborn = Shared(Returns.from_rows(saved.rows["returns"]), Reference.from_rows(saved.rows["reference"]))
            reborn.daily_returns_offset = shared.daily_returns_offset
            reborn.reference_offset = shared.reference_offset
            state = State(reborn, AccountsInMemory())
            state.restore(orjson.loads(canonical_bytes(other.state.vector())))
            state.accounts["A"] = Account(  # type: ignore[index]  # in memory it is a dict
                Drawdown.from_rows(saved.rows["drawdown"]),
                Book.from_rows(saved.rows["book"]),
                Ledger.from_rows(saved.rows["ledger"]),
            )
            other.state = state
    assert [decision.digest for decision in one.decisions] == [decision.digest for decision in other.decisions]
    assert [halt.digest for halt in one.halts] == [halt.digest for halt in other.halts]


def test_arithmetic_is_exact_at_the_edges() -> None:
    """The largest numbers of the wire meet in one decision, and nothing is rounded or overflows."""
    huge, tiny = "999999999999.999999999999", "0.000000000001"
    world = World(equity=huge, limits={"order_quantity_max": huge, "order_notional_max": huge})
    world.instrument("S", lot=tiny, multiplier=huge)
    world.mark("S", huge, huge)
    for price, units in ((huge, huge), (tiny, tiny), (huge, tiny)):
        world.submit("S", "BUY", units, limit_price=price, allow_resize=True, stop_distance=tiny, atr=huge)
        world.fill("S", "BUY", units, price)
    assert len(world.decisions) == 3

"""The controls of an order flow: who may open what, how often, at which price. docs/controls.md names them."""

from decimal import Decimal
from typing import Any

import pytest

from models.canonical import DAY_NS, SECOND_NS, canonical_bytes
from models.decisions import Outcome, Replacement, RiskDecision
from models.folds.book import Book
from models.folds.ledger import Ledger
from models.gate import intent_digest
from models.portfolio import Portfolio
from models.reasons import RejectReason as Reason
from tests.models.test_bounds import LOOSE
from tests.models.world import World, approved, numbers


def marked(limits: dict[str, Any] | None = None, **mark: Any) -> World:
    world = World(limits=LOOSE | (limits or {}), **{"buying_power": "1000000"} | mark)
    world.mark("S")
    return world


def outcome(decision: RiskDecision, reason: Reason) -> Outcome | None:
    """Return a check's outcome; None where it passed or was skipped, and so is not told."""
    return next((check.outcome for check in decision.checks if check.name is reason), None)


def holding(world: World, symbol: str = "S") -> tuple[Decimal, Decimal, Decimal]:
    """Return position, open buys and open sells."""
    account, shared = world.state.accounts["A"], world.state.shared
    found = Portfolio(
        account, name="A", clock=account.clock, reference=shared.reference, returns=shared.returns
    ).holding(symbol)
    return found.position, found.buying, found.selling


# --- 22 to 24


@pytest.mark.parametrize(("account", "symbol"), [("A", "S"), ("*", "S"), ("A", "*")])
def test_a_drifted_symbol_admits_reductions_only(account: str, symbol: str) -> None:
    world = marked()
    world.hold("S", 10)
    world.reference(kind="drift", account=account, symbol=symbol, flagged=True)
    assert numbers(world.submit("S", "BUY", "1")) == [22]
    decision = world.submit("S", "SELL", "10", limit_price="110")
    assert (approved(decision), outcome(decision, Reason.POSITION_DRIFT)) == (10, Outcome.EXEMPT)
    world.reference(kind="drift", account=account, symbol=symbol, flagged=False)
    assert approved(world.submit("S", "BUY", "1")) == 1


@pytest.mark.parametrize(
    ("limits", "instrument"), [({"shorts_allowed": False}, {}), ({}, {"shortable": False})], ids=["profile", "symbol"]
)
def test_a_banned_short_sale_may_close_and_no_more(limits: dict[str, Any], instrument: dict[str, Any]) -> None:
    world = marked(limits)
    world.instrument("S", **instrument)
    assert (numbers(world.submit("S", "SELL", "1")), world.decisions[-1].max_quantity) == ([24], 0)
    world.hold("S", 5)
    assert (numbers(world.submit("S", "SELL", "8")), world.decisions[-1].max_quantity) == ([24], 5)
    assert approved(world.submit("S", "SELL", "8", allow_resize=True)) == 5


# --- 26 to 28, 45


@pytest.mark.parametrize(("state", "reasons"), [("ENABLED", []), ("PROBATION", []), ("DISABLED", [26])])
def test_a_strategy_must_be_enabled(state: str, reasons: list[int]) -> None:
    world = marked()
    world.reference(kind="strategy", strategy="momentum", account="A", state=state)
    decision = world.submit("S", "BUY", "1")
    assert numbers(decision) == reasons
    assert ("STRATEGY_PROBATION" in decision.warnings) is (state == "PROBATION")


def test_two_strategies_do_not_hold_a_symbol_both_ways() -> None:
    world = marked()
    world.hold("S", -30, strategy="reversion")
    world.hold("S", 40)
    decision = world.submit("S", "BUY", "1")
    assert numbers(decision) == [27]
    check = next(check for check in decision.checks if check.name is Reason.STRATEGY_CONFLICT)
    assert check.detail == {"strategies": ["reversion"]}
    decision = world.submit("S", "SELL", "10")  # closes, though momentum's own 40 are the opposite of it
    assert approved(decision) == 10


def test_a_manual_position_is_no_strategy() -> None:
    world = marked()
    world.fill("S", "SELL", "5")  # names no strategy
    world.hold("S", 20, strategy="momentum")
    assert approved(world.submit("S", "BUY", "1")) == 1


@pytest.mark.parametrize(
    ("resting", "order", "crosses"),
    [
        ({"limit_price": "101"}, {"limit_price": "101"}, True),
        ({"limit_price": "101"}, {"limit_price": "100.99"}, False),
        ({"limit_price": "101"}, {"order_type": "MARKET"}, True),
        ({"order_type": "MARKET"}, {"limit_price": "96"}, True),
    ],
)
def test_an_order_does_not_meet_the_accounts_own(
    resting: dict[str, Any], order: dict[str, Any], *, crosses: bool
) -> None:
    world = marked()
    assert approved(world.submit("S", "SELL", "10", intent_id="resting", **resting)) == 10
    decision = world.submit("S", "BUY", "20", **order)
    assert numbers(decision) == ([28] if crosses else [])
    if crosses:  # the ten that the resting order will open are closed by nothing yet, so both are openings
        check = next(check for check in decision.checks if check.name is Reason.SELF_TRADE)
        assert check.detail == {"orders": ["resting"]}
        world.fill("S", "SELL", execution_type="CANCELED", intent_id="resting")
        assert approved(world.submit("S", "BUY", "20", **order)) == 20


def test_an_exit_may_meet_the_accounts_own_order() -> None:
    world = marked()
    world.hold("S", 10)
    assert approved(world.submit("S", "BUY", "5", limit_price="100")) == 5
    decision = world.submit("S", "SELL", "10", order_type="MARKET")
    assert (approved(decision), outcome(decision, Reason.SELF_TRADE)) == (10, Outcome.EXEMPT)


def budgeted(budget: str, state: str = "ENABLED") -> World:
    world = marked()
    world.reference(kind="strategy", strategy="momentum", account="*", state=state, budget=budget)
    return world


def test_a_budget_bounds_what_is_the_strategys_own() -> None:
    world = budgeted("0.5")
    world.mark("T", "50")
    world.hold("T", 400)  # 20,000 of 50,000
    world.hold("S", 100, strategy="other")
    world.mark("S")
    decision = world.submit("S", "BUY", "301")
    assert (numbers(decision), decision.max_quantity, decision.binding_constraint) == (
        [45],
        300,
        Reason.STRATEGY_BUDGET,
    )
    assert approved(world.submit("S", "BUY", "300")) == 300
    assert numbers(world.submit("S", "BUY", "1")) == [45]  # the open order counts
    assert approved(world.submit("S", "BUY", "1", strategy="other")) == 1


def test_probation_halves_a_budget() -> None:
    world = budgeted("0.5", "PROBATION")
    assert world.submit("S", "BUY", "999").max_quantity == 250


def test_a_budget_past_its_limit_admits_what_is_no_worse() -> None:
    world = budgeted("0.1")
    world.hold("S", 200)
    world.mark("S")
    assert numbers(world.submit("S", "BUY", "1")) == [45]
    # A flip from 200 to -200 leaves the strategy with no more than it has.
    decision = world.submit("S", "SELL", "401")
    assert (numbers(decision), decision.max_quantity) == ([45], 400)


def test_a_budget_needs_a_price_for_what_cancels_out_in_the_account() -> None:
    world = budgeted("0.5")
    world.instrument("T")
    world.hold("T", 10)
    world.hold("T", -10, strategy="other")
    world.mark("S")
    assert approved(world.submit("S", "BUY", "1")) == 1  # the fill of a minute ago is a price
    world.wait(8 * 86400)
    world.mark("S")
    assert numbers(world.submit("S", "BUY", "1")) == [19]


# --- 29 to 32


def test_a_bucket_empties_and_fills() -> None:
    world = marked({"account_rate": 1, "account_burst": 3, "strategy_rate": 1000, "strategy_burst": 1000})
    now = world.now + 10**9
    for _ in range(3):
        assert approved(world.submit("S", "BUY", "1", event_time=now)) == 1
    throttled = world.submit("S", "BUY", "1", event_time=now)
    assert (numbers(throttled), throttled.throttle) == ([29], None)
    assert approved(world.submit("S", "BUY", "1", event_time=now + 10**9 - 1)) is None
    assert approved(world.submit("S", "BUY", "1", event_time=now + 10**9)) == 1


def test_strategies_have_buckets_of_their_own() -> None:
    world = marked({"strategy_rate": 1, "strategy_burst": 1})
    at = {"event_time": world.now + 10**9}
    assert approved(world.submit("S", "BUY", "1", **at)) == 1
    assert numbers(world.submit("S", "BUY", "1", **at)) == [30]
    assert approved(world.submit("S", "BUY", "1", strategy="other", **at)) == 1


def test_rejected_openings_cost_a_token_and_reductions_and_repeats_none() -> None:
    world = marked({"account_rate": 1, "account_burst": 2})
    world.hold("S", 10)
    at = {"event_time": world.now + 10**9}
    assert approved(world.submit("S", "SELL", "1", intent_id="x", **at)) == 1
    assert world.decisions[-1].throttle is None
    assert numbers(world.submit("S", "SELL", "1", intent_id="x", **at)) == [3]
    world.fill("S", "SELL", execution_type="CANCELED", intent_id="x")
    rejected = world.submit("S", "BUY", "1", limit_price="200", **at)
    assert numbers(rejected) == [41]
    assert rejected.throttle is not None
    assert approved(world.submit("S", "BUY", "1", **at)) == 1
    assert numbers(world.submit("S", "BUY", "1", **at)) == [29]
    decision = world.submit("S", "SELL", "1", **at)
    assert (approved(decision), outcome(decision, Reason.RATE_LIMIT_ACCOUNT)) == (1, Outcome.EXEMPT)


def test_full_buckets_are_forgotten() -> None:
    world = marked()
    ledger = world.state.accounts["A"].ledger
    world.submit("S", "BUY", "1", strategy="one")
    world.submit("S", "BUY", "1", strategy="two")
    assert set(ledger.strategy_buckets) == {"two"}  # a second later
    world.wait(60)
    world.submit("S", "BUY", "1", strategy="two", event_time=world.now + 10**9, record_time=0)  # from the future
    assert set(ledger.strategy_buckets) == {"two"}


def test_the_sixth_like_order_within_ten_seconds_is_refused() -> None:
    world = marked()
    for _ in range(5):
        assert approved(world.submit("S", "BUY", "7")) == 7
    sixth = world.submit("S", "BUY", "7")
    check = next(check for check in sixth.checks if check.name is Reason.REPEATED_ORDER)
    assert (numbers(sixth), check.value, check.limit) == ([31], 6, 5)
    assert approved(world.submit("S", "BUY", "8")) == 8
    assert approved(world.submit("S", "BUY", "7", limit_price="99")) == 7
    world.wait(3)  # the first is ten seconds old
    assert approved(world.submit("S", "BUY", "7")) == 7


def test_repeats_are_not_cut_to_size() -> None:
    """A program that runs away is stopped, not given a little less."""
    world = marked({"repeat_max": 0})
    decision = world.submit("S", "BUY", "7", allow_resize=True)
    assert (numbers(decision), decision.max_quantity) == ([31], 0)


def test_open_orders_are_counted() -> None:
    world = marked({"open_orders_max": 2})
    world.hold("S", 10)
    assert approved(world.submit("S", "BUY", "1", intent_id="x")) == 1
    assert approved(world.submit("S", "BUY", "1")) == 1
    assert numbers(world.submit("S", "BUY", "1")) == [32]
    decision = world.submit("S", "SELL", "5", limit_price="110")
    assert (approved(decision), outcome(decision, Reason.MAX_OPEN_ORDERS)) == (5, Outcome.EXEMPT)
    assert numbers(world.submit("S", "BUY", "1", replaces="x")) == [32]  # three are open by now
    world.limits(**LOOSE, open_orders_max=3)
    assert approved(world.submit("S", "BUY", "1", replaces="x")) == 1


# --- 41


@pytest.mark.parametrize(
    ("side", "within", "beyond"),
    [
        ("BUY", ["105", "80"], ["105.01", "79.99"]),
        ("SELL", ["95", "120"], ["94.99", "120.01"]),
    ],
)
def test_the_collar_bounds_a_limit_price(side: str, within: list[str], beyond: list[str]) -> None:
    """Golden case 39."""
    world = marked()
    for price in within:
        assert approved(world.submit("S", side, "1", limit_price=price)) == 1
        world.fill("S", side, execution_type="CANCELED", intent_id=world.decisions[-1].intent_id)
    for price in beyond:
        decision = world.submit("S", side, "1", limit_price=price)
        assert (numbers(decision), decision.max_quantity) == ([41], 0)


def test_the_collar_bounds_a_reference_price() -> None:
    world = marked()
    assert approved(world.submit("S", "BUY", "1", reference_price="95")) == 1
    assert numbers(world.submit("S", "BUY", "1", reference_price="105.01")) == [41]
    assert numbers(world.submit("S", "BUY", "1", order_type="MARKET", reference_price="94.99")) == [41]


def test_without_a_mark_the_collar_is_about_the_fallback_price() -> None:
    world = World(limits=LOOSE, buying_power="1000000")
    world.instrument("S")
    assert approved(world.submit("S", "BUY", "1", limit_price="900")) == 1  # nothing to compare with
    world.daily_return("S", "2024-10-03", "0.01", close="100")
    assert numbers(world.submit("S", "BUY", "1", limit_price="115.51")) == [41]  # 100 times 1.10 times 1.05
    assert approved(world.submit("S", "BUY", "1", limit_price="115.5")) == 1


def test_an_exit_passes_at_any_price() -> None:
    world = marked()
    world.hold("S", 10)
    decision = world.submit("S", "SELL", "10", limit_price="50")
    assert (approved(decision), outcome(decision, Reason.PRICE_COLLAR)) == (10, Outcome.EXEMPT)


# --- replaces


def test_of_an_order_and_its_replacement_the_larger_counts() -> None:
    world = marked()
    assert approved(world.submit("S", "BUY", "100", intent_id="a")) == 100
    decision = world.submit("S", "BUY", "120", intent_id="b", replaces="a")
    assert isinstance(decision.reservation, Replacement)
    assert decision.reservation.replaces == "a"
    assert holding(world) == (0, 120, 0)
    world.fill("S", "BUY", "30", intent_id="a")  # a late fill of the old order is a part of the new one
    assert holding(world) == (30, 90, 0)
    world.fill("S", "BUY", execution_type="CANCELED", intent_id="a")
    assert holding(world) == (30, 90, 0)
    world.fill("S", "BUY", "90", intent_id="b")
    assert holding(world) == (120, 0, 0)


def test_a_replacement_that_ends_leaves_the_order_it_was_to_replace() -> None:
    world = marked()
    world.submit("S", "BUY", "100", intent_id="a")
    world.submit("S", "BUY", "120", intent_id="b", replaces="a")
    world.fill("S", "BUY", execution_type="REJECTED", intent_id="b")
    assert holding(world) == (0, 100, 0)


def test_replacements_nest() -> None:
    world = marked()
    for name, quantity, replaces in (("a", "100", None), ("b", "60", "a"), ("c", "80", "b"), ("d", "30", "a")):
        assert approved(world.submit("S", "BUY", quantity, intent_id=name, replaces=replaces)) == int(quantity)
    # If b is canceled before it is sent, c may be live beside a; if a is, then d and the larger of b and c.
    assert holding(world) == (0, 180, 0)
    world.fill("S", "BUY", execution_type="CANCELED", intent_id="b")
    assert holding(world) == (0, 180, 0)
    world.fill("S", "BUY", execution_type="CANCELED", intent_id="a")
    assert holding(world) == (0, 110, 0)


def test_an_exit_is_replaced_without_claiming_the_position_twice() -> None:
    world = marked()
    world.hold("S", 100)
    assert approved(world.submit("S", "SELL", "100", intent_id="a")) == 100
    decision = world.submit("S", "SELL", "100", intent_id="b", replaces="a", limit_price="99")
    assert (approved(decision), decision.opening_quantity) == (100, 0)
    assert holding(world) == (100, 0, 100)
    # b may be canceled before it is sent: then a third order would be live beside the first.
    assert world.submit("S", "SELL", "100", replaces="b", limit_price="98").opening_quantity == 100
    world = marked()
    world.hold("S", 100)
    world.submit("S", "SELL", "100", intent_id="a")
    world.submit("S", "SELL", "100", intent_id="b", replaces="a", limit_price="99")
    world.fill("S", "SELL", execution_type="CANCELED", intent_id="a")
    chained = world.submit("S", "SELL", "100", intent_id="c", replaces="b", limit_price="98")
    assert (approved(chained), chained.opening_quantity) == (100, 0)
    assert world.submit("S", "SELL", "100").opening_quantity == 100


def test_late_fills_of_every_order_before_it_reduce_a_replacement() -> None:
    world = marked()
    for name, replaces in (("a", None), ("b", "a"), ("c", "b")):
        assert approved(world.submit("S", "BUY", "100", intent_id=name, replaces=replaces)) == 100
    world.fill("S", "BUY", "100", intent_id="a")
    assert holding(world) == (100, 0, 0)


def test_no_chain_of_replacements_opens_a_position_while_halted() -> None:
    world = marked()
    world.hold("S", 100)
    world.tick(kind="halt", actor="ops", reason="test")
    for name, replaces in (("a", None), ("b", "a"), ("c", "b"), ("d", "c")):
        world.submit("S", "SELL", "100", intent_id=name, replaces=replaces)
        position, _, selling = holding(world)
        assert position - selling >= 0
    for name in ("b", "a", "c"):
        world.fill("S", "SELL", execution_type="CANCELED", intent_id=name)
        position, _, selling = holding(world)
        assert position - selling >= 0


def test_a_replacement_is_bounded_as_if_its_target_were_gone() -> None:
    world = marked({"position_critical": "0.3", "position_warning": "0.3"})
    assert approved(world.submit("S", "BUY", "250", intent_id="a")) == 250
    assert world.submit("S", "BUY", "60").max_quantity == 50
    decision = world.submit("S", "BUY", "301", replaces="a")
    assert (numbers(decision), decision.max_quantity) == ([43], 300)
    assert approved(world.submit("S", "BUY", "300", replaces="a")) == 300


@pytest.mark.parametrize("figure", ["cash", "buying_power"])
def test_a_replacement_spends_what_its_target_set_aside(figure: str) -> None:
    world = World(limits=LOOSE, **{figure: "10000"})
    world.mark("S")
    assert approved(world.submit("S", "BUY", "100", intent_id="a")) == 100
    assert numbers(world.submit("S", "BUY", "1")) == [52]
    assert numbers(world.submit("S", "BUY", "101", replaces="a")) == [52]
    assert approved(world.submit("S", "BUY", "100", replaces="a")) == 100
    assert numbers(world.submit("S", "BUY", "1")) == [52]


@pytest.mark.parametrize(
    "other", [{"symbol": "T"}, {"side": "SELL", "limit_price": "110"}], ids=["another symbol", "the other side"]
)
def test_a_target_that_is_no_such_order_is_ignored(other: dict[str, Any]) -> None:
    world = marked()
    world.mark("T")
    world.submit(**{"symbol": "S", "side": "BUY"} | other, quantity="100", intent_id="a")
    for target in ("a", "never sent"):
        decision = world.submit("S", "BUY", "10", replaces=target)
        assert approved(decision) == 10
        assert not isinstance(decision.reservation, Replacement)


def test_an_intent_keeps_its_digest() -> None:
    """`replaces` came later: an intent without it has the digest that it always had."""
    world = marked()
    plain = world.intent("S", "BUY", "1", intent_id="x", event_time=1_728_000_000_000_000_000)
    assert intent_digest(plain) == "f4dd60f4da7e81afb97aa21cf9dfdb7443fc1ec58fc8eb16405a983c11bde83d"
    assert intent_digest(plain.model_copy(update={"replaces": "y"})) != intent_digest(plain)


# --- statements


def test_adjustments_mend_a_position_once() -> None:
    world = marked()
    world.hold("S", 10)
    said: dict[str, Any] = {"positions": {"S": "25"}, "fills_through": world.now, "actor": "ops", "reason": "a split"}
    world.tick(kind="statement", positions={"S": "25"}, fills_through=world.now)
    assert holding(world) == (10, 0, 0)  # a fact overwrites nothing
    world.tick(kind="statement", adjustments={"S": "15", "T": "-3"}, **said)
    again = world.now
    assert (holding(world), holding(world, "T")) == ((25, 0, 0), (-3, 0, 0))
    world.tick(kind="statement", adjustments={"S": "15"}, **said, event_time=again)
    assert holding(world) == (25, 0, 0)
    world.tick(kind="statement", adjustments={"S": "-25", "T": "3"}, **said)
    assert (holding(world), holding(world, "T")) == ((0, 0, 0), (0, 0, 0))
    assert world.state.accounts["A"].drawdown.adjustments == {"S": -10}


def test_an_adjusted_position_can_be_closed() -> None:
    world = marked()
    world.tick(
        kind="statement", positions={}, fills_through=0, adjustments={"S": "25"}, actor="ops", reason="transferred in"
    )
    assert approved(world.submit("S", "SELL", "25")) == 25
    assert world.decisions[-1].opening_quantity == 0


# --- rows


def test_a_ledger_with_buckets_repeats_and_replacements_survives_its_rows() -> None:
    world = marked()
    for number in range(4):
        world.submit("S", "BUY", "5", intent_id=f"x{number}", replaces=f"x{number - 1}", strategy=f"s{number % 2}")
    ledger = world.state.accounts["A"].ledger
    keys = sorted(ledger.dirty)
    rows = {key: row for key in keys if (row := ledger.row(key)) is not None}
    again = Ledger.from_rows(rows)
    assert again.approvals == ledger.approvals
    assert again.recent == ledger.recent
    assert (again.account_bucket, again.strategy_buckets) == (ledger.account_bucket, ledger.strategy_buckets)
    assert canonical_bytes({key: again.row(key) for key in keys}) == canonical_bytes(
        {key: ledger.row(key) for key in keys}
    )


# --- a decision fits into a record, and so does every row


def test_no_row_grows_with_the_number_of_strategies() -> None:
    """A row that a record cannot carry would stop the partition at its next checkpoint, and every next owner's."""
    world = marked({"account_rate": 10**9, "account_burst": 10**6})
    for number in range(300):
        strategy = f"{number:064}"
        world.decide(world.intent("S", "BUY", "1", strategy=strategy))
    for number in range(300):
        world.fill("T", "BUY", "1", strategy=f"{number:064}")
    world.wait(8 * DAY_NS // SECOND_NS)
    world.fill("T", "BUY", "1")  # now the others are summed
    account = world.state.accounts["A"]
    assert len(account.ledger.strategy_buckets) == 300
    assert len(account.book.positions["T"]) == 301
    ledger = {key: account.ledger.row(key) for key in account.ledger.dirty}
    book = {key: account.book.row(key) for key in account.book.dirty}
    assert max(len(canonical_bytes(row)) for row in (*ledger.values(), *book.values())) < 1500

    restored = Ledger.from_rows({key: row for key, row in ledger.items() if row is not None})
    assert restored.strategy_buckets == account.ledger.strategy_buckets
    assert Book.from_rows({key: row for key, row in book.items() if row is not None}).positions == (
        account.book.positions
    )
    account.ledger.dirty.clear()
    world.mark("S")
    world.submit("S", "BUY", "1", strategy="last")
    assert set(account.ledger.strategy_buckets) == {"last"}
    gone = {key for key in account.ledger.dirty if key[:1] == "s" and account.ledger.row(key) is None}
    assert len(gone) == 300


def test_a_long_list_of_symbols_is_cut() -> None:
    world = marked()
    for number in range(30):
        world.fill(f"U{number:02}", "BUY", "1")  # symbols of which there is no record
    decision = world.submit("S", "BUY", "1")
    check = next(check for check in decision.checks if check.name is Reason.UNKNOWN_INSTRUMENT)
    assert check.detail == {"symbols": [f"U{number:02}" for number in range(20)], "count": 30}


def test_a_long_linking_path_is_cut() -> None:
    world = marked({"cluster_critical": "0.001", "cluster_warning": "0"})
    world.instrument("S", moves_like="the market")
    for number in range(60):
        world.instrument(f"U{number:02}", moves_like="the market")
        world.hold(f"U{number:02}", 1)
    world.mark("S")
    decision = world.submit("S", "BUY", "1")
    check = next(check for check in decision.checks if check.name is Reason.CORRELATED_EXPOSURE)
    assert isinstance(check.detail, dict)
    members = check.detail["members"]
    assert isinstance(members, list)
    assert (len(members), check.detail["count"]) == (50, 61)

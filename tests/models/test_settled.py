"""What docs/risk.md section 12 settles, line by line (its lines on marks, suspects and peaks: test_drawdown)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from models.canonical import DAY_NS, SECOND_NS, sha256
from models.decisions import Outcome
from models.messages import OperatorHalt
from models.portfolio import Portfolio
from models.reasons import RejectReason as Reason
from models.refusal import Refused
from tests.models.world import NOON, World, approved, numbers

SHORTS = {"shorts_allowed": True}


def portfolio(world: World) -> Portfolio:
    account = world.state.accounts["A"]
    shared = world.state.shared
    return Portfolio(account, name="A", clock=account.clock, reference=shared.reference, returns=shared.returns)


def test_malformed_belongs_to_the_partition() -> None:
    world = World()
    first = world.decide(Refused("one wording"), raw=b"{")
    again = world.decide(Refused("another wording"), raw=b"{")
    assert numbers(first) == [1]
    assert (first.clock, first.account, first.max_quantity) == (0, None, 0)
    assert (first.intent_digest, again.intent_digest) == (sha256(b"{"), sha256(b"{"))
    assert (again.seq, again.previous_digest) == (2, first.digest)
    assert first.checks == again.checks
    assert world.state.accounts["A"].ledger.decisions.seq == 0


def test_split_of_a_resized_approval() -> None:
    world = World(limits=SHORTS, buying_power="1000000")
    world.hold("S", 50)
    world.mark("S")
    decision = world.submit("S", "SELL", "200", allow_resize=True)
    assert approved(decision) == 150
    assert (decision.reducing_quantity, decision.opening_quantity) == (50, 100)
    decision = world.submit("S", "SELL", "300")
    assert (decision.reducing_quantity, decision.opening_quantity) == (0, 300)  # 50 are claimed already


def test_reduce_only_bounds_openings() -> None:
    world = World(limits=SHORTS, buying_power="1000000")
    world.hold("S", 50)
    world.mark("S")
    decision = world.submit("S", "SELL", "60", reduce_only=True)
    assert (numbers(decision), decision.max_quantity, decision.binding_constraint) == ([25], 50, Reason.REDUCE_ONLY)
    decision = world.submit("S", "SELL", "40", reduce_only=True)
    assert (approved(decision), decision.max_quantity) == (40, 50)


def test_checks_of_openings_do_not_concern_reductions() -> None:
    world = World(limits={"sizing_method": "KELLY"})
    world.hold("S", 50)
    world.mark("S", atr=None)
    decision = world.submit("S", "SELL", "50")
    assert approved(decision) == 50
    assert (decision.max_quantity, decision.binding_constraint) == (50, Reason.ATR_UNAVAILABLE)
    assert [check.outcome for check in decision.checks] == [Outcome.SKIPPED]


def test_without_positive_equity_only_15_speaks() -> None:
    world = World(equity="-1")
    world.mark("S")
    assert numbers(world.submit("S", quantity="1")) == [15]


def test_what_cannot_be_sized_is_not_split() -> None:
    world = World()
    world.mark("S", atr=None)
    decision = world.submit("S")
    assert numbers(decision) == [20]
    assert (decision.reducing_quantity, decision.opening_quantity) == (None, None)


def test_an_absent_quantity_closes_what_is_open() -> None:
    world = World(limits={"sizing_method": "NONE"})
    world.hold("S", 70)
    world.mark("S")
    assert approved(world.submit("S", "SELL")) == 70
    assert numbers(world.submit("S", "SELL")) == [36]  # all of it is claimed
    assert numbers(world.submit("T", "BUY", limit_price="100")) == [12, 36]
    world.mark("T")
    assert numbers(world.submit("T", "BUY")) == [36]  # method NONE sizes nothing


def test_prices_seen_and_never_seen() -> None:
    world = World(limits=SHORTS | {"collar_away": "9"})
    world.instrument("S")
    assert numbers(world.submit("S", "SELL", "1", atr="1")) == [18]
    world.daily_return("S", "2024-10-03", "0.01", close="100")
    assert numbers(world.submit("S", "SELL", "1", atr="1")) == [19]
    assert approved(world.submit("S", "SELL", "1", atr="1", reference_price="119")) == 1
    assert numbers(world.submit("S", "SELL", "1", atr="1", reference_price="121")) == [19]


def test_the_price_of_a_buy_without_a_mark() -> None:
    world = World()
    world.instrument("S")
    decision = world.submit("S", quantity="1", atr="1")
    assert approved(decision) == 1
    assert decision.warnings == ("PRICE_FROM_INTENT",)
    assert decision.reservation is not None
    assert decision.reservation.price == 100
    world.daily_return("S", "2024-10-03", "0.01", close="100")
    decision = world.submit("S", quantity="1", atr="1")
    assert decision.reservation is not None
    assert decision.reservation.price == 110
    world.limits(require_mark=True)
    assert numbers(world.submit("S", quantity="1", atr="1")) == [19]


def test_another_holding_falls_back_to_its_close() -> None:
    world = World()
    world.hold("T", 100)
    world.daily_return("T", "2024-10-03", "0.01", close="100")
    world.mark("S")
    decision = world.submit("S", quantity="1")
    assert decision.warnings == ("PRICE_FALLBACK",)
    assert decision.max_quantity == 100
    world.limits(gross_max="0.11")  # the fallback counts 110 x 100 = 11,000
    assert numbers(world.submit("S", quantity="1")) == [46]


def test_a_held_symbol_in_another_currency() -> None:
    world = World()
    world.instrument("T", currency="EUR")
    world.hold("T", 10)
    world.mark("T")
    world.mark("S")
    assert numbers(world.submit("S", quantity="1")) == [13]


def test_a_fill_of_an_order_long_done_is_no_orphan() -> None:
    world = World()
    world.mark("S")
    world.submit("S", quantity="10", intent_id="x")
    world.fill("S", quantity="10", intent_id="x")
    for _ in range(3):
        world.wait(2 * DAY_NS / SECOND_NS)
        world.mark("S")
        decision = world.submit("S", quantity="1")
        assert not {"ORPHAN_FILL", "OVERFILL"} & set(decision.warnings)
    assert "x" not in world.state.accounts["A"].ledger.decided
    world.fill("S", quantity="1", intent_id="never approved")
    assert "ORPHAN_FILL" in world.submit("S", quantity="1").warnings
    world.wait(8 * DAY_NS / SECOND_NS)
    world.mark("S")
    assert "ORPHAN_FILL" not in world.submit("S", quantity="1").warnings


def test_only_what_came_after_the_approval_counts_for_it() -> None:
    world = World()
    world.mark("S")
    world.fill("S", quantity="4", intent_id="x")
    world.fill("S", "BUY", intent_id="x", execution_type="CANCELED")
    world.wait(60)
    world.mark("S")
    world.submit("S", quantity="10", intent_id="x")
    assert portfolio(world).open_orders["x"][1] == 10
    world.fill("S", "SELL", intent_id="x", execution_type="CANCELED")  # of the other side
    assert portfolio(world).open_orders["x"][1] == 10
    world.fill("S", "BUY", "3", intent_id="x")
    assert portfolio(world).open_orders["x"][1] == 7
    world.fill("S", "BUY", intent_id="x", execution_type="REPLACED", order_quantity="5")
    assert portfolio(world).open_orders["x"][1] == 2
    world.fill("S", "BUY", intent_id="x", execution_type="CANCELED")
    assert "x" not in portfolio(world).open_orders


def test_a_kill_switch_by_a_clock_that_runs_ahead_works_and_can_be_released() -> None:
    world = World()
    world.mark("S")
    switch = {"kind": "kill_switch", "scope": "GLOBAL", "mode": "REDUCE_ONLY"}
    world.reference(**switch, engaged=True, event_time=world.now + 3600 * SECOND_NS)
    assert numbers(world.submit("S", quantity="1")) == [7]
    world.reference(**switch, engaged=False)
    assert approved(world.submit("S", quantity="1")) == 1


def test_an_operators_halt_from_the_future_applies() -> None:
    world = World()
    world.mark("S")
    before = world.now
    world.tick(kind="halt", actor="operator", reason="news")
    assert numbers(world.submit("S", quantity="1")) == [8]
    world.tick(kind="resume", actor="operator", reason="over")
    refusals = world.state.fold_tick(
        OperatorHalt(account="A", event_time=before + 3600 * SECOND_NS, actor="operator", reason="ahead"),
        offset=99,
        time=world.now + SECOND_NS,
    )
    assert refusals == ()
    world.wait(2)
    assert numbers(world.submit("S", quantity="1")) == [8]


def test_limit_profiles_only_rise() -> None:
    world = World()
    profile = {"kind": "limit_profile", "profile_id": "default"}
    world.reference(**profile, profile_version=1, event_time=1)
    assert world.refusals == []
    world.reference(**profile, profile_version=1)
    assert len(world.refusals) == 1


def test_restrictions_add_up() -> None:
    world = World()
    world.mark("S")
    world.reference(kind="restricted", symbol="S", active=True)
    assert numbers(world.submit("S", quantity="1")) == [23]
    world.reference(kind="restricted", symbol="S", account="A", active=False)
    assert numbers(world.submit("S", quantity="1")) == [23]
    world.reference(kind="restricted", symbol="S", active=False)
    assert approved(world.submit("S", quantity="1")) == 1
    world.reference(kind="restricted", symbol="S", account="A", active=True)
    assert numbers(world.submit("S", quantity="1")) == [23]


def test_times() -> None:
    world = World()
    world.mark("S")
    decision = world.submit("S", quantity="1", event_time=world.now + 7 * SECOND_NS)
    assert numbers(decision) == [4]
    assert decision.clock < world.now
    assert numbers(world.submit("S", quantity="1", expires_at=world.now)) == [5]
    assert numbers(world.submit("S", quantity="1", event_time=world.now - 31 * SECOND_NS)) == [21]
    assert numbers(world.submit("S", quantity="1", event_time=NOON - 3700 * SECOND_NS)) == [5]
    assert Decimal(0) == world.decisions[-1].quantity


def test_a_halt_may_come_before_the_first_mark() -> None:
    """So a gate that takes an account over can take its halt over, and is not without it for a moment."""
    world = World(equity=None)
    world.tick(kind="halt", actor="operator", reason="halted in the gate before")
    world.tick("100000", net_deposits="5000")
    world.mark("S")
    assert numbers(world.submit("S", quantity="1")) == [8]
    assert [(halt.status, halt.causes) for halt in world.halts] == [("HALT", ("OPERATOR",))]


def test_a_release_from_the_future_sent_again_releases_nothing_more() -> None:
    """By a clock that runs ahead; its time is clamped, and would be new each time it is sent."""
    world = World()
    world.mark("S")
    switch: dict[str, Any] = {"kind": "kill_switch", "scope": "GLOBAL", "mode": "ALL"}
    ahead = world.now + 300 * SECOND_NS
    world.reference(**switch, engaged=False, event_time=ahead)
    world.reference(**switch, engaged=True)
    assert numbers(world.submit("S", "BUY", "1")) == [6]
    world.reference(**switch, engaged=False, event_time=ahead)
    assert numbers(world.submit("S", "BUY", "1")) == [6]
    world.reference(**switch, engaged=False, event_time=ahead + 1)
    assert approved(world.submit("S", "BUY", "1")) == 1

"""Each condition alone: what brings a reason about, what ends it, and that an exit passes meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from models.canonical import DAY_NS, SECOND_NS
from models.decisions import Outcome
from models.reasons import RejectReason as Reason
from tests.models.test_bounds import LOOSE
from tests.models.world import World, approved, numbers

TARGETS = {"GLOBAL": None, "ACCOUNT": "A", "STRATEGY": "momentum", "SYMBOL": "S"}


def holding(limits: dict[str, Any] | None = None) -> World:
    """Return an account that holds 10 S."""
    world = World(limits=LOOSE | (limits or {}), buying_power="1000000")
    world.hold("S", 10)
    world.mark("S")
    return world


def switch(world: World, scope: str, mode: str, *, engaged: bool, target: str | None = None) -> None:
    world.reference(kind="kill_switch", scope=scope, target=target or TARGETS[scope], mode=mode, engaged=engaged)


@pytest.mark.parametrize("scope", TARGETS)
@pytest.mark.parametrize(("mode", "reason"), [("ALL", 6), ("REDUCE_ONLY", 7)])
def test_a_kill_switch_of_every_scope_and_mode(scope: str, mode: str, reason: int) -> None:
    world = holding()
    switch(world, scope, mode, engaged=True)
    decision = world.submit("S", "BUY", "1")
    assert (numbers(decision), decision.max_quantity) == ([reason], 0)
    exit_ = world.submit("S", "SELL", "10", limit_price="110")
    assert approved(exit_) == (None if mode == "ALL" else 10)
    switch(world, scope, mode, engaged=False)
    assert approved(world.submit("S", "BUY", "1")) == 1


@pytest.mark.parametrize("scope", ["ACCOUNT", "STRATEGY", "SYMBOL"])
def test_a_kill_switch_elsewhere_is_none(scope: str) -> None:
    world = holding()
    switch(world, scope, "ALL", engaged=True, target="another")
    assert approved(world.submit("S", "BUY", "1")) == 1


@pytest.mark.parametrize("scope", ["ACCOUNT", "STRATEGY", "SYMBOL"])
def test_a_kill_switch_for_every_other_target(scope: str) -> None:
    """`*` reaches every target that has no record of its own."""
    world = holding()
    switch(world, scope, "ALL", engaged=True, target="*")
    assert numbers(world.submit("S", "BUY", "1")) == [6]
    switch(world, scope, "REDUCE_ONLY", engaged=False)
    assert approved(world.submit("S", "BUY", "1")) == 1


Change = Callable[[World], object]


def _operator_halt(world: World) -> None:
    world.tick(kind="halt", actor="ops", reason="test")


def _operator_resume(world: World) -> None:
    world.tick(kind="resume", actor="ops", reason="test")


def _bind(profile: str) -> Change:
    return lambda world: world.reference(kind="account", account="A", profile_id=profile, currency="USD")


def _instrument(**fields: Any) -> Change:
    return lambda world: world.reference(kind="instrument", symbol="S", **{"currency": "USD"} | fields)


def _restricted(*, active: bool) -> Change:
    return lambda world: world.reference(kind="restricted", symbol="S", active=active)


def _equity(amount: str) -> Change:
    return lambda world: world.tick(amount)


def _stale(world: World) -> None:
    world.wait(150)
    world.tick(kind="statement", positions={}, fills_through=0)  # only the clock moves on


def _sized_by_risk(world: World) -> None:
    world.limits(**LOOSE | {"sizing_method": "VOLATILITY_ADJUSTED"})
    world.wait(5 * 86400)
    world.mark("S", atr=None)


CONDITIONS: dict[Reason, tuple[Change, Change]] = {
    Reason.OPERATOR_HALT: (_operator_halt, _operator_resume),
    Reason.UNKNOWN_ACCOUNT: (_bind("nowhere"), _bind("default")),
    Reason.CURRENCY_MISMATCH: (_instrument(currency="EUR"), _instrument()),
    Reason.EQUITY_UNCONFIRMED: (_equity("60000"), _equity("100000")),
    Reason.STALE_EQUITY: (_stale, lambda world: world.mark("S")),
    Reason.RESTRICTED_SYMBOL: (_restricted(active=True), _restricted(active=False)),
    Reason.ATR_UNAVAILABLE: (_sized_by_risk, lambda world: world.mark("S")),
}


@pytest.mark.parametrize("reason", CONDITIONS)
def test_a_condition_stops_openings_until_it_ends(reason: Reason) -> None:
    world = holding()
    begin, end = CONDITIONS[reason]
    begin(world)
    decision = world.submit("S", "BUY", "1")
    assert reason in decision.reasons
    # Nothing else but what the same lack brings about: a clock that moves on ages the marks, too.
    assert set(decision.reasons) <= {reason, Reason.STALE_PRICE}
    assert decision.max_quantity == 0
    exit_ = world.submit("S", "SELL", "1", limit_price="110")
    assert approved(exit_) == 1
    assert {check.outcome for check in exit_.checks if check.name is reason} <= {Outcome.EXEMPT, Outcome.SKIPPED}
    end(world)
    assert approved(world.submit("S", "BUY", "1")) == 1


def test_an_unknown_instrument() -> None:
    world = holding()
    decision = world.submit("never heard of", "BUY", "1")
    assert Reason.UNKNOWN_INSTRUMENT in decision.reasons
    assert decision.max_quantity == 0


def test_equity_that_is_not_positive() -> None:
    world = holding()
    world.tick("0")
    world.tick("-1")  # confirms it
    decision = world.submit("S", "BUY", "1")
    assert Reason.EQUITY_NOT_POSITIVE in decision.reasons
    assert approved(world.submit("S", "SELL", "10", limit_price="110")) == 10


@pytest.mark.parametrize(("age", "reasons"), [(30 * SECOND_NS, []), (30 * SECOND_NS + 1, [21])])
def test_an_intent_may_be_thirty_seconds_old(age: int, reasons: list[int]) -> None:
    world = holding()
    clock = world.state.accounts["A"].clock
    assert numbers(world.submit("S", "BUY", "1", event_time=clock - age)) == reasons


@pytest.mark.parametrize(("age", "reasons"), [(4, []), (5, [20])])
def test_an_atr_may_be_four_dates_old(age: int, reasons: list[int]) -> None:
    world = holding({"sizing_method": "VOLATILITY_ADJUSTED"})
    now = world.now + SECOND_NS
    mark = {"price": "100", "atr": "2", "atr_time": now - age * DAY_NS}
    world.mark("T")
    world.tick("100000", marks={"T": {"price": "100"}}, event_time=now)
    world.now = now
    world.reference(kind="instrument", symbol="U", currency="USD")
    world.tick("100000", marks={"U": mark})
    assert numbers(world.submit("U", "BUY", "1")) == reasons


def test_the_warning_is_told() -> None:
    world = holding()
    world.tick("94000")
    decision = world.submit("S", "BUY", "1")
    assert "DRAWDOWN_HALT" in decision.warnings
    assert decision.quantity == Decimal(1)

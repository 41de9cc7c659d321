"""How the evidence of a check reads, of decisions that the gate took."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from models.decisions import CheckResult, Outcome, RiskDecision
from models.reasons import RejectReason as Reason
from streams.text import DURATIONS, about, amount, check_line, decision_lines, measured
from tests.models import test_model_checks as models
from tests.models.test_controls import budgeted, marked
from tests.models.world import approved


def line(decision: RiskDecision, reason: Reason) -> str:
    """Return what is said of a check that failed."""
    (told,) = (check_line(check) for check in decision.checks if check.name is reason)
    assert f"  {told}" in [text.plain for text in decision_lines(decision)]
    return told


def drifted() -> RiskDecision:
    world = marked()
    world.reference(kind="drift", account="A", symbol="S", flagged=True)
    return world.submit("S", "BUY", "1")


def sold_short() -> RiskDecision:
    world = marked({"shorts_allowed": False})
    world.hold("S", 5)
    return world.submit("S", "SELL", "8")


def against_others() -> RiskDecision:
    world = marked()
    for strategy in ("one", "two", "three", "four", "five"):
        world.hold("S", -30, strategy=strategy)
    world.mark("S")
    return world.submit("S", "BUY", "151", strategy="six")


def crossing() -> RiskDecision:
    world = marked()
    world.submit("S", "SELL", "10", intent_id="resting", limit_price="101")
    return world.submit("S", "BUY", "20", limit_price="101")


def throttled(**limits: int) -> RiskDecision:
    world = marked(limits)
    now = world.now + 10**9
    while approved(decision := world.submit("S", "BUY", "1", event_time=now)) is not None:
        pass
    return decision


def repeated() -> RiskDecision:
    world = marked()
    return [world.submit("S", "BUY", "7") for _ in range(6)][-1]


def too_many_open() -> RiskDecision:
    world = marked({"open_orders_max": 2})
    return [world.submit("S", "BUY", quantity) for quantity in ("1", "2", "3")][-1]


def odd_lot() -> RiskDecision:
    world = marked()
    world.instrument("S", lot="0.025")
    return world.submit("S", "BUY", "1.03")


def priced(side: str, price: str) -> Callable[[], RiskDecision]:
    return lambda: marked().submit("S", side, "1", limit_price=price)


def modelled(limits: dict[str, Any], symbol: str = "S", **world: Any) -> Callable[[], RiskDecision]:
    return lambda: models.world(limits, **world).submit(symbol, "BUY", "1000")


@pytest.mark.parametrize(
    ("ask", "reason", "told"),
    [
        (drifted, Reason.POSITION_DRIFT, "passes 0"),
        (sold_short, Reason.SHORT_SALE_BANNED, "passes 0"),
        (against_others, Reason.STRATEGY_CONFLICT, "against five, four, one and 2 more, passes 0"),
        (crossing, Reason.SELF_TRADE, "would cross resting, passes 0"),
        (
            lambda: throttled(account_rate=5, account_burst=6, strategy_burst=99, repeat_max=99),
            Reason.RATE_LIMIT_ACCOUNT,
            "1.2 s > 1 s, a token in 200 ms, passes 0",
        ),
        (
            lambda: throttled(strategy_rate=1, strategy_burst=3),
            Reason.RATE_LIMIT_STRATEGY,
            "3 s > 2 s, a token in 1 s, passes 0",
        ),
        (repeated, Reason.REPEATED_ORDER, "6 > 5 alike within 10 s, passes 0"),
        (too_many_open, Reason.MAX_OPEN_ORDERS, "3 > 2 open orders, passes 0"),
        (odd_lot, Reason.INVALID_LOT, "1.03 in lots of 0.025"),
        (priced("BUY", "105.001"), Reason.PRICE_COLLAR, "105.001 > 105, passes 0"),
        (priced("BUY", "79.999"), Reason.PRICE_COLLAR, "79.999 < 80, passes 0"),
        (priced("SELL", "94.999"), Reason.PRICE_COLLAR, "94.999 < 95, passes 0"),
        (
            lambda: budgeted("0.5").submit("S", "BUY", "501"),
            Reason.STRATEGY_BUDGET,
            "50,100 > 50,000 (strategy momentum), passes 500",
        ),
        (modelled({"var_max": "0.01"}, sessions=99), Reason.RISK_MODEL_UNAVAILABLE, "S, T, U, passes 0"),
    ],
)
def test_every_reason_has_its_words(ask: Callable[[], RiskDecision], reason: Reason, told: str) -> None:
    decision = ask()
    assert reason in decision.reasons
    assert line(decision, reason) == f"{reason} {told}"


def test_a_token_comes_when_the_line_says() -> None:
    world = marked({"account_rate": 4, "account_burst": 2})
    now = world.now + 10**9
    assert [approved(world.submit("S", "BUY", "1", event_time=now)) for _ in range(3)] == [1, 1, None]
    assert "a token in 250 ms" in line(world.decisions[-1], Reason.RATE_LIMIT_ACCOUNT)
    assert approved(world.submit("S", "BUY", "1", event_time=now + 250_000_000 - 1)) is None
    assert approved(world.submit("S", "BUY", "1", event_time=now + 250_000_000)) == 1


def find(decision: RiskDecision, reason: Reason) -> tuple[CheckResult, Decimal]:
    """Return a check with what it measured."""
    (check,) = (check for check in decision.checks if check.name is reason)
    assert check.value is not None
    return check, check.value


def test_value_at_risk_is_told_with_its_parts() -> None:
    account = models.world({"var_max": "0.01"})
    decision = account.submit("S", "BUY", "1000")
    before, after = models.valued(account, 0), models.valued(account, 1000)
    parts = f"historical {amount(after.historical_var)}, parametric {amount(after.parametric_var)}"
    larger = amount(max(after.historical_var, after.parametric_var))
    assert line(decision, Reason.VAR_LIMIT) == (
        f"VAR_LIMIT {larger} > 1,000 ({parts}, by this order {amount(after.var - before.var)}),"
        f" passes {decision.max_quantity}"
    )


def test_expected_shortfall_is_told_with_what_the_order_adds() -> None:
    account = models.world({"cvar_max": "0.01"})
    decision = account.submit("S", "BUY", "1000")
    more = float(models.valued(account, 1000).cvar - models.valued(account, 0).cvar)
    _, value = find(decision, Reason.CVAR_LIMIT)
    assert line(decision, Reason.CVAR_LIMIT) == (
        f"CVAR_LIMIT {amount(value)} > 1,000 (by this order {amount(Decimal(more))}), passes {decision.max_quantity}"
    )


@pytest.mark.parametrize(
    ("limits", "told"), [({"beta_max": "0.01"}, "(MARKET)"), ({"factor_max": "0.01"}, "(sector energy)")]
)
def test_a_factor_is_named(limits: dict[str, Any], told: str) -> None:
    decision = models.world(limits).submit("S", "BUY", "1000")
    check, value = find(decision, Reason.FACTOR_LIMIT)
    assert line(decision, Reason.FACTOR_LIMIT) == (
        f"FACTOR_LIMIT {amount(value)} > 1,000 {told}, passes {check.max_quantity}"
    )


@pytest.mark.parametrize("name", [reason for reason in Reason if reason.number >= 7])
def test_no_check_reads_badly(name: Reason) -> None:
    """Whatever its unit: durations have one, what is below its limit is not said to be above it."""
    for value, limit in ((Decimal(3 * 10**9), Decimal(2 * 10**9)), (Decimal(2 * 10**9), Decimal(3 * 10**9))):
        check = CheckResult(name=name, outcome=Outcome.FAIL, value=value, limit=limit)
        assert (" s" in measured(check)) is (name in DURATIONS or (name is Reason.REPEATED_ORDER and value > limit))
        assert value > limit or ">" not in measured(check)
    assert measured(CheckResult(name=name, outcome=Outcome.FAIL)) == about(
        CheckResult(name=name, outcome=Outcome.FAIL, detail=["no", "object"])
    )

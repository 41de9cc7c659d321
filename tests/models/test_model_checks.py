"""Checks 48 to 51 through the whole gate; what they measure has oracles of its own in test_tail and test_factors."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from models.canonical import plain
from models.decisions import CheckResult, Outcome, RiskDecision
from models.folds.correlation import Returns
from models.folds.reference import Reference
from models.portfolio import Portfolio
from models.reasons import RejectReason as Reason
from models.risk.models import TAIL_MODELS_KEPT, RiskModels
from models.risk.tail import Tail, TailModel
from models.standing.holdings import Holding
from tests.models.test_bounds import LOOSE
from tests.models.world import NOON_DATE, World, approved, numbers

SYMBOLS = ("S", "T", "U")


def world(limits: dict[str, Any], *, sessions: int = 120, seed: int = 1) -> World:
    """Return an account of 100,000 that holds 200 T and is short 100 U, each at 100, with random returns."""
    wide = {name: "99" for name, value in LOOSE.items() if value == "9"}
    world = World(limits=LOOSE | wide | limits, buying_power="10000000")
    chance = random.Random(seed)
    for number, symbol in enumerate(SYMBOLS):
        world.reference(kind="instrument", symbol=symbol, sector="tech" if number else "energy", currency="USD")
        for age in range(sessions):
            session = (NOON_DATE - timedelta(days=age)).isoformat()
            world.daily_return(symbol, session, plain(Decimal(chance.randrange(-300, 300)).scaleb(-4)))
    world.hold("T", 200)
    world.hold("U", -100)
    for symbol in SYMBOLS:
        world.mark(symbol)
    return world


def result(decision: RiskDecision, reason: Reason) -> CheckResult:
    return next(check for check in decision.checks if check.name is reason)


def valued(world: World, opening: int | None) -> Tail:
    """Return the account's tail risk with `opening` S, from a model of its own; None: of what is held alone."""
    amounts = {"T": Decimal(20000), "U": Decimal(-10000)}
    if opening is not None:
        amounts["S"] = Decimal(100 * opening)
    model = RiskModels(world.state.shared.returns, world.state.shared.reference).tail(amounts)
    assert isinstance(model, TailModel)
    return model.value(amounts)


@pytest.mark.parametrize(("limit", "reason"), [("var_max", Reason.VAR_LIMIT), ("cvar_max", Reason.CVAR_LIMIT)])
@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_tail_risk_is_bounded(limit: str, reason: Reason, side: str) -> None:
    share = Decimal("0.03")
    account = world({limit: str(share)})
    sign = 1 if side == "BUY" else -1
    more = account.submit("S", side, "50000")
    most = int(more.max_quantity)
    assert (numbers(more), more.binding_constraint) == ([reason.number], reason)

    def measured(units: int) -> Fraction:
        tail = valued(account, sign * units)
        return Fraction(tail.var if reason is Reason.VAR_LIMIT else tail.cvar)

    assert measured(most) <= share * 100_000 < measured(most + 1)
    check = result(more, reason)
    assert check.limit == share * 100_000
    assert check.value is not None
    assert abs(Fraction(check.value) - measured(50_000)) <= Fraction(1, 10**6)
    assert numbers(account.submit("S", side, str(most + 1))) == [reason.number]
    assert approved(account.submit("S", side, str(most))) == most


def test_a_hedge_is_welcome_past_the_limit() -> None:
    account = world({"var_max": "0.001"})
    assert numbers(account.submit("T", "BUY", "1")) == [49]
    assert approved(account.submit("T", "SELL", "50")) == 50  # a strict reduction
    flipped = account.submit("U", "BUY", "110", allow_resize=True)
    assert approved(flipped) is not None


def test_var_shows_both_methods_and_what_the_order_adds() -> None:
    account = world({"var_max": "0.01"})
    check = result(account.submit("S", "BUY", "1000"), Reason.VAR_LIMIT)
    before, after = valued(account, 0), valued(account, 1000)
    assert check.detail == {
        "historical": plain(after.historical_var),
        "parametric": plain(after.parametric_var),
        "incremental": plain(after.var - before.var),
    }
    assert check.value == after.var


def test_beta_and_sectors_are_bounded() -> None:
    account = world({"beta_max": "0.5", "factor_max": "0.6"})
    model = account.state.shared.models.factors()

    def past(units: int) -> list[str]:
        exposure = model.exposure({"S": Decimal(100 * units), "T": Decimal(20000), "U": Decimal(-10000)})
        found = ["MARKET"] if abs(exposure.market) > 50_000 else []
        return found + [f"sector {name}" for name, held in exposure.sectors.items() if abs(held) > 60_000]

    decision = account.submit("S", "BUY", "50000")
    most = int(decision.max_quantity)
    assert numbers(decision) == [51]
    assert past(most) == []
    assert past(most + 1)
    detail = result(account.submit("S", "BUY", str(most + 1)), Reason.FACTOR_LIMIT).detail
    assert detail == {"factor": past(most + 1)[0]}
    assert approved(account.submit("S", "BUY", str(most))) == most


@pytest.mark.parametrize("limit", ["var_max", "cvar_max", "beta_max", "factor_max"])
def test_without_a_model_nothing_is_opened(limit: str) -> None:
    account = world({limit: "9"}, sessions=99)
    decision = account.submit("S", "BUY", "1")
    assert (numbers(decision), decision.max_quantity) == ([48], 0)
    assert result(decision, Reason.RISK_MODEL_UNAVAILABLE).detail == {"symbols": ["S", "T", "U"]}
    decision = account.submit("T", "SELL", "10")
    assert approved(decision) == 10
    assert result(decision, Reason.RISK_MODEL_UNAVAILABLE).outcome is Outcome.EXEMPT


def test_a_proxy_stands_in() -> None:
    account = world({"var_max": "9", "beta_max": "9"})
    account.reference(kind="instrument", symbol="NEW", sector="tech", currency="USD")
    account.mark("NEW")
    assert numbers(account.submit("NEW", "BUY", "1")) == [48]
    account.reference(kind="instrument", symbol="NEW", sector="tech", currency="USD", proxy="T")
    assert approved(account.submit("NEW", "BUY", "1")) == 1


def test_limits_that_are_off_ask_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    account = world({}, sessions=3)
    monkeypatch.setattr(RiskModels, "tail", None)
    monkeypatch.setattr(RiskModels, "factors", None)
    assert approved(account.submit("S", "BUY", "1")) == 1


def test_models_are_kept_until_their_inputs_change() -> None:
    account = world({"var_max": "9"})
    models = account.state.shared.models
    account.submit("S", "BUY", "1")
    first = models.tail(SYMBOLS)
    assert models.tail(reversed(SYMBOLS)) is first
    for symbol in "TU":
        account.daily_return(symbol, "2024-10-05", "0.01")
        assert models.tail(SYMBOLS) is first  # S has no return of that session yet
    account.reference(kind="instrument", symbol="S", sector="energy", currency="USD", proxy="T")
    second = models.tail(SYMBOLS)
    assert second is not first
    account.daily_return("S", "2024-10-05", "0.02")
    assert models.tail(SYMBOLS) is not second


def test_the_number_of_kept_models_is_bounded() -> None:
    models = RiskModels(Returns(), Reference())
    for number in range(TAIL_MODELS_KEPT + 10):
        models.tail([f"U{number}"])
    assert len(models._tails) == TAIL_MODELS_KEPT


def test_the_size_of_kept_models_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first; the newest stays, however large it is."""
    shared = world({"var_max": "9"}).state.shared
    models = RiskModels(shared.returns, shared.reference)
    monkeypatch.setattr("models.risk.models.TAIL_CELLS_KEPT", 300)
    for symbols in ("S", "T", "U"):
        models.tail(symbols)
    assert [*models._tails] == [("T",), ("U",)]
    models.tail("STU")
    assert [*models._tails] == [("S", "T", "U")]
    models.tail("S")
    assert [*models._tails] == [("S",)]


def test_worst_side_counts() -> None:
    """Open orders are in the vector: the side that attains W."""
    account = world({"var_max": "9"})
    account.submit("S", "SELL", "500")
    shared = account.state.shared
    portfolio = Portfolio(
        account.state.accounts["A"],
        name="A",
        clock=account.now,
        reference=shared.reference,
        returns=shared.returns,
    )
    assert portfolio.holding("S") == Holding.of("S", Decimal(0), Decimal(0), Decimal(500))
    account.limits(**LOOSE, var_max="0.001")
    check = result(account.submit("S", "SELL", "1"), Reason.VAR_LIMIT)
    assert check.value == valued(account, -501).var

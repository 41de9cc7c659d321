"""The golden cases of docs/risk.md, by their numbers, through the whole gate."""

from decimal import Decimal
from typing import Any

import pytest

from models.decisions import AccountStatus, DecisionStatus, HaltCause, Outcome, RiskDecision
from models.portfolio import Portfolio
from models.reasons import RejectReason as Reason
from tests.models.world import World, approved, numbers

TECH = "Information Technology"
SHORTS = {"shorts_allowed": True}


def check(decision: RiskDecision, reason: Reason) -> tuple[Outcome, Decimal | None]:
    """Return outcome and value of one of the decision's checks."""
    found = next(check for check in decision.checks if check.name is reason)
    return found.outcome, found.value


def sized(world: World, *, price: str, atr: str | None, symbol: str = "S", **fields: Any) -> RiskDecision:
    """Let the gate size a buy at the mark."""
    world.mark(symbol, price, atr)
    return world.submit(symbol, limit_price=price, **fields)


def test_1_spy() -> None:
    decision = sized(World(equity="10000"), price="100", atr="5")
    assert approved(decision) == 10
    assert decision.binding_constraint is Reason.SIZE_EXCEEDS_RISK  # a tie with the entry cap goes to precedence
    assert decision.warnings == ()


@pytest.mark.parametrize(("case", "lot", "units"), [(2, "0.1", "2.5"), (3, "1", "2")])
def test_2_and_3_tsla(case: int, lot: str, units: str) -> None:
    world = World(equity="10000")
    world.instrument("TSLA", lot=lot)
    assert approved(sized(world, symbol="TSLA", price="200", atr="20")) == Decimal(units), case


def test_4_aapl_is_bound_by_the_entry_cap() -> None:
    decision = sized(World(), price="185", atr="3.50")
    assert approved(decision) == 54
    assert decision.binding_constraint is Reason.SIZE_EXCEEDS_CAP
    assert decision.warnings == ("RESIZED",)
    assert approved(sized(World(equity="10000"), price="185", atr="3.50")) == 5


def test_5_above_the_cap() -> None:
    world = World()
    world.mark("S")
    decision = world.submit("S", quantity="120")
    assert (numbers(decision), decision.max_quantity) == ([38], 100)
    decision = world.submit("S", quantity="120", allow_resize=True)
    assert approved(decision) == 100
    assert "RESIZED" in decision.warnings


def kelly(p: str, b: str, n: int) -> RiskDecision:
    world = World(equity="10000", limits={"sizing_method": "KELLY"})
    return sized(world, price="100", atr="5", win_rate=p, payoff=b, trades=n)


def test_6_kelly() -> None:
    assert approved(kelly("0.52", "1", 30)) == 10


def test_7_nothing_to_size() -> None:
    assert numbers(kelly("0.40", "1.5", 30)) == [35]
    assert numbers(kelly("0.52", "1", 29)) == [34]
    assert numbers(sized(World(equity="10000"), price="200", atr="60")) == [36]


def test_8_multiplier() -> None:
    world = World()
    world.instrument("OPT", multiplier="100")
    decision = sized(world, symbol="OPT", price="2", atr="0.5")
    assert approved(decision) == 10


def test_9_fixed_sizes() -> None:
    assert approved(sized(World(limits={"sizing_method": "FIXED_PERCENT"}), price="185", atr=None)) == 27
    limits = {"sizing_method": "FIXED_DOLLAR", "fixed_dollar": "2500"}
    assert approved(sized(World(limits=limits), price="185", atr=None)) == 13


@pytest.mark.parametrize(
    ("held", "bought", "warns", "reasons", "most"),
    [
        (100, "100", True, [], 100),
        (200, "100", True, [], 100),
        (250, "51", None, [43], 50),
    ],
)
def test_10_position_tiers(held: int, bought: str, warns: bool | None, reasons: list[int], most: int) -> None:
    world = World()
    world.hold("S", held)
    world.mark("S")
    decision = world.submit("S", quantity=bought)
    assert numbers(decision) == reasons
    assert decision.max_quantity == most
    if warns:
        assert "POSITION_CONCENTRATION" in decision.warnings
    assert check(decision, Reason.POSITION_CONCENTRATION)[1] == (held + int(bought)) * 100


def test_11_five_tech_names() -> None:
    world = World()
    for symbol in ("A1", "A2", "A3", "A4", "A5"):
        world.instrument(symbol, TECH)
        world.hold(symbol, 170)
        world.mark(symbol)
    world.instrument("A6", TECH)
    world.mark("A6")
    decision = world.submit("A6", quantity="10")
    assert (numbers(decision), decision.max_quantity) == ([44], 0)
    assert check(decision, Reason.SECTOR_CONCENTRATION) == (Outcome.FAIL, Decimal(86_000))


def test_12_no_sector_is_a_sector() -> None:
    world = World()
    for symbol in ("A1", "A2", "A3"):
        world.instrument(symbol, "UNKNOWN")
    for symbol in ("A1", "A2"):
        world.hold(symbol, 280)
        world.mark(symbol)
    world.mark("A3")
    decision = world.submit("A3", quantity="50")
    assert (numbers(decision), decision.max_quantity) == ([44], 40)


def test_13_one_cluster() -> None:
    world = World()
    names = ("SPY", "QQQ", "AAPL", "MSFT", "NVDA")
    for symbol in (*names, "AMD"):
        world.instrument(symbol, moves_like="the market")
        if symbol != "AMD":
            world.hold(symbol, 160)
        world.mark(symbol)
    decision = world.submit("AMD", quantity="10")
    assert (numbers(decision), decision.max_quantity) == ([42], 0)
    found = next(check for check in decision.checks if check.name is Reason.CORRELATED_EXPOSURE)
    assert found.value == 81_000
    assert isinstance(found.detail, dict)
    assert found.detail["cluster"] == "AAPL"
    assert len(found.detail["members"]) == 6  # type: ignore[arg-type]  # a list, in JSON


def test_16_unknown_pairs_join_at_the_candidate() -> None:
    world = World()
    world.reference(kind="instrument", symbol="NEW", sector="x", currency="USD")  # without returns
    for symbol in ("A1", "A2"):
        world.hold(symbol, 240)
        world.mark(symbol)
    world.mark("NEW")
    decision = world.submit("NEW", quantity="30")
    assert numbers(decision) == [42]
    assert "RETURNS_INSUFFICIENT" in decision.warnings
    world.hold("NEW", 1)  # but the new listing does not weld the others together
    assert 42 not in numbers(world.submit("A1", quantity="1", limit_price="100"))


def test_18_and_19_halt_is_latched_until_resume() -> None:
    world = World(equity="10000")
    world.tick("10500")
    world.tick("9975")
    assert [halt.status for halt in world.halts] == [AccountStatus.WARNING]
    world.tick("9450")
    assert world.halts[-1].status == "HALT"
    assert world.halts[-1].causes == (HaltCause.DRAWDOWN_SESSION,)
    assert world.halts[-1].drawdown == Decimal("0.1")
    world.tick("10200")
    world.mark("S")
    assert numbers(world.submit("S", quantity="1")) == [9]
    world.tick(kind="resume", actor="operator", reason="reviewed")
    assert world.halts[-1].status == "NORMAL"
    assert (world.halts[-1].actor, world.halts[-1].reason) == ("operator", "reviewed")
    assert approved(world.submit("S", quantity="1")) == 1
    world.tick("9690")
    assert world.halts[-1].status == "WARNING"
    world.tick("9180")
    assert world.halts[-1].status == "HALT"


def test_20_a_deposit_hides_no_loss() -> None:
    world = World(equity="10000", net_deposits="0")
    world.tick("14250", net_deposits="5000")
    assert world.halts[-1].status == "WARNING"
    assert world.halts[-1].peak == 15_000


def test_22_one_bad_tick_halts_nothing() -> None:
    world = World()
    world.mark("S")
    world.tick("60000")
    assert numbers(world.submit("S", quantity="1")) == [16]
    world.tick("99800")
    assert approved(world.submit("S", quantity="1")) == 1
    assert world.halts == []
    world.tick("60000")
    world.tick("59000")
    assert world.halts[-1].status == "HALT"


def test_23_daily_loss() -> None:
    world = World(equity="10000", limits={"daily_loss_halt": "0.06"})
    world.tick("9400")
    assert world.halts[-1].causes == (HaltCause.DAILY_LOSS,)
    world.mark("S")
    assert numbers(world.submit("S", quantity="1")) == [10]


def halted(*held: tuple[str, int]) -> World:
    """Return a world whose account has lost a tenth, and is marked since."""
    world = World(equity="112000", limits=SHORTS, buying_power="1000000")
    for symbol, quantity in held:
        world.hold(symbol, quantity)
    world.tick("100000")
    for symbol, _ in held:
        world.mark(symbol)
    assert world.halts[-1].status == "HALT"
    return world


def test_24_a_flip_under_halt_closes_and_no_more() -> None:
    world = halted()
    world.mark("S")
    decision = world.submit("S", quantity="10")
    assert (numbers(decision), decision.max_quantity) == ([9], 0)

    world = halted(("S", 100))
    decision = world.submit("S", "SELL", "150")
    assert (numbers(decision), decision.max_quantity) == ([9], 100)
    decision = world.submit("S", "SELL", "150", allow_resize=True)
    assert approved(decision) == 100
    assert decision.opening_quantity == 0


def test_25_an_exit_is_never_blocked() -> None:
    world = halted(("S", 350))
    decision = world.submit("S", "SELL", "40")
    assert approved(decision) == 40
    assert check(decision, Reason.DRAWDOWN_HALT)[0] is Outcome.EXEMPT
    account = world.state.accounts["A"]
    portfolio = Portfolio(
        account,
        name="A",
        clock=account.clock,
        reference=world.state.shared.reference,
        returns=world.state.shared.returns,
    )
    assert portfolio.holding("S").worst == 350


def test_27_a_flip_is_split() -> None:
    world = World(limits=SHORTS, buying_power="1000000")
    world.hold("S", 100)
    world.mark("S")
    decision = world.submit("S", "SELL", "150")
    assert approved(decision) == 150
    assert (decision.reducing_quantity, decision.opening_quantity) == (100, 50)


def test_28_open_orders_count() -> None:
    world = World(buying_power="1000000")
    world.mark("S")
    for _ in range(3):
        assert approved(world.submit("S", quantity="100")) == 100
    decision = world.submit("S", quantity="1")
    assert (numbers(decision), decision.max_quantity) == ([43], 0)


def test_29_leverage_counts_what_is_pending() -> None:
    world = World(buying_power="1000000")
    for symbol, quantity in (("A1", 300), ("A2", 300), ("A3", 300), ("A4", 50)):
        world.hold(symbol, quantity)
        world.mark(symbol)
    world.mark("A5")
    assert approved(world.submit("A5", quantity="40")) == 40
    world.mark("A6")
    decision = world.submit("A6", quantity="11")
    assert (numbers(decision), decision.max_quantity) == ([46, 47], 10)


def test_31_every_reason_is_named() -> None:
    world = World(equity="112000", buying_power="5500")
    for symbol in ("A1", "A2", "A3"):
        world.instrument(symbol, TECH)
    for symbol in ("A1", "A2"):
        world.hold(symbol, 275)
    world.tick("100000")
    for symbol in ("A1", "A2", "A3"):
        world.mark(symbol)
    decision = world.submit("A3", quantity="60")
    assert (numbers(decision), decision.max_quantity) == ([9, 44, 52], 0)
    assert check(decision, Reason.SECTOR_CONCENTRATION)[1] == 61_000


def test_32_nothing_is_assumed() -> None:
    world = World(equity=None)
    world.instrument("S")
    assert numbers(world.submit("S", quantity="1", atr="1")) == [14]
    world = World()
    world.instrument("S")
    assert numbers(world.submit("S", quantity="1", atr="1", order_type="MARKET")) == [18]


def test_33_age_of_a_mark() -> None:
    for late, reasons in ((0, []), (1, [19])):
        world = World()
        world.mark("S")
        marked = world.now
        world.wait(100)
        world.tick("100000")
        world.now = marked + 149 * 10**9 + late  # submit waits a second
        assert numbers(world.submit("S", quantity="1", order_type="MARKET")) == reasons


def test_34_repeats() -> None:
    world = World()
    world.mark("S")
    first = world.submit("S", quantity="10", intent_id="x", event_time=world.now)
    for fields, reasons in (({"quantity": "10"}, [3]), ({"quantity": "11"}, [2])):
        again = world.submit("S", intent_id="x", event_time=first.event_time, **fields)
        assert numbers(again) == reasons
        assert (again.original_seq, again.original_status, again.original_quantity) == (
            first.seq,
            DecisionStatus.APPROVED,
            10,
        )
        assert again.reservation is None
    assert list(world.state.accounts["A"].ledger.approvals) == ["x"]


def test_36_overfill() -> None:
    world = World()
    world.mark("S")
    world.submit("S", quantity="100", intent_id="x")
    for execution_id, quantity in (("e1", "60"), ("e1", "60"), ("e2", "50")):
        world.fill("S", "BUY", quantity, intent_id="x", execution_id=execution_id, event_time=world.now)
        world.now -= 10**9  # the repeat is equal in every field
    account = world.state.accounts["A"]
    assert account.book.position("S") == 110
    world.wait(5)
    decision = world.submit("S", quantity="1")
    assert "OVERFILL" in decision.warnings
    portfolio = Portfolio(
        account,
        name="A",
        clock=account.clock,
        reference=world.state.shared.reference,
        returns=world.state.shared.returns,
    )
    assert "x" not in portfolio.open_orders

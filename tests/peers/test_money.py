"""What an account may spend, and what its equity means."""

import pytest

from models.reasons import RejectReason as Reason
from tests.models.world import World, approved, numbers

TECH = "Information Technology"


def test_a_margin_account_is_checked_like_any_other() -> None:
    """A margin account.

    NautilusTrader 1.231.0 at a95c8042, nautilus_trader/risk/engine.pyx: for a margin account the checks of notional
    and balance end early and count as passed. Its engine in Rust, crates/risk, looks at the initial margin.
    """
    world = World(cash="-40000", buying_power="5000")  # borrowed, as the broker sees it
    world.mark("S")
    decision = world.submit("S", quantity="60")
    assert (numbers(decision), decision.max_quantity) == ([52], 50)

    world = World(limits={"margin_multiplier": "2"}, cash="3000")
    world.mark("S")
    decision = world.submit("S", quantity="70")
    assert (numbers(decision), decision.max_quantity) == ([52], 60)

    world = World(buying_power="1000000")  # what the broker would lend is no limit of ours
    for symbol, quantity in (("A1", 300), ("A2", 300), ("A3", 300), ("A4", 90)):
        world.hold(symbol, quantity)
        world.mark(symbol)
    world.mark("S")
    decision = world.submit("S", quantity="11")
    assert (numbers(decision), decision.max_quantity) == ([46, 47], 10)


@pytest.mark.parametrize("candidate", ["A", "M", "Z"])
def test_buying_power_is_less_by_the_sum_of_all(candidate: str) -> None:
    """Free margin overwritten instead of added.

    exchange-core 0.5.4-SNAPSHOT at 2f854874, src/main/java/exchange/core2/core/processors/RiskEngine.java: free
    margin is summed over the positions, but at the one in the order's own symbol its profit replaces the sum.
    """
    world = World(buying_power="20000")
    for symbol in ("A", "M", "Z"):
        world.mark(symbol)
    for symbol in ("A", "M", "Z"):
        assert approved(world.submit(symbol, quantity="60")) == 60
    decision = world.submit(candidate, quantity="30")  # the first, the middle and the last of the symbols
    assert (numbers(decision), decision.max_quantity) == ([52], 20)

    world = World()  # and without a broker's figure: what the positions leave of the equity
    for symbol, quantity in (("A", 240), ("M", 240), ("Z", 240), ("B", 130), ("Y", 130)):
        world.hold(symbol, quantity)
        world.mark(symbol)
    decision = world.submit(candidate, quantity="21")
    assert (numbers(decision), decision.max_quantity) == ([46, 47, 52], 20)


def test_a_deposit_hides_no_loss() -> None:
    """A deposit that hides a loss.

    LEAN 18019, Algorithm.Framework/Risk/MaximumDrawdownPercentPortfolio.cs: the drawdown compares the portfolio's
    total value, cash and thus deposits included, with an earlier total value as it was.
    """
    world = World(equity="10000", net_deposits="0")
    world.tick("14250", net_deposits="5000")
    assert (world.halts[-1].status, world.halts[-1].peak) == ("WARNING", 15_000)
    world.tick("13500", net_deposits="5000")  # above every equity before the deposit, and a tenth lost
    assert world.halts[-1].status == "HALT"
    world.tick("23500", net_deposits="15000")
    world.mark("S", net_deposits="15000")
    assert numbers(world.submit("S", quantity="1")) == [9], "nor does another deposit buy the halt off"


def test_each_refusal_has_its_own_reason() -> None:
    """One code for all failures.

    exchange-core 0.5.4-SNAPSHOT at 2f854874, src/main/java/exchange/core2/core/processors/RiskEngine.java: whatever
    an order is refused for when it is placed, a reserve price too low or margin trading switched off, the answer is
    RISK_NSF; the finer code goes to the log.
    """
    world = World(equity="112000", buying_power="5500")
    for symbol in ("A1", "A2", "A3"):
        world.instrument(symbol, TECH)
    for symbol in ("A1", "A2"):
        world.hold(symbol, 275)
    world.tick("100000")
    for symbol in ("A1", "A2", "A3"):
        world.mark(symbol)
    decision = world.submit("A3", quantity="60")
    assert decision.reasons == (Reason.DRAWDOWN_HALT, Reason.SECTOR_CONCENTRATION, Reason.BUYING_POWER)
    [sector] = [check for check in decision.checks if check.name is Reason.SECTOR_CONCENTRATION]
    assert (sector.value, sector.limit) == (61_000, 60_000)

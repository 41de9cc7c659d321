"""What is held, what is open and what an order would make of them."""

from decimal import Decimal

import pytest

from models.decisions import DecisionStatus, Outcome
from models.reasons import RejectReason as Reason
from tests.models.world import World, approved, numbers

RESTRAINTS = {"halt": Reason.DRAWDOWN_HALT, "kill switch": Reason.KILL_SWITCH, "drift": Reason.POSITION_DRIFT}


def restrained(restraint: str, held: int = 0) -> World:
    """Return a world in which the account may only reduce."""
    world = World(equity="112000", limits={"shorts_allowed": True}, buying_power="1000000")
    world.mark("S")
    if held:
        world.hold("S", held)
    if restraint == "halt":
        world.tick("100000")
    elif restraint == "kill switch":
        world.reference(kind="kill_switch", scope="ACCOUNT", target="A", mode="REDUCE_ONLY", engaged=True)
    else:
        world.reference(kind="drift", account="A", symbol="S", flagged=True)
    return world


@pytest.mark.parametrize("restraint", RESTRAINTS)
@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_flat_account_opens_nothing_while_only_reductions_pass(restraint: str, side: str) -> None:
    """A flat opening while only reductions are allowed.

    NautilusTrader 1.231.0 at a95c8042, nautilus_trader/risk/engine.pyx: in the state REDUCING a buy is denied if the
    net position is long and a sell if it is short; from flat either passes.
    """
    decision = restrained(restraint).submit("S", side, "10")
    assert (decision.reasons, decision.max_quantity) == ((RESTRAINTS[restraint],), 0)


@pytest.mark.parametrize("restraint", RESTRAINTS)
def test_a_flip_closes_and_no_more_while_only_reductions_pass(restraint: str) -> None:
    """A flip while only reductions are allowed.

    NautilusTrader 1.231.0 at a95c8042, nautilus_trader/risk/engine.pyx: in the state REDUCING the quantity is not
    looked at, so a sell larger than the long position passes and opens a short one.
    """
    decision = restrained(restraint, 100).submit("S", "SELL", "150")
    assert (decision.reasons, decision.max_quantity) == ((RESTRAINTS[restraint],), 100)
    resized = restrained(restraint, 100).submit("S", "SELL", "150", allow_resize=True)
    assert (approved(resized), resized.opening_quantity) == (100, 0)


@pytest.mark.parametrize("restraint", RESTRAINTS)
@pytest.mark.parametrize("held", [350, -350])
def test_an_exit_passes_whatever_is_halted(restraint: str, held: int) -> None:
    """An exit that a halt blocks.

    NautilusTrader 1.231.0 at a95c8042, nautilus_trader/risk/engine.pyx: in the state HALTED every order that is
    submitted is denied, one that closes a position among them.
    """
    world = restrained(restraint, held)
    side = "SELL" if held > 0 else "BUY"
    decision = world.submit("S", side, "40")  # of a position already beyond its limit
    assert approved(decision) == 40
    [shown] = [check for check in decision.checks if check.name is RESTRAINTS[restraint]]
    assert shown.outcome is Outcome.EXEMPT
    assert approved(world.submit("S", side, "310")) == 310
    assert decision.opening_quantity == 0
    assert numbers(world.submit("S", side, "1")) != [], "two exits do not claim one position"


def test_open_orders_count_as_if_they_were_filled() -> None:
    """Open orders ignored.

    zipline-reloaded 3.1.1, src/zipline/finance/controls.py: MaxPositionSize and LongOnly add the order to the
    position held; orders that are open count for nothing.
    """
    world = World(buying_power="1000000")
    world.mark("S")
    for _ in range(3):
        assert approved(world.submit("S", quantity="100")) == 100
    decision = world.submit("S", quantity="1")
    assert (numbers(decision), decision.max_quantity) == ([43], 0)


def test_leverage_counts_what_is_held_open_and_asked_for() -> None:
    """A leverage cap that leaves out what is pending.

    zipline-reloaded 3.1.1, src/zipline/finance/controls.py: MaxLeverage compares the leverage of the positions held,
    after the fact; neither open orders nor the one at hand enter it.
    """
    world = World(buying_power="1000000")
    for symbol, quantity in (("A1", 300), ("A2", 300), ("A3", 300), ("A4", 50)):
        world.hold(symbol, quantity)
        world.mark(symbol)
    world.mark("A5")
    assert approved(world.submit("A5", quantity="40")) == 40
    world.mark("A6")
    decision = world.submit("A6", quantity="11")
    assert (numbers(decision), decision.max_quantity) == ([46, 47], 10)


@pytest.mark.parametrize(("lot", "units"), [("1", "2"), ("0.1", "2.5"), ("0.3", "2.4"), ("2", "2")])
def test_a_size_is_never_rounded_up(lot: str, units: str) -> None:
    """A size rounded over its target.

    pysystemtrade at 02c4cbcc, sysexecution/strategies/classic_buffered_positions.py: the position to trade to is the
    edge of the buffer rounded to the nearest contract, which may lie beyond that edge.
    """
    world = World(equity="10000")
    world.instrument("TSLA", lot=lot)
    world.mark("TSLA", "200", "20")  # 100 at risk, 40 a unit: 2.5 units
    decision = world.submit("TSLA", limit_price="200")
    assert approved(decision) == Decimal(units)
    assert decision.quantity * 40 <= 100


def test_an_id_is_approved_once() -> None:
    """One id, two orders.

    zipline-reloaded 3.1.1, src/zipline/finance/blotter/simulation_blotter.py: a caller may name the order's id, and
    whether it is taken is not looked at; sent twice, both orders are open under the one id.
    """
    world = World()
    world.mark("S")
    first = world.submit("S", quantity="10", intent_id="x", event_time=world.now)
    for quantity, reasons in (("10", [3]), ("11", [2])):
        again = world.submit("S", quantity=quantity, intent_id="x", event_time=first.event_time)
        assert numbers(again) == reasons
        assert (again.original_seq, again.original_status) == (first.seq, DecisionStatus.APPROVED)
        assert again.reservation is None
    assert list(world.state.accounts["A"].ledger.approvals) == ["x"]

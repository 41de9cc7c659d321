"""Each sized check: the largest opening it lets pass is approved, one lot more is not, and the reason is its own."""

from __future__ import annotations

from typing import Any

import pytest

from models.reasons import RejectReason as Reason
from tests.models.world import World, approved, numbers

LOOSE = {
    "shorts_allowed": True,
    "sizing_method": "NONE",
    "entry_max": "9",
    "position_critical": "9",
    "sector_critical": "9",
    "cluster_critical": "9",
    "gross_max": "9",
    "net_max": "9",
    "order_quantity_max": "999999",
    "order_notional_max": "999999999",
}


def account(limits: dict[str, Any], held: dict[str, int], buying_power: str = "800000") -> World:
    """Return a world in which only `limits` can bind; T and S share a sector and a theme."""
    world = World(limits=LOOSE | limits, buying_power=buying_power)
    for symbol in ("S", "T"):
        world.instrument(symbol, "one sector", moves_like="one theme")
        if symbol in held:
            world.hold(symbol, held[symbol])
        world.mark(symbol)
    return world


@pytest.mark.parametrize(
    ("reason", "limits", "held", "side", "most"),
    [
        (Reason.SIZE_EXCEEDS_RISK, {"sizing_method": "FIXED_DOLLAR", "fixed_dollar": "2599"}, {}, "BUY", 25),
        (Reason.SIZE_EXCEEDS_CAP, {"entry_max": "0.0250"}, {}, "BUY", 25),
        (Reason.SIZE_EXCEEDS_CAP, {"entry_max": "0.0250"}, {"S": -40}, "BUY", 65),
        (Reason.MAX_ORDER_QUANTITY, {"order_quantity_max": "25.5"}, {}, "BUY", 25),
        (Reason.MAX_ORDER_QUANTITY, {"order_quantity_max": "65"}, {"S": -40}, "BUY", 65),
        (Reason.MAX_ORDER_NOTIONAL, {"order_notional_max": "2599"}, {}, "SELL", 25),
        (Reason.MAX_ORDER_NOTIONAL, {"order_notional_max": "6500"}, {"S": 40}, "SELL", 65),
        (Reason.CORRELATED_EXPOSURE, {"cluster_critical": "0.5", "cluster_warning": "0"}, {"T": 475}, "BUY", 25),
        (Reason.CORRELATED_EXPOSURE, {"cluster_critical": "0.5", "cluster_warning": "0"}, {"T": -475}, "BUY", 25),
        (Reason.POSITION_CONCENTRATION, {"position_critical": "0.3"}, {"S": 275}, "BUY", 25),
        # Above the limit already, but no worse than it was: a flip of the same size passes, one unit more does not.
        (Reason.POSITION_CONCENTRATION, {"position_critical": "0.2"}, {"S": 350}, "SELL", 700),
        (Reason.SECTOR_CONCENTRATION, {"sector_critical": "0.6"}, {"T": 400, "S": 175}, "BUY", 25),
        (Reason.GROSS_LEVERAGE, {"gross_max": "0.6"}, {"T": -400, "S": 175}, "BUY", 25),
        (Reason.NET_LEVERAGE, {"net_max": "0.6"}, {"T": 400, "S": 175}, "BUY", 25),
        # A short against a long book lowers the net until it is as far below zero as it was above.
        (Reason.NET_LEVERAGE, {"net_max": "0.1"}, {"T": 300}, "SELL", 600),
        (Reason.BUYING_POWER, {}, {}, "BUY", 8_000),
    ],
)
def test_the_bound_and_one_lot_more(
    reason: Reason, limits: dict[str, Any], held: dict[str, int], side: str, most: int
) -> None:
    world = account({"position_warning": "0", "sector_warning": "0"} | limits, held)
    world.wait()
    more = world.state.decide(world.intent("S", side, str(most + 1)), offset=0, time=world.now, raw_digest=lambda: "")
    assert (more.reasons, more.max_quantity, more.binding_constraint) == ((reason,), most, reason)
    assert approved(world.submit("S", side, str(most))) == most


def test_a_market_order_may_cost_one_percent_more() -> None:
    world = account({}, {}, buying_power="10100")
    assert numbers(world.submit("S", "BUY", "101", order_type="MARKET")) == [52]
    assert approved(world.submit("S", "BUY", "100", order_type="MARKET")) == 100
    assert numbers(world.submit("S", "BUY", "1")) == [52]  # the reservation holds it all, the one percent included


def test_cash_is_spent_by_orders_fills_and_orphans() -> None:
    world = World(limits=LOOSE | {"margin_multiplier": "2"}, cash="10000")
    world.mark("S")
    assert approved(world.submit("S", "BUY", "50", intent_id="x")) == 50
    assert world.submit("S", "BUY", "999").max_quantity == 150
    world.fill("S", "BUY", "20", "90", intent_id="x")  # 30 remain at 100, 20 were bought at 90
    assert world.submit("S", "BUY", "999").max_quantity == 152
    world.fill("S", "BUY", "2", "100")  # a manual trade
    assert world.submit("S", "BUY", "999").max_quantity == 150
    world.wait(60)
    world.mark("S", cash="8000")  # knows of both fills by now
    assert world.submit("S", "BUY", "999").max_quantity == 130


def test_a_brokers_buying_power_knows_the_orders_it_reported() -> None:
    world = World(limits=LOOSE, buying_power="10000")
    world.mark("S")
    world.submit("S", "BUY", "50", intent_id="x")
    assert world.submit("S", "BUY", "999").max_quantity == 50
    world.fill("S", "BUY", execution_type="NEW", intent_id="x")
    assert world.submit("S", "BUY", "999").max_quantity == 50
    world.wait(60)
    world.mark("S", buying_power="5000")
    assert world.submit("S", "BUY", "999").max_quantity == 50


def test_lots_round_down_and_reductions_need_none() -> None:
    world = World(limits=LOOSE)
    world.instrument("S", lot="10")
    world.hold("S", 15)
    world.mark("S")
    assert numbers(world.submit("S", "BUY", "15")) == [33]
    decision = world.submit("S", "BUY", "15", allow_resize=True)
    assert approved(decision) == 10
    assert approved(world.submit("S", "SELL", "15")) == 15


@pytest.mark.parametrize("figure", ["cash", "buying_power"])
def test_a_figure_from_before_the_fills_that_are_kept_buys_nothing(figure: str) -> None:
    world = World(limits=LOOSE, **{figure: "10000"})
    world.mark("S")
    world.fill("S", "BUY", "90", "100")
    assert world.submit("S", "BUY", "999").max_quantity == 10
    world.wait(7 * 86400 + 3600)
    world.fill("T", "BUY", "1", "1")  # the ninety are summed into the base
    world.mark("S")
    world.mark("T")
    assert numbers(world.submit("S", "BUY", "1")) == [52]
    world.tick("100000", fills_through=world.now, **{figure: "1000"})
    assert world.submit("S", "BUY", "999").max_quantity == 10

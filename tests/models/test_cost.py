"""What a decision costs, counted in lines of code that run: the same however much there is of anything but itself.

Each world is measured in its steady state: after a decision that has brought the account's standing up to date, and
after what a decision brings with it has been folded.
"""

from collections.abc import Callable

import pytest

from models.decisions import DecisionStatus
from tests.models.operations import operations
from tests.models.world import World

LOOSE = {
    "order_quantity_max": "9999999",
    "order_notional_max": "999999999",
    "entry_max": "9",
    "gross_max": "99",
    "net_max": "99",
    "position_critical": "9",
    "sector_critical": "9",
    "cluster_critical": "9",
    "open_orders_max": 9999,
    "account_burst": 99999,
    "strategy_burst": 99999,
    "repeat_max": 99999,
    "shorts_allowed": True,
}


def of_accounts(count: int) -> World:
    world = with_positions(5)
    for number in range(count):
        account = f"other {number}"
        world.tick("100000", account=account, marks={"S0": {"price": "100", "atr": "1"}})
        world.fill("S0", "BUY", "10", account=account)
    return world


def in_a_universe(count: int) -> World:
    world = with_positions(5)
    for number in range(count):
        world.instrument(f"U{number}", moves_like=f"theme {number % 7}")
    return world


def with_positions(count: int) -> World:
    world = World(equity="10000000", limits=LOOSE, buying_power="9000000")
    for number in range(count):
        # In a cluster are those alone that move alike: three, however many there are.
        world.instrument(f"S{number}", f"sector {number % 3}", moves_like="one" if number < 3 else None)
        world.hold(f"S{number}", 10)
    world.tick("10000000", marks={f"S{number}": {"price": "100", "atr": "1"} for number in range(count)})
    return world


def with_fills(count: int) -> World:
    """Of an order, and of none, in the very symbol, within a week."""
    world = with_positions(5)
    order = world.submit("S0", "BUY", "9999")
    for _ in range(count):
        world.fill("S0", "BUY", "1", intent_id=order.intent_id)
        world.fill("S0", "BUY", "1")
    return world


def with_decisions(count: int) -> World:
    world = with_positions(5)
    for _ in range(count):
        world.submit("S1", "BUY", "1")
        world.wait(120)  # the order is done, its id is taken for an hour
    return world


def with_open_orders(count: int) -> World:
    world = with_positions(5)
    for number in range(count):
        world.submit(f"S{number % 5}", "BUY", "1", expires_at=world.now + 10**13)
    return world


@pytest.mark.parametrize(
    ("grown", "few", "many"),
    [
        (of_accounts, 1, 100),
        (in_a_universe, 1, 100),
        (with_positions, 5, 100),
        (with_fills, 5, 500),
        (with_decisions, 5, 100),
        (with_open_orders, 5, 200),
    ],
)
@pytest.mark.parametrize("after", ["a decision", "a fill"])
def test_a_decision_costs_the_same(grown: Callable[[int], World], few: int, many: int, after: str) -> None:
    small, large = (cost(grown(count), fill=after == "a fill") for count in (few, many))
    assert large <= 1.1 * small, f"{small} lines with {few}, {large} with {many}"


def cost(world: World, *, fill: bool) -> int:
    """Return how many lines of code the third of three like decisions runs through, with what it catches up on."""
    marks = world.state.accounts["A"].drawdown.marks
    world.tick("10000000", buying_power="9000000", marks={name: {"price": "100", "atr": "1"} for name in marks})
    for _ in range(2):
        assert world.submit("S0", "BUY", "3").status is DecisionStatus.APPROVED
        world.wait()
    if fill:
        world.fill("S0", "BUY", "1")
    intent = world.intent("S0", "BUY", "3")
    return operations(lambda: world.state.decide(intent, offset=10**6, time=world.now, raw_digest=lambda: ""))

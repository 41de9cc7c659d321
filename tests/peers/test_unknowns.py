"""What the gate does not know allows nothing."""

import asyncio
import random
from collections import Counter
from decimal import Decimal
from typing import Any, NoReturn

import pytest

from models import checks
from models.canonical import canonical_bytes
from models.decisions import Outcome
from models.messages import EquityMark, OrderIntent, OrderType, PriceMark, Side
from models.reasons import RejectReason as Reason
from streams import partition
from streams.codec import decode_decision
from streams.records import Topic
from tests.models.world import World, approved, numbers
from tests.simulation.broker import Log
from tests.simulation.disk import Disk
from tests.simulation.messages import Messages
from tests.simulation.worker import quiet_worker


class ByName(World):
    """A world whose operators bind one account by its name, and no other."""

    def reference(self, **fields: Any) -> None:
        if fields["kind"] == "account":
            fields |= {"account": "A"}
        super().reference(**fields)


def test_an_account_nobody_bound() -> None:
    """An account the gate has not heard of.

    NautilusTrader 1.231.0 at a95c8042, nautilus_trader/risk/engine.pyx: where the cache has no account for the venue,
    the checks of notional and balance end early and count as passed.
    """
    world = ByName()
    world.mark("S")
    world.tick("100000", account="ghost", marks={"S": {"price": "100", "atr": "1"}}, buying_power="100000")
    decision = world.submit("S", quantity="1", account="ghost")
    assert (numbers(decision), decision.max_quantity) == ([11], 0)
    assert decision.reservation is None
    assert approved(world.submit("S", quantity="1")) == 1, "the one that was bound"


def test_a_market_order_without_any_price() -> None:
    """A market order without any price.

    NautilusTrader 1.231.0 at a95c8042, nautilus_trader/risk/engine.pyx: a market order on an instrument that has
    neither a quote nor a trade in the cache is logged as one that cannot be checked, and goes on unchecked.
    """
    world = World(buying_power="1000000")
    world.instrument("S")
    decision = world.submit("S", quantity="1", order_type="MARKET", atr="1")
    assert (numbers(decision), decision.max_quantity) == ([18], 0)
    own_word = world.submit("S", quantity="1", order_type="MARKET", atr="1", reference_price="100")
    assert numbers(own_word) == [18], "a price that only the sender has seen values nothing"


def test_an_account_of_unknown_worth() -> None:
    """An account of unknown worth.

    NautilusTrader 1.231.0 at a95c8042, nautilus_trader/risk/engine.pyx: where a cash account has no balance in the
    instrument's quote currency, its free balance is None, and each comparison with it is left out.
    """
    world = World(equity=None)
    world.instrument("S")
    decision = world.submit("S", quantity="1", atr="1")
    assert (numbers(decision), decision.max_quantity) == ([14], 0)


@pytest.mark.parametrize(("late", "reasons"), [(0, []), (1, [19])])
def test_a_price_from_another_time(late: int, reasons: list[int]) -> None:
    """A price however old.

    NautilusTrader 1.231.0 at a95c8042, nautilus_trader/risk/engine.pyx: a market order is valued at the last quote in
    the cache, else at the last trade, whose age is not looked at.
    """
    world = World()
    world.mark("S")
    marked = world.now
    world.wait(100)
    world.tick("100000")  # the account's equity stays fresh
    world.now = marked + 149 * 10**9 + late  # and a second passes on the way
    assert numbers(world.submit("S", quantity="1", order_type="MARKET")) == reasons


TABLES: tuple[dict[Reason, Any], ...] = (
    checks.OF_ACCOUNT,
    checks.CONDITIONS,
    checks.OPENING_CONDITIONS,
    checks.BOUNDS,
    checks.MODELS,
)


class Stopped(BaseException):  # as little an error as an exit is
    """What the end of the process is here."""


def _asked() -> Log:
    """Return a log with one intent that is to be approved."""
    log = Log()
    Messages(log, random.Random(0), Counter()).opening()
    mark = PriceMark(price=Decimal(100), atr=Decimal(1))
    tick = EquityMark(account="A", event_time=log.now, equity=Decimal(100_000), marks={"X": mark})
    intent = OrderIntent(
        intent_id="i",
        account="A",
        strategy="s",
        symbol="X",
        side=Side.BUY,
        quantity=Decimal(10),
        order_type=OrderType.MARKET,
        event_time=log.now,
    )
    log.append(Topic.EQUITY_TICKS, b"A", canonical_bytes(tick))
    log.append(Topic.ORDER_INTENTS, b"A", canonical_bytes(intent))
    return log


async def _answer(log: Log) -> None:
    """Let a new worker answer what is asked."""
    worker = quiet_worker(log, Disk())
    await worker.open()
    worker.deliver_all()
    await worker.commit(checkpoint=False)


@pytest.mark.parametrize("reason", [reason for table in TABLES for reason in table], ids=str)
def test_a_check_that_raises_lets_nothing_through(reason: Reason, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in a check that lets the order through.

    freqtrade 2026.9, freqtrade/freqtradebot.py: a strategy's confirm_trade_entry is called so that any exception in
    it is logged and counts as consent; the order is then created.
    """

    def stopped(doing: str, error: BaseException | str) -> NoReturn:
        raise Stopped(f"{doing}: {error!r}")

    def broken(*_: object) -> NoReturn:
        raise ZeroDivisionError

    log = _asked()
    with monkeypatch.context() as patched:
        patched.setattr(partition, "fail_stop", stopped)
        patched.setitem(next(table for table in TABLES if reason in table), reason, broken)
        patched.setattr(checks, "_RULES_2", checks.Checks.without(frozenset()))
        for quick_look in ("conditions_pass", "opening_passes"):
            patched.setattr(checks, quick_look, lambda *_: False)  # each check is run
        with pytest.raises(Stopped, match=r"deciding order-intents/0@0: ZeroDivisionError"):
            asyncio.run(_answer(log))
    assert log.records()[Topic.RISK_DECISIONS] == [], "the process ends before anything is published"

    asyncio.run(_answer(log))  # the next worker, without the defect, meets the same record
    [record] = log.records()[Topic.RISK_DECISIONS]
    decision = decode_decision(record)
    assert approved(decision) == 10
    assert Outcome.FAIL not in [check.outcome for check in decision.checks]

"""When trading stops, and what may start it again."""

import asyncio
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from models.canonical import canonical_bytes
from models.decisions import HaltCause
from models.messages import EquityMark, OrderIntent, OrderType, PriceMark, Side
from streams.codec import decode_decision
from streams.records import Topic
from streams.recovery import Source
from streams.store import Store
from streams.tables import ACCOUNT_TABLES
from tests.models.world import World, approved, numbers
from tests.simulation import worker as simulated
from tests.simulation.broker import Log
from tests.simulation.disk import Disk
from tests.simulation.messages import SECOND, Messages
from tests.simulation.worker import quiet_worker


def test_only_a_recorded_act_moves_the_peak_down() -> None:
    """A re-based peak.

    LEAN 18019, Algorithm.Framework/Risk/MaximumDrawdownPercentPortfolio.cs: when the drawdown is reached the targets
    become zero and the next step's value becomes the new reference, from which trading goes on.
    """
    world = World(equity="10000")
    world.mark("S")
    world.tick("10500")
    world.tick("9450")
    assert [halt.status for halt in world.halts] == ["HALT"]
    for equity in ("9450", "9400", "9450", "10200", "10500"):
        world.tick(equity)
        assert numbers(world.submit("S", quantity="1")) == [9]
    assert len(world.halts) == 1
    world.tick("10200")
    world.tick(kind="resume", actor="operator", reason="reviewed")
    assert (world.halts[-1].status, world.halts[-1].actor) == ("NORMAL", "operator")
    assert approved(world.submit("S", quantity="1")) == 1
    world.tick("9180")  # a tenth below where the operator resumed
    assert world.halts[-1].status == "HALT"


def test_one_bad_tick_halts_nothing() -> None:
    """A phantom halt from one bad tick.

    Forven at fc6aa95d, forven/exchange/risk.py: the kill switch and the daily halt latch at a single plausible
    reading of equity beyond their limits. The commit after it asks for three in a row.
    """
    world = World()
    world.mark("S")
    world.hold("S", 10)
    world.tick("60000")
    assert world.halts == []
    assert numbers(world.submit("S", quantity="1")) == [16], "nothing opens until it is confirmed"
    assert approved(world.submit("S", "SELL", "1", limit_price="110")) == 1
    world.tick("99800")
    assert approved(world.submit("S", quantity="1")) == 1
    assert world.halts == []
    world.tick("60000")
    world.tick("59000")
    assert world.halts[-1].status == "HALT", "a second one confirms the first"


def test_a_daily_loss_halts() -> None:
    """A daily loss that nothing enforces.

    nofx at d3de5e82, trader/auto_trader.go: outside the grid mode MaxDailyLoss is declared, as a hint, and read by
    nothing; stopUntil, which would pause trading, is never set.
    """
    world = World(equity="10000", limits={"daily_loss_halt": "0.06"})
    world.mark("S")
    world.tick("9401")
    assert HaltCause.DAILY_LOSS not in world.halts[-1].causes
    world.tick("9400")
    assert (world.halts[-1].status, world.halts[-1].causes) == ("HALT", (HaltCause.DAILY_LOSS,))
    assert numbers(world.submit("S", quantity="1")) == [10]
    world.tick("9900")
    assert numbers(world.submit("S", quantity="1")) == [10], "a recovery does not undo it"


def test_a_window_of_repetitions_closes() -> None:
    """A window that never closes.

    vnpy_riskmanager 2.0.0, vnpy_riskmanager/rules/duplicate_order_rule.py: equal orders are counted since the start
    of the process, refused ones too, and the count never falls; at the limit such an order is refused for ever.
    """
    world = World()
    world.mark("S")
    for _ in range(5):
        assert approved(world.submit("S", quantity="1")) == 1
    for _ in range(5):
        assert numbers(world.submit("S", quantity="1")) == [31]
    assert approved(world.submit("S", quantity="1")) == 1, "ten seconds after the first one"
    world.wait(10)
    for _ in range(5):
        assert approved(world.submit("S", quantity="1")) == 1


def _mark(log: Log, equity: str) -> None:
    log.now += SECOND
    marks = {"X": PriceMark(price=Decimal(100), atr=Decimal(1))}
    tick = EquityMark(account="A", event_time=log.now, equity=Decimal(equity), marks=marks)
    log.append(Topic.EQUITY_TICKS, b"A", canonical_bytes(tick))


def _ask(log: Log, intent_id: str) -> None:
    log.now += SECOND
    intent = OrderIntent(
        intent_id=intent_id,
        account="A",
        strategy="s",
        symbol="X",
        side=Side.BUY,
        quantity=Decimal(1),
        order_type=OrderType.MARKET,
        event_time=log.now,
    )
    log.append(Topic.ORDER_INTENTS, b"A", canonical_bytes(intent))


async def _work(log: Log) -> Source:
    """Let one process do what there is to do, save it all and end; return what it began with."""
    worker = quiet_worker(log, Disk())
    await worker.open()
    worker.deliver_all()
    await worker.commit(checkpoint=True)
    await worker.release()
    return worker.opened.source


@pytest.mark.parametrize("damage", ["none", "bytes", "truncated", "removed"])
def test_a_damaged_state_file_is_no_fresh_start(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corrupt state file that becomes a fresh state.

    GPT-Trader at 826e5061, src/gpt_trader/features/live_trade/risk/manager/__init__.py: a state file that cannot be
    parsed is reported, and the day's opening equity, the mark of a daily loss and the reduce-only mode start as if
    never set.
    """
    monkeypatch.setattr(simulated, "DiskStore", lambda *_: Store(tmp_path / "db", ACCOUNT_TABLES))
    log = Log()
    Messages(log, random.Random(0), Counter()).opening()
    _mark(log, "100000")
    _ask(log, "before")
    assert asyncio.run(_work(log)) is Source.BEGINNING
    _mark(log, "89000")
    _ask(log, "halted")
    assert asyncio.run(_work(log)) is Source.DISK

    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]
    assert files
    for path in files:
        held = path.read_bytes()
        if damage == "bytes":
            path.write_bytes(bytes(len(held)))
        elif damage == "truncated":
            path.write_bytes(held[: len(held) // 2])
        elif damage == "removed":
            path.unlink()
    _mark(log, "89500")
    _ask(log, "after")
    assert asyncio.run(_work(log)) is (Source.DISK if damage == "none" else Source.TOPIC)

    answers = [decode_decision(record) for record in log.records()[Topic.RISK_DECISIONS]]
    assert [(each.intent_id, numbers(each)) for each in answers] == [("before", []), ("halted", [9]), ("after", [9])]
    assert len(log.records()[Topic.TRADING_HALTS]) == 1, "it was halted all along: nothing changed"

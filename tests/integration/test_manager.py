"""The risk manager object against a real broker and a real worker."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from models.canonical import DAY_NS, SECOND_NS
from models.decisions import AccountStatus
from models.messages import EquityMark, PriceMark
from models.reasons import RejectReason
from streams.audit import audit
from streams.client import DecisionTimeoutError, GateUnavailableError, RiskManager
from streams.config import Settings
from streams.demo.household import embedded_broker_is_there
from streams.manager.background import CLOSING_SECONDS
from streams.publisher import Publisher
from streams.starter import admit_everybody
from streams.topics import Topics, create
from tests.integration.workers import WorkerProcess, worker
from tests.kafka import EmbeddedBroker


class Clock:
    """Simulated time: it stands until it is moved, at first three days ago."""

    def __init__(self) -> None:
        self.now = time.time_ns() // DAY_NS * DAY_NS - 3 * DAY_NS + 14 * 3600 * SECOND_NS

    def __call__(self) -> int:
        return self.now

    def wait(self, minutes: int) -> None:
        self.now += minutes * 60 * SECOND_NS


@pytest.fixture
def running(settings: Settings, topics: Topics, tmp_path: Path) -> Iterator[WorkerProcess]:
    del topics
    asyncio.run(admit_everybody(settings, "USD", event_time=1))
    with worker(settings, tmp_path) as process:
        yield process


def test_a_trading_day_on_the_starter_records(settings: Settings, running: WorkerProcess) -> None:
    del running
    clock = Clock()
    with RiskManager(
        account_equity=100_000.0,
        risk_per_trade_percent=1.0,
        max_position_percent=10,
        sizing_method="volatility_adjusted",
        settings=settings,
        clock=clock,
    ) as manager:
        assert manager.reset_daily()
        for symbol in ("AAPL", "MSFT"):
            assert manager.update_returns(symbol, [0.01 if number % 2 else -0.01 for number in range(30)]) == 30
        assert not manager.is_trading_halted()

        # Two positions, each as large as the gate says.
        apple = manager.check_new_position(symbol="AAPL", current_price=185.0, atr=3.5)
        assert (apple.approved, apple.suggested_size) == (True, 54)
        manager.add_position("AAPL", apple.suggested_size, 185.0)
        microsoft = manager.check_new_position(symbol="MSFT", current_price=400.0, atr=8)
        assert (microsoft.approved, microsoft.suggested_size) == (True, 25)
        manager.add_position("MSFT", 25, 400.1)
        again = manager.check_new_position(symbol="AAPL", current_price=185.0, atr=3.5, quantity=1)
        assert RejectReason.POSITION_CONCENTRATION in again.reasons
        report = manager.get_risk_report()
        assert report.heat_map is not None
        assert {cell.symbol: cell.position for cell in report.heat_map.positions} == {"AAPL": 54, "MSFT": 25}
        assert [group.members for group in report.heat_map.clusters if len(group.members) > 1]

        # It falls, and falls too far.
        clock.wait(60)
        manager.update_equity(94_000, prices={"AAPL": 150, "MSFT": 330})
        assert (manager.get_risk_report().status, manager.is_trading_halted()) == (AccountStatus.WARNING, False)
        clock.wait(60)
        manager.update_equity(89_000, prices={"AAPL": 130, "MSFT": 280})
        assert manager.is_trading_halted()
        refused = manager.check_new_position(symbol="IBM", current_price=200, atr=2, quantity=1)
        assert refused.reasons == [RejectReason.DRAWDOWN_HALT]

        # Out of a position, halted or not.
        sold = manager.remove_position("AAPL", 129.5)
        assert (sold.last_quantity, sold.intent_id is not None) == (54, True)
        manager.update_equity(99_000)
        assert manager.is_trading_halted()
        assert not manager.reset_daily()
        assert manager.is_trading_halted()

        # The next session begins anew.
        clock.wait(24 * 60)
        assert manager.reset_daily()
        assert not manager.is_trading_halted()
        next_day = manager.check_new_position(symbol="IBM", current_price=200, atr=2, quantity=10)
        assert next_day.approved
        manager.release(next_day)
        manager.remove_position("MSFT", Decimal("281.25"))
        report = manager.get_risk_report()
        assert (report.status, report.open_orders, report.limits_version) == ("NORMAL", (), "manager:main@1")
        assert report.heat_map is not None
        assert report.heat_map.positions == ()
    verdict = asyncio.run(audit(settings))
    assert verdict.clean, verdict.findings
    assert verdict.reproduced >= 7


def test_what_was_just_said_counts_for_the_next_answer(settings: Settings, running: WorkerProcess) -> None:
    del running
    with RiskManager(account_equity=100_000, max_position_percent=50, settings=settings) as manager:
        held = 0
        for price in range(100, 110):
            check = manager.check_new_position("X", price, 1, quantity=10)
            assert check.approved, check.reasons
            manager.add_position("X", 10, price)
            held += 10
            with pytest.raises(ValueError, match=f"holds {held} X"):
                manager.remove_position("X", price, held + 1)
        manager.update_equity(90_000)
        assert manager.check_new_position("X", 110, 1, quantity=1).reasons == [RejectReason.DRAWDOWN_HALT]
        manager.remove_position("X", 110)
    verdict = asyncio.run(audit(settings))
    assert verdict.clean, verdict.findings


def test_beside_another_feed(settings: Settings, running: WorkerProcess) -> None:
    del running

    async def feed() -> None:
        mark = PriceMark(price=Decimal(185), atr=Decimal("3.5"))
        async with Publisher(settings) as publisher:
            await publisher.send(
                EquityMark(account="fed", event_time=time.time_ns(), equity=Decimal(100_000), marks={"AAPL": mark})
            )

    asyncio.run(feed())
    with RiskManager(account="fed", feeds_equity=False, settings=settings) as manager:
        check = manager.check_new_position("AAPL", 185, 3.5)
        assert (check.approved, check.suggested_size) == (True, 54)


async def test_in_a_notebook_a_loop_runs_already(settings: Settings, running: WorkerProcess) -> None:
    del running
    with RiskManager(account_equity=100_000, settings=settings) as manager:
        assert manager.check_new_position("AAPL", 185, 3.5)


def test_without_a_worker_it_says_what_to_start(settings: Settings, topics: Topics) -> None:
    del topics
    with RiskManager(account_equity=1000, currency="USD", timeout=1, settings=settings) as manager:
        assert not manager.is_trading_halted()
        with pytest.raises(DecisionTimeoutError, match="see whether a worker runs"):
            manager.check_new_position("AAPL", 185, 3.5)


def test_without_a_broker_or_topics_it_says_so_and_leaves_no_thread(settings: Settings) -> None:
    with pytest.raises(GateUnavailableError, match="run `seawall topics create`"):
        RiskManager(account_equity=1000, settings=settings)
    nowhere = settings.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(GateUnavailableError, match="no answer from a Kafka broker"):
        RiskManager(account_equity=1000, settings=nowhere)


@pytest.mark.skipif(not embedded_broker_is_there(), reason="noida-db has no wheel for this platform")
def test_a_broker_that_goes_away_is_an_error_and_closing_does_not_wait_for_it(tmp_path: Path) -> None:
    broker = EmbeddedBroker()
    try:
        lone = Settings(bootstrap_servers=broker.bootstrap, data_dir=tmp_path)
        asyncio.run(create(Topics.of(lone), lone))
        manager = RiskManager(account_equity=1000, currency="USD", timeout=1, settings=lone)
        broker.kill()
        with pytest.raises(GateUnavailableError, match=r"no answer.*may still arrive: look at get_risk_report\(\)"):
            manager.update_equity(999)
        closing = time.monotonic()
        manager.close()
        assert time.monotonic() - closing < 2 * CLOSING_SECONDS
    finally:
        broker.stop()


def test_a_program_that_forgets_to_close_ends_all_the_same(settings: Settings, topics: Topics) -> None:
    del topics
    told = {name: getattr(settings, name) for name in ("bootstrap_servers", "topic_prefix")}
    program = (
        "from streams.client import RiskManager; from streams.config import Settings\n"
        f"manager = RiskManager(account_equity=1000, currency='USD', settings=Settings(**{told!r}))\n"
        "print(manager.is_trading_halted())"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "False\n", "")

"""The risk manager object against a gate in this process."""

import gc
import threading
import weakref
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from models.canonical import SECOND_NS
from models.decisions import AccountStatus, DecisionStatus
from models.limits import Limits, SizingMethod
from models.messages import (
    AccountRecord,
    EquityMark,
    ExecutionType,
    KillMode,
    KillScope,
    KillSwitch,
    LimitProfile,
    OperatorHalt,
    SessionOpen,
    Side,
)
from models.reasons import RejectReason
from streams.client import DecisionTimeoutError, GateError, RiskManager
from streams.manager.account import ATTEMPTS_MAX, UnconfirmedEquityError
from streams.manager.background import ClosedError
from streams.manager.enrolment import LimitsInForceError, profile_id_of
from streams.records import Topic
from tests.streams.in_process_gate import NOW
from tests.streams.managed_gate import MORNING, ManagedGate, connect_to

AAPL: dict[str, Any] = {"symbol": "AAPL", "current_price": 185.0, "atr": 3.5}
"""Golden case 4: sized 142, and 54 units are ten percent of 100,000."""


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> ManagedGate:
    gate = ManagedGate()
    connect_to(gate, monkeypatch)
    return gate


@pytest.fixture
def manager(gate: ManagedGate) -> Iterator[RiskManager]:
    with gate.manager() as manager:
        yield manager
    gate.assert_audited()


def profiles(gate: ManagedGate) -> list[LimitProfile]:
    return [each for each in gate.told(Topic.REFERENCE) if isinstance(each, LimitProfile)]


def in_force(gate: ManagedGate) -> LimitProfile:
    profile = gate.shared.shared.reference.profile("A")
    assert profile is not None
    return profile


# --- asking and trading


def test_a_position_from_check_to_close(gate: ManagedGate, manager: RiskManager) -> None:
    check = manager.check_new_position(**AAPL)
    assert check
    assert (check.approved, check.suggested_size, check.reasons) == (True, Decimal(54), [])
    [intent] = gate.told(Topic.ORDER_INTENTS)
    assert (intent.limit_price, intent.quantity, intent.strategy) == (Decimal(185), None, "manual")
    assert intent.expires_at == intent.event_time + 60 * SECOND_NS

    bought = manager.add_position("AAPL", check.suggested_size, 185.02)
    assert bought.intent_id == check.decision.intent_id
    report = manager.get_risk_report()
    assert report.heat_map is not None
    assert [(cell.symbol, cell.position) for cell in report.heat_map.positions] == [("AAPL", 54)]
    assert report.open_orders == ()

    sold = manager.remove_position("AAPL", 190, 20)
    assert (sold.side, sold.last_quantity) == (Side.SELL, Decimal(20))
    assert gate.decisions[-1].status is DecisionStatus.APPROVED
    assert gate.decisions[-1].intent_id == sold.intent_id
    manager.remove_position("AAPL", "190.5", fee="1.25")
    assert not gate.replica.state.accounts["A"].book.positions
    assert len({fill.execution_id for fill in gate.fills}) == 3


def test_a_rejection_says_why_and_how_much_would_pass(manager: RiskManager) -> None:
    check = manager.check_new_position(**AAPL, quantity=55)
    assert not check
    assert (check.reasons, check.suggested_size) == (["SIZE_EXCEEDS_CAP", "POSITION_CONCENTRATION"], Decimal(54))
    assert manager.check_new_position(**AAPL, quantity=55, allow_resize=True).suggested_size == 54


def test_without_an_atr_there_is_no_size(manager: RiskManager) -> None:
    check = manager.check_new_position("AAPL", 185)
    assert check.reasons == [RejectReason.ATR_UNAVAILABLE]
    assert check.suggested_size == 0


def test_an_approval_reserves_until_it_is_released(gate: ManagedGate, manager: RiskManager) -> None:
    first = manager.check_new_position(**AAPL)
    assert RejectReason.POSITION_CONCENTRATION in manager.check_new_position(**AAPL).reasons
    manager.release(first)
    assert gate.fills[-1].execution_type is ExecutionType.CANCELED
    assert manager.check_new_position(**AAPL).suggested_size == 54
    count = len(gate.fills)
    manager.release(manager.check_new_position(**AAPL))  # rejected: nothing to release
    assert len(gate.fills) == count


def test_an_approval_that_came_to_nothing_is_free_after_its_time(gate: ManagedGate, manager: RiskManager) -> None:
    assert manager.check_new_position(**AAPL)
    gate.clock.sleep(121)
    assert manager.check_new_position(**AAPL)


def test_a_trade_without_approval_is_recorded_as_one(gate: ManagedGate, manager: RiskManager) -> None:
    assert manager.add_position("AAPL", 10, 185).intent_id is None
    assert "ORPHAN_FILL" in manager.check_new_position(**AAPL).warnings
    assert gate.replica.state.accounts["A"].book.position("AAPL") == 10


def test_a_trade_fills_the_newest_open_approval_of_its_symbol_and_side(manager: RiskManager) -> None:
    checks = [manager.check_new_position(**AAPL, quantity=size) for size in (10, 20)]
    manager.check_new_position("MSFT", 400, 5, quantity=1)
    filled = [manager.add_position("AAPL", 20, 185).intent_id, manager.add_position("AAPL", 10, 185).intent_id]
    assert filled == [check.decision.intent_id for check in reversed(checks)]


def test_what_was_approved_before_closing_is_what_closes(gate: ManagedGate, manager: RiskManager) -> None:
    manager.add_position("AAPL", 10, 185)
    check = manager.check_new_position(**AAPL, side="sell")
    assert check.suggested_size == 10
    assert manager.remove_position("AAPL", 185).intent_id == check.decision.intent_id
    assert len(gate.decisions) == 1


def test_a_sale_beyond_what_was_approved_is_asked_for_as_a_whole(gate: ManagedGate, manager: RiskManager) -> None:
    manager.add_position("AAPL", 10, 185)
    for size in (2, 3):
        assert manager.check_new_position(**AAPL, side="SELL", quantity=size)
    sold = manager.remove_position("AAPL", 185)
    assert gate.decisions[-1].quantity == 10
    assert sold.intent_id == gate.decisions[-1].intent_id
    assert manager.get_risk_report().open_orders == ()


def test_nobody_removes_what_the_strategy_does_not_hold(gate: ManagedGate, manager: RiskManager) -> None:
    with pytest.raises(ValueError, match="strategy manual holds 0 AAPL in account A: cannot remove any"):
        manager.remove_position("AAPL", 185)
    with gate.manager(account_equity=None, strategy="other", feeds_equity=False) as other:
        other.add_position("AAPL", 10, 185)
        with pytest.raises(ValueError, match=r"holds 10 AAPL.*cannot remove 11"):
            other.remove_position("AAPL", 185, 11)
    with pytest.raises(ValueError, match="holds 0 AAPL"):
        manager.remove_position("AAPL", 185)


def test_a_short_position_is_bought_back(gate: ManagedGate) -> None:
    with gate.manager(limits={"shorts_allowed": True}) as manager:
        check = manager.check_new_position(**AAPL, side=Side.SELL)
        assert check.suggested_size == 54
        manager.add_position("AAPL", 54, 185, side="SELL")
        assert manager.remove_position("AAPL", 180).side is Side.BUY
    gate.assert_audited()


def test_a_sale_despite_a_kill_switch_is_a_fact(gate: ManagedGate, manager: RiskManager) -> None:
    manager.add_position("AAPL", 10, 185)
    stop = KillSwitch(
        event_time=MORNING, actor="o", reason="r", scope=KillScope.GLOBAL, mode=KillMode.ALL, engaged=True
    )
    gate.fold(gate._sent(stop))
    assert manager.is_trading_halted()
    sold = manager.remove_position("AAPL", 185)
    assert gate.decisions[-1].reasons == (RejectReason.KILL_SWITCH_ALL,)
    assert sold.intent_id is None
    assert gate.replica.state.accounts["A"].book.position("AAPL") == 0


# --- what the gate has not read yet


def test_a_rejection_that_did_not_know_the_mark_is_asked_again(gate: ManagedGate, manager: RiskManager) -> None:
    gate.behind = 2
    check = manager.check_new_position(**AAPL)
    assert [one.status for one in gate.decisions] == ["REJECTED", "REJECTED", "APPROVED"]
    assert len({one.intent_id for one in gate.decisions}) == 3
    assert check.decision == gate.decisions[-1]


def test_an_approval_that_did_not_know_of_a_loss_is_canceled(gate: ManagedGate, manager: RiskManager) -> None:
    assert manager.check_new_position(**AAPL, quantity=1)
    gate.behind = 1
    manager.update_equity(90_000)
    check = manager.check_new_position(**AAPL, quantity=2)
    assert check.reasons == [RejectReason.DRAWDOWN_HALT]
    early = gate.decisions[1]
    assert early.status is DecisionStatus.APPROVED
    [canceled] = gate.fills
    assert (canceled.intent_id, canceled.execution_type) == (early.intent_id, ExecutionType.CANCELED)
    assert [order.approved for order in manager.get_risk_report().open_orders] == [1]


def test_a_gate_that_never_catches_up_is_an_error(
    gate: ManagedGate, manager: RiskManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.manager.account.FIRST_PAUSE", 0.0)
    gate.behind = 100
    with pytest.raises(DecisionTimeoutError, match="without knowing what this program told it before: do not trade"):
        manager.check_new_position(**AAPL)
    assert len(gate.decisions) == ATTEMPTS_MAX
    gate.behind = 0


def test_without_a_worker_it_says_what_to_start(gate: ManagedGate, manager: RiskManager) -> None:
    gate.silent = True
    with pytest.raises(
        DecisionTimeoutError, match=r"do not trade on it; see whether a worker runs \(`seawall worker`"
    ):
        manager.check_new_position(**AAPL)
    with pytest.raises(DecisionTimeoutError, match="free 120 s after it was sent"):
        manager.check_new_position(**AAPL)
    gate.silent = False
    assert manager.check_new_position(**AAPL)


# --- the account's value


def test_a_loss_halts_until_the_next_session(gate: ManagedGate, manager: RiskManager) -> None:
    manager.add_position("AAPL", 20, 185)
    assert manager.reset_daily()
    assert not manager.is_trading_halted()
    manager.update_equity(95_000)
    assert (manager.get_risk_report().status, manager.is_trading_halted()) == (AccountStatus.WARNING, False)
    manager.update_equity(89_999.99)
    assert manager.is_trading_halted()
    assert manager.check_new_position(**AAPL, quantity=1).reasons == [RejectReason.DRAWDOWN_HALT]
    assert manager.remove_position("AAPL", 180, 5).intent_id is not None
    manager.update_equity(99_000)
    assert manager.is_trading_halted()  # a recovery ends no halt

    assert not manager.reset_daily()  # nor does a second opening of the same day
    assert manager.is_trading_halted()
    gate.clock.sleep(86_400)
    assert manager.reset_daily()
    assert not manager.is_trading_halted()
    assert [one.session for one in gate.told(Topic.EQUITY_TICKS) if isinstance(one, SessionOpen)] == [
        "2026-05-28",
        "2026-05-28",
        "2026-05-29",
    ]
    assert [halt.status for halt in gate.all_halts] == ["WARNING", "HALT", "NORMAL"]


def test_a_new_manager_does_not_end_a_halt(gate: ManagedGate, manager: RiskManager) -> None:
    manager.update_equity(89_000)
    manager.close()
    with gate.manager(account_equity=99_000) as again:
        assert again.is_trading_halted()


def test_values_count_in_the_order_said_however_coarse_the_clock(gate: ManagedGate) -> None:
    with gate.manager(clock=lambda: MORNING) as manager:
        manager.update_equity(95_000)
        manager.update_equity(89_000)
        assert manager.is_trading_halted()


def test_a_session_may_open_without_clearing_halts(gate: ManagedGate, manager: RiskManager) -> None:
    manager.update_equity(85_000)
    assert manager.reset_daily(84_000, clear_halts=False)
    assert manager.is_trading_halted()
    assert gate.told(Topic.EQUITY_TICKS)[-1].equity == 84_000


def test_an_operators_halt_is_one(gate: ManagedGate, manager: RiskManager) -> None:
    gate.fold(gate._sent(OperatorHalt(account="A", event_time=gate.clock(), actor="o", reason="r")))
    assert manager.is_trading_halted()
    gate.clock.sleep(86_400)
    assert manager.reset_daily()
    assert manager.is_trading_halted()


def test_a_jump_said_once_is_not_believed_because_checks_follow(manager: RiskManager) -> None:
    manager.update_equity(60_000)
    for _ in range(2):
        assert RejectReason.EQUITY_UNCONFIRMED in manager.check_new_position(**AAPL).reasons
    assert not manager.is_trading_halted()
    with pytest.raises(UnconfirmedEquityError, match="equity 60000 of account A is over 20 % from 100000"):
        manager.reset_daily()
    manager.update_equity(99_800)  # it was a glitch
    assert manager.check_new_position(**AAPL)
    manager.update_equity(60_000)
    manager.update_equity(60_000)  # it was none
    assert manager.is_trading_halted()


def test_a_withdrawal_that_is_said_is_no_loss(manager: RiskManager) -> None:
    manager.update_equity(100_000, net_deposits=100_000, cash=50_000)
    manager.update_equity(88_000, net_deposits="88000", prices={"AAPL": 185.5})
    report = manager.get_risk_report()
    assert (report.status, report.equity, report.cash) == (AccountStatus.NORMAL, 88_000, 50_000)


def test_prices_of_what_is_held_may_be_said(gate: ManagedGate, manager: RiskManager) -> None:
    manager.add_position("AAPL", 20, 100)
    gate.clock.sleep(200)
    assert "PRICE_FALLBACK" in manager.check_new_position("MSFT", 400, 5, quantity=1).warnings
    manager.update_equity(100_000, prices={"AAPL": 101})
    assert "PRICE_FALLBACK" not in manager.check_new_position("MSFT", 400, 5, quantity=1).warnings


def test_a_manager_that_feeds_no_equity_says_none(gate: ManagedGate) -> None:
    with gate.manager(), gate.manager(account_equity=None, feeds_equity=False) as guest:
        count = len(gate.log[Topic.EQUITY_TICKS])
        check = guest.check_new_position(**AAPL, quantity=54)
        assert (check.approved, check.warnings) == (True, ["PRICE_FROM_INTENT"])
        assert len(gate.log[Topic.EQUITY_TICKS]) == count
        for refused in (lambda: guest.update_equity(1), guest.reset_daily):
            with pytest.raises(ValueError, match="belongs to a manager that feeds equity"):
                refused()
    with pytest.raises(ValueError, match="account_equity belongs to"):
        gate.manager(feeds_equity=False)
    gate.assert_audited()


def test_returns_couple_symbols(gate: ManagedGate, manager: RiskManager) -> None:
    path = np.sin(np.arange(30)) / 100
    assert manager.update_returns("AAPL", path) == manager.update_returns("MSFT", list(path * 2)) == 30
    manager.add_position("AAPL", 20, 185)
    check = manager.check_new_position("MSFT", 400, 5, quantity=1)
    assert "RETURNS_INSUFFICIENT" not in check.warnings
    report = manager.get_risk_report()
    assert report.heat_map is not None
    assert [group.members for group in report.heat_map.clusters if len(group.members) > 1]
    assert gate.told(Topic.DAILY_RETURNS)[29].session == "2026-05-28"


# --- the limits


def test_the_arguments_become_a_profile_and_a_first_mark(gate: ManagedGate) -> None:
    gate.manager(risk_per_trade_percent=0.5, max_position_percent="12.5", sizing_method="fixed-percent").close()
    [starter, profile] = profiles(gate)
    assert profile.limits_version == "manager:A@1"
    changed = {name for name in Limits.model_fields if getattr(profile, name) != getattr(starter, name)}
    assert changed == {
        "risk_per_trade",
        "entry_max",
        "position_critical",
        "position_warning",
        "sizing_method",
    }
    assert profile.risk_per_trade == Decimal("0.005")
    assert profile.entry_max == profile.position_critical == profile.position_warning == Decimal("0.125")
    assert profile.sizing_method is SizingMethod.FIXED_PERCENT
    bound = gate.told(Topic.REFERENCE)[-1]
    assert isinstance(bound, AccountRecord)
    assert (bound.account, bound.profile_id, bound.currency) == ("A", "manager:A", "USD")
    [mark] = gate.told(Topic.EQUITY_TICKS)
    assert isinstance(mark, EquityMark)
    assert mark.equity == 100_000


def test_a_larger_position_leaves_the_warning_where_it_was(gate: ManagedGate) -> None:
    gate.manager(max_position_percent=40).close()
    assert (in_force(gate).position_critical, in_force(gate).position_warning) == (Decimal("0.4"), Decimal("0.2"))


def test_what_is_not_said_stays_as_every_account_has_it(gate: ManagedGate) -> None:
    stricter = profiles(gate)[0].model_copy(
        update={"profile_version": 2, "event_time": 2, "drawdown_halt": Decimal("0.07")}
    )
    gate.fold(gate._sent(stricter))
    gate.manager(limits={"gross_max": 0.9, "sizing_method": "kelly"}).close()
    assert in_force(gate).drawdown_halt == Decimal("0.07")
    assert in_force(gate).gross_max == Decimal("0.9")
    assert in_force(gate).sizing_method is SizingMethod.KELLY


def test_the_same_limits_are_written_once(gate: ManagedGate) -> None:
    gate.manager().close()
    count = len(gate.log[Topic.REFERENCE])
    gate.manager().close()
    with gate.manager(account_equity=None, risk_per_trade_percent=None, max_position_percent=None) as again:
        assert again.check_new_position(**AAPL)
    assert len(gate.log[Topic.REFERENCE]) == count


@pytest.mark.parametrize("percent", [5, 20])
def test_limits_in_force_are_not_replaced_unawares(gate: ManagedGate, percent: int) -> None:
    gate.manager().close()
    with pytest.raises(LimitsInForceError, match=r"manager:A@1 with .*entry_max 0.1 \(asked for 0.*replace_limits"):
        gate.manager(max_position_percent=percent)
    assert in_force(gate).profile_version == 1
    gate.manager(max_position_percent=percent, replace_limits=True).close()
    assert in_force(gate).profile_version == 2
    assert in_force(gate).entry_max == Decimal(percent) / 100


def test_an_account_with_a_history_keeps_the_limits_of_every_account(gate: ManagedGate) -> None:
    gate.fold(gate._sent(EquityMark(account="A", event_time=MORNING, equity=Decimal(100_000))))
    with pytest.raises(LimitsInForceError, match="account A exists under default@1"):
        gate.manager()
    with gate.manager(max_position_percent=None) as manager:  # one percent is the default
        assert manager.check_new_position(**AAPL)
    assert in_force(gate).profile_id == "default"


def test_every_invalid_limit_is_named(gate: ManagedGate) -> None:
    with pytest.raises(ValueError, match=r"risk_per_trade: must lie from 0 to 1, was 1\.01.*drawdown_warning must"):
        gate.manager(risk_per_trade_percent=101, limits={"drawdown_halt": "0.01"})
    with pytest.raises(ValueError, match=r"sizing_method must be one of NONE, VOLATILITY_ADJUSTED.*was 'martingale'"):
        gate.manager(sizing_method="martingale")
    with pytest.raises(ValueError, match="account must be one account"):
        RiskManager(account="*")
    assert len(profiles(gate)) == 1
    assert not any("risk manager" in thread.name for thread in threading.enumerate())


def test_without_starter_records_a_currency_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = ManagedGate(starter=False)
    connect_to(gate, monkeypatch)
    with pytest.raises(ValueError, match="currency of account A is not known"):
        gate.manager()
    with gate.manager(currency="EUR") as manager:
        assert RejectReason.UNKNOWN_INSTRUMENT in manager.check_new_position(**AAPL).reasons
    with pytest.raises(ValueError, match="currency of account A is EUR, was given as USD"):
        gate.manager(currency="USD")


def test_nothing_is_known_of_an_account_without_equity(gate: ManagedGate) -> None:
    with pytest.raises(ValueError, match="nothing is known of account A: give account_equity"):
        gate.manager(account_equity=None)
    assert len(profiles(gate)) == 1


def test_a_clock_behind_the_account_is_refused(gate: ManagedGate) -> None:
    gate.manager().close()
    gate.clock.sleep(-60)
    with pytest.raises(GateError, match=r"account A has records [0-9]+ s ahead of this program's clock"):
        gate.manager()


def test_a_clock_ahead_of_the_broker_is_not_passed_over(gate: ManagedGate) -> None:
    with gate.manager() as manager:
        manager.add_position("AAPL", 10, 185)
        gate.clock.now = NOW + 6 * SECOND_NS
        with pytest.raises(GateError, match=r"7 s ahead of the broker's, and equity-ticks/0@1 was refused"):
            manager.update_equity(80_000)
        assert gate.log[Topic.DEAD_LETTERS]
        manager.add_position("AAPL", 10, 185)
    assert gate.replica.state.accounts["A"].book.position("AAPL") == 20


def test_a_profile_id_is_a_name_however_long_the_account() -> None:
    ids = {profile_id_of("a" * length) for length in range(1, 65)}
    assert len(ids) == 64
    assert max(map(len, ids)) == 64


# --- threads and loops


def test_threads_take_turns(gate: ManagedGate, manager: RiskManager) -> None:
    approved: list[bool] = []

    def trade(number: int) -> None:
        check = manager.check_new_position(f"S{number}", 10, "0.1", quantity=1)
        approved.append(check.approved)
        manager.add_position(f"S{number}", 1, 10)

    threads = [threading.Thread(target=trade, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert approved == [True] * 8
    assert all(fill.intent_id for fill in gate.fills)


async def test_it_works_where_a_loop_runs_already(gate: ManagedGate) -> None:
    with gate.manager() as manager:
        assert manager.check_new_position(**AAPL)


def test_what_is_asked_after_closing_says_so(gate: ManagedGate) -> None:
    manager = gate.manager()
    manager.close()
    manager.close()
    with pytest.raises(ClosedError, match="the risk manager of account A is closed"):
        manager.is_trading_halted()


def test_a_manager_that_is_forgotten_ends_its_thread(gate: ManagedGate) -> None:
    manager = gate.manager()
    [thread] = [each for each in threading.enumerate() if "risk manager" in each.name]
    forgotten = weakref.ref(manager)
    del manager
    gc.collect()
    assert forgotten() is None
    thread.join(10)
    assert not thread.is_alive()

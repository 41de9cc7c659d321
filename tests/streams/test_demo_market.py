"""The demo's market and script, played through the gate in this process."""

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from typing import TypeVar

import pandas as pd
import pytest

from models.decisions import AccountStatus, DecisionStatus, HaltCause, RiskDecision
from models.folds.correlation import SESSIONS_KEPT
from models.messages import (
    REFERENCE,
    ExecutionType,
    KillScope,
    KillSwitch,
    OrderType,
    Side,
    StrategyRecord,
    StrategyState,
)
from models.reasons import Flag, RejectReason
from streams.demo.cast import CAST, STAKE
from streams.demo.market import Market, moment
from streams.demo.strategies import Holding, Wish
from streams.demo.tape import ACTS, load
from streams.records import Topic
from tests.streams.played import Played, play_acts, played

R = TypeVar("R")


@pytest.fixture(scope="module")
def acts() -> Played:
    return played()


def test_two_plays_are_the_same_bytes(acts: Played) -> None:
    again = play_acts()
    for topic in Topic:
        assert [record.value for record in again.gate.log[topic]] == [record.value for record in acts.gate.log[topic]]


def test_the_crash_weeks_halt_and_quiet_weeks_do_not(acts: Played) -> None:
    halted = {
        (halt.account, halt.clock)
        for halt in acts.gate.all_halts
        if halt.status is AccountStatus.HALT and halt.previous_status is not AccountStatus.HALT
    }
    weeks = [("2008-09-15", "2008-09-20"), ("2008-09-29", "2008-10-04"), ("2008-10-06", "2008-10-11")]
    weeks += [("2020-03-09", "2020-03-14"), ("2020-03-16", "2020-03-21")]
    for first, last in weeks:
        assert any(moment(first, 0) <= clock < moment(last, 0) for _, clock in halted), first
    calm = (("2008-09-02", "2008-09-13"), ("2020-02-18", "2020-02-22"))
    for first, last in calm:
        assert not any(moment(first, 0) <= clock < moment(last, 0) for _, clock in halted), first
    assert {account for account, _ in halted} >= {"banks", "dip-buyer", "tech"}


def test_the_script_shows_what_it_promises(acts: Played) -> None:
    reasons = Counter(reason for decision in acts.gate.decisions for reason in decision.reasons)
    shown = {
        *(RejectReason.MALFORMED, RejectReason.INTENT_ID_CONFLICT, RejectReason.DUPLICATE_INTENT),
        *(RejectReason.EVENT_TIME_INVALID, RejectReason.INTENT_EXPIRED, RejectReason.KILL_SWITCH_ALL),
        *(RejectReason.KILL_SWITCH, RejectReason.OPERATOR_HALT, RejectReason.DRAWDOWN_HALT),
        *(RejectReason.DAILY_LOSS_HALT, RejectReason.UNKNOWN_ACCOUNT, RejectReason.UNKNOWN_INSTRUMENT),
        *(RejectReason.EQUITY_UNCONFIRMED, RejectReason.STALE_EQUITY, RejectReason.STALE_INTENT),
        *(RejectReason.RESTRICTED_SYMBOL, RejectReason.STRATEGY_DISABLED, RejectReason.TOO_FEW_TRADES),
        *(RejectReason.NO_EDGE, RejectReason.SIZE_EXCEEDS_CAP, RejectReason.MAX_ORDER_QUANTITY),
        *(RejectReason.MAX_ORDER_NOTIONAL, RejectReason.CORRELATED_EXPOSURE, RejectReason.POSITION_CONCENTRATION),
        *(RejectReason.SECTOR_CONCENTRATION, RejectReason.GROSS_LEVERAGE, RejectReason.BUYING_POWER),
        *(RejectReason.VAR_LIMIT, RejectReason.SELF_TRADE, RejectReason.PRICE_COLLAR),
    }
    assert shown <= reasons.keys()
    assert len(acts.gate.log[Topic.DEAD_LETTERS]) == 8
    causes = {cause for halt in acts.gate.all_halts for cause in halt.causes}
    assert causes == set(HaltCause)
    resumed = [
        halt for halt in acts.gate.all_halts if halt.actor == "risk-desk" and halt.status is AccountStatus.NORMAL
    ]
    assert resumed
    assert reasons[RejectReason.MALFORMED] == 16


def decided(acts: Played, account: str, first: str, last: str) -> list[RiskDecision]:
    """Return an account's decisions of some days, the last one not included."""
    return [
        one
        for one in acts.gate.decisions
        if one.account == account and moment(first, 0) <= one.clock < moment(last, 0)
    ]


def commands(acts: Played, kind: type[R]) -> list[R]:
    values = [record.value or b"" for record in acts.gate.log[Topic.REFERENCE]]
    records = [REFERENCE.validate_json(value) for value in values if value != b"[]"]  # the script's garbage
    return [record for record in records if isinstance(record, kind)]


def test_value_at_risk_stops_the_fund_when_the_market_becomes_wild(acts: Played) -> None:
    """On a Tuesday; Monday's crash is among the returns, and what it holds already may lose more than allowed."""
    first = next(one for one in acts.gate.decisions if RejectReason.VAR_LIMIT in one.reasons)
    assert (first.account, first.reasons) == ("pension", (RejectReason.VAR_LIMIT,))
    assert moment("2008-09-01", 0) < first.clock < moment("2008-10-01", 0)
    (check,) = (one for one in first.checks if one.name is RejectReason.VAR_LIMIT)
    assert first.inputs.equity is not None
    assert check.limit == first.inputs.equity.value * Decimal("0.01")

    today = datetime.fromtimestamp(first.clock / 1e9, UTC).date().isoformat()
    tape = acts.markets[0].tape
    session = tape.sessions.index(today)

    def loss(at: int, *, before: int, more: dict[str, float]) -> float:
        """Return the third worst day that the holdings of a session would have had in the 250 before another."""
        held = pd.Series(more)
        for report in acts.markets[0].reports["pension"]:
            if report.event_time < moment(tape.sessions[at], 0) and report.last_quantity is not None:
                signed = float(report.last_quantity) * (1 if report.side is Side.BUY else -1)
                held[report.symbol] = held.get(report.symbol, 0.0) + signed
        with (files("streams.demo") / "data" / "prices_daily.csv").open(encoding="utf-8") as lines:
            closes = pd.read_csv(lines, index_col=0)[[*held.index]]
        value = held * closes.loc[tape.sessions[at]]
        changes = closes.pct_change()
        end = list(closes.index).index(tape.sessions[before])
        return float((changes.iloc[end - 250 : end] * value).sum(axis=1).nsmallest(3).iloc[-1] * -1)

    ordered = {str(first.symbol): float(first.opening_quantity or 0)}
    assert float(check.value or 0) == pytest.approx(loss(session, before=session, more=ordered), rel=1e-5)
    # What is held would have been allowed, had Monday been like the days before.
    assert loss(session, before=session, more={}) > float(check.limit) > loss(session, before=session - 1, more={})


def test_a_strategy_on_probation_opens_half_as_much(acts: Played) -> None:
    (record,) = (
        one
        for one in commands(acts, StrategyRecord)
        if one.account == "dip-buyer" and one.state is StrategyState.PROBATION
    )
    assert (record.actor, record.reason) == ("risk-desk", "halted last week")
    halts = [one for one in acts.gate.all_halts if one.account == "dip-buyer" and one.status is AccountStatus.HALT]
    assert moment("2008-09-29", 0) < halts[0].clock < moment("2008-10-04", 0)

    def shares(first: str, last: str) -> list[float]:
        return [
            float(one.quantity * one.reservation.price) / float(one.inputs.equity.value)
            for one in decided(acts, "dip-buyer", first, last)
            if one.status is DecisionStatus.APPROVED and one.opening_quantity
            if one.reservation and one.reservation.price and one.inputs.equity
        ]

    assert max(shares("2008-09-02", "2008-10-06")) == pytest.approx(0.08, abs=1e-3)
    assert max(shares("2008-10-06", "2008-11-01")) == pytest.approx(0.04, abs=1e-3)
    assert max(shares("2020-02-18", "2020-03-31")) == pytest.approx(0.08, abs=1e-3)
    for first, last, warned in (("2008-09-02", "2008-10-06", False), ("2008-10-06", "2008-11-01", True)):
        for one in decided(acts, "dip-buyer", first, last):
            assert (Flag.STRATEGY_PROBATION in one.warnings) is warned


def test_a_kill_switch_admits_reductions_only(acts: Played) -> None:
    switches = [one for one in commands(acts, KillSwitch) if one.scope is KillScope.GLOBAL]
    assert [one.engaged for one in switches] == [True, False] * 2
    for on, off in (switches[:2], switches[2:]):
        decisions = [one for one in acts.gate.decisions if on.event_time < one.clock < off.event_time and one.symbol]
        openings = [one for one in decisions if one.opening_quantity != 0]
        assert openings
        assert all(one.reasons[0] is RejectReason.KILL_SWITCH for one in openings)


def test_every_decision_has_the_returns_that_a_limit_asks_for(acts: Played) -> None:
    assert RejectReason.RISK_MODEL_UNAVAILABLE not in {
        reason for one in acts.gate.decisions for reason in one.reasons
    }
    for market in acts.markets:
        dates = {
            one.session for one in market.returns(range(market.tape.first - market.tape.act.lead, market.tape.first))
        }
        assert len(dates) == SESSIONS_KEPT


def test_everybody_gets_approvals_and_rejections(acts: Played) -> None:
    for trader in CAST:
        answers = {one.status for one in acts.gate.decisions if one.account == trader.account}
        assert answers == set(DecisionStatus), trader.account


def test_what_the_desks_hold_is_what_the_gate_folded(acts: Played) -> None:
    state = acts.gate.replica.state
    for account, desk in acts.markets[-1].desks.items():
        assert desk.holdings == {}
        book = state.accounts[account].book
        assert all(book.position(symbol) == 0 for symbol in book.positions)  # by strategy they may cancel
        assert state.accounts[account].drawdown.equity == desk.cash


def test_fills_add_up_to_the_cash(acts: Played) -> None:
    """Cash is the stake, what was paid in, and every execution that stands; recounted from the reports sent."""
    for account, desk in acts.markets[0].desks.items():
        cash = STAKE
        for report in acts.markets[0].reports[account]:
            if report.execution_type is ExecutionType.TRADE:
                assert report.last_quantity is not None
                assert report.last_price is not None
                assert report.fee is not None
                signed = report.last_quantity if report.side is Side.SELL else -report.last_quantity
                cash += signed * report.last_price - report.fee
        if account == "tech":  # one of its trades was busted, fee and all but the opposite fee
            assert cash != desk.cash
        else:
            assert cash == desk.cash


def test_an_act_begins_with_the_stake_of_everybody(acts: Played) -> None:
    market = Market(load(ACTS[1]))
    market.carry(acts.markets[0])
    paid = market.deposit()
    assert all(desk.cash == STAKE for desk in market.desks.values())
    assert all(desk.deposits == STAKE + paid[account] for account, desk in market.desks.items())
    assert paid["tech"] > 0


def test_weeks_open_on_their_first_session() -> None:
    market = Market(load(ACTS[0]))
    opened = [market.tape.sessions[number] for number in market.sessions if market.opens_week(number)]
    assert opened[:3] == ["2008-09-02", "2008-09-08", "2008-09-15"]
    assert len(opened) == 9


def test_a_desk_books_what_it_trades() -> None:
    market = Market(load(ACTS[0]))
    desk = market.desks["tech"]
    desk.book("KO", Side.BUY, Decimal(100), Decimal(10))
    desk.book("KO", Side.BUY, Decimal(100), Decimal(20))
    assert desk.holdings["KO"] == Holding(Decimal(200), Decimal(15))
    assert desk.cash == STAKE - 3000 - 1
    desk.book("KO", Side.SELL, Decimal(200), Decimal(15))
    assert desk.holdings == {}
    assert desk.cash == STAKE - 2


def test_an_intent_says_what_its_strategy_wished() -> None:
    market = Market(load(ACTS[0]))
    session = market.tape.first
    intent = market._intent(market.desks["kelly"], session, Wish("KO", Side.BUY, limit=True), 4)
    assert intent.intent_id == "kelly-20080902-05"
    assert intent.order_type is OrderType.LIMIT
    assert intent.limit_price == market.tape.bar("KO", session).close
    assert intent.quantity is None
    assert moment("1970-01-02", 1) == 86_401 * 10**9

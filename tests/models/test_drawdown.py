"""Drawdown, status and latch (docs/risk.md section 8); the numbers of the golden cases are those of section 13."""

from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.canonical import DAY_NS, SECOND_NS, exact
from models.decisions import AccountStatus, HaltCause
from models.folds.drawdown import HEAD, PEAK_MAX, Assessment, Drawdown, Mark, Pair, assess
from models.limits import Limits
from models.messages import EquityMark, OperatorHalt, PriceMark, Resume, SessionOpen, Statement

Tick = EquityMark | SessionOpen | Resume | OperatorHalt

LIMITS = Limits()
EVERY_LIMIT = Limits(
    high_water_warning=Decimal("0.15"), high_water_halt=Decimal("0.20"), daily_loss_halt=Decimal("0.06")
)
START = 14_000 * DAY_NS
"""2008-05-01T00:00Z."""


def day(number: int) -> str:
    """Return the session `number` days after START."""
    return str(np.datetime64("2008-05-01") + number)


def at(seconds: int) -> int:
    """Return the event time `seconds` after START."""
    return START + seconds * SECOND_NS


def mark(seconds: int, equity: str | int, **more: Any) -> EquityMark:
    """Return a mark `seconds` after START."""
    return EquityMark(account="a", event_time=at(seconds), equity=Decimal(equity), **_decimals(more))


def session(seconds: int, equity: str | int, number: int, **more: Any) -> SessionOpen:
    """Return the opening of session `number`."""
    more = _decimals(more) | {"session": day(number), "actor": "desk"}
    return SessionOpen(account="a", event_time=at(seconds), equity=Decimal(equity), **more)


def resume(seconds: int) -> Resume:
    """Return an operator's resume."""
    return Resume(account="a", event_time=at(seconds), actor="ann", reason="looked into it")


def halt(seconds: int) -> OperatorHalt:
    """Return an operator's halt."""
    return OperatorHalt(account="a", event_time=at(seconds), actor="bob", reason="odd prices")


def price(number: str, **more: Any) -> PriceMark:
    """Return what a tick says of a symbol."""
    return PriceMark(price=Decimal(number), **_decimals(more))


def _decimals(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: Decimal(value) if isinstance(value, str) else value for name, value in fields.items()}


@exact
def feed(drawdown: Drawdown, *ticks: Tick, offset: int = 0) -> Drawdown:
    """Fold `ticks` at successive offsets."""
    for number, tick in enumerate(ticks, offset):
        drawdown.fold(tick, offset=number, event_time=tick.event_time)
    return drawdown


def after(*ticks: Tick) -> Drawdown:
    """Return the state after `ticks`, the first at offset 0."""
    return feed(Drawdown(), *ticks)


@exact
def standing(drawdown: Drawdown, limits: Limits = LIMITS) -> Assessment:
    """Return the account's status under `limits`."""
    return assess(drawdown, limits)


def status(drawdown: Drawdown, limits: Limits = LIMITS) -> AccountStatus:
    """Return the status alone."""
    return standing(drawdown, limits).status


def loss(pair: Pair | None) -> tuple[Decimal, Decimal] | None:
    """Return a pair without its place."""
    return None if pair is None else (pair.loss, pair.base)


def money(*numbers: str | int) -> tuple[Decimal, ...]:
    """Return decimals."""
    return tuple(map(Decimal, numbers))


NORMAL, WARNING, HALT = AccountStatus.NORMAL, AccountStatus.WARNING, AccountStatus.HALT


# Golden cases


def test_golden_18_the_halt_is_at_exactly_ten_percent() -> None:
    """In float64 the loss is 0.09999999999999998, and the account would go on trading."""
    path = mark(0, 10_000), mark(1, 10_500)
    assert loss(after(*path, mark(2, 9450)).session.worst) == money(1050, 10_500)
    assert standing(after(*path, mark(2, 9450))) == (
        HALT,
        (HaltCause.DRAWDOWN_SESSION,),
        {HaltCause.DRAWDOWN_SESSION: 2},
    )
    assert status(after(*path, mark(2, "9450.000000000001"))) is WARNING
    assert status(after(*path, mark(2, 9975))) is WARNING
    assert status(after(*path, mark(2, "9975.000000000001"))) is NORMAL


def test_golden_19_recovery_ends_no_halt_and_resume_does() -> None:
    """A peak that re-bases itself would quietly forgive the loss."""
    state = after(mark(0, 10_000), mark(1, 10_500), mark(2, 9450), mark(3, 10_200))
    assert status(state) is HALT
    feed(state, resume(4), offset=4)
    assert standing(state) == (NORMAL, (), {})
    assert state.session.peak == 10_200
    path = {"9690.01": NORMAL, "9690": WARNING, "9180.01": WARNING, "9180": HALT}
    assert {e: status(feed(state, mark(5 + n, e))) for n, e in enumerate(path)} == path


def test_golden_20_a_deposit_hides_no_loss() -> None:
    """Without the flow adjustment the account looks better than ever."""
    state = after(mark(0, 10_000, net_deposits="700"), mark(1, 14_250, net_deposits="5700"))
    assert loss(state.session.current) == money(750, 15_000)
    assert standing(state) == (WARNING, (HaltCause.DRAWDOWN_SESSION,), {HaltCause.DRAWDOWN_SESSION: 1})
    assert loss(state.daily.current) == money(750, 10_000)


def test_golden_22_one_bad_tick_halts_nobody_and_two_do() -> None:
    """The second tick near the first bad one makes it true."""
    state = after(mark(0, 100_000), mark(1, 60_000))
    assert (state.unconfirmed, state.equity, status(state)) == (True, Decimal(100_000), NORMAL)
    feed(state, mark(2, 99_800), offset=2)
    assert (state.unconfirmed, state.equity, status(state)) == (False, Decimal(99_800), NORMAL)
    feed(state, mark(3, 60_000), mark(4, 59_000), offset=3)
    assert (state.unconfirmed, state.equity) == (False, Decimal(59_000))
    assert standing(state) == (HALT, (HaltCause.DRAWDOWN_SESSION,), {HaltCause.DRAWDOWN_SESSION: 4})


def test_golden_23_the_daily_loss_is_enforced() -> None:
    """Six percent since the open halts, where the drawdown alone would only warn."""
    limits = Limits(daily_loss_halt=Decimal("0.06"))
    state = after(mark(0, 10_000), mark(1, 9400))
    assert standing(state, limits) == (HALT, (HaltCause.DAILY_LOSS,), {HaltCause.DAILY_LOSS: 1})
    assert status(after(mark(0, 10_000), mark(1, "9400.01")), limits) is WARNING


# Pairs and resets


def test_the_first_tick_is_a_reset_and_makes_no_pair() -> None:
    """Nothing has been lost before there was something."""
    state = after(mark(0, 100))
    assert {measure.current or measure.worst for measure in (state.session, state.high_water, state.daily)} == {None}
    assert (state.session.peak, state.high_water.peak, state.daily.open) == money(100, 100, 100)


def test_the_worst_pair_is_the_largest_share_not_the_largest_sum() -> None:
    """5 of 100 is worse than 6 of 130, and on a tie the earlier stays."""
    state = after(mark(0, 100), mark(1, 95), mark(2, 110), mark(3, 130), mark(4, 124))
    assert (loss(state.session.worst), loss(state.session.current)) == (money(5, 100), money(6, 130))
    feed(state, mark(5, "123.5"), offset=5)  # 6.5 of 130, the same share
    assert state.session.worst == Pair(Decimal(5), Decimal(100), 1, at(1))


def test_a_gain_since_the_open_is_a_negative_loss() -> None:
    """The daily pair says so, and reaches no threshold."""
    state = after(mark(0, 100), mark(1, 110), mark(2, 104))
    assert (loss(state.daily.worst), loss(state.daily.current)) == (money(-4, 100), money(-4, 100))


def test_session_open_restarts_session_and_day_but_not_the_high_water() -> None:
    """Its own tick makes a pair only for the measure that no session resets."""
    state = after(mark(0, 100), mark(1, 85), session(2, 84, 0))
    assert status(state) is NORMAL
    assert (state.session.peak, state.daily.open) == money(84, 84)
    assert state.session.worst is state.daily.worst is None
    assert standing(state, EVERY_LIMIT) == (
        WARNING,
        (HaltCause.DRAWDOWN_HIGH_WATER,),
        {HaltCause.DRAWDOWN_HIGH_WATER: 2},
    )
    feed(state, mark(3, 80), offset=3)
    assert standing(state, EVERY_LIMIT) == (
        HALT,
        (HaltCause.DRAWDOWN_HIGH_WATER,),
        {HaltCause.DRAWDOWN_HIGH_WATER: 3},
    )


def test_session_open_may_keep_the_halts() -> None:
    """Peak and open start anew, the worst pairs stay, so the account stays halted."""
    state = after(mark(0, 100), mark(1, 85), session(2, 84, 0, clear_halts=False))
    assert (state.session.peak, state.daily.open) == money(84, 84)
    assert state.session.current is state.daily.current is None
    assert (loss(state.session.worst), loss(state.daily.worst)) == (money(15, 100), money(15, 100))
    assert status(state) is HALT


def test_all_causes_are_named_and_sorted() -> None:
    """Each with the tick of its own worst pair."""
    state = after(mark(0, 1000), mark(1, 820), session(2, 830, 0), mark(3, 700), mark(4, 720), halt(5))
    assert standing(state, EVERY_LIMIT) == (
        HALT,
        (
            HaltCause.DAILY_LOSS,
            HaltCause.DRAWDOWN_HIGH_WATER,
            HaltCause.DRAWDOWN_SESSION,
            HaltCause.OPERATOR,
        ),
        {
            HaltCause.DAILY_LOSS: 3,
            HaltCause.DRAWDOWN_HIGH_WATER: 3,
            HaltCause.DRAWDOWN_SESSION: 3,
            HaltCause.OPERATOR: 5,
        },
    )
    assert list(standing(state, EVERY_LIMIT).causes) == sorted(HaltCause)


def test_a_threshold_applies_to_what_has_happened() -> None:
    """The table knows no thresholds: a stricter profile finds the loss, a laxer one lifts the halt."""
    state = after(mark(0, 100), mark(1, 91), mark(2, 100))
    assert status(state) is NORMAL
    assert status(state, Limits(drawdown_halt=Decimal("0.09"))) is HALT
    state = after(mark(0, 100), mark(1, 89), mark(2, 100))
    assert (status(state), status(state, Limits(drawdown_halt=Decimal("0.12")))) == (HALT, NORMAL)


# Repeats and old records


def test_an_old_mark_moves_nothing() -> None:
    """Neither one of the same time nor an older one, whether the last tick was confirmed or not."""
    for last in (mark(5, 99), mark(5, 50)):
        state = after(mark(0, 100), last)
        before = state.row(HEAD)
        feed(state, mark(5, 70), mark(4, 70, cash="1", marks={"SPY": price("1")}), offset=2)
        assert (state.row(HEAD), state.marks) == (before, {})


@pytest.mark.parametrize(
    ("number", "opens"), [(1, True), (0, False), (-1, False), (2, True), (3, False), (400, False)]
)
def test_a_session_opens_once_and_within_two_days_of_its_date(*, number: int, opens: bool) -> None:
    """What is no later session, or far from its own date, is a plain mark."""
    state = after(session(0, 100, 0), mark(1, 95), session(2, 96, number))
    assert state.equity == 96
    assert (loss(state.session.worst), state.last_session) == (
        (None, day(number)) if opens else (money(5, 100), day(0))
    )


def test_a_session_may_be_two_days_older_than_its_record_and_no_more() -> None:
    """Counted in UTC dates."""
    assert after(session(0, 100, -2)).last_session == day(-2)
    assert after(session(0, 100, -3)).last_session == ""


def test_a_late_session_open_resets_at_the_equity_known() -> None:
    """Its own values are old; a repeat of it changes nothing."""
    late = session(1, 80, 0, cash="7")
    state = after(mark(0, 100), mark(2, 95))
    state.dirty.clear()
    version = state.version
    feed(state, late, offset=2)
    assert (state.version > version, state.dirty) == (True, {HEAD})
    assert (state.equity, state.session.peak, state.daily.open) == money(95, 95, 95)
    assert (state.session.worst, state.cash, state.equity_time) == (None, None, at(2))
    assert state.high_water.peak == 100
    feed(state, mark(3, 94), offset=3)
    before = state.row(HEAD)
    assert feed(state, late, offset=4).row(HEAD) == before


def test_resume_needs_to_be_newer_than_what_it_ends() -> None:
    """A resume that was sent before the loss, or before the halt, cannot have meant it."""
    losing = mark(0, 100), mark(5, 80)
    assert status(after(*losing, resume(4))) is HALT
    assert status(after(*losing, resume(5))) is NORMAL
    assert status(after(mark(0, 100), halt(5), resume(4))) is HALT
    assert status(after(mark(0, 100), halt(5), resume(5))) is NORMAL
    assert status(after(halt(5), resume(6))) is NORMAL


def test_resume_looks_at_the_worst_pair_of_every_measure() -> None:
    """The session's is gone since the opening, the high water's is not."""
    assert after(mark(0, 100), mark(5, 90), session(6, 91, 0), resume(4)).last_resume is None
    assert after(mark(0, 100), mark(5, 90), session(6, 91, 0), resume(5)).last_resume is not None


def test_resume_restarts_every_measure() -> None:
    """High water included."""
    state = after(mark(0, 100), mark(1, 70), mark(2, 75), resume(3))
    for measure in (state.session, state.high_water, state.daily):
        assert measure.current is measure.worst is None
    assert (state.session.peak, state.high_water.peak, state.daily.open) == money(75, 75, 75)


def test_the_same_resume_twice_is_one_resume() -> None:
    """Redelivered after a later loss it must not end that one's halt."""
    state = after(mark(0, 100), resume(9), mark(5, 80))
    assert status(state) is HALT
    assert status(feed(state, resume(9), offset=3)) is HALT
    assert status(feed(state, resume(10), offset=4)) is NORMAL


def test_the_newest_halt_is_the_one_in_force() -> None:
    """Whatever the order of arrival; and a halt applies even where it is older than the last resume."""
    for first, second in ((3, 5), (5, 3)):
        state = after(halt(first), halt(second))
        assert state.operator_halt is not None
        assert state.operator_halt.event_time == at(5)
        assert status(feed(state, resume(4), offset=2)) is HALT
        assert status(feed(state, resume(6), offset=3)) is NORMAL
        assert status(feed(state, halt(5), offset=4)) is HALT


def test_a_halt_from_the_future_applies_with_its_records_time() -> None:
    """The caller passes that time; a resume after it works."""
    state = Drawdown()
    state.fold(halt(10_000), offset=0, event_time=at(1))
    assert (state.clock, status(state), status(feed(state, resume(2), offset=1))) == (at(1), HALT, NORMAL)


# Flows


def test_the_first_deposits_seen_are_a_baseline() -> None:
    """Half a million that came years ago is no flow today."""
    state = after(mark(0, 100), mark(1, 99, net_deposits="500000"), mark(2, 99), mark(3, 109, net_deposits="500010"))
    assert (state.session.peak, state.daily.flow) == money("110.10101011", 10)


def test_the_day_counts_its_own_flows_only() -> None:
    """What came in yesterday is in today's open."""
    state = after(mark(0, 100, net_deposits="0"), mark(1, 110, net_deposits="10"), session(2, 111, 0))
    feed(state, mark(3, 116, net_deposits="15"))
    assert (state.daily.flow, loss(state.daily.current)) == (Decimal(5), money(0, 111))


def test_a_withdrawal_fakes_no_loss() -> None:
    """Half the money leaves, nothing is lost."""
    state = after(mark(0, 100, net_deposits="0"), mark(1, 50, net_deposits="-50"))
    assert [loss(m.current) for m in (state.session, state.high_water, state.daily)] == [
        money(0, 50),
        money(0, 50),
        money(0, 100),
    ]


def test_the_peak_is_rounded_up() -> None:
    """A third of a cent in the account's disfavor rather than in its favor."""
    state = after(mark(0, 3, net_deposits="0"), mark(1, "3.1"), mark(2, 3), mark(3, 4, net_deposits="1"))
    assert state.session.peak == Decimal("4.13333334")


@pytest.mark.parametrize(
    ("path", "peak"),
    [
        ((mark(3, -5), mark(4, -6), mark(5, 95, net_deposits="100")), 95),  # from less than nothing
        ((mark(3, 10, net_deposits="-100"),), 10),  # more than everything left
        ((mark(3, 10, net_deposits="-90"),), 10),  # exactly everything left
    ],
)
def test_a_flow_from_or_to_nothing_restarts_the_peak(path: tuple[Tick, ...], peak: int) -> None:
    """There is no ratio to scale by; the worst pair stays."""
    state = after(mark(0, 100, net_deposits="0"), mark(1, 89), mark(2, 90), *path)
    assert (state.session.peak, state.equity) == money(peak, peak)
    assert status(state) is HALT


def test_equity_without_a_positive_base_makes_no_pair() -> None:
    """The open is the first positive equity after the reset."""
    state = after(mark(0, -5), mark(1, -3))
    assert (state.session.current, state.daily.open, state.daily.current) == (None, None, None)
    feed(state, mark(2, 50, net_deposits="0"), mark(3, 60, net_deposits="20"), offset=2)
    assert (loss(state.daily.current), state.session.peak) == (money(10, 50), Decimal(70))


def test_the_first_open_after_a_start_below_zero_ignores_earlier_flows() -> None:
    """The day's flow counts from its open."""
    state = after(mark(0, -5, net_deposits="0"), mark(1, 50, net_deposits="55"), mark(2, 60, net_deposits="60"))
    assert (state.daily.open, state.daily.flow) == money(50, 5)
    assert loss(state.daily.current) == money(-5, 50)


def test_absurd_flows_stop_at_the_greatest_peak() -> None:
    """All is lost, then as much deposited as there was, again and again: the arithmetic must not end."""
    state = after(mark(0, 10**11, net_deposits="0"))
    for number in range(1, 10):
        lost = mark(10 * number, "0.000000000001"), mark(10 * number + 1, "0.000000000001")
        feed(state, *lost, mark(10 * number + 2, 10**11, net_deposits=str(number * 10**11)))
    assert state.high_water.peak == PEAK_MAX
    assert status(state) is HALT


# One bad tick


@pytest.mark.parametrize(
    ("equity", "suspect"), [("120", False), ("120.01", True), ("80", False), ("79.99", True), ("-1", True)]
)
def test_a_tick_is_suspect_beyond_a_fifth(*, equity: str, suspect: bool) -> None:
    """Exactly a fifth is believed."""
    assert after(mark(0, 100), mark(1, equity)).unconfirmed is suspect


def test_the_expected_equity_includes_the_flow() -> None:
    """A deposit explains a jump; a deposit that did not arrive is one."""
    deposited = mark(0, 100, net_deposits="0")
    assert not after(deposited, mark(1, 150, net_deposits="50")).unconfirmed
    assert after(deposited, mark(1, 100, net_deposits="50")).unconfirmed


def test_nothing_of_a_suspect_is_used() -> None:
    """Prices, cash and buying power of a tick that is not believed are not believed either."""
    doubtful = mark(1, 50, cash="1", buying_power="2", marks={"SPY": price("3")}, net_deposits="4")
    state = after(mark(0, 100, cash="10"), doubtful)
    assert (state.cash, state.buying_power, state.marks) == ((Decimal(10), at(-5)), None, {})
    assert (state.net_deposits, state.equity_time, state.clock) == (None, at(0), at(1))
    confirmed = feed(state, mark(2, 51), offset=2)
    assert (confirmed.cash, confirmed.marks) == ((Decimal(10), at(-5)), {})
    assert confirmed.net_deposits == 4


def test_a_suspect_is_replaced_until_two_agree() -> None:
    """Either side of zero counts as agreement only where both are not positive."""
    state = after(mark(0, 100), mark(1, 50), mark(2, 30), mark(3, -1))
    assert state.suspect is not None
    assert state.suspect.equity == -1
    assert feed(state, mark(4, 50), offset=4).unconfirmed
    assert feed(state, mark(5, 0), mark(6, -90), offset=5).equity == -90
    assert loss(state.session.current) == money(190, 100)


def test_the_flow_since_the_suspect_is_expected_too() -> None:
    """60 and then 40 more is 100, not 60."""
    doubtful = mark(0, 200, net_deposits="0"), mark(1, 60, net_deposits="0")
    assert not after(*doubtful, mark(2, 100, net_deposits="40")).unconfirmed
    assert after(*doubtful, mark(2, 60, net_deposits="40")).unconfirmed


def test_a_discarded_suspects_deposits_are_discarded_with_it() -> None:
    """They are not from a snapshot that is believed."""
    state = after(mark(0, 100, net_deposits="0"), mark(1, 10, net_deposits="5"), mark(2, 101))
    assert (state.net_deposits, state.session.peak) == money(0, 101)


def test_where_nothing_is_expected_every_tick_is_believed() -> None:
    """The rule holds while what is expected is positive."""
    assert not after(mark(0, -5), mark(1, 10**6)).unconfirmed


@pytest.mark.parametrize(("ticks_after", "start"), [((90,), 90), ((20, 21), 21), ((20, 40, 90), 90)])
def test_the_reset_of_a_doubtful_session_open_waits(ticks_after: tuple[int, ...], start: int) -> None:
    """For the next believed tick, whether that discards the doubt, confirms it or comes after others."""
    state = after(mark(0, 100), mark(1, 89), session(2, 50, 0))
    for number, equity in enumerate(ticks_after, 3):
        assert (status(state), state.unconfirmed) == (HALT, True)
        feed(state, mark(number, equity), offset=number)
    assert (status(state), state.unconfirmed, state.last_session) == (NORMAL, False, day(0))
    assert (state.session.peak, state.daily.open) == money(start, start)


@pytest.mark.parametrize("first", [True, False])
def test_a_late_session_open_waits_with_the_suspect(*, first: bool) -> None:
    """An equity in doubt is nothing to start from; of two waiting resets the clearing one counts."""
    waiting = (session(4, 70, 0, clear_halts=first), session(4, 70, 1, clear_halts=not first))
    state = after(mark(0, 100), mark(3, 89), mark(5, 50), *waiting)
    assert (status(state), state.session.peak) == (HALT, Decimal(100))
    feed(state, mark(6, 88), offset=5)
    assert (status(state), state.session.peak) == (NORMAL, Decimal(88))
    assert state.session.worst is None


# Values


def test_cash_and_buying_power_keep_the_time_they_came_with() -> None:
    """Absent means unchanged; fills after that time are not in them yet."""
    state = after(mark(0, 100, cash="-3", fills_through=at(-1)), mark(10, 100, buying_power="50"), mark(20, 100))
    assert state.cash == (Decimal(-3), at(-1))
    assert state.buying_power == (Decimal(50), at(5))


def test_each_price_and_atr_is_as_new_as_its_own_time() -> None:
    """A newer tick may carry an older price; it changes nothing."""
    state = after(mark(10, 100, marks={"SPY": price("400", atr="5")}))
    assert state.marks == {"SPY": Mark(Decimal(400), at(10), Decimal(5), at(10))}
    feed(state, mark(20, 100, marks={"SPY": price("390", price_time=at(9), atr="6", atr_time=at(11))}))
    assert state.marks == {"SPY": Mark(Decimal(400), at(10), Decimal(6), at(11))}
    feed(state, mark(30, 100, marks={"SPY": price("395", price_time=at(29), atr="7", atr_time=at(11))}))
    assert state.marks == {"SPY": Mark(Decimal(395), at(29), Decimal(6), at(11))}
    feed(state, mark(35, 100, marks={"SPY": price("1", price_time=at(29))}))
    assert state.marks == {"SPY": Mark(Decimal(395), at(29), Decimal(6), at(11))}
    feed(state, mark(40, 100, marks={"SPY": price("396"), "QQQ": price("300")}))
    assert state.marks == {
        "SPY": Mark(Decimal(396), at(40), Decimal(6), at(11)),
        "QQQ": Mark(Decimal(300), at(40), None, 0),
    }
    feed(state, mark(50, 100, marks={"QQQ": price("300", atr="2", atr_time=at(3))}))
    assert state.marks["QQQ"] == Mark(Decimal(300), at(50), Decimal(2), at(3))


def test_marks_over_a_week_old_are_forgotten() -> None:
    """At seven days they are still known; an older one is not even learned."""
    week = 7 * 86_400
    state = after(mark(0, 100, marks={"SPY": price("400"), "QQQ": price("300", price_time=at(-1))}))
    feed(state, mark(week, 100))
    assert set(state.marks) == {"SPY"}
    state.dirty.clear()
    feed(state, halt(week + 1))
    assert (state.marks, state.dirty, state.row("mSPY")) == ({}, {HEAD, "mSPY"}, None)
    feed(state, mark(2 * week, 100, marks={"OLD": price("1", price_time=at(week - 1))}))
    assert state.marks == {}


# Properties


STEPS = st.lists(st.integers(min_value=-19, max_value=19), min_size=1, max_size=40)


@settings(deadline=None, max_examples=60)
@given(STEPS)
def test_without_resets_and_flows_it_is_the_textbook_drawdown(percents: list[int]) -> None:
    """The incremental pairs equal the definition over the whole path."""
    path = list(accumulate(percents, lambda e, p: max(e * (100 + p) // 100, 100), initial=10**9))
    assume(all(5 * abs(b - a) <= a for a, b in pairwise(path)))
    state = after(*(mark(number, equity) for number, equity in enumerate(path)))

    peaks = np.maximum.accumulate(path)
    shares = [Fraction(int(peak - e), int(peak)) for peak, e in zip(peaks, path, strict=True)][1:]
    for measure in (state.session, state.high_water):
        assert measure.worst is not None
        assert measure.current is not None
        assert Fraction(measure.current.loss) / Fraction(measure.current.base) == shares[-1]
        assert Fraction(measure.worst.loss) / Fraction(measure.worst.base) == max(shares)
        assert measure.worst.offset == 1 + shares.index(max(shares))
    assert state.daily.worst is not None
    assert loss(state.daily.worst) == money(path[0] - min(path[1:]), path[0])
    assert state.daily.worst.offset == 1 + path[1:].index(min(path[1:]))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(-19, 19), st.integers(-90, 400).filter(lambda p: p % 3 == 0)), min_size=1, max_size=25
    )
)
def test_flows_change_no_drawdown(steps: list[tuple[int, int]]) -> None:
    """The drawdown is that of the index of returns, whatever flowed in or out; rounding only overstates it."""
    equity, deposits, index, peak = Fraction(10**6), 0, Fraction(1), Fraction(1)
    state = after(mark(0, 10**6, net_deposits="0"))
    for number, (percent, flow_percent) in enumerate(steps, 1):
        flow = int(equity * flow_percent / 100)
        expected = equity + flow
        equity = Fraction(int(expected * (100 + percent) / 100))
        assume(10**4 <= equity <= 10**11)
        assume(5 * abs(equity - expected) <= expected)
        deposits += flow
        index *= equity / expected
        peak = max(peak, index)
        feed(state, mark(number, int(equity), net_deposits=str(deposits)))

    assert not state.unconfirmed
    pair = state.high_water.current
    assert pair is not None
    assert 0 <= Fraction(pair.loss) / Fraction(pair.base) - (1 - index / peak) < Fraction(1, 10**9)


ORDINARY = ("100", "101", "119.5", "99", "85.000000000001", "80", "60", "59")
EXTREME = ("0", "-1", "-90", "0.000000000001", "999999999999.999999999999", "-999999999999.999999999999")
NUMBERS = st.sampled_from(ORDINARY + EXTREME)
SECONDS = st.one_of(st.integers(0, 40), st.integers(0, 20 * 86_400))


@st.composite
def ticks(draw: st.DrawFn) -> Tick:
    """Any message, mostly of a time near the others."""
    seconds = draw(SECONDS)
    kind = draw(st.sampled_from(["mark", "mark", "mark", "mark", "open", "resume", "halt"]))
    if kind == "resume":
        return resume(seconds)
    if kind == "halt":
        return halt(seconds)
    more: dict[str, Any] = {
        "net_deposits": draw(st.none() | NUMBERS),
        "cash": draw(st.none() | NUMBERS),
        "marks": draw(
            st.dictionaries(
                st.sampled_from(["SPY", "m", "x"]),
                st.builds(
                    price,
                    st.sampled_from(["1", "2.50"]),
                    price_time=st.integers(0, seconds).map(at) | st.none(),
                    atr=st.none() | st.just("0.10"),
                    atr_time=st.integers(0, seconds).map(at) | st.none(),
                ),
                max_size=2,
            )
        ),
    }
    if kind == "mark":
        return mark(seconds, draw(NUMBERS), **more)
    number = seconds // 86_400 + draw(st.integers(-3, 3))
    return session(seconds, draw(NUMBERS), number, clear_halts=draw(st.booleans()), **more)


class Store:
    """Rows as a checkpoint keeps them: only what is dirty is written, as JSON."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}

    def save(self, state: Drawdown) -> None:
        """Write what changed."""
        for key in state.dirty:
            row = state.row(key)
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = orjson.dumps(row)
        state.dirty.clear()

    def load(self) -> Drawdown:
        """Rebuild the state."""
        return Drawdown.from_rows({key: orjson.loads(row) for key, row in self.rows.items()})


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(ticks(), st.booleans()), max_size=30))
def test_a_restart_is_invisible_and_nothing_raises(steps: list[tuple[Tick, bool]]) -> None:
    """Whatever the messages, a state rebuilt from its rows goes on as if nothing had happened."""
    lasting, restarted, store = Drawdown(), Drawdown(), Store()
    for offset, (tick, restart) in enumerate(steps):
        feed(lasting, tick, offset=offset)
        feed(restarted, tick, offset=offset)
        store.save(restarted)
        if restart:
            restarted = store.load()
        assert restarted == lasting
        assert restarted.row(HEAD) == lasting.row(HEAD)
        assert standing(restarted, EVERY_LIMIT) == standing(lasting, EVERY_LIMIT)
        assert all(lasting.clock - m.price_time <= 7 * DAY_NS for m in lasting.marks.values())
        assert lasting.clock == max(t.event_time for t, _ in steps[: offset + 1])


@settings(deadline=None, max_examples=80)
@given(st.lists(ticks(), max_size=25), ticks())
def test_a_repeat_changes_nothing(before: list[Tick], tick: Tick) -> None:
    """Any record folded a second time, at another offset, leaves the state, its rows and its version alone."""
    state = after(*before, tick)
    again = after(*before, tick)
    again.dirty.clear()
    version = again.version
    feed(again, tick, offset=99)
    assert (again, again.version, again.dirty) == (state, version, set())


@settings(deadline=None, max_examples=50)
@given(st.lists(ticks(), max_size=15), st.lists(ticks(), max_size=15))
def test_only_a_command_ends_a_halt(before: list[Tick], later: list[Tick]) -> None:
    """No mark and no further halt does, whatever it says."""
    month = 30 * 86_400
    state = after(*before, *(mark(month + number, equity) for number, equity in enumerate((100, 100, 85))))
    for tick in later:
        causes = standing(state, EVERY_LIMIT).causes
        assert HaltCause.DRAWDOWN_SESSION in causes
        if isinstance(tick, EquityMark | OperatorHalt):
            feed(state, tick.model_copy(update={"event_time": tick.event_time + 31 * DAY_NS}), offset=60)
        assert set(causes) <= set(standing(state, EVERY_LIMIT).causes)


def test_adjustments_touch_their_symbols_when_they_are_applied() -> None:
    state, touched = Drawdown(), []
    for seconds in (1, 1, 2):  # the second is a repeat
        said: dict[str, Any] = {"actor": "ann", "reason": "a split", "fills_through": at(seconds), "positions": {}}
        adjusted = Statement(account="a", event_time=at(seconds), adjustments={"SPY": Decimal(3)}, **said)
        state.touched.forget()
        state.fold(adjusted, offset=seconds, event_time=adjusted.event_time)
        touched.append({*state.touched.symbols})
    assert (touched, state.adjustments) == ([{"SPY"}, set(), {"SPY"}], {"SPY": 6})


@settings(deadline=None, max_examples=50)
@given(st.lists(ticks(), max_size=25))
def test_the_version_follows_what_is_assessed(messages: list[Tick]) -> None:
    """A cache keyed by the version never shows an older answer, nor one of symbols that were not touched."""
    state = Drawdown()
    known: dict[int, Assessment] = {}
    for offset, tick in enumerate(messages):
        state.touched.forget()
        marks, adjustments = {**state.marks}, {**state.adjustments}
        feed(state, tick, offset=offset)
        answer = standing(state, EVERY_LIMIT)
        assert known.setdefault(state.version, answer) == answer
        assert {name for name, _ in marks.items() ^ state.marks.items()} <= state.touched.marks
        assert {name for name, _ in adjustments.items() ^ state.adjustments.items()} <= state.touched.symbols

"""The demo's screen at the sizes people have, and its plain lines."""

import io
import re
from decimal import Decimal
from functools import partial
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from models.decisions import AccountStatus, DecisionStatus
from models.messages import KillMode
from models.reasons import Flag
from streams.access import Layout
from streams.config import Settings
from streams.demo.board import AccountView, Audience, Board, Loss
from streams.demo.cast import CAST
from streams.demo.market import Market
from streams.demo.run import percentiles, summary
from streams.demo.screen import Firsts, LiveScreen, PlainScreen, bar, evidence
from streams.demo.tape import ACTS, load
from streams.records import SHARED_INPUTS, Names, Record, Topic
from streams.topics import Topics
from tests.streams.audited import audited
from tests.streams.played import played

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def board() -> Board:
    return played().board


def view(account: str) -> AccountView:
    if account == "kelly":
        return AccountView(account)  # before its first tick
    return AccountView(
        account,
        AccountStatus.HALT,
        Decimal("1234567.89"),
        (Loss("session", 0.05, 0.1), Loss("high water", 0.25, 0.2)),
        {"Financials": 0.61, "Energy": 1.2, "US factor: momentum": 0.004},
    )


def drawn(screen: LiveScreen, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(screen, end="")
    return capture.get().split("\n")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (150, 45), (100, 12), (60, 20)])
def test_the_screen_fills_the_terminal_and_no_more(board: Board, width: int, height: int) -> None:
    screen = LiveScreen(board, view, lambda: (1.5, 12.25))
    assert len(drawn(screen, width, height)) == height  # before the curtain
    market = Market(load(ACTS[0]))
    screen.raise_curtain(market)
    screen.turn_to(market.tape.first + 3)
    screen.announce("x" * 200)
    for halt in played().gate.all_halts:
        screen.show(halt)
    lines = drawn(screen, width, height)
    assert len(lines) == height
    assert all(len(line) <= width for line in lines)
    assert "Fri 05 Sep 2008" in lines[0]
    assert f"{len(played().gate.decisions)} decisions" in lines[-1]


def test_an_account_shows_its_status_its_nearest_limit_and_its_heat(board: Board) -> None:
    screen = LiveScreen(board, view, lambda: (0, 0))
    screen.raise_curtain(Market(load(ACTS[0])))
    lines = drawn(screen, 80, 24)
    (row,) = (line for line in lines if " banks " in line[:12])
    assert row.split()[:7] == ["banks", "HALT", "1235k", "████████", "25.0", "/20%", "·"]
    assert row.split()[-3:] == ["·", "120", "·"]
    assert row.split()[8] == "61"
    (row,) = (line for line in lines if " kelly " in line[:12])
    assert row.split()[:3] == ["kelly", "NORMAL", "-"]


def test_a_rejection_shows_its_first_reason_with_numbers() -> None:
    decisions = played().gate.decisions
    told = {evidence(one, every=False) for one in decisions if one.status is DecisionStatus.REJECTED}
    assert any(text.startswith("SECTOR_CONCENTRATION ") and "% > 60%" in text for text in told)
    assert any(text.endswith(" more") for text in told)


def test_an_approved_opening_shows_its_share_and_why_it_is_small() -> None:
    approved = [one for one in played().gate.decisions if one.status is DecisionStatus.APPROVED]
    for one in approved:
        size = r"\d+\.\d% of equity" if one.opening_quantity else ""
        resized = ", resized" if size and Flag.RESIZED in one.warnings else ""
        halved = ", half size on probation" if size and Flag.STRATEGY_PROBATION in one.warnings else ""
        assert re.fullmatch(size + resized + halved, evidence(one))
    largest = max((evidence(one) for one in approved if one.account == "dip-buyer"), default="")
    assert largest.startswith("8.0% of equity")


def test_each_kind_of_decision_is_told_once() -> None:
    firsts, decisions = Firsts(), played().gate.decisions
    told = [line for line in map(firsts.line, decisions) if line is not None]
    kinds = {str(one.reasons[0]) for one in decisions if one.reasons} | {"resized", "half size on probation"}
    for kind in kinds:
        assert len([line for line in told if re.search(rf"[:,] {kind}\b", line)]) == 1, kind
    assert len(told) == len(kinds)
    assert all(firsts.line(one) is None for one in decisions)


def test_bars_grow_by_eighths() -> None:
    assert bar(0, 4) == "    "
    assert bar(0.5, 4) == "██  "
    assert bar(1 / 32, 4) == "▏   "
    assert bar(1, 4) == bar(7, 4) == "████"
    assert bar(-1, 4) == "    "


def test_plain_lines_name_the_day() -> None:
    lines: list[str] = []
    screen = PlainScreen(Board(), lines.append)
    market = Market(load(ACTS[0]))
    screen.raise_curtain(market)
    screen.turn_to(market.tape.first)
    screen.announce("a cue")
    screen.show(played().gate.decisions[0])
    screen.show(played().gate.all_halts[0])
    screen.turn_to(market.tape.first + 1)
    screen.say("done")
    assert lines[0] == "2008: Lehman and after"
    assert lines[1] == "2008-09-02 a cue"
    assert lines[2].startswith("2008-09-02 banks HALT after NORMAL: ")
    assert lines[3].startswith("2008-09-02 S&P 500 1,277.58 -0.41%: ")
    assert lines[4] == "done"


@pytest.mark.parametrize(
    "told",
    [
        [
            r"2008-09-30 pension REJECTED buy [\d,]+ [A-Z]+: VAR_LIMIT \d\.\d% > 1\.0%",
        ],
        [
            r"2008-10-06 risk-desk puts dip-buyer's reversion on probation: halted last week",
            r"2008-10-06 dip-buyer APPROVED buy .*: 4\.0% of equity, half size on probation",
        ],
        [
            r"2008-10-10 kill switch: reductions only, everywhere",
            r"2008-10-10 [a-z-]+ REJECTED buy .*: KILL_SWITCH GLOBAL \*.*",
            r"2008-10-10 S&P 500 .* rejected \(KILL_SWITCH \d+.*",
            r"2008-10-13 kill switch released",
        ],
        [
            r"2020-03-16 kill switch: reductions only, everywhere",
            r"2020-03-16 S&P 500 .* rejected \(KILL_SWITCH \d+.*",
            r"2020-03-17 kill switch released",
        ],
    ],
    ids=["VaR", "probation", "kill switch of 2008", "kill switch of 2020"],
)
def test_plain_lines_tell_the_story(told: list[str]) -> None:
    lines = iter(played().lines)
    for pattern in told:
        assert any(re.fullmatch(pattern, line) for line in lines), pattern


def test_a_screen_keeps_commands_and_decisions_of_a_new_kind_in_sight(board: Board) -> None:
    screen = LiveScreen(board, view, lambda: (0, 0))
    market = Market(load(ACTS[0]))
    screen.raise_curtain(market)
    screen.turn_to(market.tape.sessions.index("2008-10-06"))
    screen.announce("risk-desk puts dip-buyer's reversion on probation: halted last week")
    screen.show(
        next(
            one for one in played().gate.decisions if Flag.STRATEGY_PROBATION in one.warnings and one.opening_quantity
        )
    )
    told = [line for line in drawn(screen, 80, 24) if line.startswith("06 Oct  ")]
    assert told[0].rstrip() == "06 Oct  risk-desk puts dip-buyer's reversion on probation: halted last week"
    assert re.match(r"06 Oct  dip-buyer APPROVED buy .*: 4\.0% of equity, half size", told[1])


@pytest.mark.parametrize(
    ("mode", "admitted"), [(KillMode.REDUCE_ONLY, "reductions only"), (KillMode.ALL, "no order")]
)
@pytest.mark.parametrize("width", [80, 120])
def test_a_kill_switch_stays_on_the_screen_while_it_is_engaged(mode: KillMode, admitted: str, width: int) -> None:
    market = Market(load(ACTS[0]))
    for stopped in (mode, None):
        screen = LiveScreen(Board(), partial(AccountView, stopped=stopped), lambda: (0, 0))
        screen.raise_curtain(market)
        lines = drawn(screen, width, 24)
        assert any(f"KILL SWITCH: {admitted}" in line for line in lines) is (stopped is mode)
        assert {len(line) for line in lines} == {width}


def test_the_audience_sees_which_accounts_a_kill_switch_stops() -> None:
    settings = Settings()
    audience = Audience(settings, Layout(Names(Topics.of(settings)), 1))
    for topic in SHARED_INPUTS:
        for record in played().gate.log[topic]:
            audience._fold(record)
    switch = {"kind": "kill_switch", "actor": "risk-desk", "reason": "a test", "event_time": 2 * 10**18}
    for offset, (fields, stopped) in enumerate(
        [
            ({"scope": "ACCOUNT", "target": "tech", "mode": "ALL", "engaged": True}, ["tech"]),
            ({"scope": "GLOBAL", "mode": "REDUCE_ONLY", "engaged": True}, [trader.account for trader in CAST]),
        ]
    ):
        value = orjson.dumps({**switch, **fields})
        audience._fold(Record(Topic.REFERENCE, 0, 10**6 + offset, 2 * 10**18, None, value))
        views = [audience.view(trader.account) for trader in CAST]
        assert [view.name for view in views if view.stopped is not None] == stopped
    assert next(view.stopped for view in views if view.name == "tech") is KillMode.ALL
    assert next(view.stopped for view in views if view.name == "banks") is KillMode.REDUCE_ONLY


def test_the_readme_shows_what_is_played(board: Board) -> None:
    """Each line of its sample is one that a run prints; latency and time are those of the run it was taken from."""
    sample = README.partition("$ make demo")[2].partition("```text\n")[2].partition("```")[0].splitlines()
    said = {*played().lines, *summary(board, [], 0), audited(dict(played().gate.log)).summary}
    shown = [line for line in sample if line.strip() != "..." and not re.match("latency |time ", line)]
    assert len(shown) > 10
    assert [line for line in shown if line not in said] == []


def test_the_summary_counts_what_the_board_saw(board: Board) -> None:
    text = "\n".join(summary(board, [0.001 * number for number in range(1, 101)], 83.2))
    assert f"intents    {len(played().gate.decisions):6}" in text
    assert f"approved   {board.counts[DecisionStatus.APPROVED]:6}" in text
    assert "p50 51.0 ms, p99 100.0 ms" in text
    for reason, number in board.reasons.items():
        assert f"{number:5} {reason}" in text
    assert percentiles([]) == (0, 0)

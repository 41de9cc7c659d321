"""The demo's screen at the sizes people have, and its plain lines."""

import io
from collections.abc import Iterator
from decimal import Decimal

import pytest
from rich.console import Console

from models.decisions import AccountStatus, DecisionStatus
from streams.demo.board import AccountView, Board, Loss
from streams.demo.market import Market
from streams.demo.run import percentiles, summary
from streams.demo.screen import LiveScreen, PlainScreen, bar, evidence
from streams.demo.tape import ACTS, load
from streams.records import Topic
from tests.streams.played import played


@pytest.fixture(scope="module")
def board() -> Board:
    board = Board()
    log = played().gate.log
    for topic in (Topic.RISK_DECISIONS, Topic.TRADING_HALTS, Topic.DEAD_LETTERS):
        for record in log[topic]:
            board.take(record)
    return board


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
    assert "1030 decisions" in lines[-1]


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
    assert {evidence(one) for one in decisions if one.status is DecisionStatus.APPROVED} == {"", "resized"}


def test_bars_grow_by_eighths() -> None:
    assert bar(0, 4) == "    "
    assert bar(0.5, 4) == "██  "
    assert bar(1 / 32, 4) == "▏   "
    assert bar(1, 4) == bar(7, 4) == "████"
    assert bar(-1, 4) == "    "


def plain_lines() -> Iterator[str]:
    lines: list[str] = []
    board = Board()
    screen = PlainScreen(board, lines.append)
    market = Market(load(ACTS[0]))
    screen.raise_curtain(market)
    screen.turn_to(market.tape.first)
    screen.announce("a cue")
    screen.show(played().gate.decisions[0])
    screen.show(played().gate.all_halts[0])
    screen.turn_to(market.tape.first + 1)
    screen.say("done")
    yield from lines


def test_plain_lines_name_the_day() -> None:
    lines = list(plain_lines())
    assert lines[0] == "2008: Lehman and after"
    assert lines[1] == "2008-09-02 a cue"
    assert lines[2].startswith("2008-09-02 banks HALT after NORMAL: ")
    assert lines[3].startswith("2008-09-02 S&P 500 1,277.58 -0.41%: ")
    assert lines[4] == "done"


def test_the_summary_counts_what_the_board_saw(board: Board) -> None:
    text = "\n".join(summary(board, [0.001 * number for number in range(1, 101)], 83.2))
    assert "intents      1030" in text
    assert f"approved   {board.counts[DecisionStatus.APPROVED]:6}" in text
    assert "p50 51.0 ms, p99 100.0 ms" in text
    for reason, number in board.reasons.items():
        assert f"{number:5} {reason}" in text
    assert percentiles([]) == (0, 0)

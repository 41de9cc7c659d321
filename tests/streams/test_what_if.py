"""What would have been: an example computed by hand, the rules one by one, and laws on the demo's log."""

import asyncio
import io
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from models.canonical import SECOND_NS
from models.decisions import RiskDecision
from models.limits import Limits
from models.messages import EQUITY_TICK, REFERENCE, ExecutionType, Fill, OrderIntent, Side
from streams import cli
from streams.cli.what_if import parts
from streams.hindsight.other_world import OtherLimits, Placed, WhatIfError, proportion
from streams.hindsight.spans import EVER, Span, span_of
from streams.hindsight.tally import POINTS_MAX, Point
from streams.hindsight.tally import Path as Points
from streams.hindsight.what_if import WAYS, AccountOutcome, WhatIf, _Partition, _Told, replayed
from streams.hindsight.what_if_page import render, scale_of
from tests.golden.test_golden import LOGS, read
from tests.streams.in_process_gate import InProcessGate
from tests.streams.pasts import MemoryPast
from tests.streams.played import played

PLAYED = MemoryPast(played().gate.log)
CRASH = span_of("2008-01-01", "2008-12-31")
NOON = 1_725_364_800 * SECOND_NS
HALF = Limits(entry_max=Decimal("0.05"))


def compared(past: MemoryPast, limits: Limits, **options: Any) -> WhatIf:
    return asyncio.run(replayed(past, OtherLimits.of(limits, whole=options.pop("whole", False)), **options))


@cache
def halted_at_five_percent() -> WhatIf:
    """The demo's 2008 with a halt at 5 %."""
    return compared(PLAYED, Limits(drawdown_halt=Decimal("0.05")), span=CRASH)


class Story:
    """One account, one symbol, and the gate's answers as they come. Every record is a second after the last."""

    def __init__(self, account: str = "A") -> None:
        self.gate = InProcessGate()
        self.account = account
        self.now = NOON
        said = {"event_time": self.now, "actor": "ops", "reason": "test"}
        for record in (
            {"kind": "limit_profile", "profile_id": "p", "profile_version": 1, "sizing_method": "NONE"},
            {"kind": "account", "account": "*", "profile_id": "p", "currency": "USD"},
            {"kind": "instrument", "symbol": "*", "currency": "USD"},
            {"kind": "strategy", "strategy": "*", "account": "*", "state": "ENABLED"},
        ):
            self._tell(REFERENCE.validate_json(orjson.dumps({**said, **record})))

    def _tell(self, message: Any) -> None:
        asyncio.run(self.gate.tell([message]))

    def _next(self) -> int:
        self.now += SECOND_NS
        return self.now

    def mark(self, equity: str, cash: str, price: str = "100") -> None:
        fields = {"kind": "mark", "account": self.account, "event_time": self._next(), "fills_through": self.now}
        fields |= {"equity": equity, "cash": cash, "marks": {"X": {"price": price}}}
        self._tell(EQUITY_TICK.validate_json(orjson.dumps(fields)))

    def ask(self, intent_id: str, side: str, quantity: str | None, **fields: Any) -> None:
        decision = self.asked(intent_id, side, quantity, **fields)
        assert decision.status == "APPROVED", decision.reasons

    def asked(self, intent_id: str, side: str, quantity: str | None, **fields: Any) -> RiskDecision:
        asked: dict[str, object] = {
            "intent_id": intent_id,
            "account": self.account,
            "strategy": "s",
            "symbol": "X",
            "side": side,
        }
        asked |= {"quantity": quantity, "order_type": "MARKET", "event_time": self._next()}
        intent = OrderIntent.model_validate_json(orjson.dumps({**asked, **fields}))
        return asyncio.run(self.gate.ask([intent]))[0]

    def fill(self, intent_id: str | None, side: str, quantity: str, price: str, **fields: Any) -> None:
        report: dict[str, object] = {
            "execution_id": f"x{self.now}",
            "account": self.account,
            "symbol": "X",
            "side": side,
            "fee": "1",
        }
        report |= {"intent_id": intent_id, "execution_type": "TRADE", "last_quantity": quantity, "last_price": price}
        self._tell(Fill.model_validate_json(orjson.dumps({**report, "event_time": self._next(), **fields})))

    def told(self, limits: Limits, **options: Any) -> tuple[WhatIf, AccountOutcome]:
        made = compared(MemoryPast(self.gate.log), limits, **options)
        (account,) = made.accounts
        return made, account


def counts(made: WhatIf) -> list[int]:
    assert [flips.way for flips in made.flips] == list(WAYS)
    return [flips.count for flips in made.flips]


def round_trip(*, allow_resize: bool = True) -> Story:
    """Buy 100 at 100 in two parts, mark at 90, sell all at 90; each execution costs a fee of 1.

    History: 100,000 less 10,000 and two fees; at 90 it is worth 98,998; sold, 98,997.
    """
    story = Story()
    story.mark("100000", "100000")
    story.ask("b", "BUY", "100", allow_resize=allow_resize)
    story.fill("b", "BUY", "60", "100")
    story.fill("b", "BUY", "40", "100")
    story.mark("98998", "89998", "90")
    story.ask("s", "SELL", "100")
    story.fill("s", "SELL", "100", "90")
    story.mark("98997", "98997", "90")
    return story


def test_half_the_size_by_hand() -> None:
    """30 and 20 units instead of 60 and 40, fees in proportion: 100,000 - 500 - 1 at 90, and - 0.5 when sold."""
    made, account = round_trip().told(HALF)
    assert counts(made) == [0, 0, 2, 0]
    (_, first, second) = account.path[-3:]
    assert [point.was for point in account.path[-2:]] == [Decimal(98998), Decimal(98997)]
    assert (first.would, second.would) == (Decimal(99499), Decimal("99498.5"))
    assert (account.was.profit, account.would.profit) == (Decimal(-1003), Decimal("-501.5"))
    assert (account.saved, account.cost) == (Decimal("501.5"), 0)
    assert (account.was.drawdown, account.would.drawdown) == (Decimal("0.010030"), Decimal("0.005015"))
    assert (account.was.exposure, account.would.exposure) == (10000, 5000)
    assert account.episodes == 1


def test_half_the_size_dropped_by_hand() -> None:
    """By the rule drop the whole purchase vanishes, and the exit finds nothing to close."""
    made, account = round_trip().told(HALF, drop=True)
    assert counts(made) == [0, 0, 1, 1]
    assert (account.would.profit, account.saved, account.cost) == (0, 1003, 0)
    assert account.path[-1].would == 100000


@pytest.mark.parametrize("drop", [False, True])
def test_a_rejection_by_hand(drop: bool) -> None:
    made, account = round_trip(allow_resize=False).told(HALF, drop=drop)
    assert counts(made) == [1, 0, 0, 1]
    assert made.flips[0].examples[0].reasons == ("SIZE_EXCEEDS_CAP",)
    assert {each.reason: (each.was, each.would) for each in made.reasons} == {"SIZE_EXCEEDS_CAP": (0, 1)}
    assert (account.was.profit, account.would.profit) == (-1003, 0)
    assert (account.would.approved, account.would.rejected) == (0, 1)
    assert account.saved - account.cost == 1003


def test_what_was_not_sold_at_the_end_is_worth_the_last_price() -> None:
    story = Story()
    story.mark("100000", "100000")
    story.ask("b", "BUY", "100", allow_resize=True)
    story.fill("b", "BUY", "100", "100")
    story.mark("101999", "89999", "120")
    _, account = story.told(HALF)
    assert (account.saved, account.cost) == (0, Decimal("999.5"))
    assert account.would.profit == Decimal("999.5")


def test_an_equity_tick_does_not_know_fills_after_its_figures() -> None:
    story = Story()
    story.mark("100000", "100000")
    story.ask("b", "BUY", "100", allow_resize=True)
    story.fill("b", "BUY", "100", "100")
    # As of before the fill, though it comes after it: nothing of the difference is in it.
    tick = {"kind": "mark", "account": "A", "event_time": story._next(), "fills_through": story.now - 5 * SECOND_NS}
    tick |= {"equity": "100000", "marks": {"X": {"price": "100"}}}
    story._tell(EQUITY_TICK.validate_json(orjson.dumps(tick)))
    _, account = story.told(HALF)
    assert account.path[-1] == Point(story.now, Decimal(100000), Decimal(100000))


def test_an_exit_closes_at_most_what_is_held_and_all_of_it_where_all_was_closed() -> None:
    story = Story()
    story.mark("100000", "100000")
    story.ask("b", "BUY", "100", allow_resize=True)
    story.fill("b", "BUY", "100", "100")
    story.ask("s1", "SELL", "30")
    story.fill("s1", "SELL", "30", "100")
    story.ask("s2", "SELL", "70")
    story.fill("s2", "SELL", "70", "100")
    story.mark("99997", "99997")
    made, account = story.told(HALF)
    resized = {each.intent_id: each.would for each in made.flips[2].examples}
    assert resized == {"b": 50, "s2": 20}  # 30 of 50, then all that is left
    # The fees: half of the purchase's, all of the first exit's, and 20/70 of the second one's to 12 places.
    assert account.would.profit == -(Decimal("0.5") + 1 + Decimal("0.285714285714"))
    assert account.episodes == 1


def test_trades_without_an_order_stay_but_close_only_what_is_held() -> None:
    story = Story()
    story.mark("100000", "100000")
    story.ask("b", "BUY", "100")
    story.fill("b", "BUY", "100", "100")
    story.fill(None, "SELL", "100", "95", fee=None)  # by hand, in history out of everything
    story.fill(None, "BUY", "10", "95", fee=None)
    story.mark("99499", "98549", "95")
    made, account = story.told(HALF)
    assert counts(made)[0] == 1
    assert account.would.profit == 0  # the purchase by hand stays, at its own price
    assert account.would.exposure == 950


def test_a_bust_takes_the_difference_back() -> None:
    story = Story()
    story.mark("100000", "100000")
    story.ask("b", "BUY", "100", allow_resize=True)
    story.fill("b", "BUY", "100", "100", execution_id="e1", fee=None)
    story.fill(
        "b",
        "BUY",
        "100",
        "100",
        execution_id="e2",
        execution_reference_id="e1",
        execution_type=ExecutionType.BUSTED,
    )
    story.mark("100000", "100000", "80")
    _, account = story.told(HALF)
    assert (account.was.profit, account.would.profit) == (0, 0)
    assert (account.saved, account.cost) == (0, 0)


def test_a_correction_keeps_the_proportion() -> None:
    story = Story()
    story.mark("100000", "100000")
    story.ask("b", "BUY", "100", allow_resize=True)
    story.fill("b", "BUY", "100", "100", execution_id="e1", fee=None)
    corrected = {"execution_reference_id": "e1", "execution_type": ExecutionType.CORRECTED, "fee": None}
    story.fill("b", "BUY", "80", "100", execution_id="e2", **corrected)
    story.mark("98400", "92000", "80")
    _, account = story.told(HALF)
    assert account.would.profit == -800  # 40 units lost 20 each
    assert account.saved == 800


def test_a_repeated_report_counts_once() -> None:
    story = Story()
    story.mark("100000", "100000")
    story.ask("b", "BUY", "100", allow_resize=True)
    at = story.now
    for _ in range(2):
        story.fill("b", "BUY", "60", "100", execution_id="e1", event_time=at, fee=None)
    story.fill("b", "BUY", "50", "100", execution_id="e1", event_time=at, fee=None)  # no repeat: refused
    story.fill("b", "BUY", "40", "100", execution_id="e2", fee=None)
    story.mark("99000", "90000", "90")
    _, account = story.told(HALF)
    assert account.would.profit == -500


def test_shares_of_an_order_are_whole_lots_and_complete_it() -> None:
    order = Placed("X", Side.BUY, Decimal(7), Decimal(3), closes=False, forgotten_at=0)
    assert [order.scaled(Decimal(each), Decimal(1)) for each in (1, 2, 2, 2)] == [0, 1, 1, 1]
    assert order.scaled(Decimal(7), Decimal(1)) == 3  # as far over as history was
    assert proportion(Decimal(1), Decimal(1), Decimal(3), Decimal("0.01")) == Decimal("0.33")


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize("log", [None, *LOGS], ids=["demo", *(path.name for path in LOGS)])
def test_the_same_limits_change_nothing(log: Path | None, drop: bool) -> None:
    past = PLAYED if log is None else MemoryPast(read(log))
    made = compared(past, Limits(), drop=drop)
    assert counts(made) == [0, 0, 0, 0]
    assert all(each.was == each.would for each in made.reasons)
    assert all(each.was == each.would and not each.episodes for each in made.accounts)
    assert all(point.was == point.would for each in made.accounts for point in each.path)
    assert made.decisions > 100


@pytest.mark.parametrize("drop", [False, True])
@pytest.mark.parametrize(
    "limits",
    [
        Limits(drawdown_halt=Decimal("0.05"), drawdown_warning=Decimal("0.02")),
        Limits(entry_max=Decimal("0.03"), gross_max=Decimal("0.4")),
        Limits(cluster_critical=Decimal(2), sector_critical=Decimal(2), position_critical=Decimal(1)),
        Limits(risk_per_trade=Decimal("0.002")),
    ],
    ids=["halt", "small", "loose", "sizes"],
)
def test_saved_less_cost_is_the_difference_in_profit(limits: Limits, drop: bool) -> None:
    made = compared(PLAYED, limits, drop=drop)
    assert sum(counts(made)) > 0
    for each in made.accounts:
        assert each.net == each.would.profit - each.was.profit, each.account
        if each.path:
            assert each.path[-1].would - each.path[-1].was == each.net


def test_a_five_percent_halt_in_2008() -> None:
    """History is as the demo played it; halts come no later and at least as often where a session lost 5 %."""
    made = halted_at_five_percent()
    by_account = {each.account: each for each in made.accounts}
    halts = {name: sum(halt.account == name and halt.status == "HALT" for halt in _halts()) for name in by_account}
    assert {name: each.was.halts for name, each in by_account.items()} == halts
    assert by_account["trend"].was.halts == 0
    assert by_account["trend"].would.halts > 0
    assert by_account["trend"].would.drawdown < by_account["trend"].was.drawdown
    assert made.limits == {"drawdown_halt": "0.05"}
    assert {each.reason for each in made.reasons if each.would > each.was} >= {"DRAWDOWN_HALT"}


def _halts() -> Sequence[Any]:
    """Return the changes to HALT in the crash."""
    return [each for each in played().gate.all_halts if CRASH.holds(each.clock) and each.previous_status != "HALT"]


def test_before_the_span_both_worlds_are_history() -> None:
    late = span_of("2008-10-01", "2008-10-31")
    made = compared(PLAYED, Limits(entry_max=Decimal("0.03")), span=late)
    assert all(flip.clock >= late.first for flips in made.flips for flip in flips.examples)
    assert all(late.holds(point.time) for each in made.accounts for point in each.path[1:])
    within = [each for each in played().gate.decisions if each.account is not None and late.holds(each.clock)]
    assert made.decisions == len(within)


def test_one_account_is_as_it_is_among_all() -> None:
    limits = Limits(entry_max=Decimal("0.03"))
    whole, one = (compared(PLAYED, limits, span=CRASH, account=account) for account in (None, "trend"))
    assert [each for each in whole.accounts if each.account == "trend"] == list(one.accounts)
    with pytest.raises(WhatIfError, match="nothing of account 'nobody'"):
        compared(PLAYED, limits, account="nobody")
    with pytest.raises(WhatIfError, match="there is nothing to compare"):
        compared(PLAYED, limits, span=span_of("1999-01-01", "1999-12-31"))


def test_limits_that_contradict_a_profile_are_named() -> None:
    with pytest.raises(WhatIfError, match=r"drawdown_warning must not be above drawdown_halt: \S+ > 0\.03"):
        compared(PLAYED, Limits.model_construct(_fields_set={"drawdown_halt"}, drawdown_halt=Decimal("0.03")))


def test_a_whole_profile_takes_the_defaults_for_the_rest() -> None:
    """The story's profile sizes nothing; by default sizes rest on an ATR, and the story has none."""
    named, _ = round_trip().told(HALF)
    whole, _ = round_trip().told(HALF, whole=True)
    assert len(named.limits) == 1
    assert len(whole.limits) == len(Limits.model_fields)
    assert counts(whole) == [1, 0, 0, 1]
    assert "ATR_UNAVAILABLE" in whole.flips[0].examples[0].reasons


def test_a_path_of_any_length_is_a_few_hundred_points() -> None:
    path = Points()
    for number in range(10_001):
        path.add(Point(number, Decimal(number), Decimal(0)))
    points = path.points()
    assert len(points) <= 2 * POINTS_MAX + 1
    assert (points[0].time, points[-1].time) == (0, 10_000)
    assert {later.time - earlier.time for earlier, later in pairwise(points)} == {16}


class _Tags(HTMLParser):
    """Checks that tags close in order, and keeps what they say."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    made = halted_at_five_percent()
    page, tags = render(made), _Tags()
    tags.feed(page)
    assert tags.open == []
    names = {tag for tag, _ in tags.seen}
    assert not names & {"script", "link", "img", "iframe"}
    assert not any(name in attributes for _, attributes in tags.seen for name in ("src", "href", "onclick"))
    assert "url(" not in page
    assert "prefers-color-scheme: dark" in page
    charts = [attributes for tag, attributes in tags.seen if tag == "svg"]
    assert len(charts) == 1 + sum(len(each.path) > 1 for each in made.accounts)
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in charts)
    for each in made.accounts:
        assert f"<td>{each.account}</td>" in page
    assert "nan" not in page


def test_the_page_escapes_what_people_named() -> None:
    story = Story("<script>&")
    story.mark("100000", "100000")
    story.mark("100001", "100000")
    made, _ = story.told(HALF)
    assert "<script>" not in render(made)
    assert "&lt;script&gt;&amp;" in render(made)


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [-3.2, 7.9], [999_000.0, 1_001_000.0], [1e-3, 2e-3]])
def test_a_scale_holds_every_value_between_round_numbers(values: list[float]) -> None:
    scale = scale_of(values)
    assert scale.low <= min(values)
    assert scale.high >= max(values)
    assert scale.low < scale.high
    assert 2 <= len(scale.ticks) <= 8


def screen(made: WhatIf, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    for part in parts(made):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_documented_answer_is_what_comes_out() -> None:
    page = (Path(__file__).parents[2] / "docs" / "what-if.md").read_text(encoding="utf-8")
    shown = page.partition("```text\n")[2].partition("```")[0].splitlines()
    span = span_of("2008-09-01", "2008-12-31")
    lines = screen(compared(PLAYED, Limits(drawdown_halt=Decimal("0.05")), span=span), 80)
    assert len(shown) > 20
    assert [line for line in shown if line not in ("...", *lines)] == []


@pytest.mark.parametrize("width", [80, 120])
def test_the_screen_fits_its_terminal(width: int) -> None:
    lines = screen(halted_at_five_percent(), width)
    assert max(map(len, lines)) <= width
    assert lines[0] == "other limits: drawdown_halt 0.05"
    assert any(line.startswith("trend ") and "%" not in line for line in lines)


def test_an_open_end_of_the_span_is_said_as_none() -> None:
    whole, _ = round_trip().told(HALF)
    assert (whole.first, whole.last) == (None, None)
    since, _ = round_trip().told(HALF, span=Span(0, EVER.last))
    assert (since.first, since.last) == (0, None)


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        (None, (), "cannot read"),
        ("drawdown_halt: 0.05", (), "is no field of a limit file"),
        ("profile_id: p\nlimits:\n  drawdown_halt: 5 percent\n", (), "line 3: drawdown_halt must be"),
        ("profile_id: p\nlimits:\n  drawdown_halt: 0.05\n", ("--from", "2009-01-01", "--to", "2008-01-01"), "after"),
        ("profile_id: p\nlimits:\n  drawdown_halt: 0.05\n", ("--fills", "guess"), "--fills"),
    ],
    ids=["none", "no profile", "no number", "backwards", "no rule"],
)
def test_rubbish_is_named_before_anything_is_read(
    text: str | None,
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "limits.yaml"
    if text is not None:
        file.write_text(text)
    assert cli.run(["what-if", "--limits", str(file), *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


STEP = st.tuples(
    st.sampled_from(["BUY", "SELL", "BUST", "CORRECT", "MARK"]),
    st.integers(min_value=1, max_value=120),
    st.integers(min_value=80, max_value=120),
    st.booleans(),
)


class Trader:
    """Trades at random in a story, and keeps the account's cash and units as a broker would."""

    def __init__(self) -> None:
        self.story = Story()
        self.cash, self.units, self.price = Decimal(100_000), Decimal(0), Decimal(100)
        self.last: tuple[str, str, int, int] | None = None
        self.number = 0
        self.mark()

    def mark(self) -> None:
        self.story.mark(str(self.cash + self.units * self.price), str(self.cash), str(self.price))

    def step(self, kind: str, quantity: int, price: int, whole: bool) -> None:  # drawn
        self.number += 1
        if kind == "MARK":
            self.price = Decimal(price)
        elif kind in ("BUST", "CORRECT"):
            self._amend(kind, quantity)
        else:
            self._trade(kind, quantity, whole=whole)
        self.mark()

    def _trade(self, side: str, quantity: int, *, whole: bool) -> None:
        if side == "SELL" and not self.units:
            return
        quantity = min(quantity, int(self.units)) if side == "SELL" else quantity
        intent_id = f"i{self.number}"
        decided = self.story.asked(intent_id, side, str(quantity), allow_resize=True)
        parts = [decided.quantity] if whole else [decided.quantity // 3, decided.quantity - decided.quantity // 3]
        for part, filled in enumerate(parts):
            if filled:
                report = {"execution_id": f"{intent_id}-{part}", "fee": None}
                self.story.fill(intent_id, side, str(filled), str(self.price), **report)
                self._book(side, int(filled), int(self.price), 1)
                self.last = (f"{intent_id}-{part}", side, int(filled), int(self.price))

    def _amend(self, kind: str, quantity: int) -> None:
        if self.last is None or self.last[1] == "SELL":
            return
        reference, side, filled, price = self.last
        self.last = None
        self._book(side, filled, price, -1)
        new = {"execution_id": f"a{self.number}", "execution_reference_id": reference, "fee": None}
        if kind == "BUST":
            self.story.fill(None, side, str(filled), str(price), execution_type="BUSTED", **new)
            return
        self._book(side, min(quantity, filled), price, 1)
        self.story.fill(None, side, str(min(quantity, filled)), str(price), execution_type="CORRECTED", **new)

    def _book(self, side: str, quantity: int, price: int, sign: int) -> None:
        units = sign * (quantity if side == "BUY" else -quantity)
        self.units += units
        self.cash -= units * price


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=12), st.sampled_from(["0.02", "0.05", "0.2"]), st.booleans())
def test_both_worlds_keep_their_books(steps: list[Any], entry_max: str, drop: bool) -> None:  # drawn
    """Whatever is traded: what differs is exactly the units, and the money, that the two books differ by."""
    trader = Trader()
    for step in steps:
        trader.step(*step)
    told = _Told()
    other = OtherLimits.of(Limits(entry_max=Decimal(entry_max)))
    past = MemoryPast(trader.story.gate.log)
    partition = _Partition(past, 0, other, told, account=None, span=EVER, drop=drop, progress=lambda _count: None)
    asyncio.run(partition.run())
    history, world = partition._history.accounts["A"], partition._world.state.accounts["A"]
    assert history.book.position("X") == trader.units
    assert history.drawdown.equity == trader.cash + trader.units * trader.price
    difference = partition._world.differences["A"]
    assert world.book.position("X") - history.book.position("X") == difference._units["X"]
    outcome = told.accounts["A"].outcome("A")
    assert outcome.net == outcome.would.profit - outcome.was.profit
    assert world.drawdown.cash is not None
    held = world.book.position("X")
    assert world.drawdown.equity == world.drawdown.cash[0] + held * trader.price
    if trader.units >= 0:
        assert held >= 0 or any(kind in ("BUST", "CORRECT") for kind, *_ in steps)

"""Chains of busts and corrections: what they come to as days pass, and what they cost."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.canonical import CONTEXT, DAY_NS, canonical_bytes
from models.folds.book import KEPT, Book
from models.folds.executions import Execution
from models.messages import Fill
from tests.models.operations import operations
from tests.models.test_book import T0, fill, fold, positions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUARTER = 86_400 // 4
"""Seconds; four make a day, so ids are used again on other days and on the same one."""


class Definition:
    """Positions by the letter: whatever is asked is computed from the set of reports, each time anew."""

    def __init__(self) -> None:
        self.reports: dict[tuple[int, str], Fill] = {}
        self.summed: set[tuple[int, str]] = set()
        self.base: Counter[str] = Counter()
        self.clock = 0

    def fold(self, report: Fill) -> int:
        """Take a report in; return how many dead letters that brings."""
        key = (report.event_time // DAY_NS, report.execution_id)
        if key in self.reports:
            return int(self.reports[key] != report)
        target = self.target(key, report)
        if report.event_time < self.clock - KEPT or target in self.summed:
            return 1
        self.reports[key] = report
        self.clock = max(self.clock, report.event_time)
        return self.age()

    def target(self, key: tuple[int, str], report: Fill) -> tuple[int, str] | None:
        candidates = [
            (other.event_time, name)
            for name, other in self.reports.items()
            if other.execution_type in ("TRADE", "CORRECTED")
            and other.execution_id == report.execution_reference_id
            and other.event_time <= report.event_time
            and name != key
        ]
        return max(candidates)[1] if candidates else None

    def root(self, key: tuple[int, str]) -> tuple[int, str] | None:
        passed: set[tuple[int, str]] = set()
        current: tuple[int, str] | None = key
        while current is not None and self.reports[current].execution_type != "TRADE":
            if current in passed:
                return None
            passed.add(current)
            current = self.target(current, self.reports[current])
        return current

    def amendments(self, trade: tuple[int, str]) -> list[tuple[int, str]]:
        return [key for key in self.reports if key != trade and key not in self.summed and self.root(key) == trade]

    def value(self, trade: tuple[int, str]) -> tuple[str, Decimal]:
        reports = [self.reports[key] for key in self.amendments(trade)]
        winner = max(
            reports, key=lambda report: (report.event_time, report.execution_id), default=self.reports[trade]
        )
        if winner.execution_type == "BUSTED":
            return winner.symbol, Decimal(0)
        assert winner.last_quantity is not None
        return winner.symbol, winner.last_quantity if winner.side == "BUY" else -winner.last_quantity

    def age(self) -> int:
        old = [key for key, report in self.reports.items() if report.event_time < self.clock - KEPT]
        for key in old:
            if self.reports[key].execution_type == "TRADE" and key not in self.summed:
                symbol, quantity = self.value(key)
                self.base[symbol] += quantity  # type: ignore[assignment]  # a Counter of decimals
                self.summed |= {key, *self.amendments(key)}
        lost = [key for key in old if key not in self.summed]
        forgotten = [key for key in self.summed if self.reports[key].event_time < self.clock - 2 * KEPT]
        for key in (*lost, *forgotten):
            del self.reports[key]
            self.summed.discard(key)
        return len(lost)

    def positions(self) -> dict[str, Decimal]:
        found: defaultdict[str, Decimal] = defaultdict(Decimal, self.base)  # type: ignore[arg-type]  # the same
        for key, report in self.reports.items():
            if report.execution_type == "TRADE" and key not in self.summed:
                symbol, quantity = self.value(key)
                found[symbol] += quantity
        return {symbol: quantity for symbol, quantity in found.items() if quantity}


numbers = st.integers(0, 5)
steps = st.tuples(
    st.sampled_from(["TRADE", "CORRECTED", "CORRECTED", "BUSTED"]),
    numbers,
    numbers,
    st.integers(1, 9),
    st.sampled_from(["BUY", "SELL"]),
    st.integers(-9, 9).map(lambda late: max(0, late)),
    st.sampled_from([0] * 6 + [1, 2, 5, 30, 60]),
)


@given(st.lists(steps, min_size=2, max_size=24), st.integers(0, 24))
@settings(deadline=None, max_examples=300)
def test_positions_agree_with_the_definition_as_days_pass(script: list[Any], restart: int) -> None:
    """Chains, circles, ids that are used again, late reports, and whatever ages meanwhile."""
    book, definition = Book(), Definition()
    rows: dict[str, Any] = {}
    now = 0
    for number, (kind, own, other, quantity, side, late, passes) in enumerate(script):
        now += passes
        fields: dict[str, Any] = {"side": side, "symbol": "ST"[quantity % 2]}
        if kind != "BUSTED":
            fields["last_quantity"] = str(quantity)
        if kind != "TRADE":
            fields["execution_reference_id"] = f"e{other}"
        report = fill(f"e{own}", kind, at=max(0, now - late) * QUARTER, **fields)
        refusals = book.fold(report, offset=number, event_time=report.event_time, raw=canonical_bytes(report))
        assert len(refusals) == definition.fold(report)
        for key in book.dirty:
            rows[key] = book.row(key)
        book.dirty.clear()
        if number == restart:
            book = Book.from_rows({key: row for key, row in rows.items() if row is not None})
        assert {name: book.position(name) for name in "ST" if book.position(name)} == definition.positions()


def test_an_id_used_again_takes_over_what_referred_to_it_and_what_follows_that() -> None:
    days = 86_400
    book, _ = fold(
        fill("e", at=0),
        fill("c", "CORRECTED", at=2 * days, execution_reference_id="e", last_quantity="7"),
        fill("d", "CORRECTED", at=2 * days + 1, execution_reference_id="c", last_quantity="5"),
    )
    assert book.position("S") == 5
    fold(fill("e", at=days), book=book)
    assert [execution.quantity for execution in book.timeline] == [10, 5]


def test_a_circle_that_a_late_report_breaks_has_an_effect() -> None:
    day = 86_400
    circle = (
        fill("x", "CORRECTED", at=day, execution_reference_id="y", last_quantity="3"),
        fill("y", "CORRECTED", at=day, execution_reference_id="x", last_quantity="4"),
    )
    # Sent with the date of tomorrow: another report than the first "x", applied with its record's time.
    late = fill("x", at=2 * day, last_quantity="8")
    for order in (circle, circle[::-1]):
        book, _ = fold(*order)
        assert positions(book) == {}
        book.fold(late, offset=9, event_time=T0 + day * 10**9, raw=None)
        assert book.position("S") == 4


def test_what_follows_a_correction_that_found_nothing_outlives_it() -> None:
    """When the correction ages out, those behind it still hang together, and may yet find an execution."""
    week = KEPT // 10**9
    book, refusals = fold(
        fill("a", "CORRECTED", at=0, execution_reference_id="missing"),
        fill("b", "CORRECTED", at=10, execution_reference_id="a", last_quantity="7"),
        fill("c", "CORRECTED", at=11, execution_reference_id="b", last_quantity="5"),
        fill("z", at=week + 5, symbol="T"),
    )
    assert [refusal.offset for refusal in refusals] == [0]
    late = fill("a", at=86_400)  # another day's report of that id, applied with its record's time
    book.fold(late, offset=9, event_time=T0 + 6 * 10**9, raw=None)
    assert book.position("S") == 5


# --- what it costs


@pytest.fixture
def _comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each comparison of executions a line, or a scan of a list would count for nothing."""
    for name in ("__eq__", "__lt__"):
        plain = getattr(tuple, name)
        monkeypatch.setattr(Execution, name, lambda one, other, plain=plain: plain(one, other))


def chain(length: int) -> list[Fill]:
    corrections = [
        fill(f"e{number}", "CORRECTED", at=number, execution_reference_id=f"e{number - 1}")
        for number in range(1, length)
    ]
    return [fill("e0"), *corrections]


def busts(count: int) -> list[Fill]:
    return [
        fill("e0"),
        *(fill(f"b{number}", "BUSTED", at=number, execution_reference_id="e0") for number in range(1, count)),
    ]


def lost(count: int) -> list[Fill]:
    """Corrections of executions that do not come."""
    return [
        fill(f"e{number}", "CORRECTED", at=number, execution_reference_id=f"f{number}") for number in range(count)
    ]


def corrected_trades(count: int) -> list[Fill]:
    trades = [fill(f"e{number}", at=number) for number in range(count // 2)]
    corrections = [
        fill(f"c{number}", "CORRECTED", at=count, execution_reference_id=f"e{number}", last_quantity="3")
        for number in range(count // 2)
    ]
    return trades + corrections


@pytest.mark.usefixtures("_comparisons")
@pytest.mark.parametrize("reports", [chain, busts, lost, corrected_trades])
@pytest.mark.parametrize("order", ["in order", "backwards", "shuffled"])
def test_a_report_costs_no_more_where_there_are_many(reports: Callable[[int], list[Fill]], order: str) -> None:
    """Sixteen times as many linked reports cost a little over sixteen times as much, aging included."""
    costs = []
    for count in (100, 1600):
        ordered = reports(count)
        if order == "backwards":
            ordered.reverse()
        elif order == "shuffled":
            random.Random(1).shuffle(ordered)
        ordered.append(fill("last", at=8 * 86_400))
        costs.append(operations(lambda ordered=ordered: fold(*ordered)))  # type: ignore[misc]  # bound now
    assert costs[1] < 16 * costs[0] * 1.5


@pytest.fixture(autouse=True)
def _exact_arithmetic() -> Iterator[None]:
    with localcontext(CONTEXT):
        yield

"""What is asked of an account's fills, kept up to date report by report: its definition, and what it costs."""

from __future__ import annotations

from decimal import localcontext
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.canonical import CONTEXT, DAY_NS, canonical_bytes
from models.folds.book import Book
from models.folds.executions import VIEWS_KEPT, Execution, OrderReports, Reported
from models.folds.timeline import Timeline
from models.messages import ExecutionType, Side
from tests.models.operations import operations
from tests.models.test_book import T0, fill, fold, save

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.folds.reports import Report
    from models.messages import Fill

SYMBOLS = ("S", "T")
IDS = ("i", "j")
ENDS = (ExecutionType.CANCELED, ExecutionType.EXPIRED, ExecutionType.REJECTED)

reports = st.builds(
    lambda kind, number, intent_id, symbol, side, at, quantity: fill(
        f"e{number}",
        kind,
        at=at * 3600,
        symbol=symbol,
        side=side,
        **({} if intent_id is None else {"intent_id": intent_id}),
        **({"execution_reference_id": f"e{number % 4}"} if kind in ("CORRECTED", "BUSTED") else {}),
        **({"order_quantity": quantity} if kind == "REPLACED" else {}),
        **({"last_quantity": quantity} if kind in ("TRADE", "CORRECTED") else {}),
    ),
    st.sampled_from(
        ["TRADE", "TRADE", "TRADE", "CORRECTED", "BUSTED", "CANCELED", "EXPIRED", "REPLACED", "REPLACED", "NEW"]
    ),
    st.integers(0, 9),
    st.sampled_from([*IDS, None]),
    st.sampled_from(SYMBOLS),
    st.sampled_from(["BUY", "SELL"]),
    st.integers(0, 60),
    st.sampled_from(["1", "2.5", "40"]),
)
histories = st.lists(st.tuples(reports, st.sampled_from([0, 0, 0, 1, 3, 8, 15])), max_size=25)
"""Reports, and how many days pass before each."""


class Asked(NamedTuple):
    """All that is asked of one order from one offset."""

    reports: OrderReports
    first: int | None
    stray: int | None


def defined(book: Book, intent_id: str, symbol: str, side: Side, after: int) -> Asked:
    """Return what is asked, from everything that the book keeps singly."""
    own: list[Report] = [
        report
        for report in book._reports.values()
        if (report.intent_id, report.symbol, report.side) == (intent_id, symbol, side) and report.offset > after
    ]
    executions = [
        execution
        for execution in book._executions.values()
        if (execution.intent_id, execution.symbol, execution.side) == (intent_id, symbol, side)
    ]
    totals = [report for report in own if report.execution_type is ExecutionType.REPLACED]
    return Asked(
        OrderReports(
            sum(execution.quantity for execution in executions if execution.offset > after),  # type: ignore[arg-type]
            any(report.execution_type in ENDS for report in own),
            max(totals, key=lambda report: report.rank).quantity if totals else None,
        ),
        min((report.event_time for report in own), default=None),
        max((execution.event_time for execution in executions if execution.offset <= after), default=None),
    )


def asked(book: Book, intent_id: str, symbol: str, side: Side, after: int) -> Asked:
    reported = book.orders_of(symbol).get((intent_id, side))
    return Asked(
        book.order(intent_id, symbol=symbol, side=side, after=after),
        book.first_report_time(intent_id, symbol=symbol, side=side, after=after),
        None if reported is None else reported.stray(after),
    )


def known_of(book: Book, symbol: str) -> object:
    """Return all that is known of a symbol."""
    return (
        {**book.positions[symbol]} if symbol in book.positions else None,
        {key: report for key, report in book._reports.items() if report.symbol == symbol},
        [*book.executions_of(symbol)],
    )


def orders_known(book: Book, symbol: str, intent_id: str | None) -> object:
    """Return all that is known of the orders of one id in a symbol."""
    found = [book.orders_of(symbol).get((intent_id, side)) for side in Side]
    return [None if order is None else ([*order.executions], {**order.reports}) for order in found]


def verify(book: Book, offsets: range) -> None:
    """Compare each answer with its definition."""
    everything = sorted(book._executions.values())
    assert [*book.timeline] == everything
    for time in {execution.event_time for execution in everything} | {0, book.clock}:
        newest_first = [execution for execution in reversed(everything) if execution.event_time > time]
        assert [*book.executions_after(time)] == newest_first
    for symbol in SYMBOLS:
        executions = [execution for execution in everything if execution.symbol == symbol]
        assert [*book.executions_of(symbol)] == executions
        assert book.last_execution(symbol) == max(executions, default=None)
        strategies = book.positions[symbol].values() if symbol in book.positions else ()
        assert book.position(symbol) == sum(strategies)
        by_order: dict[tuple[str | None, Side], list[Execution]] = {}
        for execution in executions:
            by_order.setdefault((execution.intent_id, execution.side), []).append(execution)
        found = book.orders_of(symbol)
        assert {key: [*order.executions] for key, order in found.items() if order.executions} == by_order
        assert all(order.latest == max(by_order[key])[0] for key, order in found.items() if order.executions)
        assert all((order.intent_id, order.side) == key for key, order in found.items())
        assert all(order.reports or order.executions for order in found.values())  # nothing empty is kept
    for intent_id, symbol, side, after in product(IDS, SYMBOLS, Side, offsets):
        assert asked(book, intent_id, symbol, side, after) == defined(book, intent_id, symbol, side, after)


@given(histories, st.integers(0, 24), st.sets(st.integers(-1, 24), max_size=3))
@settings(deadline=None, max_examples=150)
def test_every_answer_is_its_definition(history: list[tuple[Fill, int]], restart: int, always: set[int]) -> None:
    """Whatever is busted, corrected, late or forgotten; and what was not touched has not changed.

    The offsets in `always` are asked for after every report, so that what is kept for them is brought up to date
    again and again; all others are asked for at the end.
    """
    book, rows, days = Book(), dict[str, Any](), 0
    seen: dict[str, object] = {symbol: known_of(book, symbol) for symbol in SYMBOLS}
    orders: dict[tuple[str, str | None], object] = {}
    for offset, (report, wait) in enumerate(history):
        days += wait
        book.touched.forget()
        moved = report.model_copy(update={"event_time": report.event_time + days * DAY_NS})
        book.fold(moved, offset=offset, event_time=moved.event_time, raw=canonical_bytes(moved))
        save(book, rows)
        if offset == restart:
            book = Book.from_rows(rows)
        for intent_id, symbol, side, after in product(IDS, SYMBOLS, Side, sorted(always)):
            answer = asked(book, intent_id, symbol, side, after)
            assert answer == defined(book, intent_id, symbol, side, after)
        for symbol in SYMBOLS:
            known = known_of(book, symbol)
            touched = book.touched.whole or symbol in book.touched.symbols
            assert touched or known == seen[symbol]
            seen[symbol] = known
            for order in [(symbol, None), *product([symbol], IDS)]:
                content = orders_known(book, *order)
                touched = book.touched.whole or order in book.touched.orders
                assert touched or content == orders.get(order, content)
                orders[order] = content
    verify(book, range(-1, len(history)))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99)), unique=True), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_timeline_is_a_sorted_list(items: list[tuple[int, int]], chance: Any) -> None:
    timeline: Timeline[tuple[int, int]] = Timeline()
    plain: list[tuple[int, int]] = []
    for item in items:
        timeline.add(item)
        plain = sorted([*plain, item])
        if chance.random() < 0.4:
            gone = chance.choice(plain)
            timeline.remove(gone)
            plain.remove(gone)
        if chance.random() < 0.2:
            time = chance.randint(0, 10)
            assert timeline.take_before(time) == [each for each in plain if each[0] < time]
            plain = [each for each in plain if each[0] >= time]
        assert ([*timeline], [*reversed(timeline)], len(timeline)) == (plain, plain[::-1], len(plain))
        assert timeline.last == (plain[-1] if plain else None)


def test_few_views_are_kept_of_an_order() -> None:
    book, _ = fold(*(fill(f"e{number}", intent_id="i") for number in range(2 * VIEWS_KEPT)))
    answers = [book.order("i", symbol="S", side=Side.BUY, after=number).filled for number in range(2 * VIEWS_KEPT)]
    assert answers == [10 * (2 * VIEWS_KEPT - 1 - number) for number in range(2 * VIEWS_KEPT)]
    order = book.orders_of("S")["i", Side.BUY]
    assert isinstance(order, Reported)
    assert len(order._views) == VIEWS_KEPT


# --- what it costs


def with_history(count: int) -> Book:
    """Return a book with many fills of one order, as many manual trades and as many orders, in one symbol."""
    fills = [fill(f"a{number}", at=number, intent_id="i") for number in range(count)]
    fills += [fill(f"b{number}", at=number) for number in range(count)]
    fills += [fill(f"c{number}", at=number, intent_id=f"i{number}") for number in range(count)]
    book, _ = fold(*fills)
    ask(book)
    return book


def ask(book: Book) -> None:
    """Ask what a decision asks."""
    book.position("S")
    book.last_execution("S")
    book.order("i", symbol="S", side=Side.BUY, after=-1)
    book.first_report_time("i", symbol="S", side=Side.BUY, after=-1)
    [*book.executions_after(book.clock - 10**9)]
    book.orders_of("S").get((None, Side.BUY))


@pytest.mark.parametrize(
    "report",
    [
        fill("new", at=10_000, intent_id="i"),
        fill("new", at=10_000),
        fill("new", at=1, intent_id="i"),
        fill("new", "BUSTED", at=10_000, execution_reference_id="a7"),
        fill("new", "CORRECTED", at=10_000, execution_reference_id="b7", last_quantity="3"),
        fill("new", "CANCELED", at=10_000, intent_id="i"),
        fill("new", at=7 * 86_400 + 3),  # the oldest go
    ],
)
def test_a_fill_and_what_is_asked_after_it_cost_the_same_in_any_history(report: Fill) -> None:
    costs = []
    for count in (50, 800):
        book = with_history(count)

        def work(book: Book = book) -> None:
            book.fold(report, offset=10**6, event_time=report.event_time, raw=None)
            ask(book)

        costs.append(operations(work))
    assert costs[1] <= costs[0] + 10


@pytest.fixture(autouse=True)
def _exact_arithmetic() -> Iterator[None]:
    with localcontext(CONTEXT):
        yield


assert T0 % DAY_NS == 0

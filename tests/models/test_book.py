"""Positions are a function of the set of execution reports."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal, localcontext
from itertools import permutations
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.canonical import CONTEXT, DAY_NS, canonical_bytes
from models.folds.book import KEPT, Book
from models.messages import Fill, Side
from models.refusal import Refusal

T0 = 20_000 * DAY_NS


def fill(execution_id: str, execution_type: str = "TRADE", *, at: int = 0, **fields: Any) -> Fill:
    """Return a report at `at` seconds past T0."""
    if execution_type in ("TRADE", "CORRECTED"):
        fields = {"last_quantity": "10", "last_price": "100"} | fields
    fields = {
        "execution_id": execution_id,
        "account": "A",
        "symbol": "S",
        "side": "BUY",
        "execution_type": execution_type,
        "event_time": T0 + at * 10**9,
    } | fields
    return Fill.model_validate_json(canonical_bytes(fields))


def fold(*fills: Fill, book: Book | None = None) -> tuple[Book, list[Refusal]]:
    book = Book() if book is None else book
    refusals: list[Refusal] = []
    for offset, report in enumerate(fills):
        refusals += book.fold(report, offset=offset, event_time=report.event_time, raw=canonical_bytes(report))
    return book, refusals


def positions(book: Book) -> dict[tuple[str, str], Decimal]:
    return {
        (symbol, strategy): quantity
        for symbol, strategies in book.positions.items()
        for strategy, quantity in strategies.items()
    }


def save(book: Book, rows: dict[str, Any]) -> None:
    """Write the rows that changed, as a checkpoint does."""
    for key in book.dirty:
        row = book.row(key)
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = orjson.loads(canonical_bytes(row))
    book.dirty.clear()


def test_a_trade_moves_the_position() -> None:
    book, refusals = fold(fill("e1"), fill("e2", side="SELL", last_quantity="4"))
    assert book.position("S") == 6
    assert refusals == []


def test_a_bust_may_precede_its_fill() -> None:
    bust = fill("b1", "BUSTED", at=2, execution_reference_id="e1")
    for order in permutations((fill("e1", at=1), bust, fill("e2", at=1))):
        assert fold(*order)[0].position("S") == 10


def test_corrections_are_followed_to_the_first_execution() -> None:
    reports = (
        fill("e1", at=1),
        fill("c1", "CORRECTED", at=2, execution_reference_id="e1", last_quantity="7"),
        fill("c2", "CORRECTED", at=3, execution_reference_id="c1", last_quantity="5", last_price="90"),
    )
    for order in permutations(reports):
        book, _ = fold(*order)
        assert book.position("S") == 5
        last = book.last_execution("S")
        assert last is not None
        assert last.price == 90
    for order in permutations((*reports, fill("b", "BUSTED", at=4, execution_reference_id="c2"))):
        assert fold(*order)[0].position("S") == 0


def test_the_greatest_time_and_id_wins() -> None:
    reports = (
        fill("e1", at=1),
        fill("c9", "CORRECTED", at=2, execution_reference_id="e1", last_quantity="9"),
        fill("c3", "CORRECTED", at=2, execution_reference_id="e1", last_quantity="3"),
    )
    for order in permutations(reports):
        assert fold(*order)[0].position("S") == 9


def test_a_correction_that_refers_to_itself_or_in_a_circle_has_no_effect() -> None:
    book, _ = fold(
        fill("c1", "CORRECTED", at=1, execution_reference_id="c2"),
        fill("c2", "CORRECTED", at=1, execution_reference_id="c1"),
        fill("c3", "CORRECTED", at=1, execution_reference_id="c3"),
    )
    assert book.position("S") == 0


def test_an_id_is_reused_on_another_day() -> None:
    book, refusals = fold(
        fill("e1"), fill("e1", at=86_400), fill("b", "BUSTED", at=86_401, execution_reference_id="e1")
    )
    assert (book.position("S"), refusals) == (10, [])  # the bust names the later one
    assert next(iter(book.timeline)).event_time == T0


def test_an_equal_repeat_is_nothing_and_another_content_a_dead_letter() -> None:
    book, refusals = fold(fill("e1"), fill("e1"), fill("e1", last_quantity="11"))
    assert book.position("S") == 10
    assert [refusal.offset for refusal in refusals] == [2]


def test_old_executions_are_summed_and_their_busts_refused() -> None:
    week = KEPT // 10**9
    book, refusals = fold(
        fill("e1"),
        fill("e2", at=week + 1),
        fill("b1", "BUSTED", at=week + 2, execution_reference_id="e1"),
        fill("e0", at=0, side="SELL"),
    )
    assert book.position("S") == 20
    assert [refusal.offset for refusal in refusals] == [2, 3]
    assert len(book.timeline) == 1
    rows: dict[str, Any] = {}
    save(book, rows)
    assert positions(Book.from_rows(rows)) == positions(book)


def test_a_bust_that_finds_nothing_becomes_a_dead_letter_with_its_bytes() -> None:
    week = KEPT // 10**9
    bust = fill("b1", "BUSTED", at=0, execution_reference_id="missing")
    book, refusals = fold(bust, fill("e1", at=week + 1))
    assert [(refusal.offset, refusal.raw) for refusal in refusals] == [(0, canonical_bytes(bust))]
    assert book.position("S") == 10


def test_an_amendment_does_not_outlive_the_execution_that_it_amended() -> None:
    week = KEPT // 10**9
    book, refusals = fold(
        fill("e1", at=0),
        fill("c1", "CORRECTED", at=10, execution_reference_id="e1", last_quantity="4"),
        fill("e2", at=week + 5),
        fill("b1", "BUSTED", at=week + 6, execution_reference_id="c1"),
        fill("e3", at=3 * week),
    )
    assert book.position("S") == 24
    assert [refusal.offset for refusal in refusals] == [3]


def test_orders_are_read_above_an_offset_and_for_their_own_symbol_and_side() -> None:
    book, _ = fold(
        fill("e1", intent_id="i"),
        fill("e2", intent_id="i"),
        fill("e3", intent_id="i", side="SELL"),
        fill("e4", intent_id="i", symbol="T"),
        fill("r1", "REPLACED", at=1, intent_id="i", order_quantity="50"),
        fill("r2", "REPLACED", at=1, intent_id="i", order_quantity="40"),
    )
    order = book.order("i", symbol="S", side=Side.BUY, after=0)
    assert (order.filled, order.terminal, order.replaced) == (10, False, 40)
    book, _ = fold(fill("e9", intent_id="i"), fill("c", "CANCELED", intent_id="i"))
    assert book.order("i", symbol="S", side=Side.BUY, after=-1).terminal
    assert not book.order("i", symbol="S", side=Side.SELL, after=-1).terminal


# --- properties

ids = st.sampled_from(["e1", "e2", "e3", "e4"])
reports = st.builds(
    lambda kind, number, reference, quantity, side, at: fill(
        f"{kind[0]}{number}",
        kind,
        at=at,
        side=side,
        strategy="s" if number % 2 else None,
        **({} if kind == "TRADE" else {"execution_reference_id": reference}),
        **({"last_quantity": str(quantity)} if kind != "BUSTED" else {}),
    ),
    st.sampled_from(["TRADE", "CORRECTED", "BUSTED"]),
    st.integers(1, 4),
    st.sampled_from(["T1", "T2", "T3", "T4", "C1", "C2", "C3", "C4"]),
    st.integers(1, 9),
    st.sampled_from(["BUY", "SELL"]),
    st.integers(0, 5),
)


def oracle(fills: list[Fill]) -> dict[tuple[str, str], Decimal]:
    """Compute positions from the set of reports, by definition."""

    def rank(report: Fill) -> tuple[int, str]:
        return report.event_time, report.execution_id

    def root(report: Fill, seen: tuple[str, ...] = ()) -> Fill | None:
        if report.execution_type == "TRADE":
            return report
        if report.execution_id in seen:
            return None
        targets = [
            other
            for other in fills
            if other.execution_type != "BUSTED"
            and other.execution_id == report.execution_reference_id
            and other.event_time <= report.event_time
            and other is not report
        ]
        return root(targets[0], (*seen, report.execution_id)) if targets else None

    found: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for trade in fills:
        if trade.execution_type != "TRADE":
            continue
        amendments = [other for other in fills if other is not trade and root(other) is trade]
        winner = max(amendments, key=rank, default=trade)
        if winner.execution_type == "BUSTED":
            continue
        assert winner.last_quantity is not None
        sign = 1 if winner.side == "BUY" else -1
        strategy = winner.strategy or trade.strategy or "UNATTRIBUTED"
        found[winner.symbol, strategy] += sign * winner.last_quantity
    return {key: quantity for key, quantity in found.items() if quantity}


@given(
    st.lists(reports, max_size=10, unique_by=lambda report: report.execution_id), st.randoms(use_true_random=False)
)
@settings(deadline=None, max_examples=300)
def test_positions_agree_with_the_definition_in_any_order(fills: list[Fill], random: Any) -> None:
    expected = oracle(fills)
    shuffled = list(fills)
    random.shuffle(shuffled)
    for order in (fills, shuffled):
        assert positions(fold(*order)[0]) == expected


@given(st.lists(st.tuples(reports, st.integers(0, 25)), max_size=14), st.integers(0, 14))
@settings(deadline=None, max_examples=200)
def test_a_restart_is_invisible(script: list[tuple[Fill, int]], at: int) -> None:
    """Whatever the history, days passing included, a book rebuilt from its rows goes on like the one that was not."""
    plain, other = Book(), Book()
    rows: dict[str, Any] = {}
    days = 0
    for number, (report, wait) in enumerate(script):
        days += wait // 8
        moved = report.model_copy(update={"event_time": report.event_time + days * DAY_NS})
        results = [
            book.fold(moved, offset=number, event_time=moved.event_time, raw=canonical_bytes(moved))
            for book in (plain, other)
        ]
        assert results[0] == results[1]
        save(other, rows)
        if number == at:
            other = Book.from_rows(rows)
        assert positions(plain) == positions(other)
        assert [*plain.timeline] == [*other.timeline]
        assert plain.clock == other.clock
        for strategies in plain.positions.values():
            assert all(strategies.values())


@pytest.fixture(autouse=True)
def _exact_arithmetic() -> Any:
    with localcontext(CONTEXT):
        yield

"""Histories that once broke a law: names of full length, ids used twice, late amendments, agreeing venues."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations
from typing import Any

import orjson
import pytest

from models.canonical import DAY_NS, SECOND_NS, canonical_bytes
from models.folds.book import KEPT, Book
from models.folds.ledger import EXPIRY_GRACE, Ledger
from models.folds.reports import Families, Report
from models.messages import Fill, Side
from tests.models.world import World, approved, numbers

DAY = DAY_NS // SECOND_NS


def restarted(book: Book, saved: dict[str, Any] | None = None) -> Book:
    """Return the book as its rows give it, in any order.

    Args:
        book: Since its own start it has changed what it says.
        saved: The rows as they were then; brought up to date.
    """
    rows = {} if saved is None else saved
    for key in sorted(book.dirty, reverse=True):
        row = book.row(key)
        rows[key] = None if row is None else orjson.loads(canonical_bytes(row))
    return Book.from_rows({key: row for key, row in rows.items() if row is not None})


def amended(world: World, reference: str, quantity: str, **fields: str) -> None:
    world.fill("S", "BUY", quantity, execution_type="CORRECTED", execution_reference_id=reference, **fields)


def test_a_profile_id_of_full_length_can_be_written_and_read() -> None:
    world = World()
    world.mark("S")
    name = "p" * 64
    world.reference(kind="limit_profile", profile_id=name, profile_version=2**31 - 1, drawdown_halt="0.05")
    world.reference(kind="account", account="A", profile_id=name, currency="USD")
    assert world.submit("S", quantity="1").limits_version == f"{name}@{2**31 - 1}"


def test_an_id_used_again_a_week_later_keeps_its_approval() -> None:
    """The first approval is forgotten at the very moment when the second one ends."""
    world = World()
    world.mark("S")
    expires_at = world.now + 600 * SECOND_NS
    world.submit("S", quantity="10", intent_id="weekly", expires_at=expires_at)
    world.wait(3 * DAY)
    world.mark("S")
    world.submit("S", quantity="1")  # frees the id
    assert approved(world.submit("S", quantity="10", intent_id="weekly", expires_at=expires_at + KEPT)) == 10
    world.fill("S", quantity="10", intent_id="weekly")
    world.now = expires_at + KEPT + EXPIRY_GRACE
    world.mark("S")
    assert "ORPHAN_FILL" not in world.submit("S", quantity="1").warnings
    ledger = world.state.accounts["A"].ledger
    assert "weekly" in ledger.approvals
    assert "weekly" not in ledger.open.get("S", {})
    rows = {key: ledger.row(key) for key in ledger.dirty}
    again = Ledger.from_rows(
        {key: orjson.loads(canonical_bytes(row)) for key, row in rows.items() if row is not None}
    )
    assert (again.approvals, again.open) == (ledger.approvals, ledger.open)


def test_reports_of_an_earlier_order_are_not_in_the_brokers_figure() -> None:
    world = World(buying_power="5000")
    world.mark("S", buying_power="5000")
    expires_at = world.now + 60 * SECOND_NS
    world.submit("S", quantity="10", intent_id="x", expires_at=expires_at)
    world.fill("S", quantity="10", intent_id="x")
    world.wait(2 * 3600)
    world.mark("S", buying_power="5000")
    world.submit("S", quantity="1", allow_resize=True)
    assert approved(world.submit("S", quantity="40", intent_id="x")) == 40
    assert world.submit("S", quantity="40").max_quantity == 50 - 40 - 1


def test_an_amendment_that_was_applied_is_no_dead_letter() -> None:
    world = World()
    world.fill("S", "BUY", "10", execution_id="1")
    world.wait(DAY)
    amended(world, "1", "20", execution_id="2")
    world.wait(2 * DAY)
    amended(world, "2", "30", execution_id="3")
    for _ in range(4):
        world.wait(4 * DAY)
        world.fill("T")
        assert world.state.accounts["A"].book.position("S") == 30
    assert world.refusals == []


def test_a_bust_after_a_quiet_week_is_no_dead_letter() -> None:
    world = World()
    world.fill("S", "BUY", "10", execution_id="1")
    world.wait(8 * DAY)
    world.fill("S", execution_type="BUSTED", execution_reference_id="1", execution_id="2")
    for _ in range(4):
        world.wait(6.4 * DAY)
        world.fill("T")
        assert world.state.accounts["A"].book.position("S") == 0
    assert world.refusals == []
    assert len(world.state.accounts["A"].book._reports) <= 4


def test_an_amendment_amends_one_execution_only() -> None:
    """A venue uses an id again, and its report of that comes after what a bust did is summed."""
    world = World()
    world.fill("S", "BUY", "10", execution_id="1")
    world.wait(6 * DAY)
    late = world.now - DAY_NS
    world.fill("S", execution_type="BUSTED", execution_reference_id="1", execution_id="2")
    world.wait(2 * DAY)
    world.fill("T")
    world.fill("S", "BUY", "5", execution_id="1", event_time=late)
    account = world.state.accounts["A"]
    saved: dict[str, Any] = {}
    for _ in range(5):
        assert account.book.position("S") == 5
        world.wait(5 * DAY)
        world.fill("T")
        account.book = restarted(account.book, saved)
    assert world.refusals == []


@pytest.mark.parametrize("restart", [False, True])
def test_a_late_bust_of_a_correction_is_a_dead_letter_at_once(restart: bool) -> None:
    world = World()
    world.fill("S", "BUY", "10", execution_id="1")
    amended(world, "1", "20", execution_id="2")
    world.wait(8 * DAY)
    world.fill("T")
    account = world.state.accounts["A"]
    if restart:
        account.book = restarted(account.book)
    (refusal,) = world.fill("S", execution_type="BUSTED", execution_reference_id="2")
    assert "over 7 days old" in refusal.why
    assert account.book.position("S") == 20


def test_venues_that_agree_on_time_and_id_replace_an_order_in_no_order() -> None:
    """Of two replacements with the same time and id one wins, whichever came first and after a restart."""
    fields = {
        "execution_id": "1",
        "intent_id": "x",
        "account": "A",
        "symbol": "S",
        "side": Side.BUY,
        "execution_type": "REPLACED",
        "event_time": DAY_NS,
    }
    reports = [
        Fill.model_validate_json(canonical_bytes(fields | {"venue": venue, "order_quantity": quantity}))
        for venue, quantity in (("V", "5"), ("W", "8"), (None, "2"))
    ]
    totals = set()
    for order in permutations(reports):
        book = Book()
        for offset, report in enumerate(order):
            book.fold(report, offset=offset, event_time=DAY_NS, raw=None)
        for each in (book, restarted(book)):
            totals.add(each.order("x", symbol="S", side=Side.BUY, after=-1).replaced)
    assert totals == {Decimal(8)}


def test_strategies_that_cancel_each_other_out_need_no_price() -> None:
    world = World()
    world.hold("T", 100, strategy="momentum")
    world.hold("T", -100, strategy="value")
    world.wait(7 * DAY)
    world.mark("S", buying_power="100000")
    assert approved(world.submit("S", quantity="1")) == 1


def test_a_position_was_bought_at_some_price() -> None:
    world = World()
    world.hold("T", 100)
    world.wait(8 * DAY)
    world.mark("S")
    world.fill("S")
    assert world.state.accounts["A"].book.last_execution("T") is None
    assert numbers(world.submit("S", quantity="1")) == [19]


def test_a_chain_of_corrections_that_lost_its_execution_ages_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each join costs; one by one, as many as the square of the chain's length kept a partition for minutes."""
    world = World()
    for number in range(200):
        amended(world, f"c{number - 1}", "1", execution_id=f"c{number}")
    joined: list[Report] = []
    join = Families._join

    def counted(self: Families, report: Report) -> None:
        joined.append(report)
        join(self, report)

    monkeypatch.setattr(Families, "_join", counted)
    world.wait(8 * DAY)
    world.fill("T")
    assert len(world.refusals) == 200
    assert len(joined) <= 1  # the newest alone


def test_what_is_left_of_a_chain_stays_together() -> None:
    world = World()
    for number in range(3):
        amended(world, f"c{number - 1}", str(number + 5), execution_id=f"c{number}")
    world.wait(6 * DAY)
    for number in range(3, 6):
        amended(world, f"c{number - 1}", str(number + 5), execution_id=f"c{number}")
    world.wait(2 * DAY)
    first = world.now - 2 * DAY_NS - SECOND_NS * 60  # the execution comes at last, under the name of the oldest left
    world.fill("T")
    assert [refusal.offset for _, refusal in world.refusals] == [0, 1, 2]
    world.fill("S", "BUY", "1", execution_id="c2", event_time=first)
    book = world.state.accounts["A"].book
    assert book.position("S") == restarted(book).position("S") == 10

"""The specimen of rows stands for all of them, so it must hold one of every kind, and react to every change."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import pytest

from models import messages
from models.folds import drawdown
from models.folds.book import Book
from models.folds.drawdown import Drawdown
from models.folds.ledger import Approval, Decided, Ledger
from models.folds.reference import Reference
from models.folds.reports import Report
from models.specimen import specimen
from streams.store import FORMAT, format_of_rows


@pytest.fixture
def rows() -> Any:
    return specimen()


def filled(rows: list[dict[str, Any]]) -> set[str]:
    """Return the fields that are not null in every row."""
    return {name for row in rows if row for name, value in row.items() if value is not None}


def test_every_kind_of_row_is_there_with_every_field(rows: Any) -> None:
    head = rows["drawdown"][""]
    own = {field.name for field in fields(Drawdown) if field.compare} - {"marks", "adjustments"}
    assert filled([head]) == own
    assert {key[:1] for key in rows["drawdown"]} == {"", drawdown.MARK, drawdown.ADJUSTMENT}
    assert filled([head["session"], head["high_water"], head["daily"]]) == {
        "current",
        "worst",
        "peak",
        "open",
        "flow",
    }
    assert {type(value) for value in rows["drawdown"]["mS"]} == {str, int}
    assert len(rows["drawdown"]["mS"]) == len(drawdown.Mark._fields)
    assert {key[:1] for key in rows["heatmap"]} == {"", "b", "x"}
    reports = [row for key, row in rows["heatmap"].items() if key[:1] == "x"]
    assert filled(reports) == {*Report._fields} - {"key"} | {"summed"}
    assert {key[:1] for key in rows["ledger"]} == {"", "h", "i", "a", "s"}
    assert rows["ledger"][""]["account_bucket"] > 0
    assert all(row > 0 for key, row in rows["ledger"].items() if key[:1] == "s")
    assert filled([rows["ledger"]["ii"]]) == {*Decided._fields}
    assert filled([rows["ledger"]["ai"], rows["ledger"]["aj"]]) == {*Approval._fields}
    assert all(None not in session for session in rows["correlation"]["S"])
    assert rows["state"]["chain_seq"] == 1


def test_every_kind_of_reference_record_is_there(rows: Any) -> None:
    (union, *_) = get_args(messages.ReferenceRecord)
    kinds = {get_args(kind.model_fields["kind"].annotation)[0] for kind in get_args(union)}
    assert {row["record"]["kind"] for row in rows["reference"].values()} == kinds


def test_the_same_program_finds_the_same_format() -> None:
    assert format_of_rows() == FORMAT


def _another_field(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Ledger.row

    def longer(self: Ledger, key: str) -> Any:
        found: Any = row(self, key)
        return {**found, "new": 1} if key == "" else found

    monkeypatch.setattr(Ledger, "row", longer)


def _another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = Reference.fold

    def renaming(self: Reference, *arguments: Any, **named: Any) -> Any:
        refusal = fold(self, *arguments, **named)
        self._records = {key.replace("account", "owner"): record for key, record in self._records.items()}
        self.dirty = set(self._records)
        return refusal

    monkeypatch.setattr(Reference, "fold", renaming)


def _another_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are spelled as before, and say something else."""
    monkeypatch.setattr("models.folds.drawdown.JUMP_MAX", drawdown.JUMP_MAX / 1000)


def _another_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.folds.book.KEPT", 30 * 86_400 * 10**9)


def _other_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.store.RULES", 10**6)


def _another_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.store._LAYOUT", 10**6)


def _a_number_that_is_a_string(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Book.row
    monkeypatch.setattr(Book, "row", lambda self, key: {"clock": str(self.clock)} if key == "" else row(self, key))


@pytest.mark.parametrize(
    "change",
    [
        _another_field,
        _another_key,
        _another_fold,
        _another_time,
        _other_rules,
        _another_layout,
        _a_number_that_is_a_string,
    ],
)
def test_whatever_changes_the_rows_changes_the_format(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch)
    assert format_of_rows() != FORMAT

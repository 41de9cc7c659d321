"""Rows on disk: all or nothing, read through, and thrown away rather than trusted."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from models.messages import EquityMark, PriceMark
from models.state import State
from streams.codec import Codec
from streams.operations import OperatorError
from streams.replica import SharedReplica
from streams.store import FORMAT, DamagedError, Row, Store
from streams.tables import ACCOUNT_TABLES, AccountTables

VECTOR = {"offset": 7}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "db", ("a", "b"))
    yield opened
    opened.close()


def test_rows_and_vector_come_back_after_a_restart(store: Store) -> None:
    store.write([Row("a", b"k\0x", b"1"), Row("a", b"k\0y", b"[2]"), Row("b", b"k\0x", b"3")], VECTOR)
    store.close()
    again = Store(store.path, ("a", "b"))
    assert again.vector() == {**VECTOR, "format": FORMAT}
    assert again.rows("a", b"k\0") == {"x": 1, "y": [2]}
    assert again.rows("b") == {"k\0x": 3}
    again.close()


def test_a_prefix_is_one_account(store: Store) -> None:
    keys = (b"A\0x", b"A\0y", b"AA\0x", b"A!\0x", b"@\0x", b"B\0x")
    store.write([Row("a", key, b"1") for key in keys], VECTOR)
    assert store.rows("a", b"A\0") == {"x": 1, "y": 1}


def test_a_row_without_a_value_is_gone(store: Store) -> None:
    store.write([Row("a", b"x", b"1"), Row("a", b"y", b"1")], VECTOR)
    store.write([Row("a", b"x", None)], VECTOR)
    assert store.rows("a") == {"y": 1}


def test_rows_after_a_key(store: Store) -> None:
    store.write([Row("a", f"t\0{number:03d}".encode(), b"1") for number in range(5)], VECTOR)
    assert list(store.rows("a", b"t\0", after=b"t\x00002")) == ["003", "004"]


def test_rows_without_a_vector_do_not_count(store: Store) -> None:
    store.write_part([Row("a", b"x", b"1")])
    assert store.vector() is None
    store.clear()
    assert store.rows("a") == {}


def test_another_format_does_not_count(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write([], VECTOR)
    monkeypatch.setattr("streams.store.FORMAT", FORMAT + 1)
    assert store.vector() is None


def test_an_unusable_database_is_thrown_away(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    store.write([Row("a", b"x", b"1")], VECTOR)
    store.close()
    for file in store.path.glob("MANIFEST*"):
        file.write_bytes(b"garbage")
    again = Store(store.path, ("a", "b"))
    assert again.vector() is None
    assert again.rows("a") == {}
    again.close()
    assert "discarded folder=" in capfd.readouterr().out


def test_what_cannot_be_read_is_marked_and_thrown_away_at_the_next_start(store: Store) -> None:
    store.write([Row("a", b"x", b"no JSON")], VECTOR)
    with pytest.raises(DamagedError, match="cannot be read and will be built again"):
        store.rows("a")
    store.close()
    again = Store(store.path, ("a", "b"))
    assert again.vector() is None
    again.close()


def test_a_folder_in_use_is_left_alone(store: Store) -> None:
    store.write([], VECTOR)
    with pytest.raises(OperatorError, match="in use by another process"):
        Store(store.path, ("a", "b"))
    assert store.vector() is not None


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "accounts", ACCOUNT_TABLES)
    yield opened
    opened.close()


def _tick(state: State, account: str, offset: int) -> None:
    mark = PriceMark(price=Decimal(100))
    tick = EquityMark(account=account, event_time=10**18 + offset, equity=Decimal(1000 + offset), marks={"X": mark})
    state.fold_tick(tick, offset=offset, time=2 * 10**18)


def _state(tables: AccountTables) -> State:
    return State(SharedReplica(Codec(1)).shared, tables)


def test_an_account_is_read_through(accounts: Store) -> None:
    tables = AccountTables(accounts)
    state = _state(tables)
    _tick(state, "A", 1)
    _tick(state, "AB", 2)
    accounts.write(tables.cut(state.changed), VECTOR)
    fresh = AccountTables(accounts)
    assert fresh["A"].drawdown.equity == 1001
    assert fresh["AB"].drawdown.equity == 1002
    assert fresh["B"].drawdown.equity is None


def test_a_cut_holds_what_changed_since_the_last_one(accounts: Store) -> None:
    tables = AccountTables(accounts)
    state = _state(tables)
    _tick(state, "A", 1)
    _tick(state, "B", 2)
    assert {row.key for row in tables.cut(state.changed)} == {b"A\0", b"A\0mX", b"B\0", b"B\0mX"}
    state.changed.clear()
    _tick(state, "B", 3)
    assert {row.key for row in tables.cut(state.changed)} == {b"B\0", b"B\0mX"}
    assert tables.cut({"A", "B"}) == []


def test_unchanged_accounts_are_forgotten_the_oldest_first(accounts: Store) -> None:
    tables = AccountTables(accounts, capacity=2)
    state = _state(tables)
    for offset, name in enumerate(("A", "B", "C", "D")):
        _tick(state, name, offset)
    tables.trim(state.changed)
    assert len(tables) == 4, "they are not on disk yet"
    accounts.write(tables.cut(state.changed), VECTOR)
    state.changed.clear()
    assert tables["A"].drawdown.equity == 1000
    _tick(state, "B", 9)
    tables.trim(state.changed)
    assert list(tables._accounts) == ["D", "A", "B"]
    assert tables["C"].drawdown.equity == 1002

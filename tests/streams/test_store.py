"""Rows on disk: all or nothing, read through, and thrown away rather than trusted."""

import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from models.messages import EquityMark, PriceMark
from models.state import State
from streams.app import Worker
from streams.codec import Codec
from streams.config import Settings
from streams.operations import OperatorError
from streams.replica import SharedReplica
from streams.store import _WRITE_BUFFERS_BYTES, FORMAT, DamagedError, Row, Store, _write_buffers
from streams.tables import ACCOUNT_TABLES, AccountTables

VECTOR = {"offset": 7}
ROWS = 5
"""Of an account that has one mark and nothing else."""


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
    store.write([Row("a", b"x", b"1")], VECTOR)
    monkeypatch.setattr("streams.store.FORMAT", "another")
    assert store.vector() is None
    store.close()
    again = Store(store.path, ("a", "b"))
    assert again.vector() is None
    again.close()


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


def _no_room(*_: object, **__: object) -> NoReturn:
    raise Exception("IO error: No space left on device: While open a file for lock")  # noqa: TRY002  # RocksDB's own


def test_a_database_is_not_thrown_away_because_the_disk_is_full(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write([Row("a", b"x", b"1")], VECTOR)
    store.close()
    with monkeypatch.context() as full:
        full.setattr("streams.store.Rdict", _no_room)
        with pytest.raises(OperatorError, match="cannot be used: IO error") as caught:
            Store(store.path, ("a", "b"))
    assert "full or broken" in caught.value.remedy
    again = Store(store.path, ("a", "b"))
    assert again.rows("a") == {"x": 1}
    again.close()


def test_a_write_that_fails_names_the_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_db", SimpleNamespace(write=_no_room, close=lambda: None))
    with pytest.raises(OperatorError, match="db cannot be written: IO error") as caught:
        store.write_part([Row("a", b"x", b"1")])
    assert "full or broken" in caught.value.remedy


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file", encoding="utf-8")
    with pytest.raises(OperatorError, match="worker-1 cannot be made: ") as caught:
        Worker(Settings(data_dir=tmp_path / "data", worker_id="worker-1"))
    assert "full or broken" in caught.value.remedy


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
    tables = AccountTables(accounts, capacity=2 * ROWS)
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


@pytest.mark.parametrize("count", [10, 1000])
def test_the_cache_is_bounded_by_rows_whatever_the_number_of_accounts(accounts: Store, count: int) -> None:
    tables = AccountTables(accounts, capacity=8 * ROWS)
    state = _state(tables)
    for offset in range(count):
        _tick(state, f"A{offset}", offset)
        if offset % 5 == 4:
            accounts.write(tables.cut(state.changed), VECTOR)
            state.changed.clear()
            tables.trim(state.changed)
            assert len(tables) <= 8
    for offset in range(count):
        assert tables[f"A{offset}"].drawdown.equity == 1000 + offset
        tables.trim(state.changed)
        assert tables.row_count == sum(each.row_count for each in tables._accounts.values()) <= 8 * ROWS
    assert len(tables) == 8, "what there is room for stays"


def test_a_large_account_takes_the_room_of_many_small_ones(accounts: Store) -> None:
    tables = AccountTables(accounts, capacity=8 * ROWS)
    state = _state(tables)
    _tick(state, "LARGE", 0)
    for offset in range(1, 5):
        _tick(state, f"A{offset}", offset)
    marks = {f"S{number}": PriceMark(price=Decimal(100)) for number in range(5 * ROWS)}
    tick = EquityMark(account="LARGE", event_time=10**18 + 9, equity=Decimal(1000), marks=marks)
    state.fold_tick(tick, offset=9, time=2 * 10**18)
    accounts.write(tables.cut(state.changed), VECTOR)
    state.changed.clear()
    assert tables["LARGE"].row_count == ROWS + 5 * ROWS
    tables.trim(state.changed)
    assert list(tables._accounts) == ["A3", "A4", "LARGE"]
    for name in ("A3", "A4", "LARGE", "A1"):
        assert tables[name].row_count == AccountTables(accounts)[name].row_count


def test_memory_of_all_databases_together_is_bounded(tmp_path: Path) -> None:
    """Each table of each database has write buffers: of sixty-four partitions they would be a gigabyte."""
    stores = [Store(tmp_path / str(number), ACCOUNT_TABLES) for number in range(8)]
    for _ in range(16):
        for store in stores:
            store.write([Row(table, os.urandom(16), os.urandom(1 << 18)) for table in ACCOUNT_TABLES], VECTOR)
    assert sum(1 << 18 for _ in stores for _ in ACCOUNT_TABLES for _ in range(16)) > _WRITE_BUFFERS_BYTES
    assert 0 < _write_buffers().get_usage() <= 2 * _WRITE_BUFFERS_BYTES
    for store in stores:
        store.close()

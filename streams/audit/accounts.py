"""The state of an audit: rows of accounts beyond a number lie on disk, so that memory grows with no history."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import orjson

from models.state import Shared, State
from streams.store import Row, Store
from streams.tables import (
    ACCOUNT_TABLES,
    CORRELATION,
    LEDGER,
    REFERENCE,
    SHARED_TABLES,
    AccountTables,
    cut_shared,
    load_shared,
)

ROWS_KEPT: Final = 100_000
"""A decoded row takes a kilobyte or so."""
_TABLES: Final = (*ACCOUNT_TABLES, *SHARED_TABLES)


class StateOnDisk:
    """One partition's state over a database of its own, which goes when it is closed. A context manager.

    It is what a worker keeps, rows and tables alike, but for the shared tables, which stand beside the accounts':
    each partition's audit knows them as far as its decisions did.

    Args:
        kept: How many rows of accounts are kept decoded.
    """

    def __init__(self, *, kept: int = ROWS_KEPT) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="seawall-audit-")
        self._store = Store(Path(self._folder.name) / "state", _TABLES)
        self._tables = AccountTables(self._store, capacity=kept)
        self.state = State(Shared(), self._tables)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()
        self._folder.cleanup()

    def tidy(self, state: State) -> None:
        """Put what changed on disk, and forget accounts beyond the number kept."""
        self._store.write_part([*self._tables.cut(state.changed), *cut_shared(state.shared)])
        state.changed.clear()
        self._tables.trim(state.changed)

    def rows(self) -> Iterator[Row]:
        """Yield every row; `tidy` comes first."""
        for table in (*ACCOUNT_TABLES, CORRELATION, REFERENCE):
            for key, value in self._store.every(table):
                yield Row(table, key, value)

    def load(self, rows: Iterator[Row]) -> None:
        """Begin with these rows instead of none."""
        batch: list[Row] = []
        for row in rows:
            batch.append(row)
            if len(batch) == 10_000:  # noqa: PLR2004  # rows at once
                self._store.write_part(batch)
                batch.clear()
        self._store.write_part(batch)
        self.state = State(load_shared(self._store), self._tables)

    def heads(self) -> Iterator[tuple[str, str, int, str]]:
        """Yield account, "decisions" or "halts", seq and digest of every chain; `tidy` comes first."""
        for key, value in self._store.every(LEDGER):
            account, _, row = key.decode().partition("\0")
            if row in {"", "h"}:
                fields = orjson.loads(value)
                if fields["seq"]:
                    yield account, "halts" if row else "decisions", fields["seq"], fields["digest"]

    def reference(self) -> Iterator[tuple[str, bytes]]:
        """Yield the rows of `reference`; `tidy` comes first."""
        for key, value in self._store.every(REFERENCE):
            yield key.decode(), value

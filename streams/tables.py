"""Tables of decoded rows: read through from a store, and what changed in them handed over as rows.

A cut is the rows changed since the last one together with the vector that names them, taken in one stretch without an
await. There is one level of checkpoints and one set of changed rows: whoever takes a cut must see it written.
"""

from collections import OrderedDict
from collections.abc import Set as AbstractSet
from typing import Final

import orjson

from models.folds.book import Book
from models.folds.correlation import Returns
from models.folds.drawdown import Drawdown
from models.folds.ledger import Ledger
from models.folds.reference import Reference
from models.folds.rows import Rows
from models.portfolio import Account
from models.state import Shared
from streams.store import Row, Store

DRAWDOWN: Final = "drawdown"
HEATMAP: Final = "heatmap"
LEDGER: Final = "ledger"
ACCOUNT_TABLES: Final = (DRAWDOWN, HEATMAP, LEDGER)

CORRELATION: Final = "correlation"
REFERENCE: Final = "reference"
REFUSED: Final = "refused"
"""Dead letters of the shared topics, by topic and offset: whoever owns partition 0 publishes them."""
SHARED_TABLES: Final = (CORRELATION, REFERENCE, REFUSED)

CACHED_ROWS: Final = 400_000
"""Rows kept decoded by one worker, beside those of accounts that changed since the last checkpoint.

A decoded row takes a kilobyte or so. Rows are counted, not accounts: one has a position, another has a thousand.
"""


class AccountTables:
    """The three tables of one partition's accounts. Rows are keyed by account, NUL, and their own key.

    Args:
        store: Where rows are read from.
        capacity: How many rows of unchanged accounts `trim` keeps.
    """

    def __init__(self, store: Store, *, capacity: int = CACHED_ROWS) -> None:
        self._store = store
        self._capacity = capacity
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._row_counts: dict[str, int] = {}
        """Of each account in memory, as of its last checkpoint or, if there was none since, as it was read."""
        self.row_count = 0
        """The sum of these."""

    def __getitem__(self, name: str) -> Account:
        """Return the account, from the store if need be; a fresh one where nothing is known of it.

        Raises:
            DamagedError: If its rows cannot be read.
        """
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = self._load(name)
            self._count(name, account.row_count)
        else:
            self._accounts.move_to_end(name)
        return account

    def __len__(self) -> int:
        return len(self._accounts)

    def _count(self, name: str, rows: int) -> None:
        self.row_count += rows - self._row_counts.get(name, 0)
        self._row_counts[name] = rows

    def _load(self, name: str) -> Account:
        prefix = name.encode() + b"\0"
        rows = [self._store.rows(table, prefix) for table in ACCOUNT_TABLES]
        with self._store.reading():
            return Account(Drawdown.from_rows(rows[0]), Book.from_rows(rows[1]), Ledger.from_rows(rows[2]))

    def cut(self, changed: AbstractSet[str]) -> list[Row]:
        """Return the changed rows of these accounts; they count as unchanged from here on."""
        cut: list[Row] = []
        for name in sorted(changed):
            account = self._accounts[name]
            prefix = name + "\0"
            cut += changed_rows(DRAWDOWN, account.drawdown, prefix)
            cut += changed_rows(HEATMAP, account.book, prefix)
            cut += changed_rows(LEDGER, account.ledger, prefix)
            self._count(name, account.row_count)
        return cut

    def rows_of(self, names: AbstractSet[str]) -> int:
        """Return how many rows some accounts that are in memory have by now."""
        return sum(self._accounts[name].row_count for name in names)

    def trim(self, pinned: AbstractSet[str]) -> None:
        """Forget accounts whose rows are beyond the capacity, those not asked for the longest first.

        Args:
            pinned: Accounts with changes that the store does not have; they stay.
        """
        excess = self.row_count - self._capacity - sum(self._row_counts.get(name, 0) for name in pinned)
        forgotten = []
        for name in self._accounts:
            if excess <= 0:
                break
            if name not in pinned:
                forgotten.append(name)
                excess -= self._row_counts[name]
        for name in forgotten:
            del self._accounts[name]
            self.row_count -= self._row_counts.pop(name)


def changed_rows(table: str, rows: Rows, prefix: str = "") -> list[Row]:
    """Return the changed rows of one state; they count as unchanged from here on."""
    if not rows.dirty:
        return []
    cut = [
        Row(table, (prefix + key).encode(), None if (row := rows.row(key)) is None else orjson.dumps(row))
        for key in sorted(rows.dirty)
    ]
    rows.dirty.clear()
    return cut


def load_shared(store: Store) -> Shared:
    """Return the shared tables as the store has them, without their offsets.

    Raises:
        DamagedError: If they cannot be read.
    """
    returns, reference = store.rows(CORRELATION), store.rows(REFERENCE)
    with store.reading():
        return Shared(Returns.from_rows(returns), Reference.from_rows(reference))


def cut_shared(shared: Shared) -> list[Row]:
    """Return the changed rows of the shared tables; they count as unchanged from here on."""
    return [*changed_rows(CORRELATION, shared.returns), *changed_rows(REFERENCE, shared.reference)]

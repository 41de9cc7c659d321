"""State that is kept as rows, so that a checkpoint writes what changed and no more."""

from collections.abc import Mapping
from typing import Any, Protocol, Self

from pydantic import JsonValue


class Rows(Protocol):
    """What a table holds for one account (or, for shared tables, for a worker)."""

    dirty: set[str]
    """Keys of the rows that changed since the owner last cleared this set."""

    def row(self, key: str) -> JsonValue:
        """Return the row as JSON can carry it, decimals in canonical spelling; None where it is gone."""
        ...

    @classmethod
    def from_rows(cls, rows: Mapping[str, Any]) -> Self:
        """Return the state that had these rows; no rows give a fresh state."""
        ...

"""The dead letters of a partition, on disk until what calls for each is found: a flood of garbage fills no memory."""

import sqlite3
from typing import Final

import orjson

from models.canonical import sha256

_CACHE_KIB: Final = 4096


class Letters:
    """Dead letters that were found and not yet accounted for.

    They are in the order of their publication, which is not that of the fold: a partition's inputs arrive in any
    order. The temporary database has no name and goes with its connection.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        for pragma in (f"cache_size = -{_CACHE_KIB}", "journal_mode = OFF", "synchronous = OFF"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("CREATE TABLE letters (key TEXT PRIMARY KEY, evidence TEXT) WITHOUT ROWID")

    def add(self, key: bytes | None, value: bytes | None) -> None:
        """Keep a letter; of several with one key the last."""
        self._db.execute("INSERT OR REPLACE INTO letters VALUES (?, ?)", (_text(key), _evidence(value)))

    def take(self, key: bytes | None, value: bytes | None) -> bool | None:
        """Account for a letter; tell whether it is the one that comes out, None where there is none."""
        found = self._db.execute("DELETE FROM letters WHERE key = ? RETURNING evidence", (_text(key),)).fetchone()
        return None if found is None else found[0] == _evidence(value)

    def rest(self, limit: int) -> list[str]:
        """Return the keys of some of those that nothing has called for."""
        return [key for (key,) in self._db.execute("SELECT key FROM letters ORDER BY key LIMIT ?", (limit,))]

    def __len__(self) -> int:
        count: int = self._db.execute("SELECT count(*) FROM letters").fetchone()[0]
        return count

    def close(self) -> None:
        """Let go of it."""
        self._db.close()


def _text(key: bytes | None) -> str:
    return (key or b"").decode(errors="replace")


def _evidence(letter: bytes | None) -> str:
    """Return a digest of what a dead letter proves: all but its wording, which may change from version to version."""
    try:
        fields = orjson.loads(letter or b"null")
    except orjson.JSONDecodeError:
        return sha256(letter or b"")
    if isinstance(fields, dict) and isinstance(fields.get("why"), str):
        del fields["why"]
    return sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS))

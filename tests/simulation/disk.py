"""What a machine keeps of a database: it survives the process, unless it is lost."""

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson

from streams import store
from streams.store import Row, encode_vector
from tests.simulation.faults import Faults


class Disk:
    """The bytes of one database."""

    def __init__(self) -> None:
        self.rows: defaultdict[str, dict[bytes, bytes]] = defaultdict(dict)
        self.vector: dict[str, Any] | None = None
        self.foreign = False
        """Whether it holds something that this log never said."""
        self._synced: tuple[dict[str, dict[bytes, bytes]], dict[str, Any] | None] = ({}, None)

    def sync(self) -> None:
        """Remember what a power failure leaves."""
        self._synced = copy.deepcopy(dict(self.rows)), copy.deepcopy(self.vector)

    def lose_power(self) -> bool:
        """Go back to what was synced last; tell whether anything was lost."""
        lost = self.vector != self._synced[1]
        self.rows = defaultdict(dict, copy.deepcopy(self._synced[0]))
        self.vector = copy.deepcopy(self._synced[1])
        return lost

    def swap(self) -> bool:
        """Become the disk of another log, whose rows fit nothing here; tell whether there was one to take."""
        if self.vector is None or "equity-ticks" not in self.vector["anchors"]:
            return False
        self.foreign = True
        self.vector["anchors"]["equity-ticks"][1] = "0" * 16
        self.rows["ledger"][b"A\0iforeign"] = self.rows["ledger"][b"B\0iforeign"] = orjson.dumps(
            {
                "intent_id": "foreign",
                "intent_digest": "0" * 64,
                "seq": 1,
                "status": "REJECTED",
                "quantity": "0",
                "taken_until": 2**62,
            }
        )
        return True


class DiskStore:
    """Keeps rows as `streams.store.Store` keeps them, on a disk in memory: each write whole or not at all.

    Args:
        disk: Where.
        faults: Where the process may be gone.
    """

    def __init__(self, disk: Disk, faults: Faults) -> None:
        self._disk = disk
        self._faults = faults

    def vector(self) -> dict[str, Any] | None:
        """Return the vector; None where another version wrote it."""
        vector = self._disk.vector
        return vector if vector is not None and vector["format"] == store.FORMAT else None

    def rows(self, table: str, prefix: bytes = b"") -> dict[str, Any]:
        """Return the rows whose keys begin with a prefix."""
        return {
            key[len(prefix) :].decode(): orjson.loads(value)
            for key, value in self._disk.rows[table].items()
            if key.startswith(prefix)
        }

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Do nothing: what this disk holds can be read."""
        yield

    def write_part(self, rows: Iterable[Row]) -> None:
        """Write rows."""
        self._faults.may_crash("between two parts of a restore")
        self._put(rows)

    def _put(self, rows: Iterable[Row]) -> None:
        for row in rows:
            if row.value is None:
                self._disk.rows[row.table].pop(row.key, None)
            else:
                self._disk.rows[row.table][row.key] = row.value

    def write(self, rows: Iterable[Row], vector: Mapping[str, Any]) -> None:
        """Write rows and their vector."""
        self._faults.may_crash("before writing to the disk")
        if self._faults.happens("a disk is synced"):
            self._disk.sync()
        self._put(rows)
        self._disk.vector = orjson.loads(encode_vector(vector))
        self._faults.may_crash("after writing to the disk")

    def clear(self, _: str | None = None) -> None:
        """Throw everything away."""
        self._faults.may_crash("before clearing the disk")
        self._disk.rows.clear()
        self._disk.vector = None
        self._disk.foreign = False
        self._disk.sync()
        self._faults.may_crash("after clearing the disk")

    def close(self) -> None:
        """Let go."""

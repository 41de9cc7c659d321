"""Rows on the local disk: one RocksDB database, a column family for each table and one for the vector.

A database is a cache of what the topics say. It holds rows and the vector that names them, written together; without
a vector it holds nothing. Whatever is wrong with it, the answer is the same: throw it away and build it again.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from rocksdict import (
    BlockBasedOptions,
    Cache,
    ColumnFamily,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
)

from models.canonical import canonical_bytes, sha256
from models.decisions import RULES
from models.specimen import specimen
from streams.operations import DISK_REMEDY, OperatorError, say

_LAYOUT: Final = 3
"""Raised by hand when this package's own share of a checkpoint changes: names of tables, keys, the vector."""


def format_of_rows() -> str:
    """Return what tells rows of this program from rows of one that keeps them in another way, or by other rules."""
    return sha256(canonical_bytes([_LAYOUT, RULES, specimen()]))[:16]


FORMAT: Final = format_of_rows()
"""Databases and checkpoints of another format are of no use; the log is."""

VECTOR_KEY: Final = b"vector"
_OFFSETS: Final = "offsets"
_DAMAGED: Final = "DAMAGED"
_NO_ROOM: Final = os.strerror(errno.ENOSPC)
_CACHE_BYTES: Final = 96 << 20  # Of all databases together; RocksDB's default is 2 GiB for each.
_WRITE_BUFFERS_BYTES: Final = 64 << 20  # The same, and a part of that: else each table of each database has its own.
_WRITE_BUFFER_BYTES: Final = 4 << 20


class Row(NamedTuple):
    """One row of one table; no value where it is gone."""

    table: str
    key: bytes
    value: bytes | None


class DamagedError(OperatorError):
    """The database cannot be read. It is marked, so that the next start builds it again."""


class Store:
    """One database.

    Reads and writes block, for microseconds: what is read is in memory or in the page cache, and what is written goes
    to the write-ahead log without sync. That survives a killed process; after a power loss the topics have it all.

    Args:
        path: Its folder, made where it is missing. A database there that cannot be used is thrown away.
        tables: Names of its tables.

    Raises:
        OperatorError: If another process has it open, or the disk has no room for it.
    """

    def __init__(self, path: Path, tables: Sequence[str]) -> None:
        self.path = path
        self._pristine = False
        """Nothing was ever written to it."""
        self._names = (*tables, _OFFSETS)
        self._open()

    def _open(self) -> None:
        if (self.path / _DAMAGED).exists():
            self._remove("it was marked as damaged")
        try:
            self._connect()
            self.vector()
        except Exception as error:
            if _NO_ROOM in str(error):  # It may be sound, and there is no room to build it again either.
                raise self._unusable(error) from error
            if "lock" in str(error).lower():
                raise OperatorError(
                    f"{self.path} is in use by another process: give each worker its own SEAWALL_WORKER_ID"
                ) from error
            self.close()
            self._remove(str(error))
            self._connect_empty()

    def _connect_empty(self) -> None:
        try:
            self._connect()
        except Exception as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> OperatorError:
        return OperatorError(f"{self.path} cannot be used: {error}", remedy=DISK_REMEDY)

    def _connect(self) -> None:
        self._pristine = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        self._db = Rdict(str(self.path), _options(), column_families={name: _options() for name in self._names})
        self._tables = {name: self._db.get_column_family(name) for name in self._names}
        self._handles: dict[str, ColumnFamily] = {
            name: self._db.get_column_family_handle(name) for name in self._names
        }

    def clear(self, why: str | None = None) -> None:
        """Throw everything away and begin with an empty database.

        Args:
            why: What the operator is told; nothing where there is nothing to regret.
        """
        if not self._pristine:
            self.close()
            self._remove(why)
            self._connect_empty()

    def _remove(self, why: str | None) -> None:
        if why is not None:
            say("discarded", folder=self.path, because=why)
        if self.path.exists():
            shutil.rmtree(self.path)

    def vector(self) -> dict[str, Any] | None:
        """Return the vector that names the rows; None where there is none, and the rows do not count.

        Raises:
            DamagedError: If the database cannot be read.
        """
        with self.reading():
            value = self._tables[_OFFSETS].get(VECTOR_KEY)
            vector: dict[str, Any] | None = None if value is None else orjson.loads(value)
        return vector if vector is not None and vector.get("format") == FORMAT else None

    def rows(self, table: str, prefix: bytes = b"", *, after: bytes = b"") -> dict[str, Any]:
        """Return the rows of one table whose keys begin with `prefix`, by the rest of their keys, in their order.

        Args:
            table: Its name.
            prefix: What the keys begin with.
            after: Return only rows whose whole key is greater.

        Raises:
            DamagedError: If the database cannot be read.
        """
        options = ReadOptions()
        if prefix:
            options.set_iterate_upper_bound(prefix[:-1] + bytes([prefix[-1] + 1]))
        found = {}
        with self.reading():
            cursor = self._tables[table].iter(options)
            cursor.seek(max(prefix, after))
            while cursor.valid():
                key = cursor.key()
                if key != after:
                    found[key[len(prefix) :].decode()] = orjson.loads(cursor.value())
                cursor.next()
            cursor.status()
        return found

    def every(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys and values of one table in their order.

        Raises:
            DamagedError: If the database cannot be read.
        """
        with self.reading():
            cursor = self._tables[table].iter(ReadOptions())
            cursor.seek_to_first()
            while cursor.valid():
                yield cursor.key(), cursor.value()
                cursor.next()
            cursor.status()

    def write(self, rows: Iterable[Row], vector: Mapping[str, Any]) -> None:
        """Write rows and the vector that names them, all or nothing.

        Raises:
            OperatorError: If the disk does not take them.
        """
        batch = self._batch(rows)
        batch.put(VECTOR_KEY, encode_vector(vector), self._handles[_OFFSETS])
        self._write(batch)

    def write_part(self, rows: Iterable[Row]) -> None:
        """Write rows of a database without a vector, which does not count until `write` gives it one."""
        self._write(self._batch(rows))

    def _write(self, batch: WriteBatch) -> None:
        self._pristine = False
        try:
            self._db.write(batch)
        except Exception as error:  # RocksDB's own is no OSError
            raise OperatorError(f"{self.path} cannot be written: {error}", remedy=DISK_REMEDY) from error

    def _batch(self, rows: Iterable[Row]) -> WriteBatch:
        batch = WriteBatch(raw_mode=True)
        for row in rows:
            if row.value is None:
                batch.delete(row.key, self._handles[row.table])
            else:
                batch.put(row.key, row.value, self._handles[row.table])
        return batch

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn whatever goes wrong inside into `DamagedError`, and mark the database."""
        try:
            yield
        except Exception as error:
            with suppress(OSError):
                (self.path / _DAMAGED).touch()
            raise DamagedError(f"{self.path} cannot be read and will be built again: {error}") from error

    def close(self) -> None:
        """Give the folder free."""
        # RocksDB keeps its lock for as long as anything of the database is referred to.
        self._handles = {}
        for table in getattr(self, "_tables", {}).values():
            table.close()
        self._tables = {}
        if hasattr(self, "_db"):
            self._db.close()
            del self._db


def encode_vector(vector: Mapping[str, Any]) -> bytes:
    """Return the bytes of a vector, for the database and for the topic."""
    return orjson.dumps({**vector, "format": FORMAT})


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003  # RocksDB's own signature
    options.create_missing_column_families(True)  # noqa: FBT003  # the same
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_write_buffer_manager(_write_buffers())
    options.set_keep_log_file_num(2)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(_cache())
    # Otherwise they are kept beside the cache, and grow with the database.
    blocks.set_cache_index_and_filter_blocks(True)
    options.set_block_based_table_factory(blocks)
    return options


@cache
def _cache() -> Cache:
    """Return the one block cache of the process."""
    return Cache(_CACHE_BYTES)


@cache
def _write_buffers() -> WriteBufferManager:
    """Return what bounds the write buffers of the process; they are charged to its cache."""
    return WriteBufferManager.new_write_buffer_manager_with_cache(_WRITE_BUFFERS_BYTES, False, _cache())  # noqa: FBT003

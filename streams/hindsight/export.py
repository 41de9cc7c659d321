"""Decisions, halts and positions as rows of a table: for pandas, DuckDB and spreadsheets.

What is written is what the topics hold; nothing is rounded. Numbers are exact decimals: canonical text in CSV,
decimal128 in Parquet, as wide as the rules let any number become. Should one not fit all the same, the export stops
and names it. Rows are read, and written in row groups, as they come, so memory does not grow with the log. A file
appears under its name only when it is whole.
"""

import csv
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing, closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from models.canonical import DAY_NS, SECOND_NS, canonical_bytes, exact, plain
from models.decisions import RiskDecision, TradingHalt
from models.folds.book import Book
from models.messages import Fill, OperatorKeys, Statement
from models.refusal import Refused
from models.state import State
from streams.codec import decode_decision, decode_halt
from streams.config import Settings
from streams.hindsight.history import HistoryError, Past, open_history, partitions_of
from streams.hindsight.spans import EVER, Span
from streams.records import Record, Topic
from streams.replica import Replica, SharedReplica

ROW_GROUP: Final = 10_000
"""Rows that are written at a time."""

Value = str | int | Decimal | list[str] | None
Row = dict[str, Value]


class ExportError(HistoryError):
    """The rows cannot be written as asked."""


class Kind(NamedTuple):
    """How a column's values are written."""

    name: str
    """text, integer, time, list or decimal."""
    scale: int = 0
    """Of a decimal: places after the point, of 38 digits in all."""


TEXT, INTEGER, TIME, LIST = Kind("text"), Kind("integer"), Kind("time"), Kind("list")
NUMBER = Kind("decimal", 12)
"""Wire numbers and sums of them: 12 places, 26 digits before the point. A flow-adjusted peak has up to 25."""
PRICE = Kind("decimal", 14)
"""A price of the ladder, which may be ten percent above a wire number."""
SHARE = Kind("decimal", 6)
"""A ratio in a report, 6 places."""


class Table(NamedTuple):
    """One kind of export."""

    columns: Mapping[str, Kind]
    rows: Callable[[Past, str | None, Span], AsyncGenerator[Row]]


_PLACE: Final = {"partition": INTEGER, "offset": INTEGER, "record_time": TIME}
_AS_OF: Final = {f"as_of_{name}": INTEGER for name in ("fills", "equity_ticks", "daily_returns", "reference")}


def _place(record: Record) -> Row:
    return {"partition": record.partition, "offset": record.offset, "record_time": record.time}


def _as_of(message: RiskDecision | TradingHalt) -> Row:
    return {f"as_of_{name}": offset for name, offset in message.as_of}


# --- decisions

DECISION_COLUMNS: Final[dict[str, Kind]] = {
    **_PLACE,
    "account": TEXT,
    "seq": INTEGER,
    "intent_id": TEXT,
    "strategy": TEXT,
    "symbol": TEXT,
    "side": TEXT,
    "order_type": TEXT,
    "limit_price": NUMBER,
    "event_time": TIME,
    "clock": TIME,
    "status": TEXT,
    "quantity": NUMBER,
    "reducing_quantity": NUMBER,
    "opening_quantity": NUMBER,
    "max_quantity": NUMBER,
    "binding_constraint": TEXT,
    "reasons": LIST,
    "warnings": LIST,
    "price": PRICE,
    "price_source": TEXT,
    "price_age_ns": INTEGER,
    "atr": NUMBER,
    "atr_source": TEXT,
    "atr_age_ns": INTEGER,
    "equity": NUMBER,
    "equity_age_ns": INTEGER,
    "reserved_quantity": NUMBER,
    "reserved_price": PRICE,
    "expires_at": TIME,
    "replaces": TEXT,
    "original_seq": INTEGER,
    "checks": TEXT,
    "limits_version": TEXT,
    "rules": INTEGER,
    "intent_offset": INTEGER,
    **_AS_OF,
    "digest": TEXT,
}


async def decision_rows(past: Past, account: str | None = None, span: Span = EVER) -> AsyncGenerator[Row]:
    """Yield a row for each decision, partition by partition in the order of the log.

    Args:
        past: The topics.
        account: Only this account's; MALFORMED decisions, which belong to none, are left out then.
        span: Only those whose clock lies in it. MALFORMED decisions have none and count by their record's time.
    """
    async for record in _records(past, Topic.RISK_DECISIONS, account):
        decision = decode_decision(record)
        if span.holds(decision.clock if decision.account is not None else record.time):
            yield decision_row(record, decision)


def decision_row(record: Record, decision: RiskDecision) -> Row:
    """Return a decision as one row of `DECISION_COLUMNS`."""
    inputs, kept = decision.inputs, decision.reservation
    row: Row = {name: getattr(decision, name, None) for name in DECISION_COLUMNS}
    row |= _place(record) | _as_of(decision)
    row |= {
        "clock": decision.clock if decision.account is not None else None,
        "reasons": [str(reason) for reason in decision.reasons],
        "warnings": list(decision.warnings),
        "checks": canonical_bytes(decision.checks).decode(),
        "reserved_quantity": None if kept is None else kept.quantity,
        "reserved_price": None if kept is None else kept.price,
        "expires_at": None if kept is None else kept.expires_at,
        "replaces": getattr(kept, "replaces", None),
    }
    for name in ("price", "atr", "equity"):
        given = getattr(inputs, name)
        row |= {
            name: None if given is None else given.value,
            f"{name}_source": None if given is None else str(given.source),
            f"{name}_age_ns": None if given is None else given.age,
        }
    del row["equity_source"]  # it is always a mark
    return row


# --- halts

_THRESHOLDS: Final = ("drawdown_warning", "drawdown_halt", "high_water_warning", "high_water_halt", "daily_loss_halt")

HALT_COLUMNS: Final[dict[str, Kind]] = {
    **_PLACE,
    "account": TEXT,
    "seq": INTEGER,
    "clock": TIME,
    "status": TEXT,
    "previous_status": TEXT,
    "causes": LIST,
    "drawdown": SHARE,
    "peak": NUMBER,
    "equity": NUMBER,
    **dict.fromkeys(_THRESHOLDS, NUMBER),
    "open_orders": LIST,
    "actor": TEXT,
    "reason": TEXT,
    "decision_seq": INTEGER,
    "limits_version": TEXT,
    "rules": INTEGER,
    **_AS_OF,
    "digest": TEXT,
}


async def halt_rows(past: Past, account: str | None = None, span: Span = EVER) -> AsyncGenerator[Row]:
    """Yield a row for each change of an account's status; arguments as in `decision_rows`."""
    async for record in _records(past, Topic.TRADING_HALTS, account):
        halt = decode_halt(record)
        if span.holds(halt.clock):
            yield halt_row(record, halt)


def halt_row(record: Record, halt: TradingHalt) -> Row:
    """Return a halt as one row of `HALT_COLUMNS`."""
    row: Row = {name: getattr(halt, name, None) for name in HALT_COLUMNS}
    row |= _place(record) | _as_of(halt)
    row |= {
        "causes": [str(cause) for cause in halt.causes],
        "open_orders": list(halt.open_orders),
        **{name: halt.thresholds.get(name) for name in _THRESHOLDS},
    }
    return row


# --- positions

POSITION_COLUMNS: Final[dict[str, Kind]] = {
    "topic": TEXT,
    **_PLACE,
    "account": TEXT,
    "event_time": TIME,
    "symbol": TEXT,
    "strategy": TEXT,
    "change": NUMBER,
    "position": NUMBER,
    "total_position": NUMBER,
    "execution_type": TEXT,
    "execution_id": TEXT,
    "intent_id": TEXT,
    "price": NUMBER,
    "fee": NUMBER,
}
ADJUSTMENT: Final = "ADJUSTMENT"
"""The execution type of a row that an operator's adjustment made; it belongs to no strategy."""


async def position_rows(past: Past, account: str | None = None, span: Span = EVER) -> AsyncGenerator[Row]:
    """Yield a row for each change of a position, by account, symbol and strategy.

    The last row of each of these is what is held. Busts and corrections are rows like any other, at the time of the
    report that made them. Per partition the fills come first, then the adjustments of operators.

    Args:
        past: The topics.
        account: Only this account's.
        span: Only changes whose event_time lies in it; what came before is counted in all the same.
    """
    for number in partitions_of(past, account):
        changes = _Changes(past, number)
        for topic in (Topic.FILLS, Topic.EQUITY_TICKS):
            async with aclosing(past.partition(number).records(topic)) as batches:
                async for batch in batches:
                    for record in batch:
                        for row in changes.of(record):
                            if account in (None, row["account"]) and span.holds(int(str(row["event_time"]))):
                                yield row


class _Changes:
    """One partition's positions, and how each record changes them."""

    def __init__(self, past: Past, number: int) -> None:
        self._codec = past.codec
        self._replica = Replica(number, past.codec, State(SharedReplica(past.codec).shared))

    @exact
    def of(self, record: Record) -> list[Row]:
        """Fold a record and return a row for each position that it changed."""
        if record.topic is Topic.FILLS:
            fill = self._codec.fill(record)
            return [] if isinstance(fill, Refused) else list(self._by_fill(record, fill))
        tick = self._codec.equity_tick(record)
        if isinstance(tick, Statement):
            return list(self._by_statement(record, tick))
        if isinstance(tick, OperatorKeys):  # what an account is worth moves no position; who may sign, may
            self._replica.fold(record)
        return []

    def _by_fill(self, record: Record, fill: Fill) -> Iterable[Row]:
        book = self._replica.state.accounts[fill.account].book
        before = _positions(book)
        self._replica.fold(record)
        after = _positions(book)
        for symbol, strategy in sorted({*before, *after}):
            held = after.get((symbol, strategy), Decimal(0))
            change = held - before.get((symbol, strategy), Decimal(0))
            if change:
                yield {
                    **_change(record, fill.account, symbol, change, held),
                    "event_time": min(fill.event_time, record.time),
                    "strategy": strategy,
                    "total_position": book.position(symbol),
                    "execution_type": str(fill.execution_type),
                    "execution_id": fill.execution_id,
                    "intent_id": fill.intent_id,
                    "price": fill.last_price,
                    "fee": fill.fee,
                }

    def _by_statement(self, record: Record, statement: Statement) -> Iterable[Row]:
        columns = self._replica.state.accounts[statement.account]
        before = dict(columns.drawdown.adjustments)
        self._replica.fold(record)
        after = columns.drawdown.adjustments
        for symbol in sorted({*before, *after}):
            held = after.get(symbol, Decimal(0))
            change = held - before.get(symbol, Decimal(0))
            if change:
                yield {
                    **_change(record, statement.account, symbol, change, held),
                    "event_time": statement.event_time,
                    "total_position": columns.book.position(symbol) + held,
                    "execution_type": ADJUSTMENT,
                }


def _positions(book: Book) -> dict[tuple[str, str], Decimal]:
    return {
        (symbol, strategy): quantity
        for symbol, strategies in book.positions.items()
        for strategy, quantity in strategies.items()
    }


def _change(record: Record, account: str, symbol: str, change: Decimal, position: Decimal) -> Row:
    empty: Row = dict.fromkeys(POSITION_COLUMNS)
    return {
        **empty,
        "topic": str(record.topic),
        **_place(record),
        "account": account,
        "symbol": symbol,
        "change": change,
        "position": position,
    }


TABLES: Final = {
    "decisions": Table(DECISION_COLUMNS, decision_rows),
    "halts": Table(HALT_COLUMNS, halt_rows),
    "positions": Table(POSITION_COLUMNS, position_rows),
}


async def _records(past: Past, topic: Topic, account: str | None) -> AsyncGenerator[Record]:
    key = None if account is None else account.encode()
    for number in partitions_of(past, account):
        async with aclosing(past.partition(number).records(topic)) as batches:
            async for batch in batches:
                for record in batch:
                    if key is None or record.key == key:
                        yield record


# --- writing


class Writer(Protocol):
    """A file that takes rows."""

    def write(self, rows: list[Row]) -> None:
        """Add rows, each with every column."""
        ...

    def close(self) -> None:
        """Write what is left, and close the file."""
        ...


class CsvWriter:
    """Comma-separated values in UTF-8 with a heading: numbers and times as exact text, lists separated by spaces.

    A value that is absent is empty; no value of ours is empty text.
    """

    def __init__(self, path: Path, columns: Mapping[str, Kind]) -> None:
        self._columns = columns
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(columns)

    def write(self, rows: list[Row]) -> None:
        """Add rows."""
        self._writer.writerows([_text(row[name], kind) for name, kind in self._columns.items()] for row in rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _text(value: Value, kind: Kind) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, list):
        return " ".join(value)
    return iso(int(value)) if kind is TIME else str(value)


def iso(time: int) -> str:
    """Return a time as ISO 8601 UTC to the nanosecond, such as 2008-09-15T21:00:05.000000000Z."""
    days, rest = divmod(time, DAY_NS)
    seconds, nanoseconds = divmod(rest, SECOND_NS)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=days, seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z"


class ParquetWriter:
    """Parquet, compressed with zstd, a row group at a time.

    Raises:
        ExportError: If pyarrow is not installed.
    """

    def __init__(self, path: Path, columns: Mapping[str, Kind]) -> None:
        try:
            import pyarrow as pa  # noqa: PLC0415  # an extra
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError:
            raise ExportError("Parquet needs pyarrow: pip install 'seawall[export]', or export to .csv") from None
        self._arrow: Any = pa
        kinds = {
            "text": pa.string(),
            "integer": pa.int64(),
            "time": pa.timestamp("ns", tz="UTC"),
            "list": pa.list_(pa.string()),
        }
        self._schema = pa.schema(
            [(name, kinds.get(kind.name) or pa.decimal128(38, kind.scale)) for name, kind in columns.items()]
        )
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, rows: list[Row]) -> None:
        """Add rows as one row group.

        Raises:
            ExportError: If a number does not fit its column.
        """
        columns = []
        for field in self._schema:
            try:
                columns.append(self._arrow.array([row[field.name] for row in rows], field.type))
            except (self._arrow.ArrowInvalid, OverflowError) as error:
                raise ExportError(f"a {field.name} does not fit {field.type}: export to .csv ({error})") from None
        self._writer.write_table(self._arrow.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        """Write the footer and close the file."""
        self._writer.close()


WRITERS: Final[dict[str, Callable[[Path, Mapping[str, Kind]], Writer]]] = {
    ".csv": CsvWriter,
    ".parquet": ParquetWriter,
}


async def export(settings: Settings, what: str, path: Path, *, account: str | None = None, span: Span = EVER) -> int:
    """Write a table to a file, and return how many rows it has.

    Args:
        settings: How to reach the broker.
        what: decisions, halts or positions.
        path: Ends in .csv or .parquet; what stood there is replaced once the new file is whole.
        account: Only this account's rows.
        span: Only rows of this time.

    Raises:
        ExportError: If the file cannot be written.
        GateError: If the topics cannot be read.
    """
    _writer_of(path)  # nobody should wait for a broker to hear that the name is wrong
    async with open_history(settings) as history:
        return await write(history, what, path, account=account, span=span)


async def write(past: Past, what: str, path: Path, *, account: str | None = None, span: Span = EVER) -> int:
    """Write a table of any past to a file; arguments, result and errors as in `export`."""
    table, make = TABLES[what], _writer_of(path)
    part = path.with_name(f".{path.name}.part")
    count = 0
    try:
        with closing(make(part, table.columns)) as writer:
            pending: list[Row] = []
            async with aclosing(table.rows(past, account, span)) as rows:
                async for row in rows:
                    pending.append(row)
                    count += 1
                    if len(pending) == ROW_GROUP:
                        writer.write(pending)
                        pending = []
            writer.write(pending)
        part.replace(path)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return count


def _writer_of(path: Path) -> Callable[[Path, Mapping[str, Kind]], Writer]:
    make = WRITERS.get(path.suffix)
    if make is None:
        raise ExportError(f"the file must end in {' or '.join(WRITERS)}, was {path.name}")
    return make

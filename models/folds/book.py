"""Positions and executions: one account's fold of `fills`.

A position is a function of the *set* of execution reports, so their order of arrival cannot matter: a bust may come
before its fill. Reports of the last seven days are kept singly; older executions are summed into a base.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Self

from pydantic import JsonValue

from models.canonical import DAY_NS, canonical_bytes, exact, plain, sha256
from models.folds.executions import NO_REPORTS, Execution, OrderReports, Reported
from models.folds.reports import BUSTED, CORRECTED, TRADE, Families, Family, Report, identity, report_of
from models.folds.timeline import Timeline
from models.folds.touched import Touched
from models.messages import ExecutionType, Fill, Side
from models.refusal import Refusal

KEPT = 7 * DAY_NS
"""How far behind the account's newest fill a report may lie, and is kept singly."""

UNATTRIBUTED = "UNATTRIBUTED"
"""The strategy of a fill that names none."""

ZERO = Decimal(0)
LINKED = frozenset({TRADE, CORRECTED, BUSTED})
"""Reports that make positions."""


class _Symbol:
    """What is kept of one symbol beside its position."""

    __slots__ = ("executions", "orders")

    def __init__(self) -> None:
        self.executions: Timeline[Execution] = Timeline()
        self.orders: dict[tuple[str | None, Side], Reported] = {}
        """By intent id and side."""


class Book:
    """One account's executions and positions.

    Rows: "" the clock, "b" + symbol, NUL and strategy what is summed, "x" + identity a report. No row grows with what
    others send, since each must fit into a record.
    """

    def __init__(self) -> None:
        self.dirty: set[str] = set()
        self.touched = Touched()
        self.clock = 0
        """Event time of the account's newest folded fill, ns; 0 before the first."""
        self.positions: defaultdict[str, defaultdict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        """Signed units by symbol and strategy; never zero."""
        self.timeline: Timeline[Execution] = Timeline()
        """Executions kept singly, oldest first."""
        self._totals: dict[str, Decimal] = {}
        """Signed units by symbol; of those in `positions`."""
        self._symbols: dict[str, _Symbol] = {}
        self._base: dict[tuple[str, str], Decimal] = {}
        """Signed units by symbol and strategy; never zero."""
        self._reports: dict[str, Report] = {}
        self._executions: dict[str, Execution] = {}
        # Summed executions and what amended them: remembered for as long again, so that a late bust is recognized.
        self._summed: dict[str, Report] = {}
        self._forgetting: Timeline[Report] = Timeline()
        self._families = Families()
        self._aging: Timeline[Report] = Timeline()

    # --- reading

    def position(self, symbol: str) -> Decimal:
        """Return the signed position in `symbol`, units."""
        return self._totals.get(symbol, ZERO)

    def order(self, intent_id: str, *, symbol: str, side: Side, after: int) -> OrderReports:
        """Return what was reported of an order above offset `after`, where symbol and side are the order's own."""
        reported = self._reported(intent_id, symbol, side)
        return NO_REPORTS if reported is None else reported.above(after)

    def first_report_time(self, intent_id: str, *, symbol: str, side: Side, after: int) -> int | None:
        """Return the event time of an order's first report, NEW and fills included; None where there is none."""
        reported = self._reported(intent_id, symbol, side)
        return None if reported is None else reported.first_report_time(after)

    def _reported(self, intent_id: str, symbol: str, side: Side) -> Reported | None:
        known = self._symbols.get(symbol)
        return None if known is None else known.orders.get((intent_id, side))

    @property
    def symbols(self) -> Collection[str]:
        """Those with reports that are kept singly."""
        return self._symbols.keys()

    def orders_of(self, symbol: str) -> Mapping[tuple[str | None, Side], Reported]:
        """Return what was reported by intent id and side. Not to be changed by the reader."""
        known = self._symbols.get(symbol)
        return {} if known is None else known.orders

    def last_execution(self, symbol: str) -> Execution | None:
        """Return the latest execution in `symbol` that is kept singly."""
        known = self._symbols.get(symbol)
        return None if known is None else known.executions.last

    def executions_of(self, symbol: str) -> Iterable[Execution]:
        """Return the executions in `symbol` that are kept singly, oldest first."""
        known = self._symbols.get(symbol)
        return () if known is None else known.executions

    def executions_after(self, time: int) -> Iterator[Execution]:
        """Yield executions with event_time above `time`, newest first."""
        for execution in reversed(self.timeline):
            if execution.event_time <= time:
                return
            yield execution

    # --- folding

    def fold(self, fill: Fill, *, offset: int, event_time: int, raw: bytes | None) -> tuple[Refusal, ...]:
        """Take one report in. Total.

        Args:
            fill: The message as sent.
            offset: Its record's offset in `fills`.
            event_time: Its event_time, at most the record's own time, ns.
            raw: The record's bytes.

        Returns:
            The dead letters owed: this record, or older ones whose execution never came.
        """
        key = identity(fill)
        known = self._reports.get(key)
        if known is not None:
            if known.digest == sha256(canonical_bytes(fill)):
                return ()
            return (Refusal(offset, f"execution {fill.execution_id} was already reported with other content"),)
        if event_time < self.clock - KEPT:
            return (Refusal(offset, f"execution {fill.execution_id} is over 7 days older than the account's newest"),)
        report = report_of(fill, key=key, offset=offset, event_time=event_time, raw=raw)
        if self._amends_the_base(report):
            why = f"{fill.execution_type} of {fill.execution_reference_id}, an execution over 7 days old"
            return (Refusal(offset, why),)

        self._add(report)
        self._aging.add(report)
        self.dirty.add("x" + key)
        if report.execution_type in LINKED:
            for family in self._families.add(report):
                self._settle(family)
        if event_time > self.clock:
            self.clock = event_time
            self.dirty.add("")
            return self._age()
        return ()

    def _add(self, report: Report) -> None:
        self._reports[report.key] = report
        if report.intent_id is None:
            self._touch(report.symbol)
        else:
            self._changed(report.intent_id, report.symbol, report.side).add(report)

    def _remove(self, reports: Collection[Report]) -> None:
        for report in reports:
            del self._reports[report.key]
            self.dirty.add("x" + report.key)
            if report.intent_id is None:
                self._touch(report.symbol)
            else:
                self._changed(report.intent_id, report.symbol, report.side).remove(report)
            self._drop_empty(report.intent_id, report.symbol, report.side)
        self._families.remove([report for report in reports if report.execution_type in LINKED])

    def _touch(self, symbol: str) -> _Symbol:
        """Note that what is known of a symbol changes."""
        known = self._symbols.get(symbol)
        if known is None:
            known = self._symbols[symbol] = _Symbol()
        self.touched.symbol(symbol)
        return known

    def _changed(self, intent_id: str | None, symbol: str, side: Side) -> Reported:
        """Note that what was reported of an order changes, and return it."""
        known, key = self._touch(symbol), (intent_id, side)
        self.touched.order(symbol, intent_id)
        order = known.orders.get(key)
        if order is None:
            order = known.orders[key] = Reported(intent_id, side)
        return order

    def _drop_empty(self, intent_id: str | None, symbol: str, side: Side) -> None:
        """Forget an order of which nothing is known any more, and likewise its symbol."""
        known = self._symbols[symbol]
        order = known.orders.get((intent_id, side))
        if order is not None and not order.reports and not order.executions:
            del known.orders[intent_id, side]
        if not known.orders and not known.executions:
            del self._symbols[symbol]

    def _amends_the_base(self, report: Report) -> bool:
        target = self._families.target(report)
        return target is not None and target.key in self._summed

    def _settle(self, family: Family) -> None:
        """Bring the execution of a family up to date."""
        root = family.first
        if root.execution_type is not TRADE:
            return
        before = self._executions.get(root.key)
        after = _effective(root, family.winner)
        if before == after:
            return
        if before is not None:
            self.timeline.remove(before)
            self._forget(before)
            self._move(before.symbol, before.strategy, -before.signed)
        if after is not None:
            self.timeline.add(after)
            self._executions[after.key] = after
            self._changed(after.intent_id, after.symbol, after.side).fill(after)
            self._symbols[after.symbol].executions.add(after)
            self._move(after.symbol, after.strategy, after.signed)

    def _forget(self, execution: Execution) -> None:
        """Forget an execution, but not the position that it made."""
        del self._executions[execution.key]
        self._changed(execution.intent_id, execution.symbol, execution.side).unfill(execution)
        self._symbols[execution.symbol].executions.remove(execution)
        self._drop_empty(execution.intent_id, execution.symbol, execution.side)

    def _move(self, symbol: str, strategy: str, quantity: Decimal) -> None:
        strategies = self.positions[symbol]
        strategies[strategy] += quantity
        self._totals[symbol] = self._totals.get(symbol, ZERO) + quantity
        if not strategies[strategy]:
            del strategies[strategy]
            if not strategies:
                del self.positions[symbol], self._totals[symbol]

    def _age(self) -> tuple[Refusal, ...]:
        """Sum what is over seven days old into the base, and forget what is twice as old."""
        due = self._aging.take_before(self.clock - KEPT)
        owed = self._take_out(due) if due else ()
        forgotten = self._forgetting.take_before(self.clock - 2 * KEPT)
        if forgotten:
            for report in forgotten:
                del self._summed[report.key]
            self._remove(forgotten)
        return owed

    def _take_out(self, due: Collection[Report]) -> tuple[Refusal, ...]:
        """Sum executions into the base, and forget what belongs to none."""
        for report in due:
            if report.execution_type is TRADE:
                self._sum(report)
        # An execution has the time of its trade, so these are the same ones, in one stretch.
        self.timeline.take_before(self.clock - KEPT)
        lost = [report for report in due if report.key not in self._summed]
        self._remove(lost)
        owed = []
        for report in lost:
            if report.reference_id is not None:
                raw = report.raw.encode() if report.raw is not None else None
                why = f"{report.execution_type} of {report.reference_id}, an execution that did not come"
                owed.append(Refusal(report.offset, f"{why} within 7 days", raw))
        return tuple(owed)

    def _sum(self, report: Report) -> None:
        for summed in self._families.sum(report):
            self._summed[summed.key] = summed
            self._forgetting.add(summed)
            self.dirty.add("x" + summed.key)
        execution = self._executions.get(report.key)
        if execution is None:
            return
        self._forget(execution)
        place = execution.symbol, execution.strategy
        total = self._base.pop(place, ZERO) + execution.signed
        if total:
            self._base[place] = total
        self.dirty.add("b" + "\0".join(place))

    # --- rows

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return 1 + len(self._base) + len(self._reports)

    def row(self, key: str) -> JsonValue:
        """Return a row as models.folds.rows.Rows describes it."""
        if key == "":
            return {"clock": self.clock}
        if key[0] == "b":
            base = self._base.get(_place(key))
            return None if base is None else plain(base)
        report = self._reports.get(key[1:])
        if report is None:
            return None
        row: dict[str, JsonValue] = {name: getattr(report, name) for name in Report._fields if name != "key"}
        row |= {
            "quantity": plain(report.quantity),
            "price": plain(report.price),
            "summed": report.key in self._summed,
        }
        return row

    @classmethod
    @exact
    def from_rows(cls, rows: Mapping[str, Any]) -> Self:
        """Return the book that had these rows."""
        book = cls()
        reports: list[Report] = []
        for key, row in rows.items():
            if key == "":
                book.clock = row["clock"]
            elif key[0] == "b":
                book._base[_place(key)] = Decimal(row)
                book._move(*_place(key), Decimal(row))
            else:
                summed = row["summed"]
                fields = {name: value for name, value in row.items() if name != "summed"} | {
                    "execution_type": ExecutionType(row["execution_type"]),
                    "side": Side(row["side"]),
                    "quantity": Decimal(row["quantity"]),
                    "price": Decimal(row["price"]),
                }
                report = Report(key=key[1:], **fields)
                reports.append(report)
                if summed:
                    book._summed[report.key] = report
        book._load(sorted(reports))
        return book

    def _load(self, reports: list[Report]) -> None:
        """Take in the reports of an empty book, the oldest first: so each goes to the end of whatever is sorted."""
        living = []
        for report in reports:
            self._add(report)
            if report.key in self._summed:
                self._forgetting.add(report)
                self._families.add_summed(report)
                continue
            self._aging.add(report)
            if report.execution_type in LINKED:
                living.append(report)
        for report in living:
            self._families.add(report)
        for report in living:
            if report.execution_type is TRADE:
                self._settle(self._families.of(report))


def _effective(root: Report, winner: Report | None) -> Execution | None:
    """Return what an execution comes to under the amendment that wins; None where that is a bust."""
    if winner is not None and winner.execution_type is BUSTED:
        return None
    content = winner or root
    return Execution(
        event_time=root.event_time,
        execution_id=root.execution_id,
        key=root.key,
        offset=root.offset,
        intent_id=content.intent_id or root.intent_id,
        strategy=content.strategy or root.strategy or UNATTRIBUTED,
        symbol=content.symbol,
        side=content.side,
        quantity=content.quantity,
        price=content.price,
    )


def _place(key: str) -> tuple[str, str]:
    """Return the symbol and the strategy that a base's row is about: names, in which there is no NUL."""
    symbol, _, strategy = key[1:].partition("\0")
    return symbol, strategy

"""Positions and executions: one account's fold of `fills`.

A position is a function of the *set* of execution reports, so their order of arrival cannot matter: a bust may come
before its fill. Reports of the last seven days are kept singly; older executions are summed into a base.
"""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, Self

from pydantic import JsonValue

from models.canonical import DAY_NS, canonical_bytes, exact, plain, sha256
from models.messages import ExecutionType, Fill, Side
from models.refusal import Refusal
from models.reports import BUSTED, CORRECTED, TRADE, Families, Family, Report, identity, report_of

KEPT = 7 * DAY_NS
"""How far behind the account's newest fill a report may lie, and is kept singly."""

UNATTRIBUTED = "UNATTRIBUTED"
"""The strategy of a fill that names none."""

ZERO = Decimal(0)
LINKED = frozenset({TRADE, CORRECTED, BUSTED})
"""Reports that make positions."""
TERMINAL = frozenset({ExecutionType.CANCELED, ExecutionType.EXPIRED, ExecutionType.REJECTED})


class Execution(NamedTuple):
    """What an execution came to after its busts and corrections. Ordered by time."""

    event_time: int
    execution_id: str
    key: str
    offset: int
    intent_id: str | None
    strategy: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal

    @property
    def signed(self) -> Decimal:
        """Units, positive for a buy."""
        return self.quantity if self.side is Side.BUY else -self.quantity


class OrderReports(NamedTuple):
    """What the venue said of one order."""

    filled: Decimal
    terminal: bool
    replaced: Decimal | None
    """Latest REPLACED total, units."""


NO_REPORTS = OrderReports(ZERO, terminal=False, replaced=None)


class Book:
    """One account's executions and positions.

    Rows: "" the clock, "b" + symbol, NUL and strategy what is summed, "x" + identity a report. No row grows with what
    others send, since each must fit into a record.
    """

    def __init__(self) -> None:
        self.dirty: set[str] = set()
        self.clock = 0
        """Event time of the account's newest folded fill, ns; 0 before the first."""
        self.positions: defaultdict[str, defaultdict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        """Signed units by symbol and strategy; never zero."""
        self.by_intent: defaultdict[str, dict[str, Execution]] = defaultdict(dict)
        self.by_symbol: defaultdict[str, dict[str, Execution]] = defaultdict(dict)
        self.timeline: list[Execution] = []
        """Executions kept singly, oldest first."""
        self._base: dict[tuple[str, str], Decimal] = {}
        """Signed units by symbol and strategy; never zero."""
        self._reports: dict[str, Report] = {}
        self._executions: dict[str, Execution] = {}
        # Summed executions and what amended them: remembered for as long again, so that a late bust is recognized.
        self._summed: dict[str, Report] = {}
        self._forgetting: list[tuple[int, str]] = []
        self._families = Families()
        self._reports_of: defaultdict[str, dict[str, Report]] = defaultdict(dict)
        self._aging: list[tuple[int, str]] = []

    # --- reading

    def position(self, symbol: str) -> Decimal:
        """Return the signed position in `symbol`, units."""
        strategies = self.positions.get(symbol)
        return sum(strategies.values(), ZERO) if strategies else ZERO

    def order(self, intent_id: str, *, symbol: str, side: Side, after: int) -> OrderReports:
        """Return what was reported of an order above offset `after`, where symbol and side are the order's own."""
        if intent_id not in self._reports_of:
            return NO_REPORTS  # as of most open orders
        filled = sum(
            (
                execution.quantity
                for execution in self.by_intent.get(intent_id, {}).values()
                if execution.offset > after and execution.symbol == symbol and execution.side is side
            ),
            ZERO,
        )
        terminal, replaced = False, None
        for report in self._own_reports(intent_id, symbol, side, after):
            if report.execution_type in TERMINAL:
                terminal = True
            elif report.execution_type is ExecutionType.REPLACED and (
                replaced is None or report.rank > replaced.rank
            ):
                replaced = report
        return OrderReports(filled, terminal, replaced.quantity if replaced else None)

    def first_report_time(self, intent_id: str, *, symbol: str, side: Side, after: int) -> int | None:
        """Return the event time of an order's first report, NEW and fills included; None where there is none."""
        reports = self._own_reports(intent_id, symbol, side, after)
        return min((report.event_time for report in reports), default=None)

    def _own_reports(self, intent_id: str, symbol: str, side: Side, after: int) -> Iterator[Report]:
        for report in self._reports_of.get(intent_id, {}).values():
            if report.offset > after and report.symbol == symbol and report.side is side:
                yield report

    def last_execution(self, symbol: str) -> Execution | None:
        """Return the latest execution in `symbol` that is kept singly."""
        return max(self.by_symbol.get(symbol, {}).values(), default=None)

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
        report = report_of(fill, offset=offset, event_time=event_time, raw=raw)
        if self._amends_the_base(report):
            why = f"{fill.execution_type} of {fill.execution_reference_id}, an execution over 7 days old"
            return (Refusal(offset, why),)

        self._add(report)
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
        insort(self._aging, report.age)
        if report.intent_id is not None:
            self._reports_of[report.intent_id][report.key] = report

    def _remove(self, reports: Collection[Report]) -> None:
        for report in reports:
            del self._reports[report.key]
            self.dirty.add("x" + report.key)
            if report.intent_id is not None:
                _discard(self._reports_of, report.intent_id, report.key)
        self._families.remove([report for report in reports if report.execution_type in LINKED])

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
            del self.timeline[bisect_left(self.timeline, before)]
            self._forget(before)
        if after is not None:
            self._executions[after.key] = after
            insort(self.timeline, after)
            self.by_symbol[after.symbol][after.key] = after
            if after.intent_id is not None:
                self.by_intent[after.intent_id][after.key] = after
            self._move(after.symbol, after.strategy, after.signed)

    def _forget(self, execution: Execution) -> None:
        del self._executions[execution.key]
        _discard(self.by_symbol, execution.symbol, execution.key)
        if execution.intent_id is not None:
            _discard(self.by_intent, execution.intent_id, execution.key)
        self._move(execution.symbol, execution.strategy, -execution.signed)

    def _move(self, symbol: str, strategy: str, quantity: Decimal) -> None:
        strategies = self.positions[symbol]
        strategies[strategy] += quantity
        if not strategies[strategy]:
            del strategies[strategy]
            if not strategies:
                del self.positions[symbol]

    def _age(self) -> tuple[Refusal, ...]:
        """Sum what is over seven days old into the base, and forget what is twice as old."""
        owed: list[Refusal] = []
        due = [self._reports[key] for key in _take_before(self._aging, self.clock - KEPT)]
        for report in due:
            if report.execution_type is TRADE:
                self._sum(report)
        # An execution has the time of its trade, so these are the same ones, in one stretch.
        del self.timeline[: bisect_left(self.timeline, (self.clock - KEPT,))]
        lost = [report for report in due if report.key not in self._summed]
        self._remove(lost)
        for report in lost:
            if report.reference_id is not None:
                raw = report.raw.encode() if report.raw is not None else None
                why = f"{report.execution_type} of {report.reference_id}, an execution that did not come"
                owed.append(Refusal(report.offset, f"{why} within 7 days", raw))
        self._remove([self._summed.pop(key) for key in _take_before(self._forgetting, self.clock - 2 * KEPT)])
        return tuple(owed)

    def _sum(self, report: Report) -> None:
        for summed in self._families.sum(report):
            self._summed[summed.key] = summed
            insort(self._forgetting, summed.age)
            self.dirty.add("x" + summed.key)
        execution = self._executions.get(report.key)
        if execution is None:
            return
        self._forget(execution)
        self._move(execution.symbol, execution.strategy, execution.signed)
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
        """Return a row as models.rows.Rows describes it."""
        if key == "":
            return {"clock": self.clock}
        if key[0] == "b":
            base = self._base.get(_place(key))
            return None if base is None else plain(base)
        report = self._reports.get(key[1:])
        if report is None:
            return None
        row: dict[str, JsonValue] = {name: getattr(report, name) for name in Report.__slots__ if name != "key"}
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
        book._load(sorted(reports, key=lambda report: report.age))
        return book

    def _load(self, reports: list[Report]) -> None:
        """Take in the reports of an empty book, the oldest first: so each goes to the end of whatever is sorted."""
        living = []
        for report in reports:
            self._add(report)
            if report.key in self._summed:
                self._families.add_summed(report)
            elif report.execution_type in LINKED:
                living.append(report)
        self._aging = [age for age in self._aging if age[1] not in self._summed]
        self._forgetting = [report.age for report in reports if report.key in self._summed]
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


def _take_before(ages: list[tuple[int, str]], time: int) -> list[str]:
    """Take what is older than `time` out of a sorted list, and return the keys."""
    count = bisect_left(ages, (time,))
    taken = [key for _, key in ages[:count]]
    del ages[:count]
    return taken


def _discard(index: dict[Any, dict[str, Any]], name: object, key: str) -> None:
    entries = index.get(name)
    if entries is not None and entries.pop(key, None) is not None and not entries:
        del index[name]

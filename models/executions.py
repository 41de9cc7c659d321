"""What was executed and reported of one order, ready to be asked for.

An answer is kept up to date report by report, so it costs the same however many fills an order has had.
"""

from decimal import Decimal
from typing import Final, NamedTuple

from models.messages import ExecutionType, Side
from models.reports import Report
from models.timeline import Timeline

ZERO: Final = Decimal(0)

TERMINAL: Final = frozenset({ExecutionType.CANCELED, ExecutionType.EXPIRED, ExecutionType.REJECTED})

OFFSETS_KEPT: Final = 64
"""By how many offsets an order's reports are remembered to have been asked for."""


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


class _Above:
    """What was reported of an order above one offset of `fills`, kept up to date report by report."""

    __slots__ = ("filled", "first", "replaced", "terminal")

    def __init__(self) -> None:
        self.filled = ZERO
        self.terminal = False
        self.first: Report | None = None
        self.replaced: Report | None = None

    def add(self, report: Report) -> None:
        self.first = report if self.first is None else min(self.first, report)
        if report.execution_type in TERMINAL:
            self.terminal = True
        elif report.execution_type is ExecutionType.REPLACED and (
            self.replaced is None or report.rank > self.replaced.rank
        ):
            self.replaced = report

    def rests_on(self, report: Report) -> bool:
        """Tell whether this may be another without the report."""
        return report is self.first or report is self.replaced or report.execution_type in TERMINAL


class Reported:
    """What was reported of one intent id in one symbol and side. Without an id these are manual trades."""

    __slots__ = ("_above", "executions", "intent_id", "reports", "side", "version")

    def __init__(self, intent_id: str | None, side: Side) -> None:
        self.intent_id = intent_id
        self.side = side
        self.version = 0
        """`Book.version` of the symbol when this was last changed."""
        self.executions: Timeline[Execution] = Timeline()
        self.reports: dict[str, Report] = {}
        """By key; not kept of manual trades."""
        self._above: dict[int, _Above] = {}

    @property
    def latest(self) -> int | None:
        """Event time of the latest execution, ns; None where there is none."""
        last = self.executions.last
        return None if last is None else last.event_time

    def above(self, offset: int) -> _Above:
        """Return what was reported above an offset of `fills`.

        An order is asked for by the same few offsets again and again: its own approval's and those of approvals that
        took its place.
        """
        above = self._above.get(offset)
        if above is None:
            if len(self._above) == OFFSETS_KEPT:
                del self._above[next(iter(self._above))]
            above = self._above[offset] = _Above()
            for report in self.reports.values():
                if report.offset > offset:
                    above.add(report)
            above.filled = sum(
                (execution.quantity for execution in self.executions if execution.offset > offset), ZERO
            )
        return above

    def add(self, report: Report) -> None:
        """Take a report in."""
        self.reports[report.key] = report
        for offset, above in self._above.items():
            if report.offset > offset:
                above.add(report)

    def remove(self, report: Report) -> None:
        """Forget a report."""
        del self.reports[report.key]
        if self._above:
            self._above = {offset: above for offset, above in self._above.items() if not above.rests_on(report)}

    def fill(self, execution: Execution) -> None:
        """Take an execution in."""
        self.executions.add(execution)
        for offset, above in self._above.items():
            if execution.offset > offset:
                above.filled += execution.quantity

    def unfill(self, execution: Execution) -> None:
        """Forget an execution."""
        self.executions.remove(execution)
        for offset, above in self._above.items():
            if execution.offset > offset:
                above.filled -= execution.quantity

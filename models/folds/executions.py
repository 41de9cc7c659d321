"""What was executed and reported of one order, ready to be asked for.

An answer is kept up to date report by report, so it costs the same however many fills an order has had.
"""

from decimal import Decimal
from typing import Final, NamedTuple

from models.folds.reports import Report
from models.folds.timeline import Timeline
from models.messages import ExecutionType, Side

ZERO: Final = Decimal(0)

TERMINAL: Final = frozenset({ExecutionType.CANCELED, ExecutionType.EXPIRED, ExecutionType.REJECTED})

VIEWS_KEPT: Final = 64
"""Of one order."""


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


class _View:
    """What an approval with one fills offset sees of an order, kept up to date report by report."""

    __slots__ = ("filled", "first", "replaced", "stray", "terminal")

    def __init__(self) -> None:
        self.filled = ZERO
        self.terminal = False
        self.first: Report | None = None
        self.replaced: Report | None = None
        self.stray: int | None = None
        """Event time of the latest execution that is not above the offset; all else is about what is."""

    def add(self, report: Report) -> None:
        """Take in a report above the offset."""
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

    __slots__ = ("_views", "executions", "intent_id", "reports", "side")

    def __init__(self, intent_id: str | None, side: Side) -> None:
        self.intent_id = intent_id
        self.side = side
        self.executions: Timeline[Execution] = Timeline()
        self.reports: dict[str, Report] = {}
        """By key; not kept of manual trades."""
        self._views: dict[int, _View] = {}

    @property
    def latest(self) -> int | None:
        """Event time of the latest execution, ns; None where there is none."""
        last = self.executions.last
        return None if last is None else last.event_time

    def above(self, offset: int) -> OrderReports:
        """Return what was reported above an offset of `fills`."""
        view = self._view(offset)
        replaced = None if view.replaced is None else view.replaced.quantity
        return OrderReports(view.filled, view.terminal, replaced)

    def first_report_time(self, offset: int) -> int | None:
        """Return the event time of the first report above an offset; None where there is none."""
        first = self._view(offset).first
        return None if first is None else first.event_time

    def stray(self, offset: int) -> int | None:
        """Return the event time of the latest execution not above an offset of `fills`; None where there is none."""
        return self._view(offset).stray

    def _view(self, offset: int) -> _View:
        """Return the view from an offset.

        An order is asked for by the same few offsets again and again: its own approval's and those of approvals that
        took its place.
        """
        view = self._views.get(offset)
        if view is None:
            if len(self._views) == VIEWS_KEPT:
                del self._views[next(iter(self._views))]
            view = self._views[offset] = _View()
            for report in self.reports.values():
                if report.offset > offset:
                    view.add(report)
            for execution in self.executions:
                if execution.offset > offset:
                    view.filled += execution.quantity
                else:
                    view.stray = execution.event_time
        return view

    def add(self, report: Report) -> None:
        """Take a report in."""
        self.reports[report.key] = report
        for offset, view in self._views.items():
            if report.offset > offset:
                view.add(report)

    def remove(self, report: Report) -> None:
        """Forget a report."""
        del self.reports[report.key]
        if self._views:
            self._views = {offset: view for offset, view in self._views.items() if not view.rests_on(report)}

    def fill(self, execution: Execution) -> None:
        """Take an execution in."""
        self.executions.add(execution)
        for offset, view in self._views.items():
            if execution.offset > offset:
                view.filled += execution.quantity
            else:
                view.stray = max(view.stray or 0, execution.event_time)

    def unfill(self, execution: Execution) -> None:
        """Forget an execution."""
        self.executions.remove(execution)
        for offset, view in [*self._views.items()]:
            if execution.offset > offset:
                view.filled -= execution.quantity
            elif execution.event_time == view.stray:
                del self._views[offset]

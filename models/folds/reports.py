"""Execution reports as a book keeps them, and which execution each bust or correction amends.

A reference means the same venue's latest execution of that id not after the report, and is followed to the first
execution. The reports that lead to one first execution are a *family*; those whose execution did not come, or that
refer to each other in a circle, are a family without one. Families are joined as reports come in, the smaller into
the larger, so a chain of corrections costs no more than as many corrections of one execution.
"""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from models.canonical import canonical_bytes, day_of, sha256
from models.messages import ExecutionType, Fill, Side

ZERO: Final = Decimal(0)
TRADE, CORRECTED, BUSTED = ExecutionType.TRADE, ExecutionType.CORRECTED, ExecutionType.BUSTED

Name = tuple[str, str]
"""A venue and an execution id: what a reference says."""


class Report(NamedTuple):
    """One execution report as it is kept. Ordered by age, the oldest first: no two have the same key."""

    event_time: int
    """Never after the record's own time."""
    key: str
    """Venue, UTC date as sent, execution id: the identity."""
    offset: int
    digest: str
    """Of the message as sent; a repeat must have the same."""
    execution_type: ExecutionType
    venue: str
    execution_id: str
    reference_id: str | None
    intent_id: str | None
    strategy: str | None
    symbol: str
    side: Side
    quantity: Decimal
    """last_quantity of a trade, order_quantity of a replacement, else 0. Units."""
    price: Decimal
    raw: str | None = None
    """The record of a bust or correction, in case it never finds its execution."""

    @property
    def rank(self) -> tuple[int, str, str]:
        """The greatest of several amendments or replacements wins; venues may agree on the first two."""
        return self.event_time, self.execution_id, self.key


def identity(fill: Fill) -> str:
    """Return what makes two reports the same report: venue, UTC date as sent, execution id."""
    return f"{fill.venue or ''}\0{day_of(fill.event_time)}\0{fill.execution_id}"


def report_of(fill: Fill, *, key: str, offset: int, event_time: int, raw: bytes | None) -> Report:
    """Return what is kept of a message; `key` is its identity, the rest as in `models.folds.book.Book.fold`."""
    replaced = fill.execution_type is ExecutionType.REPLACED
    return Report(
        key=key,
        offset=offset,
        event_time=event_time,
        digest=sha256(canonical_bytes(fill)),
        execution_type=fill.execution_type,
        venue=fill.venue or "",
        execution_id=fill.execution_id,
        reference_id=fill.execution_reference_id if fill.execution_type in (BUSTED, CORRECTED) else None,
        intent_id=fill.intent_id,
        strategy=fill.strategy,
        symbol=fill.symbol,
        side=fill.side,
        quantity=(fill.order_quantity if replaced else fill.last_quantity) or ZERO,
        price=fill.last_price or ZERO,
        raw=raw.decode() if raw is not None and fill.execution_type in (BUSTED, CORRECTED) else None,
    )


class Family:
    """Reports that lead to one and the same report by their references."""

    __slots__ = ("first", "members", "winner")

    def __init__(self, report: Report) -> None:
        self.first = report
        """Where the references end: an execution, or an amendment that found none. In a circle any of it."""
        self.members = [report]
        self.winner = None if report.execution_type is TRADE else report
        """The amendment with the greatest rank."""


class Families:
    """The trades, corrections and busts of one account, by what they amend."""

    def __init__(self) -> None:
        self._family: dict[str, Family] = {}
        """Of each report that is not summed."""
        self._named: defaultdict[Name, list[Report]] = defaultdict(list)
        """What a reference may mean, the oldest first; summed ones too, so that a late bust of them is recognized."""
        self._referring: defaultdict[Name, list[Report]] = defaultdict(list)

    def target(self, report: Report) -> Report | None:
        """Return the same venue's latest execution of the referenced id that is not after the report."""
        if report.reference_id is None:
            return None
        named = self._named.get((report.venue, report.reference_id), [])
        last = bisect_left(named, (report.event_time + 1,)) - 1
        if last >= 0 and named[last].key == report.key:
            last -= 1  # a report is not its own target
        return named[last] if last >= 0 else None

    def of(self, report: Report) -> Family:
        """Return the family of a report that is not summed."""
        return self._family[report.key]

    def add(self, report: Report) -> Iterable[Family]:
        """Take in a trade, correction or bust. Return the families that changed."""
        self._index(report)
        own = self._family[report.key] = Family(report)
        followers = self._followers(report)
        if not followers and report.reference_id is None:  # as nearly all
            return (own,)
        loose = [report]
        for follower in followers:
            family = self._family[follower.key]
            loose.append(follower)
            if family.first is not follower:  # it leaves another family, and those behind it do too
                self._scatter(family.members)
                loose += family.members
        for each in loose:
            self._join(each)
        return {(family := self._family[each.key]).first.key: family for each in loose}.values()

    def add_summed(self, report: Report) -> None:
        """Take in a report that is in no family any more. These come before all others."""
        self._index(report)

    def sum(self, trade: Report) -> list[Report]:
        """Dissolve the family of `trade`, and return its members; from here on they only have names."""
        members = self._family[trade.key].members
        for member in members:
            del self._family[member.key]
        return members

    def remove(self, reports: Collection[Report]) -> None:
        """Forget summed reports, and such as have no execution.

        All at once: one by one, the rest of a chain would be joined anew for each of them.
        """
        left: dict[str, Report] = {}
        for report in reports:
            if report.execution_type is not BUSTED:
                _take_out(self._named, (report.venue, report.execution_id), report)
            if report.reference_id is not None:
                _take_out(self._referring, (report.venue, report.reference_id), report)
            family = self._family.pop(report.key, None)
            if family is not None and family.members:
                left |= {member.key: member for member in family.members}
                family.members = []
        rest = [left[key] for key in left.keys() & self._family.keys()]
        rest.sort()
        self._scatter(rest)
        for each in rest:
            self._join(each)

    def _index(self, report: Report) -> None:
        if report.execution_type is not BUSTED:
            insort(self._named[report.venue, report.execution_id], report)
        if report.reference_id is not None:
            insort(self._referring[report.venue, report.reference_id], report)

    def _followers(self, report: Report) -> list[Report]:
        """Return the reports whose target is `report`."""
        if report.execution_type is BUSTED:
            return []
        name = (report.venue, report.execution_id)
        referring = self._referring.get(name)
        if referring is None:
            return []
        named = self._named[name]
        begin = bisect_left(referring, (report.event_time,))
        end, later = len(referring), bisect_right(named, report)
        if later < len(named):
            end = bisect_left(referring, (named[later].event_time + 1,))
        found = (each for each in referring[begin:end] if each.key in self._family)
        return [each for each in found if self.target(each) is report]

    def _scatter(self, members: Iterable[Report]) -> None:
        for member in members:
            self._family[member.key] = Family(member)

    def _join(self, report: Report) -> None:
        """Let `report`, with those behind it, join the family of its target."""
        target = self.target(report)
        own, other = self._family[report.key], None if target is None else self._family.get(target.key)
        if other is None or other is own:  # in a circle, or joined already
            return
        assert own.first is report
        small, large = sorted((own, other), key=lambda family: len(family.members))
        large.first = other.first
        large.members += small.members
        large.winner = max(filter(None, (own.winner, other.winner)), key=_rank)
        for member in small.members:
            self._family[member.key] = large


def _rank(report: Report) -> tuple[int, str, str]:
    return report.rank


def _take_out(index: defaultdict[Name, list[Report]], name: Name, report: Report) -> None:
    reports = index[name]
    del reports[bisect_left(reports, report)]
    if not reports:
        del index[name]

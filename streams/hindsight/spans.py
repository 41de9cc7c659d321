"""A span of event time, as people write it: whole days or instants, UTC."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from models.canonical import DAY_NS, SECOND_NS
from streams.config import ConfigurationError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT: Final = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?Z?)?")


class Span(NamedTuple):
    """From the first nanosecond to the last one, both included, ns since the Unix epoch."""

    first: int = -(2**63)
    last: int = 2**63 - 1

    def holds(self, time: int) -> bool:
        """Tell whether a time lies in it."""
        return self.first <= time <= self.last


EVER: Final = Span()


def span_of(first: str | None, last: str | None) -> Span:
    """Return the span from one date or instant to another; a date as the end is its whole day.

    Raises:
        ConfigurationError: With every violation: what is no time, and an end before the beginning.
    """
    wrong: list[str] = []
    start, end = EVER
    for name, text in (("--from", first), ("--to", last)):
        if text is None:
            continue
        try:
            time, whole_day = _instant(text)
        except ValueError:
            wrong.append(
                f"{name} must be a date or a time in UTC such as 2008-09-15 or 2008-09-15T21:00, was {text!a}"
            )
            continue
        if name == "--from":
            start = time
        else:
            end = time + DAY_NS - 1 if whole_day else time
    if not wrong and start > end:
        wrong.append(f"--from must not be after --to: {first} is after {last}")
    if wrong:
        raise ConfigurationError(wrong)
    return Span(start, end)


def _instant(text: str) -> tuple[int, bool]:
    """Return a time in ns, and whether it is a date without a time of day."""
    found = _INSTANT.fullmatch(text)
    if found is None:
        raise ValueError(text)
    day, time, fraction = found.groups()
    if time is None:
        return (date.fromisoformat(day).toordinal() - _EPOCH.toordinal()) * DAY_NS, True
    moment = datetime.fromisoformat(f"{day}T{time}+00:00") - _EPOCH
    nanoseconds = int((fraction or "").ljust(9, "0"))
    return moment // timedelta(seconds=1) * SECOND_NS + nanoseconds, False

"""What one check finds: one reason, and a line or two of evidence.

A check says whether it fails at a given size, and the largest opening that it alone would let pass (`opening_max`,
which does not depend on the size asked about). Where it passes and there is nothing to show, it returns None: nearly
all do in nearly every decision.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from pydantic import JsonValue

from models.folds.book import ZERO
from models.reasons import RejectReason
from models.request import Size


class Check(NamedTuple):
    """What one check found."""

    reason: RejectReason
    failed: bool = False
    value: Decimal | int | None = None
    limit: Decimal | int | None = None
    opening_max: Decimal | None = None
    """Units; None where this check bounds nothing."""
    detail: JsonValue = None
    warned: bool = False
    skipped: bool = False

    @classmethod
    def most(cls, reason: RejectReason, value: int, limit: int) -> "Check":
        """Return a check of an age, ns, or of a count against the most allowed; while it fails no size passes."""
        return cls(reason, value > limit, value, limit, ZERO if value > limit else None)

    @classmethod
    def skip(cls, reason: RejectReason, opening_max: Decimal | None = None) -> "Check":
        """Return a check that lacks an input, or that this size does not concern."""
        if opening_max is None:
            return _SKIPPED[reason]
        return cls(reason, skipped=True, opening_max=opening_max)


_SKIPPED = {reason: Check(reason, skipped=True) for reason in RejectReason}


def tightest(checks: Iterable[Check]) -> tuple[Decimal | None, RejectReason | None]:
    """Return the largest opening that every check lets pass, and the first check that sets it; None for no bound."""
    opening_max: Decimal | None = None
    binding: RejectReason | None = None
    for check in checks:
        most = check.opening_max
        if most is None:
            continue
        if opening_max is None or binding is None or most < opening_max:
            opening_max, binding = most, check.reason
        elif most == opening_max and check.reason.number < binding.number:
            binding = check.reason
    return opening_max, binding


def for_openings(check: Check, size: Size | None) -> Check:
    """Skip a check of openings where nothing is opened; its bound on openings stays."""
    return check if size is None or not size.reduces_only else Check.skip(check.reason, check.opening_max)

"""What one check finds: one reason, and a line or two of evidence.

A check says whether it fails at a given size, and the largest opening that it alone would let pass (`opening_max`,
which does not depend on the size asked about).
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from pydantic import JsonValue

from models.book import ZERO
from models.reasons import RejectReason
from models.request import Size


class Check(NamedTuple):
    """What one check found."""

    reason: RejectReason
    failed: bool = False
    warned: bool = False
    skipped: bool = False
    value: Decimal | None = None
    limit: Decimal | None = None
    opening_max: Decimal | None = None
    """Units; None where this check bounds nothing."""
    detail: JsonValue = None

    @classmethod
    def condition(
        cls,
        reason: RejectReason,
        failed: bool,  # noqa: FBT001  # what the check is about
        *,
        warned: bool = False,
        value: Decimal | int | None = None,
        limit: Decimal | int | None = None,
        detail: JsonValue = None,
    ) -> "Check":
        """Return a check that no size would pass while it fails."""
        return cls(
            reason,
            failed=failed,
            warned=warned,
            value=None if value is None else Decimal(value),
            limit=None if limit is None else Decimal(limit),
            opening_max=ZERO if failed else None,
            detail=detail,
        )

    @classmethod
    def age(cls, reason: RejectReason, age: int, most: int, detail: JsonValue = None) -> "Check":
        """Return a check of an age against the greatest allowed, both in ns."""
        return cls.condition(reason, age > most, value=age, limit=most, detail=detail)

    @classmethod
    def exposure(
        cls,
        reason: RejectReason,
        *,
        before: Decimal,
        after: Decimal,
        limit: Decimal,
        opening_max: Decimal | None,
        warning: Decimal | None = None,
        detail: JsonValue = None,
    ) -> "Check":
        """Return a check of an exposure, in money."""
        return cls(
            reason,
            failed=after > limit and after > before,
            warned=warning is not None and after >= warning,
            value=after,
            limit=limit,
            opening_max=opening_max,
            detail=detail,
        )

    @classmethod
    def skip(cls, reason: RejectReason, opening_max: Decimal | None = None) -> "Check":
        """Return a check that lacks an input, or that this size does not concern."""
        return cls(reason, skipped=True, opening_max=opening_max)


def tightest(checks: Iterable[Check]) -> tuple[Decimal | None, RejectReason | None]:
    """Return the largest opening that every check lets pass, and the first check that sets it; None for no bound."""
    opening_max: Decimal | None = None
    binding: RejectReason | None = None
    for check in checks:
        if check.opening_max is not None and (opening_max is None or check.opening_max < opening_max):
            opening_max, binding = check.opening_max, check.reason
    return opening_max, binding


def for_openings(check: Check, size: Size | None) -> Check:
    """Skip a check of openings where nothing is opened; its bound on openings stays."""
    return check if size is None or not size.reduces_only else Check.skip(check.reason, check.opening_max)

"""Disagreements that are understood: where the product answers otherwise than docs/risk.md has it, and why.

Each entry changes what the checker expects into what the product is known to say; what it does not explain is told as
a disagreement, and so is every difference in whether or for how much an intent is approved. An empty list means that
the two agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from models.decisions import RiskDecision
from models.reasons import Flag
from tests.oracle.history import Wire


@dataclass(frozen=True)
class Known:
    """A difference, the sentence it offends, and how to tell it."""

    name: str
    why: str
    apply: Callable[[Wire, RiskDecision], Wire]


def _summed_fills(expected: Wire, got: RiskDecision) -> Wire:
    if not expected["aged"] or Flag.OVERFILL in got.warnings:
        return expected
    return expected | {"warnings": expected["warnings"] - {Flag.OVERFILL.value}}


KNOWN = (
    Known(
        "summed fills",
        "an order's reports count for a week after their event_time: fills that were dated long before their order"
        " count no more once they are summed",
        _summed_fills,
    ),
)

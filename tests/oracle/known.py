"""Disagreements that are understood: where the product answers otherwise than docs/risk.md has it, and why.

Each entry changes what the checker expects into what the product is known to say; what it does not explain is told as
a disagreement, and so is every difference in whether or for how much an intent is approved. An empty list means that
the two agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from models.decisions import RiskDecision
from models.reasons import Flag
from tests.oracle.checks import Check
from tests.oracle.history import Wire

INPUTS = {11, 12, 13, 14, 15, 18, 19, 20}


@dataclass(frozen=True)
class Known:
    """A difference, the sentence it offends, and how to tell it."""

    name: str
    why: str
    apply: Callable[[Wire, RiskDecision], Wire]


def _without(expected: Wire, numbers: set[int]) -> Wire:
    return expected | {
        "reasons": [n for n in expected["reasons"] if n not in numbers],
        "warnings": {w for w in expected["warnings"] if w not in numbers},
        "checks": {n: c for n, c in expected["checks"].items() if n not in numbers},
    }


def _missing_from(expected: Wire, got: RiskDecision, numbers: set[int]) -> set[int]:
    shown = {check.name.number for check in got.checks}
    return {n for n in numbers if n in expected["checks"] and n not in shown}


def _inputs_first(expected: Wire, got: RiskDecision) -> Wire:
    if not expected["missing"] & INPUTS:
        return expected
    return _without(expected, _missing_from(expected, got, {34, 35, 36, 37}))


def _no_warning_when_halted(expected: Wire, got: RiskDecision) -> Wire:
    if not expected["missing"] & {8, 10}:
        return expected
    return _without(expected, _missing_from(expected, got, {9}))


def _sector_of_any(expected: Wire, got: RiskDecision) -> Wire:
    if not expected["missing"] & {12, 18, 19}:
        return expected
    untold = {13, 18, 19, 42, 44, 45, 46, 47} if 12 in expected["missing"] else {42, 44, 45, 46, 47}
    return _without(expected, _missing_from(expected, got, untold))


def _closing_sized(expected: Wire, got: RiskDecision) -> Wire:
    if not expected["closes"]:
        return expected
    more = {c.name.number for c in got.checks if c.outcome.value == "FAIL"} - expected["checks"].keys()
    changed: dict[str, Any] = dict(expected)
    for number in more & {20, 34, 35} | {n for n, c in expected["checks"].items() if c.outcome == "SKIPPED"}:
        changed["checks"] = changed["checks"] | {number: Check(number, "FAIL")}
        changed["reasons"] = sorted({*changed["reasons"], number})
    return changed


def _bound_of_37(expected: Wire, got: RiskDecision) -> Wire:
    binding = got.binding_constraint
    if expected["binding"] != 36 or binding is None or binding.number != 37:
        return expected
    changed = _without(expected, {36}) | {"binding": 37}
    bound = expected["checks"][36].bound
    changed["checks"] = changed["checks"] | {37: Check(37, "SKIPPED", bound=bound)}
    return changed


def _summed_fills(expected: Wire, got: RiskDecision) -> Wire:
    if not expected["aged"] or Flag.OVERFILL in got.warnings:
        return expected
    return expected | {"warnings": expected["warnings"] - {Flag.OVERFILL.value}}


def _old_overfill(expected: Wire, got: RiskDecision) -> Wire:
    if not expected["old_overfill"] or Flag.OVERFILL not in got.warnings:
        return expected
    return expected | {"warnings": expected["warnings"] | {Flag.OVERFILL.value}}


def _slack_of_others(expected: Wire, got: RiskDecision) -> Wire:
    shown = {check.name.number: check for check in got.checks}
    if not expected["replaces_other"]:
        return expected
    if 45 not in expected["checks"]:
        extra = {45: Check(45, shown[45].outcome.value)} if 45 in shown else {}
        reasons = sorted({*expected["reasons"], *(45 for c in extra.values() if c.outcome == "FAIL")})
        return expected | {"checks": expected["checks"] | extra, "reasons": reasons}
    if 45 not in shown:
        return _without(expected, {45})
    have, check = shown[45], expected["checks"][45]
    fraction = type(expected["quantity"])
    value = check.value if have.value is None else fraction(have.value)
    bound = check.bound if have.max_quantity is None else fraction(have.max_quantity)
    return expected | {"checks": expected["checks"] | {45: replace(check, value=value, bound=bound)}}


KNOWN = (
    Known(
        "inputs first",
        "34 to 37 are skipped where another input is missing, though their own are there",
        _inputs_first,
    ),
    Known(
        "halted, no warning",
        "9 does not WARN at drawdown_warning while the account is halted by another cause",
        _no_warning_when_halted,
    ),
    Known(
        "every input",
        "42, 44, 45 are skipped where a symbol they do not count has no price, 13 where one has no record",
        _sector_of_any,
    ),
    Known(
        "closing is sized",
        "20, 34, 35 fail where an absent quantity asks to close and nothing is left",
        _closing_sized,
    ),
    Known(
        "bound of 36", "36 does not bound where an absent quantity closes and the sizing is below a lot", _bound_of_37
    ),
    Known(
        "summed fills", "fills of an order do not count as filled once they are summed: no OVERFILL", _summed_fills
    ),
    Known("old overfill", "OVERFILL is said of executions older than seven days at the clock", _old_overfill),
    Known(
        "slack of others",
        "45 lets an order have the room of the order of another strategy that it replaces",
        _slack_of_others,
    ),
)

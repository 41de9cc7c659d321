"""The product under the same messages, and what of its answers is compared."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import orjson

from models.canonical import canonical_bytes, sha256
from models.decisions import RiskDecision, TradingHalt
from models.messages import EQUITY_TICK, REFERENCE, DailyReturn, Fill, OrderIntent
from models.reasons import RejectReason
from models.state import Shared, State
from tests.oracle.checks import Check
from tests.oracle.history import Wire

VALUED = {17, 21, 31, 32, 37, 38, 39, 40, 42, 43, 44, 45, 46, 47, 52}
"""Checks whose value and limit follow from the text."""
BOUNDED = {37, 38, 39, 40, 42, 43, 44, 45, 46, 47, 52}
"""Checks that bound the size other than by refusing every opening."""


class Product:
    """A state of the product's, fed through its public methods."""

    def __init__(self) -> None:
        self.state = State(Shared())

    def tell(self, topic: str, body: Wire, offset: int, time: int) -> None:
        """Fold one record."""
        raw = orjson.dumps(body)
        if topic == "reference":
            self.state.shared.fold_reference(REFERENCE.validate_json(raw), offset=offset, time=time)
        elif topic == "daily-returns":
            self.state.shared.fold_return(DailyReturn.model_validate_json(raw), offset=offset, time=time)
        elif topic == "equity-ticks":
            self.state.fold_tick(EQUITY_TICK.validate_json(raw), offset=offset, time=time)
        else:
            self.state.fold_fill(Fill.model_validate_json(raw), offset=offset, time=time, raw=raw)

    def decide(self, body: Wire, offset: int, time: int) -> RiskDecision:
        """Answer one intent and fold the answer as it was written."""
        raw = orjson.dumps(body)
        intent = OrderIntent.model_validate_json(raw)
        decision = self.state.decide(intent, offset=offset, time=time, raw_digest=lambda: sha256(raw))
        read = RiskDecision.model_validate_json(canonical_bytes(decision))
        self.state.fold_decision(read)
        return read

    def evaluate(self, account: str) -> TradingHalt | None:
        """Return the halt that is owed and fold it."""
        halt = self.state.evaluate(account)
        if halt is not None:
            self.state.fold_halt(halt)
        return halt


def _exact(value: Any) -> Fraction | None:
    return None if value is None else Fraction(value)


def _number(reason: RejectReason | None) -> int | None:
    return None if reason is None else reason.number


def _warning(name: str) -> str | int:
    return RejectReason[name].number if name in RejectReason.__members__ else name


def _reasons(numbers: list[int]) -> list[int]:
    return [n for n in numbers if n != RejectReason.BUYING_POWER.number] if 12 in numbers else numbers


def _warnings(warnings: Iterable[str | int], untold: set[str]) -> list[str]:
    return sorted(str(w) for w in warnings if w not in untold)


def compare_decision(expected: Wire, got: RiskDecision) -> list[str]:
    """Return what differs, one line each."""
    # Where an exposure cannot be worked out the text says nothing of warnings on the way.
    untold = set()
    if {11, 12} & expected["missing"]:
        untold |= {"PRICE_FALLBACK", "RETURNS_INSUFFICIENT"}
    if {18, 19} & expected["missing"]:
        untold |= {"RETURNS_INSUFFICIENT"}
    if expected["enlarged"]:  # The text does not say for how long a larger total is warned of.
        untold |= {"OVERFILL"}
    pairs: list[tuple[str, Any, Any]] = [
        ("seq", expected["seq"], got.seq),
        ("clock", expected["clock"], got.clock),
        ("as_of", expected["as_of"], got.as_of.model_dump()),
        ("limits_version", expected["limits_version"], got.limits_version),
        ("intent_digest", expected["intent_digest"], got.intent_digest),
        ("reasons", _reasons(expected["reasons"]), _reasons([r.number for r in got.reasons])),
        ("status", expected["status"], got.status.value),
        ("quantity", expected["quantity"], _exact(got.quantity)),
        ("reducing_quantity", expected["reducing_quantity"], _exact(got.reducing_quantity)),
        ("opening_quantity", expected["opening_quantity"], _exact(got.opening_quantity)),
        ("max_quantity", expected["max_quantity"], _exact(got.max_quantity)),
        ("binding_constraint", expected["binding"], _number(got.binding_constraint)),
        ("warnings", _warnings(expected["warnings"], untold), _warnings(map(_warning, got.warnings), untold)),
        ("original_seq", expected["original_seq"], got.original_seq),
        ("original_status", expected["original_status"], got.original_status and got.original_status.value),
        ("original_quantity", expected["original_quantity"], _exact(got.original_quantity)),
    ]
    reserved = got.reservation
    pairs += [
        (
            "reservation",
            expected["reservation"],
            None
            if reserved is None
            else {
                "quantity": _exact(reserved.quantity),
                "price": _exact(reserved.price),
                "expires_at": reserved.expires_at,
                "replaces": getattr(reserved, "replaces", None),
            },
        ),
        ("throttle", expected["throttle"], got.throttle and got.throttle.model_dump()),
    ]
    if "price" in expected and got.inputs.price is not None:
        pairs.append(("inputs.price", expected["price"], _exact(got.inputs.price.value)))
    lines = [f"{name}: expected {want!s}, got {have!s}" for name, want, have in pairs if want != have]
    return lines + _compare_checks(expected["checks"], got)


def _compare_checks(expected: dict[int, Check], got: RiskDecision) -> list[str]:
    found = {check.name.number: check for check in got.checks}
    if RejectReason.UNKNOWN_INSTRUMENT.number in expected:  # An orphan fill in it has no multiplier.
        expected = {n: c for n, c in expected.items() if n != RejectReason.BUYING_POWER.number}
        found.pop(RejectReason.BUYING_POWER.number, None)
    lines = []
    if sorted(expected) != sorted(found):
        lines.append(f"checks: expected {sorted(expected)}, got {sorted(found)}")
    for number in sorted(expected.keys() & found.keys()):
        want, have = expected[number], found[number]
        pairs: list[tuple[str, Any, Any]] = [("outcome", want.outcome, have.outcome.value)]
        if number in VALUED and want.outcome != "SKIPPED":
            pairs += [
                ("value", want.value, _exact(have.value)),
                ("limit", want.limit, _exact(have.limit)),
            ]
            if want.value is not None and want.limit is not None:
                pairs.append(("headroom", want.limit - want.value, _exact(have.headroom)))
        if number in BOUNDED and RejectReason.UNKNOWN_INSTRUMENT.number not in found:  # else there is no lot
            pairs.append(("max_quantity", want.bound, _exact(have.max_quantity)))
        lines += [f"check {number} {name}: expected {w!s}, got {h!s}" for name, w, h in pairs if w != h]
    return lines


def compare_halt(expected: Wire | None, got: TradingHalt | None) -> list[str]:
    """Return what differs, one line each."""
    if expected is None or got is None:
        if expected is got:
            return []
        said = None if got is None else (got.status.value, [c.value for c in got.causes])
        return [f"halt: expected {expected and (expected['status'], expected['causes'])}, got {said}"]
    pairs: list[tuple[str, Any, Any]] = [
        ("seq", expected["seq"], got.seq),
        ("status", expected["status"], got.status.value),
        ("previous_status", expected["previous_status"], got.previous_status.value),
        ("causes", expected["causes"], tuple(c.value for c in got.causes)),
        ("cause_offset", expected["cause_offset"], dict(got.cause_offset)),
        ("equity", expected["equity"], _exact(got.equity)),
        ("peak", expected["peak"], _exact(got.peak)),
        ("clock", expected["clock"], got.clock),
        ("decision_seq", expected["decision_seq"], got.decision_seq),
        ("as_of", expected["as_of"], got.as_of.model_dump()),
        ("open_orders", expected["open_orders"], got.open_orders),
        ("actor", expected["actor"], got.actor),
        ("reason", expected["reason"], got.reason),
    ]
    return [f"halt {name}: expected {want!s}, got {have!s}" for name, want, have in pairs if want != have]

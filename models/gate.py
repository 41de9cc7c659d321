"""The decision: an order intent and a state in, one answer out. Pure: no clock, no randomness, no I/O."""

from collections.abc import Collection, Iterable
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple

from models.canonical import SECOND_NS, canonical_bytes, sha256
from models.checks import checks_of, run_conditions, run_sized
from models.checks.check import Check
from models.checks.throttle import charge
from models.decisions import (
    RULES,
    AsOf,
    CheckResult,
    DecisionStatus,
    Inputs,
    Outcome,
    Replacement,
    Reservation,
    RiskDecision,
    built,
)
from models.folds.book import ZERO
from models.folds.correlation import Returns
from models.folds.ledger import Chain, Decided
from models.folds.reference import Reference
from models.messages import FUTURE_TOLERANCE, OrderIntent
from models.portfolio import Account, Portfolio
from models.reasons import Flag, RejectReason
from models.request import Request, Size
from models.risk.models import RiskModels

EVENT_TIME_LAG_MAX = 3600 * SECOND_NS
"""How far an intent's event_time may lie behind its account's clock."""


FLAGS = tuple(Flag)

ECHOED = ("intent_id", "account", "strategy", "symbol", "side", "order_type", "limit_price", "event_time")
"""What a decision repeats of its intent."""
_echoed = attrgetter(*ECHOED)


class Recorded(NamedTuple):
    """Where an intent stands in `order-intents`."""

    offset: int
    time: int
    """The record's own time, ns."""


def _number(check: Check) -> int:
    return check.reason.number


class Verdict(NamedTuple):
    """What the checks came to."""

    size: Size | None
    """Approved, or on rejection requested."""
    checks: list[Check]
    """At this size, in no order."""
    notable: list[Check]
    """Those that failed or warned, in no order."""
    bound: Check | None
    """The first of those that leave the least; at the requested size."""
    approved: bool = False
    resized: bool = False

    @property
    def opening_max(self) -> Decimal:
        """The largest opening that every check lets pass, units."""
        return ZERO if self.bound is None or self.bound.opening_max is None else self.bound.opening_max

    def shown(self) -> list[Check]:
        """Return what a decision shows, in order of precedence: what is notable, and what sets the most."""
        if self.bound is None:
            return sorted(self.notable, key=_number)
        binding = self.bound.reason
        if not self.notable and not self.resized:
            return [self.bound]
        checks = [check for check in self.checks if check in self.notable or check.reason is binding]
        return sorted(checks, key=_number)


def decide_malformed(
    raw_digest: str, recorded: Recorded, *, chain: Chain, as_of: AsOf, rules: int = RULES
) -> RiskDecision:
    """Answer bytes that are no intent: rejected, in the chain of the partition.

    What was wrong with them is not part of the decision: its wording may change, the decision may not.
    """
    answer: dict[str, Any] = {
        **dict.fromkeys(ECHOED),
        **_unchecked((RejectReason.MALFORMED,)),
        "intent_digest": raw_digest,
        "clock": 0,
        "limits_version": None,
    }
    return _sealed(answer, chain, recorded, as_of, rules)


def decide(
    intent: OrderIntent,
    recorded: Recorded,
    *,
    account: Account,
    reference: Reference,
    returns: Returns,
    models: RiskModels | None = None,
    as_of: AsOf,
    rules: int = RULES,
) -> RiskDecision:
    """Answer an order intent.

    Args:
        intent: What is asked for.
        recorded: The record it came in.
        account: The account's tables, folded to `as_of` and to the ledger's end.
        reference: Limits, instruments and switches at `as_of`.
        returns: Daily returns at `as_of`.
        models: A cache of what those two say of risk.
        as_of: The offsets folded.
        rules: The version of the rules to decide by: an earlier one for what it decided.

    Returns:
        The account's next decision, sealed with its digest.
    """
    digest = intent_digest(intent)
    known = account.ledger.first_answer(intent.intent_id)
    clock = account.clock
    integrity = _integrity(intent, recorded, digest, known, clock)
    if RejectReason.EVENT_TIME_INVALID not in integrity:
        clock = max(clock, intent.event_time)

    answer: dict[str, Any] = {
        **dict(zip(ECHOED, _echoed(intent), strict=True)),
        "intent_digest": digest,
        "clock": clock,
        "limits_version": reference.bound(intent.account).limits_version,
    }
    if integrity:
        answer |= _unchecked(integrity)
    else:
        portfolio = Portfolio(
            account, name=intent.account, clock=clock, reference=reference, returns=returns, models=models
        )
        request = Request(intent, portfolio, rules=rules)
        answer |= _answer(request, judge(request))
    if known is not None and integrity:
        answer |= {
            "original_seq": known.seq,
            "original_status": known.status,
            "original_quantity": known.quantity,
        }
    return _sealed(answer, account.ledger.decisions, recorded, as_of, rules)


def intent_digest(intent: OrderIntent) -> str:
    """Return the SHA-256 of the intent's canonical form.

    A field that came later stands in it only where it says something: so an intent has one digest for ever.
    """
    fields = dict(intent.__dict__)
    if intent.replaces is None:
        del fields["replaces"]
    return sha256(canonical_bytes(fields))


def _integrity(
    intent: OrderIntent, recorded: Recorded, digest: str, known: Decided | None, previous_clock: int
) -> tuple[RejectReason, ...]:
    """Return the reasons 2 to 5 that apply: all are evaluated, since one may join another."""
    reasons: list[RejectReason] = []
    if known is not None:
        same = known.intent_digest == digest
        reasons.append(RejectReason.DUPLICATE_INTENT if same else RejectReason.INTENT_ID_CONFLICT)
    from_future = intent.event_time > recorded.time + FUTURE_TOLERANCE
    if from_future:
        reasons.append(RejectReason.EVENT_TIME_INVALID)
    clock = previous_clock if from_future else max(previous_clock, intent.event_time)
    if intent.expires_at <= clock or clock - intent.event_time > EVENT_TIME_LAG_MAX:
        reasons.append(RejectReason.INTENT_EXPIRED)
    return tuple(reasons)


def judge(request: Request, *, thorough: bool = False) -> Verdict:
    """Run the checks at the requested size and, where the intent allows it, at the largest size that passes.

    Args:
        request: The intent and what is known.
        thorough: Run also those that plainly pass, for `findings`.
    """
    size = request.requested
    unsized = run_conditions(request, thorough=thorough)
    checks = unsized + run_sized(request, size, unsized, thorough=thorough)
    notable, bound = _summed_up(checks)
    found = Verdict(size, checks, notable, bound)
    if _passes(notable, size):
        return found._replace(approved=True)

    resizable = request.intent.allow_resize or request.intent.quantity is None
    if size is not None and resizable:
        smaller = request.with_opening(min(size.opening, found.opening_max), reducing=size.reducing)
        if 0 < smaller.quantity < size.quantity:
            again = unsized + run_sized(request, smaller, unsized, thorough=thorough)
            notable, _ = _summed_up(again)
            if _passes(notable, smaller):
                return Verdict(smaller, again, notable, bound, approved=True, resized=True)
    return found


def _summed_up(checks: Iterable[Check]) -> tuple[list[Check], Check | None]:
    """Return the checks that failed or warned, and the first of those that leave the least to open."""
    notable: list[Check] = []
    bound: Check | None = None
    least = ZERO
    for check in checks:
        reason, failed, _, _, most, _, warned, _ = check
        if failed or warned:
            notable.append(check)
        if most is not None and (
            bound is None or most < least or (most == least and reason.number < bound.reason.number)
        ):
            bound, least = check, most
    return notable, bound


def findings(request: Request, verdict: Verdict) -> tuple[CheckResult, ...]:
    """Return what every check found, in order of precedence: also what passed, which a decision leaves out."""
    found = {check.reason: check for check in verdict.checks}
    reduces_only = verdict.size is not None and verdict.size.reduces_only
    checks = [found.get(reason) or Check(reason) for reason in checks_of(request.rules).reasons]
    return tuple(_result(check, _outcome(check, reduces_only=reduces_only)) for check in checks)


def _passes(notable: list[Check], size: Size | None) -> bool:
    """A strict reduction passes whatever fails, but for a kill switch that stops everything."""
    if size is None or size.quantity <= 0:
        return False
    if size.reduces_only:
        return not any(check.failed and check.reason is RejectReason.KILL_SWITCH_ALL for check in notable)
    return not any(check.failed for check in notable)


def _unchecked(reasons: tuple[RejectReason, ...]) -> dict[str, Any]:
    """Return the answer to an intent that fails integrity: nothing else was looked at."""
    return {
        "status": DecisionStatus.REJECTED,
        "quantity": ZERO,
        "reducing_quantity": None,
        "opening_quantity": None,
        "max_quantity": ZERO,
        "binding_constraint": reasons[0],
        "reasons": reasons,
        "warnings": (),
        "checks": tuple(_result(Check(reason, failed=True, opening_max=ZERO), Outcome.FAIL) for reason in reasons),
        "inputs": built(Inputs, dict.fromkeys(("price", "atr", "equity", "others"))),
        "reservation": None,
    }


def _answer(request: Request, verdict: Verdict) -> dict[str, Any]:
    size, approved, checks = verdict.size, verdict.approved, verdict.shown()
    binding = None if verdict.bound is None else verdict.bound.reason
    reduces_only = size is not None and size.reduces_only
    shown = [(check, _outcome(check, reduces_only=reduces_only)) for check in checks]
    failed = [check.reason for check in checks if check.failed]
    stopped = RejectReason.KILL_SWITCH_ALL in failed
    flags = request.flags()
    if verdict.resized:
        flags.append(Flag.RESIZED)
        flags.sort(key=FLAGS.index)
    warnings = [str(check.reason) for check, outcome in shown if outcome is Outcome.WARN]
    return {
        "status": DecisionStatus.APPROVED if approved else DecisionStatus.REJECTED,
        "quantity": size.quantity if approved and size is not None else ZERO,
        "reducing_quantity": None if size is None else size.reducing,
        "opening_quantity": None if size is None else size.opening,
        "max_quantity": ZERO if stopped else request.reducible + verdict.opening_max,
        "binding_constraint": RejectReason.KILL_SWITCH_ALL if stopped else binding,
        "reasons": tuple([check.reason for check, outcome in shown if outcome is Outcome.FAIL]),
        "warnings": (*warnings, *map(str, flags)),
        "checks": tuple([_result(check, outcome) for check, outcome in shown]),
        "inputs": request.inputs,
        "reservation": _reservation(request, size) if approved and size is not None else None,
        "throttle": charge(request) if _takes_token(request, reduces_only=reduces_only, failed=failed) else None,
    }


def _reservation(request: Request, size: Size) -> Reservation:
    quote = request.candidate.quote
    fields = {
        "quantity": size.quantity,
        "price": None if quote is None else quote.price,
        "expires_at": request.intent.expires_at,
    }
    if request.target is None:
        return built(Reservation, fields)
    return built(Replacement, {**fields, "replaces": request.target.approval.intent_id})


def _takes_token(request: Request, *, reduces_only: bool, failed: Collection[RejectReason]) -> bool:
    """Tell whether the intent costs a token: every opening does, approved or not, unless it was throttled."""
    if request.rules == 1 or reduces_only:
        return False
    return RejectReason.RATE_LIMIT_ACCOUNT not in failed and RejectReason.RATE_LIMIT_STRATEGY not in failed


def _outcome(check: Check, *, reduces_only: bool) -> Outcome:
    if check.skipped:
        return Outcome.SKIPPED
    if check.failed:
        exempt = reduces_only and check.reason is not RejectReason.KILL_SWITCH_ALL
        return Outcome.EXEMPT if exempt else Outcome.FAIL
    return Outcome.WARN if check.warned else Outcome.PASS


def _result(check: Check, outcome: Outcome) -> CheckResult:
    value = None if check.value is None else Decimal(check.value)
    limit = None if check.limit is None else Decimal(check.limit)
    return built(
        CheckResult,
        {
            "name": check.reason,
            "outcome": outcome,
            "value": value,
            "limit": limit,
            "headroom": None if value is None or limit is None else limit - value,
            "max_quantity": check.opening_max,
            "detail": check.detail,
        },
    )


def _sealed(answer: dict[str, Any], chain: Chain, recorded: Recorded, as_of: AsOf, rules: int) -> RiskDecision:
    """Return the next decision of a chain, its digest taken over everything else in it."""
    fields: dict[str, Any] = {
        "version": 1,
        "original_seq": None,
        "original_status": None,
        "original_quantity": None,
        "throttle": None,
        **answer,
        "intent_offset": recorded.offset,
        "seq": chain.seq + 1,
        "as_of": as_of,
        "rules": rules,
        "previous_digest": chain.digest,
    }
    return RiskDecision.of(fields)

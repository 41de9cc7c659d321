"""Decisions, halts and amounts as a person reads them. Plain strings; a terminal adds the colors."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from rich.text import Text

from models.canonical import SECOND_NS
from models.decisions import (
    AccountStatus,
    CheckResult,
    DecisionStatus,
    Outcome,
    RiskDecision,
    TradingHalt,
)
from models.reasons import RejectReason

STATUS_STYLE: Final = {
    AccountStatus.NORMAL: "green",
    AccountStatus.WARNING: "yellow",
    AccountStatus.HALT: "bold red",
}
DECISION_STYLE: Final = {DecisionStatus.APPROVED: "green", DecisionStatus.REJECTED: "red"}

_TIMES: Final = frozenset(
    {
        RejectReason.EVENT_TIME_INVALID,
        RejectReason.INTENT_EXPIRED,
        RejectReason.STALE_EQUITY,
        RejectReason.STALE_PRICE,
        RejectReason.STALE_INTENT,
    }
)
"""Checks whose value and limit are durations in ns."""

_DURATIONS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def amount(number: Decimal | None, places: int = 2) -> str:
    """Return a number with thousands separated, cut to `places` where it has more; a dash for None."""
    if number is None:
        return "-"
    rounded = f"{number:,.{places}f}"
    return rounded.rstrip("0").rstrip(".") if "." in rounded else rounded


def duration(nanoseconds: Decimal | int) -> str:
    """Return a duration in the largest unit that leaves a number above one."""
    seconds = Decimal(nanoseconds) / SECOND_NS
    for size, unit in _DURATIONS:
        if abs(seconds) >= size:
            return f"{amount(seconds / size, 1)} {unit}"
    return f"{amount(seconds * 1000, 1)} ms"


def when(nanoseconds: int | None) -> str:
    """Return a time as UTC to the second; a dash for None."""
    if nanoseconds is None:
        return "-"
    try:
        return f"{datetime.fromtimestamp(nanoseconds // SECOND_NS, UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError):
        return f"{nanoseconds} ns"


def order(decision: RiskDecision) -> str:
    """Return what was asked for, in a few words."""
    if decision.side is None:
        return f"a record that is no intent (order-intents offset {decision.intent_offset})"
    requested = None
    if decision.reducing_quantity is not None and decision.opening_quantity is not None:
        requested = decision.reducing_quantity + decision.opening_quantity
    quantity = decision.quantity if decision.status is DecisionStatus.APPROVED else requested
    words = [decision.side.lower(), amount(quantity, 12) if quantity is not None else "", decision.symbol or ""]
    if decision.limit_price is not None:
        words.append(f"at {amount(decision.limit_price, 12)}")
    return " ".join(filter(None, words))


def because(decision: RiskDecision) -> str:
    """Return the reasons of a rejection, or what approval left to say."""
    if decision.reasons:
        return ", ".join(decision.reasons)
    return ", ".join(decision.warnings)


def check_line(check: CheckResult) -> str:
    """Return one check's evidence: what was measured, against what."""
    words: list[str] = [check.name]
    if check.outcome is not Outcome.FAIL:
        words.append(f"({check.outcome})")
    if check.value is not None and check.limit is not None:
        show = duration if check.name in _TIMES else amount
        sign = ">" if check.value > check.limit else "of"
        words.append(f"{show(check.value)} {sign} {show(check.limit)}")
    if check.max_quantity is not None:
        words.append(f"passes {amount(check.max_quantity, 12)}")
    return " ".join(words)


def decision_line(decision: RiskDecision) -> Text:
    """Return a decision on one line."""
    line = Text()
    line.append(f"{decision.status:8} ", style=DECISION_STYLE[decision.status])
    line.append(f"{decision.account or '?':10} ")
    line.append(f"{order(decision):28} ")
    line.append(because(decision), style="dim" if not decision.reasons else "")
    return line


def decision_lines(decision: RiskDecision) -> list[Text]:
    """Return a decision on one line, and below it the evidence."""
    first = Text()
    first.append(decision.status, style=DECISION_STYLE[decision.status])
    first.append(f"  {order(decision)}")
    if decision.account is not None:
        first.append(f"  for {decision.account}/{decision.strategy}")
        first.append(f"  {decision.intent_id}", style="dim")
    lines = [first]
    if decision.original_seq is not None:
        lines.append(
            Text(
                f"  decided before: {decision.original_status} {amount(decision.original_quantity, 12)}"
                f" (seq {decision.original_seq})"
            )
        )
    lines += [Text("  " + check_line(check)) for check in decision.checks]
    named = {check.name for check in decision.checks}
    lines += [Text(f"  {reason}") for reason in decision.reasons if reason not in named]
    flags = [warning for warning in decision.warnings if warning not in named]
    if flags:
        lines.append(Text(f"  note: {', '.join(flags)}", style="dim"))
    if decision.status is DecisionStatus.REJECTED and decision.side is not None:
        bound = f", bound by {decision.binding_constraint}" if decision.binding_constraint else ""
        lines.append(Text(f"  the largest quantity that would pass now: {amount(decision.max_quantity, 12)}{bound}"))
    return lines


def halt_line(halt: TradingHalt) -> Text:
    """Return a change of status on one line."""
    line = Text()
    line.append(f"{halt.status:8} ", style=STATUS_STYLE[halt.status])
    line.append(f"{halt.account:10} ")
    line.append(f"was {halt.previous_status}")
    if halt.causes:
        line.append(f"  {', '.join(halt.causes)}")
    if halt.drawdown is not None:
        line.append(f"  {amount(halt.drawdown * 100)} % below its peak, equity {amount(halt.equity)}")
    if halt.actor is not None:
        line.append(f"  by {halt.actor}: {halt.reason}")
    return line

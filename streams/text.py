"""Decisions, halts and amounts as a person reads them. Plain strings; a terminal adds the colors."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from pydantic import JsonValue
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

DURATIONS: Final = frozenset(
    {
        RejectReason.EVENT_TIME_INVALID,
        RejectReason.INTENT_EXPIRED,
        RejectReason.STALE_EQUITY,
        RejectReason.STALE_PRICE,
        RejectReason.STALE_INTENT,
        RejectReason.RATE_LIMIT_ACCOUNT,
        RejectReason.RATE_LIMIT_STRATEGY,
    }
)
"""Checks whose value and limit are durations in ns."""

_RATES: Final = frozenset({RejectReason.RATE_LIMIT_ACCOUNT, RejectReason.RATE_LIMIT_STRATEGY})
"""Checks of when a bucket is full again: the value is how far ahead that is, the limit how far it may be."""

_COUNTED: Final = {
    RejectReason.REPEATED_ORDER: " alike within 10 s",
    RejectReason.MAX_OPEN_ORDERS: " open orders",
}

_EXACT: Final = frozenset(
    {
        RejectReason.INVALID_LOT,
        RejectReason.SIZE_EXCEEDS_RISK,
        RejectReason.MAX_ORDER_QUANTITY,
        RejectReason.PRICE_COLLAR,
    }
)
"""Checks in units or prices, of which no digit may be lost."""

_ABOUT: Final = {
    "symbols": "{}",
    "orders": "would cross {}",
    "strategies": "against {}",
    "switches": "{}",
    "causes": "{}",
    "state": "is {}",
    "actor": "by {}",
    "reason": "{}",
    "cluster": "cluster {}",
    "sector": "sector {}",
    "strategy": "strategy {}",
    "factor": "{}",
    "historical": "historical {}",
    "parametric": "parametric {}",
    "incremental": "by this order {}",
}
"""What a check's detail says, in the order in which it is told; what is not here is for programs."""
_AMOUNTS: Final = ("historical", "parametric", "incremental")
_NAMES_SHOWN: Final = 3

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def amount(number: Decimal | None, places: int = 2) -> str:
    """Return a number with thousands separated, cut to `places` where it has more; a dash for None."""
    if number is None:
        return "-"
    rounded = f"{number:,.{places}f}"
    return rounded.rstrip("0").rstrip(".") if "." in rounded else rounded


def duration(nanoseconds: Decimal | int) -> str:
    """Return a duration in the largest unit that leaves a number above one."""
    seconds = Decimal(nanoseconds) / SECOND_NS
    for size, unit in _UNITS:
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


def day(nanoseconds: int) -> str:
    """Return a time's date, UTC."""
    return when(nanoseconds)[:10]


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


def measured(check: CheckResult) -> str:
    """Return what a check measured, against what; nothing where it measures nothing."""
    value, limit = check.value, check.limit
    if value is None or limit is None:
        return ""
    if check.name is RejectReason.INVALID_LOT:
        return f"{amount(value, 12)} in lots of {amount(limit, 12)}"
    if check.name in DURATIONS:
        figures = duration(value), duration(limit)
    else:
        places = 12 if check.name in _EXACT else 2
        figures = amount(value, places), amount(limit, places)
    if value > limit:
        return f"{figures[0]} > {figures[1]}" + _after(check.name, value - limit)
    # Of all checks only a collar fails below its limit.
    sign = "<" if check.name is RejectReason.PRICE_COLLAR and value < limit else "of"
    return f"{figures[0]} {sign} {figures[1]}"


def _after(name: RejectReason, excess: Decimal) -> str:
    if name in _RATES:
        return f", a token in {duration(excess)}"
    return _COUNTED.get(name, "")


def about(check: CheckResult) -> str:
    """Return which names and parts a check found; nothing where it says none."""
    detail = check.detail
    if not isinstance(detail, dict):
        return ""
    return ", ".join(words.format(_shown(name, detail[name])) for name, words in _ABOUT.items() if name in detail)


def _shown(name: str, value: JsonValue) -> str:
    if name in _AMOUNTS:
        return amount(Decimal(str(value)))
    if not isinstance(value, list):
        return str(value)
    more = len(value) - _NAMES_SHOWN
    return ", ".join(map(str, value[:_NAMES_SHOWN])) + (f" and {more} more" if more > 0 else "")


def check_line(check: CheckResult) -> str:
    """Return one check's evidence: what was measured, against what, and about whom."""
    outcome = "" if check.outcome is Outcome.FAIL else f" ({check.outcome})"
    figures, names = measured(check), about(check)
    found = [f"{figures} ({names})" if figures and names else figures or names]
    if check.max_quantity is not None:
        found.append(f"passes {amount(check.max_quantity, 12)}")
    return f"{check.name}{outcome} {', '.join(filter(None, found))}".rstrip()


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

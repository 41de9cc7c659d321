"""What `decide` costs by what it answers, with the checks of the default profile and with every one there is."""

import cProfile
import io
import pstats
from collections.abc import Iterator
from typing import Any, Final

from models.decisions import DecisionStatus, RiskDecision
from models.reasons import Flag, RejectReason
from streams.codec import encode_decision
from streams.records import Topic
from tests.benchmarks import inputs
from tests.benchmarks.figures import Table, say
from tests.benchmarks.inside import Inside
from tests.benchmarks.market import LONG, OPEN_ORDERS, POSITIONS, STEP, SYMBOLS, Market, Sent

NAME: Final = "answers"
COUNT: Final = 2_000
FEWEST: Final = 100
SESSIONS: Final = 250
"""Returns of each symbol: as many as the tail model looks at."""
MODEL_LIMITS: Final = {"var_max": "0.5", "cvar_max": "0.5", "beta_max": "2", "factor_max": "2"}
TOO_MUCH: Final = {"quantity": "20000"}
SMALLER: Final = {"quantity": "20", "stop_distance": "1000", "allow_resize": True}
"""Asks for twice what a stop so far away allows."""
KINDS: Final[dict[str, dict[str, Any]]] = {
    "approval": {},
    "rejection, several reasons": TOO_MUCH,
    "approval, resized": SMALLER,
    "reduction": {"side": "SELL", "quantity": "1"},
    "repeat": {},
}
DEFAULT: Final = "default profile"
MODELS: Final = "and value at risk, shortfall, beta and factors"
PROFILED_LINES: Final = 25


def measure(scale: float, *, profile: bool = False) -> Table:
    """Measure each kind of answer with both sets of limits."""
    count = max(FEWEST, round(COUNT * scale))
    table = Table(
        NAME,
        "What decide costs by what it answers, CPU us",
        f"In process: an account with {POSITIONS} positions and about {OPEN_ORDERS} open orders, {SYMBOLS} symbols"
        f" with {SESSIONS} returns each; {count:,} intents of each kind, each decided after the one before was"
        " folded. decide: from the intent to the sealed decision, its digest included. encode: the decision's"
        " bytes and one SHA-256 of them. Reasons are those of the last one.",
    )
    figures = {}
    for name, limits in ((DEFAULT, {}), (MODELS, MODEL_LIMITS)):
        inside = Inside(_market(limits))
        for account, (kind, fields) in enumerate(KINDS.items()):
            table.rows.append({"answer": kind, "checks": name} | _costs(inside, account, kind, fields, count))
            say(str(table.rows[-1]))
        figures[f"decide us, {name}"] = next(
            row["decide us"] for row in table.rows if (row["answer"], row["checks"]) == ("approval", name)
        )
        if profile or name is DEFAULT:
            table.profile = table.profile or _profile(_market(limits), count)
    table.data["figures"] = figures
    return table


def _market(limits: dict[str, Any]) -> Market:
    return Market(inputs.NOON, accounts=len(KINDS), sessions=SESSIONS, limits=LONG | limits, sells=False)


def _intents(market: Market, account: int, fields: dict[str, Any], count: int) -> Iterator[Sent]:
    for turn in range(count):
        # A fixed quantity of one symbol after the other: about one a minute in each, so that none repeats too fast.
        yield market.intent(account, turn, market.begin + (1 + turn) * STEP, lifetime=1, **fields)


def _costs(inside: Inside, account: int, kind: str, fields: dict[str, Any], count: int) -> dict[str, Any]:
    opening = list(_intents(inside.market, account, {}, OPEN_ORDERS))
    for record in inside.records(Topic.ORDER_INTENTS, opening):
        inside.decide(record)
    intents = list(_intents(inside.market, account, fields, OPEN_ORDERS + count))[OPEN_ORDERS:]
    if kind == "repeat":
        intents = opening * (count // len(opening))
    records = inside.records(Topic.ORDER_INTENTS, intents)
    last = inside.replica.decide(records[-1])
    assert _is(kind, last), last
    spent = inside.costs_of(records)
    value = encode_decision(last).value or b""
    return {
        "decide us": spent["decide"],
        "intent from bytes us": spent["intent from bytes"],
        "encode us": spent["encode and digest"],
        "bytes": len(value),
        "reasons": " ".join(last.reasons),
    }


def _is(kind: str, decision: RiskDecision) -> bool:
    """Tell whether a decision is of its kind, so that nothing else is measured."""
    if kind == "repeat":
        return decision.reasons[:1] == (RejectReason.DUPLICATE_INTENT,)
    if kind.startswith("rejection"):
        return len(decision.reasons) > 1
    resized = Flag.RESIZED in decision.warnings
    return decision.status is DecisionStatus.APPROVED and resized == ("resized" in kind)


def _profile(market: Market, count: int) -> str:
    """Return where the time of approvals goes, by the profiler, which makes small functions look expensive."""
    inside = Inside(market)
    records = inside.records(Topic.ORDER_INTENTS, _intents(market, 0, {}, OPEN_ORDERS + count))
    profiler = cProfile.Profile()
    profiler.enable()
    for record in records:
        encode_decision(inside.decide(record))
    profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("tottime").print_stats(PROFILED_LINES)
    return text.getvalue()

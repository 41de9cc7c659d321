"""Why an intent was answered as it was: the state at the decision's `as_of`, and every check run on it again.

A decision carries the checks that failed or warned, and the one that bound. The others follow from the topics: they
are folded to the decision's `as_of`, and the same checks of the same rules run. The decision is taken again on the
way, so an explanation also says whether it comes out byte for byte as it stands.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from decimal import Decimal
from typing import Final

import orjson
from pydantic import BaseModel, ConfigDict

from models.canonical import canonical_bytes, exact
from models.decisions import RULES, CheckResult, Outcome, RiskDecision, Source
from models.folds.book import ZERO
from models.gate import EVENT_TIME_LAG_MAX, findings, judge
from models.messages import FUTURE_TOLERANCE, OrderIntent
from models.reasons import RejectReason
from models.refusal import Refused
from models.request import Request, Size
from models.state import State
from models.wire import Exact
from streams.codec import decode_decision, decode_halt, shown
from streams.config import Settings
from streams.hindsight.history import HistoryError, Past, open_history, partitions_of
from streams.records import Record, Topic
from streams.replay import INPUTS, Cursor, Replay, UnreachableError
from streams.report import AccountReport, UnknownAccountError, describe

INTEGRITY: Final = (
    RejectReason.MALFORMED,
    RejectReason.INTENT_ID_CONFLICT,
    RejectReason.DUPLICATE_INTENT,
    RejectReason.EVENT_TIME_INVALID,
    RejectReason.INTENT_EXPIRED,
)
"""What is looked at first; where one fails nothing else is looked at."""


class UnknownIntentError(HistoryError):
    """No record of `order-intents` carries the id."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Known(_Part):
    """One thing the gate knew."""

    what: str
    """equity, cash, or a symbol's price or ATR."""
    value: Exact
    """Account currency; per unit for a price or an ATR."""
    source: Source | None
    age: int
    """The account's clock minus the value's own time, ns."""


class Link(_Part):
    """One symbol of the candidate's cluster, and how it came into it."""

    symbol: str
    parent: str | None
    """The member it is linked to; None for the candidate."""
    rho: str | None
    """Correlation with the parent, 6 places; None where it is unknown."""
    known: bool
    """False where too few common sessions are known, so that a link is assumed."""
    exposure: Exact | None
    """On the worst side, the order in question included, account currency; None where it has no price."""


class Explanation(_Part):
    """One record of `order-intents`, its decision, and what that rests on."""

    intent_place: str
    """The intent's record, as topic/partition@offset."""
    decision_place: str | None
    """The decision's; None while there is none."""
    record_time: int
    """When the broker took the intent, ns since the Unix epoch."""
    intent: OrderIntent | None
    """What was asked for; None where the record is no intent."""
    malformed: str | None
    """Why the record is no intent."""
    decision: RiskDecision | None
    """The answer; None while there is none."""
    reproduced: bool
    """Whether the decision, taken again, has the same bytes."""
    checks: tuple[CheckResult, ...]
    """All of them in order of precedence: on approval at the approved quantity, else at the requested one."""
    known: tuple[Known, ...]
    links: tuple[Link, ...]
    """The candidate's cluster in the order of the search, the candidate first; nothing where it is alone."""
    before: AccountReport | None
    """The account just before the decision; None where nothing was known of it."""


async def explain(settings: Settings, intent_id: str, account: str | None = None) -> list[Explanation]:
    """Explain every decision on an intent id, or on one record of `order-intents`.

    Args:
        settings: How to reach the broker.
        intent_id: The id, or a record's place such as `order-intents/0@17`.
        account: Only that account's; an id is unique within its account alone.

    Returns:
        Partition by partition, in the order of the log; also records that have no decision yet.

    Raises:
        UnknownIntentError: If no record carries the id.
        GateError: If the topics cannot be read.
    """
    async with open_history(settings) as history:
        return [each async for each in explanations(history, intent_id, account)]


async def explanations(past: Past, intent_id: str, account: str | None = None) -> AsyncIterator[Explanation]:
    """Yield what `explain` returns, of any past.

    Raises:
        UnknownIntentError: If no record carries the id.
    """
    found = False
    for number in partitions_of(past, account):
        records = [record async for record in _records_of(past, number, intent_id, account)]
        if records:
            found = True
            async for explanation in _of_partition(past, number, records):
                yield explanation
    if not found:
        of = f" of account {shown(account)}" if account is not None else ""
        raise UnknownIntentError(
            f"no record of order-intents carries intent {shown(intent_id)}{of}: see those that were decided by"
            " `seawall watch decisions --from-beginning`"
        )


async def _records_of(past: Past, number: int, intent_id: str, account: str | None) -> AsyncIterator[Record]:
    """Yield the records that carry the id, messages or not, or the one that stands at that place."""
    text = intent_id.encode()
    async with aclosing(past.partition(number).records(Topic.ORDER_INTENTS)) as batches:
        async for batch in batches:
            for record in batch:
                named = record.place == intent_id or (text in (record.value or b"") and _id_of(record) == intent_id)
                if named and (account is None or _account_of(record) == account):
                    yield record


def _fields(record: Record) -> dict[str, object]:
    try:
        fields = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _id_of(record: Record) -> object:
    return _fields(record).get("intent_id")


def _account_of(record: Record) -> object:
    return _fields(record).get("account", (record.key or b"").decode(errors="replace"))


async def _of_partition(past: Past, number: int, wanted: list[Record]) -> AsyncIterator[Explanation]:
    """Yield the explanations of one partition's records, which are in the order of their offsets."""
    source = past.partition(number)
    replay = Replay(number, past.codec, source)
    decisions = Cursor(source.records(Topic.RISK_DECISIONS))
    halts = Cursor(source.records(Topic.TRADING_HALTS))
    left = {record.offset: record for record in wanted}
    try:
        while left and (found := await decisions.take()) is not None:
            decision = decode_decision(found)
            record = left.pop(decision.intent_offset, None)
            if record is not None:
                try:
                    await replay.advance(decision.as_of)
                except UnreachableError:
                    raise HistoryError(
                        f"{found.place}: its as_of goes back behind that of an earlier decision: run `seawall audit`"
                    ) from None
                await _fold_halts(replay.state, halts, decision)
                yield _explained(replay, past, record, found, decision)
            replay.state.fold_decision(decision)
        for record in left.values():
            yield _undecided(past, record)
    finally:
        for cursor in (replay, decisions, halts):
            await cursor.close()


async def _fold_halts(state: State, halts: Cursor, decision: RiskDecision) -> None:
    """Take in the halts that were published before a decision."""
    while (record := await halts.peek()) is not None:
        halt = decode_halt(record)
        seq = state.accounts[halt.account].ledger.decisions.seq
        later = any(getattr(halt.as_of, name) > getattr(decision.as_of, name) for name in INPUTS.values())
        if later or halt.decision_seq > seq:
            return
        state.fold_halt(halt)
        await halts.take()


def _undecided(past: Past, record: Record) -> Explanation:
    message = past.codec.order_intent(record)
    return Explanation.model_construct(
        intent_place=record.place,
        decision_place=None,
        record_time=record.time,
        intent=None if isinstance(message, Refused) else message,
        malformed=message.why if isinstance(message, Refused) else None,
        decision=None,
        reproduced=False,
        checks=(),
        known=(),
        links=(),
        before=None,
    )


def _explained(replay: Replay, past: Past, record: Record, found: Record, decision: RiskDecision) -> Explanation:
    if not 1 <= decision.rules <= RULES:
        raise HistoryError(
            f"{found.place} was decided by rules {decision.rules}, which this version does not have: take a newer one"
        )
    # Taken again before anything else is asked: questions must not be able to change the answer.
    reproduced = canonical_bytes(replay.replica.decide(record, rules=decision.rules)) == found.value
    explanation = _undecided(past, record)
    fields = {"decision_place": found.place, "decision": decision, "reproduced": reproduced}
    if explanation.intent is None or decision.account is None:
        fields["checks"] = tuple(_integrity(decision, record, None))
    else:
        fields |= _evidence(replay.state, record, explanation.intent, decision)
    return explanation.model_copy(update=fields)


@exact
def _evidence(state: State, record: Record, intent: OrderIntent, decision: RiskDecision) -> dict[str, object]:
    """Return what was known, and what each check made of it."""
    request = Request(intent, state.portfolio(intent.account, decision.clock), rules=decision.rules)
    integrity = tuple(_integrity(decision, record, intent))
    failed = any(check.outcome is Outcome.FAIL for check in integrity)
    verdict = None if failed else judge(request, thorough=True)
    return {
        "checks": integrity if verdict is None else integrity + findings(request, verdict),
        "known": tuple(_known(request)),
        "links": tuple(_links(request, None if verdict is None else verdict.size)),
        "before": _before(state, intent.account),
    }


def _before(state: State, account: str) -> AccountReport | None:
    try:
        return describe(state, account)
    except UnknownAccountError:
        return None


def _integrity(decision: RiskDecision, record: Record, intent: OrderIntent | None) -> Iterator[CheckResult]:
    """Yield the checks of integrity; where the record is no intent there is nothing to check but that."""
    for reason in INTEGRITY if intent is not None else INTEGRITY[:1]:
        value = limit = None
        if intent is not None and reason is RejectReason.EVENT_TIME_INVALID:
            value, limit = Decimal(intent.event_time - record.time), Decimal(FUTURE_TOLERANCE)
        elif intent is not None and reason is RejectReason.INTENT_EXPIRED:
            # How late it was, against whichever comes first: an hour, or its own expiry.
            value = Decimal(decision.clock - intent.event_time)
            limit = Decimal(min(EVENT_TIME_LAG_MAX, intent.expires_at - intent.event_time - 1))
        yield CheckResult(
            name=reason,
            outcome=Outcome.FAIL if reason in decision.reasons else Outcome.PASS,
            max_quantity=ZERO if reason in decision.reasons else None,
            value=value,
            limit=limit,
            headroom=None if value is None or limit is None else limit - value,
        )


def _known(request: Request) -> Iterator[Known]:
    portfolio, inputs, symbol = request.portfolio, request.inputs, request.intent.symbol
    for what, given in (
        (f"price of {symbol}", inputs.price),
        (f"ATR of {symbol}", inputs.atr),
        ("equity", inputs.equity),
    ):
        if given is not None:
            yield Known(what=what, value=given.value, source=given.source, age=given.age)
    drawdown = portfolio.account.drawdown
    for what, figure in (("cash", drawdown.cash), ("buying power", drawdown.buying_power)):
        if figure is not None:
            yield Known(what=what, value=figure[0], source=Source.MARK, age=portfolio.clock - figure[1])
    close = portfolio.prices.close(symbol)
    if close is not None:
        yield Known(
            what=f"close of {symbol}", value=close.price, source=close.source, age=portfolio.clock - close.time
        )
    for valued in request.others.valued:
        quote, what = valued.quote, f"price of {valued.holding.symbol}"
        yield Known(what=what, value=quote.price, source=quote.source, age=portfolio.clock - quote.time)


def _links(request: Request, size: Size | None) -> Iterator[Link]:
    members = request.cluster.members
    if len(members) == 1:
        return
    amounts = {valued.holding.symbol: valued.amount for valued in request.others.valued}
    if request.value is not None:
        holding = request.holding if size is None else request.after(size)
        amounts[request.intent.symbol] = holding.worst * request.value
    for member in members:
        yield Link(
            symbol=member.symbol,
            parent=member.parent,
            rho=member.rho,
            known=member.known,
            exposure=amounts.get(member.symbol),
        )

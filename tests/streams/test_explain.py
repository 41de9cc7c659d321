"""Explanations of the demo's decisions: the same bytes again, every check, and what was known."""

import asyncio
import io
import json

import orjson
import pytest
from rich.console import Console

from models.canonical import canonical_bytes
from models.checks import checks_of
from models.decisions import RULES, Outcome
from models.reasons import RejectReason
from streams.cli.explain import parts
from streams.hindsight.explain import INTEGRITY, Explanation, UnknownIntentError, explanations
from streams.hindsight.history import HistoryError
from streams.records import Topic
from tests.streams.pasts import MemoryPast, gathered
from tests.streams.played import played

PLAYED = MemoryPast(played().gate.log)
EVERY_CHECK = [reason.value for reason in RejectReason if reason in {*INTEGRITY, *checks_of(RULES).reasons}]


def explained(intent_id: str, account: str | None = None, past: MemoryPast = PLAYED) -> list[Explanation]:
    return asyncio.run(gathered(explanations(past, intent_id, account)))


def page(explanation: Explanation, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    for part in parts(explanation):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("number", [*range(0, 1000, 53), 58, 351, 505, 506, 507, 805, 867])
def test_every_decision_comes_out_the_same_and_its_checks_are_among_them(number: int) -> None:
    decision = played().gate.decisions[number]
    (made,) = explained(f"order-intents/0@{number}")
    assert made.reproduced
    assert made.decision is not None
    assert canonical_bytes(made.decision) == canonical_bytes(decision)
    by_name = {check.name: check for check in made.checks}
    for recorded in decision.checks:
        found = by_name[recorded.name]
        assert found.outcome is recorded.outcome
        if recorded.name not in INTEGRITY:
            assert canonical_bytes(found) == canonical_bytes(recorded)
    assert {check.name for check in made.checks if check.outcome is Outcome.FAIL} == set(decision.reasons)


def test_an_approval_lists_every_check_there_is() -> None:
    (made,) = explained("banks-20080902-01")
    assert [check.name for check in made.checks] == EVERY_CHECK
    assert made.intent is not None
    assert made.intent.account == "banks"
    assert {each.what for each in made.known} >= {"equity", "cash", f"price of {made.intent.symbol}"}
    assert made.before is not None
    assert made.before.decisions == 0
    text = page(made)
    assert text.startswith("APPROVED  buy")
    assert "nothing bound it" in text or "bound by" in text
    assert "reserved: " in text


def test_a_rejection_shows_what_bound_and_how_its_cluster_hangs_together() -> None:
    (made,) = explained("tech-20080903-05")
    assert made.decision is not None
    assert made.decision.reasons == (RejectReason.CORRELATED_EXPOSURE, RejectReason.SECTOR_CONCENTRATION)
    (cluster,) = (check for check in made.checks if check.name is RejectReason.CORRELATED_EXPOSURE)
    assert sum(link.exposure for link in made.links if link.exposure is not None) == cluster.value
    assert made.links[0].parent is None
    assert {link.parent for link in made.links[1:]} <= {link.symbol for link in made.links}
    text = page(made)
    assert "the largest quantity that would have passed: 2,481, bound by CORRELATED_EXPOSURE" in text
    assert "how each symbol is linked to MSFT" in text
    assert "SECTOR_CONCENTRATION" in text
    assert "comes out the same, byte for byte" in text


def test_every_record_under_an_id_is_explained() -> None:
    made = explained("banks-20080925-01")
    reasons = [each.decision.reasons[0] for each in made if each.decision is not None]
    assert RejectReason.DUPLICATE_INTENT in reasons
    assert RejectReason.INTENT_ID_CONFLICT in reasons
    assert all(each.reproduced for each in made)
    again = page(made[reasons.index(RejectReason.DUPLICATE_INTENT)])
    assert "the id was decided before: REJECTED 0 (seq 43)" in again
    assert "looked at no further" in again


def test_bytes_that_are_no_intent_are_found_by_their_place() -> None:
    (made,) = explained("order-intents/0@58")
    assert (made.intent, made.before) == (None, None)
    assert [check.name for check in made.checks] == [RejectReason.MALFORMED]
    assert "is no intent: the value must be JSON in UTF-8" in page(made)


def test_a_malformed_record_is_found_by_the_id_it_carries() -> None:
    number, intent_id = next(
        (record.offset, fields["intent_id"])
        for record, decision in zip(played().gate.log[Topic.ORDER_INTENTS], played().gate.decisions, strict=True)
        if decision.account is None and "intent_id" in (fields := _fields(record.value))
    )
    assert f"order-intents/0@{number}" in [each.intent_place for each in explained(intent_id)]


def _fields(value: bytes | None) -> dict[str, str]:
    try:
        fields = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


def test_an_id_belongs_to_its_account() -> None:
    assert len(explained("x-1", "ghost")) == 1
    with pytest.raises(UnknownIntentError, match="carries intent 'x-1' of account 'banks'"):
        explained("x-1", "banks")
    with pytest.raises(UnknownIntentError, match="carries intent 'nothing':"):
        explained("nothing")


def test_an_intent_without_a_decision_says_so() -> None:
    log = dict(played().gate.log)
    log[Topic.RISK_DECISIONS] = log[Topic.RISK_DECISIONS][:3]
    (made,) = explained("order-intents/0@3", past=MemoryPast(log))
    assert (made.decision, made.checks) == (None, ())
    assert "is not decided yet" in page(made)


def test_a_changed_decision_is_said_to_come_out_differently() -> None:
    log = dict(played().gate.log)
    decisions = list(log[Topic.RISK_DECISIONS])
    told = json.loads(decisions[0].value or b"")
    told["quantity"] = "1"
    decisions[0] = decisions[0]._replace(value=json.dumps(told).encode())
    log[Topic.RISK_DECISIONS] = decisions
    (made,) = explained("order-intents/0@0", past=MemoryPast(log))
    assert not made.reproduced
    assert "COMES OUT DIFFERENTLY" in page(made)


def test_rules_of_a_later_version_are_not_guessed() -> None:
    log = dict(played().gate.log)
    decisions = list(log[Topic.RISK_DECISIONS])
    told = json.loads(decisions[0].value or b"")
    told["rules"] = 99
    decisions[0] = decisions[0]._replace(value=json.dumps(told).encode())
    log[Topic.RISK_DECISIONS] = decisions
    with pytest.raises(HistoryError, match="decided by rules 99"):
        explained("order-intents/0@0", past=MemoryPast(log))


def test_an_explanation_is_json() -> None:
    (made,) = explained("tech-20080903-05")
    told = json.loads(canonical_bytes(made))
    assert told["decision"]["max_quantity"] == "2481"
    assert told["before"]["account"] == "tech"
    assert len(told["checks"]) == len(EVERY_CHECK)


@pytest.mark.parametrize("width", [80, 120])
def test_a_page_fits_its_terminal(width: int) -> None:
    lines = page(explained("tech-20080903-05")[0], width).splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.startswith("CORRELATED_EXPOSURE") and "2,481 <" in line for line in lines)

"""Golden logs that were tampered with, each at a place drawn from a seed: every forgery is caught and named."""

import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import orjson
import pytest

from models.canonical import canonical_bytes, chained, sha256
from models.decisions import RiskDecision
from models.messages import ExecutionType
from models.state import Shared, State
from streams.audit import Kind
from streams.codec import Codec, decode_decision, decode_halt
from streams.records import SHARED_INPUTS, Record, Topic
from streams.replay import INPUTS, replicas
from tests.golden.test_golden import LOGS, read
from tests.streams.audited import Log, audited

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=LOGS, ids=lambda path: path.name.removesuffix(".jsonl.gz"))
def log(request: pytest.FixtureRequest) -> Log:
    return read(request.param)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> random.Random:
    number = int(os.environ.get("SEAWALL_TEST_SEED") or random.SystemRandom().randrange(10**9))
    request.node.add_report_section("setup", "SEAWALL_TEST_SEED", str(number))  # shown where a test fails
    return random.Random(number)


def sealed(decision: RiskDecision, **changes: object) -> RiskDecision:
    """Return a decision with other fields and a digest that fits them."""
    changed = RiskDecision.model_construct(**{**decision.__dict__, **changes})
    return changed.model_copy(update={"digest": sha256(chained(changed))})


def put(log: Log, number: int, decision: RiskDecision) -> str:
    """Put another decision in a record's place; return where that is."""
    record = log[Topic.RISK_DECISIONS][number]
    log[Topic.RISK_DECISIONS][number] = record._replace(value=canonical_bytes(decision))
    return record.place


def resign_after(log: Log, number: int) -> None:
    """Sign every later decision of the account anew, so that the chain fits again."""
    decisions = [decode_decision(record) for record in log[Topic.RISK_DECISIONS]]
    digest = decisions[number].digest
    for later in range(number + 1, len(decisions)):
        if decisions[later].account == decisions[number].account:
            signed = sealed(decisions[later], previous_digest=digest)
            put(log, later, signed)
            digest = signed.digest


def drawn(log: Log, seed: random.Random, *, last: int | None = None) -> tuple[int, RiskDecision]:
    """Return an approval, and its number."""
    approvals = [
        (number, decision)
        for number, record in enumerate(log[Topic.RISK_DECISIONS][:last])
        if (decision := decode_decision(record)).reservation is not None
    ]
    return seed.choice(approvals)


def test_a_changed_quantity(log: Log, seed: random.Random) -> None:
    number, decision = drawn(log, seed)
    place = put(log, number, sealed(decision, quantity=decision.quantity + 1))
    finding = audited(log).findings[0]
    assert (finding.place, finding.field, finding.kind) == (place, "quantity", Kind.DIFFERS)
    assert finding.recorded == f'"{decision.quantity + 1:f}"'
    assert finding.as_of == decision.as_of.model_dump()
    assert "by a forger" in str(finding.cause)


def test_a_changed_quantity_whose_digest_was_left(log: Log, seed: random.Random) -> None:
    number, decision = drawn(log, seed)
    place = put(log, number, decision.model_copy(update={"quantity": decision.quantity + 1}))
    finding = audited(log).findings[0]
    assert (finding.place, finding.field) == (place, "quantity")
    assert finding.cause == "it was changed after it was sealed: its digest does not fit its content"


def test_a_swapped_pair(log: Log, seed: random.Random) -> None:
    decisions = log[Topic.RISK_DECISIONS]
    number = seed.randrange(len(decisions) - 1)
    first, second = decisions[number], decisions[number + 1]
    decisions[number], decisions[number + 1] = first._replace(value=second.value), second._replace(value=first.value)
    kinds = {finding.place: finding.kind for finding in reversed(audited(log).findings)}
    intent = decode_decision(first).intent_offset
    assert kinds[f"order-intents/0@{intent}"] is Kind.MISSING
    assert decisions[number + 1].place in kinds


def test_a_removed_decision(log: Log, seed: random.Random) -> None:
    gone = log[Topic.RISK_DECISIONS].pop(seed.randrange(len(log[Topic.RISK_DECISIONS]) - 1))
    finding = audited(log).findings[0]
    assert finding.kind is Kind.MISSING
    assert finding.place == f"order-intents/0@{decode_decision(gone).intent_offset}"
    assert "has no decision" in finding.what


def test_an_inserted_decision(log: Log, seed: random.Random) -> None:
    """Even one that continues its account's chain, with all later ones signed anew."""
    number, decision = drawn(log, seed)
    decisions = log[Topic.RISK_DECISIONS]
    forged = sealed(decision, seq=decision.seq + 1, previous_digest=decision.digest)
    decisions.insert(number + 1, decisions[number]._replace(offset=10**9, value=canonical_bytes(forged)))
    finding = audited(log).findings[0]
    assert (finding.place, finding.kind) == (decisions[number + 1].place, Kind.INVENTED)


def test_a_chain_signed_anew_with_a_changed_limit(log: Log, seed: random.Random) -> None:
    number, decision = drawn(log, seed)
    place = put(log, number, sealed(decision, limits_version="generous@7"))
    resign_after(log, number)
    verdict = audited(log)
    assert verdict.diverged == 1  # the forger's chain fits: only the decision itself gives him away
    finding = verdict.findings[0]
    assert (finding.place, finding.field, finding.recorded) == (place, "limits_version", '"generous@7"')
    assert "reference was changed" in str(finding.cause)


def test_a_changed_fill(log: Log, seed: random.Random) -> None:
    """Of a symbol that the account asks for later: a fill that no decision rests on leaves no trace in any.

    Nor does a copy that came twice: changed, it is refused, and what tells is that there is no dead letter.
    """
    asked: defaultdict[tuple[str | None, str | None], int] = defaultdict(int)
    for record in log[Topic.RISK_DECISIONS]:
        decision = decode_decision(record)
        if decision.reservation is not None:
            asked[decision.account, decision.symbol] = decision.as_of.fills
    values = [record.value for record in log[Topic.FILLS]]
    numbers = []
    for number, record in enumerate(log[Topic.FILLS]):
        fill = Codec(1).fill(record)
        key = getattr(fill, "account", None), getattr(fill, "symbol", None)
        traded = getattr(fill, "execution_type", None) is ExecutionType.TRADE
        if traded and asked[key] >= record.offset and values.count(record.value) == 1:
            numbers.append(number)
    number = seed.choice(numbers)
    record = log[Topic.FILLS][number]
    fields = orjson.loads(record.value or b"")
    fields["last_quantity"] = str(int(fields["last_quantity"]) + 100_000)
    log[Topic.FILLS][number] = record._replace(value=orjson.dumps(fields))
    verdict = audited(log)
    assert verdict.diverged > 0
    assert "added or removed in fills" in str(verdict.findings[0].cause)


def test_topics_of_two_gates(log: Log) -> None:
    """The other golden log's decisions are no answers to these intents."""
    other = next(each for path in LOGS if len((each := read(path))[Topic.FILLS]) != len(log[Topic.FILLS]))
    log[Topic.RISK_DECISIONS] = other[Topic.RISK_DECISIONS]
    found = audited(log)
    assert any(finding.kind is Kind.FOREIGN for finding in found.findings)


def test_the_order_of_arrival_across_topics_does_not_matter(log: Log, seed: random.Random) -> None:
    state = State(Shared())
    shared, replica = replicas(0, Codec(1), state)
    unread = {topic: list(reversed(log[topic])) for topic in INPUTS}
    intents = {record.offset: record for record in log[Topic.ORDER_INTENTS]}
    halts = [(decode_halt(record), record) for record in log[Topic.TRADING_HALTS]]
    for record in log[Topic.RISK_DECISIONS]:
        decision = decode_decision(record)
        while ready := [
            topic
            for topic, field in INPUTS.items()
            if unread[topic] and unread[topic][-1].offset <= getattr(decision.as_of, field)
        ]:
            topic = seed.choice(ready)
            (shared if topic in SHARED_INPUTS else replica).fold(unread[topic].pop())
        assert canonical_bytes(replica.decide(intents[decision.intent_offset], rules=decision.rules)) == record.value
        replica.fold(record)
    assert halts  # decisions know of them by equity alone: none is folded here


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_the_seed_of_hashes_does_not_matter(hash_seed: str) -> None:
    script = (
        "from tests.golden.test_golden import LOGS, read; from tests.streams.audited import audited\n"
        "print(audited(read(min(LOGS, key=lambda path: path.stat().st_size))).summary, hash('x'))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, check=True)
    smallest = read(min(LOGS, key=lambda path: path.stat().st_size))
    count = len(smallest[Topic.RISK_DECISIONS])
    assert f"{count} decisions, {count} reproduced byte for byte, 0 diverged" in done.stdout.decode()


def test_a_newer_schema_is_not_covered(log: Log, seed: random.Random) -> None:
    number = seed.randrange(len(log[Topic.RISK_DECISIONS]))
    record = log[Topic.RISK_DECISIONS][number]
    fields = {**orjson.loads(record.value or b""), "version": 2, "colour": "blue"}
    log[Topic.RISK_DECISIONS][number] = record._replace(value=orjson.dumps(fields))
    verdict = audited(log)
    assert (verdict.clean, verdict.not_covered, verdict.diverged) == (False, 1, 0)
    [finding] = verdict.findings
    assert (finding.place, finding.kind) == (record.place, Kind.NOT_COVERED)
    assert "schema version 2" in finding.what


def test_a_deleted_input_is_named(log: Log, seed: random.Random) -> None:
    """A decision names the last record it knew, so it shows where that one is gone."""
    known = {decode_decision(record).as_of.equity_ticks for record in log[Topic.RISK_DECISIONS]} - {-1}
    gone = seed.choice(sorted(known))
    log[Topic.EQUITY_TICKS] = [record for record in log[Topic.EQUITY_TICKS] if record.offset != gone]
    findings = audited(log).findings
    assert any(
        (finding.field, finding.recorded, finding.kind) == ("as_of.equity_ticks", str(gone), Kind.DELETED)
        for finding in findings
    )


def test_a_record_of_nobody(log: Log) -> None:
    record = Record(Topic.RISK_DECISIONS, 0, 10**9, 0, None, b"hello", ())
    log[Topic.RISK_DECISIONS].append(record)
    kinds = [finding.kind for finding in audited(log).findings]
    assert kinds == [Kind.OWNER, Kind.NO_MESSAGE]

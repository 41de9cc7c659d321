"""The audit of the demo's log: clean as it is, and whatever is done to it is named."""

import random

import orjson
import pytest

from models.canonical import canonical_bytes, chained, sha256
from models.decisions import RiskDecision
from streams.audit import first_difference
from streams.codec import decode_decision, decode_halt
from streams.records import Record, Topic
from tests.streams.audited import Log, audited
from tests.streams.played import played


@pytest.fixture
def log() -> Log:
    """The log until late September 2008, so that each audit is quick."""
    whole = played().gate.log
    last = next(
        number
        for number, record in enumerate(whole[Topic.RISK_DECISIONS])
        if decode_decision(record).clock > 1_222_387_200 * 10**9
    )
    as_of = decode_decision(whole[Topic.RISK_DECISIONS][last]).as_of
    ends = {
        Topic.ORDER_INTENTS: last,
        Topic.RISK_DECISIONS: last,
        Topic.FILLS: as_of.fills,
        Topic.EQUITY_TICKS: as_of.equity_ticks,
        Topic.DAILY_RETURNS: as_of.daily_returns,
        Topic.REFERENCE: as_of.reference,
    }
    log = {topic: [one for one in whole[topic] if one.offset <= end] for topic, end in ends.items()}
    log[Topic.TRADING_HALTS] = [
        record
        for record in whole[Topic.TRADING_HALTS]
        if decode_halt(record).as_of.equity_ticks <= as_of.equity_ticks
        and decode_halt(record).as_of.fills <= as_of.fills
    ]
    kept = {f"{topic}-0-{record.offset}".encode() for topic in ends for record in log[topic]}
    log[Topic.DEAD_LETTERS] = [record for record in whole[Topic.DEAD_LETTERS] if record.key in kept]
    return log


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> random.Random:
    number = random.SystemRandom().randrange(10**9)
    request.node.add_report_section("setup", "seed", str(number))  # shown where a test fails
    return random.Random(number)


def test_the_whole_demo_is_clean() -> None:
    verdict = audited(dict(played().gate.log))
    assert verdict.clean, verdict.findings
    number = len(played().gate.log[Topic.ORDER_INTENTS])
    assert verdict.summary == f"audit: {number} decisions, {number} reproduced byte for byte, 0 diverged"
    assert verdict.halts == verdict.halts_reproduced == len(played().gate.all_halts)
    assert verdict.dead_letters == 8
    assert verdict.undecided == 0


def test_the_part_is_clean(log: Log) -> None:
    verdict = audited(log)
    assert verdict.clean, verdict.findings
    assert verdict.decisions > 200


def test_what_is_not_decided_yet_is_counted_and_not_judged() -> None:
    log = {topic: list(records) for topic, records in played().gate.log.items()}
    del log[Topic.RISK_DECISIONS][-3:]  # no halt came after them, or it would know of decisions that are not there
    verdict = audited(log)
    assert verdict.undecided == 3
    assert verdict.clean, verdict.findings


@pytest.mark.parametrize("topic", [Topic.RISK_DECISIONS, Topic.TRADING_HALTS, Topic.DEAD_LETTERS])
def test_any_changed_byte_is_found(log: Log, topic: Topic, seed: random.Random) -> None:
    number = seed.randrange(len(log[topic]))
    record = log[topic][number]
    changed = bytearray(record.value or b"")
    # The wording of a dead letter is no evidence; it may change from version to version.
    evident = changed.index(b'"why":') if topic is Topic.DEAD_LETTERS else len(changed)
    changed[seed.randrange(evident)] ^= 1 << seed.randrange(7)
    log[topic][number] = record._replace(value=bytes(changed))
    verdict = audited(log)
    assert not verdict.clean


@pytest.mark.parametrize("topic", [Topic.RISK_DECISIONS, Topic.TRADING_HALTS, Topic.DEAD_LETTERS])
def test_a_removed_record_is_missed(log: Log, topic: Topic, seed: random.Random) -> None:
    # Whether the very last halt or letter is only late cannot be told.
    log[topic].pop(seed.randrange(len(log[topic]) - 1))
    assert not audited(log).clean


def resigned(record: Record, **changes: object) -> Record:
    """Return a decision with other fields and a digest that fits them."""
    decision = RiskDecision.model_construct(**{**decode_decision(record).__dict__, **changes})
    signed = decision.model_copy(update={"digest": sha256(chained(decision))})
    return record._replace(value=canonical_bytes(signed))


def test_a_decision_signed_anew_is_named_with_both_values(log: Log) -> None:
    number = next(n for n, one in enumerate(log[Topic.RISK_DECISIONS]) if decode_decision(one).reservation)
    record = log[Topic.RISK_DECISIONS][number]
    quantity = decode_decision(record).quantity
    log[Topic.RISK_DECISIONS][number] = resigned(record, quantity=quantity + 1)
    verdict = audited(log)
    first = verdict.findings[0]
    assert first.place == f"risk-decisions/0@{number}"
    assert (first.field, first.recorded, first.reproduced) == ("quantity", f'"{quantity + 1}"', f'"{quantity}"')
    assert first.as_of == decode_decision(record).as_of.model_dump()
    assert verdict.diverged >= 1


def test_swapped_decisions_are_found(log: Log) -> None:
    decisions = log[Topic.RISK_DECISIONS]
    first, second = decisions[10], decisions[11]
    decisions[10], decisions[11] = first._replace(value=second.value), second._replace(value=first.value)
    found = " ".join(map(str, audited(log).findings))
    assert "has no decision" in found
    assert "was decided before" in found


def test_a_second_decision_is_found(log: Log) -> None:
    decisions = log[Topic.RISK_DECISIONS]
    decisions.insert(21, decisions[20])
    verdict = audited(log)
    assert verdict.diverged == 1
    assert "which was decided before or never sent" in str(verdict.findings[0])


def test_a_changed_fill_shows_in_the_decisions_that_rest_on_it(log: Log) -> None:
    record = log[Topic.FILLS][5]
    fill = orjson.loads(record.value or b"")
    fill["last_quantity"] = str(int(fill["last_quantity"]) + 100)
    log[Topic.FILLS][5] = record._replace(value=orjson.dumps(fill))
    verdict = audited(log)
    assert verdict.diverged > 0
    assert verdict.decisions == verdict.reproduced + verdict.diverged


def test_an_invented_dead_letter_is_found(log: Log) -> None:
    log[Topic.DEAD_LETTERS].append(Record(Topic.DEAD_LETTERS, 0, 99, 0, b"fills-0-0", b"{}"))
    [finding] = audited(log).findings
    assert finding.what == "nothing calls for dead letter fills-0-0"


def test_an_invented_halt_is_found(log: Log) -> None:
    halts = log[Topic.TRADING_HALTS]
    halts.insert(4, halts[3])
    verdict = audited(log)
    assert any("had not changed" in finding.what for finding in verdict.findings)


def test_a_record_that_is_no_decision_is_named(log: Log) -> None:
    log[Topic.RISK_DECISIONS].insert(3, Record(Topic.RISK_DECISIONS, 0, 3, 0, None, b"hello"))
    verdict = audited(log)
    assert len(verdict.findings) == 1
    assert "is no RiskDecision" in verdict.findings[0].what


def test_rules_that_this_version_does_not_have_are_never_called_clean(log: Log) -> None:
    log[Topic.RISK_DECISIONS][-1] = resigned(log[Topic.RISK_DECISIONS][-1], rules=99)
    verdict = audited(log)
    assert (verdict.diverged, verdict.not_covered) == (0, 1)
    assert "not covered" in verdict.findings[0].what


def test_the_first_difference_is_named_by_its_path() -> None:
    left = {"b": [1, {"c": "x"}], "a": 1}
    right = {"b": [1, {"c": "y"}], "a": 2}
    assert first_difference(left, right, ("b", "a")) == ("b.1.c", '"x"', '"y"')
    assert first_difference(left, right) == ("a", "1", "2")
    assert first_difference([1], [1, 2]) == ("1", "nothing", "2")
    assert first_difference({}, {"a": None}) == ("a", "nothing", "null")

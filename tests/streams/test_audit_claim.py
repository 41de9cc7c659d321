"""A claim is read only where these bytes are the ones that their digest was taken over, and no others."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.canonical import canonical_bytes, chained, sha256
from models.decisions import RiskDecision
from streams.audit.claim import claim_of, is_sealed
from streams.audit.verdict import Kind
from streams.records import Topic
from tests.golden.test_golden import LOGS, read
from tests.streams.audited import Log, audited
from tests.streams.played import played

DECISION = next(each for each in played().gate.decisions if each.reservation is not None)
SEALED = canonical_bytes(DECISION)


def resealed(**changes: object) -> bytes:
    """Return the decision's record with other fields and a digest that fits them."""
    fields = {**orjson.loads(SEALED), **changes}
    del fields["digest"]
    return canonical_bytes({**fields, "digest": sha256(canonical_bytes(fields))})


def test_it_says_what_the_decision_says() -> None:
    claim = claim_of(SEALED)
    assert claim is not None
    assert claim.as_of._asdict() == DECISION.as_of.model_dump()
    for name in ("account", "intent_offset", "rules", "seq", "previous_digest", "digest"):
        assert getattr(claim, name) == getattr(DECISION, name)


def test_every_decision_of_the_golden_logs_is_sealed() -> None:
    for path in LOGS:
        assert all(claim_of(record.value) for record in read(path)[Topic.RISK_DECISIONS])


@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_no_byte_can_be_another(place: int, change: int) -> None:
    changed = bytearray(SEALED)
    changed[place] ^= change
    assert claim_of(bytes(changed)) is None


@given(st.data())
def test_the_digest_must_stand_in_its_place(data: st.DataObject) -> None:
    """Wherever else it is put, the rest of the bytes is the same, and these are not."""
    digest = b'"digest":"%b",' % DECISION.digest.encode()
    rest = SEALED.replace(digest, b"")
    assert rest == chained(DECISION)
    place = data.draw(st.integers(0, len(rest)).filter(lambda place: place != SEALED.index(digest)))
    assert claim_of(rest[:place] + digest + rest[place:]) is None
    assert claim_of(SEALED[:-1] + b"," + digest[:-1] + b"}") is None  # a second time


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"version": True},
        {"account": 7},
        {"seq": "7"},
        {"seq": 7.0},
        {"rules": None},
        {"intent_offset": -2},
        {"as_of": {}},
        {"as_of": None},
        {"as_of": {"fills": 1, "equity_ticks": 1, "daily_returns": 1, "reference": "1"}},
        {"another": 1},
    ],
)
def test_what_is_sealed_and_still_no_decision(changes: dict[str, object]) -> None:
    assert claim_of(resealed()) is not None
    assert claim_of(resealed(**changes)) is None


@pytest.mark.parametrize("value", [None, b"", b"7", b"[]", b"{}", b'{"digest":7}', b"\xff", SEALED[:-1]])
def test_other_bytes(value: bytes | None) -> None:
    assert claim_of(value) is None


def test_a_whole_message_is_sealed_by_its_own_bytes() -> None:
    assert is_sealed(DECISION, SEALED)
    assert not is_sealed(DECISION, SEALED + b" ")
    assert not is_sealed(DECISION, None)
    other = DECISION.model_copy(update={"clock": DECISION.clock + 1})
    assert not is_sealed(other, canonical_bytes(other))
    halt = played().gate.all_halts[0]
    assert is_sealed(halt, canonical_bytes(halt))


def test_a_detail_may_look_like_the_digest() -> None:
    digest = DECISION.digest
    detail = {"digest": digest, "x": 1}  # it comes first, and cannot be its own decision's but by the broken digest
    check = DECISION.checks[0].model_copy(update={"detail": detail})
    broken = DECISION.model_copy(update={"checks": (check,)})
    assert not is_sealed(broken, canonical_bytes(broken))
    mended = broken.model_copy(update={"digest": sha256(chained(broken))})
    assert is_sealed(mended, canonical_bytes(mended))


def test_a_field_that_is_missing() -> None:
    fields = orjson.loads(SEALED)
    for name in RiskDecision.model_fields:
        assert claim_of(canonical_bytes({key: value for key, value in fields.items() if key != name})) is None


def test_a_forger_seals_what_is_no_decision_in_its_place_in_the_chain() -> None:
    """It claims well, and it is named for what it is; its intent has no decision."""
    log: Log = {topic: list(records) for topic, records in played().gate.log.items()}
    number = played().gate.decisions.index(DECISION)
    forged = resealed(quantity="many")
    assert claim_of(forged) is not None
    record = log[Topic.RISK_DECISIONS][number]
    log[Topic.RISK_DECISIONS][number] = record._replace(value=forged)
    verdict = audited(log)
    kinds = {finding.place: finding.kind for finding in reversed(verdict.findings)}
    assert kinds[record.place] is Kind.NO_MESSAGE
    assert kinds[f"order-intents/0@{DECISION.intent_offset}"] is Kind.MISSING
    assert verdict.decisions == len(log[Topic.RISK_DECISIONS]) - 1

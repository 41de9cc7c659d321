"""Commands that must be signed: which, over what, and by whose keys."""

import hashlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.authority import EQUITY_TICKS, REFERENCE, Verifier, refuse_all, signed_bytes, unauthorized
from models.canonical import SECOND_NS, canonical_bytes
from models.messages import EQUITY_TICK, Command, EquityTick, OperatorKeys, ReferenceRecord
from models.messages import REFERENCE as REFERENCE_RECORD
from models.state import Shared, State

NOW = 1_700_000_000 * SECOND_NS
KEYS = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("k1", "k2", "k3")}
WHO = {"actor": "jo", "reason": "test"}
TICKS: tuple[dict[str, Any], ...] = (
    {"kind": "mark", "equity": "1"},
    {"kind": "statement", "positions": {"X": "5"}, "fills_through": 1},
    {"kind": "statement", "positions": {}, "fills_through": 1, "adjustments": {"X": "-5"}, **WHO},
    {"kind": "session_open", "equity": "1.50", "session": "2023-11-14", "actor": "feed"},
    {"kind": "resume", **WHO},
    {"kind": "halt", **WHO},
    {"kind": "operator_keys", "keys": {"k2": KEYS["k2"]}, **WHO},
)
FACTS = 2
RECORDS: tuple[dict[str, Any], ...] = (
    {"kind": "limit_profile", "profile_id": "p", "profile_version": 1, "drawdown_halt": "0.10"},
    {"kind": "account", "account": "A", "profile_id": "p", "currency": "USD"},
    {"kind": "instrument", "symbol": "X", "currency": "USD"},
    {"kind": "restricted", "symbol": "X", "active": False},
    {"kind": "kill_switch", "scope": "GLOBAL", "mode": "ALL", "engaged": False},
    {"kind": "strategy", "strategy": "s", "account": "A", "state": "ENABLED"},
    {"kind": "drift", "account": "A", "symbol": "X", "flagged": False},
    {"kind": "operator_keys", "keys": {}},
)


def seal(public_key: str, signed: bytes) -> str:
    """Return what passes for a signature where no cryptography is at hand."""
    return hashlib.sha512(public_key.encode() + signed).hexdigest()


def verify(public_key: str, signature: str, signed: bytes) -> bool:
    return signature == seal(public_key, signed)


def tick(fields: dict[str, Any], **more: Any) -> EquityTick:
    account = {} if fields["kind"] == "operator_keys" else {"account": "A"}
    return EQUITY_TICK.validate_json(orjson.dumps({"event_time": NOW, **account, **fields, **more}))


def record(fields: dict[str, Any], **more: Any) -> ReferenceRecord:
    return REFERENCE_RECORD.validate_json(orjson.dumps({"event_time": NOW, **WHO, **fields, **more}))


def sealed(message: Any, topic: str, by: str = "k1") -> Any:
    """Return the message as it is read when its sender signed it."""
    unsigned = type(message).model_validate_json(canonical_bytes(message.model_copy(update={"signed_by": by})))
    return unsigned.model_copy(update={"signature": seal(KEYS[by], signed_bytes(unsigned, topic))})


def keys(*names: str, at: int = 0) -> dict[str, Any]:
    return {"kind": "operator_keys", "event_time": NOW + at, "keys": {name: KEYS[name] for name in names}, **WHO}


def guarded(*names: str) -> State:
    """Return a state whose two topics list these keys."""
    state = State(Shared())
    assert fold(state, tick(keys(*names, at=-1))) is None
    assert refer(state, record(keys(*names, at=-1))) is None
    return state


def fold(state: State, message: Any, verifier: Verifier = verify, *, time: int = NOW) -> str | None:
    refusals = state.fold_tick(message, offset=state.equity_ticks_offset + 1, time=time, verify=verifier)
    assert all(refusal.unauthorized for refusal in refusals)
    return refusals[0].why if refusals else None


def refer(state: State, message: Any, verifier: Verifier = verify) -> str | None:
    offset = state.shared.reference_offset + 1
    refusal = state.shared.fold_reference(message, offset=offset, time=NOW, verify=verifier)
    return None if refusal is None else refusal.why


UNSIGNED = "must be signed by a listed operator key, signed_by is missing"


@pytest.mark.parametrize("fields", TICKS, ids=lambda fields: str(fields["kind"]))
def test_without_keys_nothing_needs_a_signature(fields: dict[str, Any]) -> None:
    assert fold(State(Shared()), tick(fields)) is None
    assert fold(State(Shared()), tick(fields, signed_by="nobody"), refuse_all) is None


@pytest.mark.parametrize("fields", TICKS[:FACTS], ids=lambda fields: str(fields["kind"]))
def test_facts_need_none(fields: dict[str, Any]) -> None:
    state = guarded("k1")
    assert fold(state, tick(fields)) is None
    assert "A" in state.changed


@pytest.mark.parametrize("fields", TICKS[FACTS:], ids=lambda fields: str(fields["kind"]))
def test_commands_to_an_account_need_one(fields: dict[str, Any]) -> None:
    state = guarded("k1")
    before = state.operator_keys
    message = tick(fields)
    signed = sealed(message, EQUITY_TICKS)
    for wrong, why in (
        (message, UNSIGNED),
        (tick(fields, signed_by="k2"), "must be signed by a listed operator key, 'k2' is none"),
        (tick(fields, signed_by="k1"), "must be signed by operator key 'k1', signature is missing"),
        (sealed(message, REFERENCE), "signature must be that of operator key 'k1' over this very message, is not"),
        (sealed(message, EQUITY_TICKS, "k2"), "must be signed by a listed operator key, 'k2' is none"),
        (
            sealed(message, EQUITY_TICKS, "k2").model_copy(update={"signed_by": "k1"}),
            "signature must be that of operator key 'k1' over this very message, is not",
        ),
    ):
        assert fold(state, wrong) == why
    assert (state.changed, state.operator_keys) == (set(), before)  # A refused command changes nothing.
    assert fold(state, signed, refuse_all) is not None
    assert fold(state, signed) is None
    assert state.changed == {"A"} or state.operator_keys != before


@pytest.mark.parametrize("fields", RECORDS, ids=lambda fields: str(fields["kind"]))
def test_every_record_of_reference_needs_one(fields: dict[str, Any]) -> None:
    state = guarded("k1")
    version = state.shared.reference.version
    message = record(fields)
    assert refer(state, message) == UNSIGNED
    assert refer(state, sealed(message, EQUITY_TICKS)) is not None
    assert refer(state, sealed(message, REFERENCE), refuse_all) is not None
    assert state.shared.reference.version == version
    assert refer(state, sealed(message, REFERENCE)) is None
    assert state.shared.reference.version == version + 1


CHANGES: dict[str, Any] = {
    "account": "B",
    "event_time": NOW + 1,
    "actor": "eve",
    "reason": "other",
    "version": None,
    "signed_by": "k3",
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_signature_holds_for_one_message(field: str) -> None:
    """Changed in any field, or with one left out, it is another message."""
    state = guarded("k1", "k3")
    document = orjson.loads(canonical_bytes(sealed(tick({"kind": "resume", **WHO}), EQUITY_TICKS)))
    assert fold(state, EQUITY_TICK.validate_json(orjson.dumps(document))) is None
    if CHANGES[field] is None:
        del document[field]
    else:
        document[field] = CHANGES[field]
    why = fold(state, EQUITY_TICK.validate_json(orjson.dumps(document)))
    assert why is not None
    assert why.startswith("signature must be that of operator key")


def test_the_spelling_of_a_number_is_not_the_message() -> None:
    state = guarded("k1")
    document = orjson.loads(canonical_bytes(sealed(tick(TICKS[3]), EQUITY_TICKS)))
    assert document["equity"] == "1.5"
    document["equity"] = "1.500"
    assert fold(state, EQUITY_TICK.validate_json(orjson.dumps(document))) is None


def test_a_field_of_a_later_version_does_not_break_a_signature() -> None:
    """What is signed is what was said: with its defaults filled in, old signatures would not outlive a new limit."""
    said = record(RECORDS[0], signed_by="k1")
    assert isinstance(said, Command)
    assert signed_bytes(said, REFERENCE) == (
        b'reference\n{"actor":"jo","drawdown_halt":"0.1","event_time":1700000000000000000,"kind":"limit_profile",'
        b'"profile_id":"p","profile_version":1,"reason":"test","signed_by":"k1"}'
    )


def test_keys_are_replaced_by_a_key_that_they_list() -> None:
    state = guarded("k1", "k2")
    assert fold(state, sealed(tick(keys("k3", at=1)), EQUITY_TICKS, "k3")) is not None
    assert fold(state, sealed(tick(keys("k3", at=1)), EQUITY_TICKS, "k2")) is None
    halt = tick({"kind": "halt", **WHO})
    assert fold(state, sealed(halt, EQUITY_TICKS, "k1")) is not None
    assert fold(state, sealed(halt, EQUITY_TICKS, "k3")) is None
    # The keys of the other topic are its own.
    switch = record(RECORDS[4])
    assert refer(state, sealed(switch, REFERENCE, "k3")) is not None
    assert refer(state, sealed(switch, REFERENCE, "k1")) is None


def test_older_keys_change_nothing() -> None:
    state = guarded("k1", "k2")
    held = state.operator_keys
    for at in (-2, -1):
        assert fold(state, sealed(tick(keys("k1", at=at)), EQUITY_TICKS)) is None
        assert refer(state, sealed(record(keys("k1", at=at)), REFERENCE)) is None
    assert (state.operator_keys, state.shared.reference.operator_keys) == (held, held)


def test_keys_from_the_future_count_from_their_record() -> None:
    """A clock that runs ahead must not lock out who comes after it."""
    state = guarded("k1")
    ahead = sealed(tick(keys("k2", at=3600 * SECOND_NS)), EQUITY_TICKS)
    assert fold(state, ahead) is None
    assert state.operator_keys is not None
    assert (state.operator_keys.event_time, set(state.operator_keys.keys)) == (NOW, {"k2"})
    later = sealed(tick(keys("k3", at=SECOND_NS)), EQUITY_TICKS, "k2")
    assert fold(state, later, time=NOW + 2 * SECOND_NS) is None
    assert set(state.operator_keys.keys) == {"k3"}


def test_an_empty_list_switches_signing_off_and_the_next_is_a_first_again() -> None:
    state = guarded("k1")
    assert fold(state, tick(keys(at=1))) == UNSIGNED
    assert fold(state, sealed(tick(keys(at=1)), EQUITY_TICKS)) is None
    assert fold(state, tick({"kind": "resume", **WHO})) is None
    assert fold(state, tick(keys("k2", at=2)), time=NOW + 2) is None
    assert fold(state, tick({"kind": "halt", **WHO})) == UNSIGNED


def test_nobody_who_cannot_verify_obeys() -> None:
    """The default believes nothing; there is none that believes everything."""
    state = guarded("k1")
    signed = sealed(tick({"kind": "resume", **WHO}), EQUITY_TICKS)
    assert state.fold_tick(signed, offset=9, time=NOW)[0].unauthorized
    refusal = state.shared.fold_reference(sealed(record(RECORDS[4]), REFERENCE), offset=9, time=NOW)
    assert refusal is not None
    assert refusal.unauthorized


action = st.tuples(
    st.sampled_from(["halt", "resume", "keys", "restart"]),
    st.sampled_from([None, "k1", "k2", "k3"]),
    st.sets(st.sampled_from(["k1", "k2", "k3"])),
    st.booleans(),
)


@given(st.lists(action, max_size=30))
def test_exactly_what_a_listed_key_signed_is_obeyed(actions: list[Any]) -> None:
    """Against the whole history, read from its beginning each time, across restarts from the persisted vector."""
    state = State(Shared())
    listed: list[set[str]] = []
    for number, (what, by, names, tampered) in enumerate(actions):
        if what == "restart":
            saved = orjson.loads(canonical_bytes(state.vector()))
            state = State(Shared(), state.accounts)
            state.restore(saved)
            continue
        fields = keys(*names) if what == "keys" else {"kind": what, **WHO}
        message: Any = tick({**fields, "event_time": NOW + number})
        if by is not None:
            message = sealed(message, EQUITY_TICKS, by)
            if tampered:
                message = message.model_copy(update={"actor": "eve"})
        in_force = listed[-1] if listed else set()
        allowed = not in_force or (by in in_force and not tampered)
        assert (fold(state, message, time=NOW + number) is None) == allowed
        if allowed and what == "keys":
            listed.append(set(names))


def test_unauthorized_of_a_message_that_is_no_command() -> None:
    held = OperatorKeys.model_validate(keys("k1"))
    assert unauthorized(tick(TICKS[0]), held, topic=EQUITY_TICKS, verify=refuse_all) is None

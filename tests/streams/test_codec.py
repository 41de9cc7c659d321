"""Bytes to messages: whatever they are, the answer is a message or a reason a person can read."""

import base64
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.canonical import canonical_bytes, sha256
from models.decisions import DeadLetter
from models.messages import EquityMark, Fill, LimitProfile, OrderIntent, OrderType, Side
from models.refusal import Refused
from streams.codec import (
    DEAD_LETTER_RAW_MAX,
    RECORD_BYTES_MAX,
    Codec,
    LedgerError,
    decode_decision,
    decode_halt,
    encode_dead_letter,
    shown,
)
from streams.records import Record, Topic

CODEC = Codec(4)
HOME = CODEC.partition_of("A-1")
INTENT: dict[str, Any] = {
    "version": 1,
    "intent_id": "i-1",
    "account": "A-1",
    "strategy": "s",
    "symbol": "AAPL",
    "side": "BUY",
    "quantity": "10",
    "order_type": "MARKET",
    "event_time": 1_700_000_000_000_000_000,
}
"""A record that is in order, as a producer in any language would write it."""


def _record(
    value: bytes | None,
    *,
    topic: Topic = Topic.ORDER_INTENTS,
    key: bytes | None = b"A-1",
    partition: int = HOME,
) -> Record:
    return Record(topic, partition, 7, 1, key, value)


def _intent(**changes: Any) -> bytes:
    return json.dumps(INTENT | changes).encode()


def _why(record: Record) -> str:
    refused = {
        Topic.ORDER_INTENTS: CODEC.order_intent,
        Topic.FILLS: CODEC.fill,
        Topic.EQUITY_TICKS: CODEC.equity_tick,
        Topic.DAILY_RETURNS: CODEC.daily_return,
        Topic.REFERENCE: CODEC.reference,
    }[record.topic](record)
    assert isinstance(refused, Refused), refused
    return refused.why


def test_a_record_in_order_is_a_message() -> None:
    intent = CODEC.order_intent(_record(_intent()))
    assert isinstance(intent, OrderIntent)
    assert intent.quantity == 10


@pytest.mark.parametrize(
    ("key", "murmur"),
    [
        # From the Java client's own test, org.apache.kafka.common.utils.UtilsTest.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_an_account_is_where_the_java_client_puts_it(key: bytes, murmur: int) -> None:
    assert Codec(997).partition_of(key.decode()) == (murmur & 0x7FFFFFFF) % 997


JSON = "the value must be JSON in UTF-8, was "


@pytest.mark.parametrize(
    ("value", "why"),
    [
        pytest.param(None, "the record has no value", id="no value"),
        pytest.param(b"", JSON + "''", id="empty"),
        pytest.param(b"\xff\xfe", JSON + r"'\xff\xfe'", id="binary"),
        pytest.param(b"\xef\xbb\xbf{}", JSON + r"'\xef\xbb\xbf{}'", id="byte order mark"),
        pytest.param("{}".encode("utf-16"), JSON + r"'\xff\xfe{\x00}\x00'", id="UTF-16"),
        pytest.param(b"{} {}", JSON + "'{} {}'", id="trailing garbage"),
        pytest.param(b'{"a":NaN}', JSON + "'{\"a\":NaN}'", id="NaN"),
        pytest.param(b'{"a":-Infinity}', JSON + "'{\"a\":-Infinity}'", id="infinity"),
        pytest.param(b'{"a":"\\ud800"}', JSON + '\'{"a":"\\\\ud800"}\'', id="lone surrogate"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', JSON + '\'{"a":"\\xed\\xa0\\x80"}\'', id="surrogate in bytes"),
        pytest.param(b'{"a":"\n"}', JSON + '\'{"a":"\\n"}\'', id="control character"),
        pytest.param(b"{'a':1}", JSON + "\"{'a':1}\"", id="single quotes"),
        pytest.param(b'{"a":01}', JSON + "'{\"a\":01}'", id="leading zero"),
        pytest.param(b"[" * 400 + b"]" * 400, "the value must be JSON that is not nested too deeply", id="nested"),
        pytest.param(b"null", "the message must be an object, was null", id="null"),
        pytest.param(b"[]", "the message must be an object, was a list", id="list"),
        pytest.param(b'"text"', "the message must be an object, was 'text'", id="string"),
        pytest.param(_intent(version=2), "version must be 1, was 2", id="version"),
        pytest.param(_intent(version=True), "version must be 1, was true", id="true for 1"),
        pytest.param(_intent(version=1.0), "version must be 1, was 1.0", id="float for 1"),
        pytest.param(_intent(quantity="-3"), "quantity must be positive, was -3", id="negative"),
        pytest.param(_intent(quantity="0"), "quantity must be positive, was 0", id="zero"),
        pytest.param(
            _intent(quantity=1.5),
            'quantity must be a string such as "12.5" with at most 12 digits either side of the point, was 1.5',
            id="float for a decimal",
        ),
        pytest.param(
            _intent(quantity="1e5"),
            "quantity must be a string such as \"12.5\" with at most 12 digits either side of the point, was '1e5'",
            id="exponent",
        ),
        pytest.param(_intent(side="SELL_SHORT"), "side must be BUY or SELL, was 'SELL_SHORT'", id="side"),
        pytest.param(_intent(event_time=1.5), "event_time must be a whole number, was 1.5", id="float for a time"),
        pytest.param(_intent(event_time="5"), "event_time must be a whole number, was '5'", id="text for a time"),
        pytest.param(_intent(event_time=-1), "event_time must be at least 0, was -1", id="before 1970"),
        pytest.param(
            _intent(event_time=10**40),
            "event_time must be below 9223372036854775808, was a number of over 38 digits",
            id="huge",
        ),
        pytest.param(_intent(allow_resize=1), "allow_resize must be true or false, was 1", id="1 for true"),
        pytest.param(_intent(quantiy="5"), "quantiy is no field of this message, was '5'", id="unknown field"),
        pytest.param(
            _intent(symbol="A\u00c4"),
            "symbol must be 1 to 64 printable ASCII characters, was 'A\\xc4'",
            id="not ASCII",
        ),
        pytest.param(
            _intent(limit_price="5"), "limit_price belongs to a LIMIT order, and only to one", id="two fields"
        ),
        pytest.param(
            json.dumps({"version": 1}).encode(),
            "intent_id is missing; account is missing; strategy is missing; and 4 more",
            id="nothing in it",
        ),
        pytest.param(
            b'{"version":1,"quantity":"1","quantity":"1000"}',
            "field 'quantity' is given more than once",
            id="a field twice",
        ),
        pytest.param(b'{"a":{"b":1,"b":2}}', "field 'b' is given more than once", id="a field twice, further down"),
        pytest.param(
            b"x" * (RECORD_BYTES_MAX + 1), "the record must have at most 65536 bytes, had 65540", id="too long"
        ),
    ],
)
def test_a_refusal_names_the_field_and_the_value(value: bytes | None, why: str) -> None:
    assert _why(_record(value)) == why


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (_record(_intent(), key=None), "the key must be the account, 'A-1', was null"),
        (_record(_intent(), key=b"A-2"), "the key must be the account, 'A-1', was 'A-2'"),
        (_record(_intent(), key=b"\xff"), r"the key must be the account, 'A-1', was '\xff'"),
        (
            _record(_intent(), partition=(HOME + 1) % 4),
            (
                f"key 'A-1' belongs on partition {HOME} of 4, was on {(HOME + 1) % 4}: the producer must use the Java"
                " client's murmur2 partitioner"
            ),
        ),
        (
            _record(
                b'{"symbol":"X","session":"2020-01-02","simple_return":"0.01","event_time":1}',
                topic=Topic.DAILY_RETURNS,
                key=b"Y",
                partition=0,
            ),
            "the key must be the symbol, 'X', was 'Y'",
        ),
        (
            _record(b'{"kind":"zap"}', topic=Topic.EQUITY_TICKS),
            (
                "the message must have a kind out of mark, session_open, resume, halt, statement, operator_keys,"
                " was 'zap'"
            ),
        ),
        (_record(b"{}", topic=Topic.REFERENCE), "the message must have a field kind"),
        (
            _record(
                b'{"kind":"mark","account":"A-1","event_time":5,"equity":"1","marks":{"X":{"price":"-1"}}}',
                topic=Topic.EQUITY_TICKS,
            ),
            "marks.X.price must be positive, was -1",
        ),
        (
            _record(
                b'{"kind":"mark","account":"A-1","event_time":5,"equity":"1","fills_through":9}',
                topic=Topic.EQUITY_TICKS,
            ),
            "fills_through must not be after event_time",
        ),
    ],
)
def test_a_refusal_elsewhere(record: Record, why: str) -> None:
    assert _why(record) == why


def test_reference_takes_any_key_and_facts_take_unknown_fields() -> None:
    said: dict[str, Any] = {"event_time": 1, "actor": "a", "reason": "r"}
    profile = canonical_bytes(LimitProfile(**said, profile_id="p", profile_version=1))
    assert isinstance(CODEC.reference(_record(profile, topic=Topic.REFERENCE, key=b"\xff")), LimitProfile)
    tick = b'{"kind":"mark","account":"A-1","event_time":5,"equity":"1","venue_says":[1.5,"\xc3\xa9"]}'
    assert isinstance(CODEC.equity_tick(_record(tick, topic=Topic.EQUITY_TICKS)), EquityMark)


@given(st.binary(max_size=300) | st.text().map(str.encode), st.none() | st.binary(max_size=80))
def test_no_bytes_raise(value: bytes, key: bytes | None) -> None:
    """Any bytes, as any message, give a message or one printable line of bounded length."""
    for topic in (Topic.ORDER_INTENTS, Topic.FILLS, Topic.EQUITY_TICKS, Topic.DAILY_RETURNS, Topic.REFERENCE):
        why = _why(_record(value, topic=topic, key=key))
        assert why.isascii()
        assert why.isprintable()
        assert 0 < len(why) <= 400


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*INTENT, "expires_at", "limit_price", "allow_resize", "x"]), JSON_VALUES)
def test_any_value_in_any_field_gives_an_answer(field: str, value: object) -> None:
    answer = CODEC.order_intent(_record(json.dumps(INTENT | {field: value}).encode()))
    if isinstance(answer, Refused):
        assert answer.why.isascii()
        assert answer.why.isprintable()
    else:
        assert answer.account == "A-1"


@given(
    st.builds(
        OrderIntent,
        intent_id=st.just("i"),
        account=st.just("A-1"),
        strategy=st.just("s"),
        symbol=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64),
        side=st.sampled_from(Side),
        quantity=st.decimals(min_value="0.001", max_value="999999", places=3),
        order_type=st.just(OrderType.MARKET),
        event_time=st.integers(min_value=0, max_value=2**62),
        expires_at=st.none(),
    )
)
def test_what_we_write_we_read(intent: OrderIntent) -> None:
    assert CODEC.order_intent(_record(canonical_bytes(intent))) == intent


def test_a_dead_letter_says_where_and_why_and_keeps_the_beginning() -> None:
    raw = bytes(range(256)) * 200
    outgoing = encode_dead_letter(_record(raw, topic=Topic.FILLS, key=b"k" * 5000), "no good")
    assert outgoing.key == f"fills-{HOME}-7".encode()
    letter = DeadLetter.model_validate_json(outgoing.value or b"")
    assert (letter.topic, letter.partition, letter.offset, letter.why) == ("fills", HOME, 7, "no good")
    assert base64.b64decode(letter.raw) == raw[:DEAD_LETTER_RAW_MAX]
    assert base64.b64decode(letter.key or "") == b"k" * 1024
    assert (letter.length, letter.sha256) == (len(raw), sha256(raw))


def test_a_dead_letter_of_an_earlier_record() -> None:
    outgoing = encode_dead_letter(_record(b"now", topic=Topic.FILLS), "too late", offset=3, raw=b"then")
    letter = DeadLetter.model_validate_json(outgoing.value or b"")
    assert (outgoing.key, letter.offset, base64.b64decode(letter.raw)) == (f"fills-{HOME}-3".encode(), 3, b"then")


def test_somebody_elses_record_in_the_ledger_is_no_decision() -> None:
    with pytest.raises(LedgerError, match=r"risk-decisions/\d@7 is no RiskDecision of this version of seawall"):
        decode_decision(_record(_intent(), topic=Topic.RISK_DECISIONS))
    with pytest.raises(LedgerError, match=r"trading-halts/\d@7 is no TradingHalt"):
        decode_halt(_record(None, topic=Topic.TRADING_HALTS))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ({"a": 1}, "an object"),
        ([1], "a list"),
        (Decimal("1.5"), "1.5"),
        (10**60, "a number of over 38 digits"),
        ("x" * 100, "'" + "x" * 56 + "..."),
        ("\u202e", "'\\u202e'"),
        (b"\x00\xff", r"'\x00\xff'"),
    ],
)
def test_shown(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_fill_that_lacks_its_price() -> None:
    fill = {
        "execution_id": "x",
        "account": "A-1",
        "symbol": "X",
        "side": "BUY",
        "execution_type": "TRADE",
        "last_quantity": "1",
        "event_time": 1,
    }
    assert _why(_record(json.dumps(fill).encode(), topic=Topic.FILLS)) == "TRADE needs last_price"
    whole = CODEC.fill(_record(json.dumps(fill | {"last_price": "5"}).encode(), topic=Topic.FILLS))
    assert isinstance(whole, Fill)

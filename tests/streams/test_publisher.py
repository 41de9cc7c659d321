"""Where each kind of message goes, and under which key."""

import pytest

from models.canonical import canonical_bytes
from models.messages import EQUITY_TICK, REFERENCE, DailyReturn, Fill, OrderIntent
from streams.codec import Codec
from streams.config import Settings
from streams.publisher import Message, Publisher, destination
from streams.records import Record, Topic
from streams.starter import starter_records

SAID = {"event_time": 1, "actor": "a", "reason": "r"}
MESSAGES: list[tuple[Message, Topic, bytes]] = [
    (
        OrderIntent.model_validate_json(
            '{"intent_id":"i","account":"A","strategy":"s","symbol":"X","side":"BUY","order_type":"MARKET","event_time":1}'
        ),
        Topic.ORDER_INTENTS,
        b"A",
    ),
    (
        Fill.model_validate_json(
            '{"execution_id":"e","account":"A","symbol":"X","side":"BUY","execution_type":"NEW","event_time":1}'
        ),
        Topic.FILLS,
        b"A",
    ),
    (
        EQUITY_TICK.validate_python({"kind": "mark", "account": "A", "event_time": 1, "equity": "1"}),
        Topic.EQUITY_TICKS,
        b"A",
    ),
    (
        EQUITY_TICK.validate_python(
            {
                "kind": "session_open",
                "account": "A",
                "event_time": 1,
                "equity": "1",
                "session": "2020-01-02",
                "actor": "a",
            }
        ),
        Topic.EQUITY_TICKS,
        b"A",
    ),
    (EQUITY_TICK.validate_python({"kind": "resume", "account": "A", **SAID}), Topic.EQUITY_TICKS, b"A"),
    (EQUITY_TICK.validate_python({"kind": "halt", "account": "A", **SAID}), Topic.EQUITY_TICKS, b"A"),
    (
        DailyReturn.model_validate_json(
            '{"symbol":"X","session":"2020-01-02","simple_return":"0.01","event_time":1}'
        ),
        Topic.DAILY_RETURNS,
        b"X",
    ),
    (
        REFERENCE.validate_python({"kind": "restricted", "symbol": "X", "active": True, **SAID}),
        Topic.REFERENCE,
        b"restricted:X:*",
    ),
]


@pytest.mark.parametrize(("message", "topic", "key"), MESSAGES, ids=lambda value: type(value).__name__)
def test_a_message_goes_where_it_is_read(message: Message, topic: Topic, key: bytes) -> None:
    assert destination(message) == (topic, key)
    codec = Codec(1)
    read = {
        Topic.ORDER_INTENTS: codec.order_intent,
        Topic.FILLS: codec.fill,
        Topic.EQUITY_TICKS: codec.equity_tick,
        Topic.DAILY_RETURNS: codec.daily_return,
        Topic.REFERENCE: codec.reference,
    }[topic]
    assert read(Record(topic, 0, 0, 2, key, canonical_bytes(message))) == message


def test_the_starter_records_are_read_as_written() -> None:
    records = starter_records("USD", event_time=5)
    assert [destination(record)[1] for record in records] == [
        b"limit_profile:default",
        b"account:*",
        b"instrument:*",
        b"strategy:*:*",
    ]
    for record in records:
        assert Codec(1).reference(Record(Topic.REFERENCE, 0, 0, 6, b"any", canonical_bytes(record))) == record


async def test_a_publisher_that_is_not_entered_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Publisher(Settings(_env_prefix="NONE_")).send(MESSAGES[0][0])

"""Hundreds of kinds of bad bytes through a real broker and a real worker: each is answered, none stops anything."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from models.decisions import DeadLetter
from models.messages import OrderIntent, OrderType, Side
from streams.client import RiskGateClient
from streams.codec import Codec, decode_decision
from streams.config import Settings
from streams.publisher import Publisher
from streams.records import Topic
from streams.starter import starter_records
from streams.topics import Topics
from tests.integration.workers import read_partition, worker

ACCOUNT: Final = "A-1"

ORDERLY: Final[dict[Topic, dict[str, Any]]] = {
    Topic.ORDER_INTENTS: {
        "intent_id": "i",
        "account": ACCOUNT,
        "strategy": "s",
        "symbol": "X",
        "side": "BUY",
        "quantity": "1",
        "order_type": "LIMIT",
        "limit_price": "5",
        "event_time": 1,
    },
    Topic.FILLS: {
        "execution_id": "x",
        "account": ACCOUNT,
        "symbol": "X",
        "side": "BUY",
        "execution_type": "TRADE",
        "last_quantity": "1",
        "last_price": "5",
        "event_time": 1,
    },
    Topic.EQUITY_TICKS: {"kind": "mark", "account": ACCOUNT, "equity": "1", "event_time": 1},
    Topic.DAILY_RETURNS: {"symbol": "X", "session": "2020-01-02", "simple_return": "0.01", "event_time": 1},
    Topic.REFERENCE: {
        "kind": "kill_switch",
        "scope": "GLOBAL",
        "mode": "ALL",
        "engaged": False,
        "event_time": 1,
        "actor": "a",
        "reason": "r",
    },
}
KEYS: Final = {Topic.DAILY_RETURNS: b"X"}
WRONG_VALUES: Final[tuple[object, ...]] = (None, "", 1.5, -1.5, [], {}, "é", "x" * 65, "\x00")
"""No field takes any of these, but for the exceptions below."""
WRONG_NUMBERS: Final = ("NaN", "1e5", "-0.0000000000001", "+1", ".5", "1_000", "0x10", "\u0661")
NUMBERS: Final = frozenset({"quantity", "limit_price", "last_quantity", "last_price", "equity", "simple_return"})
OPTIONAL: Final = "quantity"
ANY_TEXT: Final = "reason"
NO_JSON: Final = (
    None,
    b"",
    b" ",
    b"\x00",
    b"\xff\xfe\xfd",
    b"\xef\xbb\xbf{}",
    "{}".encode("utf-16"),
    "{}".encode("utf-32"),
    b"{",
    b"}",
    b"[",
    b"[]",
    b"{}",
    b"{} {}",
    b"null",
    b"true",
    b"0",
    b'"text"',
    b"NaN",
    b'{"a":Infinity}',
    b'{"a":1,}',
    b"{'a':1}",
    b'{"a":1,"a":2}',
    b'{"a":"\\ud800"}',
    b'{"a":"\xed\xa0\x80"}',
    b"[" * 60_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"a":' + b"9" * 60_000 + b"}",
    b"<xml/>",
    b"\x80\x04\x95",  # pickle
    b"\x00\x00\x00\x00\x01avro",
    b"x" * 65_537,
    b"{" + b" " * 900_000 + b"}",
)


def _accepted(field: str, value: object) -> bool:
    return (field == OPTIONAL and value is None) or (field == ANY_TEXT and isinstance(value, str) and value != "")


def kinds() -> Iterator[tuple[Topic, bytes | None, bytes | None]]:
    """Yield topic, key and value of records that are no message."""
    for topic, fields in ORDERLY.items():
        key = KEYS.get(topic, ACCOUNT.encode())
        for value in NO_JSON:
            yield topic, key, value
        for field in fields:
            if field != OPTIONAL:
                yield topic, key, json.dumps({name: fields[name] for name in fields if name != field}).encode()
            for wrong in WRONG_VALUES + (WRONG_NUMBERS if field in NUMBERS else ()):
                if not _accepted(field, wrong):
                    yield topic, key, json.dumps(fields | {field: wrong}).encode()
        yield topic, key, json.dumps(fields | {"version": 2}).encode()
        yield topic, key, json.dumps(fields | {"version": True}).encode()
        if topic is not Topic.REFERENCE:
            for other in (None, b"", b"other", b"\xff", b"k" * 100_000):
                yield topic, other, json.dumps(fields).encode()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_no_bytes_stop_the_gate(
    settings: Settings, topics: Topics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each bad intent is rejected MALFORMED, everything else bad is a dead letter, and a good intent is decided."""
    bad = list(kinds())
    home = Codec(topics.partitions).partition_of(ACCOUNT)

    async def scenario() -> None:
        async with Publisher(settings) as publisher:
            await publisher.send_all(starter_records("USD", event_time=time.time_ns()))
            for topic, key, value in bad:
                shared = topic in (Topic.DAILY_RETURNS, Topic.REFERENCE)
                await publisher.send_raw(topic, key, value, partition=0 if shared else home)
            for topic in (Topic.ORDER_INTENTS, Topic.FILLS, Topic.EQUITY_TICKS):
                value = json.dumps(ORDERLY[topic]).encode()
                await publisher.send_raw(topic, ACCOUNT.encode(), value, partition=(home + 1) % topics.partitions)
        async with RiskGateClient(settings) as gate:
            intent = OrderIntent(
                intent_id="good",
                account=ACCOUNT,
                strategy="s",
                symbol="X",
                side=Side.BUY,
                order_type=OrderType.MARKET,
                event_time=time.time_ns(),
            )
            decision = await gate.submit(intent, timeout=60)
            assert decision.intent_id == "good"

    with worker(settings, tmp_path) as process:
        asyncio.run(scenario())
        assert process.stop() == 0, process.output

    malformed, letters = 0, set()
    for partition in range(topics.partitions):
        log = asyncio.run(read_partition(settings, partition))
        decisions = [decode_decision(record) for record in log[Topic.RISK_DECISIONS]]
        assert [each.intent_offset for each in decisions] == [record.offset for record in log[Topic.ORDER_INTENTS]]
        malformed += sum(each.reasons == ("MALFORMED",) for each in decisions)
        for record in log[Topic.DEAD_LETTERS]:
            letter = DeadLetter.model_validate_json(record.value or b"")
            letters.add((letter.topic, letter.partition, letter.offset))
    intents = sum(topic is Topic.ORDER_INTENTS for topic, _, _ in bad)
    with capsys.disabled():
        print(  # noqa: T201  # the figures are the point
            f"\n{len(set(bad))} kinds of bad bytes: {malformed} intents MALFORMED, {len(letters)} dead letters"
        )
    assert len(set(bad)) >= 200
    assert malformed == intents + 1
    assert len(letters) == len(bad) - intents + 2

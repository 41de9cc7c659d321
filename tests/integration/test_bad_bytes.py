"""Over two hundred kinds of bad bytes through a real broker and a real worker: each is answered, nothing stops."""

from __future__ import annotations

import base64
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer

from models.canonical import sha256
from models.decisions import DeadLetter, DecisionStatus, RiskDecision
from models.messages import EquityMark, OrderIntent, OrderType, PriceMark, Side
from models.reasons import RejectReason
from streams.codec import Codec, decode_decision
from streams.config import Settings, kafka_arguments
from streams.ledger import WHY_HEADER
from streams.publisher import Publisher
from streams.records import Names, Record, Topic
from streams.starter import starter_records
from streams.topics import Topics
from tests.bad_bytes import ACCOUNT, GOOD, key_of, kinds
from tests.integration.workers import read_headers, read_partition, worker
from tests.judge import check_dead_letters, check_decisions

KINDS = list(kinds())
SHARED_KINDS = [kind for kind in KINDS if kind.topic in (Topic.DAILY_RETURNS, Topic.REFERENCE)]


async def send_bad(settings: Settings, home: int) -> dict[Topic, list[tuple[int, bytes | None]]]:
    """Send every kind to the partition where a good message would go. Return offset and value by topic."""
    names = Names(Topics.of(settings))
    sent: dict[Topic, list[tuple[int, bytes | None]]] = defaultdict(list)
    async with AIOKafkaProducer(**kafka_arguments(settings), acks="all") as producer:
        for kind in KINDS:
            shared = kind.topic in (Topic.DAILY_RETURNS, Topic.REFERENCE)
            partition = 0 if shared else home
            delivered = await producer.send_and_wait(names[kind.topic], kind.value, key=kind.key, partition=partition)
            sent[kind.topic].append((delivered.offset, kind.value))
    return sent


async def send_astray(publisher: Publisher, partition: int) -> None:
    """Send good messages to a partition that their key does not hash to."""
    for sort in ("intent", "fill", "mark"):
        topic, fields = GOOD[sort]
        await publisher.send_raw(topic, key_of(sort), orjson.dumps(fields), partition=partition)


async def wait_for_decisions(settings: Settings, partition: int, count: int) -> None:
    deadline = time.monotonic() + 60
    found: list[Record] = []
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} decisions"
        found = (await read_partition(settings, partition, [Topic.RISK_DECISIONS]))[Topic.RISK_DECISIONS]


def good_intent() -> OrderIntent:
    return OrderIntent.model_validate(
        {
            "intent_id": f"good-{time.time_ns()}",
            "account": ACCOUNT,
            "strategy": "s",
            "symbol": "AAPL",
            "side": Side.BUY,
            "quantity": "1",
            "order_type": OrderType.MARKET,
            "event_time": time.time_ns(),
        }
    )


def good_mark() -> EquityMark:
    price = PriceMark.model_validate({"price": "100", "atr": "1"})
    marks: dict[str, Any] = {"AAPL": price}
    return EquityMark.model_validate(
        {"account": ACCOUNT, "event_time": time.time_ns(), "equity": "100000", "marks": marks}
    )


async def test_bad_bytes_are_answered_and_nothing_stops(settings: Settings, topics: Topics, tmp_path: Path) -> None:
    codec = Codec(topics.partitions)
    home = codec.partition_of(ACCOUNT)
    astray = (home + 1) % topics.partitions
    async with Publisher(settings) as publisher:
        await publisher.send_all(starter_records("USD", event_time=time.time_ns()))
        with worker(settings, tmp_path) as process:
            await publisher.send(good_mark())
            sent = await send_bad(settings, home)
            await send_astray(publisher, astray)
            await publisher.send(good_mark())
            await publisher.send(good_intent())
            intents = len(sent[Topic.ORDER_INTENTS]) + 1
            await wait_for_decisions(settings, home, intents)
            assert process.stop() == 0, process.output

    log = await read_partition(settings, home)
    decisions = [decode_decision(record) for record in log[Topic.RISK_DECISIONS]]
    check_malformed(decisions, sent[Topic.ORDER_INTENTS])
    assert decisions[-1].status is DecisionStatus.APPROVED
    headers = await read_headers(settings, Topic.RISK_DECISIONS, home)
    assert all(each[WHY_HEADER] for each in headers[:-1])
    assert WHY_HEADER not in headers[-1]
    check_decisions(log, codec, home)  # a replay covers these records too
    check_dead_letters(log, codec, home)

    misplaced = await read_partition(settings, astray)
    check_decisions(misplaced, codec, astray)
    assert check_dead_letters(misplaced, codec, astray) == 2 + (0 if astray else len(SHARED_KINDS))
    assert [decode_decision(each).reasons for each in misplaced[Topic.RISK_DECISIONS]] == [(RejectReason.MALFORMED,)]

    letters = {}
    for partition in {home, 0}:
        for record in (await read_partition(settings, partition, [Topic.DEAD_LETTERS]))[Topic.DEAD_LETTERS]:
            letter = DeadLetter.model_validate_json(record.value or b"")
            if (partition, letter.topic) not in ((astray, Topic.FILLS), (astray, Topic.EQUITY_TICKS)):
                letters[letter.topic, letter.offset] = letter
    for topic, records in sent.items():
        for offset, value in records if topic is not Topic.ORDER_INTENTS else ():
            letter = letters.pop((topic, offset))
            raw = value or b""
            assert base64.b64decode(letter.raw) == raw[: 32 * 1024]
            assert (letter.length, letter.sha256) == (len(raw), sha256(raw))
            assert letter.why
    assert not letters


def check_malformed(decisions: list[RiskDecision], sent: list[tuple[int, bytes | None]]) -> None:
    """Check that each bad intent has its decision, in the same order as every other."""
    assert len(decisions) == len(sent) + 1
    for decision, (offset, value) in zip(decisions, sent, strict=False):
        assert decision.reasons == (RejectReason.MALFORMED,)
        assert (decision.intent_offset, decision.intent_digest) == (offset, sha256(value or b""))
        assert decision.account is None

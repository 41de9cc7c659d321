"""Every kind of bad bytes is refused with a reason, and what is good is not."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.refusal import Refused
from models.state import Shared
from streams.codec import Codec
from streams.records import Record, Topic
from tests.bad_bytes import GOOD, NOW, Kind, key_of, kinds

CODEC = Codec(4)
KINDS = list(kinds())


def read(topic: Topic, key: bytes | None, value: bytes | None, partition: int | None = None) -> Any:
    if partition is None:
        partition = CODEC.partition_of(key.decode()) if key == b"bad-bytes" else 0
    record = Record(topic, partition, 0, NOW, key, value)
    readers = {
        Topic.ORDER_INTENTS: CODEC.order_intent,
        Topic.FILLS: CODEC.fill,
        Topic.EQUITY_TICKS: CODEC.equity_tick,
        Topic.DAILY_RETURNS: CODEC.daily_return,
        Topic.REFERENCE: CODEC.reference,
    }
    return readers[topic](record)


def test_there_are_over_two_hundred_kinds() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 200
    assert len({(kind.topic, kind.key, kind.value) for kind in KINDS}) >= 200


@pytest.mark.parametrize("sort", GOOD)
def test_the_good_ones_are_good(sort: str) -> None:
    topic, fields = GOOD[sort]
    message = read(topic, key_of(sort), orjson.dumps(fields))
    assert not isinstance(message, Refused), message


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_bad_bytes_are_refused_in_words(kind: Kind) -> None:
    found = read(kind.topic, kind.key, kind.value)
    if kind.name == "return: a session to come":  # well formed; refused by the fold, which knows the record's time
        found = Shared().fold_return(found, offset=0, time=NOW)
    assert found is not None
    assert hasattr(found, "why"), found
    assert found.why.isascii()
    assert found.why.isprintable()
    assert 10 <= len(found.why) <= 400


@pytest.mark.parametrize("sort", ["intent", "fill", "mark"])
def test_a_record_on_a_partition_its_key_does_not_hash_to(sort: str) -> None:
    topic, fields = GOOD[sort]
    home = CODEC.partition_of("bad-bytes")
    for partition in range(4):
        message = read(topic, b"bad-bytes", orjson.dumps(fields), partition)
        assert isinstance(message, Refused) == (partition != home)


@given(st.sampled_from(list(GOOD.values())), st.binary(max_size=300), st.none() | st.binary(max_size=80))
def test_any_bytes_give_a_message_or_a_reason(good: tuple[Topic, Any], value: bytes, key: bytes | None) -> None:
    assert read(good[0], key, value, 0) is not None


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_one_changed_byte_gives_a_message_or_a_reason(sort: str, data: st.DataObject) -> None:
    topic, fields = GOOD[sort]
    value = bytearray(orjson.dumps(fields))
    value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    assert read(topic, key_of(sort), bytes(value)) is not None

"""topics.yaml and what is read from it.

The schema beside this file is AsyncAPI's own: `schemas/3.0.0.json` of the npm package @asyncapi/specs 6.11.1
(Apache-2.0), minified and packed with gzip.
"""

import gzip
import importlib
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from streams.config import Settings
from streams.topics import FoundTopic, Topics, TopicSpec, differences, new_topic

SOURCE = Path(__file__).parents[2] / "topics.yaml"
SCHEMA = Path(__file__).with_name("asyncapi-3.0.0.json.gz")

FOR_EVER = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",
}
COMPACTED = {"cleanup.policy": "compact", "segment.bytes": "4194304"}


@pytest.fixture
def document() -> dict[str, Any]:
    """topics.yaml, parsed anew so that a test may change it."""
    parsed: dict[str, Any] = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    return parsed


def against_schema(document: dict[str, Any]) -> list[str]:
    """Return what the official schema finds wrong."""
    validator = jsonschema.Draft7Validator(json.loads(gzip.decompress(SCHEMA.read_bytes())))
    return [error.message for error in validator.iter_errors(document)]


def references(node: object) -> Iterator[str]:
    """Yield every $ref below `node`."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)


def test_document_is_valid_asyncapi(document: dict[str, Any]) -> None:
    """Any AsyncAPI tool can read it."""
    assert against_schema(document) == []


@pytest.mark.parametrize(
    ("binding", "value"), [("partitions", 0), ("partition", 4), ("topicConfiguration", {"retention.ms": "for ever"})]
)
def test_the_schema_would_notice(document: dict[str, Any], binding: str, value: object) -> None:
    """Otherwise the test above would prove nothing."""
    document["components"]["channelBindings"]["ofAccounts"]["kafka"][binding] = value
    assert against_schema(document) != []


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """A schema does not follow references."""
    for reference in references(document):
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert target


def test_every_model_named_is_there(document: dict[str, Any]) -> None:
    """The payloads are documented by the models, so the names must hold."""
    payloads = [message["payload"] for message in document["components"]["messages"].values()]
    for path in (payload["x-model"] for payload in payloads if "x-model" in payload):
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name), path


def test_every_channel_is_a_topic_of_the_program(document: dict[str, Any]) -> None:
    """Neither may know one that the other does not."""
    assert list(document["channels"]) == [each.name.replace("_", "-") for each in fields(Topics)]
    used = {operation["channel"]["$ref"].rpartition("/")[2] for operation in document["operations"].values()}
    assert used == set(document["channels"])


def test_topics_as_declared() -> None:
    """The table of the design: names, partitions, and what is kept for ever."""
    table = {
        "order-intents": (4, FOR_EVER),
        "fills": (4, FOR_EVER),
        "equity-ticks": (4, FOR_EVER),
        "daily-returns": (1, FOR_EVER),
        "reference": (1, FOR_EVER),
        "risk-decisions": (4, FOR_EVER),
        "trading-halts": (4, FOR_EVER),
        "checkpoints": (4, COMPACTED),
        "dead-letters": (4, COMPACTED),
    }
    topics = Topics.declared()
    assert {topic.name: (topic.partitions, topic.configuration) for topic in topics} == table
    assert {topic.replication_factor for topic in topics} == {1}
    assert topics.partitions == 4


def test_prefix_and_partitions_are_chosen_by_settings() -> None:
    """A choice of N reaches every account topic, and no other."""
    topics = Topics.of(Settings(topic_prefix="desk-7.", partitions=64))
    assert topics.order_intents.name == "desk-7.order-intents"
    assert {topic.name for topic in topics if topic.partitions == 64} == {
        topic.name for topic in topics if topic.by_account
    }
    assert [topic.name for topic in topics if topic.partitions == 1] == ["desk-7.daily-returns", "desk-7.reference"]


@pytest.mark.parametrize(
    ("copies", "durable"),
    [
        (1, {}),
        (2, {}),  # Both would be needed, and nothing could be written while one is down.
        (3, {"min.insync.replicas": "2"}),
        (5, {"min.insync.replicas": "3"}),
    ],
)
def test_most_of_three_copies_and_more_must_have_a_record(copies: int, durable: dict[str, str]) -> None:
    """What the broker is asked for says so itself, whatever the broker's default is."""
    fills = Topics.declared().fills
    asked = new_topic(fills, copies)
    assert (asked.name, asked.num_partitions, asked.replication_factor) == ("fills", 4, copies)
    assert asked.topic_configs == FOR_EVER | durable


@pytest.fixture
def fills() -> TopicSpec:
    """A topic of accounts."""
    return Topics.declared().fills


def test_a_topic_as_declared_does_not_differ(fills: TopicSpec) -> None:
    """What the broker adds by itself is its own business."""
    assert list(differences(fills, FoundTopic(4, {**FOR_EVER, "segment.bytes": "1073741824"}))) == []


def test_the_order_of_policies_does_not_matter(fills: TopicSpec) -> None:
    """Brokers print them in any."""
    both = replace(fills, configuration={"cleanup.policy": "compact,delete"})
    assert list(differences(both, FoundTopic(4, {"cleanup.policy": "delete, compact"}))) == []


def test_every_difference_is_a_sentence_with_a_remedy(fills: TopicSpec) -> None:
    """All at once."""
    found = FoundTopic(3, {**FOR_EVER, "message.timestamp.type": "CreateTime", "retention.ms": "604800000"})
    alter = "run `kafka-configs.sh --alter --entity-type topics --entity-name fills --add-config"
    assert list(differences(fills, found)) == [
        (
            "topic fills has 3 partitions, must have 4: set SEAWALL_PARTITIONS=3 if every account topic was created"
            " with 3, otherwise move the records to a new topic (adding partitions would move accounts)"
        ),
        f"topic fills has retention.ms=604800000, must be -1: {alter} retention.ms=-1`",
        (
            f"topic fills has message.timestamp.type=CreateTime, must be LogAppendTime: {alter}"
            " message.timestamp.type=LogAppendTime`"
        ),
    ]


def test_a_broadcast_topic_has_no_choice_of_partitions() -> None:
    """One offset is its version, so it is one partition."""
    reference = Topics.declared().reference
    assert list(differences(reference, FoundTopic(2, FOR_EVER))) == [
        "topic reference has 2 partitions, must have 1: move the records to a new topic with 1"
    ]


def test_a_missing_topic(fills: TopicSpec) -> None:
    """The remedy is a command."""
    assert list(differences(fills, None)) == ["topic fills does not exist: run `seawall topics create`"]

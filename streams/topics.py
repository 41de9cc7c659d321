"""The topics that topics.yaml declares: their names, what is missing of them, and what differs."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from streams.config import Settings, kafka_arguments, variable

CREATION_TIMEOUT_SECONDS: Final = 30.0
"""A broker says that a topic is created before every request finds it."""


COPIES_MIN: Final = 3
"""From so many copies of a topic on, one may be lost and the others still be most of them."""


class TopicsError(Exception):
    """Topics could not be looked at or created.

    Attributes:
        violations: Every reason, one line each, in words for an operator.
    """

    def __init__(self, violations: Sequence[str]) -> None:
        super().__init__("\n".join(violations))
        self.violations = tuple(violations)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it is declared."""

    name: str
    """With the prefix."""
    partitions: int
    by_account: bool
    """Whether `partitions` is N, the number that all account topics share."""
    replication_factor: int
    """For a topic that is created; a higher one on the broker is welcome."""
    configuration: Mapping[str, str] = field(hash=False)
    """Topic configuration in Kafka's own names and spelling."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The nine topics. Iterating yields them in this order."""

    order_intents: TopicSpec
    fills: TopicSpec
    equity_ticks: TopicSpec
    daily_returns: TopicSpec
    reference: TopicSpec
    risk_decisions: TopicSpec
    trading_halts: TopicSpec
    checkpoints: TopicSpec
    dead_letters: TopicSpec

    @classmethod
    def declared(cls, *, prefix: str = "", partitions: int | None = None) -> Self:
        """Return the topics of topics.yaml.

        Args:
            prefix: Put before every name.
            partitions: N, instead of the declared one.
        """
        channels = _document()["channels"]
        return cls(
            **{each.name: _spec(channels[each.name.replace("_", "-")], prefix, partitions) for each in fields(cls)}
        )

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the topics of topics.yaml under the prefix and with the N of `settings`."""
        return cls.declared(prefix=settings.topic_prefix, partitions=settings.partitions)

    def __iter__(self) -> Iterator[TopicSpec]:
        return (getattr(self, each.name) for each in fields(self))

    @property
    def partitions(self) -> int:
        """N, the number of partitions of each account topic."""
        return self.order_intents.partitions


class FoundTopic(NamedTuple):
    """A topic as the broker has it."""

    partitions: int
    configuration: Mapping[str, str]
    """The broker's defaults included."""


async def create(topics: Topics, settings: Settings, *, replication_factor: int | None = None) -> list[str]:
    """Create what is missing, wait until the broker finds it, and leave what exists as it is.

    Args:
        topics: The topics that should exist.
        settings: How to reach the broker.
        replication_factor: Copies of each partition, instead of the declared number. From 3 on, most of them must
            have a record before it counts as written (`min.insync.replicas`).

    Returns:
        The names of the topics created.

    Raises:
        TopicsError: If there is no broker, or it refuses a topic; the others are created all the same.
    """
    async with _administration(settings) as admin:
        present = await _partition_counts(admin)
        missing = [topic for topic in topics if topic.name not in present]
        if not missing:
            return []
        response = await admin.create_topics(
            [
                new_topic(topic, topic.replication_factor if replication_factor is None else replication_factor)
                for topic in missing
            ]
        )
        refused = {name: (code, message) for name, code, message in response.topic_errors if code}
        # Somebody else was quicker; whether it is the topic we meant is for `check` to say.
        lost = {name for name, (code, _) in refused.items() if code == TopicAlreadyExistsError.errno}
        created = [topic.name for topic in missing if topic.name not in refused]
        await _wait_for([*created, *lost], admin)
        if len(refused) > len(lost):
            raise TopicsError(
                [
                    f"topic {name} could not be created: {message or for_code(code).__name__}"
                    for name, (code, message) in refused.items()
                    if name not in lost
                ]
            )
        return created


def new_topic(topic: TopicSpec, copies: int) -> NewTopic:
    """Return what the broker is asked for.

    From three copies on, a record counts as written once most of them have it: every producer of seawall waits for
    that (`acks=all`), and no broker that dies takes with it what it acknowledged. With two, that would be both, and
    nothing could be written while one is down.
    """
    durable = {"min.insync.replicas": str(copies // 2 + 1)} if copies >= COPIES_MIN else {}
    return NewTopic(topic.name, topic.partitions, copies, topic_configs={**topic.configuration, **durable})


async def check(topics: Topics, settings: Settings) -> list[str]:
    """Return every way in which the broker's topics differ from `topics`, one line each; empty is good.

    Args:
        topics: The topics that should exist.
        settings: How to reach the broker.

    Raises:
        TopicsError: If there is no broker, or it does not let us look.
    """
    async with _administration(settings) as admin:
        counts = await _partition_counts(admin)
        configurations = await _configurations([topic.name for topic in topics if topic.name in counts], admin)
    found = {name: FoundTopic(counts[name], configuration) for name, configuration in configurations.items()}
    return [violation for topic in topics for violation in differences(topic, found.get(topic.name))]


def differences(topic: TopicSpec, found: FoundTopic | None) -> Iterator[str]:
    """Yield how one topic differs from its declaration; `found` is None where there is none."""
    if found is None:
        yield f"topic {topic.name} does not exist: run `seawall topics create`"
        return
    if found.partitions != topic.partitions:
        setting = variable("partitions")
        remedy = (
            f"set {setting}={found.partitions} if every account topic was created with {found.partitions},"
            " otherwise move the records to a new topic (adding partitions would move accounts)"
            if topic.by_account
            else f"move the records to a new topic with {topic.partitions}"
        )
        yield f"topic {topic.name} has {found.partitions} partitions, must have {topic.partitions}: {remedy}"
    for key, value in topic.configuration.items():
        actual = found.configuration.get(key)
        if actual is None or _settled(actual) != _settled(value):
            yield (
                f"topic {topic.name} has {key}={actual or 'unknown'}, must be {value}: run `kafka-configs.sh"
                f" --alter --entity-type topics --entity-name {topic.name} --add-config {key}={value}`"
            )


def _settled(value: str) -> list[str]:
    """Return a list of policies in an order that two brokers agree on."""
    return sorted(part.strip() for part in value.split(","))


@asynccontextmanager
async def _administration(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield an admin client; say in one line what is wrong where Kafka's own errors do not."""
    admin = AIOKafkaAdminClient(**kafka_arguments(settings))
    try:
        await admin.start()
        yield admin
    except (KafkaError, TimeoutError) as error:
        violation = (
            f"no Kafka broker answers at {settings.bootstrap_servers} ({type(error).__name__}): start one,"
            f" or set {variable('bootstrap_servers')}"
        )
        raise TopicsError([violation]) from error
    finally:
        await admin.close()


async def _partition_counts(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """Return the number of partitions of every topic.

    It asks for all, because a broker that creates topics by itself creates those that are asked for by name.
    """
    return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}


async def _configurations(names: Sequence[str], admin: AIOKafkaAdminClient) -> dict[str, dict[str, str]]:
    """Return the topic configuration, defaults included, of each of `names`."""
    if not names:
        return {}
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    found: dict[str, dict[str, str]] = {}
    refused = []
    for code, message, _, name, entries in (resource for each in responses for resource in each.resources):
        if code:
            refused.append(
                f"the configuration of topic {name} cannot be read ({message or for_code(code).__name__}):"
                " allow DescribeConfigs on it"
            )
        found[name] = {key: value for key, value, *_ in entries}
    if refused:
        raise TopicsError(refused)
    return found


async def _wait_for(names: Sequence[str], admin: AIOKafkaAdminClient) -> None:
    deadline = time.monotonic() + CREATION_TIMEOUT_SECONDS
    while True:
        present = await _partition_counts(admin)
        absent = [name for name in names if name not in present]
        if not absent:
            return
        if time.monotonic() > deadline:
            raise TopicsError(
                [
                    f"topic {name} was created and is still not to be found: look at the broker's log"
                    for name in absent
                ]
            )
        await asyncio.sleep(0.05)


@cache
def _document() -> dict[str, Any]:
    """Return topics.yaml, which stands in the package, or in a checkout beside it."""
    packaged = files("streams").joinpath("topics.yaml")
    source = packaged if packaged.is_file() else Path(__file__).parent.parent / "topics.yaml"
    document: dict[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    return document


def _spec(channel: Mapping[str, Any], prefix: str, partitions: int | None) -> TopicSpec:
    binding = _resolved(channel["bindings"])["kafka"]
    by_account = binding.get("x-partitions-by") == "account"
    return TopicSpec(
        name=prefix + channel["address"],
        partitions=partitions if by_account and partitions is not None else binding["partitions"],
        by_account=by_account,
        replication_factor=binding["replicas"],
        configuration={
            key: ",".join(value) if isinstance(value, list) else str(value)
            for key, value in binding["topicConfiguration"].items()
        },
    )


def _resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `node`, or what its `$ref` into this document points at."""
    if "$ref" not in node:
        return node
    target: Any = _document()
    for step in node["$ref"].removeprefix("#/").split("/"):
        target = target[step]
    return _resolved(target)

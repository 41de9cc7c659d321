"""How the tools reach a gate: which topics its broker has, and how many partitions an account may be on."""

from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)

from streams.config import Settings, kafka_arguments, variable
from streams.records import Names, Topic
from streams.topics import Topics


class GateError(Exception):
    """The gate could not be asked, or did not answer. The text says what to do next."""


class GateUnavailableError(GateError):
    """There is no broker, or not the topics that make it a gate."""


_REFUSALS = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)


class Layout(NamedTuple):
    """A gate's topics as its broker has them."""

    names: Names
    partitions: int
    """N, the number of partitions of each account topic."""


async def find_gate(settings: Settings) -> Layout:
    """Return where the gate's topics are.

    Raises:
        GateUnavailableError: Where no broker answers, or a topic is missing.
    """
    admin = AIOKafkaAdminClient(**kafka_arguments(settings))
    try:
        await admin.start()
        # All are asked for: a broker that creates topics by itself creates those that are asked for by name.
        present = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    except (KafkaError, TimeoutError) as error:
        raise no_broker(settings, error) from error
    finally:
        await admin.close()
    names = Names(Topics.of(settings))
    missing = [name for name in names.values() if name not in present]
    if missing:
        unseen = "" if settings.security_protocol == "PLAINTEXT" else ", or let this user describe it"
        raise GateUnavailableError(f"topic {missing[0]} does not exist: run `seawall topics create`{unseen}")
    intents, decisions = names[Topic.ORDER_INTENTS], names[Topic.RISK_DECISIONS]
    if present[intents] != present[decisions]:
        raise GateUnavailableError(
            f"topic {intents} has {present[intents]} partitions and {decisions} {present[decisions]}: run"
            " `seawall topics check`"
        )
    return Layout(names, present[intents])


def no_broker(settings: Settings, error: BaseException) -> GateUnavailableError:
    """Return the one error for a broker that does not answer, or does not let this user in."""
    if isinstance(error, _REFUSALS):
        return GateUnavailableError(
            f"the Kafka broker at {settings.bootstrap_servers} refuses this user ({type(error).__name__}):"
            " allow it what RUNBOOK.md lists"
        )
    return GateUnavailableError(
        f"no answer from a Kafka broker at {settings.bootstrap_servers} ({type(error).__name__}):"
        f" start one, or set {variable('bootstrap_servers')}"
    )

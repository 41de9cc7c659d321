"""What people are told where they cannot get at the gate."""

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaConnectionError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
)
from pydantic import SecretStr

from streams import access
from streams.access import GateUnavailableError, find_gate, no_broker
from streams.config import Settings


@pytest.mark.parametrize(
    "error", [ClusterAuthorizationFailedError, SaslAuthenticationFailed, TopicAuthorizationFailedError]
)
def test_a_broker_that_refuses_is_not_one_that_is_silent(error: type[Exception]) -> None:
    assert "refuses this user" in str(no_broker(Settings(), error()))
    assert "no answer" in str(no_broker(Settings(), KafkaConnectionError()))


class _Admin:
    """An administration that shows no topic."""

    def __init__(self, **_: object) -> None:
        pass

    async def start(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect."""

    async def describe_topics(self) -> list[object]:
        """Return the topics that this user may describe."""
        return []


async def test_a_topic_that_may_not_be_described_is_not_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "AIOKafkaAdminClient", _Admin)
    with pytest.raises(GateUnavailableError, match=r"order-intents does not exist: run `seawall topics create`$"):
        await find_gate(Settings())
    user = {"sasl_mechanism": "PLAIN", "sasl_username": "u", "sasl_password": SecretStr("p")}
    with pytest.raises(GateUnavailableError, match="or let this user describe it"):
        await find_gate(Settings.model_validate({"security_protocol": "SASL_PLAINTEXT", **user}))

"""RUNBOOK.md, "Who may write what": a broker that allows just that, and a gate that runs on it."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from models.messages import EquityMark, Fill, OrderIntent, PriceMark
from streams import topics as declared_topics
from streams.access import GateUnavailableError
from streams.client import RiskGateClient
from streams.config import Settings
from streams.publisher import NotSentError, Publisher
from streams.starter import starter_records
from streams.topics import Topics
from tests import kafka
from tests.integration.test_cli import run_seawall
from tests.integration.workers import WorkerProcess, worker
from tests.kafka import Broker, JarsBroker, Kind
from tests.kafka_supply import jars, java

PREFIX = "own."
APPLICATION = "gate"
TOPICS = [spec.name for spec in Topics.declared(prefix=PREFIX)]
OUTPUTS = [PREFIX + name for name in ("risk-decisions", "trading-halts", "checkpoints", "dead-letters")]
PREFIXED = ("--resource-pattern-type", "prefixed")
USERS = ("admin", "worker", "sender", "venue", "feed", "operator", "auditor")


def _topic(*names: str, operations: tuple[str, ...]) -> list[str]:
    return [
        *(argument for name in names for argument in ("--topic", name)),
        *(argument for operation in operations for argument in ("--operation", operation)),
    ]


RIGHTS: tuple[tuple[tuple[str, ...], list[str]], ...] = (
    (("sender", "venue", "feed"), _topic(*TOPICS, operations=("Describe",))),
    (("worker", "operator", "auditor"), _topic(*TOPICS, operations=("Read",))),
    (("worker",), _topic(*TOPICS, operations=("DescribeConfigs",))),
    (("worker",), _topic(*OUTPUTS, operations=("Write",))),
    (("worker",), ["--group", APPLICATION, "--operation", "Read"]),
    (("worker",), ["--transactional-id", f"{APPLICATION}-", *PREFIXED, "--operation", "Write"]),
    (("sender",), _topic(PREFIX + "order-intents", operations=("Write",))),
    (("sender",), _topic(PREFIX + "risk-decisions", PREFIX + "trading-halts", operations=("Read",))),
    (("venue",), _topic(PREFIX + "fills", operations=("Write",))),
    (("feed", "operator"), _topic(PREFIX + "equity-ticks", operations=("Write",))),
    (("operator",), _topic(PREFIX + "reference", operations=("Write",))),
)
"""Whom the table allows what, in the words of Kafka's own tool."""


@pytest.fixture
def guarded(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker of its own that knows users and gives nobody but the admin any right."""
    if broker.kind is not Kind.JARS:
        pytest.skip(f"needs Apache Kafka from its jars, this is {broker}")
    users = " ".join(f'user_{name}="{name}"' for name in USERS)
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
    properties = {
        "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": f'{plain} required username="admin" password="admin" {users};',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:admin;User:ANONYMOUS",  # the controller's own listener has no users
    }
    monkeypatch.setattr(kafka, "BROKER_PROPERTIES", kafka.BROKER_PROPERTIES | properties)
    own = JarsBroker.alone()
    yield own
    own.stop()


def _allow(bootstrap: str, folder: Path) -> None:
    client = folder / "admin.properties"
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
    client.write_text(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
        f'sasl.jaas.config={plain} required username="admin" password="admin";\n'
    )
    tool = [java(), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{jars()}/*"]
    command = [*tool, "org.apache.kafka.tools.AclCommand", "--bootstrap-server", bootstrap]

    def allow(users: tuple[str, ...], rights: list[str]) -> None:
        principals = [argument for user in users for argument in ("--allow-principal", f"User:{user}")]
        ran = subprocess.run(
            [*command, "--command-config", client, "--add", *principals, *rights],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr

    with ThreadPoolExecutor(3) as pool:  # each is a Java machine of its own
        list(pool.map(allow, *zip(*RIGHTS, strict=True)))


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_gate_runs_on_the_rights_that_the_runbook_lists(guarded: Broker, tmp_path: Path) -> None:
    def acting(user: str) -> Settings:
        return Settings(
            bootstrap_servers=guarded.bootstrap,
            application_id=APPLICATION,
            topic_prefix=PREFIX,
            data_dir=tmp_path / "data",
            worker_id="worker-1",
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_username=user,
            sasl_password=SecretStr(user),
        )

    now = time.time_ns()
    mark = EquityMark.model_validate(
        {
            "account": "A",
            "event_time": now,
            "equity": "100000",
            "marks": {"X": PriceMark.model_validate({"price": "100", "atr": "1"})},
        }
    )
    fields = {"account": "A", "symbol": "X", "side": "BUY", "event_time": now}
    intent = OrderIntent.model_validate(
        fields | {"intent_id": "i", "strategy": "s", "quantity": "1", "order_type": "MARKET"}, strict=False
    )
    fill = Fill.model_validate(
        fields | {"execution_id": "e", "execution_type": "TRADE", "last_quantity": "1", "last_price": "100"},
        strict=False,
    )

    async def send(user: str, *messages: object) -> None:
        async with Publisher(acting(user)) as publisher:
            await publisher.send_all(messages)  # type: ignore[arg-type]  # they are

    async def ask() -> str:
        async with RiskGateClient(acting("sender"), timeout=30) as gate:
            return str((await gate.submit(intent)).status)

    asyncio.run(declared_topics.create(Topics.of(acting("admin")), acting("admin")))
    _allow(guarded.bootstrap, tmp_path)
    asyncio.run(send("operator", *starter_records("USD", event_time=now)))
    asyncio.run(send("feed", mark))
    asyncio.run(send("venue", fill))
    for user, message in (("sender", fill), ("venue", intent), ("feed", fill)):
        with pytest.raises(NotSentError):
            asyncio.run(send(user, message))
    with pytest.raises(GateUnavailableError, match="refuses this user"):
        asyncio.run(send("auditor", mark))

    with worker(acting("worker"), tmp_path) as process:
        assert asyncio.run(ask()) == "APPROVED"
        assert process.stop() == 0, process.output
    audited = run_seawall(acting("auditor"), "audit")
    assert audited.returncode == 0, audited.stdout + audited.stderr
    reported = run_seawall(acting("operator"), "report", "A")
    assert reported.returncode == 0, reported.stdout + reported.stderr

    (tmp_path / "refused").mkdir()
    refused = WorkerProcess(acting("auditor"), tmp_path / "refused")
    refused.start()
    assert refused.process.wait(30) == 2, refused.output
    assert "allow DescribeConfigs on it" in refused.output

"""What all tests share: one broker, and for each test names of its own on it."""

import asyncio
import logging
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from streams import topics as declared_topics
from streams.config import PREFIX, TEST_PREFIX, Settings, kafka_arguments
from streams.topics import Topics
from tests.kafka import Broker, Kind, start_broker
from tests.kafka_supply import NoBrokerError

_BROKER = pytest.StashKey[Broker]()
_NO_BROKER = pytest.StashKey[str]()


def pytest_configure() -> None:
    """Forget the developer's own settings."""
    for name in list(os.environ):
        if name.startswith(PREFIX) and not name.startswith(TEST_PREFIX):
            del os.environ[name]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the broker, before the marks are looked at for -m."""
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker("broker")


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    """Start the broker, if a test that was selected needs it, and say which one it is."""
    if config.option.collectonly or not any(item.get_closest_marker("broker") for item in items):
        return []
    lines: list[str] = []
    try:
        config.stash[_BROKER] = start_broker(os.environ, lines.append)
    except NoBrokerError as error:
        config.stash[_NO_BROKER] = str(error)
    return [*lines, _broker_line(config)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say again which broker it was, and where its log is if something failed."""
    if _BROKER not in config.stash and _NO_BROKER not in config.stash:
        return
    failed = terminalreporter.stats.get("failed", []) + terminalreporter.stats.get("error", [])
    if _BROKER in config.stash and failed and (log := config.stash[_BROKER].log()):
        kept = config.rootpath / ".pytest_cache" / "broker.log"
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(log, encoding="utf-8")
        troubles = [line for line in log.splitlines() if " WARN " in line or " ERROR " in line]
        terminalreporter.section(f"broker, last warnings of {kept.relative_to(config.rootpath)}")
        terminalreporter.write_line("\n".join(troubles[-20:]) or "none")
    terminalreporter.write_line(_broker_line(config), bold=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the broker."""
    if _BROKER in config.stash:
        config.stash[_BROKER].stop()


def _broker_line(config: pytest.Config) -> str:
    return f"broker: {config.stash[_BROKER]}" if _BROKER in config.stash else "broker: none"


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config) -> Broker:
    """The broker of this run; see tests/kafka.py."""
    if _BROKER not in pytestconfig.stash:
        pytest.fail(f"no Kafka broker:\n{pytestconfig.stash[_NO_BROKER]}", pytrace=False)
    return pytestconfig.stash[_BROKER]


@pytest.fixture
def application_id(request: pytest.FixtureRequest) -> str:
    """A name that no other test has, and that tells whose it is."""
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', request.node.name)[:40].strip('-')}-{secrets.token_hex(4)}"


@pytest.fixture
def settings(broker: Broker, application_id: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a gate of the test's own: its topics, its group, its folder."""
    settings = Settings(
        bootstrap_servers=broker.bootstrap,
        application_id=application_id,
        topic_prefix=f"{application_id}.",
        data_dir=tmp_path / "data",
        worker_id="worker-1",
    )
    yield settings
    if broker.kind is Kind.ENV:
        asyncio.run(_delete_topics(settings))


@pytest.fixture(autouse=True)
def _libraries_are_heard() -> Iterator[None]:
    """Undo what the command line does to logging when a test runs it in this process."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def topics(settings: Settings) -> Topics:
    """The nine topics, created."""
    topics = Topics.of(settings)
    asyncio.run(declared_topics.create(topics, settings))
    return topics


async def _delete_topics(settings: Settings) -> None:
    """Leave no litter on a broker that is not ours."""
    admin = AIOKafkaAdminClient(**kafka_arguments(settings))
    await admin.start()
    try:
        names = [name for name in await admin.list_topics() if name.startswith(settings.topic_prefix)]
        await admin.delete_topics(names)
    finally:
        await admin.close()

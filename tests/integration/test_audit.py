"""`seawall audit` against a real broker: evidence and what it is worth, and logs that lack something."""

import asyncio
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from models.canonical import canonical_bytes
from streams import topics as declared_topics
from streams.audit import Outcome, Scope, Verdict, judgements
from streams.codec import decode_decision
from streams.config import Settings, kafka_arguments
from streams.records import Topic
from streams.topics import Topics
from tests.integration import load
from tests.integration.test_cli import run_seawall
from tests.integration.workers import environment_of, read_topic, worker
from tests.kafka import Broker

Audit = Callable[..., Any]
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def audit(settings: Settings) -> Audit:
    return partial(run_seawall, settings, "audit")


@pytest.fixture(autouse=True)
def _apache(broker: Broker) -> None:
    if not broker.is_apache:
        pytest.skip(f"needs Apache Kafka, this is {broker}")


def work(settings: Settings, topics: Topics, folder: Path, seed: int, *, rounds: int) -> None:
    """Let a worker decide a load, and stop it."""

    async def decided() -> None:
        if seed == 1:
            await load.prepare(settings)
        await load.send(settings, seed, rounds=rounds, pause=0)
        await load.wait_until_decided(settings, topics.partitions, 60)

    with worker(settings, folder) as process:
        asyncio.run(decided())
        assert process.stop() == 0, process.output


def told(ran: Any) -> Any:
    """Return the verdict that a command printed as JSON."""
    return json.loads(ran.stdout)


def test_evidence_stands_on_its_own_and_later_audits_go_on_from_it(
    settings: Settings, topics: Topics, audit: Audit, tmp_path: Path
) -> None:
    work(settings, topics, tmp_path, 1, rounds=12)
    first = tmp_path / "evidence" / "first"
    audited = audit("--jobs", "2", "--evidence", str(first))
    assert audited.returncode == 0, audited.stdout + audited.stderr
    names = {path.name for path in first.iterdir()}
    assert names >= {"verdict.json", "coverage.json", "heads.jsonl", "limits.json", "STATEMENT.txt", "SHA256SUMS"}
    verdict = orjson.loads((first / "verdict.json").read_bytes())
    assert verdict["clean"]
    assert verdict["decisions"] == verdict["reproduced"] > 200
    coverage = orjson.loads((first / "coverage.json").read_bytes())
    assert all(each["id"] for each in coverage["topics"].values())
    assert len(coverage["covered"]) == 5 * topics.partitions + 2
    assert "It does not prove" in (first / "STATEMENT.txt").read_text(encoding="utf-8")
    assert "default" in (first / "limits.json").read_text(encoding="utf-8")
    assert audit("--evidence", str(first)).returncode == 2  # evidence is written once

    heads = tmp_path / "heads.jsonl"
    printed = audit("--heads")
    heads.write_text(printed.stdout, encoding="utf-8")
    assert printed.returncode == 0
    assert set(printed.stdout.splitlines()) == set((first / "heads.jsonl").read_text(encoding="utf-8").splitlines())
    between = time.time_ns()
    time.sleep(0.01)
    work(settings, topics, tmp_path, 2, rounds=5)

    for kept in (first, heads):
        verified = audit("--verify", str(kept))
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert "as they were" in verified.stdout
    whole = told(audit("--json"))
    later = told(audit("--from", str(between), "--json"))
    assert later["clean"]
    assert (later["passed"], later["decisions"]) == (verdict["decisions"], whole["decisions"] - verdict["decisions"])
    second = tmp_path / "evidence" / "second"
    resumed = audit("--from", str(between), "--anchors", str(first.parent), "--evidence", str(second), "--json")
    assert resumed.returncode == 0, resumed.stdout
    assert (told(resumed)["passed"], told(resumed)["decisions"]) == (0, later["decisions"])
    assert "gone on from" in told(resumed)["notes"][0]
    assert audit("--verify", str(second)).returncode == 0
    earlier = told(audit("--to", str(between), "--json"))
    assert (earlier["clean"], earlier["decisions"]) == (True, verdict["decisions"])


def test_what_was_changed_or_cut_since_is_named(
    settings: Settings, topics: Topics, audit: Audit, tmp_path: Path
) -> None:
    work(settings, topics, tmp_path, 1, rounds=6)
    folder = tmp_path / "evidence"
    assert audit("--evidence", str(folder)).returncode == 0
    heads, now = folder / "heads.jsonl", str(time.time_ns())
    kept = heads.read_bytes()
    heads.write_bytes(kept.replace(b'"seq":1,', b'"seq":2,', 1))
    damaged = audit("--verify", str(folder))
    assert damaged.returncode == 1
    assert "heads.jsonl: differs from its digest" in damaged.stdout
    unfit = told(audit("--from", now, "--anchors", str(folder), "--json"))
    assert "has no clean evidence" in unfit["notes"][0]  # a folder that was changed is not gone on from
    assert (unfit["clean"], unfit["decisions"], unfit["passed"] > 0) == (True, 0, True)

    heads.write_bytes(kept)
    work_deleted(settings, topics.fills.name)
    cut = audit()
    assert cut.returncode == 2
    assert "fills/0 begins at offset 1: what stood before was deleted" in cut.stderr
    gone = audit("--verify", str(folder))
    assert gone.returncode == 1
    assert "DELETED  fills/0@0.." in gone.stdout
    assert "begins at offset 1 now (retention cut it)" in gone.stdout
    resumed = told(audit("--from", now, "--anchors", str(folder), "--json"))
    assert resumed["clean"]  # what was cut was audited while it was there
    assert "gone on from" in resumed["notes"][0]


def work_deleted(settings: Settings, name: str) -> None:
    """Delete the first record of a topic."""

    async def delete() -> None:
        admin = AIOKafkaAdminClient(**kafka_arguments(settings))
        await admin.start()
        try:
            await admin.delete_records({KafkaPartition(name, 0): RecordsToDelete(before_offset=1)})
        finally:
            await admin.close()

    asyncio.run(delete())


def test_one_account_and_the_library(settings: Settings, topics: Topics, audit: Audit, tmp_path: Path) -> None:
    work(settings, topics, tmp_path, 1, rounds=3)
    own = told(audit("--account", "A-1", "--json"))
    assert own["clean"]
    assert own["decisions"] > 0
    assert own["passed"] > 0
    unknown = audit("--account", "a-1")
    assert unknown.returncode == 2
    assert "no decision or halt names account a-1" in unknown.stderr
    evidence = tmp_path / "own"
    assert audit("--account", "A-1", "--evidence", str(evidence)).returncode == 0
    assert audit("--verify", str(evidence)).returncode == 0
    assert "account A-1" in (evidence / "STATEMENT.txt").read_text(encoding="utf-8")

    async def judged() -> tuple[Verdict, int]:
        verdict, count = Verdict(), 0
        async for each in judgements(settings, verdict, Scope(account="A-1")):
            count += each.outcome is Outcome.REPRODUCED and each.record.topic is Topic.RISK_DECISIONS
        return verdict, count

    section = README.read_text(encoding="utf-8").partition("The audit is a library too.")[2]
    program = section.partition("```python\n")[2].partition("```")[0]
    script = f"import asyncio\nasync def main():\n{textwrap.indent(program, '    ')}\nasyncio.run(main())"
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment_of(settings), capture_output=True, text=True, check=True
    )
    assert ran.stdout == audit().stdout.splitlines(keepends=True)[0]

    verdict, count = asyncio.run(judged())
    assert verdict.clean
    assert count == verdict.decisions == own["decisions"]


def test_what_was_aborted_is_no_intent_and_whoever_answers_it_is_named(
    settings: Settings, topics: Topics, audit: Audit, tmp_path: Path
) -> None:
    work(settings, topics, tmp_path, 1, rounds=1)
    name, partition = topics.order_intents.name, 2
    arguments = kafka_arguments(settings)

    async def abort() -> int:
        async with AIOKafkaProducer(**arguments, transactional_id="intents") as producer:
            await producer.begin_transaction()
            stands = await producer.send_and_wait(name, b"aborted", key=b"A", partition=partition)
            await producer.abort_transaction()
        async with AIOKafkaProducer(**arguments) as producer:
            await producer.send_and_wait(name, b"after", key=b"A", partition=partition)
        offset: int = stands.offset
        return offset

    aborted = asyncio.run(abort())
    clean = told(audit("--json"))
    assert clean["clean"]
    assert clean["aborted"] == 1
    assert clean["undecided"] == 1
    record = asyncio.run(read_topic(settings, Topic.RISK_DECISIONS, partition))[-1]
    forged = decode_decision(record).model_copy(update={"intent_offset": aborted})

    async def answer() -> None:
        async with AIOKafkaProducer(**arguments) as producer:
            await producer.send_and_wait(
                topics.risk_decisions.name, canonical_bytes(forged), key=record.key, partition=partition
            )

    asyncio.run(answer())
    found = audit()
    assert found.returncode == 1
    assert f"ABORTED  risk-decisions/{partition}@" in found.stdout
    assert "its transaction was aborted" in found.stdout
    assert "has no header epoch of its owner" in found.stdout


def test_evidence_of_other_topics_is_named(settings: Settings, topics: Topics, audit: Audit, tmp_path: Path) -> None:
    work(settings, topics, tmp_path, 1, rounds=1)
    evidence = tmp_path / "evidence"
    assert audit("--evidence", str(evidence)).returncode == 0
    other = settings.model_copy(update={"topic_prefix": f"other.{settings.topic_prefix}"})
    asyncio.run(declared_topics.create(Topics.of(other), other))
    found = run_seawall(other, "audit", "--verify", str(evidence))
    assert found.returncode == 1
    assert "FOREIGN  order-intents: is another topic" in found.stdout
    assert "holds 0 records, held" in found.stdout

"""The command line against a real broker and a real worker: what it prints and its exit statuses."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from streams.config import Settings
from streams.publisher import Publisher
from streams.records import Topic
from tests.integration.workers import environment_of, worker

Seawall = Callable[..., "subprocess.CompletedProcess[str]"]
ORDER = ("submit", "--account", "A", "--strategy", "s", "--symbol", "AAPL", "--side", "buy")


def environment(settings: Settings) -> dict[str, str]:
    return {**environment_of(settings), "COLUMNS": "100"}


def run_seawall(settings: Settings, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    ran = subprocess.run(
        [sys.executable, "-m", "streams", *arguments],
        env=environment(settings),
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in ran.stderr
    return ran


@pytest.fixture
def seawall(settings: Settings) -> Seawall:
    return partial(run_seawall, settings)


@pytest.fixture
def gate(seawall: Seawall, settings: Settings, tmp_path: Path) -> Iterator[Seawall]:
    """A gate with a worker, where account A has a mark."""
    created = seawall("topics", "create", "--starter", "USD")
    assert created.returncode == 0, created.stderr
    with worker(settings, tmp_path):
        mark = {"kind": "mark", "account": "A", "equity": "100000"}
        mark["marks"] = {"AAPL": {"price": "185", "atr": "3.5"}}  # type: ignore[assignment]  # JSON
        assert seawall("publish", "equity-ticks", "-", given=json.dumps(mark)).returncode == 0
        time.sleep(0.5)
        yield seawall


def line(intent_id: str, quantity: str | None = "1", **changes: object) -> str:
    intent = {
        "intent_id": intent_id,
        "account": "A",
        "strategy": "s",
        "symbol": "AAPL",
        "side": "BUY",
        "quantity": quantity,
        "order_type": "MARKET",
    }
    return json.dumps({**intent, **changes})


def test_topics_are_created_once_and_checked(seawall: Seawall) -> None:
    missing = seawall("topics", "check")
    assert missing.returncode == 2
    assert missing.stderr.count("does not exist: run `seawall topics create`") == 9
    created = seawall("topics", "create", "--starter", "USD")
    assert created.stdout.count("created ") == 9
    assert "wrote 4 starter records" in created.stdout
    again = seawall("topics", "create", "--starter", "USD")
    assert again.stdout == "every topic exists\nthe starter records are there\n"
    assert seawall("topics", "check").stdout == "every topic is as declared\n"
    other = seawall("topics", "create", "--partitions", "7")
    assert other.returncode == 2
    assert "has 4 partitions, must have 7" in other.stderr


def test_submit_tells_by_its_status(gate: Seawall, tmp_path: Path) -> None:
    approved = gate(*ORDER, "--quantity", "10")
    assert approved.returncode == 0
    assert approved.stdout.startswith("APPROVED  buy 10 AAPL  for A/s")
    rejected = gate(*ORDER, "--quantity", "60")
    assert rejected.returncode == 3
    assert "SIZE_EXCEEDS_CAP 11,100 > 10,000, passes 54" in rejected.stdout
    told = json.loads(gate(*ORDER, "--quantity", "1", "--json").stdout)
    assert told["status"] == "APPROVED"

    several = gate("submit", "-", given="\n".join([line("a"), line("b", "60"), line("c"), ""]))
    assert several.returncode == 3
    assert [text.split()[0] for text in several.stdout.splitlines() if text[0] != " "] == [
        "APPROVED",
        "REJECTED",
        "APPROVED",
    ]
    bad = gate("submit", "--json", "-", given="\n".join([line("d"), "junk", line("e")]))
    assert bad.returncode == 2
    answers = [json.loads(text) for text in bad.stdout.splitlines()]
    assert [answer.get("status", answer.get("error")) for answer in answers] == [
        "APPROVED",
        "line 2 is no JSON: not sent",
        "APPROVED",
    ]
    file = tmp_path / "intents"
    file.write_text(line("f", "2") + "\n" + line("g", "3") + "\n")
    assert gate("submit", str(file)).returncode == 0


def test_submit_without_a_worker_is_silence(seawall: Seawall) -> None:
    assert seawall("topics", "create").returncode == 0
    silence = seawall(*ORDER, "--timeout", "0.5", "--intent-id", "x-1")
    assert silence.returncode == 4
    assert silence.stdout == ""
    assert "it may still be decided" in silence.stderr
    assert silence.stderr.count("\n") == 1
    mixed = seawall("submit", "--timeout", "0.5", "--json", "-", given="junk\n" + line("a"))
    assert mixed.returncode == 4
    assert json.loads(mixed.stdout.splitlines()[1])["intent_id"] == "a"


def test_watch_report_and_audit(gate: Seawall, settings: Settings) -> None:
    assert gate(*ORDER, "--quantity", "10").returncode == 0
    watching = subprocess.Popen(
        [sys.executable, "-m", "streams", "watch", "decisions", "--json", "--from-beginning", "--account", "A"],
        env=environment(settings),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["seq"] == 1
    assert gate(*ORDER, "--quantity", "5").returncode == 0
    assert json.loads(watching.stdout.readline())["seq"] == 2
    watching.send_signal(signal.SIGINT)
    assert watching.wait(20) == 130
    watching.stdout.close()

    report = gate("report", "A")
    assert report.returncode == 0
    assert "limits default@1" in report.stdout
    told = json.loads(gate("report", "A", "--json").stdout)
    assert [order["approved"] for order in told["open_orders"]] == ["10", "5"]
    nobody = gate("report", "nobody")
    assert nobody.returncode == 2
    assert "nothing is known of account nobody" in nobody.stderr

    audit = gate("audit")
    assert audit.returncode == 0
    assert audit.stdout.splitlines()[0] == "audit: 2 decisions, 2 reproduced byte for byte, 0 diverged"
    assert json.loads(gate("audit", "--json").stdout)["clean"] is True


def test_an_audit_of_a_forged_ledger_is_status_1(gate: Seawall, settings: Settings) -> None:
    assert gate(*ORDER, "--quantity", "10").returncode == 0
    told = json.loads(gate(*ORDER, "--quantity", "5", "--json").stdout)
    told["quantity"] = "6"

    async def forge() -> None:
        async with Publisher(settings) as publisher:
            await publisher.send_raw(Topic.RISK_DECISIONS, b"A", json.dumps(told).encode())

    asyncio.run(forge())
    audit = gate("audit")
    assert audit.returncode == 1
    assert audit.stdout.splitlines()[0] == "audit: 3 decisions, 2 reproduced byte for byte, 1 diverged"
    assert "which was decided before or never sent" in audit.stdout

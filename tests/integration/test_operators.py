"""Operators' commands through a real broker and a real worker: signed ones are obeyed, others are not."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.config import Settings
from tests.integration.test_cli import environment
from tests.integration.workers import worker

Seawall = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def seawall(settings: Settings) -> Seawall:
    def run(*arguments: str, given: str = "", **keys: str) -> "subprocess.CompletedProcess[str]":
        ran = subprocess.run(
            [sys.executable, "-m", "streams", *arguments],
            env={**environment(settings), **{f"SEAWALL_{name.upper()}": value for name, value in keys.items()}},
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in ran.stderr
        assert "this is a defect" not in ran.stderr
        return ran

    return run


def test_a_halted_account_is_resumed_only_by_a_signed_command(
    seawall: Seawall, settings: Settings, tmp_path: Path
) -> None:
    assert seawall("topics", "create", "--starter", "USD").returncode == 0
    for name in ("one", "two"):
        assert seawall("keys", "generate", str(tmp_path / name)).returncode == 0
    because = ("--reason", "test", "--actor", "jo", "--yes")
    with worker(settings, tmp_path) as process:
        mark = json.dumps({"kind": "mark", "account": "A", "equity": "100000"})
        assert seawall("publish", "equity-ticks", "-", given=mark).returncode == 0
        halted = seawall("halt", "A", *because)
        assert halted.returncode == 0, halted.stderr
        assert "A  HALT  OPERATOR  (published, seq 1)" in halted.stdout

        first = seawall("keys", "set", f"one={tmp_path / 'one.pub'}", *because)
        assert first.returncode == 0, first.stderr
        assert "in force everywhere" in first.stdout
        unsigned = seawall("resume", "A", *because)
        assert unsigned.returncode == 3
        assert "signed_by is missing" in unsigned.stderr
        resume = {"kind": "resume", "account": "A", "actor": "eve", "reason": "mine"}
        assert seawall("publish", "equity-ticks", "-", given=json.dumps(resume)).returncode == 0
        wrong = seawall("resume", "A", *because, signing_key=str(tmp_path / "two"), signing_key_id="one")
        assert wrong.returncode == 3
        assert "over this very message, is not" in wrong.stderr

        # The worker's checkpoint keeps the keys: a restart, with and without its disk, changes nothing.
        for lose_disk in (False, True):
            process.kill(lose_disk=lose_disk)
            process.start()
            process.wait_ready()
            again = seawall("resume", "A", *because)
            assert again.returncode == 3
            assert "A  HALT  OPERATOR  (published, seq 1)" in again.stdout

        signed = {"signing_key": str(tmp_path / "one"), "signing_key_id": "one"}
        resumed = seawall("resume", "A", *because, **signed)
        assert resumed.returncode == 0, resumed.stderr
        assert "A  NORMAL  (published, seq 2)" in resumed.stdout
        assert seawall("kill", "GLOBAL", *because).returncode == 3
        assert seawall("kill", "GLOBAL", *because, **signed).returncode == 0
        assert seawall("keys", "set", f"two={tmp_path / 'two.pub'}", *because, **signed).returncode == 0
        assert seawall("unkill", "GLOBAL", *because, **signed).returncode == 3
        assert process.output.count(" unauthorized ") >= 2
    listed = json.loads(seawall("keys", "list", "--json").stdout)
    assert {tuple(keys) for keys in listed.values()} == {("two",)}
    audit = seawall("audit", "--json")
    assert audit.returncode == 0, audit.stdout
    assert json.loads(audit.stdout)["dead_letters"] == 7


def test_without_a_terminal_nothing_dangerous_is_sent(seawall: Seawall) -> None:
    assert seawall("topics", "create", "--starter", "USD").returncode == 0
    refused = seawall("kill", "GLOBAL", "--mode", "ALL", "--reason", "panic")
    assert refused.returncode == 2
    assert "add --yes" in refused.stderr
    assert refused.stdout == ""
    released = seawall("unkill", "GLOBAL", "--reason", "r", "--yes")
    assert released.returncode == 2
    assert "kill switch GLOBAL is not engaged" in released.stderr

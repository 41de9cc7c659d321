"""The demo as a person runs it: real processes, the embedded broker, and nothing left behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from streams.config import PREFIX, Settings
from streams.demo import keeper
from streams.demo.household import embedded_broker_is_there
from tests.kafka import Broker

pytestmark = pytest.mark.skipif(not embedded_broker_is_there(), reason="noida-db has no wheel for this platform")

FAST = ("demo", "--act", "2020", "--speed", "100")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the demo makes its temporary folder."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


class Start(Protocol):
    """Starts `seawall` with these arguments and these variables."""

    def __call__(self, *arguments: str, **variables: str) -> "subprocess.Popen[str]": ...


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start commands, and end those that a failed test leaves."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        process = subprocess.Popen(
            [sys.executable, "-m", "streams", *arguments],
            env={**environment, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1", **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def processes(folder: Path) -> list[str]:
    """Return the command lines of processes that have to do with the folder."""
    if Path("/proc/self/cmdline").exists():
        lines = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has just ended
                lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    else:
        lines = subprocess.run(
            ["ps", "-Awwo", "args"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    return [line for line in lines if str(folder) in line]


def nothing_is_left(folder: Path) -> None:
    deadline = time.monotonic() + 30
    while left := [*processes(folder), *map(str, folder.iterdir())]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def lines_until(process: "subprocess.Popen[str]", text: str) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line
        if text in line:
            return
    raise AssertionError(f"the demo ended without {text!r}")


@pytest.mark.slow
def test_it_plays_sums_up_audits_and_cleans_up(start: Start, folder: Path) -> None:
    process = start(*FAST)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "2020: the pandemic" in said
    assert re.search(r"^2020-03-12 S&P 500 2,480.64 -9.51%: \d+ approved, \d+ rejected", said, re.MULTILINE)
    assert re.search(r"^2020-03-\d\d banks HALT after ", said, re.MULTILINE)
    verdict = re.search(r"^audit: (\d+) decisions, (\d+) reproduced byte for byte, 0 diverged$", said, re.MULTILINE)
    assert verdict is not None, said
    assert verdict[1] == verdict[2] == re.search(r"^intents +(\d+)$", said, re.MULTILINE)[1]  # type: ignore[index]  # it is there
    assert int(verdict[1]) > 400
    assert re.search(r"^latency +p50 [\d.]+ ms, p99 [\d.]+ ms", said, re.MULTILINE)
    nothing_is_left(folder)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["broker on", "worker: process", "2020-02-24"])
def test_a_signal_at_any_moment_leaves_nothing(
    start: Start, folder: Path, number: signal.Signals, moment: str
) -> None:
    process = start(*FAST)
    list(lines_until(process, moment))
    process.send_signal(number)
    process.send_signal(number)  # pressing it twice changes nothing
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    nothing_is_left(folder)


@pytest.mark.slow
def test_kill_dash_nine_leaves_nothing(start: Start, folder: Path) -> None:
    process = start(*FAST)
    list(lines_until(process, "2020-02-24"))
    assert any(keeper.__file__ in line for line in processes(folder))
    process.kill()
    process.communicate(timeout=60)
    nothing_is_left(folder)


@pytest.mark.slow
def test_a_worker_that_dies_is_named(start: Start, folder: Path) -> None:
    process = start(*FAST)
    told = "".join(lines_until(process, "2020-02-24"))
    worker = re.search(r"worker: process (\d+)", told)
    assert worker is not None
    os.kill(int(worker[1]), signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "seawall: the worker ended with status -9: " in said
    assert "Traceback" not in said
    nothing_is_left(folder)


@pytest.mark.slow
def test_keep_leaves_it_up_until_ctrl_c(start: Start, folder: Path) -> None:
    process = start(*FAST, "--keep")
    told = "".join(lines_until(process, "report visitor"))
    found = re.search(r"export SEAWALL_BOOTSTRAP_SERVERS=(\S+)", told)
    assert found is not None
    order = re.search(r"submit (--account.*)$", told, re.MULTILINE)
    assert order is not None
    time.sleep(1)
    asked = start("submit", *order[1].split(), SEAWALL_BOOTSTRAP_SERVERS=found[1])
    said, _ = asked.communicate(timeout=60)
    assert asked.returncode == 0, said
    assert said.startswith("APPROVED  buy 10 KO  for visitor/by-hand")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    nothing_is_left(folder)


@pytest.mark.slow
def test_it_plays_on_a_broker_of_ones_own(start: Start, folder: Path, broker: Broker, settings: Settings) -> None:
    del settings
    process = start(*FAST, "--external", SEAWALL_BOOTSTRAP_SERVERS=broker.bootstrap)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 0, said
    assert "from the environment" in said
    assert re.search(r"^audit: (\d+) decisions, \1 reproduced byte for byte, 0 diverged$", said, re.MULTILINE)
    nothing_is_left(folder)


def test_without_an_embedded_broker_it_says_how_to_get_one(folder: Path) -> None:
    code = (
        "import importlib.util as u, sys; found = u.find_spec;"
        "u.find_spec = lambda name, *rest: None if name == 'noida_db' else found(name, *rest);"
        "from streams.cli import main; main(['demo'])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "docker compose up" in ran.stderr
    assert "SEAWALL_BOOTSTRAP_SERVERS=127.0.0.1:9092" in ran.stderr
    nothing_is_left(folder)

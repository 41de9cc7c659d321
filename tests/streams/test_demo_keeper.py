"""The keeper: whatever becomes of whoever started it, nothing is left."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from streams.demo import keeper

SLEEPER = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"


def hire(folder: Path, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", keeper.__file__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
    )


def start(process: subprocess.Popen[bytes], folder: Path, code: str = SLEEPER, name: str = "sleeper") -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    order = {
        "name": name,
        "arguments": [sys.executable, "-c", code],
        "environment": dict(os.environ),
        "log": str(folder / f"{name}.log"),
    }
    process.stdin.write(json.dumps(order).encode() + b"\n")
    process.stdin.flush()
    told = json.loads(process.stdout.readline())
    assert told["name"] == name
    return int(told["pid"])


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # Where nobody collects orphans, as in a container without an init, a dead one keeps its number.
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return sys.platform != "linux"


def close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "household"
    folder.mkdir()
    return folder


def test_closing_its_input_ends_everything(folder: Path) -> None:
    process = hire(folder)
    pids = [start(process, folder, name=f"sleeper-{number}") for number in range(3)]
    assert all(is_running(pid) for pid in pids)
    close(process)
    assert not any(is_running(pid) for pid in pids)
    assert not folder.exists()


def test_it_reports_a_process_that_ends_by_itself(folder: Path) -> None:
    process = hire(folder)
    start(process, folder, "import sys; print('last words'); sys.exit(70)")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {"name": "sleeper", "status": 70}
    assert (folder / "sleeper.log").read_text() == "last words\n"
    close(process)


def test_a_process_that_does_not_listen_is_killed(folder: Path) -> None:
    code = Path(keeper.__file__).read_text().replace("STOP_SECONDS = 8.0", "STOP_SECONDS = 0.2")
    script = folder.parent / "impatient.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, "-I", str(script), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    pid = start(process, folder, STUBBORN)
    while not (folder / "sleeper.log").read_text():
        time.sleep(0.01)
    close(process)
    assert not is_running(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_signal_but_the_end_of_its_input_moves_it(folder: Path, number: signal.Signals) -> None:
    process = hire(folder)
    pid = start(process, folder)
    process.send_signal(number)
    time.sleep(0.1)
    assert process.poll() is None
    assert is_running(pid)
    close(process)
    assert not is_running(pid)


def test_kill_dash_nine_of_its_owner_leaves_nothing(folder: Path) -> None:
    """An owner starts a keeper and a sleeper, and is killed."""
    code = f"""
import json, os, subprocess, sys, time
keeper = subprocess.Popen([sys.executable, "-I", {keeper.__file__!r}, {str(folder)!r}],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
order = {{"name": "s", "arguments": [sys.executable, "-c", {SLEEPER!r}], "environment": dict(os.environ),
    "log": {str(folder / "s.log")!r}}}
keeper.stdin.write(json.dumps(order).encode() + b"\\n")
keeper.stdin.flush()
print(keeper.pid, json.loads(keeper.stdout.readline())["pid"], flush=True)
time.sleep(600)
"""
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(pids) == 2
    owner.kill()
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not folder.exists()

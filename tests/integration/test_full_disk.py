"""RUNBOOK.md, "The disk is full": the worker ends and says so, and nothing is lost."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from streams.config import Settings
from streams.topics import Topics
from tests.integration import load
from tests.integration.workers import WorkerProcess, worker

NEXT = "see whether the disk of SEAWALL_DATA_DIR is full or broken, then restart"


@pytest.fixture
def small(settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a worker on a disk of 24 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"needs to mount a small disk: {mounted.stderr.strip()}")
    try:
        yield settings.model_copy(update={"data_dir": disk})
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(settings: Settings) -> Path:
    """Leave no room on the disk; return what takes it."""
    ballast = settings.data_dir / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast


def last_line(process: WorkerProcess) -> str:
    assert process.process.wait(60) == 70, process.output
    assert "Traceback" not in process.output
    return process.output.splitlines()[-1].strip('"')


def test_a_disk_that_fills_up_ends_the_worker_and_room_is_all_it_needs(
    small: Settings, topics: Topics, tmp_path: Path
) -> None:
    async def send(seed: int, rounds: int) -> None:
        await load.send(small, seed, rounds=rounds, pause=0.2)

    asyncio.run(load.prepare(small))
    with worker(small, tmp_path) as process:
        asyncio.run(send(1, 5))
        ballast = fill(small)
        asyncio.run(send(2, 10))
        line = last_line(process)
        assert " stopped doing=" in line
        assert line.endswith(f'next="{NEXT}')

        process.start()
        assert last_line(process).endswith(NEXT), process.output

        ballast.unlink()
        process.start()
        process.wait_ready()
        asyncio.run(load.wait_until_decided(small, topics.partitions, 60))
        assert process.stop() == 0, process.output
    verdict = asyncio.run(load.judge(small, topics))
    assert verdict.decisions > 0


def test_a_worker_that_finds_no_room_at_its_first_start_says_so(
    small: Settings, topics: Topics, tmp_path: Path
) -> None:
    assert topics.partitions > 1
    fill(small)
    process = WorkerProcess(small, tmp_path)
    process.start()
    assert last_line(process).endswith(NEXT), process.output

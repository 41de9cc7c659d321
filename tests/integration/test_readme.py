"""The README's commands do what the README says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from streams.config import Settings
from streams.starter import admit_everybody
from streams.topics import Topics
from tests.integration.workers import environment_of
from tests.integration.workers import worker as running_worker

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def commands(heading: str) -> list[tuple[str, str]]:
    """Return each command of the first console block below a heading, with the output it promises."""
    block = re.search(rf"^## {heading}$.*?```console\n(.*?)```", README, re.DOTALL | re.MULTILINE)
    assert block is not None
    found = [part.partition("\n") for part in re.split(r"^\$ ", block[1], flags=re.MULTILINE) if part]
    return [(command, output.strip()) for command, _, output in found]


def test_from_a_script(settings: Settings, topics: Topics, tmp_path: Path) -> None:
    del topics
    section = README.partition("## From a script or a notebook")[2]
    program, promised = re.findall(r"```(?:python|text)\n(.*?)```", section, re.DOTALL)[:2]
    asyncio.run(admit_everybody(settings, "USD", event_time=1))
    with running_worker(settings, tmp_path):
        ran = subprocess.run(
            [sys.executable, "-c", program],
            env=environment_of(settings),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, promised, "")


def test_your_own_broker(settings: Settings, tmp_path: Path) -> None:
    environment = environment_of(settings)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    worker: subprocess.Popen[bytes] | None = None
    found = commands("Your own broker")
    assert len(found) >= 6
    try:
        for command, promised in found:
            if command.endswith(" &"):
                with (tmp_path / "worker.log").open("wb") as log:
                    worker = subprocess.Popen(
                        command.removesuffix(" &").split(), env=environment, stdout=log, stderr=log
                    )
                continue
            ran = subprocess.run(
                ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
            assert promised in ran.stdout, f"{command}\n{ran.stdout}{ran.stderr}"
    finally:
        assert worker is not None
        worker.terminate()
        worker.wait(30)
    assert worker.returncode == 0

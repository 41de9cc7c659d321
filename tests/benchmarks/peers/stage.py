"""A peer's process, and what it cost."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.kafka_supply import tail


class Stage:
    """A process that hands records on from one topic to another. A context manager; it leaves nothing behind.

    Args:
        command: What is run.
        folder: Its own, where its output goes too.
    """

    def __init__(self, command: Sequence[str | Path], folder: Path) -> None:
        self._command = command
        self._folder = folder

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Should this process be killed, the pipe closes and the guard ends the stage in its place.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read _; kill -9 "$1"', "guard", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.kill()  # First, because it would kill the number, whoever has it by then.
        self._guard.communicate()
        self._process.kill()
        self._process.wait()

    @property
    def _log(self) -> Path:
        return self._folder / "stage.log"

    @property
    def log(self) -> str:
        """The last lines that it wrote."""
        return tail(self._log.read_text(errors="replace"), 8)

    def alive(self) -> bool:
        """Return whether it runs."""
        return self._process.poll() is None

    def pause(self) -> None:
        """Freeze it."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Thaw it."""
        self._process.send_signal(signal.SIGCONT)

    def cpu(self) -> float:
        """Return the CPU seconds that it and its children have used (Linux)."""
        return _cpu(self._process.pid) / os.sysconf("SC_CLK_TCK")


def _cpu(process: int) -> int:
    """Return clock ticks: user's and system's, its own and those of children that have ended, and of those alive."""
    place = Path("/proc", str(process))
    ticks = 0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        fields = (place / "stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
        for children in place.glob("task/*/children"):
            ticks += sum(map(_cpu, map(int, children.read_text().split())))
    return ticks

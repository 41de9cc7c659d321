"""Measuring, and showing what was measured."""

import gc
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

MEGABYTE = 1e6


@dataclass
class Table:
    """One benchmark's result: what a row is comes first, the unit of a figure stands in its column's name."""

    name: str
    title: str
    how: str
    """How it was measured, in a sentence or two."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    profile: str = ""
    """Where the time goes, if that was asked for."""
    data: dict[str, Any] = field(default_factory=dict)
    """What plots are drawn from, if that is more than the rows."""

    def show(self, console: Console) -> None:
        """Print it."""
        shown = RichTable(title=self.title, title_justify="left", title_style="bold")
        for number, column in enumerate(self.rows[0]):
            shown.add_column(column, justify="right" if number else "left")
        for row in self.rows:
            shown.add_row(*(_text(value) for value in row.values()))
        console.print(shown)
        console.print(self.how, style="dim", highlight=False)
        if self.profile:
            console.print(self.profile, markup=False, highlight=False)

    def as_json(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return {
            "title": self.title,
            "how": self.how,
            "rows": self.rows,
            "profile": self.profile,
            "data": self.data,
        }


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}" if value >= 1 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def say(line: str) -> None:
    """Tell how far a long benchmark has come."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201  # a command


def peak() -> float:
    """Return the most that this process ever held in memory, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


def microseconds(work: Callable[[Any], object], items: Iterable[Any]) -> float:
    """Return the CPU time of this thread that `work` takes for one of the items, us."""
    items = list(items)
    gc.collect()
    started = time.thread_time()
    for item in items:
        work(item)
    return (time.thread_time() - started) / len(items) * 1e6


def size(folder: Path) -> float:
    """Return what a folder takes on the disk, MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MEGABYTE


def machine(packages: Sequence[str] = ("aiokafka", "faust-streaming", "pydantic", "rocksdict")) -> dict[str, Any]:
    """Return what the figures were obtained on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MEGABYTE
    return {
        "cores": os.cpu_count(),
        "memory_mb": round(memory),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }

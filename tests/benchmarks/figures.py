"""Measuring, and showing what was measured."""

import gc
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table as RichTable

from tests.kafka_supply import KAFKA_VERSION

MEGABYTE = 1e6
TRIAL: Final = 0.1
"""A smaller scale only tries a benchmark out: the points that take longest are left out."""


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
    """What plots and targets are made of: `quantiles` by name (pairs of quantile and ms), `curves`, `figures`."""
    failed: str = ""
    """Why there are no figures, where there are none."""

    def show(self, console: Console) -> None:
        """Print it."""
        if self.failed:
            console.print(f"{self.title}: FAILED\n{self.failed}", markup=False, highlight=False)
            return
        shown = RichTable(title=self.title, title_justify="left", title_style="bold")
        for number, column in enumerate(columns(self.rows)):
            shown.add_column(column, justify="right" if number else "left")
        for cells in cells_of(self.rows):
            shown.add_row(*cells)
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
            "failed": self.failed,
        }


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of all columns; a row may lack some."""
    return list(dict.fromkeys(name for row in rows for name in row))


def cells_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield the text of each row's cells."""
    names = columns(rows)
    for row in rows:
        yield [text_of(row.get(name)) for name in names]


def text_of(value: object) -> str:
    """Return a figure as a person reads it: three digits that count."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def say(line: str) -> None:
    """Tell how far a long benchmark has come."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201  # a command


def peak() -> float:
    """Return the most that this process ever held in memory, MB.

    From /proc where there is one: what `getrusage` says of a new process begins with what its parent held.
    """
    status = Path("/proc/self/status")
    if status.exists():
        [kilobytes] = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(kilobytes) * 1024 / MEGABYTE
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


QUANTILES: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0)


def quantiles_of(values: Iterable[float]) -> list[tuple[float, float]]:
    """Return the quantiles of a latency distribution, for `Table.data`: of so many values so many are below."""
    ordered = sorted(values)
    return [(share, ordered[max(0, math.ceil(share * len(ordered)) - 1)]) for share in QUANTILES]


def at(quantiles: Iterable[Sequence[float]], share: float) -> float:
    """Return one of the quantiles that `quantiles_of` returned."""
    return next(value for each, value in quantiles if each == share)


def machine(packages: Sequence[str] = ("aiokafka", "faust-streaming", "pydantic", "rocksdict")) -> dict[str, Any]:
    """Return what the figures were obtained on, and when."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MEGABYTE
    return {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "memory_mb": round(memory),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "kafka": KAFKA_VERSION,
        **{package: version(package) for package in packages},
    }

"""Decisions that an audit reproduces per second and core: the figures of `python -m tests.benchmarks.audit`."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.figures import Table, say

NAME: Final = "audit"
DECISIONS: Final = 20_000
"""Of each partition."""
FEWEST: Final = 500
PARTITIONS: Final = 2
MODES: Final = {"decide": "everything is decided again", "fold": "chains verified, nothing decided, as before --from"}
RESULT: Final = re.compile(
    r"clean=(?P<clean>\w+) (?P<decisions>\d+) decisions in [\d.]+ s; CPU per decision (?P<cpu>[\d.]+) us: "
    r"(?P<rate>\d+) per second and core; peak (?P<peak>[\d.]+) MiB"
)
PARTS: Final = re.compile(r"partition 0: of it, us: (.*)")


def measure(scale: float) -> Table:
    """Audit one log in each mode, a process for each partition."""
    decisions = max(FEWEST, round(DECISIONS * scale))
    told = "; ".join(f"{mode}: {what}" for mode, what in MODES.items())
    table = Table(
        NAME,
        "Audit, per core",
        f"{PARTITIONS} partitions with {decisions:,} decisions each, of 50 accounts and five symbols; a mark before"
        " each intent, a fill after every fourth. From files, a process for each partition, with every check"
        f" that an audit has; CPU time of whole processes, imports not counted. {told}.",
    )
    with tempfile.TemporaryDirectory(prefix="seawall-bench-") as folder:
        for mode in MODES:
            table.rows.append({"mode": mode} | _audited(Path(folder, "log"), mode, decisions, table))
            say(str(table.rows[-1]))
    table.data["figures"] = {"decisions per second and core": table.rows[0]["per second and core"]}
    return table


def _audited(folder: Path, mode: str, decisions: int, table: Table) -> dict[str, Any]:
    options = (
        "--decisions",
        str(decisions),
        "--partitions",
        str(PARTITIONS),
        "--mode",
        mode,
        "--folder",
        str(folder),
    )
    command = [sys.executable, "-m", "tests.benchmarks.audit", *options]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = [each.groupdict() for each in RESULT.finditer(output)]
    assert len(found) == PARTITIONS, output
    assert all(each["clean"] == "True" for each in found), output
    if mode == "decide" and (parts := PARTS.search(output)):
        table.how += f" Of the CPU time of a decision in mode decide, us: {parts[1]}."
    cpu = sum(float(each["cpu"]) for each in found) / len(found)
    return {
        "decisions": sum(int(each["decisions"]) for each in found),
        "per second and core": sum(int(each["rate"]) for each in found) / len(found),
        "CPU us each": cpu,
        "peak MiB": max(float(each["peak"]) for each in found),
    }

"""`python -m tests.benchmarks`: measure, print tables, and write figures, plots and pages.

A whole run at scale 1 writes docs/benchmarks and the table in README.md. Each benchmark stands alone: one that fails
is reported as failed, the others go on, and the status is 1.
"""

import argparse
import logging
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console

from streams.operations import spare_state
from tests.benchmarks import (
    answers,
    auditing,
    backlog,
    backpressure,
    client,
    correlation,
    decisions,
    latency,
    memory,
    page,
    peers,
    restart,
    stage,
    sweeps,
)
from tests.benchmarks.figures import Table, machine, say
from tests.benchmarks.targets import judged

WIDTH: Final = 118
"""Of a line where there is no terminal."""
QUICK: Final = 0.02
BENCHMARKS: Final[Mapping[str, Callable[[float], Table]]] = {
    # In process first; then a broker that grows warm; latencies when it is.
    answers.NAME: answers.measure,
    decisions.NAME: decisions.measure,
    correlation.NAME: correlation.measure,
    sweeps.NAME: sweeps.measure,
    auditing.NAME: auditing.measure,
    memory.NAME: memory.measure,
    backlog.NAME: backlog.measure,
    "workers": backlog.measure_workers,
    "partitions": backlog.measure_partitions,
    "batches": backlog.measure_batches,
    client.NAME: client.measure,
    latency.NAME: latency.measure,
    backpressure.NAME: backpressure.measure,
    restart.NAME: restart.measure,
    peers.NAME: peers.measure,
}
NOT_QUICK: Final = (peers.NAME,)
"""What fetches packages, which is not quick the first time."""
ROOT: Final = Path(__file__).parents[2]


def main() -> int:
    """Run the benchmarks that were asked for. Return the exit status: 1 where one failed."""
    options = _options()
    if options.write_docs:
        page.write(ROOT, orjson.loads((options.json or ROOT / page.FIGURES).read_bytes()))
        return 0
    signal.signal(signal.SIGTERM, _stop)
    spare_state()  # as a worker does
    logging.disable(logging.WARNING)  # Clients tell of every retry while a broker makes its topics.
    scale = QUICK if options.quick else options.scale
    names = options.only or [name for name in BENCHMARKS if not (options.quick and name in NOT_QUICK)]
    whole = scale == 1.0 and not options.only
    file: Path | None = options.json or (ROOT / page.FIGURES if whole else None)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    obtained_on = machine()
    console.print(", ".join(f"{name} {value}" for name, value in obtained_on.items()), highlight=False)

    figures: dict[str, Any] = {"machine": obtained_on, "scale": scale, "tables": {}}
    if options.add and file is not None and file.exists():
        figures["tables"] = orjson.loads(file.read_bytes())["tables"]
    failed = []
    try:
        for name in names:
            console.print()
            table = _run(name, scale, profile=options.profile)
            table.show(console)
            figures["tables"][name] = table.as_json() | _circumstances(scale, table)
            failed += [name] if table.failed else []
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    finally:
        stage.stop_broker()
    console.print()
    _show_targets(console, figures)
    if whole:
        page.write(ROOT, figures)
    if failed:
        console.print(f"FAILED: {', '.join(failed)}", markup=False, highlight=False)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="run this one; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"where figures go; a whole run: {page.FIGURES}")
    parser.add_argument("--add", action="store_true", help="keep the other benchmarks' figures that the file has")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="measure with so much of every number, to try it out"
    )
    parser.add_argument("--quick", action="store_true", help=f"the same as --scale {QUICK}, without the peers")
    parser.add_argument("--profile", action="store_true", help="show where a decision's time goes")
    parser.add_argument(
        "--write-docs", action="store_true", help="measure nothing: write pages and plots from the figures there are"
    )
    return parser.parse_args()


def _run(name: str, scale: float, *, profile: bool) -> Table:
    measure = BENCHMARKS[name]
    if profile and name == decisions.NAME:
        measure = partial(decisions.measure, profile=True)
    say(f"{name} ...")
    began = time.monotonic()
    try:
        table = measure(scale)
    except Exception:  # noqa: BLE001  # whatever it is, the other benchmarks go on
        table = Table(name, name, "", failed=traceback.format_exc(limit=-6))
    table.data["seconds"] = time.monotonic() - began
    say(f"{name}: {table.data['seconds']:.0f} s")
    return table


def _circumstances(scale: float, table: Table) -> dict[str, Any]:
    return {"scale": scale, "seconds": table.data.pop("seconds"), "commit": _commit()}


def _commit() -> str | None:
    """Return what of the program was measured; None outside of a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return found.stdout.strip() or None


def _show_targets(console: Console, figures: Mapping[str, Any]) -> None:
    rows = [each._asdict() for each in judged(figures["tables"]) if each.benchmark in figures["tables"]]
    if rows:
        Table("targets", "Targets", "", rows=rows).show(console)


def _stop(*_: object) -> None:
    sys.exit(143)  # so that what was started is ended on the way out


if __name__ == "__main__":
    sys.exit(main())

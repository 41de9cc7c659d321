"""`python -m tests.benchmarks`: measure, print tables, and write them to a file if asked to."""

import argparse
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import orjson
from rich.console import Console

from tests.benchmarks import decisions, memory, restart
from tests.benchmarks.figures import Table, machine

WIDTH = 118
"""Of a line where there is no terminal."""
NAMES = (decisions.NAME, memory.NAME, restart.NAME)


def main() -> None:
    """Run the benchmarks that were asked for, the quick ones first."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", choices=NAMES, action="append", help="run this one; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="measure with so much of every number, to try it out"
    )
    parser.add_argument("--profile", action="store_true", help="show where a decision's time goes")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # Clients tell of every retry while a broker makes its topics.
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    obtained_on = machine()
    console.print(", ".join(f"{name} {value}" for name, value in obtained_on.items()), highlight=False)
    measures: dict[str, Callable[[float], Table]] = {
        decisions.NAME: partial(decisions.measure, profile=options.profile),
        memory.NAME: memory.measure,
        restart.NAME: restart.measure,
    }
    tables = []
    for name in options.only or NAMES:
        console.print()
        tables.append(measures[name](options.scale))
        tables[-1].show(console)
        if options.json is not None:
            figures = {"machine": obtained_on, "scale": options.scale}
            figures |= {table.name: table.as_json() for table in tables}
            options.json.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2))


main()

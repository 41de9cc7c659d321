"""`python -m tests.benchmarks.peers`: measure the peers alone, and print their table."""

import argparse
import logging
from pathlib import Path

import orjson
from rich.console import Console

from tests.benchmarks.peers import measure

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="below 0.5 only the most important ones")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    table = measure(options.scale)
    table.show(Console(width=160))
    if options.json is not None:
        options.json.write_bytes(orjson.dumps(table.as_json(), option=orjson.OPT_INDENT_2))

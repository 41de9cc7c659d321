"""`python -m tests.oracle --cases 100000`: play random worlds until so many intents were decided by both."""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys

from tests.oracle.harness import Run, play
from tests.oracle.known import KNOWN

BATCH = 200
"""Worlds between two lines of progress."""


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201  # a command


def one(seed: str) -> Run:
    """Play one world."""
    run = Run()
    play(seed, run)
    return run


def main() -> int:
    """Print what came of it; 1 where the two disagree in what is not known."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="intents to decide")
    parser.add_argument("--seed", default=None, help="of the first world; chosen and printed unless given")
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    given = parser.parse_args()
    seed = given.seed or str(random.randrange(10**9))
    say(f"seed {seed}")
    total = Run()
    played = 0
    with multiprocessing.Pool(given.processes) as pool:
        while total.decisions < given.cases:
            seeds = [f"{seed}/{number}" for number in range(played, played + BATCH)]
            played += BATCH
            for run in pool.imap(one, seeds):
                total.add(run)
                for found in run.disagreements:
                    say(f"world {found.seed}, after {len(found.records)} records: " + "; ".join(found.lines))
            say(f"{total.decisions} decisions, {len(total.disagreements)} disagreements")
    say(f"{total.decisions} decisions and {total.halts} halts, {len(total.disagreements)} disagreements")
    for known in KNOWN:
        say(f"  known, {total.known[known.name]} times: {known.why}")
    return 1 if total.disagreements else 0


if __name__ == "__main__":
    sys.exit(main())

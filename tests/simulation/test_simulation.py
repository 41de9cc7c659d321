"""Seeded runs of the commit protocol, of recovery and of opening, on every core.

A failure names its seeds. `SEAWALL_TEST_SEED=17 make unit ARGS=tests/simulation/test_simulation.py` runs that one
alone, in this process; `SEAWALL_TEST_SEEDS=100000` runs so many.
"""

import os
from typing import Final

import pytest

from tests.simulation.checks import Outcome, check_seed, run_everywhere
from tests.simulation.faults import CRASHES

SEEDS: Final = int(os.environ.get("SEAWALL_TEST_SEEDS", "2000"))
ONE_SEED: Final = os.environ.get("SEAWALL_TEST_SEED")
SHOWN: Final = 20

FAULTS: Final = (
    *(f"crash {where}" for where in CRASHES),
    "a batch fails",
    "a checkpoint is saved while opening",
    "a command is not signed as it should be",
    "a command is signed as it should be",
    "a dead letter is published",
    "a disk is given up: another version was here",
    "a disk is given up: it is behind, and much has happened since",
    "a disk is lost",
    "a disk of another log",
    "a disk of another log is noticed",
    "a halt is published",
    "a hole ends the worker",
    "a kill switch changes",
    "a message is sent again",
    "a power failure takes the last writes",
    "a transaction is aborted",
    "a transaction stands, and its producer is told that it failed",
    "a worker is given the partition again",
    "a worker is gone while it saves in opening",
    "a worker is killed in the middle of something",
    "a worker that was replaced tries to write",
    "an account changes its profile",
    "another version writes checkpoints",
    "checkpoints are compacted",
    "keys are replaced",
    "limits change",
    "opened from beginning",
    "opened from checkpoints",
    "opened from disk",
    "records are delivered again",
    "the end of reference lags",
    "the partition is let go in peace",
    "the partition moves while its owner lives on",
    "topics overtake each other",
)

many = pytest.mark.skipif(ONE_SEED is not None, reason="SEAWALL_TEST_SEED asks for one seed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(max(600, SEEDS))]


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """All runs, judged."""
    return run_everywhere(range(SEEDS))


@many
def test_any_run_leaves_a_true_log(outcome: Outcome) -> None:
    """Whatever crashes, is replaced or is lost: one decision per intent, one halt per change, and the same state."""
    failures = [f"seed {seed}: {text}" for seed, text in sorted(outcome.failures.items())]
    if failures:
        again = f"SEAWALL_TEST_SEED={min(outcome.failures)} make unit ARGS=tests/simulation/test_simulation.py"
        pytest.fail("\n".join([f"{len(failures)} of {SEEDS} seeds fail; {again}", *failures[:SHOWN]]), pytrace=False)


@many
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_happens(outcome: Outcome, fault: str) -> None:
    """A simulation in which nothing goes wrong proves nothing."""
    times = outcome.happened[fault]
    assert times >= max(1, SEEDS // 200), f"{fault}: {times} times in {SEEDS} runs"


@pytest.mark.skipif(ONE_SEED is None, reason="SEAWALL_TEST_SEED names no seed")
def test_one_seed() -> None:
    """One run in this process, for whoever looks for a defect."""
    check_seed(int(ONE_SEED or 0))

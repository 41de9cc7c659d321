"""The simulation can fail: every defect put in on purpose is caught within a bounded number of seeds."""

import pytest

from tests.simulation.checks import run_seeds
from tests.simulation.mutations import MUTATIONS, Mutation

SEEDS_MAX = 300
"""A defect that fewer seeds than this do not show counts as missed; the suite runs several times as many."""


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name.replace(" ", "-"))
def test_a_defect_is_caught(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.apply(monkeypatch)
    for seed in range(SEEDS_MAX):
        failures = run_seeds([seed]).failures
        if failures:
            print(f"{mutation.name}: caught by seed {seed}, {failures[seed]}")  # noqa: T201  # pytest -rP shows it
            return
    pytest.fail(f"{SEEDS_MAX} seeds have passed with this defect: {mutation.name}")

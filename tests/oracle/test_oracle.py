"""The product and the checker answer alike; `make oracle` asks 100,000 times."""

from __future__ import annotations

import pytest

from tests.oracle import rulebook
from tests.oracle.harness import Run, play
from tests.oracle.history import digest_of
from tests.oracle.known import KNOWN

CASES = 400
"""Decisions of one seed; together with the seeds below some two thousand."""


def played(seed: str, cases: int) -> Run:
    """Play worlds until so many intents were decided."""
    run, number = Run(), 0
    while run.decisions < cases and not run.disagreements:
        play(f"{seed}/{number}", run)
        number += 1
    return run


@pytest.mark.parametrize("seed", ["amber", "birch", "coral", "delta", "ember"])
def test_both_answer_alike(seed: str) -> None:
    run = played(seed, CASES)
    print(f"seed {seed}: {run.decisions} decisions, {run.halts} halts, known {dict(run.known)}")  # noqa: T201  # the seed is the point
    assert not run.disagreements, (run.disagreements[0].seed, run.disagreements[0].lines)
    assert run.seen["APPROVED"] > CASES // 20
    assert run.halts > 0


def test_the_worlds_reach_every_check() -> None:
    run = played("reach", 2 * CASES)
    seldom = {11, 13, 14, 15, 29, 30, 31}
    elsewhere = {1, 48, 49, 50, 51}
    """MALFORMED and the models are no part of this."""
    assert {n for n in range(1, 53) if not run.seen[str(n)]} <= seldom | elsewhere


@pytest.mark.parametrize(
    ("limit", "other"),
    [("position_critical", "0.31"), ("entry_max", "0.101"), ("collar_away", "0.06"), ("drawdown_halt", "0.11")],
)
def test_a_wrong_limit_is_found(limit: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rulebook.DEFAULTS, limit, other)
    assert played("wrong", 5 * CASES).disagreements


def test_digests_are_of_the_canonical_form() -> None:
    intent = {
        "intent_id": "i",
        "account": "A",
        "strategy": "s",
        "symbol": "X",
        "side": "BUY",
        "quantity": "1.50",
        "order_type": "MARKET",
        "event_time": 0,
    }
    assert digest_of(intent) == digest_of(intent | {"quantity": "1.5", "expires_at": 300 * 10**9, "trades": None})
    assert digest_of(intent) != digest_of(intent | {"replaces": "j"})


def test_what_is_known_is_told_apart() -> None:
    names = [known.name for known in KNOWN]
    assert len(set(names)) == len(names)
    assert all(known.why for known in KNOWN)

"""Same inputs, same bytes: in this process, in a fresh one, under another hash seed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from models.decisions import DecisionStatus
from tests.models.world import World


def history() -> list[str]:
    """Return the digests of decisions and halts in a world of many symbols, strategies and reasons."""
    world = World(equity="112000", cash="60000", limits={"daily_loss_halt": "0.5", "high_water_halt": "0.3"})
    symbols = [f"S{number}" for number in range(12)]
    for number, symbol in enumerate(symbols):
        world.instrument(symbol, f"sector {number % 3}", moves_like=f"theme {number % 4}")
        world.hold(symbol, (number % 5 - 2) * 20 or 10, strategy=f"strategy {number % 3}")
        world.mark(symbol)
    for number, symbol in enumerate(symbols):
        world.submit(symbol, "BUY" if number % 2 else "SELL", str(15 * number) if number else None, allow_resize=True)
        world.submit(symbol, order_type="MARKET", quantity="40", atr="2")
        world.fill(symbol, "SELL", "7", intent_id=f"i{number}")
    world.tick("99000")
    for symbol in symbols:
        world.submit(symbol, "SELL", "25")
    assert {decision.status for decision in world.decisions} == set(DecisionStatus)
    assert len({reason for decision in world.decisions for reason in decision.reasons}) >= 3
    assert world.halts
    return [*(decision.digest for decision in world.decisions), *(halt.digest for halt in world.halts)]


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_decisions_are_the_same_bytes_under_another_hash_seed(seed: str) -> None:
    script = "from tests.models.test_purity import history; print('\\n'.join(history()))"
    fresh = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert fresh.stdout.split() == history()


def test_asking_changes_nothing() -> None:
    """`decide` is pure: asked twice it gives the same bytes, and the state is as before."""
    world = World()
    world.mark("S")
    world.wait()
    intent = world.intent("S", quantity="10")
    answers = {world.state.decide(intent, offset=0, time=world.now, raw_digest=lambda: "").digest for _ in range(3)}
    assert len(answers) == 1

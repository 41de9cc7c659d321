"""Seeded runs of the commit protocol and of recovery. A failure names its seed: `-k seed-17` runs it again."""

import asyncio
from typing import Any, NoReturn

import orjson
import pytest

from models.state import State
from streams import partition, recovery
from streams.codec import Codec
from streams.records import Topic
from streams.replica import Replica, SharedReplica
from streams.tables import changed_rows
from tests.judge import check_dead_letters, check_decisions, check_halts
from tests.simulation.world import ACCOUNTS, World

SEEDS = range(300)
STEPS = 60


def _no_fallback(event: str, **fields: object) -> None:
    raise AssertionError(f"{event}: {fields}")


def _no_exit(doing: str, error: BaseException | str) -> NoReturn:
    raise AssertionError(f"{doing}: {error}") from (error if isinstance(error, BaseException) else None)


def fresh_state(world: World) -> tuple[dict[str, dict[str, Any]], Any]:
    """Return the rows that a fold of the whole log gives, and what it says of the partition."""
    log = world.log.records()
    shared = SharedReplica(Codec(1))
    replica = Replica(0, Codec(1), State(shared.shared))
    for topic in (Topic.RISK_DECISIONS, Topic.TRADING_HALTS, Topic.FILLS, Topic.EQUITY_TICKS):
        for record in log[topic]:
            replica.fold(record)
    rows: dict[str, dict[str, Any]] = {"drawdown": {}, "heatmap": {}, "ledger": {}}
    for name in ACCOUNTS:
        account = replica.state.accounts[name]
        for table, state in (("drawdown", account.drawdown), ("heatmap", account.book), ("ledger", account.ledger)):
            for row in changed_rows(table, state, f"{name}\0"):
                if row.value is not None:
                    rows[table][row.key.decode()] = orjson.loads(row.value)
    return rows, replica.state.vector()


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_any_run_leaves_a_true_log(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever crashes, is replaced or is lost: one decision per intent, one halt per change, and the same state."""
    monkeypatch.setattr(partition, "fail_stop", _no_exit)
    monkeypatch.setattr(recovery, "say", _no_fallback)  # A checkpoint that does not fit its log is a defect here.
    world = World(seed)
    asyncio.run(world.run(STEPS))
    log, codec = world.log.records(), Codec(1)
    check_decisions(log, codec, 0)
    check_halts(log, codec, 0)
    check_dead_letters(log, codec, 0)
    assert (world.rows(), world.vector()) == fresh_state(world)


def test_the_faults_happen() -> None:
    """A simulation in which nothing goes wrong proves nothing."""

    async def events() -> list[str]:
        found: list[str] = []
        for seed in range(30):
            world = World(seed)
            await world.run(STEPS)
            found += world.events
        return found

    assert set(asyncio.run(events())) >= {"Crash", "FencedError", "Crash while opening"}


def test_commands_are_signed_rightly_and_wrongly() -> None:
    """And keys are replaced; otherwise the runs above would prove nothing of them."""
    found = {"obeyed": 0, "refused": 0, "replaced": 0}
    for seed in range(30):
        world = World(seed)
        asyncio.run(world.run(STEPS))
        shared = SharedReplica(Codec(1))
        replica = Replica(0, Codec(1), State(shared.shared))
        for record in world.log.records()[Topic.EQUITY_TICKS]:
            before = replica.state.operator_keys
            folded = replica.fold(record)
            found["refused"] += folded.unauthorized is not None
            found["obeyed"] += not folded.dead_letters and b'"signature":"' in (record.value or b"")
            found["replaced"] += before is not None and replica.state.operator_keys != before
    assert min(found.values()) > 5, found

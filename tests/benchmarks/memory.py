"""Resident memory of a worker by the number of accounts, and what an account costs that is not in memory.

The figures come from processes of their own: one folds accounts from messages and writes checkpoints as a worker
does, another one opens these databases and serves.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from models.canonical import SECOND_NS
from models.decisions import DecisionStatus
from tests.benchmarks import inputs
from tests.benchmarks.figures import TRIAL, Table, microseconds, peak, say, size
from tests.benchmarks.gate import Gate

NAME: Final = "memory"
ACCOUNTS: Final = (1_000, 20_000, 200_000)
FOLDED: Final = 10_000
"""So many are folded from messages, more than the cache has room for; the others are given their rows."""
PER_CHECKPOINT: Final = 500
"""Accounts that change between two checkpoints: about what one core folds in a second."""
READ: Final = 15_000
"""Accounts asked for once each, more than the cache has room for."""
DECISIONS: Final = 20_000
FEWEST: Final = 1_000
HOT: Final = 500
"""Accounts that nine of ten intents are of."""


def measure(scale: float) -> Table:
    """Measure at each number of accounts."""
    table = Table(
        NAME,
        "Resident memory and the cost of a miss, by the number of accounts",
        f"A process with 4 partitions, without Kafka; each account has {inputs.POSITIONS} positions and marks."
        f" fold: CPU us to fold one of the first {FOLDED:,} accounts from its 21 messages and to save it; the others"
        " have the same rows under other names. build: the most memory that took."
        " hit, miss: CPU us until an account is there that is in the cache, or only in the database. decide: CPU us"
        f" of a decision with its bytes and checkpoint, 9 of 10 intents from {HOT} hot accounts, the rest from any."
        " serve: another process, which misses, hits and decides.",
    )
    for accounts in ACCOUNTS if scale >= TRIAL else ACCOUNTS[:2]:
        count = max(10, round(accounts * scale))
        with tempfile.TemporaryDirectory(prefix="seawall-bench-") as folder:
            built = _process("build", folder, count)
            served = _process("serve", folder, count, max(FEWEST, round(DECISIONS * min(1.0, 5 * scale))))
        table.rows.append({"accounts": count} | built | served)
        say(str(table.rows[-1]))
    return table


def _process(task: str, folder: str, *numbers: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.memory", task, folder, *map(str, numbers)]
    figures: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return figures


def build(folder: Path, accounts: int) -> dict[str, Any]:
    """Fold accounts from messages, and write the rows of the others."""
    gate = Gate(folder)
    names = _names(accounts)
    folded, others = names[:FOLDED], names[FOLDED:]
    started = time.process_time()
    for first in range(0, len(folded), PER_CHECKPOINT):
        gate.fill(folded[first : first + PER_CHECKPOINT])
    seconds = time.process_time() - started
    for first in range(0, len(others), PER_CHECKPOINT):
        gate.copy(folded[first // PER_CHECKPOINT], others[first : first + PER_CHECKPOINT])
    gate.close()
    return {"disk MB": size(folder), "fold us": seconds / len(folded) * 1e6, "build peak MB": peak()}


def serve(folder: Path, accounts: int, decisions: int) -> dict[str, Any]:
    """Read accounts at random, then decide for some that are hot and some that are not."""
    gate = Gate(folder)
    chance = random.Random(accounts)
    names = _names(accounts)
    read = chance.sample(names, min(READ, accounts))
    misses, slowest = _misses(gate, read)
    cached = [name for part in gate.parts for name in part.tables._accounts]
    hit = microseconds(lambda name: gate.of(name).tables[name], chance.choices(cached, k=20_000))
    decide, approved = _decide(gate, list(_mixed(names, chance, decisions)))
    figures = {
        "cached": gate.cached,
        "hit us": hit,
        "miss us": misses,
        "miss p99 ms": slowest,
        "decide us": decide,
        "approved %": approved,
        "serve peak MB": peak(),
    }
    gate.close()
    return figures


def _misses(gate: Gate, names: list[str]) -> tuple[float, float]:
    """Return the mean CPU us, and the 99th percentile in ms by the clock, of having an account that is not cached."""
    cpu, clock = 0.0, []
    for number, name in enumerate(names):
        tables = gate.of(name).tables
        started, thread = time.perf_counter(), time.thread_time()
        tables[name]
        cpu += time.thread_time() - thread
        clock.append(time.perf_counter() - started)
        if number % PER_CHECKPOINT == 0:
            for part in gate.parts:
                part.tables.trim(frozenset())
    return cpu / len(names) * 1e6, sorted(clock)[len(clock) * 99 // 100] * 1e3


def _mixed(names: list[str], chance: random.Random, decisions: int) -> Iterator[str]:
    hot = chance.sample(names, min(HOT, len(names)))
    for _ in range(decisions):
        yield chance.choice(hot if chance.random() < 0.9 else names)


def _decide(gate: Gate, names: list[str]) -> tuple[float, float]:
    """Return the CPU us of a decision, checkpoints included, and how many in a hundred approved."""
    approved = 0
    started = time.thread_time()
    for number, name in enumerate(names):
        intent = inputs.intent(name, number, event_time=inputs.NOON + number * SECOND_NS // 200)
        approved += gate.of(name).decide(intent).status is DecisionStatus.APPROVED
        if number % PER_CHECKPOINT == 0:
            gate.save()
    return (time.thread_time() - started) / len(names) * 1e6, 100 * approved / len(names)


def _names(accounts: int) -> list[str]:
    return [f"A-{number:06}" for number in range(accounts)]


if __name__ == "__main__":
    _task, _folder, *_numbers = sys.argv[1:]
    _tasks: dict[str, Callable[..., dict[str, Any]]] = {"build": build, "serve": serve}
    sys.stdout.write(json.dumps(_tasks[_task](Path(_folder), *map(int, _numbers))))

"""Runs worlds through both and tells where they part."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.oracle.history import Wire
from tests.oracle.known import KNOWN
from tests.oracle.oracle import Oracle
from tests.oracle.product import Product, compare_decision, compare_halt
from tests.oracle.worlds import World

STEPS = 90

Record = tuple[str, Wire, int, int]


@dataclass
class Disagreement:
    """Where the two parted, and on what."""

    seed: str
    records: list[Record]
    lines: list[str]


@dataclass
class Run:
    """What came of some worlds."""

    decisions: int = 0
    halts: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)
    disagreements: list[Disagreement] = field(default_factory=list)

    def add(self, other: Run) -> None:
        """Count another run in."""
        self.decisions += other.decisions
        self.halts += other.halts
        self.seen += other.seen
        self.known += other.known
        self.disagreements += other.disagreements


def replay(records: list[Record], run: Run | None = None) -> list[str]:
    """Run given records through both and return the first differences."""
    oracle, product = Oracle(), Product()
    lines: list[str] = []
    for record in records:
        lines = tell(record, oracle, product, run or Run())
        if parts(lines):
            return lines
    return lines


def tell(record: Record, oracle: Oracle, product: Product, run: Run) -> list[str]:
    """Give one record to both and return what differs."""
    topic, body, offset, time = record
    if topic == "order-intents":
        expected, got = oracle.decide(body, time), product.decide(body, offset, time)
        run.decisions += 1
        run.seen.update([expected["status"], *(str(n) for n in expected["reasons"])])
        run.seen.update(f"warning {w}" for w in expected["warnings"])
        run.seen.update(f"{c.outcome} {n}" for n, c in expected["checks"].items())
        lines = compare_decision(expected, got)
        for known in KNOWN if lines else ():
            changed = known.apply(expected, got)
            fewer = compare_decision(changed, got)
            if len(fewer) < len(lines) or fewer != lines:
                expected, lines = changed, fewer
                run.known[known.name] += 1
        if lines:
            return lines
    else:
        history = oracle.history
        {
            "reference": history.add_reference,
            "daily-returns": history.add_return,
            "equity-ticks": history.add_tick,
            "fills": history.add_fill,
        }[topic](body, offset, time)
        product.tell(topic, body, offset, time)
    if topic in ("reference", "daily-returns"):
        return []
    owed, published = oracle.evaluate(body["account"]), product.evaluate(body["account"])
    run.halts += owed is not None
    return compare_halt(owed, published)


def play(seed: str, run: Run, *, steps: int = STEPS) -> None:
    """Play one world until it ends or the two part."""
    oracle, product = Oracle(), Product()
    world = World(seed, oracle)
    records: list[Record] = []
    batch = world.opening()
    for _ in range(steps):
        for record in batch:
            records.append(record)
            lines = tell(record, oracle, product, run)
            if lines:
                run.disagreements.append(Disagreement(seed, list(records), lines))
                if parts(lines):
                    return
        batch = world.step()


LASTING = {
    "status",
    "quantity",
    "opening_quantity",
    "reservation",
    "throttle",
    "clock",
    "seq",
    "intent_digest",
    "halt",
}
"""A difference in any of these makes later ones."""


def parts(lines: list[str]) -> bool:
    """Whether the two go different ways from here."""
    return any(line.split(":")[0].split(" ")[0] in LASTING for line in lines)


def shrunk(records: list[Record]) -> list[Record]:
    """Leave out what the disagreement does not need."""
    wanted = [line.split(":")[0] for line in replay(records)]
    size = max(1, len(records) // 2)
    while size:
        start = 0
        while start < len(records):
            fewer = records[:start] + records[start + size :]
            if fewer and fails_alike(fewer, wanted):
                records = fewer
            else:
                start += size
        size //= 2
    return records


def fails_alike(records: list[Record], wanted: list[str]) -> bool:
    """Whether the records end in a difference of the same kind."""
    try:
        lines = replay(records)
    except (AssertionError, KeyError, ValueError):
        return False
    return [line.split(":")[0] for line in lines] == wanted

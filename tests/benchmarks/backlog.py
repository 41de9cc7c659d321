"""A backlog worked off by real workers: what a decision and a fill cost, by workers, partitions and batches."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from statistics import fmean
from typing import Any, Final, NamedTuple

import orjson

from models.decisions import DecisionStatus
from streams.records import Record, Topic
from tests.benchmarks.figures import TRIAL, Table, say
from tests.benchmarks.inside import Inside
from tests.benchmarks.market import ACCOUNTS, LONG, OPEN_ORDERS, POSITIONS, SYMBOLS, Market, Sent, accounts_at, before
from tests.benchmarks.stage import Look, Site, Stretch, site, stretch

NAME: Final = "backlog"
INTENTS: Final = 200_000
FILLS: Final = 300_000
SWEPT: Final = 60_000
"""Intents of each point of a sweep."""
PARTITIONS: Final = (1, 8, 64)
WORKERS: Final = (1, 2)
BATCHES: Final = (1, 10, 100, 1_000)
TURNS: Final = 15
"""Decisions of each account in this process, to know what of a decision's cost is `decide`; the last third counts."""
SETTLED: Final = 1.0
FEWEST: Final = 2_000


class Worked(NamedTuple):
    """A backlog that was worked off."""

    intents: int
    looks: Sequence[Look]
    markers: int
    """Transactions that had decisions."""

    @property
    def middle(self) -> Stretch:
        """The stretch between a tenth and nine tenths, in decisions."""
        found = stretch(self.looks)
        return found._replace(done=found.done * self.intents / (self.intents + self.markers))

    def row(self) -> dict[str, Any]:
        """Return it as a table has it."""
        middle = self.middle
        return {
            "per second": middle.rate,
            "CPU us each": middle.cpu_us,
            "worker, % of a core": middle.worker_load,
            "broker, % of a core": middle.broker_load,
            "in a transaction": self.intents / max(1, self.markers),
        }


def market_of(count: int, accounts: int = ACCOUNTS) -> Market:
    """Return a market that has a backlog of so many intents, in turn of so many accounts, just behind it."""
    return Market(before(time.time_ns(), -(-count // accounts)), accounts=accounts, limits=dict(LONG))


async def decided(here: Site, count: int) -> Worked:
    """Return when so many intents are decided."""
    async with here.ends(Topic.RISK_DECISIONS) as done:
        looks = await here.until(done, count, settled=SETTLED)
    return Worked(count, looks, looks[-1].done - count)


def measure(scale: float) -> Table:
    """Work off a backlog of intents and one of fills."""
    accounts = accounts_at(scale)
    table = Table(
        NAME,
        "Backlogs, one worker process with 4 partitions, exactly once",
        f"Real Kafka, real worker, {accounts:,} accounts with {POSITIONS} positions and about {OPEN_ORDERS} open"
        f" orders each, {SYMBOLS} symbols; the backlog is there before the worker begins, and what counts is the"
        " stretch from a tenth to nine tenths of it. CPU is that of the whole worker process, from /proc. Decisions:"
        " fresh intents that pass every check of the default profile. Fills: executions in the symbols held, written"
        " while the worker was stopped.",
    )
    intents, fills = max(FEWEST, round(INTENTS * scale)), max(2 * FEWEST, round(FILLS * scale))
    worked, decisions = asyncio.run(_intents(intents, accounts))
    statuses, reasons = _summary(decisions)
    approved = 100 * statuses[DecisionStatus.APPROVED] / len(decisions)
    table.rows.append({"what": "decisions", "count": intents} | worked.row() | {"approved %": approved})
    say(f"{table.rows[-1]} {reasons.most_common(3)}")
    found = asyncio.run(_fills(fills, accounts))
    table.rows.append(
        {
            "what": "fills",
            "count": fills,
            "per second": found.rate,
            "CPU us each": found.cpu_us,
            "worker, % of a core": found.worker_load,
            "broker, % of a core": found.broker_load,
        }
    )
    say(str(table.rows[-1]))
    costs = Inside(market_of(TURNS * accounts, accounts)).costs(TURNS * accounts, warm=TURNS * accounts * 2 // 3)
    approvals = [len(each.value or b"") for each in decisions if b'"status":"APPROVED"' in (each.value or b"")]
    table.data["figures"] = {
        "decisions per second": worked.middle.rate,
        "CPU us per decision": worked.middle.cpu_us,
        "decide us": costs["decide"],
        "CPU us outside decide": worked.middle.cpu_us - costs["decide"],
        "encoding and digest us": costs["encode and digest"],
        "bytes of an approval": fmean(approvals) if approvals else None,
        "fills per second": found.rate,
    }
    table.how += (
        f" The same intents in process, CPU us each: {', '.join(f'{name} {us:.1f}' for name, us in costs.items())}."
        f" An approval has {fmean(approvals) if approvals else 0:,.0f} bytes on average."
    )
    return table


async def _intents(count: int, accounts: int) -> tuple[Worked, list[Record]]:
    market = market_of(count, accounts)
    async with site(NAME, market) as here:
        await here.write(Topic.ORDER_INTENTS, market.backlog(count))
        here.launch(1)
        worked = await decided(here, count)
        records: list[Record] = []
        await here.scan(Topic.RISK_DECISIONS, 0, records.append)
        return worked, records


def _summary(decisions: Sequence[Record]) -> tuple[Counter[str], Counter[tuple[str, ...]]]:
    told = [orjson.loads(each.value or b"") for each in decisions]
    return Counter(each["status"] for each in told), Counter(tuple(each["reasons"]) for each in told)


async def _fills(count: int, accounts: int) -> Stretch:
    market = market_of(accounts, accounts)

    folded = [count]

    async def unread() -> int:
        # A worker that is short of a core may answer late; then nothing is known to have changed.
        with suppress(TimeoutError):
            folded[0] = count - await asyncio.to_thread(here.unread, Topic.FILLS)
        return folded[0]

    async with site("fills", market) as here:
        await asyncio.to_thread(here.start)
        with here.frozen():  # a worker that starts folds them before it is ready
            await here.write(Topic.FILLS, _executions(market, count))
        looks = await here.until(unread, count, settled=2 * SETTLED)
        # What is there to be read is known to the worker only when it has fetched.
        begin = looks.index(min(looks, key=lambda look: look.done))
        return stretch(looks[begin:])


def _executions(market: Market, count: int) -> list[Sent]:
    executions = []
    for number in range(count):
        turn, account = divmod(number, len(market.accounts))
        executions.append(market.fill(account, turn, market.begin + turn))
    return executions


# --- sweeps


def measure_workers(scale: float) -> Table:
    """Measure by the number of workers."""
    table = _sweep_table("workers", "Decisions from a backlog, by the number of worker processes, 8 partitions")
    for workers in WORKERS:
        worked = asyncio.run(_point(scale, "workers", partitions=8, workers=workers))
        table.rows.append({"workers": workers} | worked.row())
        say(str(table.rows[-1]))
    return table


def measure_partitions(scale: float) -> Table:
    """Measure by the number of partitions."""
    table = _sweep_table("partitions", "Decisions from a backlog, by the number of partitions, one worker")
    for partitions in PARTITIONS if scale >= TRIAL else PARTITIONS[:2]:
        worked = asyncio.run(_point(scale, "partitions", partitions=partitions))
        table.rows.append({"partitions": partitions} | worked.row())
        say(str(table.rows[-1]))
    return table


def measure_batches(scale: float) -> Table:
    """Measure by the number of decisions that a transaction may have."""
    table = _sweep_table("batches", "Decisions from a backlog, by the most that a transaction may have, one worker")
    for most in BATCHES if scale >= TRIAL else BATCHES[::2]:
        program = ("-m", "tests.benchmarks.batched", str(most))
        # A transaction takes milliseconds: with one decision in each, a few thousand are enough.
        worked = asyncio.run(_point(scale * min(1.0, most / 20), "batches", partitions=4, program=program))
        table.rows.append({"most in a transaction": most} | worked.row())
        say(str(table.rows[-1]))
    curve = [(row["in a transaction"], row["per second"]) for row in table.rows]
    table.data["curves"] = {"seawall, every check": curve}
    return table


def _sweep_table(name: str, title: str) -> Table:
    return Table(
        name,
        title,
        f"As in the benchmark of backlogs, with {SWEPT:,} intents at scale 1 (fewer in small transactions), written"
        " while the workers were stopped.",
    )


async def _point(
    scale: float, name: str, *, partitions: int, workers: int = 1, program: Sequence[str] = ("-m", "streams")
) -> Worked:
    count = max(FEWEST // 2, round(SWEPT * scale))
    market = market_of(count, accounts_at(scale))
    async with site(name, market, partitions=partitions) as here:
        await asyncio.to_thread(here.start, workers, program=program)
        with here.frozen():
            await here.write(Topic.ORDER_INTENTS, market.backlog(count))
        return await decided(here, count)

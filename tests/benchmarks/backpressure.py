"""Many intents waiting at once: the worker's memory meanwhile, and how soon a tick or a fill is known to decisions.

A worker fetches intents only while few wait for a decision; ticks and fills are folded as they come and wait for
nothing but the broker. So memory does not grow with what waits, and what is decided late is decided on what is known
then.
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Sequence
from statistics import median
from typing import Any, Final

import orjson

from streams.publisher import Publisher, delivery
from streams.records import Record, Topic
from tests.benchmarks.backlog import SETTLED, market_of
from tests.benchmarks.figures import Table, at, quantiles_of, say
from tests.benchmarks.market import Market, accounts_at
from tests.benchmarks.stage import Look, Site, site, stretch

NAME: Final = "backpressure"
WAITING: Final = 200_000
"""At scale 1; `--only backpressure --scale 5` is the million."""
FEWEST: Final = 5_000
PARTITIONS: Final = 4
PROBES_SECONDS: Final = 0.25
"""From one tick and fill of each partition to the next."""
SHARES: Final = (0.1, 0.5, 1.0)
PROBED: Final = {"tick": Topic.EQUITY_TICKS, "fill": Topic.FILLS}


def measure(scale: float) -> Table:
    """Work off a backlog while ticks and fills are published."""
    count, accounts = max(FEWEST, round(WAITING * scale)), accounts_at(scale)
    table = Table(
        NAME,
        f"Back-pressure: {count:,} intents waiting",
        f"One worker, {PARTITIONS} partitions, {accounts:,} accounts. Memory: what the worker has in memory at most"
        " until that share is decided (/proc, ten times a second). Known: from the broker's time of a tick or a fill,"
        f" published every {PROBES_SECONDS:g} s to each partition while the backlog is worked off, to that of the"
        " first decision in whose as_of it stands; not known: such as came after the last decision.",
    )
    looks, delays = asyncio.run(_measure(count, accounts))
    first, last = looks[0].done, looks[-1].done
    for share in SHARES:
        until = [look.memory for look in looks if look.done - first <= share * (last - first)]
        table.rows.append({"what": f"memory until {share:.0%} are decided, MB", "figure": max(until)})
    for name, (known, unknown) in delays.items():
        quantiles = quantiles_of(known) if known else []
        table.rows.append(
            {
                "what": f"until a {name} is known, ms",
                "figure": median(known) if known else None,
                "p99": at(quantiles, 0.99) if quantiles else None,
                "published": len(known) + unknown,
                "not known": unknown,
            }
        )
    table.rows.append({"what": "decisions per second meanwhile", "figure": stretch(looks).rate})
    say(str(table.rows))
    table.data["curves"] = {
        "memory MB by decisions": [(look.done - first, look.memory) for look in looks[:: max(1, len(looks) // 200)]]
    }
    table.data["figures"] = {
        "memory grows, 100 % over 10 %": table.rows[2]["figure"] / table.rows[0]["figure"],
        "tick known ms": table.rows[3]["figure"],
        "fill known ms": table.rows[4]["figure"],
        "intents waiting": count,
    }
    return table


Delays = dict[str, tuple[list[float], int]]


async def _measure(count: int, accounts: int) -> tuple[list[Look], Delays]:
    market = market_of(count, accounts)
    async with site(NAME, market, partitions=PARTITIONS) as here:
        await here.write(Topic.ORDER_INTENTS, market.backlog(count))
        here.launch(1)
        await asyncio.to_thread(here.workers[0].wait_ready)
        probing = asyncio.create_task(_probe(here, market))
        try:
            async with here.ends(Topic.RISK_DECISIONS) as done:
                looks = await here.until(done, count, settled=SETTLED)
        finally:
            probing.cancel()
            published = (await asyncio.gather(probing, return_exceptions=True))[0]
        assert isinstance(published, list), published
        return looks, await _delays(here, published)


Published = tuple[str, int, int, int]
"""Tick or fill, partition, offset, the broker's time (ns)."""


async def _probe(here: Site, market: Market) -> list[Published]:
    """Publish ticks and fills of accounts that ask for nothing, until cancelled."""
    published: list[Published] = []
    # A mark of an account with intents waiting would make them stale: time would have passed it by.
    names = {here.codec.partition_of(name := f"probe-{number}"): name for number in range(50 * PARTITIONS)}
    account = market.accounts[0].encode()
    try:
        async with Publisher(here.settings) as publisher:
            for turn in range(1 << 30):
                for name in names.values():
                    for what, sent in (
                        ("tick", market.mark(0, time.time_ns())),
                        ("fill", market.fill(0, turn, time.time_ns())),
                    ):
                        value = sent.value.replace(account, name.encode())
                        topic = PROBED[what]
                        stands = await delivery(topic, await publisher.begin(topic, name.encode(), value))
                        published.append((what, stands.partition, stands.offset, stands.time))
                await asyncio.sleep(PROBES_SECONDS)
    except asyncio.CancelledError:
        pass
    return published


async def _delays(here: Site, published: Sequence[Published]) -> Delays:
    """Return of ticks and fills the ms until each was known, and how many never were."""
    delays: Delays = {}
    known: dict[str, list[list[int]]] = {what: [[] for _ in range(PARTITIONS)] for what in PROBED}
    times: list[list[int]] = [[] for _ in range(PARTITIONS)]

    def note(record: Record) -> None:
        as_of: dict[str, Any] = orjson.loads(record.value or b"")["as_of"]
        times[record.partition].append(record.time)
        known["tick"][record.partition].append(as_of["equity_ticks"])
        known["fill"][record.partition].append(as_of["fills"])

    for partition in range(PARTITIONS):
        await here.scan(Topic.RISK_DECISIONS, partition, note)
    for what in PROBED:
        found, unknown = [], 0
        for _, partition, offset, published_at in (each for each in published if each[0] == what):
            place = bisect_left(known[what][partition], offset)
            if place < len(times[partition]):
                found.append((times[partition][place] - published_at) / 1e6)
            else:
                unknown += 1
        delays[what] = (found, unknown)
    return delays

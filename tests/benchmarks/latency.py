"""From the producer to the read-committed decision while fills and ticks flow, beside a bare loop of aiokafka."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from models.canonical import SECOND_NS
from streams.records import Topic
from tests.benchmarks import drive
from tests.benchmarks.drive import Driver, Send
from tests.benchmarks.figures import Table, at, quantiles_of, say
from tests.benchmarks.market import ACCOUNTS, POSITIONS, SYMBOLS, Market, Sent
from tests.benchmarks.peers.stage import Stage
from tests.benchmarks.stage import Process, Site, delete_topics, site

NAME: Final = "latency"
INTENTS: Final = 1_000
"""A second."""
FILLS_EVERY: Final = 2
"""Intents for one fill."""
TICKS_EVERY: Final = 5
"""Intents for one tick."""
PARTITIONS: Final = 4
SECONDS: Final = 15.0
"""Of each turn; the gate and the loop are measured in turn."""
TURNS: Final = 2
WARM_UP: Final = 10.0
"""A fresh broker and a fresh worker are several times slower."""
LIFETIME: Final = 10 * SECOND_NS
BARE: Final = Path(__file__).parent / "peers" / "bare.py"
SEAWALL: Final = "seawall, every check"
LOOP: Final = "bare aiokafka transactions"


def measure(scale: float) -> Table:
    """Measure the gate and the bare loop in turn."""
    seconds, warm_up = max(1.0, SECONDS * scale), max(2.0, WARM_UP * min(1.0, scale))
    table = Table(
        NAME,
        "Latency in ms, from the producer to the read-committed consumer",
        f"{INTENTS:,} intents, {INTENTS // FILLS_EVERY} fills and {INTENTS // TICKS_EVERY} ticks a second on"
        f" {PARTITIONS} partitions; {ACCOUNTS:,} accounts with {POSITIONS} positions each, {SYMBOLS} symbols with"
        " returns, every check of the default profile. One real worker. The bare loop hands the same intents on in"
        f" transactions, without fills and ticks, and looks at nothing. Both run, and are driven in turn, {TURNS}"
        f" times {seconds:g} s each after a warm-up of {warm_up:g} s. Broker, worker, producer and consumer share the"
        " machine.",
    )
    found = drive.run(_measure(seconds, warm_up))
    quantiles = {name: quantiles_of(values) for name, values in found.latencies.items()}
    for name, values in found.latencies.items():
        row: dict[str, Any] = {"stage": name, "answers": len(values)}
        row |= {f"p{share * 100:g}": at(quantiles[name], share) for share in (0.5, 0.9, 0.99, 0.999)}
        table.rows.append(row | {"% of a core": found.loads[name]})
        say(str(table.rows[-1]))
    ours, bare = quantiles[SEAWALL], quantiles[LOOP]
    table.rows.append(
        {"stage": "ratio", "answers": None}
        | {f"p{share * 100:g}": at(ours, share) / at(bare, share) for share in (0.5, 0.9, 0.99, 0.999)}
    )
    approved = 100 * found.approved / max(1, found.approved + found.rejected)
    table.how += f" {approved:.1f} % of the decisions were approvals."
    table.data = {
        "quantiles": quantiles,
        "figures": {
            "p50 ms": at(ours, 0.5),
            "p99 ms": at(ours, 0.99),
            "p50 of the bare loop, ms": at(bare, 0.5),
            "p99 of the bare loop, ms": at(bare, 0.99),
            "p50 over the bare loop": at(ours, 0.5) / at(bare, 0.5),
            "p99 over the bare loop": at(ours, 0.99) / at(bare, 0.99),
        },
    }
    return table


class _Found:
    """What was measured until now."""

    def __init__(self) -> None:
        self.latencies: dict[str, list[float]] = {SEAWALL: [], LOOP: []}
        self.loads: dict[str, float] = {}
        self.approved = 0
        self.rejected = 0

    def decided(self, record: Any) -> tuple[str, str]:
        """Return what a decision answers, and count it."""
        told = orjson.loads(record.value)
        if told["status"] == "APPROVED":
            self.approved += 1
        else:
            self.rejected += 1
        return told["account"], told["intent_id"]


async def _measure(seconds: float, warm_up: float) -> _Found:
    market = Market(time.time_ns())
    found = _Found()
    async with site(NAME, market, partitions=PARTITIONS) as here:
        here.start()
        bootstrap = here.settings.bootstrap_servers
        source, answers = f"{here.settings.application_id}-source", f"{here.settings.application_id}-answers"
        await drive.create_topics(bootstrap, source, answers, partitions=PARTITIONS)
        gate = Driver(bootstrap, here.names[Topic.RISK_DECISIONS], found.decided)
        bare = Driver(bootstrap, answers, _handed_on)
        command = (sys.executable, BARE, bootstrap, source, answers, f"{source}-loop")
        with Stage(command, here.folder) as loop:

            def used(name: str) -> float:
                return loop.cpu() if name is LOOP else Process.of(here.workers[0].process.pid).cpu

            async with gate, bare:
                sends = {SEAWALL: _flow(here, market), LOOP: _intents(source, market)}
                await bare.wait(sends[LOOP], alive=loop.alive)
                for turn in range(TURNS):
                    for name, driver in ((SEAWALL, gate), (LOOP, bare)):
                        # The flow of the gate has more than intents in it, and the intents have their own rate.
                        rate = INTENTS * (1 + 1 / FILLS_EVERY + 1 / TICKS_EVERY if name is SEAWALL else 1)
                        before, began = used(name), time.monotonic()
                        found.latencies[name] += await driver.latencies(
                            sends[name], rate=rate, seconds=seconds, warm_up=warm_up if turn == 0 else 1.0
                        )
                        found.loads[name] = 100 * (used(name) - before) / (time.monotonic() - began)
        await delete_topics(here.settings, source, answers)
    return found


def _handed_on(record: Any) -> tuple[str, str]:
    told = orjson.loads(record.value)
    return told["account"], told["intent_id"]


def _send(topic: str, sent: Sent, turn: int | None = None) -> Send:
    answered_by = None if turn is None else (sent.account, f"i-{turn}")
    return Send(topic, sent.account.encode(), sent.value, answered_by)


def _flow(here: Site, market: Market) -> Iterator[Send]:
    """Yield intents of all accounts in turn with the fills and ticks between them, each dated when it is taken."""
    accounts = len(market.accounts)
    intents, fills, ticks = (here.names[each] for each in (Topic.ORDER_INTENTS, Topic.FILLS, Topic.EQUITY_TICKS))
    number = 0
    while True:
        turn, account = divmod(number, accounts)
        yield _send(intents, market.intent(account, turn, time.time_ns(), lifetime=LIFETIME), turn)
        if number % FILLS_EVERY == 0:
            # Of the account's order before this one, which was decided by now; before there is one, of none.
            yield _send(fills, market.fill(account, turn - 1 if turn else 0, time.time_ns()))
        if number % TICKS_EVERY == 0:
            yield _send(ticks, market.mark(number // TICKS_EVERY % accounts, time.time_ns()))
        number += 1


def _intents(topic: str, market: Market) -> Iterator[Send]:
    number = 0
    while True:
        turn, account = divmod(number, len(market.accounts))
        yield _send(topic, market.intent(account, turn, time.time_ns(), lifetime=LIFETIME), turn)
        number += 1

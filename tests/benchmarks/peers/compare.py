"""Measures every peer on one broker with one driver."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from tests.benchmarks import inputs
from tests.benchmarks.drive import Driver, Log, Send, SilentError, create_topics, delete_topics, write
from tests.benchmarks.figures import Table, say
from tests.benchmarks.peers import supply
from tests.benchmarks.peers.stage import Stage
from tests.benchmarks.peers.variants import BARE, SWEEP, VARIANTS, Places, Variant
from tests.kafka_supply import NoBrokerError, run

NAME: Final = "peers"
TITLE: Final = "Peers: a stage that hands records on, from Kafka to Kafka"
HOW: Final = (
    "Every stage is a process of its own and hands each record on as it came, on one broker, with one driver and the"
    " same records: order intents of 250 bytes of 1,000 accounts in 4 partitions. p50, p99: from sending to"
    " reading the answer, read-committed, at 1,000 records per second; / bare: divided by the plain loop's, measured"
    " in turn with it. records/s: from a backlog, after its first third, by the broker's clock; CPU us: of"
    " the stage's process for each of these records. What is not named in a configuration is the default, except that"
    " each starts at the beginning of its topic and logs warnings alone."
)
COLUMNS: Final = ("p50 ms", "p99 ms", "p50 / bare", "p99 / bare", "records/s", "rate / bare", "CPU us", "CPU / bare")
PERCENT: Final = (*range(100), 99.5, 99.9, 100)
LEAST_SHARE: Final = 0.25
"""Of a backlog, at the smallest scale."""
WHOLE: Final = 0.5
"""From this scale on every variant is measured."""
FEW: Final = (1, 1_000)
PARTITIONS: Final = 4
ACCOUNTS: Final = 1_000
RATE: Final = 1_000
"""Records per second while latencies are measured."""
ORDERS: Final = 200_000
NAUTILUS_TIMEOUT: Final = 120.0
POLL: Final = 0.1
TURNS: Final = 3
DRAINED: Final = 0.5
"""Seconds without a new answer after which a backlog is done with."""
DRAIN_TIMEOUT: Final = 20.0


class Intents:
    """Order intents of about 250 bytes, each with an id of its own, from one account after the other."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._numbers = itertools.count()
        accounts = [f"A-{number:06}" for number in range(ACCOUNTS)]
        self._texts = [_text(account) for account in accounts]
        self._keys = [account.encode() for account in accounts]
        self._partitions = [(int(murmur2(key)) & 0x7FFFFFFF) % PARTITIONS for key in self._keys]

    def __iter__(self) -> Iterator[Send]:
        """Yield them without end."""
        return (send for _, send in self.placed())

    def placed(self) -> Iterator[tuple[int, Send]]:
        """Yield them without end, each with its partition."""
        for number in self._numbers:
            account = number % ACCOUNTS
            name = f"i-{number:09}"
            value = name.encode().join(self._texts[account])
            yield self._partitions[account], Send(self._topic, self._keys[account], value, name)


def _answered(answer: Any) -> str:
    name: str = orjson.loads(answer.value)["intent_id"]
    return name


def _text(account: str) -> tuple[bytes, bytes]:
    """Return what stands before and after an intent's id."""
    filled = inputs.intent(account, 0, intent_id="?").model_dump(mode="json", exclude_none=True)
    before, _, after = orjson.dumps(filled, option=orjson.OPT_SORT_KEYS).partition(b"?")
    return before, after


class Running:
    """A peer that runs and has answered."""

    def __init__(self, places: Places, stage: Stage) -> None:
        self._places = places
        self._stage = stage
        self._intents = Intents(places.source)

    def _driver(self) -> Driver:
        return Driver(self._places.bootstrap, self._places.answers, _answered)

    async def answered(self) -> None:
        """Return when it answers."""
        async with self._driver() as driver:
            await driver.wait(iter(self._intents), alive=self._stage.alive)

    async def latencies(self, *, seconds: float, warm_up: float) -> list[float]:
        """Return the latencies of records at a steady rate, ms."""
        async with self._driver() as driver:
            return await driver.latencies(self._intents, rate=RATE, seconds=seconds, warm_up=warm_up)

    async def drain(self, count: int) -> tuple[float, float]:
        """Return the records per second from a backlog, and the CPU microseconds of each; its first third is warm-up.

        The stage is frozen while the backlog is written. When an answer was written is told by the broker.
        """
        async with Log(self._places.bootstrap, self._places.answers) as log:
            starts = await log.ends()
            self._stage.pause()
            await write(self._places.bootstrap, itertools.islice(self._intents.placed(), count))
            self._stage.resume()
            ends, used = await self._drained(log, starts, count)
            times = np.sort([record.timestamp / 1e3 async for record in log.records(starts, ends)])
        if not len(times):
            raise SilentError(f"nothing of a backlog was answered within {DRAIN_TIMEOUT:g} s")
        await self.answered()  # Otherwise what is left of the backlog would be the next measurement's latency.
        first, last = times[0], times[-1]
        since = first + (last - first) / 3
        counted = np.count_nonzero(times > since)
        clock, cpu = np.array(used).T
        seconds = np.interp(last, clock, cpu) - np.interp(since, clock, cpu)
        return float(counted / (last - since)), float(seconds / counted * 1e6)

    async def _drained(
        self, log: Log, starts: dict[Any, int], count: int
    ) -> tuple[dict[Any, int], list[tuple[float, float]]]:
        """Wait for the answers; return the log's ends, and the CPU seconds used at times."""
        used = []
        ends, grown = starts, time.monotonic()
        deadline = grown + DRAIN_TIMEOUT
        while time.monotonic() < deadline:
            used.append((time.time(), self._stage.cpu()))
            now = await log.ends()
            if now != ends:
                ends, grown = now, time.monotonic()
            all_answered = sum(ends.values()) - sum(starts.values()) >= count
            if all_answered and time.monotonic() - grown > DRAINED:
                break
            await asyncio.sleep(POLL)
        return ends, used


class Bench:
    """One broker and all that runs on it, one after the other.

    Args:
        bootstrap: host:port of the broker.
        folder: For the stages' states and logs.
    """

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self._bootstrap = bootstrap
        self._folder = folder
        self._numbers = itertools.count()

    @asynccontextmanager
    async def running(self, variant: Variant) -> AsyncIterator[Running]:
        """Yield a peer that runs and has answered once.

        Raises:
            NoBrokerError: If it cannot be had.
            SilentError: If it does not answer, then or later.
        """
        name = f"peer-{next(self._numbers)}"
        places = Places(self._bootstrap, f"{name}-in", f"{name}-out", name, self._folder / name)
        places.folder.mkdir()
        command = variant.command(places)
        await create_topics(
            self._bootstrap,
            places.source,
            places.answers,
            partitions=PARTITIONS,
            **{"message.timestamp.type": "LogAppendTime"},
        )
        with Stage(command, places.folder) as stage:
            running = Running(places, stage)
            try:
                await running.answered()
                yield running
            except SilentError as error:
                raise SilentError(f"{error}\n{stage.log}") from error
        await delete_topics(self._bootstrap, places.source, places.answers)


class Measured(NamedTuple):
    """A peer's figures."""

    latencies: list[float]
    """Milliseconds."""
    rate: float
    """Records per second from a backlog."""
    cpu: float
    """Microseconds of each."""


async def table_of(bootstrap: str, folder: Path, scale: float) -> Table:
    """Return the table of all that run on one broker, the plain loop first; it runs all the time."""
    table = Table(NAME, TITLE, HOW)
    bench = Bench(bootstrap, folder)
    seconds, share = max(1.5, 4.5 * scale), max(LEAST_SHARE, scale)
    whole = scale >= WHOLE
    limits = []
    async with bench.running(BARE) as loop:
        # A broker whose JVM has just started is several times slower.
        await loop.drain(round(BARE.backlog * share))
        await loop.latencies(seconds=3 * seconds, warm_up=0)
        for variant in VARIANTS:
            if not (whole or variant.main):
                continue
            say(f"{variant.system}, {variant.configuration}")
            try:
                async with bench.running(variant) as peer:
                    limit, measured = await _side_by_side(loop, peer, variant, seconds, share)
            except (NoBrokerError, SilentError, KafkaError) as error:
                table.rows.append(not_measured(f"{variant.system}, {variant.configuration}", _reason(error)))
            else:
                limits.append(limit)
                _add(table, variant, measured, limit)
    if limits:
        _add(table, BARE, _typical(limits), _typical(limits))
        for rows in (table.rows, table.data["latency"]):
            rows.insert(0, rows.pop())
    table.data["throughput by records per transaction"] = [
        {"records per transaction": records, **await _swept(bench, SWEEP[records], share)}
        for records in SWEEP
        if whole or records in FEW
    ]
    return table


async def _side_by_side(
    loop: Running, peer: Running, variant: Variant, seconds: float, share: float
) -> tuple[Measured, Measured]:
    """Return the figures of the plain loop and of a peer, measured in turn: a machine changes in a minute.

    Args:
        loop: The plain loop; it idles while the peer is measured.
        peer: And the other way round.
        variant: Which peer that is.
        seconds: In which latencies are measured, of each.
        share: Of the backlogs.
    """
    # The backlogs first: they warm a JVM.
    limit = Measured([], *await loop.drain(round(BARE.backlog * share)))
    measured = Measured([], *await peer.drain(round(variant.backlog * share)))
    turns, turn = (1, 2 * variant.interval) if variant.interval else (TURNS, seconds / TURNS)
    for _ in range(turns):
        limit.latencies.extend(await loop.latencies(seconds=turn, warm_up=turn / 3))
        measured.latencies.extend(await peer.latencies(seconds=turn, warm_up=turn / 3))
    return limit, measured


def _typical(all_measured: list[Measured]) -> Measured:
    return Measured(
        list(itertools.chain.from_iterable(each.latencies for each in all_measured)),
        median(each.rate for each in all_measured),
        median(each.cpu for each in all_measured),
    )


async def _swept(bench: Bench, variant: Variant, share: float) -> dict[str, float]:
    say(f"{variant.system}, {variant.configuration}")
    async with bench.running(variant) as loop:
        rate, cpu = await loop.drain(round(variant.backlog * share))
    return {"records/s": rate, "CPU us": cpu}


def _add(table: Table, variant: Variant, measured: Measured, limit: Measured) -> None:
    middle, high = np.percentile(measured.latencies, (50, 99))
    limit_middle, limit_high = np.percentile(limit.latencies, (50, 99))
    table.rows.append(
        _row(
            variant.system,
            variant.configuration,
            float(middle),
            float(high),
            float(middle / limit_middle),
            float(high / limit_high),
            measured.rate,
            measured.rate / limit.rate,
            measured.cpu,
            measured.cpu / limit.cpu,
        )
    )
    table.data.setdefault("latency", []).append(
        {
            "system": variant.system,
            "configuration": variant.configuration,
            "percent": list(PERCENT),
            "ms": np.percentile(measured.latencies, PERCENT).tolist(),
        }
    )


def not_measured(system: str, why: str) -> dict[str, Any]:
    """Return the row of a peer without figures."""
    return _row(system, f"not measured: {why}")


def _row(system: str, configuration: str, *figures: float) -> dict[str, Any]:
    return {"system": system, "configuration": configuration, **dict(zip_longest(COLUMNS, figures))}


def _reason(error: Exception) -> str:
    """Return the first and the last line of what an error says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ... ".join(dict.fromkeys((lines[0], lines[-1])))


def nautilus(scale: float) -> dict[str, Any]:
    """Return the row of NautilusTrader's risk engine: CPU time alone, since nothing is between the caller and it."""
    system = "NautilusTrader's RiskEngine"
    try:
        orders = str(round(ORDERS * max(LEAST_SHARE, scale)))
        text = run([supply.python("nautilus"), supply.HERE / "nautilus.py", orders], supply.HERE, NAUTILUS_TIMEOUT)
    except NoBrokerError as error:
        return not_measured(system, _reason(error))
    told = json.loads(text.splitlines()[-1])
    return _row(
        f"NautilusTrader {told['version']}",
        "RiskEngine in process, no Kafka: a limit order, cash account, notional limit",
    ) | {"CPU us": told["us"]}

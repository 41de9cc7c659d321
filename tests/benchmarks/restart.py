"""From the start of a worker's process to its first new decision, with little and with much history behind it.

The history is a true one: a worker decided it. Most of its intents repeat others, which is quickly answered, so that
a million decisions take minutes and not an hour. The worker is killed at the end of it, in the middle of its work as
far as its checkpoints are concerned, and started again with its disk and without.
"""

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from models.canonical import DAY_NS, canonical_bytes
from models.messages import OrderIntent
from streams import topics as declared
from streams.access import Layout
from streams.audit import PartitionAudit, Verdict
from streams.audit.broker import Log, plan
from streams.codec import Codec
from streams.config import Settings
from streams.publisher import Publisher, delivery
from streams.reader import Reader
from streams.records import Names, Topic, TopicPartition
from streams.topics import Topics
from tests.benchmarks import inputs
from tests.benchmarks.figures import MEGABYTE, TRIAL, Table, say
from tests.benchmarks.stage import broker, delete_topics
from tests.integration.workers import WorkerProcess, worker
from tests.kafka import Broker

NAME: Final = "restart"
DECISIONS: Final = (10_000, 1_000_000)
ACCOUNTS: Final = 1_000
REPEATS: Final = 20
"""How often each intent stands in the topic."""
STEP: Final = DAY_NS
"""Between one intent of an account and its next: answers older than an hour of event time are forgotten."""
TIMES: Final = 3
"""Restarts of each kind; the middle one counts."""
CHUNK: Final = 20_000
WAIT: Final = 60.0
SILENCE: Final = 30.0


def measure(scale: float) -> Table:
    """Measure both histories on one broker."""
    times = TIMES if scale >= TRIAL else 1
    table = Table(
        NAME,
        "Restart: seconds from the start of the process to the first new decision",
        f"One worker with 4 partitions and {ACCOUNTS:,} accounts, killed with SIGKILL as it took the last decision of"
        f" its history; the middle of {times} restarts. The history was decided by the worker itself: each intent"
        f" stands {REPEATS} times in the topic, so that {REPEATS - 1} of {REPEATS} decisions are repeats, and an"
        " account's event time moves on by a day from intent to intent. start: imports, and the topics checked;"
        " join: until partitions are assigned; open: fence, load and fold; decide: until the decision is read. One"
        " partition of the log was audited.",
    )
    for decisions in DECISIONS:
        count = max(ACCOUNTS, round(decisions * scale))
        with tempfile.TemporaryDirectory(prefix="seawall-bench-") as folder:
            table.rows += asyncio.run(_History(broker(), Path(folder), count, times).measure())
    longest = table.rows[-2:]
    table.data["figures"] = {"decisions behind": longest[0]["decisions behind"]} | {
        f"first decision s, disk {'kept' if row['disk'] == 'disk' else 'lost'}": row["first decision s"]
        for row in longest
    }
    return table


class _History:
    """A log with so many decisions, and the worker that took them."""

    def __init__(self, broker: Broker, folder: Path, decisions: int, times: int) -> None:
        name = f"bench-restart-{decisions}"
        self._settings = Settings(
            bootstrap_servers=broker.bootstrap,
            application_id=name,
            topic_prefix=f"{name}.",
            data_dir=folder / "data",
            worker_id="worker-1",
        )
        self._folder = folder
        self._decisions = decisions
        self._times = times
        self._topics = Topics.of(self._settings)
        self._names = Names(self._topics)
        self._codec = Codec(self._topics.partitions)
        self._begin = time.time_ns() - 400 * DAY_NS
        self._probes = 0

    async def measure(self) -> list[dict[str, Any]]:
        """Make the history and restart its worker."""
        await declared.create(self._topics, self._settings)
        async with Publisher(self._settings) as publisher:
            await publisher.send_all(inputs.reference())
            await publisher.send_all(inputs.returns())
            await publisher.send_all(inputs.mark(name, self._begin) for name in _names())
            await self._write(publisher)
            rows = []
            with worker(self._settings, self._folder) as process:
                made = time.monotonic()
                await self._until_decided()
                say(f"{self._decisions:,} decisions taken in {time.monotonic() - made:.0f} s")
                await asyncio.sleep(2 * self._settings.checkpoint_interval)  # killed at once, it leaves no checkpoint
                for kept in (True, False):
                    restarts = [await self._restart(process, publisher, kept=kept) for _ in range(self._times)]
                    rows.append(_middle(restarts))
                    say(str(restarts))
                process.stop()
            verdict = await self._audit()
            await delete_topics(self._settings, *self._names.values())
        say(f"{verdict.summary}; {'clean' if verdict.clean else verdict.findings[:3]}")
        assert verdict.clean
        return [{"decisions behind": self._decisions} | row for row in rows]

    async def _write(self, publisher: Publisher) -> None:
        """Write the intents; those of one account in the order of their event times."""
        sent = []
        for account, value in self._intents():
            sent.append(await publisher.begin(Topic.ORDER_INTENTS, account, value))
            if len(sent) == CHUNK:
                for each in sent:
                    await delivery(Topic.ORDER_INTENTS, each)
                sent.clear()
        for each in sent:
            await delivery(Topic.ORDER_INTENTS, each)

    def _intents(self) -> Iterator[tuple[bytes, bytes]]:
        values: list[tuple[bytes, bytes]] = []
        for number in range(self._decisions):
            turn, account = divmod(number, ACCOUNTS)
            if account == 0 and turn % REPEATS == 0:
                event_time = self._begin + turn // REPEATS * STEP
                values = [
                    (name.encode(), canonical_bytes(inputs.intent(name, turn, event_time=event_time)))
                    for name in _names()
                ]
            yield values[account]

    @asynccontextmanager
    async def _following(self, *, from_start: bool) -> AsyncIterator[AsyncIterator[int]]:
        """Yield an iterator over the numbers of decisions that each fetch brings."""
        places = [TopicPartition(Topic.RISK_DECISIONS, number) for number in range(self._topics.partitions)]
        async with Reader(self._settings, self._names, following=True) as reader:
            bounds = await reader.bounds(places)
            fetches = reader.follow({place: 0 if from_start else held.end for place, held in bounds.items()})
            yield (sum(map(len, fetched)) async for fetched in fetches)

    async def _until_decided(self) -> None:
        async with self._following(from_start=True) as counts:
            left, heard = self._decisions, time.monotonic()
            async for count in counts:
                left -= count
                if left <= 0:
                    return
                heard = time.monotonic() if count else heard
                assert time.monotonic() - heard < SILENCE, f"{left} intents have no decision"

    async def _restart(self, process: WorkerProcess, publisher: Publisher, *, kept: bool) -> dict[str, Any]:
        process.kill(lose_disk=not kept)
        async with self._following(from_start=False) as counts:
            await publisher.send_all(self._probe(number) for number in range(self._topics.partitions))
            started = time.time()
            process.start()
            async with asyncio.timeout(WAIT):
                async for count in counts:
                    if count:
                        break
            decided = time.time()
        process.wait_ready()
        return _phases(process, started, decided) | {"kept": kept}

    def _probe(self, partition: int) -> OrderIntent:
        self._probes += 1
        name = next(name for name in _names() if self._codec.partition_of(name) == partition)
        return inputs.intent(name, self._probes, event_time=time.time_ns(), intent_id=f"probe-{self._probes}")

    async def _audit(self) -> Verdict:
        verdict = Verdict()
        found = await plan(self._settings, Layout(self._names, self._topics.partitions))
        async with Log(self._settings, found) as log:
            await PartitionAudit(0, self._codec, log.of(0), verdict).run()
        return verdict


def _phases(process: WorkerProcess, started: float, decided: float) -> dict[str, Any]:
    """Return the seconds of each phase, as the worker's lines tell them."""
    answering, _ = _line(process, "health")
    ready, fields = _line(process, "ready")
    opening = float(fields["seconds"])
    status = Path(f"/proc/{process.process.pid}/status")
    memory = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    source = next(name.removeprefix("from_") for name in fields if name.startswith("from_"))
    return {
        "disk": source,
        "first decision s": decided - started,
        "start s": answering - started,
        "join s": ready - answering - opening,
        "open s": opening,
        "decide s": decided - ready,
        "folded": int(fields["folded"]),
        "peak MB": int(memory[1]) * 1024 / MEGABYTE if memory else None,
    }


def _line(process: WorkerProcess, event: str) -> tuple[float, dict[str, str]]:
    line = next(line for line in process.output.splitlines() if f" {event} " in line)
    stamp, _, *fields = line.split()
    return datetime.fromisoformat(stamp).timestamp(), dict(field.split("=", 1) for field in fields)


def _middle(restarts: list[dict[str, Any]]) -> dict[str, Any]:
    middle = median(restart["first decision s"] for restart in restarts)
    row = next(restart for restart in restarts if restart["first decision s"] == middle)
    assert row.pop("kept") == (row["disk"] == "disk")
    return row


def _names() -> list[str]:
    return [f"A-{number:06}" for number in range(ACCOUNTS)]

"""What befalls workers and brokers, and how long it takes until decisions flow again."""

import asyncio
import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

from streams.config import Settings
from streams.reader import Reader
from streams.records import Names, Topic, TopicPartition
from streams.topics import Topics
from tests.integration.load import Verdict, judge, prepare, send, wait_until_decided
from tests.integration.workers import WorkerProcess, worker
from tests.kafka import Broker

ROUNDS_MAX = 5000
"""Of messages; the scenario ends before."""
SETTLE_SECONDS = 90
"""How long what is left over may take to be decided."""


class Storm:
    """One scenario: some workers under load, what happens to them, and the judgement.

    Args:
        settings: Of the first worker.
        topics: Created already.
        folder: Where logs go.
        seed: Of everything random.
    """

    def __init__(self, settings: Settings, topics: Topics, folder: Path, *, seed: int) -> None:
        self.settings = settings
        self.topics = topics
        self.folder = folder
        self.random = random.Random(seed)
        self.seed = seed
        self.stack = ExitStack()
        self.workers: list[WorkerProcess] = []
        self.recoveries: list[float] = []

    def settings_of(self, number: int) -> Settings:
        """Return the settings of a worker: its own id and disk."""
        return self.settings.model_copy(
            update={"worker_id": f"worker-{number}", "data_dir": self.settings.data_dir / str(number)}
        )

    def add_worker(self) -> WorkerProcess:
        """Start one more worker, and wait until its partitions are open."""
        process = self.stack.enter_context(worker(self.settings_of(len(self.workers) + 1), self.folder))
        self.workers.append(process)
        return process

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[None]:
        """Let messages flow while the caller does its worst; then wait for every decision."""
        await prepare(self.settings)
        enough = asyncio.Event()
        sending = asyncio.create_task(
            send(self.settings, self.seed, rounds=ROUNDS_MAX, pause=0.2, enough=enough), name="sending"
        )
        try:
            yield
        finally:
            enough.set()
            await sending
        await wait_until_decided(self.settings, self.topics.partitions, timeout=SETTLE_SECONDS)

    async def decisions(self) -> int:
        """Return how far the decisions of all partitions reach."""
        places = [TopicPartition(Topic.RISK_DECISIONS, number) for number in range(self.topics.partitions)]
        async with Reader(self.settings, Names(Topics.of(self.settings))) as reader:
            return sum(bounds.end for bounds in (await reader.bounds(places)).values())

    async def until_deciding(self) -> None:
        """Wait for the next new decision, and note how long it took."""
        started, known = time.monotonic(), await self.decisions()
        while await self.decisions() <= known:
            assert time.monotonic() - started < SETTLE_SECONDS, "no decision any more"
            await asyncio.sleep(0.05)
        self.recoveries.append(time.monotonic() - started)

    async def kill(self, process: WorkerProcess, *, lose_disk: bool) -> None:
        """Kill a worker and start it again."""
        process.kill(lose_disk=lose_disk)
        started = time.monotonic()
        process.start()
        await asyncio.to_thread(process.wait_ready)
        await self.until_deciding()
        self.recoveries[-1] = time.monotonic() - started

    async def freeze(self, process: WorkerProcess, seconds: float) -> bool:
        """Stop a worker for a while and let it go on. Return whether it ended itself, and restart it if so."""
        process.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        process.process.send_signal(signal.SIGCONT)
        try:
            await asyncio.to_thread(process.process.wait, 20)
        except subprocess.TimeoutExpired:
            return False
        assert process.process.returncode == 70, process.output
        process.start()
        await asyncio.to_thread(process.wait_ready)
        return True

    async def revive(self) -> None:
        """Start every worker again that ended itself, as a supervisor would."""
        for process in self.workers:
            if process.process.poll() is not None:
                assert process.process.returncode in {0, 70, -signal.SIGKILL}, process.output
                process.start()
                await asyncio.to_thread(process.wait_ready)

    def finish(self, what: str) -> Verdict:
        """Stop every worker, judge the log, and say what happened."""
        with self.stack:
            for process in self.workers:
                if process.process.poll() is None:
                    process.stop()
        verdict = asyncio.run(judge(self.settings, self.topics))
        took = self.recoveries
        times = f"; back after {median(took):.1f} s (median), {max(took):.1f} s (worst)" if took else ""
        os.write(1, f"\nseed {self.seed}: {what}: {verdict}{times}\n".encode())
        return verdict


async def bounce(broker: Broker, seconds: float) -> None:
    """Kill the broker and bring it back after a while."""
    await asyncio.to_thread(broker.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(broker.restart)

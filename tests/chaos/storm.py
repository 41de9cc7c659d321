"""What befalls workers and brokers, and how long it takes until decisions flow again."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

from aiokafka.admin import AIOKafkaAdminClient

from streams.config import Settings, kafka_arguments
from streams.topics import Topics
from tests.chaos import stepping
from tests.chaos.stepping import COMMIT_STEPS
from tests.chaos.watch import Watch
from tests.integration.load import Verdict, intents_to_decide, judge, prepare, send
from tests.integration.workers import WorkerProcess, command, worker
from tests.kafka import Broker

ACCOUNTS = 4000
ROUNDS_MAX = 20_000
"""Of messages; the scenario ends before."""
SETTLE_SECONDS = 90
"""How long it may take until decisions flow again, or until what is left over is decided."""
WAIT_SECONDS = 0.05


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
        self.watch: Watch
        self.recoveries: list[float] = []
        """Seconds from each kill to the next decision."""
        self.takeovers: list[float] = []
        """Seconds from the end of an owner to the first decision of another, for each partition."""

    # --- workers

    def settings_of(self, number: int) -> Settings:
        """Return the settings of a worker: its own id and disk."""
        return self.settings.model_copy(
            update={"worker_id": f"worker-{number}", "data_dir": self.settings.data_dir / str(number)}
        )

    def add_worker(self) -> WorkerProcess:
        """Start one more worker, and wait until its partitions are open. It can be caught at a step."""
        settings = self.settings_of(len(self.workers) + 1)
        steps = self._steps_of(settings.worker_id)
        steps.mkdir()
        program = (stepping.__file__, steps)
        process = self.stack.enter_context(worker(settings, self.folder, program=program))
        self.workers.append(process)
        return process

    async def add_workers(self, count: int) -> list[WorkerProcess]:
        """Start so many workers, one after the other, and wait until each has its share."""
        added = [await asyncio.to_thread(self.add_worker) for _ in range(count)]
        await self.settle()
        return added

    def _steps_of(self, worker_id: str) -> Path:
        return self.folder / f"steps-of-{worker_id}"

    async def settle(self) -> None:
        """Start what has ended, as a supervisor would, until every worker serves its share of the partitions."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while not await asyncio.to_thread(self._is_settled):
            await self.revive()
            assert time.monotonic() < deadline, "".join(each.output for each in self.workers)
            await asyncio.sleep(WAIT_SECONDS)

    def _is_settled(self) -> bool:
        try:
            owned = [each.owned() for each in self.workers]
        except OSError:  # It has just ended.
            return False
        share = self.topics.partitions // len(self.workers)
        return all(len(each) == share for each in owned) and len(set[int]().union(*owned)) == self.topics.partitions

    async def revive(self) -> None:
        """Start every worker again that ended, and wait until its partitions are open."""
        for process in self.workers:
            if process.process.poll() is not None:
                assert process.process.returncode in {0, 70, -signal.SIGKILL}, process.output
                process.start()
                await asyncio.to_thread(process.wait_ready)

    # --- the load

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[None]:
        """Let messages flow while the caller does its worst; then wait for every decision."""
        await prepare(self.settings)
        enough = asyncio.Event()
        async with Watch(self.settings, self.topics) as self.watch:
            sending = asyncio.create_task(
                send(self.settings, self.seed, rounds=ROUNDS_MAX, pause=0.4, enough=enough, accounts=ACCOUNTS),
                name="sending",
            )
            await self._all_answered_once()
            try:
                yield
            finally:
                enough.set()
                await sending
            await self._every_intent_answered()

    async def _all_answered_once(self) -> None:
        await self.watch.until_answered(time.monotonic(), SETTLE_SECONDS)

    async def _every_intent_answered(self) -> None:
        ends = await intents_to_decide(self.settings, self.topics)
        deadline = time.monotonic() + SETTLE_SECONDS
        while missing := {number: end for number, end in ends.items() if self.watch.answered(number) < end - 1}:
            assert time.monotonic() < deadline, f"intents below these offsets have no decision: {missing}"
            await asyncio.sleep(WAIT_SECONDS)

    # --- faults

    async def kill(self, process: WorkerProcess, *, lose_disk: bool, step: str | None = None) -> None:
        """Kill the only worker, at a step or just so, start it again, and note how long its accounts waited."""
        if step is not None:
            await self.catch(process, step, lose_disk=lose_disk)
        epochs = self.watch.epochs()
        process.kill(lose_disk=lose_disk)
        killed = time.monotonic()
        process.start()
        await asyncio.to_thread(process.wait_ready)
        self.recoveries.append(min(await self.watch.until_owned_anew(epochs, killed, SETTLE_SECONDS)))

    async def catch(self, process: WorkerProcess, step: str, *, lose_disk: bool = False) -> None:
        """Wait until a worker has stopped itself at a step; it is killed and started again for one of recovery."""
        order = self._steps_of(process.settings.worker_id) / step
        if step in COMMIT_STEPS:
            order.touch()
        else:
            process.kill(lose_disk=lose_disk)
            order.touch()
            process.start()
        await asyncio.to_thread(process.wait_stopped)

    async def freeze(self, process: WorkerProcess, *, step: str | None = None) -> bool:
        """Stop one of several workers, at a step or just so, until others answer for its accounts; let it go on.

        Returns:
            Whether it ended itself, as it does when it learns by a transaction that it was replaced. One that learns
            it by a heartbeat joins again.
        """
        epochs = self._epochs_of(process)
        if step is None:
            process.process.send_signal(signal.SIGSTOP)
        else:
            await self.catch(process, step, lose_disk=step == "restoring")
        await self._note_takeover(epochs)
        starts = process.starts
        process.process.send_signal(signal.SIGCONT)
        await self.settle()
        return process.starts > starts

    async def lose(self, process: WorkerProcess, *, lose_disk: bool = False) -> None:
        """Kill one of several workers; start it again when others have answered for its accounts."""
        epochs = self._epochs_of(process)
        process.kill(lose_disk=lose_disk)
        await self._note_takeover(epochs)
        await self.settle()

    async def stop(self, process: WorkerProcess) -> None:
        """Tell one of several workers to end; start it again when others have answered for its accounts."""
        epochs = self._epochs_of(process)
        assert process.stop() == 0, process.output
        await self._note_takeover(epochs)
        await self.settle()

    def _epochs_of(self, process: WorkerProcess) -> dict[int, int]:
        owned = process.owned()
        assert owned, process.output
        return {number: epoch for number, epoch in self.watch.epochs().items() if number in owned}

    async def _note_takeover(self, epochs: dict[int, int]) -> None:
        self.takeovers += await self.watch.until_owned_anew(epochs, time.monotonic(), SETTLE_SECONDS)

    async def bounce(self, broker: Broker, seconds: float) -> None:
        """Kill a broker and bring it back after a while; note how long the slowest partition had no decision.

        With the only broker gone that is counted from when it is back, for until then there can be none.
        """
        await asyncio.to_thread(broker.kill)
        lost = time.monotonic()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(broker.restart)
        if broker.bootstrap == self.settings.bootstrap_servers:
            lost = time.monotonic()
        await self.revive()
        self.recoveries.append(max(await self.watch.until_answered(lost, SETTLE_SECONDS)))

    async def copies_in_sync(self, copies: int) -> None:
        """Wait until every partition of every topic has so many copies that hold all of it."""
        admin = AIOKafkaAdminClient(**kafka_arguments(self.settings))
        await admin.start()
        deadline = time.monotonic() + SETTLE_SECONDS
        try:
            while any(
                len(each["isr"]) < copies for topic in await admin.describe_topics() for each in topic["partitions"]
            ):
                assert time.monotonic() < deadline, "a broker that is back does not catch up"
                await asyncio.sleep(WAIT_SECONDS)
        finally:
            await admin.close()

    # --- the end

    def finish(self, what: str, *, since: str = "kill") -> Verdict:
        """Stop every worker, judge the log, have it audited, and say what happened.

        Args:
            what: Happened.
            since: From when the time to the next decision was taken.
        """
        memory = [each.memory() for each in self.workers if each.process.poll() is None]
        with self.stack:
            for process in self.workers:
                if process.process.poll() is None:
                    process.stop()
        verdict, audited = asyncio.run(self._judged())
        shown = sum(len(each) for each in self.watch.shown.values())
        assert shown == verdict.decisions, f"a subscriber was shown {shown} decisions"
        lines = [
            f"seed {self.seed}: {what}: {verdict}",
            audited.splitlines()[0],
            *_told(f"from {since} to next decision", self.recoveries),
            *_told(f"takeover, per partition (session timeout {self.settings.session_timeout:g} s)", self.takeovers),
            f"memory of a worker, at most: {max(memory) >> 20} MB" if memory else "no worker was left",
        ]
        os.write(1, "".join(f"\n{line}" for line in [*lines, ""]).encode())
        return verdict

    async def _judged(self) -> tuple[Verdict, str]:
        """Return what the judge found, and what `seawall audit` printed; neither knows of the other."""
        return await asyncio.gather(
            judge(self.settings, self.topics), asyncio.to_thread(command, self.settings, "audit")
        )


def _told(what: str, seconds: list[float]) -> list[str]:
    if not seconds:
        return []
    return [f"{what}: {median(seconds):.1f} s (median), {max(seconds):.1f} s (worst) of {len(seconds)}"]

"""A gate of one partition in which anything may happen: messages, faults, and workers that come, go and come back.

While a worker opens the partition, commits or lets it go, the rest of the world goes on between any two of its steps:
records come in, others take the partition over, machines fail.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final

from streams.records import ACCOUNT_INPUTS, Topic
from streams.store import VECTOR_KEY
from streams.tables import ACCOUNT_TABLES
from tests.simulation.broker import SETTINGS, Log
from tests.simulation.disk import Disk, DiskStore
from tests.simulation.faults import ENDS, BrokerError, Crash, Faults, FencedError, StoppedError
from tests.simulation.messages import Messages
from tests.simulation.worker import Worker, small_and_mortal

MACHINES: Final = 2
RATES: Final = (0.0, 0.01, 0.02, 0.05)
"""How likely a fault is at each place where there can be one; one of these for each process."""


class World:
    """One run.

    Args:
        seed: What it is drawn from, all of it.
    """

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.happened: Counter[str] = Counter()
        """How often what happened."""
        self.log = Log()
        self._messages = Messages(self.log, self._chance, self.happened)
        self.disks = [Disk() for _ in range(MACHINES)]
        self.workers: list[Worker] = []
        """At most one to a machine; the last one is the newest owner, unless it has let go."""
        self.machine: int | None = None
        """Where the last worker ran."""
        self._busy: list[Worker] = []
        """Those in the middle of something; the last one is in the middle of what the others do meanwhile."""

    async def run(self, steps: int) -> None:
        """Let things happen, then let one worker come to the end without faults."""
        with small_and_mortal():
            self._messages.opening()
            for _ in range(steps):
                await self._something()
            await self._finish()

    async def _something(self) -> None:
        actions = {
            self._say: 25,
            self._deliver: 45,
            self._commit: 25,
            self._take_over: 10,
            self._let_go: 2,
            self._kill: 1,
            self._lose_disk: 1,
            self._swap_disk: 1,
            self._lose_power: 1,
            self._compact: 3,
            self._other_version: 1,
        }
        await self._chance.choices(list(actions), list(actions.values()))[0]()

    # --- what workers do, and what happens meanwhile

    async def _going_on(self, worker: Worker, doing: Coroutine[Any, Any, None]) -> bool:
        """Let a worker do something while the world goes on. Tell whether the worker is still there."""
        self._busy.append(worker)
        task = asyncio.ensure_future(doing)
        try:
            while not task.done():
                await asyncio.sleep(0)
                worker.check_positions()
                if not task.done() and self._chance.random() < 0.2:
                    await self._meanwhile(worker)
            task.result()
        except ENDS as end:
            self._ended(worker, end)
            return False
        finally:
            self._busy.remove(worker)
        worker.check_positions()
        return True

    async def _meanwhile(self, worker: Worker) -> None:
        roll = self._chance.random()
        if roll < 0.5:
            self._deliver_to(worker)
        elif roll < 0.8:
            await self._say()
        elif len(self._busy) < MACHINES:
            await self._chance.choice((self._take_over, self._take_over, self._commit, self._kill))()

    def _ended(self, worker: Worker, end: BaseException) -> None:
        """Bury a worker, if it had a reason to end."""
        reason = end.error if isinstance(end, StoppedError) else end
        if isinstance(reason, str):
            assert "records in between were skipped" in reason, end
            assert self.happened["records are passed over"], end
            self.happened["a hole ends the worker"] += 1
        else:
            assert isinstance(reason, Crash | FencedError | BrokerError), end
        if isinstance(reason, FencedError):
            self.happened["a worker that was replaced tries to write"] += 1
        worker.faults.kill()
        if worker in self.workers:
            self.workers.remove(worker)

    def _deliver_to(self, worker: Worker) -> None:
        if worker.partition is None:
            return
        topic = self._chance.choice((*ACCOUNT_INPUTS, None))
        try:
            if topic is None:
                worker.deliver_shared()
            else:
                worker.deliver(topic)
        except StoppedError as end:
            self._ended(worker, end)

    def _some_owners(self) -> list[Worker]:
        """Return some of those who believe that they own the partition, and have nothing else in hand."""
        owners = [each for each in self.workers if each.partition is not None and each not in self._busy]
        return [each for each in owners if self._chance.random() < 0.7]

    # --- what may happen

    async def _say(self) -> None:
        for _ in range(self._chance.randrange(1, 6)):
            self._messages.something()

    async def _deliver(self) -> None:
        for worker in self._some_owners():
            self._deliver_to(worker)

    async def _commit(self) -> None:
        for worker in self._some_owners():
            if worker in self.workers:
                await self._going_on(worker, worker.commit(checkpoint=self._chance.random() < 0.4))

    async def _take_over(self) -> None:
        """Give the partition to another worker. The owner was killed, or goes on until the broker refuses it."""
        machine = self._chance.randrange(MACHINES)
        worker = next((each for each in self.workers if each.machine == machine), None)
        if worker is not None and (worker.partition is not None or worker in self._busy):
            return  # RocksDB's lock lets no two share a disk, and a worker opens a partition once.
        if self._chance.random() < 0.5:
            await self._kill()
        if worker is None or worker not in self.workers:
            worker = Worker(
                self.log,
                machine,
                self.disks[machine],
                chance=self._chance,
                happened=self.happened,
                rate=self._chance.choice(RATES),
            )
        else:
            self.workers.remove(worker)
            self.happened["a worker is given the partition again"] += 1
        self.workers.append(worker)
        self.happened["the partition moves while its owner lives on"] += any(
            each.partition is not None for each in self.workers
        )
        await self._going_on(worker, worker.open())

    async def _let_go(self) -> None:
        """Let the newest owner release the partition in peace."""
        for worker in self._some_owners():
            if worker is self.workers[-1] and await self._going_on(worker, worker.release()):
                self.happened["the partition is let go in peace"] += 1

    async def _kill(self) -> None:
        """Kill a worker, wherever it is."""
        if self.workers:
            worker = self._chance.choice(self.workers)
            self.happened["a worker is killed in the middle of something"] += worker in self._busy
            worker.faults.kill()
            self.workers.remove(worker)

    def _machine_fails(self) -> Disk | None:
        """End what runs on some machine, and return its disk; None while it is in the middle of something."""
        machine = self._chance.randrange(MACHINES)
        if any(each.machine == machine for each in self._busy):
            return None
        self.workers = [each for each in self.workers if each.machine != machine]
        return self.disks[machine]

    async def _lose_disk(self) -> None:
        disk = self._machine_fails()
        if disk is not None:
            self.happened["a disk is lost"] += disk.vector is not None
            self.disks[self.disks.index(disk)] = Disk()

    async def _swap_disk(self) -> None:
        disk = self._machine_fails()
        if disk is not None:
            self.happened["a disk of another log"] += disk.swap()

    async def _lose_power(self) -> None:
        disk = self._machine_fails()
        if disk is not None:
            self.happened["a power failure takes the last writes"] += disk.lose_power()

    async def _compact(self) -> None:
        self.happened["checkpoints are compacted"] += self.log.compact(Topic.CHECKPOINTS)

    async def _other_version(self) -> None:
        """Let a worker of another version have the partition: `checkpoints` ends with rows of its own."""
        if self._busy or self._chance.random() < 0.7:
            return
        self.workers = []
        self.log.fence(f"{SETTINGS.application_id}-0")
        self.log.append(Topic.CHECKPOINTS, b"ledger\0A\0iother", b'{"a row":"of another version"}')
        self.log.append(Topic.CHECKPOINTS, VECTOR_KEY, b'{"format":0}')
        self.happened["another version writes checkpoints"] += 1

    # --- the end

    async def finish(self) -> None:
        """Let one new worker, without faults, deal with all that is there and write a checkpoint."""
        with small_and_mortal():
            await self._finish()

    async def _finish(self) -> None:
        if self.machine is None:
            self.machine = self._chance.randrange(MACHINES)
        worker = Worker(
            self.log,
            self.machine,
            self.disks[self.machine],
            chance=self._chance,
            happened=self.happened,
            rate=0,
        )
        self.workers = [worker]
        await worker.open()
        worker.deliver_all()
        assert worker.partition is not None
        while worker.partition.waiting:
            await worker.commit(checkpoint=False)
        await worker.commit(checkpoint=True)
        await worker.commit(checkpoint=True)

    def lose_every_disk(self) -> None:
        """Leave nothing but the topics."""
        self.disks = [Disk() for _ in range(MACHINES)]

    def store(self) -> DiskStore:
        """Return the last checkpoint on a disk."""
        return DiskStore(self.disks[self.machine or 0], Faults(self._chance, self.happened, 0))

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return its rows."""
        store = self.store()
        return {table: store.rows(table) for table in ACCOUNT_TABLES}

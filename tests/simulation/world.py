"""A gate of one partition in which anything may happen: messages, faults, and workers that come and go."""

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from pydantic import BaseModel

from models.authority import needs_signature
from models.canonical import canonical_bytes
from models.messages import (
    EVERY,
    AccountRecord,
    Command,
    EquityMark,
    ExecutionType,
    Fill,
    Instrument,
    KillMode,
    KillScope,
    KillSwitch,
    LimitProfile,
    OperatorHalt,
    OrderIntent,
    OrderType,
    PriceMark,
    ReferenceRecord,
    Resume,
    SessionOpen,
    Side,
    StrategyRecord,
    StrategyState,
)
from streams.codec import Codec
from streams.partition import Partition
from streams.records import ACCOUNT_INPUTS, Batch, Record, Topic
from streams.recovery import Opened, Recovery
from streams.tables import ACCOUNT_TABLES
from tests.simulation.broker import Crash, Disk, DiskStore, FencedError, Log, LogBroadcast, LogLedger, LogReader
from tests.streams.signed import SIGNERS, keys, signed

ACCOUNTS: Final = ("A", "B", "C", "D")
SYMBOLS: Final = ("X", "Y")
MACHINES: Final = 2
GARBAGE: Final = (b"", b"\xff", b"{}", b"[", b'{"equity":NaN}', None)
SECOND: Final = 1_000_000_000
HOUR: Final = 3600 * SECOND


class Messages:
    """Writes the input topics.

    Args:
        log: Where to.
        chance: Draws what is said.
        signing: Draws who signs it.
    """

    def __init__(self, log: Log, chance: random.Random, signing: random.Random) -> None:
        self._log = log
        self._chance = chance
        self._signing = signing
        self._listed = {Topic.EQUITY_TICKS: "", Topic.REFERENCE: ""}
        """The key that signs what is meant to be obeyed; none where no keys have been written."""
        self._count = 0
        self._equity = dict.fromkeys(ACCOUNTS, 100_000)
        self._sent: list[Record] = []

    def _said(self) -> dict[str, Any]:
        self._log.now += SECOND
        return {"event_time": self._log.now, "actor": "ops", "reason": "test"}

    def _reference(self, record: ReferenceRecord) -> None:
        self._log.append(Topic.REFERENCE, b"any", self._signed(record, Topic.REFERENCE))

    def _signed(self, message: BaseModel, topic: Topic) -> bytes:
        """Return the bytes of a message; a command is signed as it should be, or otherwise."""
        listed = self._listed.get(topic)
        if not listed or not isinstance(message, Command) or not needs_signature(message):
            return canonical_bytes(message)
        by = self._signing.choice((listed, listed, listed, None, *SIGNERS))
        value = signed(message, topic, by)
        return value if self._signing.random() < 0.9 else value.replace(b'"ops"', b'"eve"')

    def _keys(self) -> None:
        """Write other keys to a topic, signed as it should be or otherwise."""
        topic, name = self._signing.choice(list(self._listed)), self._signing.choice(list(SIGNERS))
        self._log.now += SECOND
        value = self._signed(keys(name, at=self._log.now), topic)
        before = self._listed[topic]
        if not before or signed(keys(name, at=self._log.now), topic, before) == value:
            self._listed[topic] = name
        self._log.append(topic, b"any", value)

    def opening(self) -> None:
        """Write what makes decisions possible."""
        self._reference(LimitProfile(**self._said(), profile_id="p", profile_version=1))
        self._reference(AccountRecord(**self._said(), account=EVERY, profile_id="p", currency="USD"))
        self._reference(Instrument(**self._said(), symbol=EVERY, currency="USD"))
        self._reference(StrategyRecord(**self._said(), strategy=EVERY, account=EVERY, state=StrategyState.ENABLED))

    def something(self) -> None:
        """Write one record to one topic, or something that no reader sees."""
        if self._signing.random() < 0.06:
            self._keys()
        self._log.now += self._chance.randrange(3) * SECOND
        if self._chance.random() < 0.01:
            self._log.now += self._chance.choice((HOUR, 8 * 24 * HOUR))  # Rows grow old, and go.
        self._count += 1
        topic = self._chance.choices((*ACCOUNT_INPUTS, Topic.REFERENCE, Topic.DAILY_RETURNS), (6, 3, 5, 1, 1))[0]
        roll = self._chance.random()
        if roll < 0.05:
            self._log.skip(topic)
        elif roll < 0.10 or topic is Topic.DAILY_RETURNS:
            self._log.append(topic, self._chance.choice((b"A", None)), self._chance.choice(GARBAGE))
        elif roll < 0.2 and self._sent:
            again = self._chance.choice(self._sent)
            self._log.append(again.topic, again.key, again.value)
        elif topic is Topic.REFERENCE:
            engaged = self._chance.random() < 0.3
            switch: dict[str, Any] = {"scope": KillScope.SYMBOL, "target": "Y", "mode": KillMode.ALL}
            self._reference(KillSwitch(**self._said(), **switch, engaged=engaged))
        else:
            account = self._chance.choice(ACCOUNTS)
            write = {Topic.ORDER_INTENTS: self._intent, Topic.FILLS: self._fill, Topic.EQUITY_TICKS: self._tick}
            message = write[topic](account)
            self._sent.append(self._log.append(topic, account.encode(), self._signed(message, topic)))

    def _intent(self, account: str) -> OrderIntent:
        return OrderIntent(
            intent_id=f"i{self._count}",
            account=account,
            strategy="s",
            symbol=self._chance.choice(SYMBOLS),
            side=self._chance.choice(list(Side)),
            quantity=Decimal(self._chance.randrange(1, 60)),
            order_type=OrderType.MARKET,
            event_time=self._log.now,
        )

    def _fill(self, account: str) -> Fill:
        return Fill(
            execution_id=f"x{self._count}",
            intent_id=f"i{self._chance.randrange(max(1, self._count - 9), self._count + 1)}",
            account=account,
            symbol=self._chance.choice(SYMBOLS),
            side=self._chance.choice(list(Side)),
            execution_type=self._chance.choice((ExecutionType.TRADE, ExecutionType.TRADE, ExecutionType.CANCELED)),
            last_quantity=Decimal(self._chance.randrange(1, 20)),
            last_price=Decimal(100),
            event_time=self._log.now,
        )

    def _tick(self, account: str) -> EquityMark | SessionOpen | Resume | OperatorHalt:
        roll = self._chance.random()
        at: dict[str, Any] = {"account": account, "event_time": self._log.now}
        if roll < 0.1:
            return Resume(**at, actor="ops", reason="test")
        if roll < 0.15:
            return OperatorHalt(**at, actor="ops", reason="test")
        self._equity[account] = self._equity[account] * self._chance.randrange(90, 110) // 100
        value: dict[str, Any] = {"equity": Decimal(self._equity[account])}
        if roll < 0.2:
            return SessionOpen(**at, **value, actor="feed", session="2023-11-14")
        return EquityMark(**at, **value, marks={s: PriceMark(price=Decimal(100), atr=Decimal(1)) for s in SYMBOLS})


class Worker:
    """One process on one machine."""

    def __init__(self, log: Log, machine: int, disk: Disk, chance: random.Random, faults: float) -> None:
        self.machine = machine
        self._log = log
        self._disk = disk
        self._chance = chance
        self._faults = faults
        self._codec = Codec(1)
        self._broadcast = LogBroadcast(log, self._codec)
        self.partition: Partition
        self.opened: Opened

    async def open(self) -> None:
        """Take the partition over."""
        ledger: Any = LogLedger(self._log, self._chance, self._faults)
        store: Any = DiskStore(self._disk)
        broadcast: Any = self._broadcast
        reader: Any = LogReader(self._log, self._chance, self._faults)
        opened = self.opened = await Recovery(
            ledger, lambda: store, codec=self._codec, broadcast=broadcast, reader=reader
        ).open()
        self.partition = Partition(
            opened.replica,
            broadcast.replica,
            opened.tables,
            store,
            ledger,
            trail=opened.trail,
            next_offsets=opened.next_offsets,
            checkpoint_interval=0,
        )
        ledger.meanwhile = self._fold_something
        self.partition.owe(opened.owed)
        letters = self._broadcast.refused_after(opened.shared_through)
        self.partition.owe(letter for letter in letters if letter.key not in opened.published)

    def deliver(self, topic: Topic) -> None:
        """Hand over some of what is there of a topic, now and then some of it again."""
        expected = self.partition.next_offsets[topic]
        start = max(0, expected - self._chance.choice((0, 0, 0, 3)))
        entries = self._log.entries[topic]
        end = self._chance.randint(start, len(entries))
        records = [each for each in entries[start:end] if each is not None]
        if not records:
            return  # As a fetch of nothing but markers: the next batch begins where the last one ended.
        self._take(Batch(topic, 0, records, start=start, end=end))

    def broadcast(self) -> None:
        """Fold what is there of the shared topics."""
        self.partition.owe(self._broadcast.advance())

    def _fold_something(self) -> None:
        if self._chance.random() < 0.5:
            self.deliver(self._chance.choice(ACCOUNT_INPUTS))

    def deliver_all(self, topic: Topic) -> None:
        """Hand over all that is there of a topic."""
        start, entries = self.partition.next_offsets[topic], self._log.entries[topic]
        records = [each for each in entries[start:] if each is not None]
        if records:
            self._take(Batch(topic, 0, records, start=start, end=len(entries)))

    def _take(self, batch: Batch) -> None:
        if batch.topic is Topic.ORDER_INTENTS:
            self.partition.decide(batch)
        else:
            self.partition.fold(batch)

    async def commit(self, *, checkpoint: bool) -> None:
        """Commit what waits."""
        self.partition._interval = 0.0 if checkpoint else float("inf")
        await self.partition.commit()


class World:
    """One run."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.log = Log()
        self._messages = Messages(self.log, self._chance, random.Random(f"signing {seed}"))
        self.disks = [Disk() for _ in range(MACHINES)]
        self.workers: list[Worker] = []
        """The newest last; the others have been replaced and do not know it."""
        self.machine: int | None = None
        """Where the last worker ran."""
        self.events: list[str] = []

    async def run(self, steps: int) -> None:
        """Let things happen, then let one worker come to the end without faults."""
        self._messages.opening()
        for _ in range(steps):
            action = self._chance.choices(
                (self._say, self._deliver, self._commit, self._start, self._lose_disk), (30, 30, 20, 3, 1)
            )[0]
            await action()
        await self.finish()

    async def _say(self) -> None:
        for _ in range(self._chance.randrange(1, 6)):
            self._messages.something()

    async def _deliver(self) -> None:
        for worker in self._some_workers():
            topic = self._chance.choice((*ACCOUNT_INPUTS, None))
            if topic is None:
                worker.broadcast()
            else:
                worker.deliver(topic)

    async def _commit(self) -> None:
        for worker in self._some_workers():
            try:
                await worker.commit(checkpoint=self._chance.random() < 0.4)
            except (Crash, FencedError) as end:
                self.events.append(type(end).__name__)
                self.workers.remove(worker)

    def _some_workers(self) -> Iterator[Worker]:
        yield from [worker for worker in self.workers if self._chance.random() < 0.7]

    async def _start(self) -> None:
        """Start a worker; those before it are gone, or go on until the broker refuses them."""
        if self._chance.random() < 0.5:
            self.workers.clear()
        # A worker that was replaced has the other machine: RocksDB's lock lets no two share a disk.
        taken = [worker.machine for worker in self.workers]
        free = [machine for machine in range(MACHINES) if machine not in taken]
        if not free:
            return
        await self._open(self._chance.choice(free), faults=0.05)

    async def _open(self, machine: int, *, faults: float) -> None:
        worker = Worker(self.log, machine, self.disks[machine], self._chance, faults)
        try:
            await worker.open()
        except (Crash, FencedError) as end:
            self.events.append(f"{type(end).__name__} while opening")
        else:
            self.workers.append(worker)

    async def _lose_disk(self) -> None:
        machine = self._chance.randrange(MACHINES)
        self.workers = [worker for worker in self.workers if worker.machine != machine]
        self.disks[machine] = Disk()

    async def finish(self) -> None:
        """Let one new worker, without faults, deal with all that is there and write a checkpoint."""
        self.workers.clear()
        if self.machine is None:
            self.machine = self._chance.randrange(MACHINES)
        await self._open(self.machine, faults=0)
        [worker] = self.workers
        worker.broadcast()
        for topic in (Topic.FILLS, Topic.EQUITY_TICKS, Topic.ORDER_INTENTS):
            worker.deliver_all(topic)
        await worker.commit(checkpoint=True)
        await worker.commit(checkpoint=True)

    def lose_every_disk(self) -> None:
        """Leave nothing but the topics."""
        self.disks = [Disk() for _ in range(MACHINES)]

    def vector(self) -> dict[str, Any]:
        """Return what the last checkpoint says of its partition."""
        assert self.machine is not None
        vector = DiskStore(self.disks[self.machine]).vector()
        assert vector is not None
        state: dict[str, Any] = vector["state"]
        return state

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the rows of the last checkpoint."""
        assert self.machine is not None
        return {table: DiskStore(self.disks[self.machine]).rows(table) for table in ACCOUNT_TABLES}

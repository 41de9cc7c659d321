"""What an audit costs: rate, share of `decide`, memory over a long log. `python -m tests.benchmarks.audit --help`.

The log is synthesized through the replica and `decide`, without a broker, into one file for each partition and topic.
Then it is audited from these files, a process for each partition, with every check that an audit has.
"""

import argparse
import asyncio
import marshal
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, NamedTuple

from models.canonical import canonical_bytes
from models.messages import EquityMark, ExecutionType, Fill, OrderIntent, OrderType, PriceMark, Side
from models.state import Shared, State
from streams.audit import PartitionAudit, Scope, Verdict
from streams.audit.accounts import StateOnDisk
from streams.audit.judgement import Begin
from streams.audit.watch import Absence
from streams.codec import Codec, encode_decision, encode_halt
from streams.publisher import destination
from streams.records import SHARED_INPUTS, Record, Topic
from streams.replay import replicas
from streams.starter import starter_records

SYMBOLS = ("AAPL", "MSFT", "XOM", "JPM", "SPY")
START = 1_700_000_000 * 10**9
RECORDED = 1_990_000_000 * 10**9
"""Every record's time: after whatever is said in it."""
STEP = 30 * 10**9
"""From one intent to the next: a long log is long in time too, so that ids, approvals and executions grow old."""
BATCH = 500
MODES = "fold: chains verified, nothing decided, as before --from"


class Message(NamedTuple):
    """One record of an input topic."""

    topic: Topic
    key: bytes
    value: bytes


def messages(decisions: int, accounts: list[str]) -> Iterator[Message]:
    """Yield inputs until there are so many intents."""
    chance = random.Random(1)
    now = START

    def message(content: Any) -> Message:
        topic, key = destination(content)
        return Message(topic, key or b"", canonical_bytes(content))

    def mark(account: str) -> EquityMark:
        equity = Decimal(chance.randrange(99_000, 101_000))
        marks = dict.fromkeys(SYMBOLS, PriceMark(price=Decimal(100), atr=Decimal(1)))
        return EquityMark(account=account, event_time=now, equity=equity, marks=marks)

    for each in starter_records("USD", event_time=1):
        yield message(each)
    for account in accounts:
        yield message(mark(account))
    for number in range(decisions):
        now += STEP
        account = chance.choice(accounts)
        intent = OrderIntent(
            intent_id=f"i-{number}",
            account=account,
            strategy="s",
            symbol=chance.choice(SYMBOLS),
            side=chance.choice(list(Side)),
            quantity=Decimal(chance.randrange(1, 40)),
            order_type=OrderType.MARKET,
            event_time=now,
        )
        yield message(mark(account))
        yield message(intent)
        if number % 4 == 0:
            fill = Fill(
                execution_id=f"x-{number}",
                intent_id=intent.intent_id,
                account=account,
                symbol=intent.symbol,
                side=intent.side,
                execution_type=ExecutionType.TRADE,
                last_quantity=Decimal(chance.randrange(1, 10)),
                last_price=Decimal(100),
                event_time=now,
            )
            yield message(fill)


class Tape:
    """One partition's topics as files of marshalled batches."""

    def __init__(self, folder: Path, partition: int) -> None:
        self._folder = folder
        self._partition = partition

    def path(self, topic: Topic) -> Path:
        """Return where a topic is."""
        return self._folder / f"{self._partition}-{topic.value}"

    def records(self, topic: Topic, start: int = 0) -> AsyncGenerator[list[Record]]:
        """Be the source of an audit."""

        async def batches() -> AsyncGenerator[list[Record]]:
            if not self.path(topic).exists():
                return
            partition = 0 if topic in SHARED_INPUTS else self._partition
            with self.path(topic).open("rb") as file:
                while batch := _load(file):
                    records = [Record(topic, partition, *fields) for fields in batch if fields[0] >= start]
                    if records:
                        yield records

        return batches()

    async def absent(self, topic: Topic, start: int, end: int) -> Absence:
        """Say that nothing is where no record is."""
        del topic
        return Absence(deleted=end - start)


def _load(file: IO[bytes]) -> list[tuple[int, int, bytes | None, bytes | None]]:
    try:
        batch: list[tuple[int, int, bytes | None, bytes | None]] = marshal.load(file)  # noqa: S302  # our own
    except EOFError:
        return []
    return batch


class Writer:
    """Writes a tape, and takes the decisions on it."""

    def __init__(self, tape: Tape, partition: int, partitions: int) -> None:
        self._tape = tape
        self._partition = partition
        self._shared, self._replica = replicas(partition, Codec(partitions), State(Shared()))
        self._batches: dict[Topic, list[tuple[int, int, bytes | None, bytes | None]]] = {topic: [] for topic in Topic}
        self._next = dict.fromkeys(Topic, 0)

    def append(self, topic: Topic, key: bytes | None, value: bytes | None) -> Record:
        """Append one record."""
        partition = 0 if topic in SHARED_INPUTS else self._partition
        record = Record(topic, partition, self._next[topic], RECORDED, key, value)
        self._next[topic] += 1
        self._batches[topic].append((record.offset, record.time, key, value))
        if len(self._batches[topic]) >= BATCH:
            self.flush(topic)
        return record

    def flush(self, topic: Topic) -> None:
        """Write what was appended."""
        with self._tape.path(topic).open("ab") as file:
            marshal.dump(self._batches[topic], file)
        self._batches[topic].clear()

    def take(self, message: Message) -> None:
        """Append a message, and what the gate makes of it."""
        record = self.append(*message)
        state = self._replica.state
        if message.topic in SHARED_INPUTS:
            self._shared.fold(record)
            return
        if message.topic is Topic.ORDER_INTENTS:
            decision = self._replica.decide(record)
            state.fold_decision(decision)
            self.append(*encode_decision(decision)[:3])
            account = decision.account
        else:
            account = self._replica.fold(record).account
        halt = None if account is None else self._replica.evaluate(account)
        if halt is not None:
            state.fold_halt(halt)
            self.append(*encode_halt(halt)[:3])


class Shares:
    """CPU time of parts, each a method that is called through."""

    def __init__(self) -> None:
        self.spent: dict[str, int] = {}
        """By part, ns."""

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Count what a method takes. Its share is some tenths of a microsecond too large for each call."""
        method = getattr(owner, name)
        self.spent[part] = 0

        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.thread_time_ns()
            try:
                return method(*arguments, **named)
            finally:
                self.spent[part] += time.thread_time_ns() - started

        setattr(owner, name, timed)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def memory() -> float:
    """Return what this process holds now, in MiB."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  # no file on a disk
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def synthesize(folder: Path, partition: int, partitions: int, decisions: int, accounts: int) -> None:
    """Write one partition's log."""
    codec = Codec(partitions)
    names = [name for n in range(accounts * partitions * 2) if codec.partition_of(name := f"A-{n}") == partition]
    writer = Writer(Tape(folder, partition), partition, partitions)
    for number, message in enumerate(messages(decisions, names[:accounts])):
        writer.take(message)
        if number % 10_000 == 0:
            for account in writer._replica.state.accounts.values():  # type: ignore[attr-defined]
                for table in (account.drawdown, account.book, account.ledger):
                    table.dirty.clear()  # nobody writes checkpoints here
    for topic in Topic:
        writer.flush(topic)
    say(f"partition {partition}: {decisions} decisions synthesized")


def audit(folder: Path, partition: int, partitions: int, decisions: int, mode: str) -> None:
    """Audit one partition and print its rate, and its memory as it goes."""
    tape, verdict = Tape(folder, partition), Verdict()
    every = max(1, decisions // 20)
    started, cpu, shown = time.monotonic(), time.process_time(), [every]

    def progress(offset: int) -> None:
        if offset >= shown[0]:
            shown[0] += every
            rate = offset / (time.monotonic() - started)
            say(f"partition {partition}: {offset} decisions, {rate:.0f}/s, {memory():.1f} MiB")

    scope = Scope(since=2 * 10**18) if mode == "fold" else Scope()
    with StateOnDisk() as disk:
        audited = PartitionAudit(
            partition,
            Codec(partitions),
            tape,
            verdict,
            progress,
            scope=scope,
            begin=Begin(disk.state),
            absent=tape.absent,
            tidy=disk.tidy,
        )
        shares = Shares()
        replay: Any = audited._replay
        shares.watch(replay.replica, "decide", "decide")
        shares.watch(replay.replica, "fold", "inputs folded")
        shares.watch(audited.state, "fold_decision", "decisions folded")
        shares.watch(audited.state, "evaluate", "status evaluated")
        shares.watch(audited, "_tidy", "rows to disk")
        asyncio.run(audited.run())
    cpu = time.process_time() - cpu
    count = verdict.decisions + verdict.passed
    say(
        f"partition {partition}: clean={verdict.clean} {count} decisions in {time.monotonic() - started:.1f} s;"
        f" CPU per decision {1e6 * cpu / count:.0f} us: {count / cpu:.0f} per second and core;"
        f" peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.1f} MiB"
    )
    own = 1e6 * cpu / count - sum(nanoseconds for nanoseconds in shares.spent.values()) / 1000 / count
    parts = ", ".join(f"{part} {nanoseconds / 1000 / count:.1f}" for part, nanoseconds in shares.spent.items())
    say(f"partition {partition}: of it, us: {parts}, everything else {own:.1f}")
    for finding in verdict.findings[:3]:
        say(str(finding))


def main() -> None:
    """Synthesize, then audit."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.audit", description=__doc__)
    parser.add_argument("--decisions", type=int, default=20_000, help="of each partition")
    parser.add_argument("--partitions", type=int, default=2, help="and processes")
    parser.add_argument("--accounts", type=int, default=50, help="of each partition")
    parser.add_argument("--mode", choices=("decide", "fold"), default="decide", help=MODES)
    parser.add_argument("--folder", type=Path, help="where the log is kept; made there if it is missing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="seawall-bench-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        count = (options.partitions, options.decisions)
        if not any(folder.iterdir()):
            _each(synthesize, folder, *count, options.accounts)
        _each(audit, folder, *count, options.mode)


def _each(target: Any, folder: Path, partitions: int, *arguments: Any) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=target, args=(folder, number, partitions, *arguments)) for number in range(partitions)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        sys.exit("a process failed")


if __name__ == "__main__":
    main()

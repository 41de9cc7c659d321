"""Auditing a gate: its partitions one after the other in this process, or in several processes at once."""

import asyncio
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from streams.access import GateError, find_gate, no_broker
from streams.audit.accounts import StateOnDisk
from streams.audit.anchors import Anchored, load_anchor, write_anchor, write_heads, write_limits
from streams.audit.broker import AuditError, Log, Plan, plan, require_beginnings
from streams.audit.judgement import Begin, Judgement, Scope
from streams.audit.partition import PartitionAudit
from streams.audit.verdict import Covered, Verdict
from streams.codec import Codec
from streams.config import Settings
from streams.operations import OperatorError
from streams.records import Topic, TopicPartition

SMALL: Final = 5_000
"""Offsets of risk-decisions up to which more processes than this one cost more than they win."""
_POLL: Final = 0.2


class Progress(NamedTuple):
    """How far an audit has come."""

    done: int
    """Offsets of risk-decisions gone through, of all partitions."""
    total: int


class Work(NamedTuple):
    """What every process is told."""

    settings: Settings
    plan: Plan
    scope: Scope
    anchored: Anchored | None
    """What to go on from."""
    folder: Path | None
    """Where the partitions' shares of the evidence go."""
    first: int
    """The partition that writes what is the same for all."""


class Share(NamedTuple):
    """What came of one partition."""

    verdict: Verdict
    covered: list[Covered]


class Result(NamedTuple):
    """What came of an audit."""

    verdict: Verdict
    covered: list[Covered]
    plan: Plan


def jobs_for(found: Plan, partitions: int) -> int:
    """Return how many processes suit what there is to read."""
    total = sum(bounds.end for place, bounds in found.bounds.items() if place.topic is Topic.RISK_DECISIONS)
    return 1 if total <= SMALL else min(partitions, os.cpu_count() or 1)


@contextmanager
def naming_errors(settings: Settings) -> Iterator[None]:
    """Say in one line what keeps an audit from running.

    Raises:
        GateError: In place of what the client raises.
    """
    try:
        yield
    except OffsetOutOfRangeError as error:
        raise AuditError(f"records were deleted while the audit read them: {error}") from error
    except KafkaError as error:
        raise no_broker(settings, error) from error


async def run(
    settings: Settings,
    report: Callable[[Progress], object] = lambda _progress: None,
    *,
    scope: Scope = Scope(),  # noqa: B008  # immutable
    jobs: int | None = 1,
    anchored: Anchored | None = None,
    folder: Path | None = None,
) -> Result:
    """Audit everything that the topics hold now.

    Args:
        settings: How to reach the broker.
        report: Is told now and then how far it has come.
        scope: What is to be judged.
        jobs: How many processes to use; None for as many as there are cores, where there is enough to do.
        anchored: An earlier evidence folder to go on from.
        folder: Where each partition's chain heads, and its anchor, are written.

    Raises:
        AuditError: If the topics do not begin at their beginning, a process was lost, or nothing names the account.
        GateUnavailableError: If there is no broker, or no topics.
    """
    with naming_errors(settings):
        found = await plan(settings, await find_gate(settings))
        if anchored is None:
            require_beginnings(found)
        count = found.layout.partitions
        numbers = list(range(count)) if scope.account is None else [Codec(count).partition_of(scope.account)]
        jobs = min(jobs_for(found, len(numbers)) if jobs is None else jobs, len(numbers))
        work = Work(settings, found, scope, anchored, folder, numbers[0])
        meter = _Meter(found, numbers, report)
        if jobs == 1:
            shares = [await audit_partition(work, number, meter.of(number)) for number in numbers]
        else:
            shares = await _in_processes(work, numbers, jobs, meter)
    verdict = Verdict()
    for share in shares:
        verdict.add(share.verdict)
    # Each partition read the shared topics, some further than others.
    covered: dict[tuple[str, int], Covered] = {}
    for each in (each for share in shares for each in share.covered):
        place = (each.topic, each.partition)
        if place not in covered or covered[place].end < each.end:
            covered[place] = each
    return Result(verdict, list(covered.values()), found)


async def judge(
    settings: Settings,
    verdict: Verdict,
    scope: Scope = Scope(),  # noqa: B008  # immutable
) -> AsyncGenerator[Judgement]:
    """Yield what comes of each decision and halt, partition by partition; what else is found is in the verdict."""
    with naming_errors(settings):
        found = await plan(settings, await find_gate(settings))
        require_beginnings(found)
        codec = Codec(found.layout.partitions)
        numbers = range(codec.partitions) if scope.account is None else [codec.partition_of(scope.account)]
        async with Log(settings, found) as log:
            for number in numbers:
                with StateOnDisk() as disk:
                    source = log.of(number)
                    async for judgement in PartitionAudit(
                        number,
                        codec,
                        source,
                        verdict,
                        scope=scope,
                        begin=Begin(disk.state),
                        absent=source.absent,
                        tidy=disk.tidy,
                    ).judgements():
                        yield judgement


async def audit_partition(work: Work, number: int, progress: Callable[[int], object]) -> Share:
    """Audit one partition, and write its share of the evidence."""
    verdict = Verdict()
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(Log(work.settings, work.plan))
        disk = stack.enter_context(StateOnDisk())
        source = log.of(number)
        begin = Begin(disk.state)
        if work.anchored is not None:
            begin = await load_anchor(work.anchored, number, disk, log)

        def at_end() -> None:
            if work.folder is not None:
                disk.tidy(audit.state)
                write_heads(work.folder, number, disk, audit.state)
                if number == work.first:
                    write_limits(work.folder, disk, audit.state)
                if verdict.clean and work.scope.account is None:
                    write_anchor(work.folder, audit, disk)

        audit = PartitionAudit(
            number,
            Codec(work.plan.layout.partitions),
            source,
            verdict,
            progress,
            scope=work.scope,
            begin=begin,
            absent=source.absent,
            tidy=disk.tidy,
            at_end=at_end,
            fingerprinted=work.folder is not None,
        )
        await audit.run()
        account = work.scope.account
        if account is not None and not any(audit.chains(account)):
            raise AuditError(f"no decision or halt names account {account}: see how it is spelled")
        return Share(verdict, audit.covered())


class _Meter:
    """Adds up how far the partitions have come."""

    def __init__(self, found: Plan, numbers: list[int], report: Callable[[Progress], object]) -> None:
        ends = {number: found.bounds[TopicPartition(Topic.RISK_DECISIONS, number)].end for number in numbers}
        self._total = sum(ends.values())
        self._done = dict.fromkeys(ends, 0)
        self._report = report

    def at(self, number: int, offset: int) -> None:
        """Take in how far a partition has come."""
        self._done[number] = offset + 1
        self._report(Progress(sum(self._done.values()), self._total))

    def of(self, number: int) -> Callable[[int], object]:
        """Return what a partition's audit calls."""
        return lambda offset: self.at(number, offset)


async def _in_processes(work: Work, numbers: list[int], jobs: int, meter: _Meter) -> list[Share]:
    stop = threading.Event()
    try:
        return await asyncio.to_thread(_drive, work, numbers, jobs, meter, stop)
    finally:
        stop.set()


def _drive(work: Work, numbers: list[int], jobs: int, meter: _Meter, stop: threading.Event) -> list[Share]:
    """Hand partitions to processes until all are done."""
    context = multiprocessing.get_context("spawn")  # a fork would take this process's threads and connections along
    todo, shares = deque(numbers), dict[int, Share]()
    busy: dict[Any, int] = {}
    processes = []
    try:
        for _ in range(jobs):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            process.start()
            theirs.close()
            processes.append((process, ours))
            busy[ours] = todo.popleft()
            ours.send(busy[ours])
        while busy and not stop.is_set():
            ready: list[Any] = list(multiprocessing.connection.wait(list(busy), _POLL))
            for connection in ready:
                number = busy[connection]
                share = _heard(connection, number, meter)
                if share is None:
                    continue
                shares[number] = share
                if todo:
                    busy[connection] = todo.popleft()
                    connection.send(busy[connection])
                else:
                    del busy[connection]
    finally:
        for process, connection in processes:
            connection.close()
            process.terminate()
            process.join()
    return [shares[number] for number in numbers if number in shares]


def _heard(connection: Any, number: int, meter: _Meter) -> Share | None:  # noqa: ANN401  # a class of each platform
    """Take in what a process says; return its partition's share once it is done."""
    try:
        said = connection.recv()
    except EOFError:
        raise AuditError(
            f"the process that audited partition {number} was killed: see whether memory ran out, or use --jobs 1"
        ) from None
    match said:
        case int():
            meter.at(number, said)
            return None
        case Share():
            return said
        case Exception():
            raise said
    raise RuntimeError(f"auditing partition {number}:\n{said}")


def _serve(connection: Any, work: Work) -> None:  # noqa: ANN401  # a class of each platform
    """Audit the partitions that come through the pipe. Runs in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends this process
    logging.disable(logging.CRITICAL)
    try:
        while True:
            number = connection.recv()
            connection.send(_one(work, number, connection.send))
    except (EOFError, BrokenPipeError):
        return


def _one(work: Work, number: int, progress: Callable[[int], object]) -> object:
    async def whole() -> Share:
        with naming_errors(work.settings):
            return await audit_partition(work, number, progress)

    try:
        return asyncio.run(whole())
    except Exception as error:  # noqa: BLE001  # the parent says it
        return AuditError(str(error)) if isinstance(error, GateError | OperatorError) else traceback.format_exc()

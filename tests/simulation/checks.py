"""What must hold after any run, and how many runs are judged at once."""

import asyncio
import os
import traceback
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import pytest

from models.decisions import AccountStatus, DecisionStatus, RiskDecision, TradingHalt
from models.messages import AccountRecord, LimitProfile, Resume, SessionOpen
from models.state import State
from streams import recovery
from streams.audit import PartitionAudit, Verdict
from streams.checkpoint import Vector, anchors_of
from streams.codec import Codec
from streams.records import Record, Topic
from streams.recovery import Source
from streams.replica import Replica, SharedReplica
from streams.store import VECTOR_KEY
from streams.tables import AccountTables, changed_rows
from tests.judge import Log, check_dead_letters, check_decisions, check_halts
from tests.simulation.messages import ACCOUNTS
from tests.simulation.world import World

STEPS: Final = 80
AUDITED: Final = 10
"""One in so many logs is audited as well: the judge checks the same, in other words, of every one."""
FOREIGN: Final = "a disk of another log is noticed"
BEHIND: Final = "a disk is given up: it is behind, and much has happened since"
GIVEN_UP: Final = {
    "another version was here": "a disk is given up: another version was here",
    "is behind it": "a disk is given up: another owner began anew",
    "checkpoint is newer": BEHIND,
}
"""Why a disk of this log may be of no use."""
CHUNK: Final = 25
"""Seeds that one process is given at a time."""
FOLDED: Final = (Topic.RISK_DECISIONS, Topic.TRADING_HALTS, Topic.FILLS, Topic.EQUITY_TICKS)
Rows = dict[str, dict[str, Any]]


class Outcome(NamedTuple):
    """What came of many runs."""

    happened: Counter[str]
    failures: dict[int, str]
    """By seed, what did not hold."""


def run_everywhere(seeds: Sequence[int]) -> Outcome:
    """Run and judge these worlds on every core."""
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    happened: Counter[str] = Counter()
    failures: dict[int, str] = {}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for outcome in pool.map(run_seeds, chunks):
            happened += outcome.happened
            failures |= outcome.failures
    return Outcome(happened, failures)


def run_seeds(seeds: Iterable[int]) -> Outcome:
    """Run and judge each of these worlds."""
    happened: Counter[str] = Counter()
    failures = {}
    for seed in seeds:
        try:
            happened += check_seed(seed)
        except Exception as error:  # noqa: BLE001  # whatever it is, its seed must be named
            failures[seed] = _described(error)
    return Outcome(happened, failures)


def _described(error: Exception) -> str:
    """Return what did not hold, and where that was noticed."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    said = str(error).strip().partition("\n")[0] or frame.line
    return f"{Path(frame.filename).name}:{frame.lineno}: {type(error).__name__}: {said}"


def check_seed(seed: int) -> Counter[str]:
    """Run the world of one seed and check all that must hold. Return what happened in it."""
    world = World(seed)

    def say(event: str, **fields: object) -> None:
        assert fields["checkpoint"] is Source.DISK, f"{event}: {fields}"
        why = next((kind for said, kind in GIVEN_UP.items() if said in str(fields["because"])), FOREIGN)
        if why == FOREIGN:
            assert any(disk.foreign for disk in world.disks), f"{event}: {fields}"
        elif why != BEHIND:
            assert world.happened["another version writes checkpoints"], f"{event}: {fields}"
        world.happened[why] += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "say", say)
        patch.setattr(Codec, "_read", _reading_once())
        asyncio.run(world.run(STEPS))
        check_world(world)
        if seed % AUDITED == 0:
            check_audit(world.log.records())
    return world.happened


def _reading_once() -> Callable[..., Any]:
    """Return what reads a record as the codec does, but each once: every owner and every check reads them again."""
    read, messages = Codec._read, dict[Record, Any]()

    def reading(codec: Codec, record: Record, *arguments: Any) -> Any:
        if record not in messages:
            messages[record] = read(codec, record, *arguments)
        return messages[record]

    return reading


def check_world(world: World) -> None:
    """Check the log that a world has left, and the last checkpoint."""
    log, codec = world.log.records(), Codec(1)
    decisions = check_decisions(log, codec, 0)
    halts = check_halts(log, codec, 0)
    letters = check_dead_letters(log, codec, 0)
    assert len(log[Topic.DEAD_LETTERS]) == letters, "a dead letter stands twice"
    check_epochs(world, log)
    check_knowledge(world, log, decisions, halts)
    check_approvals(decisions)
    check_releases(log, codec, halts)
    check_checkpoint(world, log)
    world.happened["a halt is published"] += len(halts)
    world.happened["a dead letter is published"] += letters


def check_audit(log: Log) -> None:
    """Check that the program's own audit has nothing to say against the log, and leaves nothing out."""

    class Source:
        def records(self, topic: Topic, start: int = 0) -> AsyncGenerator[list[Record]]:
            async def batches() -> AsyncGenerator[list[Record]]:
                yield [record for record in log[topic] if record.offset >= start]

            return batches()

    verdict = Verdict()
    asyncio.run(PartitionAudit(0, Codec(1), Source(), verdict).run())
    assert verdict.clean, f"the audit says: {verdict.findings[0]}"
    assert verdict.undecided == 0


def check_epochs(world: World, log: Log) -> None:
    """Check that no owner wrote after a newer one."""
    for topic, epochs in world.log.epochs.items():
        published = [epochs[record.offset] for record in log[topic] if record.offset in epochs]
        assert all(earlier <= later for earlier, later in pairwise(published)), "an older owner wrote after a newer"


def check_knowledge(world: World, log: Log, decisions: list[RiskDecision], halts: list[TradingHalt]) -> None:
    """Check that each owner knew every limit and kill switch that stood when it took over, or that another knew."""
    for record, decision in zip(log[Topic.RISK_DECISIONS], decisions, strict=True):
        stood = world.log.known_at_fence[record.topic, record.offset]
        assert decision.as_of.reference >= stood, f"{record.place} was taken without the end of reference"
    known: defaultdict[int, list[int]] = defaultdict(list)
    outputs: tuple[tuple[Topic, Sequence[RiskDecision | TradingHalt]], ...] = (
        (Topic.RISK_DECISIONS, decisions),
        (Topic.TRADING_HALTS, halts),
    )
    for topic, messages in outputs:
        for record, message in zip(log[topic], messages, strict=True):
            known[world.log.epochs[topic][record.offset]].append(message.as_of.reference)
    for earlier, later in pairwise(sorted(known)):
        assert max(known[earlier]) <= min(known[later]), f"owner {later} knew less of reference than owner {earlier}"


def check_approvals(decisions: list[RiskDecision]) -> None:
    """Check that no intent was approved twice, however often it was sent."""
    approved = Counter((each.account, each.intent_id) for each in decisions if each.status is DecisionStatus.APPROVED)
    twice = [intent for intent, times in approved.items() if times > 1]
    assert not twice, f"approved more than once: {twice}"


def check_releases(log: Log, codec: Codec, halts: list[TradingHalt]) -> None:
    """Check that a HALT ended only by a recorded act: a resume, the first opening of a session, or other limits."""
    acts: dict[str, list[int]] = {name: [] for name in ACCOUNTS}
    opened: set[tuple[str, str]] = set()
    refused = {letter.key for letter in log[Topic.DEAD_LETTERS]}
    for record in log[Topic.EQUITY_TICKS]:
        if f"{record.topic}-0-{record.offset}".encode() in refused:
            continue  # One that is not signed as it should be opens nothing.
        tick = codec.equity_tick(record)
        if isinstance(tick, Resume):
            acts[tick.account].append(record.offset)
        elif isinstance(tick, SessionOpen) and (tick.account, tick.session) not in opened:
            opened.add((tick.account, tick.session))
            acts[tick.account].append(record.offset)
    limits = [
        each.offset
        for each in log[Topic.REFERENCE]
        if isinstance(codec.reference(each), LimitProfile | AccountRecord)
    ]
    last: dict[str, TradingHalt] = {}
    for halt in halts:
        before = last.get(halt.account)
        last[halt.account] = halt
        if before is None or before.status is not AccountStatus.HALT or halt.status is AccountStatus.HALT:
            continue
        acted = any(before.as_of.equity_ticks < act <= halt.as_of.equity_ticks for act in acts[halt.account])
        changed = any(before.as_of.reference < change <= halt.as_of.reference for change in limits)
        assert acted or changed, f"halt {before.seq} of {halt.account} ended without an act"


def check_checkpoint(world: World, log: Log) -> None:
    """Check that the disk and the topic hold the same rows and vector, and those are what the whole log gives."""
    rows, vector = topic_checkpoint(log)
    assert world.rows() == rows, "the topic holds other rows than the disk"
    assert world.machine is not None
    assert world.disks[world.machine].vector == vector, "the topic holds another vector than the disk"
    replica = fresh_replica(log)
    assert rows == rows_of(replica), "the checkpoint holds other rows than the log gives"
    # Records that are no message change no row, and are no reason for a checkpoint: they may still come after it.
    store: Any = world.store()
    resumed = Replica(0, Codec(1), State(SharedReplica(Codec(1)).shared, AccountTables(store)))
    resumed.state.restore(vector["state"])
    for topic in FOLDED:
        for record in log[topic][bisect_right(log[topic], anchor_of(vector, topic), key=lambda each: each.offset) :]:
            resumed.fold(record)
    assert not resumed.state.changed, "the checkpoint lacks records of accounts"
    assert resumed.state.vector() == replica.state.vector(), (
        "the checkpoint and what comes after it give another state"
    )


def anchor_of(vector: Vector, topic: Topic) -> int:
    """Return the last offset of a topic that a checkpoint knows, -1 for none."""
    anchor = anchors_of(vector).get(topic)
    return -1 if anchor is None else anchor.offset


def topic_checkpoint(log: Log) -> tuple[Rows, Any]:
    """Return the rows and the vector that the `checkpoints` topic holds."""
    rows: Rows = {"drawdown": {}, "heatmap": {}, "ledger": {}}
    vector = None
    newest: dict[bytes | None, Record] = {record.key: record for record in log[Topic.CHECKPOINTS]}
    for key, record in newest.items():
        if key == VECTOR_KEY:
            vector = orjson.loads(record.value or b"null")
        elif record.value is not None:
            table, _, name = (key or b"").decode().partition("\0")
            rows[table][name] = orjson.loads(record.value)
    return rows, vector


def fresh_replica(log: Log) -> Replica:
    """Return the state that a fold of the whole log gives."""
    shared = SharedReplica(Codec(1))
    replica = Replica(0, Codec(1), State(shared.shared))
    for topic in FOLDED:
        for record in log[topic]:
            replica.fold(record)
    return replica


def rows_of(replica: Replica) -> Rows:
    """Return the rows of a state that was folded in memory."""
    rows: Rows = {"drawdown": {}, "heatmap": {}, "ledger": {}}
    for name in ACCOUNTS:
        account = replica.state.accounts[name]
        for table, state in (("drawdown", account.drawdown), ("heatmap", account.book), ("ledger", account.ledger)):
            for row in changed_rows(table, state, f"{name}\0"):
                if row.value is not None:
                    rows[table][row.key.decode()] = orjson.loads(row.value)
    return rows


def fresh_rows(world: World) -> Rows:
    """Return the rows that a fold of the whole log gives."""
    return rows_of(fresh_replica(world.log.records()))

"""Prove every decision from the topics alone: fold to its `as_of`, decide again, compare bytes.

For each partition, in order:

1. Each record of `order-intents` has exactly one decision, and they come in the order of the records.
2. Each decision comes out the same, byte for byte, when every input is folded to its `as_of`; its chain of digests,
   the sequence and the key with it.
3. Each halt comes out the same likewise, and no change of status lacks its halt. A halt is missing only if every
   offset of `reference` that the worker may have known then calls for one (docs/risk.md section 8).
4. Each record that is no message, and only such a record, has its dead letter.

What the worker has not come to yet (intents without a decision at the end, ticks after the last decision) is counted
and not judged.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

import orjson
from aiokafka.errors import KafkaError

from models.canonical import canonical_bytes
from models.decisions import RULES, AsOf, RiskDecision, TradingHalt
from streams.access import GateError, Layout, find_gate, no_broker
from streams.codec import Codec, LedgerError, decode_decision, decode_halt
from streams.config import Settings
from streams.reader import Bounds, Reader
from streams.records import SHARED_INPUTS, Record, Topic, TopicPartition
from streams.replay import INPUTS, Cursor, Replay, Source, UnreachableError
from streams.replica import Folded

OUTPUTS: Final = (Topic.RISK_DECISIONS, Topic.TRADING_HALTS, Topic.DEAD_LETTERS)
PROGRESS_EVERY: Final = 200
MISSING: Final = object()

M = TypeVar("M", bound=RiskDecision | TradingHalt)


class AuditError(GateError):
    """The audit could not run."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as the topics say it must be."""

    place: str
    """The record, as topic/partition@offset."""
    what: str
    field: str | None = None
    """Of a record that differs: the first field that does, as a path."""
    recorded: str | None = None
    """The field's value in the topic, as JSON."""
    reproduced: str | None = None
    """The value that comes out."""
    as_of: Mapping[str, int] | None = None
    """The offsets at which it comes out."""

    def __str__(self) -> str:
        text = f"{self.place}: {self.what}"
        if self.field is not None:
            text += f": {self.field} is {self.recorded}, comes out as {self.reproduced}"
        if self.as_of is not None:
            text += " at " + ", ".join(f"{name} {offset}" for name, offset in self.as_of.items())
        return text


@dataclass
class Verdict:
    """What an audit found."""

    decisions: int = 0
    reproduced: int = 0
    diverged: int = 0
    """Decisions that come out differently."""
    halts: int = 0
    halts_reproduced: int = 0
    dead_letters: int = 0
    undecided: int = 0
    """Intents at the end of the topic that have no decision yet."""
    unjudged: int = 0
    """Input records after the last decision or halt; what they call for may still be on its way."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything that could be judged is as it must be."""
        return not self.findings

    @property
    def summary(self) -> str:
        """The verdict in one line."""
        return (
            f"audit: {self.decisions} decisions, {self.reproduced} reproduced byte for byte, {self.diverged} diverged"
        )


async def audit(settings: Settings, progress: Callable[[Verdict], object] = lambda _verdict: None) -> Verdict:
    """Audit everything that the topics hold now.

    Args:
        settings: How to reach the broker.
        progress: Called now and then with the verdict as far as it has come.

    Raises:
        AuditError: If the topics do not begin at their beginning.
        GateUnavailableError: If there is no broker, or no topics.
    """
    layout = await find_gate(settings)
    verdict = Verdict()
    codec = Codec(layout.partitions)
    try:
        async with _Log(settings, layout) as log:
            for partition in range(layout.partitions):
                await PartitionAudit(partition, codec, log.of(partition), verdict, progress).run()
    except KafkaError as error:
        raise no_broker(settings, error) from error
    return verdict


class PartitionAudit:
    """The audit of one partition.

    Args:
        partition: Its number.
        codec: Reads records.
        source: The partition's records; it can be begun again.
        verdict: What is found is added to it.
        progress: Called now and then with the verdict.
    """

    def __init__(
        self,
        partition: int,
        codec: Codec,
        source: Source,
        verdict: Verdict,
        progress: Callable[[Verdict], object] = lambda _verdict: None,
    ) -> None:
        self.partition = partition
        self.verdict = verdict
        self._codec = codec
        self._source = source
        self._progress = progress
        self._replay = Replay(partition, codec, source, self._folded)
        self._intents = Cursor(source.records(Topic.ORDER_INTENTS))
        self._decisions = Cursor(source.records(Topic.RISK_DECISIONS))
        self._halts = Cursor(source.records(Topic.TRADING_HALTS))
        self._letters: dict[str, bytes | None] = {}
        """The dead letters found and not yet accounted for."""
        self._toward: TradingHalt | None = None
        """The halt that is being led up to."""
        self._in_tail = False

    async def run(self) -> None:
        """Audit the partition from its beginning to its end."""
        try:
            await self._run()
        finally:
            await self._replay.close()
            for cursor in (self._intents, self._decisions, self._halts):
                await cursor.close()

    async def _run(self) -> None:
        async for records in self._source.records(Topic.DEAD_LETTERS):
            self._letters.update(((record.key or b"").decode(errors="replace"), record.value) for record in records)
        while True:
            decision, halt = (
                await self._next(self._decisions, decode_decision),
                await self._next(self._halts, decode_halt),
            )
            if halt is not None and self._comes_before(halt[1], None if decision is None else decision[1]):
                await self._halts.take()
                await self._judge_halt(*halt)
            elif decision is not None:
                await self._decisions.take()
                await self._judge_decision(*decision)
            else:
                break
        await self._finish()

    async def _next(self, cursor: Cursor, decode: Callable[[Record], M]) -> tuple[Record, M] | None:
        """Return the next record and the message in it; what is none is named and passed over."""
        while (record := await cursor.peek()) is not None:
            try:
                return record, decode(record)
            except LedgerError as error:
                self._find(record.place, str(error))
                await cursor.take()
        return None

    def _comes_before(self, halt: TradingHalt, decision: RiskDecision | None) -> bool:
        """Tell whether the halt was published before the next decision was taken."""
        if decision is None:
            return True
        known = self._replay.state.accounts[halt.account].ledger.decisions.seq
        if known != halt.decision_seq:
            return known > halt.decision_seq
        return all(getattr(halt.as_of, name) <= getattr(decision.as_of, name) for name in INPUTS.values())

    # --- decisions

    async def _judge_decision(self, record: Record, decision: RiskDecision) -> None:
        self.verdict.decisions += 1
        intent = await self._intent_of(record, decision)
        if intent is None:
            self.verdict.diverged += 1
            return
        same = False
        try:
            await self._replay.advance(decision.as_of)
        except UnreachableError:
            self._find(record.place, "its as_of goes back behind the decision or halt before it")
        else:
            same = self._compare(record, decision, self._replay.replica.decide(intent, rules=decision.rules))
        self.verdict.reproduced += same
        self.verdict.diverged += not same
        self._replay.state.fold_decision(decision)
        if decision.account is not None:
            await self._expect_halt(record, decision.account)
        if self.verdict.decisions % PROGRESS_EVERY == 0:
            self._progress(self.verdict)

    async def _intent_of(self, record: Record, decision: RiskDecision) -> Record | None:
        """Return the record that was decided: the next one, and no other."""
        while (intent := await self._intents.peek()) is not None and intent.offset < decision.intent_offset:
            await self._intents.take()
            self._find(intent.place, f"has no decision; the next one, {record.place}, is of a later record")
        if intent is None or intent.offset != decision.intent_offset:
            self._find(
                record.place,
                f"decides order-intents offset {decision.intent_offset}, which was decided before or never sent",
            )
            return None
        await self._intents.take()
        return intent

    def _compare(
        self, record: Record, recorded: RiskDecision | TradingHalt, reproduced: RiskDecision | TradingHalt
    ) -> bool:
        """Compare a record with what comes out; a difference is named."""
        if not 1 <= recorded.rules <= RULES:
            self._find(
                record.place, f"was decided by rules {recorded.rules}, which this version does not have: not covered"
            )
            return False
        key = None if reproduced.account is None else reproduced.account.encode()
        if record.key != key:
            self._find(record.place, f"its key must be {key!r}, was {record.key!r}")
            return False
        expected = canonical_bytes(reproduced)
        if record.value == expected:
            return True
        path, found, out = first_difference(
            orjson.loads(record.value or b"null"), orjson.loads(expected), tuple(type(recorded).model_fields)
        )
        as_of = recorded.as_of.model_dump()
        self.verdict.findings.append(Finding(record.place, "differs", path, found, out, as_of))
        return False

    # --- halts

    async def _judge_halt(self, record: Record, halt: TradingHalt) -> None:
        self.verdict.halts += 1
        self._toward = halt
        try:
            known = self._replay.state.accounts[halt.account].ledger.decisions.seq
            if known != halt.decision_seq:
                raise UnreachableError  # noqa: TRY301  # both ways of lying apart are dealt with alike
            await self._replay.advance(halt.as_of)
            reproduced = self._replay.replica.evaluate(halt.account, rules=halt.rules)
        except UnreachableError:
            reproduced = await self._evaluate_apart(record, halt)
        finally:
            self._toward = None
        if reproduced is None:
            self._find(record.place, f"the status of {halt.account} had not changed", halt.as_of)
        else:
            self.verdict.halts_reproduced += self._compare(record, halt, reproduced)
        self._replay.state.fold_halt(halt)

    async def _evaluate_apart(self, record: Record, halt: TradingHalt) -> TradingHalt | None:
        """Evaluate a halt that recovery published: later limits, applied to ticks that decisions have passed by."""
        replay = Replay(self.partition, self._codec, self._source)
        decisions = Cursor(self._source.records(Topic.RISK_DECISIONS))
        halts = Cursor(self._source.records(Topic.TRADING_HALTS))
        state = replay.state
        try:
            while state.accounts[halt.account].ledger.decisions.seq < halt.decision_seq:
                found = await self._next(decisions, decode_decision)
                if found is None:
                    break
                await decisions.take()
                state.fold_decision(found[1])
            async for earlier in halts.through(record.offset - 1):
                state.fold_halt(decode_halt(earlier))
            await replay.advance(halt.as_of)
            return replay.replica.evaluate(halt.account, rules=halt.rules)
        finally:
            for cursor in (replay, decisions, halts):
                await cursor.close()

    async def _expect_halt(self, record: Record, account: str) -> None:
        """After a decision is folded, the status is evaluated at the same `as_of`; the halt must be the next one."""
        owed = self._replay.replica.evaluate(account)
        if owed is None:
            return
        found = await self._next(self._halts, decode_halt)
        if found is None or (found[1].account, found[1].seq) != (account, owed.seq):
            self._find(record.place, f"{account} changed to {owed.status} and no halt event says so", owed.as_of)

    # --- inputs

    def _folded(self, record: Record, folded: Folded) -> None:
        for letter in folded.dead_letters:
            if record.topic not in SHARED_INPUTS or self.partition == 0:
                self._account_for(record, (letter.key or b"").decode(), letter.value)
        if self._in_tail:
            self.verdict.unjudged += record.topic not in SHARED_INPUTS
        elif record.topic is Topic.EQUITY_TICKS and folded.account is not None:
            self._expect_status(record, folded.account)

    def _account_for(self, record: Record, key: str, value: bytes | None) -> None:
        if key not in self._letters:
            if not self._in_tail:
                self._find(record.place, f"calls for dead letter {key}, and there is none")
            return
        if _evidence(self._letters.pop(key)) != _evidence(value):
            self._find(record.place, f"dead letter {key} differs from what comes out")
        self.verdict.dead_letters += 1

    def _expect_status(self, record: Record, account: str) -> None:
        """Name a change of status without a halt, if whatever limits the worker knew call for one."""
        halt = self._toward
        if halt is not None and halt.account == account and halt.as_of.equity_ticks == record.offset:
            return  # this is the change that the halt ahead tells of
        if self._replay.could_be(lambda state: state.evaluate(account) is None):
            return
        owed = self._replay.state.evaluate(account)
        if owed is not None:
            self._find(record.place, f"{account} changed to {owed.status} and no halt event says so", owed.as_of)

    async def _finish(self) -> None:
        """Count what the worker has not come to, and name dead letters without a cause."""
        while await self._intents.take() is not None:
            self.verdict.undecided += 1
        self._in_tail = True
        await self._replay.finish()
        for key in self._letters:
            self._find(f"dead-letters/{self.partition}", f"nothing calls for dead letter {key}")
        self._progress(self.verdict)

    def _find(self, place: str, what: str, as_of: AsOf | None = None) -> None:
        offsets = None if as_of is None else as_of.model_dump()
        self.verdict.findings.append(Finding(place, what, as_of=offsets))


def _evidence(letter: bytes | None) -> object:
    """Return what a dead letter proves: all but its wording, which may change from version to version."""
    try:
        fields = orjson.loads(letter or b"null")
    except orjson.JSONDecodeError:
        return letter
    if isinstance(fields, dict) and isinstance(fields.get("why"), str):
        del fields["why"]
    return fields


def first_difference(
    recorded: Any,  # noqa: ANN401  # JSON
    reproduced: Any,  # noqa: ANN401  # JSON
    order: tuple[str, ...] = (),
) -> tuple[str, str, str]:
    """Return where two JSON values first differ: the path, and both values there as JSON.

    Args:
        recorded: One value.
        reproduced: The other.
        order: In which the fields of the outermost object are compared.
    """
    if isinstance(recorded, dict) and isinstance(reproduced, dict):
        names = dict.fromkeys((*order, *sorted({*recorded, *reproduced})))
        pairs = [(name, recorded.get(name, MISSING), reproduced.get(name, MISSING)) for name in names]
    elif isinstance(recorded, list) and isinstance(reproduced, list):
        length = max(len(recorded), len(reproduced))
        both = (value + [MISSING] * (length - len(value)) for value in (recorded, reproduced))
        pairs = [(str(index), *pair) for index, pair in enumerate(zip(*both, strict=True))]
    else:
        return "", _json(recorded), _json(reproduced)
    for name, left, right in pairs:
        if left != right:
            path, found, out = first_difference(left, right)
            return (f"{name}.{path}" if path else name), found, out
    return "", "the same value in other bytes", _json(reproduced)


def _json(value: Any) -> str:  # noqa: ANN401  # JSON
    return "nothing" if value is MISSING else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


class _Log:
    """The topics of one gate between ends fixed when it is entered. An async context manager."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        self._settings = settings
        self._layout = layout
        self._idle: list[Reader] = []
        self._readers = AsyncExitStack()
        self._bounds: dict[TopicPartition, Bounds] = {}

    async def __aenter__(self) -> Self:
        reader = await self._reader()
        numbers = range(self._layout.partitions)
        for topics in (OUTPUTS, (Topic.ORDER_INTENTS, *INPUTS)):  # what was decided first, then what it rests on
            self._bounds |= await reader.bounds(
                TopicPartition(topic, number)
                for topic in topics
                for number in (numbers if topic not in SHARED_INPUTS else (0,))
            )
        self._idle.append(reader)
        for place, bounds in self._bounds.items():
            if bounds.beginning > 0 and place.topic is not Topic.DEAD_LETTERS:
                raise AuditError(
                    f"{place} begins at offset {bounds.beginning}: what stood before was deleted, and an audit"
                    " needs it (retention.ms=-1 keeps it)"
                )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._readers.aclose()

    async def _reader(self) -> Reader:
        """Return a reader that nobody uses, a new one if need be: connecting costs more than a short topic."""
        if self._idle:
            return self._idle.pop()
        return await self._readers.enter_async_context(Reader(self._settings, self._layout.names))

    def of(self, partition: int) -> "_PartitionLog":
        """Return one partition's records."""
        return _PartitionLog(self, partition)

    async def records(self, place: TopicPartition) -> AsyncGenerator[list[Record]]:
        """Yield the records of one topic partition."""
        bounds = self._bounds[place]
        if bounds.beginning >= bounds.end:
            return
        reader = await self._reader()
        try:
            async for records in reader.read({place: bounds.beginning}, {place: bounds.end}):
                yield records
        finally:
            self._idle.append(reader)


class _PartitionLog:
    """One partition's share of a log."""

    def __init__(self, log: _Log, partition: int) -> None:
        self._log = log
        self._partition = partition

    def records(self, topic: Topic) -> AsyncGenerator[list[Record]]:
        """Begin at the beginning of one topic."""
        return self._log.records(TopicPartition(topic, 0 if topic in SHARED_INPUTS else self._partition))

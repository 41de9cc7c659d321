"""The audit of one partition: fold to each decision's `as_of`, decide again, compare bytes.

In order:

1. Each record of `order-intents` has exactly one decision, and they come in the order of the records.
2. Each decision comes out the same, byte for byte, when every input is folded to its `as_of`; its chain of digests,
   the sequence and the key with it.
3. Each halt comes out the same likewise, and no change of status lacks its halt. A halt is missing only if every
   offset of `reference` that the worker may have known then calls for one (docs/risk.md section 8).
4. Each record that is no message, and only such a record, has its dead letter.
5. Offsets of the inputs that no reader sees belong to transactions; nothing was deleted from their middle.
6. By the epochs in the headers, no older owner wrote after a newer one.

What the worker has not come to yet (intents without a decision at the end, ticks after the last decision) is counted
and not judged. Of decisions outside the scope (before `since`, of other accounts) the chain is verified and they are
folded; they are not taken again.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import orjson

from models.canonical import canonical_bytes, chained, sha256
from models.decisions import RULES, AsOf, RiskDecision, TradingHalt
from models.ledger import Chain
from models.state import Shared, State
from streams.audit.apart import evaluate_apart
from streams.audit.judgement import Begin, Judgement, Outcome, Scope
from streams.audit.letters import Letters
from streams.audit.verdict import Covered, Finding, Kind, Verdict, first_difference, likely_cause
from streams.audit.watch import Absence, Fingerprints, Outputs, Owners, UncoveredError, Watched
from streams.codec import Codec, decode_decision, decode_halt
from streams.records import SHARED_INPUTS, Record, Topic
from streams.replay import INPUTS, Cursor, Replay, Source, UnreachableError
from streams.replica import Folded

PROGRESS_EVERY: Final = 200
TIDY_EVERY: Final = 5_000
"""Records folded; what changed meanwhile is held in memory."""
LETTERS_NAMED: Final = 100


class PartitionAudit:
    """The audit of one partition.

    Args:
        partition: Its number.
        codec: Reads records.
        source: The partition's records; it can be begun again.
        verdict: What is found is added to it.
        progress: Called now and then with the offset of `risk-decisions` that was come to.
        scope: What is to be judged.
        begin: Where to go on from; by default the beginning of every topic.
        absent: Tells what stands at offsets of an input that no reader sees. Without it holes are not asked about.
        tidy: Called now and then, where no record is half dealt with.
        at_end: Called when everything is judged, before what is not is folded.
    """

    def __init__(
        self,
        partition: int,
        codec: Codec,
        source: Source,
        verdict: Verdict,
        progress: Callable[[int], object] = lambda _offset: None,
        *,
        scope: Scope = Scope(),  # noqa: B008  # immutable
        begin: Begin | None = None,
        absent: Callable[[Topic, int, int], Awaitable[Absence]] | None = None,
        tidy: Callable[[State], object] = lambda _state: None,
        at_end: Callable[[], object] = lambda: None,
    ) -> None:
        self.partition = partition
        self.verdict = verdict
        self._codec = codec
        self._source = source
        self._progress = progress
        self._scope = scope
        self._absent = absent
        self._tidy = tidy
        self._at_end = at_end
        begin = Begin(State(Shared())) if begin is None else begin
        self._resumed = begin.resumed
        starts = {
            Topic.RISK_DECISIONS: begin.decisions,
            Topic.TRADING_HALTS: begin.halts,
            Topic.ORDER_INTENTS: begin.state.intents_offset + 1,
            **{topic: getattr(begin.state.as_of, field) + 1 for topic, field in INPUTS.items()},
        }
        self.fingerprints = Fingerprints()
        watched = Watched(partition, source, self._find, verdict, absent)
        taken = self.fingerprints.add
        self._replay = Replay(partition, codec, watched, self._folded, taken=taken, state=begin.state)
        for topic, start in starts.items():
            self.fingerprints.begin(topic, start)
        self._intents = Cursor(watched.records(Topic.ORDER_INTENTS, starts[Topic.ORDER_INTENTS]), taken)
        self._owners = Owners(self._find, verdict)
        self._decisions = Outputs(
            Cursor(source.records(Topic.RISK_DECISIONS, starts[Topic.RISK_DECISIONS]), taken),
            decode_decision,
            self._find,
            self._owners.see,
            scope.until,
        )
        self._halts = Outputs(
            Cursor(source.records(Topic.TRADING_HALTS, starts[Topic.TRADING_HALTS]), taken),
            decode_halt,
            self._find,
            self._owners.see,
            scope.until,
        )
        self._letters = Letters()
        self._toward: TradingHalt | None = None
        """The halt that is being led up to."""
        self._judging = False
        self._in_tail = False
        self._unrelated = 0
        """Decisions that do not answer the intent at their offset; and those that do."""
        self._related = 0
        self._decided = 0
        self._untidy = 0

    @property
    def state(self) -> State:
        """The state as folded."""
        return self._replay.state

    def chains(self, account: str) -> tuple[int, int]:
        """Return how many decisions and halts of an account there were."""
        ledger = self.state.accounts[account].ledger
        return ledger.decisions.seq, ledger.halts.seq

    def covered(self) -> list[Covered]:
        """Return what was read of each topic whose records stay."""
        return self.fingerprints.covered(self.partition)

    async def run(self) -> None:
        """Audit the partition from its beginning to its end."""
        async for _ in self.judgements():
            pass

    async def judgements(self) -> AsyncGenerator[Judgement]:
        """Yield what comes of each decision and halt; what else is found is in the verdict at the end."""
        try:
            async for judgement in self._judge_all():
                yield judgement
        except UncoveredError as error:
            self.verdict.not_covered += error.topic is Topic.RISK_DECISIONS
            self.verdict.notes.append(f"partition {self.partition} was not judged from {error.place} on")
        finally:
            self._letters.close()
            await self._replay.close()
            for cursor in (self._intents, self._decisions.cursor, self._halts.cursor):
                await cursor.close()

    async def _judge_all(self) -> AsyncGenerator[Judgement]:
        async for records in self._source.records(Topic.DEAD_LETTERS):
            for record in records:
                self._owners.see(record)
                self._letters.add(record.key, record.value)
        while True:
            decision, halt = await self._decisions.next(), await self._halts.next()
            if halt is not None and self._comes_before(halt[1], None if decision is None else decision[1]):
                await self._halts.cursor.take()
                yield Judgement(*halt, await self._judge_halt(*halt))
            elif decision is not None:
                await self._decisions.cursor.take()
                yield Judgement(*decision, await self._judge_decision(*decision))
                self._decided += 1
                if self._decided % PROGRESS_EVERY == 0:
                    self._progress(decision[0].offset)
                self._dealt_with()
            else:
                break
        await self._finish()

    def _dealt_with(self) -> None:
        """Count a record that was folded, and tidy up now and then."""
        self._untidy += 1
        if self._untidy == TIDY_EVERY:
            self._untidy = 0
            self._tidy(self.state)

    def _comes_before(self, halt: TradingHalt, decision: RiskDecision | None) -> bool:
        """Tell whether the halt was published before the next decision was taken."""
        if decision is None:
            return True
        known = self.state.accounts[halt.account].ledger.decisions.seq
        if known != halt.decision_seq:
            return known > halt.decision_seq
        return all(getattr(halt.as_of, name) <= getattr(decision.as_of, name) for name in INPUTS.values())

    def _in_scope(self, record: Record, account: str | None, intent: Record | None = None) -> bool:
        scope = self._scope
        if scope.since is not None and record.time < scope.since:
            return False
        self._judging = True
        if scope.account is None or account == scope.account:
            return True
        # An intent of the account may have been given a false answer that names no account, or another one.
        return intent is not None and intent.key == scope.account.encode()

    # --- decisions

    async def _judge_decision(self, record: Record, decision: RiskDecision) -> Outcome:
        intent = await self._intent_of(record, decision)
        if not self._in_scope(record, decision.account, intent):
            await self._pass(record, decision, self._chain_of(decision))
            self.verdict.passed += 1
            self.state.fold_decision(decision)
            return Outcome.PASSED
        self.verdict.decisions += 1
        if intent is None:
            self._unrelated += 1
            if _continues(decision, self._chain_of(decision)):
                self.state.fold_decision(decision)
            self.verdict.diverged += 1
            return Outcome.DIVERGED
        outcome = await self._take_again(record, decision, intent)
        self.verdict.reproduced += outcome is Outcome.REPRODUCED
        self.verdict.diverged += outcome is Outcome.DIVERGED
        self.verdict.not_covered += outcome is Outcome.NOT_COVERED
        self.state.fold_decision(decision)
        if decision.account is not None:
            await self._expect_halt(record, decision.account)
        return outcome

    async def _take_again(self, record: Record, decision: RiskDecision, intent: Record) -> Outcome:
        try:
            await self._replay.advance(decision.as_of)
        except UnreachableError:
            self._find(
                record.place,
                "its as_of goes back behind the decision or halt before it",
                cause="decisions were swapped, or the record was changed",
            )
            return Outcome.DIVERGED
        if not 1 <= decision.rules <= RULES:
            self._not_covered(record, decision.rules)
            return Outcome.NOT_COVERED
        reproduced = self._replay.replica.decide(intent, rules=decision.rules)
        related = reproduced.intent_digest == decision.intent_digest
        self._related += related and decision.account is not None  # the same garbage may be in any topic
        self._unrelated += not related
        if await self._rests_on_nothing(record, decision):
            return Outcome.DIVERGED
        return Outcome.REPRODUCED if self._compare(record, decision, reproduced) else Outcome.DIVERGED

    async def _pass(self, record: Record, message: RiskDecision | TradingHalt, chain: Chain) -> None:
        """Bring the inputs to a decision's or halt's `as_of` and verify its chain, without taking it again."""
        try:
            await self._replay.advance(message.as_of)
        except UnreachableError:
            if isinstance(message, RiskDecision):  # a halt that recovery published may lie apart
                self._find(record.place, "its as_of goes back behind the decision or halt before it")
        if not _continues(message, chain):
            self._find(
                record.place,
                f"does not continue its chain: seq {message.seq} comes after {chain.seq}",
                kind=Kind.CHAIN,
                cause="a record before it in its chain was changed, removed or inserted",
            )
        if canonical_bytes(message) != record.value or sha256(chained(message)) != message.digest:
            self._find(
                record.place,
                "its digest does not fit its content",
                kind=Kind.CHAIN,
                cause="it was changed after it was sealed",
            )

    def _chain_of(self, decision: RiskDecision) -> Chain:
        if decision.account is None:
            return self.state.chain
        return self.state.accounts[decision.account].ledger.decisions

    async def _intent_of(self, record: Record, decision: RiskDecision) -> Record | None:
        """Return the record that was decided: the next one, and no other."""
        while (intent := await self._intents.peek()) is not None and intent.offset < decision.intent_offset:
            await self._intents.take()
            self._find(
                intent.place,
                f"has no decision; the next one, {record.place}, is of a later record",
                kind=Kind.MISSING,
                cause="its decision was removed, or never published",
            )
        if intent is not None and intent.offset == decision.intent_offset:
            await self._intents.take()
            return intent
        kind, there = await self._at(Topic.ORDER_INTENTS, decision.intent_offset)
        self._find(
            record.place,
            f"decides order-intents offset {decision.intent_offset}, which was decided before or never sent{there}",
            kind=kind or Kind.INVENTED,
            cause="the decision was inserted or repeated, or the intent is gone" if kind is None else None,
        )
        return None

    async def _rests_on_nothing(self, record: Record, decision: RiskDecision) -> bool:
        """Name an `as_of` at which the topics have no record."""
        now = self.state.as_of
        for topic, name in INPUTS.items():
            known, found = getattr(decision.as_of, name), getattr(now, name)
            if known != found:
                kind, there = await self._at(topic, known)
                finding = Finding(
                    record.place,
                    f"rests on {topic} offset {known}, where there is no record{there}",
                    f"as_of.{name}",
                    str(known),
                    str(found),
                    decision.as_of.model_dump(),
                    kind or Kind.DELETED,
                    "the record was deleted, or the decision changed" if kind is None else None,
                )
                self.verdict.find(finding)
                return True
        return False

    async def _at(self, topic: Topic, offset: int) -> tuple[Kind | None, str]:
        """Return what stands at an offset that has no record, for a finding."""
        if self._absent is None:
            return None, ""
        absence = await self._absent(topic, offset, offset + 1)
        if absence.aborted:
            return Kind.ABORTED, ": its transaction was aborted"
        if absence.markers:
            return Kind.INVENTED, ": a marker of a transaction stands there"
        if absence.deleted:
            return Kind.DELETED, ": it was deleted"
        return None, ""

    def _compare(
        self, record: Record, recorded: RiskDecision | TradingHalt, reproduced: RiskDecision | TradingHalt
    ) -> bool:
        """Compare a record with what comes out; a difference is named."""
        key = None if reproduced.account is None else reproduced.account.encode()
        if record.key != key:
            self._find(record.place, f"its key must be {key!r}, was {record.key!r}", cause="the record was changed")
            return False
        expected = canonical_bytes(reproduced)
        if record.value == expected:
            return True
        path, found, out = first_difference(
            orjson.loads(record.value or b"null"), orjson.loads(expected), tuple(type(recorded).model_fields)
        )
        cause = likely_cause(path, sealed=sha256(chained(recorded)) == recorded.digest)
        as_of = recorded.as_of.model_dump()
        self.verdict.find(Finding(record.place, "differs", path, found, out, as_of, Kind.DIFFERS, cause))
        return False

    # --- halts

    async def _judge_halt(self, record: Record, halt: TradingHalt) -> Outcome:
        chain = self.state.accounts[halt.account].ledger.halts
        if not self._in_scope(record, halt.account):
            await self._pass(record, halt, chain)
            self.state.fold_halt(halt)
            return Outcome.PASSED
        self.verdict.halts += 1
        outcome = Outcome.NOT_COVERED
        if 1 <= halt.rules <= RULES:
            reproduced = await self._evaluate(record, halt)
            outcome = Outcome.DIVERGED
            if reproduced is None:
                self._find(
                    record.place,
                    f"the status of {halt.account} had not changed",
                    halt.as_of,
                    kind=Kind.INVENTED,
                    cause="the halt was inserted or repeated, or a record that it rests on was changed",
                )
            elif self._compare(record, halt, reproduced):
                outcome = Outcome.REPRODUCED
        else:
            self._not_covered(record, halt.rules)
        self.verdict.halts_reproduced += outcome is Outcome.REPRODUCED
        self.state.fold_halt(halt)
        return outcome

    async def _evaluate(self, record: Record, halt: TradingHalt) -> TradingHalt | None:
        self._toward = halt
        try:
            if self.state.accounts[halt.account].ledger.decisions.seq == halt.decision_seq:
                await self._replay.advance(halt.as_of)
                return self._replay.replica.evaluate(halt.account, rules=halt.rules)
        except UnreachableError:
            pass
        finally:
            self._toward = None
        return await evaluate_apart(self.partition, self._codec, self._source, record, halt)

    async def _expect_halt(self, record: Record, account: str) -> None:
        """After a decision is folded, the status is evaluated at the same `as_of`; the halt must be the next one."""
        owed = self._replay.replica.evaluate(account)
        if owed is None:
            return
        found = await self._halts.next()
        if found is None or (found[1].account, found[1].seq) != (account, owed.seq):
            self._missing_halt(record, owed)

    # --- inputs

    def _folded(self, record: Record, folded: Folded) -> None:
        for letter in folded.dead_letters:
            if record.topic not in SHARED_INPUTS or self.partition == 0:
                self._account_for(record, letter.key, letter.value)
        if self._in_tail:
            self.verdict.unjudged += record.topic not in SHARED_INPUTS
        elif record.topic is Topic.EQUITY_TICKS and folded.account is not None and self._judging:
            self._expect_status(record, folded.account)
        self._dealt_with()

    def _account_for(self, record: Record, key: bytes | None, value: bytes | None) -> None:
        same = self._letters.take(key, value)
        name = (key or b"").decode()
        if same is None:
            if not self._in_tail:
                self._find(
                    record.place,
                    f"calls for dead letter {name}, and there is none",
                    kind=Kind.MISSING,
                    cause="it was removed, or the record was another one when it was folded",
                )
            return
        if not same:
            self._find(
                record.place,
                f"dead letter {name} differs from what comes out",
                cause="the letter or the record was changed",
            )
        self.verdict.dead_letters += 1

    def _expect_status(self, record: Record, account: str) -> None:
        """Name a change of status without a halt, if whatever limits the worker knew call for one."""
        if self._scope.account not in {None, account}:
            return
        halt = self._toward
        if halt is not None and halt.account == account and halt.as_of.equity_ticks == record.offset:
            return  # this is the change that the halt ahead tells of
        if self._replay.could_be(lambda state: state.evaluate(account) is None):
            return
        owed = self.state.evaluate(account)
        if owed is not None:
            self._missing_halt(record, owed)

    def _missing_halt(self, record: Record, owed: TradingHalt) -> None:
        self._find(
            record.place,
            f"{owed.account} changed to {owed.status} and no halt event says so",
            owed.as_of,
            kind=Kind.MISSING,
            cause="the halt was removed or changed, or an equity tick was",
        )

    async def _finish(self) -> None:
        """Count what the worker has not come to, and name dead letters without a cause."""
        if self._unrelated and not self._related:
            foreign = Finding(
                f"risk-decisions/{self.partition}",
                "none of its decisions answers the intent at its offset",
                kind=Kind.FOREIGN,
                cause="topics of another application id or prefix, or a copy that lost its offsets",
            )
            self.verdict.findings.insert(0, foreign)  # it explains the others
        self._at_end()
        if self._scope.until is not None:
            return
        while await self._intents.take() is not None:
            self.verdict.undecided += 1
        self._in_tail = True
        await self._replay.finish()
        if self._resumed:
            return  # letters of what came before were accounted for then
        for name in self._letters.rest(LETTERS_NAMED):
            self._find(
                f"dead-letters/{self.partition}",
                f"nothing calls for dead letter {name}",
                kind=Kind.INVENTED,
                cause="the letter was inserted, or the record it tells of was changed",
            )
        self.verdict.more += max(0, len(self._letters) - LETTERS_NAMED)

    def _not_covered(self, record: Record, rules: int) -> None:
        self._find(
            record.place,
            f"was decided by rules {rules}, which this version does not have: not covered",
            kind=Kind.NOT_COVERED,
            cause="a newer version of seawall took it: audit with that one",
        )

    def _find(
        self, place: str, what: str, as_of: AsOf | None = None, *, kind: Kind = Kind.DIFFERS, cause: str | None = None
    ) -> None:
        offsets = None if as_of is None else as_of.model_dump()
        self.verdict.find(Finding(place, what, as_of=offsets, kind=kind, cause=cause))


def _continues(message: RiskDecision | TradingHalt, chain: Chain) -> bool:
    return message.seq == chain.seq + 1 and message.previous_digest == chain.digest

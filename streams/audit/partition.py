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

A decision is read only so far as it takes to decide again, where it is sealed and continues its chain: its digest
then tells whether the same bytes come out. Whatever is otherwise is decoded in full, and named.

What the worker has not come to yet (intents without a decision at the end, ticks after the last decision) is counted
and not judged. Of decisions outside the scope (before `since`, of other accounts) the chain is verified and they are
folded; they are not taken again.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Final

from models.decisions import RULES, RiskDecision, TradingHalt
from models.folds.ledger import Chain
from models.state import Shared, State
from streams.audit.apart import evaluate_apart
from streams.audit.claim import Claim, claim_of, is_sealed
from streams.audit.judgement import Begin, Judgement, Outcome, Scope
from streams.audit.letters import Letters
from streams.audit.naming import Naming, key_of
from streams.audit.verdict import Covered, Finding, Kind, Verdict
from streams.audit.watch import Absence, Fingerprints, Outputs, Owners, UncoveredError, Watched
from streams.codec import Codec, LedgerError, decode_decision, decode_halt
from streams.records import SHARED_INPUTS, Record, Topic
from streams.replay import INPUTS, Cursor, Known, Replay, Source, UnreachableError
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
        fingerprinted: Whether to take digests of all that is read.
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
        fingerprinted: bool = False,
    ) -> None:
        self.partition = partition
        self.verdict = verdict
        self._codec = codec
        self._source = source
        self._progress = progress
        self._scope = scope
        self._naming = Naming(verdict, absent)
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
        watched = Watched(partition, source, self._naming.find, verdict, absent)
        taken = self.fingerprints.add if fingerprinted else None
        self._replay = Replay(partition, codec, watched, self._folded, taken=taken, state=begin.state)
        self.state = self._replay.state
        """The state as folded."""
        for topic, start in starts.items():
            self.fingerprints.begin(topic, start)
        self._intents = Cursor(watched.records(Topic.ORDER_INTENTS, starts[Topic.ORDER_INTENTS]), taken)
        self._owners = Owners(self._naming.find, verdict)
        self._decisions = Outputs(
            Cursor(source.records(Topic.RISK_DECISIONS, starts[Topic.RISK_DECISIONS]), taken),
            self._read_decision,
            self._naming.find,
            self._owners.see,
            scope.until,
        )
        self._halts = Outputs(
            Cursor(source.records(Topic.TRADING_HALTS, starts[Topic.TRADING_HALTS]), taken),
            decode_halt,
            self._naming.find,
            self._owners.see,
            scope.until,
        )
        self._letters = Letters()
        self._settled: set[str] = set()
        """Accounts whose status calls for no halt, and nothing was folded since that it depends on."""
        self._toward: TradingHalt | None = None
        """The halt that is being led up to."""
        self._judging = False
        self._in_tail = False
        self._unrelated = 0
        """Decisions that do not answer the intent at their offset; and those that do."""
        self._related = 0
        self._decided = 0
        self._untidy = 0

    def chains(self, account: str) -> tuple[int, int]:
        """Return how many decisions and halts of an account there were."""
        ledger = self.state.accounts[account].ledger
        return ledger.decisions.seq, ledger.halts.seq

    def covered(self) -> list[Covered]:
        """Return what was read of each topic whose records stay, where digests were taken."""
        for cursor in self._cursors():
            cursor.tell()
        return self.fingerprints.covered(self.partition)

    def _cursors(self) -> Iterator[Replay | Cursor]:
        yield from (self._replay, self._intents, self._decisions.cursor, self._halts.cursor)

    async def run(self) -> None:
        """Audit the partition from its beginning to its end."""
        async for _ in self._judged():
            pass

    async def judgements(self) -> AsyncGenerator[Judgement]:
        """Yield what comes of each decision and halt; what else is found is in the verdict at the end."""
        async for record, message, outcome in self._judged():
            if outcome is Outcome.REPRODUCED and isinstance(message, RiskDecision):
                yield Judgement(record, decode_decision(record), outcome)  # as recorded, not as it came out
            else:
                yield Judgement(record, message, outcome)

    async def _judged(self) -> AsyncGenerator[Judgement]:
        """Yield the same, with reproduced decisions as they came out."""
        try:
            await self._read_letters()
            while True:
                decision, halt = await self._decisions.next(), await self._halts.next()
                if halt is not None and self._comes_before(halt[1], None if decision is None else decision[1]):
                    await self._halts.take()
                    yield Judgement(*halt, await self._judge_halt(*halt))
                elif decision is not None:
                    await self._decisions.take()
                    judgement = await self._judge_decision(*decision)
                    if judgement is not None:
                        yield judgement
                    self._judged_one(decision[0].offset)
                else:
                    break
            await self._finish()
        except UncoveredError as error:
            self.verdict.not_covered += error.topic is Topic.RISK_DECISIONS
            self.verdict.notes.append(f"partition {self.partition} was not judged from {error.place} on")
        finally:
            self._letters.close()
            for cursor in self._cursors():
                await cursor.close()

    async def _read_letters(self) -> None:
        async for records in self._source.records(Topic.DEAD_LETTERS):
            for record in records:
                self._owners.see(record)
                self._letters.add(record.key, record.value)

    def _judged_one(self, offset: int) -> None:
        self._decided += 1
        if self._decided % PROGRESS_EVERY == 0:
            self._progress(offset)
        self._dealt_with()

    def _dealt_with(self) -> None:
        """Count a record that was folded, and tidy up now and then."""
        self._untidy += 1
        if self._untidy == TIDY_EVERY:
            self._untidy = 0
            self._settled.clear()
            self._tidy(self.state)

    def _comes_before(self, halt: TradingHalt, decision: RiskDecision | Claim | None) -> bool:
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

    def _read_decision(self, record: Record) -> RiskDecision | Claim:
        """Return a decision, or what it claims where that will do until it is taken again.

        Raises:
            LedgerError: If it is none.
        """
        scope = self._scope
        if scope.account is None and (scope.since is None or record.time >= scope.since):
            claim = claim_of(record.value)
            if claim is not None and _continues(claim, self._chain_of(claim.account)):
                return claim
        return decode_decision(record)

    async def _judge_decision(self, record: Record, said: RiskDecision | Claim) -> Judgement | None:
        """Judge a decision; None where it turns out to be none."""
        intent = await self._intent_of(record, said)
        try:
            if not self._in_scope(record, said.account, intent):
                decision, outcome = await self._pass_decision(record, _whole(record, said))
            elif intent is None:
                decision, outcome = self._unasked(_whole(record, said))
            else:
                decision, outcome = await self._take_again(record, said, intent)
        except LedgerError as error:  # sealed, in its place in the chain, and still no decision
            self._decisions.name(record, error)
            return None
        if intent is not None:
            await self._intents.take()
        if outcome is not Outcome.PASSED:
            self.verdict.decisions += 1
            self.verdict.reproduced += outcome is Outcome.REPRODUCED
            self.verdict.diverged += outcome is Outcome.DIVERGED
            self.verdict.not_covered += outcome is Outcome.NOT_COVERED
            if intent is not None and decision.account is not None:
                await self._expect_halt(record, decision.account)
        return Judgement(record, decision, outcome)

    async def _pass_decision(self, record: Record, decision: RiskDecision) -> tuple[RiskDecision, Outcome]:
        await self._pass(record, decision, self._chain_of(decision.account))
        self.verdict.passed += 1
        self.state.fold_decision(decision)
        return decision, Outcome.PASSED

    def _unasked(self, decision: RiskDecision) -> tuple[RiskDecision, Outcome]:
        self._unrelated += 1
        if _continues(decision, self._chain_of(decision.account)):
            self.state.fold_decision(decision)
        return decision, Outcome.DIVERGED

    async def _take_again(
        self, record: Record, said: RiskDecision | Claim, intent: Record
    ) -> tuple[RiskDecision, Outcome]:
        """Decide again and compare. Whatever comes out, what was recorded is folded."""
        reached = await self._reach(said.as_of)
        reproduced = None
        if reached and 1 <= said.rules <= RULES:
            reproduced = self._replay.replica.decide(intent, rules=said.rules)
            if isinstance(said, Claim) and said.digest == reproduced.digest and record.key == key_of(reproduced):
                self._related += reproduced.account is not None
                self.state.fold_decision(reproduced)
                return reproduced, Outcome.REPRODUCED
        decision = _whole(record, said)
        outcome = Outcome.DIVERGED
        if not reached:
            self._naming.goes_back(record)
        elif reproduced is None:
            self._naming.not_covered(record, decision.rules)
            outcome = Outcome.NOT_COVERED
        elif not await self._differs(record, decision, reproduced):
            outcome = Outcome.REPRODUCED
        self.state.fold_decision(decision)
        return decision, outcome

    async def _reach(self, as_of: Known) -> bool:
        """Bring the inputs to an `as_of`; tell whether they were not beyond it."""
        try:
            await self._replay.advance(as_of)
        except UnreachableError:
            return False
        return True

    async def _differs(self, record: Record, decision: RiskDecision, reproduced: RiskDecision) -> bool:
        related = reproduced.intent_digest == decision.intent_digest
        self._related += related and decision.account is not None  # the same garbage may be in any topic
        self._unrelated += not related
        nowhere = await self._naming.rests_on_nothing(record, decision.as_of, self.state.as_of)
        return nowhere or not self._naming.same(record, decision, reproduced)

    async def _pass(self, record: Record, message: RiskDecision | TradingHalt, chain: Chain) -> None:
        """Bring the inputs to a decision's or halt's `as_of` and verify its chain, without taking it again."""
        if not await self._reach(message.as_of) and isinstance(message, RiskDecision):
            self._naming.goes_back(record)  # a halt that recovery published may lie apart
        if not _continues(message, chain):
            self._naming.broken_chain(record, message.seq, chain)
        if not is_sealed(message, record.value):
            self._naming.find(
                record.place,
                "its digest does not fit its content",
                kind=Kind.CHAIN,
                cause="it was changed after it was sealed",
            )

    def _chain_of(self, account: str | None) -> Chain:
        return self.state.chain if account is None else self.state.accounts[account].ledger.decisions

    async def _intent_of(self, record: Record, decision: RiskDecision | Claim) -> Record | None:
        """Return the record that was decided: the next one, and no other. It is still to be taken."""
        while (intent := await self._intents.peek()) is not None and intent.offset < decision.intent_offset:
            await self._intents.take()
            self._naming.undecided(intent, record)
        if intent is not None and intent.offset == decision.intent_offset:
            return intent
        await self._naming.unasked(record, decision.intent_offset)
        return None

    # --- halts

    async def _judge_halt(self, record: Record, halt: TradingHalt) -> Outcome:
        chain = self.state.accounts[halt.account].ledger.halts
        if not self._in_scope(record, halt.account):
            await self._pass(record, halt, chain)
            self._fold_halt(halt)
            return Outcome.PASSED
        self.verdict.halts += 1
        outcome = Outcome.NOT_COVERED
        if 1 <= halt.rules <= RULES:
            reproduced = await self._evaluate(record, halt)
            outcome = Outcome.DIVERGED
            if reproduced is None:
                self._naming.find(
                    record.place,
                    f"the status of {halt.account} had not changed",
                    halt.as_of,
                    kind=Kind.INVENTED,
                    cause="the halt was inserted or repeated, or a record that it rests on was changed",
                )
            elif self._naming.same(record, halt, reproduced):
                outcome = Outcome.REPRODUCED
        else:
            self._naming.not_covered(record, halt.rules)
        self.verdict.halts_reproduced += outcome is Outcome.REPRODUCED
        self._fold_halt(halt)
        return outcome

    def _fold_halt(self, halt: TradingHalt) -> None:
        self.state.fold_halt(halt)
        self._settled.discard(halt.account)

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
        if account in self._settled:
            return
        owed = self._replay.replica.evaluate(account)
        if owed is None:
            self._settled.add(account)
            return
        found = await self._halts.next()
        if found is None or (found[1].account, found[1].seq) != (account, owed.seq):
            self._naming.missing_halt(record, owed)

    # --- inputs

    def _folded(self, record: Record, folded: Folded) -> None:
        for letter in folded.dead_letters:
            if record.topic not in SHARED_INPUTS or self.partition == 0:
                self._account_for(record, letter.key, letter.value)
        if record.topic is Topic.REFERENCE:
            self._settled.clear()
        elif record.topic is Topic.EQUITY_TICKS and folded.account is not None:
            self._settled.discard(folded.account)
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
                self._naming.find(
                    record.place,
                    f"calls for dead letter {name}, and there is none",
                    kind=Kind.MISSING,
                    cause="it was removed, or the record was another one when it was folded",
                )
            return
        if not same:
            self._naming.find(
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
        owed = self.state.evaluate(account)
        if owed is None:
            self._settled.add(account)
        elif not self._replay.could_be(lambda state: state.evaluate(account) is None):
            self._naming.missing_halt(record, owed)

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
            self._naming.find(
                f"dead-letters/{self.partition}",
                f"nothing calls for dead letter {name}",
                kind=Kind.INVENTED,
                cause="the letter was inserted, or the record it tells of was changed",
            )
        self.verdict.more += max(0, len(self._letters) - LETTERS_NAMED)


def _whole(record: Record, said: RiskDecision | Claim) -> RiskDecision:
    return said if isinstance(said, RiskDecision) else decode_decision(record)


def _continues(message: RiskDecision | TradingHalt | Claim, chain: Chain) -> bool:
    return message.seq == chain.seq + 1 and message.previous_digest == chain.digest

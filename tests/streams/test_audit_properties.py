"""What the worker's code leaves audits clean, whatever comes; and no byte of a decision can be changed unseen."""

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.canonical import canonical_bytes
from models.messages import EquityMark, OrderIntent, OrderType, PriceMark, Side
from models.state import Shared, State
from streams.audit import Kind, PartitionAudit, Scope, Verdict
from streams.audit.accounts import StateOnDisk
from streams.audit.judgement import Begin, Judgement, Outcome
from streams.audit.watch import Absence
from streams.codec import Codec, encode_decision, encode_halt
from streams.publisher import destination
from streams.records import SHARED_INPUTS, Record, Topic
from streams.replay import replicas
from streams.starter import starter_records
from tests.simulation.world import World
from tests.streams.audited import Log, Source, audited
from tests.streams.played import played

PARTITIONS = 3
HOUR = 3600 * 10**9
EVERYTHING = Scope()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), steps=st.integers(5, 60), data=st.data())
def test_any_sequence_audits_clean_and_any_changed_byte_does_not(seed: int, steps: int, data: st.DataObject) -> None:
    """Messages, faults, takeovers and lost disks as the simulation draws them, through the worker's own code."""
    world = World(seed)
    asyncio.run(world.run(steps))
    log: Log = world.log.records()
    verdict = audited(log)
    assert verdict.clean, verdict.findings
    if not log[Topic.RISK_DECISIONS]:
        return
    number = data.draw(st.integers(0, len(log[Topic.RISK_DECISIONS]) - 1))
    record = log[Topic.RISK_DECISIONS][number]
    changed = bytearray(record.value or b"")
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    log[Topic.RISK_DECISIONS][number] = record._replace(value=bytes(changed))
    assert not audited(log).clean


class Share(NamedTuple):
    """One partition of a log that has several."""

    log: dict[tuple[Topic, int], list[Record]]
    partition: int

    def records(self, topic: Topic, start: int = 0) -> AsyncGenerator[list[Record]]:
        return Source({topic: self.log[topic, 0 if topic in SHARED_INPUTS else self.partition]}).records(topic, start)


def of_one_worker() -> dict[tuple[Topic, int], list[Record]]:
    """Return what one worker that owns three partitions publishes; all of them see its one copy of `reference`."""
    codec = Codec(PARTITIONS)
    state = State(Shared())
    shared, _ = replicas(0, codec, state)
    owned = {number: replicas(number, codec, State(state.shared))[1] for number in range(PARTITIONS)}
    log: defaultdict[tuple[Topic, int], list[Record]] = defaultdict(list)

    def append(topic: Topic, partition: int, key: bytes | None, value: bytes | None) -> Record:
        record = Record(topic, partition, len(log[topic, partition]), 10**18, key, value)
        log[topic, partition].append(record)
        return record

    def said(topic: Topic, partition: int, key: bytes | None, value: bytes | None) -> None:
        record = append(topic, partition, key, value)
        if topic in SHARED_INPUTS:
            shared.fold(record)
        elif topic is Topic.ORDER_INTENTS:
            decision = owned[partition].decide(record)
            owned[partition].state.fold_decision(decision)
            append(Topic.RISK_DECISIONS, partition, *encode_decision(decision)[1:3])
        else:
            account = owned[partition].fold(record).account
            halt = None if account is None else owned[partition].evaluate(account)
            if halt is not None:
                owned[partition].state.fold_halt(halt)
                append(Topic.TRADING_HALTS, partition, *encode_halt(halt)[1:3])

    for each in starter_records("USD", event_time=1):
        topic, key = destination(each)
        said(topic, 0, key, canonical_bytes(each))
    for number in range(60):
        account = f"A-{number % 7}"
        marks = {"X": PriceMark(price=Decimal(100), atr=Decimal(1))}
        equity = Decimal(100_000 - 400 * number)
        mark = EquityMark(account=account, event_time=HOUR + number, equity=equity, marks=marks)
        intent = OrderIntent(
            intent_id=f"i-{number}",
            account=account,
            strategy="s",
            symbol="X",
            side=Side.BUY,
            quantity=Decimal(1 + number),
            order_type=OrderType.MARKET,
            event_time=HOUR + number,
        )
        for message in (mark, intent):
            topic, key = destination(message)
            said(topic, codec.partition_of(account), key, canonical_bytes(message))
    return log


def test_the_number_of_workers_does_not_matter() -> None:
    """Decided by one worker that owns every partition, taken again by one for each."""
    log = of_one_worker()
    verdict = Verdict()
    for partition in range(PARTITIONS):
        asyncio.run(PartitionAudit(partition, Codec(PARTITIONS), Share(log, partition), verdict).run())
    assert verdict.clean, verdict.findings
    assert verdict.reproduced == 60
    assert verdict.halts_reproduced > 0


def run(log: Log, *, scope: Scope = EVERYTHING, **options: object) -> tuple[Verdict, list[Judgement]]:
    verdict = Verdict()
    judged: list[Judgement] = []

    async def collect() -> None:
        audit = PartitionAudit(0, Codec(1), Source(log), verdict, scope=scope, **options)  # type: ignore[arg-type]
        judged.extend([each async for each in audit.judgements()])

    asyncio.run(collect())
    return verdict, judged


def test_accounts_beyond_a_number_stay_on_disk_and_nothing_changes() -> None:
    log = dict(played().gate.log)
    with StateOnDisk(kept=1) as disk:
        many = 0

        def tidy(state: State) -> None:
            nonlocal many
            disk.tidy(state)
            many += 1

        verdict, _ = run(log, begin=Begin(disk.state), tidy=tidy)
        assert verdict.clean, verdict.findings
        disk.tidy(disk.state)
        heads = {(account, chain): seq for account, chain, seq, _ in disk.heads()}
    ledgers = {name: account.ledger for name, account in played().gate.replica.state.accounts.items()}  # type: ignore[attr-defined]
    assert heads == {
        **{(name, "decisions"): each.decisions.seq for name, each in ledgers.items() if each.decisions.seq},
        **{(name, "halts"): each.halts.seq for name, each in ledgers.items() if each.halts.seq},
    }


def test_one_account_is_judged_and_the_others_are_passed() -> None:
    log = dict(played().gate.log)
    whole, all_judged = run(log)
    verdict, judged = run(log, scope=Scope(account="banks"))
    assert verdict.clean, verdict.findings
    own = [each for each in all_judged if each.message.account == "banks"]
    assert [each for each in judged if each.outcome is Outcome.REPRODUCED] == own
    assert verdict.decisions + verdict.passed == whole.decisions


@pytest.mark.parametrize("field", ["account", "quantity"])
def test_an_answer_that_hides_the_accounts_intent_is_found(field: str) -> None:
    """The account asked about sees what was made of its intents, whatever name the answer bears."""
    log = {topic: list(records) for topic, records in played().gate.log.items()}
    number = next(
        n
        for n, each in enumerate(played().gate.decisions)
        if each.account == "banks" and each.reservation is not None
    )
    other = {"account": "others", "quantity": Decimal(7)}[field]
    forged = played().gate.decisions[number].model_copy(update={field: other})
    record = log[Topic.RISK_DECISIONS][number]
    log[Topic.RISK_DECISIONS][number] = record._replace(value=canonical_bytes(forged))
    verdict, _ = run(log, scope=Scope(account="banks"))
    assert any(finding.place == record.place and finding.field == field for finding in verdict.findings)


def at_times(log: Log) -> Log:
    """Return the log with a second between one record of an output topic and the next."""
    decisions = [each._replace(time=each.offset * 10**9) for each in log[Topic.RISK_DECISIONS]]
    known = [decision.as_of.equity_ticks for decision in played().gate.decisions]
    halts = [
        record._replace(time=10**9 * bisect_left(known, halt.as_of.equity_ticks))
        for record, halt in zip(log[Topic.TRADING_HALTS], played().gate.all_halts, strict=True)
    ]
    return {**log, Topic.RISK_DECISIONS: decisions, Topic.TRADING_HALTS: halts}


def test_a_span_of_time_is_judged() -> None:
    log = at_times(dict(played().gate.log))
    verdict, judged = run(log, scope=Scope(since=300 * 10**9, until=500 * 10**9))
    assert verdict.clean, verdict.findings
    assert (verdict.passed, verdict.decisions, verdict.reproduced, verdict.undecided) == (300, 200, 200, 0)
    assert sum(each.outcome is Outcome.REPRODUCED for each in judged) == 200 + verdict.halts_reproduced


def test_a_broken_chain_before_the_span_is_found() -> None:
    log = at_times({topic: list(records) for topic, records in played().gate.log.items()})
    forged = played().gate.decisions[100].model_copy(update={"clock": 7})
    record = log[Topic.RISK_DECISIONS][100]
    log[Topic.RISK_DECISIONS][100] = record._replace(value=canonical_bytes(forged))
    verdict, _ = run(log, scope=Scope(since=300 * 10**9))
    [finding] = verdict.findings
    assert (finding.place, finding.kind) == (record.place, Kind.CHAIN)


@pytest.mark.parametrize(
    ("absence", "kind"),
    [(Absence(deleted=1), Kind.DELETED), (Absence(aborted=1), None), (Absence(markers=1), None)],
)
def test_a_hole_in_an_input_is_asked_about(absence: Absence, kind: Kind | None) -> None:
    """Nothing may rest on what was there: then only the hole itself tells."""
    log: Log = dict(played().gate.log)
    hole = log[Topic.FILLS][-1].offset
    log[Topic.FILLS] = [*log[Topic.FILLS][:-1], log[Topic.FILLS][-1]._replace(offset=hole + 1)]
    asked = []

    async def absent(topic: Topic, start: int, end: int) -> Absence:
        asked.append((topic, start, end))
        return absence

    verdict, _ = run({Topic.FILLS: log[Topic.FILLS]}, absent=absent)
    assert (Topic.FILLS, hole, hole + 1) in asked
    assert verdict.aborted == absence.aborted
    assert (kind in {finding.kind for finding in verdict.findings}) == (kind is not None)


@pytest.mark.parametrize(
    ("epochs", "found", "notes"), [("0112", 0, 0), ("0101", 1, 1), ("2011", 0, 1), ("3331", 0, 1)]
)
def test_epochs_show_an_older_owner(epochs: str, found: int, notes: int) -> None:
    decisions = [
        record._replace(headers=[("epoch", epoch.encode())])
        for record, epoch in zip(played().gate.log[Topic.RISK_DECISIONS], epochs, strict=False)
    ]
    log = {**played().gate.log, Topic.RISK_DECISIONS: decisions}
    verdict, _ = run(log, scope=Scope(until=10**19))
    assert sum(finding.kind is Kind.OWNER for finding in verdict.findings) == found
    assert len(verdict.notes) == notes


def test_findings_beyond_a_number_are_counted() -> None:
    log = {topic: list(records) for topic, records in played().gate.log.items()}
    del log[Topic.RISK_DECISIONS][:-1]
    verdict, _ = run(log)
    assert len(verdict.findings) == 1000
    assert verdict.more > 0
    assert not verdict.clean

"""What an audit makes of halts around a takeover and around a change of limits, in logs written by hand."""

import asyncio
from decimal import Decimal

import pytest

from models.decisions import AccountStatus
from models.messages import (
    REFERENCE,
    EquityMark,
    OrderIntent,
    OrderType,
    ReferenceRecord,
    Side,
)
from models.state import State
from streams.audit import PartitionAudit, Verdict
from streams.codec import Codec, encode_halt
from streams.records import SHARED_INPUTS, Record, Topic
from streams.replica import Replica, SharedReplica
from streams.starter import starter_records
from tests.simulation.world import World
from tests.streams.audited import Source
from tests.streams.in_process_gate import InProcessGate


class Gate(InProcessGate):
    """A gate that can be told to fold without saying what follows, like a worker that dies too early."""

    silent = False

    def _evaluate(self, account: str) -> None:
        if not self.silent:
            super()._evaluate(account)


def mark(account: str, time: int, equity: int) -> EquityMark:
    return EquityMark(account=account, event_time=time, equity=Decimal(equity))


def intent(intent_id: str, account: str, time: int) -> OrderIntent:
    return OrderIntent(
        intent_id=intent_id,
        account=account,
        strategy="s",
        symbol="X",
        side=Side.BUY,
        quantity=Decimal(1),
        order_type=OrderType.MARKET,
        event_time=time,
    )


def profile(version: int, warning: str, halt: str) -> ReferenceRecord:
    return REFERENCE.validate_python(
        {
            "kind": "limit_profile",
            "profile_id": "default",
            "profile_version": version,
            "drawdown_warning": Decimal(warning),
            "drawdown_halt": Decimal(halt),
            "event_time": 10 + version,
            "actor": "a",
            "reason": "r",
        }
    )


async def begun() -> Gate:
    """Return a gate where A has lost 7 % of 100, its limit is 10 %, and B has had a decision after that."""
    gate = Gate()
    await gate.tell([*starter_records("USD", event_time=1), profile(2, "0.08", "0.10")])
    await gate.tell([mark("A", 100, 100), mark("A", 200, 93), mark("B", 200, 100)])
    await gate.ask([intent("b-1", "B", 300)])
    assert gate.all_halts == []
    return gate


def recover_and_publish(gate: Gate) -> None:
    """Publish what recovery publishes: later limits, applied to the ticks one by one from the beginning."""
    codec = Codec(1)
    shared = SharedReplica(codec)
    replica = Replica(0, codec, State(shared.shared))
    for topic in (*SHARED_INPUTS, Topic.RISK_DECISIONS, Topic.TRADING_HALTS, Topic.FILLS):
        for record in gate.log[topic]:
            (shared if topic in SHARED_INPUTS else replica).fold(record)
    for record in gate.log[Topic.EQUITY_TICKS]:
        account = replica.fold(record).account
        halt = None if account is None else replica.evaluate(account, tick=record.offset)
        if halt is not None:
            replica.state.fold_halt(halt)
            gate._publish(encode_halt(halt))
    gate.shared, gate.replica = shared, replica


def audited(gate: Gate) -> Verdict:
    verdict = Verdict()
    asyncio.run(PartitionAudit(0, Codec(1), gate, verdict).run())
    return verdict


def halts_of(gate: Gate) -> list[Record]:
    return gate.log[Topic.TRADING_HALTS]


def test_a_halt_that_recovery_found_behind_a_decision_is_reproduced() -> None:
    async def play() -> Gate:
        gate = await begun()
        gate.silent = True
        await gate.tell([profile(3, "0.04", "0.06")])  # and the worker dies before A's next record
        recover_and_publish(gate)
        gate.silent = False
        await gate.ask([intent("a-1", "A", 400), intent("b-2", "B", 400)])
        return gate

    gate = asyncio.run(play())
    assert len(halts_of(gate)) == 1
    verdict = audited(gate)
    assert verdict.clean, verdict.findings
    assert (verdict.reproduced, verdict.halts_reproduced) == (3, 1)


def test_a_change_that_the_worker_may_not_have_known_is_not_missing() -> None:
    async def play() -> Gate:
        gate = await begun()
        gate.silent = True  # the tick was folded under the old limits; the order of the two is nowhere written
        await gate.tell([mark("A", 500, 94), profile(3, "0.04", "0.06")])
        await gate.ask([intent("b-2", "B", 600)])
        return gate

    verdict = audited(asyncio.run(play()))
    assert verdict.clean, verdict.findings


@pytest.mark.parametrize("known_before", [True, False])
def test_a_change_under_whatever_limits_the_worker_knew_is_missing(known_before: bool) -> None:
    async def play() -> Gate:
        gate = await begun()
        gate.silent = True
        tightened = [profile(3, "0.07", "0.09")]
        if known_before:
            await gate.tell(tightened)
            await gate.ask([intent("b-2", "B", 500)])
        await gate.tell([mark("A", 600, 91)])  # a WARNING under 8 % as well as under 7 %
        if not known_before:
            await gate.tell(tightened)
        await gate.ask([intent("b-3", "B", 700)])
        return gate

    verdict = audited(asyncio.run(play()))
    assert not verdict.clean
    assert f"A changed to {AccountStatus.HALT if known_before else AccountStatus.WARNING}" in verdict.findings[0].what
    assert verdict.diverged == 0


def test_a_halt_that_knows_a_decision_that_is_not_there_is_named() -> None:
    async def play() -> Gate:
        gate = await begun()
        await gate.ask([intent("a-1", "A", 400)])
        await gate.tell([mark("A", 500, 90)])
        return gate

    gate = asyncio.run(play())
    assert len(halts_of(gate)) == 1
    gate.log[Topic.RISK_DECISIONS].pop()
    gate.log[Topic.ORDER_INTENTS].pop()
    verdict = audited(gate)
    assert any(finding.field == "decision_seq" for finding in verdict.findings)


def test_what_crashes_and_takeovers_leave_audits_clean() -> None:
    """The logs of the simulation, where workers die between any two steps and others take over."""
    halts = 0
    for seed in range(40):
        world = World(seed)
        asyncio.run(world.run(60))
        verdict = Verdict()
        asyncio.run(PartitionAudit(0, Codec(1), Source(world.log.records()), verdict).run())
        assert verdict.clean, (seed, verdict.findings)
        assert verdict.undecided == 0
        halts += verdict.halts_reproduced
    assert halts > 100

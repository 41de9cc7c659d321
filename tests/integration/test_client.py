"""The client against a real broker and a real worker."""

import asyncio
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from models.canonical import SECOND_NS
from models.decisions import DecisionStatus
from models.messages import EquityMark, OrderIntent, OrderType, PriceMark, Side
from models.reasons import RejectReason
from streams.audit import audit
from streams.client import (
    DecisionLateError,
    DecisionTimeoutError,
    GateUnavailableError,
    Outcome,
    OutcomeState,
    RiskGateClient,
)
from streams.codec import Codec
from streams.config import Settings
from streams.demo.household import embedded_broker_is_there
from streams.records import Topic
from streams.starter import admit_everybody
from streams.topics import Topics, create
from tests.integration.workers import WorkerProcess, worker
from tests.kafka import EmbeddedBroker

ACCOUNTS = [f"account-{number}" for number in range(8)]
FOLDED = 0.3


def intent(intent_id: str, account: str = ACCOUNTS[0], *, quantity: int = 1, event_time: int = 0) -> OrderIntent:
    return OrderIntent(
        intent_id=intent_id,
        account=account,
        strategy="s",
        symbol="X",
        side=Side.BUY,
        quantity=Decimal(quantity),
        order_type=OrderType.LIMIT,
        limit_price=Decimal(10),
        event_time=event_time or time.time_ns(),
    )


@pytest.fixture
def running(settings: Settings, topics: Topics, tmp_path: Path) -> Iterator[WorkerProcess]:
    del topics
    with worker(settings, tmp_path) as process:
        asyncio.run(_prepare(settings))
        yield process


async def _prepare(settings: Settings) -> None:
    await admit_everybody(settings, "USD", event_time=1)
    async with RiskGateClient(settings) as gate:
        now = time.time_ns()
        mark = PriceMark(price=Decimal(10), atr=Decimal("0.1"))
        await gate.publisher.send_all(
            EquityMark(account=account, event_time=now, equity=Decimal(10**6), marks={"X": mark})
            for account in ACCOUNTS
        )
        await asyncio.sleep(FOLDED)


async def test_hundreds_in_flight_get_each_its_own_answer(settings: Settings, running: WorkerProcess) -> None:
    del running
    async with RiskGateClient(settings, timeout=30) as gate:
        intents = [intent(f"i-{number}", ACCOUNTS[number % len(ACCOUNTS)]) for number in range(400)]
        decisions = await asyncio.gather(*map(gate.submit, intents))
        assert [(one.account, one.intent_id) for one in decisions] == [
            (one.account, one.intent_id) for one in intents
        ]
        # Fifty like orders at once are more than the starter limits let pass; what passes and what not is exact.
        assert {reason for one in decisions for reason in one.reasons} <= {
            RejectReason.RATE_LIMIT_ACCOUNT,
            RejectReason.RATE_LIMIT_STRATEGY,
            RejectReason.REPEATED_ORDER,
        }
        for account in ACCOUNTS:
            assert sum(one.status is DecisionStatus.APPROVED for one in decisions if one.account == account) == 5
            # Handed over in order, decided in order.
            assert [one.seq for one in decisions if one.account == account] == list(range(1, 51))
    verdict = await audit(settings)
    assert verdict.clean, verdict.findings
    assert verdict.reproduced == 400


async def test_a_repeat_learns_the_first_answer(settings: Settings, running: WorkerProcess) -> None:
    del running
    async with RiskGateClient(settings) as gate:
        first = intent("once")
        answers = await asyncio.gather(gate.submit(first), gate.submit(first))
        assert [one.status for one in answers] == [DecisionStatus.APPROVED, DecisionStatus.REJECTED]
        assert answers[1].reasons == (RejectReason.DUPLICATE_INTENT,)
        assert (answers[1].original_status, answers[1].original_seq) == (DecisionStatus.APPROVED, answers[0].seq)
        other = await gate.submit(first.model_copy(update={"quantity": Decimal(2)}))
        assert RejectReason.INTENT_ID_CONFLICT in other.reasons


async def test_bytes_and_strays_are_answered(settings: Settings, running: WorkerProcess) -> None:
    del running
    codec = Codec(4)
    wrong = (codec.partition_of(ACCOUNTS[0]) + 1) % 4
    async with RiskGateClient(settings) as gate:
        for decision in await asyncio.gather(
            gate.submit_raw(b"A", b"\xff\xfe"),
            gate.submit_raw(None, b"{}", partition=2),
            gate.submit_raw(ACCOUNTS[0].encode(), b'{"a": 1}'),
            gate.submit_raw(ACCOUNTS[0].encode(), intent("x").model_dump_json().encode(), partition=wrong),
        ):
            assert decision.reasons == (RejectReason.MALFORMED,)
            assert decision.intent_id is None


async def test_late_and_simulated_time(settings: Settings, running: WorkerProcess) -> None:
    del running
    early = intent("early", event_time=time.time_ns() - 45 * SECOND_NS)
    fresh = {"account": "late", "event_time": early.event_time}
    mark = PriceMark(price=Decimal(10), atr=Decimal("0.1"))
    async with RiskGateClient(settings) as gate, RiskGateClient(settings, decision_age_max=None) as simulated:
        await gate.publisher.send(
            EquityMark(account="late", event_time=early.event_time - 1, equity=Decimal(10**6), marks={"X": mark})
        )
        await asyncio.sleep(FOLDED)
        with pytest.raises(DecisionLateError, match="late"):
            await gate.submit(early.model_copy(update=fresh))
        again = await simulated.submit(early.model_copy(update={**fresh, "intent_id": "early-2"}))
        assert again.status is DecisionStatus.APPROVED


async def test_outcomes_after_a_silence(settings: Settings, running: WorkerProcess) -> None:
    account = ACCOUNTS[1]
    async with RiskGateClient(settings, timeout=10) as gate:
        approved = await gate.submit(intent("yes", account))
        rejected = await gate.submit(intent("no", account, quantity=90_000))
        assert rejected.status is DecisionStatus.REJECTED
        await asyncio.to_thread(running.kill)
        waiting = intent("late", account)
        with pytest.raises(DecisionTimeoutError) as silence:
            await gate.submit(waiting, timeout=0.5)
        assert silence.value.delivered is not None
        assert silence.value.delivered.topic is Topic.ORDER_INTENTS
        assert await gate.outcome(account, "late") == Outcome(OutcomeState.WAITING)
        assert await gate.outcome(account, "never") == Outcome(OutcomeState.ABSENT)
        assert await gate.outcome(account, "yes") == Outcome(OutcomeState.APPROVED, approved)
        assert await gate.outcome(account, "no") == Outcome(OutcomeState.REJECTED, rejected)
        since = time.time_ns() - 3600 * SECOND_NS
        assert await gate.outcome(account, "yes", since=since) == Outcome(OutcomeState.APPROVED, approved)
        future = time.time_ns() + 3600 * SECOND_NS
        assert await gate.outcome(account, "yes", since=future) == Outcome(OutcomeState.ABSENT)
        running.start()
        await asyncio.to_thread(running.wait_ready)
        deadline = time.monotonic() + 20
        while (outcome := await gate.outcome(account, "late")).decision is None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        assert outcome.state is OutcomeState.APPROVED
        # Whoever sends it again, instead of asking, learns the same.
        assert (await gate.submit(waiting)).original_status is DecisionStatus.APPROVED


async def test_without_topics_it_says_what_to_run(settings: Settings) -> None:
    with pytest.raises(GateUnavailableError, match="order-intents does not exist: run `seawall topics create`"):
        async with RiskGateClient(settings):
            pass


async def test_without_a_broker_it_says_so_at_once(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    started = time.monotonic()
    with pytest.raises(GateUnavailableError, match=r"no answer from a Kafka broker at 127\.0\.0\.1:1 "):
        async with RiskGateClient(nowhere):
            pass
    assert time.monotonic() - started < 10


@pytest.mark.skipif(not embedded_broker_is_there(), reason="noida-db has no wheel for this platform")
async def test_a_broker_that_goes_away_is_a_timeout_and_closing_does_not_wait_for_it(tmp_path: Path) -> None:
    broker = await asyncio.to_thread(EmbeddedBroker)
    try:
        lone = Settings(bootstrap_servers=broker.bootstrap, data_dir=tmp_path)
        await create(Topics.of(lone), lone)
        async with RiskGateClient(lone, timeout=1) as gate:
            await asyncio.to_thread(broker.kill)
            with pytest.raises(DecisionTimeoutError, match="did not confirm intent gone"):
                await gate.submit(intent("gone"))
            with pytest.raises(GateUnavailableError, match="no answer from a Kafka broker"):
                await gate.outcome(ACCOUNTS[0], "gone")
            closing = time.monotonic()
        assert time.monotonic() - closing < 10
    finally:
        await asyncio.to_thread(broker.stop)
